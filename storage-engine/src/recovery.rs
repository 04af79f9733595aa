//! What is left of a log after a crash: scan, decide, then act.
//!
//! Everything below the recovery point was synced; behind it, any page may be
//! missing, old or torn. So segments are read from the recovery point on, batch by
//! batch, with checksums, until something does not fit. What that means depends
//! on where it is:
//!
//! - behind the recovery point it is a torn tail: nothing there was promised, and
//!   the log is cut at the last batch that fits;
//! - below it, it is damage: the log opens for reading, takes no appends, and not
//!   a byte is cut, since a replica or a person may still save what follows.
//!
//! `decide` is a pure function from what the scan found to what is to be done.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use reka_records::{BatchHeader, BatchView, HEADER_BYTES};

use crate::error::ReadError;
use crate::fs::DiskResult;
use crate::offset_index::OffsetEntry;
use crate::segment::Segment;

/// Read at a time while scanning.
const SCAN_BYTES: usize = 1 << 20;

/// Bytes below the recovery point that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// The offset that should be there.
    pub offset: i64,
    /// Everything below this offset was once on disk.
    pub recovery_point: i64,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at position {}: offset {} was on disk (recovery point {}), found {}; \
             nothing was cut; restore the partition from a replica or a backup",
            self.path.display(),
            self.position,
            self.offset,
            self.recovery_point,
            self.found,
        )
    }
}

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes read to verify the tail; 0 after a clean stop.
    pub scanned_bytes: u64,
    /// A torn tail that was cut: first offset lost, and why.
    pub cut: Option<(i64, String)>,
    /// Damage below the recovery point; the log takes no appends.
    pub damage: Option<Damage>,
    /// The log ends below its recovery point, though no batch is broken: its end was
    /// truncated just before the stop, or files are missing.
    pub ends_below_recovery_point: Option<(i64, i64)>,
    /// Files that belong to nothing and were left alone.
    pub unknown_files: Vec<String>,
    /// Batches replayed to rebuild producer state.
    pub replayed_batches: u64,
    /// Offsets of producer snapshots that were not what was written; they are removed.
    pub unusable_snapshots: Vec<i64>,
    /// Base offsets of segments whose `.txnindex` did not have the aborted transactions
    /// below the recovery point that the segment's markers call for; it was made anew.
    pub rebuilt_txn_indexes: Vec<i64>,
}

/// How the scan of one segment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScannedSegment {
    /// Bytes of good batches.
    pub(crate) valid_bytes: u64,
    /// The offset after the last good batch.
    pub(crate) end_offset: i64,
    /// The end before the last batch, if that batch left a gap behind the one before
    /// it: nothing behind it bears out its base offset, which no checksum covers.
    pub(crate) before_gap: Option<(u64, i64)>,
    /// Why the scan stopped before the end of the file. Zeros to the end are not
    /// in themselves wrong: a truncation or a reservation leaves them.
    pub(crate) stopped: Option<Stop>,
}

/// Why a scan stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing but zeros follows.
    Zeros,
    /// Something else follows.
    Bad(String),
}

/// What to do with the scanned segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// All segments continue one another; the last one ends here.
    Keep { end_offset: i64 },
    /// Keep `valid_bytes` of segment `index`, drop all behind it.
    Cut {
        index: usize,
        valid_bytes: u64,
        end_offset: i64,
        why: String,
    },
    /// Change nothing: segment `index` is damaged at `position`.
    Damaged {
        index: usize,
        position: u64,
        offset: i64,
        found: String,
    },
}

/// Decides from the scanned segments (base offset and finding), oldest first.
pub(crate) fn decide(scanned: &[(i64, ScannedSegment)], recovery_point: i64) -> Decision {
    let mut end_offset = scanned.first().map_or(0, |(base, _)| *base);
    for (index, (base, segment)) in scanned.iter().enumerate() {
        let last = index + 1 == scanned.len();
        let broken = match &segment.stopped {
            Some(Stop::Bad(why)) => Some(why.clone()),
            Some(Stop::Zeros) if !last => {
                // Zeros end a segment only if the next one continues it.
                let next = scanned[index + 1].0;
                (next != segment.end_offset).then(|| format!("zeros before offset {next}"))
            }
            _ => None,
        };
        if *base < end_offset {
            let why = format!("a segment that begins at offset {base}");
            // The segment before is to blame if its last batch stands apart.
            let apart = index
                .checked_sub(1)
                .and_then(|before| Some((before, scanned[before].1.before_gap?)));
            return match apart {
                Some((before, (position, offset))) if offset <= *base => {
                    verdict(before, position, offset, why, recovery_point)
                }
                _ => verdict(index, 0, end_offset, why, recovery_point),
            };
        }
        // A gap between segments is what compaction leaves, or a segment whose
        // tail never reached the disk. Only the second can begin behind the
        // recovery point with its predecessor whole, so there it is a cut.
        if *base > end_offset && index > 0 && end_offset >= recovery_point {
            let why = format!("a gap up to offset {base}");
            return verdict(index, 0, end_offset, why, recovery_point);
        }
        // Behind the recovery point nothing bears the gap out. A gap from below it to
        // an end behind it is no better: the recovery point was the end of a batch.
        if last
            && let Some((position, offset)) = segment.before_gap
            && (offset >= recovery_point || segment.end_offset > recovery_point)
        {
            let why = format!("a batch that leaves a gap behind offset {offset}");
            return verdict(index, position, offset, why, recovery_point);
        }
        if let Some(why) = broken {
            return verdict(
                index,
                segment.valid_bytes,
                segment.end_offset,
                why,
                recovery_point,
            );
        }
        end_offset = segment.end_offset;
    }
    Decision::Keep { end_offset }
}

fn verdict(index: usize, position: u64, offset: i64, why: String, recovery_point: i64) -> Decision {
    if offset < recovery_point {
        Decision::Damaged {
            index,
            position,
            offset,
            found: why,
        }
    } else {
        Decision::Cut {
            index,
            valid_bytes: position,
            end_offset: offset,
            why,
        }
    }
}

/// Reads a segment from a place its index confirms, at or before `from_offset`, to
/// the end of its file, and rebuilds the indexes from there.
pub(crate) fn scan(
    segment: &Arc<Segment>,
    from_offset: i64,
    index_interval: u64,
    scanned_bytes: &mut u64,
) -> Result<ScannedSegment, ReadError> {
    let file_bytes = segment.file()?.size()?;
    segment.publish(file_bytes);
    segment.offsets.keep_plausible(file_bytes)?;
    let start = confirmed_start(segment, from_offset)?;
    let mut position = start.map_or(0, |entry| entry.position);
    let mut end_offset = segment.base_offset();
    segment
        .offsets
        .truncate_to_position(position + u64::from(start.is_some()))?;
    // Time entries of batches that are not scanned again stay; the greatest
    // timestamp between the last of them and the start is read from the headers.
    let start_offset = start.map_or(segment.base_offset(), |entry| entry.last_offset + 1);
    segment.times.keep_plausible(start_offset)?;
    restore_largest(segment, position)?;

    let mut since_index = 0;
    let mut buffer = vec![0; SCAN_BYTES.min(file_bytes as usize)];
    let mut buffered = 0..0_u64;
    let first_position = position;
    let mut before_gap = None;
    let stopped = loop {
        if position == file_bytes {
            break None;
        }
        let left = file_bytes - position;
        let want = (HEADER_BYTES as u64).min(left);
        fill(
            segment,
            &mut buffer,
            &mut buffered,
            position,
            want,
            scanned_bytes,
        )?;
        let head =
            &buffer[(position - buffered.start) as usize..(buffered.end - buffered.start) as usize];
        let header = match BatchHeader::parse(head) {
            Ok(header) => header,
            Err(_) if all_zero(segment, position, file_bytes)? => break Some(Stop::Zeros),
            Err(error) => break Some(Stop::Bad(error.to_string())),
        };
        let size = header.size() as u64;
        if size > left {
            break Some(Stop::Bad(format!(
                "a batch of {size} bytes with {left} bytes left in the file"
            )));
        }
        if header.base_offset < end_offset
            || header.last_offset_delta < 0
            || !segment.can_hold(&header.span())
        {
            // A batch that left a gap and now overlaps was moved by a flipped bit.
            if let Some((gap_position, gap_offset)) = before_gap.take()
                && header.base_offset >= gap_offset
            {
                (position, end_offset) = (gap_position, gap_offset);
            }
            break Some(Stop::Bad(format!(
                "offsets {}..={} after offset {end_offset}",
                header.base_offset,
                header.last_offset()
            )));
        }
        fill(
            segment,
            &mut buffer,
            &mut buffered,
            position,
            size,
            scanned_bytes,
        )?;
        let at = (position - buffered.start) as usize;
        let whole = &buffer[at..at + size as usize];
        if let Err(error) = BatchView::parse(whole).and_then(|batch| batch.verify_crc()) {
            break Some(Stop::Bad(error.to_string()));
        }
        let already_indexed = start.is_some() && position == first_position;
        segment.note_timestamp(header.max_timestamp, header.last_offset());
        if since_index > index_interval && !already_indexed {
            segment.make_room()?;
            segment.index(&header, position)?;
            since_index = 0;
        }
        since_index += size;
        let leaves_gap =
            header.base_offset > end_offset && (start.is_none() || position > first_position);
        before_gap = leaves_gap.then_some((position, end_offset));
        position += size;
        end_offset = header.next_offset();
    };
    segment.publish(position);
    Ok(ScannedSegment {
        valid_bytes: position,
        end_offset,
        before_gap,
        stopped,
    })
}

/// The index entry to start from: the last at or below the offset that the log bears out.
fn confirmed_start(segment: &Segment, from_offset: i64) -> Result<Option<OffsetEntry>, ReadError> {
    let Some(entry) = segment.offsets.floor(from_offset - 1)? else {
        return Ok(None);
    };
    let mut walk = segment.walk_unmapped(Some(entry))?;
    match walk.next() {
        Ok(Some(batch)) if batch.header.last_offset() == entry.last_offset => Ok(Some(entry)),
        Err(ReadError::Disk(error)) => Err(error.into()),
        // Not borne out: the whole segment is scanned.
        _ => {
            segment.offsets.clear()?;
            Ok(None)
        }
    }
}

fn restore_largest(segment: &Segment, until: u64) -> Result<(), ReadError> {
    segment.set_largest(None);
    let last = segment.times.last()?;
    let from = match last {
        Some(entry) => segment.offsets.floor(entry.offset)?,
        None => None,
    };
    let mut walk = segment.walk_unmapped(from)?;
    while walk.position() < until {
        // A batch that cannot be walked is the scan's to judge.
        match walk.next() {
            Ok(Some(batch)) => {
                segment.note_timestamp(batch.header.max_timestamp, batch.header.last_offset());
            }
            Err(ReadError::Disk(error)) => return Err(error.into()),
            _ => break,
        }
    }
    Ok(())
}

/// Makes `buffer` hold at least `want` bytes from `position` on.
fn fill(
    segment: &Segment,
    buffer: &mut Vec<u8>,
    buffered: &mut std::ops::Range<u64>,
    position: u64,
    want: u64,
    scanned_bytes: &mut u64,
) -> DiskResult<()> {
    if buffered.start <= position && position + want <= buffered.end {
        return Ok(());
    }
    // `want` is no more than what is left of the file, so memory stays bounded by it.
    if want as usize > buffer.len() {
        buffer.resize(want as usize, 0);
    }
    let read = segment.file()?.read_up_to(buffer, position)?;
    *buffered = position..position + read as u64;
    *scanned_bytes += read as u64;
    if (read as u64) < want {
        // The file became shorter while it was read.
        segment
            .file()?
            .read_exact_at(&mut buffer[..want as usize], position)?;
        *buffered = position..position + want;
    }
    Ok(())
}

fn all_zero(segment: &Segment, from: u64, to: u64) -> DiskResult<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let mut position = from;
    while position < to {
        let want = ((to - position) as usize).min(buffer.len());
        segment
            .file()?
            .read_exact_at(&mut buffer[..want], position)?;
        if buffer[..want].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position += want as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(end_offset: i64) -> ScannedSegment {
        ScannedSegment {
            valid_bytes: 100,
            end_offset,
            before_gap: None,
            stopped: None,
        }
    }

    fn bad(end_offset: i64) -> ScannedSegment {
        ScannedSegment {
            stopped: Some(Stop::Bad("garbage".into())),
            ..good(end_offset)
        }
    }

    fn zeros(end_offset: i64) -> ScannedSegment {
        ScannedSegment {
            stopped: Some(Stop::Zeros),
            ..good(end_offset)
        }
    }

    #[test]
    fn a_bad_batch_behind_the_recovery_point_is_cut_and_below_it_is_damage() {
        let scanned = [(0, good(10)), (10, bad(15)), (20, good(30))];
        let Decision::Cut {
            index: 1,
            valid_bytes: 100,
            end_offset: 15,
            ..
        } = decide(&scanned, 15)
        else {
            panic!("{:?}", decide(&scanned, 15))
        };
        let Decision::Damaged {
            index: 1,
            position: 100,
            offset: 15,
            ..
        } = decide(&scanned, 16)
        else {
            panic!("{:?}", decide(&scanned, 16))
        };
    }

    #[test]
    fn zeros_end_a_segment_only_where_the_next_one_continues() {
        assert_eq!(
            decide(&[(0, zeros(10)), (10, zeros(20))], 0),
            Decision::Keep { end_offset: 20 }
        );
        assert!(matches!(
            decide(&[(0, zeros(10)), (12, good(20))], 0),
            Decision::Cut {
                index: 0,
                end_offset: 10,
                ..
            }
        ));
    }

    #[test]
    fn gaps_between_segments_are_compaction_below_the_recovery_point_only() {
        let scanned = [(0, good(10)), (12, good(20))];
        assert_eq!(decide(&scanned, 12), Decision::Keep { end_offset: 20 });
        assert!(matches!(
            decide(&scanned, 10),
            Decision::Cut {
                index: 1,
                valid_bytes: 0,
                end_offset: 10,
                ..
            }
        ));
    }

    #[test]
    fn a_last_batch_that_stands_apart_is_not_believed() {
        let apart = ScannedSegment {
            before_gap: Some((60, 7)),
            ..good(12)
        };
        let cut = |decision| {
            matches!(
                decision,
                Decision::Cut {
                    index: 0,
                    valid_bytes: 60,
                    end_offset: 7,
                    ..
                }
            )
        };
        assert!(cut(decide(&[(0, apart.clone())], 0)));
        assert!(cut(decide(&[(0, apart.clone()), (10, good(20))], 0)));
        assert_eq!(decide(&[(0, apart)], 12), Decision::Keep { end_offset: 12 });
    }

    #[test]
    fn a_segment_whose_predecessor_lost_its_tail_goes_even_if_it_is_torn_itself() {
        let scanned = [(0, good(0)), (1, zeros(1)), (2, good(3))];
        assert!(matches!(
            decide(&scanned, 0),
            Decision::Cut {
                index: 1,
                valid_bytes: 0,
                end_offset: 0,
                ..
            }
        ));
    }

    #[test]
    fn segments_that_overlap_are_never_kept() {
        let scanned = [(0, good(10)), (5, good(20))];
        assert!(matches!(
            decide(&scanned, 0),
            Decision::Cut {
                index: 1,
                end_offset: 10,
                ..
            }
        ));
        assert!(matches!(
            decide(&scanned, 11),
            Decision::Damaged {
                index: 1,
                offset: 10,
                ..
            }
        ));
    }
}
