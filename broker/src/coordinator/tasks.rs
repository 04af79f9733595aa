//! The thread the tasks of one internal topic run on, and which partitions have one.
//!
//! The thread has a single-threaded runtime of its own: coordinators never wait for a busy shard,
//! and no shard for them.
//!
//! A task that panics takes nobody else along: what it knew is in its log, so it is begun anew after a
//! while. Until then its clients look for another coordinator, and the health of the node says why. A panic
//! of the thread itself ends the node.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use reka_raft::MetadataImage;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, LocalSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::mailbox::{All, Answer, Envelope, MAILBOX_MAX, Mailboxes};
use crate::node::Services;
use crate::partition::Partition;

/// A task that panicked is begun anew after so long.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

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
                let _end = End {
                    name: C::THREAD,
                    services: services.clone(),
                };
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

/// The end of the thread, which is not to come by a panic.
struct End {
    name: &'static str,
    services: Arc<Services>,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = format!("the thread of {} ended by a panic", self.name);
            tracing::error!("{why}");
            self.services.give_up(&why);
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
    /// Ends it; or says how it had ended by itself.
    async fn end(self) -> Result<(), JoinError> {
        let _ = self.stop.send(true);
        self.handle.await
    }
}

/// Tells that a task has ended, also when it panics.
struct Ended {
    index: i32,
    ends: mpsc::UnboundedSender<i32>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.ends.send(self.index);
    }
}

/// The tasks of one topic.
struct Tasks<C: Coordinator> {
    services: Arc<Services>,
    settings: Arc<C::Settings>,
    running: BTreeMap<i32, Task>,
    /// Not to be begun before: they panicked.
    resting: BTreeMap<i32, Instant>,
    /// Bounded by the tasks: each sends once.
    ends: mpsc::UnboundedSender<i32>,
}

/// Keeps the tasks in step with the partitions this broker leads, on the thread it is called on.
pub async fn follow<C: Coordinator>(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut followed = services.controller.followed();
    let (ends, mut ended) = mpsc::unbounded_channel();
    let mut seen = services.quorum.image();
    let mut tasks: Tasks<C> = Tasks {
        settings: Arc::new(C::settings(&services)),
        services: services.clone(),
        running: BTreeMap::new(),
        resting: BTreeMap::new(),
        ends,
    };
    loop {
        followed.borrow_and_update();
        let image = services.quorum.image();
        tasks.step(&image).await;
        C::see(&services, &image, &seen);
        seen = image;
        let rested = tasks.resting.values().min().copied();
        tokio::select! {
            biased;
            () = told(&mut stopped) => break,
            Some(index) = ended.recv() => tasks.note_end(index).await,
            changed = followed.changed() => if changed.is_err() { break },
            () = tokio::time::sleep_until(rested.unwrap_or_else(Instant::now)), if rested.is_some() => {}
        }
    }
    *C::mailboxes(&services).write() = All::default();
    for index in tasks.running.keys().copied().collect::<Vec<_>>() {
        tasks.end(index).await;
    }
}

impl<C: Coordinator> Tasks<C> {
    /// Starts tasks of partitions that are led here now, ends those of others.
    async fn step(&mut self, image: &MetadataImage) {
        let topic = image.topics().get(C::TOPIC);
        let topic_id = topic.map_or_else(Uuid::nil, |topic| topic.id());
        let leads: BTreeMap<i32, i32> = topic
            .into_iter()
            .flat_map(|topic| topic.partitions())
            .filter(|partition| partition.leader == self.services.broker_id)
            .map(|partition| (partition.partition, partition.leader_epoch))
            .collect();
        let stale: Vec<i32> = self
            .running
            .iter()
            .filter(|(index, task)| {
                task.topic != topic_id || leads.get(index) != Some(&task.leader_epoch)
            })
            .map(|(index, _)| *index)
            .collect();
        for index in stale {
            self.end(index).await;
        }
        let now = Instant::now();
        self.resting
            .retain(|index, until| *until > now && leads.contains_key(index));
        let resting = &self.resting;
        let mut all = C::mailboxes(&self.services).write();
        all.partitions = topic.map_or(0, |topic| topic.partition_count());
        all.ended.retain(|index, _| resting.contains_key(index));
        drop(all);
        for (index, leader_epoch) in leads {
            if self.running.contains_key(&index) || self.resting.contains_key(&index) {
                continue;
            }
            // Opened by the task that follows the metadata, which goes first.
            let Some(partition) = self.services.partitions.get(C::TOPIC, index) else {
                continue;
            };
            self.begin(index, leader_epoch, topic_id, partition);
        }
    }

    fn begin(&mut self, index: i32, leader_epoch: i32, topic: Uuid, partition: Arc<Partition>) {
        let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
        let (stop, stopped) = watch::channel(false);
        let (services, settings) = (self.services.clone(), self.settings.clone());
        let ended = Ended {
            index,
            ends: self.ends.clone(),
        };
        let handle = tokio::task::spawn_local(async move {
            let _ended = ended;
            C::serve(services, partition, settings, inbox, stopped).await;
        });
        let mailboxes = C::mailboxes(&self.services);
        mailboxes.write().here.insert(index, mailbox);
        let task = Task {
            leader_epoch,
            topic,
            stop,
            handle,
        };
        self.running.insert(index, task);
    }

    /// A task says that it has ended: one that was not asked to is missed.
    async fn note_end(&mut self, index: i32) {
        let task = self.running.get(&index);
        if task.is_some_and(|task| task.handle.is_finished()) {
            self.end(index).await;
        }
    }

    /// Ends a task. One that had panicked is told of, and rests for a while.
    async fn end(&mut self, index: i32) {
        let mailboxes = C::mailboxes(&self.services);
        mailboxes.write().here.remove(&index);
        let Some(task) = self.running.remove(&index) else {
            return;
        };
        let ended = task.end().await;
        // Whether it can be read is for whoever reads it next to say.
        mailboxes.write().unread.remove(&index);
        let Err(error) = ended else {
            return;
        };
        let said = match error.try_into_panic() {
            Ok(panic) => said(&*panic).to_owned(),
            Err(error) => error.to_string(),
        };
        let topic = C::TOPIC;
        let trouble = format!(
            "the coordinator of {topic}-{index} ended by a panic ({said}) and is begun anew; until then \
             its clients find nobody: please report it with the log"
        );
        tracing::error!("{trouble}");
        self.services
            .metrics
            .coordinator_panics
            .with_label_values(&[topic])
            .inc();
        mailboxes.write().ended.insert(index, trouble);
        self.resting
            .insert(index, Instant::now() + PAUSE_AFTER_PANIC);
    }
}

/// What somebody said who panicked.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}
