//! The front door to groups, and what their tasks are held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use reka_raft::image::TopicChange;
use tokio::sync::{Semaphore, mpsc, watch};
use uuid::Uuid;

use super::ask::{Ask, Beat, ListFilter, Listed, Reply};
use super::consumer::Matched;
use super::lag::{Ends, Lags};
use super::{Settings, shard};
use crate::coordinator::mailbox::{Envelope, Mailboxes};
use crate::coordinator::tasks::Coordinator;
use crate::coordinator::topic;
use crate::metadata::{CONSUMER_OFFSETS, ChangeError};
use crate::node::Services;
use crate::partition::Partition;

/// Heartbeats whose expressions are matched at once; others wait for their turn.
const MATCHING_MAX: usize = 2;

/// A partition that could not forget offsets of deleted topics is asked again after so long.
const FORGET_AGAIN: Duration = Duration::from_secs(1);

/// Where questions enter the tasks.
#[derive(Debug)]
pub struct Coordinators {
    mailboxes: Mailboxes<Ask, Reply>,
    matching: Semaphore,
    owed: Mutex<Owed>,
}

/// Topics that were deleted, of which a partition of groups has not forgotten the offsets yet.
#[derive(Debug, Default)]
struct Owed {
    by_partition: BTreeMap<i32, BTreeSet<(String, Uuid)>>,
    /// Somebody is at it.
    is_paid: bool,
}

impl Default for Coordinators {
    fn default() -> Coordinators {
        Coordinators {
            mailboxes: Mailboxes::default(),
            matching: Semaphore::new(MATCHING_MAX),
            owed: Mutex::default(),
        }
    }
}

impl Coordinators {
    pub(crate) fn mailboxes(&self) -> &Mailboxes<Ask, Reply> {
        &self.mailboxes
    }

    /// Partitions of `__consumer_offsets` that nobody answers for, though they are led here.
    pub fn troubles(&self) -> Vec<String> {
        self.mailboxes.troubles()
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the task that answers for a group.
    pub async fn ask(&self, group: &str, ask: Ask) -> Reply {
        self.mailboxes.ask(group, ask).await
    }

    /// Asks about a heartbeat. Expressions are matched where nobody else waits for it.
    pub async fn beat(&self, services: &Services, mut beat: Beat) -> Reply {
        let group = beat.group.clone();
        let patterns = match self.ask(&group, Ask::Beat(Box::new(beat.clone()))).await {
            Reply::NeedsPatterns(patterns) => patterns,
            reply => return reply,
        };
        let matched = {
            let _turn = self.matching.acquire().await;
            let image = services.quorum.image();
            let matching = services.blocking.run(move || Matched::of(patterns, &image));
            matching.await
        };
        beat.matched = Some(matched.unwrap_or_default());
        self.ask(&group, Ask::Beat(Box::new(beat))).await
    }

    /// Asks the task of a partition of `__consumer_offsets`.
    pub async fn ask_partition(&self, index: i32, ask: Ask) -> Reply {
        self.mailboxes.ask_partition(index, ask).await
    }

    /// The partition of `__consumer_offsets` that holds a group; `None` before there is one.
    pub fn partition_of(&self, group: &str) -> Option<i32> {
        self.mailboxes.partition_of(group)
    }

    /// How far the groups here are behind; those that are still loading are left out.
    pub async fn lags(&self, ends: Arc<Ends>, limit: usize) -> Lags {
        let mut lags = Lags::default();
        for index in self.mailboxes.here() {
            let ask = Ask::Lags(ends.clone(), limit);
            if let Reply::Lags(more) = self.ask_partition(index, ask).await {
                lags = lags.merge(more, limit);
            }
        }
        lags
    }

    /// The groups of all partitions here. One that is still loading is an error, as a list that
    /// lacks groups looks like one that has them all.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, ErrorCode> {
        let mut listed = Vec::new();
        for index in self.mailboxes.here() {
            match self.ask_partition(index, Ask::List(filter.clone())).await {
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

/// Creates `__consumer_offsets` if it is not there.
pub async fn create_topic(services: &Services) -> Result<(), ChangeError> {
    let settings = services.config().offsets.topic;
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
    ];
    topic::create(services, CONSUMER_OFFSETS, settings, &configs).await
}

/// What makes a coordinator one of groups.
#[derive(Debug)]
pub struct GroupCoordinator;

impl Coordinator for GroupCoordinator {
    type Ask = Ask;
    type Reply = Reply;
    type Settings = Settings;
    const TOPIC: &'static str = CONSUMER_OFFSETS;
    const THREAD: &'static str = "groups";

    fn settings(services: &Services) -> Settings {
        Settings::new(&services.config())
    }

    fn mailboxes(services: &Services) -> &Mailboxes<Ask, Reply> {
        &services.groups.mailboxes
    }

    fn serve(
        services: Arc<Services>,
        partition: Arc<Partition>,
        settings: Arc<Settings>,
        mailbox: mpsc::Receiver<Envelope<Ask, Reply>>,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + 'static {
        shard::serve(services, partition, settings, mailbox, stop)
    }

    fn see(services: &Arc<Services>, image: &MetadataImage, before: &MetadataImage) {
        forget_deleted(services, image, before);
    }
}

/// Offsets of topics that are gone are forgotten, by each partition as soon as it is able to.
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
    let here = services.groups.mailboxes.here();
    let mut owed = services.groups.owed();
    for index in here {
        let topics = owed.by_partition.entry(index).or_default();
        topics.extend(gone.iter().cloned());
    }
    if !std::mem::replace(&mut owed.is_paid, true) {
        tokio::task::spawn_local(forget_owed(services.clone()));
    }
}

/// Until nothing is owed. A partition that is not here any more is another broker's.
async fn forget_owed(services: Arc<Services>) {
    let groups = &services.groups;
    loop {
        let now = std::mem::take(&mut groups.owed().by_partition);
        for (index, topics) in now {
            let forget = Ask::TopicsDeleted(topics.iter().cloned().collect());
            match groups.ask_partition(index, forget).await {
                Reply::Forgotten(0) => {}
                Reply::Forgotten(count) => {
                    tracing::info!("{count} offsets of deleted topics are forgotten");
                }
                _ if !groups.mailboxes.here().contains(&index) => {}
                // It is being read, or its log does not take anything.
                _ => {
                    let mut owed = groups.owed();
                    owed.by_partition.entry(index).or_default().extend(topics);
                }
            }
        }
        {
            let mut owed = groups.owed();
            if owed.by_partition.is_empty() {
                owed.is_paid = false;
                return;
            }
        }
        tokio::time::sleep(FORGET_AGAIN).await;
    }
}
