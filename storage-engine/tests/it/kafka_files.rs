//! Directories Apache Kafka left, opened by us: everything it says is in them must be
//! found, and nothing may be changed that time or a crash does not call for.
//!
//! `testdata/kafka-4.3.1/README.md` says what was written. The files are copied to a
//! disk in memory; what Kafka's own clients saw of them is compared value by value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reka_records::{BatchHeader, Record};
use reka_storage::fs::{Disk, OpenMode, sim::SimDisk};
use reka_storage::log_dir::Identity;
use reka_storage::map_budget::MapBudget;
use reka_storage::recovery::RecoveryReport;
use reka_storage::{Log, LogConfig, LogDir, TopicPartition};
use serde_json::{Value, json};

use crate::seen;
use crate::support::DIR;

/// How the broker that wrote the directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Clean,
    Killed,
}

const LIVES: [Life; 2] = [Life::Clean, Life::Killed];

impl Life {
    fn dir(self) -> PathBuf {
        let name = match self {
            Life::Clean => "clean",
            Life::Killed => "killed",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/testdata/kafka-4.3.1")
            .join(name)
    }

    fn expected(self, file: &str) -> String {
        let path = self.dir().join("expected").join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn expected_json(self, file: &str) -> Value {
        serde_json::from_str(&self.expected(file)).expect("JSON that Kafka's side wrote")
    }

    /// The directory on a disk in memory.
    pub(crate) fn disk(self) -> SimDisk {
        let sim = SimDisk::new();
        copy(
            &self.dir().join("log-dir"),
            &Disk::new(sim.clone()),
            Path::new(DIR),
        );
        sim
    }

    /// Newest time of any record, in the middle of the minute after it: what a broker's
    /// clock may have shown when it was stopped.
    fn now_ms(self) -> i64 {
        let newest = topics(self)
            .iter()
            .flat_map(|topic| self.records(topic))
            .filter_map(|record| record["timestamp"].as_i64())
            .max();
        newest.expect("records") + 30_000
    }

    fn records(self, topic: &str) -> Vec<Value> {
        self.expected(&format!("{topic}-0.jsonl"))
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON that Kafka's side wrote"))
            .collect()
    }
}

fn copy(from: &Path, disk: &Disk, to: &Path) {
    for entry in fs::read_dir(from).expect("test data") {
        let entry = entry.expect("test data");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            disk.create_dir(&target).expect("a directory");
            copy(&entry.path(), disk, &target);
        } else {
            let content = fs::read(entry.path()).expect("test data");
            let file = disk.open(&target, OpenMode::Truncate).expect("a file");
            file.write_all_at(&content, 0).expect("a written file");
        }
    }
}

fn topics(life: Life) -> Vec<String> {
    let manifest = life.expected_json("manifest.json");
    let topics = manifest.as_object().expect("topics by name");
    topics.keys().cloned().collect()
}

/// The configuration `FirstLife.java` gave the topic, as far as a log minds.
pub(crate) fn config(topic: &str) -> LogConfig {
    let defaults = LogConfig {
        retention_ms: -1,
        segment_index_bytes: 4096,
        ..LogConfig::default()
    };
    let compacted = LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 4096,
        index_interval_bytes: 512,
        min_cleanable_dirty_permille: 10,
        file_delete_delay_ms: 0,
        ..defaults.clone()
    };
    match topic {
        "compacted" | "compacted-transactional" => compacted,
        "compacted-no-tombstones" => LogConfig {
            delete_retention_ms: 0,
            ..compacted
        },
        "__transaction_state" => LogConfig {
            compact: true,
            delete: false,
            ..defaults
        },
        "rolled" => LogConfig {
            segment_bytes: 16_384,
            index_interval_bytes: 512,
            ..defaults
        },
        "trimmed" => LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 512,
            ..defaults
        },
        "transactional" => LogConfig {
            segment_bytes: 2048,
            index_interval_bytes: 256,
            ..defaults
        },
        _ => defaults,
    }
}

/// Who `meta.properties` says the directory belongs to.
fn identity(life: Life) -> Identity {
    let text = fs::read_to_string(life.dir().join("log-dir/meta.properties")).expect("test data");
    let field = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("{key} in meta.properties"))
            .to_owned()
    };
    Identity {
        cluster_id: field("cluster.id"),
        node_id: field("node.id").parse().expect("a number"),
        directory_id: None,
    }
}

/// The directory and its logs, by topic.
pub(crate) struct Opened {
    pub dir: LogDir,
    pub logs: Vec<(String, Log, RecoveryReport)>,
}

pub(crate) fn open(life: Life, sim: &SimDisk) -> Opened {
    let dir = LogDir::open(
        Disk::new(sim.clone()),
        Path::new(DIR),
        identity(life),
        Arc::new(MapBudget::new(1_000)),
    )
    .expect("a directory that opens");
    let now_ms = life.now_ms();
    let logs = topics(life)
        .into_iter()
        .map(|topic| {
            let partition = TopicPartition::new(topic.clone(), 0);
            let (log, report) = dir
                .open_log(partition, config(&topic), now_ms)
                .unwrap_or_else(|error| panic!("{topic}: {error}"));
            (topic, log, report)
        })
        .collect();
    Opened { dir, logs }
}

/// Runs a check over both directories as found, after a clean stop of ours, and after
/// one more start that followed no clean stop.
fn in_every_state(check: impl Fn(Life, &str, &Log)) {
    for life in LIVES {
        let sim = life.disk();
        for restart in ["as Kafka left it", "closed by us", "dropped by us"] {
            let mut opened = open(life, &sim);
            for (topic, log, _) in &opened.logs {
                eprintln!("{life:?}, {restart}: {topic}");
                check(life, topic, log);
            }
            if restart == "as Kafka left it" {
                for (_, log, _) in &mut opened.logs {
                    log.close().expect("a clean stop");
                }
                opened.dir.close(1).expect("a clean stop");
            }
        }
    }
}

fn all_records(log: &Log, fetch_bytes: u64) -> Vec<Value> {
    seen::records(&log.reader(), fetch_bytes).expect("a log that can be read")
}

#[test]
fn every_record_is_what_kafkas_own_consumers_saw() {
    in_every_state(|life, topic, log| {
        let expected = life.records(topic);
        // One batch per fetch, a few, all of a segment.
        for fetch_bytes in [1, 1_000, 1 << 20] {
            let found = all_records(log, fetch_bytes);
            for (expected, found) in expected.iter().zip(&found) {
                assert_eq!(found, expected);
            }
            assert_eq!(found.len(), expected.len());
        }
    });
}

#[test]
fn start_end_and_last_stable_offset_are_what_kafka_told_its_clients() {
    in_every_state(|life, topic, log| {
        let found = json!({
            "logStartOffset": log.log_start(),
            "lastStableOffset": seen::last_stable(&log.reader()),
            "highWatermark": log.log_end(),
        });
        let expected = &life.expected_json("offsets.json")[format!("{topic}-0")];
        assert_eq!(&found, expected);
    });
}

#[test]
fn producers_are_what_kafka_described() {
    in_every_state(|life, topic, log| {
        let mut producers: Vec<_> = log.producers().iter().collect();
        producers.sort_unstable_by_key(|(id, _)| *id);
        let found: Vec<Value> = producers
            .into_iter()
            .map(|(id, entry)| {
                json!({
                    "producerId": id,
                    "producerEpoch": entry.epoch,
                    "lastSequence": entry.last_sequence(),
                    "lastTimestamp": entry.last_timestamp,
                    "coordinatorEpoch": entry.coordinator_epoch,
                    "currentTransactionStartOffset": entry.txn_first_offset.unwrap_or(-1),
                })
            })
            .collect();
        let expected = life.expected_json(&format!("{topic}-0.producers.json"));
        assert_eq!(&Value::from(found), &expected);
    });
}

#[test]
fn leader_epochs_cover_the_log_and_agree_with_its_batches() {
    in_every_state(|_, _, log| {
        let reader = log.reader();
        seen::each_batch(&reader, 1 << 20, reader.log_end(), |batch, _| {
            let header = batch.header();
            let within = header.base_offset.max(reader.log_start());
            assert_eq!(log.epochs().epoch_of(within), Some(header.leader_epoch));
            Ok(())
        })
        .expect("a log that can be read");
    });
}

/// An epoch that begins at the log's end wrote nothing: loading forgets it, here as in
/// Apache Kafka (`LogLoader`), and the next leader notes its own.
#[test]
fn epoch_history_is_kafkas_checkpoint_below_the_logs_end() {
    for life in LIVES {
        for (topic, log, _) in &open(life, &life.disk()).logs {
            let path = format!("log-dir/{topic}-0/leader-epoch-checkpoint");
            let text = fs::read_to_string(life.dir().join(path)).expect("test data");
            let beyond = format!(" {}", log.log_end());
            let expected = text.lines().skip(2).filter(|line| !line.ends_with(&beyond));
            let found: Vec<String> = log
                .epochs()
                .entries()
                .iter()
                .map(|entry| format!("{} {}", entry.epoch, entry.start_offset))
                .collect();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{topic}");
        }
    }
}

/// Offset, timestamp and epoch of every record, markers included: a lookup by time finds
/// those too, here as in Apache Kafka.
fn timeline(log: &Log) -> Vec<(i64, i64, i32)> {
    let reader = log.reader();
    let mut timeline = Vec::new();
    seen::each_batch(&reader, 1 << 20, reader.log_end(), |batch, _| {
        let mut scratch = Vec::new();
        for record in batch.records(&mut scratch, 1 << 20)? {
            let Record {
                offset, timestamp, ..
            } = record?;
            if offset >= reader.log_start() {
                timeline.push((offset, timestamp, batch.header().leader_epoch));
            }
        }
        Ok(())
    })
    .expect("a log that can be read");
    timeline
}

#[test]
fn a_lookup_by_time_finds_the_first_record_that_is_not_older() {
    in_every_state(|_, _, log| {
        let (timeline, end) = (timeline(log), log.log_end());
        let mut times: Vec<i64> = timeline.iter().map(|(_, time, _)| *time).collect();
        times.extend([i64::MIN, -1, 0, i64::MAX]);
        times.sort_unstable();
        times.dedup();
        for upto in [end, seen::last_stable(&log.reader()), end / 2] {
            for time in times
                .iter()
                .flat_map(|time| [*time, time.saturating_add(1)])
            {
                let expected = timeline
                    .iter()
                    .find(|(offset, timestamp, _)| *timestamp >= time && *offset < upto);
                let found = log
                    .reader()
                    .find_timestamp(time, upto)
                    .expect("a lookup")
                    .map(|found| (found.offset, found.timestamp, found.leader_epoch));
                assert_eq!(found.as_ref(), expected, "time {time} below {upto}");
            }
        }
    });
}

#[test]
fn the_greatest_timestamp_is_found_with_the_first_record_that_has_it() {
    in_every_state(|_, _, log| {
        let (timeline, end) = (timeline(log), log.log_end());
        for upto in [end, seen::last_stable(&log.reader()), end / 2, end / 3] {
            let below = timeline.iter().filter(|(offset, ..)| *offset < upto);
            let greatest = below.clone().map(|(_, time, _)| *time).max();
            let expected = below.clone().find(|(_, time, _)| Some(*time) == greatest);
            let found = log
                .reader()
                .max_timestamp(upto)
                .expect("a lookup")
                .map(|found| (found.offset, found.timestamp, found.leader_epoch));
            assert_eq!(found.as_ref(), expected, "below {upto}");
        }
    });
}

#[test]
fn a_clean_stop_of_kafka_is_believed_and_nothing_is_scanned() {
    let opened = open(Life::Clean, &Life::Clean.disk());
    assert!(opened.dir.was_clean());
    for (topic, _, report) in opened.logs {
        assert_eq!(report, RecoveryReport::default(), "{topic}");
    }
}

#[test]
fn after_a_kill_the_second_life_is_scanned_and_all_of_it_kept() {
    let sim = Life::Killed.disk();
    let files = sim.contents(Path::new(DIR));
    let checkpoint = files.get("/recovery-point-offset-checkpoint");
    let checkpoint = String::from_utf8_lossy(checkpoint.expect("test data")).into_owned();
    let opened = open(Life::Killed, &sim);
    assert!(!opened.dir.was_clean());
    let mut scanned = 0;
    for (topic, _, report) in opened.logs {
        let line = format!("{topic} 0 ");
        let mut stored = checkpoint
            .lines()
            .filter_map(|known| known.strip_prefix(&line));
        let recovery_point = stored
            .next()
            .map_or(0, |text| text.parse().expect("a number"));
        // All there is behind the recovery point, and no more than the segments it is in.
        let segments = segments(&files, &topic);
        let from = segments.partition_point(|(base, _)| *base < recovery_point);
        let recovered = &segments[from.saturating_sub(1)..];
        let headers = || recovered.iter().flat_map(|(_, headers)| headers);
        let bytes = |header: &BatchHeader| header.size() as u64;
        let behind = || headers().filter(|header| header.next_offset() > recovery_point);
        let least: u64 = behind().map(bytes).sum();
        let most: u64 = headers().map(bytes).sum();
        assert!(
            (least..=most).contains(&report.scanned_bytes),
            "{topic}: {} bytes scanned, {least} lie behind {recovery_point}, {most} in its segments",
            report.scanned_bytes
        );
        // Producers come from a snapshot at the latest where the recovery point is.
        let all: usize = segments.iter().map(|(_, headers)| headers.len()).sum();
        assert!(
            (behind().count()..=all).contains(&(report.replayed_batches as usize)),
            "{topic}: {} batches replayed",
            report.replayed_batches
        );
        scanned += report.scanned_bytes;
        let found = RecoveryReport {
            scanned_bytes: 0,
            replayed_batches: 0,
            ..report
        };
        assert_eq!(found, RecoveryReport::default(), "{topic}");
    }
    assert!(scanned > 0, "the kill left something to scan");
}

/// Base offsets of a topic's segments and the headers of their batches.
fn segments(files: &BTreeMap<String, Vec<u8>>, topic: &str) -> Vec<(i64, Vec<BatchHeader>)> {
    let prefix = format!("/{topic}-0/");
    let of_topic = files.iter().filter_map(|(path, content)| {
        let base = path.strip_prefix(&prefix)?.strip_suffix(".log")?.parse();
        let headers = reka_records::batches(content).map_while(Result::ok);
        let headers = headers.map(|batch| *batch.header());
        Some((base.expect("an offset"), headers.collect()))
    });
    of_topic.collect()
}

#[test]
fn the_directory_is_understood_name_by_name() {
    for life in LIVES {
        let opened = open(life, &life.disk());
        let contents = opened.dir.list().expect("a listing");
        let mut found: Vec<String> = contents
            .partitions
            .into_iter()
            .map(|partition| partition.topic)
            .collect();
        found.sort_unstable();
        assert_eq!(found, topics(life));
        assert_eq!(contents.deleted, Vec::<String>::new());
        assert_eq!(contents.unknown, Vec::<String>::new());
    }
}

#[test]
fn our_stop_leaves_kafkas_records_as_they_were_byte_for_byte() {
    for life in LIVES {
        let sim = life.disk();
        let before = sim.contents(Path::new(DIR));
        let mut opened = open(life, &sim);
        for (_, log, _) in &mut opened.logs {
            log.close().expect("a clean stop");
        }
        opened.dir.close(1).expect("a clean stop");
        let after = sim.contents(Path::new(DIR));
        let is_data = |path: &&String| {
            [".log", ".txnindex", "partition.metadata"]
                .iter()
                .any(|suffix| path.ends_with(suffix))
        };
        for path in before.keys().filter(is_data) {
            assert_eq!(after.get(path), before.get(path), "{life:?} {path}");
        }
        assert_eq!(
            after.keys().filter(is_data).collect::<Vec<_>>(),
            before.keys().filter(is_data).collect::<Vec<_>>()
        );
    }
}

#[test]
fn preallocated_indexes_of_a_killed_broker_shrink_to_their_entries() {
    let sim = Life::Killed.disk();
    let mut opened = open(Life::Killed, &sim);
    for (_, log, _) in &mut opened.logs {
        log.close().expect("a clean stop");
    }
    for (path, content) in sim.contents(Path::new(DIR)) {
        let entry_bytes = match path.rsplit_once('.') {
            Some((_, "index")) => 8,
            Some((_, "timeindex")) => 12,
            _ => continue,
        };
        assert_eq!(content.len() % entry_bytes, 0, "{path}");
        let zeros = content
            .chunks(entry_bytes)
            .skip(1)
            .filter(|entry| entry.iter().all(|byte| *byte == 0));
        assert_eq!(zeros.count(), 0, "{path}");
    }
}

#[test]
fn a_log_of_kafka_takes_our_appends() {
    for life in LIVES {
        let sim = life.disk();
        let mut opened = open(life, &sim);
        for (topic, log, _) in &mut opened.logs {
            let (before, end) = (all_records(log, 1 << 20), log.log_end());
            let bytes = crate::support::batch(
                &[b"ours", b"too"],
                life.now_ms(),
                reka_records::Compression::Lz4,
            );
            assert_eq!(crate::support::append_in(log, bytes, 7), end, "{topic}");
            let after = all_records(log, 1 << 20);
            assert_eq!(after[..before.len()], before[..], "{topic}");
            assert_eq!(after.len(), before.len() + 2, "{topic}");
            assert_eq!(log.epochs().latest(), Some(7));
        }
    }
}
