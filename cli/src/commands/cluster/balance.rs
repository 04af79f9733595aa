//! `rkctl cluster partitions balance`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use reka_client::TopicPartition;
use serde::Serialize;

use crate::command_line::Change;
use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, list};

/// Every broker is to hold as many replicas as the others, and to be the first of as many: the numbers
/// differ by one at most. As few replicas as possible move, none to a rack that has another one of the
/// partition while there is a choice. With --dry-run the plan is shown and nothing begins. Leaders go to
/// where they belong with rkctl cluster partitions elect --all once status shows no move any more.
#[derive(Debug, Args)]
pub(crate) struct Balance {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    status: &'static str,
    replicas_before: Vec<i32>,
    replicas: Vec<i32>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        if self.is_empty() {
            return Page::default().line("nothing to move: it is balanced");
        }
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "BEFORE", "REPLICAS"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                list(&row.replicas_before),
                list(&row.replicas),
            ]);
        }
        table.into()
    }
}

impl Balance {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let cluster = client.describe_cluster().await?;
        let racks: Racks = cluster
            .brokers
            .into_iter()
            .filter(|broker| !broker.is_fenced)
            .map(|broker| (broker.id, broker.rack))
            .collect();
        let moving = client.list_reassignments().await?;
        if let Some(at) = moving.keys().next() {
            let text =
                format!("partition {at} is being moved already: what is balanced is not known");
            return Err(Failure::refused(text)
                .hint("wait until rkctl cluster partitions status shows nothing"));
        }
        let mut placed = Placement::new();
        for topic in client.list_topics().await? {
            if matches_any(&self.patterns, &topic.name) {
                for info in topic.partitions {
                    let at = TopicPartition::new(&topic.name, info.index);
                    placed.insert(at, info.replicas);
                }
            }
        }
        let balanced = balanced(&placed, &racks);
        let moves: Vec<(TopicPartition, Vec<i32>)> = balanced
            .into_iter()
            .filter(|(at, replicas)| placed.get(at) != Some(replicas))
            .collect();
        let status = match self.change.dry_run {
            true => "would begin",
            false => "began",
        };
        let rows: Vec<Row> = moves
            .iter()
            .map(|(at, replicas)| Row {
                topic: at.topic.clone(),
                partition: at.partition,
                status,
                replicas_before: placed.get(at).cloned().unwrap_or_default(),
                replicas: replicas.clone(),
            })
            .collect();
        if !self.change.dry_run && !moves.is_empty() {
            let moves: Vec<_> = moves.into_iter().map(|(at, to)| (at, Some(to))).collect();
            for (_, outcome) in client.alter_reassignments(&moves).await? {
                outcome?;
            }
        }
        session.show(&rows)
    }
}

/// Brokers that can take replicas, with their racks.
type Racks = BTreeMap<i32, Option<String>>;
/// Where partitions are; the first replica is to lead.
type Placement = BTreeMap<TopicPartition, Vec<i32>>;

/// Pure: the same partitions, evenly spread.
fn balanced(placed: &Placement, racks: &Racks) -> Placement {
    let mut placed = placed.clone();
    let mut held: BTreeMap<i32, usize> = racks.keys().map(|id| (*id, 0)).collect();
    for id in placed.values().flatten() {
        if let Some(count) = held.get_mut(id) {
            *count += 1;
        }
    }
    // What is on brokers that are gone finds a new home first.
    let lost: Vec<(TopicPartition, usize)> = placed
        .iter()
        .flat_map(|(at, replicas)| {
            let gone = replicas.iter().enumerate();
            gone.filter(|(_, id)| !racks.contains_key(id))
                .map(|(nth, _)| (at.clone(), nth))
        })
        .collect();
    for (at, nth) in lost {
        let Some(replicas) = placed.get_mut(&at) else {
            continue;
        };
        let by_load = |id: &&i32| (is_shared(racks, replicas, nth, **id), held[*id]);
        let to = racks
            .keys()
            .filter(|id| !replicas.contains(id))
            .min_by_key(by_load);
        if let Some(to) = to {
            replicas[nth] = *to;
            *held.entry(*to).or_default() += 1;
        }
    }
    while let Some((at, nth, to)) = next_move(&placed, racks, &held) {
        let Some(replicas) = placed.get_mut(&at) else {
            break;
        };
        let from = std::mem::replace(&mut replicas[nth], to);
        *held.entry(from).or_default() -= 1;
        *held.entry(to).or_default() += 1;
    }
    spread_leaders(&mut placed, racks);
    placed
}

/// Whether another replica of the partition is in the rack of a broker that would take one.
fn is_shared(racks: &Racks, replicas: &[i32], nth: usize, to: i32) -> bool {
    let rack = |id: &i32| racks.get(id).and_then(Option::as_ref);
    let own = rack(&to);
    let others = replicas.iter().enumerate().filter(|(at, _)| *at != nth);
    own.is_some() && others.into_iter().any(|(_, id)| rack(id) == own)
}

/// A replica that goes from a broker with many to one with fewer.
fn next_move(
    placed: &Placement,
    racks: &Racks,
    held: &BTreeMap<i32, usize>,
) -> Option<(TopicPartition, usize, i32)> {
    let mut from: Vec<(&i32, &usize)> = held.iter().collect();
    from.sort_by_key(|(id, count)| (std::cmp::Reverse(**count), **id));
    let mut to: Vec<(&i32, &usize)> = held.iter().collect();
    to.sort_by_key(|(id, count)| (**count, **id));
    for (from, most) in from {
        for (to, fewest) in to.iter().filter(|(_, fewest)| **fewest + 1 < *most) {
            let mut found: Option<((bool, bool), TopicPartition, usize)> = None;
            for (at, replicas) in placed {
                let Some(nth) = replicas.iter().position(|id| id == from) else {
                    continue;
                };
                if replicas.contains(to) {
                    continue;
                }
                let worse = is_shared(racks, replicas, nth, **to)
                    && !is_shared(racks, replicas, nth, *from);
                // Who leads moves last: its clients would notice.
                let cost = (worse, nth == 0);
                if found.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    found = Some((cost, at.clone(), nth));
                }
            }
            // Balance is not worth the loss of a rack.
            if let Some(((false, _), at, nth)) = found {
                debug_assert!(fewest < &most);
                return Some((at, nth, **to));
            }
        }
    }
    None
}

/// Puts others first until every broker is first of as many partitions as the next. A chain of changes
/// may be needed: from one that leads too many over others to one that leads too few.
fn spread_leaders(placed: &mut Placement, racks: &Racks) {
    loop {
        let mut led: BTreeMap<i32, usize> = racks.keys().map(|id| (*id, 0)).collect();
        for first in placed.values().filter_map(|replicas| replicas.first()) {
            *led.entry(*first).or_default() += 1;
        }
        let mut most: Vec<(i32, usize)> = led.iter().map(|(id, count)| (*id, *count)).collect();
        most.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        let chain = most.iter().find_map(|(from, count)| {
            let enough = |id: &i32| led.get(id).is_some_and(|others| others + 1 < *count);
            chain(placed, racks, *from, enough)
        });
        let Some(chain) = chain else {
            return;
        };
        for (at, to) in chain {
            if let Some(replicas) = placed.get_mut(&at)
                && let Some(nth) = replicas.iter().position(|id| *id == to)
            {
                replicas.swap(0, nth);
            }
        }
    }
}

/// The shortest chain of partitions that hand leadership on from a broker to one that has room.
fn chain(
    placed: &Placement,
    racks: &Racks,
    from: i32,
    has_room: impl Fn(&i32) -> bool,
) -> Option<Vec<(TopicPartition, i32)>> {
    let mut seen = BTreeSet::from([from]);
    let mut open: Vec<(i32, Vec<(TopicPartition, i32)>)> = vec![(from, Vec::new())];
    while !open.is_empty() {
        let mut next = Vec::new();
        for (leader, chain) in open {
            for (at, replicas) in placed {
                if replicas.first() != Some(&leader) {
                    continue;
                }
                for to in replicas.iter().skip(1) {
                    if !racks.contains_key(to) || !seen.insert(*to) {
                        continue;
                    }
                    let mut longer = chain.clone();
                    longer.push((at.clone(), *to));
                    if has_room(to) {
                        return Some(longer);
                    }
                    next.push((*to, longer));
                }
            }
        }
        open = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn racks(ids: std::ops::RangeInclusive<i32>) -> Racks {
        ids.map(|id| (id, None)).collect()
    }

    fn placement(rows: &[&[i32]]) -> Placement {
        (0..)
            .zip(rows)
            .map(|(nth, replicas)| (TopicPartition::new("t", nth), replicas.to_vec()))
            .collect()
    }

    /// The most and the fewest replicas and leaders of a broker.
    fn spread(placed: &Placement, racks: &Racks) -> [usize; 2] {
        let count = |held: Vec<i32>| {
            let counts = racks
                .keys()
                .map(|id| held.iter().filter(|at| *at == id).count());
            let counts: Vec<usize> = counts.collect();
            counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
        };
        let all = placed.values().flatten().copied().collect();
        let first = placed.values().filter_map(|r| r.first()).copied().collect();
        [count(all), count(first)]
    }

    #[test]
    fn a_new_broker_takes_its_share_and_no_more_moves_than_that() {
        let before = placement(&[&[1, 2], &[2, 1], &[1, 2], &[2, 1], &[1, 2], &[2, 1]]);
        let racks = racks(1..=3);
        let after = balanced(&before, &racks);
        assert_eq!(spread(&after, &racks), [0, 0], "{after:?}");
        let moved: usize = before
            .iter()
            .map(|(at, replicas)| after[at].iter().filter(|id| !replicas.contains(id)).count())
            .sum();
        assert_eq!(moved, 4, "12 replicas on 3 brokers are 4 each");
    }

    #[test]
    fn what_is_balanced_stays() {
        let before = placement(&[&[1, 2], &[2, 3], &[3, 1]]);
        assert_eq!(balanced(&before, &racks(1..=3)), before);
        assert_eq!(balanced(&placement(&[&[1], &[1]]), &racks(1..=1)).len(), 2);
    }

    #[test]
    fn replicas_of_a_broker_that_is_gone_find_a_home() {
        let after = balanced(&placement(&[&[9, 1], &[1, 9]]), &racks(1..=2));
        assert!(after.values().flatten().all(|id| *id != 9), "{after:?}");
        // There is nobody else to take it.
        let after = balanced(&placement(&[&[1, 9]]), &racks(1..=1));
        assert_eq!(after[&TopicPartition::new("t", 0)], [1, 9]);
    }

    #[test]
    fn racks_are_kept_apart() {
        let rack = |id: i32| {
            (
                id,
                Some(if id % 2 == 0 { "even" } else { "odd" }.to_owned()),
            )
        };
        let racks: Racks = (1..=4).map(rack).collect();
        let before = placement(&[&[1, 2], &[1, 2], &[1, 2], &[2, 1], &[2, 1], &[2, 1]]);
        let after = balanced(&before, &racks);
        assert_eq!(spread(&after, &racks), [0, 1], "{after:?}");
        for replicas in after.values() {
            assert_ne!(replicas[0] % 2, replicas[1] % 2, "{after:?}");
        }
    }

    proptest::proptest! {
        /// However partitions lie, they end up evenly, whole, and on brokers that are there; and a
        /// second run finds nothing to do.
        #[test]
        fn any_placement_is_balanced(
            brokers in 1..6_i32,
            copies in 1..4_usize,
            picks in proptest::collection::vec(0..1000_usize, 0..30),
        ) {
            let racks = racks(1..=brokers);
            let copies = copies.min(brokers as usize);
            let place = |pick: &usize| {
                let ids = (0..brokers).map(|nth| (nth as usize + pick) % brokers as usize);
                ids.take(copies).map(|id| id as i32 + 1).collect::<Vec<i32>>()
            };
            let rows: Vec<Vec<i32>> = picks.iter().map(place).collect();
            let rows: Vec<&[i32]> = rows.iter().map(Vec::as_slice).collect();
            let before = placement(&rows);
            let after = balanced(&before, &racks);
            let [replicas, _] = spread(&after, &racks);
            assert!(replicas <= 1, "{after:?}");
            // Nobody leads two more than another that could lead in its place.
            let led = |id: &i32| after.values().filter(|r| r.first() == Some(id)).count();
            for replicas in after.values() {
                let fewest = replicas.iter().map(led).min().unwrap_or(0);
                assert!(led(&replicas[0]) <= fewest + 1, "{after:?}");
            }
            for replicas in after.values() {
                let distinct: BTreeSet<&i32> = replicas.iter().collect();
                assert_eq!((replicas.len(), distinct.len()), (copies, copies));
            }
            assert_eq!(balanced(&after, &racks), after);
        }
    }
}
