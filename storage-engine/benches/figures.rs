//! `cargo bench -p reka-storage`: the engine's figures, one line each:
//!
//! ```text
//! figure NAME VALUE UNIT [ratio R]
//! ```
//!
//! `ratio` compares with something plain, measured in turns with ours in the same run: of
//! appends with a `pwrite` of the same bytes into a file that was preallocated before, by CPU time of
//! the thread (ours preallocates as it goes); of slices with a walk over the lengths of the same batches, which memory bounds; of an
//! open with a look at the same names and the last bytes of each log.
//! Names given as arguments choose figures: `cargo bench -p reka-storage -- append`.
//! Files go below `FIGURES_DIR` (the build folder by default) and are removed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reka_records::{BatchBuilder, Compression};
use reka_storage::compaction::CompactionLimits;
use reka_storage::env::Env;
use reka_storage::fs::Disk;
use reka_storage::log::OpenOptions;
use reka_storage::log_dir::{Identity, LogDir, ToOpen};
use reka_storage::map_budget::MapBudget;
use reka_storage::{CheckedBatches, Log, LogConfig, TopicPartition};

const MIB: usize = 1 << 20;
const ROUNDS: usize = 7;

fn main() {
    // Cargo passes `--bench`; anything else names a figure.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let chosen =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    type Bench = fn(&Path);
    let benches: [(&str, Bench); 5] = [
        ("append", append),
        ("read", read),
        ("compaction", compaction),
        ("open", open),
        ("recovery", recovery),
    ];
    for (name, bench) in benches {
        if chosen(name) {
            let dir = Scratch::new(name);
            bench(&dir.0);
        }
    }
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let base = std::env::var_os("FIGURES_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let dir = base.join(format!("figures-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder for the figures");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.2} {unit}");
}

fn figure_with_ratio(name: &str, value: f64, unit: &str, ratio: f64) {
    println!("figure {name} {value:.2} {unit} ratio {ratio:.2}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn gb_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e9 / time.as_secs_f64()
}

/// A batch of about `bytes` bytes of 100-byte records.
fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).compression(Compression::None);
    let value = [7_u8; 90];
    let mut offset = 0;
    while builder.uncompressed_size() + 110 < bytes {
        builder
            .append(
                offset,
                1_000,
                None,
                Some(&value),
                std::iter::empty::<(&[u8], Option<&[u8]>)>(),
            )
            .expect("a record that fits");
        offset += 1;
    }
    let rest = bytes.saturating_sub(builder.uncompressed_size() + 75);
    builder
        .append(
            offset,
            1_000,
            None,
            Some(&vec![7; rest]),
            std::iter::empty::<(&[u8], Option<&[u8]>)>(),
        )
        .expect("a record that fits");
    builder.finish()
}

fn log(dir: &Path, name: &str, config: LogConfig) -> Log {
    let env = Env::new(Disk::real(), dir);
    let options = OpenOptions {
        config,
        topic_id: None,
        clean: false,
        now_ms: 0,
    };
    Log::open(&env, TopicPartition::new(name, 0), options)
        .expect("a new log")
        .0
}

fn append_batch(log: &mut Log, bytes: &mut [u8]) {
    let checked = CheckedBatches::check(bytes).expect("a valid batch");
    log.append(checked, 0, 1_000).expect("room on the disk");
}

/// Bytes appended per round and size.
const APPEND_BYTES: usize = 512 * MIB;

fn append(dir: &Path) {
    for (name, size) in [("1mib", MIB), ("16kib", 16 << 10), ("1kib", 1 << 10)] {
        let template = batch(size);
        let count = APPEND_BYTES / template.len();
        let bytes = (count * template.len()) as u64;
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (engine, baseline) = if round % 2 == 0 {
                let engine = append_to_log(dir, &template, count);
                (engine, append_plain(dir, &template, count))
            } else {
                let baseline = append_plain(dir, &template, count);
                (append_to_log(dir, &template, count), baseline)
            };
            // The first round warms the machine's memory.
            if round > 0 {
                ours.push(gb_per_second(bytes, engine));
                plain.push(gb_per_second(bytes, baseline));
            }
        }
        let ratios = ours
            .iter()
            .zip(&plain)
            .map(|(ours, plain)| ours / plain)
            .collect();
        figure_with_ratio(
            &format!("append_{name}"),
            median(ours),
            "GB/cpu-s",
            median(ratios),
        );
    }
}

fn append_to_log(dir: &Path, template: &[u8], count: usize) -> Duration {
    let mut log = log(dir, "append", LogConfig::default());
    let mut buffer = template.to_vec();
    let start = cpu();
    for _ in 0..count {
        append_batch(&mut log, &mut buffer);
    }
    let took = cpu() - start;
    let path = log.dir().to_owned();
    drop(log);
    std::fs::remove_dir_all(path).expect("a folder of ours");
    took
}

fn append_plain(dir: &Path, template: &[u8], count: usize) -> Duration {
    let path = dir.join("plain");
    let file = File::create(&path).expect("a new file");
    let total = (template.len() * count) as u64;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total)
        .expect("room on the disk");
    let start = cpu();
    for index in 0..count {
        file.write_all_at(template, (index * template.len()) as u64)
            .expect("room on the disk");
    }
    let took = cpu() - start;
    drop(file);
    std::fs::remove_file(path).expect("a file of ours");
    took
}

fn read(dir: &Path) {
    let mut log = log(dir, "read", LogConfig::default());
    for (name, size) in [("1mib", MIB), ("16kib", 16 << 10), ("1kib", 1 << 10)] {
        log.truncate_fully_and_start_at(0, 0)
            .expect("a log of ours");
        log.unlink_deleted(i64::MAX).expect("a log of ours");
        let mut template = batch(size);
        for _ in 0..256 * MIB / template.len() {
            append_batch(&mut log, &mut template);
        }
        let reader = log.reader();
        let all = reader.read(0, u64::MAX, i64::MAX).expect("a log of ours");
        let all = all.expect("batches").bytes().expect("a mapped segment");
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let plain = walk_plainly(&all);
            let start = Instant::now();
            let (mut next, mut bytes) = (0, 0);
            while let Some(slice) = reader
                .read(next, MIB as u64, i64::MAX)
                .expect("a log of ours")
            {
                bytes +=
                    std::hint::black_box(slice.bytes().expect("a mapped segment")).len() as u64;
                next = slice.next_offset;
            }
            let took = start.elapsed();
            if round > 0 {
                rates.push(gb_per_second(bytes, took));
                ratios.push(plain.as_secs_f64() / took.as_secs_f64());
            }
        }
        figure_with_ratio(
            &format!("read_slices_of_{name}_batches"),
            median(rates),
            "GB/s",
            median(ratios),
        );
        drop(all);

        let end = log.log_end() as u64;
        let mut random = 1_u64;
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let lookups = 200_000;
            let start = Instant::now();
            for _ in 0..lookups {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let offset = ((random >> 33) % end) as i64;
                std::hint::black_box(reader.read(offset, 1, i64::MAX).expect("a log of ours"));
            }
            if round > 0 {
                times.push(start.elapsed().as_nanos() as f64 / f64::from(lookups));
            }
        }
        figure(&format!("lookup_in_{name}_batches"), median(times), "ns");
    }
}

/// From batch to batch by nothing but their lengths: what memory allows whoever looks at each.
fn walk_plainly(batches: &[u8]) -> Duration {
    let start = Instant::now();
    let mut at = 0;
    while let Some(length) = batches.get(at + 8..).and_then(|rest| rest.first_chunk()) {
        at += 12 + i32::from_be_bytes(*length) as usize;
    }
    assert_eq!(std::hint::black_box(at), batches.len());
    start.elapsed()
}

fn compaction(dir: &Path) {
    for (name, value_bytes, total) in [("1kib", 1_024, 512 * MIB), ("100b", 100, 256 * MIB)] {
        let config = LogConfig {
            compact: true,
            delete: false,
            segment_bytes: 64 << 20,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let mut rates = Vec::new();
        for _ in 0..3 {
            let mut log = log(dir, "compact", config.clone());
            let records = total / value_bytes;
            fill_keyed(&mut log, records, records / 2, value_bytes);
            log.roll(0).expect("a roll");
            log.flush().expect("a flush");
            let plan = log
                .plan_compaction(i64::MAX, 10_000)
                .expect("a plan")
                .expect("dirty segments");
            let start = cpu();
            let compacted = plan
                .run(&CompactionLimits::default(), 10_000)
                .expect("a pass");
            let took = cpu() - start;
            rates.push(compacted.bytes_before as f64 / 1e6 / took.as_secs_f64());
            assert!(
                compacted.bytes_after < compacted.bytes_before * 6 / 10,
                "half the keys are duplicates"
            );
            log.finish_compaction(compacted, 0).expect("a swap");
            let path = log.dir().to_owned();
            drop(log);
            std::fs::remove_dir_all(path).expect("a folder of ours");
        }
        figure(
            &format!("compaction_{name}_records"),
            median(rates),
            "MB/cpu-s",
        );
    }
}

/// Records in batches of 16 KiB; the keys repeat after `keys` records.
fn fill_keyed(log: &mut Log, records: usize, keys: usize, value_bytes: usize) {
    let value = vec![7; value_bytes];
    let mut written = 0;
    while written < records {
        let mut builder = BatchBuilder::new(0);
        let mut offset = 0;
        while builder.uncompressed_size() < 16 << 10 && written < records {
            let key = (written % keys).to_be_bytes();
            builder
                .append(
                    offset,
                    1_000,
                    Some(&key),
                    Some(&value),
                    std::iter::empty::<(&[u8], Option<&[u8]>)>(),
                )
                .expect("a record that fits");
            offset += 1;
            written += 1;
        }
        append_batch(log, &mut builder.finish());
    }
}

fn open(dir: &Path) {
    const PARTITIONS: i32 = 10_000;
    let identity = Identity {
        cluster_id: "figures".into(),
        node_id: 1,
        directory_id: None,
    };
    let take = || {
        LogDir::open(
            Disk::real(),
            dir,
            identity.clone(),
            Arc::new(MapBudget::new(16_000)),
        )
        .expect("a directory of ours")
    };
    let partitions = || {
        (0..PARTITIONS)
            .map(|n| ToOpen {
                partition: TopicPartition::new("topic", n),
                topic_id: None,
                config: LogConfig::default(),
            })
            .collect::<Vec<_>>()
    };
    let log_dir = take();
    let mut template = batch(1 << 10);
    let start = Instant::now();
    let mut logs = Vec::new();
    for (_, opened) in log_dir.open_logs(partitions(), 2, 0) {
        logs.push(opened.expect("a new log").0);
    }
    figure(
        "create_10000_partitions",
        start.elapsed().as_secs_f64(),
        "s",
    );
    for log in &mut logs {
        append_batch(log, &mut template);
    }
    let start = Instant::now();
    log_dir
        .close_logs(&mut logs.iter_mut().collect::<Vec<_>>())
        .expect("a clean stop");
    figure("close_10000_partitions", start.elapsed().as_secs_f64(), "s");
    drop(logs);
    log_dir.close(1).expect("a clean stop");

    let plain = look_plainly(dir, PARTITIONS);
    let start = Instant::now();
    // The lock, whose it is, the checkpoints and the list of what is there count.
    let log_dir = take();
    let found = log_dir.list().expect("a directory of ours").partitions;
    let opened = log_dir.open_logs(partitions(), 2, 0);
    let took = start.elapsed();
    assert_eq!(found.len(), PARTITIONS as usize);
    for (_, opened) in opened {
        let (_, report) = opened.expect("a log of ours");
        assert_eq!(report.scanned_bytes, 0);
    }
    figure_with_ratio(
        "open_10000_clean_partitions",
        took.as_secs_f64(),
        "s",
        plain.as_secs_f64() / took.as_secs_f64(),
    );
    figure("open_mappings", log_dir.env().maps.mapped() as f64, "maps");

    // Again on this thread alone, where every byte from the heap is counted.
    let mut held = Vec::new();
    let counted = allocation_counter::measure(|| {
        for (_, opened) in log_dir.open_logs(partitions(), 1, 0) {
            held.push(opened.expect("a log of ours").0);
        }
    });
    let each = counted.bytes_current as f64 / f64::from(PARTITIONS) / 1024.0;
    figure("open_memory_per_partition", each, "KiB");
}

/// Lists the directory, and each partition with the sizes of its files, and reads the last bytes of its
/// data, on two threads: less cannot tell where a log ends.
fn look_plainly(dir: &Path, partitions: i32) -> Duration {
    let look = |partition: i32| {
        let entries = std::fs::read_dir(dir.join(format!("topic-{partition}")));
        for entry in entries.expect("a partition of ours") {
            let entry = entry.expect("a name");
            let size = entry.metadata().expect("a file").len();
            let path = entry.path();
            if path.extension().is_some_and(|kind| kind == "log") {
                let file = File::open(path).expect("a data file");
                let read = file.read_at(&mut [0; 61], size.saturating_sub(61));
                assert_eq!(read.expect("a readable file"), 61);
            }
        }
    };
    let start = Instant::now();
    let names = std::fs::read_dir(dir).expect("a directory of ours").count();
    assert!(names >= partitions as usize);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..partitions / 2).for_each(look));
        (partitions / 2..partitions).for_each(look);
    });
    start.elapsed()
}

fn recovery(dir: &Path) {
    let gib =
        std::env::var("FIGURES_RECOVERY_GIB").map_or(10, |text| text.parse().expect("a number"));
    let env = Env::new(Disk::real(), dir);
    let config = LogConfig::default();
    let mut log = log(dir, "recovery", config.clone());
    let mut template = batch(16 << 10);
    for _ in 0..gib * 1024 * MIB / template.len() {
        append_batch(&mut log, &mut template);
    }
    let end = log.log_end();
    drop(log);
    let mut rates = Vec::new();
    for _ in 0..3 {
        let start = cpu();
        let options = OpenOptions {
            config: config.clone(),
            topic_id: None,
            clean: false,
            now_ms: 0,
        };
        let (log, report) =
            Log::open(&env, TopicPartition::new("recovery", 0), options).expect("a log of ours");
        assert_eq!(
            (log.log_end(), report.cut, report.damage),
            (end, None, None)
        );
        rates
            .push(report.scanned_bytes as f64 / f64::from(1 << 30) / (cpu() - start).as_secs_f64());
    }
    figure("recovery_scan", median(rates), "GiB/cpu-s");
}
