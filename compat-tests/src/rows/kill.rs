//! `kill -9` at random moments under load from idempotent producers with acks=all: nothing that was
//! acknowledged is lost, nothing is there twice, and order is kept.
//!
//! A producer whose answer did not come sends the same batch again after the restart, with the same
//! sequence, as every idempotent client does: whether it was written before the kill or not, it
//! must be there once. `REKA_KILL_ROUNDS` sets how many kills (200 on demand), `REKA_KILL_SEED`
//! repeats a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    FetchRequest, InitProducerIdRequest, ProduceRequest,
};
use reka_records::BatchBuilder;

use super::raw::{
    Random, answer, create_topic, fetched, in_rounds, kill_amidst, not_yet, now, once_ready,
    pace_of, rounds_of, topic_name,
};
use crate::context::Context;
use crate::differential::{Answer, Side};
use crate::error::{Error, Result};
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "kill",
    tiers: &[Tier::Ci],
    about: "kill -9 at random moments under idempotent load: nothing acknowledged is lost or doubled",
    judges: Judges::Started,
    run,
};

const ROUNDS: u64 = 20;
const PRODUCERS: usize = 3;
pub(super) const TOPIC: &str = "killed";
/// A round lasts between these, in milliseconds.
const ROUND_MS: std::ops::Range<u64> = 20..300;
const RECORD_BYTES_MAX: usize = 1 << 20;
const FINISH_TIME_MAX: Duration = Duration::from_secs(60);

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(ROUNDS, |rounds, seed| {
        target::each_told(&ctx.reka_unless_chosen(), &[], |target| {
            let rounds = rounds_of(target, rounds)?;
            let records = kill_again_and_again(target, rounds, seed)?;
            Ok(format!("{rounds} kills, {records} records"))
        })
    })
}

fn kill_again_and_again(target: &mut Target, rounds: u64, seed: u64) -> Result<usize> {
    let mut random = Random::new(seed);
    let mut side = Side::new("the broker", target.address());
    create_topic(&mut side, TOPIC, 1)?;
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(Producer::new(&mut side)?);
    }
    for _ in 0..rounds {
        target.start()?;
        let pause = Duration::from_millis(random.within(ROUND_MS)) * pace_of(target);
        kill_amidst(target, pause, &mut producers, Producer::produce)?;
    }
    target.start()?;
    let mut side = Side::new("the broker", target.address());
    for producer in &mut producers {
        producer.finish(&mut side)?;
    }
    let found = read_all(&mut side)?;
    judge(&producers, &found)?;
    Ok(found.len())
}

/// Every producer's values are there once and in order, at the offsets it was told.
pub(super) fn judge(producers: &[Producer], found: &BTreeMap<i64, String>) -> Result<()> {
    for producer in producers {
        let prefix = format!("{}:", producer.id);
        let mut next = 0;
        for (offset, value) in found {
            let Some(number) = value.strip_prefix(&prefix) else {
                continue;
            };
            if number != next.to_string() {
                let finding = format!("offset {offset} has {value}, expected number {next}");
                return Err(Error::refused(
                    "look for every record once and in order",
                    finding,
                ));
            }
            next += 1;
        }
        if next != producer.acked {
            let finding = format!(
                "producer {} has {next} records of {}",
                producer.id, producer.acked
            );
            return Err(Error::refused(
                "look for every record that was acknowledged",
                finding,
            ));
        }
        for (number, offset) in &producer.offsets {
            let expected = format!("{prefix}{number}");
            if found.get(offset) != Some(&expected) {
                let finding = format!(
                    "{expected} was acknowledged at {offset}, which has {:?}",
                    found.get(offset)
                );
                return Err(Error::refused("look where it was acknowledged", finding));
            }
        }
    }
    Ok(())
}

pub(super) struct Producer {
    id: i64,
    /// Records acknowledged so far: the sequence and the number of the next.
    acked: i32,
    /// Where the first record of each batch was acknowledged.
    offsets: Vec<(i32, i64)>,
    /// The size of the batch whose answer did not come.
    unanswered: Option<i32>,
}

impl Producer {
    pub(super) fn new(side: &mut Side) -> Result<Producer> {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let step = "ask for a producer id";
        let id = once_ready(step, || {
            let answer = answer(side.ask(4, &request)?, step)?;
            Ok((answer.error_code, answer.producer_id.0))
        })?;
        Ok(Producer {
            id,
            acked: 0,
            offsets: Vec::new(),
            unanswered: None,
        })
    }

    /// Sends batch after batch until the broker is gone.
    pub(super) fn produce(
        &mut self,
        address: std::net::SocketAddr,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut side = Side::new("the broker", address);
        while !stop.load(Ordering::SeqCst) {
            if !self.send_one(&mut side)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what has not been answered.
    pub(super) fn finish(&mut self, side: &mut Side) -> Result<()> {
        let step = "send the last batch";
        wait::until(step, FINISH_TIME_MAX, || {
            if self.unanswered.is_some() && !self.send_one(side)? {
                return Err(Error::refused(step, "the connection was closed"));
            }
            Ok(self.unanswered.is_none().then_some(()))
        })
    }

    /// Whether the answer came.
    fn send_one(&mut self, side: &mut Side) -> Result<bool> {
        let count = self.unanswered.unwrap_or(1 + self.acked % 7);
        self.unanswered = Some(count);
        let Ok(answered) = side.ask(9, &self.request(count)) else {
            return Ok(false);
        };
        let Answer::Response(answer) = answered else {
            return Ok(false);
        };
        let partition = &answer.responses[0].partition_responses[0];
        if not_yet(partition.error_code) {
            // The same batch again, as every client does.
            return Ok(true);
        }
        if partition.error_code != 0 {
            let finding = format!(
                "sequence {} of producer {}: error {}",
                self.acked, self.id, partition.error_code
            );
            return Err(Error::refused("produce", finding));
        }
        self.offsets.push((self.acked, partition.base_offset));
        self.acked += count;
        self.unanswered = None;
        Ok(true)
    }

    fn request(&self, count: i32) -> ProduceRequest {
        // A producer last heard of long ago would be forgotten at the first look.
        let now_ms = now().as_millis() as i64;
        let mut builder = BatchBuilder::new(0).producer(self.id, 0, self.acked);
        for at in 0..count {
            let value = format!("{}:{}", self.id, self.acked + at);
            let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
            let appended =
                builder.append(i64::from(at), now_ms, None, Some(value.as_bytes()), none);
            debug_assert!(appended.is_ok());
        }
        let data = PartitionProduceData::default().with_records(Some(builder.finish().into()));
        let topic = TopicProduceData::default()
            .with_name(topic_name(TOPIC))
            .with_partition_data(vec![data]);
        ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic])
    }
}

pub(super) fn read_all(side: &mut Side) -> Result<BTreeMap<i64, String>> {
    let mut found = BTreeMap::new();
    let mut scratch = Vec::new();
    let mut next = 0;
    loop {
        let partition = FetchPartition::default()
            .with_fetch_offset(next)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(TOPIC))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(0)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let data = once_ready("fetch", || {
            let mut answered = answer(side.ask(11, &request)?, "fetch")?;
            let data = answered.responses.remove(0).partitions.remove(0);
            Ok((data.error_code, data))
        })?;
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            return Ok(found);
        }
        let spoilt = |why: String| Error::refused("read what was fetched", why);
        for batch in fetched(&records)? {
            batch
                .verify_crc()
                .map_err(|error| spoilt(error.to_string()))?;
            let all = batch.records(&mut scratch, RECORD_BYTES_MAX);
            for record in all.map_err(|error| spoilt(error.to_string()))? {
                let record = record.map_err(|error| spoilt(error.to_string()))?;
                let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                found.insert(record.offset, value);
            }
            // A batch may have no records.
            next = batch.header().next_offset();
        }
    }
}
