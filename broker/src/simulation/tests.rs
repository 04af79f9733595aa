//! Kills and power cuts at any operation of the disk, while clients produce, consume and commit.
//!
//! `SIMULATION_SEEDS=1000 cargo test --release -p reka-broker --lib simulation` tells more stories.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
    OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::{BatchBuilder, batches};
use reka_storage::fs::sim::{Seeded, SimDisk};

use tokio::task::JoinSet;

use super::client::Client;
use super::{Machine, SimulatedNode};

pub(super) const TOPIC: &str = "orders";
pub(super) const PARTITIONS: i32 = 2;
const GROUP: &str = "readers";
/// Few partitions, so that a life has few operations before it begins.
const SMALL: &[&str] = &["offsets.topic.num.partitions=2"];
/// Everything is synced before it is told of.
const SYNCED: &[&str] = &[
    "offsets.topic.num.partitions=2",
    "log.flush.interval.messages=1",
];
/// A life ends within this.
pub(super) const LIFE_MAX_MS: u64 = 1_500;
pub(super) const LIVES: usize = 6;
const SEEDS: u64 = 3;

/// How lives end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The process is gone; what it gave to the kernel is not.
    Kill,
    /// So is the kernel: what was not synced may be gone, or torn.
    PowerCut,
}

/// Something a client was told, and how many operations of the disk it took at most.
pub(super) struct Told<T> {
    pub(super) what: T,
    pub(super) operations: u64,
}

/// What the clients of one life know.
#[derive(Default)]
struct Story {
    /// Partition, offset and value.
    produced: Vec<Told<(i32, i64, String)>>,
    /// Partition and offset.
    committed: Vec<Told<(i32, i64)>>,
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) async fn create(client: &mut Client) {
    let topic = CreatableTopic::default()
        .with_name(topic_name(TOPIC))
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let answer = client.call(7, &request).await;
    let code = answer.topics[0].error_code;
    let fine = [ErrorCode::None.code(), ErrorCode::TopicAlreadyExists.code()];
    assert!(fine.contains(&code), "error {code}");
}

/// Produces one batch of one record after the other, until the power is cut.
async fn produce(node: Rc<SimulatedNode>, story: Rc<RefCell<Story>>, name: String, disk: SimDisk) {
    let mut client = node.connect().await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let producer = client.call(4, &request).await;
    assert_eq!(producer.error_code, 0);
    let partition = i32::from(name.ends_with('1'));
    for sequence in 0.. {
        let value = format!("{name} {sequence}");
        let mut batch = BatchBuilder::new(0).producer(producer.producer_id.0, 0, sequence);
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
            .with_topic_data(vec![topic]);
        let answer = client.call(9, &request).await;
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        story.borrow_mut().produced.push(Told {
            what: (partition, answer.base_offset, value),
            operations: disk.operations(),
        });
    }
}

/// What there is from an offset on; where the next is, and the values with their offsets.
async fn fetch(
    client: &mut Client,
    partition: i32,
    offset: i64,
    wait_ms: i32,
) -> Vec<(i64, String)> {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(TOPIC))
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let answer = client.call(12, &request).await;
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, 0);
    let mut scratch = Vec::new();
    let mut found = Vec::new();
    for batch in batches(data.records.as_deref().unwrap_or_default()) {
        let batch = batch.expect("a whole batch");
        batch.verify_crc().expect("an intact batch");
        for record in batch.records(&mut scratch, 1 << 20).expect("records") {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            found.push((record.offset, value.into_owned()));
        }
    }
    found
}

/// Waits until the coordinator of the group has read its partition.
async fn coordinator(client: &mut Client) {
    loop {
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let found = client.call(3, &request).await;
        if found.error_code == 0 && committed(client, 0).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How far the group has come.
async fn committed(client: &mut Client, partition: i32) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partition_indexes(vec![partition]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_topics(Some(vec![topic]));
    let answer = client.call(5, &request).await;
    match answer.error_code {
        0 => Ok(answer.topics[0].partitions[0].committed_offset),
        code => Err(code),
    }
}

/// Reads a partition to its end, waiting there, and commits behind each piece.
async fn consume(
    node: Rc<SimulatedNode>,
    story: Rc<RefCell<Story>>,
    partition: i32,
    disk: SimDisk,
) {
    let mut client = node.connect().await;
    coordinator(&mut client).await;
    let begun = committed(&mut client, partition).await.expect("an offset");
    let mut offset = begun.max(0);
    loop {
        let found = fetch(&mut client, partition, offset, 500).await;
        let Some((last, _)) = found.last() else {
            continue;
        };
        offset = last + 1;
        let commit = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(vec![commit]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_topics(vec![topic]);
        let answer = client.call(7, &request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        story.borrow_mut().committed.push(Told {
            what: (partition, offset),
            operations: disk.operations(),
        });
    }
}

/// What is on a disk.
type Files = BTreeMap<String, Vec<u8>>;

/// What must be there, whatever happened.
#[derive(Default)]
struct Known {
    values: BTreeMap<(i32, i64), String>,
    committed: BTreeMap<i32, i64>,
}

impl Known {
    /// What was told of before the power was cut.
    fn learn(&mut self, story: Story, cut: u64) {
        for told in story
            .produced
            .into_iter()
            .filter(|told| told.operations <= cut)
        {
            let (partition, offset, value) = told.what;
            let before = self.values.insert((partition, offset), value);
            assert_eq!(before, None, "an offset was given out twice");
        }
        for told in story
            .committed
            .into_iter()
            .filter(|told| told.operations <= cut)
        {
            let (partition, offset) = told.what;
            self.committed.insert(partition, offset);
        }
    }

    /// Reads everything and compares.
    async fn check(&self, node: &SimulatedNode) {
        let mut client = node.connect().await;
        create(&mut client).await;
        coordinator(&mut client).await;
        let mut seen = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let mut there = BTreeMap::new();
            loop {
                let next = there.last_key_value().map_or(0, |(last, _)| last + 1);
                let found = fetch(&mut client, partition, next, 0).await;
                if found.is_empty() {
                    break;
                }
                there.extend(found);
            }
            for value in there.values() {
                assert!(seen.insert(value.clone()), "{value} is there twice");
            }
            for ((_, offset), value) in self.values.range((partition, 0)..(partition + 1, 0)) {
                let found = there.get(offset);
                assert_eq!(
                    found,
                    Some(value),
                    "what was told of is gone: {partition} at {offset}"
                );
            }
            let found = committed(&mut client, partition).await.expect("an offset");
            let known = self.committed.get(&partition).copied().unwrap_or(-1);
            assert!(
                found >= known,
                "what was told of is gone: {known} was committed, {found} is"
            );
        }
    }
}

/// Lives after lives on one machine, each ended in the middle of whatever the disk was doing; what
/// happened on the network, what is on the disk at the end, and how much was known.
fn lives(seed: u64, overrides: &[&str], end: End) -> (Vec<String>, Files, usize) {
    let mut machine = Machine::new(seed, overrides);
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
            for client in 0..PARTITIONS {
                let (node, story, disk) = (node.clone(), story.clone(), disk.clone());
                let name = format!("life {life} client {client}");
                clients.spawn_local(produce(node.clone(), story.clone(), name, disk.clone()));
                clients.spawn_local(consume(node, story, client, disk));
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(length) => {}
                // None ends by itself.
                Some(failed) = clients.join_next() => failed.expect("a client without a complaint"),
            }
        });
        let states = disk.recorded();
        let cut = generator.below(states.len() as u64);
        let mut choice = Seeded(generator.below(u64::MAX));
        let left = &states[cut as usize];
        machine.disk = match end {
            End::Kill => left.snapshot(),
            End::PowerCut => left.crash(&mut choice),
        };
        let story = std::mem::take(&mut *story.borrow_mut());
        known.learn(story, before + cut);
    }
    machine.live(async |node| known.check(node).await);
    (
        machine.network.trace(),
        machine.disk.contents(Path::new("/")),
        known.values.len(),
    )
}

/// How many records were told of in all stories.
fn known(overrides: &[&str], end: End) -> usize {
    let seeds = std::env::var("SIMULATION_SEEDS").map(|seeds| seeds.parse());
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.expect("a number"));
    (0..seeds).map(|seed| lives(seed, overrides, end).2).sum()
}

#[test]
fn what_was_told_of_survives_every_kill() {
    let known = known(SMALL, End::Kill);
    // Otherwise there was nothing to lose.
    assert!(known > 500, "{known} records");
}

#[test]
fn what_was_synced_before_it_was_told_of_survives_every_power_cut() {
    let known = known(SYNCED, End::PowerCut);
    assert!(known > 500, "{known} records");
}

/// So the one above would notice.
#[test]
#[should_panic(expected = "what was told of is gone")]
fn what_was_not_synced_does_not() {
    known(SMALL, End::PowerCut);
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    for (overrides, end) in [(SYNCED, End::PowerCut), (SMALL, End::Kill)] {
        let (trace, disk, _) = lives(7, overrides, end);
        let (again, disk_again, _) = lives(7, overrides, end);
        let differs = trace.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert_eq!(trace.len(), again.len());
        assert!(disk == disk_again, "the disks differ");
        assert_ne!(trace, lives(8, overrides, end).0);
    }
}
