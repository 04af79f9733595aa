//! `rkctl topic analyze`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use clap::Args;
use reka_client::admin::OffsetSpec;
use reka_client::{Client, ClientError, Target, TopicInfo, TopicPartition};
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use reka_records::view::batches;
use serde::Serialize;

use super::{offsets, partitions_of};
use crate::failure::Failure;
use crate::moment;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

/// The last records of each partition are read as they are stored. Rates are those of the time between
/// the first and the last of them; sizes of records are before compression.
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    /// Topics
    #[arg(required = true, value_name = "TOPIC", add = crate::completion::topics())]
    topics: Vec<String>,
    /// At most so many records of each partition
    #[arg(short = 'n', long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..))]
    sample: i64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Row {
    topic: String,
    partitions: usize,
    /// How many offsets the topic spans.
    offsets: i64,
    /// How many records were looked at.
    sampled: u64,
    first_timestamp_ms: Option<i64>,
    last_timestamp_ms: Option<i64>,
    records_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    record_bytes_min: Option<u64>,
    record_bytes_p50: Option<u64>,
    record_bytes_p99: Option<u64>,
    record_bytes_max: Option<u64>,
    batches: u64,
    records_per_batch: Option<f64>,
    stored_bytes: u64,
    /// Bytes of records to bytes that are stored.
    compression_ratio: Option<f64>,
    /// Batches by codec.
    codecs: BTreeMap<String, u64>,
    without_key: u64,
    tombstones: u64,
    with_headers: u64,
    transactional: u64,
    distinct_keys: u64,
    /// The keys most records have, with how many.
    top_keys: Vec<(String, u64)>,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let rounded = |number: Option<f64>| or_none(number.map(|number| format!("{number:.1}")));
        let mut page = Page::default();
        for row in self {
            let codecs: Vec<String> = row
                .codecs
                .iter()
                .map(|(codec, count)| format!("{codec} {count}"))
                .collect();
            page = page.pairs(vec![
                ("topic", row.topic.clone()),
                ("partitions", row.partitions.to_string()),
                ("offsets", row.offsets.to_string()),
                ("sampled records", row.sampled.to_string()),
                ("from", or_none(row.first_timestamp_ms.map(moment::written))),
                ("to", or_none(row.last_timestamp_ms.map(moment::written))),
                ("records/s", rounded(row.records_per_second)),
                ("bytes/s", rounded(row.bytes_per_second)),
                (
                    "record bytes",
                    format!(
                        "min {}, median {}, p99 {}, max {}",
                        or_none(row.record_bytes_min),
                        or_none(row.record_bytes_p50),
                        or_none(row.record_bytes_p99),
                        or_none(row.record_bytes_max)
                    ),
                ),
                ("batches", row.batches.to_string()),
                ("records/batch", rounded(row.records_per_batch)),
                ("stored bytes", row.stored_bytes.to_string()),
                ("compression", rounded(row.compression_ratio)),
                ("codecs", crate::table::list(&codecs)),
                ("without key", row.without_key.to_string()),
                ("tombstones", row.tombstones.to_string()),
                ("with headers", row.with_headers.to_string()),
                ("transactional", row.transactional.to_string()),
                ("distinct keys", row.distinct_keys.to_string()),
            ]);
            if !row.top_keys.is_empty() {
                let mut table = Table::new(["KEY", "RECORDS"]);
                for (key, count) in &row.top_keys {
                    table.row([key.clone(), count.to_string()]);
                }
                page = page.table(table);
            }
        }
        page
    }
}

/// Keys that are counted one by one; of more only the number is told.
const KEYS_MAX: usize = 100_000;
const TOP_KEYS: usize = 5;
/// Of one partition in one answer.
const FETCH_BYTES: i32 = 1 << 20;
/// What a batch may come to when its records are taken out of it.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// What was seen of a topic.
#[derive(Default)]
struct Seen {
    row: Row,
    sizes: Vec<u64>,
    keys: HashMap<Vec<u8>, u64>,
    /// Hashes of those beyond the limit.
    more_keys: HashSet<u64>,
    hasher: RandomState,
    record_bytes: u64,
    /// Of all records of the batches, also of those that are not in the sample.
    batch_records: u64,
    batch_bytes: u64,
}

impl Analyze {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let topics = session.topics(&self.topics).await?;
        let client = session.client().await?;
        let mut rows = Vec::with_capacity(topics.len());
        for topic in &topics {
            rows.push(self.look_at(client, topic).await?);
        }
        session.show(&rows)
    }

    async fn look_at(&self, client: &Client, topic: &TopicInfo) -> Result<Row, Failure> {
        let partitions = partitions_of(topic);
        let starts = offsets(client, &partitions, OffsetSpec::Earliest).await?;
        let ends = offsets(client, &partitions, OffsetSpec::Latest).await?;
        let mut seen = Seen::default();
        for (nth, at) in partitions.iter().enumerate() {
            let start = starts[nth].clone()?.unwrap_or(0);
            let end = ends[nth].clone()?.unwrap_or(start);
            seen.row.offsets += end - start;
            let leader = topic
                .partitions
                .iter()
                .find(|info| info.index == at.partition);
            let Some(leader) = leader.and_then(|info| info.leader) else {
                return Err(Failure::refused(format!("partition {at} has no leader")));
            };
            let mut next = end.saturating_sub(self.sample).max(start);
            while next < end {
                let bytes = fetch(client, leader, at, next).await?;
                if bytes.is_empty() {
                    break;
                }
                let reached = seen.take(&bytes, next, end).map_err(|reason| {
                    Failure::other(format!("partition {at} from offset {next}: {reason}"))
                })?;
                // What was compacted away, or is a batch without records, is passed.
                next = reached.max(next + 1);
            }
        }
        Ok(seen.told(&topic.name, partitions.len()))
    }
}

/// Batches of a partition from an offset on, as they are stored.
async fn fetch(
    client: &Client,
    leader: i32,
    at: &TopicPartition,
    offset: i64,
) -> Result<bytes::Bytes, Failure> {
    // From 13 on topics have ids; these say all that is needed.
    let answer = client
        .call(Target::Broker(leader), 4..=12, |_| {
            let partition = FetchPartition::default()
                .with_partition(at.partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(FETCH_BYTES);
            let topic = FetchTopic::default()
                .with_topic(TopicName(at.topic.clone().into()))
                .with_partitions(vec![partition]);
            FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(WAIT.as_millis() as i32)
                .with_min_bytes(1)
                .with_max_bytes(FETCH_BYTES)
                .with_session_epoch(-1)
                .with_topics(vec![topic])
        })
        .await?;
    let data = answer
        .responses
        .first()
        .and_then(|topic| topic.partitions.first());
    let Some(data) = data else {
        return Err(Failure::other(format!(
            "the answer does not mention partition {at}"
        )));
    };
    if data.error_code != 0 {
        let refusal = reka_client::Refusal {
            api: "Fetch",
            subject: format!("partition {at}"),
            code: data.error_code,
            message: None,
        };
        return Err(match refusal.error() {
            Some(ErrorCode::NotLeaderOrFollower) => Failure::from(ClientError::from(refusal))
                .hint("its leader has moved meanwhile: run the command again"),
            _ => refusal.into(),
        });
    }
    Ok(data.records.clone().unwrap_or_default())
}

/// Records that are known to be there are not waited for for longer.
const WAIT: Duration = Duration::from_millis(500);

impl Seen {
    /// Takes batches in; where reading has come to.
    fn take(&mut self, bytes: &[u8], from: i64, end: i64) -> Result<i64, String> {
        let mut reached = from;
        for batch in batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // The last one is cut where the answer ends.
                Err(_) if reached > from => break,
                Err(error) => return Err(error.to_string()),
            };
            batch.verify_crc().map_err(|error| error.to_string())?;
            let header = batch.header();
            reached = header.next_offset();
            if header.is_control() {
                continue;
            }
            let codec = header.compression().map_err(|error| error.to_string())?;
            *self.row.codecs.entry(codec.to_string()).or_default() += 1;
            self.row.batches += 1;
            self.row.stored_bytes += batch.bytes().len() as u64;
            let mut scratch = Vec::new();
            let records = batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX);
            for record in records.map_err(|error| error.to_string())? {
                let record = record.map_err(|error| error.to_string())?;
                self.batch_records += 1;
                self.batch_bytes += size(&record).0;
                if record.offset < from || record.offset >= end {
                    continue;
                }
                self.row.transactional += u64::from(header.is_transactional());
                self.add(&record);
            }
        }
        Ok(reached)
    }

    fn add(&mut self, record: &reka_records::Record<'_>) {
        let row = &mut self.row;
        row.sampled += 1;
        let (size, headers) = size(record);
        row.with_headers += u64::from(headers > 0);
        row.tombstones += u64::from(record.value.is_none());
        self.record_bytes += size;
        self.sizes.push(size);
        let at = record.timestamp;
        row.first_timestamp_ms = Some(row.first_timestamp_ms.map_or(at, |first| first.min(at)));
        row.last_timestamp_ms = Some(row.last_timestamp_ms.map_or(at, |last| last.max(at)));
        match record.key {
            None => row.without_key += 1,
            Some(key) => {
                if let Some(count) = self.keys.get_mut(key) {
                    *count += 1;
                } else if self.keys.len() < KEYS_MAX {
                    self.keys.insert(key.to_vec(), 1);
                } else {
                    self.more_keys.insert(self.hasher.hash_one(key));
                }
            }
        }
    }

    fn told(mut self, topic: &str, partitions: usize) -> Row {
        let mut row = self.row;
        row.topic = topic.to_owned();
        row.partitions = partitions;
        self.sizes.sort_unstable();
        let share = |of: usize| {
            let at = (self.sizes.len() * of).div_ceil(100).max(1) - 1;
            self.sizes.get(at).copied()
        };
        row.record_bytes_min = self.sizes.first().copied();
        row.record_bytes_p50 = share(50);
        row.record_bytes_p99 = share(99);
        row.record_bytes_max = self.sizes.last().copied();
        let time = row.first_timestamp_ms.zip(row.last_timestamp_ms);
        let seconds = time.map(|(first, last)| last.saturating_sub(first) as f64 / 1000.0);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            row.records_per_second = Some(rounded(row.sampled as f64 / seconds));
            row.bytes_per_second = Some(rounded(self.record_bytes as f64 / seconds));
        }
        if row.batches > 0 {
            row.records_per_batch = Some(rounded(self.batch_records as f64 / row.batches as f64));
            let ratio = self.batch_bytes as f64 / row.stored_bytes.max(1) as f64;
            row.compression_ratio = Some(rounded(ratio));
        }
        row.distinct_keys = (self.keys.len() + self.more_keys.len()) as u64;
        let mut top: Vec<(Vec<u8>, u64)> = self.keys.into_iter().collect();
        top.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        top.truncate(TOP_KEYS);
        row.top_keys = top
            .into_iter()
            .map(|(key, count)| (String::from_utf8_lossy(&key).into_owned(), count))
            .collect();
        row
    }
}

/// The bytes of key, value and headers, and how many headers there are.
fn size(record: &reka_records::Record<'_>) -> (u64, usize) {
    let parts = [record.key, record.value].into_iter().flatten();
    let mut bytes: usize = parts.map(<[u8]>::len).sum();
    let mut headers = 0;
    for (name, value) in record.headers.clone() {
        headers += 1;
        bytes += name.len() + value.map_or(0, <[u8]>::len);
    }
    (bytes as u64, headers)
}

/// Three digits behind the point are all that is known.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_records::{BatchBuilder, Compression};

    fn batch(first: i64, count: i64, codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(first).compression(codec);
        for offset in first..first + count {
            let key = format!("k{}", offset % 3);
            let key = (offset % 4 != 0).then_some(key.as_bytes());
            let value = vec![b'x'; 100];
            let value = (offset % 5 != 0).then_some(value.as_slice());
            let headers = [(&b"h"[..], Some(&b"1"[..]))];
            let headers = headers.into_iter().take(usize::from(offset == first));
            builder
                .append(offset, 1000 + offset * 10, key, value, headers)
                .expect("room");
        }
        builder.finish()
    }

    #[test]
    fn what_is_stored_is_counted() {
        let mut bytes = batch(0, 50, Compression::None);
        bytes.extend(batch(50, 50, Compression::Zstd));
        let whole = bytes.len();
        bytes.extend(batch(100, 50, Compression::Zstd));
        bytes.truncate(whole + 100);
        let mut seen = Seen::default();
        assert_eq!(seen.take(&bytes, 10, 90), Ok(100), "the third is cut");
        let row = seen.told("t", 1);
        assert_eq!((row.sampled, row.batches), (80, 2));
        let codecs = [("none".to_owned(), 1), ("zstd".to_owned(), 1)];
        assert_eq!(row.codecs, codecs.into());
        assert_eq!(
            (row.without_key, row.tombstones, row.with_headers),
            (20, 16, 1)
        );
        assert_eq!(
            (row.record_bytes_min, row.record_bytes_max),
            (Some(0), Some(102))
        );
        assert_eq!((row.record_bytes_p50, row.distinct_keys), (Some(102), 3));
        assert_eq!(
            (row.first_timestamp_ms, row.last_timestamp_ms),
            (Some(1100), Some(1890))
        );
        let rate = row.records_per_second.expect("a rate");
        assert!((101.0..102.0).contains(&rate), "{rate}");
        // 100 records in two batches, of which 80 are in the sample.
        assert_eq!(row.records_per_batch, Some(50.0));
        assert_eq!(row.top_keys.len(), 3);
        assert!(row.top_keys[0].1 >= row.top_keys[2].1);
    }

    #[test]
    fn what_is_damaged_is_an_error_and_nothing_is_nothing() {
        let mut bytes = batch(0, 5, Compression::None);
        let at = bytes.len() - 3;
        bytes[at] ^= 1;
        assert!(Seen::default().take(&bytes, 0, 5).is_err());
        assert_eq!(Seen::default().take(&[], 7, 9), Ok(7));
        let row = Seen::default().told("t", 2);
        assert_eq!((row.record_bytes_p50, row.compression_ratio), (None, None));
    }
}
