//! The frame reader under every way of cutting a stream.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use reka_protocol::frame::{self, FrameError, FrameReader, Front, MAX_BEFORE_AUTHENTICATION};

fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in frames {
        stream.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        stream.extend_from_slice(frame);
    }
    stream
}

/// Everything the reader makes of one piece of input.
fn read_all(reader: &mut FrameReader, mut input: &[u8]) -> Result<Vec<BytesMut>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = reader.read(&mut input)? {
        frames.push(frame);
    }
    assert!(input.is_empty(), "the reader takes all it is given");
    Ok(frames)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn frames_come_out_the_same_however_the_stream_is_cut(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9000), 0..6),
        cuts in proptest::collection::vec(1_usize..5000, 1..8),
    ) {
        let stream = stream(&frames);
        let mut reader = FrameReader::new(9000);
        let mut out = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            out.extend(read_all(&mut reader, piece).expect("within the limit"));
        }
        prop_assert!(reader.is_between_frames());
        prop_assert_eq!(out, frames);
    }

    /// The way of a socket: the size field from a scratch buffer, the rest straight into the frame.
    #[test]
    fn frames_filled_in_place_are_the_same_frames(
        frame in proptest::collection::vec(any::<u8>(), 1..20_000),
        step in 1_usize..5000,
    ) {
        let stream = stream(std::slice::from_ref(&frame));
        let mut reader = FrameReader::new(20_000);
        let mut head = &stream[..4];
        prop_assert_eq!(reader.read_size(&mut head), Ok(Some(frame.len())));
        let mut rest = &stream[4..];
        let complete = loop {
            if let Some(complete) = reader.take_complete() {
                break complete;
            }
            let mut room = reader.room();
            let fits = room.remaining_mut().min(step).min(rest.len());
            prop_assert!(fits > 0);
            let (piece, after) = rest.split_at(fits);
            room.put_slice(piece);
            rest = after;
        };
        prop_assert_eq!(complete, frame);
        prop_assert!(rest.is_empty() && reader.is_between_frames());
    }
}

#[test]
fn one_byte_at_a_time_shows_what_is_missing_until_the_frame_is_whole() {
    let stream = stream(&[b"hello, kafka".to_vec()]);
    let mut reader = FrameReader::new(100);
    for (at, byte) in stream.iter().enumerate() {
        let expected = if at < 4 { 4 - at } else { stream.len() - at };
        assert_eq!(reader.missing(), expected, "before byte {at}");
        assert_eq!(reader.declared(), (at >= 4).then_some(12));
        assert_eq!(reader.held(), at.saturating_sub(4));
        assert_eq!(reader.is_between_frames(), at == 0);
        let frames = read_all(&mut reader, &[*byte]).expect("within the limit");
        assert_eq!(frames.len(), usize::from(at + 1 == stream.len()));
    }
    assert!(reader.is_between_frames());
}

#[test]
fn two_frames_in_one_segment_and_an_empty_frame_are_told_apart() {
    let frames = [b"one".to_vec(), Vec::new(), b"two".to_vec()];
    let mut reader = FrameReader::new(100);
    assert_eq!(
        read_all(&mut reader, &stream(&frames)),
        Ok(frames.map(|frame| BytesMut::from(&frame[..])).to_vec())
    );
}

#[test]
fn sizes_that_are_no_frame_are_refused_with_size_and_limit() {
    let limit = MAX_BEFORE_AUTHENTICATION;
    let check = |head: [u8; 4], expected: Result<Option<usize>, FrameError>, text: &str| {
        let mut reader = FrameReader::new(limit);
        let mut input = &head[..];
        let size = reader.read_size(&mut input);
        assert_eq!(size, expected);
        if let Err(error) = size {
            assert_eq!(error.to_string(), text);
            // The stream is lost: asking again gives the same answer.
            assert_eq!(reader.read(&mut &b"more"[..]), Err(error.clone()));
            assert_eq!(frame::at_front(&head, limit), Err(error));
        }
    };
    let oversize = |size| Err(FrameError::Oversize { size, limit });
    let negative = |size| Err(FrameError::Negative(size));
    check(
        (-1_i32).to_be_bytes(),
        negative(-1),
        "frame size -1 is negative",
    );
    check(
        i32::MIN.to_be_bytes(),
        negative(i32::MIN),
        "frame size -2147483648 is negative",
    );
    check(
        i32::MAX.to_be_bytes(),
        oversize(i32::MAX as usize),
        "frame of 2147483647 bytes is above the limit of 524288",
    );
    check(
        (limit as i32 + 1).to_be_bytes(),
        oversize(limit + 1),
        "frame of 524289 bytes is above the limit of 524288",
    );
    check(
        *b"GET ",
        oversize(0x4745_5420),
        "frame of 1195725856 bytes is above the limit of 524288 (looks like http)",
    );
    check(
        [0x16, 0x03, 0x01, 0x02],
        oversize(0x1603_0102),
        "frame of 369295618 bytes is above the limit of 524288 (looks like tls on a plaintext port)",
    );
    check(0_i32.to_be_bytes(), Ok(Some(0)), "");
    check(3_i32.to_be_bytes(), Ok(Some(3)), "");
    check((limit as i32).to_be_bytes(), Ok(Some(limit)), "");
}

#[test]
fn a_larger_limit_counts_from_the_next_size_field_on() {
    let mut reader = FrameReader::new(4);
    assert!(read_all(&mut reader, &stream(&[vec![1; 4]])).is_ok());
    assert!(read_all(&mut reader, &5_i32.to_be_bytes()).is_err());
    let mut reader = FrameReader::new(4);
    reader.set_limit(5);
    assert_eq!(
        read_all(&mut reader, &stream(&[vec![1; 5]])).map(|frames| frames.len()),
        Ok(1)
    );
}

/// A peer that promises 100 MiB and sends ten bytes has cost a few kilobytes.
#[test]
fn memory_follows_what_has_arrived_and_not_what_was_promised() {
    let promised = 100 * 1024 * 1024;
    let mut reader = FrameReader::new(promised);
    let allocated = allocation_counter::measure(|| {
        let mut head = &(promised as i32).to_be_bytes()[..];
        assert_eq!(reader.read_size(&mut head), Ok(Some(promised)));
        assert_eq!(reader.read(&mut &[0; 10][..]), Ok(None));
    });
    assert!(allocated.bytes_total <= 8 * 1024, "{allocated:?}");
    let piece = [0; 1000];
    for _ in 0..1000 {
        assert_eq!(reader.read(&mut &piece[..]), Ok(None));
    }
    let held = reader.held();
    let grown = allocation_counter::measure(|| {
        assert_eq!(reader.read(&mut &piece[..]), Ok(None));
        drop(std::mem::replace(&mut reader, FrameReader::new(0)));
    });
    assert!(
        grown.bytes_max <= 2 * held as u64 + 4096,
        "{grown:?} for {held}"
    );
}

#[test]
fn a_frame_that_arrives_whole_is_allocated_once_and_exactly() {
    let stream = stream(&[vec![7; 100_000]]);
    let mut reader = FrameReader::new(100_000);
    let mut frame = None;
    let allocated = allocation_counter::measure(|| {
        frame = reader.read(&mut &stream[..]).ok().flatten();
    });
    assert_eq!(frame.map(|frame| frame.len()), Some(100_000));
    assert!(allocated.bytes_total < 100_100, "{allocated:?}");
}

#[test]
fn a_stream_cut_at_any_byte_yields_no_frame_and_no_error() {
    let mut whole = BytesMut::new();
    whole.put_i32(20);
    whole.put_bytes(9, 20);
    for end in 0..whole.len() {
        let mut reader = FrameReader::new(20);
        assert_eq!(
            read_all(&mut reader, &whole[..end]),
            Ok(Vec::new()),
            "cut at {end}"
        );
        assert_eq!(reader.is_between_frames(), end == 0);
    }
}

#[test]
fn a_frame_at_the_front_of_what_was_read_is_found_where_it_lies() {
    let stream = stream(&[b"first".to_vec(), b"second".to_vec()]);
    let front = |end| frame::at_front(&stream[..end], 100);
    assert_eq!(front(3), Ok(Front::Unknown));
    assert_eq!(front(4), Ok(Front::Begun(5)));
    assert_eq!(front(8), Ok(Front::Begun(5)));
    assert_eq!(front(9), Ok(Front::Whole(5)));
    assert_eq!(front(stream.len()), Ok(Front::Whole(5)));
    let empty = 0_i32.to_be_bytes();
    assert_eq!(frame::at_front(&empty, 100), Ok(Front::Whole(0)));
}

#[test]
fn a_buffer_that_was_used_before_takes_the_next_frame_without_an_allocation() {
    let stream = stream(&[vec![7; 100_000]]);
    let mut reader = FrameReader::new(100_000);
    let mut frame = None;
    let mut buffer = BytesMut::with_capacity(100_000);
    buffer.put_slice(b"what was in it");
    let allocated = allocation_counter::measure(|| {
        reader.reuse(std::mem::take(&mut buffer));
        frame = reader.read(&mut &stream[..]).ok().flatten();
    });
    assert_eq!(frame.as_deref(), Some(&stream[4..]));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
