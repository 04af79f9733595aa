//! One connection: read frames, start requests in order, answer in order.
//!
//! A connection is one task on one shard. A turn of it does as much as there is: take what has
//! arrived, start it, send what is ready. A request that can be answered at once is answered in
//! the turn that read it; one that has to wait (a long poll, a change of metadata) is kept in the
//! queue with its future, and those behind it are started meanwhile, so that pipelined produces
//! go on. Answers leave in the order of their requests, those of one turn together, so that the
//! client is woken once.
//!
//! A socket is read into memory of the shard. Frames that lie there whole are started there; the
//! beginning of one that does not is kept until the rest arrives. A frame that is larger than the
//! shard's memory gets a buffer of its own, and the socket is read into that.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use reka_protocol::Api;
use reka_protocol::frame::{self, FrameError, FrameReader, Front};
use reka_protocol::kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};
use reka_protocol::kafka_protocol::protocol::Request;
use reka_protocol::versions::PRODUCE;
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, Outbox};
use super::budget::Lease;
use super::shard::{Guest, SCRATCH_BYTES, Shard};
use super::socket::Socket;
use crate::api::{Context, produce};
use crate::dispatch::{self, Begun, Frame, Reply};

/// Requests started and not answered, at most; more stay in the socket.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes a client leaves unread before nothing more is read from it. Few in tests, so that a socket
/// takes them all.
const UNSENT_BYTES_MAX: u64 = if cfg!(test) { 256 << 10 } else { 8 << 20 };
/// Frames started in one turn, so that one busy client does not hold the shard.
const FRAMES_PER_TURN: usize = 32;
/// Memory a connection keeps for what it has not started, when there is nothing.
const PENDING_BYTES_KEPT: usize = 4 << 10;
/// A frame that has begun must be whole after this.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a frame waits for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(30);
/// Reads at most of what a client has sent that is not served any more.
const DISCARDED_READS_MAX: usize = 64;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The client is done.
    #[error("closed by the client")]
    ByClient,
    /// Nothing came for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// The broker stops; what was started is answered.
    #[error("the broker stops")]
    Stopping,
    /// A frame had begun and did not go on.
    #[error("a request was not whole after {FRAME_TIMEOUT:?}")]
    SlowFrame,
    /// Others had all the memory there is.
    #[error(
        "no memory for a request of {size} bytes came free in {MEMORY_TIMEOUT:?}: the {limit} bytes of \
         queued.max.request.bytes are in use; raise it, or have fewer or smaller requests sent at once"
    )]
    NoMemory {
        /// What the request declared.
        size: usize,
        /// `queued.max.request.bytes`
        limit: usize,
    },
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
    _memory: Option<Lease>,
}

enum State {
    Done(Answer),
    /// The connection ends when those before it are answered.
    Failed(Closed),
    Waiting(Pin<Box<dyn Future<Output = Result<Answer, Closed>>>>),
}

/// A frame that does not fit the shard's memory, as far as it has arrived.
struct Large {
    frames: FrameReader,
    memory: Lease,
}

/// Why no further frame is started.
enum Halt {
    /// The rest has not arrived.
    Incomplete,
    /// Enough for this turn, or for this client.
    Enough,
    /// There is no memory now; the task is woken when there is.
    Memory,
}

/// One connection.
pub(super) struct Connection {
    socket: Socket,
    shard: Rc<Shard>,
    context: Rc<Context>,
    frame_bytes_max: usize,
    /// Bytes that were read and not started.
    pending: BytesMut,
    /// Memory of the frame that has begun in `pending`.
    memory: Option<Lease>,
    /// The frame that is being read, if it is a large one; `pending` is empty meanwhile.
    large: Option<Large>,
    started: VecDeque<Started>,
    outbox: Outbox,
    deadline: Pin<Box<Sleep>>,
    last_activity: Instant,
    frame_began: Option<Instant>,
    /// Since when the frame at the front waits for memory.
    waits_for_memory: Option<Instant>,
    /// The client sends no more; what was started is still answered.
    read_closed: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket, shard: Rc<Shard>, context: Rc<Context>) -> Connection {
        let now = Instant::now();
        let frame_bytes_max = context.services.config().socket.request_max_bytes;
        Connection {
            socket,
            shard,
            context,
            frame_bytes_max,
            pending: BytesMut::new(),
            memory: None,
            large: None,
            started: VecDeque::new(),
            outbox: Outbox::default(),
            deadline: Box::pin(tokio::time::sleep_until(now + FRAME_TIMEOUT)),
            last_activity: now,
            frame_began: None,
            waits_for_memory: None,
            read_closed: false,
        }
    }

    /// Runs until it ends; why.
    pub(super) async fn run(mut self, guest: &Guest) -> Closed {
        poll_fn(|task| {
            guest.wake_by(task.waker());
            Poll::Ready(())
        })
        .await;
        poll_fn(|task| self.turn(task)).await
    }

    /// Does as much as there is; why the connection ends, once it does.
    pub(super) fn turn(&mut self, task: &mut TaskContext<'_>) -> Poll<Closed> {
        match ready!(self.go_on(task)) {
            Ok(never) => match never {},
            Err(closed) => {
                // What was answered before is owed, as far as the socket takes it now.
                let _ = self.outbox.send(&self.socket);
                Poll::Ready(closed)
            }
        }
    }

    fn go_on(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<Infallible, Closed>> {
        self.check_deadline(task)?;
        let mut frames_left = FRAMES_PER_TURN;
        self.go_on_waiting(task);
        self.collect_answers()?;
        if self.shard.is_stopping() {
            return self.end(task);
        }
        loop {
            let halt = self.start_pending(&mut frames_left, task)?;
            self.send(task)?;
            if self.read_closed && self.started.is_empty() && self.outbox.is_empty() {
                return Poll::Ready(Err(Closed::ByClient));
            }
            match halt {
                Halt::Memory => return Poll::Pending,
                Halt::Enough if frames_left == 0 => {
                    // Others first; this connection is not done.
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // What was sent has made room for what was read already.
                Halt::Enough if self.has_room() => {}
                Halt::Enough => return Poll::Pending,
                Halt::Incomplete if self.read_closed => return Poll::Pending,
                Halt::Incomplete => {
                    self.read_closed = !ready!(self.read(&mut frames_left, task))?;
                }
            }
        }
    }

    /// Begins nothing more; ends when what was started is answered.
    fn end(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<Infallible, Closed>> {
        self.send(task)?;
        let mut started = self.started.iter();
        if !self.outbox.is_empty() || started.any(|started| !waits_for_members(started.api)) {
            return Poll::Pending;
        }
        self.discard_unread();
        Poll::Ready(Err(Closed::Stopping))
    }

    /// Reads what has arrived. A socket that is closed with something unread is reset, and its last
    /// answers may be lost on their way.
    fn discard_unread(&self) {
        let mut scratch = self.shard.take_scratch();
        for _ in 0..DISCARDED_READS_MAX {
            scratch.clear();
            scratch.reserve(SCRATCH_BYTES);
            let read = self
                .socket
                .try_read(&mut (&mut scratch).limit(SCRATCH_BYTES));
            if !matches!(read, Ok(1..)) {
                break;
            }
        }
        self.shard.give_scratch(scratch);
    }

    /// Whether the client may have more started for it.
    fn has_room(&self) -> bool {
        self.started.len() < IN_FLIGHT_MAX && self.outbox.len() < UNSENT_BYTES_MAX
    }

    /// Lets every request that waits go on, not the first alone: what one behind it has been given
    /// the turn of (a lock, a place in a mailbox) may be what the first waits for.
    fn go_on_waiting(&mut self, task: &mut TaskContext<'_>) {
        let metrics = &self.context.services.metrics.requests;
        for started in &mut self.started {
            let State::Waiting(future) = &mut started.state else {
                continue;
            };
            if let Poll::Ready(answer) = future.as_mut().poll(task) {
                metrics.parked(started.api, -1);
                started.state = answer.map_or_else(State::Failed, State::Done);
            }
        }
    }

    /// Moves answers from the front of the queue to the outbox as far as they are ready.
    fn collect_answers(&mut self) -> Result<(), Closed> {
        // Those of one turn leave together: one look at the clock does for all.
        let mut now = None;
        while let Some(first) = self.started.front_mut() {
            let answer = match &mut first.state {
                State::Done(answer) => std::mem::take(answer),
                State::Waiting(_) => break,
                State::Failed(closed) => {
                    return Err(std::mem::replace(closed, Closed::ByClient));
                }
            };
            let metrics = &self.context.services.metrics.requests;
            let now = *now.get_or_insert_with(Instant::now);
            metrics.answered(first.api, now - first.at, answer.len());
            self.started.pop_front();
            self.shard.give_answer_buffer(self.outbox.push(answer)?);
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
            let idle = now - self.last_activity;
            // While it waits for memory nothing is read: that is not the client's doing.
            if let Some(since) = self.waits_for_memory {
                if now - since >= MEMORY_TIMEOUT {
                    return Err(self.without_memory());
                }
            } else if let Some(began) = self.frame_began
                && now - began >= FRAME_TIMEOUT
            {
                return Err(Closed::SlowFrame);
            } else if self.started.is_empty() && idle >= idle_max {
                return Err(Closed::Idle(idle));
            }
            // One timer does for both: it looks every half a minute.
            self.deadline
                .as_mut()
                .reset(now + FRAME_TIMEOUT.min(idle_max));
        }
        Ok(())
    }

    fn without_memory(&self) -> Closed {
        let large = self.large.as_ref().map(|large| &large.memory);
        let lease = self.memory.as_ref().or(large);
        Closed::NoMemory {
            size: lease.map_or(0, Lease::declared),
            limit: self.context.services.memory.total(),
        }
    }

    /// Starts what was read before and could not be started then.
    fn start_pending(
        &mut self,
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Result<Halt, Closed> {
        if self.pending.is_empty() {
            return Ok(self.hold_large(task));
        }
        let mut pending = std::mem::take(&mut self.pending);
        let (started, halt) = self.start_whole(&mut pending, frames_left, task)?;
        pending.advance(started);
        self.pending = pending;
        self.let_pending_go();
        match halt {
            Halt::Incomplete => self.hold_begun(task),
            halt => Ok(halt),
        }
    }

    /// Starts the frames that lie whole at the front of `input`; how many bytes they are.
    fn start_whole(
        &mut self,
        input: &mut [u8],
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Result<(usize, Halt), Closed> {
        let mut at = 0;
        loop {
            let Front::Whole(size) = frame::at_front(&input[at..], self.frame_bytes_max)? else {
                self.note_begun(at < input.len());
                return Ok((at, Halt::Incomplete));
            };
            // From here on it waits for us.
            self.frame_began = None;
            if *frames_left == 0 || !self.has_room() {
                return Ok((at, Halt::Enough));
            }
            let started = self.start_run(&mut input[at..], frames_left, task)?;
            if started > 0 {
                at += started;
                continue;
            }
            let begin = at + frame::SIZE_BYTES;
            let whole = &mut input[begin..begin + size];
            let held = self.memory.take();
            let memory = match dispatch::is_done_at_once(whole) {
                true => None,
                false => {
                    let mut memory = held.unwrap_or_else(|| self.lease(size));
                    if !self.cover(&mut memory, size, task) {
                        self.memory = Some(memory);
                        return Ok((at, Halt::Memory));
                    }
                    Some(memory)
                }
            };
            at = begin + size;
            *frames_left -= 1;
            self.start(Frame::Lent(whole), memory, task)?;
        }
    }

    /// Starts the produces at the front of `input` together, if there are several; how many bytes
    /// they are.
    fn start_run(
        &mut self,
        input: &mut [u8],
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Result<usize, Closed> {
        let mut ranges = self.shard.take_ranges();
        let room = (IN_FLIGHT_MAX - self.started.len()).min(*frames_left);
        let mut end = 0;
        while ranges.len() < room
            && let Ok(Front::Whole(size)) = frame::at_front(&input[end..], self.frame_bytes_max)
        {
            let begin = end + frame::SIZE_BYTES;
            if !dispatch::is_done_at_once(&input[begin..begin + size]) {
                break;
            }
            end = begin + size;
            ranges.push(begin..end);
        }
        let mut bytes = 0;
        if ranges.len() > 1 {
            let at = Instant::now();
            let context = self.context.clone();
            let started = produce::start_run(&context, input, &ranges, &mut |reply| {
                self.begun(
                    Begun {
                        api: &PRODUCE,
                        reply,
                    },
                    at,
                    None,
                    task,
                )
            })?;
            if let Some(last) = ranges[..started].last() {
                bytes = last.end;
                self.memory = None;
                *frames_left -= started;
            }
            self.collect_answers()?;
        }
        self.shard.give_ranges(ranges);
        Ok(bytes)
    }

    /// Watches the time of a frame that has begun.
    fn note_begun(&mut self, begun: bool) {
        match begun {
            true => self.frame_began = self.frame_began.or_else(|| Some(Instant::now())),
            false => self.frame_began = None,
        }
    }

    fn lease(&self, size: usize) -> Lease {
        self.context.services.memory.lease(size)
    }

    /// Covers what has arrived of a frame and what may arrive next; false when that has to wait.
    fn cover(&mut self, memory: &mut Lease, arrived: usize, task: &mut TaskContext<'_>) -> bool {
        if !memory.cover(arrived, task.waker()) {
            self.waits_for_memory.get_or_insert_with(Instant::now);
            return false;
        }
        if let Some(since) = self.waits_for_memory.take()
            && let Some(began) = &mut self.frame_began
        {
            *began += since.elapsed();
        }
        true
    }

    /// Takes memory for a frame that has begun before more of it is read, and gives it a buffer of
    /// its own if it needs one. What every connection has anyway holds the beginning.
    fn hold_begun(&mut self, task: &mut TaskContext<'_>) -> Result<Halt, Closed> {
        let Front::Begun(size) = frame::at_front(&self.pending, self.frame_bytes_max)? else {
            return Ok(Halt::Incomplete);
        };
        if self.pending.len() <= PENDING_BYTES_KEPT {
            return Ok(Halt::Incomplete);
        }
        let held = self.memory.take();
        let mut memory = held.unwrap_or_else(|| self.lease(size));
        let arrived = self.pending.len() - frame::SIZE_BYTES;
        let is_covered = self.cover(&mut memory, arrived, task);
        if !is_covered || frame::SIZE_BYTES + size <= SCRATCH_BYTES {
            self.memory = Some(memory);
            return Ok(match is_covered {
                true => Halt::Incomplete,
                false => Halt::Memory,
            });
        }
        let mut frames = FrameReader::new(self.frame_bytes_max);
        frames.reuse(self.shard.take_frame_buffer(size));
        frames.read(&mut &self.pending[..])?;
        self.pending.clear();
        self.let_pending_go();
        self.large = Some(Large { frames, memory });
        Ok(Halt::Incomplete)
    }

    /// Takes memory for what comes next of a large frame.
    fn hold_large(&mut self, task: &mut TaskContext<'_>) -> Halt {
        let Some(mut large) = self.large.take() else {
            return Halt::Incomplete;
        };
        let held = large.frames.held();
        let goes_on = held < large.memory.covered() || self.cover(&mut large.memory, held, task);
        self.large = Some(large);
        match goes_on {
            true => Halt::Incomplete,
            false => Halt::Memory,
        }
    }

    /// Reads once from the socket and starts what is whole; false when the client sends no more.
    fn read(
        &mut self,
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Poll<Result<bool, Closed>> {
        loop {
            ready!(self.socket.poll_read_ready(task))?;
            let read = match &mut self.large {
                Some(large) => {
                    let covered = large.memory.covered() - large.frames.held();
                    let mut room = large.frames.room();
                    let wanted = room.remaining_mut().min(covered);
                    room.set_limit(wanted);
                    let read = self.socket.try_read(&mut room);
                    read.map(|read| (read, wanted))
                }
                None => self.read_scratch(frames_left, task)?,
            };
            match read {
                Ok((0, _)) => return Poll::Ready(Ok(false)),
                Ok((read, wanted)) => {
                    self.last_activity = Instant::now();
                    if read < wanted {
                        self.socket.note_drained();
                    }
                    self.start_large(frames_left, task)?;
                    return Poll::Ready(Ok(true));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Reads into the shard's memory behind what is pending, starts what is whole and keeps the
    /// rest. How much was read of how much there was room for.
    fn read_scratch(
        &mut self,
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Result<io::Result<(usize, usize)>, Closed> {
        let mut scratch = self.shard.take_scratch();
        scratch.reserve(SCRATCH_BYTES);
        scratch.extend_from_slice(&self.pending);
        let wanted = SCRATCH_BYTES - scratch.len();
        let read = self.socket.try_read(&mut (&mut scratch).limit(wanted));
        let halted = match read {
            Ok(1..) => self.start_whole(&mut scratch, frames_left, task),
            // Nothing new: what was pending still is.
            _ => {
                self.shard.give_scratch(scratch);
                return Ok(read.map(|read| (read, wanted)));
            }
        };
        let kept = halted
            .as_ref()
            .map_or(scratch.len(), |(started, _)| *started);
        self.keep(&scratch[kept..]);
        self.shard.give_scratch(scratch);
        halted?;
        Ok(read.map(|read| (read, wanted)))
    }

    /// Keeps what was read and not started.
    fn keep(&mut self, rest: &[u8]) {
        self.pending.clear();
        if self.pending.capacity() < rest.len() {
            self.pending = match rest.len() <= PENDING_BYTES_KEPT {
                true => BytesMut::with_capacity(PENDING_BYTES_KEPT),
                false => self.shard.take_pending_buffer(),
            };
        }
        self.pending.extend_from_slice(rest);
        self.let_pending_go();
    }

    /// Gives memory back that nothing is pending in.
    fn let_pending_go(&mut self) {
        if self.pending.is_empty() && self.pending.capacity() > PENDING_BYTES_KEPT {
            let pending = std::mem::take(&mut self.pending);
            self.shard.give_pending_buffer(pending);
        }
    }

    /// Starts the large frame once it is whole.
    fn start_large(
        &mut self,
        frames_left: &mut usize,
        task: &mut TaskContext<'_>,
    ) -> Result<(), Closed> {
        let Some(large) = &mut self.large else {
            return Ok(());
        };
        let Some(mut frame) = large.frames.take_complete() else {
            return Ok(());
        };
        let memory = self.large.take().map(|large| large.memory);
        *frames_left = frames_left.saturating_sub(1);
        self.frame_began = None;
        if !dispatch::is_done_at_once(&frame) {
            return self.start(Frame::Owned(frame), memory, task);
        }
        self.start(Frame::Lent(&mut frame), None, task)?;
        self.shard.give_frame_buffer(frame);
        Ok(())
    }

    fn start(
        &mut self,
        frame: Frame<'_>,
        memory: Option<Lease>,
        task: &mut TaskContext<'_>,
    ) -> Result<(), Closed> {
        let at = Instant::now();
        let begun = dispatch::start(&self.context, frame)?;
        self.begun(begun, at, memory, task)?;
        self.collect_answers()
    }

    /// Takes what a started request left behind into the queue of answers.
    fn begun(
        &mut self,
        begun: Begun,
        at: Instant,
        memory: Option<Lease>,
        task: &mut TaskContext<'_>,
    ) -> Result<(), Closed> {
        let Begun { api, reply } = begun;
        let metrics = &self.context.services.metrics.requests;
        let state = match reply {
            Reply::None => {
                metrics.answered(api, at.elapsed(), 0);
                return Ok(());
            }
            Reply::Now(answer) => State::Done(answer),
            Reply::Later(mut future) => match future.as_mut().poll(task) {
                Poll::Ready(answer) => answer.map_or_else(State::Failed, State::Done),
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
            _memory: memory,
        });
        Ok(())
    }
}

/// Whether a request waits for what other members of a group do, which nobody can wait for who stops.
fn waits_for_members(api: &Api) -> bool {
    [JoinGroupRequest::KEY, SyncGroupRequest::KEY].contains(&api.key)
}

#[cfg(test)]
impl Connection {
    /// A request as if it had come and had to wait for this.
    pub(super) fn begin_waiting(
        &mut self,
        waited_for: impl Future<Output = Answer> + 'static,
        task: &mut TaskContext<'_>,
    ) -> Result<(), Closed> {
        let begun = Begun {
            api: &PRODUCE,
            reply: Reply::Later(Box::pin(async { Ok(waited_for.await) })),
        };
        self.begun(begun, Instant::now(), None, task)
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
