//! The task of one partition of `__transaction_state`: it owns the transactional ids, writes what
//! is decided about them, answers, and sees to it that every partition of a transaction hears how
//! it ended.
//!
//! What is decided is written and applied before anything else is decided. The end of a transaction
//! is told to its partitions once it is below the high watermark. Its producer gets the answer when
//! they have been told for the first time, whether all of them listened or not: the next transaction
//! then rarely finds this one in its way. Those that did not are told again until they do.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_records::Compression;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::ask::{Ask, Reply};
use super::coordinators::level;
use super::markers::{self, Outcome};
use super::record::{Place, Txn, TxnRecord};
use super::state::Transactions;
use super::{Settings, state::Decision};
use crate::coordinator::every::Every;
use crate::coordinator::seldom::Seldom;
use crate::coordinator::tasks::told;
use crate::coordinator::write::{self, Pen};
use crate::coordinator::{load, mailbox};
use crate::node::Services;
use crate::partition::Partition;

type Envelope = mailbox::Envelope<Ask, Reply>;

/// Questions taken from the mailbox at once.
const TURN_MAX: usize = 256;
/// Partitions that did not listen are told again after so long.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Tombstones written as one batch.
const TOMBSTONES_MAX: usize = 1000;

/// One partition's task.
struct Shard {
    services: Arc<Services>,
    settings: Arc<Settings>,
    partition: Arc<Partition>,
    transactions: Transactions,
    /// What waits for the high watermark to reach the offset.
    uncommitted: VecDeque<Uncommitted>,
    /// Ids whose partitions are being told.
    telling: HashSet<Arc<str>>,
    /// Partitions that did not listen, by id; a marker is not written twice to those that did.
    again: HashMap<Arc<str>, BTreeSet<Place>>,
    /// Producers that wait for theirs to be told.
    waiting: HashMap<Arc<str>, Answer>,
    told: mpsc::UnboundedSender<Told>,
    /// Ids counted by the metrics.
    counted: i64,
    pen: Pen,
    /// That a partition did not listen.
    deaf: Seldom,
    /// That there is no place for an id.
    full: Seldom,
}

type Answer = (oneshot::Sender<Reply>, Reply);

struct Uncommitted {
    end: i64,
    deadline: Instant,
    what: Pending,
}

/// What is done once a record is committed.
#[derive(Default)]
struct Pending {
    /// The end of a transaction is told.
    tell: Option<Arc<str>>,
    answer: Option<Answer>,
}

impl Pending {
    fn answer(to: oneshot::Sender<Reply>, reply: Reply) -> Pending {
        Pending {
            answer: Some((to, reply)),
            tell: None,
        }
    }

    fn tell(id: Arc<str>) -> Pending {
        Pending {
            tell: Some(id),
            answer: None,
        }
    }
}

/// The partitions of a transaction were told.
#[derive(Debug)]
struct Told {
    id: Arc<str>,
    outcomes: Vec<(Place, Outcome)>,
}

/// Serves the partition until the mailbox closes or `stop` is told.
pub(super) async fn serve(
    services: Arc<Services>,
    partition: Arc<Partition>,
    settings: Arc<Settings>,
    mut mailbox: mpsc::Receiver<Envelope>,
    mut stop: watch::Receiver<bool>,
) {
    // Bounded by the ids: each is told about once at a time.
    let (told_of, mut heard) = mpsc::unbounded_channel();
    let mut shard = Shard {
        services,
        settings: settings.clone(),
        partition,
        transactions: Transactions::default(),
        uncommitted: VecDeque::new(),
        telling: HashSet::new(),
        again: HashMap::new(),
        waiting: HashMap::new(),
        told: told_of,
        counted: 0,
        pen: Pen::default(),
        deaf: Seldom::default(),
        full: Seldom::default(),
    };
    if !shard.load(&mut mailbox, &mut stop).await {
        return;
    }
    let now = Instant::now();
    let mut clock = Clock {
        overdue: Every::new(settings.abort_interval, now),
        expiry: Every::new(settings.expire_interval, now),
        retry: Every::new(RETRY_INTERVAL, now),
    };
    let mut inbox = Vec::with_capacity(TURN_MAX);
    loop {
        // What is due goes first: questions may come for ever.
        shard.catch_up(&mut clock);
        let next = shard.next(&clock);
        let committed = shard.uncommitted.front().map(|first| first.end);
        tokio::select! {
            biased;
            () = told(&mut stop) => return,
            () = reached(&shard.partition, committed) => shard.release(),
            Some(heard) = heard.recv() => shard.heard(heard),
            count = mailbox.recv_many(&mut inbox, TURN_MAX) => {
                if count == 0 {
                    return;
                }
                for envelope in inbox.drain(..) {
                    shard.take(envelope);
                }
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// What is done by the clock.
struct Clock {
    overdue: Every,
    expiry: Every,
    retry: Every,
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
    /// When the next thing happens that nobody asks for.
    fn next(&self, clock: &Clock) -> Instant {
        let patience = self.uncommitted.front().map(|first| first.deadline);
        let retry = (!self.again.is_empty()).then(|| clock.retry.next());
        let next = clock.overdue.next().min(clock.expiry.next());
        [patience, retry]
            .into_iter()
            .flatten()
            .fold(next, Instant::min)
    }

    /// Does all that has fallen due.
    fn catch_up(&mut self, clock: &mut Clock) {
        let now = Instant::now();
        let patience = self.uncommitted.front().map(|first| first.deadline);
        if patience.is_some_and(|patience| patience <= now) {
            self.give_up();
        }
        if clock.retry.take(now) {
            self.try_again();
        }
        if clock.overdue.take(now) {
            self.abort_overdue();
        }
        if clock.expiry.take(now) {
            self.forget_expired();
        }
    }

    /// Reads the partition; whoever asks meanwhile is told so. False if the task is to end.
    async fn load(
        &mut self,
        mailbox: &mut mpsc::Receiver<Envelope>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let what = "transactions";
        let loaded = load::load(
            self.services.blocking,
            &self.partition,
            what,
            self.services.transactions.mailboxes(),
            super::load::load,
            mailbox,
            stop,
        )
        .await;
        let Some((loaded, took)) = loaded else {
            return false;
        };
        if loaded.records > 0 {
            tracing::info!(
                "{}: {} transactional ids from {} records in {took:?}",
                self.partition,
                loaded.transactions.len(),
                loaded.records,
            );
        }
        self.transactions = loaded.transactions;
        self.count();
        self.finish_what_was_decided();
        true
    }

    /// Ends that were decided before a crash, or by another leader, are told.
    fn finish_what_was_decided(&mut self) {
        let ending: Vec<Arc<str>> = self
            .transactions
            .ending()
            .map(|(id, _)| id.clone())
            .collect();
        for id in ending {
            tracing::info!("{}: {id} is ended as it was decided before", self.partition);
            self.when_committed(Pending::tell(id));
        }
    }

    fn take(&mut self, envelope: Envelope) {
        let mailbox::Envelope { ask, reply: to } = envelope;
        let now_ms = self.services.clock.now_ms();
        let level = level(&self.services);
        let decided = self
            .transactions
            .decide(&self.settings, level, now_ms, &ask);
        let Decision { record, reply } = decided;
        if let (Ask::Init(init), Reply::Producer(Err(ErrorCode::CoordinatorNotAvailable))) =
            (&ask, &reply)
        {
            self.tell_full(&init.id);
        }
        let Some(record) = record else {
            // What it rests on may not be committed yet.
            self.when_committed(Pending::answer(to, reply));
            return;
        };
        let id = record.id.clone();
        let is_ending = record.txn.as_ref().is_some_and(|txn| txn.state.is_ending());
        if let Err(code) = self.write(vec![record]) {
            let _ = to.send(Reply::Refused(code));
            return;
        }
        self.forget_surplus(now_ms);
        self.when_committed(Pending {
            tell: is_ending.then_some(id),
            answer: Some((to, reply)),
        });
    }

    /// Writes and applies; or does neither.
    fn write(&mut self, records: Vec<TxnRecord>) -> Result<(), ErrorCode> {
        let level = level(&self.services);
        write::append(
            &self.services,
            &self.partition,
            Compression::None,
            None,
            records.iter().map(|record| record.encode(level)),
            &mut self.pen,
        )?;
        for record in records {
            self.transactions.apply(record);
        }
        if cfg!(debug_assertions) {
            self.transactions.check_invariants();
        }
        self.count();
        Ok(())
    }

    /// Does something now, if all that was written is committed, or when it is.
    fn when_committed(&mut self, what: Pending) {
        let end = self.partition.reader().log_end();
        if self.uncommitted.is_empty() && self.partition.high_watermark() >= end {
            self.carry_out(what);
            return;
        }
        self.uncommitted.push_back(Uncommitted {
            end,
            deadline: Instant::now() + self.settings.commit_timeout,
            what,
        });
    }

    fn release(&mut self) {
        let high_watermark = self.partition.high_watermark();
        while let Some(first) = self.uncommitted.pop_front() {
            if first.end > high_watermark {
                self.uncommitted.push_front(first);
                return;
            }
            self.carry_out(first.what);
        }
    }

    /// Clients have waited for too long, and had better ask again. What is to be told waits on.
    fn give_up(&mut self) {
        let now = Instant::now();
        for waiting in &mut self.uncommitted {
            if waiting.deadline > now {
                break;
            }
            waiting.deadline = now + self.settings.commit_timeout;
            if let Some((to, _)) = waiting.what.answer.take() {
                let _ = to.send(Reply::Refused(ErrorCode::CoordinatorNotAvailable));
            }
        }
    }

    fn carry_out(&mut self, what: Pending) {
        match (what.tell, what.answer) {
            (Some(id), answer) => {
                if let Some(answer) = answer {
                    self.waiting.insert(id.clone(), answer);
                }
                self.tell(&id);
            }
            // A client that went does not mind.
            (None, Some((to, reply))) => drop(to.send(reply)),
            (None, None) => {}
        }
    }

    /// Tells the partitions of a transaction how it ended.
    fn tell(&mut self, id: &Arc<str>) {
        let Some(txn) = self
            .transactions
            .get(id)
            .filter(|txn| txn.state.is_ending())
        else {
            self.answer(id);
            return;
        };
        if self.telling.contains(id) {
            return;
        }
        let marker = txn.marker(self.partition.leader_epoch());
        let wanted = self.again.get(id).unwrap_or(&txn.partitions);
        let (of_groups, of_data): (Vec<Place>, Vec<Place>) =
            wanted.iter().cloned().partition(markers::is_of_groups);
        let services = &self.services;
        let write = |place: Place| {
            let outcome = markers::write(services, &place, &marker);
            (place, outcome)
        };
        let mut told = Told {
            id: id.clone(),
            outcomes: of_data.into_iter().map(write).collect(),
        };
        if of_groups.is_empty() {
            self.heard(told);
            return;
        }
        self.telling.insert(id.clone());
        let (services, heard) = (services.clone(), self.told.clone());
        tokio::task::spawn_local(async move {
            for place in of_groups {
                let outcome = markers::write_to_groups(&services, &place, marker).await;
                told.outcomes.push((place, outcome));
            }
            // The task may have ended; whoever reads the partition next goes on with it.
            let _ = heard.send(told);
        });
    }

    fn heard(&mut self, told: Told) {
        let Told { id, outcomes } = told;
        self.telling.remove(&id);
        let is_fenced = outcomes
            .iter()
            .any(|(_, outcome)| *outcome == Outcome::Fenced);
        let mut again = BTreeSet::new();
        for (place, outcome) in outcomes {
            if let Outcome::Again(code) = outcome {
                self.tell_deaf(&id, &place, code);
                again.insert(place);
            }
        }
        match (is_fenced, again.is_empty()) {
            (true, _) => drop(self.again.remove(&id)),
            (false, true) => self.complete(&id),
            (false, false) => drop(self.again.insert(id.clone(), again)),
        }
        self.answer(&id);
    }

    /// A partition did not take the end of a transaction. While it is on its way to another leader that is
    /// nothing; when it lasts, readers of committed data wait.
    fn tell_deaf(&mut self, id: &str, (topic, index): &Place, code: ErrorCode) {
        self.services.metrics.transactions.markers_refused.inc();
        if let Some(kept_back) = self.deaf.tells(Instant::now()) {
            tracing::warn!(
                "{id}: {topic}-{index} did not take the end of its transaction ({}), and is told again \
                 until it does; readers of committed data wait for that ({kept_back} more since the last \
                 such line, of which there is one a minute)",
                code.name()
            );
        }
    }

    fn tell_full(&mut self, id: &str) {
        self.services.metrics.transactions.ids_refused.inc();
        if let Some(kept_back) = self.full.tells(Instant::now()) {
            tracing::warn!(
                "{}: transactional id {id} is refused: there are {} ids, more than \
                 reka.transactional.ids.per.partition.max = {}, and all of them have transactions under \
                 way or were used just now; raise it if that is meant ({kept_back} more since the last \
                 such line, of which there is one a minute)",
                self.partition,
                self.transactions.len(),
                self.settings.ids_max
            );
        }
    }

    fn complete(&mut self, id: &Arc<str>) {
        self.again.remove(id);
        let now_ms = self.services.clock.now_ms();
        let Some(record) = self.transactions.complete(id, now_ms) else {
            return;
        };
        let committed = self.transactions.get(id).map(Txn::is_commit);
        match self.write(vec![record]) {
            Ok(()) => self
                .services
                .metrics
                .transactions
                .ended(committed.unwrap_or_default()),
            // Nobody is left to be told; this is tried again.
            Err(_) => drop(self.again.insert(id.clone(), BTreeSet::new())),
        }
    }

    fn answer(&mut self, id: &Arc<str>) {
        if let Some((to, reply)) = self.waiting.remove(id) {
            let _ = to.send(reply);
        }
    }

    fn try_again(&mut self) {
        let ids: Vec<Arc<str>> = self.again.keys().cloned().collect();
        for id in ids {
            self.tell(&id);
        }
    }

    fn abort_overdue(&mut self) {
        let now_ms = self.services.clock.now_ms();
        for record in self.transactions.overdue(level(&self.services), now_ms) {
            let id = record.id.clone();
            let Some(txn) = self.transactions.get(&id) else {
                continue;
            };
            let (producer, timeout_ms) = (txn.producer, txn.timeout_ms);
            let age_ms = now_ms.saturating_sub(txn.started_ms);
            if self.write(vec![record]).is_err() {
                continue;
            }
            self.services.metrics.transactions.timed_out.inc();
            tracing::info!(
                "{id}: producer {} epoch {} has not ended its transaction in {age_ms} ms, \
                 {timeout_ms} are allowed: it is aborted",
                producer.id,
                producer.epoch
            );
            self.when_committed(Pending::tell(id));
        }
    }

    fn forget(&mut self, ids: &[TxnRecord]) -> usize {
        let mut forgotten = 0;
        for tombstones in ids.chunks(TOMBSTONES_MAX) {
            if self.write(tombstones.to_vec()).is_err() {
                break;
            }
            forgotten += tombstones.len();
        }
        forgotten
    }

    fn forget_surplus(&mut self, now_ms: i64) {
        let surplus = self.transactions.surplus(&self.settings, now_ms);
        let forgotten = self.forget(&surplus);
        if forgotten > 0 {
            tracing::warn!(
                "{}: {forgotten} transactional ids that were not used for longest are forgotten, as there \
                 are more than {}; reka.transactional.ids.per.partition.max allows for more",
                self.partition,
                self.settings.ids_max
            );
        }
    }

    fn forget_expired(&mut self) {
        let now_ms = self.services.clock.now_ms();
        let expired = self.transactions.expired(&self.settings, now_ms);
        let forgotten = self.forget(&expired);
        if forgotten > 0 {
            tracing::info!(
                "{}: {forgotten} transactional ids that nobody uses are forgotten",
                self.partition
            );
        }
    }

    /// Tells how many ids there are, if that has changed.
    fn count(&mut self) {
        let now = i64::try_from(self.transactions.len()).unwrap_or(i64::MAX);
        let metrics = &self.services.metrics.transactions;
        metrics.ids.add(now - self.counted);
        self.counted = now;
    }
}

/// What a task counted is no longer here once it ends.
impl Drop for Shard {
    fn drop(&mut self) {
        self.services.metrics.transactions.ids.sub(self.counted);
    }
}
