//! The thread the tasks of one internal topic run on, and which partitions have one.
//!
//! The thread has a single-threaded runtime of its own: coordinators never wait for a busy shard,
//! and no shard for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use reka_raft::MetadataImage;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::mailbox::{All, Answer, Envelope, MAILBOX_MAX, Mailboxes};
use crate::node::Services;
use crate::partition::Partition;

/// A coordinator by what it keeps in its topic.
pub trait Coordinator: Sized + 'static {
    /// What is asked.
    type Ask: Send + 'static;
    /// What is answered.
    type Reply: Answer;
    /// What its tasks are held to.
    type Settings: 'static;
    /// Where it keeps what it knows.
    const TOPIC: &'static str;
    /// What its thread is called.
    const THREAD: &'static str;

    /// What the tasks are held to.
    fn settings(services: &Services) -> Self::Settings;

    /// Where its questions enter.
    fn mailboxes(services: &Services) -> &Mailboxes<Self::Ask, Self::Reply>;

    /// The task of one partition, until its mailbox closes or it is told to stop.
    fn serve(
        services: Arc<Services>,
        partition: Arc<Partition>,
        settings: Arc<Self::Settings>,
        mailbox: mpsc::Receiver<Envelope<Self::Ask, Self::Reply>>,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + 'static;

    /// The metadata has changed.
    fn see(_services: &Arc<Services>, _image: &MetadataImage, _before: &MetadataImage) {}
}

/// The thread the tasks run on.
#[derive(Debug)]
pub struct CoordinatorThread {
    name: &'static str,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl CoordinatorThread {
    /// Starts it.
    pub fn start<C: Coordinator>(services: Arc<Services>) -> std::io::Result<CoordinatorThread> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("{}-load", C::THREAD))
            .build()?;
        let thread = std::thread::Builder::new()
            .name(C::THREAD.to_owned())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, follow::<C>(services, stopped));
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(CoordinatorThread {
            name: C::THREAD,
            stop,
            thread,
        })
    }

    /// Ends the tasks. Whoever waits for an answer is told to look for another coordinator.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread of {} ended by a panic", self.name);
        }
    }
}

/// Returns when a task is to end.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A task and the epoch it leads in.
struct Task {
    leader_epoch: i32,
    topic: Uuid,
    stop: watch::Sender<bool>,
    handle: tokio::task::JoinHandle<()>,
}

impl Task {
    async fn end(self, topic: &str) {
        let _ = self.stop.send(true);
        if self.handle.await.is_err() {
            tracing::error!("a task of {topic} ended by a panic");
        }
    }
}

/// Keeps the tasks in step with the partitions this broker leads, on the thread it is called on.
pub async fn follow<C: Coordinator>(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let settings = Arc::new(C::settings(&services));
    let mut followed = services.controller.followed();
    let mut tasks: BTreeMap<i32, Task> = BTreeMap::new();
    let mut seen = services.quorum.image();
    loop {
        followed.borrow_and_update();
        let image = services.quorum.image();
        step_tasks::<C>(&services, &settings, &image, &mut tasks).await;
        C::see(&services, &image, &seen);
        seen = image;
        tokio::select! {
            biased;
            () = told(&mut stopped) => break,
            changed = followed.changed() => if changed.is_err() { break },
        }
    }
    *C::mailboxes(&services).write() = All::default();
    for (_, task) in std::mem::take(&mut tasks) {
        task.end(C::TOPIC).await;
    }
}

/// Starts tasks of partitions that are led here now, ends those of others.
async fn step_tasks<C: Coordinator>(
    services: &Arc<Services>,
    settings: &Arc<C::Settings>,
    image: &MetadataImage,
    tasks: &mut BTreeMap<i32, Task>,
) {
    let mailboxes = C::mailboxes(services);
    let topic = image.topics().get(C::TOPIC);
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
        mailboxes.write().here.remove(&index);
        if let Some(task) = tasks.remove(&index) {
            task.end(C::TOPIC).await;
        }
    }
    mailboxes.write().partitions = topic.map_or(0, |topic| topic.partition_count());
    for (index, leader_epoch) in leads {
        if tasks.contains_key(&index) {
            continue;
        }
        // Opened by the task that follows the metadata, which goes first.
        let Some(partition) = services.partitions.get(C::TOPIC, index) else {
            continue;
        };
        let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
        let (stop, stopped) = watch::channel(false);
        let handle = tokio::task::spawn_local(C::serve(
            services.clone(),
            partition,
            settings.clone(),
            inbox,
            stopped,
        ));
        mailboxes.write().here.insert(index, mailbox);
        let task = Task {
            leader_epoch,
            topic: topic_id,
            stop,
            handle,
        };
        tasks.insert(index, task);
    }
}
