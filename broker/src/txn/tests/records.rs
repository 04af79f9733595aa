//! What is written, as Kafka writes it.

use proptest::prelude::*;

use crate::txn::ask::Producer;
use crate::txn::record::{NO_EPOCH, NONE, State, Txn, TxnRecord};

fn txn() -> Txn {
    Txn {
        producer: Producer { id: 5, epoch: 3 },
        previous_producer_id: 4,
        next_producer_id: 6,
        last_epoch: NO_EPOCH,
        timeout_ms: 60_000,
        state: State::PrepareCommit,
        partitions: [("a".into(), 1), ("a".into(), 2), ("b".into(), 0)].into(),
        started_ms: 1_000,
        updated_ms: 2_000,
        client_version: 2,
        is_fenced: false,
    }
}

fn read_back(txn: &Txn, level: i16) -> Txn {
    let record = TxnRecord {
        id: "x".into(),
        txn: Some(txn.clone()),
    };
    let (key, value) = record.encode(level).expect("a record");
    let value = value.expect("a value");
    // The first version before transaction.version 1, the flexible one from there on.
    assert_eq!(value[..2], i16::from(level > 0).to_be_bytes());
    let decoded = TxnRecord::decode(&key, Some(&value)).expect("a record");
    let decoded = decoded.expect("a known key");
    assert_eq!(&*decoded.id, "x");
    decoded.txn.expect("a value")
}

#[test]
fn the_older_record_lacks_what_came_later() {
    let older = Txn {
        previous_producer_id: NONE,
        next_producer_id: NONE,
        client_version: 0,
        ..txn()
    };
    assert_eq!(read_back(&txn(), 0), older);
    assert_eq!(read_back(&txn(), 1), txn());
    assert_eq!(read_back(&txn(), 2), txn());
}

#[test]
fn an_empty_id_is_written_with_no_list_of_partitions() {
    let empty = Txn {
        state: State::Empty,
        partitions: [].into(),
        ..txn()
    };
    assert_eq!(read_back(&empty, 2), empty);
}

#[test]
fn a_state_nobody_writes_is_an_error() {
    let record = TxnRecord {
        id: "x".into(),
        txn: Some(txn()),
    };
    let (key, value) = record.encode(0).expect("a record");
    let mut value = value.expect("a value").to_vec();
    // Version, producer id, epoch, time-out.
    let at = 2 + 8 + 2 + 4;
    assert_eq!(value[at], State::PrepareCommit as u8);
    value[at] = 6;
    let error = TxnRecord::decode(&key, Some(&value)).expect_err("an error");
    assert_eq!(
        error.to_string(),
        "transactional id x is in state 6, expected 0 to 5"
    );
    value.truncate(at);
    assert!(TxnRecord::decode(&key, Some(&value)).is_err());
}

proptest! {
    #[test]
    fn no_bytes_do_harm(key in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
        let _ = TxnRecord::decode(&key, Some(&value));
        let mut known = vec![0, 0, 0, 1, b'x'];
        known.extend(key);
        let _ = TxnRecord::decode(&known, Some(&value));
    }
}
