//! Load over raw sockets from one thread: requests that were made before, as many in flight as
//! asked for, answers counted and their error codes looked at.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::error::{Error, Result};

/// Nothing at all came for this long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Frames are laid end to end up to this size, so that one write sends several.
const RING_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 256 << 10;
/// How much of an answer is looked at.
const HEAD_BYTES: usize = 256;

/// What every connection does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One list of frames per connection, of one length each, sent over and over.
    pub connections: Vec<Vec<Bytes>>,
    /// Requests in flight on each.
    pub depth: usize,
    /// Where an answer has its error code, behind its size.
    pub error_at: usize,
}

/// What was reached.
#[derive(Debug, Default)]
pub struct Reached {
    /// Answers.
    pub requests: u64,
    /// Bytes of answers.
    pub received_bytes: u64,
    /// By the clock.
    pub seconds: f64,
    /// From a request written to its answer read, in microseconds, sorted.
    pub latencies_us: Vec<u32>,
}

impl Reached {
    /// The latency that `share` of the requests did not exceed.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies_us.get(at).copied().map_or(0.0, f64::from)
    }
}

struct Connection {
    socket: TcpStream,
    /// Whole frames, end to end.
    ring: Vec<u8>,
    frame_bytes: usize,
    /// Where in the ring the next byte is.
    at: usize,
    in_flight: VecDeque<Instant>,
    /// Of the answer that is being read: what is missing, and its beginning.
    missing: usize,
    head: Vec<u8>,
}

/// A load that can be run in pieces, so that warming up is not measured.
pub struct Load {
    connections: Vec<Connection>,
    depth: usize,
    error_at: usize,
    poll: rustix::fd::OwnedFd,
    buffer: Vec<u8>,
}

impl Load {
    /// Connects.
    pub fn connect(address: SocketAddr, plan: &Plan) -> Result<Load> {
        let step = || format!("connect to {address}");
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::io(step())(errno.into()))?;
        let mut connections = Vec::new();
        for frames in &plan.connections {
            let connection = Connection::open(address, frames).map_err(Error::io(step()))?;
            let id = epoll::EventData::new_u64(connections.len() as u64);
            epoll::add(&poll, &connection.socket, id, epoll::EventFlags::IN)
                .map_err(|errno| Error::io(step())(errno.into()))?;
            connections.push(connection);
        }
        Ok(Load {
            connections,
            depth: plan.depth,
            error_at: plan.error_at,
            poll,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Runs until `requests` were answered or `limit` has passed.
    pub fn run(&mut self, requests: u64, limit: Duration) -> Result<Reached> {
        let mut reached = Reached::default();
        let began = Instant::now();
        for connection in &mut self.connections {
            connection.send(self.depth).map_err(Error::io("send"))?;
        }
        let silence = Timespec {
            tv_sec: SILENCE_MAX.as_secs() as i64,
            tv_nsec: 0,
        };
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        while reached.requests < requests && began.elapsed() < limit {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&silence)) {
                Ok(0) => {
                    let limit = SILENCE_MAX;
                    let step = "wait for an answer".to_owned();
                    let log = None;
                    return Err(Error::Deadline { step, limit, log });
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for sockets")(errno.into())),
            }
            for event in &events {
                let Some(connection) = self.connections.get_mut(event.data.u64() as usize) else {
                    continue;
                };
                connection
                    .receive(&mut self.buffer, self.error_at, &mut reached)
                    .map_err(Error::io("receive"))?;
                connection.send(self.depth).map_err(Error::io("send"))?;
            }
        }
        reached.seconds = began.elapsed().as_secs_f64();
        reached.latencies_us.sort_unstable();
        Ok(reached)
    }
}

impl Connection {
    fn open(address: SocketAddr, frames: &[Bytes]) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let once: Vec<u8> = frames.concat();
        let frame_bytes = frames.first().map_or(0, Bytes::len);
        if frame_bytes == 0 || frames.iter().any(|frame| frame.len() != frame_bytes) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "frames must be of one length",
            ));
        }
        let times = (RING_BYTES / once.len()).max(1);
        Ok(Connection {
            socket,
            ring: once.repeat(times),
            frame_bytes,
            at: 0,
            in_flight: VecDeque::new(),
            missing: 0,
            head: Vec::new(),
        })
    }

    /// Writes until `depth` requests are in flight or the socket is full.
    fn send(&mut self, depth: usize) -> io::Result<()> {
        loop {
            let begun = self.at % self.frame_bytes;
            let free = depth.saturating_sub(self.in_flight.len());
            // A frame that was begun counts already.
            let wanted = match begun {
                0 => free * self.frame_bytes,
                begun => free * self.frame_bytes + (self.frame_bytes - begun),
            };
            if wanted == 0 {
                return Ok(());
            }
            let end = self.ring.len().min(self.at + wanted);
            match self.socket.write(&self.ring[self.at..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let now = Instant::now();
                    let first = self.at.div_ceil(self.frame_bytes);
                    let last = (self.at + written).div_ceil(self.frame_bytes);
                    self.in_flight
                        .extend(std::iter::repeat_n(now, last - first));
                    self.at = (self.at + written) % self.ring.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        error_at: usize,
        reached: &mut Reached,
    ) -> io::Result<()> {
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            reached.received_bytes += read as u64;
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                rest = self.take(rest, error_at)?;
                if self.missing == 0 && self.head.is_empty() {
                    reached.requests += 1;
                    if let Some(sent) = self.in_flight.pop_front() {
                        reached.latencies_us.push((now - sent).as_micros() as u32);
                    }
                }
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes bytes of one answer; `missing` is 0 and `head` empty once it is whole.
    fn take<'a>(&mut self, mut input: &'a [u8], error_at: usize) -> io::Result<&'a [u8]> {
        let whole_head = HEAD_BYTES.max(4 + error_at + 2);
        let for_head = match self.head.len() {
            0..4 => 4 - self.head.len(),
            have => whole_head.saturating_sub(have).min(self.missing),
        };
        let (head, rest) = input.split_at(for_head.min(input.len()));
        let sized = self.head.len() >= 4;
        self.head.extend_from_slice(head);
        input = rest;
        if sized {
            self.missing -= head.len();
        } else if let Some(size) = self.head.first_chunk::<4>() {
            let size = i32::from_be_bytes(*size);
            self.missing = usize::try_from(size)
                .ok()
                .filter(|size| *size > error_at + 2)
                .ok_or_else(|| io::Error::other(format!("an answer of {size} bytes")))?;
            return Ok(input);
        } else {
            return Ok(input);
        }
        let skipped = match self.head.len() >= whole_head {
            true => self.missing.min(input.len()),
            false => 0,
        };
        input = &input[skipped..];
        self.missing -= skipped;
        if self.missing == 0 {
            let code = &self.head[4 + error_at..4 + error_at + 2];
            if code != [0, 0] {
                let code = i16::from_be_bytes([code[0], code[1]]);
                return Err(io::Error::other(format!("error code {code}")));
            }
            self.head.clear();
        }
        Ok(input)
    }
}
