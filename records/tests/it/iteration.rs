//! The record iterator: faults inside a body, each with its position.

use reka_records::varint::{put_varint, put_varlong};
use reka_records::walk::Walk;
use reka_records::{BatchError, BatchView, Compression, RecordFault, layout};

use crate::support::{CAP, NOW, compressed, plain, with, with_body};

/// The fields of a record after its length, without headers.
fn fields(timestamp_delta: i64, offset_delta: i32) -> Vec<u8> {
    let mut fields = vec![0];
    put_varlong(&mut fields, timestamp_delta);
    put_varint(&mut fields, offset_delta);
    fields
}

/// A length and these bytes.
fn framed(fields: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    put_varint(&mut record, fields.len() as i32);
    record.extend_from_slice(fields);
    record
}

/// One good record: null key, null value, no headers. 7 bytes.
fn good(offset_delta: i32) -> Vec<u8> {
    framed(&[&fields(0, offset_delta)[..], &[1, 1, 0]].concat())
}

/// What reading `body` ends with, the same for every codec it may be packed in.
fn failure(count: i32, body: &[u8]) -> BatchError {
    let errors: Vec<_> = Compression::ALL
        .into_iter()
        .map(|codec| {
            let bytes = with_body(count, codec, &compressed(codec, body));
            let batch = BatchView::parse(&bytes).unwrap();
            let mut scratch = Vec::new();
            match batch.records(&mut scratch, CAP) {
                Err(error) => error,
                Ok(mut records) => {
                    let error = records.find_map(Result::err).expect("the walk fails");
                    assert!(records.next().is_none(), "an error ends the walk");
                    error
                }
            }
        })
        .collect();
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0].clone()
}

#[track_caller]
fn check(fields_after_length: &[u8], expected: RecordFault) {
    // Behind a good record, so that index and position are worth something.
    let body = [good(0), framed(fields_after_length)].concat();
    assert_eq!(
        failure(2, &body),
        BatchError::Record {
            index: 1,
            at: 7,
            fault: expected
        }
    );
}

#[test]
fn a_key_that_reaches_past_its_record_is_truncated() {
    let head = fields(0, 1);
    check(
        &[&head[..], &[20]].concat(),
        RecordFault::Truncated {
            needed: 10,
            left: 0,
        },
    );
}

#[test]
fn a_value_of_two_gigabytes_is_truncated_not_allocated() {
    let mut fields = fields(0, 1);
    fields.push(1);
    put_varint(&mut fields, i32::MAX);
    check(
        &fields,
        RecordFault::Truncated {
            needed: i32::MAX as usize,
            left: 0,
        },
    );
}

#[test]
fn an_empty_record_has_no_attributes() {
    check(&[], RecordFault::Truncated { needed: 1, left: 0 });
}

#[test]
fn fields_that_end_before_the_record_does_are_a_mismatch() {
    let fields = [&fields(0, 1)[..], &[1, 1, 0, 0xaa, 0xbb]].concat();
    check(
        &fields,
        RecordFault::LengthMismatch {
            declared: 8,
            read: 6,
        },
    );
}

#[test]
fn a_negative_header_count_is_refused() {
    check(
        &[&fields(0, 1)[..], &[1, 1, 1]].concat(),
        RecordFault::NegativeHeaderCount { count: -1 },
    );
}

#[test]
fn more_headers_than_bytes_are_refused_before_any_is_read() {
    let mut fields = [&fields(0, 1)[..], &[1, 1]].concat();
    put_varint(&mut fields, i32::MAX);
    check(
        &fields,
        RecordFault::TooManyHeaders {
            count: i32::MAX,
            left: 0,
        },
    );
}

#[test]
fn a_null_header_key_is_refused() {
    check(
        &[&fields(0, 1)[..], &[1, 1, 2, 1, 1]].concat(),
        RecordFault::NegativeHeaderKey { length: -1 },
    );
}

#[test]
fn varints_that_never_end_are_refused() {
    let five = RecordFault::VarintTooLong { bytes_max: 5 };
    let ten = RecordFault::VarintTooLong { bytes_max: 10 };
    check(&[&[0][..], &[0xff; 11]].concat(), ten);
    check(&[&[0, 0][..], &[0xff; 6]].concat(), five);
    let body = [good(0), vec![0x80; 6]].concat();
    assert_eq!(
        failure(2, &body),
        BatchError::Record {
            index: 1,
            at: 7,
            fault: five
        }
    );
}

#[test]
fn overlong_varints_that_do_end_are_read_as_kafka_reads_them() {
    // Zero in five bytes, with bits beyond the 32nd set: Java drops those.
    let record = framed(&[0, 0, 0x80, 0x80, 0x80, 0x80, 0x70, 1, 1, 0]);
    let walked: Vec<_> = Walk::new(&record, 1).unwrap().collect();
    assert_eq!(walked[0].as_ref().unwrap().offset_delta, 0);
}

#[test]
fn a_negative_record_length_is_refused() {
    let body = [good(0), vec![1]].concat();
    let fault = RecordFault::NegativeLength { length: -1 };
    assert_eq!(
        failure(2, &body),
        BatchError::Record {
            index: 1,
            at: 7,
            fault
        }
    );
}

#[test]
fn a_record_length_beyond_the_body_is_truncated() {
    let mut body = good(0);
    body.push(100);
    let fault = RecordFault::Truncated {
        needed: 50,
        left: 0,
    };
    assert_eq!(
        failure(2, &body),
        BatchError::Record {
            index: 1,
            at: 7,
            fault
        }
    );
}

#[test]
fn fewer_records_than_counted_are_truncated() {
    let fault = RecordFault::Truncated { needed: 1, left: 0 };
    assert_eq!(
        failure(i32::MAX, &good(0)),
        BatchError::Record {
            index: 1,
            at: 7,
            fault
        }
    );
}

#[test]
fn more_bytes_than_counted_records_are_an_error() {
    let body = [good(0), good(1), good(2)].concat();
    assert_eq!(
        failure(2, &body),
        BatchError::TrailingBytes {
            at: 14,
            left: 7,
            count: 2
        }
    );
}

#[test]
fn a_negative_record_count_is_refused() {
    for count in [-1, i32::MIN] {
        assert_eq!(
            failure(count, &good(0)),
            BatchError::NegativeRecordCount { count }
        );
    }
}

#[test]
fn a_record_offset_that_overflows_is_refused() {
    let bytes = with_body(1, Compression::None, &good(i32::MAX));
    let bytes = with(bytes, layout::BASE_OFFSET, &(i64::MAX - 10).to_be_bytes());
    let batch = BatchView::parse(&bytes).unwrap();
    let mut scratch = Vec::new();
    let mut records = batch.records(&mut scratch, CAP).unwrap();
    let fault = RecordFault::OffsetOverflow { delta: i32::MAX };
    assert_eq!(
        records.next().unwrap().unwrap_err(),
        BatchError::Record {
            index: 0,
            at: 0,
            fault
        },
    );
    assert!(records.next().is_none());
}

#[test]
fn a_timestamp_that_overflows_wraps_as_in_java() {
    let body = framed(&[&fields(i64::MAX, 0)[..], &[1, 1, 0]].concat());
    let bytes = with_body(1, Compression::None, &body);
    let batch = BatchView::parse(&bytes).unwrap();
    let mut scratch = Vec::new();
    let record = batch
        .records(&mut scratch, CAP)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(record.timestamp, NOW.wrapping_add(i64::MAX));
}

#[test]
fn an_uncompressed_batch_leaves_the_scratch_buffer_alone() {
    let bytes = plain(4, Compression::None);
    let batch = BatchView::parse(&bytes).unwrap();
    let mut scratch = b"mine".to_vec();
    assert_eq!(batch.records(&mut scratch, 0).unwrap().count(), 4);
    assert_eq!(scratch, b"mine");
}

#[test]
fn the_walk_says_the_size_of_each_record() {
    let bytes = plain(50, Compression::None);
    let batch = BatchView::parse(&bytes).unwrap();
    let walk = Walk::new(batch.records_bytes(), 50).unwrap();
    let sizes: usize = walk.map(|record| record.unwrap().size).sum();
    assert_eq!(sizes, batch.records_bytes().len());
}
