//! One core's share of the connections.
//!
//! A shard is a thread pinned to a core with a single-threaded runtime. A connection lives and dies
//! on one shard and its requests run there from the first byte to the last: waking another core
//! costs 20 to 35 µs, and the multi-threaded scheduler lets busy connections starve.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::connection::{Closed, Connection};
use super::limits::Slot;
use super::socket::Accepted;
use crate::api::Context;
use crate::api::produce::{Asked, Produced};
use crate::node::{Listener, Services};
use crate::partition::append::RunMemory;

/// What one read from a socket may bring; stays in the core's cache.
pub(super) const SCRATCH_BYTES: usize = 128 << 10;
/// Buffers that are kept for frames to come, of each kind; those of large frames up to this size.
const SPARE_FRAMES_MAX: usize = 4;
const SPARE_FRAME_BYTES_MAX: usize = 2 << 20;
/// Buffers of small answers that are kept for those to come, each up to this size.
const SPARE_ANSWERS_MAX: usize = 64;
const SPARE_ANSWER_BYTES_MAX: usize = 4 << 10;
/// Accepted connections that wait for a shard at most.
const ARRIVALS_MAX: usize = 1024;
/// What was started when the shard stops may take so long to be answered. A process is expected to
/// be gone within five seconds, and the logs are closed after this.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What the connections of one core share: memory that is used again, so that a produce in steady
/// state takes none.
#[derive(Debug)]
pub struct Shard {
    scratch: RefCell<BytesMut>,
    decompressed: RefCell<Vec<u8>>,
    produced: RefCell<Vec<Produced>>,
    asked: RefCell<Vec<Asked>>,
    run: RefCell<RunMemory>,
    ranges: RefCell<Vec<Range<usize>>>,
    spare_pending: RefCell<Vec<BytesMut>>,
    spare_frames: RefCell<Vec<BytesMut>>,
    spare_answers: RefCell<Vec<BytesMut>>,
    stops: Cell<bool>,
    guests: RefCell<Guests>,
}

/// The connections that are here.
#[derive(Debug, Default)]
struct Guests {
    next: u64,
    /// How each is woken, once it runs.
    here: BTreeMap<u64, Option<Waker>>,
    /// Who waits until the last has gone.
    host: Option<Waker>,
}

/// A connection is here until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    shard: Rc<Shard>,
    place: u64,
}

impl Guest {
    /// How the connection is told that the shard stops.
    pub(super) fn wake_by(&self, waker: &Waker) {
        let mut guests = self.shard.guests.borrow_mut();
        guests.here.insert(self.place, Some(waker.clone()));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.shard.guests.borrow_mut();
        guests.here.remove(&self.place);
        let host = match guests.here.is_empty() {
            true => guests.host.take(),
            false => None,
        };
        drop(guests);
        if let Some(host) = host {
            host.wake();
        }
    }
}

impl Shard {
    pub(super) fn new() -> Shard {
        Shard {
            scratch: RefCell::new(BytesMut::with_capacity(SCRATCH_BYTES)),
            decompressed: RefCell::default(),
            produced: RefCell::default(),
            asked: RefCell::default(),
            run: RefCell::default(),
            ranges: RefCell::default(),
            spare_pending: RefCell::default(),
            spare_frames: RefCell::default(),
            spare_answers: RefCell::default(),
            stops: Cell::new(false),
            guests: RefCell::default(),
        }
    }

    fn welcome(self: &Rc<Shard>) -> Guest {
        let mut guests = self.guests.borrow_mut();
        let place = guests.next;
        guests.next += 1;
        guests.here.insert(place, None);
        Guest {
            shard: self.clone(),
            place,
        }
    }

    /// Tells the connections to end once they have answered what was started.
    pub(super) fn stop(&self) {
        self.stops.set(true);
        let guests = self.guests.borrow();
        let wakers: Vec<Waker> = guests.here.values().flatten().cloned().collect();
        drop(guests);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing more is begun, and what waits for others to come answers what there is.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stops.get()
    }

    /// Waits until no connection is here.
    async fn empty(&self) {
        poll_fn(|task| {
            let mut guests = self.guests.borrow_mut();
            if guests.here.is_empty() {
                return Poll::Ready(());
            }
            guests.host = Some(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Where a socket is read into, empty. Given back in the same turn.
    pub(super) fn take_scratch(&self) -> BytesMut {
        self.scratch.take()
    }

    pub(super) fn give_scratch(&self, mut scratch: BytesMut) {
        scratch.clear();
        self.scratch.replace(scratch);
    }

    /// A buffer for what was read and not started, for as much as a read may bring.
    pub(super) fn take_pending_buffer(&self) -> BytesMut {
        let spare = self.spare_pending.borrow_mut().pop();
        spare.unwrap_or_else(|| BytesMut::with_capacity(SCRATCH_BYTES))
    }

    pub(super) fn give_pending_buffer(&self, mut buffer: BytesMut) {
        let mut spare = self.spare_pending.borrow_mut();
        if buffer.capacity() >= SCRATCH_BYTES && spare.len() < SPARE_FRAMES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// A buffer for a frame that does not fit the scratch: one that was used before, or an empty
    /// one that grows with what arrives.
    pub(super) fn take_frame_buffer(&self, size: usize) -> BytesMut {
        let mut spare = self.spare_frames.borrow_mut();
        let fitting = spare.iter().position(|spare| spare.capacity() >= size);
        fitting.map_or_else(BytesMut::new, |at| spare.swap_remove(at))
    }

    /// Of more than are kept the largest stay.
    pub(super) fn give_frame_buffer(&self, buffer: BytesMut) {
        let mut spare = self.spare_frames.borrow_mut();
        if buffer.capacity() <= SPARE_FRAME_BYTES_MAX {
            spare.push(buffer);
        }
        if spare.len() > SPARE_FRAMES_MAX {
            let smallest = (0..spare.len()).min_by_key(|at| spare[*at].capacity());
            smallest.map(|at| spare.swap_remove(at));
        }
    }

    /// A buffer for an answer, empty.
    pub(crate) fn take_answer_buffer(&self) -> BytesMut {
        self.spare_answers.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_answer_buffer(&self, buffer: BytesMut) {
        let mut spare = self.spare_answers.borrow_mut();
        let fits = (1..=SPARE_ANSWER_BYTES_MAX).contains(&buffer.capacity());
        if fits && spare.len() < SPARE_ANSWERS_MAX {
            spare.push(buffer);
        }
    }

    /// Where the body of a compressed batch is opened. Borrowed for one append.
    pub(crate) fn decompression_scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.decompressed.borrow_mut()
    }

    /// Where batches that are written together are put together. Borrowed for one append.
    pub(crate) fn run_memory(&self) -> RefMut<'_, RunMemory> {
        self.run.borrow_mut()
    }

    /// A list for requests that are started together, empty.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        self.asked.take()
    }

    pub(crate) fn give_asked(&self, mut asked: Vec<Asked>) {
        asked.clear();
        self.asked.replace(asked);
    }

    /// A list for where frames lie, empty.
    pub(super) fn take_ranges(&self) -> Vec<Range<usize>> {
        self.ranges.take()
    }

    pub(super) fn give_ranges(&self, mut ranges: Vec<Range<usize>>) {
        ranges.clear();
        self.ranges.replace(ranges);
    }

    /// A list for the partitions of produces, empty.
    pub(crate) fn take_produced(&self) -> Vec<Produced> {
        self.produced.take()
    }

    /// Gives it back; the partitions in it are let go.
    pub(crate) fn give_produced(&self, mut produced: Vec<Produced>) {
        produced.clear();
        self.produced.replace(produced);
    }
}

/// A connection on its way to a shard.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: Accepted,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<Listener>,
    pub(crate) slot: Slot,
}

/// The thread of a shard.
#[derive(Debug)]
pub(super) struct ShardHandle {
    door: Door,
    thread: JoinHandle<()>,
}

/// Where connections enter a shard.
#[derive(Clone, Debug)]
pub(super) struct Door {
    arrivals: mpsc::Sender<Arrival>,
}

impl Door {
    /// Hands a connection over; a shard that cannot keep up refuses it.
    pub(super) fn give(&self, arrival: Arrival) {
        // One that stops is closed: whoever comes then is late.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.arrivals.try_send(arrival) {
            tracing::warn!("a connection was refused: its shard has {ARRIVALS_MAX} others waiting");
        }
    }
}

impl ShardHandle {
    /// Starts a shard pinned to `core`.
    pub(super) fn start(
        core: usize,
        services: Arc<Services>,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<ShardHandle> {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("shard-{core}"))
            .spawn(move || {
                pin_to(core);
                LocalSet::new().block_on(&runtime, serve(services, receiver, stop));
            })?;
        Ok(ShardHandle {
            door: Door { arrivals },
            thread,
        })
    }

    /// Where its connections enter.
    pub(super) fn door(&self) -> Door {
        self.door.clone()
    }

    /// Waits for the thread after the stop signal.
    pub(super) fn join(self) {
        drop(self.door);
        if self.thread.join().is_err() {
            tracing::error!("a shard ended by a panic");
        }
    }
}

/// Pinning helps the cache; without it everything still works.
fn pin_to(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cores) {
        tracing::debug!("shard {core} is not pinned: {error}");
    }
}

/// Converses with everybody who arrives, on the thread it is called on.
pub(crate) async fn serve(
    services: Arc<Services>,
    mut arrivals: mpsc::Receiver<Arrival>,
    mut stop: watch::Receiver<bool>,
) {
    let shard = Rc::new(Shard::new());
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => {
                    let (services, shard) = (services.clone(), shard.clone());
                    let guest = shard.welcome();
                    tokio::task::spawn_local(converse(services, shard, guest, arrival));
                }
                None => return,
            },
        }
    }
    drop(arrivals);
    shard.stop();
    if tokio::time::timeout(STOP_PATIENCE, shard.empty())
        .await
        .is_err()
    {
        let left = shard.guests.borrow().here.len();
        tracing::warn!(
            "{left} connections were cut: their requests were not answered, or the answers not \
             taken, within {STOP_PATIENCE:?} of the stop"
        );
    }
}

async fn converse(services: Arc<Services>, shard: Rc<Shard>, guest: Guest, arrival: Arrival) {
    let Arrival {
        socket,
        peer,
        listener,
        slot,
    } = arrival;
    let (socket, local) = match socket.open() {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%peer, "the connection failed before it began: {error}");
            return;
        }
    };
    services.metrics.requests.connections.inc();
    let context = Rc::new(Context::new(
        services.clone(),
        shard.clone(),
        listener,
        peer,
        local,
    ));
    let connection = Connection::new(socket, shard, context.clone());
    let closed = connection.run(&guest).await;
    match closed {
        Closed::ByClient | Closed::Idle(_) | Closed::Stopping | Closed::Io(_) => {
            tracing::debug!(%peer, "connection ended: {closed}");
        }
        Closed::NoMemory { .. } => {
            let client = context.client_id();
            tracing::warn!(%peer, client = client.as_deref().unwrap_or("-"), "connection closed: {closed}");
        }
        // A client's mistake, not ours; who it was helps its owner.
        Closed::SlowFrame | Closed::Frame(_) | Closed::Refused(_) => {
            let client = context.client_id();
            services.metrics.requests.connections_faulty.inc();
            tracing::info!(%peer, client = client.as_deref().unwrap_or("-"), "connection closed: {closed}");
        }
    }
    services.metrics.requests.connections.dec();
    drop(slot);
}
