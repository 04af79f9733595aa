//! What a node takes from the world, in one place: files, time, chance, and threads for what blocks.
//! (Sockets are handed in where they are accepted. How long something took, for a metric, is measured
//! where it happens.)
//!
//! [`crate::Node`] takes those of the machine. A simulated one takes a disk in memory, virtual time, a
//! generator with a seed and no thread but one, so that the same seed takes the same steps.

use std::pin::Pin;
use std::task::{Context, Poll};

use reka_raft::log_store::WriterMode;
use reka_storage::fs::Disk;
use tokio::task::{JoinError, JoinHandle};
use uuid::Uuid;

use crate::clock::Clock;

/// All of them.
#[derive(Clone, Debug)]
pub struct Seams {
    /// Files.
    pub disk: Disk,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub chance: Chance,
    /// Threads for what blocks.
    pub blocking: Blocking,
}

impl Seams {
    /// Those of the machine.
    pub fn real() -> Seams {
        Seams {
            disk: Disk::real(),
            clock: Clock::System,
            chance: Chance::System,
            blocking: Blocking::Pool,
        }
    }
}

/// What nobody can foresee.
#[derive(Clone, Debug)]
pub enum Chance {
    /// The machine's.
    System,
    /// What follows from a seed.
    #[cfg(test)]
    Seeded(crate::simulation::Generator),
}

impl Chance {
    /// An id that nobody had before.
    pub fn uuid(&self) -> Uuid {
        match self {
            Chance::System => Uuid::new_v4(),
            #[cfg(test)]
            Chance::Seeded(generator) => generator.uuid(),
        }
    }
}

/// Where work is done that blocks.
#[derive(Clone, Copy, Debug)]
pub enum Blocking {
    /// On the runtime's blocking pool.
    Pool,
    /// In the call itself.
    #[cfg(test)]
    Inline,
}

impl Blocking {
    /// Begins `work` at once; it goes on if nobody waits for it.
    pub fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        match self {
            Blocking::Pool => Running::Task(tokio::task::spawn_blocking(work)),
            #[cfg(test)]
            Blocking::Inline => Running::Done(Some(work())),
        }
    }

    /// Where the metadata quorum writes.
    pub fn writer(self) -> WriterMode {
        match self {
            Blocking::Pool => WriterMode::Thread,
            #[cfg(test)]
            Blocking::Inline => WriterMode::Inline,
        }
    }
}

/// Work that has begun; ready when it is done, or has panicked on the pool.
#[derive(Debug)]
pub enum Running<T> {
    /// On the pool.
    Task(JoinHandle<T>),
    /// It is done.
    #[cfg(test)]
    Done(Option<T>),
}

impl<T: Unpin> Future for Running<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Running::Task(handle) => Pin::new(handle).poll(task),
            #[cfg(test)]
            Running::Done(outcome) => match outcome.take() {
                Some(outcome) => Poll::Ready(Ok(outcome)),
                None => Poll::Pending,
            },
        }
    }
}
