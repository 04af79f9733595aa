//! The way in to the tasks: which partition answers for a key, and its mailbox.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use reka_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::partition_for;

/// Questions that wait for one partition; the next one waits on its shard.
pub(super) const MAILBOX_MAX: usize = 1024;

/// An answer that can be an error of the coordinator as such.
pub trait Answer: Send + 'static {
    /// This broker does not answer for the key now.
    fn refused(code: ErrorCode) -> Self;
}

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Envelope<A, R> {
    /// What is asked.
    pub ask: A,
    /// Who wants to know.
    pub reply: oneshot::Sender<R>,
}

impl<A, R: Answer> Envelope<A, R> {
    /// Nobody here answers this.
    pub fn refuse(self, code: ErrorCode) {
        let _ = self.reply.send(R::refused(code));
    }
}

/// Where questions enter the tasks of one internal topic.
#[derive(Debug)]
pub struct Mailboxes<A, R> {
    all: RwLock<All<A, R>>,
}

#[derive(Debug)]
pub(super) struct All<A, R> {
    /// Partitions of the topic; 0 before there is one.
    pub(super) partitions: usize,
    pub(super) here: BTreeMap<i32, mpsc::Sender<Envelope<A, R>>>,
    /// Partitions whose task ended by a panic and is not begun anew yet, with what it said.
    pub(super) ended: BTreeMap<i32, String>,
    /// Partitions that cannot be read back, and why.
    pub(super) unread: BTreeMap<i32, String>,
}

impl<A, R> Default for All<A, R> {
    fn default() -> Self {
        All {
            partitions: 0,
            here: BTreeMap::new(),
            ended: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }
}

impl<A, R> Default for Mailboxes<A, R> {
    fn default() -> Self {
        Mailboxes {
            all: RwLock::default(),
        }
    }
}

impl<A, R> Mailboxes<A, R> {
    fn read(&self) -> RwLockReadGuard<'_, All<A, R>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, All<A, R>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Send + 'static, R: Answer> Mailboxes<A, R> {
    /// Asks the task that answers for a key.
    pub async fn ask(&self, key: &str, ask: A) -> R {
        let mailbox = {
            let all = self.read();
            partition_for(key, all.partitions).and_then(|index| all.here.get(&index).cloned())
        };
        put_if_here(mailbox, ask).await
    }

    /// Asks the task of a partition.
    pub async fn ask_partition(&self, index: i32, ask: A) -> R {
        let mailbox = self.read().here.get(&index).cloned();
        put_if_here(mailbox, ask).await
    }

    /// Partitions with a task here.
    pub fn here(&self) -> Vec<i32> {
        self.read().here.keys().copied().collect()
    }

    /// Partitions that nobody answers for because their task panicked, or cannot read them.
    pub fn troubles(&self) -> Vec<String> {
        let all = self.read();
        all.ended
            .values()
            .chain(all.unread.values())
            .cloned()
            .collect()
    }

    /// Which partition answers for a key; `None` before the topic is there.
    pub fn partition_of(&self, key: &str) -> Option<i32> {
        partition_for(key, self.read().partitions)
    }
}

async fn put_if_here<A, R: Answer>(mailbox: Option<mpsc::Sender<Envelope<A, R>>>, ask: A) -> R {
    let Some(mailbox) = mailbox else {
        return R::refused(ErrorCode::NotCoordinator);
    };
    let (reply, answer) = oneshot::channel();
    if mailbox.send(Envelope { ask, reply }).await.is_err() {
        return R::refused(ErrorCode::NotCoordinator);
    }
    // A task that ends without answering has lost its partition.
    answer
        .await
        .unwrap_or_else(|_| R::refused(ErrorCode::NotCoordinator))
}
