//! The engine on the operating system's file system.
//!
//! The simulated disk knows no mappings that outlive a name, no file descriptors and no
//! threads; here are the promises about those. `REAL_DISK_SEED` changes the random
//! choices; it is printed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reka_records::{Compression, batches};
use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::sim::{Choice as _, Seeded};
use reka_storage::fs::{Disk, OpenMode, RawMapping};
use reka_storage::log_dir::LogDirError;
use reka_storage::map_budget::MapBudget;
use reka_storage::{
    AppendError, CheckedBatches, Log, LogConfig, LogDir, LogReader, LogSlice, ReadError,
};

use crate::small_disk::SmallDisk;
use crate::support::{append, batch, identity, partition, read_all};

fn open_dir(dir: &Path, maps: usize) -> LogDir {
    let maps = Arc::new(MapBudget::new(maps));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match LogDir::open(Disk::real(), dir, identity(), maps.clone()) {
            // A child that another test forks has our lock file until it is another program.
            Err(LogDirError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::yield_now();
            }
            opened => return opened.expect("a directory of ours"),
        }
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 20_000,
        index_interval_bytes: 500,
        segment_index_bytes: 4_096,
        file_delete_delay_ms: 0,
        delete_retention_ms: 0,
        retention_ms: -1,
        compact: true,
        ..LogConfig::default()
    }
}

fn open_log(dir: &LogDir) -> Log {
    let (log, report) = dir
        .open_log(partition(), config(), 0)
        .expect("a log that opens");
    assert_eq!((report.cut, report.damage), (None, None));
    log
}

/// One batch of three records with a few keys.
fn add(log: &mut Log, number: i64) {
    let value = |index: i64| vec![((number + index) % 7) as u8; 100 + index as usize];
    let values: Vec<Vec<u8>> = (0..3).map(value).collect();
    let refs: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    append(log, batch(&refs, 1_000 + number, Compression::None));
}

fn compact(log: &mut Log) {
    log.flush().expect("a flush");
    let end = log.log_end();
    if let Some(plan) = log.plan_compaction(end, 1_000_000).expect("a plan") {
        let limits = CompactionLimits {
            map_bytes: 1 << 16,
            ..CompactionLimits::default()
        };
        let compacted = plan.run(&limits, 1_000_000).expect("a compaction");
        log.finish_compaction(compacted, 0).expect("a swap");
    }
}

fn raise_start(log: &mut Log, to: i64) {
    log.advance_log_start(to).expect("a start inside the log");
    let end = log.log_end();
    log.apply_retention(end, 0).expect("a retention pass");
    log.unlink_deleted(i64::MAX).expect("unlinked files");
}

/// Whole batches, valid and in order.
fn check_batches(bytes: &[u8]) {
    let mut next = 0;
    for batch in batches(bytes) {
        let batch = batch.expect("whole batches");
        batch.verify_crc().expect("a right checksum");
        assert!(batch.header().base_offset >= next, "in order");
        next = batch.header().next_offset();
    }
}

#[test]
fn a_log_on_a_real_disk_survives_clean_and_unclean_restarts() {
    let temp = tempfile::tempdir().expect("a place for files");
    let mut dir = open_dir(temp.path(), 100);
    let mut log = open_log(&dir);
    for number in 0..300 {
        add(&mut log, number);
    }
    assert!(log.reader().segment_count() > 3);
    log.truncate_to(700, 0).expect("a truncation");
    raise_start(&mut log, 100);
    compact(&mut log);
    for round in 0..4 {
        let seen = read_all(&log.reader()).expect("a log that reads");
        let ends = (log.log_start(), log.log_end());
        if round % 2 == 0 {
            log.close().expect("a clean stop");
            drop(log);
            dir.close(1).expect("a clean stop");
        } else {
            // The process dies; what it wrote is still in the cache.
            dir.checkpoint().expect("a checkpoint");
            drop((log, dir));
        }
        dir = open_dir(temp.path(), 100);
        assert_eq!(dir.was_clean(), round % 2 == 0);
        log = open_log(&dir);
        assert_eq!((log.log_start(), log.log_end()), ends);
        assert_eq!(read_all(&log.reader()).as_ref(), Ok(&seen));
        add(&mut log, 1_000 + round);
    }
}

#[test]
fn slices_stay_readable_after_roll_truncation_deletion_compaction_and_close() {
    let temp = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(temp.path(), 2);
    let mut log = open_log(&dir);
    for number in 0..300 {
        add(&mut log, number);
    }
    let slice_at = |log: &Log, offset| {
        let slice = log.reader().read(offset, 5_000, i64::MAX);
        let slice = slice.expect("a read").expect("records");
        slice.bytes().expect("a mapping")
    };
    let held: Vec<_> = (0..890).step_by(90).map(|at| slice_at(&log, at)).collect();
    let copies: Vec<Vec<u8>> = held.iter().map(|slice| slice.to_vec()).collect();
    let unchanged = || {
        held.iter()
            .zip(&copies)
            .all(|(slice, copy)| slice[..] == copy[..])
    };
    log.roll(0).expect("a roll");
    assert!(unchanged(), "after a roll");
    compact(&mut log);
    log.unlink_deleted(i64::MAX).expect("unlinked files");
    assert!(unchanged(), "after a compaction");
    raise_start(&mut log, 200);
    assert!(unchanged(), "after a deletion");

    let tail = slice_at(&log, 880);
    let copy = tail.to_vec();
    log.truncate_to(870, 0).expect("a truncation");
    for number in 0..3 {
        add(&mut log, number);
    }
    // The bytes may be old, zeros, or those appended since; loading them is safe.
    assert_eq!(tail.to_vec().len(), copy.len());
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    drop(temp);
    for slice in &held {
        check_batches(slice);
    }
    assert_eq!(tail.to_vec().len(), copy.len());
}

/// Loading a page behind the end of a file would end this process with SIGBUS.
fn load(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn slice_of(reader: &LogReader, offset: i64) -> LogSlice {
    let slice = reader.read(offset, 15_000, i64::MAX);
    slice.expect("a read").expect("records")
}

/// The budget gives up the first mapping of the segment, the second is nobody's when the
/// file could get shorter: only the slice knows the first.
#[test]
fn a_slice_of_an_evicted_mapping_is_readable_after_its_file_could_get_shorter() {
    let temp = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(temp.path(), 1);
    let mut log = open_log(&dir);
    while log.reader().segment_count() < 3 {
        add(&mut log, 1);
    }
    for number in 0..40 {
        add(&mut log, number);
    }
    let reader = log.reader();
    let tail = log.log_end() - 100;
    let held = slice_of(&reader, tail).bytes().expect("a mapping");
    let unmapped = slice_of(&reader, tail);
    assert!(held.len() > 10_000, "more than a page");
    for offset in [0, 60, 0, 60, tail, 0, tail] {
        load(&slice_of(&reader, offset).bytes().expect("a mapping"));
    }
    log.truncate_to(tail, 0).expect("a truncation");
    for number in 0..3 {
        add(&mut log, number);
    }
    log.roll(0).expect("a roll");
    load(&held);
    load(&unmapped.bytes().expect("a mapping"));
    log.close().expect("a clean stop");
    load(&held);
    load(&unmapped.bytes().expect("a mapping"));
}

/// The second life of the log knows no mapping of the first.
#[test]
fn slices_and_readers_of_a_log_outlive_its_being_opened_again() {
    let temp = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(temp.path(), 100);
    let mut log = open_log(&dir);
    for number in 0..40 {
        add(&mut log, number);
    }
    log.flush().expect("a flush");
    log.roll(0).expect("a roll");
    for number in 0..40 {
        add(&mut log, number);
    }
    let reader = log.reader();
    let held = slice_of(&reader, 125).bytes().expect("a mapping");
    let unmapped = slice_of(&reader, 125);
    // The first segment's index is in its file, and mapped by this.
    load(&slice_of(&reader, 60).bytes().expect("a mapping"));
    log.truncate_to(123, 0).expect("a truncation");
    drop(log);
    drop(dir);
    for file in ["recovery-point-offset-checkpoint", "meta.properties"] {
        let _ = std::fs::remove_file(temp.path().join(file));
    }
    // Scans everything, makes the indexes anew and would cut the zeros.
    let dir = open_dir(temp.path(), 100);
    let mut log = open_log(&dir);
    assert_eq!(log.log_end(), 123);
    load(&held);
    load(&unmapped.bytes().expect("a mapping"));
    for offset in (0..120).step_by(9) {
        load(&slice_of(&reader, offset).bytes().expect("a mapping"));
    }
    add(&mut log, 0);
    log.close().expect("a clean stop");
    load(&held);
    drop((held, unmapped, reader));
    log.roll(0).expect("a roll");
    log.close().expect("a clean stop");
}

#[test]
fn a_file_is_shortened_when_its_last_mapping_is_gone_and_zeroed_before() {
    let temp = tempfile::tempdir().expect("a place for files");
    let path = temp.path().join("file");
    let disk = Disk::real();
    let open = |mode| disk.open(&path, mode).expect("a file");
    let len = || std::fs::metadata(&path).expect("a file").len();
    let file = open(OpenMode::Create);
    file.write_all_at(&[7; 20_000], 0).expect("a write");
    let first = file.map(1 << 20).expect("a mapping");
    // Another handle, as another life of the log has.
    let again = open(OpenMode::Existing);
    let second = again.map(20_000).expect("a mapping");
    again.set_len(5_000).expect("an end");
    assert_eq!(len(), 20_000);
    let copy = |map: &Arc<dyn RawMapping>, position, len: usize| {
        let mut bytes = vec![1; len];
        map.copy(position, &mut bytes).map(|()| bytes)
    };
    assert_eq!(copy(&first, 4_999, 2).expect("in the file"), [7, 0]);
    assert!(first.clone().bytes(19_999, 1).is_ok());
    // Behind the end of the file, though inside the mapping.
    for (position, len) in [(20_000, 1), (0, 20_001), (usize::MAX, 2)] {
        let error = copy(&first, position, len).expect_err("nothing is there");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(first.clone().bytes(position, len).is_err());
    }
    file.write_all_at(&[8; 10], 20_000).expect("a write");
    assert_eq!(copy(&first, 20_009, 1).expect("it grew"), [8]);
    assert!(copy(&second, 20_000, 1).is_err(), "not mapped so far");

    // An emptied file is another one, as long as the old one is mapped.
    let bytes = first.clone().bytes(0, 5_000).expect("in the file");
    drop(first);
    let fresh = open(OpenMode::Truncate);
    assert_eq!((len(), bytes[4_999]), (0, 7));
    fresh.write_all_at(&[9; 100], 0).expect("a write");
    assert_eq!((len(), file.size().expect("a length")), (100, 20_010));
    drop((bytes, second));
    file.set_len(5_000).expect("an end");
    assert_eq!(file.size().expect("a length"), 5_000);
    let kept = std::fs::File::open(&path).expect("a file");
    drop(open(OpenMode::Truncate));
    assert_eq!(kept.metadata().expect("a file").len(), 0, "the same file");
}

#[test]
fn readers_beside_a_writer_see_whole_batches_in_order() {
    let seed = std::env::var("REAL_DISK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let temp = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(temp.path(), 3);
    let mut log = open_log(&dir);
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    // Raised before and after each truncation.
    let truncations = AtomicU64::new(0);
    let reader = log.reader();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (reader, done, reads, truncations) = (reader.clone(), &done, &reads, &truncations);
            scope.spawn(move || {
                let mut random = Seeded(seed ^ (worker << 32));
                while !done.load(Ordering::Acquire) {
                    read_some(&reader, &mut random, truncations);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The readers stop also when the writer fails.
        let _stop = Stop(&done);
        let mut random = Seeded(seed);
        for step in 0..1_500 {
            match random.pick(40) {
                0 => log.roll(0).expect("a roll"),
                1 => {
                    let to = log.log_end() - random.pick(60) as i64;
                    truncations.fetch_add(1, Ordering::SeqCst);
                    log.truncate_to(to.max(log.log_start()), 0)
                        .expect("a truncation");
                    truncations.fetch_add(1, Ordering::SeqCst);
                }
                2 => {
                    let to = log.log_start() + random.pick(60) as i64;
                    let to = to.min(log.log_end());
                    raise_start(&mut log, to);
                }
                3 => {
                    let end = log.log_end();
                    log.settle_below(end);
                    compact(&mut log);
                }
                _ => add(&mut log, step),
            }
        }
    });
    let _ = writeln!(
        std::io::stderr(),
        "real disk: {} reads beside 1500 steps, seed {seed}",
        reads.load(Ordering::Relaxed)
    );
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn read_some(reader: &LogReader, random: &mut Seeded, truncations: &AtomicU64) {
    let before = truncations.load(Ordering::SeqCst);
    let (start, end) = (reader.log_start(), reader.log_end());
    let from = start + random.pick((end - start).max(0) as u64 + 1) as i64;
    match reader.read(from, 1 + random.pick(5_000), i64::MAX) {
        Ok(Some(slice)) => {
            let bytes = slice.bytes().expect("a mapping").to_vec();
            // Bytes that were truncated away may be zeros by now, or other batches.
            let settled = before.is_multiple_of(2) && before == truncations.load(Ordering::SeqCst);
            if settled {
                check_batches(&bytes);
            }
        }
        Ok(None) | Err(ReadError::OutOfRange { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    match reader.find_timestamp(1_000 + random.pick(1_500) as i64, i64::MAX) {
        Ok(_) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn fifty_segments_are_read_with_four_mappings_and_no_descriptor_is_left_open() {
    let descriptors = || {
        std::fs::read_dir("/proc/self/fd")
            .expect("this process")
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .collect::<Vec<PathBuf>>()
    };
    let temp = tempfile::tempdir().expect("a place for files");
    let ours = |path: &PathBuf| path.starts_with(temp.path());
    for _ in 0..2 {
        let dir = open_dir(temp.path(), 4);
        let maps = dir.env().maps.clone();
        let mut log = open_log(&dir);
        let from = log.log_end();
        for number in 0..50 {
            add(&mut log, number);
            log.roll(0).expect("a roll");
            assert!(maps.mapped() <= 4);
        }
        assert!(log.reader().segment_count() >= 50);
        let reader = log.reader();
        for offset in (from..from + 150).chain((from..from + 150).rev()) {
            let slice = reader.read(offset, 1, i64::MAX).expect("a read");
            check_batches(&slice.expect("records").bytes().expect("a mapping"));
            assert!(maps.mapped() <= 4, "{} files mapped", maps.mapped());
        }
        log.close().expect("a clean stop");
        drop((reader, log));
        dir.close(1).expect("a clean stop");
        let left: Vec<PathBuf> = descriptors().into_iter().filter(ours).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Lengths and counts in files are claims. A sparse file claims much and costs nothing.
#[test]
fn files_that_claim_gigabytes_cost_no_memory() {
    const BYTES: u64 = 46 * (100 << 20) + 10;
    let temp = tempfile::tempdir().expect("a place for files");
    for clean in [true, false] {
        for kind in ["index", "timeindex", "txnindex", "snapshot"] {
            let root = temp.path().join(format!("{kind}-{clean}"));
            std::fs::create_dir(&root).expect("a directory");
            let dir = open_dir(&root, 100);
            let mut log = open_log(&dir);
            for number in 0..20 {
                add(&mut log, number);
            }
            log.close().expect("a clean stop");
            drop(log);
            dir.close(1).expect("a clean stop");
            let offset = if kind == "snapshot" { 60 } else { 0 };
            let path = root.join("t-0").join(format!("{offset:020}.{kind}"));
            let huge = std::fs::File::options();
            let huge = huge.clone().create(true).append(true).open(path);
            let huge = huge.expect("a file");
            if kind == "snapshot" {
                // Version 1, any checksum, as many entries as the length says.
                let head = [&[0, 1][..], &[0; 4], &(100_i32 << 20).to_be_bytes()].concat();
                (&huge).write_all(&head).expect("a header");
            }
            huge.set_len(BYTES).expect("a sparse file");
            if !clean {
                let mark = root.join(reka_storage::format::CLEAN_SHUTDOWN);
                std::fs::remove_file(mark).expect("the mark");
            }
            let used = allocation_counter::measure(|| {
                let dir = open_dir(&root, 100);
                let (mut log, _) = dir
                    .open_log(partition(), config(), 0)
                    .expect("a log that opens");
                assert_eq!(log.log_end(), 60);
                let aborted = log.reader().aborted_transactions(0, 60);
                assert_eq!(aborted.expect("an index"), []);
                assert!(log.reader().find_timestamp(1_005, 60).is_ok());
                add(&mut log, 20);
                log.close().expect("a clean stop");
            });
            assert!(used.bytes_max < 4 << 20, "{kind}: {used:?}");
        }
    }
}

/// Offsets no i64 holds, names that are no text, odd suffixes: not ours, and left alone.
#[test]
fn file_names_that_are_not_ours_are_left_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    let temp = tempfile::tempdir().expect("a place for files");
    let dir = open_dir(temp.path(), 100);
    let mut log = open_log(&dir);
    add(&mut log, 0);
    log.close().expect("a clean stop");
    drop(log);
    dir.close(1).expect("a clean stop");
    let names: [&[u8]; 8] = [
        b"09223372036854775808.log",
        b"99999999999999999999.index",
        b"18446744073709551616.snapshot",
        b"\xff\xfe0000000000000000.log",
        b"00000000000000000000\xff.txnindex",
        b"00000000000000000000.log.swapped",
        b"-0000000000000000001.timeindex",
        b"00000000000000000000.deleted",
    ];
    let path = |name| {
        temp.path()
            .join("t-0")
            .join(std::ffi::OsStr::from_bytes(name))
    };
    for name in names {
        std::fs::write(path(name), b"not ours").expect("a file");
    }
    for clean in [true, false] {
        let dir = open_dir(temp.path(), 100);
        let opened = dir.open_log(partition(), config(), 0);
        let (mut log, report) = opened.expect("a log that opens");
        // A name that is no text is not even looked at.
        assert_eq!(report.unknown_files.len(), 6, "{:?}", report.unknown_files);
        assert_eq!((report.cut, report.damage), (None, None));
        let end = log.log_end();
        add(&mut log, 1);
        assert_eq!(
            read_all(&log.reader()).expect("it reads").len() as i64,
            end + 3
        );
        if clean {
            dir.checkpoint().expect("a checkpoint");
        }
    }
    for name in names {
        assert_eq!(std::fs::read(path(name)).expect("a file"), b"not ours");
    }
}

const LIMITED: &str = "REKA_TEST_LIMITED_DIR";

/// A real `ENOSPC` from a small file system; where this process may not mount one, a real
/// `EFBIG` from a limit on the size of files, in a child with the signal for it ignored.
#[test]
fn a_disk_that_is_really_full_refuses_appends_and_everything_else_goes_on() {
    if let Some(dir) = std::env::var_os(LIMITED) {
        fill_and_recover(Path::new(&dir), 1 << 30, |log| {
            log.roll(0).expect("a new file");
        });
        return;
    }
    let temp = tempfile::tempdir().expect("a place for files");
    if let Some(_disk) = SmallDisk::mount(temp.path()) {
        fill_and_recover(temp.path(), 256 << 10, |log| {
            let to = log.log_end() - 10;
            raise_start(log, to);
        });
        return;
    }
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "real_disk::a_disk_that_is_really_full_refuses_appends_and_everything_else_goes_on",
        ])
        .env(LIMITED, temp.path())
        .output()
        .expect("a child");
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

fn fill_and_recover(root: &Path, segment_bytes: u64, free_space: impl Fn(&mut Log)) {
    let dir = open_dir(root, 100);
    let config = LogConfig {
        segment_bytes,
        ..config()
    };
    let (mut log, _) = dir.open_log(partition(), config, 0).expect("a fresh log");
    let value = vec![9; 10_000];
    let large = || batch(&[&value], 1_000, Compression::None);
    let try_append = |log: &mut Log| {
        let mut bytes = large();
        let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
        log.append(checked, 0, 0)
    };
    let refused = (0..1_000)
        .find_map(|_| try_append(&mut log).err())
        .expect("a limit");
    let AppendError::DirectoryFull {
        dir: named, needed, ..
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_eq!((named.as_path(), *needed), (root, large().len() as u64));
    let end = log.log_end();
    assert!(end > 20, "only {end} records fit");
    assert!(try_append(&mut log).is_err(), "still full");
    assert_eq!(log.log_end(), end);
    assert_eq!(
        read_all(&log.reader()).expect("reads go on").len() as i64,
        end
    );
    log.flush().expect("what was taken is durable");

    free_space(&mut log);
    let seen = read_all(&log.reader()).expect("reads go on");
    for _ in 0..10 {
        try_append(&mut log).expect("appends resume by themselves");
    }
    assert_eq!(
        read_all(&log.reader()).expect("it reads").len(),
        seen.len() + 10
    );
    log.close().expect("a clean stop");
}

/// A run of batches brings more entries than an index has room for, and its file outgrows what was
/// mapped of it before.
#[test]
fn lookups_go_on_in_an_index_that_a_run_of_batches_overfilled() {
    let temp = tempfile::tempdir().expect("a place for files");
    let config = LogConfig {
        segment_bytes: 1 << 20,
        index_interval_bytes: 0,
        // 200 entries of the one, 300 of the other; those behind the last 128 are in the file.
        segment_index_bytes: 200 * 12,
        retention_ms: -1,
        ..LogConfig::default()
    };
    let dir = open_dir(temp.path(), 100);
    let opened = dir.open_log(partition(), config, 0);
    let (mut log, _) = opened.expect("a log");
    let time_at = |offset: i64| 1_000 + 10 * offset;
    let one = |offset: i64| batch(&[b"value"], time_at(offset), Compression::None);
    let look = |log: &Log, what: &str| {
        let reader = log.reader();
        for offset in (0..log.log_end()).step_by(7) {
            let found = reader.find_timestamp(time_at(offset) - 3, i64::MAX);
            let found = found.unwrap_or_else(|error| panic!("{what}, {offset}: {error}"));
            assert_eq!(found.map(|found| found.offset), Some(offset), "{what}");
            let read = reader.read(offset, 100, log.log_end());
            let read = read.unwrap_or_else(|error| panic!("{what}, {offset}: {error}"));
            let next = read.map(|slice| slice.next_offset);
            assert_eq!(next, Some(offset + 1), "{what}");
        }
    };
    for offset in 0..150 {
        append(&mut log, one(offset));
    }
    look(&log, "mapped");
    let mut run: Vec<u8> = (150..650).flat_map(one).collect();
    let checked = CheckedBatches::check(&mut run).expect("valid batches");
    let appended = log.append_run(checked, 0, 0).expect("room");
    assert!(appended.is_some(), "one write");
    look(&log, "behind the run");
    append(&mut log, one(650));
    assert!(log.reader().segment_count() > 1, "the index is full");
    append(&mut log, one(651));
    look(&log, "behind the roll");
}
