//! What consumers of the classic protocol tell each other through the coordinator.
//!
//! ```text
//! subscription  version i16 | topics [string] | user data bytes
//!               1: owned [topic string, partitions [i32]] | 2: generation i32 | 3: rack string
//! assignment    version i16 | [topic string, partitions [i32]] | user data bytes
//! ```
//!
//! Read by hand and bounded by the bytes there are: these are a client's, and nothing has looked
//! inside them. Newer versions are read as the newest known; what follows is theirs.

use std::collections::{BTreeMap, BTreeSet};

const OWNED_FROM: i16 = 1;
const GENERATION_FROM: i16 = 2;
const RACK_FROM: i16 = 3;
/// The newest version of an assignment that is written.
const ASSIGNMENT_MAX: i16 = 3;

/// Partitions by the topic's name.
pub type ByName = BTreeMap<String, BTreeSet<i32>>;

/// What a consumer tells its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics it reads.
    pub topics: BTreeSet<String>,
    /// What it has; empty from those that do not say.
    pub owned: ByName,
    /// Where it runs.
    pub rack_id: Option<String>,
}

impl Subscription {
    /// Reads one; `None` if it makes no sense.
    pub fn read(bytes: &[u8]) -> Option<Subscription> {
        let mut reader = Reader(bytes);
        let version = reader.i16().filter(|version| *version >= 0)?;
        let mut subscription = Subscription::default();
        for _ in 0..reader.count()? {
            subscription.topics.insert(reader.string()??);
        }
        reader.bytes()?;
        if version >= OWNED_FROM {
            subscription.owned = reader.partitions()?;
        }
        if version >= GENERATION_FROM {
            reader.i32()?;
        }
        if version >= RACK_FROM {
            subscription.rack_id = reader.string()?;
        }
        Some(subscription)
    }
}

/// What a leader gave a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Its partitions.
    pub partitions: ByName,
    /// Its assignor had more to say.
    pub has_user_data: bool,
}

impl Given {
    /// Reads an assignment; `None` if it makes no sense. No bytes at all are an assignment of
    /// nothing.
    pub fn read(bytes: &[u8]) -> Option<Given> {
        if bytes.is_empty() {
            return Some(Given::default());
        }
        let mut reader = Reader(bytes);
        reader.i16().filter(|version| *version >= 0)?;
        Some(Given {
            partitions: reader.partitions()?,
            has_user_data: !reader.bytes()?.is_empty(),
        })
    }
}

/// The version a member speaks, from what it told its group.
pub fn version_of(subscription: &[u8]) -> i16 {
    Reader(subscription).i16().unwrap_or(0)
}

/// An assignment for a member that speaks `version`.
pub fn write_assignment(version: i16, partitions: &ByName) -> Vec<u8> {
    let mut out = version.clamp(0, ASSIGNMENT_MAX).to_be_bytes().to_vec();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes();
    out.extend(count(partitions.len()));
    for (topic, indexes) in partitions {
        // A topic's name has at most 249 bytes.
        out.extend((topic.len() as u16).to_be_bytes());
        out.extend(topic.as_bytes());
        out.extend(count(indexes.len()));
        for index in indexes {
            out.extend(index.to_be_bytes());
        }
    }
    out.extend((-1_i32).to_be_bytes());
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// How many elements follow; each takes at least two bytes.
    fn count(&mut self) -> Option<usize> {
        let count = self.i32()?;
        let count = usize::try_from(count.max(0)).ok()?;
        (count <= self.0.len() / 2).then_some(count)
    }

    fn string(&mut self) -> Option<Option<String>> {
        let length = self.i16()?;
        let Ok(length) = usize::try_from(length) else {
            return Some(None);
        };
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(Some(text.to_owned()))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?;
        self.take(usize::try_from(length.max(0)).ok()?)
    }

    fn partitions(&mut self) -> Option<ByName> {
        let mut partitions = ByName::new();
        for _ in 0..self.count()? {
            let topic = self.string()??;
            let indexes = partitions.entry(topic).or_default();
            for _ in 0..self.count()? {
                indexes.insert(self.i32()?);
            }
        }
        Some(partitions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reka_protocol::kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
    use reka_protocol::kafka_protocol::messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
    };
    use reka_protocol::kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    #[test]
    fn subscriptions_of_the_codec_crate_are_read_in_every_version() {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let owned = TopicPartition::default()
            .with_topic(TopicName(text("t")))
            .with_partitions(vec![3, 1]);
        for version in 0..=3_i16 {
            let mut told = ConsumerProtocolSubscription::default()
                .with_topics(vec![text("u"), text("t")])
                .with_user_data(Some(b"mine".to_vec().into()));
            if version >= 1 {
                told.owned_partitions = vec![owned.clone()];
            }
            if version >= 2 {
                told.generation_id = 7;
            }
            if version >= 3 {
                told.rack_id = Some(text("r"));
            }
            let mut bytes = version.to_be_bytes().to_vec();
            told.encode(&mut bytes, version).expect("a subscription");
            let read = Subscription::read(&bytes).expect("a subscription");
            assert_eq!(
                read.topics,
                BTreeSet::from(["t".to_owned(), "u".to_owned()])
            );
            let owned = match version {
                0 => ByName::new(),
                _ => ByName::from([("t".to_owned(), BTreeSet::from([1, 3]))]),
            };
            assert_eq!(read.owned, owned);
            assert_eq!(read.rack_id.as_deref(), (version >= 3).then_some("r"));
            for length in 0..bytes.len() {
                // A newer part cut off is refused, never read past.
                assert_eq!(Subscription::read(&bytes[..length]), None, "{length} bytes");
            }
        }
    }

    #[test]
    fn assignments_are_written_as_the_codec_crate_reads_them() {
        let given = ByName::from([("t".to_owned(), BTreeSet::from([0, 2]))]);
        for version in 0..=4 {
            let bytes = write_assignment(version, &given);
            let (spoken, fields) = bytes.split_at(2);
            assert_eq!(spoken, version.min(3).to_be_bytes());
            let mut fields = bytes::Bytes::copy_from_slice(fields);
            let read = ConsumerProtocolAssignment::decode(&mut fields, version.min(3));
            let read = read.expect("an assignment");
            assert_eq!(read.assigned_partitions[0].partitions, [0, 2]);
            assert!(fields.is_empty());
            let expected = Given {
                partitions: given.clone(),
                has_user_data: false,
            };
            assert_eq!(Given::read(&bytes), Some(expected));
        }
    }

    #[test]
    fn counts_beyond_the_bytes_are_refused_before_anything_is_made_of_them() {
        for bytes in [
            &[0, 0, 0x7f, 0xff, 0xff, 0xff][..],
            &[0, 0, 0, 0, 0, 1, 0x7f, 0xff],
            &[0xff, 0xff, 0, 0, 0, 0],
            &[],
        ] {
            assert_eq!(Subscription::read(bytes), None);
        }
        assert_eq!(Given::read(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            Subscription::read(&bytes);
            Given::read(&bytes);
        }
    }
}
