//! A member's next step towards its target: give up, then take. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Held, Member, MemberState, Partitions};

/// What is known when a member takes its next step.
pub(super) struct Step<'a> {
    /// The epoch of the target.
    pub(super) target_epoch: i32,
    /// What the member shall have.
    pub(super) target: &'a Partitions,
    /// What the member says it has; `None` if it does not say.
    pub(super) owned: Option<&'a Partitions>,
    /// Whether nobody has a partition.
    pub(super) is_free: &'a dyn Fn(Uuid, i32) -> bool,
    /// Topics the member reads.
    pub(super) reads: &'a dyn Fn(Uuid) -> bool,
}

impl Step<'_> {
    /// The member after it.
    pub(super) fn take(&self, member: &Member) -> Member {
        // What it has unsubscribed from it gives up without waiting for a new target.
        let strays = member.assigned.keys().any(|topic| !(self.reads)(*topic));
        match member.state {
            MemberState::Stable if member.epoch == self.target_epoch && !strays => member.clone(),
            MemberState::UnrevokedPartitions if self.still_has(&member.revoking) => {
                let mut waiting = member.clone();
                for (topic, indexes) in &member.assigned {
                    if !(self.reads)(*topic) {
                        waiting.assigned.remove(topic);
                        let into = waiting.revoking.entry(*topic).or_default();
                        into.extend(indexes);
                    }
                }
                waiting
            }
            _ => self.next(member),
        }
    }

    /// Whether the member has any of these, as far as it says.
    fn still_has(&self, revoking: &Held) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        revoking.iter().any(|(topic, indexes)| {
            let owned = owned.get(topic);
            owned.is_some_and(|owned| indexes.keys().any(|index| owned.contains(index)))
        })
    }

    fn next(&self, member: &Member) -> Member {
        let mut kept = Held::new();
        let mut revoking = Held::new();
        for (topic, indexes) in &member.assigned {
            let target = self.target.get(topic).filter(|_| (self.reads)(*topic));
            for (index, epoch) in indexes {
                let stays = target.is_some_and(|target| target.contains(index));
                let into = if stays { &mut kept } else { &mut revoking };
                into.entry(*topic).or_default().insert(*index, *epoch);
            }
        }
        if !revoking.is_empty() && self.still_has(&revoking) {
            return Member {
                state: MemberState::UnrevokedPartitions,
                previous_epoch: member.epoch,
                assigned: kept,
                revoking,
                ..member.clone()
            };
        }
        let mut waits = false;
        for (topic, indexes) in self.target {
            if !(self.reads)(*topic) {
                continue;
            }
            for index in indexes {
                let has = kept.get(topic).is_some_and(|held| held.contains_key(index));
                // What the member itself has just given up is free for nobody else to say.
                let own =
                    holds(&revoking, *topic, *index) || holds(&member.revoking, *topic, *index);
                if has {
                    continue;
                }
                if own || (self.is_free)(*topic, *index) {
                    let into = kept.entry(*topic).or_default();
                    into.insert(*index, self.target_epoch);
                } else {
                    waits = true;
                }
            }
        }
        Member {
            state: match waits {
                true => MemberState::UnreleasedPartitions,
                false => MemberState::Stable,
            },
            previous_epoch: member.epoch,
            epoch: self.target_epoch,
            assigned: kept,
            revoking: BTreeMap::new(),
            ..member.clone()
        }
    }
}

fn holds(held: &Held, topic: Uuid, index: i32) -> bool {
    held.get(&topic)
        .is_some_and(|held| held.contains_key(&index))
}
