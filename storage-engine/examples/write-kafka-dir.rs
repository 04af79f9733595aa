//! Writes a log directory for Apache Kafka to judge: `cargo run -p reka-storage --example
//! write-kafka-dir -- DIR [killed]`.
//!
//! The contract is in `compat-tests/src/our_log_dir.rs`: partitions as a clean stop leaves
//! them, or with `killed` as a process that dies leaves them, `manifest.json` with how much was written, `expected/` with the records as our own
//! reader gives them. One function per topic; all in leader epoch 0.

#[path = "write-kafka-dir/seen.rs"]
mod seen;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use reka_records::control::{EndTxnMarker, MarkerBatch, TransactionResult};
use reka_records::{BatchBuilder, Compression, batches};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::Disk;
use reka_storage::log_dir::Identity;
use reka_storage::map_budget::{MAPS_MAX, MapBudget};
use reka_storage::{CheckedBatches, Log, LogConfig, LogDir, TopicPartition};
use serde_json::{Map, Value, json};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const HOUR_MS: i64 = 60 * 60 * 1000;
const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

fn main() -> Result {
    let mut args = std::env::args_os().skip(1);
    let (target, stop) = match (args.next(), args.next()) {
        (Some(target), None) => (PathBuf::from(target), Stop::Clean),
        (Some(target), Some(word)) if word == "killed" => (PathBuf::from(target), Stop::Killed),
        _ => return Err("usage: write-kafka-dir DIR [killed]".into()),
    };
    fs::create_dir_all(&target)?;
    let identity = Identity {
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        node_id: 1,
        directory_id: None,
    };
    let maps = Arc::new(MapBudget::new(MAPS_MAX));
    let mut writer = Writer {
        dir: LogDir::open(Disk::real(), &target, identity, maps)?,
        now_ms: now_ms()?,
        logs: Vec::new(),
    };
    for (name, codec) in CODECS {
        writer.codec(name, codec)?;
    }
    writer.log_append_time()?;
    writer.idempotent()?;
    writer.transactional()?;
    writer.rolled()?;
    writer.truncated()?;
    writer.trimmed()?;
    writer.compacted()?;
    writer.leave(&target, stop)
}

/// How the directory is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Every log closed, then the mark that says so.
    Clean,
    /// Right after the checkpoints were stored, as they are now and then.
    Killed,
}

/// Near the present, since a broker forgets producers it has not heard of for a day.
#[expect(
    clippy::disallowed_methods,
    reason = "this program is the shell; nothing below it reads a clock"
)]
fn now_ms() -> Result<i64> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since_1970.as_millis())?)
}

struct Writer {
    dir: LogDir,
    now_ms: i64,
    logs: Vec<Log>,
}

impl Writer {
    /// Second `number` of the hour that just passed.
    fn second(&self, number: usize) -> i64 {
        self.now_ms - HOUR_MS + number as i64 * 1_000
    }

    fn create(&self, topic: &str, config: LogConfig) -> Result<Log> {
        let partition = TopicPartition::new(topic, 0);
        Ok(self.dir.open_log(partition, config, self.now_ms)?.0)
    }

    /// A batch of numbered records, a second apart.
    fn numbered(&self, builder: BatchBuilder, first: usize, count: usize) -> Result<Vec<u8>> {
        let mut builder = builder;
        for n in first..first + count {
            let (key, value) = (format!("key-{n}"), format!("value-{n} the quick brown fox"));
            self.add(&mut builder, n, Some(&key), Some(&value))?;
        }
        Ok(builder.finish())
    }

    fn add(
        &self,
        builder: &mut BatchBuilder,
        second: usize,
        key: Option<&str>,
        value: Option<&str>,
    ) -> Result {
        let offset = i64::from(builder.record_count());
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        builder.append(offset, self.second(second), key, value, NO_HEADERS)?;
        Ok(())
    }

    fn append(&self, log: &mut Log, mut batch: Vec<u8>) -> Result {
        let checked = CheckedBatches::check(&mut batch)?;
        log.append(checked, 0, self.now_ms)?;
        Ok(())
    }

    fn end(&self, log: &mut Log, producer_id: i64, result: TransactionResult) -> Result {
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 0,
        };
        let at = MarkerBatch {
            base_offset: 0,
            leader_epoch: -1,
            producer_id,
            producer_epoch: 0,
            timestamp: self.now_ms,
        };
        self.append(log, marker.to_batch(at))
    }

    /// Every shape of record the format can express, a larger batch, one of a single record.
    fn codec(&mut self, name: &str, codec: Compression) -> Result {
        let mut log = self.create(&format!("codec-{name}"), LogConfig::default())?;
        let builder = || BatchBuilder::new(0).compression(codec);
        let every: Vec<u8> = (0..=255).collect();
        let long = "0123456789abcdef".repeat(256);
        let shapes: [Shape<'_>; 10] = [
            (Some(b"plain"), Some(b"plain value"), &[]),
            (None, Some(b"null key"), &[]),
            (Some(b"null value"), None, &[]),
            (None, None, &[]),
            (Some(b""), Some(b""), &[]),
            (Some(b"a header"), Some(b"v"), &[(b"trace", Some(b"1"))]),
            (
                Some(b"headers"),
                Some(b"v"),
                &[
                    (b"h", Some(b"first")),
                    (b"null", None),
                    (b"h", Some(b"")),
                    (b"", Some(b"no name")),
                ],
            ),
            (Some("ключ".as_bytes()), Some("値 ✓".as_bytes()), &[]),
            (Some(&every), Some(&every), &[]),
            (Some(b"long"), Some(long.as_bytes()), &[]),
        ];
        let mut batch = builder();
        for (offset, (key, value, headers)) in shapes.into_iter().enumerate() {
            // Every other one is older than the one before it.
            let time = self.second(offset ^ 1);
            batch.append(offset as i64, time, key, value, headers.iter().copied())?;
        }
        self.append(&mut log, batch.finish())?;
        let batch = self.numbered(builder(), 20, 20)?;
        self.append(&mut log, batch)?;
        let batch = self.numbered(builder(), 40, 1)?;
        self.append(&mut log, batch)?;
        self.logs.push(log);
        Ok(())
    }

    fn log_append_time(&mut self) -> Result {
        let mut log = self.create("log-append-time", LogConfig::default())?;
        for (_, codec) in CODECS {
            let builder = BatchBuilder::new(0).log_append_time(self.now_ms);
            let batch = self.numbered(builder.compression(codec), 0, 5)?;
            self.append(&mut log, batch)?;
        }
        self.logs.push(log);
        Ok(())
    }

    /// Two producers in turn, more batches than are remembered of one.
    fn idempotent(&mut self) -> Result {
        let mut log = self.create("idempotent", LogConfig::default())?;
        for round in 0..7_usize {
            for (id, count) in [(1_000, 3), (1_001, 2)] {
                let sequence = (round * count) as i32;
                let builder = BatchBuilder::new(0).producer(id, 0, sequence);
                let batch = self.numbered(builder, round * 10, count)?;
                self.append(&mut log, batch)?;
            }
        }
        self.logs.push(log);
        Ok(())
    }

    /// Overlapping transactions, committed and aborted, some records outside of any, and one
    /// that never ends, with a committed one behind it. Over several segments.
    fn transactional(&mut self) -> Result {
        use TransactionResult::{Abort, Commit};
        let config = LogConfig {
            segment_bytes: 2048,
            index_interval_bytes: 256,
            ..LogConfig::default()
        };
        let mut log = self.create("transactional", config)?;
        let log = &mut log;
        let mut sequences = [0; 4];
        let mut batch = |producer: usize, codec, first: usize, count: usize| {
            let builder = BatchBuilder::new(0).compression(codec).transactional();
            let id = 2_000 + producer as i64;
            let builder = builder.producer(id, 0, sequences[producer]);
            sequences[producer] += count as i32;
            self.numbered(builder, first, count)
        };
        for round in 0..8 {
            let n = round * 20;
            self.append(log, batch(0, Compression::None, n, 3)?)?;
            self.append(log, batch(1, Compression::Zstd, n + 3, 2)?)?;
            self.append(log, self.numbered(BatchBuilder::new(0), n + 5, 1)?)?;
            self.end(log, 2_000, Commit)?;
            self.append(log, batch(2, Compression::Lz4, n + 6, 4)?)?;
            self.end(log, 2_001, Abort)?;
            self.append(log, batch(2, Compression::None, n + 10, 2)?)?;
            self.end(log, 2_002, if round % 3 == 0 { Abort } else { Commit })?;
            self.append(log, batch(0, Compression::None, n + 12, 1)?)?;
            self.end(log, 2_000, Abort)?;
        }
        self.append(log, batch(3, Compression::None, 200, 3)?)?;
        self.append(log, batch(0, Compression::None, 210, 2)?)?;
        self.end(log, 2_000, Commit)?;
        let log = self.create_again(log)?;
        self.logs.push(log);
        Ok(())
    }

    /// The same log, closed and opened: what is left on disk is all there is.
    fn create_again(&self, log: &mut Log) -> Result<Log> {
        log.close()?;
        self.create(&log.partition().topic.clone(), log.config().clone())
    }

    /// Rolled by size; every tenth batch is older than those before it.
    fn rolled(&mut self) -> Result {
        let config = LogConfig {
            segment_bytes: 16 << 10,
            index_interval_bytes: 512,
            ..LogConfig::default()
        };
        let mut log = self.create("rolled", config)?;
        for batch in 0..80 {
            let mut builder = BatchBuilder::new(0);
            for n in batch * 8..batch * 8 + 8 {
                let second = if batch % 10 == 9 { n - 50 } else { n };
                let value = format!("value-{n} ").repeat(6);
                self.add(
                    &mut builder,
                    second,
                    Some(&format!("key-{n}")),
                    Some(&value),
                )?;
            }
            self.append(&mut log, builder.finish())?;
        }
        self.logs.push(log);
        Ok(())
    }

    /// Cut back into an earlier segment by a new leader, twice, and written on.
    fn truncated(&mut self) -> Result {
        let config = LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 256,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let mut log = self.create("truncated", config)?;
        for (cut, batches) in [(0, 40), (77, 30), (101, 1)] {
            log.truncate_to(cut, self.now_ms)?;
            for n in 0..batches {
                let batch = self.numbered(BatchBuilder::new(0), cut as usize + n * 5, 5)?;
                self.append(&mut log, batch)?;
            }
            log.flush()?;
        }
        log.unlink_deleted(self.now_ms)?;
        self.logs.push(log);
        Ok(())
    }

    /// Old segments expired, then the start raised into the middle of a batch.
    fn trimmed(&mut self) -> Result {
        let config = LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 512,
            retention_ms: HOUR_MS - 120_000,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let mut log = self.create("trimmed", config)?;
        for n in 0..40 {
            let batch = self.numbered(BatchBuilder::new(0), n * 5, 5)?;
            self.append(&mut log, batch)?;
        }
        log.flush()?;
        let expired = log.apply_retention(log.log_end(), self.now_ms)?;
        if expired.is_empty() {
            return Err("no segment expired".into());
        }
        log.advance_log_start(log.log_start() + 33)?;
        log.unlink_deleted(self.now_ms)?;
        self.logs.push(log);
        Ok(())
    }

    /// Keys overwritten, deleted, and aborted, then cleaned twice with writes in between: the
    /// second pass comes when the markers and tombstones of the first may go.
    fn compacted(&mut self) -> Result {
        use TransactionResult::{Abort, Commit};
        let config = LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 256,
            file_delete_delay_ms: 0,
            compact: true,
            delete: false,
            delete_retention_ms: HOUR_MS,
            ..LogConfig::default()
        };
        let mut log = self.create("compacted", config)?;
        let mut sequence = [0; 2];
        for (pass, cleaned_at) in [self.now_ms - 2 * HOUR_MS, self.now_ms]
            .into_iter()
            .enumerate()
        {
            for round in pass * 30..pass * 30 + 30 {
                let mut outside = BatchBuilder::new(0).compression(Compression::Gzip);
                for key in 0..4 {
                    // One key is deleted in each pass and stays so until the next.
                    let value = (key != pass || round % 30 < 10).then(|| format!("round-{round}"));
                    self.add(
                        &mut outside,
                        round,
                        Some(&format!("key-{key}")),
                        value.as_deref(),
                    )?;
                }
                self.append(&mut log, outside.finish())?;
                for (producer, result) in [(0, Commit), (1, Abort)] {
                    let mut inside = BatchBuilder::new(0)
                        .producer(3_000 + producer as i64, 0, sequence[producer])
                        .transactional();
                    for key in 0..3 {
                        let key = format!("txn-key-{}", key + round % 2);
                        self.add(&mut inside, round, Some(&key), Some(&format!("{round}")))?;
                        sequence[producer] += 1;
                    }
                    self.append(&mut log, inside.finish())?;
                    self.end(&mut log, 3_000 + producer as i64, result)?;
                }
            }
            log.roll(self.now_ms)?;
            log.flush()?;
            log.settle_below(log.log_end());
            let plan = log.plan_compaction(log.log_end(), cleaned_at)?;
            let plan = plan.ok_or("nothing to clean")?;
            let compacted = plan.run(&CompactionLimits::default(), cleaned_at)?;
            log.finish_compaction(compacted, cleaned_at)?;
            log.unlink_deleted(self.now_ms)?;
        }
        let batch = self.numbered(BatchBuilder::new(0), 0, 3)?;
        self.append(&mut log, batch)?;
        self.logs.push(log);
        Ok(())
    }

    /// Writes down what is there and stops.
    fn leave(mut self, target: &Path, stop: Stop) -> Result {
        let expected = target.join("expected");
        fs::create_dir_all(&expected)?;
        let mut manifest = Map::new();
        for log in &mut self.logs {
            if stop == Stop::Clean {
                log.close()?;
            }
            let partition = log.partition();
            let lines: String = seen::records(&log.reader(), 1 << 20)?
                .iter()
                .map(|record| format!("{record}\n"))
                .collect();
            fs::write(expected.join(format!("{partition}.jsonl")), lines)?;
            let gaps = log.config().compact;
            manifest.insert(partition.topic.clone(), counts(log.dir(), gaps)?);
        }
        let manifest = serde_json::to_vec_pretty(&Value::Object(manifest))?;
        fs::write(target.join("manifest.json"), manifest)?;
        match stop {
            Stop::Clean => self.dir.close(1)?,
            Stop::Killed => self.dir.checkpoint()?,
        }
        Ok(())
    }
}

type HeaderShape<'a> = (&'a [u8], Option<&'a [u8]>);
type Shape<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [HeaderShape<'a>]);

const NO_HEADERS: [HeaderShape<'static>; 0] = [];

/// How much is in the data files, straight from their bytes.
fn counts(dir: &Path, gaps: bool) -> Result<Value> {
    let (mut records, mut batch_count, mut segments) = (0_i64, 0, 0);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        segments += 1;
        let bytes = fs::read(&path)?;
        let mut found = batches(&bytes);
        // A log that was truncated and not closed ends in zeros.
        while bytes[found.bytes_read()..].iter().any(|byte| *byte != 0) {
            let batch = found.next().ok_or("no batch where bytes are left")??;
            batch_count += 1;
            if !batch.header().is_control() {
                records += i64::from(batch.header().record_count);
            }
        }
    }
    Ok(json!({ "records": records, "batches": batch_count, "segments": segments, "gaps": gaps }))
}
