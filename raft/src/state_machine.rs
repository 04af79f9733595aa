//! Applies committed entries to the image and publishes each new one.
//!
//! The image lives in memory. A restart takes the newest snapshot and applies the log
//! behind it, so applying writes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::codec::DecodeError;
use crate::error::StoreError;
use crate::image::MetadataImage;
use crate::log_store::WriterMode;
use crate::snapshot::{self, SnapshotFile, State};
use crate::types::{
    Entry, LogId, Outcome, Snapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership,
    Types,
};

/// The state machine; clones share it.
#[derive(Clone, Debug)]
pub struct StateMachine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: SnapshotFile,
    mode: WriterMode,
    applied: Mutex<State>,
    /// What the file holds. Locked while the file is replaced, so that a snapshot that
    /// took long to build cannot replace a newer one that was installed meanwhile.
    current: Mutex<Current>,
    /// The last entry in `current`, for those who must not wait for a disk.
    saved: Mutex<Option<LogId>>,
    images: watch::Sender<Arc<MetadataImage>>,
}

#[derive(Debug, Default)]
struct Current {
    meta: Option<SnapshotMeta>,
    /// Nothing may be written any more: someone else may have the directory.
    closed: bool,
}

impl Current {
    fn check_open(&self) -> Result<(), StoreError> {
        match self.closed {
            false => Ok(()),
            true => Err(StoreError::Stopped {
                reason: "it was shut down".to_owned(),
            }),
        }
    }
}

impl StateMachine {
    /// Starts from the snapshot in `file`, or from nothing.
    pub fn open(file: SnapshotFile, mode: WriterMode) -> Result<StateMachine, StoreError> {
        let loaded = file.load()?;
        let current = loaded.as_ref().map(State::meta);
        let state = loaded.unwrap_or_default();
        let (images, _) = watch::channel(state.image.clone());
        Ok(StateMachine {
            shared: Arc::new(Shared {
                file,
                mode,
                applied: Mutex::new(state),
                saved: Mutex::new(current.as_ref().and_then(|meta| meta.last_log_id)),
                current: Mutex::new(Current {
                    meta: current,
                    closed: false,
                }),
                images,
            }),
        })
    }

    /// The newest image.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shared.images.borrow().clone()
    }

    /// Woken on each new image.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.shared.images.subscribe()
    }

    /// Last entry applied.
    pub fn applied_index(&self) -> Option<u64> {
        lock(&self.shared.applied).last_log_id.map(|id| id.index)
    }

    /// Last entry in the current snapshot. Does not wait while one is being written.
    pub fn snapshot_index(&self) -> Option<u64> {
        lock(&self.shared.saved).map(|id| id.index)
    }

    /// Writes no further snapshot; one that is being written is waited for. A builder
    /// that was under way when consensus stopped ends in an error nobody sees.
    pub async fn close(&self) {
        let closed = self.blocking(|machine| {
            lock(&machine.shared.current).closed = true;
            Ok(())
        });
        // Fails only when the runtime is going down, and every task with it.
        let _ = closed.await;
    }

    fn publish(&self, image: Arc<MetadataImage>) {
        // Also without a receiver: `image` reads it.
        self.shared.images.send_replace(image);
    }

    /// Runs disk work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateMachine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.shared.mode {
            WriterMode::Inline => work(self),
            WriterMode::Thread => {
                let this = self.clone();
                let task = tokio::task::spawn_blocking(move || work(&this));
                task.await.unwrap_or_else(|error| {
                    Err(StoreError::Stopped {
                        reason: error.to_string(),
                    })
                })
            }
        }
    }

    /// Writes `state` unless something newer is there; the snapshot that is current
    /// then.
    fn save(&self, state: &State) -> Result<Snapshot, StoreError> {
        let mut current = lock(&self.shared.current);
        current.check_open()?;
        if let Some(meta) = &current.meta
            && meta.last_log_id > state.last_log_id
            && let Some(bytes) = self.shared.file.read()?
        {
            return Ok(snapshot_of(meta.clone(), bytes));
        }
        let bytes = snapshot::encode(state);
        self.shared.file.replace(&bytes)?;
        current.meta = Some(state.meta());
        *lock(&self.shared.saved) = state.last_log_id;
        Ok(snapshot_of(state.meta(), bytes))
    }

    fn install(&self, meta: &SnapshotMeta, bytes: &Bytes) -> Result<(), StoreError> {
        let path = self.shared.file.path();
        let state = snapshot::decode(bytes)
            .map_err(|(position, damage)| StoreError::damaged(path, position, damage))?;
        if state.last_log_id != meta.last_log_id {
            let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
            return Err(StoreError::damaged(
                path,
                0,
                crate::error::Damage::Index {
                    expected: index(meta.last_log_id),
                    found: index(state.last_log_id),
                },
            ));
        }
        let mut current = lock(&self.shared.current);
        current.check_open()?;
        // On disk before it is seen: what was seen must survive a restart.
        self.shared.file.replace(bytes)?;
        current.meta = Some(state.meta());
        *lock(&self.shared.saved) = state.last_log_id;
        let image = state.image.clone();
        *lock(&self.shared.applied) = state;
        self.publish(image);
        Ok(())
    }
}

fn snapshot_of(meta: SnapshotMeta, bytes: Bytes) -> Snapshot {
    Snapshot {
        meta,
        snapshot: Box::new(bytes),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Applies one entry. Bytes that cannot be read stop the node: it would go on with
/// another image than its peers. A batch that is refused is refused by all.
fn apply_entry(state: &mut State, entry: Entry) -> Result<Outcome, DecodeError> {
    let offset = entry.log_id.index;
    let mut outcome = Ok(());
    let mut next = None;
    match entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Membership(membership) => {
            state.membership = StoredMembership::new(Some(entry.log_id), membership);
        }
        EntryPayload::Normal(batch) => match state.image.apply(offset, &batch.unpack()?) {
            Ok(image) => next = Some(image),
            Err(refusal) => outcome = Err(refusal),
        },
    }
    state.image = Arc::new(next.unwrap_or_else(|| state.image.at(offset)));
    state.last_log_id = Some(entry.log_id);
    Ok(outcome)
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = lock(&self.shared.applied);
        Ok((state.last_log_id, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (outcomes, image) = {
            let mut state = lock(&self.shared.applied);
            let mut outcomes = Vec::new();
            for entry in entries {
                let id = entry.log_id;
                let outcome = apply_entry(&mut state, entry);
                outcomes.push(outcome.map_err(|error| StorageIoError::apply(id, &error))?);
            }
            (outcomes, state.image.clone())
        };
        self.publish(image);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            machine: self.clone(),
            state: lock(&self.shared.applied).clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Bytes>,
    ) -> Result<(), StorageError> {
        let signature = meta.signature();
        let meta = meta.clone();
        self.blocking(move |machine| machine.install(&meta, &snapshot))
            .await
            .map_err(|error| StorageIoError::write_snapshot(Some(signature), &error).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let read = self.blocking(|machine| {
            let current = lock(&machine.shared.current);
            let Some(meta) = &current.meta else {
                return Ok(None);
            };
            let bytes = machine.shared.file.read()?;
            Ok(bytes.map(|bytes| snapshot_of(meta.clone(), bytes)))
        });
        read.await
            .map_err(|error| StorageIoError::read_snapshot(None, &error).into())
    }
}

/// Writes a snapshot of the state at one moment, while applying goes on.
#[derive(Debug)]
pub struct SnapshotBuilder {
    machine: StateMachine,
    state: State,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let state = self.state.clone();
        self.machine
            .blocking(move |machine| machine.save(&state))
            .await
            .map_err(|error| StorageIoError::write_snapshot(None, &error).into())
    }
}
