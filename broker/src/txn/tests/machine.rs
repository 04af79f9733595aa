//! One question at a time.

use regex::Regex;
use reka_protocol::ErrorCode;

use super::{Desk, ID, at, settings};
use crate::txn::ask::{Ask, ListFilter, Reply};
use crate::txn::record::State;

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
        pattern: Some(Regex::new(ID).expect("a pattern")),
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
    let other = Some(Regex::new("y").expect("a pattern"));
    assert_eq!(
        count(ListFilter {
            pattern: other,
            ..all()
        }),
        0
    );
}
