//! Any bytes as a stream, cut at a place the first byte says: the same frames as uncut.
//!
//! How to run it: docs/fuzzing.md.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use reka_protocol::{FrameError, FrameReader};

fn read(pieces: &[&[u8]]) -> (Vec<BytesMut>, Option<FrameError>) {
    let mut reader = FrameReader::new(1 << 16);
    let mut frames = Vec::new();
    for mut input in pieces.iter().copied() {
        loop {
            match reader.read(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, stream)) = bytes.split_first() else {
        return;
    };
    let (front, back) = stream.split_at(usize::from(cut).min(stream.len()));
    assert_eq!(read(&[stream]), read(&[front, back]));
});
