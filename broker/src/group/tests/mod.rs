//! The machines, on a clock that is a number: no socket, no disk, no waiting.

mod classic;
mod consumer;
mod memory;
mod migration;
mod offsets;
mod properties;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use uuid::Uuid;

use super::ask::{
    Ask, Caller, Commit, CommitPartition, CommitTopic, FetchOffsets, FetchedTopic, Heartbeat, Join,
    Joined, Leave, Leaving, Left, PartitionCodes, Protocol, Reply, Sync, Synced, Ticket,
};
use super::classic::{Event, Step};
use super::consumer::{Assignor, ConsumerGroup};
use super::record::GroupRecord;
use super::state::Groups;
use super::{Now, Settings, partition_for};
use crate::config::{ConsumerGroupsConfig, MigrationPolicy, Tunable};

/// One partition's groups, the log they write and the answers they gave.
struct World {
    groups: Groups,
    settings: Arc<Settings>,
    image: Arc<MetadataImage>,
    now: Now,
    next: u64,
    log: Vec<GroupRecord>,
    answers: HashMap<Ticket, Reply>,
    events: Vec<Event>,
}

/// Up to twice as long, for a group that asks for it.
fn tunable(ms: u64) -> Tunable {
    Tunable {
        default: Duration::from_millis(ms),
        min: Duration::ZERO,
        max: Duration::from_millis(ms * 2),
    }
}

fn settings() -> Settings {
    Settings {
        initial_rebalance_delay_ms: 3_000,
        session_timeout_min_ms: 6_000,
        session_timeout_max_ms: 1_800_000,
        members_max: 1_000,
        offset_metadata_max: 4_096,
        commit_bytes_max: 1 << 20,
        offset_retention_ms: 7 * 24 * 3_600_000,
        record_bytes_max: 1 << 20,
        consumer_members_max: 1_000,
        assignors: vec!["uniform".to_owned(), "range".to_owned()],
        default_assignor: Assignor::Uniform,
        pattern_refresh_ms: 600_000,
        consumer: ConsumerGroupsConfig {
            members_max: 1_000,
            assignors: Vec::new(),
            migration: MigrationPolicy::Bidirectional,
            session_timeout: tunable(45_000),
            heartbeat_interval: tunable(5_000),
            assignment_interval: Tunable {
                default: Duration::ZERO,
                ..tunable(15_000)
            },
            pattern_refresh_interval: Duration::from_secs(600),
        },
    }
}

impl World {
    fn new() -> World {
        World::with(settings())
    }

    fn with(settings: Settings) -> World {
        let settings = Arc::new(settings);
        World {
            groups: Groups::new(settings.clone()),
            image: Arc::new(MetadataImage::default()),
            settings,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_700_000_000_000,
            },
            next: 0,
            log: Vec::new(),
            answers: HashMap::new(),
            events: Vec::new(),
        }
    }

    /// As the shell does it: write, apply, answer.
    fn settle(&mut self, step: Step) {
        let mut written = 0;
        for record in &step.records {
            let (key, value) = record.encode().expect("a record that can be written");
            let bytes = key.len() + value.as_ref().map_or(0, |value| value.len());
            if record.consumer_group().is_some() {
                assert!(bytes <= record.bytes(), "{bytes} of {:?}", record.key);
            }
            written += bytes;
            let back = GroupRecord::decode(&key, value.as_deref()).expect("what was written");
            assert_eq!(
                back.as_ref(),
                Some(record),
                "what is read is what was written"
            );
        }
        let only_goes = step.records.iter().all(|record| record.value.is_none());
        let segment_bytes = self.settings.commit_bytes_max * 2;
        assert!(
            only_goes || written <= segment_bytes,
            "a batch of {written} bytes"
        );
        self.groups.apply(&step.records);
        self.events
            .extend(self.groups.take_rebalances(self.now, &step.records));
        self.log.extend(step.records);
        for (ticket, reply) in step.replies {
            let before = self.answers.insert(ticket, reply);
            assert!(before.is_none(), "{ticket:?} is answered twice");
        }
        self.events.extend(step.events);
        self.groups.check_invariants();
    }

    fn ask(&mut self, ask: Ask) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        let mut step = Step::default();
        self.groups.handle(self.now, ticket, ask, &mut step);
        self.settle(step);
        ticket
    }

    /// Time goes by, and what falls due happens when it does.
    fn pass(&mut self, ms: i64) {
        let end = self.now.steady_ms + ms;
        while let Some(due) = self.groups.next_ms().filter(|due| *due <= end) {
            let skipped = (due - self.now.steady_ms).max(0);
            self.now.steady_ms += skipped;
            self.now.wall_ms += skipped;
            let mut step = Step::default();
            self.groups.expire(self.now, &mut step);
            self.settle(step);
        }
        self.now.wall_ms += end - self.now.steady_ms;
        self.now.steady_ms = end;
    }

    fn expire_offsets(&mut self) {
        let mut step = Step::default();
        self.groups.expire_offsets(self.now, &mut step);
        self.settle(step);
    }

    /// The groups as another broker reads them from the log.
    fn reloaded(&self) -> Groups {
        let mut groups = Groups::new(self.settings.clone());
        groups.see(self.image.clone());
        for record in &self.log {
            groups.replay(record, None);
        }
        groups.check_invariants();
        groups
    }

    /// The broker stops at once and starts again.
    fn crash(&mut self) {
        self.groups = self.reloaded();
        let mut step = Step::default();
        self.groups.resume(self.now, &mut step);
        self.settle(step);
    }

    fn answer(&self, ticket: Ticket) -> Option<&Reply> {
        self.answers.get(&ticket)
    }

    fn joined(&self, ticket: Ticket) -> Joined {
        match self.answer(ticket) {
            Some(Reply::Join(joined)) => joined.clone(),
            other => panic!("expected the answer to a join, found {other:?}"),
        }
    }

    fn synced(&self, ticket: Ticket) -> Synced {
        match self.answer(ticket) {
            Some(Reply::Sync(synced)) => synced.clone(),
            other => panic!("expected the answer to a sync, found {other:?}"),
        }
    }

    fn join(&mut self, join: Join) -> Ticket {
        self.ask(Ask::Join(join))
    }

    fn sync(&mut self, member: &str, generation: i32, plan: &[(&str, &str)]) -> Ticket {
        let assignments = plan
            .iter()
            .map(|(member, given)| ((*member).to_owned(), given.as_bytes().to_vec()))
            .collect();
        self.ask(Ask::Sync(Sync {
            group: "g".to_owned(),
            generation,
            member_id: member.to_owned(),
            instance_id: None,
            protocol_type: None,
            protocol: None,
            assignments,
        }))
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(member, None, generation)
    }

    fn heartbeat_as(&mut self, member: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let ticket = self.ask(Ask::Heartbeat(Heartbeat {
            group: "g".to_owned(),
            generation,
            member_id: member.to_owned(),
            instance_id: instance.map(str::to_owned),
        }));
        match self.answer(ticket) {
            Some(Reply::Code(code)) => *code,
            other => panic!("expected the answer to a heartbeat, found {other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> Left {
        let ticket = self.ask(Ask::Leave(Leave {
            group: "g".to_owned(),
            members: vec![Leaving {
                member_id: member.to_owned(),
                instance_id: instance.map(str::to_owned),
                reason: None,
            }],
        }));
        match self.answer(ticket) {
            Some(Reply::Leave(left)) => left.clone(),
            other => panic!("expected the answer to a leave, found {other:?}"),
        }
    }

    fn commit(&mut self, commit: Commit) -> PartitionCodes {
        let ticket = self.ask(Ask::Commit(commit));
        match self.answer(ticket) {
            Some(Reply::Partitions(codes)) => codes.clone(),
            other => panic!("expected the answer to a commit, found {other:?}"),
        }
    }

    fn fetch(&mut self, group: &str, require_stable: bool) -> Vec<FetchedTopic> {
        let ticket = self.ask(Ask::Fetch(FetchOffsets {
            group: group.to_owned(),
            member: None,
            topics: None,
            require_stable,
        }));
        match self.answer(ticket) {
            Some(Reply::Fetch(Ok(topics))) => topics.clone(),
            other => panic!("expected offsets, found {other:?}"),
        }
    }

    /// The offset of partition 0 of a topic; -1 for none.
    fn offset(&self, group: &str, topic: &str) -> i64 {
        let committed = self.groups.offsets().get(group, topic, 0);
        committed.map_or(-1, |committed| committed.offset)
    }

    fn state(&self) -> &'static str {
        let classic = self.groups.classic("g").map(|group| group.state().name());
        let consumer = self.groups.consumer("g").map(ConsumerGroup::state);
        classic.or(consumer).unwrap_or("Dead")
    }

    /// A group of so many members that all have their assignment, the leader first; the last
    /// generation.
    fn stable(&mut self, members: usize) -> (Vec<String>, i32) {
        let mut ids = Vec::new();
        for _ in 0..members {
            let asked = self.join(new_member());
            let id = self.joined(asked).member_id;
            ids.push(id);
        }
        let tickets: Vec<Ticket> = ids.iter().map(|id| self.join(member(id))).collect();
        self.pass(10_000);
        let joined = self.joined(tickets[0]);
        let at = ids.iter().position(|id| *id == joined.leader);
        ids.swap(0, at.expect("the leader is a member"));
        let plan: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for id in ids.iter().skip(1) {
            self.sync(id, joined.generation, &[]);
        }
        self.sync(&ids[0], joined.generation, &plan);
        assert_eq!(self.state(), "Stable");
        (ids, joined.generation)
    }
}

fn new_member() -> Join {
    member("")
}

fn member(id: &str) -> Join {
    Join {
        group: "g".to_owned(),
        member_id: id.to_owned(),
        instance_id: None,
        caller: Caller {
            client_id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![offer("range", &["t"])],
        reason: None,
        fresh_id: Uuid::new_v4(),
        takes_id_first: true,
        can_skip_assignment: true,
    }
}

fn static_member(id: &str, instance: &str) -> Join {
    Join {
        instance_id: Some(instance.to_owned()),
        ..member(id)
    }
}

/// A consumer's subscription, version 0.
fn offer(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 0];
    metadata.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as u16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend((-1_i32).to_be_bytes());
    Protocol {
        name: name.to_owned(),
        metadata,
    }
}

/// A commit of partition 0 of a topic by nobody in particular.
fn commit(group: &str, topic: &str, offset: i64) -> Commit {
    Commit {
        group: group.to_owned(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: -1,
        topics: vec![CommitTopic {
            name: topic.to_owned(),
            id: Uuid::nil(),
            partitions: vec![CommitPartition {
                index: 0,
                offset,
                leader_epoch: 3,
                metadata: "note".to_owned(),
            }],
        }],
        knows_member_epochs: false,
    }
}

fn commit_by(member: &str, generation: i32, topic: &str, offset: i64) -> Commit {
    Commit {
        generation,
        member_id: member.to_owned(),
        ..commit("g", topic, offset)
    }
}

fn code_of(codes: &PartitionCodes) -> ErrorCode {
    match codes.error_code {
        ErrorCode::None => codes.topics[0].1[0].1,
        whole => whole,
    }
}

#[test]
fn groups_fall_to_the_partitions_that_java_computes() {
    // Told by Java: Utils.abs(name.hashCode()) % 50. Two hashes are negative, one has no absolute
    // value, and one name is two units of UTF-16.
    for (group, expected) in [
        ("g", 3),
        ("", 0),
        ("connect-elasticsearch", 10),
        ("my-group", 12),
        ("orders", 31),
        ("console-consumer-1", 24),
        ("polygenelubricants", 0),
        ("\u{1f600}", 49),
    ] {
        assert_eq!(partition_for(group, 50), Some(expected), "{group}");
    }
    assert_eq!(partition_for("g", 0), None);
}
