//! Whether a log directory may still be used.
//!
//! A failed sync means that pages the kernel promised to write are lost, and that
//! asking again would be answered with success. So one failure takes the whole
//! directory offline until the process is restarted and the logs are recovered:
//! nothing in it is appended, acknowledged or served any more.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::fs::DiskError;

/// Shared by every log of one directory.
#[derive(Debug)]
pub struct DirHealth {
    dir: PathBuf,
    failure: OnceLock<(String, &'static str)>,
}

/// The directory is offline since the failure it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "log directory {} is offline since a failure ({reason}); {advice}, and restart the broker",
    .dir.display()
)]
pub struct DirOffline {
    /// Which directory.
    pub dir: PathBuf,
    /// The first failure.
    pub reason: String,
    /// What helps against that.
    pub advice: &'static str,
}

impl DirHealth {
    /// A directory that works.
    pub fn online(dir: &Path) -> DirHealth {
        DirHealth {
            dir: dir.to_owned(),
            failure: OnceLock::new(),
        }
    }

    /// `Err` for good once anything failed.
    pub fn check(&self) -> Result<(), DirOffline> {
        match self.failure.get() {
            None => Ok(()),
            Some((reason, advice)) => Err(DirOffline {
                dir: self.dir.clone(),
                reason: reason.clone(),
                advice,
            }),
        }
    }

    /// Takes the directory offline; the first reason is kept.
    pub fn fail(&self, error: &DiskError) {
        // A failed sync says that the directory is out of use, as is said here already.
        let advice = match error.advice() {
            Some(advice) if !error.is_failed_sync() => advice,
            _ => "check the disk, replace it if it fails",
        };
        let _ = self.failure.set((error.what(), advice));
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
