//! Accepting connections and dealing them out to the shards.
//!
//! One thread per listener accepts; shards get connections in turn. (Several sockets on one port
//! would let the kernel hash all of a few connections onto one shard.) The number of connections is
//! capped, and an accept that fails for want of descriptors is tried again.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::shard::{Arrival, Door, ShardHandle};
use crate::node::{Listener, Services};

/// How often the accepting thread looks whether it should stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Counts open connections; freed when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Slot> {
        let taken = open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| {
            (open < max).then_some(open + 1)
        });
        taken.ok().map(|_| Slot(open.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The shards and the threads that feed them.
#[derive(Debug)]
pub struct Front {
    shards: Vec<ShardHandle>,
    acceptors: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Front {
    /// Starts a shard per core and serves the bound sockets.
    pub fn start(
        services: &Arc<Services>,
        sockets: Vec<(Arc<Listener>, TcpListener)>,
        cores: usize,
    ) -> io::Result<Front> {
        let (stop, stopped) = watch::channel(false);
        let shards: Vec<ShardHandle> = (0..cores.max(1))
            .map(|core| ShardHandle::start(core, services.clone(), stopped.clone()))
            .collect::<io::Result<_>>()?;
        let doors: Arc<[Door]> = shards.iter().map(ShardHandle::door).collect();
        let open = Arc::new(AtomicUsize::new(0));
        let mut acceptors = Vec::new();
        for (listener, socket) in sockets {
            let (doors, stopped, open) = (doors.clone(), stopped.clone(), open.clone());
            let max = services.config().socket.connections_max;
            let thread = std::thread::Builder::new()
                .name(format!("accept-{}", listener.name))
                .spawn(move || accept(&socket, &listener, &doors, &stopped, &open, max))?;
            acceptors.push(thread);
        }
        Ok(Front {
            shards,
            acceptors,
            stop,
        })
    }

    /// Stops accepting and ends all connections.
    pub fn stop(mut self) {
        let _ = self.stop.send(true);
        for acceptor in self.acceptors.drain(..) {
            if acceptor.join().is_err() {
                tracing::error!("an accepting thread ended by a panic");
            }
        }
        for shard in self.shards.drain(..) {
            shard.join();
        }
    }
}

fn accept(
    socket: &TcpListener,
    listener: &Arc<Listener>,
    doors: &[Door],
    stopped: &watch::Receiver<bool>,
    open: &Arc<AtomicUsize>,
    max: usize,
) {
    let mut next = 0;
    while !*stopped.borrow() {
        if !is_readable(socket) {
            continue;
        }
        let (connection, peer) = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                log_accept_error(&error);
                continue;
            }
        };
        let Some(slot) = Slot::take(open, max) else {
            tracing::warn!(%peer, "connection refused: max.connections ({max}) are open");
            continue;
        };
        if let Err(error) = connection.set_nonblocking(true) {
            tracing::debug!(%peer, "connection refused: {error}");
            continue;
        }
        doors[next % doors.len()].give(Arrival {
            socket: connection,
            peer,
            listener: listener.clone(),
            slot,
        });
        next += 1;
    }
}

/// Waits for a connection, and not so long that a stop goes unnoticed.
fn is_readable(socket: &TcpListener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: STOP_LOOK.as_nanos() as i64,
    };
    matches!(poll(&mut sockets, Some(&timeout)), Ok(1..))
}

fn log_accept_error(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::Interrupted
        | io::ErrorKind::WouldBlock => {}
        // EMFILE and friends: the pause in `is_readable` keeps this from spinning.
        _ => {
            tracing::error!(
                "accepting a connection failed: {error}; raise the limit of open files"
            );
        }
    }
}

/// Binds an address, saying which one when that fails.
pub fn bind(host: &str, port: u16) -> Result<TcpListener, BindError> {
    TcpListener::bind((host, port)).map_err(|source| BindError {
        address: format!("{host}:{port}"),
        source,
    })
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; another process may have the port, or the address is not \
     of this machine"
)]
pub struct BindError {
    /// Which address.
    pub address: String,
    /// Why.
    pub source: io::Error,
}
