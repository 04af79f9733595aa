//! One core's share of the connections.
//!
//! A shard is a thread pinned to a core with a single-threaded runtime. A connection lives and dies
//! on one shard and its requests run there from the first byte to the last: waking another core
//! costs 20 to 35 µs, and the multi-threaded scheduler lets busy connections starve.

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::connection::{Closed, Connection};
use crate::api::Context;
use crate::node::{Listener, Services};

/// What one read from a socket may bring; stays in the core's cache.
const SCRATCH_BYTES: usize = 64 << 10;
/// Accepted connections that wait for a shard at most.
const ARRIVALS_MAX: usize = 1024;

/// What the connections of one core share.
#[derive(Debug)]
pub struct Shard {
    scratch: RefCell<Box<[u8]>>,
    decompressed: RefCell<Vec<u8>>,
}

impl Shard {
    fn new() -> Shard {
        Shard {
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            decompressed: RefCell::default(),
        }
    }

    /// Where a socket is read into. Borrowed for one read.
    pub(super) fn scratch(&self) -> RefMut<'_, [u8]> {
        RefMut::map(self.scratch.borrow_mut(), |scratch| &mut **scratch)
    }

    pub(super) fn scratch_bytes(&self) -> usize {
        SCRATCH_BYTES
    }

    /// Where the body of a compressed batch is opened. Borrowed for one append.
    pub(crate) fn decompression_scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.decompressed.borrow_mut()
    }
}

/// A connection on its way to a shard.
pub(super) struct Arrival {
    pub(super) socket: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Listener>,
    pub(super) slot: super::limits::Slot,
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
        if self.arrivals.try_send(arrival).is_err() {
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

async fn serve(
    services: Arc<Services>,
    mut arrivals: mpsc::Receiver<Arrival>,
    mut stop: watch::Receiver<bool>,
) {
    let shard = Rc::new(Shard::new());
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => {
                    let (services, shard) = (services.clone(), shard.clone());
                    tokio::task::spawn_local(converse(services, shard, arrival));
                }
                None => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn converse(services: Arc<Services>, shard: Rc<Shard>, arrival: Arrival) {
    let Arrival {
        socket,
        peer,
        listener,
        slot,
    } = arrival;
    let opened = TcpStream::from_std(socket).and_then(|socket| {
        socket.set_nodelay(true)?;
        let local = socket.local_addr()?;
        Ok((socket, local))
    });
    let (socket, local) = match opened {
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
    let closed = Connection::new(socket, shard, context.clone()).run().await;
    match closed {
        Closed::ByClient | Closed::Idle(_) | Closed::Io(_) => {
            tracing::debug!(%peer, "connection ended: {closed}");
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
