//! Bits flipped, blocks swapped, zeroed and cut off in any file of a log directory.
//!
//! Nor may a record be lost without a word: whoever asks for it gets it or an error, or the
//! start or the reader that came by the gap said that it is missing.
//!
//! Two directories, one left by a clean stop and one by a crash with its recovery point
//! in the middle, are damaged at random, one to five times, and opened. An error that says
//! what is wrong is a good answer; a record that was never written, at an offset where
//! another belongs, is not. A consumer verifies checksums, so the bytes under them may
//! be served, as Apache Kafka serves them; base offset, length and leader epoch lie outside of
//! them, and the first two are the engine's to check. Batches with a bad checksum are counted, and
//! there are no more of them than batches that the damage touched: of what was handed out each
//! record is what was written, or a consumer refuses it.
//!
//! Nor may damage spread. Whatever happens to the files of one partition, the other one is as it
//! was; what refuses a directory is damage to the files of the directory, what refuses a log
//! to its small ones, or more than one to its data. And of a single flipped bit
//! ([`Original::spared_by`]):
//!
//! - in an index, a snapshot or a mark it costs no record;
//! - in a data file it costs none before the batch it is in, and after a clean stop none of
//!   another segment.
//!
//! What Kafka's format cannot tell is not judged: a batch does not say which partition it is of, so
//! that one of another partition passes at an offset that both have; a leader epoch is not covered by
//! anything; what was not synced when a crash came may be gone; and checkpoints carry no
//! checksum, so a number in them that became another number is believed. `.txnindex` has none either,
//! but its entries name batches: one that differs from them is noticed, and how many are not is
//! counted and bounded.
//!
//! `CORRUPTION_STATES` sets how many states of each directory are judged, `CORRUPTION_SEED` where the
//! random choices start; both are printed, and what was done to the files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use reka_records::{BatchBuilder, BatchView, Compression, HEADER_BYTES, batches};
use reka_storage::fs::sim::{Choice as _, KeepAll, Seeded, SimDisk};
use reka_storage::fs::{Backend as _, Disk, OpenMode};
use reka_storage::recovery::{RecoveryReport, Warning};
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{CheckedBatches, Log, LogConfig, LogDir, LogReader, TopicPartition};

use crate::support::{ROOT, Seen, append, batch, marker, partition, read_all, take_dir};

const BLOCK: u64 = 4096;

/// Everything of a record that a consumer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

type Records = BTreeMap<i64, Record>;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 9_000,
        index_interval_bytes: 600,
        segment_index_bytes: 4_096,
        ..LogConfig::default()
    }
}

fn open_dir(sim: &SimDisk) -> Result<LogDir, String> {
    let taken = take_dir(Disk::new(sim.clone()), Path::new(ROOT));
    taken.map_err(|error| error.to_string())
}

fn open_log(dir: &LogDir) -> Result<(Log, RecoveryReport), String> {
    dir.open_log(partition(), config(), 0)
        .map_err(|error| error.to_string())
}

/// Where the other partition begins.
const NEIGHBOUR_START: i64 = 1_000_000;

/// The other partition of the directory.
fn neighbour() -> TopicPartition {
    TopicPartition::new("t", 1)
}

/// Where a batch is: its bytes in a data file, its offsets.
#[derive(Clone, Debug)]
struct Stored {
    file: String,
    bytes: Range<usize>,
    offsets: Range<i64>,
}

/// A directory and what is in it.
struct Original {
    /// What is at or above may be lost without a word: nobody was told that it is on disk.
    recovery_point: i64,
    name: &'static str,
    disk: SimDisk,
    records: Records,
    /// Batches as stored, by base offset: those that are untouched need no second look.
    batches: BTreeMap<i64, Vec<u8>>,
    places: Vec<Stored>,
    aborted: Vec<AbortedTxn>,
    of_neighbour: Vec<Seen>,
    contents: BTreeMap<String, Vec<u8>>,
    files: Vec<(String, u64)>,
    bytes: u64,
}

fn original(name: &'static str, clean: bool) -> Original {
    let sim = SimDisk::new();
    let disk = Disk::new(sim.clone());
    disk.create_dir(Path::new(ROOT)).expect("a fresh disk");
    let dir = open_dir(&sim).expect("a fresh directory");
    let (mut log, _) = open_log(&dir).expect("a fresh log");
    let mut random = Seeded(7);
    let mut sequence = 0;
    for number in 0..54_i64 {
        let mut bytes = match number % 9 {
            3 | 6 => {
                let builder = BatchBuilder::new(0)
                    .producer(5, 1, sequence)
                    .transactional();
                sequence += 3;
                filled(builder, &mut random, number, 3)
            }
            4 => marker(5, 1, false, 1_000 + number * 10),
            7 => marker(5, 1, true, 1_000 + number * 10),
            _ => {
                let codec = Compression::from_id((number % 5) as u8).expect("a codec");
                let builder = BatchBuilder::new(0).compression(codec);
                let records = 1 + random.pick(6) as i64;
                filled(builder, &mut random, number, records)
            }
        };
        let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
        log.append(checked, (number / 20) as i32, 0)
            .expect("an append");
        if number == 30 {
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
        }
    }
    let mut records = Records::new();
    let mut stored = BTreeMap::new();
    let error = for_each_batch(&log.reader(), 0, |batch| {
        records.extend(records_of(batch));
        stored.insert(batch.header().base_offset, batch.bytes().to_vec());
    });
    assert_eq!(error, None);
    assert!(log.reader().segment_count() >= 3, "several segments");
    let aborted = log.reader().aborted_transactions(0, log.log_end());
    let aborted = aborted.expect("an index that reads");
    let (mut other, _) = dir.open_log(neighbour(), config(), 0).expect("a fresh log");
    // No batch says which partition it is of: at the same offsets one passes for the other's.
    let moved = other.truncate_fully_and_start_at(NEIGHBOUR_START, 0);
    moved.expect("an empty log");
    other.unlink_deleted(i64::MAX).expect("unlinked");
    for number in 0..3_u8 {
        append(
            &mut other,
            batch(&[&[number; 90]], 1_000, Compression::None),
        );
    }
    other.flush().expect("a flush");
    let of_neighbour = read_all(&other.reader()).expect("a log that reads");
    let mut recovery_point = log.recovery_point();
    if clean {
        recovery_point = log.log_end();
        log.close().expect("a clean stop");
        other.close().expect("a clean stop");
        drop((log, other));
        dir.close(1).expect("a clean stop");
    } else {
        // Its records are on disk; that of the first partition is where it was stored before.
        let points = &dir.env().recovery_points;
        let put = points.put(&dir.env().disk, &neighbour(), other.recovery_point());
        put.expect("a checkpoint");
        drop((log, other, dir));
    }
    // Whatever is there is on disk; the damage comes after.
    let disk = sim.crash(&mut KeepAll);
    let contents: BTreeMap<String, Vec<u8>> = disk
        .contents(Path::new(ROOT))
        .into_iter()
        .map(|(name, content)| (format!("{ROOT}{name}"), content))
        .collect();
    let files: Vec<(String, u64)> = contents
        .iter()
        .map(|(name, content)| (name.clone(), content.len() as u64))
        .filter(|(_, len)| *len > 0)
        .collect();
    let bytes = files.iter().map(|(_, len)| len).sum();
    let places = contents
        .iter()
        .filter(|(name, _)| is_data_of_ours(name))
        .flat_map(|(name, content)| places_in(name, content))
        .collect();
    Original {
        recovery_point,
        name,
        disk,
        records,
        batches: stored,
        places,
        aborted,
        of_neighbour,
        contents,
        files,
        bytes,
    }
}

fn is_txn_index(name: &str) -> bool {
    name.contains("/t-0/") && name.ends_with(".txnindex")
}

fn is_data_of_ours(name: &str) -> bool {
    name.contains("/t-0/") && name.ends_with(".log")
}

fn places_in(file: &str, content: &[u8]) -> Vec<Stored> {
    let mut at = 0;
    let mut places = Vec::new();
    for batch in batches(content).map_while(Result::ok) {
        let header = batch.header();
        places.push(Stored {
            file: file.to_owned(),
            bytes: at..at + batch.bytes().len(),
            offsets: header.base_offset..header.next_offset(),
        });
        at += batch.bytes().len();
    }
    places
}

fn filled(mut builder: BatchBuilder, random: &mut Seeded, number: i64, records: i64) -> Vec<u8> {
    for index in 0..records {
        let size = 20 + random.pick(200) as usize;
        let value: Vec<u8> = (0..size).map(|_| random.pick(256) as u8).collect();
        let key = [number as u8, index as u8];
        let headers = [(&b"h"[..], Some(&value[..5])), (&b"none"[..], None)];
        // Time goes forth and back a little.
        let timestamp = 1_000 + number * 10 + (index * 7) % 25;
        builder
            .append(index, timestamp, Some(&key), Some(&value), headers)
            .expect("a record that fits");
    }
    builder.finish()
}

/// The records of a batch with a right checksum.
fn records_of(batch: &BatchView<'_>) -> Records {
    let mut scratch = Vec::new();
    let owned = |bytes: &[u8]| bytes.to_vec();
    batch
        .records(&mut scratch, 1 << 20)
        .expect("a right checksum")
        .map(|record| record.expect("a right checksum"))
        .map(|record| {
            let headers = record.headers.clone();
            let seen = Record {
                timestamp: record.timestamp,
                key: record.key.map(owned),
                value: record.value.map(owned),
                headers: headers
                    .map(|(key, value)| (key.to_vec(), value.map(owned)))
                    .collect(),
            };
            (record.offset, seen)
        })
        .collect()
}

/// Calls `take` with each batch from an offset on; the error that ended it, if one did.
fn for_each_batch(
    reader: &LogReader,
    from: i64,
    mut take: impl FnMut(&BatchView<'_>),
) -> Option<String> {
    let mut next = from;
    loop {
        let slice = match reader.read(next, 1 << 20, i64::MAX) {
            Ok(Some(slice)) => slice,
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        };
        let bytes = match slice.bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Some(error.to_string()),
        };
        for batch in batches(&bytes) {
            take(&batch.expect("a read returns whole batches"));
        }
        assert!(slice.next_offset > next, "a read must advance");
        next = slice.next_offset;
    }
}

/// One thing that happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { file: String, bit: u64 },
    Swap { a: (String, u64), b: (String, u64) },
    Truncate { file: String, len: u64 },
    Zero { file: String, from: u64, len: u64 },
}

impl Damage {
    fn choose(original: &Original, random: &mut Seeded) -> Damage {
        let (file, len) = original.pick(random);
        match random.pick(20) {
            0 => Damage::Truncate {
                len: random.pick(len),
                file,
            },
            1 => {
                let size = [BLOCK, 512][random.pick(2) as usize];
                Damage::Zero {
                    from: random.pick(len.div_ceil(size)) * size,
                    len: size,
                    file,
                }
            }
            2 | 3 => {
                let large: Vec<_> = original
                    .files
                    .iter()
                    .filter(|(_, len)| *len > BLOCK)
                    .collect();
                let (file, len) = large[random.pick(large.len() as u64) as usize];
                let blocks = len.div_ceil(BLOCK);
                let a = random.pick(blocks);
                let b = (a + 1 + random.pick(blocks - 1)) % blocks;
                Damage::Swap {
                    a: (file.clone(), a * BLOCK),
                    b: (file.clone(), b * BLOCK),
                }
            }
            4 | 5 => {
                let (other, other_len) = original.pick_but(&file, random);
                Damage::Swap {
                    a: (file, random.pick(len.div_ceil(BLOCK)) * BLOCK),
                    b: (other, random.pick(other_len.div_ceil(BLOCK)) * BLOCK),
                }
            }
            _ => Damage::Flip {
                bit: random.pick(len * 8),
                file,
            },
        }
    }

    fn files(&self) -> Vec<&str> {
        match self {
            Damage::Flip { file, .. }
            | Damage::Truncate { file, .. }
            | Damage::Zero { file, .. } => vec![file],
            Damage::Swap { a, b } => vec![&a.0, &b.0],
        }
    }

    fn touches(&self, part: impl Fn(&str) -> bool) -> bool {
        self.files().into_iter().any(part)
    }

    /// Whether it was done to a checkpoint: a number in it that became another is believed.
    fn is_of_numbers(&self) -> bool {
        self.touches(|file| file.ends_with("-offset-checkpoint"))
    }

    /// Whether it was done to a file of the directory itself.
    fn is_of_directory(&self) -> bool {
        self.touches(|file| !file.contains("/t-"))
    }

    /// Whether it was done to one of the small files of the partition, which refuse it.
    fn is_of_small_files(&self) -> bool {
        self.touches(|file| {
            file.contains("/t-0/")
                && (file.ends_with("leader-epoch-checkpoint")
                    || file.ends_with("partition.metadata"))
        })
    }

    /// Counts it if it changed anything.
    fn count(&self, tally: &mut Tally) {
        *match self {
            Damage::Flip { .. } => &mut tally.flips,
            Damage::Swap { a, b } if a.0 == b.0 => &mut tally.swaps_within_a_file,
            Damage::Swap { .. } => &mut tally.swaps_between_files,
            Damage::Truncate { .. } => &mut tally.truncations,
            Damage::Zero { .. } => &mut tally.zeroings,
        } += 1;
    }

    /// Whether anything is changed by it.
    fn apply(&self, disk: &SimDisk) -> bool {
        let open = |path: &str| {
            disk.open(Path::new(path), OpenMode::Existing)
                .expect("a file of the directory")
        };
        let block = |path: &str, at: u64| {
            let mut block = vec![0; BLOCK as usize];
            let read = open(path).read_at(&mut block, at).expect("a read");
            block.truncate(read);
            block
        };
        let put = |path: &str, at: u64, bytes: &[u8]| {
            open(path).write_at(bytes, at).expect("a write");
        };
        match self {
            Damage::Flip { file, bit } => {
                let mut byte = block(file, bit / 8);
                byte.truncate(1);
                // An earlier truncation may have cut it off.
                let Some(flipped) = byte.first_mut() else {
                    return false;
                };
                *flipped ^= 1 << (bit % 8);
                put(file, bit / 8, &byte);
                true
            }
            Damage::Swap { a, b } => {
                let (mut of_a, mut of_b) = (block(&a.0, a.1), block(&b.0, b.1));
                let len = of_a.len().min(of_b.len());
                of_a.truncate(len);
                of_b.truncate(len);
                put(&a.0, a.1, &of_b);
                put(&b.0, b.1, &of_a);
                of_a != of_b
            }
            Damage::Truncate { file, len } => {
                let file = open(file);
                let shorter = *len < file.size().expect("a size");
                file.set_len(*len).expect("a cut");
                shorter
            }
            Damage::Zero { file, from, len } => {
                let mut there = block(file, *from);
                there.truncate(*len as usize);
                open(file).zero(*from, *len).expect("zeros");
                there.iter().any(|byte| *byte != 0)
            }
        }
    }
}

impl Original {
    /// Any file, and data files as often as all others together.
    fn pick(&self, random: &mut Seeded) -> (String, u64) {
        self.pick_but("", random)
    }

    fn pick_but(&self, not: &str, random: &mut Seeded) -> (String, u64) {
        let data = |(name, _): &(String, u64)| name.ends_with(".log");
        let only_data = random.pick(2) == 0;
        let wanted = |file: &&(String, u64)| file.0 != not && (!only_data || data(file));
        let from: Vec<_> = self.files.iter().filter(wanted).collect();
        from[random.pick(from.len() as u64) as usize].clone()
    }

    /// The offsets of which a flipped bit costs none, wherever in the directory it is.
    fn spared_by(&self, file: &str, byte: usize) -> [Range<i64>; 2] {
        const NONE: Range<i64> = 0..0;
        const ALL: Range<i64> = 0..i64::MAX;
        if !file.contains("/t-") || file.ends_with("-checkpoint") || file.ends_with(".metadata") {
            // Directory and log may be refused, and a number is believed.
            return [NONE, NONE];
        }
        if !is_data_of_ours(file) {
            return [ALL, NONE];
        }
        let hit = |place: &&Stored| place.file == file && place.bytes.contains(&byte);
        let Some(hit) = self.places.iter().find(hit) else {
            // Behind the last batch.
            return [ALL, NONE];
        };
        let last = self.places.iter().rfind(|place| place.file == file);
        let behind = last.map_or(i64::MAX, |last| last.offsets.end);
        let is_clean = self.recovery_point == self.end();
        match is_clean {
            true => [0..hit.offsets.start, behind..i64::MAX],
            false => [0..hit.offsets.start, NONE],
        }
    }

    fn end(&self) -> i64 {
        self.places.last().map_or(0, |last| last.offsets.end)
    }

    /// How many batches of the partition are not as they were.
    fn changed_batches(&self, disk: &SimDisk) -> usize {
        let damaged: BTreeMap<String, Vec<u8>> = disk
            .contents(&Path::new(ROOT).join("t-0"))
            .into_iter()
            .map(|(name, content)| (format!("{ROOT}/t-0{name}"), content))
            .collect();
        let is_changed = |place: &&Stored| {
            let now = damaged
                .get(&place.file)
                .and_then(|now| now.get(place.bytes.clone()));
            now != self.contents[&place.file].get(place.bytes.clone())
        };
        self.places.iter().filter(is_changed).count()
    }

    /// The partition beside the damaged one.
    fn judge_neighbour(&self, dir: &LogDir) {
        let (log, report) = dir
            .open_log(neighbour(), config(), 0)
            .expect("its files are as they were");
        assert_eq!((report.cut, report.damage), (None, None));
        assert_eq!(report.warnings, []);
        let seen = read_all(&log.reader()).expect("its files are as they were");
        assert_eq!(seen, self.of_neighbour);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    states: u64,
    flips: u64,
    swaps_within_a_file: u64,
    swaps_between_files: u64,
    truncations: u64,
    zeroings: u64,
    refused_dir: u64,
    refused_log: u64,
    refused_reads: u64,
    records: u64,
    /// Batches handed out of which a consumer refuses the checksum; batches that were changed.
    bad_batches: u64,
    changed_batches: u64,
    /// States with damage to `.txnindex` only; those in which it was believed.
    only_txn_index: u64,
    believed_txn_index: u64,
    /// Flips in a state of their own.
    single_flips: u64,
}

/// Offsets that a warning says are missing.
fn missing(warning: &Warning) -> Range<i64> {
    match warning {
        Warning::GapBetweenSegments { ends, begins, .. } => *ends..*begins,
        Warning::BeginsBehindStart { first, .. } => 0..*first,
        Warning::StartBehindEnd { log_start, .. } => 0..*log_start,
        Warning::MissingDirectory { .. } => 0..i64::MAX,
        Warning::GrownSinceCleanStop { .. }
        | Warning::DamagedSwap { .. }
        | Warning::NoEpochs { .. } => 0..0,
    }
}

/// Offsets that a person or a reader was told of: they may be gone.
fn told_by(report: &RecoveryReport) -> Vec<Range<i64>> {
    let cut = report.cut.iter().map(|(first, _)| *first..i64::MAX);
    let damage = report.damage.iter().map(|damage| damage.offset..i64::MAX);
    let warned = report.warnings.iter().map(missing);
    cut.chain(damage).chain(warned).collect()
}

impl Original {
    /// Opens a damaged directory and reads all of it, in every way there is.
    fn judge(&self, disk: &SimDisk, damages: &[Damage], random: &mut Seeded, tally: &mut Tally) {
        tally.states += 1;
        let any = |is: fn(&Damage) -> bool| damages.iter().any(is);
        let single = match damages {
            [Damage::Flip { file, bit }] => Some((file, bit / 8)),
            _ => None,
        };
        tally.single_flips += u64::from(single.is_some());
        let dir = match open_dir(disk) {
            Ok(dir) => dir,
            Err(error) => {
                assert!(any(Damage::is_of_directory), "{error}");
                tally.refused_dir += 1;
                return;
            }
        };
        let of_neighbour = |damage: &Damage| damage.touches(|file| file.contains("/t-1/"));
        if !any(Damage::is_of_directory) && !any(of_neighbour) {
            self.judge_neighbour(&dir);
        }
        let (log, report) = match open_log(&dir) {
            Ok(opened) => opened,
            Err(error) => {
                let of_data = |damage: &Damage| damage.touches(is_data_of_ours);
                let may = any(Damage::is_of_small_files) || any(Damage::is_of_directory);
                assert!(may || damages.iter().any(of_data), "{error}");
                let spared = single.map(|(file, at)| self.spared_by(file, at as usize));
                let costs_all = |spared: [Range<i64>; 2]| spared.iter().all(Range::is_empty);
                assert!(spared.is_none_or(costs_all), "{error}");
                tally.refused_log += 1;
                return;
            }
        };
        let reader = log.reader();
        let (start, end) = (reader.log_start(), reader.log_end());
        let mut told = told_by(&report);
        told.push(self.recovery_point..i64::MAX);
        let mut bad = BTreeSet::new();
        let (mut seen, error) = self.consume(&reader, start, &mut told, &mut bad);
        let mut from = start;
        if error.is_some() {
            tally.refused_reads += 1;
            // What lies behind the damage, segment by segment and in between.
            while let Some(next) = self.records.range(from + 1..).nth(7) {
                from = *next.0;
                let (more, _) = self.consume(&reader, from, &mut told, &mut bad);
                seen.extend(more);
            }
        }
        told.extend(log.take_gaps_met().iter().map(missing));
        if !damages.iter().any(Damage::is_of_numbers) {
            let silent = |offset: &&i64| {
                let told = || told.iter().any(|told| told.contains(offset));
                !seen.contains_key(*offset) && !told() && !self.answers(&reader, **offset)
            };
            let lost: Vec<_> = self.records.keys().filter(silent).collect();
            assert!(
                lost.is_empty(),
                "{lost:?} are neither served nor told of: {start}..{end}, {report:?}"
            );
        }
        if end > start {
            let from = start + (random.pick(1 << 40) as i64) % (end - start);
            self.consume(&reader, from, &mut told, &mut bad);
        }
        tally.records += seen.len() as u64;
        let changed = match damages.iter().any(|damage| damage.touches(is_data_of_ours)) {
            true => self.changed_batches(disk),
            false => 0,
        };
        tally.changed_batches += changed as u64;
        tally.bad_batches += bad.len() as u64;
        assert!(bad.len() <= changed, "{} of {changed} changed", bad.len());
        let spared = single.map(|(file, at)| self.spared_by(file, at as usize));
        for spared in spared.into_iter().flatten() {
            for offset in self.records.range(spared).map(|(offset, _)| offset) {
                let served = seen.contains_key(offset) || self.serves(&reader, *offset);
                assert!(served, "offset {offset} is refused: {error:?}, {report:?}");
            }
        }

        for timestamp in [0, 1_000 + random.pick(600) as i64, 1_530] {
            let Ok(found) = reader.find_timestamp(timestamp, i64::MAX) else {
                continue;
            };
            let first = seen.iter().find(|(_, time)| **time >= timestamp);
            let first = first.map(|(offset, _)| *offset);
            match found {
                None => assert_eq!(first, None, "nothing found for {timestamp}"),
                Some(found) => {
                    let there = self
                        .records
                        .get(&found.offset)
                        .map(|record| record.timestamp);
                    assert_eq!(there, Some(found.timestamp), "found {found:?}");
                    assert!(found.timestamp >= timestamp, "found {found:?}");
                    assert!(
                        first.is_none_or(|first| first >= found.offset),
                        "found {found:?} for {timestamp}, {first:?} is before it"
                    );
                }
            }
        }
        if let Ok(Some(found)) = reader.max_timestamp(i64::MAX) {
            let there = self
                .records
                .get(&found.offset)
                .map(|record| record.timestamp);
            assert_eq!(there, Some(found.timestamp), "latest {found:?}");
        }
        let aborted = reader.aborted_transactions(start, end);
        let of_txn_index = |damage: &Damage| damage.files().iter().all(|file| is_txn_index(file));
        if damages.iter().all(of_txn_index) {
            tally.only_txn_index += 1;
            let aborted = aborted.expect("whatever is in it");
            tally.believed_txn_index += u64::from(aborted != self.aborted);
        }
    }

    /// Whether who asks for this record gets it.
    fn serves(&self, reader: &LogReader, offset: i64) -> bool {
        let Ok(Some(slice)) = reader.read(offset, 1, i64::MAX) else {
            return false;
        };
        let Ok(bytes) = slice.bytes() else {
            return false;
        };
        let first = batches(&bytes).next().and_then(Result::ok);
        first.is_some_and(|batch| {
            batch.verify_crc().is_ok()
                && records_of(&batch).get(&offset) == Some(&self.records[&offset])
        })
    }

    /// Whether who asks for this record gets it, or an error, or a batch with a bad checksum.
    fn answers(&self, reader: &LogReader, offset: i64) -> bool {
        let slice = match reader.read(offset, 1, i64::MAX) {
            Err(_) => return true,
            Ok(None) => return false,
            Ok(Some(slice)) => slice,
        };
        let Ok(bytes) = slice.bytes() else {
            return true;
        };
        let batch = batches(&bytes).next().expect("a read returns a batch");
        let batch = batch.expect("a read returns whole batches");
        batch.verify_crc().is_err()
            || records_of(&batch).get(&offset) == Some(&self.records[&offset])
    }

    /// The offsets and timestamps a consumer accepts from an offset on, and the first
    /// error, if any; each record is checked. A batch with a bad checksum is skipped.
    fn consume(
        &self,
        reader: &LogReader,
        from: i64,
        told: &mut Vec<Range<i64>>,
        bad: &mut BTreeSet<Vec<u8>>,
    ) -> (BTreeMap<i64, i64>, Option<String>) {
        let mut seen = BTreeMap::new();
        let mut next = from;
        let mut bad_from: Option<i64> = None;
        let error = for_each_batch(reader, from, |batch| {
            let header = batch.header();
            let stored = self.batches.get(&header.base_offset);
            if stored.is_none_or(|stored| stored != batch.bytes()) {
                if batch.verify_crc().is_err() {
                    bad.insert(batch.bytes()[..HEADER_BYTES].to_vec());
                    // Its own offsets may be what is wrong: up to the next good batch.
                    bad_from = bad_from.or(Some(next));
                    return;
                }
                for (offset, record) in records_of(batch) {
                    let expected = self.records.get(&offset);
                    assert_eq!(Some(&record), expected, "offset {offset}");
                }
            }
            told.extend(bad_from.take().map(|bad| bad..header.base_offset));
            next = header.next_offset();
            for (offset, record) in self.records.range(header.base_offset..header.next_offset()) {
                let again = *offset >= from && seen.insert(*offset, record.timestamp).is_some();
                assert!(!again, "offset {offset} twice");
            }
        });
        told.extend(bad_from.map(|bad| bad..i64::MAX));
        (seen, error)
    }
}

/// Says which state it was when a check fails.
struct Context<'a>(&'a dyn Fn() -> String);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "in {}", (self.0)());
        }
    }
}

fn judge_state(original: &Original, seed: u64, state: u64, tally: &mut Tally) {
    let mut random = Seeded(seed.wrapping_mul(0x1_0000_0001).wrapping_add(state << 20));
    let damages: Vec<Damage> = (0..=random.pick(4))
        .map(|_| Damage::choose(original, &mut random))
        .collect();
    let what = || {
        format!(
            "{:?}, seed {seed}, state {state}: {damages:?}",
            original.name
        )
    };
    judge_damaged(original, &damages, &mut random, tally, &what);
}

fn judge_damaged(
    original: &Original,
    damages: &[Damage],
    random: &mut Seeded,
    tally: &mut Tally,
    what: &dyn Fn() -> String,
) {
    let disk = original.disk.snapshot();
    for damage in damages {
        if damage.apply(&disk) {
            damage.count(tally);
        }
    }
    let context = Context(what);
    let used = allocation_counter::measure(|| original.judge(&disk, damages, random, tally));
    // The engine's share is judged file by file by the fuzz bodies; this is disk and all.
    let bound = 64 * original.bytes + (1 << 20);
    assert!(used.bytes_max <= bound, "{} bytes held", used.bytes_max);
    drop(context);
}

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}

/// Of the two directories together more than a hundred thousand bits are flipped, and ten thousand
/// blocks swapped within a file and between files each.
fn damage_at_random(original: &Original) {
    let states = env_number("CORRUPTION_STATES", 30_000);
    let seed = env_number("CORRUPTION_SEED", 1);
    let mut total = Tally::default();
    judge_state_undamaged(original);
    for state in 0..states {
        judge_state(original, seed, state, &mut total);
    }
    // Straight to the descriptor: a passing test's output is not shown otherwise.
    let _ = writeln!(
        std::io::stderr(),
        "corruption, {}: {} files, {} bytes, seed {seed}: {total:?}",
        original.name,
        original.files.len(),
        original.bytes,
    );
    assert_eq!(total.states, states);
    if states >= 1_000 {
        assert!(total.flips * 10 >= states * 17);
        assert!(total.swaps_within_a_file * 6 >= states);
        assert!(total.swaps_between_files * 6 >= states);
        assert!(total.truncations >= states / 20);
        assert!(total.zeroings >= states / 20);
        assert!(total.only_txn_index > 0 && total.believed_txn_index * 20 <= total.only_txn_index);
        // What is noticed is served nevertheless, and batches are handed out as they are.
        assert!(total.bad_batches > 0 && total.bad_batches < total.changed_batches);
        assert!(total.records > states * original.records.len() as u64 / 2);
    }
}

fn judge_state_undamaged(original: &Original) {
    let mut tally = Tally::default();
    original.judge(&original.disk.snapshot(), &[], &mut Seeded(1), &mut tally);
    assert_eq!(tally.records, original.records.len() as u64, "all is there");
    assert_eq!((tally.only_txn_index, tally.believed_txn_index), (1, 0));
}

#[test]
fn damage_after_a_clean_stop_never_serves_a_wrong_record() {
    damage_at_random(&original("a clean stop", true));
}

#[test]
fn damage_after_a_crash_never_serves_a_wrong_record() {
    damage_at_random(&original("a crash", false));
}

/// States that failed before; a new one goes here with what was wrong.
#[test]
fn states_that_failed_before_serve_no_wrong_record() {
    let originals = [original("a clean stop", true), original("a crash", false)];
    let data = |base: i64| format!("{ROOT}/t-0/{base:020}.log");
    let flip = |base, bit| Damage::Flip {
        file: data(base),
        bit,
    };
    let swap = |a, b| Damage::Swap { a, b };
    let first_half_zeroed = || {
        let swapped = swap((data(111), BLOCK), (data(0), 0));
        let (file, from, len) = (data(0), BLOCK, 512);
        vec![swapped, Damage::Zero { file, from, len }]
    };
    let known = [
        // Blocks swapped between segments: a lookup by timestamp skipped records.
        (0, vec![swap((data(0), 0), (data(54), 0))]),
        (1, vec![swap((data(0), 0), (data(111), 0))]),
        // A base offset 2^31 away from its segment: an index entry overflowed.
        (1, vec![flip(0, 6_476), flip(54, 54_054)]),
        // The base offset of the last batch, after a clean stop: its records moved.
        (0, vec![flip(111, 48_260)]),
        // A zeroed block inside a segment: what lay behind it was passed over.
        (0, first_half_zeroed()),
        (1, first_half_zeroed()),
    ];
    for (which, damages) in known {
        let original: &Original = &originals[which];
        for seed in 0..20 {
            let (mut random, mut tally) = (Seeded(seed), Tally::default());
            let what = || format!("{:?}: {damages:?}", original.name);
            judge_damaged(original, &damages, &mut random, &mut tally, &what);
        }
    }
}

/// A log of three batches left by a crash, the first two below the stored recovery
/// point, with a flipped bit in batch number `broken`.
fn broken_batch(broken: usize) -> (SimDisk, u64, Vec<u8>) {
    let sim = SimDisk::new();
    Disk::new(sim.clone())
        .create_dir(Path::new(ROOT))
        .expect("a fresh disk");
    let dir = open_dir(&sim).expect("a fresh directory");
    let (mut log, _) = open_log(&dir).expect("a fresh log");
    let mut starts = Vec::new();
    for number in 0..3_u8 {
        starts.push(log.reader().size());
        let bytes = batch(&[&[number; 30], &[number; 40]], 1_000, Compression::None);
        append(&mut log, bytes);
        if number == 1 {
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
        }
    }
    drop((log, dir));
    let damage = Damage::Flip {
        file: format!("{ROOT}/t-0/{:020}.log", 0),
        bit: (starts[broken] + 80) * 8,
    };
    damage.apply(&sim);
    let content = data_file(&sim);
    (sim, starts[broken], content)
}

fn data_file(sim: &SimDisk) -> Vec<u8> {
    let name = format!("/t-0/{:020}.log", 0);
    sim.contents(Path::new(ROOT))
        .remove(&name)
        .expect("a segment")
}

#[test]
fn a_bad_batch_past_the_recovery_point_is_a_torn_tail_and_is_cut() {
    let (sim, position, content) = broken_batch(2);
    let dir = open_dir(&sim).expect("a directory of ours");
    let (mut log, report) = dir.open_log(partition(), config(), 0).expect("a log");
    let (offset, why) = report.cut.expect("a cut");
    assert_eq!((offset, report.damage), (4, None));
    assert!(why.contains("crc") || why.contains("checksum"), "{why}");
    assert_eq!(data_file(&sim), content[..position as usize]);
    let next = append(&mut log, batch(&[b"on"], 1_000, Compression::None));
    assert_eq!(next, 4, "appends go on");
}

#[test]
fn a_bad_batch_below_the_recovery_point_is_damage_and_is_never_cut() {
    for (broken, offset) in [(0, 0), (1, 2)] {
        let (sim, position, content) = broken_batch(broken);
        for opening in 0..3 {
            let dir = open_dir(&sim).expect("a directory of ours");
            let (mut log, report) = dir.open_log(partition(), config(), 0).expect("a log");
            let damage = report.damage.expect("damage");
            let text = format!(
                "/data/t-0/00000000000000000000.log is damaged at position {position}: offset \
                 {offset} was on disk (recovery point 4), found {}; nothing was cut; restore the \
                 partition from a replica or a backup; without either, to go on without offset \
                 {offset} and all that follows, stop the broker and set the partition's recovery \
                 point to {offset} in /data/recovery-point-offset-checkpoint",
                damage.found
            );
            assert_eq!(damage.to_string(), text, "opening {opening}");
            assert_eq!(report.cut, None);

            let readable = read_all(&log.reader()).expect("what lies below reads");
            assert_eq!(readable.len() as i64, offset);
            let mut bytes = batch(&[b"no"], 1_000, Compression::None);
            let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
            let refused = log.append(checked, 0, 0).expect_err("no appends");
            assert_eq!(
                refused.to_string(),
                format!("the log takes no appends: {text}")
            );
            log.flush().expect("nothing to flush");
            // Once by a crash, then by clean stops.
            if opening > 0 {
                log.close().expect("a clean stop");
                drop(log);
                dir.close(1).expect("a clean stop");
            }
            assert_eq!(data_file(&sim), content, "opening {opening}");
        }
    }
}

/// What the text of the damage says helps where there is neither replica nor backup.
#[test]
fn a_damaged_log_goes_on_without_what_follows_once_its_recovery_point_is_set_to_the_damage() {
    let (sim, _, _) = broken_batch(1);
    {
        let dir = open_dir(&sim).expect("a directory of ours");
        let (_, report) = dir.open_log(partition(), config(), 0).expect("a log");
        let said = report.damage.expect("damage").to_string();
        let advice =
            "set the partition's recovery point to 2 in /data/recovery-point-offset-checkpoint";
        assert!(said.ends_with(advice), "{said}");
    }
    let path = Path::new(ROOT).join("recovery-point-offset-checkpoint");
    let file = sim.open(&path, OpenMode::Truncate).expect("a file");
    file.write_at(b"0\n1\nt 0 2\n", 0).expect("a write");
    let dir = open_dir(&sim).expect("a directory of ours");
    let (mut log, report) = dir.open_log(partition(), config(), 0).expect("a log");
    assert_eq!(report.damage, None);
    assert_eq!(report.cut.map(|(offset, _)| offset), Some(2));
    let next = append(&mut log, batch(&[b"on"], 1_000, Compression::None));
    assert_eq!(next, 2);
}

/// One read that asks for all gets what lies before the damage; the next is told of it.
#[test]
fn readers_get_all_before_a_damaged_batch_however_much_they_ask_for() {
    let (sim, _, _) = broken_batch(2);
    let dir = open_dir(&sim).expect("a directory of ours");
    let (mut log, _) = dir.open_log(partition(), config(), 0).expect("a log");
    let position = log.reader().size();
    append(&mut log, batch(&[b"after"], 1_000, Compression::None));
    // Bits flip under a running process: the magic byte, which a walk looks at.
    let damage = Damage::Flip {
        file: format!("{ROOT}/t-0/{:020}.log", 0),
        bit: (position + 16) * 8 + 3,
    };
    damage.apply(&sim);
    let reader = log.reader();
    let slice = reader.read(0, 1 << 20, i64::MAX).expect("a read");
    assert_eq!(slice.map(|slice| slice.next_offset), Some(4));
    let told = reader.read(4, 1 << 20, i64::MAX).expect_err("damage");
    assert!(
        told.to_string().contains("is damaged at position"),
        "{told}"
    );
}

/// Bytes of a file in the partition.
fn bytes_of(sim: &SimDisk, name: &str) -> Vec<u8> {
    let all = sim.contents(Path::new(ROOT));
    all.get(&format!("/t-0/{name}")).expect("a file").clone()
}

/// Every entry of every index points at the start of another batch, or into one: a lookup
/// that believed it would begin behind what it looks for, or in the middle of something.
#[test]
fn an_index_entry_that_points_at_another_batch_hides_no_record() {
    let sim = SimDisk::new();
    Disk::new(sim.clone())
        .create_dir(Path::new(ROOT))
        .expect("a fresh disk");
    let dir = open_dir(&sim).expect("a fresh directory");
    let (mut log, _) = open_log(&dir).expect("a fresh log");
    for number in 0..60_i64 {
        let value = [number as u8; 200];
        append(
            &mut log,
            batch(&[&value], 1_000 + number, Compression::None),
        );
    }
    let expected = read_all(&log.reader()).expect("a log that reads");
    assert_eq!(expected.len(), 60);
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    let indexes: Vec<String> = sim
        .contents(Path::new(ROOT))
        .into_keys()
        .filter(|name| name.ends_with(".index"))
        .collect();
    assert_eq!(indexes.len(), 2, "a sealed segment and the active one");
    for shift in [1, 2, 7] {
        let sim = sim.snapshot();
        for index in &indexes {
            let name = index
                .strip_prefix("/t-0/")
                .expect("a file of the partition");
            let right = bytes_of(&sim, name);
            let entries = right.as_chunks::<8>().0;
            assert!(entries.len() > 5);
            let positions: Vec<u32> = entries
                .iter()
                .map(|[_, _, _, _, rest @ ..]| u32::from_be_bytes(*rest))
                .collect();
            let mut wrong = Vec::new();
            for (number, entry) in entries.iter().enumerate() {
                let position = match shift {
                    // Into the batch; else where a later one starts.
                    7 => positions[number] + 7,
                    _ => positions[(number + shift).min(positions.len() - 1)],
                };
                wrong.extend_from_slice(&entry[..4]);
                wrong.extend_from_slice(&position.to_be_bytes());
            }
            let path = Path::new(ROOT).join("t-0").join(name);
            let file = sim.open(&path, OpenMode::Truncate).expect("a file");
            file.write_at(&wrong, 0).expect("a write");
        }
        let dir = open_dir(&sim).expect("a directory of ours");
        let (log, _) = open_log(&dir).expect("a log that opens");
        let reader = log.reader();
        for offset in 0..60 {
            let slice = reader.read(offset, 1, i64::MAX).expect("a read");
            let slice = slice.expect("a record");
            assert_eq!((slice.base_offset, slice.next_offset), (offset, offset + 1));
        }
        assert_eq!(read_all(&reader).expect("a log that reads"), expected);
    }
}
