//! `rkctl txn describe`.

use clap::Args;
use reka_protocol::ErrorCode;
use serde::Serialize;

use crate::failure::Failure;
use crate::moment;
use crate::nearest;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, list, or_none};

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Transactional ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Transaction {
    transactional_id: String,
    state: String,
    producer_id: i64,
    producer_epoch: i16,
    timeout_ms: i32,
    started: Option<String>,
    partitions: Vec<String>,
    coordinator: i32,
}

impl Report for Vec<Transaction> {
    fn page(&self) -> Page {
        let page = |row: &Transaction| {
            Page::default().pairs(vec![
                ("transactional id", row.transactional_id.clone()),
                ("state", row.state.clone()),
                ("producer", row.producer_id.to_string()),
                ("epoch", row.producer_epoch.to_string()),
                ("timeout ms", row.timeout_ms.to_string()),
                ("started", or_none(row.started.as_ref())),
                ("partitions", list(&row.partitions)),
                ("coordinator", row.coordinator.to_string()),
            ])
        };
        self.iter().map(page).fold(Page::default(), Page::and)
    }
}

impl Describe {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let mut rows = Vec::new();
        for (id, described) in client.describe_transactions(&self.ids).await? {
            let found = match described {
                Ok(found) => found,
                Err(refusal) if refusal.is(ErrorCode::TransactionalIdNotFound) => {
                    let failure = Failure::not_found(format!("there is no transactional id {id}"));
                    let listed = client.list_transactions().await?;
                    let names = listed.iter().map(|listed| listed.transactional_id.as_str());
                    return Err(match nearest::question(&id, names) {
                        Some(question) => failure.hint(question),
                        None => failure.hint("rkctl txn list shows which there are"),
                    });
                }
                Err(refusal) => return Err(refusal.into()),
            };
            rows.push(Transaction {
                transactional_id: id,
                state: found.state,
                producer_id: found.producer_id,
                producer_epoch: found.producer_epoch,
                timeout_ms: found.timeout_ms,
                started: found.start_time.map(moment::written),
                partitions: found.partitions.iter().map(ToString::to_string).collect(),
                coordinator: found.coordinator,
            });
        }
        session.show(&rows)
    }
}
