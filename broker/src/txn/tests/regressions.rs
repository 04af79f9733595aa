//! What Apache Kafka itself had to mend in KIP-890: one test each.

use reka_protocol::ErrorCode;
use reka_records::control::{EndTxnMarker, TransactionResult};
use reka_records::{Attributes, BatchHeader, MAGIC};
use reka_storage::producer_state::ProducerState;

use super::{Desk, at};
use crate::partition::verify::{Marker, Verifying, check_marker};
use crate::txn::record::State;

const PRODUCER: i64 = 7;

fn batch(epoch: i16, sequence: i32, offset: i64) -> BatchHeader {
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
        producer_id: PRODUCER,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: 1,
    }
}

fn marker(epoch: i16) -> Marker {
    Marker {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        end: EndTxnMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 1,
        },
        bumped_epoch: true,
    }
}

/// Its transaction is open, or over when its marker is in.
fn partition(batches: &[BatchHeader], ended_by: Option<i16>) -> ProducerState {
    let mut producers = ProducerState::default();
    for header in batches {
        producers.apply(header, None);
    }
    if let Some(epoch) = ended_by {
        let mut header = batch(epoch, -1, 100);
        header.attributes = header.attributes.with(Attributes::CONTROL);
        producers.apply(&header, Some(marker(epoch).end));
    }
    producers
}

/// KAFKA-18575: a batch of the next transaction while the last one ends. What the leader of the
/// partition tells its producer is a test of `api/produce.rs`.
#[test]
fn a_partition_is_added_to_the_next_transaction_only_when_the_last_has_ended() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    let next = desk.end(first, true).expect("an end");
    for said in [first, next] {
        assert_eq!(desk.add(said, "t"), ErrorCode::ConcurrentTransactions);
    }
    assert_eq!(desk.verify(next, "t"), ErrorCode::ConcurrentTransactions);
    desk.complete();
    assert_eq!(desk.add(first, "t"), ErrorCode::ProducerFenced);
    assert_eq!(desk.add(next, "t"), ErrorCode::None);
}

/// KAFKA-18401.
#[test]
fn an_abort_of_nothing_takes_an_epoch_and_a_commit_of_nothing_is_invalid() {
    let mut desk = Desk::new();
    let mut current = desk.init(None).expect("a producer");
    let invalid = Err(ErrorCode::InvalidTxnState);
    for state in [State::Empty, State::CompleteAbort, State::CompleteCommit] {
        if state == State::CompleteCommit {
            assert_eq!(desk.add(current, "t"), ErrorCode::None);
            current = desk.end(current, true).expect("an end");
            desk.complete();
        }
        assert_eq!(desk.state(), state);
        assert_eq!(desk.end(current, true), invalid, "{state:?}");
        let next = desk.end(current, false).expect("an epoch");
        assert_eq!(next, at(current, current.epoch + 1), "{state:?}");
        assert!(desk.txn().started_ms >= 0, "{state:?}");
        desk.complete();
        current = next;
        assert_eq!(desk.state(), State::CompleteAbort);
    }
}

/// KAFKA-18660.
#[test]
fn a_producer_whose_epochs_are_used_up_is_not_fenced_by_its_own_next_id() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    let last = at(first, i16::MAX - 1);
    desk.set(|txn| txn.producer = last);
    assert_eq!(desk.add(last, "t"), ErrorCode::None);
    let next = desk.end(last, true).expect("an end");
    assert_ne!(next.id, last.id);
    assert_eq!(next.epoch, 0);
    // Its partitions hear the epoch that no producer ever has.
    assert_eq!(desk.txn().marker(3).producer_epoch, i16::MAX);
    assert_eq!(desk.txn().marker(3).producer_id, last.id);
    // Until they have, neither is wrong.
    let concurrent = ErrorCode::ConcurrentTransactions;
    for said in [last, next] {
        assert_eq!(desk.add(said, "t"), concurrent);
        assert_eq!(desk.end(said, true), Err(concurrent));
        assert_eq!(desk.init(Some(said)), Err(concurrent));
    }
    desk.reload();
    desk.complete();
    assert_eq!(desk.end(last, true), Ok(next), "its answer was lost");
    assert_eq!(desk.end(last, false), Err(ErrorCode::InvalidTxnState));
    assert_eq!(desk.add(next, "t"), ErrorCode::None);
    assert_eq!(desk.end(next, false), Ok(at(next, 1)));
}

/// KAFKA-19367.
#[test]
fn a_new_producer_takes_one_epoch_for_the_abort_and_one_for_itself() {
    for level in [0, 2] {
        let mut desk = Desk::at_level(level);
        let first = desk.init(None).expect("a producer");
        assert_eq!(desk.add(first, "t"), ErrorCode::None);
        assert_eq!(desk.init(None), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(desk.txn().producer, at(first, 1));
        // However often it asks.
        assert_eq!(desk.init(None), Err(ErrorCode::ConcurrentTransactions));
        desk.complete();
        assert_eq!(desk.init(None), Ok(at(first, 2)), "level {level}");
    }
}

/// KAFKA-18042, KAFKA-19690.
#[test]
fn a_replaced_producer_is_told_so_before_its_transaction_is_looked_at() {
    let producers = partition(&[batch(3, 0, 0)], Some(4));
    let verifying = Verifying::default();
    let begun = verifying.begin(&producers, PRODUCER, 3, 1);
    let refused = begun.expect_err("a batch of an older epoch");
    assert_eq!(refused.error_code, ErrorCode::InvalidProducerEpoch);
    // Past the question, with a guard or without: the log says what is wrong.
    assert_eq!(verifying.check(&producers, &batch(3, 1, 9), None), Ok(()));
    assert!(producers.check(&batch(3, 1, 9)).is_err());
}

/// KAFKA-19446.
#[test]
fn a_late_marker_of_the_epoch_in_use_does_not_end_the_transaction_after_it() {
    // The end of epoch 0 made it 1; the marker comes again when 1 is open.
    let producers = partition(&[batch(1, 0, 0)], None);
    let refused = check_marker(&producers, &marker(1)).expect_err("a late marker");
    assert_eq!(refused.error_code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(check_marker(&producers, &marker(2)), Ok(()));
    // Where transactions follow each other in one epoch it is the right one.
    let in_epoch = Marker {
        bumped_epoch: false,
        ..marker(1)
    };
    assert_eq!(check_marker(&producers, &in_epoch), Ok(()));
}

/// KAFKA-19999.
#[test]
fn a_marker_that_is_sent_again_gets_through_where_nothing_is_open() {
    let producers = partition(&[batch(0, 0, 0)], Some(1));
    assert_eq!(check_marker(&producers, &marker(1)), Ok(()));
    let nobody = ProducerState::default();
    assert_eq!(check_marker(&nobody, &marker(1)), Ok(()));
}

/// KAFKA-20090.
#[test]
fn the_last_epoch_is_ended_and_followed_by_a_new_id() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    let last = at(first, i16::MAX - 1);
    desk.set(|txn| txn.producer = last);
    assert_eq!(desk.add(last, "t"), ErrorCode::None);
    desk.now_ms += 60_001;
    assert_eq!(desk.abort_overdue(), 1);
    assert_eq!(desk.txn().producer, at(first, i16::MAX));
    desk.complete();
    // A transaction there: only by a producer that got too far. It is ended in that epoch.
    let beyond = at(first, i16::MAX);
    assert_eq!(desk.add(beyond, "t"), ErrorCode::None);
    desk.now_ms += 60_001;
    assert_eq!(desk.abort_overdue(), 1);
    let told = desk.txn().marker(1);
    assert_eq!((told.producer_epoch, told.bumped_epoch), (i16::MAX, true));
    let open = partition(&[batch(i16::MAX, 0, 0)], None);
    assert_eq!(check_marker(&open, &marker(i16::MAX)), Ok(()));
    desk.complete();
    let rotated = desk.init(None).expect("a new id");
    assert_ne!(rotated.id, first.id);
    assert_eq!(rotated.epoch, 0);
}

/// KAFKA-20785.
#[test]
fn a_commit_that_comes_after_the_coordinators_abort_is_fenced() {
    let mut desk = Desk::new();
    let first = desk.init(None).expect("a producer");
    assert_eq!(desk.add(first, "t"), ErrorCode::None);
    desk.now_ms += 60_001;
    assert_eq!(desk.abort_overdue(), 1);
    desk.complete();
    assert_eq!(desk.end(first, true), Err(ErrorCode::ProducerFenced));
    // Its own abort, by contrast, was what it says.
    let second = desk.init(None).expect("a producer");
    assert_eq!(desk.add(second, "t"), ErrorCode::None);
    assert!(desk.end(second, false).is_ok());
    desk.complete();
    assert_eq!(desk.end(second, true), Err(ErrorCode::InvalidTxnState));
}
