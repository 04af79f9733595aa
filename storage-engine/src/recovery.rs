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
//!   a byte is cut, since a replica or a person may still save what follows. So is a log
//!   that ends below it though no batch is broken.
//!
//! `decide` is a pure function from what the scan found to what is to be done.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reka_records::{BatchHeader, BatchView, HEADER_BYTES};

use crate::env::RECOVERY_POINT_UNKNOWN;
use crate::error::ReadError;
use crate::format::{FileKind, RECOVERY_POINT_CHECKPOINT};
use crate::fs::{DiskResult, File};
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
    /// Everything below this offset was once on disk; [`RECOVERY_POINT_UNKNOWN`] when that
    /// was forgotten.
    pub recovery_point: i64,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            path,
            position,
            offset,
            recovery_point,
            found,
        } = self;
        write!(f, "{} is damaged at position {position}: ", path.display())?;
        match *recovery_point {
            RECOVERY_POINT_UNKNOWN => write!(
                f,
                "found {found} where offset {offset} belongs, and the checkpoint of recovery \
                 points was lost, which said whether that was ever on disk",
            )?,
            known => write!(
                f,
                "offset {offset} was on disk (recovery point {known}), found {found}",
            )?,
        }
        let partition = path.parent().and_then(Path::parent);
        let checkpoint = partition.map(|dir| dir.join(RECOVERY_POINT_CHECKPOINT));
        write!(
            f,
            "; nothing was cut; restore the partition from a replica or a backup; without \
             either, to go on without offset {offset} and all that follows, stop the broker and \
             set the partition's recovery point to {offset} in {}",
            checkpoint.unwrap_or_default().display()
        )
    }
}

/// Something a person should look at, though the log works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A compacted segment that was about to replace others is damaged. The others
    /// were kept, and it was removed: they hold everything it held.
    DamagedSwap {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What was found there.
        found: String,
    },
    /// Offsets are missing between two segments of a log that this directory never
    /// compacted, below its recovery point.
    GapBetweenSegments {
        /// The segment before the gap.
        before: PathBuf,
        /// The offset after its last record.
        ends: i64,
        /// The segment behind it.
        behind: PathBuf,
        /// Its base offset.
        begins: i64,
    },
    /// The stored start of the log lies behind its end. The log begins there, and what it
    /// held was set aside.
    StartBehindEnd {
        /// The partition's directory.
        dir: PathBuf,
        /// The file with the start.
        checkpoint: PathBuf,
        /// The offset after the last record that was found.
        end: i64,
        /// What the checkpoint says.
        log_start: i64,
        /// How many segments with records were set aside.
        segments: usize,
        /// What was added to the names of their files.
        suffix: String,
    },
    /// The first segment begins behind the stored start of the log.
    BeginsBehindStart {
        /// The partition's directory.
        dir: PathBuf,
        /// The file with the start.
        checkpoint: PathBuf,
        /// The first segment's base offset.
        first: i64,
        /// What the checkpoint says.
        log_start: i64,
    },
    /// A partition with records has no directory. It begins anew.
    MissingDirectory {
        /// The directory it had.
        dir: PathBuf,
        /// Everything below was on disk.
        recovery_point: i64,
    },
    /// The history of leader epochs has no bytes, and there are batches, each of some epoch.
    NoEpochs {
        /// Which file.
        path: PathBuf,
    },
    /// The log holds more than the last clean stop left.
    GrownSinceCleanStop {
        /// The partition's directory.
        dir: PathBuf,
        /// The offset after the last record.
        end: i64,
        /// What the stop left it at.
        recovery_point: i64,
    },
}

impl Warning {
    /// The segment before ends at `ends`.
    pub(crate) fn gap_between(before: &Segment, ends: i64, behind: &Segment) -> Warning {
        Warning::GapBetweenSegments {
            before: before.path(FileKind::Log),
            ends,
            behind: behind.path(FileKind::Log),
            begins: behind.base_offset(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::DamagedSwap {
                path,
                position,
                found,
            } => write!(
                f,
                "{} is damaged at position {position}, found {found}; it was removed and the \
                 segments it was to replace were kept, nothing is lost; check the disk",
                path.display()
            ),
            Warning::GapBetweenSegments {
                before,
                ends,
                behind,
                begins,
            } => write!(
                f,
                "offsets {ends}..{begins} are missing between {} and {}, and nothing here says \
                 that the log was ever compacted; if its leader has them, a file was lost: \
                 restore the partition from a replica or a backup; without either the rest is \
                 served",
                before.display(),
                behind.display()
            ),
            Warning::StartBehindEnd {
                dir,
                checkpoint,
                end,
                log_start,
                segments,
                suffix,
            } => write!(
                f,
                "{} holds records below offset {end}, {} says that the log starts at {log_start}; \
                 it starts there, empty, and the {segments} segments were renamed to \
                 <file>{suffix}; to have the records back, stop the broker, remove the log's \
                 newer segments, correct the checkpoint and rename the files back; remove them \
                 if the start is right",
                dir.display(),
                checkpoint.display()
            ),
            Warning::BeginsBehindStart {
                dir,
                checkpoint,
                first,
                log_start,
            } => write!(
                f,
                "{} begins at offset {first}, {} says that its records begin at {log_start}; \
                 unless retention removed those before {first} just before the broker was \
                 killed, a file was lost: restore the partition from a replica or a backup; without \
                 either the rest is served",
                dir.display(),
                checkpoint.display()
            ),
            Warning::MissingDirectory {
                dir,
                recovery_point,
            } => {
                let held = match *recovery_point {
                    RECOVERY_POINT_UNKNOWN => "records".to_owned(),
                    known => format!("offsets below {known}"),
                };
                write!(
                    f,
                    "{} is missing, and {held} were in it; the partition begins anew, empty; \
                     unless its topic was deleted and made again, restore the directory from a \
                     replica or a backup with the broker stopped; without either they are gone",
                    dir.display()
                )
            }
            Warning::NoEpochs { path } => write!(
                f,
                "{} has no bytes though there are batches: it is not known which leader wrote what \
                 so far; restore it from a replica or a backup",
                path.display()
            ),
            Warning::GrownSinceCleanStop {
                dir,
                end,
                recovery_point,
            } => write!(
                f,
                "{} ends at offset {end}, the last clean stop left it at {recovery_point}; its \
                 files were changed since, or are another partition's: compare it with a replica \
                 or a backup, or look into it with reka dump-log",
                dir.display()
            ),
        }
    }
}

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes read to verify the tail; 0 after a clean stop.
    pub scanned_bytes: u64,
    /// A torn tail that was cut: first offset lost, and why.
    pub cut: Option<(i64, String)>,
    /// Damage below the recovery point, or an end there; the log takes no appends.
    pub damage: Option<Damage>,
    /// What a person should look at though the log works.
    pub warnings: Vec<Warning>,
    /// Files that belong to nothing and were left alone.
    pub unknown_files: Vec<String>,
    /// Batches replayed to rebuild producer state.
    pub replayed_batches: u64,
    /// Offsets of producer snapshots that were not what was written; they are set aside.
    pub unusable_snapshots: Vec<i64>,
    /// Base offsets of segments whose `.txnindex` did not have the aborted transactions
    /// below the recovery point that the segment's markers call for; it was made anew.
    pub rebuilt_txn_indexes: Vec<i64>,
}

impl RecoveryReport {
    /// Adds what an earlier attempt to open the log found and did: it is told once, and not lost.
    pub(crate) fn add_earlier(&mut self, earlier: RecoveryReport) {
        let RecoveryReport {
            scanned_bytes,
            cut,
            damage,
            warnings,
            unknown_files,
            replayed_batches,
            unusable_snapshots,
            rebuilt_txn_indexes,
        } = earlier;
        self.scanned_bytes += scanned_bytes;
        self.replayed_batches += replayed_batches;
        // Of two cuts the lower one says what is gone.
        let cuts = cut.into_iter().chain(self.cut.take());
        self.cut = cuts.min_by_key(|(offset, _)| *offset);
        self.damage = self.damage.take().or(damage);
        put_before(&mut self.warnings, warnings);
        put_before(&mut self.unknown_files, unknown_files);
        put_before(&mut self.unusable_snapshots, unusable_snapshots);
        put_before(&mut self.rebuilt_txn_indexes, rebuilt_txn_indexes);
    }
}

/// Puts those before the others that are not among them.
fn put_before<T: PartialEq>(those: &mut Vec<T>, mut earlier: Vec<T>) {
    earlier.retain(|one| !those.contains(one));
    those.splice(..0, earlier);
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
    /// The same for all batches at the end of which each left a gap and that reach behind
    /// the recovery point: were only the last one dropped, the next scan would drop the
    /// one before it.
    pub(crate) before_gaps: Option<(u64, i64)>,
    /// The end before the first batch that left a gap, behind another batch or behind the beginning
    /// of the segment, and where that batch begins.
    pub(crate) first_gap: Option<(u64, i64, i64)>,
    /// The end before the first batch that left a gap from below the recovery point to
    /// behind it: that was the end of a batch that was on disk.
    pub(crate) spanning_gap: Option<(u64, i64)>,
    /// Why the scan stopped before the end of the file. Zeros to the end are not
    /// in themselves wrong: a truncation or a reservation leaves them.
    pub(crate) stopped: Option<Stop>,
}

impl ScannedSegment {
    /// The same, ended by its first gap.
    pub(crate) fn upto_first_gap(self) -> ScannedSegment {
        match self.first_gap {
            None => self,
            Some((valid_bytes, end_offset, behind)) => ScannedSegment {
                valid_bytes,
                end_offset,
                before_gap: None,
                before_gaps: None,
                first_gap: None,
                spanning_gap: None,
                stopped: Some(Stop::Bad(format!("a gap up to offset {behind}"))),
            },
        }
    }
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

/// Whether offsets may be missing between segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// The log is or was compacted: they are what compaction leaves.
    Compaction,
    /// As far as this directory knows it never was. A replica of a log that was
    /// compacted elsewhere has gaps all the same.
    Unexplained,
}

/// Decides from the scanned segments (base offset and finding), oldest first.
pub(crate) fn decide(
    scanned: &[(i64, ScannedSegment)],
    recovery_point: i64,
    gaps: Gaps,
) -> Decision {
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
            let apart = index.checked_sub(1).and_then(|before| {
                let found = &scanned[before].1;
                Some((before, found.before_gaps.or(found.before_gap)?))
            });
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
        // One that spans the recovery point is neither: that was the end of a batch that
        // was on disk, and only compaction may have taken it since.
        let spans = end_offset < recovery_point && recovery_point < *base;
        let unexplained = end_offset >= recovery_point || spans && gaps == Gaps::Unexplained;
        if *base > end_offset && index > 0 && unexplained {
            let why = format!("a gap up to offset {base}");
            return verdict(index, 0, end_offset, why, recovery_point);
        }
        if gaps == Gaps::Unexplained
            && let Some((position, offset)) = segment.spanning_gap
        {
            let why = format!("a batch that leaves a gap behind offset {offset}");
            return verdict(index, position, offset, why, recovery_point);
        }
        // Behind the recovery point nothing bears the gap out. A gap from below it to
        // an end behind it is no better: the recovery point was the end of a batch.
        if last && let Some((position, offset)) = segment.before_gaps {
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

/// What a [`BatchReader`] meets next.
enum Next {
    /// A good batch.
    Batch(BatchHeader),
    /// A batch whose offsets do not continue those before it.
    OutOfOrder(BatchHeader),
    /// Something else, or zeros.
    Stopped(Stop),
    /// The end of the file.
    End,
}

/// Reads the batches of a data file one behind the other and checks all that can be
/// checked: structure, checksum, offsets and leader epochs. Memory is one buffer, as
/// large as the largest batch at most.
struct BatchReader<'a> {
    file: &'a File,
    base_offset: i64,
    file_bytes: u64,
    /// Where the next batch is looked for.
    position: u64,
    /// No batch may begin below.
    end_offset: i64,
    /// No batch may have a leader epoch below; -1 before any.
    epoch: i32,
    buffer: Vec<u8>,
    buffered: std::ops::Range<u64>,
    read_bytes: u64,
}

impl<'a> BatchReader<'a> {
    fn new(file: &'a File, base_offset: i64, file_bytes: u64) -> BatchReader<'a> {
        BatchReader {
            file,
            base_offset,
            file_bytes,
            position: 0,
            end_offset: base_offset,
            epoch: -1,
            buffer: vec![0; SCAN_BYTES.min(file_bytes as usize)],
            buffered: 0..0,
            read_bytes: 0,
        }
    }

    fn next(&mut self) -> DiskResult<Next> {
        let bad = |why| Ok(Next::Stopped(Stop::Bad(why)));
        if self.position == self.file_bytes {
            return Ok(Next::End);
        }
        let left = self.file_bytes - self.position;
        self.fill((HEADER_BYTES as u64).min(left))?;
        let head = &self.buffer[(self.position - self.buffered.start) as usize
            ..(self.buffered.end - self.buffered.start) as usize];
        let header = match BatchHeader::parse(head) {
            Ok(header) => header,
            Err(_) if self.all_zero()? => return Ok(Next::Stopped(Stop::Zeros)),
            Err(error) => return bad(error.to_string()),
        };
        let size = header.size() as u64;
        if size > left {
            return bad(format!(
                "a batch of {size} bytes with {left} bytes left in the file"
            ));
        }
        if header.base_offset < self.end_offset
            || header.last_offset_delta < 0
            || !can_hold(self.base_offset, &header)
        {
            return Ok(Next::OutOfOrder(header));
        }
        if (0..self.epoch).contains(&header.leader_epoch) {
            return bad(format!(
                "leader epoch {} behind leader epoch {}",
                header.leader_epoch, self.epoch
            ));
        }
        self.fill(size)?;
        let at = (self.position - self.buffered.start) as usize;
        let whole = &self.buffer[at..at + size as usize];
        if let Err(error) = BatchView::parse(whole).and_then(|batch| batch.verify_crc()) {
            return bad(error.to_string());
        }
        self.position += size;
        self.end_offset = header.next_offset();
        self.epoch = self.epoch.max(header.leader_epoch);
        Ok(Next::Batch(header))
    }

    /// Makes the buffer hold at least `want` bytes from the position on.
    fn fill(&mut self, want: u64) -> DiskResult<()> {
        let position = self.position;
        if self.buffered.start <= position && position + want <= self.buffered.end {
            return Ok(());
        }
        // `want` is no more than what is left of the file, so memory stays bounded by it.
        if want as usize > self.buffer.len() {
            self.buffer.resize(want as usize, 0);
        }
        let file = self.file;
        let read = file.read_up_to(&mut self.buffer, position)?;
        self.buffered = position..position + read as u64;
        self.read_bytes += read as u64;
        if (read as u64) < want {
            // The file became shorter while it was read.
            file.read_exact_at(&mut self.buffer[..want as usize], position)?;
            self.buffered = position..position + want;
        }
        Ok(())
    }

    /// Whether nothing but zeros follows.
    fn all_zero(&self) -> DiskResult<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let mut position = self.position;
        while position < self.file_bytes {
            let want = ((self.file_bytes - position) as usize).min(buffer.len());
            let file = self.file;
            file.read_exact_at(&mut buffer[..want], position)?;
            if buffer[..want].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += want as u64;
        }
        Ok(true)
    }
}

/// Whether the indexes of a segment could name the batch: it spans at most 2^31 offsets.
fn can_hold(base_offset: i64, header: &BatchHeader) -> bool {
    header
        .last_offset()
        .checked_sub(base_offset)
        .is_some_and(|relative| relative <= i64::from(i32::MAX))
}

fn out_of_order(header: &BatchHeader, end_offset: i64) -> String {
    format!(
        "offsets {}..={} after offset {end_offset}",
        header.base_offset,
        header.last_offset()
    )
}

/// A data file of which every byte is accounted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified {
    /// The offset after the last batch, or the base offset.
    pub(crate) end_offset: i64,
    /// The last batch, and where it is.
    pub(crate) last: Option<(u64, BatchHeader)>,
    /// The batch that ends at the offset that was looked for.
    pub(crate) sought: Option<(u64, BatchHeader)>,
}

/// Checks a data file from its first byte to its last; else the position and what was
/// found there. On the way it looks for a batch that ends at the offset `sought`.
pub(crate) fn verify(
    file: &File,
    base_offset: i64,
    sought: Option<i64>,
    scanned_bytes: &mut u64,
) -> DiskResult<Result<Verified, (u64, String)>> {
    let mut reader = BatchReader::new(file, base_offset, file.size()?);
    let mut verified = Verified {
        end_offset: base_offset,
        last: None,
        sought: None,
    };
    let verified = loop {
        let position = reader.position;
        let found = match reader.next()? {
            Next::Batch(header) => {
                verified.end_offset = header.next_offset();
                verified.last = Some((position, header));
                if Some(header.last_offset()) == sought {
                    verified.sought = verified.last;
                }
                continue;
            }
            Next::End => break Ok(verified),
            Next::OutOfOrder(header) => out_of_order(&header, reader.end_offset),
            Next::Stopped(Stop::Bad(why)) => why,
            Next::Stopped(Stop::Zeros) => "zeros".into(),
        };
        break Err((position, found));
    };
    *scanned_bytes += reader.read_bytes;
    Ok(verified)
}

/// Reads a segment from a place its index confirms, at or before `from_offset`, to
/// the end of its file, and rebuilds the indexes from there. No batch may have a leader
/// epoch below `epoch`, which is raised to the last one found. What ends below
/// `recovery_point` is borne out by it.
pub(crate) fn scan(
    segment: &Arc<Segment>,
    from_offset: i64,
    recovery_point: i64,
    index_interval: u64,
    epoch: &mut i32,
    scanned_bytes: &mut u64,
) -> Result<ScannedSegment, ReadError> {
    let file_bytes = segment.file()?.size()?;
    segment.publish(file_bytes);
    segment.offsets.keep_plausible(file_bytes)?;
    let start = confirmed_start(segment, from_offset)?;
    let scan = Scan {
        segment,
        file_bytes,
        recovery_point,
        index_interval,
    };
    let before = *epoch;
    let found = scan.run(start, epoch, scanned_bytes);
    let is_found_wrong = |start: OffsetEntry| match &found {
        Ok(found) => found.valid_bytes <= start.position,
        Err(error) => matches!(error, ReadError::Corrupt(_)),
    };
    match start {
        // Where the batch before it ends only the batches before it say, and of what is wrong with
        // these it is for the decision to judge.
        Some(start) if is_found_wrong(start) => {
            *epoch = before;
            segment.publish(file_bytes);
            scan.run(None, epoch, scanned_bytes)
        }
        _ => found,
    }
}

/// A segment and how it is scanned.
struct Scan<'a> {
    segment: &'a Arc<Segment>,
    file_bytes: u64,
    recovery_point: i64,
    index_interval: u64,
}

impl Scan<'_> {
    fn run(
        &self,
        start: Option<OffsetEntry>,
        epoch: &mut i32,
        scanned_bytes: &mut u64,
    ) -> Result<ScannedSegment, ReadError> {
        let Scan {
            segment,
            file_bytes,
            recovery_point,
            index_interval,
        } = *self;
        let first_position = start.map_or(0, |entry| entry.position);
        segment
            .offsets
            .truncate_to_position(first_position + u64::from(start.is_some()))?;
        // Time entries of batches that are not scanned again stay; the greatest
        // timestamp between the last of them and the start is read from the headers.
        let start_offset = start.map_or(segment.base_offset(), |entry| entry.last_offset + 1);
        segment.times.keep_plausible(start_offset)?;
        restore_largest(segment, first_position)?;

        let mut reader = BatchReader::new(segment.file()?, segment.base_offset(), file_bytes);
        reader.position = first_position;
        reader.epoch = *epoch;
        let mut since_index = 0;
        let mut before_gap = None;
        let mut before_gaps = None;
        let mut spanning_gap = None;
        let mut first_gap = None;
        let stopped = loop {
            let (position, end_offset) = (reader.position, reader.end_offset);
            let header = match reader.next()? {
                Next::Batch(header) => header,
                Next::End => break None,
                Next::Stopped(stop) => break Some(stop),
                Next::OutOfOrder(header) => {
                    // A batch that left a gap and now overlaps was moved by a flipped bit.
                    if let Some((gap_position, gap_offset)) = before_gap.take()
                        && header.base_offset >= gap_offset
                    {
                        (reader.position, reader.end_offset) = (gap_position, gap_offset);
                        before_gaps = before_gaps.filter(|(first, _)| *first < gap_position);
                    }
                    break Some(Stop::Bad(out_of_order(&header, reader.end_offset)));
                }
            };
            let already_indexed = start.is_some() && position == first_position;
            segment.note_timestamp(header.max_timestamp, header.last_offset());
            if since_index > index_interval && !already_indexed {
                segment.make_room(1)?;
                segment.index(&header, position)?;
                since_index = 0;
            }
            since_index += header.size() as u64;
            let leaves_gap =
                header.base_offset > end_offset && (start.is_none() || position > first_position);
            before_gap = leaves_gap.then_some((position, end_offset));
            first_gap = first_gap.or_else(|| {
                let (position, end_offset) = before_gap?;
                Some((position, end_offset, header.base_offset))
            });
            let spans = end_offset < recovery_point && recovery_point < header.base_offset;
            spanning_gap = spanning_gap.or(before_gap.filter(|_| spans));
            // What ends below the recovery point is borne out by it.
            before_gaps = before_gap
                .filter(|_| header.next_offset() > recovery_point)
                .map(|gap| before_gaps.unwrap_or(gap));
        };
        *scanned_bytes += reader.read_bytes;
        *epoch = reader.epoch;
        let valid_bytes = reader.position;
        segment.publish(valid_bytes);
        Ok(ScannedSegment {
            valid_bytes,
            end_offset: reader.end_offset,
            before_gap,
            before_gaps,
            first_gap,
            spanning_gap,
            stopped,
        })
    }
}

/// The offset after the last batch of a segment that is not scanned: a few headers
/// behind its last index entry that the log bears out. `None` if a header is not what
/// was written, which is for a reader to find.
pub(crate) fn end_of(segment: &Segment) -> Result<Option<i64>, ReadError> {
    let mut from = segment.offsets.last()?;
    if let Some(entry) = from
        && !is_borne_out(segment, entry)?
    {
        from = None;
    }
    let mut walk = segment.walk_unmapped(from)?;
    let mut end = segment.base_offset();
    loop {
        match walk.next() {
            Ok(Some(batch)) => end = batch.header.next_offset(),
            Ok(None) => return Ok(Some(end)),
            Err(ReadError::Disk(error)) => return Err(error.into()),
            Err(_) => return Ok(None),
        }
    }
}

fn is_borne_out(segment: &Segment, entry: OffsetEntry) -> Result<bool, ReadError> {
    match segment.walk_unmapped(Some(entry))?.next() {
        Ok(Some(batch)) => Ok(batch.header.last_offset() == entry.last_offset),
        Err(ReadError::Disk(error)) => Err(error.into()),
        _ => Ok(false),
    }
}

/// The index entry to start from: the last at or below the offset that the log bears out.
fn confirmed_start(segment: &Segment, from_offset: i64) -> Result<Option<OffsetEntry>, ReadError> {
    let Some(entry) = segment.offsets.floor(from_offset - 1)? else {
        return Ok(None);
    };
    if is_borne_out(segment, entry)? {
        return Ok(Some(entry));
    }
    // The whole segment is scanned.
    segment.offsets.clear()?;
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn good(end_offset: i64) -> ScannedSegment {
        ScannedSegment {
            valid_bytes: 100,
            end_offset,
            before_gap: None,
            before_gaps: None,
            first_gap: None,
            spanning_gap: None,
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
        } = decide(&scanned, 15, Gaps::Compaction)
        else {
            panic!("{:?}", decide(&scanned, 15, Gaps::Compaction))
        };
        let Decision::Damaged {
            index: 1,
            position: 100,
            offset: 15,
            ..
        } = decide(&scanned, 16, Gaps::Compaction)
        else {
            panic!("{:?}", decide(&scanned, 16, Gaps::Compaction))
        };
    }

    #[test]
    fn zeros_end_a_segment_only_where_the_next_one_continues() {
        assert_eq!(
            decide(&[(0, zeros(10)), (10, zeros(20))], 0, Gaps::Compaction),
            Decision::Keep { end_offset: 20 }
        );
        assert!(matches!(
            decide(&[(0, zeros(10)), (12, good(20))], 0, Gaps::Compaction),
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
        assert_eq!(
            decide(&scanned, 12, Gaps::Compaction),
            Decision::Keep { end_offset: 20 }
        );
        assert!(matches!(
            decide(&scanned, 10, Gaps::Compaction),
            Decision::Cut {
                index: 1,
                valid_bytes: 0,
                end_offset: 10,
                ..
            }
        ));
    }

    #[test]
    fn a_gap_that_spans_the_recovery_point_is_damage_unless_compaction_explains_it() {
        let scanned = [(0, good(10)), (14, good(20))];
        let decide = |recovery_point, gaps| decide(&scanned, recovery_point, gaps);
        assert_eq!(
            decide(12, Gaps::Compaction),
            Decision::Keep { end_offset: 20 }
        );
        assert_eq!(
            decide(12, Gaps::Unexplained),
            Decision::Damaged {
                index: 1,
                position: 0,
                offset: 10,
                found: "a gap up to offset 14".into(),
            }
        );
        // Below it the gap may have come with what was replicated.
        assert_eq!(
            decide(14, Gaps::Unexplained),
            Decision::Keep { end_offset: 20 }
        );
    }

    #[test]
    fn so_is_one_inside_a_segment() {
        let gap = ScannedSegment {
            spanning_gap: Some((60, 7)),
            ..good(20)
        };
        assert_eq!(
            decide(&[(0, gap.clone())], 12, Gaps::Compaction),
            Decision::Keep { end_offset: 20 }
        );
        assert!(matches!(
            decide(&[(0, gap)], 12, Gaps::Unexplained),
            Decision::Damaged {
                index: 0,
                position: 60,
                offset: 7,
                ..
            }
        ));
    }

    #[test]
    fn a_last_batch_that_stands_apart_is_not_believed() {
        let apart = ScannedSegment {
            before_gap: Some((60, 7)),
            before_gaps: Some((60, 7)),
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
        assert!(cut(decide(&[(0, apart.clone())], 0, Gaps::Compaction)));
        assert!(cut(decide(
            &[(0, apart.clone()), (10, good(20))],
            0,
            Gaps::Compaction
        )));
        // One that ends at the recovery point is borne out by it.
        let apart = ScannedSegment {
            before_gaps: None,
            ..apart
        };
        assert_eq!(
            decide(&[(0, apart)], 12, Gaps::Compaction),
            Decision::Keep { end_offset: 12 }
        );
    }

    #[test]
    fn a_segment_whose_predecessor_lost_its_tail_goes_even_if_it_is_torn_itself() {
        let scanned = [(0, good(0)), (1, zeros(1)), (2, good(3))];
        assert!(matches!(
            decide(&scanned, 0, Gaps::Compaction),
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
            decide(&scanned, 0, Gaps::Compaction),
            Decision::Cut {
                index: 1,
                end_offset: 10,
                ..
            }
        ));
        assert!(matches!(
            decide(&scanned, 11, Gaps::Compaction),
            Decision::Damaged {
                index: 1,
                offset: 10,
                ..
            }
        ));
    }
}
