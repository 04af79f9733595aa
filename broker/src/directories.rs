//! Which data directories a node has at its start, which of them holds the metadata, and what a person
//! should know of them.

use std::path::PathBuf;
use std::sync::Arc;

use reka_raft::image::Topics;
use reka_storage::fs::Disk;
use reka_storage::log_dir::{self, Identity};
use reka_storage::log_dirs::LogDirs;
use reka_storage::map_budget::{MAPS_MAX, MapBudget};
use reka_storage::{LogDir, TopicPartition};
use uuid::Uuid;

use crate::config::Config;
use crate::node::NodeError;
use crate::seams::Chance;

/// Where the quorum keeps its files, inside the data directory.
pub(crate) const METADATA_DIR: &str = "reka-metadata";

/// Locks the data directories. New ones get the cluster id that was asked for, or that of the
/// others, or a new one. A disk that fails takes its own partitions along, and no more.
pub(crate) fn take_log_dirs(
    disk: &Disk,
    chance: &Chance,
    config: &Config,
) -> Result<LogDirs, NodeError> {
    let dirs = config.logs.dirs.as_slice();
    for dir in dirs {
        match disk.create_dir_all(dir) {
            Ok(()) => {}
            Err(source) if dirs.len() == 1 => {
                let dir = dir.clone();
                return Err(NodeError::CreateDir { dir, source });
            }
            Err(error) => {
                tracing::error!(
                    "cannot create the data directory {}: {error}",
                    dir.display()
                );
            }
        }
    }
    let maps = Arc::new(MapBudget::new(MAPS_MAX));
    let known = LogDirs::cluster_id(disk, dirs)?;
    let cluster_id = match (&config.node.cluster_id, known) {
        (Some(asked), _) => asked.clone(),
        (None, Some(known)) => known,
        (None, None) => log_dir::id_to_text(chance.uuid()),
    };
    let identity = Identity {
        cluster_id,
        node_id: config.node.id,
        directory_id: None,
    };
    Ok(LogDirs::open(disk, dirs, &identity, &maps)?)
}

/// The directory with the metadata, whatever their order is now; at the first start the first of
/// them. It is needed: one that is out of use may be the one.
pub(crate) fn metadata_dir<'a>(
    log_dirs: &'a LogDirs,
    config: &Config,
) -> Result<&'a Arc<LogDir>, NodeError> {
    let mut holders = Vec::new();
    for dir in log_dirs.dirs() {
        match dir.env().disk.open_dir(&dir.path().join(METADATA_DIR)) {
            Ok(_) => holders.push(dir),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let reason = error.to_string();
                return Err(NodeError::MetadataDir { reason });
            }
        }
    }
    if let [first, second, ..] = *holders {
        return Err(NodeError::MetadataTwice {
            first: first.path().join(METADATA_DIR),
            second: second.path().join(METADATA_DIR),
        });
    }
    match (holders.first(), log_dirs.failed()) {
        (Some(dir), _) => Ok(dir),
        (None, [failed, ..]) => Err(NodeError::MetadataDir {
            reason: failed.reason.clone(),
        }),
        // One that was formatted and never held anything is of a first start that broke off.
        (None, []) if !log_dirs.unused().is_empty() && !log_dirs.partitions().is_empty() => {
            let dir = log_dirs.unused()[0].display();
            Err(NodeError::MetadataDir {
                reason: format!(
                    "log directory {dir} was never used: mount its disk, or format it to begin with \
                     new metadata"
                ),
            })
        }
        (None, []) => {
            let first =
                |dir: &&Arc<LogDir>| Some(dir.path()) == config.logs.dirs.first().map(|dir| &**dir);
            let found = log_dirs.dirs().iter().find(first);
            Ok(found.unwrap_or(&log_dirs.dirs()[0]))
        }
    }
}

/// The directories in use, with their ids.
pub(crate) fn with_ids(log_dirs: &LogDirs) -> Vec<(PathBuf, Uuid)> {
    let dirs = log_dirs.dirs().iter();
    dirs.map(|dir| (dir.path().to_owned(), directory_id(dir)))
        .collect()
}

/// Those that the metadata knows this broker by, and that are not among the directories in use.
fn missing(log_dirs: &LogDirs, known: &[Uuid]) -> Vec<Uuid> {
    let found = with_ids(log_dirs);
    let is_missing = |id: &&Uuid| found.iter().all(|(_, found)| found != *id);
    known.iter().filter(is_missing).copied().collect()
}

/// A directory that nobody ever used is new if all the others are there. Otherwise it may be the
/// place of one whose disk is not mounted, and what was in that would begin anew, empty. Each that
/// failed may be one of those that are missing.
pub(crate) fn check_unused(
    log_dirs: &LogDirs,
    known: &[Uuid],
    cluster_id: &str,
) -> Result<(), NodeError> {
    let missing = missing(log_dirs, known);
    match log_dirs.unused().first() {
        Some(dir) if missing.len() > log_dirs.failed().len() => {
            let ids: Vec<String> = missing.into_iter().map(log_dir::id_to_text).collect();
            Err(NodeError::NotMounted {
                dir: dir.clone(),
                missing: format!("directory.id {}", ids.join(", ")),
                cluster_id: cluster_id.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// What the metadata is to know this broker by: the directories in use, and as long as one failed,
/// those that are missing, or the next start would not miss them.
pub(crate) fn directories_to_register(log_dirs: &LogDirs, known: &[Uuid]) -> Vec<Uuid> {
    let found = with_ids(log_dirs).into_iter().map(|(_, id)| id);
    let missing = match log_dirs.failed() {
        [] => Vec::new(),
        _ => missing(log_dirs, known),
    };
    found.chain(missing).collect()
}

/// What lies in the data directories and nobody serves.
pub(crate) fn left_alone(log_dirs: &LogDirs, topics: &Topics) -> Vec<String> {
    let name = |path: &PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    // One that is known and could not be opened is told of there, and tried again.
    let is_known = |path: &PathBuf| {
        let partition = name(path).and_then(|name| TopicPartition::parse_dir(&name));
        partition.is_some_and(|one| topics.partition(&one.topic, one.partition).is_some())
    };
    let strays = log_dirs.partitions().into_iter();
    let strays = strays.filter(|path| !is_known(path));
    let unknown = log_dirs.unknown().iter().cloned();
    let unknown = unknown.filter(|path| name(path).as_deref() != Some(METADATA_DIR));
    let remark = |found: Vec<PathBuf>, what: &str| {
        let shown: Vec<String> = found
            .iter()
            .take(LEFT_ALONE_SHOWN)
            .map(|path| path.display().to_string())
            .collect();
        (!found.is_empty()).then(|| {
            format!(
                "{} {what} and were left alone ({}); move them away once they are explained",
                found.len(),
                shown.join(", ")
            )
        })
    };
    let strays = remark(
        strays.collect(),
        "directories are of partitions that are not served here",
    );
    let unknown = remark(
        unknown.collect(),
        "names in the log directories belong to nothing",
    );
    strays.into_iter().chain(unknown).collect()
}

/// A directory may hold any number of them; these are enough to find the others.
const LEFT_ALONE_SHOWN: usize = 10;

/// What a person should know of directories that are not those the metadata knows this broker by.
pub(crate) fn unfamiliar(known: &[Uuid], found: &[(PathBuf, Uuid)]) -> Vec<String> {
    let missing = known
        .iter()
        .filter(|id| found.iter().all(|(_, found)| found != *id));
    let missing = missing.count();
    let new = found.iter().filter(|(_, id)| !known.contains(id));
    new.map(|(dir, id)| {
        let dir = dir.display();
        match missing {
            0 => format!("log directory {dir} (directory.id {id}) is new to this broker"),
            missing => format!(
                "log directory {dir} has directory.id {id}, which the metadata does not know, and \
                 {missing} that it knows are missing: if a disk was replaced, or its meta.properties \
                 removed, what was on it has to come from replicas or a backup"
            ),
        }
    })
    .collect()
}

/// The directory's id as sixteen bytes.
pub(crate) fn directory_id(log_dir: &LogDir) -> Uuid {
    log_dir
        .identity()
        .directory_uuid()
        .unwrap_or_else(Uuid::nil)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_directory_and_is_not_served_is_told_of() {
        let place = tempfile::tempdir().expect("a folder");
        for name in ["t-0", "t-1", "reka-metadata", "lost+found"] {
            std::fs::create_dir(place.path().join(name)).expect("a directory");
        }
        let identity = Identity {
            cluster_id: "c".into(),
            node_id: 1,
            directory_id: None,
        };
        let maps = Arc::new(MapBudget::new(10));
        let paths = [place.path().to_owned()];
        let dirs = LogDirs::open(&Disk::real(), &paths, &identity, &maps).expect("a directory");
        let root = place.path().display();
        assert_eq!(
            left_alone(&dirs, &Topics::default()),
            [
                format!(
                    "2 directories are of partitions that are not served here and were left alone \
                     ({root}/t-0, {root}/t-1); move them away once they are explained"
                ),
                format!(
                    "1 names in the log directories belong to nothing and were left alone \
                     ({root}/lost+found); move them away once they are explained"
                ),
            ]
        );
    }

    #[test]
    fn a_directory_the_metadata_does_not_know_is_told_of() {
        let id = Uuid::from_u128;
        let found = |ids: &[u128]| -> Vec<(PathBuf, Uuid)> {
            let found = ids
                .iter()
                .map(|number| (format!("/{number}").into(), id(*number)));
            found.collect()
        };
        assert_eq!(unfamiliar(&[id(1), id(2)], &found(&[2, 1])), [""; 0]);
        assert_eq!(unfamiliar(&[id(1), id(2)], &found(&[1])), [""; 0]);
        assert_eq!(
            unfamiliar(&[id(1)], &found(&[1, 3])),
            [
                "log directory /3 (directory.id 00000000-0000-0000-0000-000000000003) is new to this \
              broker"
            ]
        );
        assert_eq!(
            unfamiliar(&[id(1), id(2)], &found(&[1, 3])),
            [
                "log directory /3 has directory.id 00000000-0000-0000-0000-000000000003, which the \
              metadata does not know, and 1 that it knows are missing: if a disk was replaced, or its \
              meta.properties removed, what was on it has to come from replicas or a backup"
            ]
        );
    }
}
