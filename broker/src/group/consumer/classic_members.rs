//! Members of a consumer group that still speak the classic protocol, and groups that change their
//! protocol while members are in them.
//!
//! To a classic client the group looks like one whose leader is always somebody else: it joins, is
//! told no members, and finds its assignment in the answer to its SyncGroup. When the group has
//! moved on, its heartbeat calls it to join again.

use std::collections::BTreeSet;
use std::sync::Arc;

use reka_protocol::ErrorCode;
use reka_protocol::messages::coordinator::Opaque;
use reka_protocol::messages::coordinator::consumer_group::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};
use reka_raft::MetadataImage;
use uuid::Uuid;

use super::assignor::{Partitions, pairs};
use super::heartbeat::{Change, News, Who};
use super::{ConsumerGroup, Held, Member, MemberState};
use crate::group::ask::{
    Heartbeat, Join, Joined, Leave, Leaving, Left, Protocol, Reply, Sync, Synced, Ticket,
};
use crate::group::classic::{CONSUMER, ClassicGroup, MovedMember, Turn};
use crate::group::embedded::{self, ByName, Given, Subscription};
use crate::group::record::GroupRecord;
use crate::group::refusal::Refusal;
use crate::group::timers::Timer;
use crate::group::{GroupSettings, Settings};

impl ConsumerGroup {
    pub(super) fn rejoin(&self, id: &Arc<str>) -> Timer {
        Timer::Rejoin {
            group: self.id.clone(),
            member: id.clone(),
        }
    }

    pub(super) fn fetch_assignment(&self, id: &Arc<str>) -> Timer {
        Timer::FetchAssignment {
            group: self.id.clone(),
            member: id.clone(),
        }
    }

    /// Members that speak the classic protocol.
    fn classic_members(&self) -> impl Iterator<Item = (&Arc<str>, &ClassicMemberMetadata)> {
        self.members
            .iter()
            .filter_map(|(id, member)| Some((id, member.about.classic_member_metadata.as_ref()?)))
    }

    /// Whether a classic client that offers these can be among the classic members.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        protocol_type == CONSUMER
            && protocols.iter().any(|protocol| {
                self.classic_members().all(|(_, classic)| {
                    let mut offers = classic.supported_protocols.iter();
                    offers.any(|offer| offer.name == protocol.name)
                })
            })
    }

    /// JoinGroup to a consumer group. If whoever joins takes the place of the last member of the
    /// consumer protocol, the classic group that goes on instead.
    pub(in crate::group) fn join_classic(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        ticket: Ticket,
        join: Join,
    ) -> Option<ClassicGroup> {
        let from = turn.step.records.len();
        let (joined, classic) = match self.try_join(turn, image, limits, join) {
            Ok(joined) => joined,
            Err(refused) => {
                turn.step.records.truncate(from);
                // Kafka says nothing else once it has refused.
                (Joined::error(refused.error_code, ""), None)
            }
        };
        turn.step.replies.push((ticket, Reply::Join(joined)));
        classic
    }

    fn try_join(
        &mut self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        limits: &GroupSettings,
        join: Join,
    ) -> Result<(Joined, Option<ClassicGroup>), Refusal> {
        let from = turn.step.records.len();
        let refused = |code: ErrorCode| Refusal::new(code, code.name());
        if !self.supports(&join.protocol_type, &join.protocols) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        let offer = join.protocols.first();
        let offer = offer.ok_or_else(|| refused(ErrorCode::InconsistentGroupProtocol))?;
        let is_new = join.member_id.is_empty();
        if is_new && join.instance_id.is_none() && join.takes_id_first {
            // What it offers is looked at when it comes back.
            let id = join.fresh_id.to_string();
            return Ok((Joined::error(ErrorCode::MemberIdRequired, id), None));
        }
        let subscription = Subscription::read(&offer.metadata)
            .ok_or_else(|| refused(ErrorCode::InconsistentGroupProtocol))?;
        let owned = by_id(image, subscription.owned);
        let mut change = self.find(
            turn,
            &Who {
                member_id: &join.member_id,
                instance_id: join.instance_id.as_ref(),
                joins: is_new || join.instance_id.is_none(),
                epoch: None,
                owned: Some(&owned),
                fresh_id: join.fresh_id,
            },
        )?;
        let before = change.after.about.clone();
        let about = &mut change.after.about;
        if join.instance_id.is_some() {
            about.instance_id = join.instance_id;
        }
        if subscription.rack_id.is_some() {
            about.rack_id = subscription.rack_id;
        }
        about.rebalance_timeout_ms = join.rebalance_timeout_ms;
        about.server_assignor = None;
        about.subscribed_topic_regex = None;
        about.subscribed_topic_names = subscription.topics.into_iter().collect();
        about.client_id = join.caller.client_id;
        about.client_host = join.caller.host;
        let protocol = offer.name.clone();
        about.classic_member_metadata = Some(ClassicMemberMetadata {
            session_timeout_ms: join.session_timeout_ms,
            supported_protocols: join.protocols.into_iter().map(offered).collect(),
        });
        let reads_else = about.subscribed_topic_names != before.subscribed_topic_names
            || before.subscribed_topic_regex.is_some();
        let joined = |id: &Arc<str>, generation| Joined {
            error_code: ErrorCode::None,
            generation,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: Some(protocol),
            leader: String::new(),
            skip_assignment: false,
            member_id: id.to_string(),
            members: Vec::new(),
        };
        if let Some(mut classic) = self.replaced_by_classic(turn, image, &change) {
            // None of the group's records outlives it, so none of this member's is written.
            turn.step.records.truncate(from);
            turn.step.records.extend(self.tombstones());
            let is_stale = reads_else || self.target_epoch < self.epoch;
            let cause = is_stale.then_some("a classic member took the place of the last consumer");
            classic.begin(turn, cause);
            let generation = match is_stale {
                true => change.after.epoch,
                false => self.epoch,
            };
            return Ok((joined(&change.id, generation), Some(classic)));
        }
        if change.after.about != before || change.before.is_none() {
            let record = self.member_record(&change.id, Some(&change.after.about));
            if record.bytes() > turn.settings.record_bytes_max {
                // The log would refuse it, and the groups beside this one would have to wait.
                return Err(refused(ErrorCode::UnknownServerError));
            }
            turn.step.records.push(record);
        }
        let news = News {
            describes: reads_else,
            matches: false,
        };
        let after = self.advance(turn, image, limits, &change, news, Some(&owned))?;
        turn.timers.disarm(&self.rejoin(&change.id));
        turn.arm(self.session(&change.id), i64::from(join.session_timeout_ms));
        turn.arm(
            self.fetch_assignment(&change.id),
            i64::from(join.rebalance_timeout_ms),
        );
        Ok((joined(&change.id, after.epoch), None))
    }

    /// The classic group that is left when a classic member takes the place of the only static
    /// member that spoke the consumer protocol; `None` if that is not so or not wanted.
    fn replaced_by_classic(
        &self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        change: &Change,
    ) -> Option<ClassicGroup> {
        let instance = change.after.about.instance_id.as_ref()?;
        let holder = self.static_members.get(instance)?;
        if !turn.settings.consumer.migration.downgrades() {
            return None;
        }
        let joining = (&change.id, &change.after.about);
        self.to_classic(turn, image, std::slice::from_ref(holder), Some(joining))
    }

    /// A classic member by its ids.
    fn classic_member(
        &self,
        member_id: &str,
        instance_id: Option<&String>,
    ) -> Result<(&Arc<str>, &Member, &ClassicMemberMetadata), ErrorCode> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if **holder != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let (id, member) = self
            .members
            .get_key_value(member_id)
            .ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.about.classic_member_metadata.as_ref();
        Ok((id, member, classic.ok_or(ErrorCode::UnknownMemberId)?))
    }

    /// SyncGroup to a consumer group.
    pub(in crate::group) fn sync_classic(
        &self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        sync: Sync,
    ) -> Synced {
        let member = self.classic_member(&sync.member_id, sync.instance_id.as_ref());
        let (id, member, classic) = match member {
            Ok(found) => found,
            Err(code) => return Synced::error(code),
        };
        if member.epoch != sync.generation {
            return Synced::error(ErrorCode::IllegalGeneration);
        }
        let offer = classic.supported_protocols.first();
        let agreed = offer.map(|offer| offer.name.as_str()).unwrap_or_default();
        if sync
            .protocol_type
            .as_deref()
            .is_some_and(|told| told != CONSUMER)
            || sync.protocol.as_deref().is_some_and(|told| told != agreed)
        {
            return Synced::error(ErrorCode::InconsistentGroupProtocol);
        }
        if self.target_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.call(turn, id, member);
            return Synced::error(ErrorCode::RebalanceInProgress);
        }
        turn.timers.disarm(&self.fetch_assignment(id));
        turn.arm(self.session(id), i64::from(classic.session_timeout_ms));
        Synced {
            error_code: ErrorCode::None,
            protocol_type: sync.protocol_type,
            protocol: sync.protocol,
            assignment: write_assignment(image, &held_by_id(&member.assigned), classic),
        }
    }

    /// Heartbeat to a consumer group.
    pub(in crate::group) fn heartbeat_classic(
        &self,
        turn: &mut Turn<'_>,
        heartbeat: &Heartbeat,
    ) -> ErrorCode {
        let member = self.classic_member(&heartbeat.member_id, heartbeat.instance_id.as_ref());
        let (id, member, classic) = match member {
            Ok(found) => found,
            Err(code) => return code,
        };
        if member.epoch != heartbeat.generation {
            return ErrorCode::IllegalGeneration;
        }
        turn.arm(self.session(id), i64::from(classic.session_timeout_ms));
        // A new target may have to wait (`group.consumer.assignment.interval.ms`); where nobody
        // reports who would have it computed, members join again until it is.
        let only_classic = || self.classic_members().count() == self.members.len();
        let has_to_join = member.epoch < self.target_epoch
            || (member.epoch < self.epoch && only_classic())
            || match member.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(id, member),
            };
        if !has_to_join {
            return ErrorCode::None;
        }
        self.call(turn, id, member);
        ErrorCode::RebalanceInProgress
    }

    /// A classic member has to join again, within its rebalance timeout from the first call on.
    fn call(&self, turn: &mut Turn<'_>, id: &Arc<str>, member: &Member) {
        let rejoin = self.rejoin(id);
        if !turn.timers.is_armed(&rejoin) {
            turn.arm(rejoin, i64::from(member.about.rebalance_timeout_ms));
        }
    }

    fn waits_for_others(&self, id: &Arc<str>, member: &Member) -> bool {
        let target = self.targets.get(id).into_iter().flat_map(pairs);
        let mut missing = target.filter(|(topic, index)| {
            let held = member.assigned.get(topic);
            !held.is_some_and(|held| held.contains_key(index))
        });
        missing.any(|(topic, index)| self.owner(topic, index).is_some())
    }

    /// LeaveGroup to a consumer group: who goes, and what each is told. An administrator may send
    /// members of either protocol away.
    pub(in crate::group) fn leaving(&self, leave: Leave) -> (Left, Vec<Arc<str>>) {
        let mut members = Vec::with_capacity(leave.members.len());
        let mut gone: Vec<Arc<str>> = Vec::new();
        for leaving in leave.members {
            let code = match self.leaves(&leaving) {
                // Named twice is gone once, and no error.
                Ok(id) if gone.contains(&id) => ErrorCode::None,
                Ok(id) => {
                    gone.push(id);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            members.push((leaving, code));
        }
        let left = Left {
            error_code: ErrorCode::None,
            members,
        };
        (left, gone)
    }

    fn leaves(&self, leaving: &Leaving) -> Result<Arc<str>, ErrorCode> {
        let told = leaving.member_id.as_str();
        let id = match &leaving.instance_id {
            Some(instance) => match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if !told.is_empty() && **holder != *told => {
                    return Err(ErrorCode::FencedInstanceId);
                }
                Some(holder) => holder,
            },
            None => told,
        };
        let known = self.members.get_key_value(id);
        known
            .map(|(id, _)| id.clone())
            .ok_or(ErrorCode::UnknownMemberId)
    }

    /// A group of the classic protocol as a consumer group, and the records that make it one. All
    /// its members are classic ones that have what their leader gave them. Refused if they would not fit
    /// the log: the groups beside this one would have to wait until it is read back.
    pub(in crate::group) fn from_classic(
        id: &Arc<str>,
        generation: i32,
        members: Vec<MovedMember>,
        image: &MetadataImage,
        settings: &Settings,
    ) -> Result<(ConsumerGroup, Vec<GroupRecord>), Refusal> {
        let count = members.len();
        let group = ConsumerGroup::new(id.clone());
        let refused = |why: &str| {
            let why = format!("Cannot upgrade classic group {id} to consumer group because {why}");
            Refusal::new(ErrorCode::GroupIdNotFound, why)
        };
        let malformed = || refused("the embedded consumer protocol is malformed.");
        let mut moved = Vec::new();
        // Should a leader have given a partition twice, one of the two loses it.
        let mut taken = BTreeSet::new();
        for member in members {
            let subscription = Subscription::read(&member.metadata).ok_or_else(malformed)?;
            let given = Given::read(&member.assignment).ok_or_else(malformed)?;
            if given.has_user_data {
                // What an assignor of the client's own tells its members would be lost.
                return Err(refused(
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade.",
                ));
            }
            let mut target = by_id(image, given.partitions);
            for (topic, indexes) in &mut target {
                indexes.retain(|index| taken.insert((*topic, *index)));
            }
            target.retain(|_, indexes| !indexes.is_empty());
            let about = ConsumerGroupMemberMetadataValue {
                instance_id: member.instance_id,
                rack_id: subscription.rack_id,
                client_id: member.caller.client_id,
                client_host: member.caller.host,
                subscribed_topic_names: subscription.topics.into_iter().collect(),
                subscribed_topic_regex: None,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                server_assignor: None,
                classic_member_metadata: Some(ClassicMemberMetadata {
                    session_timeout_ms: member.session_timeout_ms,
                    supported_protocols: member.protocols.into_iter().map(offered).collect(),
                }),
            };
            moved.push((member.id, about, target));
        }
        let mut records = Vec::new();
        for (id, about, _) in &moved {
            let record = group.member_record(id, Some(about));
            let (bytes, bytes_max) = (record.bytes(), settings.record_bytes_max);
            if bytes > bytes_max {
                return Err(refused(&format!(
                    "what member {id} offers takes a record of {bytes} bytes, at most {bytes_max} may be."
                )));
            }
            records.push(record);
        }
        records.push(group.epoch_record(Some((generation, 0))));
        for (id, _, target) in &moved {
            records.push(group.target_record(id, Some(target)));
        }
        records.push(group.target_epoch_record(generation, 0));
        for (id, about, target) in moved {
            let member = Member {
                about,
                epoch: generation,
                previous_epoch: generation,
                state: MemberState::Stable,
                assigned: target
                    .into_iter()
                    .map(|(topic, indexes)| {
                        let held = indexes.into_iter().map(|index| (index, generation));
                        (topic, held.collect())
                    })
                    .collect(),
                revoking: Held::new(),
            };
            records.push(group.current_record(&id, Some(&member)));
        }
        let bytes = records.iter().map(GroupRecord::bytes).sum::<usize>();
        let bytes_max = settings.commit_bytes_max;
        if bytes > bytes_max {
            // All of it is one batch, and the group must not be written by halves.
            return Err(refused(&format!(
                "its {count} members take records of {bytes} bytes, at most {bytes_max} may be."
            )));
        }
        let mut group = group;
        for record in &records {
            group.apply(record);
        }
        Ok((group, records))
    }

    /// Arms what a group that was a classic one waits for.
    pub(in crate::group) fn arm_classic_members(&self, turn: &mut Turn<'_>) {
        for (id, classic) in self.classic_members() {
            turn.arm(self.session(id), i64::from(classic.session_timeout_ms));
        }
    }

    /// Without these members, among them all that speak the consumer protocol, the group as one of
    /// the classic protocol; `None` if it cannot be or need not be one, or would not fit a record.
    /// `joining` takes the place of the only one that goes, and has what that was to have.
    pub(in crate::group) fn to_classic(
        &self,
        turn: &mut Turn<'_>,
        image: &MetadataImage,
        without: &[Arc<str>],
        joining: Option<(&Arc<str>, &ConsumerGroupMemberMetadataValue)>,
    ) -> Option<ClassicGroup> {
        let is_classic = |id: &Arc<str>| {
            let member = self.members.get(id);
            member.is_some_and(|member| member.about.classic_member_metadata.is_some())
        };
        let left = self.members.len().checked_sub(without.len())?;
        let left = left + joining.iter().len();
        let mut stay = self.members.keys().filter(|id| !without.contains(id));
        let all_classic = stay.all(is_classic);
        if without.iter().all(is_classic)
            || !all_classic
            || left == 0
            || left > turn.settings.members_max
        {
            return None;
        }
        let members = self.members.iter().filter(|(id, _)| !without.contains(*id));
        let members = members.map(|(id, member)| (id, &member.about, id));
        let joining = joining.zip(without.first());
        let joining = joining.map(|((id, about), holder)| (id, about, holder));
        let members = members.chain(joining).filter_map(|(id, about, had_by)| {
            let classic = about.classic_member_metadata.as_ref()?;
            let target = self.targets.get(had_by).cloned().unwrap_or_default();
            let offers = classic.supported_protocols.iter();
            Some(MovedMember {
                id: id.clone(),
                instance_id: about.instance_id.clone(),
                caller: crate::group::ask::Caller {
                    client_id: about.client_id.clone(),
                    host: about.client_host.clone(),
                },
                rebalance_timeout_ms: about.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: offers
                    .map(|offer| Protocol {
                        name: offer.name.clone(),
                        metadata: offer.metadata.0.clone(),
                    })
                    .collect(),
                metadata: Vec::new(),
                assignment: write_assignment(image, &target, classic),
            })
        });
        let group =
            ClassicGroup::from_members(self.id.clone(), self.epoch, members.collect(), turn.now)?;
        let bytes = group.stored_bytes();
        let gone = self.tombstones();
        let all = bytes + gone.iter().map(GroupRecord::bytes).sum::<usize>();
        if bytes > turn.settings.record_bytes_max || all > turn.settings.commit_bytes_max {
            return None;
        }
        for id in self.members.keys() {
            self.disarm(turn, id);
        }
        Some(group)
    }
}

fn offered(protocol: Protocol) -> ClassicProtocol {
    ClassicProtocol {
        name: protocol.name,
        metadata: Opaque(protocol.metadata),
    }
}

fn held_by_id(held: &Held) -> Partitions {
    let topics = held.iter();
    topics
        .map(|(topic, indexes)| (*topic, indexes.keys().copied().collect()))
        .collect()
}

/// Topics that exist, by id.
fn by_id(image: &MetadataImage, names: ByName) -> Partitions {
    let topics = names.into_iter().filter_map(|(name, indexes)| {
        let id: Uuid = image.topics().get(&name)?.id();
        Some((id, indexes))
    });
    topics.filter(|(_, indexes)| !indexes.is_empty()).collect()
}

/// An assignment in the version the member speaks.
fn write_assignment(
    image: &MetadataImage,
    partitions: &Partitions,
    classic: &ClassicMemberMetadata,
) -> Vec<u8> {
    let offer = classic.supported_protocols.first();
    let version = offer.map_or(0, |offer| embedded::version_of(&offer.metadata.0));
    let topics = partitions.iter().filter_map(|(topic, indexes)| {
        // A topic that is gone has no name any more.
        let name = image.topics().by_id(*topic)?.name().to_owned();
        Some((name, indexes.clone()))
    });
    embedded::write_assignment(version, &topics.collect())
}
