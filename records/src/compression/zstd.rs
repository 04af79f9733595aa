//! zstd: any number of frames, without a dictionary.

use std::io::Write;

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::capped::{Outcome, read_to_cap};
use super::{Compression, CompressionError};

const CODEC: Compression = Compression::Zstd;
/// The largest window a frame may ask for, 128 MiB: what Java clients at level 22 declare for the
/// smallest batch, and where Kafka's decoder stops too. The window is address space until output
/// fills it, and output stops at the cap.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) fn decompress(
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), CompressionError> {
    let malformed =
        |error: std::io::Error| CompressionError::malformed(CODEC, 0, error.to_string());
    let mut decoder = Decoder::with_buffer(input).map_err(malformed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(malformed)?;
    match read_to_cap(&mut decoder, out, cap) {
        Ok(Outcome::Complete) => Ok(()),
        Ok(Outcome::OverCap) => Err(CompressionError::TooLarge { codec: CODEC, cap }),
        Err(error) => {
            let at = input.len() - decoder.get_ref().len();
            Err(CompressionError::malformed(CODEC, at, error.to_string()))
        }
    }
}

pub(super) fn compress(input: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let mut encoder = Encoder::new(out, level).expect("a level within the codec's range");
    encoder
        .write_all(input)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail");
}
