//! A connection's socket: the one place where a shard and the network meet.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BufMut;
use reka_storage::LogSlice;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// One `sendfile` call at most, so that one reader does not hold the shard.
const SENDFILE_BYTES_MAX: u64 = 1 << 20;

/// The client sees its connection end, and comes back for the same records.
fn tell_of_disk(error: &Errno) {
    if *error == Errno::IO {
        tracing::error!(
            "records could not be read to be sent: check the disk and the kernel's log"
        );
    }
}

/// As it was accepted, on its way to a shard.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// The kernel's.
    Tcp(std::net::TcpStream),
    /// One that a simulation has both ends of.
    #[cfg(test)]
    Simulated(crate::simulation::network::End, SocketAddr),
}

/// As a shard has it. Nothing here waits.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(test)]
    Simulated(crate::simulation::network::End),
}

impl Accepted {
    /// Gives the socket to the runtime of this thread; the address it was reached by.
    pub(super) fn open(self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Accepted::Tcp(socket) => {
                let socket = TcpStream::from_std(socket)?;
                socket.set_nodelay(true)?;
                let local = socket.local_addr()?;
                Ok((Socket::Tcp(socket), local))
            }
            #[cfg(test)]
            Accepted::Simulated(end, local) => Ok((Socket::Simulated(end), local)),
        }
    }
}

impl Socket {
    pub(super) fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(task),
            #[cfg(test)]
            Socket::Simulated(end) => end.poll_read_ready(task),
        }
    }

    pub(super) fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_write_ready(task),
            #[cfg(test)]
            Socket::Simulated(end) => end.poll_write_ready(task),
        }
    }

    /// Reads what there is; 0 when the client sends no more.
    pub(super) fn try_read(&self, into: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.try_read_buf(into),
            #[cfg(test)]
            Socket::Simulated(end) => end.try_read(into),
        }
    }

    /// Writes what the socket takes.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.try_write(bytes),
            #[cfg(test)]
            Socket::Simulated(end) => end.try_write(bytes),
        }
    }

    /// Writes what the socket takes of a slice, behind its first `skip` bytes.
    pub(super) fn try_send(&self, slice: &LogSlice, skip: u64) -> io::Result<u64> {
        let (file, position) = slice.file_range().map_err(io::Error::other)?;
        match (self, file.fd()) {
            (Socket::Tcp(socket), Some(fd)) => {
                let count = (slice.len() - skip).min(SENDFILE_BYTES_MAX) as usize;
                socket.try_io(Interest::WRITABLE, || {
                    let mut from = position + skip;
                    let sent = rustix::fs::sendfile(socket, fd, Some(&mut from), count);
                    Ok(sent.inspect_err(tell_of_disk)? as u64)
                })
            }
            // A disk in memory has no descriptor.
            (socket, _) => {
                let bytes = slice.bytes().map_err(io::Error::other)?;
                Ok(socket.try_write(&bytes[skip as usize..])? as u64)
            }
        }
    }

    /// Whether the socket is to keep what does not fill a packet, for what follows.
    pub(super) fn cork(&self, corked: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => {
                rustix::net::sockopt::set_tcp_cork(socket, corked).map_err(io::Error::from)
            }
            // What is written there leaves in pieces anyway.
            #[cfg(test)]
            Socket::Simulated(_) => Ok(()),
        }
    }

    /// A read that brought less than there was room for has emptied the socket: what comes later
    /// wakes the task, and the system call that would find nothing is spared.
    pub(super) fn note_drained(&self) {
        match self {
            Socket::Tcp(socket) => {
                let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = socket.try_io(Interest::READABLE, nothing);
            }
            // It knows.
            #[cfg(test)]
            Socket::Simulated(_) => {}
        }
    }
}
