//! The producer: records in, batches out, none lost and none twice.
//!
//! | Read | For |
//! |---|---|
//! | [`partitioner`] | which partition; pure |
//! | `accumulator` | which batch, and when it goes; pure |
//! | `sender` | the task that sends batches and judges answers |
//! | `transaction` | records and offsets that count together |
//! | `delivery` | what became of a record |

mod accumulator;
mod delivery;
pub mod partitioner;
mod sender;
mod transaction;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_records::Compression;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::accumulator::{Accumulator, Identity, size_of};
pub use self::delivery::{Delivered, Delivery};
use self::transaction::Transaction;
pub use self::transaction::TransactionalConfig;
use crate::client::{Client, chance};
use crate::error::{ClientError, Refusal};
use crate::metadata::TopicPartition;

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nobody's: records may be lost.
    None,
    /// The leader's: records may be lost with it.
    Leader,
    /// All that are in sync.
    All,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How a producer is to work. The defaults are those of Apache Kafka's producer, but for larger
/// batches.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Whose word counts.
    pub acks: Acks,
    /// Whether records sent again are told apart from new ones; needs [`Acks::All`].
    pub idempotent: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// How hard; the codec's default without.
    pub compression_level: Option<i32>,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How large a batch may grow, before compression. A larger record goes alone.
    pub batch_bytes_max: usize,
    /// How much may wait to be delivered, in bytes of batches.
    pub buffer_bytes_max: usize,
    /// How long a record is tried, from when it was handed over.
    pub delivery_timeout: Duration,
    /// Who it is, if its records belong to transactions.
    pub transactional: Option<TransactionalConfig>,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            compression_level: None,
            linger: Duration::from_millis(5),
            batch_bytes_max: 256 << 10,
            buffer_bytes_max: 64 << 20,
            delivery_timeout: Duration::from_secs(120),
            transactional: None,
        }
    }
}

/// A record to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Where to.
    pub topic: String,
    /// Which partition; by key without.
    pub partition: Option<i32>,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says; `None` deletes the key from a compacted topic.
    pub value: Option<Bytes>,
    /// In order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since 1970; now without.
    pub timestamp: Option<i64>,
}

impl ProducerRecord {
    /// A record without anything in it.
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        ProducerRecord {
            topic: topic.into(),
            ..ProducerRecord::default()
        }
    }

    /// Gives it a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Gives it a value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Says which partition it goes to.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A producer. Cloning it shares it; what was handed over is delivered also when all are dropped, as
/// long as the runtime lives: [`flush`](Producer::flush) waits for it.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    state: Mutex<State>,
    /// The sender has something to look at.
    wake: Notify,
    /// Something was settled: there is room, or nothing is left.
    settled: Notify,
    /// Those who wait for everything to be settled.
    flushes: AtomicUsize,
}

#[derive(Debug)]
struct State {
    accumulator: Accumulator,
    /// Partitions by topic, as they were known last.
    topics: HashMap<String, Known>,
    identity: Option<Identity>,
    /// The current transaction.
    transaction: Option<Transaction>,
    /// Another producer has taken this one's place.
    fenced: Option<ClientError>,
}

#[derive(Debug)]
struct Known {
    partitions: i32,
    since: Instant,
    sticky: Option<i32>,
}

impl Producer {
    /// A producer. It lives on the tokio runtime this is called on.
    pub fn new(client: Client, config: ProducerConfig) -> Result<Self, ClientError> {
        if config.idempotent && config.acks != Acks::All {
            let reason = "an idempotent producer needs acks=all".to_owned();
            return Err(ClientError::Config { reason });
        }
        if config.transactional.is_some() && !config.idempotent {
            let reason = "transactions need an idempotent producer".to_owned();
            return Err(ClientError::Config { reason });
        }
        let state = State {
            accumulator: Accumulator::new(&config),
            topics: HashMap::new(),
            identity: None,
            transaction: None,
            fenced: None,
        };
        let shared = Arc::new(Shared {
            client,
            config,
            state: Mutex::new(state),
            wake: Notify::new(),
            settled: Notify::new(),
            flushes: AtomicUsize::new(0),
        });
        tokio::spawn(sender::run(Arc::downgrade(&shared)));
        Ok(Producer { shared })
    }

    /// Hands a record over. Waits while the buffer is full, or while its topic is looked up.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let size = size_of(&record);
        let limit = self.shared.config.buffer_bytes_max;
        if size > limit {
            let reason = format!("a record of {size} bytes is above the buffer of {limit}");
            return Err(ClientError::Unencodable {
                api: "Produce",
                reason,
            });
        }
        let deadline = Instant::now() + self.shared.config.delivery_timeout;
        loop {
            match self.try_append(&record, size)? {
                Attempt::Appended(delivery) => return Ok(delivery),
                Attempt::UnknownTopic => self.look_up(&record.topic).await?,
                Attempt::Full => {
                    let room =
                        self.wait_until_settled(|state| state.accumulator.held + size <= limit);
                    if tokio::time::timeout_at(deadline, room).await.is_err() {
                        return Err(ClientError::Deadline {
                            what: "wait for room in the producer's buffer".to_owned(),
                            limit: self.shared.config.delivery_timeout,
                            last: None,
                        });
                    }
                }
            }
        }
    }

    fn try_append(&self, record: &ProducerRecord, size: usize) -> Result<Attempt, ClientError> {
        let now = Instant::now();
        let age_max = self.shared.client.config().metadata_age_max;
        let mut state = self.shared.lock();
        let state = &mut *state;
        if self.shared.config.transactional.is_some() {
            let Some(transaction) = &state.transaction else {
                let reason = "no transaction has begun".to_owned();
                return Err(ClientError::Config { reason });
            };
            if let Some(error) = &transaction.failed {
                return Err(error.clone());
            }
        }
        let known = state.topics.get_mut(&record.topic);
        let Some(known) = known.filter(|known| now.duration_since(known.since) < age_max) else {
            return Ok(Attempt::UnknownTopic);
        };
        if state.accumulator.held + size > self.shared.config.buffer_bytes_max {
            return Ok(Attempt::Full);
        }
        let (partition, is_sticky) = match (record.partition, &record.key) {
            (Some(partition), _) => (partition, false),
            (None, Some(key)) => (partitioner::for_key(key, known.partitions), false),
            (None, None) => {
                let current = known.sticky.filter(|at| *at < known.partitions);
                let open = |at: &i32| state.accumulator.has_open(&record.topic, *at);
                let next = || partitioner::other(current, known.partitions, chance());
                let sticky = current.filter(open).unwrap_or_else(next);
                known.sticky = Some(sticky);
                (sticky, true)
            }
        };
        if !(0..known.partitions).contains(&partition) {
            return Err(ClientError::Refused(Refusal {
                api: "Produce",
                subject: format!("partition {}-{partition}", record.topic),
                code: ErrorCode::UnknownTopicOrPartition.code(),
                message: Some(format!("the topic has {} partitions", known.partitions)),
            }));
        }
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let appended = state
            .accumulator
            .append(partition, record, timestamp, now)
            .map_err(|error| ClientError::Unencodable {
                api: "Produce",
                reason: error.to_string(),
            })?;
        if appended.closed && is_sticky {
            let next = partitioner::other(Some(partition), known.partitions, chance());
            known.sticky = Some(next);
        }
        if appended.wake {
            self.shared.wake.notify_one();
        }
        Ok(Attempt::Appended(Delivery {
            settled: appended.settled,
            index: appended.index,
            partition: TopicPartition::new(record.topic.clone(), partition),
        }))
    }

    async fn look_up(&self, name: &str) -> Result<(), ClientError> {
        let topic = self.shared.client.topic(name).await?;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if partitions == 0 {
            return Err(ClientError::Refused(Refusal {
                api: "Metadata",
                subject: format!("topic {name}"),
                code: ErrorCode::LeaderNotAvailable.code(),
                message: Some("it has no partitions".to_owned()),
            }));
        }
        let mut state = self.shared.lock();
        let sticky = state.topics.get(name).and_then(|known| known.sticky);
        let known = Known {
            partitions,
            since: Instant::now(),
            sticky,
        };
        state.topics.insert(name.to_owned(), known);
        Ok(())
    }

    /// Sends what is there without lingering, and waits until all of it is settled.
    pub async fn flush(&self) {
        let _flush = Flush::begin(&self.shared);
        self.wait_until_settled(|state| state.accumulator.unsettled == 0)
            .await;
    }

    async fn wait_until_settled(&self, done: impl Fn(&State) -> bool) {
        loop {
            let settled = self.shared.settled.notified();
            tokio::pin!(settled);
            // Registered before looking, so that nothing is settled in between.
            settled.as_mut().enable();
            if done(&self.shared.lock()) {
                return;
            }
            settled.await;
        }
    }
}

/// Somebody waits for everything to be settled, until this is dropped: also a wait that is given up
/// ends, and batches linger again.
struct Flush<'a>(&'a Shared);

impl Flush<'_> {
    fn begin(shared: &Shared) -> Flush<'_> {
        shared.flushes.fetch_add(1, Ordering::SeqCst);
        shared.wake.notify_one();
        Flush(shared)
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        self.0.flushes.fetch_sub(1, Ordering::SeqCst);
    }
}

enum Attempt {
    Appended(Delivery),
    UnknownTopic,
    Full,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a producer is a shell: records without a time get its own"
)]
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
