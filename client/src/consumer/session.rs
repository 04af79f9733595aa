//! Fetch sessions: the broker remembers what it was asked, and is told only what is new (KIP-227).
//! Pure.
//!
//! Epoch 0 begins a session with everything, later epochs name what has changed. Whenever anything
//! is in doubt the session begins anew. A session calls topics by ids or by names, not by both.

use std::collections::BTreeMap;

use reka_protocol::kafka_protocol::messages::FetchRequest;
use reka_protocol::kafka_protocol::messages::fetch_request::{
    FetchPartition, FetchTopic, ForgottenTopic,
};
use uuid::Uuid;

use super::ConsumerConfig;
use crate::client::{text, topic_name};
use crate::metadata::TopicPartition;

/// The first version that calls topics by ids.
const BY_ID: i16 = 13;

/// What is asked of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Where to read.
    pub(super) offset: i64,
    /// The leader that is expected; -1 where it is not known.
    pub(super) leader_epoch: i32,
    /// Which topic of the name; nil where it is not known.
    pub(super) topic_id: Uuid,
}

/// What a broker is asked, by partition.
pub(super) type Asks = BTreeMap<TopicPartition, Ask>;

/// What a broker remembers.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 without a session.
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// What it will answer about.
    known: Asks,
}

impl FetchSession {
    /// The request for these partitions at these offsets, and the versions that can say it.
    pub(super) fn next(
        &mut self,
        wanted: &Asks,
        config: &ConsumerConfig,
    ) -> (FetchRequest, std::ops::RangeInclusive<i16>) {
        let has_ids = |asks: &Asks| asks.values().all(|ask| !ask.topic_id.is_nil());
        let by_id = has_ids(wanted);
        if !self.known.is_empty() && has_ids(&self.known) != by_id {
            *self = FetchSession::default();
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (at, ask) in wanted {
            if self.id != 0 && self.known.get(at) == Some(ask) {
                continue;
            }
            let partition = FetchPartition::default()
                .with_partition(at.partition)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_fetch_offset(ask.offset)
                .with_partition_max_bytes(config.partition_bytes_max);
            let same = |topic: &&mut FetchTopic| {
                *topic.topic.0 == *at.topic && topic.topic_id == ask.topic_id
            };
            match topics.last_mut().filter(same) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&at.topic))
                        .with_topic_id(ask.topic_id)
                        .with_partitions(vec![partition]),
                ),
            }
        }
        // One that was created anew is another topic: the one before is over.
        let is_over = |(at, known): &(&TopicPartition, &Ask)| {
            wanted
                .get(*at)
                .is_none_or(|wanted| wanted.topic_id != known.topic_id)
        };
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for (at, known) in self.known.iter().filter(is_over) {
            let same = |topic: &&mut ForgottenTopic| {
                *topic.topic.0 == *at.topic && topic.topic_id == known.topic_id
            };
            match forgotten.last_mut().filter(same) {
                Some(topic) => topic.partitions.push(at.partition),
                None => forgotten.push(
                    ForgottenTopic::default()
                        .with_topic(topic_name(&at.topic))
                        .with_topic_id(known.topic_id)
                        .with_partitions(vec![at.partition]),
                ),
            }
        }
        let wait = i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX);
        let request = FetchRequest::default()
            .with_max_wait_ms(wait)
            .with_min_bytes(config.fetch_bytes_min)
            .with_max_bytes(config.fetch_bytes_max)
            .with_isolation_level(config.isolation.code())
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(forgotten)
            .with_rack_id(text(config.rack.as_deref().unwrap_or_default()));
        (request, 4..=if by_id { i16::MAX } else { BY_ID - 1 })
    }

    /// The broker answered, with the session it keeps, if it keeps one.
    pub(super) fn answered(&mut self, id: i32, asked: &Asks) {
        if id == 0 || (self.id != 0 && id != self.id) {
            *self = FetchSession::default();
            return;
        }
        self.id = id;
        // After the last epoch comes 1: 0 begins a session.
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.known.clone_from(asked);
    }
}

/// The request as a version can say it: sessions are known from version 7 on, expected leaders from 9,
/// topics by ids from 13.
pub(super) fn in_version(mut request: FetchRequest, version: i16) -> FetchRequest {
    if version < 7 {
        request.session_id = 0;
        request.session_epoch = -1;
        request.forgotten_topics_data.clear();
    }
    for topic in &mut request.topics {
        match version {
            BY_ID.. => topic.topic = topic_name(""),
            _ => topic.topic_id = Uuid::nil(),
        }
        if version < 9 {
            for partition in &mut topic.partitions {
                partition.current_leader_epoch = -1;
            }
        }
    }
    for topic in &mut request.forgotten_topics_data {
        match version {
            BY_ID.. => topic.topic = topic_name(""),
            _ => topic.topic_id = Uuid::nil(),
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn wanted_of(id: Uuid, offsets: &[(i32, i64)]) -> Asks {
        let at = |(partition, offset): &(i32, i64)| {
            let ask = Ask {
                offset: *offset,
                leader_epoch: 3,
                topic_id: id,
            };
            (TopicPartition::new("t", *partition), ask)
        };
        offsets.iter().map(at).collect()
    }

    fn wanted(offsets: &[(i32, i64)]) -> Asks {
        wanted_of(ID, offsets)
    }

    fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|p| (p.partition, p.fetch_offset)).collect()
    }

    #[test]
    fn a_session_is_told_what_changes_and_what_is_over() {
        let config = ConsumerConfig::default();
        let mut session = FetchSession::default();
        let first = wanted(&[(0, 5), (1, 7)]);
        let (request, versions) = session.next(&first, &config);
        assert_eq!(versions, 4..=i16::MAX);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(asked(&request), [(0, 5), (1, 7)]);
        session.answered(42, &first);

        let second = wanted(&[(1, 9), (2, 0)]);
        let (request, _) = session.next(&second, &config);
        assert_eq!((request.session_id, request.session_epoch), (42, 1));
        assert_eq!(asked(&request), [(1, 9), (2, 0)]);
        assert_eq!(request.forgotten_topics_data[0].partitions, [0]);
        session.answered(42, &second);

        let (request, _) = session.next(&second, &config);
        assert_eq!(request.session_epoch, 2);
        assert!(request.topics.is_empty() && request.forgotten_topics_data.is_empty());
    }

    #[test]
    fn a_topic_that_was_created_anew_takes_the_place_of_the_one_before() {
        let config = ConsumerConfig::default();
        let mut session = FetchSession::default();
        let before = wanted(&[(0, 5)]);
        session.next(&before, &config);
        session.answered(42, &before);
        let anew = wanted_of(Uuid::from_u128(8), &[(0, 5)]);
        let (request, _) = session.next(&anew, &config);
        assert_eq!((request.session_id, asked(&request)), (42, vec![(0, 5)]));
        assert_eq!(request.topics[0].topic_id, Uuid::from_u128(8));
        assert_eq!(request.forgotten_topics_data[0].topic_id, ID);
        session.answered(42, &anew);

        // Where a broker tells no ids there is no saying it by them.
        let (request, versions) = session.next(&wanted_of(Uuid::nil(), &[(0, 5)]), &config);
        assert_eq!((request.session_id, versions), (0, 4..=12));
    }

    #[test]
    fn without_a_session_everything_is_said_each_time() {
        let config = ConsumerConfig::default();
        let mut session = FetchSession::default();
        let all = wanted(&[(0, 5)]);
        session.answered(0, &all);
        let (request, _) = session.next(&all, &config);
        assert_eq!((request.session_epoch, asked(&request)), (0, vec![(0, 5)]));
        session.answered(42, &all);
        // Another session than the one that was asked is none.
        session.answered(43, &all);
        assert_eq!(asked(&session.next(&all, &config).0), [(0, 5)]);
    }

    #[test]
    fn a_request_says_what_its_version_can() {
        let config = ConsumerConfig::default();
        let (request, _) = FetchSession::default().next(&wanted(&[(0, 5)]), &config);
        let said = |version| {
            let request = in_version(request.clone(), version);
            let topic = &request.topics[0];
            let epoch = topic.partitions[0].current_leader_epoch;
            let name = topic.topic.as_str().to_owned();
            (request.session_epoch, epoch, name, topic.topic_id)
        };
        assert_eq!(said(6), (-1, -1, "t".to_owned(), Uuid::nil()));
        assert_eq!(said(8), (0, -1, "t".to_owned(), Uuid::nil()));
        assert_eq!(said(12), (0, 3, "t".to_owned(), Uuid::nil()));
        assert_eq!(said(13), (0, 3, String::new(), ID));
    }
}
