//! What consumers of the classic protocol say to each other inside the group's messages. Pure.
//!
//! ```text
//! subscription  version i16 | topics [string] | user data bytes? | v1: owned [topic, [i32]] | ...
//! assignment    version i16 | [topic string, partitions [i32]] | user data bytes?
//! ```
//!
//! The bytes come from other clients by way of the broker: what they claim is checked. Versions are
//! compatible: what is behind the fields known here is for newer readers.

use crate::metadata::TopicPartition;

/// Bytes that are no message of consumers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at} needs {needed} bytes, {left} left")]
pub struct EmbeddedError {
    what: &'static str,
    at: usize,
    needed: usize,
    left: usize,
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, what: &'static str, needed: usize) -> Result<&'a [u8], EmbeddedError> {
        let left = self.bytes.len() - self.at;
        let Some(taken) = self.bytes[self.at..].get(..needed) else {
            return Err(EmbeddedError {
                what,
                at: self.at,
                needed,
                left,
            });
        };
        self.at += needed;
        Ok(taken)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, EmbeddedError> {
        let bytes = self.take(what, 2)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, EmbeddedError> {
        let bytes = self.take(what, 4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A count of elements of at least so many bytes each, all of which are there.
    fn count(&mut self, what: &'static str, each: usize) -> Result<usize, EmbeddedError> {
        let count = usize::try_from(self.i32(what)?).unwrap_or(0);
        let needed = count.saturating_mul(each);
        let left = self.bytes.len() - self.at;
        if needed > left {
            return Err(EmbeddedError {
                what,
                at: self.at,
                needed,
                left,
            });
        }
        Ok(count)
    }

    fn string(&mut self, what: &'static str) -> Result<String, EmbeddedError> {
        let length = usize::try_from(self.i16(what)?).unwrap_or(0);
        let bytes = self.take(what, length)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Bytes<'_> {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>, EmbeddedError> {
        // A name takes its length, a list its count.
        let topics = self.count("topics", 6)?;
        let mut partitions = Vec::new();
        for _ in 0..topics {
            let topic = self.string("topic")?;
            for _ in 0..self.count("partitions", 4)? {
                partitions.push(TopicPartition::new(topic.clone(), self.i32("partition")?));
            }
        }
        Ok(partitions)
    }
}

/// The partitions of an assignment, in order. No bytes at all are none.
pub fn read_assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>, EmbeddedError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = Bytes { bytes, at: 0 };
    bytes.i16("version")?;
    let mut partitions = bytes.partitions()?;
    partitions.sort();
    Ok(partitions)
}

/// An assignment of these partitions, in version 1, which every reader knows.
#[must_use]
pub fn write_assignment(partitions: &[TopicPartition]) -> Vec<u8> {
    let mut out = Vec::new();
    put_i16(&mut out, 1);
    put_partitions(&mut out, partitions);
    // No user data.
    out.extend((-1_i32).to_be_bytes());
    out
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics it wants.
    pub topics: Vec<String>,
    /// What it has from an earlier generation and keeps until it is told otherwise; nothing with an
    /// eager assignor.
    pub owned: Vec<TopicPartition>,
    /// The generation that is from; -1 where it is not known.
    pub generation: i32,
}

/// A subscription to these topics, in version 0: what members of the eager protocol say.
#[must_use]
pub fn write_subscription(topics: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    put_i16(&mut out, 0);
    put_count(&mut out, topics.len());
    for topic in topics {
        put_string(&mut out, topic);
    }
    out.extend((-1_i32).to_be_bytes());
    out
}

/// A subscription of a member that keeps what it has, in version 2. The generation is said twice: older
/// Java clients look for it in the user data.
#[must_use]
pub fn write_cooperative(subscription: &Subscription) -> Vec<u8> {
    let mut out = Vec::new();
    put_i16(&mut out, 2);
    put_count(&mut out, subscription.topics.len());
    for topic in &subscription.topics {
        put_string(&mut out, topic);
    }
    put_count(&mut out, 4);
    out.extend(subscription.generation.to_be_bytes());
    put_partitions(&mut out, &subscription.owned);
    out.extend(subscription.generation.to_be_bytes());
    out
}

/// A subscription in any version.
pub fn read_subscription(bytes: &[u8]) -> Result<Subscription, EmbeddedError> {
    let mut bytes = Bytes { bytes, at: 0 };
    let version = bytes.i16("version")?;
    let topics = bytes.count("topics", 2)?;
    let topics = (0..topics).map(|_| bytes.string("topic"));
    let mut subscription = Subscription {
        topics: topics.collect::<Result<_, _>>()?,
        owned: Vec::new(),
        generation: -1,
    };
    let length = usize::try_from(bytes.i32("user data")?).unwrap_or(0);
    let user_data = bytes.take("user data", length)?;
    if let [a, b, c, d] = *user_data {
        subscription.generation = i32::from_be_bytes([a, b, c, d]);
    }
    if version >= 1 {
        subscription.owned = bytes.partitions()?;
    }
    if version >= 2 {
        subscription.generation = bytes.i32("generation")?;
    }
    Ok(subscription)
}

fn put_partitions(out: &mut Vec<u8>, partitions: &[TopicPartition]) {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for at in partitions {
        match topics.last_mut().filter(|(topic, _)| *topic == at.topic) {
            Some((_, indexes)) => indexes.push(at.partition),
            None => topics.push((&at.topic, vec![at.partition])),
        }
    }
    put_count(out, topics.len());
    for (topic, indexes) in topics {
        put_string(out, topic);
        put_count(out, indexes.len());
        for index in indexes {
            out.extend(index.to_be_bytes());
        }
    }
}

fn put_i16(out: &mut Vec<u8>, number: i16) {
    out.extend(number.to_be_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    // Kafka's names are shorter by far.
    let length = text.len().min(i16::MAX as usize);
    put_i16(out, length as i16);
    out.extend(&text.as_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 3, `t` with partitions 1 and 0, no user data.
    const ASSIGNMENT: [u8; 25] = [
        0, 3, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 255, 255, 255, 255,
    ];

    #[test]
    fn an_assignment_is_read_in_order_and_may_be_empty() {
        let expected = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
        assert_eq!(read_assignment(&ASSIGNMENT), Ok(expected));
        assert_eq!(read_assignment(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let partitions = [("a", 0), ("a", 2), ("b", 1)].map(|(t, p)| TopicPartition::new(t, p));
        let read = read_assignment(&write_assignment(&partitions));
        assert_eq!(read, Ok(partitions.to_vec()));
        let topics = ["a".to_owned(), "b".to_owned()];
        let mut subscription = Subscription {
            topics: topics.to_vec(),
            owned: Vec::new(),
            generation: -1,
        };
        let read = read_subscription(&write_subscription(&topics));
        assert_eq!(read.as_ref(), Ok(&subscription));
        subscription.owned = partitions.to_vec();
        subscription.generation = 7;
        let written = write_cooperative(&subscription);
        assert_eq!(read_subscription(&written).as_ref(), Ok(&subscription));
        for end in 0..written.len() {
            assert!(read_subscription(&written[..end]).is_err(), "cut at {end}");
        }
        // Version 1 has the generation in the user data alone.
        let mut older = written[..written.len() - 4].to_vec();
        older[1] = 1;
        assert_eq!(read_subscription(&older), Ok(subscription));
        assert!(read_subscription(&[0, 0, 127, 255, 255, 255]).is_err());
    }

    #[test]
    fn cut_and_wild_assignments_are_refused_before_anything_is_reserved() {
        for end in 1..21 {
            assert!(read_assignment(&ASSIGNMENT[..end]).is_err(), "cut at {end}");
        }
        let mut wild = ASSIGNMENT;
        wild[2..6].copy_from_slice(&i32::MAX.to_be_bytes());
        let refused = read_assignment(&wild).expect_err("a count nobody can keep");
        assert!(refused.to_string().contains("topics"), "{refused}");
    }
}
