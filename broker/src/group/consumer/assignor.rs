//! Who reads which partitions: the assignors of KIP-848. Pure.
//!
//! | Assignor | Gives |
//! |---|---|
//! | `uniform` | everybody about the same number of partitions, moving as few as possible |
//! | `range` | everybody a run of each topic, the same run of topics with as many partitions |
//!
//! Racks of members are kept and told, and neither looks at them: nor does any assignor of Apache Kafka 4.3.1,
//! which has taken that out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

/// Partitions by topic.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What an assignor is told about a member.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// For static membership: such members keep their place in the order.
    pub instance_id: Option<String>,
    /// Topics it reads.
    pub topics: BTreeSet<Uuid>,
    /// What it was to have so far.
    pub current: Partitions,
}

/// The members, and how many partitions each topic has.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// By member id.
    pub members: BTreeMap<Arc<str>, Candidate>,
    /// By topic; a topic that is not here does not exist.
    pub partitions: BTreeMap<Uuid, i32>,
}

/// What everybody shall have.
pub type Plan = BTreeMap<Arc<str>, Partitions>;

/// An assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// See above.
    Uniform,
    /// See above.
    Range,
}

impl Assignor {
    /// By its name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// Makes a plan.
    pub fn assign(self, problem: &Problem) -> Plan {
        match self {
            Assignor::Uniform if problem.is_homogeneous() => uniform(problem),
            Assignor::Uniform => balanced(problem),
            Assignor::Range => range(problem),
        }
    }
}

impl Problem {
    fn is_homogeneous(&self) -> bool {
        let mut topics = self.members.values().map(|member| &member.topics);
        match topics.next() {
            None => true,
            Some(first) => topics.all(|other| other == first),
        }
    }

    /// What a member was to have so far and still may have.
    fn kept(&self, member: &Candidate) -> Partitions {
        let mut kept = Partitions::new();
        for (topic, partitions) in &member.current {
            let count = self.partitions.get(topic).copied().unwrap_or(0);
            if !member.topics.contains(topic) {
                continue;
            }
            let there: BTreeSet<i32> = partitions.range(0..count).copied().collect();
            if !there.is_empty() {
                kept.insert(*topic, there);
            }
        }
        kept
    }

    /// Partitions that somebody reads and nobody is to have yet, in order.
    fn unassigned(&self, plan: &Plan) -> Vec<(Uuid, i32)> {
        let read: BTreeSet<Uuid> = self
            .members
            .values()
            .flat_map(|member| member.topics.iter().copied())
            .collect();
        let taken: BTreeSet<(Uuid, i32)> = plan.values().flat_map(pairs).collect();
        let all = read.into_iter().flat_map(|topic| {
            let count = self.partitions.get(&topic).copied().unwrap_or(0);
            (0..count).map(move |index| (topic, index))
        });
        all.filter(|partition| !taken.contains(partition)).collect()
    }
}

/// One by one.
pub fn pairs(partitions: &Partitions) -> impl Iterator<Item = (Uuid, i32)> {
    partitions
        .iter()
        .flat_map(|(topic, indexes)| indexes.iter().map(move |index| (*topic, *index)))
}

/// How many.
pub fn count(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

fn put(plan: &mut Plan, member: &Arc<str>, (topic, index): (Uuid, i32)) {
    if let Some(partitions) = plan.get_mut(member) {
        partitions.entry(topic).or_default().insert(index);
    }
}

fn take(plan: &mut Plan, member: &Arc<str>, (topic, index): (Uuid, i32)) {
    if let Some(partitions) = plan.get_mut(member)
        && let Some(indexes) = partitions.get_mut(&topic)
    {
        indexes.remove(&index);
        if indexes.is_empty() {
            partitions.remove(&topic);
        }
    }
}

/// Everybody reads the same: everybody gets a quota, and keeps what it has up to that.
fn uniform(problem: &Problem) -> Plan {
    let mut plan: Plan = problem
        .members
        .iter()
        .map(|(id, member)| (id.clone(), problem.kept(member)))
        .collect();
    let members = plan.len();
    if members == 0 {
        return plan;
    }
    let free = problem.unassigned(&plan);
    let total = free.len() + plan.values().map(count).sum::<usize>();
    let (quota, mut extra) = (total / members, total % members);
    // Who has the most may keep one more, so that fewer partitions move.
    let mut order: Vec<(usize, Arc<str>)> = plan
        .iter()
        .map(|(id, partitions)| (count(partitions), id.clone()))
        .collect();
    order.sort_by(|(one, id), (other, other_id)| other.cmp(one).then(id.cmp(other_id)));
    let mut free: std::collections::VecDeque<(Uuid, i32)> = free.into();
    let mut wanting = Vec::new();
    for (has, id) in order {
        let quota = quota + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        if has > quota {
            let surplus: Vec<_> = plan
                .get(&id)
                .into_iter()
                .flat_map(pairs)
                .skip(quota)
                .collect();
            for partition in surplus {
                take(&mut plan, &id, partition);
                free.push_back(partition);
            }
        } else if has < quota {
            wanting.push((id, quota - has));
        }
    }
    for (id, wants) in wanting {
        for partition in free.drain(..wants.min(free.len())).collect::<Vec<_>>() {
            put(&mut plan, &id, partition);
        }
    }
    plan
}

/// Members read different topics: everybody keeps what it has, what is free goes to who has least,
/// then partitions move as long as that evens things out.
fn balanced(problem: &Problem) -> Plan {
    let mut plan: Plan = problem
        .members
        .iter()
        .map(|(id, member)| (id.clone(), problem.kept(member)))
        .collect();
    let mut readers: BTreeMap<Uuid, Vec<Arc<str>>> = BTreeMap::new();
    for (id, member) in &problem.members {
        for topic in &member.topics {
            readers.entry(*topic).or_default().push(id.clone());
        }
    }
    let mut load: BTreeMap<Arc<str>, usize> = plan
        .iter()
        .map(|(id, partitions)| (id.clone(), count(partitions)))
        .collect();
    let least = |load: &BTreeMap<Arc<str>, usize>, readers: &[Arc<str>]| {
        readers
            .iter()
            .min_by_key(|id| (load.get(*id).copied().unwrap_or(0), (*id).clone()))
            .cloned()
    };
    let mut free = problem.unassigned(&plan);
    // Topics with few readers first: they have the least choice.
    free.sort_by_key(|(topic, index)| (readers.get(topic).map_or(0, Vec::len), *topic, *index));
    for partition in free {
        let Some(id) = readers
            .get(&partition.0)
            .and_then(|readers| least(&load, readers))
        else {
            continue;
        };
        *load.entry(id.clone()).or_default() += 1;
        put(&mut plan, &id, partition);
    }
    // Each move makes two loads more alike, so this ends; the bound is for the reader's comfort.
    let moves_max = plan.values().map(count).sum::<usize>() * problem.members.len().max(1);
    for _ in 0..moves_max {
        let found = plan.iter().find_map(|(from, partitions)| {
            let has = load.get(from).copied().unwrap_or(0);
            partitions.iter().find_map(|(topic, indexes)| {
                let to = least(&load, readers.get(topic)?)?;
                let gets = load.get(&to).copied().unwrap_or(0);
                let index = *indexes.last()?;
                (has > gets + 1).then(|| (from.clone(), to, (*topic, index)))
            })
        });
        let Some((from, to, partition)) = found else {
            break;
        };
        take(&mut plan, &from, partition);
        put(&mut plan, &to, partition);
        *load.entry(from).or_default() -= 1;
        *load.entry(to).or_default() += 1;
    }
    plan
}

/// Each topic is cut into runs, one for each of its readers in their order.
fn range(problem: &Problem) -> Plan {
    let mut order: Vec<(&Arc<str>, &Candidate)> = problem.members.iter().collect();
    order.sort_by(|(id, member), (other_id, other)| {
        match (&member.instance_id, &other.instance_id) {
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => id.cmp(other_id),
        }
    });
    let mut plan: Plan = problem
        .members
        .keys()
        .map(|id| (id.clone(), Partitions::new()))
        .collect();
    for (topic, count) in &problem.partitions {
        let readers: Vec<&Arc<str>> = order
            .iter()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        let Ok(among @ 1..) = i32::try_from(readers.len()) else {
            continue;
        };
        let (quota, extra) = (count / among, count % among);
        let mut start = 0;
        for (place, id) in (0..).zip(readers) {
            let end = start + quota + i32::from(place < extra);
            for index in start..end {
                put(&mut plan, id, (*topic, index));
            }
            start = end;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(number: u8) -> Uuid {
        Uuid::from_u128(u128::from(number) + 1)
    }

    fn problem(members: &[(&str, &[u8])], partitions: &[i32]) -> Problem {
        Problem {
            members: members
                .iter()
                .map(|(id, topics)| {
                    let candidate = Candidate {
                        topics: topics.iter().copied().map(topic).collect(),
                        ..Candidate::default()
                    };
                    ((*id).into(), candidate)
                })
                .collect(),
            partitions: (0..)
                .zip(partitions)
                .map(|(n, count)| (topic(n), *count))
                .collect(),
        }
    }

    /// Member: topic/partition ...
    fn shown(plan: &Plan) -> String {
        let lines = plan.iter().map(|(id, partitions)| {
            let mut line = format!("{id}:");
            for (topic, index) in pairs(partitions) {
                line.push_str(&format!(" {}/{index}", topic.as_u128() - 1));
            }
            line
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn range_gives_the_same_run_of_topics_of_the_same_size() {
        let check = |problem: &Problem, expected: &str| {
            assert_eq!(shown(&Assignor::Range.assign(problem)), expected);
        };
        let both: &[u8] = &[0, 1];
        check(
            &problem(&[("a", both), ("b", both)], &[3, 3]),
            "a: 0/0 0/1 1/0 1/1\nb: 0/2 1/2",
        );
        check(
            &problem(&[("a", &[0]), ("b", both), ("c", &[1])], &[2, 3]),
            "a: 0/0\nb: 0/1 1/0 1/1\nc: 1/2",
        );
        check(&problem(&[("a", both), ("b", both)], &[1]), "a: 0/0\nb:");
    }

    #[test]
    fn range_goes_by_instance_so_that_a_new_member_id_moves_nothing() {
        let mut problem = problem(&[("x", &[0]), ("y", &[0])], &[2]);
        for (id, instance) in [("x", "2"), ("y", "1")] {
            if let Some(member) = problem.members.get_mut(id) {
                member.instance_id = Some(instance.to_owned());
            }
        }
        assert_eq!(shown(&Assignor::Range.assign(&problem)), "x: 0/1\ny: 0/0");
    }

    #[test]
    fn uniform_takes_from_those_who_have_too_much_and_nothing_else() {
        let mut problem = problem(&[("a", &[0]), ("b", &[0]), ("c", &[0])], &[6]);
        for (id, has) in [("a", 0..4), ("b", 4..6)] {
            if let Some(member) = problem.members.get_mut(id) {
                member.current.insert(topic(0), has.collect());
            }
        }
        let plan = Assignor::Uniform.assign(&problem);
        assert_eq!(shown(&plan), "a: 0/0 0/1\nb: 0/4 0/5\nc: 0/2 0/3");
    }

    fn problems() -> impl Strategy<Value = Problem> {
        let members = proptest::collection::vec(
            (
                proptest::collection::btree_set(0..5_u8, 0..4),
                proptest::collection::vec((0..5_u8, 0..12_i32), 0..8),
            ),
            1..8,
        );
        (
            members,
            proptest::collection::vec(0..9_i32, 1..6),
            any::<bool>(),
        )
            .prop_map(|(members, partitions, same)| {
                let all: BTreeSet<Uuid> = (0..5).map(topic).collect();
                let mut taken = BTreeSet::new();
                let members = (0..)
                    .zip(members)
                    .map(|(number, (topics, current)): (u8, _)| {
                        let mut candidate = Candidate {
                            topics: topics.into_iter().map(topic).collect(),
                            ..Candidate::default()
                        };
                        if same {
                            candidate.topics = all.clone();
                        }
                        for (of, index) in current {
                            if taken.insert((of, index)) {
                                candidate
                                    .current
                                    .entry(topic(of))
                                    .or_default()
                                    .insert(index);
                            }
                        }
                        (format!("m{number}").into(), candidate)
                    });
                Problem {
                    members: members.collect(),
                    partitions: (0..)
                        .zip(partitions)
                        .map(|(n, count)| (topic(n), count))
                        .collect(),
                }
            })
    }

    proptest! {
        #[test]
        fn plans_give_every_partition_that_is_read_to_one_reader(problem in problems()) {
            for assignor in [Assignor::Uniform, Assignor::Range] {
                let plan = assignor.assign(&problem);
                prop_assert_eq!(plan.len(), problem.members.len());
                let mut given = BTreeSet::new();
                for (id, partitions) in &plan {
                    for (topic, index) in pairs(partitions) {
                        prop_assert!(given.insert((topic, index)), "given twice");
                        prop_assert!(problem.members[id].topics.contains(&topic), "not read");
                        let there = problem.partitions.get(&topic).copied().unwrap_or(0);
                        prop_assert!((0..there).contains(&index), "not there");
                    }
                }
                prop_assert!(problem.unassigned(&plan).is_empty(), "left over");
            }
        }

        #[test]
        fn uniform_is_even_and_a_second_look_moves_nothing(problem in problems()) {
            let plan = Assignor::Uniform.assign(&problem);
            for (from, partitions) in &plan {
                for (topic, _) in pairs(partitions) {
                    for (to, other) in &plan {
                        if problem.members[to].topics.contains(&topic) {
                            prop_assert!(
                                count(&plan[from]) <= count(other) + 1,
                                "{from} could give to {to}"
                            );
                        }
                    }
                }
            }
            let mut again = problem.clone();
            for (id, member) in &mut again.members {
                member.current = plan[id].clone();
            }
            prop_assert_eq!(Assignor::Uniform.assign(&again), plan);
        }
    }
}
