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

/// The partitions of an assignment, in order. No bytes at all are none.
pub fn read_assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>, EmbeddedError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = Bytes { bytes, at: 0 };
    bytes.i16("version")?;
    // A name takes its length, a list its count.
    let topics = bytes.count("topics", 6)?;
    let mut partitions = Vec::new();
    for _ in 0..topics {
        let topic = bytes.string("topic")?;
        for _ in 0..bytes.count("partitions", 4)? {
            partitions.push(TopicPartition::new(topic.clone(), bytes.i32("partition")?));
        }
    }
    partitions.sort();
    Ok(partitions)
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
