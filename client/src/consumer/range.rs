//! Who gets what in a group of the classic protocol: the range assignor. Pure.
//!
//! Each topic's partitions go in runs to the members that want it, by member id; the first members
//! get one more where it does not come out even. Every Java client has it, so groups may be mixed.

use std::collections::BTreeMap;

use crate::metadata::TopicPartition;

/// Its name among members.
pub(super) const NAME: &str = "range";

/// Partitions by member, given the topics each wants and how many partitions each topic has.
pub(super) fn assign(
    wanted: &BTreeMap<String, Vec<String>>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let mut assigned: BTreeMap<String, Vec<TopicPartition>> = wanted
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    for (topic, count) in partitions {
        let members: Vec<&String> = wanted
            .iter()
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(member, _)| member)
            .collect();
        let Ok(share) = i32::try_from(members.len()) else {
            continue;
        };
        let mut next = 0;
        for (nth, member) in (0..share).zip(members) {
            let size = count / share + i32::from(nth < count % share);
            let own = assigned.entry(member.clone()).or_default();
            own.extend((next..next + size).map(|index| TopicPartition::new(topic.clone(), index)));
            next += size;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_goes_to_one_member_that_wants_it_in_runs() {
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted: BTreeMap<String, Vec<String>> = [
            ("m1".to_owned(), topics(&["a", "b"])),
            ("m2".to_owned(), topics(&["a"])),
            ("m3".to_owned(), topics(&["a", "none"])),
        ]
        .into();
        let partitions = [("a".to_owned(), 7), ("b".to_owned(), 2)].into();
        let assigned = assign(&wanted, &partitions);
        let of = |member: &str| -> Vec<String> {
            assigned[member].iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("m1"), ["a-0", "a-1", "a-2", "b-0", "b-1"]);
        assert_eq!(of("m2"), ["a-3", "a-4"]);
        assert_eq!(of("m3"), ["a-5", "a-6"]);
    }
}
