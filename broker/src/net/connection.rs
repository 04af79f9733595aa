//! One connection: read frames, start requests in order, answer in order.
//!
//! A connection is one task on one shard. A turn of it does as much as there is: send what is
//! ready, take what has arrived, start it. A request that can be answered at once is answered in
//! the turn that read it; one that has to wait (a long poll, a change of metadata) is kept in the
//! queue with its future, and those behind it are started meanwhile, so that pipelined produces
//! go on. Answers leave in the order of their requests.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use reka_protocol::{Api, FrameError, FrameReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, Outbox};
use super::budget::Lease;
use super::shard::Shard;
use crate::api::Context;
use crate::dispatch::{self, Begun, Reply};

/// Requests started and not answered, at most; more stay in the socket.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes a client leaves unread before nothing more is read from it.
const UNSENT_BYTES_MAX: u64 = 8 << 20;
/// Frames started in one turn, so that one busy client does not hold the shard.
const FRAMES_PER_TURN: usize = 32;
/// A frame that has begun must be whole after this.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The client is done.
    #[error("closed by the client")]
    ByClient,
    /// Nothing came for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// A frame had begun and did not go on.
    #[error("a request was not whole after {FRAME_TIMEOUT:?}")]
    SlowFrame,
    /// The client sent what is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The client sent what is not a request, or asked for what is not served.
    #[error("{0}")]
    Refused(String),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A request that was started.
struct Started {
    state: State,
    api: &'static Api,
    at: Instant,
    _memory: Lease,
}

enum State {
    Done(Answer),
    Waiting(Pin<Box<dyn Future<Output = Result<Answer, Closed>>>>),
}

/// One connection.
pub(super) struct Connection {
    socket: TcpStream,
    shard: Rc<Shard>,
    context: Rc<Context>,
    frames: FrameReader,
    /// Memory of the frame that is being read.
    memory: Option<Lease>,
    /// Bytes read behind the last whole frame.
    pending: BytesMut,
    started: VecDeque<Started>,
    outbox: Outbox,
    deadline: Pin<Box<Sleep>>,
    last_activity: Instant,
    frame_began: Option<Instant>,
    /// The client sends no more; what was started is still answered.
    read_closed: bool,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, shard: Rc<Shard>, context: Rc<Context>) -> Connection {
        let now = Instant::now();
        let limit = context.services.config().socket.request_max_bytes;
        Connection {
            socket,
            shard,
            context,
            frames: FrameReader::new(limit),
            memory: None,
            pending: BytesMut::new(),
            started: VecDeque::new(),
            outbox: Outbox::default(),
            deadline: Box::pin(tokio::time::sleep_until(now + FRAME_TIMEOUT)),
            last_activity: now,
            frame_began: None,
            read_closed: false,
        }
    }

    /// Runs until it ends; why.
    pub(super) async fn run(mut self) -> Closed {
        poll_fn(|task| match ready!(self.turn(task)) {
            Ok(never) => match never {},
            Err(closed) => Poll::Ready(closed),
        })
        .await
    }

    fn turn(
        &mut self,
        task: &mut TaskContext<'_>,
    ) -> Poll<Result<std::convert::Infallible, Closed>> {
        let mut frames_left = FRAMES_PER_TURN;
        loop {
            self.collect_answers(task)?;
            self.send(task)?;
            if self.read_closed && self.started.is_empty() && self.outbox.is_empty() {
                return Poll::Ready(Err(Closed::ByClient));
            }
            self.check_deadline(task)?;
            if frames_left == 0 {
                // Others first; this connection is not done.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            let has_room =
                self.started.len() < IN_FLIGHT_MAX && self.outbox.len() < UNSENT_BYTES_MAX;
            if !has_room || self.read_closed {
                return Poll::Pending;
            }
            match ready!(self.next_frame(task))? {
                Some(frame) => {
                    frames_left -= 1;
                    self.start(frame, task)?;
                }
                None => self.read_closed = true,
            }
        }
    }

    /// Moves answers from the front of the queue to the outbox as far as they are ready.
    fn collect_answers(&mut self, task: &mut TaskContext<'_>) -> Result<(), Closed> {
        while let Some(first) = self.started.front_mut() {
            let answer = match &mut first.state {
                State::Done(answer) => std::mem::take(answer),
                State::Waiting(future) => match future.as_mut().poll(task) {
                    Poll::Ready(answer) => answer?,
                    Poll::Pending => break,
                },
            };
            let metrics = &self.context.services.metrics.requests;
            if matches!(first.state, State::Waiting(_)) {
                metrics.parked(first.api, -1);
            }
            metrics.answered(first.api, first.at.elapsed(), answer.len());
            self.started.pop_front();
            self.outbox.push(answer)?;
        }
        Ok(())
    }

    fn send(&mut self, task: &mut TaskContext<'_>) -> Result<(), Closed> {
        while !self.outbox.is_empty() {
            if self.outbox.send(&self.socket)? {
                break;
            }
            match self.socket.poll_write_ready(task) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn check_deadline(&mut self, task: &mut TaskContext<'_>) -> Result<(), Closed> {
        while self.deadline.as_mut().poll(task).is_ready() {
            let now = Instant::now();
            let idle_max = self.context.services.config().socket.connections_max_idle;
            if let Some(began) = self.frame_began
                && now - began >= FRAME_TIMEOUT
            {
                return Err(Closed::SlowFrame);
            }
            let idle = now - self.last_activity;
            if self.started.is_empty() && idle >= idle_max {
                return Err(Closed::Idle(idle));
            }
            // One timer does for both: it looks every half a minute.
            self.deadline
                .as_mut()
                .reset(now + FRAME_TIMEOUT.min(idle_max));
        }
        Ok(())
    }

    /// The next whole frame with its memory; `None` when the client sends no more.
    fn next_frame(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<Option<Frame>, Closed>> {
        loop {
            if let Some(frame) = ready!(self.take_pending(task))? {
                self.frame_began = None;
                return Poll::Ready(Ok(Some(frame)));
            }
            ready!(self.socket.poll_read_ready(task))?;
            let read = if self.frames.missing() > self.shard.scratch_bytes() {
                // The rest of a large frame goes straight where it belongs.
                self.socket.try_read_buf(&mut self.frames.room())
            } else {
                let mut scratch = self.shard.scratch();
                let read = self.socket.try_read(&mut scratch);
                if let Ok(read) = read {
                    self.pending.extend_from_slice(&scratch[..read]);
                }
                read
            };
            match read {
                Ok(0) => return Poll::Ready(Ok(None)),
                Ok(_) => self.last_activity = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Cuts a frame from what was read, once its memory is granted.
    fn take_pending(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<Option<Frame>, Closed>> {
        loop {
            if self.memory.is_none() {
                let mut head = &self.pending[..];
                let before = head.len();
                let size = self.frames.read_size(&mut head)?;
                let used = before - head.len();
                self.pending.advance(used);
                if used > 0 && self.frame_began.is_none() {
                    self.frame_began = Some(Instant::now());
                }
                let Some(size) = size else {
                    return Poll::Ready(Ok(None));
                };
                match self.context.services.memory.take(size, task.waker()) {
                    Some(lease) => self.memory = Some(lease),
                    None => return Poll::Pending,
                }
            }
            if let Some(bytes) = self.frames.take_complete() {
                let Some(memory) = self.memory.take() else {
                    continue;
                };
                return Poll::Ready(Ok(Some(Frame { bytes, memory })));
            }
            if self.pending.is_empty() {
                return Poll::Ready(Ok(None));
            }
            let mut input = &self.pending[..];
            let before = input.len();
            let whole = self.frames.read(&mut input)?;
            let used = before - input.len();
            self.pending.advance(used);
            if let Some(bytes) = whole {
                let Some(memory) = self.memory.take() else {
                    continue;
                };
                return Poll::Ready(Ok(Some(Frame { bytes, memory })));
            }
        }
    }

    fn start(&mut self, frame: Frame, task: &mut TaskContext<'_>) -> Result<(), Closed> {
        let at = Instant::now();
        let Begun { api, reply } = dispatch::start(&self.context, frame.bytes)?;
        let metrics = &self.context.services.metrics.requests;
        let state = match reply {
            Reply::None => {
                metrics.answered(api, at.elapsed(), 0);
                return Ok(());
            }
            Reply::Now(answer) => State::Done(answer),
            Reply::Later(mut future) => match future.as_mut().poll(task) {
                Poll::Ready(answer) => State::Done(answer?),
                Poll::Pending => {
                    metrics.parked(api, 1);
                    State::Waiting(future)
                }
            },
        };
        self.started.push_back(Started {
            state,
            api,
            at,
            _memory: frame.memory,
        });
        Ok(())
    }
}

impl Drop for Connection {
    /// What still waits, waits no more.
    fn drop(&mut self) {
        let metrics = &self.context.services.metrics.requests;
        for started in &self.started {
            if matches!(started.state, State::Waiting(_)) {
                metrics.parked(started.api, -1);
            }
        }
    }
}

/// A whole frame and the memory it was granted.
struct Frame {
    bytes: bytes::Bytes,
    memory: Lease,
}
