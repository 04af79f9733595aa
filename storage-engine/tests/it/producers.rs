//! What a partition remembers of its producers, through files that were spoilt meanwhile.

use std::path::Path;
use std::sync::Arc;

use reka_records::Compression;
use reka_storage::env::Env;
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::sim::SimDisk;
use reka_storage::fs::{Backend as _, Disk, Op, OpenMode};
use reka_storage::recovery::RecoveryReport;
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{AppendError, Appended, CheckedBatches, Log, LogConfig};

use crate::support::{self, DIR, append, batch, marker, open, produced};

const INDEX: &str = "/t-0/00000000000000000000.txnindex";

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        ..support::small_config()
    }
}

struct Partition {
    sim: SimDisk,
    env: Arc<Env>,
    log: Log,
}

impl Partition {
    fn new() -> Partition {
        let sim = SimDisk::new();
        let env = support::env(&Disk::new(sim.clone()), Path::new(DIR));
        let (log, _) = open(&env, &config(), false);
        Partition { sim, env, log }
    }

    fn stop(&mut self, cleanly: bool) {
        if cleanly {
            self.log.close().expect("a clean stop");
        }
        self.env
            .recovery_points
            .store(&self.env.disk)
            .expect("a checkpoint");
    }

    fn start(&mut self, clean: bool) -> RecoveryReport {
        self.env = support::env(&Disk::new(self.sim.clone()), Path::new(DIR));
        let (log, report) = open(&self.env, &config(), clean);
        self.log = log;
        report
    }

    fn write(&self, path: &str, content: &[u8]) {
        let file = self.sim.open(Path::new(path), OpenMode::Truncate);
        let file = file.expect("a disk in memory");
        file.write_at(content, 0).expect("a disk in memory");
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.sim.contents(Path::new(DIR)).remove(path)
    }

    fn produce(&mut self, id: i64, sequence: i32, txn: bool) -> i64 {
        append(&mut self.log, produced(id, 0, sequence, txn, &[b"v"], 5))
    }

    fn abort(&mut self, id: i64) {
        append(&mut self.log, marker(id, 0, false, 5));
    }

    fn aborted(&self) -> Vec<AbortedTxn> {
        let reader = self.log.reader();
        let end = reader.log_end();
        reader.aborted_transactions(0, end).expect("an index")
    }

    fn state(&self) -> String {
        let mut all: Vec<_> = self.log.producers().iter().collect();
        all.sort_by_key(|(id, _)| *id);
        format!("{:?} {:?}", all, self.log.reader().first_unstable())
    }
}

#[test]
fn a_batch_of_a_producer_among_others_is_refused_and_nothing_is_dropped() {
    let mut partition = Partition::new();
    partition.produce(7, 0, false);
    let plain = || batch(&[b"p"], 5, Compression::None);
    let of_7 = |sequence| produced(7, 0, sequence, false, &[b"v"], 5);
    let before = (partition.log.log_end(), partition.state());
    let runs = [
        // A retry and what follows it; what follows and a retry; two that follow.
        (0, vec![of_7(0), of_7(1)]),
        (0, vec![of_7(1), of_7(0)]),
        (0, vec![of_7(1), of_7(2)]),
        (1, vec![plain(), of_7(1)]),
        (0, vec![of_7(1), plain()]),
        (2, vec![plain(), plain(), marker(7, 0, true, 5)]),
    ];
    for (at, run) in runs {
        let mut bytes = run.concat();
        let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
        let refused = partition.log.append(checked, 0, 0);
        let Err(AppendError::NotAlone {
            index,
            batches,
            producer_id: 7,
        }) = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!((index, batches), (at, run.len()));
        assert_eq!((partition.log.log_end(), partition.state()), before);
    }
    let mut retry = of_7(0);
    let checked = CheckedBatches::check(&mut retry).expect("a valid batch");
    let answer = partition.log.append(checked, 0, 0).expect("a retry");
    assert!(matches!(answer, Appended::Duplicate(known) if known.first_offset() == 0));
    // A leader wrote them one by one; its follower gets them as they come.
    let mut follower = Partition::new();
    let mut bytes = Vec::new();
    for (offset, mut batch) in [of_7(0), of_7(1), plain()].into_iter().enumerate() {
        reka_records::stamp::set_base_offset(&mut batch, offset as i64);
        bytes.extend(batch);
    }
    let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
    follower
        .log
        .append_replicated(checked, 0)
        .expect("a follower's append");
    assert_eq!(follower.log.log_end(), 3);
}

fn append_run(log: &mut Log, run: &[Vec<u8>]) -> Option<Appended> {
    let mut bytes = run.concat();
    let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
    log.append_run(checked, 0, 0).expect("a log that works")
}

#[test]
fn a_run_comes_to_the_same_as_its_batches_one_by_one() {
    let of = |epoch, sequence| produced(7, epoch, sequence, false, &[b"v".as_slice(); 3], 5);
    let plain = || batch(&[b"p".as_slice(); 9], 5, Compression::None);
    let runs = [
        vec![of(0, 3), of(0, 6), of(0, 9)],
        // More than the window of what can be repeated.
        (1..9).map(|at| of(0, 3 * at)).collect(),
        vec![of(1, 0), of(1, 3)],
        vec![plain(), plain(), plain()],
        vec![plain(); 40],
    ];
    for run in runs {
        let (mut together, mut apart) = (Partition::new(), Partition::new());
        for partition in [&mut together, &mut apart] {
            append(&mut partition.log, of(0, 0));
        }
        let appended = append_run(&mut together.log, &run);
        let Some(Appended::New {
            first_offset: 3,
            last_offset,
        }) = appended
        else {
            panic!("{appended:?}")
        };
        for batch in run {
            append(&mut apart.log, batch);
        }
        assert_eq!(last_offset + 1, apart.log.log_end());
        assert_eq!(together.state(), apart.state());
        for partition in [&mut together, &mut apart] {
            partition.stop(true);
        }
        let contents = |partition: &Partition| partition.sim.contents(Path::new(DIR));
        assert_eq!(contents(&together), contents(&apart));
    }
}

#[test]
fn what_is_no_run_is_left_alone() {
    let mut partition = Partition::new();
    partition.produce(7, 0, false);
    partition.produce(8, 0, true);
    let of = |id, epoch, sequence, txn| produced(id, epoch, sequence, txn, &[b"v"], 5);
    let plain = || batch(&[b"p"], 5, Compression::None);
    let before = (partition.log.log_end(), partition.state());
    let no_runs = [
        // A retry comes first, or comes again; a gap; a sequence that goes back.
        vec![of(7, 0, 0, false), of(7, 0, 1, false)],
        vec![of(7, 0, 1, false), of(7, 0, 1, false)],
        vec![of(7, 0, 1, false), of(7, 0, 3, false)],
        vec![of(7, 0, 5, false), of(7, 0, 6, false)],
        vec![of(7, 0, 1, false), of(7, 0, 0, false)],
        // Two producers, two epochs, a producer and none.
        vec![of(7, 0, 1, false), of(9, 0, 0, false)],
        vec![of(7, 0, 1, false), of(7, 1, 2, false)],
        vec![plain(), of(7, 0, 1, false)],
        vec![of(7, 0, 1, false), plain()],
        // What is of a transaction, or ends one.
        vec![of(8, 0, 1, true), of(8, 0, 2, true)],
        vec![of(7, 0, 1, false), marker(7, 0, true, 5)],
        // More than a segment holds.
        vec![batch(&[&[b'x'; 600_000]], 5, Compression::None); 2],
    ];
    for run in no_runs {
        let appended = append_run(&mut partition.log, &run);
        assert!(appended.is_none(), "{appended:?}");
        assert_eq!((partition.log.log_end(), partition.state()), before);
    }
}

/// Snapshots at 2 (clean stop) and 4; the newer one is spoilt in each of many ways.
#[test]
fn a_second_snapshot_that_cannot_be_used_does_not_replace_the_first() {
    const NAME: &str = "/t-0/00000000000000000001.snapshot";
    let mut partition = Partition::new();
    partition.produce(7, 0, false);
    partition.stop(true);
    for (round, aside) in ["unusable", "unusable.2", "unusable.3"].iter().enumerate() {
        partition.write(NAME, &[round as u8]);
        assert_eq!(partition.start(true).unusable_snapshots, [1], "{aside}");
        partition.stop(true);
        let kept = partition.file(&format!("{NAME}.{aside}"));
        assert_eq!(kept.as_deref(), Some(&[round as u8][..]), "{aside}");
    }
}

/// There is no room for another name: it stays under its own, and is not believed either.
#[test]
fn a_snapshot_that_a_full_disk_does_not_let_be_set_aside_is_left_and_not_believed() {
    const NAME: &str = "/t-0/00000000000000000002.snapshot";
    let mut partition = Partition::new();
    partition.produce(7, 0, false);
    partition.produce(7, 1, false);
    partition.stop(true);
    partition.write(NAME, b"?");
    let fault = FaultDisk::new(partition.sim.clone());
    partition.env = support::env(&Disk::new(fault.clone()), Path::new(DIR));
    fault.plan(When::Every(Op::Rename), Fault::Errno(28));
    let (log, report) = open(&partition.env, &config(), true);
    assert_eq!(report.unusable_snapshots, [2]);
    assert_eq!(log.producers().get(7).map(|p| p.last_sequence()), Some(1));
    assert_eq!(partition.file(NAME).as_deref(), Some(&b"?"[..]));
    partition
        .env
        .health
        .check()
        .expect("a full disk is no failure");
}

#[test]
fn a_snapshot_that_cannot_be_used_is_set_aside_and_the_one_before_or_the_log_takes_its_place() {
    const OLDER: &str = "/t-0/00000000000000000002.snapshot";
    const NEWER: &str = "/t-0/00000000000000000004.snapshot";
    for clean in [true, false] {
        let mut original = Partition::new();
        for sequence in 0..4 {
            original.produce(7, sequence, false);
            if sequence == 1 {
                original.log.roll(0).expect("a roll");
            }
        }
        original.produce(8, 0, true);
        original.abort(8);
        original.log.truncate_to(4, 0).expect("a truncation");
        original.stop(true);
        let right = original.file(NEWER).expect("a snapshot");
        let mut lying = right.clone();
        lying[6..10].copy_from_slice(&i32::MAX.to_be_bytes());
        let spoilt: [(&str, Vec<u8>); 6] = [
            ("empty", Vec::new()),
            ("short", right[..9].to_vec()),
            ("long", [&right[..], &[0]].concat()),
            ("count", lying),
            ("large", vec![0; 70 << 20]),
            ("flipped", right.iter().map(|byte| byte ^ 1).collect()),
        ];
        for (what, content) in spoilt {
            for older_too in [false, true] {
                let mut partition = Partition {
                    sim: original.sim.snapshot(),
                    ..Partition::new()
                };
                partition.write(NEWER, &content);
                let mut unusable = vec![4];
                if older_too {
                    partition.write(OLDER, &content);
                    unusable.push(2);
                }
                let report = partition.start(clean);
                assert_eq!(report.unusable_snapshots, unusable, "{what}");
                assert_eq!(report.replayed_batches, if older_too { 4 } else { 2 });
                // Only the newest batch of a producer is in a snapshot.
                assert_eq!(
                    partition.log.producers().get(7).map(|p| p.last_sequence()),
                    Some(3)
                );
                assert_eq!(partition.file(NEWER), None);
                let aside = |name: &str| partition.file(&format!("{name}.unusable"));
                assert!(aside(NEWER).as_ref() == Some(&content), "{what}");
                assert!(aside(OLDER).is_some() == older_too, "{what}");
                // The next clean stop leaves a right one, whatever was appended since.
                partition.stop(true);
                assert_eq!(partition.file(NEWER).as_ref(), Some(&right), "{what}");
                let again = partition.start(true);
                assert_eq!(again.unusable_snapshots, [0_i64; 0]);
                // What was set aside is a person's to remove, who is reminded of it.
                assert_eq!(again.unknown_files.len(), unusable.len(), "{what}");
                assert_eq!(
                    partition.log.producers().get(7).map(|p| p.last_sequence()),
                    Some(3)
                );
            }
        }
    }
}

#[test]
fn an_index_of_aborted_transactions_that_its_markers_do_not_bear_out_is_made_anew() {
    let mut original = Partition::new();
    for (id, sequence) in [(1, 0), (2, 0), (1, 1), (2, 1)] {
        original.produce(id, sequence, true);
        append(&mut original.log, batch(&[b"p"], 5, Compression::None));
    }
    original.abort(2);
    original.abort(1);
    original.produce(2, 2, true);
    original.abort(2);
    append(&mut original.log, batch(&[b"p"], 5, Compression::None));
    original.log.flush().expect("a flush");
    let expected = original.aborted();
    assert_eq!(expected.len(), 3);
    original.stop(false);
    let right = original.file(INDEX).expect("an index");
    assert_eq!(right.len(), 3 * 34);
    let other = AbortedTxn {
        first_offset: 3,
        ..expected[0]
    };
    assert_ne!(other, expected[0]);
    let mut wrong_first = right.clone();
    wrong_first[10..18].copy_from_slice(&3_i64.to_be_bytes());
    let spoilt: [(&str, Option<Vec<u8>>); 7] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("without the first", Some(right[34..].to_vec())),
        ("without the last", Some(right[..68].to_vec())),
        ("cut inside an entry", Some(right[..50].to_vec())),
        ("wrong first offset", Some(wrong_first)),
        (
            "one more",
            Some([&right[..], &invented(expected[2])].concat()),
        ),
    ];
    for (what, content) in spoilt {
        let mut partition = Partition {
            sim: original.sim.snapshot(),
            ..Partition::new()
        };
        match content {
            Some(content) => partition.write(INDEX, &content),
            None => partition.sim.remove_file(Path::new(INDEX)).expect("a file"),
        }
        let report = partition.start(false);
        assert_eq!(report.rebuilt_txn_indexes, [0], "{what}");
        assert_eq!(partition.aborted(), expected, "{what}");
        assert_eq!(partition.file(INDEX).as_ref(), Some(&right), "{what}");
        partition.log.flush().expect("a flush");
    }
    // One that is right is left alone, though there is garbage behind it until the next entry.
    let mut partition = Partition {
        sim: original.sim.snapshot(),
        ..Partition::new()
    };
    let stale = [
        &right[..],
        &[9; 34],
        &invented(AbortedTxn {
            last_offset: 90,
            ..expected[2]
        }),
    ];
    partition.write(INDEX, &stale.concat());
    assert_eq!(partition.start(true).rebuilt_txn_indexes, [0_i64; 0]);
    assert_eq!(partition.aborted(), expected);
    partition.produce(2, 3, true);
    partition.abort(2);
    let longer = partition.aborted();
    assert_eq!((longer.len(), &longer[..3]), (4, &expected[..]));
    partition.stop(true);
    partition.start(true);
    // Or the search would end before what lies behind the last right one.
    append(&mut partition.log, batch(&[b"p"], 5, Compression::None));
    assert_eq!(partition.aborted(), longer, "the garbage did not come back");
}

/// No checksum covers an entry, but its numbers lead to batches: one that became another number leads
/// elsewhere. Only a last stable offset may be lower than it was, which makes a search longer.
#[test]
fn after_a_clean_stop_a_flipped_bit_in_the_index_of_aborted_transactions_is_mended() {
    let mut original = Partition::new();
    original.produce(1, 0, true);
    original.produce(2, 0, true);
    original.abort(1);
    original.produce(1, 1, true);
    append(&mut original.log, marker(1, 0, true, 5));
    original.abort(2);
    append(&mut original.log, batch(&[b"p"], 5, Compression::None));
    original.produce(1, 2, true);
    original.abort(1);
    let expected = original.aborted();
    let stable: Vec<i64> = expected.iter().map(|txn| txn.last_stable_offset).collect();
    assert_eq!(stable, [1, 6, 9]);
    original.stop(true);
    let right = original.file(INDEX).expect("an index");
    let mut lower = 0;
    for bit in 0..right.len() * 8 {
        let mut partition = Partition {
            sim: original.sim.snapshot(),
            ..Partition::new()
        };
        let mut wrong = right.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        partition.write(INDEX, &wrong);
        let report = partition.start(true);
        let found = partition.aborted();
        if found != expected {
            let as_low = |(found, expected): (&AbortedTxn, &AbortedTxn)| {
                let stable = expected.last_stable_offset;
                found.last_stable_offset < stable
                    && AbortedTxn {
                        last_stable_offset: stable,
                        ..*found
                    } == *expected
            };
            let differing = found.iter().zip(&expected).filter(|(a, b)| a != b);
            assert!(differing.clone().all(as_low), "bit {bit}: {found:?}");
            assert_eq!(found.len(), expected.len(), "bit {bit}");
            lower += 1;
            continue;
        }
        assert_eq!(report.rebuilt_txn_indexes, [0], "bit {bit}");
        assert_eq!((report.cut, report.damage), (None, None), "bit {bit}");
        // On disk as well once the log was closed.
        partition.stop(true);
        assert_eq!(partition.file(INDEX).as_ref(), Some(&right), "bit {bit}");
    }
    // Each leads to the beginning of another transaction, which no reader is the worse for.
    assert_eq!((lower, right.len() * 8), (4, 816));
}

/// A stop in the middle of a segment leaves a snapshot there; what lies before it in the
/// segment is compared all the same.
#[test]
fn a_snapshot_inside_a_segment_hides_no_marker_before_it() {
    let mut partition = Partition::new();
    partition.produce(1, 0, true);
    partition.abort(1);
    partition.stop(true);
    partition.start(true);
    append(&mut partition.log, batch(&[b"p"], 5, Compression::None));
    let expected = partition.aborted();
    assert_eq!(expected.len(), 1);
    partition.sim.remove_file(Path::new(INDEX)).expect("a file");
    let report = partition.start(false);
    assert_eq!(report.rebuilt_txn_indexes, [0]);
    assert_eq!(partition.aborted(), expected);
}

/// A transaction aborted behind another, that no marker says.
fn invented(last: AbortedTxn) -> Vec<u8> {
    let fields = [
        9,
        last.first_offset,
        last.last_offset + 1,
        last.last_offset + 2,
    ];
    let fields = fields.iter().flat_map(|field: &i64| field.to_be_bytes());
    [0, 0].into_iter().chain(fields).collect()
}

/// Batches as a leader has them, from this offset on.
fn replicated(mut from: i64, batches: Vec<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut batch in batches {
        reka_records::stamp::set_base_offset(&mut batch, from);
        reka_records::stamp::set_leader_epoch(&mut batch, 0);
        from += 1;
        bytes.extend(batch);
    }
    bytes
}

#[test]
fn an_append_that_is_undone_takes_its_aborted_transactions_back_and_no_others() {
    let mut undone = 0;
    for call in 0.. {
        let sim = SimDisk::new();
        let fault = FaultDisk::new(sim.clone());
        let env = support::env(&Disk::new(fault.clone()), Path::new(DIR));
        let (mut log, _) = open(&env, &config(), false);
        append(&mut log, produced(1, 0, 0, true, &[b"v"], 5));
        append(&mut log, marker(1, 0, false, 5));
        let index = || sim.contents(Path::new(DIR)).remove(INDEX);
        let data = || {
            let files = sim.contents(Path::new(DIR));
            files["/t-0/00000000000000000000.log"].clone()
        };
        let (before, data_before) = (index().expect("an entry"), data());
        // Two transactions end in one answer of the leader.
        let mut bytes = replicated(
            log.log_end(),
            vec![
                produced(1, 0, 1, true, &[b"v"], 5),
                produced(2, 0, 0, true, &[b"v"], 5),
                marker(1, 0, false, 5),
                marker(2, 0, false, 5),
            ],
        );
        let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
        fault.plan(When::Nth(call), Fault::Errno(28));
        let appended = log.append_replicated(checked, 0);
        fault.heal();
        if appended.is_ok() && log.log_end() == 6 {
            if index().expect("entries").len() == 3 * before.len() {
                break;
            }
            continue;
        }
        assert_eq!(log.log_end(), 2, "call {call}");
        assert_eq!(index().as_ref(), Some(&before), "call {call}");
        let data = data();
        assert_eq!(data[..data_before.len()], data_before, "call {call}");
        let behind = &data[data_before.len()..];
        assert!(behind.iter().all(|byte| *byte == 0), "call {call}");
        undone += 1;
        if env.health.check().is_err() {
            continue;
        }
        // In the same process the log goes on as if nothing had been.
        let aborted = log.reader().aborted_transactions(0, 2).expect("an index");
        assert_eq!(aborted.len(), 1, "call {call}");
        append(&mut log, produced(1, 0, 1, true, &[b"v"], 5));
        append(&mut log, marker(1, 0, false, 5));
        let aborted = log.reader().aborted_transactions(0, 4).expect("an index");
        let last: Vec<i64> = aborted.iter().map(|txn| txn.last_offset).collect();
        assert_eq!(last, [1, 3], "call {call}");
    }
    // The data, and each entry.
    assert_eq!(undone, 3);
}
