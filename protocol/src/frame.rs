//! Frames: a four-byte size, big-endian, and that many bytes.
//!
//! `FrameReader` is a state machine without a socket: bytes in, frames out. It never reserves what
//! a peer only promised: a frame's buffer grows with the bytes that arrive, at most doubling, and
//! ends exactly as long as the frame, unless it is given one that was used before. The caller learns the declared size as soon as it is known
//! and takes it from its memory budget before it hands over more bytes.

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// Frame limit before a connection has authenticated, as `sasl.server.max.receive.size`.
pub const MAX_BEFORE_AUTHENTICATION: usize = 512 * 1024;

/// Bytes of the size in front of a frame.
pub const SIZE_BYTES: usize = 4;

/// The first step of a frame's buffer.
const FIRST_STEP: usize = 4 * 1024;

/// A size that is no frame of ours. The stream cannot be followed any more: close it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A size below zero.
    #[error("frame size {0} is negative")]
    Negative(i32),
    /// A size above the limit in force.
    #[error("frame of {size} bytes is above the limit of {limit}{}", guess(*.size))]
    Oversize {
        /// The declared size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Names the protocol whose first bytes make this size: the usual cause is a wrong port.
fn guess(size: usize) -> &'static str {
    let Ok(size) = u32::try_from(size) else {
        return "";
    };
    match &size.to_be_bytes() {
        [0x16, 0x03, _, _] => " (looks like tls on a plaintext port)",
        b"GET " | b"POST" | b"HEAD" | b"PUT " => " (looks like http)",
        _ => "",
    }
}

/// Splits a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    /// The size field as far as it has arrived.
    head: [u8; SIZE_BYTES],
    head_len: usize,
    /// Known once the size field is complete.
    size: Option<usize>,
    body: BytesMut,
}

impl FrameReader {
    /// A reader at the start of a stream that takes frames up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        FrameReader {
            limit,
            head: [0; SIZE_BYTES],
            head_len: 0,
            size: None,
            body: BytesMut::new(),
        }
    }

    /// Changes the limit, from the next size field on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The size of the frame under way, once it is known: what to take from a memory budget.
    pub fn declared(&self) -> Option<usize> {
        self.size
    }

    /// Bytes of the frame under way that have arrived.
    pub fn held(&self) -> usize {
        self.body.len()
    }

    /// Bytes still needed: of the size field while that is incomplete, of the frame after it.
    pub fn missing(&self) -> usize {
        match self.size {
            Some(size) => size - self.body.len(),
            None => SIZE_BYTES - self.head_len,
        }
    }

    /// Whether the stream may end here: no frame has begun.
    pub fn is_between_frames(&self) -> bool {
        self.size.is_none() && self.head_len == 0
    }

    /// Reads the size field from the front of `input`. Returns the declared size once it is known,
    /// and leaves the bytes of the frame in `input`.
    pub fn read_size(&mut self, input: &mut &[u8]) -> Result<Option<usize>, FrameError> {
        if self.size.is_none() {
            let wanted = (SIZE_BYTES - self.head_len).min(input.len());
            let (taken, rest) = input.split_at(wanted);
            self.head[self.head_len..self.head_len + wanted].copy_from_slice(taken);
            self.head_len += wanted;
            *input = rest;
            if self.head_len == SIZE_BYTES {
                self.size = Some(accept(self.head, self.limit)?);
            }
        }
        Ok(self.size)
    }

    /// Reads the next frame into `buffer`, which was used before, if it is large enough. Between
    /// frames only.
    pub fn reuse(&mut self, mut buffer: BytesMut) {
        if self.body.is_empty() {
            buffer.clear();
            self.body = buffer;
        }
    }

    /// Takes bytes from the front of `input` until a frame is complete or `input` is empty. Call it
    /// until it returns `None`; after an error the stream is lost.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<BytesMut>, FrameError> {
        let Some(size) = self.read_size(input)? else {
            return Ok(None);
        };
        let wanted = (size - self.body.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        *input = rest;
        if !taken.is_empty() {
            self.make_room(wanted);
            self.body.put_slice(taken);
        }
        Ok(self.take_complete())
    }

    /// Room for more bytes of a frame whose size is known, for reading from a socket straight into
    /// it; follow with `take_complete`. The room ends where the frame does.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        let missing = match self.size {
            Some(size) => size - self.body.len(),
            None => 0,
        };
        if missing > 0 {
            self.make_room(1);
        }
        let reserved = self.body.capacity() - self.body.len();
        (&mut self.body).limit(missing.min(reserved))
    }

    /// The frame, if all of it has arrived.
    pub fn take_complete(&mut self) -> Option<BytesMut> {
        if self.size != Some(self.body.len()) {
            return None;
        }
        self.head_len = 0;
        self.size = None;
        Some(std::mem::take(&mut self.body))
    }

    /// Reserves for `arrived` more bytes, and at most as much again as the frame holds already.
    fn make_room(&mut self, arrived: usize) {
        let held = self.body.len();
        if self.body.capacity() - held >= arrived {
            return;
        }
        let missing = self.size.unwrap_or(0).saturating_sub(held);
        let step = arrived.max(held).max(FIRST_STEP).min(missing);
        let mut grown = BytesMut::with_capacity(held + step);
        grown.put_slice(&self.body);
        self.body = grown;
    }
}

/// The frame at the front of `input`, without its size field, if it is there whole; otherwise how
/// many bytes it has declared, as far as that is known.
pub fn at_front(input: &[u8], limit: usize) -> Result<Front, FrameError> {
    let Some(head) = input.first_chunk::<SIZE_BYTES>() else {
        return Ok(Front::Unknown);
    };
    let size = accept(*head, limit)?;
    Ok(match input.len() - SIZE_BYTES >= size {
        true => Front::Whole(size),
        false => Front::Begun(size),
    })
}

/// What [`at_front`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Not even the size is there.
    Unknown,
    /// A frame of this size has begun.
    Begun(usize),
    /// A frame of this size is there.
    Whole(usize),
}

fn accept(head: [u8; SIZE_BYTES], limit: usize) -> Result<usize, FrameError> {
    let size = i32::from_be_bytes(head);
    let size = usize::try_from(size).map_err(|_| FrameError::Negative(size))?;
    if size > limit {
        return Err(FrameError::Oversize { size, limit });
    }
    Ok(size)
}

/// Starts a frame in `out`: room for the size, which `finish` fills in. Returns where it starts.
pub(crate) fn start(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_i32(0);
    start
}

/// Fills in the size of the frame that began at `start`; `elsewhere` counts its bytes that are not
/// in `out`. Returns the frame's length with its size field, or its size if that is too large.
pub(crate) fn finish(out: &mut BytesMut, start: usize, elsewhere: usize) -> Result<usize, usize> {
    let size = (out.len() - start - SIZE_BYTES).saturating_add(elsewhere);
    let Ok(field) = i32::try_from(size) else {
        return Err(size);
    };
    out[start..start + SIZE_BYTES].copy_from_slice(&field.to_be_bytes());
    Ok(size + SIZE_BYTES)
}
