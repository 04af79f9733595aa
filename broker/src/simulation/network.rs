//! A network in memory. What is written arrives in pieces, each a little later, by the seed.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tokio::time::{Instant, Sleep};

use super::Generator;

/// What is written and not read, on one way of a connection.
const CAPACITY: usize = 64 << 10;
/// The longest a piece is under way.
const LATENCY_MAX_US: u64 = 2_000;

/// All connections; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    generator: Generator,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    connections: usize,
    /// When the boot began that runs, and the time of those before it.
    began: Option<(Instant, Duration)>,
    trace: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub(crate) fn new(generator: Generator) -> Network {
        let state = State {
            connections: 0,
            began: None,
            trace: Vec::new(),
        };
        Network {
            generator,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A boot begins, after others that took so long.
    pub(super) fn began(&self, now: Instant, before: Duration) {
        lock(&self.state).began = Some((now, before));
    }

    /// Both ends of a new connection: the client's, and the node's.
    pub(super) fn connection(&self) -> (End, End) {
        let number = {
            let mut state = lock(&self.state);
            state.connections += 1;
            state.connections
        };
        let (request, answer) = (Wire::new(), Wire::new());
        let end = |who: &str, incoming: &Arc<Mutex<Wire>>, outgoing: &Arc<Mutex<Wire>>| End {
            name: format!("{who} {number}"),
            network: self.clone(),
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
        };
        (
            end("client", &answer, &request),
            end("node", &request, &answer),
        )
    }

    /// What was written so far: when, by whom, how much, and what.
    pub(crate) fn trace(&self) -> Vec<String> {
        lock(&self.state).trace.clone()
    }

    fn note(&self, who: &str, bytes: &[u8]) {
        let mut state = lock(&self.state);
        let now = state
            .began
            .map_or(Duration::ZERO, |(began, before)| before + began.elapsed());
        let crc = reka_records::crc::crc32c(bytes);
        state.trace.push(format!(
            "{} us: {who} writes {} bytes, CRC {crc:08x}",
            now.as_micros(),
            bytes.len(),
        ));
    }
}

/// One way of a connection.
#[derive(Debug)]
struct Wire {
    /// Pieces, with when each arrives.
    pieces: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// One of the ends is gone.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Wakes the reader when the first piece arrives.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    fn new() -> Arc<Mutex<Wire>> {
        Arc::new(Mutex::new(Wire {
            pieces: VecDeque::new(),
            bytes: 0,
            closed: false,
            reader: None,
            writer: None,
            arrival: None,
        }))
    }

    fn close(&mut self) {
        self.closed = true;
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// One end of a connection. Nothing here waits.
#[derive(Debug)]
pub(crate) struct End {
    name: String,
    network: Network,
    incoming: Arc<Mutex<Wire>>,
    outgoing: Arc<Mutex<Wire>>,
}

impl End {
    pub(crate) fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.incoming);
        wire.reader = Some(task.waker().clone());
        let Some((arrives, _)) = wire.pieces.front() else {
            return match wire.closed {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        };
        let mut arrival = Box::pin(tokio::time::sleep_until(*arrives));
        let arrived = arrival.as_mut().poll(task).is_ready();
        wire.arrival = Some(arrival);
        match arrived {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    pub(crate) fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.outgoing);
        wire.writer = Some(task.waker().clone());
        match wire.closed || wire.bytes < CAPACITY {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Reads what has arrived, a piece at most; 0 when the other end is gone.
    pub(crate) fn try_read(&self, into: &mut impl BufMut) -> io::Result<usize> {
        let mut wire = lock(&self.incoming);
        let closed = wire.closed;
        let piece = match wire.pieces.front_mut() {
            Some((arrives, piece)) if *arrives <= Instant::now() => piece,
            None if closed => return Ok(0),
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let read = piece.len().min(into.remaining_mut());
        into.put_slice(&piece[..read]);
        piece.advance(read);
        if piece.is_empty() {
            wire.pieces.pop_front();
        }
        wire.bytes -= read;
        if let Some(writer) = wire.writer.take() {
            writer.wake();
        }
        Ok(read)
    }

    /// Writes what there is room for.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = lock(&self.outgoing);
        if wire.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut rest = &bytes[..bytes.len().min(CAPACITY - wire.bytes)];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.network.note(&self.name, rest);
        let written = rest.len();
        let generator = &self.network.generator;
        while !rest.is_empty() {
            let size = 1 + generator.below(rest.len() as u64) as usize;
            let latency = Duration::from_micros(generator.below(LATENCY_MAX_US));
            let soonest = Instant::now() + latency;
            // Nothing overtakes.
            let last = wire.pieces.back().map_or(soonest, |(arrives, _)| *arrives);
            let piece = Bytes::copy_from_slice(&rest[..size]);
            wire.pieces.push_back((soonest.max(last), piece));
            rest = &rest[size..];
        }
        wire.bytes += written;
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
        Ok(written)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.incoming).close();
        lock(&self.outgoing).close();
    }
}
