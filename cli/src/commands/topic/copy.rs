//! `rkctl topic copy`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use reka_client::admin::{ConfigSource, Isolation, NewTopic, OffsetSpec, Resource};
use reka_client::producer::Delivery;
use reka_client::{
    Consumer, ConsumerConfig, OffsetReset, Producer, ProducerConfig, ProducerRecord, TopicInfo,
    TopicPartition,
};
use reka_protocol::ErrorCode;
use serde::Serialize;

use super::{offsets, partitions_of};
use crate::command_line::Change;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::Page;

/// The new topic is made with the partitions and the configuration of the other; one that is there gets
/// the records behind its own, and must not have fewer partitions. Records keep partition, order, key,
/// headers and time. Offsets are the same if the source has neither gaps nor lost its start. What is
/// written while this runs is not copied, nor what is in aborted transactions.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Name of the topic
    from: String,
    /// Name of the copy
    to: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Serialize)]
struct Copied {
    from: String,
    to: String,
    status: &'static str,
    partitions: usize,
    records: u64,
    same_offsets: bool,
}

impl Report for Copied {
    fn page(&self) -> Page {
        Page::default().pairs(vec![
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("status", self.status.to_owned()),
            ("partitions", self.partitions.to_string()),
            ("records", self.records.to_string()),
            ("same offsets", crate::table::yes_no(self.same_offsets)),
        ])
    }
}

/// How long to wait for records that are known to be there.
const STEP: Duration = Duration::from_millis(500);
/// How many deliveries are waited for at a time.
const WINDOW: usize = 50_000;

impl Copy {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        if self.from == self.to {
            return Err(Failure::usage("a topic cannot be copied to itself"));
        }
        let client = session.client().await?;
        let topics = session.topics(std::slice::from_ref(&self.from)).await?;
        let Some(source) = topics.first() else {
            return Err(Failure::not_found(format!(
                "there is no topic {}",
                self.from
            )));
        };
        let fresh = self.prepare(session, source).await?;
        let partitions = partitions_of(source);
        let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
        let ends = client
            .list_offsets(
                &partitions
                    .iter()
                    .map(|at| (at.clone(), OffsetSpec::Latest))
                    .collect::<Vec<_>>(),
                Isolation::ReadCommitted,
            )
            .await?;
        let mut left: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut same_offsets = fresh;
        let mut positions = Vec::new();
        for ((at, end), start) in ends.into_iter().zip(starts) {
            let (start, end) = (start?.unwrap_or(0), end?.offset.unwrap_or(0));
            same_offsets &= start == 0;
            if start < end {
                positions.push((at.clone(), start));
                left.insert(at, end);
            }
        }
        let mut copied = Copied {
            from: self.from.clone(),
            to: self.to.clone(),
            status: "would be copied",
            partitions: partitions.len(),
            records: 0,
            same_offsets,
        };
        if self.change.dry_run {
            for (at, start) in positions {
                copied.records += left.get(&at).map_or(0, |end| (end - start).unsigned_abs());
            }
            return session.show(&copied);
        }
        copied.status = "copied";
        let config = ConsumerConfig {
            isolation: Isolation::ReadCommitted,
            // What goes away while it is copied is an error, not a gap that nobody sees.
            offset_reset: OffsetReset::Fail,
            ..ConsumerConfig::default()
        };
        let mut consumer = Consumer::new(client.clone(), config);
        consumer.assign(left.keys().cloned());
        for (at, start) in positions {
            consumer.seek(&at, start);
        }
        let producer = Producer::new(client.clone(), ProducerConfig::default())?;
        let mut under_way: VecDeque<(Delivery, i64)> = VecDeque::new();
        while !left.is_empty() {
            if let Some(fetched) = consumer.poll(STEP).await? {
                let Some(end) = left.get(&fetched.partition).copied() else {
                    continue;
                };
                let read = fetched.records.into_iter();
                for record in read.filter(|record| record.offset < end) {
                    let mut copy = ProducerRecord::new(&self.to);
                    copy.partition = Some(fetched.partition.partition);
                    copy.key = record.key;
                    copy.value = record.value;
                    copy.headers = record.headers;
                    copy.timestamp = Some(record.timestamp).filter(|time| *time >= 0);
                    under_way.push_back((producer.send(copy).await?, record.offset));
                    copied.records += 1;
                }
                settle(&mut under_way, WINDOW, &mut copied.same_offsets).await?;
            }
            // Behind the last records there may be markers, which nobody hands out.
            let done: Vec<TopicPartition> = left
                .iter()
                .filter(|(at, end)| consumer.position(at).is_some_and(|offset| offset >= **end))
                .map(|(at, _)| at.clone())
                .collect();
            for at in done {
                left.remove(&at);
                consumer.pause(&at);
            }
        }
        producer.flush().await;
        settle(&mut under_way, 0, &mut copied.same_offsets).await?;
        session.show(&copied)
    }

    /// Makes the topic if it is not there; whether it was not.
    async fn prepare(&self, session: &Session, source: &TopicInfo) -> Result<bool, Failure> {
        let client = session.client().await?;
        let wanted = source.partitions.len();
        let described = client
            .describe_topics(std::slice::from_ref(&self.to))
            .await?;
        match described.into_iter().next() {
            Some((_, Ok(there))) if there.partitions.len() < wanted => {
                let has = there.partitions.len();
                let text = format!(
                    "topic {} has {has} partitions, {wanted} are needed",
                    self.to
                );
                return Err(Failure::refused(text).hint("rkctl topic add-partitions gives it more"));
            }
            Some((_, Ok(_))) => return Ok(false),
            Some((_, Err(refusal))) if refusal.is(ErrorCode::UnknownTopicOrPartition) => {}
            Some((_, Err(refusal))) => return Err(refusal.into()),
            None => {}
        }
        let entries = client
            .describe_config(&Resource::topic(&self.from), false)
            .await?;
        let own = entries
            .into_iter()
            .filter(|entry| entry.source == ConfigSource::Topic);
        let mut new = NewTopic::new(&self.to);
        new.partitions = i32::try_from(wanted).ok();
        let replicas = source.partitions.first().map(|info| info.replicas.len());
        new.replication_factor = replicas.and_then(|count| i16::try_from(count).ok());
        new.configs = own
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect();
        for (_, outcome) in client.create_topics(&[new], self.change.dry_run).await? {
            outcome?;
        }
        if !self.change.dry_run {
            self.appears(session).await?;
        }
        Ok(true)
    }
}

impl Copy {
    /// Apache Kafka's brokers learn of a topic a moment after it is acknowledged.
    async fn appears(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let limit = client.config().deadline;
        let backoff = client.config().backoff.first;
        let seen = async {
            loop {
                let described = client
                    .describe_topics(std::slice::from_ref(&self.to))
                    .await?;
                match described.into_iter().next() {
                    Some((_, Err(refusal))) if refusal.is(ErrorCode::UnknownTopicOrPartition) => {
                        tokio::time::sleep(backoff).await;
                    }
                    Some((_, outcome)) => return outcome.map(drop).map_err(Failure::from),
                    None => return Ok(()),
                }
            }
        };
        let late = || Failure::other(format!("topic {} was created and is not shown", self.to));
        tokio::time::timeout(limit, seen)
            .await
            .map_err(|_| late())?
    }
}

/// Waits until no more than so many records are under way, and sees whether each got its offset again.
async fn settle(
    under_way: &mut VecDeque<(Delivery, i64)>,
    left: usize,
    same_offsets: &mut bool,
) -> Result<(), Failure> {
    while under_way.len() > left {
        let Some((delivery, offset)) = under_way.pop_front() else {
            break;
        };
        *same_offsets &= delivery.wait().await?.offset == Some(offset);
    }
    Ok(())
}
