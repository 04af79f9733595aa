//! `kafka-metadata-quorum.sh`, but for `add-controller`, which reads the controller's own files.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reka_client::Client;
use reka_client::admin::{Quorum, QuorumReplica};
use uuid::Uuid;

use super::Wrong;
use super::arguments::{Arguments, Known, flag, option};
use super::transactions::table;
use crate::moment;

pub(super) const COMMANDS: &[&str] = &["describe", "remove-controller"];

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("command-config"),
    option("controller-directory-id"),
    option("controller-id"),
    flag("dry-run"),
    flag("human-readable"),
    flag("replication"),
    flag("status"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    match arguments.word() {
        Some("describe") => match arguments.those(&["status", "replication"])[..] {
            ["status"] if arguments.has("human-readable") => Err(Wrong::Failed(
                "The option --human-readable is only supported along with --replication".to_owned(),
            )),
            ["status"] => status(client).await,
            ["replication"] => replication(client, arguments.has("human-readable")).await,
            _ => Err(Wrong::Failed(
                "One of --status or --replication must be specified with describe sub-command"
                    .to_owned(),
            )),
        },
        Some(_) => remove(client, arguments).await,
        None => Err(Wrong::Usage("too few arguments".to_owned())),
    }
}

/// Ids as Apache Kafka writes them.
fn kafka_id(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn leader(quorum: &Quorum) -> Result<&QuorumReplica, Wrong> {
    let mut voters = quorum.voters.iter();
    let leader = voters.find(|voter| Some(voter.id) == quorum.leader);
    leader.ok_or_else(|| Wrong::Failed("No value present".to_owned()))
}

async fn status(client: &Client) -> Result<(), Wrong> {
    let cluster = client.cluster_id().await?.unwrap_or_default();
    let quorum = client.describe_quorum().await?;
    let leader = leader(&quorum)?;
    let end = |replica: &QuorumReplica| replica.log_end_offset.unwrap_or(-1);
    let slowest = quorum.voters.iter().min_by_key(|voter| end(voter));
    let slowest = slowest.unwrap_or(leader);
    let late = match (leader.last_caught_up, slowest.last_caught_up) {
        _ if slowest.id == leader.id => 0,
        (Some(leader), Some(slowest)) => leader - slowest,
        _ => -1,
    };
    let listed = |replicas: &[QuorumReplica]| {
        let listed: Vec<String> = replicas.iter().map(shown).collect();
        format!("[{}]", listed.join(", "))
    };
    writeln!(
        std::io::stdout(),
        "ClusterId:              {cluster}\n\
         LeaderId:               {}\n\
         LeaderEpoch:            {}\n\
         HighWatermark:          {}\n\
         MaxFollowerLag:         {}\n\
         MaxFollowerLagTimeMs:   {late}\n\
         CurrentVoters:          {}\n\
         CurrentObservers:       {}",
        leader.id,
        quorum.leader_epoch,
        quorum.high_watermark,
        end(leader) - end(slowest),
        listed(&quorum.voters),
        listed(&quorum.observers)
    )?;
    Ok(())
}

fn shown(replica: &QuorumReplica) -> String {
    let mut text = format!("{{\"id\": {}", replica.id);
    if !replica.directory.is_nil() {
        text += &format!(", \"directoryId\": \"{}\"", kafka_id(replica.directory));
    }
    if !replica.listeners.is_empty() {
        let listeners = replica.listeners.iter();
        let listeners: Vec<String> = listeners
            .map(|(name, address)| format!("\"{name}://{address}\""))
            .collect();
        text += &format!(", \"endpoints\": [{}]", listeners.join(", "));
    }
    text + "}"
}

async fn replication(client: &Client, human_readable: bool) -> Result<(), Wrong> {
    let quorum = client.describe_quorum().await?;
    let leader = leader(&quorum)?;
    let now = moment::now_ms();
    let time = |time: Option<i64>| match time {
        None => "-1".to_owned(),
        Some(time) if human_readable => format!("{} ms ago", now.saturating_sub(time)),
        Some(time) => time.to_string(),
    };
    let end = |replica: &QuorumReplica| replica.log_end_offset.unwrap_or(-1);
    let row = |replica: &QuorumReplica, status: &str| {
        vec![
            replica.id.to_string(),
            kafka_id(replica.directory),
            end(replica).to_string(),
            (end(leader) - end(replica)).to_string(),
            time(replica.last_fetch),
            time(replica.last_caught_up),
            status.to_owned(),
        ]
    };
    let mut rows = vec![row(leader, "Leader")];
    let followers = quorum.voters.iter().filter(|voter| voter.id != leader.id);
    rows.extend(followers.map(|voter| row(voter, "Follower")));
    rows.extend(quorum.observers.iter().map(|one| row(one, "Observer")));
    let head = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    table(&head, &rows)
}

async fn remove(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let missing = |name: &str| Wrong::Usage(format!("argument --{name} is required"));
    let id: i32 = arguments
        .number("controller-id")?
        .ok_or_else(|| missing("controller-id"))?;
    let directory = arguments
        .value("controller-directory-id")
        .ok_or_else(|| missing("controller-directory-id"))?;
    if id < 0 {
        let text = format!("Invalid negative --controller-id: {id}");
        return Err(Wrong::Failed(text));
    }
    let read = URL_SAFE_NO_PAD.decode(directory).ok();
    let read = read.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    let Some(uuid) = read else {
        return Err(Wrong::Failed(format!(
            "Failed to parse --controller-directory-id: {directory} is no id of a directory"
        )));
    };
    // The tool has two spaces here.
    let done = match arguments.has("dry-run") {
        true => "DRY RUN of removing ",
        false => {
            client.remove_voter(id, uuid).await?;
            "Removed "
        }
    };
    writeln!(
        std::io::stdout(),
        "{done} KRaft controller {id} with directory id {directory}"
    )?;
    Ok(())
}
