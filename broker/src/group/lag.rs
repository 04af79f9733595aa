//! How far groups are behind. Pure.
//!
//! Lag is held against the high watermark, as Apache Kafka's tool has it, whatever its readers are isolated
//! from: the broker does not know, and records that wait for a transaction to end are behind all the same.
//!
//! Of a million committed offsets the ones furthest behind are told one by one, and all others
//! together: what is told is bounded, whatever clients do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::offsets::Offsets;

/// High watermarks of the partitions here, by topic and index; -1 for one that is not here.
#[derive(Clone, Debug, Default)]
pub struct Ends(HashMap<String, Vec<i64>>);

impl Ends {
    /// Notes the high watermark of a partition.
    pub fn insert(&mut self, topic: &str, partition: i32, high_watermark: i64) {
        let Ok(index) = usize::try_from(partition) else {
            return;
        };
        let ends = match self.0.get_mut(topic) {
            Some(ends) => ends,
            None => self.0.entry(topic.to_owned()).or_default(),
        };
        if ends.len() <= index {
            ends.resize(index + 1, -1);
        }
        ends[index] = high_watermark;
    }

    fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        let index = usize::try_from(partition).ok()?;
        let end = self.0.get(topic)?.get(index).copied();
        end.filter(|end| *end >= 0)
    }
}

/// How far a group is behind in one partition. Ordered by how far, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lag {
    /// Records the group has not committed.
    pub records: i64,
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// What it has committed: the next offset to read.
    pub offset: i64,
}

/// Lags of many groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lags {
    /// The largest, in no order.
    pub told: Vec<Lag>,
    /// All the others: how many there are.
    pub others: u64,
    /// And their records.
    pub others_records: i64,
}

impl Lags {
    /// The largest `limit` of what these groups have committed.
    pub fn of(offsets: &Offsets, ends: &Ends, limit: usize) -> Lags {
        let mut largest = Largest::new(limit);
        for group in offsets.groups() {
            for (topic, partition, committed) in offsets.committed(group) {
                if let Some(end) = ends.get(topic, partition) {
                    largest.push(Lag {
                        records: end.saturating_sub(committed.offset).max(0),
                        group: group.clone(),
                        topic: topic.clone(),
                        partition,
                        offset: committed.offset,
                    });
                }
            }
        }
        largest.finish()
    }

    /// The largest `limit` of both.
    pub fn merge(self, other: Lags, limit: usize) -> Lags {
        let mut largest = Largest::new(limit);
        largest.rest.others = self.others + other.others;
        largest.rest.others_records = self.others_records.saturating_add(other.others_records);
        for lag in self.told.into_iter().chain(other.told) {
            largest.push(lag);
        }
        largest.finish()
    }
}

struct Largest {
    limit: usize,
    /// The least of them on top.
    heap: BinaryHeap<Reverse<Lag>>,
    rest: Lags,
}

impl Largest {
    fn new(limit: usize) -> Largest {
        Largest {
            limit,
            heap: BinaryHeap::new(),
            rest: Lags::default(),
        }
    }

    fn push(&mut self, lag: Lag) {
        self.heap.push(Reverse(lag));
        if self.heap.len() > self.limit
            && let Some(Reverse(least)) = self.heap.pop()
        {
            self.rest.others += 1;
            self.rest.others_records = self.rest.others_records.saturating_add(least.records);
        }
    }

    fn finish(self) -> Lags {
        let told = self.heap.into_iter().map(|Reverse(lag)| lag);
        Lags {
            told: told.collect(),
            ..self.rest
        }
    }
}

#[cfg(test)]
mod tests {
    use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
    use uuid::Uuid;

    use super::*;

    fn offsets(committed: &[(&str, &str, i32, i64)]) -> Offsets {
        let mut offsets = Offsets::default();
        for (order, (group, topic, partition, offset)) in (0..).zip(committed) {
            let value = OffsetCommitValue {
                offset: *offset,
                leader_epoch: -1,
                metadata: String::new(),
                commit_timestamp: 0,
                expire_timestamp: -1,
                topic_id: Uuid::nil(),
            };
            offsets.apply_commit(group, topic, *partition, &value, None, order);
        }
        offsets
    }

    fn ends(ends: &[(&str, i32, i64)]) -> Ends {
        let mut all = Ends::default();
        for (topic, partition, end) in ends {
            all.insert(topic, *partition, *end);
        }
        all
    }

    fn told(lags: &Lags) -> Vec<(String, i32, i64)> {
        let mut told: Vec<_> = lags
            .told
            .iter()
            .map(|lag| (lag.group.to_string(), lag.partition, lag.records))
            .collect();
        told.sort();
        told
    }

    #[test]
    fn a_lag_is_what_lies_between_the_committed_offset_and_the_high_watermark() {
        let offsets = offsets(&[("a", "t", 0, 3), ("a", "t", 2, 10), ("b", "gone", 0, 1)]);
        let lags = Lags::of(&offsets, &ends(&[("t", 2, 8), ("t", 0, 8)]), 10);
        // A reader may have committed more than is left of a log.
        let expected = [("a".to_owned(), 0, 5), ("a".to_owned(), 2, 0)];
        assert_eq!(told(&lags), expected);
        assert_eq!((lags.others, lags.others_records), (0, 0));
        // Of partition 1 nothing is known here.
        let unread = self::offsets(&[("a", "t", 1, 3)]);
        let unknown = Lags::of(&unread, &ends(&[("t", 2, 8)]), 10);
        assert!(unknown.told.is_empty());
    }

    #[test]
    fn the_largest_are_told_and_the_others_added_up() {
        let all: Vec<_> = (0..10).map(|at| ("g", "t", at, i64::from(at))).collect();
        let high: Vec<_> = (0..10).map(|at| ("t", at, 9)).collect();
        let lags = Lags::of(&offsets(&all), &ends(&high), 2);
        let expected = [("g".to_owned(), 0, 9), ("g".to_owned(), 1, 8)];
        assert_eq!(told(&lags), expected);
        assert_eq!((lags.others, lags.others_records), (8, 7 * 8 / 2));
        let more = Lags::of(
            &offsets(&[("h", "t", 0, 0), ("h", "t", 1, 5)]),
            &ends(&high),
            2,
        );
        let both = lags.merge(more, 2);
        let expected = [("g".to_owned(), 0, 9), ("h".to_owned(), 0, 9)];
        assert_eq!(told(&both), expected);
        assert_eq!((both.others, both.others_records), (10, 28 + 8 + 4));
    }
}
