//! Transactions that hang: open on a partition for longer than any may take, so that nobody is
//! going to end them, while readers of committed data wait.
//!
//! Guards keep them from coming about. One can still be here from a time or a broker without
//! guards. An operator finds it by the metric and the line in the log, and ends it with
//! `kafka-transactions.sh abort`.
//!
//! How long one is open is counted from when it was first seen here, by the clock of this process: times in
//! batches are their producers', who may write of last year or of tomorrow. A restart counts anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_storage::producer_state::ProducerState;
use tokio::time::Instant;
use uuid::Uuid;

use super::ask::{Ask, Described, ListFilter, Reply};
use super::record::State;
use crate::node::Services;
use crate::partition::Partition;

/// Beyond `transaction.max.timeout.ms`, as Kafka has it: a coordinator may be away for a while.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A transaction that is open on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    topic: String,
    topic_id: Uuid,
    index: i32,
    producer_id: i64,
    epoch: i16,
    first_offset: i64,
}

/// What tells it from all others.
type Key = (Uuid, i32, i64, i64);

impl Open {
    fn key(&self) -> Key {
        let Open {
            topic_id,
            index,
            first_offset,
            producer_id,
            ..
        } = *self;
        (topic_id, index, first_offset, producer_id)
    }
}

/// One that should have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Late {
    open: Open,
    age: Duration,
}

fn open_on<'a>(
    partition: &'a Partition,
    producers: &'a ProducerState,
) -> impl Iterator<Item = Open> + 'a {
    producers.iter().filter_map(|(producer_id, entry)| {
        Some(Open {
            topic: partition.topic.clone(),
            topic_id: partition.topic_id,
            index: partition.index,
            producer_id,
            epoch: entry.epoch,
            first_offset: entry.txn_first_offset?,
        })
    })
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    is_told: bool,
}

/// Those that were open when somebody last looked; each that is late has one line in the log.
#[derive(Debug, Default)]
pub struct Watched(Mutex<BTreeMap<Key, Seen>>);

/// What somebody finds who looks.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// Partitions with one that is late.
    partitions: usize,
    /// Those that are late and were not told of yet.
    new: Vec<Late>,
}

impl Watched {
    /// These are open now; the others are forgotten.
    fn round(&self, now: Instant, allowed: Duration, open: Vec<Open>) -> Round {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *known);
        let mut partitions = BTreeSet::new();
        let mut new = Vec::new();
        for open in open {
            let key = open.key();
            let fresh = Seen {
                first: now,
                is_told: false,
            };
            let mut seen = before.get(&key).copied().unwrap_or(fresh);
            let age = now.saturating_duration_since(seen.first);
            if age > allowed {
                partitions.insert((open.topic_id, open.index));
                if !std::mem::replace(&mut seen.is_told, true) {
                    new.push(Late { open, age });
                }
            }
            known.insert(key, seen);
        }
        Round {
            partitions: partitions.len(),
            new,
        }
    }
}

/// Blocking: looks through all partitions here.
pub fn look(services: &Services) {
    for late in find(services, Instant::now()) {
        let whose = tokio::runtime::Handle::current().block_on(whose(services, &late.open));
        tracing::warn!("{}", sentence(&late, &whose));
    }
}

fn find(services: &Services, now: Instant) -> Vec<Late> {
    let allowed = services.config().transactions.timeout_max + PATIENCE;
    let mut open = Vec::new();
    for partition in services.partitions.all() {
        if partition.reader().first_unstable().is_some() {
            open.extend(open_on(&partition, partition.log().producers()));
        }
    }
    let Round { partitions, new } = services.transactions.watched.round(now, allowed, open);
    let partitions = i64::try_from(partitions).unwrap_or(i64::MAX);
    let gauge = &services.metrics.transactions.late_partitions;
    gauge.set(partitions);
    new
}

/// Who answers for a transaction; only its coordinator knows, if anybody does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    /// A transactional id, in whose transaction the partition is or is not.
    Id {
        id: String,
        state: State,
        includes: bool,
        timeout_ms: i32,
    },
    /// No id has this producer.
    Nobody,
    /// The coordinator does not say.
    Unknown(ErrorCode),
}

async fn whose(services: &Services, open: &Open) -> Whose {
    let filter = ListFilter {
        producer_ids: vec![open.producer_id],
        duration_ms: -1,
        ..ListFilter::default()
    };
    let id = match services.transactions.list(&filter).await {
        Ok(listed) => match listed.into_iter().next() {
            Some(listed) => listed.id.to_string(),
            None => return Whose::Nobody,
        },
        Err(code) => return Whose::Unknown(code),
    };
    let ask = Ask::Describe(id.clone());
    match services.transactions.ask(&id, ask).await {
        Reply::Describe(Ok(Described {
            state,
            timeout_ms,
            partitions,
            ..
        })) => Whose::Id {
            id,
            state,
            includes: partitions
                .iter()
                .any(|(topic, index)| **topic == *open.topic && *index == open.index),
            timeout_ms,
        },
        Reply::Describe(Err(code)) => Whose::Unknown(code),
        other => Whose::Unknown(other.refusal()),
    }
}

const ABORT: &str = "kafka-transactions.sh abort, or rkctl txn abort, ends it";

/// What an operator reads of one that is late. Nobody is told to abort what its coordinator is going to end.
fn sentence(late: &Late, whose: &Whose) -> String {
    let Late { open, age } = late;
    let Open {
        topic,
        index,
        producer_id,
        epoch,
        first_offset,
        ..
    } = open;
    let (whose, advice) = match whose {
        Whose::Id {
            id,
            state,
            includes,
            timeout_ms,
        } => {
            let advice = match (state, includes) {
                (State::Ongoing, true) => {
                    format!(
                        "its coordinator has it, and it ends at its time-out of {timeout_ms} ms"
                    )
                }
                (state, _) if state.is_ending() => {
                    "its end is decided and is still being told: do not \
                     abort it here, see what keeps this partition from taking its marker"
                        .to_owned()
                }
                _ => format!("it is not part of what its coordinator has: {ABORT}"),
            };
            (format!("transactional id {id}, {}", state.name()), advice)
        }
        Whose::Nobody => (
            "no transactional id has it now".to_owned(),
            ABORT.to_owned(),
        ),
        Whose::Unknown(code) => (
            format!("its coordinator does not answer, {}", code.name()),
            "look with kafka-transactions.sh describe when it does, before anything is aborted"
                .to_owned(),
        ),
    };
    format!(
        "{topic}-{index}: a transaction of producer {producer_id} epoch {epoch} ({whose}) is open since \
         offset {first_offset}, and was first seen {} ms ago; readers of committed data wait for it; {advice}",
        age.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
    use reka_protocol::kafka_protocol::messages::produce_request::{
        PartitionProduceData, TopicProduceData,
    };
    use reka_protocol::kafka_protocol::messages::{
        CreateTopicsRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
        ProduceRequest, TopicName, TransactionalId,
    };
    use reka_protocol::kafka_protocol::protocol::StrBytes;
    use reka_records::BatchBuilder;

    use super::*;
    use crate::simulation::Machine;
    use crate::simulation::client::Client;

    const MINUTE: Duration = Duration::from_secs(60);

    fn open(first_offset: i64) -> Open {
        Open {
            topic: "t".to_owned(),
            topic_id: Uuid::nil(),
            index: 4,
            producer_id: 7,
            epoch: 3,
            first_offset,
        }
    }

    #[test]
    fn what_was_first_seen_longer_ago_than_allowed_is_late_and_told_once() {
        let watched = Watched::default();
        let began = Instant::now();
        let round = |minutes: u32, offsets: &[i64]| {
            let open = offsets.iter().copied().map(open).collect();
            let round = watched.round(began + MINUTE * minutes, MINUTE * 20, open);
            let new = round.new.iter();
            let new: Vec<_> = new
                .map(|late| (late.open.first_offset, late.age.as_secs() / 60))
                .collect();
            (round.partitions, new)
        };
        assert_eq!(round(0, &[1]), (0, vec![]));
        assert_eq!(round(20, &[1, 2]), (0, vec![]));
        assert_eq!(round(21, &[1, 2]), (1, vec![(1, 21)]));
        assert_eq!(round(22, &[1, 2]), (1, vec![]));
        assert_eq!(round(41, &[1, 2]), (1, vec![(2, 21)]));
        assert_eq!(round(42, &[]), (0, vec![]));
        assert_eq!(round(43, &[1]), (0, vec![]), "it is seen anew");
        assert_eq!(round(64, &[1]), (1, vec![(1, 21)]));
    }

    fn of(state: State, includes: bool) -> Whose {
        Whose::Id {
            id: "x".to_owned(),
            state,
            includes,
            timeout_ms: 60_000,
        }
    }

    fn told(whose: &Whose) -> String {
        let late = Late {
            open: open(17),
            age: Duration::from_millis(1_260_001),
        };
        sentence(&late, whose)
    }

    #[test]
    fn the_line_names_partition_producer_id_and_age() {
        let told = told(&of(State::Empty, false));
        for part in [
            "t-4:",
            "producer 7 epoch 3",
            "transactional id x, Empty",
            "offset 17",
            "1260001 ms ago",
            ABORT,
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn nobody_is_told_to_abort_what_its_coordinator_ends() {
        let ongoing = told(&of(State::Ongoing, true));
        assert!(ongoing.contains("time-out of 60000 ms"), "{ongoing}");
        assert!(!ongoing.contains("abort"), "{ongoing}");
        for state in [State::PrepareCommit, State::PrepareAbort] {
            let told = told(&of(state, true));
            assert!(
                told.contains("do not abort") && !told.contains(ABORT),
                "{told}"
            );
        }
        let unknown = told(&Whose::Unknown(ErrorCode::CoordinatorLoadInProgress));
        assert!(!unknown.contains(ABORT), "{unknown}");
        for whose in [
            of(State::Ongoing, false),
            of(State::Empty, false),
            of(State::CompleteCommit, false),
            Whose::Nobody,
        ] {
            let told = told(&whose);
            assert!(told.contains(ABORT), "{told}");
        }
    }

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    fn id() -> TransactionalId {
        TransactionalId(text("x"))
    }

    async fn begin(client: &mut Client) -> (i64, i16) {
        loop {
            let find = FindCoordinatorRequest::default()
                .with_key_type(1)
                .with_key(text("x"));
            client.call(3, &find).await;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(id()))
                .with_transaction_timeout_ms(60_000)
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            let answer = client.call(5, &request).await;
            if answer.error_code == 0 {
                return (answer.producer_id.0, answer.producer_epoch);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// One record into a transaction of the partition.
    async fn write(client: &mut Client, producer: (i64, i16), timestamp: i64) {
        let mut batch = BatchBuilder::new(0)
            .producer(producer.0, producer.1, 0)
            .transactional();
        let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        let appended = batch.append(0, timestamp, None, Some(b"v"), headers);
        appended.expect("a record that fits");
        let data = PartitionProduceData::default().with_records(Some(batch.finish().into()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(text("t")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_transactional_id(Some(id()))
            .with_topic_data(vec![topic]);
        let answer = client.call(12, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }

    /// A year ago, and as far ahead as is taken.
    #[test]
    fn times_in_batches_make_no_transaction_late_nor_hide_one() {
        for ahead_ms in [-365 * 24 * 3_600_000, 3_500_000] {
            let settings = ["transaction.state.log.num.partitions=1"];
            Machine::new(11, &settings).live(async |node| {
                let services = &node.services;
                let late = || services.metrics.transactions.late_partitions.get();
                let mut client = node.connect().await;
                let topic = CreatableTopic::default()
                    .with_name(TopicName(text("t")))
                    .with_num_partitions(1)
                    .with_replication_factor(1);
                let request = CreateTopicsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(10_000);
                assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
                let producer = begin(&mut client).await;
                write(&mut client, producer, services.clock.now_ms() + ahead_ms).await;
                let now = Instant::now();
                assert_eq!(find(services, now), [], "{ahead_ms}");
                assert_eq!(late(), 0, "{ahead_ms}");
                let found = find(services, now + MINUTE * 21);
                assert_eq!(late(), 1, "{ahead_ms}");
                let [found] = found.as_slice() else {
                    panic!("{found:?}");
                };
                assert_eq!(found.open.producer_id, producer.0);
                let told = sentence(found, &whose(services, &found.open).await);
                for part in [
                    "t-0:",
                    "transactional id x, Ongoing",
                    "time-out of 60000 ms",
                ] {
                    assert!(told.contains(part), "{told}");
                }
                let end = EndTxnRequest::default()
                    .with_transactional_id(id())
                    .with_producer_id(producer.0.into())
                    .with_producer_epoch(producer.1);
                assert_eq!(client.call(5, &end).await.error_code, 0);
                let gone = tokio::time::timeout(MINUTE, async {
                    while !find(services, now + MINUTE * 22).is_empty() || late() > 0 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
                gone.await.expect("it is counted until it ends");
            });
        }
    }
}
