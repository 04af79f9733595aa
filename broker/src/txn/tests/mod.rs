//! Tests of the machine: no socket, no disk, no clock.

mod machine;
mod records;
mod regressions;
mod simulation;

use std::time::Duration;

use reka_protocol::ErrorCode;

use super::Settings;
use super::ask::{Add, Ask, End, Init, Producer, Reply};
use super::record::{Place, State, Txn, TxnRecord};
use super::state::Transactions;

const ID: &str = "x";

fn settings() -> Settings {
    Settings {
        timeout_max_ms: 900_000,
        id_expiration_ms: 1_000_000,
        ids_max: 16,
        abort_interval: Duration::from_secs(10),
        expire_interval: Duration::from_secs(3600),
        commit_timeout: Duration::from_secs(30),
    }
}

fn place(topic: &str) -> Place {
    (topic.into(), 0)
}

/// The machine with what it stands on: records are applied as soon as they are decided.
struct Desk {
    transactions: Transactions,
    level: i16,
    now_ms: i64,
    next_producer_id: i64,
}

impl Desk {
    fn at_level(level: i16) -> Desk {
        Desk {
            transactions: Transactions::default(),
            level,
            now_ms: 1_000,
            next_producer_id: 100,
        }
    }

    fn new() -> Desk {
        Desk::at_level(2)
    }

    fn apply(&mut self, record: TxnRecord) {
        self.transactions.apply(record);
        self.transactions.check_invariants();
    }

    fn ask(&mut self, ask: &Ask) -> Reply {
        let decision = self
            .transactions
            .decide(&settings(), self.level, self.now_ms, ask);
        if let Some(record) = decision.record {
            self.apply(record);
        }
        decision.reply
    }

    fn fresh(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    fn init(&mut self, known: Option<Producer>) -> Result<Producer, ErrorCode> {
        let ask = |fresh| {
            Ask::Init(Init {
                id: ID.to_owned(),
                timeout_ms: 60_000,
                known,
                fresh,
            })
        };
        match self.ask(&ask(None)) {
            Reply::NeedsProducerId => {
                let fresh = self.fresh();
                producer(self.ask(&ask(Some(fresh))))
            }
            reply => producer(reply),
        }
    }

    fn add(&mut self, producer: Producer, topic: &str) -> ErrorCode {
        let client_version = self.level;
        let add = Add {
            id: ID.to_owned(),
            producer,
            partitions: vec![place(topic)],
            client_version,
        };
        match self.ask(&Ask::Add(add)) {
            Reply::Code(code) => code,
            other => panic!("{other:?}"),
        }
    }

    fn verify(&mut self, producer: Producer, topic: &str) -> ErrorCode {
        let add = Add {
            id: ID.to_owned(),
            producer,
            partitions: vec![place(topic)],
            client_version: 0,
        };
        match self.ask(&Ask::Verify(add)) {
            Reply::Verified(codes) => codes[0],
            other => panic!("{other:?}"),
        }
    }

    fn end_as(
        &mut self,
        client_version: i16,
        said: Producer,
        commit: bool,
    ) -> Result<Producer, ErrorCode> {
        let ask = |fresh| {
            Ask::End(End {
                id: ID.to_owned(),
                producer: said,
                commit,
                client_version,
                fresh,
            })
        };
        match self.ask(&ask(None)) {
            Reply::NeedsProducerId => {
                let fresh = self.fresh();
                producer(self.ask(&ask(Some(fresh))))
            }
            reply => producer(reply),
        }
    }

    fn end(&mut self, said: Producer, commit: bool) -> Result<Producer, ErrorCode> {
        self.end_as(self.level, said, commit)
    }

    /// Every partition has been told.
    fn complete(&mut self) {
        let id = ID.into();
        let record = self.transactions.complete(&id, self.now_ms);
        self.apply(record.expect("a transaction that ends"));
    }

    fn abort_overdue(&mut self) -> usize {
        let overdue = self.transactions.overdue(self.level, self.now_ms);
        let count = overdue.len();
        overdue.into_iter().for_each(|record| self.apply(record));
        count
    }

    fn txn(&self) -> &Txn {
        self.transactions.get(ID).expect("a known id")
    }

    fn state(&self) -> State {
        self.txn().state
    }

    /// The id as it is after this.
    fn set(&mut self, change: impl FnOnce(&mut Txn)) {
        let mut txn = self.txn().clone();
        change(&mut txn);
        let record = TxnRecord {
            id: ID.into(),
            txn: Some(txn),
        };
        self.apply(record);
    }

    /// Everything is read back from the log, as after a crash.
    fn reload(&mut self) {
        let mut read = Transactions::default();
        let record = TxnRecord {
            id: ID.into(),
            txn: Some(self.txn().clone()),
        };
        let (key, value) = record.encode(self.level).expect("a record");
        let decoded = TxnRecord::decode(&key, value.as_deref()).expect("a record");
        read.apply(decoded.expect("a known key"));
        self.transactions = read;
    }
}

fn producer(reply: Reply) -> Result<Producer, ErrorCode> {
    match reply {
        Reply::Producer(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn at(producer: Producer, epoch: i16) -> Producer {
    Producer { epoch, ..producer }
}
