//! A full disk stops what needs room, says so, and leaves everything as it was: the
//! directory stays online, and the same call succeeds once there is room again.

use std::path::Path;

use reka_storage::compaction::CompactionLimits;
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::sim::{KeepAll, SimDisk};
use reka_storage::fs::{Disk, Op};
use reka_storage::{AppendError, CheckedBatches, Log, LogConfig, LogDir, LogError};

use crate::passes::{config, fill, keyed, make_ready, names_with, open, values};
use crate::support::{append, append_in, batch, fresh_disk, open_dir_on, partition, produced};

const EPOCHS: &str = "leader-epoch-checkpoint";
const ENOSPC: i32 = 28;

fn is_full(result: &Result<(), LogError>) -> bool {
    matches!(result, Err(LogError::Disk(error)) if error.is_full())
}

fn online(dir: &LogDir) -> bool {
    dir.env().health.check().is_ok()
}

/// A log of 40 records that may be cleaned, in two groups, on a disk that can fail.
fn dirty() -> (SimDisk, FaultDisk, LogDir, Log) {
    let sim = fresh_disk();
    let fault = FaultDisk::new(sim.clone());
    let dir = open_dir_on(Disk::new(fault.clone()));
    let config = LogConfig {
        segment_bytes: 2_000,
        ..config()
    };
    let mut log = open(&dir, &config);
    fill(&mut log, 40, "v");
    make_ready(&mut log);
    (sim, fault, dir, log)
}

/// Every call up to the one that lets the new segment win over the old ones.
#[test]
fn a_full_disk_before_a_swap_is_announced_drops_the_pass() {
    let mut refused = 0;
    for call in 0.. {
        let (sim, fault, dir, mut log) = dirty();
        let before = values(&log);
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let plan = plan.expect("something dirty");
        let compacted = plan.run(&CompactionLimits::default(), 0).expect("a pass");
        fault.plan(When::Nth(call), Fault::Errno(ENOSPC));
        let finished = log.finish_compaction(compacted, 0);
        fault.heal();
        if !names_with(&sim, ".log.swap").is_empty() {
            break;
        }
        if !is_full(&finished) {
            // A failed sync is final whatever its reason.
            let error = finished.expect_err("a failed call");
            let synced = matches!(&error, LogError::Disk(error) if error.is_failed_sync());
            assert!(synced && !online(&dir), "call {call}: {error}");
            continue;
        }
        refused += 1;
        assert!(online(&dir), "call {call}");
        assert_eq!(names_with(&sim, ".cleaned"), Vec::<String>::new());
        assert_eq!(names_with(&sim, ".swap"), Vec::<String>::new());
        assert_eq!(values(&log), before, "call {call}");
        let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
        let plan = plan.expect("still dirty");
        let compacted = plan.run(&CompactionLimits::default(), 0).expect("a pass");
        log.finish_compaction(compacted, 0).expect("a swap");
        assert_eq!(values(&log), before[33..], "call {call}");
    }
    // The checkpoint aside: opened, written, renamed; and the new segment's names.
    assert!(refused >= 6, "{refused}");
}

/// What was written for the groups before goes too.
#[test]
fn a_pass_that_fails_gives_back_the_space_it_took() {
    for op in [Op::Open, Op::Write] {
        let mut failed = 0;
        for call in 0.. {
            let (sim, fault, dir, mut log) = dirty();
            let before = values(&log);
            let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
            fault.plan(When::EveryFrom(op, call), Fault::Errno(ENOSPC));
            let ran = plan
                .expect("something dirty")
                .run(&CompactionLimits::default(), 0);
            fault.heal();
            match ran {
                Ok(compacted) => {
                    log.finish_compaction(compacted, 0).expect("a swap");
                    break;
                }
                Err(error) => assert!(is_full(&Err(error)), "{op:?} from call {call}"),
            }
            failed += 1;
            assert_eq!(names_with(&sim, ".cleaned"), Vec::<String>::new());
            assert!(online(&dir));
            assert_eq!(values(&log), before);
            let plan = log.plan_compaction(log.log_end(), 0).expect("a plan");
            plan.expect("still dirty, and no pass under way");
        }
        assert!(failed > 10, "{op:?}: {failed}");
    }
}

/// The offsets a truncation lowers are stored first, or it is refused. Where epochs begin
/// is stored last, and if there is no room before the next append.
#[test]
fn a_truncation_on_a_full_disk_is_refused_or_carried_out() {
    for anew in [false, true] {
        let (mut refused, mut late) = (0, 0);
        for call in 0.. {
            let sim = fresh_disk();
            let fault = FaultDisk::new(sim.clone());
            let dir = open_dir_on(Disk::new(fault.clone()));
            let mut log = open(&dir, &config());
            for epoch in [0, 0, 0, 3, 3] {
                append_in(&mut log, keyed(&[("a", "v")]), epoch);
            }
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
            let before = (values(&log), log.epochs().entries().to_vec());
            let truncate = |log: &mut Log| match anew {
                false => log.truncate_to(3, 0),
                true => log.truncate_fully_and_start_at(20, 0),
            };
            fault.plan(When::EveryFrom(Op::Write, call), Fault::Errno(ENOSPC));
            let truncated = truncate(&mut log);
            assert!(online(&dir), "from call {call}: {truncated:?}");
            if fault.hit().is_empty() {
                break;
            }
            let mut bytes = keyed(&[("a", "w")]);
            let checked = CheckedBatches::check(&mut bytes).expect("a valid batch");
            if truncated.is_ok() {
                let found = sim.contents(&Path::new("/data").join("t-0"));
                let file = found.iter().find(|(name, _)| name.ends_with(EPOCHS));
                late += u32::from(file.is_some_and(|(_, text)| text.ends_with(b"3 3\n")));
                // Whoever starts on this finds none of the epochs that were cut off.
                let crashed = open_dir_on(Disk::new(sim.crash(&mut KeepAll)));
                assert!(open(&crashed, &config()).epochs().latest() < Some(3));
                let error = log.append(checked, 0, 0).expect_err("no room");
                assert!(
                    matches!(error, AppendError::DirectoryFull { .. }),
                    "{error}"
                );
                fault.heal();
            } else {
                assert!(is_full(&truncated), "{truncated:?}");
                refused += 1;
                assert_eq!((values(&log), log.epochs().entries().to_vec()), before);
                fault.heal();
                append_in(&mut log, keyed(&[("a", "still taken")]), 3);
                truncate(&mut log).expect("room");
            }
            let kept = if anew { &[] } else { &before.1[..1] };
            assert_eq!(log.epochs().entries(), kept);
            let end = if anew { 20 } else { 3 };
            assert_eq!(log.log_end(), end);
            // An epoch that was cut off is not found again behind batches of an older one.
            append_in(&mut log, keyed(&[("a", "v")]), 0);
            append_in(&mut log, keyed(&[("a", "v")]), 0);
            log.flush().expect("a flush");
            let crashed = open_dir_on(Disk::new(sim.crash(&mut KeepAll)));
            let found = open(&crashed, &config());
            assert_eq!(found.log_end(), end + 2);
            assert_eq!(found.epochs().entries(), log.epochs().entries());
            assert_eq!(found.epochs().latest(), Some(0));
        }
        assert!(refused > 0 && late > 0, "{refused} {late}");
    }
}

/// What a truncation takes out of the log is put aside under another name, for which
/// there may be no room, as for the first file of a log that begins anew.
#[test]
fn a_truncation_that_finds_no_room_for_a_name_discards_what_it_took_out() {
    let delayed = LogConfig {
        file_delete_delay_ms: 60_000,
        ..config()
    };
    let mut discarded = 0;
    for (anew, op, every) in [
        (false, Op::Rename, true),
        (true, Op::Rename, true),
        (true, Op::Open, false),
        (false, Op::Rename, false),
        (true, Op::Rename, false),
    ] {
        for call in 0.. {
            let sim = fresh_disk();
            let fault = FaultDisk::new(sim.clone());
            let dir = open_dir_on(Disk::new(fault.clone()));
            let mut log = open(&dir, &delayed);
            fill(&mut log, 40, "v");
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
            let reader = log.reader();
            let slice = reader
                .read(30, 100, 40)
                .expect("readable")
                .expect("a batch");
            let before = values(&log);
            let truncate = |log: &mut Log| match anew {
                false => log.truncate_to(3, 0),
                true => log.truncate_fully_and_start_at(50, 0),
            };
            let when = match every {
                true => When::EveryFrom(op, call),
                false => When::Nth(call),
            };
            fault.plan(when, Fault::Errno(ENOSPC));
            let truncated = truncate(&mut log);
            let struck = fault.hit();
            fault.heal();
            if struck.is_empty() {
                break;
            }
            if struck.iter().any(|((_, _, struck), _)| *struck != op) {
                continue;
            }
            let what = format!("anew {anew}, {op:?} from call {call}: {struck:?}");
            assert!(online(&dir), "{what}: {truncated:?}");
            slice.bytes().expect("readers keep what they hold");
            if truncated.is_err() {
                assert!(is_full(&truncated), "{what}: {truncated:?}");
                assert_eq!(values(&log), before, "{what}");
                truncate(&mut log).expect("room");
            } else {
                discarded += 1;
            }
            let end = if anew { 50 } else { 3 };
            assert_eq!(log.log_end(), end, "{what}");
            append(&mut log, keyed(&[("a", "v")]));
            log.flush().expect("a flush");
            let kept = values(&log);
            log.unlink_deleted(i64::MAX).expect("unlinked");
            drop(log);
            let crashed = open_dir_on(Disk::new(sim.crash(&mut KeepAll)));
            let found = open(&crashed, &delayed);
            assert_eq!((found.log_end(), values(&found)), (end + 1, kept), "{what}");
        }
    }
    assert!(discarded >= 15, "{discarded}");
}

/// With an entry for each batch there are more entries than are buffered.
#[test]
fn an_append_of_many_batches_is_taken_whole_or_refused_on_a_full_disk() {
    let config = LogConfig {
        index_interval_bytes: 0,
        segment_index_bytes: 1 << 20,
        ..config()
    };
    let (mut refused, mut taken) = (0, 0);
    for free in (0..6_000).step_by(100) {
        let sim = fresh_disk();
        let dir = open_dir_on(Disk::new(sim.clone()));
        let mut log = open(&dir, &config);
        // Entries that wait in memory have to be written to make room for others.
        fill(&mut log, 100, "v");
        let mut bytes = Vec::new();
        for offset in 100..500 {
            let mut batch = keyed(&[("a", "b")]);
            reka_records::stamp::set_base_offset(&mut batch, offset);
            reka_records::stamp::set_leader_epoch(&mut batch, 0);
            bytes.extend(batch);
        }
        let whole = u64::MAX / 2;
        sim.set_capacity(Some(whole));
        let unused = Disk::new(sim.clone()).bytes_free(Path::new("/data"));
        sim.set_capacity(Some(whole - unused.expect("a number") + free));
        let mut copy = bytes.clone();
        let checked = CheckedBatches::check(&mut copy).expect("valid batches");
        let appended = log.append_replicated(checked, 0);
        assert!(online(&dir), "{free} free: {appended:?}");
        match appended {
            Ok(_) => taken += 1,
            Err(error) => {
                assert!(
                    matches!(error, AppendError::DirectoryFull { .. }),
                    "{error}"
                );
                assert_eq!(log.log_end(), 100, "{free} free");
                refused += 1;
                sim.set_capacity(None);
                let checked = CheckedBatches::check(&mut bytes).expect("valid batches");
                log.append_replicated(checked, 0).expect("room");
            }
        }
        assert_eq!(values(&log).len(), 500);
        sim.set_capacity(None);
        append(&mut log, keyed(&[("a", "c")]));
        log.close().expect("a clean stop");
        assert_eq!(
            log.reader()
                .read(300, 100, 501)
                .expect("a read")
                .map(|s| s.next_offset),
            Some(301)
        );
    }
    assert!(refused > 0 && taken > 0, "{refused} {taken}");
}

#[test]
fn a_stop_on_a_full_disk_is_refused_and_done_again_with_room() {
    let mut refused = 0;
    for call in 0.. {
        let sim = fresh_disk();
        let fault = FaultDisk::new(sim.clone());
        let dir = open_dir_on(Disk::new(fault.clone()));
        let mut log = open(&dir, &config());
        append(&mut log, produced(7, 0, 0, false, &[b"v"], 100));
        for _ in 0..20 {
            append(
                &mut log,
                batch(&[b"w"], 100, reka_records::Compression::None),
            );
        }
        fault.plan(When::EveryFrom(Op::Write, call), Fault::Errno(ENOSPC));
        let closed = log.close();
        fault.heal();
        assert!(online(&dir), "write {call}: {closed:?}");
        if closed.is_ok() {
            break;
        }
        assert!(is_full(&closed), "{closed:?}");
        refused += 1;
        log.close().expect("room");
        drop(log);
        dir.close(1).expect("a clean stop");
        let dir = open_dir_on(Disk::new(sim));
        let (log, report) = dir.open_log(partition(), config(), 0).expect("a log");
        assert_eq!(report.scanned_bytes, 0, "a clean start");
        let known = log.producers().get(7).expect("the producer");
        assert_eq!(known.last_sequence(), 0);
        assert_eq!(log.log_end(), 21);
    }
    assert!(refused >= 2, "{refused}");
}

/// What a segment is put aside under is a longer name, for which a full directory may have no room.
#[test]
fn retention_goes_on_where_there_is_no_room_for_a_name() {
    let delayed = LogConfig {
        file_delete_delay_ms: 60_000,
        segment_bytes: 700,
        ..config()
    };
    let mut gone = 0;
    for (op, every) in [
        (Op::Rename, true),
        (Op::Rename, false),
        (Op::RemoveFile, false),
    ] {
        for call in 0.. {
            let sim = fresh_disk();
            let fault = FaultDisk::new(sim.clone());
            let dir = open_dir_on(Disk::new(fault.clone()));
            let mut log = open(&dir, &delayed);
            fill(&mut log, 40, "v");
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
            let segments = names_with(&sim, ".log").len();
            let reader = log.reader();
            let slice = reader.read(0, 100, 40).expect("readable").expect("a batch");
            log.advance_log_start(30).expect("an offset of the log");
            fault.plan(
                match every {
                    true => When::EveryFrom(op, call),
                    false => When::Nth(call),
                },
                Fault::Errno(ENOSPC),
            );
            let mut applied = log.apply_retention(40, 0).map(drop);
            if applied.is_ok() {
                applied = log.unlink_deleted(60_000).map(drop);
            }
            let struck = fault.hit();
            fault.heal();
            if struck.is_empty() {
                break;
            }
            if struck.iter().any(|((_, _, struck), _)| *struck != op) {
                continue;
            }
            let what = format!("{op:?} from call {call}: {struck:?}");
            assert!(online(&dir), "{what}: {applied:?}");
            slice.bytes().expect("readers keep what they hold");
            if applied.is_err() {
                assert!(is_full(&applied), "{what}: {applied:?}");
                log.apply_retention(40, 0).expect("room");
                log.unlink_deleted(60_000).expect("room");
            }
            gone += 1;
            assert_eq!(names_with(&sim, ".deleted"), Vec::<String>::new(), "{what}");
            let left = names_with(&sim, ".log").len();
            assert!(left < segments, "{what}: {left} of {segments}");
            append(&mut log, keyed(&[("a", "w")]));
            log.flush().expect("a flush");
            dir.checkpoint().expect("a checkpoint");
            let kept = values(&log);
            drop(log);
            let crashed = open_dir_on(Disk::new(sim.crash(&mut KeepAll)));
            let found = open(&crashed, &delayed);
            assert_eq!((found.log_start(), found.log_end()), (30, 41), "{what}");
            assert_eq!(values(&found), kept, "{what}");
        }
    }
    assert!(gone >= 10, "{gone}");
}

#[test]
fn a_partition_is_deleted_where_there_is_no_room_for_another_name() {
    let sim = fresh_disk();
    let fault = FaultDisk::new(sim.clone());
    let dir = open_dir_on(Disk::new(fault.clone()));
    let mut log = open(&dir, &config());
    fill(&mut log, 40, "v");
    log.flush().expect("a flush");
    dir.checkpoint().expect("a checkpoint");
    let reader = log.reader();
    let slice = reader.read(0, 100, 40).expect("readable").expect("a batch");
    fault.plan(When::EveryFrom(Op::Rename, 0), Fault::Errno(ENOSPC));
    let deleted = dir.delete(&log);
    assert!(online(&dir), "{deleted:?}");
    assert_eq!(deleted.expect("nothing that needs room"), None);
    slice.bytes().expect("readers keep what they hold");
    let left = sim.contents(Path::new("/data")).into_keys();
    let left: Vec<String> = left.filter(|name| name.contains("t-0")).collect();
    assert_eq!(left, Vec::<String>::new());
    fault.heal();
    let next = open(&dir, &config());
    assert_eq!((next.log_start(), next.log_end()), (0, 0));
}
