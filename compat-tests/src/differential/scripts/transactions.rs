//! Transactions: their coordinator, both ways to add partitions, every end, and what is not allowed.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use reka_protocol::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, BrokerId, DescribeTransactionsRequest,
    EndTxnRequest, FetchRequest, FetchResponse, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, OffsetFetchRequest,
    ProduceRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use reka_records::BatchBuilder;

use super::{make_topic, text, topic_name};
use crate::differential::Pair;
use crate::differential::side::Side;
use crate::error::Result;
use crate::wait;

const COORDINATOR_TIME_MAX: Duration = Duration::from_secs(30);
const TOPIC: &str = "transacted";
/// Clients from here on name topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// `transaction.max.timeout.ms`
const TIMEOUT_MAX_MS: i32 = 900_000;
/// Retriable: not the answer that is asked for.
const NOT_YET: [i16; 4] = [14, 15, 16, 51];

pub(super) fn script(pair: &mut Pair) -> Result<()> {
    make_topic(pair, TOPIC, 2, &[])?;
    coordinator(pair)?;
    beginnings(pair)?;
    one_epoch(pair)?;
    own_epochs(pair)?;
    batches(pair)?;
    overdue(pair)?;
    offsets(pair)?;
    markers(pair)?;
    reading(pair)?;
    descriptions(pair)
}

/// When everything is written: the same to both, and so late that nothing is too old for either.
#[allow(clippy::disallowed_methods, reason = "a client's clock")]
fn time_ms() -> i64 {
    static TIME_MS: OnceLock<i64> = OnceLock::new();
    *TIME_MS.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_millis() as i64
    })
}

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

fn coordinator(pair: &mut Pair) -> Result<()> {
    let find = |version: i16| match version {
        ..4 => FindCoordinatorRequest::default()
            .with_key(text("a"))
            .with_key_type(1),
        _ => FindCoordinatorRequest::default()
            .with_coordinator_keys(vec![text("a"), text("b")])
            .with_key_type(1),
    };
    wait::until("wait for the coordinator", COORDINATOR_TIME_MAX, || {
        let found = pair.ask_quietly(3, |_| find(3))?;
        let both = [&found.kafka, &found.reka];
        let is_found = both
            .iter()
            .all(|side| side.as_ref().is_some_and(|answer| answer.error_code == 0));
        Ok(is_found.then_some(()))
    })?;
    for version in 1..=6 {
        pair.ask(version, "of a transactional id", |_| find(version))?;
    }
    begin(pair, "first")
}

fn init(name: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// A producer, when both are ready to give one.
fn begin(pair: &mut Pair, name: &str) -> Result<()> {
    wait::until("wait for a producer", COORDINATOR_TIME_MAX, || {
        let both = pair.ask_quietly(4, |_| init(name))?;
        pair.keep(&both, |side, answer| {
            if answer.error_code == 0 {
                side.numbers.insert(name.to_owned(), answer.producer_id.0);
                let epoch = i64::from(answer.producer_epoch);
                side.numbers.insert(format!("{name} epoch"), epoch);
            }
        });
        let answers = [&both.kafka, &both.reka];
        let ready = answers.iter().all(|side| {
            side.as_ref()
                .is_some_and(|answer| !NOT_YET.contains(&answer.error_code))
        });
        Ok(ready.then_some(()))
    })
}

/// Both have told every partition how the transaction ended.
fn settle(pair: &mut Pair, name: &str) -> Result<()> {
    wait::until("wait for the end", COORDINATOR_TIME_MAX, || {
        let both = pair.ask_quietly(0, |_| describe(&[name]))?;
        let answers = [&both.kafka, &both.reka];
        let is_ending = |state: &str| state.starts_with("Prepare");
        let settled = answers.iter().all(|side| {
            side.as_ref().is_some_and(|answer| {
                let states = &answer.transaction_states;
                !states.iter().any(|one| is_ending(&one.transaction_state))
            })
        });
        Ok(settled.then_some(()))
    })
}

fn describe(names: &[&str]) -> DescribeTransactionsRequest {
    let ids = names.iter().map(|name| id(name)).collect();
    DescribeTransactionsRequest::default().with_transactional_ids(ids)
}

/// Who a side says the producer is, `later` epochs on.
fn of(side: &Side, name: &str, later: i16) -> (ProducerId, i16) {
    let epoch = side.number(&format!("{name} epoch")) as i16;
    (ProducerId(side.number(name)), epoch + later)
}

fn beginnings(pair: &mut Pair) -> Result<()> {
    for version in 0..=5 {
        let name = format!("begin-{version}");
        let ask = || match version {
            ..3 => InitProducerIdRequest::default()
                .with_transactional_id(Some(id(&name)))
                .with_transaction_timeout_ms(60_000),
            _ => init(&name),
        };
        for what in ["for the first time", "again", "and again"] {
            let both = pair.ask(version, what, |_| ask())?;
            pair.keep(&both, |side, answer| {
                side.numbers.insert(name.clone(), answer.producer_id.0);
                let epoch = i64::from(answer.producer_epoch);
                side.numbers.insert(format!("{name} epoch"), epoch);
            });
        }
        for timeout_ms in [0, -1, TIMEOUT_MAX_MS + 1, TIMEOUT_MAX_MS] {
            let request = || ask().with_transaction_timeout_ms(timeout_ms);
            pair.ask(version, "with a time-out", |_| request())?;
        }
        let nobody = || ask().with_transactional_id(Some(id("")));
        pair.ask(version, "with an empty id", |_| nobody())?;
        if version < 3 {
            continue;
        }
        // The last answered was two epochs ahead of what is known: the time-out that was right.
        for (what, later) in [
            ("as the one before", 0),
            ("as it is", 1),
            ("as it was", 1),
            ("as nobody", 9),
            ("as it is now", 2),
        ] {
            pair.ask(version, what, |side| {
                let (producer_id, epoch) = of(side, &name, later);
                ask()
                    .with_producer_id(producer_id)
                    .with_producer_epoch(epoch)
            })?;
        }
        pair.ask(version, "as somebody else", |_| {
            ask()
                .with_producer_id(ProducerId(7_777_777))
                .with_producer_epoch(0)
        })?;
        pair.ask(version, "with half of what it was", |_| {
            ask().with_producer_id(ProducerId(5))
        })?;
    }
    Ok(())
}

fn transaction(
    side: &Side,
    name: &str,
    later: i16,
    partitions: &[(&str, i32)],
) -> AddPartitionsToTxnTransaction {
    let (producer_id, epoch) = of(side, name, later);
    let topics = partitions.iter().map(|(topic, index)| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![*index])
    });
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(id(name))
        .with_producer_id(producer_id)
        .with_producer_epoch(epoch)
        .with_topics(topics.collect())
}

fn add(version: i16, transaction: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnRequest {
    match version {
        ..4 => AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transaction.transactional_id)
            .with_v3_and_below_producer_id(transaction.producer_id)
            .with_v3_and_below_producer_epoch(transaction.producer_epoch)
            .with_v3_and_below_topics(transaction.topics),
        _ => AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]),
    }
}

fn end(side: &Side, name: &str, later: i16, commit: bool) -> EndTxnRequest {
    let (producer_id, epoch) = of(side, name, later);
    EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(producer_id)
        .with_producer_epoch(epoch)
        .with_committed(commit)
}

fn batch(side: &Side, name: &str, later: i16, sequence: i32, transactional: bool) -> Vec<u8> {
    let (producer_id, epoch) = of(side, name, later);
    let mut builder = BatchBuilder::new(0).producer(producer_id.0, epoch, sequence);
    if transactional {
        builder = builder.transactional();
    }
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let appended = builder.append(0, time_ms(), Some(b"k"), Some(b"v"), headers);
    debug_assert!(appended.is_ok());
    builder.finish()
}

fn produce(
    side: &Side,
    version: i16,
    name: Option<&str>,
    partition: i32,
    records: Vec<u8>,
) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records.into()));
    let topic = TopicProduceData::default().with_partition_data(vec![data]);
    let topic = match version {
        TOPIC_IDS_FROM.. => topic.with_topic_id(side.topic_id(TOPIC)),
        _ => topic.with_name(topic_name(TOPIC)),
    };
    ProduceRequest::default()
        .with_transactional_id(name.map(id))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic])
}

/// Transactions that follow each other in one epoch.
fn one_epoch(pair: &mut Pair) -> Result<()> {
    for version in 0..=5 {
        let name = format!("add-{version}");
        begin(pair, &name)?;
        for (what, later, partitions) in [
            ("another epoch", 3, &[(TOPIC, 0)][..]),
            ("a missing topic", 0, &[("transacted-not", 0)]),
            ("a missing partition", 0, &[(TOPIC, 7)]),
            (
                "one that is there and one that is not",
                0,
                &[(TOPIC, 0), ("transacted-not", 0)],
            ),
            ("one", 0, &[(TOPIC, 0)]),
            ("it again", 0, &[(TOPIC, 0)]),
            ("two", 0, &[(TOPIC, 0), (TOPIC, 1)][..1]),
        ] {
            pair.ask(version, what, |side| {
                add(version, transaction(side, &name, later, partitions))
            })?;
        }
        pair.ask(version, "of an id nobody has", |side| {
            let nobodys = transaction(side, &name, 0, &[(TOPIC, 0)]);
            add(
                version,
                nobodys.with_transactional_id(id("transacted-nobody")),
            )
        })?;
        pair.ask(version, "of an empty id", |side| {
            let nobodys = transaction(side, &name, 0, &[(TOPIC, 0)]);
            add(version, nobodys.with_transactional_id(id("")))
        })?;
        pair.ask(version, "of another producer", |side| {
            let others = transaction(side, &name, 0, &[(TOPIC, 0)]);
            add(version, others.with_producer_id(ProducerId(7_777_777)))
        })?;
        if version >= 4 {
            for (what, later, partition) in [("one", 0, 0), ("another", 0, 1), ("older", -1, 0)] {
                pair.ask(version, &format!("is it there: {what}"), |side| {
                    let asked = transaction(side, &name, later, &[(TOPIC, partition)]);
                    add(version, asked.with_verify_only(true))
                })?;
            }
        }
    }
    for version in 0..=4 {
        let name = format!("end-{version}");
        begin(pair, &name)?;
        for commit in [true, false] {
            pair.ask(version, "of nothing", |side| end(side, &name, 0, commit))?;
        }
        for commit in [true, false] {
            pair.ask_quietly(3, |side| add(3, transaction(side, &name, 0, &[(TOPIC, 0)])))?;
            pair.ask(version, "another epoch", |side| end(side, &name, 2, commit))?;
            pair.ask(version, "another producer", |side| {
                end(side, &name, 0, commit).with_producer_id(ProducerId(7_777_777))
            })?;
            pair.ask(version, "nobody's", |side| {
                end(side, &name, 0, commit).with_transactional_id(id("transacted-nobody"))
            })?;
            pair.ask(version, "with an empty id", |side| {
                end(side, &name, 0, commit).with_transactional_id(id(""))
            })?;
            pair.ask(version, "the end", |side| end(side, &name, 0, commit))?;
            settle(pair, &name)?;
            pair.ask(version, "the end again", |side| end(side, &name, 0, commit))?;
            pair.ask(version, "the other end", |side| {
                end(side, &name, 0, !commit)
            })?;
        }
    }
    Ok(())
}

/// Each with an epoch of its own.
fn own_epochs(pair: &mut Pair) -> Result<()> {
    let name = "epochs";
    begin(pair, name)?;
    let mut later = 0;
    let everything = |pair: &mut Pair, later: i16, what: &str| -> Result<()> {
        for (epoch, commit) in [(-1, true), (-1, false), (0, true), (1, true), (1, false)] {
            pair.ask(
                5,
                &format!("{what}, epoch {epoch}, commit {commit}"),
                |side| end(side, name, later + epoch, commit),
            )?;
        }
        Ok(())
    };
    everything(pair, later, "after the beginning")?;
    for commit in [true, false] {
        pair.ask(12, "on the way", |side| {
            produce(side, 12, Some(name), 0, batch(side, name, later, 0, true))
        })?;
        pair.ask(5, "the end", |side| end(side, name, later, commit))?;
        settle(pair, name)?;
        later += 1;
        everything(pair, later, &format!("after commit {commit}"))?;
        pair.ask(5, "an abort of nothing", |side| {
            end(side, name, later, false)
        })?;
        settle(pair, name)?;
        later += 1;
        everything(pair, later, "after an abort of nothing")?;
    }
    pair.ask(5, "of an id nobody has", |side| {
        end(side, name, later, true).with_transactional_id(id("transacted-nobody"))
    })?;
    pair.ask(5, "with an empty id", |side| {
        end(side, name, later, true).with_transactional_id(id(""))
    })?;
    pair.ask(5, "another producer", |side| {
        end(side, name, later, true).with_producer_id(ProducerId(7_777_777))
    })?;
    // An older request ends what was begun on the way.
    pair.ask(12, "on the way", |side| {
        produce(side, 12, Some(name), 0, batch(side, name, later, 0, true))
    })?;
    pair.ask(4, "the end, in the epoch", |side| {
        end(side, name, later, true)
    })?;
    settle(pair, name)?;
    pair.ask(4, "the same again", |side| end(side, name, later, true))?;
    pair.ask(4, "the other end", |side| end(side, name, later, false))?;
    pair.ask(0, "where it stands", |_| describe(&[name]))?;
    Ok(())
}

/// What a partition takes.
fn batches(pair: &mut Pair) -> Result<()> {
    for version in 3..=13 {
        let name = format!("batch-{version}");
        begin(pair, &name)?;
        pair.ask(version, "without a transactional id", |side| {
            produce(side, version, None, 0, batch(side, &name, 0, 0, true))
        })?;
        pair.ask(version, "of a newer epoch", |side| {
            produce(
                side,
                version,
                Some(&name),
                0,
                batch(side, &name, 1, 0, true),
            )
        })?;
        pair.ask(version, "of an id nobody has", |side| {
            let records = batch(side, &name, 0, 0, true);
            produce(side, version, Some("transacted-nobody"), 0, records)
        })?;
        pair.ask(version, "of nothing that was added", |side| {
            produce(
                side,
                version,
                Some(&name),
                0,
                batch(side, &name, 0, 0, true),
            )
        })?;
        pair.ask_quietly(3, |side| add(3, transaction(side, &name, 0, &[(TOPIC, 0)])))?;
        for (what, sequence) in [("the first", 0), ("the second", 1), ("the first again", 0)] {
            pair.ask(version, what, |side| {
                produce(
                    side,
                    version,
                    Some(&name),
                    0,
                    batch(side, &name, 0, sequence, true),
                )
            })?;
        }
        pair.ask(version, "outside the transaction", |side| {
            produce(
                side,
                version,
                Some(&name),
                0,
                batch(side, &name, 0, 2, false),
            )
        })?;
        pair.ask_quietly(5, |side| end(side, &name, 0, version % 2 == 0))?;
        settle(pair, &name)?;
        pair.ask(version, "of the epoch before", |side| {
            produce(
                side,
                version,
                Some(&name),
                0,
                batch(side, &name, 0, 3, true),
            )
        })?;
    }
    Ok(())
}

/// Aborted by the coordinator.
fn overdue(pair: &mut Pair) -> Result<()> {
    let name = "overdue";
    wait::until("wait for a producer", COORDINATOR_TIME_MAX, || {
        let both = pair.ask_quietly(4, |_| init(name).with_transaction_timeout_ms(100))?;
        pair.keep(&both, |side, answer| {
            side.numbers.insert(name.to_owned(), answer.producer_id.0);
            side.numbers.insert(format!("{name} epoch"), 0);
        });
        Ok(Some(()))
    })?;
    pair.ask(12, "to be overdue", |side| {
        produce(side, 12, Some(name), 1, batch(side, name, 0, 0, true))
    })?;
    wait::until("wait for the abort", COORDINATOR_TIME_MAX, || {
        let both = pair.ask_quietly(0, |_| describe(&[name]))?;
        let answers = [&both.kafka, &both.reka];
        let aborted = answers.iter().all(|side| {
            side.as_ref().is_some_and(|answer| {
                let states = &answer.transaction_states;
                states
                    .iter()
                    .all(|one| &*one.transaction_state == "CompleteAbort")
            })
        });
        Ok(aborted.then_some(()))
    })?;
    pair.ask(0, "aborted", |_| describe(&[name]))?;
    for version in [12, 11] {
        pair.ask(version, "after the abort", |side| {
            produce(side, version, Some(name), 1, batch(side, name, 0, 1, true))
        })?;
    }
    pair.ask(4, "a commit, too late", |side| end(side, name, 0, true))?;
    // With the newest version 4.3.1 says INVALID_TXN_STATE to that, which KAFKA-20785 mended: the
    // producer is fenced, as with the older ones.
    pair.ask(5, "an abort, too late", |side| end(side, name, 0, false))?;
    pair.ask(5, "as it was", |side| {
        let (producer_id, epoch) = of(side, name, 0);
        init(name)
            .with_producer_id(producer_id)
            .with_producer_epoch(epoch)
    })?;
    Ok(())
}

fn offset_commit(
    side: &Side,
    version: i16,
    name: &str,
    later: i16,
    offset: i64,
) -> TxnOffsetCommitRequest {
    let (producer_id, epoch) = of(side, name, later);
    let partition = |index: i32| {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("m")));
        match version {
            2.. => partition.with_committed_leader_epoch(0),
            _ => partition,
        }
    };
    let topic = |name: &str, indexes: &[i32]| {
        TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(indexes.iter().map(|index| partition(*index)).collect())
    };
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(GroupId(text(name)))
        .with_producer_id(producer_id)
        .with_producer_epoch(epoch)
        .with_topics(vec![topic(TOPIC, &[0, 9]), topic("transacted-not", &[0])]);
    match version {
        3.. => request.with_generation_id(-1),
        _ => request,
    }
}

fn fetch_offsets(name: &str, require_stable: bool) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(TOPIC))
        .with_partition_indexes(vec![0, 1]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(name)))
        .with_topics(Some(vec![topic]));
    OffsetFetchRequest::default()
        .with_groups(vec![group])
        .with_require_stable(require_stable)
}

fn add_offsets(side: &Side, name: &str, later: i16) -> AddOffsetsToTxnRequest {
    let (producer_id, epoch) = of(side, name, later);
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(producer_id)
        .with_producer_epoch(epoch)
        .with_group_id(GroupId(text(name)))
}

fn offsets(pair: &mut Pair) -> Result<()> {
    wait::until("wait for the groups", COORDINATOR_TIME_MAX, || {
        let find = FindCoordinatorRequest::default().with_key(text("a"));
        pair.ask_quietly(3, |_| find.clone())?;
        let both = pair.ask_quietly(8, |_| fetch_offsets("a", false))?;
        let answers = [&both.kafka, &both.reka];
        let ready = answers.iter().all(|side| {
            side.as_ref()
                .is_some_and(|answer| answer.groups.iter().all(|group| group.error_code == 0))
        });
        Ok(ready.then_some(()))
    })?;
    for version in 0..=4 {
        let name = format!("offsets-{version}");
        begin(pair, &name)?;
        pair.ask(version, "another epoch", |side| add_offsets(side, &name, 4))?;
        pair.ask(version, "an id nobody has", |side| {
            add_offsets(side, &name, 0).with_transactional_id(id("transacted-nobody"))
        })?;
        pair.ask(version, "an empty id", |side| {
            add_offsets(side, &name, 0).with_transactional_id(id(""))
        })?;
        pair.ask(version, "a group", |side| add_offsets(side, &name, 0))?;
        pair.ask(version, "the group again", |side| {
            add_offsets(side, &name, 0)
        })?;
        pair.ask(0, "with a group", |_| describe(&[&name]))?;
    }
    for version in 0..=5 {
        let name = format!("commits-{version}");
        begin(pair, &name)?;
        pair.ask(version, "not added", |side| {
            offset_commit(side, version, &name, 0, 1)
        })?;
        pair.ask_quietly(5, |side| end(side, &name, 0, false))?;
        settle(pair, &name)?;
        for (later, commit) in [(1, true), (2, false)] {
            pair.ask_quietly(3, |side| add_offsets(side, &name, later))?;
            pair.ask(version, "in a transaction", |side| {
                offset_commit(side, version, &name, later, 5 + i64::from(later))
            })?;
            if version >= 3 {
                pair.ask(version, "of a stranger", |side| {
                    offset_commit(side, version, &name, later, 5)
                        .with_member_id(text("stranger"))
                        .with_generation_id(3)
                })?;
                pair.ask(version, "of a group nobody has", |side| {
                    offset_commit(side, version, &name, later, 5)
                        .with_group_id(GroupId(text("transacted-no-group")))
                        .with_generation_id(3)
                })?;
            }
            pair.ask(version, "of no group", |side| {
                offset_commit(side, version, &name, later, 5).with_group_id(GroupId(text("")))
            })?;
            for stable in [false, true] {
                pair.ask(8, "before the end", |_| fetch_offsets(&name, stable))?;
            }
            pair.ask_quietly(5, |side| end(side, &name, later, commit))?;
            settle(pair, &name)?;
            for stable in [false, true] {
                pair.ask(8, "after the end", |_| fetch_offsets(&name, stable))?;
            }
        }
        pair.ask(version, "of the epoch before", |side| {
            offset_commit(side, version, &name, 1, 5)
        })?;
    }
    Ok(())
}

/// As an operator sends them.
fn markers(pair: &mut Pair) -> Result<()> {
    let name = "marked";
    begin(pair, name)?;
    begin(pair, name)?;
    pair.ask_quietly(12, |side| {
        produce(side, 12, Some(name), 0, batch(side, name, 0, 0, true))
    })?;
    let marker = |side: &Side, later: i16, coordinator_epoch: i32| {
        let topic = |topic: &str, index: i32| {
            WritableTxnMarkerTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(vec![index])
        };
        let (producer_id, epoch) = of(side, name, later);
        let topics = vec![
            topic(TOPIC, 0),
            topic("transacted-not", 0),
            topic("__consumer_offsets", 0),
        ];
        let marker = WritableTxnMarker::default()
            .with_producer_id(producer_id)
            .with_producer_epoch(epoch)
            .with_coordinator_epoch(coordinator_epoch)
            .with_topics(topics);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    };
    for (what, later, coordinator_epoch) in [
        ("of no epoch", -2, 3),
        ("of an older epoch", -1, 3),
        ("the right one", 0, 3),
        ("of a coordinator before", 0, 2),
        ("the right one again", 0, 3),
    ] {
        pair.ask(1, what, |side| marker(side, later, coordinator_epoch))?;
    }
    pair.ask(1, "none", |_| WriteTxnMarkersRequest::default())?;
    Ok(())
}

/// Batches by their offsets and kind, as their producers and their markers' times differ; and of the
/// aborted transactions those that the batches reach: Apache Kafka names some behind them as well.
fn without_producers(answer: &mut FetchResponse) {
    for topic in &mut answer.responses {
        for partition in &mut topic.partitions {
            let mut told = String::new();
            let mut end = 0;
            let records = partition.records.take().unwrap_or_default();
            for batch in reka_records::batches(&records).flatten() {
                let header = batch.header();
                end = header.last_offset() + 1;
                let kind = match (header.is_control(), header.is_transactional()) {
                    (true, _) => "marker",
                    (_, true) => "transactional",
                    _ => "plain",
                };
                told += &format!("{kind} {}..{end} ", header.base_offset);
            }
            partition.records = Some(told.into_bytes().into());
            if let Some(aborted) = &mut partition.aborted_transactions {
                aborted.retain(|txn| txn.first_offset < end);
            }
        }
    }
}

/// What readers of committed data see.
fn reading(pair: &mut Pair) -> Result<()> {
    make_topic(pair, "transacted-read", 1, &[])?;
    let to_read = |side: &Side, name: &str, later: i16| {
        let mut request = produce(side, 12, Some(name), 0, batch(side, name, later, 0, true));
        request.topic_data[0].name = topic_name("transacted-read");
        request
    };
    for (name, commit) in [
        ("read-a", true),
        ("read-b", false),
        ("read-c", true),
        ("read-d", false),
    ] {
        begin(pair, name)?;
        pair.ask_quietly(12, |side| to_read(side, name, 0))?;
        if name == "read-c" {
            continue;
        }
        pair.ask_quietly(5, |side| end(side, name, 0, commit))?;
        settle(pair, name)?;
    }
    for what in ["while one is open", "when all have ended"] {
        for offset in 0..7 {
            for isolation in [0, 1] {
                let request = |_: &Side| {
                    let partition = FetchPartition::default()
                        .with_fetch_offset(offset)
                        .with_partition_max_bytes(1 << 20);
                    let topic = FetchTopic::default()
                        .with_topic(topic_name("transacted-read"))
                        .with_partitions(vec![partition]);
                    FetchRequest::default()
                        .with_max_bytes(1 << 20)
                        .with_session_epoch(-1)
                        .with_isolation_level(isolation)
                        .with_topics(vec![topic])
                };
                pair.ask_masked(12, what, request, without_producers)?;
            }
        }
        for isolation in [0, 1] {
            for timestamp in [-1, -2, time_ms()] {
                pair.ask(7, what, |_| {
                    let partition = ListOffsetsPartition::default()
                        .with_current_leader_epoch(-1)
                        .with_timestamp(timestamp);
                    let topic = ListOffsetsTopic::default()
                        .with_name(topic_name("transacted-read"))
                        .with_partitions(vec![partition]);
                    ListOffsetsRequest::default()
                        .with_replica_id(BrokerId(-1))
                        .with_isolation_level(isolation)
                        .with_topics(vec![topic])
                })?;
            }
        }
        pair.ask_quietly(5, |side| end(side, "read-c", 0, true))?;
        settle(pair, "read-c")?;
    }
    Ok(())
}

fn descriptions(pair: &mut Pair) -> Result<()> {
    begin(pair, "described")?;
    pair.ask_quietly(3, |side| {
        add(3, transaction(side, "described", 0, &[(TOPIC, 0)]))
    })?;
    pair.ask(0, "ids", |_| {
        describe(&["described", "transacted-nobody", "", "end-4"])
    })?;
    for version in 0..=2 {
        let all = ListTransactionsRequest::default;
        pair.ask(version, "all", |_| all())?;
        for states in [
            &["Ongoing"][..],
            &["Empty", "CompleteAbort"],
            &["Dead"],
            &["ongoing"],
            &["Odd", "Empty"],
        ] {
            pair.ask(version, "by state", |_| {
                all().with_state_filters(states.iter().map(|state| text(state)).collect())
            })?;
        }
        pair.ask(version, "by producer", |side| {
            all().with_producer_id_filters(vec![of(side, "described", 0).0, ProducerId(7_777_777)])
        })?;
        if version >= 1 {
            for duration_ms in [-1, 0, 3_600_000] {
                pair.ask(version, "by how long they run", |_| {
                    all().with_duration_filter(duration_ms)
                })?;
            }
        }
        if version >= 2 {
            for pattern in ["begin-.", "egin", "described|end-4", "", "("] {
                pair.ask(version, "by pattern", |_| {
                    all().with_transactional_id_pattern(Some(text(pattern)))
                })?;
            }
        }
    }
    Ok(())
}
