//! All transactional ids of one partition of `__transaction_state`. Pure.
//!
//! `decide` looks and changes nothing; [`Transactions::apply`] is the only way anything changes,
//! live, on replay and in tests.
//!
//! ```text
//!            Init                Add                   End, or overdue          every partition told
//!   (none) ───────▶ Empty ───────────▶ Ongoing ───────▶ PrepareCommit/Abort ───────▶ CompleteCommit/Abort
//!                     ▲                  ▲                                              │     │
//!                     └── Init ──────────│──────────────────────────────────────────────┘     │
//!                                        └───────────────────── Add ─────────────────────────┘
//! ```
//!
//! While a transaction ends, everybody who asks for something is told to come back
//! (CONCURRENT_TRANSACTIONS), before anything else is looked at: which producer id and epoch are
//! right is known when it has ended.
//!
//! A transaction may be under way in no partition: as with Apache Kafka it begins with an Add, also of
//! nothing, and ends as any other, with nobody to be told.
//!
//! Epochs: a producer that begins gets the next one, which fences whoever had the one before. From
//! `transaction.version` 2 on every end of a transaction takes the next one, too, so that whatever
//! of it comes late is told apart from the next transaction. 32767 is never given to a producer: it
//! is there for the coordinator to fence the one before. A producer at 32766 continues with a fresh
//! id.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use reka_protocol::ErrorCode;

use super::ask::{Add, Ask, Described, End, Init, ListFilter, Listed, Producer, Reply};
use super::record::{NO_EPOCH, NONE, Place, State, Txn, TxnRecord};
use super::{EPOCH_BUMP_FROM, Settings};

/// The last epoch a producer is given.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Time for a producer's first transaction before its id counts as unused.
const FIRST_USE_MS: i64 = 10_000;

/// What is to be done about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// To be written before the answer is given.
    pub record: Option<TxnRecord>,
    /// The answer.
    pub reply: Reply,
}

impl Decision {
    fn answer(reply: Reply) -> Decision {
        Decision {
            record: None,
            reply,
        }
    }

    fn refuse_producer(code: ErrorCode) -> Decision {
        Decision::answer(Reply::Producer(Err(code)))
    }

    fn write(id: &str, txn: Txn, reply: Reply) -> Decision {
        let record = TxnRecord {
            id: id.into(),
            txn: Some(txn),
        };
        Decision {
            record: Some(record),
            reply,
        }
    }
}

/// The ids of one partition.
#[derive(Debug, Default)]
pub struct Transactions {
    ids: HashMap<Arc<str>, Txn>,
}

impl Transactions {
    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Where an id stands.
    pub fn get(&self, id: &str) -> Option<&Txn> {
        self.ids.get(id)
    }

    /// A record is in the log.
    pub fn apply(&mut self, record: TxnRecord) {
        match record.txn {
            Some(txn) => {
                self.ids.insert(record.id, txn);
            }
            None => {
                self.ids.remove(&record.id);
            }
        }
    }

    /// What to do about a question. `level` is the one of `transaction.version` in force.
    pub fn decide(&self, settings: &Settings, level: i16, now_ms: i64, ask: &Ask) -> Decision {
        match ask {
            Ask::Init(init) => self.init(settings, level, now_ms, init),
            Ask::Add(add) => self.add(now_ms, add),
            Ask::Verify(add) => Decision::answer(Reply::Verified(self.verify(add))),
            Ask::End(end) => match end.client_version >= EPOCH_BUMP_FROM {
                true => self.end_with_bump(now_ms, end),
                false => self.end_in_epoch(now_ms, end),
            },
            Ask::Describe(id) => Decision::answer(Reply::Describe(self.describe(id))),
            Ask::List(filter) => Decision::answer(Reply::List(self.list(now_ms, filter))),
        }
    }

    fn init(&self, settings: &Settings, level: i16, now_ms: i64, init: &Init) -> Decision {
        let timeout_ms = i64::from(init.timeout_ms);
        if timeout_ms <= 0 || timeout_ms > settings.timeout_max_ms {
            return Decision::refuse_producer(ErrorCode::InvalidTransactionTimeout);
        }
        let begin = |producer: Producer, previous_producer_id: i64, last_epoch: i16| {
            let txn = Txn {
                producer,
                previous_producer_id,
                next_producer_id: NONE,
                last_epoch,
                timeout_ms: init.timeout_ms,
                state: State::Empty,
                partitions: BTreeSet::new(),
                started_ms: NONE,
                updated_ms: now_ms,
                client_version: 0,
                is_fenced: false,
            };
            Decision::write(&init.id, txn, Reply::Producer(Ok(producer)))
        };
        let Some(txn) = self.ids.get(init.id.as_str()) else {
            if self.ids.len() >= settings.ids_max.saturating_mul(2) {
                // None of them is idle, or it had been forgotten: there is room when some have ended.
                return Decision::refuse_producer(ErrorCode::CoordinatorNotAvailable);
            }
            return match init.fresh {
                None => Decision::answer(Reply::NeedsProducerId),
                Some(id) => begin(Producer { id, epoch: 0 }, NONE, NO_EPOCH),
            };
        };
        if txn.state.is_ending() {
            return Decision::refuse_producer(ErrorCode::ConcurrentTransactions);
        }
        let current = txn.producer;
        if let Some(known) = init.known {
            // Right, or right before its epochs were used up and the answer did not reach it.
            let is_right = known.id == current.id
                || (known.id == txn.previous_producer_id && known.epoch >= LAST_EPOCH);
            if !is_right {
                return Decision::refuse_producer(ErrorCode::ProducerFenced);
            }
        }
        if txn.state == State::Ongoing {
            // The producer comes back when that transaction has ended, and gets its epoch then.
            let aborted = fence(txn, level, now_ms);
            let come_back = Reply::Producer(Err(ErrorCode::ConcurrentTransactions));
            return Decision::write(&init.id, aborted, come_back);
        }
        let is_current = init.known.is_none_or(|known| known.epoch == current.epoch);
        if is_current {
            let last_epoch = init.known.map_or(NO_EPOCH, |_| current.epoch);
            if current.epoch >= LAST_EPOCH {
                return match init.fresh {
                    None => Decision::answer(Reply::NeedsProducerId),
                    Some(id) => begin(Producer { id, epoch: 0 }, current.id, last_epoch),
                };
            }
            let epoch = current.epoch + 1;
            return begin(Producer { epoch, ..current }, current.id, last_epoch);
        }
        match init.known {
            // It was told, and did not hear.
            Some(known) if txn.last_epoch != NO_EPOCH && known.epoch == txn.last_epoch => {
                begin(current, txn.previous_producer_id, txn.last_epoch)
            }
            _ => Decision::refuse_producer(ErrorCode::ProducerFenced),
        }
    }

    fn add(&self, now_ms: i64, add: &Add) -> Decision {
        let code = |code| Decision::answer(Reply::Code(code));
        let Some(txn) = self.ids.get(add.id.as_str()) else {
            return code(ErrorCode::InvalidProducerIdMapping);
        };
        if txn.state.is_ending() {
            return code(ErrorCode::ConcurrentTransactions);
        }
        if let Err(refusal) = check_producer(txn, add.producer) {
            return code(refusal);
        }
        let is_ongoing = txn.state == State::Ongoing;
        if is_ongoing && add.partitions.iter().all(|p| txn.partitions.contains(p)) {
            return code(ErrorCode::None);
        }
        let mut partitions = txn.partitions.clone();
        partitions.extend(add.partitions.iter().cloned());
        let begun = Txn {
            previous_producer_id: txn.producer.id,
            state: State::Ongoing,
            partitions,
            started_ms: match is_ongoing {
                true => txn.started_ms,
                false => now_ms,
            },
            updated_ms: now_ms,
            client_version: add.client_version,
            is_fenced: false,
            ..txn.clone()
        };
        Decision::write(&add.id, begun, Reply::Code(ErrorCode::None))
    }

    fn verify(&self, add: &Add) -> Vec<ErrorCode> {
        let all = |code| vec![code; add.partitions.len()];
        let Some(txn) = self.ids.get(add.id.as_str()) else {
            return all(ErrorCode::InvalidProducerIdMapping);
        };
        if let Err(refusal) = check_producer(txn, add.producer) {
            return all(refusal);
        }
        if txn.state.is_ending() {
            return all(ErrorCode::ConcurrentTransactions);
        }
        let partitions = add.partitions.iter();
        partitions
            .map(|partition| match txn.partitions.contains(partition) {
                true => ErrorCode::None,
                false => ErrorCode::TransactionAbortable,
            })
            .collect()
    }

    /// For clients whose transactions follow each other in one epoch.
    fn end_in_epoch(&self, now_ms: i64, end: &End) -> Decision {
        let Some(txn) = self.ids.get(end.id.as_str()) else {
            return Decision::refuse_producer(ErrorCode::InvalidProducerIdMapping);
        };
        if let Err(refusal) = check_producer(txn, end.producer) {
            return Decision::refuse_producer(refusal);
        }
        // Clients of these versions are told neither id nor epoch.
        let done = Reply::Producer(Ok(Producer {
            id: NONE,
            epoch: NO_EPOCH,
        }));
        match (txn.state, end.commit) {
            (State::Ongoing, _) => {
                let ending = Txn {
                    client_version: 0,
                    ..ending(txn, end.commit, now_ms)
                };
                Decision::write(&end.id, ending, done)
            }
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => Decision::answer(done),
            (State::PrepareCommit | State::PrepareAbort, _) => {
                Decision::refuse_producer(ErrorCode::ConcurrentTransactions)
            }
            (State::CompleteCommit | State::CompleteAbort | State::Empty, _) => {
                Decision::refuse_producer(ErrorCode::InvalidTxnState)
            }
        }
    }

    /// For clients that get a new epoch with each end.
    ///
    /// | | abort, again | abort, now | commit, again | commit, now |
    /// |---|---|---|---|---|
    /// | Empty | fenced | bump | fenced | invalid |
    /// | CompleteAbort | as before | bump | invalid | invalid |
    /// | CompleteCommit | invalid | bump | as before | invalid |
    ///
    /// "Again" is the epoch before the current one: the answer was lost. An abort "now" of nothing
    /// is what a client does that does not know whether its first batch arrived.
    fn end_with_bump(&self, now_ms: i64, end: &End) -> Decision {
        let Some(txn) = self.ids.get(end.id.as_str()) else {
            return Decision::refuse_producer(ErrorCode::InvalidProducerIdMapping);
        };
        if txn.state.is_ending() {
            return Decision::refuse_producer(ErrorCode::ConcurrentTransactions);
        }
        let (current, said) = (txn.producer, end.producer);
        let over_the_end = said.id == txn.previous_producer_id
            && said.id != current.id
            && said.epoch == LAST_EPOCH
            && current.epoch == 0;
        let is_again = over_the_end
            || (said.id == current.id && i32::from(said.epoch) + 1 == i32::from(current.epoch));
        if said.id != current.id && !over_the_end {
            return Decision::refuse_producer(ErrorCode::InvalidProducerIdMapping);
        }
        let is_right = match txn.state {
            State::CompleteCommit | State::CompleteAbort => is_again || said.epoch == current.epoch,
            _ => said.epoch == current.epoch,
        };
        if !is_right {
            return Decision::refuse_producer(ErrorCode::ProducerFenced);
        }
        let as_before = || Decision::answer(Reply::Producer(Ok(current)));
        let invalid = || Decision::refuse_producer(ErrorCode::InvalidTxnState);
        match (txn.state, end.commit, is_again) {
            (State::Ongoing, _, _) => bump(txn, end, now_ms, txn.started_ms),
            (State::CompleteCommit, true, true) => as_before(),
            // The coordinator was faster: the producer has no part in what comes next.
            (State::CompleteAbort, true, true) if txn.is_fenced => {
                Decision::refuse_producer(ErrorCode::ProducerFenced)
            }
            (State::CompleteAbort, false, true) => as_before(),
            (State::Empty | State::CompleteAbort | State::CompleteCommit, false, false) => {
                bump(txn, end, now_ms, now_ms)
            }
            _ => invalid(),
        }
    }

    /// Transactions that have taken too long, with what aborts them.
    pub fn overdue(&self, level: i16, now_ms: i64) -> Vec<TxnRecord> {
        let is_overdue = |txn: &Txn| {
            let allowed_ms = i64::from(txn.timeout_ms);
            txn.state == State::Ongoing && txn.started_ms.saturating_add(allowed_ms) < now_ms
        };
        let overdue = self.ids.iter().filter(|(_, txn)| is_overdue(txn));
        overdue
            .map(|(id, txn)| TxnRecord {
                id: id.clone(),
                txn: Some(fence(txn, level, now_ms)),
            })
            .collect()
    }

    /// Ids that nobody has used for so long that they are forgotten.
    pub fn expired(&self, settings: &Settings, now_ms: i64) -> Vec<TxnRecord> {
        let unused_since = now_ms.saturating_sub(settings.id_expiration_ms);
        let is_expired = |txn: &Txn| txn.state.is_idle() && txn.updated_ms <= unused_since;
        let expired = self.ids.iter().filter(|(_, txn)| is_expired(txn));
        expired
            .map(|(id, _)| TxnRecord {
                id: id.clone(),
                txn: None,
            })
            .collect()
    }

    /// Ids beyond as many as may be, and some more so that this is not looked for with each new one. First
    /// those go that never used what they were given, and had the time for it or are more than half of all:
    /// a flood of ids is made of them. Then those that were not used for longest. What is under way is never
    /// among them, nor is a producer that has only just begun: for both together there is twice the room.
    pub fn surplus(&self, settings: &Settings, now_ms: i64) -> Vec<TxnRecord> {
        let most = settings.ids_max;
        if self.ids.len() <= most {
            return Vec::new();
        }
        let unused = self.ids.values().filter(|txn| txn.state == State::Empty);
        let is_flood = unused.count() > most / 2;
        let had_time = |txn: &Txn| now_ms.saturating_sub(txn.updated_ms) >= FIRST_USE_MS;
        let rank = |txn: &Txn| match txn.state {
            State::Empty if is_flood || had_time(txn) => Some(0),
            State::Empty => None,
            _ => Some(1),
        };
        let idle = self.ids.iter().filter(|(_, txn)| txn.state.is_idle());
        let mut idle: Vec<_> = idle
            .filter_map(|(id, txn)| Some((rank(txn)?, txn.updated_ms, id)))
            .collect();
        let surplus = self.ids.len() - (most - most / 8);
        if surplus < idle.len() {
            idle.select_nth_unstable(surplus);
            idle.truncate(surplus);
        }
        let forgotten = idle.into_iter().map(|(_, _, id)| TxnRecord {
            id: id.clone(),
            txn: None,
        });
        forgotten.collect()
    }

    /// Ids whose transactions are ending.
    pub fn ending(&self) -> impl Iterator<Item = (&Arc<str>, &Txn)> {
        self.ids.iter().filter(|(_, txn)| txn.state.is_ending())
    }

    /// Every partition was told: what says so. `None` if the id stands elsewhere by now.
    pub fn complete(&self, id: &Arc<str>, now_ms: i64) -> Option<TxnRecord> {
        let txn = self.ids.get(id)?;
        let state = match txn.state {
            State::PrepareCommit => State::CompleteCommit,
            State::PrepareAbort => State::CompleteAbort,
            _ => return None,
        };
        let producer = match txn.next_producer_id {
            NONE => txn.producer,
            id => Producer { id, epoch: 0 },
        };
        let txn = Txn {
            producer,
            previous_producer_id: txn.producer.id,
            next_producer_id: NONE,
            state,
            partitions: BTreeSet::new(),
            updated_ms: now_ms,
            ..txn.clone()
        };
        Some(TxnRecord {
            id: id.clone(),
            txn: Some(txn),
        })
    }

    fn describe(&self, id: &str) -> Result<Described, ErrorCode> {
        let txn = self.ids.get(id).ok_or(ErrorCode::TransactionalIdNotFound)?;
        Ok(Described {
            state: txn.state,
            timeout_ms: txn.timeout_ms,
            started_ms: txn.started_ms,
            producer: txn.producer,
            partitions: txn.partitions.iter().cloned().collect(),
        })
    }

    fn list(&self, now_ms: i64, filter: &ListFilter) -> Vec<Listed> {
        let is_wanted = |txn: &Txn| {
            let producers = &filter.producer_ids;
            let ran_ms = now_ms.saturating_sub(txn.started_ms);
            (producers.is_empty() || producers.contains(&txn.producer.id))
                && (!filter.by_state || filter.states.contains(&txn.state))
                && (filter.duration_ms < 0 || ran_ms > filter.duration_ms)
        };
        let wanted = self.ids.iter().filter(|(_, txn)| is_wanted(txn));
        wanted
            .map(|(id, txn)| Listed {
                id: id.clone(),
                producer_id: txn.producer.id,
                state: txn.state,
            })
            .collect()
    }

    /// Panics on what only a bug can bring about.
    pub fn check_invariants(&self) {
        for (id, txn) in &self.ids {
            assert!(txn.producer.id >= 0, "{id} has no producer id");
            assert!(txn.producer.epoch >= 0, "{id} has no epoch");
            if txn.state.is_idle() {
                assert!(txn.partitions.is_empty(), "{id} keeps partitions");
                assert_eq!(
                    txn.next_producer_id, NONE,
                    "{id} keeps its next producer id"
                );
            }
            if txn.state == State::Ongoing {
                assert!(txn.started_ms >= 0, "{id} began never");
            }
        }
    }
}

fn check_producer(txn: &Txn, said: Producer) -> Result<(), ErrorCode> {
    if said.id != txn.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if said.epoch != txn.producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}

fn ending(txn: &Txn, commit: bool, now_ms: i64) -> Txn {
    Txn {
        previous_producer_id: txn.producer.id,
        next_producer_id: NONE,
        state: match commit {
            true => State::PrepareCommit,
            false => State::PrepareAbort,
        },
        updated_ms: now_ms,
        is_fenced: false,
        ..txn.clone()
    }
}

/// The transaction ends, and its epoch with it.
fn bump(txn: &Txn, end: &End, now_ms: i64, started_ms: i64) -> Decision {
    let current = txn.producer;
    let is_used_up = current.epoch >= LAST_EPOCH;
    let next_producer_id = match (is_used_up, end.fresh) {
        (false, _) => NONE,
        (true, Some(id)) => id,
        (true, None) => return Decision::answer(Reply::NeedsProducerId),
    };
    let bumped = Producer {
        epoch: current.epoch.saturating_add(1),
        ..current
    };
    let ending = Txn {
        producer: bumped,
        next_producer_id,
        last_epoch: current.epoch,
        started_ms,
        client_version: EPOCH_BUMP_FROM,
        ..ending(txn, end.commit, now_ms)
    };
    // Told to the producer at once: what it will be when every partition has been told.
    let told = match next_producer_id {
        NONE => bumped,
        id => Producer { id, epoch: 0 },
    };
    Decision::write(&end.id, ending, Reply::Producer(Ok(told)))
}

/// The coordinator aborts, with an epoch that the producer does not have. At the last one there is
/// no other; it has no producer.
fn fence(txn: &Txn, level: i16, now_ms: i64) -> Txn {
    let current = txn.producer;
    Txn {
        producer: Producer {
            epoch: current.epoch.saturating_add(1),
            ..current
        },
        last_epoch: match level >= EPOCH_BUMP_FROM {
            true => current.epoch,
            false => NO_EPOCH,
        },
        client_version: match level >= EPOCH_BUMP_FROM {
            true => EPOCH_BUMP_FROM,
            false => 0,
        },
        is_fenced: true,
        ..ending(txn, false, now_ms)
    }
}

/// Topics with their partitions, for answers.
pub fn by_topic(partitions: &[Place]) -> Vec<(Arc<str>, Vec<i32>)> {
    let mut topics: Vec<(Arc<str>, Vec<i32>)> = Vec::new();
    for (topic, number) in partitions {
        match topics.last_mut() {
            Some((last, numbers)) if last == topic => numbers.push(*number),
            _ => topics.push((topic.clone(), vec![*number])),
        }
    }
    topics
}
