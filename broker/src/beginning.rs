//! Whether metadata may begin anew: not beside partitions that it would know nothing of.
//!
//! Apache Kafka formats nothing at start, so that it cannot happen there by itself: whoever formats the
//! directory of the metadata anew finds all partitions renamed `-stray`. Here a first start needs no
//! preparation, so the word is asked for where something may be lost (decision 0011): an empty directory
//! in the place of the metadata.

use std::path::PathBuf;

use reka_storage::LogDir;
use reka_storage::log_dirs::LogDirs;

use crate::directories::METADATA_DIR;
use crate::metadata::follow::CLUSTER_METADATA;

/// How many partitions are named; these are enough to find the others.
const SHOWN: usize = 3;

/// Why metadata does not begin anew. Nothing that was there was changed.
#[derive(Debug, thiserror::Error)]
pub enum BeginningError {
    /// There is none.
    #[error(
        "the log directories hold {partitions}, and none of them holds the metadata that knows them \
         ({METADATA_DIR}): restore it, or mount its disk and name it in log.dirs; to begin with new \
         metadata, in which those partitions are not, create the empty directory {}",
        .place.display()
    )]
    Missing {
        /// How many, and some of them.
        partitions: String,
        /// Where the metadata would be.
        place: PathBuf,
    },
    /// There is some, of which nothing is left.
    #[error(
        "the log directories hold {partitions}, and the metadata in {} knows nothing of this broker: \
         restore it from a backup; to begin with new metadata, in which those partitions are not, move \
         away what is in that directory",
        .place.display()
    )]
    Empty {
        /// How many, and some of them.
        partitions: String,
        /// Where the metadata is.
        place: PathBuf,
    },
}

/// What there is before the metadata is opened.
#[derive(Debug)]
pub(crate) struct Beginning {
    place: PathBuf,
    /// `None` if there are none.
    partitions: Option<String>,
    /// Somebody gave their word for new metadata.
    is_asked_for: bool,
}

impl Beginning {
    /// Looks; refused if new metadata would begin and nobody asked for it.
    pub(crate) fn of(
        log_dirs: &LogDirs,
        metadata_dir: &LogDir,
    ) -> Result<Beginning, BeginningError> {
        let place = metadata_dir.path().join(METADATA_DIR);
        let partitions = describe(log_dirs);
        let mut is_asked_for = false;
        match (metadata_dir.env().disk.read_dir(&place), &partitions) {
            (Ok(entries), _) => is_asked_for = entries.is_empty(),
            (Err(error), Some(partitions)) if error.is_not_found() => {
                let partitions = partitions.clone();
                return Err(BeginningError::Missing { partitions, place });
            }
            // Whoever opens it says why it cannot be looked into.
            (Err(_), _) => {}
        }
        Ok(Beginning {
            place,
            partitions,
            is_asked_for,
        })
    }

    /// Refused if the metadata turns out to know nothing; `is_known` says that it knows this broker.
    pub(crate) fn check(self, is_known: bool) -> Result<(), BeginningError> {
        match self.partitions {
            Some(partitions) if !is_known && !self.is_asked_for => Err(BeginningError::Empty {
                partitions,
                place: self.place,
            }),
            _ => Ok(()),
        }
    }
}

/// The partitions in the directories, in words. The metadata of Apache Kafka is none of them.
fn describe(log_dirs: &LogDirs) -> Option<String> {
    let found = log_dirs.partitions().into_iter();
    let is_kafkas = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{CLUSTER_METADATA}-"))
    };
    let found: Vec<PathBuf> = found.filter(|path| !is_kafkas(path)).collect();
    let shown = found
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match found.len() {
        0 => None,
        1 => Some(format!("1 partition ({shown})")),
        count if count > SHOWN => Some(format!("{count} partitions ({shown} and others)")),
        count => Some(format!("{count} partitions ({shown})")),
    }
}
