//! `kill -9` at random moments while groups rebalance and commit: what was acknowledged never goes
//! back, and nothing is found that nobody committed.
//!
//! Members of a classic group and of a consumer group join, leave and commit, each for a partition
//! of its own, and so does somebody without a group. A commit whose answer did not come may be there
//! or not; the next one is larger. `REKA_KILL_ROUNDS` sets how many kills (100 on demand),
//! `REKA_KILL_SEED` repeats a run.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::leave_group_request::MemberIdentity;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use reka_protocol::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use reka_protocol::kafka_protocol::protocol::{Request, StrBytes};

use super::raw::{
    Random, answer, create_topic, group_id, in_rounds, kill_amidst, pace_of, rounds_of, topic_name,
    wait_for_group,
};
use crate::context::Context;
use crate::differential::{Answer, Side};
use crate::error::{Error, Result};
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};

pub(super) const ROW: Row = Row {
    name: "kill-groups",
    tiers: &[Tier::Ci],
    about: "kill -9 while groups rebalance and commit: acknowledged offsets never go back",
    judges: Judges::Started,
    run,
};

const ROUNDS: u64 = 10;
const TOPIC: &str = "committed";
/// A round lasts between these, in milliseconds.
const ROUND_MS: std::ops::Range<u64> = 100..900;
const LOAD_TIME_MAX: Duration = Duration::from_secs(20);
/// Members of each kind.
const MEMBERS: usize = 2;
/// Joins wait for nobody, and for members that are gone not for long.
const SETTINGS: [&str; 3] = [
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=100",
    "offsets.topic.num.partitions=4",
];
const SESSION_MS: i32 = 1000;

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        target::each_told(&ctx.reka_unless_chosen(), &SETTINGS, |target| {
            let rounds = rounds_of(target, rounds)?;
            let done = kill_again_and_again(target, rounds, seed)?;
            let done = done.iter().map(Done::judge).collect::<Result<Vec<_>>>()?;
            Ok(format!("{rounds} kills; acknowledged {}", done.join(", ")))
        })
    })
}

/// What the members of one kind were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Done {
    kind: Kind,
    commits: u64,
    joins: u64,
}

impl Done {
    /// In words; an error if the kind did not do all it does.
    fn judge(&self) -> Result<String> {
        let Done {
            kind,
            commits,
            joins,
        } = *self;
        let name = kind.group();
        let done = match kind {
            Kind::Alone => format!("{name}: {commits} commits"),
            Kind::Classic | Kind::Consumer => {
                format!("{name}: {commits} commits and {joins} joins")
            }
        };
        match commits > 0 && (joins > 0 || kind == Kind::Alone) {
            true => Ok(done),
            false => Err(Error::refused("commit under rebalances", done)),
        }
    }
}

fn kill_again_and_again(target: &mut Target, rounds: u64, seed: u64) -> Result<Vec<Done>> {
    let mut random = Random::new(seed);
    let mut members = Vec::new();
    for (index, kind) in KINDS
        .into_iter()
        .flat_map(|kind| std::iter::repeat_n(kind, MEMBERS))
        .enumerate()
    {
        members.push(Member::new(kind, index as i32, random.next()));
    }
    for round in 0..=rounds {
        target.start()?;
        let mut side = Side::new("the broker", target.address());
        if round == 0 {
            create_topic(&mut side, TOPIC, members.len() as i32)?;
        }
        wait_for_groups(&mut side)?;
        for member in &mut members {
            member.compare(&mut side)?;
        }
        if round == rounds {
            break;
        }
        let pause = Duration::from_millis(random.within(ROUND_MS)) * pace_of(target);
        kill_amidst(target, pause, &mut members, Member::act)?;
    }
    let done = KINDS.map(|kind| {
        let of_kind = || members.iter().filter(|member| member.kind == kind);
        Done {
            kind,
            commits: of_kind().map(|member| member.commits).sum(),
            joins: of_kind().map(|member| member.joins).sum(),
        }
    });
    Ok(done.to_vec())
}

/// What a group's offset may be after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    /// The last that was acknowledged; -1 for none.
    acked: i64,
    /// The last that was sent.
    sent: i64,
}

impl Position {
    fn check(self, found: i64) -> std::result::Result<(), String> {
        if (self.acked..=self.sent).contains(&found) {
            return Ok(());
        }
        let Position { acked, sent } = self;
        Err(format!(
            "{found} is committed; {acked} was acknowledged and {sent} sent last"
        ))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Commits without being in a group.
    Alone,
    /// In a group of the classic protocol.
    Classic,
    /// In a group of KIP-848.
    Consumer,
}

const KINDS: [Kind; 3] = [Kind::Alone, Kind::Classic, Kind::Consumer];

impl Kind {
    fn group(self) -> &'static str {
        match self {
            Kind::Alone => "alone",
            Kind::Classic => "classic",
            Kind::Consumer => "consumer",
        }
    }
}

/// The broker is gone.
struct Gone;

struct Member {
    kind: Kind,
    /// Nobody else commits for it.
    partition: i32,
    random: Random,
    id: String,
    /// The generation or epoch; 0 outside.
    epoch: i32,
    owned: Vec<TopicPartitions>,
    position: Position,
    commits: u64,
    joins: u64,
}

impl Member {
    fn new(kind: Kind, partition: i32, seed: u64) -> Member {
        Member {
            kind,
            partition,
            random: Random::new(seed),
            // Of KIP-848 the client chooses.
            id: match kind {
                Kind::Consumer => format!("member-{partition}"),
                Kind::Alone | Kind::Classic => String::new(),
            },
            epoch: 0,
            owned: Vec::new(),
            position: Position {
                acked: -1,
                sent: -1,
            },
            commits: 0,
            joins: 0,
        }
    }

    /// What the broker has must be what it said it has.
    fn compare(&mut self, side: &mut Side) -> Result<()> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partition_indexes(vec![self.partition]);
        let request = OffsetFetchRequest::default()
            .with_group_id(self.group())
            .with_topics(Some(vec![topic]));
        let fetched = answer(side.ask(7, &request)?, "fetch an offset")?;
        let found = match (fetched.error_code, fetched.topics.first()) {
            (0, Some(topic)) => topic.partitions[0].committed_offset,
            (code, _) => return Err(Error::refused("fetch an offset", format!("error {code}"))),
        };
        let step = format!("look at group {}, {}", self.kind.group(), self.partition);
        self.position
            .check(found)
            .map_err(|finding| Error::refused(step, finding))?;
        // Whatever became of the last one, from here on this is the least there may be.
        self.position.acked = found;
        Ok(())
    }

    fn group(&self) -> GroupId {
        group_id(self.kind.group())
    }

    /// Joins, commits and leaves until the broker is gone.
    fn act(&mut self, address: SocketAddr, stop: &AtomicBool) -> Result<()> {
        let mut side = Side::new("the broker", address);
        while !stop.load(Ordering::SeqCst) {
            match self.step(&mut side) {
                Ok(found) => found?,
                Err(Gone) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The inner result is a judgement.
    fn step(&mut self, side: &mut Side) -> std::result::Result<Result<()>, Gone> {
        match self.kind {
            Kind::Alone => {}
            Kind::Classic => self.follow_classic(side)?,
            Kind::Consumer => self.follow_consumer(side)?,
        }
        if self.kind == Kind::Alone || self.epoch > 0 {
            return self.commit(side);
        }
        Ok(Ok(()))
    }

    fn commit(&mut self, side: &mut Side) -> std::result::Result<Result<()>, Gone> {
        self.position.sent = self.position.sent.max(self.position.acked) + 1;
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(self.partition)
            .with_committed_offset(self.position.sent)
            .with_committed_metadata(Some(StrBytes::new()));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(vec![partition]);
        let (member_id, epoch) = match self.kind {
            Kind::Alone => (StrBytes::new(), -1),
            Kind::Classic | Kind::Consumer => (self.member_id(), self.epoch),
        };
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_member_id(member_id)
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![topic]);
        let answered = ask(side, 9, &request)?;
        let code = answered.topics[0].partitions[0].error_code;
        match ErrorCode::from_code(code) {
            Some(ErrorCode::None) => {
                self.position.acked = self.position.sent;
                self.commits += 1;
            }
            // The group has gone on without it.
            Some(
                ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
                | ErrorCode::StaleMemberEpoch
                | ErrorCode::UnknownMemberId,
            ) if self.kind != Kind::Alone => self.epoch = 0,
            _ => {
                let finding = format!("error {code} for group {}", self.kind.group());
                return Ok(Err(Error::refused("commit", finding)));
            }
        }
        Ok(Ok(()))
    }

    fn member_id(&self) -> StrBytes {
        StrBytes::from_string(self.id.clone())
    }

    fn follow_classic(&mut self, side: &mut Side) -> std::result::Result<(), Gone> {
        if self.epoch > 0 && self.random.within(0..40) == 0 {
            let identity = MemberIdentity::default()
                .with_member_id(self.member_id())
                .with_group_instance_id(None);
            let leave = LeaveGroupRequest::default()
                .with_group_id(self.group())
                .with_members(vec![identity]);
            ask(side, 5, &leave)?;
            (self.id, self.epoch) = (String::new(), 0);
        }
        if self.epoch > 0 {
            let beat = HeartbeatRequest::default()
                .with_group_id(self.group())
                .with_generation_id(self.epoch)
                .with_member_id(self.member_id());
            if ask(side, 4, &beat)?.error_code == 0 {
                return Ok(());
            }
        }
        self.epoch = 0;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(Bytes::from_static(
                b"\0\0\0\0\0\x01\0\x09committed\xff\xff\xff\xff",
            ));
        let join = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(SESSION_MS)
            .with_member_id(self.member_id())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let joined = ask(side, 9, &join)?;
        match ErrorCode::from_code(joined.error_code) {
            Some(ErrorCode::None | ErrorCode::MemberIdRequired) => {
                self.id = joined.member_id.to_string();
            }
            Some(ErrorCode::UnknownMemberId) => self.id.clear(),
            _ => {}
        }
        if joined.error_code != 0 {
            return Ok(());
        }
        self.joins += 1;
        let plan = joined.members.iter().map(|member| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"))
        });
        let sync = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(joined.generation_id)
            .with_member_id(self.member_id())
            .with_assignments(plan.collect());
        if ask(side, 5, &sync)?.error_code == 0 {
            self.epoch = joined.generation_id;
        }
        Ok(())
    }

    fn follow_consumer(&mut self, side: &mut Side) -> std::result::Result<(), Gone> {
        let leaves = self.epoch > 0 && self.random.within(0..40) == 0;
        let beat = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group())
            .with_member_id(self.member_id())
            .with_member_epoch(if leaves { -1 } else { self.epoch })
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None);
        let beat = match (leaves, self.epoch) {
            (true, _) => beat,
            (false, 0) => beat
                .with_rebalance_timeout_ms(SESSION_MS)
                .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
                .with_topic_partitions(Some(Vec::new())),
            (false, _) => beat.with_topic_partitions(Some(self.owned.clone())),
        };
        let first = self.epoch == 0;
        let answered = ask(side, 1, &beat)?;
        if leaves || answered.error_code != 0 {
            (self.epoch, self.owned) = (0, Vec::new());
            return Ok(());
        }
        self.joins += u64::from(first);
        self.epoch = answered.member_epoch;
        if let Some(assignment) = answered.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let owned = topics.map(|topic| {
                TopicPartitions::default()
                    .with_topic_id(topic.topic_id)
                    .with_partitions(topic.partitions)
            });
            self.owned = owned.collect();
        }
        Ok(())
    }
}

/// What the broker says, if it is still there.
fn ask<R: Request + 'static>(
    side: &mut Side,
    version: i16,
    request: &R,
) -> std::result::Result<R::Response, Gone> {
    match side.ask(version, request) {
        Ok(Answer::Response(answer)) => Ok(answer),
        Ok(Answer::Closed) | Err(_) => Err(Gone),
    }
}

/// Until every group is read back.
fn wait_for_groups(side: &mut Side) -> Result<()> {
    KINDS
        .into_iter()
        .try_for_each(|kind| wait_for_group(side, kind.group(), LOAD_TIME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_at_least_what_was_acknowledged_and_at_most_what_was_sent() {
        let position = Position { acked: 5, sent: 6 };
        for good in [5, 6] {
            assert_eq!(position.check(good), Ok(()));
        }
        for bad in [-1, 4, 7] {
            let finding = position.check(bad).expect_err("lost or invented");
            assert!(finding.contains("5 was acknowledged"), "{finding}");
        }
    }

    #[test]
    fn each_kind_has_to_commit_and_those_in_groups_to_join() {
        let done = |kind, commits, joins| Done {
            kind,
            commits,
            joins,
        };
        assert!(done(Kind::Alone, 1, 0).judge().is_ok());
        for kind in [Kind::Classic, Kind::Consumer] {
            assert!(done(kind, 1, 1).judge().is_ok());
            assert!(done(kind, 1, 0).judge().is_err(), "{kind:?} never joined");
        }
        for kind in KINDS {
            assert!(
                done(kind, 0, 1).judge().is_err(),
                "{kind:?} never committed"
            );
        }
    }
}
