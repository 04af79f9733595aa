//! Records on their way into batches, a row of batches per partition. Pure: time is an argument.
//!
//! Of each partition at most one batch is on its way to the broker. What is sent again is sent with
//! the same bytes before anything behind it, so order is kept, and a batch gets its sequence number
//! once: a broker that has it already says so instead of appending it twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reka_records::view::increment_sequence;
use reka_records::{BatchBuilder, BuildError, Compression, HEADER_BYTES};
use tokio::time::Instant;

use super::delivery::Settled;
use super::{ProducerConfig, ProducerRecord};

/// What a record takes beside its bytes, at most.
const RECORD_OVERHEAD: usize = 36;
const HEADER_OVERHEAD: usize = 10;

/// The producer the broker knows us as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// A batch with its place in the row.
#[derive(Debug)]
pub(crate) struct Batch {
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
    /// Whether a broker may have it.
    pub(crate) sent: bool,
}

#[derive(Debug, Default)]
struct Row {
    batches: VecDeque<Batch>,
    in_flight: bool,
    /// The sequence number of the next batch.
    sequence: i32,
    /// Whose it is: it starts again with another producer.
    identity: Option<Identity>,
}

#[derive(Debug, Default)]
struct Topic {
    rows: HashMap<i32, Row>,
}

/// A partition whose first batch can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) topic: String,
    pub(crate) partition: i32,
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
        let row = topic.rows.entry(partition).or_default();
        let mut closed = false;
        let has_room = |batch: &Batch| {
            let held = batch.open.as_ref().map(BatchBuilder::uncompressed_size);
            held.is_some_and(|held| held + size <= self.batch_bytes_max)
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
            row.batches.push_back(Batch {
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
                sent: false,
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

    /// The partitions whose first batch can go now, and when to look again.
    pub(crate) fn ready(&self, now: Instant, flush: bool) -> (Vec<Ready>, Option<Instant>) {
        let mut ready = Vec::new();
        let mut again: Option<Instant> = None;
        for (name, topic) in &self.topics {
            for (partition, row) in &topic.rows {
                let Some(first) = row.batches.front() else {
                    continue;
                };
                if row.in_flight {
                    continue;
                }
                let at = match first.closed || flush || row.batches.len() > 1 {
                    true => first.not_before,
                    false => first.not_before.max(first.born + self.linger),
                };
                let expires = first.born + self.delivery_timeout;
                if at <= now || expires <= now {
                    ready.push(Ready {
                        topic: name.clone(),
                        partition: *partition,
                        bytes: first.held,
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

    /// Whether the first batch of a partition has had its time.
    pub(crate) fn is_expired(&mut self, topic: &str, partition: i32, now: Instant) -> bool {
        let limit = self.delivery_timeout;
        let first = self
            .row(topic, partition)
            .and_then(|row| row.batches.front());
        first.is_some_and(|first| first.born + limit <= now)
    }

    /// The bytes of the first batch of a partition, which is on its way from here on. It is given
    /// its sequence number the first time.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        partition: i32,
        identity: Option<Identity>,
    ) -> Option<Bytes> {
        let transactional = self.transactional;
        let row = self.row(topic, partition)?;
        if row.in_flight {
            return None;
        }
        if row.identity != identity {
            row.identity = identity;
            row.sequence = 0;
        }
        let sequence = row.sequence;
        let first = row.batches.front_mut()?;
        first.closed = true;
        if let Some(builder) = first.open.take() {
            let builder = match identity {
                Some(Identity { id, epoch }) => builder.producer(id, epoch, sequence),
                None => builder,
            };
            let builder = if transactional {
                builder.transactional()
            } else {
                builder
            };
            first.identity = identity;
            first.encoded = Some(builder.finish().into());
        }
        first.sent = true;
        let encoded = first.encoded.clone()?;
        row.in_flight = true;
        Some(encoded)
    }

    /// The batch on its way came back: it stays the first and goes again, after a while.
    pub(crate) fn again(
        &mut self,
        topic: &str,
        partition: i32,
        not_before: impl Fn(u32) -> Instant,
    ) {
        if let Some(row) = self.row(topic, partition) {
            row.in_flight = false;
            if let Some(first) = row.batches.front_mut() {
                first.failures += 1;
                first.not_before = not_before(first.failures);
            }
        }
    }

    /// The first batch of a partition is done with. `appended` says whether the broker has it.
    pub(crate) fn take(&mut self, topic: &str, partition: i32, appended: bool) -> Option<Batch> {
        let row = self.row(topic, partition)?;
        row.in_flight = false;
        let batch = row.batches.pop_front()?;
        if appended && batch.identity == row.identity {
            row.sequence = increment_sequence(row.sequence, batch.count);
        }
        self.held = self.held.saturating_sub(batch.held);
        self.unsettled -= 1;
        Some(batch)
    }

    /// Whether a record for this partition would join others that wait.
    pub(crate) fn has_open(&mut self, topic: &str, partition: i32) -> bool {
        let last = self
            .row(topic, partition)
            .and_then(|row| row.batches.back());
        last.is_some_and(|last| !last.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_records::BatchView;

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

    fn ready(accumulator: &Accumulator, now: Instant) -> Vec<i32> {
        let (ready, _) = accumulator.ready(now, false);
        ready.into_iter().map(|ready| ready.partition).collect()
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
    fn one_batch_of_a_partition_is_on_its_way_and_comes_back_as_it_was() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        for _ in 0..3 {
            accumulator.append(0, &record(300), 1, now).expect("room");
        }
        let sent = accumulator.send("t", 0, IDENTITY).expect("bytes");
        assert_eq!(accumulator.send("t", 0, IDENTITY), None);
        assert!(ready(&accumulator, now).is_empty());
        let later = now + Duration::from_secs(1);
        accumulator.again("t", 0, |_| later);
        assert!(ready(&accumulator, now).is_empty());
        assert_eq!(ready(&accumulator, later), [0]);
        assert_eq!(accumulator.send("t", 0, IDENTITY), Some(sent.clone()));
        let header = |bytes: &Bytes| *BatchView::parse(bytes).expect("a batch").header();
        assert_eq!(header(&sent).base_sequence, 0);
        accumulator.take("t", 0, true);
        let next = accumulator.send("t", 0, IDENTITY).expect("bytes");
        assert_eq!(
            (header(&next).base_sequence, header(&next).producer_id),
            (1, 7)
        );
        // What the broker refused has used no sequence number.
        accumulator.take("t", 0, false);
        let third = accumulator.send("t", 0, IDENTITY).expect("bytes");
        assert_eq!(header(&third).base_sequence, 1);
        accumulator.take("t", 0, true);
        assert_eq!((accumulator.held, accumulator.unsettled), (0, 0));
    }

    #[test]
    fn sequence_numbers_start_again_with_another_producer() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        for _ in 0..2 {
            accumulator.append(0, &record(300), 1, now).expect("room");
        }
        accumulator.send("t", 0, IDENTITY).expect("bytes");
        accumulator.take("t", 0, true);
        let other = Some(Identity { id: 8, epoch: 0 });
        let bytes = accumulator.send("t", 0, other).expect("bytes");
        let header = *BatchView::parse(&bytes).expect("a batch").header();
        assert_eq!((header.producer_id, header.base_sequence), (8, 0));
    }

    #[test]
    fn what_has_had_its_time_is_looked_at_whatever_it_waits_for() {
        let now = Instant::now();
        let mut accumulator = accumulator();
        accumulator.append(0, &record(300), 1, now).expect("room");
        accumulator.send("t", 0, IDENTITY).expect("bytes");
        let far = now + Duration::from_secs(3600);
        accumulator.again("t", 0, |_| far);
        let limit = now + ProducerConfig::default().delivery_timeout;
        assert_eq!(accumulator.ready(now, false).1, Some(limit));
        assert!(!accumulator.is_expired("t", 0, now));
        assert!(accumulator.is_expired("t", 0, limit));
        assert_eq!(ready(&accumulator, limit), [0]);
    }
}
