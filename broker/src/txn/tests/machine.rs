//! One question at a time.

use reka_protocol::ErrorCode;
use reka_records::{Attributes, BatchHeader, MAGIC};
use reka_storage::producer_state::ProducerState;

use super::{Desk, ID, at, settings};
use crate::txn::Settings;
use crate::txn::ask::{Add, Ask, Init, ListFilter, Producer, Reply};
use crate::txn::record::{State, TxnRecord};

#[test]
fn an_answer_that_was_lost_is_given_again_and_nothing_else_is_done() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    for commit in [true, false] {
        let current = desk.txn().producer;
        assert_eq!(desk.add(current, "t"), ErrorCode::None);
        let next = desk.end(current, commit).expect("an end");
        desk.complete();
        let before = desk.txn().clone();
        assert_eq!(desk.end(current, commit), Ok(next));
        assert_eq!(desk.end(current, !commit), Err(ErrorCode::InvalidTxnState));
        assert_eq!(*desk.txn(), before);
        // Also by a coordinator that has read it all back.
        desk.reload();
        assert_eq!(desk.end(current, commit), Ok(next));
    }
    assert_eq!(desk.end(first, true), Err(ErrorCode::ProducerFenced));
}

#[test]
fn an_old_client_ends_what_was_begun_for_a_new_one() {
    // Flink takes up a transaction of a producer that no longer runs, with the old request.
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    assert!(desk.end_as(0, first, true).is_ok());
    assert_eq!(desk.state(), State::PrepareCommit);
    assert!(!desk.txn().marker(1).bumped_epoch);
    desk.complete();
    assert_eq!(desk.txn().producer, first);
    assert!(desk.end_as(0, first, true).is_ok());
    let invalid = Err(ErrorCode::InvalidTxnState);
    assert_eq!(desk.end_as(0, first, false), invalid);
    let fenced = Err(ErrorCode::ProducerFenced);
    assert_eq!(desk.end_as(0, at(first, 5), true), fenced);
}

#[test]
fn a_retry_from_before_the_ids_changed_is_recognised() {
    let mut desk = Desk::at_level(0);
    let first = desk.init(None).expect("a producer");
    let last = at(first, i16::MAX - 1);
    desk.set(|txn| txn.producer = last);
    let rotated = desk.init(Some(last)).expect("a new id");
    assert_ne!(rotated.id, first.id);
    assert_eq!(desk.init(Some(last)), Ok(rotated));
    assert_eq!(desk.init(Some(first)), Err(ErrorCode::ProducerFenced));
    assert_eq!(desk.init(Some(rotated)), Ok(at(rotated, 1)));
    assert_eq!(desk.init(Some(last)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn an_exhausted_epoch_is_no_reason_to_take_in_a_stranger() {
    let mut desk = Desk::at_level(0);
    let first = desk.init(None).expect("a producer");
    desk.set(|txn| txn.producer = at(first, i16::MAX - 1));
    let fenced = Err(ErrorCode::ProducerFenced);
    assert_eq!(desk.init(Some(at(first, 7))), fenced);
}

#[test]
fn only_what_is_open_and_has_taken_too_long_is_aborted() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    desk.now_ms += 1_000_000;
    assert_eq!(desk.abort_overdue(), 0, "nothing is open");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    desk.now_ms += 60_000;
    assert_eq!(
        desk.abort_overdue(),
        0,
        "it has exactly as long as it asked for"
    );
    // To add more does not begin it anew.
    assert_eq!(desk.add(first, "u"), ErrorCode::None);
    desk.now_ms += 1;
    assert_eq!(desk.abort_overdue(), 1);
    assert_eq!(desk.state(), State::PrepareAbort);
    assert_eq!(desk.txn().partitions.len(), 2);
    assert_eq!(desk.abort_overdue(), 0);
}

#[test]
fn ids_are_forgotten_when_they_are_idle_for_long_and_only_then() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    desk.now_ms += 2_000_000;
    assert_eq!(desk.transactions.expired(&settings(), desk.now_ms), []);
    let next = desk.end(first, true).expect("an end");
    desk.now_ms += 2_000_000;
    assert_eq!(desk.transactions.expired(&settings(), desk.now_ms), []);
    desk.complete();
    desk.now_ms += 999_999;
    assert_eq!(desk.transactions.expired(&settings(), desk.now_ms), []);
    desk.now_ms += 1;
    for tombstone in desk.transactions.expired(&settings(), desk.now_ms) {
        desk.apply(tombstone);
    }
    assert!(desk.transactions.is_empty());
    let unmapped = ErrorCode::InvalidProducerIdMapping;
    assert_eq!(desk.add(next, "t"), unmapped);
    assert_eq!(desk.end(next, true), Err(unmapped));
}

#[test]
fn lists_are_by_all_that_is_asked_at_once() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    desk.now_ms += 500;
    let mut count = |filter: ListFilter| match desk.ask(&Ask::List(Box::new(filter))) {
        Reply::List(listed) => listed.len(),
        other => panic!("{other:?}"),
    };
    let all = || ListFilter {
        states: vec![State::Ongoing],
        by_state: true,
        producer_ids: vec![first.id],
        duration_ms: 499,
    };
    assert_eq!(count(all()), 1);
    assert_eq!(
        count(ListFilter {
            duration_ms: 500,
            ..all()
        }),
        0
    );
    assert_eq!(
        count(ListFilter {
            states: vec![State::Empty],
            ..all()
        }),
        0
    );
    assert_eq!(
        count(ListFilter {
            producer_ids: vec![first.id + 1],
            ..all()
        }),
        0
    );
}

/// So many more ids that stand like this.
fn many(desk: &mut Desk, name: &str, count: usize, state: State, updated_ms: i64) {
    desk.init(None).expect("a producer");
    let txn = desk.txn().clone();
    for number in 0..count {
        let mut txn = txn.clone();
        (txn.state, txn.updated_ms) = (state, updated_ms + number as i64);
        if state == State::Ongoing {
            txn.partitions.insert(super::place("t"));
            txn.started_ms = updated_ms;
        }
        desk.apply(TxnRecord {
            id: format!("{name}-{number}").into(),
            txn: Some(txn),
        });
    }
}

fn forgotten(desk: &Desk) -> Vec<String> {
    let surplus = desk.transactions.surplus(&settings(), desk.now_ms);
    assert!(surplus.iter().all(|record| record.txn.is_none()));
    let mut forgotten: Vec<String> = surplus.iter().map(|record| record.id.to_string()).collect();
    forgotten.sort();
    forgotten
}

#[test]
fn a_flood_of_ids_puts_out_its_own_before_those_that_were_used() {
    let mut desk = Desk::new();
    desk.now_ms = 100_000;
    many(&mut desk, "used", 5, State::CompleteCommit, 1);
    many(&mut desk, "flood", 10, State::Empty, 80_000);
    // With the one that everything was copied from there are as many as may be.
    assert_eq!(desk.transactions.len(), 16);
    assert!(forgotten(&desk).is_empty());
    many(&mut desk, "new", 1, State::Empty, 99_000);
    assert_eq!(forgotten(&desk), ["flood-0", "flood-1", "flood-2"]);
    // Also where none of them had the time to be used yet.
    desk.now_ms = 85_000;
    assert_eq!(forgotten(&desk), ["flood-0", "flood-1", "flood-2"]);

    // A few that had no time yet are no flood: those used longest ago go.
    let mut desk = Desk::new();
    desk.now_ms = 85_000;
    many(&mut desk, "used", 13, State::CompleteCommit, 1);
    many(&mut desk, "new", 3, State::Empty, 80_000);
    assert_eq!(forgotten(&desk), ["used-0", "used-1", "used-2"]);
}

#[test]
fn what_is_under_way_is_never_forgotten_and_leaves_room_for_nobody_else() {
    let mut desk = Desk::new();
    many(&mut desk, "open", 31, State::Ongoing, 1);
    assert!(forgotten(&desk).is_empty(), "it has only just begun");
    desk.now_ms += 10_000;
    assert_eq!(forgotten(&desk), [ID], "the one that is idle");
    let ask = |fresh| {
        Ask::Init(Init {
            id: "one-more".to_owned(),
            timeout_ms: 60_000,
            known: None,
            fresh,
        })
    };
    let refused = Reply::Producer(Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(desk.ask(&ask(Some(9))), refused);
    desk.apply(TxnRecord {
        id: ID.into(),
        txn: None,
    });
    assert!(matches!(
        desk.ask(&ask(Some(9))),
        Reply::Producer(Ok(Producer { id: 9, .. }))
    ));
}

/// What they take when a million have come and gone, in bytes.
fn held_after_a_million(each: impl FnMut(i64)) -> i64 {
    let allocated = allocation_counter::measure(|| (0..1_000_000).for_each(each));
    allocated.bytes_current
}

#[test]
fn a_million_transactional_ids_take_no_more_memory_than_as_many_as_may_be() {
    let settings = Settings {
        ids_max: 20_000,
        ..settings()
    };
    let mut desk = Desk::new();
    let bystander = desk.init(None).expect("a producer");
    assert_eq!(desk.add(bystander, "t"), ErrorCode::None);
    let mut transactions = std::mem::take(&mut desk.transactions);
    let mut most = 0;
    let bytes = held_after_a_million(|number| {
        let ask = Ask::Init(Init {
            id: format!("transactional-id-of-usual-length-{number}"),
            timeout_ms: 60_000,
            known: None,
            fresh: Some(number),
        });
        let decided = transactions.decide(&settings, 2, 1_000 + number, &ask);
        transactions.apply(decided.record.expect("a new id"));
        for record in transactions.surplus(&settings, 1_000 + number) {
            transactions.apply(record);
        }
        most = most.max(transactions.len());
    });
    assert_eq!(most, 20_000);
    assert!(bytes < 12 << 20, "{bytes} bytes");
    // The one with an open transaction was there before them, and goes on.
    desk.transactions = transactions;
    assert!(desk.end(bystander, true).is_ok());
}

#[test]
fn a_million_producers_of_a_partition_take_no_more_memory_than_as_many_as_may_be() {
    let header = |producer_id, sequence| BatchHeader {
        base_offset: producer_id,
        batch_length: 49,
        leader_epoch: 0,
        magic: MAGIC,
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: producer_id,
        producer_id,
        producer_epoch: 0,
        base_sequence: sequence,
        record_count: 1,
    };
    let mut producers = ProducerState::default();
    let mut bystander = 0;
    let bytes = held_after_a_million(|number| {
        producers.apply(&header(number + 1, 0), None);
        producers.keep_at_most(20_000);
        if number % 10_000 == 0 {
            // One that writes now and then is not among those that go.
            let mut batch = header(0, bystander);
            batch.base_offset = number + 1;
            producers.apply(&batch, None);
            bystander += 1;
        }
    });
    assert!(producers.len() <= 20_000);
    assert!(bytes < 12 << 20, "{bytes} bytes");
    assert!(producers.check(&header(0, bystander + 1)).is_err());
    assert!(producers.check(&header(0, bystander)).is_ok());
}

/// As Apache Kafka has it: what is added may be nothing.
#[test]
fn a_transaction_of_no_partitions_is_under_way_until_it_ends() {
    for commit in [true, false] {
        let mut desk = Desk::new();
        let producer = desk.init(None).expect("a producer");
        let add = Add {
            id: ID.to_owned(),
            producer,
            partitions: Vec::new(),
            client_version: 2,
        };
        for _ in 0..2 {
            let added = desk.ask(&Ask::Add(add.clone()));
            assert_eq!(added, Reply::Code(ErrorCode::None));
            assert_eq!(desk.txn().state, State::Ongoing);
        }
        assert_eq!(desk.verify(producer, "t"), ErrorCode::TransactionAbortable);
        desk.end(producer, commit).expect("an end");
        assert!(desk.txn().partitions.is_empty());
        desk.complete();
        assert!(desk.txn().state.is_idle());
    }
}
