//! `rkctl cluster quorum`; its commands are in `voters.rs`.

use clap::Args;
use reka_client::admin::QuorumReplica;
use serde::Serialize;

use super::voters;
use crate::failure::Failure;
use crate::moment;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// Shows who votes, who follows, and how far behind they are.
#[derive(Debug, Args)]
pub(crate) struct Quorum {
    #[command(subcommand)]
    change: Option<voters::Command>,
}

#[derive(Debug, Serialize)]
struct State {
    leader: Option<i32>,
    leader_epoch: i32,
    high_watermark: i64,
    replicas: Vec<Replica>,
}

#[derive(Debug, Serialize)]
struct Replica {
    node: i32,
    role: &'static str,
    directory: String,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    last_caught_up: Option<String>,
}

impl Report for State {
    fn page(&self) -> Page {
        let mut table = Table::new(["NODE", "ROLE", "LOG END", "LAG", "LAST CAUGHT UP"]);
        for replica in &self.replicas {
            table.row([
                replica.node.to_string(),
                replica.role.to_owned(),
                or_none(replica.log_end_offset),
                or_none(replica.lag),
                or_none(replica.last_caught_up.as_ref()),
            ]);
        }
        Page::default()
            .pairs(vec![
                ("leader", or_none(self.leader)),
                ("epoch", self.leader_epoch.to_string()),
                ("high watermark", self.high_watermark.to_string()),
            ])
            .table(table)
    }
}

impl Quorum {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        if let Some(change) = &self.change {
            return change.run(session).await;
        }
        let quorum = session.client().await?.describe_quorum().await?;
        let is_leader = |replica: &&QuorumReplica| Some(replica.id) == quorum.leader;
        let end = quorum.voters.iter().find(is_leader);
        let end = end.and_then(|leader| leader.log_end_offset);
        let shown = |role: &'static str, replica: &QuorumReplica| Replica {
            node: replica.id,
            role: if is_leader(&replica) { "leader" } else { role },
            directory: replica.directory.to_string(),
            log_end_offset: replica.log_end_offset,
            lag: end.zip(replica.log_end_offset).map(|(end, at)| end - at),
            last_caught_up: replica.last_caught_up.map(moment::written),
        };
        let voters = quorum.voters.iter().map(|replica| shown("voter", replica));
        let observers = quorum.observers.iter();
        let observers = observers.map(|replica| shown("observer", replica));
        session.show(&State {
            leader: quorum.leader,
            leader_epoch: quorum.leader_epoch,
            high_watermark: quorum.high_watermark,
            replicas: voters.chain(observers).collect(),
        })
    }
}
