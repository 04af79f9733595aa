//! The checksum, against another implementation.

use proptest::collection::vec;
use proptest::prelude::*;
use reka_records::crc::crc32c;

#[test]
fn the_check_value_of_the_catalogue_comes_out() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
}

proptest! {
    /// Lengths around every block size a vector path may switch at.
    #[test]
    fn two_implementations_agree(bytes in vec(any::<u8>(), 0..3000), start in 0_usize..64) {
        let bytes = &bytes[start.min(bytes.len())..];
        prop_assert_eq!(crc32c(bytes), ::crc32c::crc32c(bytes));
    }
}
