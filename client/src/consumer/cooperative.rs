//! Who gets what in a group of the classic protocol whose members keep what they have while it changes:
//! as even as possible, with as few moves as possible (KIP-429). Pure.
//!
//! What moves from one member to another takes two generations: in the first nobody has it, so that
//! the one gives it up before the other begins. Java's assignor of this name does the same, so groups
//! may be mixed.

use std::collections::{BTreeMap, BTreeSet};

use crate::embedded::Subscription;
use crate::metadata::TopicPartition;

/// Its name among members.
pub(super) const NAME: &str = "cooperative-sticky";

/// Partitions by member, given what each says of itself and how many partitions each topic has.
pub(super) fn assign(
    members: &BTreeMap<String, Subscription>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let wants = |member: &str, at: &TopicPartition| {
        members
            .get(member)
            .is_some_and(|subscription| subscription.topics.contains(&at.topic))
    };
    let owners = owners(members);
    let mut assigned: BTreeMap<&str, BTreeSet<TopicPartition>> = members
        .keys()
        .map(|member| (member.as_str(), BTreeSet::new()))
        .collect();
    let mut free = Vec::new();
    for (topic, count) in partitions {
        for index in 0..*count {
            let at = TopicPartition::new(topic.clone(), index);
            let owner = owners.get(&at).filter(|owner| wants(owner, &at));
            match owner.and_then(|owner| assigned.get_mut(*owner)) {
                Some(own) => {
                    own.insert(at);
                }
                None => free.push(at),
            }
        }
    }
    for at in free {
        let least = assigned
            .iter_mut()
            .filter(|(member, _)| wants(member, &at))
            .min_by_key(|(_, own)| own.len());
        if let Some((_, own)) = least {
            own.insert(at);
        }
    }
    while let Some((from, to, at)) = one_too_many(&assigned, &wants) {
        if let Some(own) = assigned.get_mut(from.as_str()) {
            own.remove(&at);
        }
        if let Some(own) = assigned.get_mut(to.as_str()) {
            own.insert(at);
        }
    }
    assigned
        .into_iter()
        .map(|(member, own)| {
            // What another still has it gets when that one has given it up.
            let at_once = |at: &TopicPartition| owners.get(at).is_none_or(|owner| *owner == member);
            (member.to_owned(), own.into_iter().filter(at_once).collect())
        })
        .collect()
}

/// Who has what, by the newest generation that says so. What two of the same claim is nobody's.
fn owners(members: &BTreeMap<String, Subscription>) -> BTreeMap<TopicPartition, &str> {
    let mut claims: BTreeMap<&TopicPartition, (i32, Option<&str>)> = BTreeMap::new();
    for (member, subscription) in members {
        let generation = subscription.generation;
        for at in &subscription.owned {
            let claim = claims.entry(at).or_insert((generation, None));
            match generation.cmp(&claim.0) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal if claim.1.is_some() => *claim = (generation, None),
                _ => *claim = (generation, Some(member)),
            }
        }
    }
    claims
        .into_iter()
        .filter_map(|(at, (_, owner))| Some((at.clone(), owner?)))
        .collect()
}

/// A partition whose move makes shares more even: from the largest share to the smallest that wants it.
fn one_too_many(
    assigned: &BTreeMap<&str, BTreeSet<TopicPartition>>,
    wants: &impl Fn(&str, &TopicPartition) -> bool,
) -> Option<(String, String, TopicPartition)> {
    let mut by_size: Vec<(&str, &BTreeSet<TopicPartition>)> = assigned
        .iter()
        .map(|(member, own)| (*member, own))
        .collect();
    by_size.sort_by_key(|(member, own)| (own.len(), *member));
    for (from, own) in by_size.iter().rev() {
        for (to, other) in &by_size {
            if other.len() + 2 > own.len() {
                break;
            }
            if let Some(at) = own.iter().rev().find(|at| wants(to, at)) {
                return Some(((*from).to_owned(), (*to).to_owned(), at.clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Assigned = BTreeMap<String, Vec<TopicPartition>>;

    fn member(topics: &[&str], owned: &[(&str, i32)], generation: i32) -> Subscription {
        Subscription {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            owned: owned
                .iter()
                .map(|(topic, index)| TopicPartition::new(*topic, *index))
                .collect(),
            generation,
        }
    }

    fn of(assigned: &Assigned, member: &str) -> Vec<String> {
        assigned[member].iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_moves_is_nobodys_for_a_generation_and_the_rest_stays() {
        let partitions = [("a".to_owned(), 4)].into();
        let all = [("a", 0), ("a", 1), ("a", 2), ("a", 3)];
        let mut members = BTreeMap::from([
            ("m1".to_owned(), member(&["a"], &all, 1)),
            ("m2".to_owned(), member(&["a"], &[], -1)),
        ]);
        let first = assign(&members, &partitions);
        assert_eq!(of(&first, "m1"), ["a-0", "a-1"]);
        assert!(of(&first, "m2").is_empty());
        members.insert("m1".to_owned(), member(&["a"], &all[..2], 2));
        let second = assign(&members, &partitions);
        assert_eq!(of(&second, "m1"), ["a-0", "a-1"]);
        assert_eq!(of(&second, "m2"), ["a-2", "a-3"]);
    }

    #[test]
    fn an_older_claim_counts_for_nothing_and_two_of_the_same_age_neither() {
        let partitions = [("a".to_owned(), 2)].into();
        let members = BTreeMap::from([
            ("m1".to_owned(), member(&["a"], &[("a", 0), ("a", 1)], 3)),
            ("m2".to_owned(), member(&["a"], &[("a", 1)], 4)),
        ]);
        let assigned = assign(&members, &partitions);
        assert_eq!(of(&assigned, "m1"), ["a-0"]);
        assert_eq!(of(&assigned, "m2"), ["a-1"]);
        let members = BTreeMap::from([
            ("m1".to_owned(), member(&["a"], &[("a", 0)], 3)),
            ("m2".to_owned(), member(&["a"], &[("a", 0)], 3)),
        ]);
        let assigned = assign(&members, &partitions);
        assert_eq!(assigned.values().map(Vec::len).sum::<usize>(), 2);
    }

    /// Members join and go until nothing moves any more.
    fn settled(
        members: &mut BTreeMap<String, Subscription>,
        topics: &BTreeMap<String, i32>,
    ) -> usize {
        for generation in 1.. {
            let assigned = assign(members, topics);
            let mut seen = BTreeSet::new();
            for (name, own) in &assigned {
                for at in own {
                    assert!(seen.insert(at.clone()), "{at} is given twice");
                    let other = members
                        .iter()
                        .find(|(other, m)| *other != name && m.owned.contains(at));
                    assert!(other.is_none(), "{at} is given before {other:?} gave it up");
                }
            }
            let changed = members.iter().any(|(name, m)| m.owned != assigned[name]);
            for (name, own) in assigned {
                if let Some(member) = members.get_mut(&name) {
                    member.owned = own;
                    member.generation = generation;
                }
            }
            if !changed {
                return generation as usize;
            }
            assert!(generation < 20, "it never settles: {members:?}");
        }
        unreachable!("generations do not end")
    }

    proptest! {
        #[test]
        fn every_group_settles_with_every_partition_given_and_shares_even(
            counts in proptest::collection::vec(0..7_i32, 1..4),
            wishes in proptest::collection::vec(1..8_u8, 1..6),
            gone in 0..6_usize,
        ) {
            let name = |nth: usize| format!("t{nth}");
            let topics: BTreeMap<String, i32> =
                counts.iter().enumerate().map(|(nth, count)| (name(nth), *count)).collect();
            let mut members: BTreeMap<String, Subscription> = BTreeMap::new();
            // One after the other, as they come; then one goes.
            for (nth, wish) in wishes.iter().enumerate() {
                let wanted = (0..counts.len()).filter(|t| wish & (1 << t) != 0).map(name).collect();
                let fresh = Subscription { topics: wanted, owned: Vec::new(), generation: -1 };
                members.insert(format!("m{nth}"), fresh);
                settled(&mut members, &topics);
            }
            if members.len() > 1 {
                members.remove(&format!("m{}", gone % wishes.len()));
            }
            settled(&mut members, &topics);
            for (topic, count) in &topics {
                let wanted = members.values().any(|m| m.topics.contains(topic));
                for index in 0..*count {
                    let at = TopicPartition::new(topic.clone(), index);
                    let holders = members.values().filter(|m| m.owned.contains(&at)).count();
                    prop_assert_eq!(holders, usize::from(wanted), "{}", at);
                }
            }
            // Nobody could give anything to anybody who has two less.
            for one in members.values() {
                for other in members.values() {
                    let could = one.owned.iter().any(|at| other.topics.contains(&at.topic));
                    prop_assert!(!could || one.owned.len() < other.owned.len() + 2);
                }
            }
        }
    }
}
