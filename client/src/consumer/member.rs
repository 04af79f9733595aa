//! Being a member of a group: a task keeps the membership, a consumer takes what it is given.
//!
//! The task ([`super::heartbeats`] for KIP-848's protocol, [`super::classic`] for the one before)
//! says what the group wants the member to have; the consumer gives up what it is to give up, commits,
//! and says what it has. Neither waits for the other longer than the group's own time-outs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reka_protocol::kafka_protocol::protocol::StrBytes;
use tokio::sync::{Notify, oneshot};

use crate::client::{Client, Coordinator, text};
use crate::error::ClientError;
use crate::metadata::{Broker, TopicPartition};
use crate::pool::Lane;

/// How a member is to be.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group.
    pub group: String,
    /// What it wants to read.
    pub topics: Vec<String>,
    /// Also every topic whose name matches this, now and later, as the broker reads expressions
    /// (RE2); only with KIP-848's protocol.
    pub topic_pattern: Option<String>,
    /// The name of a static member: whoever comes back under it within the session time-out has what
    /// it had, and nobody else's partitions move meanwhile. Such a member does not tell the group when
    /// it leaves.
    pub instance_id: Option<String>,
    /// Who gives partitions to members, in the classic protocol.
    pub assignor: Assignor,
    /// Which protocol to speak.
    pub protocol: GroupProtocol,
    /// How long the group waits for a member that is silent; with KIP-848's protocol the broker
    /// decides.
    pub session_timeout: Duration,
    /// How long the group waits for a member that is to give something up: poll more often.
    pub rebalance_timeout: Duration,
    /// How often what was polled is committed; never without.
    pub auto_commit: Option<Duration>,
}

impl GroupConfig {
    /// The defaults of Apache Kafka's consumer.
    #[must_use]
    pub fn new(group: impl Into<String>, topics: Vec<String>) -> Self {
        GroupConfig {
            group: group.into(),
            topics,
            topic_pattern: None,
            instance_id: None,
            assignor: Assignor::Range,
            protocol: GroupProtocol::Newest,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(300),
            auto_commit: Some(Duration::from_secs(5)),
        }
    }
}

/// Who gives partitions to members of a group of the classic protocol. All members need the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignor {
    /// Runs of each topic's partitions. Everybody gives up everything at every rebalance.
    #[default]
    Range,
    /// As even as possible with as few moves as possible; only what moves is given up (KIP-429).
    CooperativeSticky,
}

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// KIP-848's where the broker has it, else the one before.
    #[default]
    Newest,
    /// KIP-848's.
    Consumer,
    /// The one before.
    Classic,
}

/// What task and consumer tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The task has something new.
    pub(super) given: Notify,
    /// The consumer has done as it was told.
    pub(super) taken: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) member_id: String,
    /// The member epoch, or the generation in the classic protocol.
    pub(super) epoch: i32,
    /// What the member is to have; `None` before it was told anything.
    pub(super) target: Option<Vec<TopicPartition>>,
    /// What it has.
    pub(super) owned: Vec<TopicPartition>,
    /// The group has given the member up: what it had may be another's already.
    pub(super) lost: bool,
    /// Why there is no membership any more.
    pub(super) failed: Option<ClientError>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task tells the consumer what to have.
    pub(super) fn give(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.given.notify_one();
    }

    /// Waits until the consumer has exactly what it was told.
    pub(super) async fn until_taken(&self) {
        loop {
            {
                let state = self.lock();
                let target = state.target.as_deref().unwrap_or_default();
                if state.owned == target && !state.lost {
                    return;
                }
            }
            self.taken.notified().await;
        }
    }
}

/// What a task needs.
pub(super) struct Membership {
    pub(super) client: Client,
    pub(super) config: GroupConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) lane: Lane,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.client.release(self.lane);
    }
}

/// Told when the member is to leave.
pub(super) type Leave = oneshot::Receiver<()>;

impl Membership {
    /// Who coordinates the group.
    pub(super) async fn coordinator(&self) -> Result<Broker, ClientError> {
        let mut tries = self.client.tries(format!(
            "find the coordinator of group {}",
            self.config.group
        ));
        loop {
            let attempt = self
                .client
                .find_coordinator(Coordinator::Group, &self.config.group);
            if let Some(broker) = tries.run(attempt).await? {
                return Ok(broker);
            }
        }
    }

    /// The name of a static member, as messages have it.
    pub(super) fn instance_id(&self) -> Option<StrBytes> {
        self.config.instance_id.as_deref().map(text)
    }

    pub(super) fn fail(&self, error: ClientError) {
        self.shared.give(|state| {
            state.failed = Some(error);
        });
    }
}
