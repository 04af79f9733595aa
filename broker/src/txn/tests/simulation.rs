//! A world of requests that come late, twice, in any order or never, and of crashes between any two
//! steps. Whatever happens: what a producer was told is committed is there once and whole, what was
//! not is not there at all, and nothing stays open for ever.
//!
//! All versions of the protocol have worlds of their own ([`Rules`]). What older ones cannot stand is kept
//! from them, and that it is for a reason is a test, too.
//!
//! The coordinator is the machine over a log of encoded records; partitions are the storage engine's
//! producer state behind the guards; producers are written down here, as patient as clients are.
//! A failing case prints its steps; `PROPTEST_CASES` sets how many worlds there are.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reka_protocol::ErrorCode;
use reka_records::control::TransactionResult;
use reka_records::{Attributes, BatchHeader, MAGIC};
use reka_storage::producer_state::{ProducerState, Verdict};

use super::{Desk, producer};
use crate::coordinator::write::KeyValue;
use crate::partition::verify::{Guard, Marker, Verifying, check_marker};
use crate::txn::ask::{Add, Ask, End, Init, Producer, Reply};
use crate::txn::record::{State, TxnRecord};
use crate::txn::state::Transactions;

const ID: &str = "x";
const PARTITIONS: usize = 2;
const PRODUCERS: usize = 2;

/// A transaction as its producer numbers it.
type Tag = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Data {
        tag: Tag,
        producer: i64,
        number: u32,
    },
    Marker {
        producer: i64,
        commit: bool,
    },
}

#[derive(Default)]
struct Partition {
    producers: ProducerState,
    verifying: Verifying,
    entries: Vec<Entry>,
}

/// What the cluster and its producers have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// `transaction.version` 2: each end takes its epoch out of use, leaders add their partitions.
    Bumped,
    /// Producers add partitions, leaders ask whether they are in the transaction (KIP-890, part 1).
    Verified,
    /// Producers add partitions, and are believed: `transaction.partition.verification.enable` is off.
    Believed,
    /// The same, with producers whose batches may be under way when they abort.
    BelievedTooMuch,
}

impl Rules {
    /// Of `transaction.version`, in force and of the clients.
    fn level(self) -> i16 {
        match self {
            Rules::Bumped => 2,
            Rules::Verified => 1,
            Rules::Believed | Rules::BelievedTooMuch => 0,
        }
    }

    fn client_version(self) -> i16 {
        match self {
            Rules::Bumped => 2,
            _ => 0,
        }
    }

    /// An older client ends nothing of which the coordinator was not told.
    fn has_begun(self, client: &Client) -> bool {
        self == Rules::Bumped || !client.added.is_empty()
    }

    /// A transaction may be aborted while batches of it are under way. Its producer then asks for its next
    /// epoch, as clients do.
    fn may_abort_amidst(self) -> bool {
        matches!(self, Rules::Verified | Rules::BelievedTooMuch)
    }
}

/// What is under way. It may arrive any number of times.
#[derive(Clone, Copy, Debug)]
enum Message {
    Add(usize, Tag, Producer, usize),
    Batch(Batch),
    /// The coordinator's answer about a batch, on its way to the partition.
    Admitted(Batch, Option<Guard>, ErrorCode),
    End(usize, Tag, Producer, bool),
    Init(usize, u32, Option<Producer>),
    Marker(usize, Marker),
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    client: usize,
    tag: Tag,
    producer: Producer,
    partition: usize,
    sequence: i32,
    number: u32,
}

/// What a producer does next.
#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Beginning { attempt: u32 },
    Idle,
    Sending,
    Ending(bool),
    Gone,
}

struct Client {
    doing: Doing,
    producer: Option<Producer>,
    tag: Tag,
    sequences: [i32; PARTITIONS],
    /// Partitions the coordinator was told of.
    added: BTreeSet<usize>,
    /// Batches of the transaction that are not acknowledged.
    unacked: BTreeMap<u32, Batch>,
}

struct World {
    rules: Rules,
    desk: Desk,
    log: Vec<KeyValue>,
    partitions: [Partition; PARTITIONS],
    network: Vec<Message>,
    clients: [Client; PRODUCERS],
    /// Partitions that have not taken the marker of the end under way.
    untold: BTreeSet<usize>,
    next_tag: Tag,
    next_number: u32,
    attempts: u32,
    /// Numbers that were acknowledged, by transaction.
    acked: BTreeMap<Tag, BTreeSet<u32>>,
    commit_asked: BTreeSet<Tag>,
    commit_told: BTreeSet<Tag>,
}

fn header(batch: &Batch, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: offset,
        batch_length: 49,
        leader_epoch: 0,
        magic: MAGIC,
        crc: 0,
        attributes: Attributes(0).with(Attributes::TRANSACTIONAL),
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: batch.producer.id,
        producer_epoch: batch.producer.epoch,
        base_sequence: batch.sequence,
        record_count: 1,
    }
}

impl World {
    fn new(rules: Rules) -> World {
        let client = || Client {
            doing: Doing::Gone,
            producer: None,
            tag: 0,
            sequences: [0; PARTITIONS],
            added: BTreeSet::new(),
            unacked: BTreeMap::new(),
        };
        World {
            rules,
            desk: Desk::at_level(rules.level()),
            log: Vec::new(),
            partitions: Default::default(),
            network: Vec::new(),
            clients: [client(), client()],
            untold: BTreeSet::new(),
            next_tag: 0,
            next_number: 0,
            attempts: 0,
            acked: BTreeMap::new(),
            commit_asked: BTreeSet::new(),
            commit_told: BTreeSet::new(),
        }
    }

    fn write(&mut self, record: TxnRecord) {
        self.log
            .push(record.encode(self.rules.level()).expect("a record"));
        let begins_to_end = record.txn.as_ref().is_some_and(|txn| txn.state.is_ending());
        self.desk.apply(record);
        if begins_to_end {
            self.begin_telling();
        }
    }

    fn ask(&mut self, ask: &Ask) -> Reply {
        let now_ms = self.desk.now_ms;
        let decision =
            self.desk
                .transactions
                .decide(&super::settings(), self.rules.level(), now_ms, ask);
        if let Some(record) = decision.record {
            self.write(record);
        }
        decision.reply
    }

    /// Every partition of the transaction is to hear how it ended.
    fn begin_telling(&mut self) {
        let txn = self.desk.txn();
        let numbers = txn.partitions.iter().map(|(_, index)| *index as usize);
        self.untold = numbers.collect();
        self.tell();
    }

    fn tell(&mut self) {
        let ending = self
            .desk
            .transactions
            .get(ID)
            .filter(|txn| txn.state.is_ending());
        let Some(txn) = ending else {
            return;
        };
        let marker = txn.marker(1);
        let messages = self
            .untold
            .iter()
            .map(|index| Message::Marker(*index, marker));
        self.network.extend(messages);
        self.complete();
    }

    fn complete(&mut self) {
        let ending = self
            .desk
            .transactions
            .get(ID)
            .is_some_and(|txn| txn.state.is_ending());
        if ending && self.untold.is_empty() {
            let now_ms = self.desk.now_ms;
            let record = self.desk.transactions.complete(&ID.into(), now_ms);
            self.write(record.expect("an end"));
        }
    }

    /// The coordinator forgets everything but its log, the partitions their guards.
    fn crash(&mut self) {
        let mut read = Transactions::default();
        for (key, value) in &self.log {
            let record = TxnRecord::decode(key, value.as_deref()).expect("a record");
            read.apply(record.expect("a known key"));
        }
        self.desk.transactions = read;
        for partition in &mut self.partitions {
            partition.verifying = Verifying::default();
        }
        // With the guards went those who waited for their answers.
        self.network
            .retain(|message| !matches!(message, Message::Admitted(..)));
        let ending = self
            .desk
            .transactions
            .get(ID)
            .is_some_and(|txn| txn.state.is_ending());
        if ending {
            self.begin_telling();
        }
    }

    /// A producer does the next thing it has to do, or sends again what was not answered.
    fn step(&mut self, who: usize, choice: u8) {
        let client = &mut self.clients[who];
        match client.doing.clone() {
            Doing::Gone => {
                self.attempts += 1;
                client.doing = Doing::Beginning {
                    attempt: self.attempts,
                };
                client.producer = None;
                self.network.push(Message::Init(who, self.attempts, None));
            }
            Doing::Beginning { attempt } => {
                self.network
                    .push(Message::Init(who, attempt, client.producer));
            }
            Doing::Idle => {
                self.next_tag += 1;
                client.tag = self.next_tag;
                client.unacked.clear();
                client.added.clear();
                client.doing = Doing::Sending;
                self.send_batch(who, usize::from(choice));
            }
            Doing::Sending
                if choice.is_multiple_of(3)
                    && self.rules.has_begun(client)
                    && (client.unacked.is_empty()
                        || (self.rules.may_abort_amidst() && choice.is_multiple_of(4))) =>
            {
                let commit = !choice.is_multiple_of(4);
                if commit {
                    self.commit_asked.insert(client.tag);
                }
                client.doing = Doing::Ending(commit);
                self.send_end(who, commit);
            }
            Doing::Sending => match client.unacked.values().next().copied() {
                Some(batch) if choice.is_multiple_of(2) => self.network.push(Message::Batch(batch)),
                _ => self.send_batch(who, usize::from(choice)),
            },
            Doing::Ending(commit) => self.send_end(who, commit),
        }
    }

    fn send_end(&mut self, who: usize, commit: bool) {
        let client = &self.clients[who];
        if let Some(producer) = client.producer {
            self.network
                .push(Message::End(who, client.tag, producer, commit));
        }
    }

    fn send_batch(&mut self, who: usize, choice: usize) {
        let client = &mut self.clients[who];
        let Some(producer) = client.producer else {
            return;
        };
        let partition = choice % PARTITIONS;
        if self.rules != Rules::Bumped && !client.added.contains(&partition) {
            let add = Message::Add(who, client.tag, producer, partition);
            return self.network.push(add);
        }
        self.next_number += 1;
        let batch = Batch {
            client: who,
            tag: client.tag,
            producer,
            partition,
            sequence: client.sequences[partition],
            number: self.next_number,
        };
        client.sequences[partition] += 1;
        client.unacked.insert(self.next_number, batch);
        self.network.push(Message::Batch(batch));
    }

    /// What arrives stays under way: it may arrive again. Some of it is lost instead.
    fn deliver(&mut self, at: usize, is_last: bool) {
        if self.network.is_empty() {
            return;
        }
        let at = at % self.network.len();
        let message = match is_last {
            true => self.network.swap_remove(at),
            false => self.network[at],
        };
        match message {
            Message::Add(who, tag, said, partition) => self.add(who, tag, said, partition),
            Message::Batch(batch) => self.batch(batch),
            Message::Admitted(batch, guard, code) => self.admitted(batch, guard, code),
            Message::End(who, tag, said, commit) => self.end(who, tag, said, commit),
            Message::Init(who, attempt, known) => self.init(who, attempt, known),
            Message::Marker(index, marker) => self.marker(index, marker),
        }
    }

    /// Where an epoch has many transactions, a question that a producer no longer waits for would be taken
    /// for one about its next. Its connection keeps them in order; only those of others come late.
    fn is_out_of_order(&self, who: usize, tag: Tag, said: Producer, doing: &Doing) -> bool {
        let client = &self.clients[who];
        self.rules != Rules::Bumped
            && client.producer == Some(said)
            && (client.tag != tag || client.doing != *doing)
    }

    fn add(&mut self, who: usize, tag: Tag, said: Producer, partition: usize) {
        if self.is_out_of_order(who, tag, said, &Doing::Sending) {
            return;
        }
        let add = Add {
            id: ID.to_owned(),
            producer: said,
            partitions: vec![("t".into(), partition as i32)],
            client_version: 0,
        };
        let Reply::Code(code) = self.ask(&Ask::Add(add)) else {
            panic!("no code");
        };
        let client = &mut self.clients[who];
        if client.producer != Some(said) || client.tag != tag {
            return;
        }
        match code {
            ErrorCode::None => drop(client.added.insert(partition)),
            ErrorCode::ConcurrentTransactions => {}
            _ => client.doing = Doing::Gone,
        }
    }

    fn batch(&mut self, batch: Batch) {
        if matches!(self.rules, Rules::Believed | Rules::BelievedTooMuch) {
            return self.admitted(batch, None, ErrorCode::None);
        }
        let partition = &self.partitions[batch.partition];
        let Producer { id, epoch } = batch.producer;
        match partition
            .verifying
            .begin(&partition.producers, id, epoch, batch.sequence)
        {
            Err(refused) => self.refused(batch, refused.error_code),
            Ok(None) => self.admitted(batch, None, ErrorCode::None),
            Ok(guard) => {
                let add = Add {
                    id: ID.to_owned(),
                    producer: batch.producer,
                    partitions: vec![("t".into(), batch.partition as i32)],
                    client_version: self.rules.client_version(),
                };
                let code = match self.rules {
                    Rules::Bumped => match self.ask(&Ask::Add(add)) {
                        Reply::Code(code) => code,
                        other => panic!("{other:?}"),
                    },
                    _ => match self.ask(&Ask::Verify(add)) {
                        Reply::Verified(codes) => codes[0],
                        other => panic!("{other:?}"),
                    },
                };
                self.network.push(Message::Admitted(batch, guard, code));
            }
        }
    }

    fn admitted(&mut self, batch: Batch, guard: Option<Guard>, code: ErrorCode) {
        if code != ErrorCode::None {
            return self.refused(batch, code);
        }
        let partition = &mut self.partitions[batch.partition];
        let header = header(&batch, partition.entries.len() as i64);
        let is_believed = matches!(self.rules, Rules::Believed | Rules::BelievedTooMuch);
        if !is_believed
            && let Err(refused) = partition
                .verifying
                .check(&partition.producers, &header, guard)
        {
            return self.refused(batch, refused.error_code);
        }
        match partition.producers.check(&header) {
            Ok(Verdict::Append) => {
                partition.producers.apply(&header, None);
                partition.verifying.end(batch.producer.id);
                partition.entries.push(Entry::Data {
                    tag: batch.tag,
                    producer: batch.producer.id,
                    number: batch.number,
                });
            }
            Ok(Verdict::Duplicate(_)) => {}
            // A gap is sent again in order; anything else is final.
            Err(_) => return,
        }
        let client = &mut self.clients[batch.client];
        if client.producer == Some(batch.producer) && client.unacked.remove(&batch.number).is_some()
        {
            self.acked
                .entry(batch.tag)
                .or_default()
                .insert(batch.number);
        }
    }

    fn refused(&mut self, batch: Batch, code: ErrorCode) {
        let client = &mut self.clients[batch.client];
        let is_final = [
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::ProducerFenced,
            ErrorCode::InvalidProducerIdMapping,
        ];
        if is_final.contains(&code) && client.producer == Some(batch.producer) {
            client.doing = Doing::Gone;
        }
    }

    fn end(&mut self, who: usize, tag: Tag, said: Producer, commit: bool) {
        if self.is_out_of_order(who, tag, said, &Doing::Ending(commit)) {
            return;
        }
        let client_version = self.rules.client_version();
        let ask = |fresh| {
            Ask::End(End {
                id: ID.to_owned(),
                producer: said,
                commit,
                client_version,
                fresh,
            })
        };
        let outcome = producer(self.ask(&ask(None)));
        let client = &mut self.clients[who];
        let waits = client.doing == Doing::Ending(commit) && client.producer == Some(said);
        match outcome {
            Ok(next) => {
                if commit {
                    self.commit_told.insert(tag);
                }
                if waits {
                    client.doing = Doing::Idle;
                    if self.rules == Rules::Bumped {
                        client.producer = Some(next);
                        client.sequences = [0; PARTITIONS];
                    } else if !client.unacked.is_empty() {
                        // What is under way still must not be of the next transaction.
                        self.attempts += 1;
                        let attempt = self.attempts;
                        client.doing = Doing::Beginning { attempt };
                    }
                }
            }
            Err(ErrorCode::ConcurrentTransactions) => {}
            Err(_) if waits => client.doing = Doing::Gone,
            Err(_) => {}
        }
    }

    fn init(&mut self, who: usize, attempt: u32, known: Option<Producer>) {
        let ask = |fresh| {
            Ask::Init(Init {
                id: ID.to_owned(),
                timeout_ms: 60_000,
                known,
                fresh,
            })
        };
        let mut reply = self.ask(&ask(None));
        if reply == Reply::NeedsProducerId {
            let fresh = self.desk.fresh();
            reply = self.ask(&ask(Some(fresh)));
        }
        let client = &mut self.clients[who];
        if client.doing != (Doing::Beginning { attempt }) {
            return;
        }
        match producer(reply) {
            Ok(given) => {
                client.producer = Some(given);
                client.sequences = [0; PARTITIONS];
                client.doing = Doing::Idle;
            }
            Err(ErrorCode::ConcurrentTransactions) => {}
            Err(_) => client.doing = Doing::Gone,
        }
    }

    fn marker(&mut self, index: usize, marker: Marker) {
        if self.rules != Rules::Bumped && !self.is_awaited(index, marker) {
            // It would be taken for the end of the next transaction in the epoch.
            return;
        }
        let partition = &mut self.partitions[index];
        let offset = partition.entries.len() as i64;
        let mut header = BatchHeader {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            base_sequence: -1,
            ..header(
                &Batch {
                    client: 0,
                    tag: 0,
                    producer: Producer { id: 0, epoch: 0 },
                    partition: index,
                    sequence: -1,
                    number: 0,
                },
                offset,
            )
        };
        header.attributes = header.attributes.with(Attributes::CONTROL);
        let allowed = check_marker(&partition.producers, &marker).is_ok()
            && partition
                .producers
                .check_marker(&header, marker.end)
                .is_ok();
        if allowed {
            partition.producers.apply(&header, Some(marker.end));
            partition.verifying.end(marker.producer_id);
            partition.entries.push(Entry::Marker {
                producer: marker.producer_id,
                commit: marker.end.result == TransactionResult::Commit,
            });
        }
        // Refused or not, it is the answer to the end under way only if it is its marker.
        if self.is_awaited(index, marker) {
            self.untold.remove(&index);
            self.complete();
        }
    }

    fn is_awaited(&self, index: usize, marker: Marker) -> bool {
        let txn = self.desk.transactions.get(ID);
        let ending = txn.filter(|txn| txn.state.is_ending());
        self.untold.contains(&index) && ending.is_some_and(|txn| txn.marker(1) == marker)
    }

    /// Everything comes to rest: what is open is aborted by its age, and every end is told.
    fn rest(&mut self) {
        self.network.clear();
        self.desk.now_ms += 1_000_000;
        let level = self.rules.level();
        let overdue = self.desk.transactions.overdue(level, self.desk.now_ms);
        overdue.into_iter().for_each(|record| self.write(record));
        for _ in 0..4 {
            self.tell();
            while !self.network.is_empty() {
                self.deliver(0, true);
            }
        }
    }

    /// Numbers a reader of committed data sees, by transaction and place.
    fn visible(&self) -> BTreeMap<Tag, Vec<u32>> {
        let mut visible: BTreeMap<Tag, Vec<u32>> = BTreeMap::new();
        for partition in &self.partitions {
            let mut open: BTreeMap<i64, Vec<(Tag, u32)>> = BTreeMap::new();
            for entry in &partition.entries {
                match *entry {
                    Entry::Data {
                        tag,
                        producer,
                        number,
                    } => {
                        open.entry(producer).or_default().push((tag, number));
                    }
                    Entry::Marker { producer, commit } => {
                        let ended = open.remove(&producer).unwrap_or_default();
                        for (tag, number) in ended.into_iter().filter(|_| commit) {
                            visible.entry(tag).or_default().push(number);
                        }
                    }
                }
            }
        }
        visible
    }

    /// What is wrong, if anything is.
    fn verdict(&self) -> Result<(), String> {
        let right = |is_right: bool, finding: String| is_right.then_some(()).ok_or(finding);
        let state = self.desk.transactions.get(ID).map(|txn| txn.state);
        right(
            state.is_none_or(State::is_idle),
            format!("left in {state:?}"),
        )?;
        for partition in &self.partitions {
            let open = partition.producers.first_open();
            right(open.is_none(), "a transaction hangs".to_owned())?;
        }
        let visible = self.visible();
        for (tag, numbers) in &visible {
            let once: BTreeSet<u32> = numbers.iter().copied().collect();
            right(
                once.len() == numbers.len(),
                format!("transaction {tag} is there twice"),
            )?;
            right(
                self.commit_asked.contains(tag),
                format!("nobody committed transaction {tag}"),
            )?;
            // Whole: a commit is only asked for when every batch is acknowledged.
            right(
                Some(&once) == self.acked.get(tag),
                format!("transaction {tag} is torn"),
            )?;
        }
        for tag in &self.commit_told {
            let acked = self.acked.get(tag).cloned().unwrap_or_default();
            right(
                acked.is_empty() || visible.contains_key(tag),
                format!("transaction {tag} is lost"),
            )?;
        }
        Ok(())
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    Step(usize, u8),
    Deliver(usize, bool),
    Crash,
    Overdue,
    TellAgain,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..PRODUCERS, any::<u8>()).prop_map(|(who, choice)| Event::Step(who, choice)),
        12 => (any::<usize>(), any::<bool>()).prop_map(|(at, last)| Event::Deliver(at, last)),
        1 => Just(Event::Crash),
        1 => Just(Event::Overdue),
        2 => Just(Event::TellAgain),
    ]
}

fn happen(world: &mut World, event: Event) {
    match event {
        Event::Step(who, choice) => world.step(who, choice),
        Event::Deliver(at, is_last) => world.deliver(at, is_last),
        Event::Crash => world.crash(),
        Event::Overdue => {
            world.desk.now_ms += 60_001;
            let level = world.rules.level();
            let overdue = world.desk.transactions.overdue(level, world.desk.now_ms);
            overdue.into_iter().for_each(|record| world.write(record));
        }
        Event::TellAgain => world.tell(),
    }
}

/// As many as are asked for, else enough to be caught out by what is known to be wrong.
fn worlds() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|text| text.parse().ok()).unwrap_or(2000),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..160)
}

fn run(rules: Rules, events: &[Event]) -> Result<(), String> {
    let mut world = World::new(rules);
    for event in events {
        happen(&mut world, *event);
    }
    world.rest();
    world.verdict()
}

proptest! {
    #![proptest_config(worlds())]

    #[test]
    fn what_is_committed_is_there_once_and_whole(events in events()) {
        prop_assert_eq!(run(Rules::Bumped, &events), Ok(()));
    }

    #[test]
    fn so_it_is_where_leaders_verify_and_transactions_share_an_epoch(events in events()) {
        prop_assert_eq!(run(Rules::Verified, &events), Ok(()));
    }

    #[test]
    fn so_it_is_without_verification_while_nothing_is_under_way_at_an_abort(events in events()) {
        prop_assert_eq!(run(Rules::Believed, &events), Ok(()));
    }
}

/// What verification is for: without it a batch that comes after the abort of its transaction begins one
/// that nobody ends. Worlds do find it.
#[test]
fn without_verification_a_batch_that_comes_late_is_found_to_hang() {
    let mut runner = TestRunner::deterministic();
    let found = (0..20_000).find_map(|_| {
        let events = events().new_tree(&mut runner).expect("events").current();
        run(Rules::BelievedTooMuch, &events).err()
    });
    let finding = found.expect("a world where it goes wrong");
    assert!(
        finding.contains("hangs") || finding.contains("nobody committed"),
        "{finding}"
    );
}

/// The worlds do work: without trouble transactions are committed and seen.
#[test]
fn a_world_without_trouble_commits() {
    for rules in [Rules::Bumped, Rules::Verified, Rules::Believed] {
        let mut world = World::new(rules);
        let mut committed = 0;
        for round in 0..800_u32 {
            world.step(0, (round.wrapping_mul(0x9E37_79B1) >> 24) as u8);
            while !world.network.is_empty() {
                world.deliver(0, true);
            }
            committed = world.commit_told.len();
        }
        world.rest();
        assert_eq!(world.verdict(), Ok(()), "{rules:?}");
        assert!(committed > 20, "{rules:?}: {committed} transactions");
        let seen: usize = world.visible().values().map(Vec::len).sum();
        assert!(seen > 100, "{rules:?}: {seen} records");
    }
}
