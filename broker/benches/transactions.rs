//! `cargo bench -p reka-broker`: figures of transactions, one line each:
//!
//! ```text
//! figure NAME VALUE UNIT
//! ```
//!
//! A node in this process and its clients over TCP, on the same cores. A transaction is one record, a
//! group's offset and the commit, each waited for. `BENCH_SECONDS` sets how long each figure is taken
//! (5 by default).

#[path = "../tests/it/support.rs"]
#[allow(dead_code, reason = "the tests' client; not all of it is needed here")]
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest,
    GroupId, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TransactionalId,
    TxnOffsetCommitRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;
use rustix::time::{ClockId, clock_gettime};
use support::{Client, fetch_request, produce_request, start_with, topic_name};

const TOPIC: &str = "t";
const IDS: usize = 100_000;
const TRANSACTIONS_READ: usize = 2_000;
const READ_ROUNDS: usize = 6;
const SETTINGS: &[&str] = &[
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
];
/// The coordinator is on its way.
const NOT_YET: [i16; 3] = [14, 15, 16];

fn main() {
    let seconds = std::env::var("BENCH_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(5);
    for producers in [1, 100] {
        let dir = tempfile::tempdir().expect("a folder");
        transactions(dir.path(), producers, Duration::from_secs(seconds));
    }
    let dir = tempfile::tempdir().expect("a folder");
    read(dir.path());
    let dir = tempfile::tempdir().expect("a folder");
    load(dir.path());
}

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.1} {unit}");
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

/// A node whose coordinators answer.
fn node(dir: &Path) -> Node {
    let node = start_with(dir, SETTINGS);
    let mut client = Client::connect(&node);
    for key_type in [0, 1] {
        let find = FindCoordinatorRequest::default()
            .with_key(text("x"))
            .with_key_type(key_type);
        client.call(3, &find);
    }
    ready(&mut client);
    node
}

fn ready(client: &mut Client) {
    let names = (0..64).map(|n| id(&format!("nobody-{n}"))).collect();
    let ask = DescribeTransactionsRequest::default().with_transactional_ids(names);
    loop {
        let states = client.call(0, &ask).transaction_states;
        if !states.iter().any(|one| NOT_YET.contains(&one.error_code)) {
            return;
        }
    }
}

fn begin(client: &mut Client, name: &str) -> (i64, i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = client.call(5, &request);
    assert_eq!(answer.error_code, 0, "{name}");
    (answer.producer_id.0, answer.producer_epoch)
}

/// One transaction; the producer of the next.
fn transact(client: &mut Client, name: &str, producer: (i64, i16), now_ms: i64) -> (i64, i16) {
    let mut builder = BatchBuilder::new(0)
        .producer(producer.0, producer.1, 0)
        .transactional();
    let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    builder
        .append(0, now_ms, None, Some(&[b'v'; 100]), none)
        .expect("a record");
    let produce = produce_request(TOPIC, builder.finish())
        .with_acks(-1)
        .with_transactional_id(Some(id(name)));
    let produced = client.call(12, &produce);
    let code = produced.responses[0].partition_responses[0].error_code;
    assert_eq!(code, 0, "{name}");
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![partition]);
    let commit = TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(GroupId(text(name)))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    let code = client.call(5, &commit).topics[0].partitions[0].error_code;
    assert_eq!(code, 0, "{name}");
    let end = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(true);
    let ended = client.call(5, &end);
    assert_eq!(ended.error_code, 0, "{name}");
    (ended.producer_id.0, ended.producer_epoch)
}

fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn create_topic(client: &mut Client) {
    let topic = CreatableTopic::default()
        .with_name(topic_name(TOPIC))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let create = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    client.call(7, &create);
}

/// Reads of a log of transactions, every tenth of them aborted, by both kinds of readers in turns.
fn read(dir: &Path) {
    let node = node(dir);
    let mut client = Client::connect(&node);
    create_topic(&mut client);
    let mut producer = begin(&mut client, "x");
    let now_ms = reka_broker::clock::Clock::System.now_ms();
    for number in 0..TRANSACTIONS_READ {
        let mut builder = BatchBuilder::new(0)
            .producer(producer.0, producer.1, 0)
            .transactional();
        for at in 0..100 {
            let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            let appended = builder.append(at, now_ms, None, Some(&[b'v'; 1000]), none);
            appended.expect("a record");
        }
        let produce = produce_request(TOPIC, builder.finish())
            .with_acks(-1)
            .with_transactional_id(Some(id("x")));
        client.call(12, &produce);
        let end = EndTxnRequest::default()
            .with_transactional_id(id("x"))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_committed(number % 10 != 0);
        let ended = client.call(5, &end);
        producer = (ended.producer_id.0, ended.producer_epoch);
    }
    let mut took = [Duration::ZERO; 2];
    let mut bytes = 0;
    for _ in 0..READ_ROUNDS {
        for isolation in [0, 1] {
            let began = Instant::now();
            bytes = read_all(&mut client, isolation);
            took[isolation as usize] += began.elapsed();
        }
    }
    let all = (bytes * READ_ROUNDS) as f64 / f64::from(1 << 20);
    let [uncommitted, committed] = took.map(|took| all / took.as_secs_f64());
    figure("read_uncommitted", uncommitted, "MiB/s");
    figure("read_committed", committed, "MiB/s");
    figure(
        "read_committed_ratio",
        committed / uncommitted * 100.0,
        "% of uncommitted",
    );
    node.stop().expect("a clean stop");
}

fn read_all(client: &mut Client, isolation: i8) -> usize {
    let (mut next, mut bytes) = (0, 0);
    loop {
        let fetch = fetch_request(TOPIC, next, 0).with_isolation_level(isolation);
        let mut answer = client.call(12, &fetch);
        let partition = answer.responses.remove(0).partitions.remove(0);
        let records = partition.records.unwrap_or_default();
        let last = reka_records::batches(&records).flatten().last();
        let Some(last) = last else {
            return bytes;
        };
        next = last.header().last_offset() + 1;
        bytes += records.len();
    }
}

fn transactions(dir: &Path, producers: usize, time: Duration) {
    let node = node(dir);
    create_topic(&mut Client::connect(&node));
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (began, used_before) = (Instant::now(), processor_time());
    std::thread::scope(|scope| {
        for number in 0..producers {
            let (node, stop, done) = (&node, &stop, &done);
            scope.spawn(move || {
                let mut client = Client::connect(node);
                let name = format!("producer-{number}");
                let mut producer = begin(&mut client, &name);
                let now_ms = reka_broker::clock::Clock::System.now_ms();
                while !stop.load(Ordering::Relaxed) {
                    producer = transact(&mut client, &name, producer, now_ms);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let took = began.elapsed().as_secs_f64();
    let used = (processor_time() - used_before).as_secs_f64();
    let count = done.load(Ordering::Relaxed) as f64;
    let name = format!("transactions_{producers}");
    figure(&name, count / took, "transactions/s");
    let unit = "us of processor time each, clients included";
    figure(&format!("{name}_cpu"), used / count * 1e6, unit);
    node.stop().expect("a clean stop");
}

fn load(dir: &Path) {
    let first = node(dir);
    let clients = 8;
    std::thread::scope(|scope| {
        for part in 0..clients {
            let first = &first;
            scope.spawn(move || {
                let mut client = Client::connect(first);
                for number in (part..IDS).step_by(clients) {
                    begin(&mut client, &format!("id-{number}"));
                }
            });
        }
    });
    first.stop().expect("a clean stop");
    let began = Instant::now();
    let second = start_with(dir, SETTINGS);
    let mut client = Client::connect(&second);
    ready(&mut client);
    let took = began.elapsed().as_secs_f64();
    let all = ListTransactionsRequest::default().with_duration_filter(-1);
    let listed = client.call(1, &all).transaction_states.len();
    assert_eq!(listed, IDS);
    figure("load_100000_ids", took * 1e3, "ms from start to answers");
    second.stop().expect("a clean stop");
}
