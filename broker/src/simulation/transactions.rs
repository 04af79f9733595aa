//! Kills at any operation of the disk while producers write transactions to two partitions: through the
//! network, the coordinator's task and the partitions, as clients do.
//!
//! What a producer was told is committed is there once, in both partitions; what it was told is aborted is in
//! none; what it was told nothing of is in both or in none. Nothing stays open.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    EndTxnRequest, FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    TransactionalId,
};
use reka_records::{BatchBuilder, batches};
use reka_storage::fs::sim::SimDisk;
use tokio::task::JoinSet;

use super::client::Client;
use super::tests::{LIFE_MAX_MS, LIVES, PARTITIONS, TOPIC, Told, create, text, topic_name};
use super::{Machine, SimulatedNode};

const PRODUCERS: i32 = 2;
const SEEDS: u64 = 4;
const SETTINGS: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "transaction.state.log.num.partitions=1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=100",
];
/// Longer than a life, so that nobody loses a transaction to its age but those that are gone.
const TIMEOUT_MS: i32 = 5_000;
const REST: Duration = Duration::from_secs(60);

/// How the transactions that were tried ended, as far as their producers know. By what they wrote.
#[derive(Default)]
struct Story {
    tried: BTreeSet<String>,
    /// Whether it was committed.
    ended: Vec<Told<(String, bool)>>,
}

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

/// A producer id and its epoch, as soon as there is a coordinator and nothing of the last life is open.
async fn begin(client: &mut Client, name: &str) -> (i64, i16) {
    loop {
        let find = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_key(text(name));
        client.call(3, &find).await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id(name)))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = client.call(5, &request).await;
        if answer.error_code == 0 {
            return (answer.producer_id.0, answer.producer_epoch);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One record to each partition, and an end; one transaction after the other, until the process is killed.
async fn transact(
    node: Rc<SimulatedNode>,
    story: Rc<RefCell<Story>>,
    life: usize,
    name: String,
    disk: SimDisk,
) {
    let mut client = node.connect().await;
    let (producer_id, mut epoch) = begin(&mut client, &name).await;
    for number in 0.. {
        let value = format!("{name} {life} {number}");
        story.borrow_mut().tried.insert(value.clone());
        for partition in 0..PARTITIONS {
            let mut batch = BatchBuilder::new(0)
                .producer(producer_id, epoch, 0)
                .transactional();
            let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            let now_ms = node.services.clock.now_ms();
            let appended = batch.append(0, now_ms, None, Some(value.as_bytes()), headers);
            appended.expect("a record that fits");
            let data = PartitionProduceData::default()
                .with_index(partition)
                .with_records(Some(batch.finish().into()));
            let topic = TopicProduceData::default()
                .with_name(topic_name(TOPIC))
                .with_partition_data(vec![data]);
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(10_000)
                .with_transactional_id(Some(id(&name)))
                .with_topic_data(vec![topic]);
            loop {
                let answer = client.call(12, &request).await;
                let answer = &answer.responses[0].partition_responses[0];
                // The one before is still being told to its partitions.
                if answer.error_code != ErrorCode::ConcurrentTransactions.code() {
                    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let commits = number % 3 != 2;
        let request = EndTxnRequest::default()
            .with_transactional_id(id(&name))
            .with_producer_id(producer_id.into())
            .with_producer_epoch(epoch)
            .with_committed(commits);
        let ended = client.call(5, &request).await;
        assert_eq!(ended.error_code, 0, "{value}");
        assert_eq!(
            (ended.producer_id.0, ended.producer_epoch),
            (producer_id, epoch + 1)
        );
        epoch = ended.producer_epoch;
        story.borrow_mut().ended.push(Told {
            what: (value, commits),
            operations: disk.operations(),
        });
    }
}

/// What a reader of committed data finds in a partition, and whether it gets to its end.
async fn committed(client: &mut Client, partition: i32) -> (Vec<String>, bool) {
    let mut values = Vec::new();
    let (mut next, mut open) = (0, BTreeSet::new());
    loop {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(TOPIC))
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_isolation_level(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let mut answer = client.call(12, &request).await;
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            return (values, data.last_stable_offset == data.high_watermark);
        }
        let aborted = data.aborted_transactions.unwrap_or_default();
        let mut scratch = Vec::new();
        for batch in batches(&records) {
            let batch = batch.expect("a whole batch");
            let header = *batch.header();
            next = header.last_offset() + 1;
            let begins_here = aborted.iter().any(|txn| {
                txn.producer_id.0 == header.producer_id && txn.first_offset == header.base_offset
            });
            if header.is_control() {
                open.remove(&header.producer_id);
                continue;
            }
            if begins_here {
                open.insert(header.producer_id);
            }
            if open.contains(&header.producer_id) {
                continue;
            }
            for record in batch.records(&mut scratch, 1 << 20).expect("records") {
                let value = record.expect("a record").value.unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
}

/// What must be there, whatever happened.
#[derive(Default)]
struct Known {
    tried: BTreeSet<String>,
    ended: BTreeMap<String, bool>,
}

impl Known {
    fn learn(&mut self, story: Story, cut: u64) {
        self.tried.extend(story.tried);
        let told = story
            .ended
            .into_iter()
            .filter(|told| told.operations <= cut);
        self.ended.extend(told.map(|told| told.what));
    }

    /// Waits until nothing is open any more, reads everything and compares.
    async fn check(&self, node: &SimulatedNode) {
        let mut client = node.connect().await;
        create(&mut client).await;
        let rest = tokio::time::timeout(REST, async {
            loop {
                let mut found = Vec::new();
                for partition in 0..PARTITIONS {
                    found.push(committed(&mut client, partition).await);
                }
                if found.iter().all(|(_, to_the_end)| *to_the_end) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let found = rest.await.expect("a transaction stays open");
        let mut seen: Vec<BTreeSet<&str>> = Vec::new();
        for (values, _) in &found {
            let set: BTreeSet<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(set.len(), values.len(), "something is there twice");
            seen.push(set);
        }
        assert_eq!(seen[0], seen[1], "a transaction is torn");
        for (value, commits) in &self.ended {
            let is_there = seen[0].contains(value.as_str());
            assert_eq!(
                is_there, *commits,
                "{value}: told of as committed: {commits}"
            );
        }
        for value in &seen[0] {
            assert!(self.tried.contains(*value), "nobody wrote {value}");
        }
    }
}

/// Lives after lives, each ended by a kill in the middle of whatever the disk was doing; how many ends were told.
fn lives(seed: u64) -> usize {
    let mut machine = Machine::new(seed, SETTINGS);
    let generator = machine.generator.clone();
    let mut known = Known::default();
    for life in 0..LIVES {
        let disk = machine.disk.clone();
        let before = disk.operations();
        disk.record();
        let story = Rc::new(RefCell::new(Story::default()));
        let length = Duration::from_millis(generator.below(LIFE_MAX_MS));
        machine.live(async |node| {
            known.check(node).await;
            let mut clients = JoinSet::new();
            for producer in 0..PRODUCERS {
                let (node, story, disk) = (node.clone(), story.clone(), disk.clone());
                let name = format!("producer {producer}");
                clients.spawn_local(transact(node, story, life, name, disk));
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(length) => {}
                // None ends by itself.
                Some(failed) = clients.join_next() => failed.expect("a producer without a complaint"),
            }
        });
        let states = disk.recorded();
        let cut = generator.below(states.len() as u64);
        machine.disk = states[cut as usize].snapshot();
        let story = std::mem::take(&mut *story.borrow_mut());
        known.learn(story, before + cut);
    }
    machine.live(async |node| known.check(node).await);
    known.ended.len()
}

#[test]
fn transactions_are_whole_and_what_they_were_told_to_be_after_every_kill() {
    let seeds = std::env::var("SIMULATION_SEEDS").map(|seeds| seeds.parse());
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.expect("a number"));
    let told: usize = (0..seeds).map(lives).sum();
    // Otherwise there was nothing to lose.
    assert!(told > 100, "{told} transactions");
}
