//! `kafka-leader-election.sh`.

use std::io::Write;

use reka_client::admin::Election;
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use super::arguments::{Arguments, Known, flag, option};
use super::{Wrong, exception, json};

pub(super) const OPTIONS: &[Known] = &[
    flag("all-topic-partitions"),
    option("bootstrap-server"),
    option("command-config"),
    option("election-type"),
    option("partition"),
    option("path-to-json-file"),
    option("topic"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let failed = |text: &str| Err(Wrong::Failed(text.to_owned()));
    let (election, name) = match arguments.value("election-type") {
        Some("preferred") => (Election::Preferred, "PREFERRED"),
        Some("unclean") => (Election::Unclean, "UNCLEAN"),
        Some(other) => {
            return failed(&format!(
                "Cannot parse argument '{other}' of option election-type"
            ));
        }
        None => return failed("Missing required option(s): election-type"),
    };
    let ways = ["topic", "all-topic-partitions", "path-to-json-file"];
    let partition: Option<i32> = arguments.number("partition")?;
    let partitions = match arguments.those(&ways)[..] {
        ["topic"] => {
            let topic = arguments.value("topic").unwrap_or_default();
            let Some(partition) = partition else {
                return failed("Missing required option(s): partition");
            };
            Some(vec![TopicPartition::new(topic, partition)])
        }
        ["path-to-json-file"] => {
            let path = arguments.value("path-to-json-file").unwrap_or_default();
            let file = json::file(path)?;
            let missing = "Replica election data is missing \"partitions\" field";
            let rows = json::rows(&file, "partitions", missing)?;
            let partitions: Vec<TopicPartition> =
                rows.iter().map(json::partition).collect::<Result<_, _>>()?;
            Some(partitions)
        }
        ["all-topic-partitions"] => None,
        _ => {
            return failed(
                "One and only one of the following options is required: topic, \
                 all-topic-partitions, path-to-json-file",
            );
        }
    };
    let outcomes = client
        .elect_leaders(election, partitions.as_deref())
        .await?;
    let (mut elected, mut leading, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (at, outcome) in outcomes {
        match outcome {
            Ok(()) => elected.push(at.to_string()),
            Err(refusal) if refusal.is(ErrorCode::ElectionNotNeeded) => {
                leading.push(at.to_string());
            }
            Err(refusal) => failures.push((at, refusal)),
        }
    }
    let mut out = std::io::stdout();
    if !elected.is_empty() {
        let elected = elected.join(", ");
        writeln!(
            out,
            "Successfully completed leader election ({name}) for partitions {elected}"
        )?;
    }
    // Asked for all, only those tell that were without the leader they prefer.
    if !leading.is_empty() && partitions.is_some() {
        let leading = leading.join(", ");
        writeln!(
            out,
            "Valid replica already elected for partitions {leading}"
        )?;
    }
    for (at, refusal) in &failures {
        writeln!(
            out,
            "Error completing leader election ({name}) for partition: {at}: {}",
            exception(refusal)
        )?;
    }
    match failures.len() {
        0 => Ok(()),
        count => failed(&format!("{count} replica(s) could not be elected")),
    }
}
