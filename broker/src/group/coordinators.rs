//! The front door to groups, and which partitions of `__consumer_offsets` have a task here.
//!
//! The tasks run on a thread of their own with a single-threaded runtime: groups never wait for a
//! busy shard, and no shard for them. A handler finds the mailbox of its group's partition and
//! waits for the answer on its own shard.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use reka_raft::image::TopicChange;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::ask::{Ask, ListFilter, Listed, Reply};
use super::lag::{Ends, Lags};
use super::shard::{self, Envelope};
use super::{Settings, partition_for};
use crate::metadata::CONSUMER_OFFSETS;
use crate::metadata::ChangeError;
use crate::metadata::topics::NewTopic;
use crate::node::Services;

/// Questions that wait for one partition; the next one waits on its shard.
const MAILBOX_MAX: usize = 1024;

/// Where questions enter the tasks.
#[derive(Debug, Default)]
pub struct Coordinators {
    mailboxes: RwLock<Mailboxes>,
}

#[derive(Debug, Default)]
struct Mailboxes {
    /// Partitions of `__consumer_offsets`; 0 before there is one.
    partitions: usize,
    here: BTreeMap<i32, mpsc::Sender<Envelope>>,
}

impl Coordinators {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Mailboxes> {
        self.mailboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Mailboxes> {
        self.mailboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn mailbox(&self, group: &str) -> Option<mpsc::Sender<Envelope>> {
        let mailboxes = self.read();
        let partition = partition_for(group, mailboxes.partitions)?;
        mailboxes.here.get(&partition).cloned()
    }

    /// Asks the task that answers for a group.
    pub async fn ask(&self, group: &str, ask: Ask) -> Reply {
        match self.mailbox(group) {
            Some(mailbox) => put(&mailbox, ask).await,
            None => Reply::Refused(ErrorCode::NotCoordinator),
        }
    }

    /// How far the groups here are behind; those that are still loading are left out.
    pub async fn lags(&self, ends: Arc<Ends>, limit: usize) -> Lags {
        let mailboxes: Vec<_> = self.read().here.values().cloned().collect();
        let mut lags = Lags::default();
        for mailbox in mailboxes {
            if let Reply::Lags(more) = put(&mailbox, Ask::Lags(ends.clone(), limit)).await {
                lags = lags.merge(more, limit);
            }
        }
        lags
    }

    /// The groups of all partitions here. One that is still loading is an error, as a list that
    /// lacks groups looks like one that has them all.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, ErrorCode> {
        let mailboxes: Vec<_> = self.read().here.values().cloned().collect();
        let mut listed = Vec::new();
        for mailbox in mailboxes {
            match put(&mailbox, Ask::List(filter.clone())).await {
                Reply::List(groups) => listed.extend(groups),
                // The partition has gone to another broker, which lists its groups.
                Reply::Refused(ErrorCode::NotCoordinator) => {}
                Reply::Refused(code) => return Err(code),
                _ => return Err(ErrorCode::UnknownServerError),
            }
        }
        Ok(listed)
    }
}

async fn put(mailbox: &mpsc::Sender<Envelope>, ask: Ask) -> Reply {
    let (reply, answer) = oneshot::channel();
    if mailbox.send(Envelope { ask, reply }).await.is_err() {
        return Reply::Refused(ErrorCode::NotCoordinator);
    }
    // A task that ends without answering has lost its partition.
    answer
        .await
        .unwrap_or(Reply::Refused(ErrorCode::NotCoordinator))
}

/// Creates `__consumer_offsets` if it is not there.
pub async fn create_topic(services: &Services) -> Result<(), ChangeError> {
    if services
        .quorum
        .image()
        .topics()
        .get(CONSUMER_OFFSETS)
        .is_some()
    {
        return Ok(());
    }
    let settings = services.config().offsets.topic;
    let brokers = services.quorum.image().brokers().iter().count();
    let replicas = i16::try_from(brokers.max(1)).unwrap_or(i16::MAX);
    let topic = NewTopic {
        name: CONSUMER_OFFSETS.to_owned(),
        id: Uuid::new_v4(),
        partitions: settings.partitions,
        replication_factor: settings.replication_factor.min(replicas),
        assignments: Vec::new(),
        configs: vec![
            ("cleanup.policy".to_owned(), Some("compact".to_owned())),
            ("compression.type".to_owned(), Some("producer".to_owned())),
            (
                "segment.bytes".to_owned(),
                Some(settings.segment_bytes.to_string()),
            ),
        ],
    };
    let created = services.create_topic(topic, false).await;
    // Somebody else may have been faster.
    let image = services.quorum.image();
    match created {
        Err(_) if image.topics().get(CONSUMER_OFFSETS).is_some() => Ok(()),
        created => created.map(|_| ()),
    }
}

/// The thread the tasks run on.
#[derive(Debug)]
pub struct CoordinatorThread {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl CoordinatorThread {
    /// Starts it.
    pub fn start(services: Arc<Services>) -> std::io::Result<CoordinatorThread> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("group-load")
            .build()?;
        let thread = std::thread::Builder::new()
            .name("groups".to_owned())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, follow(services, stopped));
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(CoordinatorThread { stop, thread })
    }

    /// Ends the tasks. Whoever waits for an answer is told to look for another coordinator.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the groups' thread ended by a panic");
        }
    }
}

/// A task and the epoch it leads in.
struct Task {
    leader_epoch: i32,
    topic: Uuid,
    stop: watch::Sender<bool>,
    handle: tokio::task::JoinHandle<()>,
}

/// Keeps the tasks in step with the partitions this broker leads.
async fn follow(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let settings = Arc::new(Settings::new(&services.config()));
    let mut followed = services.controller.followed();
    let mut tasks: BTreeMap<i32, Task> = BTreeMap::new();
    let mut seen = services.quorum.image();
    loop {
        followed.borrow_and_update();
        let image = services.quorum.image();
        step_tasks(&services, &settings, &image, &mut tasks).await;
        forget_deleted(&services, &image, &seen);
        seen = image;
        tokio::select! {
            changed = followed.changed() => if changed.is_err() { break },
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    *services.groups.write() = Mailboxes::default();
    for (_, task) in std::mem::take(&mut tasks) {
        end(task).await;
    }
}

async fn end(task: Task) {
    let _ = task.stop.send(true);
    if task.handle.await.is_err() {
        tracing::error!("a task of __consumer_offsets ended by a panic");
    }
}

/// Starts tasks of partitions that are led here now, ends those of others.
async fn step_tasks(
    services: &Arc<Services>,
    settings: &Arc<Settings>,
    image: &MetadataImage,
    tasks: &mut BTreeMap<i32, Task>,
) {
    let topic = image.topics().get(CONSUMER_OFFSETS);
    let topic_id = topic.map_or_else(Uuid::nil, |topic| topic.id());
    let leads: BTreeMap<i32, i32> = topic
        .into_iter()
        .flat_map(|topic| topic.partitions())
        .filter(|partition| partition.leader == services.broker_id)
        .map(|partition| (partition.partition, partition.leader_epoch))
        .collect();
    let stale: Vec<i32> = tasks
        .iter()
        .filter(|(index, task)| {
            task.topic != topic_id
                || leads.get(index) != Some(&task.leader_epoch)
                || task.handle.is_finished()
        })
        .map(|(index, _)| *index)
        .collect();
    for index in stale {
        services.groups.write().here.remove(&index);
        if let Some(task) = tasks.remove(&index) {
            end(task).await;
        }
    }
    services.groups.write().partitions = topic.map_or(0, |topic| topic.partition_count());
    for (index, leader_epoch) in leads {
        if tasks.contains_key(&index) {
            continue;
        }
        // Opened by the task that follows the metadata, which goes first.
        let Some(partition) = services.partitions.get(CONSUMER_OFFSETS, index) else {
            continue;
        };
        let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
        let (stop, stopped) = watch::channel(false);
        let handle = tokio::task::spawn_local(shard::serve(
            services.clone(),
            partition,
            settings.clone(),
            inbox,
            stopped,
        ));
        services.groups.write().here.insert(index, mailbox);
        let task = Task {
            leader_epoch,
            topic: topic_id,
            stop,
            handle,
        };
        tasks.insert(index, task);
    }
}

/// Offsets of topics that are gone are forgotten.
fn forget_deleted(services: &Arc<Services>, image: &MetadataImage, seen: &MetadataImage) {
    let changes = image.topics().changed_since(seen.topics());
    let gone: Vec<(String, Uuid)> = changes
        .filter_map(|change| match change {
            TopicChange::Removed(topic) => Some((topic.name().to_owned(), topic.id())),
            TopicChange::Now(_) => None,
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    let mailboxes: Vec<_> = services.groups.read().here.values().cloned().collect();
    tokio::task::spawn_local(async move {
        for mailbox in mailboxes {
            let forget = Ask::TopicsDeleted(gone.clone());
            if let Reply::Forgotten(count @ 1..) = put(&mailbox, forget).await {
                tracing::info!("{count} offsets of deleted topics are forgotten");
            }
        }
    });
}
