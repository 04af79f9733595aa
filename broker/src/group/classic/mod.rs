//! A group of the classic protocol: its members choose a leader's plan among themselves, the
//! coordinator only makes them take turns.
//!
//! ```text
//!            first member                all have joined, or time is up
//!   Empty ───────────────▶ PreparingRebalance ───────────────▶ CompletingRebalance
//!     ▲                        ▲         │ nobody is left            │ the leader's plan
//!     └────────────────────────┼─────────┘                           ▼
//!                              └───────────────────────────────── Stable
//!                                 a member comes, goes, or changes its mind
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `mod` | the group, its members, which protocol they agree on |
//! | `join` | JoinGroup, and the rebalance from its beginning to the new generation |
//! | `membership` | SyncGroup, Heartbeat, LeaveGroup, silence |
//! | `moved` | becoming a consumer group, and a classic one again |
//! | `stored` | as it is written and read back |
//!
//! What is written is what holds between two rebalances: generation, members, assignments. Who
//! waits for what during one is not written.

mod join;
mod membership;
mod moved;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;

pub use self::moved::MovedMember;
use super::ask::{
    Caller, Commit, Described, DescribedMember, Join, JoinedMember, Protocol, Reply, Synced, Ticket,
};
use super::embedded::Subscription;
use super::record::GroupRecord;
use super::timers::{Timer, Timers};
use super::{Now, Settings, memory};

/// The protocol type of consumers, the one whose metadata the broker understands.
pub const CONSUMER: &str = "consumer";
/// How long a member that never got its first answer is kept.
const NEW_MEMBER_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody is in it.
    Empty,
    /// Members are called to join.
    PreparingRebalance,
    /// The leader is making its plan.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl State {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A member.
#[derive(Clone, Debug)]
struct Member {
    id: Arc<str>,
    instance_id: Option<String>,
    caller: Caller,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    protocols: Vec<Protocol>,
    assignment: Vec<u8>,
    awaits_join: Option<Ticket>,
    awaits_sync: Option<Ticket>,
    /// It has joined for the first time and not heard back.
    is_new: bool,
}

impl Member {
    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        memory::MEMBER + offer_bytes(&self.protocols) + self.assignment.len()
    }

    fn metadata(&self, protocol: &str) -> &[u8] {
        self.protocols
            .iter()
            .find(|offered| offered.name == protocol)
            .map_or(&[], |offered| &offered.metadata)
    }
}

/// What a member's offer takes in memory.
fn offer_bytes(protocols: &[Protocol]) -> usize {
    let offers = protocols.iter();
    offers
        .map(|offer| size_of::<Protocol>() + offer.name.len() + offer.metadata.len())
        .sum()
}

/// About what a member that joins like this takes in memory.
pub(super) fn newcomer_bytes(join: &Join) -> usize {
    memory::MEMBER + offer_bytes(&join.protocols)
}

/// A rebalance under way.
#[derive(Clone, Debug)]
struct Rebalance {
    cause: String,
    member: String,
    began_ms: i64,
}

/// How the first rebalance of an empty group waits for more members.
#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    delay_ms: i64,
    left_ms: i64,
    /// Somebody came since the wait began.
    more_came: bool,
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance is over.
    Rebalanced {
        /// The group.
        group: Arc<str>,
        /// The generation that begins.
        generation: i32,
        /// Members in it.
        members: usize,
        /// Why it was.
        cause: String,
        /// Whose doing it was.
        member: String,
        /// How long it took.
        took_ms: i64,
    },
    /// A group may not grow, as the memory for groups is used up.
    NoMemory {
        /// The group.
        group: String,
    },
    /// Members were removed without asking.
    Removed {
        /// The group.
        group: Arc<str>,
        /// Who.
        members: Vec<String>,
        /// Why.
        cause: &'static str,
    },
}

/// What one question leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// To be written, in this order, before anybody is answered.
    pub records: Vec<GroupRecord>,
    /// Answers, to whoever asked and to others who waited.
    pub replies: Vec<(Ticket, Reply)>,
    /// For the log.
    pub events: Vec<Event>,
}

/// What a machine has at hand while it decides.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a Settings,
    pub(super) timers: &'a mut Timers,
    pub(super) step: &'a mut Step,
}

impl Turn<'_> {
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.step.replies.push((ticket, reply));
    }

    pub(super) fn arm(&mut self, timer: Timer, delay_ms: i64) {
        let at_ms = self.now.steady_ms.saturating_add(delay_ms.max(0));
        self.timers.arm(timer, at_ms);
    }
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    id: Arc<str>,
    state: State,
    /// When it came into its state, in milliseconds since 1970.
    state_since_ms: Option<i64>,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Member id by instance id.
    static_members: HashMap<String, Arc<str>>,
    /// How many members offer a protocol, by its name.
    offered: HashMap<String, usize>,
    /// Members that wait for the next generation.
    awaiting_join: usize,
    /// Ids given to clients that have not joined with them yet.
    pending: BTreeSet<Arc<str>>,
    /// Members of this generation that have not asked for their assignment.
    pending_sync: BTreeSet<Arc<str>>,
    initial: Option<InitialDelay>,
    /// It came from a consumer group that a member has left, and its members have not shared that
    /// one's partitions out yet. Written as a group without a leader, which no other is.
    is_inherited: bool,
    rebalance: Option<Rebalance>,
    /// Topics the members have subscribed to; `None` if that cannot be known.
    subscribed: Option<BTreeSet<String>>,
    /// About what the members take in memory.
    bytes: usize,
}

impl ClassicGroup {
    /// A group nobody is in.
    pub fn new(id: Arc<str>, now: Now) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            state_since_ms: Some(now.wall_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            offered: HashMap::new(),
            awaiting_join: 0,
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            initial: None,
            is_inherited: false,
            rebalance: None,
            subscribed: None,
            bytes: 0,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Members in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// About what its members take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how much that would grow if this member joined.
    pub fn growth(&self, join: &Join) -> usize {
        let by_instance = join.instance_id.as_ref();
        let by_instance = by_instance.and_then(|instance| self.static_members.get(instance));
        let id = by_instance.map_or(join.member_id.as_str(), |id| id);
        let known = self.members.get(id).map_or(0, Member::bytes);
        newcomer_bytes(join).saturating_sub(known)
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Ids were given to clients that are yet to join with them.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What its members agree on being; empty before there were any.
    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// Its members are consumers, whose metadata the broker understands.
    fn is_of_consumers(&self) -> bool {
        self.protocol_type() == CONSUMER
    }

    /// Whether a member reads the topic, as far as can be known.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Since when offsets of topics that are not read age; `None` if they do not.
    pub fn offsets_age(&self) -> Option<OffsetsAge> {
        match (&self.protocol_type, self.state) {
            (None, _) => Some(OffsetsAge::SinceCommit),
            (Some(_), State::Empty) => {
                let since = self.state_since_ms.map(OffsetsAge::Since);
                Some(since.unwrap_or(OffsetsAge::SinceCommit))
            }
            (Some(_), State::Stable) if self.is_of_consumers() && self.subscribed.is_some() => {
                Some(OffsetsAge::SinceCommit)
            }
            (Some(_), _) => None,
        }
    }

    /// May these offsets be committed?
    pub fn check_commit(&self, commit: &Commit, in_transaction: bool) -> Result<(), ErrorCode> {
        let empty = self.state == State::Empty;
        if commit.generation < 0 && empty {
            // Nobody manages these offsets but whoever commits them.
            return Ok(());
        }
        let by_member =
            commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some();
        if by_member {
            self.check_member(&commit.member_id, commit.instance_id.as_deref())?;
            if commit.generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !in_transaction && !empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !in_transaction && self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// May offsets be deleted at all?
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.state {
            State::Empty => Ok(()),
            _ if self.is_of_consumers() => Ok(()),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// A commit is a sign of life.
    pub(super) fn note_commit(&self, turn: &mut Turn<'_>, member_id: &str) {
        if matches!(self.state, State::Stable | State::PreparingRebalance)
            && let Some(member) = self.members.get(member_id)
        {
            self.arm_session(turn, member);
        }
    }

    /// As DescribeGroups shows it.
    pub fn describe(&self) -> Described {
        let protocol = self
            .protocol
            .as_deref()
            .filter(|_| self.state == State::Stable);
        Described {
            error_code: ErrorCode::None,
            error_message: None,
            state: self.state.name(),
            protocol_type: self.protocol_type().to_owned(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: self
                .members
                .values()
                .map(|member| DescribedMember {
                    member_id: member.id.to_string(),
                    instance_id: member.instance_id.clone(),
                    caller: member.caller.clone(),
                    metadata: protocol
                        .map(|protocol| member.metadata(protocol).to_vec())
                        .unwrap_or_default(),
                    // What it had before counts until there is another plan.
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }

    /// Is this a member, and not one whose place another has taken?
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if **known != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn leader_id(&self) -> String {
        self.leader.as_deref().unwrap_or_default().to_owned()
    }

    /// Whether somebody who offers these could be in the group.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| {
            self.offered
                .get(&protocol.name)
                .is_some_and(|count| *count == self.members.len())
        };
        // A group whose last members left during a rebalance: any offer will do.
        let any = self.members.is_empty() && !protocols.is_empty();
        self.protocol_type() == protocol_type && (any || protocols.iter().any(by_all))
    }

    /// The protocol most members like best among those that all of them offer.
    fn elect_protocol(&self) -> Option<String> {
        let by_all = |name: &str| {
            self.offered
                .get(name)
                .is_some_and(|count| *count == self.members.len())
        };
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for member in self.members.values() {
            let best = member.protocols.iter().find(|offer| by_all(&offer.name));
            if let Some(best) = best {
                *votes.entry(&best.name).or_default() += 1;
            }
        }
        // Equal votes fall to the name, so that the same members always agree on the same.
        let winner = votes
            .into_iter()
            .max_by(|(name, count), (other, others)| count.cmp(others).then(other.cmp(name)));
        winner.map(|(name, _)| name.to_owned())
    }

    fn count_offers(offered: &mut HashMap<String, usize>, protocols: &[Protocol]) {
        for protocol in protocols {
            match offered.get_mut(&protocol.name) {
                Some(count) => *count += 1,
                None => {
                    offered.insert(protocol.name.clone(), 1);
                }
            }
        }
    }

    fn uncount_offers(offered: &mut HashMap<String, usize>, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = offered.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    offered.remove(&protocol.name);
                }
            }
        }
    }

    fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        Self::count_offers(&mut self.offered, &member.protocols);
        self.awaiting_join += usize::from(member.awaits_join.is_some());
        self.pending.remove(&member.id);
        self.bytes += member.bytes();
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member or a pending id out. Who waits for an answer has been given one before.
    fn remove(&mut self, member_id: &str) {
        if let Some(member) = self.members.remove(member_id) {
            self.bytes -= member.bytes();
            Self::uncount_offers(&mut self.offered, &member.protocols);
            self.awaiting_join -= usize::from(member.awaits_join.is_some());
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(member_id);
        self.pending_sync.remove(member_id);
    }

    fn everybody(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .values()
            .map(|member| JoinedMember {
                member_id: member.id.to_string(),
                instance_id: member.instance_id.clone(),
                metadata: member.metadata(protocol).to_vec(),
            })
            .collect()
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        i64::from(longest.max().unwrap_or(0))
    }

    fn has_everybody_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending.is_empty()
    }

    fn session(&self, member_id: &Arc<str>) -> Timer {
        Timer::Session {
            group: self.id.clone(),
            member: member_id.clone(),
        }
    }

    fn join_timer(&self) -> Timer {
        Timer::Join {
            group: self.id.clone(),
        }
    }

    fn sync_timer(&self) -> Timer {
        Timer::Sync {
            group: self.id.clone(),
        }
    }

    fn arm_session(&self, turn: &mut Turn<'_>, member: &Member) {
        turn.arm(
            self.session(&member.id),
            i64::from(member.session_timeout_ms),
        );
    }

    fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Topics of all members, if they are consumers and say so in a way that can be read.
    fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(Subscription::read(member.metadata(protocol))?.topics);
        }
        Some(topics)
    }

    /// Gives everybody who waits for an assignment this answer.
    fn answer_syncs(&mut self, turn: &mut Turn<'_>, error_code: ErrorCode) {
        let told = error_code == ErrorCode::None;
        let protocol = self.protocol.clone().filter(|_| told);
        let protocol_type = self.protocol_type.clone().filter(|_| told);
        for member in self.members.values_mut() {
            let Some(ticket) = member.awaits_sync.take() else {
                continue;
            };
            let synced = Synced {
                error_code,
                protocol_type: protocol_type.clone(),
                protocol: protocol.clone(),
                assignment: member.assignment.clone(),
            };
            turn.reply(ticket, Reply::Sync(synced));
            let session = Timer::Session {
                group: self.id.clone(),
                member: member.id.clone(),
            };
            turn.arm(session, i64::from(member.session_timeout_ms));
        }
    }

    /// Panics on what only a bug can bring about.
    pub fn check_invariants(&self) {
        let id = &self.id;
        let waiting = self.members.values().filter(|m| m.awaits_join.is_some());
        assert_eq!(
            waiting.count(),
            self.awaiting_join,
            "{id}: joins waited for"
        );
        let bytes = self.members.values().map(Member::bytes);
        assert_eq!(bytes.sum::<usize>(), self.bytes, "{id}: memory of members");
        let mut offered = HashMap::new();
        for (key, member) in &self.members {
            assert_eq!(*key, member.id, "{id}: a member under another's id");
            Self::count_offers(&mut offered, &member.protocols);
            assert!(
                !self.pending.contains(key),
                "{id}: {key} is a member and yet to join"
            );
            assert!(
                member.awaits_sync.is_none() || self.state == State::CompletingRebalance,
                "{id}: {key} waits for an assignment in {:?}",
                self.state
            );
            assert!(
                member.awaits_join.is_none() || self.state == State::PreparingRebalance,
                "{id}: {key} waits for a generation in {:?}",
                self.state
            );
        }
        assert_eq!(offered, self.offered, "{id}: offers are counted");
        let named = self
            .members
            .values()
            .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())));
        assert_eq!(
            named.collect::<HashMap<_, _>>(),
            self.static_members,
            "{id}: static members"
        );
        assert_eq!(
            self.leader.is_none(),
            self.members.is_empty(),
            "{id}: a leader as long as there are members"
        );
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "{id}: leader {leader}");
        }
        assert!(
            self.pending_sync
                .iter()
                .all(|member| self.members.contains_key(member)),
            "{id}: a stranger is to sync"
        );
        match self.state {
            State::Empty => assert!(self.members.is_empty(), "{id}: members in an empty group"),
            State::PreparingRebalance => {}
            State::CompletingRebalance | State::Stable => {
                assert!(self.protocol.is_some(), "{id}: no protocol");
            }
        }
    }
}

/// Since when an offset ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsAge {
    /// Since it was committed.
    SinceCommit,
    /// Since this time, in milliseconds since 1970.
    Since(i64),
}
