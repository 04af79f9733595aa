//! The front door to transactions, and their topic.

use std::sync::Arc;

use reka_protocol::ErrorCode;
use tokio::sync::{mpsc, watch};

use super::ask::{Ask, ListFilter, Listed, Reply};
use super::late::Watched;
use super::{Settings, TRANSACTION_VERSION, shard};
use crate::coordinator::mailbox::{Envelope, Mailboxes};
use crate::coordinator::tasks::Coordinator;
use crate::coordinator::topic;
use crate::metadata::{ChangeError, TRANSACTION_STATE};
use crate::node::Services;
use crate::partition::Partition;

/// Where questions enter the tasks.
#[derive(Debug, Default)]
pub struct Coordinators {
    mailboxes: Mailboxes<Ask, Reply>,
    /// Transactions that are open on partitions here, and since when.
    pub(super) watched: Watched,
}

impl Coordinators {
    /// Asks the task that answers for a transactional id.
    pub async fn ask(&self, id: &str, ask: Ask) -> Reply {
        self.mailboxes.ask(id, ask).await
    }

    pub(super) fn mailboxes(&self) -> &Mailboxes<Ask, Reply> {
        &self.mailboxes
    }

    /// Partitions of `__transaction_state` that nobody answers for, though they are led here.
    pub fn troubles(&self) -> Vec<String> {
        self.mailboxes.troubles()
    }

    /// Asks with a producer id nobody has, if one is needed.
    pub async fn ask_with_fresh_id(
        &self,
        services: &Services,
        id: &str,
        ask: impl Fn(Option<i64>) -> Ask,
    ) -> Reply {
        match self.ask(id, ask(None)).await {
            Reply::NeedsProducerId => {}
            reply => return reply,
        }
        match services.next_producer_id().await {
            Ok(fresh) => self.ask(id, ask(Some(fresh))).await,
            Err(error) => {
                tracing::warn!("no producer id for {id}: {error}");
                Reply::Refused(ErrorCode::CoordinatorLoadInProgress)
            }
        }
    }

    /// The transactional ids of all partitions here. One that is still loading is an error, as a
    /// list that lacks ids looks like one that has them all.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, ErrorCode> {
        let mut listed = Vec::new();
        for index in self.mailboxes.here() {
            let ask = Ask::List(Box::new(filter.clone()));
            match self.mailboxes.ask_partition(index, ask).await {
                Reply::List(ids) => listed.extend(ids),
                // The partition has gone to another broker, which lists its ids.
                Reply::Refused(ErrorCode::NotCoordinator) => {}
                other => return Err(other.refusal()),
            }
        }
        Ok(listed)
    }
}

/// The level of `transaction.version` in force.
pub fn level(services: &Services) -> i16 {
    let image = services.quorum.image();
    image.features().level(TRANSACTION_VERSION).unwrap_or(0)
}

/// Creates `__transaction_state` if it is not there.
pub async fn create_topic(services: &Services) -> Result<(), ChangeError> {
    let settings = services.config().transactions.topic;
    let brokers = services.quorum.image().brokers().iter().count();
    let replicas = i32::try_from(brokers.max(1)).unwrap_or(i32::MAX);
    let mut configs = vec![
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "uncompressed".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    if let Some(min_insync_replicas) = settings.min_insync_replicas {
        // More than there can be would take no record ever.
        let reachable = replicas.min(i32::from(settings.replication_factor));
        let min_insync_replicas = min_insync_replicas.min(reachable);
        configs.push(("min.insync.replicas", min_insync_replicas.to_string()));
    }
    topic::create(services, TRANSACTION_STATE, settings, &configs).await
}

/// What makes a coordinator one of transactions.
#[derive(Debug)]
pub struct TransactionCoordinator;

impl Coordinator for TransactionCoordinator {
    type Ask = Ask;
    type Reply = Reply;
    type Settings = Settings;
    const TOPIC: &'static str = TRANSACTION_STATE;
    const THREAD: &'static str = "transactions";

    fn settings(services: &Services) -> Settings {
        Settings::new(&services.config())
    }

    fn mailboxes(services: &Services) -> &Mailboxes<Ask, Reply> {
        &services.transactions.mailboxes
    }

    fn serve(
        services: Arc<Services>,
        partition: Arc<Partition>,
        settings: Arc<Settings>,
        mailbox: mpsc::Receiver<Envelope<Ask, Reply>>,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + 'static {
        shard::serve(services, partition, settings, mailbox, stop)
    }
}
