//! Records on their way into batches, a row of batches per partition. Pure: time is an argument.
//!
//! Several batches of a partition may be on their way at once ([`IN_FLIGHT_MAX`]), if sequence numbers
//! let the broker keep them in order. A batch gets its numbers when it is sent for the first time and
//! keeps them: a broker that has it already says so instead of appending it twice, one that lacks
//! what was before it refuses it. Once anything has come back, the row goes one by one, from its
//! front, until it is through.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reka_records::build::BODY_BYTES_MAX;
use reka_records::view::increment_sequence;
use reka_records::{
    BatchBuilder, BatchView, BuildError, Compression, HEADER_BYTES, Records, layout, stamp,
};
use tokio::time::Instant;

use super::delivery::Settled;
use super::{ProducerConfig, ProducerRecord};

/// What a record takes beside its bytes, at most.
const RECORD_OVERHEAD: usize = 36;
const HEADER_OVERHEAD: usize = 10;
/// Brokers remember so many batches of a producer in a partition.
pub(crate) const IN_FLIGHT_MAX: usize = 5;

/// The producer the broker knows us as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// A batch with its place in the row.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Which one of its row, however often it is sent.
    id: u64,
    /// Until it is sent for the first time.
    open: Option<BatchBuilder>,
    /// From then on.
    encoded: Option<Bytes>,
    pub(crate) count: i32,
    /// What it counts against the buffer.
    pub(crate) held: usize,
    pub(crate) settled: Arc<Settled>,
    born: Instant,
    /// No more records: it is full, or it is on its way.
    closed: bool,
    not_before: Instant,
    pub(crate) failures: u32,
    /// Whose sequence numbers it has.
    pub(crate) identity: Option<Identity>,
    sequence: i32,
    /// It has its sequence numbers, and a broker may have it.
    pub(crate) sent: bool,
    in_flight: bool,
}

#[derive(Debug, Default)]
struct Row {
    batches: VecDeque<Batch>,
    next_id: u64,
    /// The sequence number of the next batch.
    sequence: i32,
    /// Whose it is: it starts again with another producer.
    identity: Option<Identity>,
    /// Whose batches the broker has appended here. Before it knows a producer it takes any sequence
    /// number for the first, so until then nothing is sent behind the first batch.
    appended: Option<Identity>,
    /// Whose sequence numbers have a hole: what is behind it needs others.
    holed: Option<Identity>,
}

impl Row {
    /// The batch that can go now, as far as order is concerned.
    fn next(&self) -> Option<usize> {
        let at = self.batches.iter().position(|batch| !batch.in_flight)?;
        if at == 0 {
            return Some(0);
        }
        let known = self.identity.is_some() && self.appended == self.identity;
        let smooth = |batch: &Batch| batch.failures == 0 && batch.identity == self.identity;
        let free = !self.batches[at].sent && self.batches.range(..at).all(smooth);
        (known && free && at < IN_FLIGHT_MAX).then_some(at)
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.batches.iter().position(|batch| batch.id == id)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

#[derive(Debug, Default)]
struct Topic {
    rows: HashMap<i32, Row>,
    /// How large batches may grow, where the topic has turned out to take less than others.
    batch_bytes_max: Option<usize>,
}

/// A partition with a batch that can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The batch.
    pub(crate) batch: u64,
    pub(crate) bytes: usize,
}

/// All records that are not settled.
#[derive(Debug)]
pub(crate) struct Accumulator {
    topics: HashMap<String, Topic>,
    linger: Duration,
    batch_bytes_max: usize,
    compression: Compression,
    compression_level: Option<i32>,
    delivery_timeout: Duration,
    transactional: bool,
    /// What all batches hold.
    pub(crate) held: usize,
    /// Batches that are not settled.
    pub(crate) unsettled: usize,
}

/// Where a record went.
pub(crate) struct Appended {
    pub(crate) settled: Arc<Settled>,
    pub(crate) index: i32,
    /// Somebody has to look: a batch has begun or is full.
    pub(crate) wake: bool,
    /// A batch was closed by this: a sticky partition goes on to another.
    pub(crate) closed: bool,
}

/// A batch that is done with.
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    /// Sequence numbers behind it are of no use any more: the producer needs another identity.
    pub(crate) holed: bool,
}

/// What a record may take in a batch.
pub(crate) fn size_of(record: &ProducerRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + length(value) + HEADER_OVERHEAD)
        .sum();
    length(&record.key) + length(&record.value) + headers + RECORD_OVERHEAD
}

impl Accumulator {
    pub(crate) fn new(config: &ProducerConfig) -> Self {
        Accumulator {
            topics: HashMap::new(),
            linger: config.linger,
            batch_bytes_max: config.batch_bytes_max,
            compression: config.compression,
            compression_level: config.compression_level,
            delivery_timeout: config.delivery_timeout,
            transactional: config.transactional.is_some(),
            held: 0,
            unsettled: 0,
        }
    }

    /// Puts a record behind the others of its partition.
    pub(crate) fn append(
        &mut self,
        partition: i32,
        record: &ProducerRecord,
        timestamp: i64,
        now: Instant,
    ) -> Result<Appended, BuildError> {
        let size = size_of(record);
        if !self.topics.contains_key(&record.topic) {
            self.topics.insert(record.topic.clone(), Topic::default());
        }
        let Some(topic) = self.topics.get_mut(&record.topic) else {
            unreachable!("it was put there");
        };
        let limit = topic.batch_bytes_max.unwrap_or(self.batch_bytes_max);
        let row = topic.rows.entry(partition).or_default();
        let mut closed = false;
        let has_room = |batch: &Batch| {
            let held = batch.open.as_ref().map(BatchBuilder::uncompressed_size);
            held.is_some_and(|held| held + size <= limit)
        };
        if let Some(last) = row.batches.back_mut()
            && !last.closed
            && !has_room(last)
        {
            last.closed = true;
            closed = true;
        }
        let fresh = row.batches.back().is_none_or(|last| last.closed);
        if fresh {
            let mut builder = BatchBuilder::new(0).compression(self.compression);
            if let Some(level) = self.compression_level {
                builder = builder.compression_level(level);
            }
            let id = row.fresh_id();
            row.batches.push_back(Batch {
                id,
                open: Some(builder),
                encoded: None,
                count: 0,
                held: HEADER_BYTES,
                settled: Arc::default(),
                born: now,
                closed: false,
                not_before: now,
                failures: 0,
                identity: None,
                sequence: 0,
                sent: false,
                in_flight: false,
            });
            self.held += HEADER_BYTES;
            self.unsettled += 1;
        }
        let Some(batch) = row.batches.back_mut() else {
            unreachable!("one was put there");
        };
        let Some(builder) = &mut batch.open else {
            unreachable!("a batch that is not closed is open");
        };
        let index = batch.count;
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_deref()));
        builder.append(
            i64::from(index),
            timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )?;
        batch.count += 1;
        batch.held += size;
        self.held += size;
        Ok(Appended {
            settled: batch.settled.clone(),
            index,
            wake: fresh || closed,
            closed,
        })
    }

    /// The partitions with a batch that can go now, and when to look again.
    pub(crate) fn ready(&self, now: Instant, flush: bool) -> (Vec<Ready>, Option<Instant>) {
        let mut ready = Vec::new();
        let mut again: Option<Instant> = None;
        for (name, topic) in &self.topics {
            for (partition, row) in &topic.rows {
                let Some(next) = row.next() else {
                    continue;
                };
                let batch = &row.batches[next];
                let at = match batch.closed || flush || next + 1 < row.batches.len() {
                    true => batch.not_before,
                    false => batch.not_before.max(batch.born + self.linger),
                };
                let expires = batch.born + self.delivery_timeout;
                if at <= now || expires <= now {
                    ready.push(Ready {
                        topic: name.clone(),
                        partition: *partition,
                        batch: batch.id,
                        bytes: batch.held,
                    });
                } else {
                    let next = at.min(expires);
                    again = Some(again.map_or(next, |again| again.min(next)));
                }
            }
        }
        ready.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        (ready, again)
    }

    fn row(&mut self, topic: &str, partition: i32) -> Option<&mut Row> {
        self.topics.get_mut(topic)?.rows.get_mut(&partition)
    }

    /// Whether a batch has had its time.
    pub(crate) fn is_expired(&mut self, at: &Ready, now: Instant) -> bool {
        let limit = self.delivery_timeout;
        let Some(row) = self.row(&at.topic, at.partition) else {
            return false;
        };
        let batch = row.find(at.batch).map(|nth| &row.batches[nth]);
        batch.is_some_and(|batch| !batch.in_flight && batch.born + limit <= now)
    }

    /// The bytes of the batch of a partition that goes next, which is on its way from here on. It is
    /// given its sequence numbers the first time.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        partition: i32,
        identity: Option<Identity>,
    ) -> Option<(u64, Bytes)> {
        let transactional = self.transactional;
        let row = self.row(topic, partition)?;
        let at = row.next()?;
        if !row.batches[at].sent && row.identity != identity {
            // What another producer was to have comes behind what it has under way.
            if at > 0 {
                return None;
            }
            row.identity = identity;
            row.sequence = 0;
        }
        let batch = &mut row.batches[at];
        batch.closed = true;
        if !batch.sent {
            let sequence = row.sequence;
            if let Some(builder) = batch.open.take() {
                let builder = match identity {
                    Some(Identity { id, epoch }) => builder.producer(id, epoch, sequence),
                    None => builder,
                };
                let builder = if transactional {
                    builder.transactional()
                } else {
                    builder
                };
                batch.encoded = Some(builder.finish().into());
            } else if let (Some(encoded), Some(identity)) = (&batch.encoded, identity) {
                batch.encoded = Some(renumbered(encoded, identity, sequence));
            }
            batch.identity = identity;
            batch.sequence = sequence;
            row.sequence = increment_sequence(sequence, batch.count);
        }
        batch.sent = true;
        let encoded = batch.encoded.clone()?;
        batch.in_flight = true;
        Some((batch.id, encoded))
    }

    /// A batch came back: it keeps its place and goes again, after a while.
    pub(crate) fn again(
        &mut self,
        topic: &str,
        partition: i32,
        id: u64,
        not_before: impl Fn(u32) -> Instant,
    ) {
        if let Some(row) = self.row(topic, partition)
            && let Some(at) = row.find(id)
        {
            let batch = &mut row.batches[at];
            batch.in_flight = false;
            batch.failures += 1;
            batch.not_before = not_before(batch.failures);
        }
    }

    /// What is to become of a batch that the broker refused for the numbers before it: whether it
    /// goes again. It does behind others, which may still come, and with other numbers where these
    /// have a hole. Otherwise the broker has lost what it had acknowledged.
    pub(crate) fn out_of_order(
        &mut self,
        topic: &str,
        partition: i32,
        id: u64,
        not_before: impl Fn(u32) -> Instant,
    ) -> bool {
        let Some(row) = self.row(topic, partition) else {
            return false;
        };
        let Some(at) = row.find(id) else {
            return false;
        };
        if at == 0 {
            let batch = &mut row.batches[0];
            if batch.identity.is_none() || batch.identity != row.holed {
                return false;
            }
            // It was refused, so nobody has it: it may go under another name.
            batch.sent = false;
        }
        self.again(topic, partition, id, not_before);
        true
    }

    /// A batch is done with. `appended` says whether the broker has it.
    pub(crate) fn take(
        &mut self,
        topic: &str,
        partition: i32,
        id: u64,
        appended: bool,
    ) -> Option<Taken> {
        let row = self.row(topic, partition)?;
        let at = row.find(id)?;
        let batch = row.batches.remove(at)?;
        let mut holed = false;
        if appended {
            row.appended = batch.identity;
        } else if batch.sent && batch.identity.is_some() {
            let follows = |other: &Batch| other.sent && other.identity == batch.identity;
            holed = row.batches.range(at..).any(follows);
            if holed {
                row.holed = batch.identity;
            } else if batch.identity == row.identity {
                // What the broker refused has used no numbers.
                row.sequence = batch.sequence;
            }
        }
        self.held = self.held.saturating_sub(batch.held);
        self.unsettled -= 1;
        Some(Taken { batch, holed })
    }

    /// A batch is too large for its topic: two halves take its place, with its sequence numbers. None
    /// where there is nothing to divide.
    pub(crate) fn split(&mut self, topic: &str, partition: i32, id: u64) -> bool {
        let (compression, level) = (self.compression, self.compression_level);
        let transactional = self.transactional;
        let limit = self.batch_bytes_max;
        let Some(topic) = self.topics.get_mut(topic) else {
            return false;
        };
        let Some(row) = topic.rows.get_mut(&partition) else {
            return false;
        };
        let Some(at) = row.find(id) else {
            return false;
        };
        let batch = &row.batches[at];
        let (Some(encoded), 2..) = (&batch.encoded, batch.count) else {
            return false;
        };
        let middle = batch.count / 2;
        let builder = |sequence: i32| {
            let mut builder = BatchBuilder::new(0).compression(compression);
            if let Some(level) = level {
                builder = builder.compression_level(level);
            }
            if let Some(Identity { id, epoch }) = batch.identity {
                builder = builder.producer(id, epoch, sequence);
            }
            match transactional {
                true => builder.transactional(),
                false => builder,
            }
        };
        let second_sequence = increment_sequence(batch.sequence, middle);
        let mut halves = [builder(batch.sequence), builder(second_sequence)];
        if divide(encoded, middle, &mut halves).is_none() {
            return false;
        }
        let counts = [middle, batch.count - middle];
        let held = [batch.held / 2, batch.held - batch.held / 2];
        let parts: [Arc<Settled>; 2] = Default::default();
        batch.settled.split(middle, parts.clone());
        let smaller = held[0].max(1);
        topic.batch_bytes_max = Some(topic.batch_bytes_max.unwrap_or(limit).min(smaller));
        let Some(whole) = row.batches.remove(at) else {
            return false;
        };
        for (nth, builder) in halves.into_iter().enumerate() {
            let id = row.fresh_id();
            let sequence = [whole.sequence, second_sequence][nth];
            let half = Batch {
                id,
                open: None,
                encoded: Some(builder.finish().into()),
                count: counts[nth],
                held: held[nth],
                settled: parts[nth].clone(),
                born: whole.born,
                closed: true,
                not_before: whole.not_before,
                // They go one by one, as what has come back.
                failures: whole.failures + 1,
                identity: whole.identity,
                sequence,
                sent: true,
                in_flight: false,
            };
            row.batches.insert(at + nth, half);
        }
        self.unsettled += 1;
        true
    }

    /// Whether a record for this partition would join others that wait.
    pub(crate) fn has_open(&mut self, topic: &str, partition: i32) -> bool {
        let last = self
            .row(topic, partition)
            .and_then(|row| row.batches.back());
        last.is_some_and(|last| !last.closed)
    }
}

/// The same batch as another producer's.
fn renumbered(batch: &Bytes, identity: Identity, sequence: i32) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[layout::PRODUCER_ID.range()].copy_from_slice(&identity.id.to_be_bytes());
    bytes[layout::PRODUCER_EPOCH.range()].copy_from_slice(&identity.epoch.to_be_bytes());
    bytes[layout::BASE_SEQUENCE.range()].copy_from_slice(&sequence.to_be_bytes());
    stamp::refresh_crc(&mut bytes);
    bytes.into()
}

/// Puts the records of a batch of our own into two others.
fn divide(batch: &Bytes, middle: i32, halves: &mut [BatchBuilder; 2]) -> Option<()> {
    let view = BatchView::parse(batch).ok()?;
    let mut body = Vec::new();
    let body = view.uncompressed(&mut body, BODY_BYTES_MAX).ok()?;
    for record in Records::new(view.header(), body).ok()? {
        let record = record.ok()?;
        let (half, first) = match record.offset < i64::from(middle) {
            true => (&mut halves[0], 0),
            false => (&mut halves[1], i64::from(middle)),
        };
        let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.collect();
        let offset = record.offset - first;
        half.append(offset, record.timestamp, record.key, record.value, headers)
            .ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Option<Identity> = Some(Identity { id: 7, epoch: 1 });

    fn accumulator() -> Accumulator {
        let config = ProducerConfig {
            batch_bytes_max: 400,
            linger: Duration::from_millis(5),
            ..ProducerConfig::default()
        };
        Accumulator::new(&config)
    }

    fn record(value: usize) -> ProducerRecord {
        ProducerRecord::new("t").value(vec![b'x'; value])
    }

    /// So many full batches in partition 0.
    fn filled(batches: usize) -> Accumulator {
        let mut accumulator = accumulator();
        for _ in 0..batches {
            accumulator
                .append(0, &record(300), 1, Instant::now())
                .expect("room");
        }
        accumulator
    }

    fn ready(accumulator: &Accumulator, now: Instant) -> Vec<i32> {
        let (ready, _) = accumulator.ready(now, false);
        ready.into_iter().map(|ready| ready.partition).collect()
    }

    /// Sends the next batch: its id, producer and first sequence number.
    fn send(accumulator: &mut Accumulator, identity: Option<Identity>) -> Option<(u64, i64, i32)> {
        let (id, bytes) = accumulator.send("t", 0, identity)?;
        let view = BatchView::parse(&bytes).expect("a batch");
        view.verify_crc().expect("its checksum");
        let header = view.header();
        Some((id, header.producer_id, header.base_sequence))
    }

    /// Sends the first batch and lets the broker have it.
    fn settle_first(accumulator: &mut Accumulator) {
        let (id, _, sequence) = send(accumulator, IDENTITY).expect("the first");
        assert_eq!(sequence, 0);
        accumulator.take("t", 0, id, true).expect("it was sent");
    }

    fn at_once(now: Instant) -> impl Fn(u32) -> Instant {
        move |_| now
    }

    #[test]
    fn a_batch_goes_when_it_has_lingered_or_is_full_or_must() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        let first = accumulator.append(0, &record(10), 1, now).expect("room");
        assert!(first.wake && !first.closed && first.index == 0);
        let second = accumulator.append(0, &record(10), 1, now).expect("room");
        assert!(!second.wake && second.index == 1);
        assert!(ready(&accumulator, now).is_empty());
        let later = now + Duration::from_millis(5);
        assert_eq!(accumulator.ready(now, false).1, Some(later));
        assert_eq!(ready(&accumulator, later), [0]);
        assert_eq!(
            accumulator.ready(now, true).0.len(),
            1,
            "a flush waits for nothing"
        );
        let full = accumulator.append(0, &record(300), 1, now).expect("room");
        assert!(full.closed && full.wake && full.index == 0);
        assert_eq!(ready(&accumulator, now), [0]);
        assert_eq!(accumulator.unsettled, 2);
    }

    #[test]
    fn the_first_batch_goes_alone_and_then_as_many_as_the_broker_remembers() {
        let mut accumulator = filled(8);
        let (first, _, _) = send(&mut accumulator, IDENTITY).expect("the first");
        assert_eq!(send(&mut accumulator, IDENTITY), None);
        accumulator.take("t", 0, first, true);
        let sent: Vec<(u64, i64, i32)> = (0..7)
            .map_while(|_| send(&mut accumulator, IDENTITY))
            .collect();
        let sequences: Vec<i32> = sent.iter().map(|(_, _, sequence)| *sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5]);
        assert!(ready(&accumulator, Instant::now()).is_empty());
        // They may be settled in any order.
        accumulator.take("t", 0, sent[1].0, true);
        assert_eq!(send(&mut accumulator, IDENTITY).expect("room").2, 6);
    }

    #[test]
    fn without_sequence_numbers_one_batch_is_on_its_way() {
        let mut accumulator = filled(3);
        let (first, producer, _) = send(&mut accumulator, None).expect("the first");
        assert_eq!(producer, -1);
        accumulator.take("t", 0, first, true);
        assert!(send(&mut accumulator, None).is_some());
        assert_eq!(send(&mut accumulator, None), None);
    }

    #[test]
    fn what_comes_back_goes_again_as_it_was_one_by_one_from_the_front() {
        let now = Instant::now();
        let mut accumulator = filled(6);
        settle_first(&mut accumulator);
        let sent: Vec<_> = (0..3)
            .map(|_| accumulator.send("t", 0, IDENTITY).expect("room"))
            .collect();
        let later = now + Duration::from_secs(1);
        accumulator.again("t", 0, sent[0].0, |_| later);
        // Nothing new overtakes it.
        assert!(ready(&accumulator, now).is_empty());
        assert_eq!(ready(&accumulator, later), [0]);
        // What was behind it was refused for it, or has come through.
        assert!(accumulator.out_of_order("t", 0, sent[1].0, at_once(later)));
        let again = accumulator.send("t", 0, IDENTITY).expect("the first");
        assert_eq!(again, sent[0]);
        assert_eq!(accumulator.send("t", 0, IDENTITY), None);
        accumulator.take("t", 0, sent[2].0, true);
        accumulator.take("t", 0, again.0, true);
        let again = accumulator.send("t", 0, IDENTITY).expect("the second");
        assert_eq!(again, sent[1]);
        assert_eq!(accumulator.send("t", 0, IDENTITY), None);
        accumulator.take("t", 0, again.0, true);
        assert_eq!(send(&mut accumulator, IDENTITY).expect("a new one").2, 4);
        assert_eq!(send(&mut accumulator, IDENTITY).expect("and another").2, 5);
    }

    #[test]
    fn what_was_refused_uses_no_numbers_unless_others_came_behind() {
        let now = Instant::now();
        let mut accumulator = filled(5);
        settle_first(&mut accumulator);
        let (refused, _, sequence) = send(&mut accumulator, IDENTITY).expect("room");
        assert_eq!(sequence, 1);
        let taken = accumulator.take("t", 0, refused, false).expect("sent");
        assert!(!taken.holed);
        let (refused, _, sequence) = send(&mut accumulator, IDENTITY).expect("room");
        assert_eq!(sequence, 1);
        let (behind, _, sequence) = send(&mut accumulator, IDENTITY).expect("room");
        assert_eq!(sequence, 2);
        assert!(
            accumulator
                .take("t", 0, refused, false)
                .expect("sent")
                .holed
        );
        // The broker misses number 1: what has 2 becomes another producer's first.
        let other = Some(Identity { id: 8, epoch: 0 });
        assert!(accumulator.out_of_order("t", 0, behind, at_once(now)));
        let (again, producer, sequence) = send(&mut accumulator, other).expect("the first");
        assert_eq!((again, producer, sequence), (behind, 8, 0));
        assert_eq!(send(&mut accumulator, other), None, "it is a first batch");
        // Refused now it is lost: nobody else has taken its number.
        assert!(!accumulator.out_of_order("t", 0, again, at_once(now)));
        accumulator.take("t", 0, again, true);
        assert_eq!(send(&mut accumulator, other).expect("room").2, 1);
    }

    #[test]
    fn another_producers_batches_wait_for_those_under_way() {
        let mut accumulator = filled(4);
        settle_first(&mut accumulator);
        let (first, _, _) = send(&mut accumulator, IDENTITY).expect("room");
        let other = Some(Identity { id: 8, epoch: 0 });
        assert_eq!(send(&mut accumulator, other), None);
        accumulator.take("t", 0, first, true);
        let (_, producer, sequence) = send(&mut accumulator, other).expect("room");
        assert_eq!((producer, sequence), (8, 0));
    }

    #[test]
    fn a_batch_that_is_too_large_becomes_two_with_its_numbers_and_later_ones_are_smaller() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        let mut appended = Vec::new();
        for number in 0..5_u8 {
            let mut record = record(20);
            record.value = Some(vec![number; 20].into());
            record.key = Some("k".into());
            record.headers = vec![("h".to_owned(), None)];
            appended.push(accumulator.append(0, &record, 7, now).expect("room"));
        }
        let held = accumulator.held;
        let (whole, _, _) = send(&mut accumulator, IDENTITY).expect("the first");
        assert!(accumulator.split("t", 0, whole));
        assert_eq!((accumulator.held, accumulator.unsettled), (held, 2));
        let mut found = Vec::new();
        for first in [0, 2] {
            let (id, bytes) = accumulator.send("t", 0, IDENTITY).expect("a half");
            assert_eq!(accumulator.send("t", 0, IDENTITY), None);
            let view = BatchView::parse(&bytes).expect("a batch");
            view.verify_crc().expect("its checksum");
            assert_eq!(view.header().base_sequence, first);
            let mut body = Vec::new();
            for record in view.records(&mut body, 1000).expect("records") {
                let record = record.expect("a record");
                assert_eq!((record.timestamp, record.key), (7, Some(&b"k"[..])));
                assert_eq!(record.headers.count(), 1);
                found.push(record.value.expect("a value")[0]);
            }
            let taken = accumulator.take("t", 0, id, true).expect("sent").batch;
            taken.settled.settle(Ok(Some(100 + i64::from(first))));
        }
        assert_eq!(found, [0, 1, 2, 3, 4]);
        assert_eq!((accumulator.held, accumulator.unsettled), (0, 0));
        for (nth, appended) in appended.iter().enumerate() {
            let outcome = appended.settled.outcome_of(appended.index);
            let offset = outcome.expect("settled").expect("there");
            assert_eq!(offset, Some(100 + nth as i64));
        }
        // What follows is no larger than the half was.
        for _ in 0..4 {
            accumulator.append(0, &record(80), 1, now).expect("room");
        }
        assert_eq!(accumulator.unsettled, 4);
        let (one, _, _) = send(&mut accumulator, IDENTITY).expect("one record");
        assert!(!accumulator.split("t", 0, one), "nothing to divide");
    }

    #[test]
    fn what_has_had_its_time_is_looked_at_whatever_it_waits_for() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        accumulator.append(0, &record(300), 1, now).expect("room");
        let (id, _, _) = send(&mut accumulator, IDENTITY).expect("the first");
        let far = now + Duration::from_secs(3600);
        accumulator.again("t", 0, id, |_| far);
        let limit = now + ProducerConfig::default().delivery_timeout;
        assert_eq!(accumulator.ready(now, false).1, Some(limit));
        let (late, _) = accumulator.ready(limit, false);
        assert_eq!(late.len(), 1);
        assert!(!accumulator.is_expired(&late[0], now));
        assert!(accumulator.is_expired(&late[0], limit));
    }
}
