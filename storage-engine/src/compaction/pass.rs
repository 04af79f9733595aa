//! At most one pass of a log at a time, and none once the log is gone or closed.
//!
//! A pass works without the log's lock and finds its files by name. Two passes would write
//! files of one name; once the partition is deleted the directory of that name may be
//! another's, and once the log is closed another one may be open there, with a pass of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{LogError, PartitionDeleted};
use crate::format::TopicPartition;
use crate::fs::DiskResult;

/// What a log knows of the passes over it.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: bool,
    gone: bool,
    closed: bool,
}

/// The right to make a pass, from its plan until it is swapped in or dropped.
#[derive(Debug)]
pub(super) struct Pass {
    passes: Arc<Passes>,
    partition: TopicPartition,
}

impl Passes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while another pass is under way.
    pub(super) fn begin(self: &Arc<Passes>, partition: &TopicPartition) -> Option<Pass> {
        let mut state = self.state();
        if std::mem::replace(&mut state.under_way, true) {
            return None;
        }
        Some(Pass {
            passes: self.clone(),
            partition: partition.clone(),
        })
    }

    /// From the return of this on no pass goes by a name in the log's directory. Waits for
    /// one that opens or removes a file just now.
    pub(crate) fn set_gone(&self) {
        self.state().gone = true;
    }

    /// The log is no more; another one may be opened in its directory. As with
    /// [`Passes::set_gone`] no pass goes by a name from here on.
    pub(crate) fn set_closed(&self) {
        self.state().closed = true;
    }
}

impl Pass {
    /// Runs what goes by names in the log's directory, unless these may be another's.
    pub(super) fn by_name<T>(&self, run: impl FnOnce() -> DiskResult<T>) -> Result<T, LogError> {
        let state = self.passes.state();
        if state.gone {
            let partition = self.partition.clone();
            return Err(PartitionDeleted { partition }.into());
        }
        if state.closed {
            return Err(LogError::GivenUp);
        }
        Ok(run()?)
    }

    /// Runs what tidies up behind the pass, unless the names it goes by may be another's.
    pub(super) fn tidy_up(&self, run: impl FnOnce()) {
        let state = self.passes.state();
        if !state.gone && !state.closed {
            run();
        }
    }

    /// Whether this is a pass over that log.
    pub(super) fn is_of(&self, passes: &Arc<Passes>) -> bool {
        Arc::ptr_eq(&self.passes, passes)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passes.state().under_way = false;
    }
}
