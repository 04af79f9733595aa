//! The consumer: records of partitions, in order, from a position that can be moved and kept.
//!
//! | Read | For |
//! |---|---|
//! | `records` | what is in an answer to a fetch: checked, uncompressed, committed or not; pure |
//! | `session` | what of a fetch the broker remembers from the one before; pure |
//! | `truncation` | whether what was read is still there under a new leader; pure |
//! | `group` | a consumer that reads what its group gives it |
//! | `member`, `heartbeats`, `classic` | being a member, by KIP-848's protocol and by the one before |
//! | `range`, `cooperative` | who gets what, in the one before; pure |
//! | this | positions, fetches on their way, offsets |
//!
//! A consumer has no task of its own. While the caller looks at records, the next fetch is on its
//! way and its answer is kept by the connection: at most one answer per broker waits besides the one
//! that is being read, each of `fetch_bytes_max`.

mod classic;
mod cooperative;
mod group;
mod heartbeats;
mod member;
mod range;
mod records;
mod session;
mod truncation;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::fetch_response::PartitionData;
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use reka_protocol::kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, OffsetForLeaderEpochRequest,
};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

pub use self::group::{Event, GroupConsumer};
pub use self::member::{Assignor, GroupConfig, GroupProtocol};
pub use self::records::ConsumerRecord;
use self::records::{Read, read};
use self::session::{Ask, Asks, FetchSession};
use self::truncation::{Verdict, judge_end};
use crate::admin::{CommittedOffset, Isolation, OffsetSpec, OffsetToCommit};
use crate::client::{ANY, Client, Target, agree, chance, no_answer, topic_name};
use crate::error::{ClientError, Outcome, Refusal, judge};
use crate::metadata::TopicPartition;
use crate::pool::Lane;

const API: &str = "Fetch";
const EPOCH_API: &str = "OffsetForLeaderEpoch";
/// Who is no replica.
const CONSUMER: i32 = -1;

/// Where to go on when there is nowhere else to: without a committed offset, out of range, or where
/// records that were read are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the first record there is.
    Earliest,
    /// At the next one to come.
    #[default]
    Latest,
    /// Nowhere: it is an error.
    Fail,
}

/// How a consumer is to work.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Which records count.
    pub isolation: Isolation,
    /// Where to go on when there is nowhere else to.
    pub offset_reset: OffsetReset,
    /// What a broker sends at most at once, unless its first batch is larger.
    pub fetch_bytes_max: i32,
    /// What it sends at most of one partition.
    pub partition_bytes_max: i32,
    /// How little it may send before `fetch_wait_max`.
    pub fetch_bytes_min: i32,
    /// How long it may hold an answer back that has less.
    pub fetch_wait_max: Duration,
    /// What a batch may be uncompressed.
    pub decompressed_bytes_max: usize,
    /// The rack, so that a replica near by may be read.
    pub rack: Option<String>,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            isolation: Isolation::ReadUncommitted,
            offset_reset: OffsetReset::Latest,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 4 << 20,
            fetch_bytes_min: 1,
            fetch_wait_max: Duration::from_millis(500),
            decompressed_bytes_max: 128 << 20,
            rack: None,
        }
    }
}

/// Records of one partition, in order.
#[derive(Debug)]
pub struct Fetched {
    /// Where they are from.
    pub partition: TopicPartition,
    /// The records; never none.
    pub records: Vec<ConsumerRecord>,
    /// Where reading goes on: behind the last record, or further where there are none any more.
    pub next_offset: i64,
    /// The end of what can be read, as the broker told with them.
    pub end_offset: i64,
    /// The epoch of the leader that wrote the last of them, to be committed with the offset.
    pub leader_epoch: Option<i32>,
}

/// A consumer of partitions it is told.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    positions: BTreeMap<TopicPartition, Position>,
    brokers: HashMap<i32, Source>,
    /// Answers that are not read yet.
    arrived: VecDeque<Arrived>,
    /// Records that are read and not handed out yet.
    ready: Option<Fetched>,
    failures: u32,
    /// No fetch before, after one has failed.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Position {
    /// `None` until it is looked up.
    offset: Option<i64>,
    /// What to look up.
    spec: Option<OffsetSpec>,
    paused: bool,
    /// Its records are on their way or waiting.
    busy: bool,
    /// Another broker that may be asked instead of the leader.
    replica: Option<i32>,
    /// Which topic of the name.
    topic_id: Option<Uuid>,
    /// The epoch of the leader that wrote the last record that was read.
    epoch: Option<i32>,
    /// The leader, by its epoch, under which what was read is known to be there still.
    checked: Option<i32>,
}

impl Position {
    fn unknown() -> Self {
        Position {
            offset: None,
            spec: None,
            paused: false,
            busy: false,
            replica: None,
            topic_id: None,
            epoch: None,
            checked: None,
        }
    }

    /// Goes on somewhere else.
    fn move_to(&mut self, offset: Option<i64>, spec: Option<OffsetSpec>, epoch: Option<i32>) {
        self.offset = offset;
        self.spec = spec;
        self.epoch = epoch;
        self.checked = None;
    }
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy)]
struct Leader {
    broker: i32,
    epoch: i32,
    topic_id: Uuid,
}

type Answer = Result<FetchResponse, ClientError>;

/// A broker that is fetched from.
#[derive(Default)]
struct Source {
    session: FetchSession,
    /// What was asked, with the offsets it was asked at.
    asked: Asks,
    answer: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("session", &self.session)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Arrived {
    partition: TopicPartition,
    /// Where it was asked for.
    offset: i64,
    data: PartitionData,
}

impl Consumer {
    /// A consumer that reads nothing yet.
    #[must_use]
    pub fn new(client: Client, config: ConsumerConfig) -> Self {
        Consumer {
            client,
            config,
            positions: BTreeMap::new(),
            brokers: HashMap::new(),
            arrived: VecDeque::new(),
            ready: None,
            failures: 0,
            not_before: None,
        }
    }

    /// Reads these partitions from now on, and no others. Those that were read already go on where
    /// they are.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let mut before = std::mem::take(&mut self.positions);
        for partition in partitions {
            let position = before.remove(&partition);
            let position = position.unwrap_or_else(Position::unknown);
            self.positions.insert(partition, position);
        }
    }

    /// The partitions that are read.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.positions.keys()
    }

    /// Goes on at this offset.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) {
        self.place(partition, Some(offset), None);
    }

    /// Goes on where a group has come. What it had read before that is looked for with the leader: if
    /// an unclean election has lost it, reading goes on where the loss begins.
    pub fn seek_committed(&mut self, partition: &TopicPartition, committed: &CommittedOffset) {
        if let Some(position) = self.positions.get_mut(partition) {
            position.move_to(Some(committed.offset), None, committed.leader_epoch);
        }
    }

    /// Goes on at the first record, at the end, or at a time.
    pub fn seek_to(&mut self, partition: &TopicPartition, spec: OffsetSpec) {
        self.place(partition, None, Some(spec));
    }

    fn place(&mut self, partition: &TopicPartition, offset: Option<i64>, spec: Option<OffsetSpec>) {
        if let Some(position) = self.positions.get_mut(partition) {
            position.move_to(offset, spec, None);
        }
    }

    /// Reads nothing of a partition until it is resumed.
    pub fn pause(&mut self, partition: &TopicPartition) {
        self.set_paused(partition, true);
    }

    /// Goes on with a partition that was paused.
    pub fn resume(&mut self, partition: &TopicPartition) {
        self.set_paused(partition, false);
    }

    fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(position) = self.positions.get_mut(partition) {
            position.paused = paused;
        }
    }

    /// The offset reading goes on at; `None` where that is not looked up yet.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.positions.get(partition)?.offset
    }

    /// The next records of any partition, or none within `wait`. Dropping it before it is done loses
    /// nothing.
    pub async fn poll(&mut self, wait: Duration) -> Result<Option<Fetched>, ClientError> {
        let end = Instant::now() + wait;
        loop {
            while self.ready.is_none()
                && let Some(arrived) = self.arrived.pop_front()
            {
                self.ready = self.take(arrived)?;
            }
            if self.ready.is_some() {
                // So that the next are on their way while these are looked at. Whoever gives up
                // meanwhile gets them next time.
                self.fetch(end).await?;
                let still = self
                    .ready
                    .take()
                    .filter(|ready| self.position(&ready.partition) == Some(ready.next_offset));
                if still.is_some() {
                    return Ok(still);
                }
                continue;
            }
            match timeout_at(end, self.look_up()).await {
                Ok(found) => found?,
                Err(_) => return Ok(None),
            }
            self.fetch(end).await?;
            // A position that turned out to be of no use is looked up anew.
            let lost = |position: &Position| position.offset.is_none();
            let idle = self.brokers.values().all(|source| source.answer.is_none());
            let again = self.positions.values().any(lost) || (idle && self.not_before.is_some());
            if again && Instant::now() < end {
                continue;
            }
            let Some((broker, answer)) = self.next_answer(end).await else {
                return Ok(None);
            };
            self.receive(broker, answer)?;
        }
    }

    /// Commits offsets for a group without being a member of it.
    pub async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, OffsetToCommit)],
    ) -> Result<(), ClientError> {
        for (_, outcome) in self.client.commit_group_offsets(group, offsets).await? {
            outcome?;
        }
        Ok(())
    }

    /// Looks up offsets of partitions that have none.
    async fn look_up(&mut self) -> Result<(), ClientError> {
        let mut wanted: Vec<(TopicPartition, OffsetSpec)> = Vec::new();
        for (at, position) in &self.positions {
            if position.offset.is_some() {
                continue;
            }
            let spec = match (position.spec, self.config.offset_reset) {
                (Some(spec), _) => spec,
                (None, OffsetReset::Earliest) => OffsetSpec::Earliest,
                (None, OffsetReset::Latest) => OffsetSpec::Latest,
                (None, OffsetReset::Fail) => {
                    return Err(ClientError::Config {
                        reason: format!("partition {at} has no position, and none is to be taken"),
                    });
                }
            };
            wanted.push((at.clone(), spec));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let isolation = self.config.isolation;
        let listed = self.client.list_offsets(&wanted, isolation).await?;
        let mut past_the_end = Vec::new();
        for (at, listed) in listed {
            match listed?.offset {
                Some(offset) => self.place(&at, Some(offset), None),
                // No record is that late; the next one will be.
                None => past_the_end.push((at, OffsetSpec::Latest)),
            }
        }
        for (at, listed) in self.client.list_offsets(&past_the_end, isolation).await? {
            let offset = listed?.offset.unwrap_or(0);
            self.place(&at, Some(offset), None);
        }
        Ok(())
    }

    /// Sends fetches to brokers that are asked for nothing.
    async fn fetch(&mut self, end: Instant) -> Result<(), ClientError> {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before.min(end)).await;
            if not_before > end {
                return Ok(());
            }
            self.not_before = None;
        }
        let mut leaders: Vec<(TopicPartition, Leader)> = Vec::new();
        for (at, position) in &self.positions {
            if position.offset.is_none() || position.paused || position.busy {
                continue;
            }
            match timeout_at(end, self.leader(at)).await {
                Ok(leader) => leaders.push((at.clone(), leader?)),
                Err(_) => return Ok(()),
            }
        }
        match timeout_at(end, self.check(&leaders)).await {
            Ok(checked) => checked?,
            Err(_) => return Ok(()),
        }
        let mut wanted: BTreeMap<i32, Asks> = BTreeMap::new();
        for (at, leader) in leaders {
            let Some(position) = self.positions.get(&at) else {
                continue;
            };
            // What could not be checked is not read.
            let (Some(offset), true) = (position.offset, position.checked == Some(leader.epoch))
            else {
                continue;
            };
            let broker = position.replica.unwrap_or(leader.broker);
            let ask = Ask {
                offset,
                leader_epoch: leader.epoch,
                topic_id: leader.topic_id,
            };
            wanted.entry(broker).or_default().insert(at, ask);
        }
        for (broker, partitions) in wanted {
            let source = self.brokers.entry(broker).or_default();
            if source.answer.is_some() {
                continue;
            }
            let (request, versions) = source.session.next(&partitions, &self.config);
            for at in partitions.keys() {
                if let Some(position) = self.positions.get_mut(at) {
                    position.busy = true;
                }
            }
            source.asked = partitions;
            let ask = ask(
                self.client.clone(),
                broker,
                request,
                versions,
                self.config.fetch_wait_max,
            );
            let mut answer: Pin<Box<dyn Future<Output = Answer> + Send>> = Box::pin(ask);
            // Once, so that it is on its way before anybody waits for it.
            let polled = std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context)));
            if let Poll::Ready(early) = polled.await {
                answer = Box::pin(std::future::ready(early));
            }
            source.answer = Some(answer);
        }
        Ok(())
    }

    /// Looks whether what was read is there still, for partitions that have another leader than when
    /// that was last known, or belong to another topic.
    async fn check(&mut self, leaders: &[(TopicPartition, Leader)]) -> Result<(), ClientError> {
        let mut doubtful: BTreeMap<i32, Vec<(TopicPartition, i32, i32)>> = BTreeMap::new();
        for (at, leader) in leaders {
            let fail = self.config.offset_reset == OffsetReset::Fail;
            let Some(position) = self.positions.get_mut(at) else {
                continue;
            };
            let before = position.topic_id.replace(leader.topic_id);
            if before.is_some_and(|before| before != leader.topic_id) {
                if fail {
                    let message = "the topic was deleted and created anew".to_owned();
                    let mut refusal = refused(at, ErrorCode::UnknownTopicId.code());
                    refusal.message = Some(message);
                    return Err(refusal.into());
                }
                // All of its records are new.
                position.replica = None;
                position.move_to(None, Some(OffsetSpec::Earliest), None);
                continue;
            }
            if position.checked == Some(leader.epoch) {
                continue;
            }
            match position.epoch {
                Some(epoch) if leader.epoch >= 0 => doubtful
                    .entry(leader.broker)
                    .or_default()
                    .push((at.clone(), leader.epoch, epoch)),
                _ => position.checked = Some(leader.epoch),
            }
        }
        for (broker, partitions) in doubtful {
            match epoch_ends(&self.client, broker, &partitions).await {
                Ok(ends) => self.take_ends(&partitions, &ends)?,
                Err(ClientError::Unsupported { .. }) => {
                    for (at, leader_epoch, _) in &partitions {
                        if let Some(position) = self.positions.get_mut(at) {
                            position.checked = Some(*leader_epoch);
                        }
                    }
                }
                Err(error) if error.is_transient() => {
                    for (at, ..) in &partitions {
                        self.client.forget_topic(&at.topic);
                    }
                    self.back_off();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_ends(
        &mut self,
        partitions: &[(TopicPartition, i32, i32)],
        ends: &BTreeMap<TopicPartition, EpochEndOffset>,
    ) -> Result<(), ClientError> {
        for (at, leader_epoch, _) in partitions {
            let Some(offset) = self.position(at) else {
                continue;
            };
            let Some(end) = ends.get(at) else {
                return Err(no_answer(EPOCH_API, format!("partition {at}")).into());
            };
            let subject = || format!("partition {at}");
            if let Err(refusal) = judge(EPOCH_API, subject, end.error_code, None) {
                let gone = refusal.is(ErrorCode::UnknownTopicOrPartition);
                if !refusal.is_transient() && !gone {
                    return Err(refusal.into());
                }
                self.client.forget_topic(&at.topic);
                self.back_off();
                continue;
            }
            let verdict = judge_end(offset, end.leader_epoch, end.end_offset);
            if verdict != Verdict::Whole && self.config.offset_reset == OffsetReset::Fail {
                return Err(ClientError::Truncated {
                    partition: at.to_string(),
                    offset,
                    end: (verdict != Verdict::Unknown).then_some(end.end_offset),
                });
            }
            let Some(position) = self.positions.get_mut(at) else {
                continue;
            };
            match verdict {
                Verdict::Whole => {}
                Verdict::Truncated { offset, epoch } => {
                    position.move_to(Some(offset), None, Some(epoch));
                }
                Verdict::Unknown => position.move_to(None, None, None),
            }
            position.checked = Some(*leader_epoch);
        }
        Ok(())
    }

    async fn leader(&self, at: &TopicPartition) -> Result<Leader, ClientError> {
        let mut tries = self
            .client
            .tries(format!("find the leader of partition {at}"));
        loop {
            let attempt = async {
                let topic = self.client.topic(&at.topic).await?;
                let info = topic
                    .partitions
                    .iter()
                    .find(|info| info.index == at.partition);
                let Some(info) = info else {
                    let code = ErrorCode::UnknownTopicOrPartition;
                    return Err(refused(at, code.code()).into());
                };
                let leader = info.leader.map(|broker| Leader {
                    broker,
                    epoch: info.leader_epoch,
                    topic_id: topic.id,
                });
                leader.ok_or_else(|| {
                    self.client.forget_topic(&at.topic);
                    refused(at, ErrorCode::LeaderNotAvailable.code()).into()
                })
            };
            if let Some(leader) = tries.run(attempt).await? {
                return Ok(leader);
            }
        }
    }

    /// Waits for whichever broker answers first.
    async fn next_answer(&mut self, end: Instant) -> Option<(i32, Answer)> {
        let brokers = &mut self.brokers;
        if brokers.values().all(|source| source.answer.is_none()) {
            sleep_until(end).await;
            return None;
        }
        let first = std::future::poll_fn(|context| {
            for (broker, source) in brokers.iter_mut() {
                if let Some(answer) = &mut source.answer
                    && let Poll::Ready(answered) = answer.as_mut().poll(context)
                {
                    source.answer = None;
                    return Poll::Ready((*broker, answered));
                }
            }
            Poll::Pending
        });
        timeout_at(end, first).await.ok()
    }

    /// Takes a broker's answer apart into partitions.
    fn receive(&mut self, broker: i32, answer: Answer) -> Result<(), ClientError> {
        let Some(source) = self.brokers.get_mut(&broker) else {
            return Ok(());
        };
        let asked = std::mem::take(&mut source.asked);
        for at in asked.keys() {
            if let Some(position) = self.positions.get_mut(at) {
                position.busy = false;
            }
        }
        let answer = answer.and_then(|answer| {
            let subject = || format!("fetch session of broker {broker}");
            judge(API, subject, answer.error_code, None)?;
            Ok(answer)
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                source.session = FetchSession::default();
                let session_lost = error.refusal().is_some_and(is_about_the_session);
                let passing = matches!(error, ClientError::UnknownBroker { .. });
                if !session_lost && !passing && !error.is_transient() {
                    return Err(error);
                }
                for at in asked.keys() {
                    self.client.forget_topic(&at.topic);
                    if let Some(position) = self.positions.get_mut(at) {
                        position.replica = None;
                    }
                }
                if !session_lost {
                    self.back_off();
                }
                return Ok(());
            }
        };
        source.session.answered(answer.session_id, &asked);
        self.failures = 0;
        let mut names: HashMap<Uuid, &str> = HashMap::new();
        for (at, ask) in &asked {
            names.insert(ask.topic_id, &at.topic);
        }
        for topic in answer.responses {
            // From version 13 on topics are called by ids.
            let name = match topic.topic_id.is_nil() {
                true => topic.topic.as_str(),
                false => names.get(&topic.topic_id).copied().unwrap_or_default(),
            };
            for data in topic.partitions {
                let partition = TopicPartition::new(name, data.partition_index);
                let Some(offset) = asked.get(&partition).map(|ask| ask.offset) else {
                    continue;
                };
                if let Some(position) = self.positions.get_mut(&partition) {
                    position.busy = true;
                }
                self.arrived.push_back(Arrived {
                    partition,
                    offset,
                    data,
                });
            }
        }
        Ok(())
    }

    fn back_off(&mut self) {
        self.failures += 1;
        let wait = self.client.config().backoff.after(self.failures, chance());
        self.not_before = Some(Instant::now() + wait);
    }

    /// Reads what arrived of a partition, unless it was moved or given up meanwhile.
    fn take(&mut self, arrived: Arrived) -> Result<Option<Fetched>, ClientError> {
        let Arrived {
            partition,
            offset,
            data,
        } = arrived;
        let Some(position) = self.positions.get_mut(&partition) else {
            return Ok(None);
        };
        position.busy = false;
        if position.offset != Some(offset) {
            return Ok(None);
        }
        if data.error_code != 0 {
            return self.refused(&partition, data.error_code).map(|()| None);
        }
        // A replica that is nearer; there is nothing in the answer then.
        let replica = data.preferred_read_replica.0;
        if replica >= 0 {
            position.replica = Some(replica);
            return Ok(None);
        }
        let Read {
            records,
            next_offset,
            leader_epoch,
        } = read(&data, offset, &self.config).map_err(|reason| ClientError::Corrupt {
            partition: partition.to_string(),
            offset,
            reason,
        })?;
        position.offset = Some(next_offset);
        position.epoch = leader_epoch.or(position.epoch);
        let leader_epoch = position.epoch;
        if records.is_empty() {
            return Ok(None);
        }
        Ok(Some(Fetched {
            partition,
            records,
            next_offset,
            leader_epoch,
            end_offset: match self.config.isolation {
                Isolation::ReadUncommitted => data.high_watermark,
                Isolation::ReadCommitted => data.last_stable_offset,
            },
        }))
    }

    fn refused(&mut self, partition: &TopicPartition, code: i16) -> Result<(), ClientError> {
        let refusal = refused(partition, code);
        if refusal.is(ErrorCode::OffsetOutOfRange) {
            if self.config.offset_reset == OffsetReset::Fail {
                return Err(refusal.into());
            }
            if let Some(position) = self.positions.get_mut(partition) {
                // From a replica that lags this is no reason to go elsewhere.
                match position.replica.take() {
                    Some(_) => {}
                    None => position.move_to(None, None, None),
                }
            }
            return Ok(());
        }
        let storage = refusal.is(ErrorCode::KafkaStorageError);
        let deleted = refusal.is(ErrorCode::UnknownTopicOrPartition);
        if !refusal.is_transient() && !storage && !deleted {
            return Err(refusal.into());
        }
        self.client.forget_topic(&partition.topic);
        if let Some(position) = self.positions.get_mut(partition) {
            position.replica = None;
        }
        self.back_off();
        Ok(())
    }
}

fn is_about_the_session(refusal: &Refusal) -> bool {
    refusal.is(ErrorCode::FetchSessionIdNotFound) || refusal.is(ErrorCode::InvalidFetchSessionEpoch)
}

fn refused(partition: &TopicPartition, code: i16) -> Refusal {
    let outcome: Outcome<()> = judge(API, || format!("partition {partition}"), code, None);
    match outcome {
        Err(refusal) => refusal,
        Ok(()) => Refusal {
            api: API,
            subject: format!("partition {partition}"),
            code,
            message: None,
        },
    }
}

async fn ask(
    client: Client,
    broker: i32,
    request: FetchRequest,
    versions: RangeInclusive<i16>,
    wait: Duration,
) -> Answer {
    let target = Target::Broker(broker);
    let connection = client.connection(target, Lane::Fetch).await?;
    let version = agree::<FetchRequest>(&connection, &versions)?;
    let request = session::in_version(request, version);
    connection.call_within(version, &request, wait).await
}

/// Asks a leader where epochs ended: partitions with the leader's epoch and the epoch in question.
async fn epoch_ends(
    client: &Client,
    broker: i32,
    partitions: &[(TopicPartition, i32, i32)],
) -> Result<BTreeMap<TopicPartition, EpochEndOffset>, ClientError> {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for (at, current, epoch) in partitions {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(at.partition)
            .with_current_leader_epoch(*current)
            .with_leader_epoch(*epoch);
        match topics
            .last_mut()
            .filter(|topic| *topic.topic.0 == *at.topic)
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                OffsetForLeaderTopic::default()
                    .with_topic(topic_name(&at.topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(CONSUMER))
        .with_topics(topics);
    let answer = client
        .ask(Target::Broker(broker), ANY, |version| match version {
            3.. => request,
            _ => request.with_replica_id(BrokerId::default()),
        })
        .await?;
    let mut ends = BTreeMap::new();
    for topic in answer.topics {
        let name = topic.topic.0.to_string();
        for end in topic.partitions {
            ends.insert(TopicPartition::new(name.clone(), end.partition), end);
        }
    }
    Ok(ends)
}

/// Bytes that are kept as they came.
pub(crate) type Payload = Option<Bytes>;
