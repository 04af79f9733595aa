//! The task of one partition of `__consumer_offsets`: it owns the groups, writes what they decide
//! and answers once that is committed.
//!
//! Commits that are waiting together are written as one batch. Anything else is written by itself,
//! because what is decided next may rest on it. An answer leaves when everything it may rest on is
//! below the high watermark, also one that wrote nothing itself: a reader is never shown what a
//! new leader might not have.
//!
//! When the log does not take a batch, offsets are as they were: they change only by records that
//! are in the log. A classic group may have gone ahead of its record, so then everything is read
//! back from the log, as after a change of leader.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use reka_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::ask::{Ask, Reply, Ticket};
use super::classic::{Event, Step};
use super::memory::Limits;
use super::record::GroupRecord;
use super::state::Groups;
use super::{Now, Settings};
use crate::config::OffsetsConfig;
use crate::coordinator::every::Every;
use crate::coordinator::load;
use crate::coordinator::seldom::Seldom;
use crate::coordinator::tasks::told;
use crate::coordinator::write::{self, InTransaction, Pen};
use crate::node::Services;
use crate::partition::Partition;
use crate::partition::verify::Marker;

/// Questions taken from the mailbox at once.
const TURN_MAX: usize = 256;
/// A batch is written when its records have so many bytes.
const BATCH_BYTES: usize = 512 << 10;
/// A timer far away, for when none is armed.
const FAR: Duration = Duration::from_secs(3600);

type Envelope = crate::coordinator::mailbox::Envelope<Ask, Reply>;

/// One partition's task.
pub(super) struct Shard {
    services: Arc<Services>,
    settings: Arc<Settings>,
    partition: Arc<Partition>,
    groups: Groups,
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    /// Records of commits that are not written yet, and their answers.
    open: Step,
    open_bytes: usize,
    /// Answers that wait for the high watermark to reach the offset.
    uncommitted: VecDeque<Uncommitted>,
    config: OffsetsConfig,
    /// Groups, offsets and what they take in memory, as told to the metrics.
    counted: [i64; 3],
    /// That there is no memory for more.
    full: Seldom,
    began: Instant,
    pen: Pen,
}

struct Uncommitted {
    end: i64,
    replies: Vec<(Ticket, Reply)>,
    deadline: Instant,
}

/// Serves the partition until the mailbox closes or `stop` is told.
pub(super) async fn serve(
    services: Arc<Services>,
    partition: Arc<Partition>,
    settings: Arc<Settings>,
    mut mailbox: mpsc::Receiver<Envelope>,
    mut stop: watch::Receiver<bool>,
) {
    let mut shard = Shard {
        config: services.config().offsets.clone(),
        services,
        settings: settings.clone(),
        partition,
        groups: Groups::new(settings),
        waiting: HashMap::new(),
        next_ticket: 0,
        open: Step::default(),
        open_bytes: 0,
        uncommitted: VecDeque::new(),
        counted: [0; 3],
        full: Seldom::default(),
        began: Instant::now(),
        pen: Pen::default(),
    };
    if !shard.load(&mut mailbox, &mut stop).await {
        return;
    }
    // Nothing has aged since the load.
    let mut retention = Every::new(shard.config.retention_check_interval, Instant::now());
    let mut inbox = Vec::with_capacity(TURN_MAX);
    loop {
        // What is due goes first: questions may come for ever.
        let mut good = shard.catch_up(&mut retention);
        if good {
            let next = shard.next(&retention);
            let committed = shard.uncommitted.front().map(|first| first.end);
            tokio::select! {
                biased;
                () = told(&mut stop) => return,
                () = reached(&shard.partition, committed) => shard.release(),
                count = mailbox.recv_many(&mut inbox, TURN_MAX) => {
                    if count == 0 {
                        return;
                    }
                    good = shard.take(&mut inbox);
                }
                () = tokio::time::sleep_until(next) => {}
            }
        }
        if !good && !shard.recover(&mut mailbox, &mut stop).await {
            return;
        }
    }
}

/// Returns when the high watermark has reached `end`; never if nothing is waited for.
async fn reached(partition: &Partition, end: Option<i64>) {
    poll_fn(|task| match end {
        None => Poll::Pending,
        Some(end) if partition.high_watermark() >= end => Poll::Ready(()),
        Some(end) => {
            partition.waiters().register(task.waker());
            match partition.high_watermark() >= end {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }
    })
    .await;
}

impl Shard {
    fn now(&self) -> Now {
        let steady = self.began.elapsed().as_millis();
        Now {
            steady_ms: i64::try_from(steady).unwrap_or(i64::MAX),
            wall_ms: self.services.clock.now_ms(),
        }
    }

    /// When something falls due by itself.
    fn due(&self) -> Instant {
        match self.groups.next_ms() {
            Some(at_ms) => self.began + Duration::from_millis(at_ms.max(0).unsigned_abs()),
            None => Instant::now() + FAR,
        }
    }

    /// When the next thing happens that nobody asks for.
    fn next(&self, retention: &Every) -> Instant {
        let patience = self.uncommitted.front().map(|first| first.deadline);
        let next = self.due().min(retention.next());
        patience.map_or(next, |patience| patience.min(next))
    }

    /// Does all that has fallen due. False if everything has to be read back.
    fn catch_up(&mut self, retention: &mut Every) -> bool {
        let now = Instant::now();
        let patience = self.uncommitted.front().map(|first| first.deadline);
        if patience.is_some_and(|patience| patience <= now) {
            self.give_up();
        }
        if self.due() <= now && !self.expire() {
            return false;
        }
        !retention.take(now) || self.expire_offsets()
    }

    /// Reads the partition until what follows from it is in the log, too; whoever asks meanwhile is told
    /// so. False if the task is to end.
    async fn load(
        &mut self,
        mailbox: &mut mpsc::Receiver<Envelope>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        loop {
            match self.load_once(mailbox, stop).await {
                None => return false,
                Some(true) => return true,
                Some(false) if !load::pause(mailbox, stop).await => return false,
                Some(false) => {}
            }
        }
    }

    /// Whether the log took what follows; `None` if the task is to end.
    async fn load_once(
        &mut self,
        mailbox: &mut mpsc::Receiver<Envelope>,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<bool> {
        let settings = self.settings.clone();
        let read = move |partition: &Partition| super::load::load(partition, settings.clone());
        let loaded = load::load(
            self.services.blocking,
            &self.partition,
            "groups",
            self.services.groups.mailboxes(),
            read,
            mailbox,
            stop,
        )
        .await;
        let (loaded, took) = loaded?;
        if loaded.records > 0 {
            tracing::info!(
                "{}: {} groups and {} offsets from {} records in {took:?}",
                self.partition,
                loaded.groups.len(),
                loaded.groups.offsets().len(),
                loaded.records,
            );
        }
        self.groups = loaded.groups;
        self.groups.see(self.services.quorum.image());
        let mut step = Step::default();
        self.groups.resume(self.now(), &mut step);
        Some(self.finish(step))
    }

    /// The log did not take a batch: after a while everything is read back from it. False if the
    /// task is to end.
    async fn recover(
        &mut self,
        mailbox: &mut mpsc::Receiver<Envelope>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        self.waiting.clear();
        self.uncommitted.clear();
        load::pause(mailbox, stop).await && self.load(mailbox, stop).await
    }

    /// Answers what is in the inbox. False if everything has to be read back.
    fn take(&mut self, inbox: &mut Vec<Envelope>) -> bool {
        let now = self.now();
        let mut good = true;
        self.groups.see(self.services.quorum.image());
        self.groups.limit(self.limits());
        for Envelope { ask, reply } in inbox.drain(..) {
            if !good {
                let _ = reply.send(Reply::Refused(ErrorCode::NotCoordinator));
                continue;
            }
            self.next_ticket += 1;
            let ticket = Ticket(self.next_ticket);
            self.waiting.insert(ticket, reply);
            if matches!(ask, Ask::Commit(_)) {
                self.commit(now, ticket, ask);
                if self.open_bytes >= BATCH_BYTES {
                    self.flush();
                }
                continue;
            }
            self.flush();
            let transaction = match &ask {
                Ask::CommitInTransaction(_, transaction) => Some(*transaction),
                Ask::EndTransaction(marker) => match self.end_transaction(marker) {
                    Ok(()) => None,
                    Err(code) => {
                        self.answer(ticket, Reply::Code(code));
                        continue;
                    }
                },
                _ => None,
            };
            let mut step = Step::default();
            self.groups.handle(now, ticket, ask, &mut step);
            good = self.finish_in(step, transaction);
        }
        self.flush();
        good
    }

    /// Decides on a commit; it is written with those behind it.
    fn commit(&mut self, now: Now, ticket: Ticket, ask: Ask) {
        let mut step = Step::default();
        self.groups.handle(now, ticket, ask, &mut step);
        let added = step.records.iter().map(GroupRecord::bytes).sum::<usize>();
        if self.open_bytes + added > BATCH_BYTES {
            // A large one is nobody else's trouble.
            self.flush();
        }
        self.open_bytes += added;
        self.open.records.append(&mut step.records);
        self.open.replies.append(&mut step.replies);
        self.open.events.append(&mut step.events);
    }

    /// Writes the commits that wait. Nothing rests on them, so a failure is theirs alone.
    fn flush(&mut self) {
        let step = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        if step.replies.is_empty() {
            return;
        }
        let replies: Vec<Ticket> = step.replies.iter().map(|(ticket, _)| *ticket).collect();
        if let Err(code) = self.write(step, None) {
            for ticket in replies {
                self.answer(ticket, Reply::Refused(code));
            }
        }
    }

    /// Does what has fallen due, one after the other: what is decided next may rest on it.
    fn expire(&mut self) -> bool {
        let now = self.now();
        self.groups.see(self.services.quorum.image());
        loop {
            let mut step = Step::default();
            if !self.groups.expire(now, &mut step) {
                return true;
            }
            if !self.finish(step) {
                return false;
            }
        }
    }

    fn expire_offsets(&mut self) -> bool {
        let mut step = Step::default();
        let expired = self.groups.expire_offsets(self.now(), &mut step);
        if expired > 0 {
            tracing::info!(
                "{}: {expired} records forget expired offsets and empty groups",
                self.partition
            );
        }
        self.finish(step)
    }

    /// Writes what was decided and answers. False if everything has to be read back.
    fn finish(&mut self, step: Step) -> bool {
        self.finish_in(step, None)
    }

    /// The same of what counts once a transaction is committed.
    fn finish_in(&mut self, step: Step, transaction: Option<InTransaction>) -> bool {
        let tickets: Vec<Ticket> = step.replies.iter().map(|(ticket, _)| *ticket).collect();
        let rests_on_it = step.records.iter().any(GroupRecord::is_ahead_of_log);
        match self.write(step, transaction) {
            Ok(()) => true,
            Err(code) => {
                for ticket in tickets {
                    self.answer(ticket, Reply::Refused(code));
                }
                !rests_on_it
            }
        }
    }

    /// Writes, applies and answers; or does none of it.
    fn write(&mut self, step: Step, transaction: Option<InTransaction>) -> Result<(), ErrorCode> {
        let Step {
            records,
            replies,
            mut events,
        } = step;
        if !records.is_empty() {
            // What only goes does so one by one: nothing has to be in one batch, nor fits one.
            let only_goes = records.iter().all(|record| record.value.is_none());
            let mut rest = &records[..];
            while !rest.is_empty() {
                let count = match only_goes {
                    true => fitting(rest),
                    false => rest.len(),
                };
                let (batch, behind) = rest.split_at(count);
                self.append(batch, transaction)?;
                match transaction {
                    None => self.groups.apply(batch),
                    Some(of) => self.groups.apply_in_transaction(batch, of.producer_id),
                }
                rest = behind;
            }
            let now = self.now();
            events.extend(self.groups.take_rebalances(now, &records));
        }
        for event in events {
            self.tell(&event);
        }
        self.count();
        let end = self.partition.reader().log_end();
        if self.uncommitted.is_empty() && self.partition.high_watermark() >= end {
            for (ticket, reply) in replies {
                self.answer(ticket, reply);
            }
        } else if !replies.is_empty() {
            self.uncommitted.push_back(Uncommitted {
                end,
                replies,
                deadline: Instant::now() + self.config.commit_timeout,
            });
        }
        Ok(())
    }

    /// Writes the marker; whoever asks changes the groups by it then.
    fn end_transaction(&self, marker: &Marker) -> Result<(), ErrorCode> {
        let now_ms = self.services.clock.now_ms();
        let appended = self.partition.append_marker(marker, now_ms);
        appended.map_err(|refused| {
            tracing::warn!("{}: {}", self.partition, refused.message);
            refused.error_code
        })
    }

    fn append(
        &mut self,
        records: &[GroupRecord],
        transaction: Option<InTransaction>,
    ) -> Result<(), ErrorCode> {
        write::append(
            &self.services,
            &self.partition,
            self.config.compression,
            transaction,
            records.iter().map(GroupRecord::encode),
            &mut self.pen,
        )
    }

    /// Gives the answers whose records are committed now.
    fn release(&mut self) {
        let high_watermark = self.partition.high_watermark();
        while let Some(first) = self.uncommitted.pop_front() {
            if first.end > high_watermark {
                self.uncommitted.push_front(first);
                return;
            }
            for (ticket, reply) in first.replies {
                self.answer(ticket, reply);
            }
        }
    }

    /// The oldest answers have waited for `offsets.commit.timeout.ms`: the client had better ask
    /// again.
    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.uncommitted.pop_front() {
            if first.deadline > now {
                self.uncommitted.push_front(first);
                return;
            }
            for (ticket, _) in first.replies {
                self.answer(ticket, Reply::Refused(ErrorCode::CoordinatorNotAvailable));
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            // A client that went does not mind.
            let _ = waiting.send(reply);
        }
    }

    /// What the groups of all partitions here leave for those of this one.
    fn limits(&self) -> Limits {
        let all = self.services.metrics.groups.bytes.get();
        let all = usize::try_from(all).unwrap_or_default();
        Limits::new(self.groups.bytes(), all, self.config.memory_max)
    }

    /// A line in the log for each rebalance, with its cause and whose doing it was.
    fn tell(&mut self, event: &Event) {
        let metrics = &self.services.metrics.groups;
        match event {
            Event::Rebalanced {
                group,
                generation,
                members,
                cause,
                member,
                took_ms,
            } => {
                let took = Duration::from_millis((*took_ms).max(0).unsigned_abs());
                metrics.rebalanced(cause, took);
                tracing::info!(
                    %group,
                    generation,
                    members,
                    %member,
                    took_ms,
                    "group rebalanced: {cause}"
                );
            }
            Event::NoMemory { group } => {
                metrics.memory_refusals.inc();
                if let Some(kept_back) = self.full.tells(Instant::now()) {
                    tracing::warn!(
                        %group,
                        "refused to grow: groups take {} bytes in memory, \
                         reka.group.memory.max.bytes is {}; delete groups that are not used, or \
                         raise it ({kept_back} more since the last such line, of which there is one \
                         a minute)",
                        metrics.bytes.get(),
                        self.config.memory_max,
                    );
                }
            }
            Event::Removed {
                group,
                members,
                cause,
            } => {
                metrics.members_removed.inc_by(members.len() as u64);
                tracing::info!(%group, "removed {}: {cause}", members.join(", "));
            }
        }
    }

    /// Tells how many groups and offsets there are, if that has changed.
    fn count(&mut self) {
        let now = [
            self.groups.len(),
            self.groups.offsets().len(),
            self.groups.bytes(),
        ];
        let now = now.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let metrics = &self.services.metrics.groups;
        metrics.groups.add(now[0] - self.counted[0]);
        metrics.offsets.add(now[1] - self.counted[1]);
        metrics.bytes.add(now[2] - self.counted[2]);
        self.counted = now;
    }
}

/// What a task counted is no longer here once it ends.
impl Drop for Shard {
    fn drop(&mut self) {
        let metrics = &self.services.metrics.groups;
        metrics.groups.sub(self.counted[0]);
        metrics.offsets.sub(self.counted[1]);
        metrics.bytes.sub(self.counted[2]);
    }
}

/// How many of these make a batch; one at least.
fn fitting(records: &[GroupRecord]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&GroupRecord| {
        bytes += record.bytes();
        bytes <= BATCH_BYTES
    };
    records.iter().take_while(fits).count().max(1)
}
