//! What opening a log found and did, in values and in words.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::RECOVERY_POINT_UNKNOWN;
use crate::format::{FileKind, RECOVERY_POINT_CHECKPOINT};
use crate::segment::Segment;

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
