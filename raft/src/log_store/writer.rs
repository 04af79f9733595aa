//! Who writes: one thread, so that votes and entries reach the disk in the order in
//! which they were asked for, and the runtime never waits for a disk.
//!
//! Commands that queued up while a sync ran share the next one. With
//! [`WriterMode::Inline`] there is no thread: each command is carried out by the
//! caller, so a simulated node under virtual time takes the same steps in every run.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bytes::Bytes;

use super::index::Index;
use super::markers;
use super::segments::Segments;
use crate::error::StoreError;
use crate::types::{LogId, Vote};
use reka_storage::fs::Disk;
use std::path::PathBuf;

/// Where writes happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterMode {
    /// On a thread of the log's own.
    #[default]
    Thread,
    /// In the call itself.
    Inline,
}

/// Told once its command is durable, or that it failed.
pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What can be asked for.
pub(super) enum Command {
    Append {
        first: u64,
        entries: Vec<Bytes>,
        done: Done,
    },
    Vote(Vote, Done),
    Truncate {
        since: u64,
        done: Done,
    },
    Purge(LogId, Done),
    /// Carried out after the sync of what came before it; nobody waits.
    Committed(LogId),
    /// Nothing; done when all before it is.
    Drain(Done),
}

/// Commands taken together at most, so that the first waits for no endless queue.
const GROUP_MAX: usize = 256;

/// The hand that writes.
struct Hand {
    disk: Disk,
    dir: PathBuf,
    segments: Segments,
    index: Arc<Mutex<Index>>,
    /// Appends written but not synced: the index behind them, and whom to tell.
    unsynced: Vec<(u64, Done)>,
    committed: Option<LogId>,
    /// Set by the first failure; nothing is written after it.
    failed: Option<String>,
}

impl Hand {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            match command {
                Command::Append {
                    first,
                    entries,
                    done,
                } => match self.unless_failed(|hand| hand.append(first, &entries)) {
                    Ok(()) => self.unsynced.push((first + entries.len() as u64, done)),
                    Err(error) => {
                        // Earlier ones are told first: callbacks keep their order.
                        self.sync();
                        done(Err(error));
                    }
                },
                Command::Committed(upto) => self.committed = Some(upto),
                Command::Vote(vote, done) => self.after_sync(done, |hand| {
                    markers::write_vote(&hand.disk, &hand.dir, &vote)
                }),
                Command::Truncate { since, done } => self.after_sync(done, |hand| {
                    let Some(position) = hand.index().position(since) else {
                        return Ok(());
                    };
                    hand.segments.truncate(since, position)?;
                    hand.index().truncate(since);
                    Ok(())
                }),
                Command::Purge(upto, done) => self.after_sync(done, |hand| {
                    let next = hand.index().next();
                    hand.segments.purge(upto, next)?;
                    hand.index().purge(upto);
                    Ok(())
                }),
                Command::Drain(done) => self.after_sync(done, |_| Ok(())),
            }
        }
        self.sync();
    }

    fn append(&mut self, first: u64, entries: &[Bytes]) -> Result<(), StoreError> {
        let places = self.segments.append(first, entries)?;
        self.index().placed(first, places);
        Ok(())
    }

    /// Syncs what was appended, tells who waits for it, then notes what is committed.
    fn sync(&mut self) {
        if let Some((synced_below, _)) = self.unsynced.last() {
            let synced_below = *synced_below;
            let result = self.unless_failed(|hand| hand.segments.sync());
            if result.is_ok() {
                self.index().synced(synced_below);
            }
            for (_, done) in std::mem::take(&mut self.unsynced) {
                match &self.failed {
                    None => done(Ok(())),
                    Some(reason) => done(Err(StoreError::Stopped {
                        reason: reason.clone(),
                    })),
                }
            }
        }
        if let Some(upto) = self.committed.take() {
            // Whoever writes next is told of a failure.
            let _ =
                self.unless_failed(|hand| markers::write_committed(&hand.disk, &hand.dir, upto));
        }
    }

    fn after_sync(&mut self, done: Done, work: impl FnOnce(&mut Hand) -> Result<(), StoreError>) {
        self.sync();
        let result = self.unless_failed(work);
        done(result);
    }

    /// After a failure the disk may hold less than was acknowledged, and trying again
    /// could hide that: see [`reka_storage::fs::File::sync`].
    fn unless_failed<T>(
        &mut self,
        work: impl FnOnce(&mut Hand) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(StoreError::Stopped {
                reason: reason.clone(),
            });
        }
        work(self).inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

/// Takes commands in order; clones share it.
#[derive(Clone)]
pub(super) struct Writer(Arc<Kind>);

enum Kind {
    /// The queue needs no bound of its own: openraft waits for each command but
    /// `Committed`, and there is one of those for each append.
    Thread(mpsc::Sender<Command>),
    Inline(Mutex<Hand>),
}

impl Writer {
    pub(super) fn start(
        mode: WriterMode,
        disk: Disk,
        dir: PathBuf,
        segments: Segments,
        index: Arc<Mutex<Index>>,
    ) -> std::io::Result<Writer> {
        let mut hand = Hand {
            disk,
            dir,
            segments,
            index,
            unsynced: Vec::new(),
            committed: None,
            failed: None,
        };
        let kind = match mode {
            WriterMode::Inline => Kind::Inline(Mutex::new(hand)),
            WriterMode::Thread => {
                let (sender, receiver) = mpsc::channel::<Command>();
                std::thread::Builder::new()
                    .name("raft-log".to_owned())
                    .spawn(move || {
                        let mut group = VecDeque::new();
                        // Ends when the last sender is gone.
                        while let Ok(command) = receiver.recv() {
                            group.push_back(command);
                            group.extend(receiver.try_iter().take(GROUP_MAX));
                            hand.run(group.drain(..));
                        }
                    })?;
                Kind::Thread(sender)
            }
        };
        Ok(Writer(Arc::new(kind)))
    }

    pub(super) fn submit(&self, command: Command) {
        match &*self.0 {
            Kind::Inline(hand) => {
                let mut hand = hand.lock().unwrap_or_else(PoisonError::into_inner);
                hand.run([command]);
            }
            Kind::Thread(sender) => {
                // Fails only when the thread panicked; dropping the command tells its
                // waiter.
                let _ = sender.send(command);
            }
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.0 {
            Kind::Thread(_) => "Writer(thread)",
            Kind::Inline(_) => "Writer(inline)",
        })
    }
}
