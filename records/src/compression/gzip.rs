//! gzip: one member from every client we know, any number accepted.

use std::io::Write;

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::capped::{Outcome, read_to_cap};
use super::{Compression, CompressionError};

const CODEC: Compression = Compression::Gzip;
const MEMBER_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) fn decompress(
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    let mut rest = input;
    loop {
        let mut member = GzDecoder::new(rest);
        let outcome = read_to_cap(&mut member, out, cap);
        let left = member.into_inner();
        let at = input.len() - left.len();
        match outcome {
            Ok(Outcome::Complete) => {}
            Ok(Outcome::OverCap) => return Err(CompressionError::TooLarge { codec: CODEC, cap }),
            Err(error) => return Err(CompressionError::malformed(CODEC, at, error.to_string())),
        }
        // Bytes after a member that do not begin another are ignored, as Java's reader does.
        if !left.starts_with(&MEMBER_MAGIC) {
            return Ok(());
        }
        rest = left;
    }
}

pub(super) fn compress(input: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut encoder = GzEncoder::new(out, level);
    encoder
        .write_all(input)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail");
}
