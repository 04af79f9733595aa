//! Control records: markers there and back, and what a newer broker may have written.

use reka_records::control::{
    ControlError, ControlRecord, ControlType, EndTxnMarker, LeaderChange, MarkerBatch,
    TransactionResult, Voter, end_txn_marker,
};
use reka_records::{BatchBuilder, BatchView};

use crate::support::{CAP, NOW};

const AT: MarkerBatch = MarkerBatch {
    base_offset: 12,
    leader_epoch: 3,
    producer_id: 4000,
    producer_epoch: 5,
    timestamp: NOW,
};

/// A control batch of one record.
fn control(key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).control();
    builder.append(0, NOW, key, value, []).unwrap();
    builder.finish()
}

fn with_parsed<T>(
    bytes: &[u8],
    look: impl FnOnce(Result<ControlRecord<'_>, ControlError>) -> T,
) -> T {
    let batch = BatchView::parse(bytes).unwrap();
    let mut scratch = Vec::new();
    let record = batch
        .records(&mut scratch, CAP)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    look(ControlRecord::parse(&record))
}

#[test]
fn both_markers_come_back() {
    for result in [TransactionResult::Abort, TransactionResult::Commit] {
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: 77,
        };
        let bytes = marker.to_batch(AT);
        let batch = BatchView::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert!(header.is_control() && header.is_transactional());
        assert!(header.has_producer_id() && !header.has_sequence());
        assert_eq!((header.producer_id, header.producer_epoch), (4000, 5));
        assert_eq!((header.base_offset, header.leader_epoch), (12, 3));
        assert_eq!((header.record_count, header.max_timestamp), (1, NOW));
        assert_eq!(end_txn_marker(&batch), Ok(Some(marker)));
    }
}

#[test]
fn a_leader_change_comes_back_in_both_versions() {
    for (version, directory) in [(0, None), (1, Some([9; 16]))] {
        let change = LeaderChange {
            version,
            leader_id: 2,
            voters: (1..=3).map(|id| Voter { id, directory }).collect(),
            granting_voters: vec![Voter { id: 2, directory }],
        };
        let bytes = change.to_batch(100, 8, NOW);
        let batch = BatchView::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        assert!(batch.header().is_control() && !batch.header().is_transactional());
        assert_eq!(end_txn_marker(&batch), Ok(None));
        with_parsed(&bytes, |parsed| {
            assert_eq!(parsed, Ok(ControlRecord::LeaderChange(change)));
        });
    }
}

#[test]
fn a_type_from_the_future_survives_untouched() {
    let bytes = control(Some(&[0, 0, 0, 99]), Some(b"anything"));
    let expected = ControlRecord::Other {
        control_type: ControlType::Unknown(99),
        value: Some(b"anything".as_slice()),
    };
    with_parsed(&bytes, |parsed| assert_eq!(parsed, Ok(expected)));
    assert_eq!(end_txn_marker(&BatchView::parse(&bytes).unwrap()), Ok(None));
}

#[test]
fn a_newer_version_with_more_at_the_end_is_read_as_the_first() {
    let bytes = control(Some(&[0, 9, 0, 1, 1, 1]), Some(&[0, 9, 0, 0, 0, 5, 1, 1]));
    let marker = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 5,
    };
    assert_eq!(
        end_txn_marker(&BatchView::parse(&bytes).unwrap()),
        Ok(Some(marker))
    );
}

#[test]
fn markers_that_make_no_sense_are_refused() {
    let check = |key: Option<&[u8]>, value: Option<&[u8]>, expected: ControlError| {
        let bytes = control(key, value);
        assert_eq!(
            end_txn_marker(&BatchView::parse(&bytes).unwrap()),
            Err(expected)
        );
    };
    let commit = Some(&[0, 0, 0, 1][..]);
    check(
        None,
        None,
        ControlError::Short {
            part: "key",
            needed: 4,
            found: 0,
        },
    );
    check(
        Some(&[0, 0, 1]),
        None,
        ControlError::Short {
            part: "key",
            needed: 4,
            found: 3,
        },
    );
    check(
        Some(&[0xff, 0xff, 0, 1]),
        None,
        ControlError::NegativeVersion {
            part: "key",
            version: -1,
        },
    );
    check(
        commit,
        None,
        ControlError::Short {
            part: "value",
            needed: 6,
            found: 0,
        },
    );
    check(
        commit,
        Some(&[0; 5]),
        ControlError::Short {
            part: "value",
            needed: 6,
            found: 5,
        },
    );
    check(
        commit,
        Some(&[0x80, 0, 0, 0, 0, 0]),
        ControlError::NegativeVersion {
            part: "value",
            version: i16::MIN,
        },
    );
    let empty = BatchBuilder::new(0).control().finish();
    assert_eq!(
        end_txn_marker(&BatchView::parse(&empty).unwrap()),
        Err(ControlError::Empty)
    );
}

#[test]
fn a_leader_change_that_declares_four_billion_voters_ends_where_its_bytes_do() {
    let value = [
        &[0, 0, 0, 0, 0, 1][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0, 0, 0, 1, 0],
    ]
    .concat();
    with_parsed(&control(Some(&[0, 0, 0, 2]), Some(&value)), |parsed| {
        assert!(
            matches!(parsed, Err(ControlError::Value { at: 16, .. })),
            "{parsed:?}"
        );
    });
}

#[test]
fn type_numbers_are_kafkas() {
    for id in -2..10 {
        assert_eq!(ControlType::from_id(id).id(), id);
    }
    assert_eq!(ControlType::from_id(6), ControlType::KRaftVoters);
    assert_eq!(ControlType::from_id(7), ControlType::Unknown(7));
}
