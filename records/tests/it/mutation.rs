//! Honest batches with bytes changed at random: an error or a batch, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use reka_records::{BatchView, Rules, batches, stamp, validate};

use crate::support::{NOW, any_codec, any_records, build};

/// Small, so that a lucky length does not make the test slow.
const CAP: usize = 1 << 20;

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        records in any_records(),
        codec in any_codec(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        right_crc in any::<bool>(),
    ) {
        let mut bytes = build(&records, codec);
        stamp::set_base_offset(&mut bytes, 0);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        if right_crc && BatchView::parse(&bytes).is_ok_and(|batch| batch.bytes().len() == bytes.len()) {
            stamp::refresh_crc(&mut bytes);
        }
        let mut scratch = Vec::new();
        let rules = Rules { decompressed_bytes_max: CAP, ..Rules::new(NOW) };
        let _ = validate(&bytes, &rules, &mut scratch);
        for batch in batches(&bytes).flatten() {
            if let Ok(records) = batch.records(&mut scratch, CAP) {
                for record in records.flatten() {
                    prop_assert!(record.headers.count() <= bytes.len().max(CAP));
                }
            }
        }
    }
}
