//! What goes back on a connection: bytes, interleaved with ranges of data files.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use reka_storage::LogSlice;

use super::socket::Socket;

/// From here up a range leaves through `sendfile`; below, a copy in one `write` costs less than a
/// system call of its own.
const SENDFILE_BYTES_MIN: u64 = 4096;

/// An answer, whole: one frame.
#[derive(Debug, Default)]
pub struct Answer {
    /// What most answers are all of.
    head: BytesMut,
    /// What follows.
    pieces: Vec<Piece>,
}

/// A part of an answer.
#[derive(Debug)]
pub enum Piece {
    /// As they are.
    Bytes(Bytes),
    /// Batches where they lie on disk.
    Records(LogSlice),
}

impl Answer {
    /// Its bytes.
    pub fn len(&self) -> u64 {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Records(slice) => slice.len(),
        });
        self.head.len() as u64 + lengths.sum::<u64>()
    }

    /// Whether nothing is sent.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.pieces.is_empty()
    }
}

impl From<BytesMut> for Answer {
    fn from(head: BytesMut) -> Answer {
        let pieces = Vec::new();
        Answer { head, pieces }
    }
}

impl FromIterator<Piece> for Answer {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Answer {
        Answer {
            head: BytesMut::new(),
            pieces: pieces.into_iter().collect(),
        }
    }
}

/// What a connection still has to send.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Small things, copied together so that they leave in one call.
    buffer: BytesMut,
    /// What follows the buffer.
    queue: VecDeque<Piece>,
    /// How much of the first file range is out.
    sent: u64,
    /// The socket keeps what does not fill a packet until what follows is there.
    corked: bool,
    bytes: u64,
}

impl Outbox {
    /// Adds an answer behind those before it. Returns memory that another can be written to.
    pub fn push(&mut self, answer: Answer) -> io::Result<BytesMut> {
        let mut head = answer.head;
        if self.queue.is_empty() {
            self.bytes += head.len() as u64;
            self.buffer.extend_from_slice(&head);
            head.clear();
        } else if !head.is_empty() {
            self.push_bytes(std::mem::take(&mut head).freeze());
        }
        for piece in answer.pieces {
            match piece {
                Piece::Bytes(bytes) => self.push_bytes(bytes),
                Piece::Records(slice) if slice.len() < SENDFILE_BYTES_MIN => {
                    let bytes = slice.bytes().map_err(io::Error::other)?;
                    self.push_bytes(bytes);
                }
                Piece::Records(slice) => {
                    self.bytes += slice.len();
                    self.queue.push_back(Piece::Records(slice));
                }
            }
        }
        Ok(head)
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        if self.queue.is_empty() {
            self.buffer.extend_from_slice(&bytes);
        } else {
            self.queue.push_back(Piece::Bytes(bytes));
        }
    }

    /// Bytes not sent yet.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Sends until all is out (`true`) or the socket is full (`false`). What stands before and behind
    /// file ranges leaves in one packet with them: each packet costs more than the calls for that,
    /// and wakes the client.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<bool> {
        if !self.queue.is_empty() && !self.corked {
            socket.cork(true)?;
            self.corked = true;
        }
        loop {
            let sent = if !self.buffer.is_empty() {
                let sent = socket.try_write(&self.buffer);
                if let Ok(sent) = sent {
                    self.buffer.advance(sent);
                }
                sent.map(|sent| sent as u64)
            } else {
                match self.queue.front_mut() {
                    None => {
                        if std::mem::take(&mut self.corked) {
                            socket.cork(false)?;
                        }
                        return Ok(true);
                    }
                    Some(Piece::Bytes(bytes)) => {
                        self.buffer.extend_from_slice(bytes);
                        self.queue.pop_front();
                        continue;
                    }
                    Some(Piece::Records(slice)) => {
                        let sent = socket.try_send(slice, self.sent);
                        if let Ok(sent) = sent {
                            self.sent += sent;
                            if self.sent == slice.len() {
                                self.queue.pop_front();
                                self.sent = 0;
                            }
                        }
                        sent
                    }
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.bytes -= sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
