//! Accepting connections and dealing them out to the shards.
//!
//! One thread per listener accepts; shards get connections in turn. (Several sockets on one port
//! would let the kernel hash all of a few connections onto one shard.) The number of connections is
//! capped, and an accept that fails for want of descriptors is tried again.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::limits::ConnectionLimits;
use super::shard::{Arrival, Door, ShardHandle};
use super::socket::Accepted;
use crate::config::SocketConfig;
use crate::node::{Listener, Services};

/// How often the accepting thread looks whether it should stop.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// How often it looks whether a new second has begun, when there were too many in this one.
const RATE_LOOK: Duration = Duration::from_millis(10);

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
        let mut front = Front {
            shards: Vec::new(),
            acceptors: Vec::new(),
            stop,
        };
        match front.open(services, sockets, cores, &stopped) {
            Ok(()) => Ok(front),
            Err(error) => {
                // What was started holds on to the logs as long as it runs.
                front.stop();
                Err(error)
            }
        }
    }

    fn open(
        &mut self,
        services: &Arc<Services>,
        sockets: Vec<(Arc<Listener>, TcpListener)>,
        cores: usize,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        for core in 0..cores.max(1) {
            let shard = ShardHandle::start(core, services.clone(), stopped.clone())?;
            self.shards.push(shard);
        }
        let doors: Arc<[Door]> = self.shards.iter().map(ShardHandle::door).collect();
        let limits = Arc::new(ConnectionLimits::default());
        for (listener, socket) in sockets {
            listen(&socket, services.config().socket.backlog)?;
            let acceptor = Acceptor {
                services: services.clone(),
                listener: listener.clone(),
                doors: doors.clone(),
                stopped: stopped.clone(),
                limits: limits.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("accept-{}", listener.name))
                .spawn(move || acceptor.run(&socket))?;
            self.acceptors.push(thread);
        }
        Ok(())
    }

    /// Stops accepting, and ends all connections once what they started is answered.
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

/// Accepts on one socket.
struct Acceptor {
    services: Arc<Services>,
    listener: Arc<Listener>,
    doors: Arc<[Door]>,
    stopped: watch::Receiver<bool>,
    limits: Arc<ConnectionLimits>,
}

impl Acceptor {
    fn run(&self, socket: &TcpListener) {
        let metrics = &self.services.metrics.requests;
        let mut doors = self.doors.iter().cycle();
        while !*self.stopped.borrow() {
            let config = self.services.config();
            // Too many in this second: the others wait in the backlog.
            let Some(second) = self
                .limits
                .may_accept(config.socket.connection_creation_rate_max)
            else {
                std::thread::sleep(RATE_LOOK);
                continue;
            };
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
            self.limits.accepted(second);
            let slot = match self.limits.take(peer.ip(), &config.socket) {
                Ok(slot) => slot,
                Err(limit) => {
                    let name = limit.name();
                    metrics.connections_refused.with_label_values(&[name]).inc();
                    tracing::warn!(%peer, "connection refused: {limit}");
                    continue;
                }
            };
            let prepared = prepare(&connection, &config.socket);
            if let Err(error) = prepared {
                tracing::debug!(%peer, "connection refused: {error}");
                continue;
            }
            metrics.connections_accepted.inc();
            if let Some(door) = doors.next() {
                door.give(Arrival {
                    socket: Accepted::Tcp(connection),
                    peer,
                    listener: self.listener.clone(),
                    slot,
                });
            }
        }
    }
}

/// What a socket needs before a shard can have it.
fn prepare(connection: &TcpStream, config: &SocketConfig) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
    connection.set_nonblocking(true)?;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    if let Some(bytes) = config.receive_buffer_bytes {
        set_socket_recv_buffer_size(connection, size(bytes))?;
    }
    if let Some(bytes) = config.send_buffer_bytes {
        set_socket_send_buffer_size(connection, size(bytes))?;
    }
    Ok(())
}

/// Sets how many connections the kernel holds until they are accepted; the standard library has a
/// number of its own. Listening again changes it.
fn listen(socket: &TcpListener, backlog: i32) -> io::Result<()> {
    Ok(rustix::net::listen(socket, backlog)?)
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
