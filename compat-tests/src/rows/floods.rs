//! Floods of names: groups, members, transactional ids and producers that nobody will ever ask for
//! again, a million of each on demand. The broker's memory stays below what it may take, and whoever
//! works beside a flood is served without an error and without a long wait.
//!
//! `REKA_FLOOD` sets how many of each (100,000 in the nightly tier). Apache Kafka has no such bound, so
//! there is nothing to compare with.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, InitProducerIdRequest, JoinGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, ProducerId, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::BatchBuilder;

use super::raw::{answer, create_topic, group_id, now, number, topic_name, wait_for_group};
use crate::bench::frames::{self, Target};
use crate::context::Context;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::reka::Reka;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::wait;

pub(super) const ROW: Row = Row {
    name: "floods",
    tiers: &[Tier::Nightly],
    about: "a million groups, members, transactional ids and producers that are made up: bounded memory, others unharmed",
    judges: Judges::Reka,
    run,
};

const EACH: u64 = 100_000;
const TOPIC: &str = "floods";
/// Coordinators of transactions, in FindCoordinator.
const TRANSACTIONS: i8 = 1;
const CONNECTIONS: u64 = 8;
/// Requests on their way on a connection.
const DEPTH: u64 = 64;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A small budget, so that a hundred thousand use it up.
const SETTINGS: [&str; 5] = [
    "reka.group.memory.max.bytes=67108864",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=8",
    "transaction.state.log.num.partitions=8",
    "reka.transactional.ids.per.partition.max=5000",
];
/// What the process may take of its own: the budget, as much again for what is on its way and what the
/// allocator keeps, and what it takes anyway.
const OWN_BYTES_MAX: u64 = 3 * (64 << 20);
/// No client waits longer beside a flood, on a machine that has nothing to spare.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// One kind of name that is made up.
struct Flood {
    name: &'static str,
    /// The request about the name with this number.
    frame: fn(u64) -> Result<Bytes>,
    /// Where its answer has the error code, behind the correlation id.
    error_at: usize,
    /// What may be answered beside none.
    refusals: &'static [ErrorCode],
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "groups by commit",
        frame: commit,
        // Topics, the name, partitions, index.
        error_at: 4 + 2 + TOPIC.len() + 4 + 4,
        refusals: &[ErrorCode::InvalidCommitOffsetSize],
    },
    Flood {
        name: "ids to join with",
        frame: ask_for_id,
        error_at: 4,
        refusals: &[ErrorCode::MemberIdRequired, ErrorCode::GroupMaxSizeReached],
    },
    Flood {
        name: "groups by heartbeat",
        frame: heartbeat,
        error_at: 1 + 4,
        refusals: &[ErrorCode::GroupMaxSizeReached],
    },
    Flood {
        name: "transactional ids",
        frame: init_producer,
        error_at: 4,
        refusals: &[],
    },
    Flood {
        name: "producers",
        frame: produce,
        // Topics, the name, partitions, index.
        error_at: 4 + 2 + TOPIC.len() + 4 + 4,
        refusals: &[],
    },
];

fn run(ctx: &Context) -> Result<Verdict> {
    let each = number("REKA_FLOOD")?.unwrap_or(EACH);
    let server = Reka::build_release(ctx)?;
    let home = ctx.work().join("reka");
    let mut reka = Reka::start_with(&server, &home, &[], &SETTINGS)?;
    let address = reka.address();
    let mut side = Side::new("Reka", address);
    create_topic(&mut side, TOPIC, 1)?;
    wait_for_group(&mut side, "beside", LOAD_TIME_MAX)?;
    wait::until("begin a producer", LOAD_TIME_MAX, || {
        // Whoever asks first has the coordinator's topic created.
        let find = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_static_str("first"))
            .with_key_type(TRANSACTIONS);
        answer(side.ask(3, &find)?, "find a coordinator")?;
        let begun = answer(side.ask(4, &init_request("first"))?, "begin a producer")?;
        Ok((begun.error_code == 0).then_some(()))
    })?;

    let mut seen = Vec::new();
    let mut beside = Beside::new(address);
    for flood in FLOODS {
        let done = AtomicBool::new(false);
        let codes = std::thread::scope(|scope| {
            let works = scope.spawn(|| beside.work_until(&done));
            let flooded = let_in(address, flood, each);
            done.store(true, Ordering::SeqCst);
            let worked = works.join();
            worked.map_err(|_| Error::refused("work beside a flood", "a thread panicked"))??;
            flooded
        })?;
        judge(flood, &codes, each)?;
        let own = reka.process().usage()?.own_bytes;
        if own > OWN_BYTES_MAX {
            let finding = format!("the broker takes {own} bytes, at most {OWN_BYTES_MAX}");
            return Err(Error::refused(flood.name, finding));
        }
        seen.push(format!("{}: {} MiB", flood.name, own >> 20));
    }

    reka.stop()?;
    let reka = Reka::start_with(&server, &home, &[], &SETTINGS)?;
    let mut side = Side::new("Reka", reka.address());
    wait_for_group(&mut side, "beside", LOAD_TIME_MAX)?;
    beside.compare(&mut side)?;
    reka.stop()?;
    Ok(Verdict::Passed(format!(
        "{each} of each; own memory behind {}; {} commits beside, the slowest {:?}",
        seen.join(", "),
        beside.commits,
        beside.slowest
    )))
}

/// Every name was answered, by what the flood may be told.
fn judge(flood: &Flood, codes: &BTreeMap<i16, u64>, each: u64) -> Result<()> {
    let answered: u64 = codes.values().sum();
    let is_known = |code: i16| code == 0 || flood.refusals.iter().any(|known| known.code() == code);
    let strange = codes.keys().find(|code| !is_known(**code));
    match (strange, answered == each) {
        (None, true) => Ok(()),
        (Some(code), _) => Err(Error::refused(flood.name, format!("error {code}"))),
        (None, false) => {
            let finding = format!("{answered} answers to {each} requests");
            Err(Error::refused(flood.name, finding))
        }
    }
}

/// Sends a request for every name, on several connections; how often each code was the answer.
fn let_in(address: SocketAddr, flood: &Flood, each: u64) -> Result<BTreeMap<i16, u64>> {
    let on_connection = |first: u64| -> Result<BTreeMap<i16, u64>> {
        let failed = |error: std::io::Error| Error::refused(flood.name, error.to_string());
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream
            .set_read_timeout(Some(ANSWER_TIME_MAX))
            .map_err(failed)?;
        let mut codes = BTreeMap::new();
        let mut numbers = (first..each).step_by(CONNECTIONS as usize).peekable();
        let mut body = Vec::new();
        while numbers.peek().is_some() {
            let mut turn = Vec::new();
            let mut count = 0;
            for number in numbers.by_ref().take(DEPTH as usize) {
                turn.extend_from_slice(&(flood.frame)(number)?);
                count += 1;
            }
            stream.write_all(&turn).map_err(failed)?;
            for _ in 0..count {
                let mut size = [0; 4];
                stream.read_exact(&mut size).map_err(failed)?;
                let size = u32::from_be_bytes(size) as usize;
                if size > ANSWER_BYTES_MAX {
                    let finding = format!("an answer of {size} bytes");
                    return Err(Error::refused(flood.name, finding));
                }
                body.resize(size, 0);
                stream.read_exact(&mut body).map_err(failed)?;
                let code = body
                    .get(4 + flood.error_at..)
                    .and_then(|at| at.first_chunk());
                let code = code.ok_or_else(|| Error::refused(flood.name, "a short answer"))?;
                *codes.entry(i16::from_be_bytes(*code)).or_insert(0) += 1;
            }
        }
        Ok(codes)
    };
    std::thread::scope(|scope| {
        let on_connection = &on_connection;
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|first| scope.spawn(move || on_connection(first)))
            .collect();
        let mut all = BTreeMap::new();
        for thread in threads {
            let codes = thread.join();
            let codes = codes.map_err(|_| Error::refused(flood.name, "a thread panicked"))??;
            for (code, count) in codes {
                *all.entry(code).or_insert(0) += count;
            }
        }
        Ok(all)
    })
}

/// A client that does its work beside a flood: a group that was there before commits again and again.
struct Beside {
    address: SocketAddr,
    commits: u64,
    slowest: Duration,
}

impl Beside {
    fn new(address: SocketAddr) -> Beside {
        Beside {
            address,
            commits: 0,
            slowest: Duration::ZERO,
        }
    }

    fn work_until(&mut self, done: &AtomicBool) -> Result<()> {
        let mut side = Side::new("Reka", self.address);
        while !done.load(Ordering::SeqCst) {
            let from = Instant::now();
            let request = commit_request("beside", self.commits as i64 + 1);
            let committed = answer(side.ask(2, &request)?, "commit beside a flood")?;
            let took = from.elapsed();
            let code = committed.topics[0].partitions[0].error_code;
            if code != 0 || took > WAIT_MAX {
                let finding = format!("error {code} after {took:?}, at most {WAIT_MAX:?}");
                return Err(Error::refused("commit beside a flood", finding));
            }
            self.commits += 1;
            self.slowest = self.slowest.max(took);
        }
        Ok(())
    }

    /// What it committed last is there.
    fn compare(&self, side: &mut Side) -> Result<()> {
        let fetch = OffsetFetchRequest::default()
            .with_group_id(group_id("beside"))
            .with_topics(None);
        let fetched = answer(side.ask(7, &fetch)?, "fetch offsets")?;
        let topics = fetched.topics.iter();
        let mut found = topics.flat_map(|topic| &topic.partitions);
        let found = found.next().map(|partition| partition.committed_offset);
        match found == Some(self.commits as i64) {
            true => Ok(()),
            false => {
                let finding = format!("{found:?} is committed, {} was last", self.commits);
                Err(Error::refused("start behind the floods", finding))
            }
        }
    }
}

fn commit(number: u64) -> Result<Bytes> {
    frames::frame(2, &commit_request(&format!("committed-{number}"), 1))
}

fn commit_request(group: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::new()));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn ask_for_id(number: u64) -> Result<Bytes> {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"));
    let join = JoinGroupRequest::default()
        .with_group_id(group_id(&format!("joining-{number}")))
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    frames::frame(5, &join)
}

fn heartbeat(number: u64) -> Result<Bytes> {
    let heartbeat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(&format!("beating-{number}")))
        .with_member_id(StrBytes::from_string(format!("member-{number}")))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(300_000)
        .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
        .with_topic_partitions(Some(Vec::new()));
    frames::frame(1, &heartbeat)
}

fn init_request(id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn init_producer(number: u64) -> Result<Bytes> {
    frames::frame(1, &init_request(&format!("made-up-{number}")))
}

/// A batch of a producer nobody has heard of.
fn produce(number: u64) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(0).producer(number as i64 + (1 << 40), 0, 0);
    let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    builder
        .append(0, now().as_millis() as i64, None, Some(b"v"), none)
        .map_err(|error| Error::refused("make a batch", error.to_string()))?;
    let target = Target {
        topic: TOPIC,
        partition: 0,
    };
    target.produce_in(8, 1, builder.finish().into())
}
