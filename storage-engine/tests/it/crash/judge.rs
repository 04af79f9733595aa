//! What a broker finds after the power was cut, judged.

use std::collections::BTreeMap;
use std::path::Path;

use reka_storage::error::OpenError;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::SimDisk;
use reka_storage::log_dir::Opened;
use reka_storage::partition_metadata::{self, PartitionMetadataError};
use reka_storage::producer_state::ProducerState;
use reka_storage::recovery::Warning;
use reka_storage::txn_index::AbortedTxn;
use reka_storage::{Log, LogDir};
use uuid::Uuid;

use super::machine::{Cut, Expected};
use crate::support::{ROOT, Seen, open_as, open_dir, partition, read_all};

pub(super) fn judge(cut: &Cut, found: &SimDisk, what: &dyn Fn() -> String) {
    let said = topic_of(found);
    let dir = open_dir(found);
    let was_clean = dir.was_clean();
    let (topic_id, opened) = open(&dir, cut);
    let (log, report) = opened.unwrap_or_else(|error| panic!("{}: {error}", what()));
    assert_eq!(said.unwrap_or(topic_id), topic_id, "{}: topic", what());
    assert_eq!(topic_of(found), Some(topic_id), "{}: topic", what());
    if !cut.damaging {
        assert_eq!(report.damage, None, "{}", what());
    }
    // What the cleaner left is no file that was lost. That a pass went over a topic that is not to be
    // compacted any more is known once the clean point is stored.
    let compacted = cut.compacting || cut.before.compacted;
    let is_explained = cut.config.compact || !compacted;
    if !cut.damaging && !cut.before.gaps && !cut.after.gaps && is_explained {
        let gap = |warning: &&Warning| matches!(warning, Warning::GapBetweenSegments { .. });
        assert_eq!(report.warnings.iter().find(gap), None, "{}", what());
    }
    let seen = read_all(&log.reader()).unwrap_or_else(|error| panic!("{}: {error}", what()));
    let durable = cut.before.durable.min(cut.after.durable);
    let end = log.log_end();
    assert!(
        end >= durable,
        "{}: ends at {end}, {durable} was durable\n{report:?}",
        what()
    );

    // Control records are read like any other, so a log without compaction is gapless.
    let mut offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
    let (before, after) = (&cut.before.records, &cut.after.records);
    let compacted = cut.before.compacted || cut.after.compacted;
    if compacted || cut.before.gaps || cut.after.gaps || cut.unknown {
        // Every record the compacted log would have, below the end, must be there.
        let newest = if cut.compacting { after } else { before };
        let promised = if cut.unknown { durable } else { end };
        for offset in newest
            .range(log.log_start()..promised)
            .map(|(offset, _)| offset)
        {
            let kept_by_both = before.contains_key(offset) && after.contains_key(offset);
            assert!(
                !kept_by_both || offsets.binary_search(offset).is_ok(),
                "{}: {offset} is missing",
                what()
            );
        }
    } else {
        let expected: Vec<i64> = (log.log_start()..end).collect();
        assert_eq!(offsets, expected, "{}: a gap\n{report:?}", what());
    }
    // Whoever reads all of it has what a log that was never compacted gives: a key that was deleted does
    // not return at any step of a swap, though its record and what deleted it are both on their way out.
    let one_topic = cut.before.topic_id == cut.after.topic_id;
    if compacted && one_topic && !cut.unknown {
        let holds = |expected: &Expected| {
            let all = expected.records.range(log.log_start()..end);
            expected.newest(seen.iter()) == expected.newest(all.map(|(_, record)| record))
        };
        let holds = holds(&cut.before) || holds(&cut.after);
        assert!(holds, "{}: a key has not its newest value", what());
    }
    offsets.dedup();
    assert_eq!(offsets.len(), seen.len(), "{}: an offset twice", what());
    // A topic of the same name is another one, whose records nobody shows for this one's.
    for expected in [&cut.before, &cut.after] {
        let is_the_others = said.is_some_and(|said| said != expected.topic_id);
        if is_the_others && cut.before.topic_id != cut.after.topic_id {
            let of_it = seen
                .iter()
                .find(|record| expected.records.get(&record.offset) == Some(record));
            assert_eq!(of_it, None, "{}: of another topic", what());
        }
    }
    for record in &seen {
        let known =
            before.get(&record.offset) == Some(record) || after.get(&record.offset) == Some(record);
        assert!(
            known,
            "{}: {record:?} was never there, or was truncated",
            what()
        );
    }
    let starts = cut.before.start.min(cut.after.start)..=cut.before.start.max(cut.after.start);
    // A raised start is stored with the next checkpoint; until then old records may show.
    assert!(
        log.log_start() <= *starts.end(),
        "{}: starts at {}",
        what(),
        log.log_start()
    );

    // Of what was lost from the middle a snapshot may know still.
    let gapless = offsets.iter().copied().eq(log.log_start()..end);
    if gapless || !cut.unknown {
        check_state(&log, compacted, what);
    }
    check_times(&log, &seen, what);

    drop((log, dir));
    let first = lasting(found);
    let dir = open_dir(found);
    let (_, opened) = open(&dir, cut);
    let (log, _) = opened.unwrap_or_else(|error| panic!("{} again: {error}", what()));
    assert_eq!(
        read_all(&log.reader()).as_ref(),
        Ok(&seen),
        "{} again",
        what()
    );
    drop((log, dir));
    let second = lasting(found);
    let changed: Vec<_> = first
        .iter()
        .filter(|(name, content)| {
            let again = second.get(*name);
            // What a clean stop or the first opening completed, the second one recovers: entries of
            // batches that it scans are in memory until their segment is sealed.
            let may_shrink = is_index(name) && (was_clean || cut.unknown);
            let shrunk = again.is_some_and(|again| may_shrink && content.starts_with(again));
            again != Some(content) && !shrunk
        })
        .collect();
    assert!(
        changed.is_empty() && first.len() == second.len(),
        "{}: a second opening changed {changed:?}",
        what()
    );
}

/// As a broker does: whose metadata may know one topic of the name still, or the next one already.
fn open(dir: &LogDir, cut: &Cut) -> (Uuid, Opened) {
    let (before, after) = (cut.before.topic_id, cut.after.topic_id);
    match open_as(dir, before, &cut.config) {
        Err(OpenError::PartitionMetadata(PartitionMetadataError::OtherTopic { found, .. }))
            if found == after =>
        {
            (after, open_as(dir, after, &cut.config))
        }
        opened => (before, opened),
    }
}

/// The topic that the partition's directory says it is of.
fn topic_of(found: &SimDisk) -> Option<Uuid> {
    let dir = Path::new(ROOT).join(partition().dir_name());
    partition_metadata::read(&Disk::new(found.clone()), &dir).expect("what was written, or nothing")
}

/// Every file.
fn lasting(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    disk.contents(Path::new(ROOT))
}

fn is_index(name: &str) -> bool {
    name.ends_with(".index") || name.ends_with(".timeindex")
}

/// Producer state and aborted transactions as the batches in the log imply them. Of what
/// lies below the log's start, or was compacted away, the log may know more than they do.
fn check_state(log: &Log, compacted: bool, what: &dyn Fn() -> String) {
    let mut state = ProducerState::default();
    let mut aborted: Vec<AbortedTxn> = Vec::new();
    let reader = log.reader();
    let start = log.log_start();
    let mut next = start;
    while let Some(slice) = reader.read(next, 1, log.log_end()).expect("read before") {
        let bytes = slice.bytes().expect("read before");
        for batch in reka_records::batches(&bytes) {
            let batch = batch.expect("read before");
            let marker = batch
                .header()
                .is_control()
                .then(|| reka_records::control::end_txn_marker(&batch).expect("a marker"))
                .flatten();
            aborted.extend(marker.and_then(|end| state.aborted_by(batch.header(), end)));
            state.apply(batch.header(), marker);
        }
        next = slice.next_offset;
    }
    let summary = |state: &ProducerState| {
        state
            .iter()
            .map(|(id, p)| (id, (p.epoch, p.last_sequence(), p.txn_first_offset)))
            .collect::<BTreeMap<_, _>>()
    };
    let (mut known, mut implied) = (summary(log.producers()), summary(&state));
    if start > 0 {
        // What began below the start is known from before.
        for (id, producer) in log.producers().iter() {
            let below = producer
                .batches()
                .iter()
                .all(|batch| batch.last_offset < start);
            let opened_below = producer.txn_first_offset.is_some_and(|first| first < start);
            if below {
                let visible = implied.remove(&id).is_some_and(|(_, last, _)| last >= 0);
                assert!(!visible, "{}: producer {id} is behind", what());
            } else if opened_below && let Some(implied) = implied.get_mut(&id) {
                implied.2 = producer.txn_first_offset;
            }
            if below {
                known.remove(&id);
            }
        }
    }
    assert_eq!(known, implied, "{}: producers", what());
    let open = |open: Option<i64>| open.filter(|first| *first >= start);
    assert_eq!(
        open(log.producers().first_open()),
        open(state.first_open()),
        "{}",
        what()
    );
    let mut indexed = reader
        .aborted_transactions(start, i64::MAX)
        .expect("an index that reads");
    indexed.sort_unstable_by_key(|txn| txn.last_offset);
    // Neither transactions that began below the start nor those whose data the cleaner
    // took can be told from what is left.
    indexed.retain(|txn| aborted.contains(txn) || txn.first_offset >= start && !compacted);
    if start > 0 {
        // The stable offset is that of the day, which what lies below the start held back.
        for txn in indexed.iter_mut().chain(&mut aborted) {
            txn.last_stable_offset = 0;
        }
    }
    assert_eq!(indexed, aborted, "{}: aborted transactions", what());
}

/// Looking for a time finds what a look at every record would.
fn check_times(log: &Log, seen: &[Seen], what: &dyn Fn() -> String) {
    let (reader, end) = (log.reader(), log.log_end());
    for timestamp in [0, 100, 101, 300, 650, 900, 1_000, 1_201] {
        let first = seen.iter().find(|record| record.timestamp >= timestamp);
        let found = reader
            .find_timestamp(timestamp, end)
            .unwrap_or_else(|error| panic!("{}: {error}", what()));
        assert_eq!(
            found.map(|found| (found.offset, found.timestamp)),
            first.map(|record| (record.offset, record.timestamp)),
            "{}: time {timestamp}",
            what()
        );
    }
}
