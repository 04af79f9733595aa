//! Batches to test with: generated ones, and ones made wrong on purpose.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use reka_records::compression::compress_into;
use reka_records::layout::{self, Field};
use reka_records::{BatchBuilder, BatchView, Compression, Record, stamp};

/// A cap no honest test batch comes near.
pub(crate) const CAP: usize = 64 << 20;

/// Some time in 2024.
pub(crate) const NOW: i64 = 1_720_000_000_000;

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    pub(crate) fn append_to(&self, builder: &mut BatchBuilder) {
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()));
        builder
            .append(
                self.offset,
                self.timestamp,
                self.key.as_deref(),
                self.value.as_deref(),
                headers,
            )
            .expect("a generated record fits");
    }
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Owned {
        Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// All records of the one batch in `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Vec<Owned> {
    let batch = BatchView::parse(bytes).expect("a whole batch");
    batch.verify_crc().expect("an intact batch");
    assert_eq!(
        batch.bytes().len(),
        bytes.len(),
        "one batch and nothing else"
    );
    let mut scratch = Vec::new();
    let records = batch.records(&mut scratch, CAP).expect("a readable body");
    records
        .map(|record| record.expect("a readable record").into())
        .collect()
}

/// A batch at the offset of the first of `records`.
pub(crate) fn build(records: &[Owned], codec: Compression) -> Vec<u8> {
    let base_offset = records.first().map_or(0, |record| record.offset);
    let mut builder = BatchBuilder::new(base_offset).compression(codec);
    records
        .iter()
        .for_each(|record| record.append_to(&mut builder));
    builder.finish()
}

/// `count` small records numbered from 0, as a client sends them.
pub(crate) fn plain(count: usize, codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).compression(codec);
    for index in 0..count {
        let (key, value) = (format!("key-{index}"), format!("value of {index}"));
        builder
            .append(
                index as i64,
                NOW + index as i64,
                Some(key.as_bytes()),
                Some(value.as_bytes()),
                [(&b"n"[..], Some(&b"1"[..]))],
            )
            .expect("a small record fits");
    }
    builder.finish()
}

/// A batch with this body, whatever it is, that claims `count` records numbered from 0.
pub(crate) fn with_body(count: i32, codec: Compression, body: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(0).finish();
    batch.extend_from_slice(body);
    let length = (batch.len() - layout::LOG_OVERHEAD_BYTES) as i32;
    set(&mut batch, layout::BATCH_LENGTH, &length.to_be_bytes());
    set(
        &mut batch,
        layout::ATTRIBUTES,
        &i16::from(codec.id()).to_be_bytes(),
    );
    set(
        &mut batch,
        layout::LAST_OFFSET_DELTA,
        &(count.wrapping_sub(1)).to_be_bytes(),
    );
    set(&mut batch, layout::BASE_TIMESTAMP, &NOW.to_be_bytes());
    set(&mut batch, layout::RECORD_COUNT, &count.to_be_bytes());
    stamp::refresh_crc(&mut batch);
    batch
}

/// Overwrites one header field and leaves the checksum as it is.
pub(crate) fn set(batch: &mut [u8], field: Field, value: &[u8]) {
    batch[field.range()].copy_from_slice(value);
}

/// Overwrites one header field and makes the checksum right again.
pub(crate) fn with(mut batch: Vec<u8>, field: Field, value: &[u8]) -> Vec<u8> {
    set(&mut batch, field, value);
    stamp::refresh_crc(&mut batch);
    batch
}

pub(crate) fn compressed(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress_into(codec, None, input, &mut out);
    out
}

pub(crate) fn any_codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

/// Records with rising offsets, gaps among them, and everything that may be null null at times.
pub(crate) fn any_records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || vec(any::<u8>(), 0..40);
    let headers = vec((bytes(), option::of(bytes())), 0..4);
    let timestamp = prop_oneof![NOW - 1000..NOW + 1000, Just(-1), any::<i64>()];
    let record = (
        0..5_i64,
        timestamp,
        option::of(bytes()),
        option::of(bytes()),
        headers,
    );
    (0..1_i64 << 40, vec(record, 1..40)).prop_map(|(base, records)| {
        let mut next = base;
        records
            .into_iter()
            .enumerate()
            .map(|(index, (gap, timestamp, key, value, headers))| {
                let offset = next + if index == 0 { 0 } else { gap };
                next = offset + 1;
                Owned {
                    offset,
                    timestamp,
                    key,
                    value,
                    headers,
                }
            })
            .collect()
    })
}
