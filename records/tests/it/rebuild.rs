//! The same records in another shape.

use proptest::prelude::*;
use reka_records::rebuild::{Target, recompress, renumber};
use reka_records::varint::{put_varint, put_varlong};
use reka_records::{BatchHeader, BatchView, Change, Compression, Rules, TimestampType, validate};

use crate::support::{CAP, NOW, any_codec, any_records, build, compressed, read, with_body};

fn target(compression: Compression) -> Target {
    Target {
        compression,
        level: None,
        decompressed_bytes_max: CAP,
    }
}

proptest! {
    #[test]
    fn recompression_changes_the_codec_and_no_record(
        records in any_records(),
        source in any_codec(),
        wanted in any_codec(),
    ) {
        let before = build(&records, source);
        let mut after = Vec::new();
        recompress(&BatchView::parse(&before).unwrap(), target(wanted), &mut Vec::new(), &mut after).unwrap();
        let (old, new) = (BatchHeader::parse(&before).unwrap(), BatchHeader::parse(&after).unwrap());
        prop_assert_eq!(new.compression(), Ok(wanted));
        let but_for_the_body = BatchHeader {
            batch_length: new.batch_length,
            crc: new.crc,
            attributes: new.attributes,
            ..old
        };
        prop_assert_eq!(new, but_for_the_body);
        prop_assert_eq!(read(&after), records);
    }

    #[test]
    fn renumbering_closes_the_gaps_and_keeps_the_rest(records in any_records(), codec in any_codec()) {
        let before = build(&records, codec);
        let mut after = Vec::new();
        renumber(&BatchView::parse(&before).unwrap(), target(codec), &mut Vec::new(), &mut after).unwrap();
        let renumbered = read(&after);
        let base = records[0].offset;
        prop_assert_eq!(renumbered.len(), records.len());
        for ((index, mut expected), found) in records.into_iter().enumerate().zip(renumbered) {
            expected.offset = base + index as i64;
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_client_that_numbers_its_records_wrongly_is_repaired() {
    // What some old clients send: every record says delta 0.
    let mut body = Vec::new();
    for timestamp_delta in 0..3 {
        let mut fields = vec![0];
        put_varlong(&mut fields, timestamp_delta);
        fields.extend_from_slice(&[0, 1, 2, b'v', 0]);
        put_varint(&mut body, fields.len() as i32);
        body.extend(fields);
    }
    for codec in Compression::ALL {
        let bytes = with_body(3, codec, &compressed(codec, &body));
        let mut scratch = Vec::new();
        let accepted = validate(&bytes, &Rules::new(NOW), &mut scratch).unwrap();
        assert_eq!(accepted.change, Change::Renumber);
        let mut rebuilt = Vec::new();
        accepted
            .rebuild(&bytes, &mut scratch, &mut rebuilt)
            .unwrap();
        let offsets: Vec<_> = read(&rebuilt)
            .iter()
            .map(|r| (r.offset, r.timestamp))
            .collect();
        assert_eq!(offsets, [(0, NOW), (1, NOW + 1), (2, NOW + 2)]);
        assert_eq!(BatchHeader::parse(&rebuilt).unwrap().max_timestamp, NOW + 2);
    }
}

#[test]
fn a_rebuilt_batch_gets_its_timestamps_as_well() {
    let bytes = crate::support::plain(5, Compression::None);
    let rules = Rules {
        compression: Some(Compression::Lz4),
        timestamp_type: TimestampType::LogAppendTime,
        ..Rules::new(NOW + 1000)
    };
    let mut scratch = Vec::new();
    let accepted = validate(&bytes, &rules, &mut scratch).unwrap();
    assert_eq!(accepted.change, Change::Recompress);
    let mut out = b"before".to_vec();
    accepted.rebuild(&bytes, &mut scratch, &mut out).unwrap();
    let records = read(out.strip_prefix(b"before").unwrap());
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| record.timestamp == NOW + 1000));
}

#[test]
fn rebuilding_what_needs_no_change_copies_it() {
    let bytes = crate::support::plain(5, Compression::Zstd);
    let followed = [&bytes[..], &[0; 7]].concat();
    let mut scratch = Vec::new();
    let accepted = validate(&followed, &Rules::new(NOW), &mut scratch).unwrap();
    let mut out = Vec::new();
    accepted.rebuild(&followed, &mut scratch, &mut out).unwrap();
    assert_eq!(out, bytes);
}
