//! Fetch sessions: the broker remembers what it was asked, and is told only what is new (KIP-227).
//! Pure.
//!
//! Epoch 0 begins a session with everything, later epochs name what has changed. Whenever anything
//! is in doubt the session begins anew.

use std::collections::BTreeMap;

use reka_protocol::kafka_protocol::messages::FetchRequest;
use reka_protocol::kafka_protocol::messages::fetch_request::{
    FetchPartition, FetchTopic, ForgottenTopic,
};

use super::ConsumerConfig;
use crate::client::{text, topic_name};
use crate::metadata::TopicPartition;

/// What a broker remembers.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 without a session.
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// What it will answer about.
    known: BTreeMap<TopicPartition, i64>,
}

impl FetchSession {
    /// The request for these partitions at these offsets.
    pub(super) fn next(
        &self,
        wanted: &BTreeMap<TopicPartition, i64>,
        config: &ConsumerConfig,
    ) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (at, offset) in wanted {
            if self.id != 0 && self.known.get(at) == Some(offset) {
                continue;
            }
            let partition = FetchPartition::default()
                .with_partition(at.partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(config.partition_bytes_max);
            match topics
                .last_mut()
                .filter(|topic| *topic.topic.0 == *at.topic)
            {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&at.topic))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for at in self.known.keys().filter(|at| !wanted.contains_key(*at)) {
            match forgotten
                .last_mut()
                .filter(|topic| *topic.topic.0 == *at.topic)
            {
                Some(topic) => topic.partitions.push(at.partition),
                None => forgotten.push(
                    ForgottenTopic::default()
                        .with_topic(topic_name(&at.topic))
                        .with_partitions(vec![at.partition]),
                ),
            }
        }
        let wait = i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX);
        FetchRequest::default()
            .with_max_wait_ms(wait)
            .with_min_bytes(config.fetch_bytes_min)
            .with_max_bytes(config.fetch_bytes_max)
            .with_isolation_level(config.isolation.code())
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(forgotten)
            .with_rack_id(text(config.rack.as_deref().unwrap_or_default()))
    }

    /// The broker answered, with the session it keeps, if it keeps one.
    pub(super) fn answered(&mut self, id: i32, asked: &BTreeMap<TopicPartition, i64>) {
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

/// The request as a version can say it: sessions are known from version 7 on.
pub(super) fn in_version(mut request: FetchRequest, version: i16) -> FetchRequest {
    if version < 7 {
        request.session_id = 0;
        request.session_epoch = -1;
        request.forgotten_topics_data.clear();
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, i64> {
        let at = |(partition, offset): &(i32, i64)| (TopicPartition::new("t", *partition), *offset);
        offsets.iter().map(at).collect()
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
        let request = session.next(&first, &config);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(asked(&request), [(0, 5), (1, 7)]);
        session.answered(42, &first);

        let second = wanted(&[(1, 9), (2, 0)]);
        let request = session.next(&second, &config);
        assert_eq!((request.session_id, request.session_epoch), (42, 1));
        assert_eq!(asked(&request), [(1, 9), (2, 0)]);
        assert_eq!(request.forgotten_topics_data[0].partitions, [0]);
        session.answered(42, &second);

        let request = session.next(&second, &config);
        assert_eq!(request.session_epoch, 2);
        assert!(request.topics.is_empty() && request.forgotten_topics_data.is_empty());
    }

    #[test]
    fn without_a_session_everything_is_said_each_time() {
        let config = ConsumerConfig::default();
        let mut session = FetchSession::default();
        let all = wanted(&[(0, 5)]);
        session.answered(0, &all);
        let request = session.next(&all, &config);
        assert_eq!((request.session_epoch, asked(&request)), (0, vec![(0, 5)]));
        session.answered(42, &all);
        // Another session than the one that was asked is none.
        session.answered(43, &all);
        assert_eq!(asked(&session.next(&all, &config)), [(0, 5)]);
    }
}
