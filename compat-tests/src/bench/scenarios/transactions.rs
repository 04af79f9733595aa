//! Transactions: one producer after its own answers, a hundred at once, loading a hundred thousand ids, and what
//! readers of committed data pay.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{
    EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ListTransactionsRequest,
    MetadataRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
    TxnOffsetCommitRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;
use uuid::Uuid;

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::bench::frames::{FETCH_ERROR_AT, Target};
use crate::bench::load::{Load, Plan};
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::rows::raw::{answer, group_id, now, wait_for_group};
use crate::wait;

pub(super) const TRANSACTIONS: Scenario = Scenario {
    name: "transactions",
    about: "one record, offsets and commit: one producer, 100 at once; 100,000 ids loaded; read_committed",
    settings: &[
        "offsets.topic.num.partitions=10",
        "group.initial.rebalance.delay.ms=0",
    ],
    floor: false,
    run,
};

const TOPIC: &str = "bench-0";
const PRODUCERS: usize = 100;
const EACH: usize = 300;
const SEQUENTIAL: usize = 3000;
const IDS: usize = 100_000;
const CREATORS: usize = 16;
const TIME_MAX: Duration = Duration::from_secs(180);
/// The version from which leaders add partitions by themselves, and an end takes its epoch out of use.
const PRODUCE_VERSION: i16 = 12;
const OFFSETS_VERSION: i16 = 5;
const END_VERSION: i16 = 5;
/// For readers: transactions of so many batches of so many records.
const TXN_BATCHES: usize = 4;
const BATCH_RECORDS: usize = 64;
const READ_TRANSACTIONS: usize = 250;
/// One of so many is aborted.
const ABORTED_OF: usize = 5;
const FETCH_BYTES: i32 = 1 << 20;
const FETCHES: u64 = 6000;
const FETCHES_TIME_MAX: Duration = Duration::from_secs(20);

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    contestant.create_topics("bench", 1, PRODUCERS as i32)?;
    contestant.create_topics("read", 1, 1)?;
    let address = contestant.address()?;
    wait_for_group(&mut Side::new("the broker", address), "group-0", TIME_MAX)?;

    let mut one = Producer::begin(address, "one", TOPIC, 0)?;
    (0..SEQUENTIAL / 4).try_for_each(|_| one.transact())?;
    let from = Instant::now();
    (0..SEQUENTIAL).try_for_each(|_| one.transact())?;
    let sequential = SEQUENTIAL as f64 / from.elapsed().as_secs_f64();

    let mut producers = in_parallel(PRODUCERS, |at| {
        Producer::begin(address, &format!("many-{at}"), TOPIC, at as i32)
    })?;
    let mut round = |each: usize| {
        let (from, before) = (Instant::now(), contestant.cpu_seconds()?);
        std::thread::scope(|scope| {
            let transact =
                |producer: &mut Producer| (0..each).try_for_each(|_| producer.transact());
            let threads: Vec<_> = producers
                .iter_mut()
                .map(|producer| scope.spawn(move || transact(producer)))
                .collect();
            threads.into_iter().try_for_each(joined)
        })?;
        let count = (each * PRODUCERS) as f64;
        let cpu = contestant.cpu_seconds()? - before;
        Ok::<_, Error>((count / from.elapsed().as_secs_f64(), count / cpu))
    };
    round(EACH / 4)?;
    let (parallel, parallel_cpu) = round(EACH)?;

    let read = readers(contestant)?;
    let loaded = load_ids(contestant)?;
    Ok(vec![
        (
            "transactions_sequential",
            Unit::TransactionsPerSecond,
            sequential,
        ),
        (
            "transactions_100_producers",
            Unit::TransactionsPerSecond,
            parallel,
        ),
        (
            "transactions_100_producers_cpu",
            Unit::TransactionsPerCpuSecond,
            parallel_cpu,
        ),
        ("transactions_read_committed_share", Unit::Percent, read),
        (
            "transactions_100k_ids_load",
            Unit::Milliseconds,
            loaded.as_secs_f64() * 1e3,
        ),
    ])
}

fn in_parallel<T: Send>(count: usize, make: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let make = &make;
        let threads: Vec<_> = (0..count).map(|at| scope.spawn(move || make(at))).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let panicked = |_| Error::refused("run a producer", "its thread panicked");
    thread.join().map_err(panicked)?
}

fn refused<T>(step: &str, code: i16) -> Result<T> {
    Err(Error::refused(step, format!("error {code}")))
}

/// A client that waits for each answer, and has a partition and a group of its own.
struct Producer {
    side: Side,
    id: TransactionalId,
    group: String,
    topic: String,
    topic_id: Uuid,
    partition: i32,
    producer: (ProducerId, i16),
    sequence: i32,
    offset: i64,
}

fn init(side: &mut Side, id: &TransactionalId) -> Result<(ProducerId, i16)> {
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    wait::until("begin a producer", TIME_MAX, || {
        let begun = answer(side.ask(4, &init)?, "begin a producer")?;
        // The coordinator's topic is created when the first one asks.
        Ok((begun.error_code == 0).then_some((begun.producer_id, begun.producer_epoch)))
    })
}

impl Producer {
    fn begin(address: SocketAddr, id: &str, topic: &str, partition: i32) -> Result<Producer> {
        let mut side = Side::new("the broker", address);
        find_coordinator(&mut side, id)?;
        let id = TransactionalId(StrBytes::from_string(id.to_owned()));
        let producer = init(&mut side, &id)?;
        let asked = MetadataRequest::default().with_topics(None);
        let metadata = answer(side.ask(12, &asked)?, "ask for metadata")?;
        let is_ours = |name: &str| name == topic;
        let found = metadata
            .topics
            .iter()
            .find(|one| one.name.as_ref().is_some_and(|name| is_ours(name)));
        Ok(Producer {
            side,
            group: format!("group-{partition}"),
            id,
            topic: topic.to_owned(),
            topic_id: found.map_or_else(Uuid::nil, |found| found.topic_id),
            partition,
            producer,
            sequence: 0,
            offset: 0,
        })
    }

    /// A record, the offset of what it was made of, and the end.
    fn transact(&mut self) -> Result<()> {
        self.send(1, 100)?;
        self.offset += 1;
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(self.partition)
            .with_committed_offset(self.offset)
            .with_committed_metadata(Some(StrBytes::new()));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(self.topic_name())
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id.clone())
            .with_group_id(group_id(&self.group))
            .with_producer_id(self.producer.0)
            .with_producer_epoch(self.producer.1)
            .with_generation_id(-1)
            .with_topics(vec![topic]);
        self.again("commit offsets", |side| {
            let committed = answer(side.ask(OFFSETS_VERSION, &request)?, "commit offsets")?;
            Ok(committed.topics[0].partitions[0].error_code)
        })?;
        self.end(true)
    }

    fn topic_name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.clone()))
    }

    /// A batch of so many records of so many bytes.
    fn send(&mut self, records: usize, bytes: usize) -> Result<()> {
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![
                TopicProduceData::default()
                    .with_name(self.topic_name())
                    .with_topic_id(self.topic_id)
                    .with_partition_data(vec![
                        PartitionProduceData::default()
                            .with_index(self.partition)
                            .with_records(Some(self.batch(records, bytes)?)),
                    ]),
            ]);
        self.again("send", |side| {
            let sent = answer(side.ask(PRODUCE_VERSION, &request)?, "send")?;
            Ok(sent.responses[0].partition_responses[0].error_code)
        })?;
        self.sequence += records as i32;
        Ok(())
    }

    fn batch(&self, records: usize, bytes: usize) -> Result<Bytes> {
        let (id, epoch) = self.producer;
        let mut builder = BatchBuilder::new(0)
            .producer(id.0, epoch, self.sequence)
            .transactional();
        let value = vec![b'v'; bytes];
        let at_ms = now().as_millis() as i64;
        for offset in 0..records {
            let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            builder
                .append(offset as i64, at_ms, None, Some(&value), none)
                .map_err(|error| Error::refused("make a batch", error.to_string()))?;
        }
        Ok(builder.finish().into())
    }

    fn end(&mut self, commits: bool) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.producer.0)
            .with_producer_epoch(self.producer.1)
            .with_committed(commits);
        let mut next = self.producer;
        self.again("end", |side| {
            let ended = answer(side.ask(END_VERSION, &request)?, "end")?;
            next = (ended.producer_id, ended.producer_epoch);
            Ok(ended.error_code)
        })?;
        self.producer = next;
        self.sequence = 0;
        Ok(())
    }

    /// Asks again at once while the transaction before is still being told to its partitions.
    fn again(&mut self, step: &str, mut ask: impl FnMut(&mut Side) -> Result<i16>) -> Result<()> {
        let from = Instant::now();
        loop {
            match ask(&mut self.side)? {
                0 => return Ok(()),
                code if code != ErrorCode::ConcurrentTransactions.code() => {
                    return refused(step, code);
                }
                code if from.elapsed() > TIME_MAX => return refused(step, code),
                _ => {}
            }
        }
    }
}

fn find_coordinator(side: &mut Side, id: &str) -> Result<()> {
    let find = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(id.to_owned()))
        .with_key_type(1);
    wait::until("find the coordinator", TIME_MAX, || {
        let found = answer(side.ask(3, &find)?, "find the coordinator")?;
        Ok((found.error_code == 0).then_some(()))
    })
}

/// What readers of committed data reach of what readers of everything do, in hundredths. By CPU time.
fn readers(contestant: &mut Contestant<'_>) -> Result<f64> {
    let address = contestant.address()?;
    let mut producer = Producer::begin(address, "read", "read-0", 0)?;
    for number in 0..READ_TRANSACTIONS {
        for _ in 0..TXN_BATCHES {
            producer.send(BATCH_RECORDS, 1000)?;
        }
        // What was aborted is told to readers of committed data in each answer, and is theirs to skip.
        producer.end(number % ABORTED_OF != 0)?;
    }
    let target = Target {
        topic: "read-0",
        partition: 0,
    };
    // A marker follows each transaction.
    let offsets = (READ_TRANSACTIONS * (TXN_BATCHES * BATCH_RECORDS + 1)) as i64;
    let starts: Vec<i64> = (0..32).map(|at| offsets / 2 * at / 32).collect();
    let mut reached = [0.0, 0.0];
    // Both in turn, so that neither has the warmer machine.
    for pass in 0..4 {
        for isolation_level in [0, 1] {
            let frames = starts
                .iter()
                .map(|start| target.fetch_at(*start, FETCH_BYTES, 500, isolation_level))
                .collect::<Result<Vec<_>>>()?;
            let plan = Plan {
                connections: vec![frames; 4],
                depth: 2,
                error_at: FETCH_ERROR_AT,
            };
            let mut load = Load::connect(address, &plan)?;
            let before = contestant.cpu_seconds()?;
            let fetched = load.run(FETCHES, FETCHES_TIME_MAX)?;
            let cpu = contestant.cpu_seconds()? - before;
            if pass > 0 {
                reached[isolation_level as usize] += fetched.received_bytes as f64 / cpu;
            }
        }
    }
    let [everything, committed] = reached;
    Ok(committed / everything * 100.0)
}

/// From the restart of the broker until its coordinators know every id.
fn load_ids(contestant: &mut Contestant<'_>) -> Result<Duration> {
    let address = contestant.address()?;
    in_parallel(CREATORS, |creator| {
        let mut side = Side::new("the broker", address);
        (creator..IDS).step_by(CREATORS).try_for_each(|at| {
            let id = StrBytes::from_string(format!("transactional-id-{at}"));
            init(&mut side, &TransactionalId(id)).map(drop)
        })
    })?;
    contestant.stop()?;
    contestant.start_again()?;
    let mut side = Side::new("the broker", contestant.address()?);
    let from = Instant::now();
    wait::until("load the ids", TIME_MAX, || {
        let request = ListTransactionsRequest::default();
        let listed = answer(side.ask(0, &request)?, "list transactions")?;
        let loaded = listed.error_code == 0 && listed.transaction_states.len() >= IDS;
        Ok(loaded.then_some(()))
    })?;
    Ok(from.elapsed())
}
