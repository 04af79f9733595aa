//! A swap of compacted segments that a crash broke off, and what it brought is damaged.

use super::*;

fn open_compacted(dir: &LogDir) -> (Log, RecoveryReport) {
    let config = LogConfig {
        segment_bytes: 5_000,
        compact: true,
        delete_retention_ms: 0,
        ..config()
    };
    dir.open_log(partition(), config, 0)
        .expect("a log that opens")
}

/// A log of twelve keys over and over, and the disk from after each step of compacting it.
fn swap_steps() -> (Vec<SimDisk>, Vec<support::Seen>, Vec<support::Seen>) {
    swap_steps_in(5_000)
}

/// The same with compacted segments of so many bytes.
fn swap_steps_in(segment_bytes: u64) -> (Vec<SimDisk>, Vec<support::Seen>, Vec<support::Seen>) {
    let sim = fresh_disk();
    let dir = open_dir(&sim);
    let (mut log, _) = open_compacted(&dir);
    log.set_config(LogConfig {
        segment_bytes,
        ..log.config().clone()
    });
    for number in 0..39_i64 {
        // The last ones are alike, over the end of what is compacted.
        let value = match number {
            35.. => [b'z', 0],
            _ => [b'a' + (number % 12) as u8, number as u8],
        };
        append(&mut log, batch(&[&value], 100, Compression::None));
        if number % 9 == 8 {
            log.roll(0).expect("a roll");
        }
    }
    log.flush().expect("a flush");
    log.settle_below(39);
    dir.checkpoint().expect("a checkpoint");
    let before = read_all(&log.reader()).expect("a log that reads");
    let plan = log.plan_compaction(39, 1_000_000).expect("a plan");
    let limits = reka_storage::compaction::CompactionLimits {
        map_bytes: 1 << 16,
        ..Default::default()
    };
    let compacted = plan.expect("something dirty").run(&limits, 1_000_000);
    let compacted = compacted.expect("a pass");
    assert!(compacted.bytes_after < compacted.bytes_before);
    sim.record();
    log.finish_compaction(compacted, 0).expect("a swap");
    let after = read_all(&log.reader()).expect("a log that reads");
    assert!(after.len() < before.len());
    (sim.recorded(), before, after)
}

fn data_files(sim: &SimDisk, suffix: &str) -> Vec<PathBuf> {
    let files = sim.contents(&Path::new(ROOT).join("t-0"));
    let names = files.into_keys().filter(|name| name.ends_with(suffix));
    names
        .map(|name| Path::new(ROOT).join(format!("t-0{name}")))
        .collect()
}

#[test]
fn a_flipped_bit_in_a_swap_keeps_the_old_segments_and_is_reported_by_name() {
    let (steps, before, _) = swap_steps();
    let mut judged = 0;
    for (number, step) in steps.iter().enumerate() {
        for swap in data_files(step, ".log.swap") {
            let content = content(step, &swap);
            for byte in (0..content.len()).step_by(5) {
                let sim = step.snapshot();
                overwrite(&sim, &swap, byte as u64, &[content[byte] ^ 0x41]);
                let dir = open_dir(&sim);
                let (log, report) = open_compacted(&dir);
                let what = format!("step {number} byte {byte} {report:?}");
                let seen = read_all(&log.reader()).unwrap_or_else(|e| panic!("{what}: {e}"));
                judged += 1;
                // Epoch and base offset are under no checksum: one that still makes sense
                // is believed.
                let within = byte as u64 - start_of(&content, byte);
                if report.warnings.is_empty() && within < 16 {
                    continue;
                }
                let path = format!("{} is damaged at position ", swap.display());
                let [warning] = report.warnings.as_slice() else {
                    panic!("{what}")
                };
                assert!(warning.to_string().starts_with(&path), "{what}: {warning}");
                assert_eq!(report.damage, None, "{what}");
                assert_eq!(seen, before, "{what}");
                drop((log, dir));
                // For good: another start finds nothing to say.
                let (log, report) = open_compacted(&open_dir(&sim));
                assert_eq!(report.warnings, [], "{what}");
                assert_eq!(read_all(&log.reader()).as_ref(), Ok(&before), "{what}");
                assert!(data_files(&sim, ".swap").is_empty(), "{what}");
            }
        }
    }
    assert!(judged > 1_000, "{judged}");
}

/// Where the batch begins that holds this byte.
fn start_of(content: &[u8], byte: usize) -> u64 {
    let mut start = 0;
    loop {
        let size = BatchHeader::parse(&content[start..])
            .expect("a batch")
            .size();
        if byte < start + size {
            return start as u64;
        }
        start += size;
    }
}

#[test]
fn a_swap_that_lost_its_end_keeps_the_old_segments() {
    let (steps, before, _) = swap_steps();
    let mut judged = 0;
    for step in &steps {
        for swap in data_files(step, ".log.swap") {
            let content = content(step, &swap);
            let last = start_of(&content, content.len() - 1) as usize;
            let sim = step.snapshot();
            // A page that never reached the disk reads as zeros.
            overwrite(&sim, &swap, last as u64, &vec![0; content.len() - last]);
            let (log, report) = open_compacted(&open_dir(&sim));
            let [warning] = report.warnings.as_slice() else {
                panic!("{report:?}")
            };
            let found = format!("at position {last}, found zeros;");
            assert!(warning.to_string().contains(&found), "{warning}");
            assert_eq!(read_all(&log.reader()).as_ref(), Ok(&before));
            judged += 1;
        }
    }
    assert!(judged > 5, "{judged}");
}

#[test]
fn a_bit_that_flips_while_a_swap_is_finished_after_a_crash_loses_nothing() {
    let (steps, before, _) = swap_steps();
    let mut judged = 0;
    for step in &steps {
        if data_files(step, ".log.swap").is_empty() {
            continue;
        }
        let sim = step.snapshot();
        sim.record();
        drop(open_compacted(&open_dir(&sim)));
        for again in sim.recorded() {
            for swap in data_files(&again, ".log.swap") {
                let middle = content(&again, &swap).len() as u64 / 2;
                overwrite(&again, &swap, middle, &[0xA5; 30]);
                let (log, report) = open_compacted(&open_dir(&again));
                assert_eq!(report.warnings.len(), 1, "{report:?}");
                assert_eq!(read_all(&log.reader()).as_ref(), Ok(&before));
                judged += 1;
            }
        }
    }
    assert!(judged > 50, "{judged}");
}

#[test]
fn a_swap_that_claims_offsets_behind_its_own_deletes_nothing() {
    let (steps, before, _) = swap_steps_in(2_000);
    let mut judged = 0;
    for step in &steps {
        for swap in data_files(step, ".log.swap") {
            let content = content(step, &swap);
            let last = start_of(&content, content.len() - 1);
            let sim = step.snapshot();
            // The base offset of its last batch, which no checksum covers: in the next
            // segment, if there is one that may be compacted, and in the newest.
            let end = last_offset(&content) + 1;
            for claimed in [end + 1, 37, 38, 1_000] {
                let sim = sim.snapshot();
                overwrite(&sim, &swap, last, &i64::to_be_bytes(claimed));
                let (log, report) = open_compacted(&open_dir(&sim));
                assert_eq!(report.warnings.len(), 1, "{claimed}: {report:?}");
                let mut seen = read_all(&log.reader()).expect("a log that reads");
                // Those before it may be compacted already.
                let base = first_offset_of(&swap);
                seen.retain(|record| record.offset >= base);
                let kept = before.iter().filter(|record| record.offset >= base);
                assert!(seen.iter().eq(kept), "{claimed}: {seen:?}");
                judged += 1;
            }
        }
    }
    assert!(judged > 5, "{judged}");
}

#[test]
fn a_damaged_swap_without_the_old_segments_is_refused_and_nothing_is_changed() {
    let (steps, _, _) = swap_steps();
    let step = steps
        .iter()
        .find(|step| {
            data_files(step, ".log.swap").len() == 1 && data_files(step, ".log.deleted").len() == 4
        })
        .expect("a step with a swap and all the old ones renamed away");
    let swap = data_files(step, ".log.swap").remove(0);
    for old in data_files(step, ".log.deleted") {
        step.remove_file(&old).expect("removed");
    }
    overwrite(step, &swap, 70, &[0xA5; 2]);
    let dir = open_dir(step);
    let before = step.contents(Path::new(ROOT));
    let error = dir
        .open_log(partition(), config(), 0)
        .expect_err("nothing is left to serve");
    let error = error.to_string();
    let named = format!("{} is damaged at position 0: expected", swap.display());
    assert!(error.starts_with(&named), "{error}");
    assert_eq!(step.contents(Path::new(ROOT)), before);
}

/// Every step is looked at as a process that died there leaves it: the data of the old
/// segments is under names that a start believes until the new one is complete under its
/// own.
#[test]
fn each_step_of_a_swap_waits_for_the_one_before() {
    let (steps, before, after) = swap_steps();
    let old: Vec<PathBuf> = data_files(&steps[0], ".log");
    let old_content: Vec<Vec<u8>> = old.iter().map(|path| content(&steps[0], path)).collect();
    let exists = |step: &SimDisk, path: &Path, suffix: &str| {
        let name = format!("{}{suffix}", path.display());
        data_files(step, ".log")
            .iter()
            .chain(&data_files(step, suffix))
            .any(|found| found.to_string_lossy() == name)
    };
    let mut seen_swap = 0;
    let mut swapped = Vec::new();
    for step in &steps {
        let swaps = data_files(step, ".log.swap");
        seen_swap += usize::from(!swaps.is_empty());
        for (path, content_before) in old.iter().zip(&old_content) {
            let live = exists(step, path, "").then(|| content(step, path));
            let is_new = live.as_ref().is_some_and(|live| live != content_before);
            // Until something announces the new segment the old ones are where they were.
            assert!(
                live.is_some() && !is_new || seen_swap > 0,
                "{} is gone before its successor is there",
                path.display()
            );
            assert!(
                live.is_some() || !swaps.is_empty() || !swapped.is_empty(),
                "neither {} nor what replaces it is there",
                path.display()
            );
            if is_new {
                swapped.push(path.clone());
                // Complete: nothing of what it replaces may be believed beside it.
                let new = live.as_ref().expect("checked above");
                let end = last_offset(new);
                let beside: Vec<_> = data_files(step, ".log")
                    .into_iter()
                    .filter(|other| {
                        (first_offset_of(path) + 1..=end).contains(&first_offset_of(other))
                    })
                    .collect();
                assert_eq!(beside, Vec::<PathBuf>::new(), "{}", path.display());
            }
        }
        // What a swap promises is on disk before the promise.
        for swap in swaps {
            let cut = step.crash(&mut LoseAll);
            if data_files(&cut, ".log.swap").contains(&swap) {
                assert_eq!(content(&cut, &swap), content(step, &swap));
            }
        }
    }
    assert!(seen_swap > 4 && !swapped.is_empty());
    // And once the call came back, it is all on disk under its last names.
    let last = steps.last().expect("steps").crash(&mut LoseAll);
    assert_eq!(data_files(&last, ".swap"), Vec::<PathBuf>::new());
    let (log, report) = open_compacted(&open_dir(&last));
    assert_eq!((report.cut, report.damage), (None, None));
    assert_eq!(read_all(&log.reader()), Ok(after));
    assert_ne!(read_all(&log.reader()), Ok(before));
}

/// What the name of a data file says, whatever its suffixes.
fn first_offset_of(path: &Path) -> i64 {
    let name = path.file_name().expect("a name").to_string_lossy();
    name[..20].parse().expect("an offset")
}

fn last_offset(content: &[u8]) -> i64 {
    let last = start_of(content, content.len() - 1) as usize;
    BatchHeader::parse(&content[last..])
        .expect("a batch")
        .last_offset()
}
