//! What the kernel alone costs: a server that reads, writes what it read into one file and answers,
//! and knows of requests only where they end. For small requests that is as good as it gets on the machine
//! that measures, whatever another one allows; large ones it reads in pieces, where a broker need not.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::ApiKey;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::error::{Error, Result};
use crate::files;
use crate::ports;
use crate::process::Process;
use crate::wait;

const START_TIME_MAX: Duration = Duration::from_secs(10);
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 256 << 10;
/// Size, API key, version, correlation id.
const HEAD_BYTES: usize = 12;
/// An answer to a Produce, in which the load finds no error.
const ANSWER_BYTES: usize = 64;
/// What a Fetch is answered with, behind an answer as above.
const FETCHED_BYTES: usize = 1 << 20;
/// What the listener has in the set of sockets.
const LISTENER: u64 = u64::MAX;

/// The server as a process of its own, whose CPU time is counted like a broker's.
#[derive(Debug)]
pub struct Floor {
    process: Process,
    address: SocketAddr,
}

impl Floor {
    /// Starts it; it is this program under another command.
    pub fn start(home: &Path) -> Result<Floor> {
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        files::make_dir(home)?;
        let log = home.join("floor.log");
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let mut command = std::process::Command::new(program);
        command.arg("floor").arg(address.to_string());
        command.arg(home.join("written"));
        let mut process = Process::start("run the floor", &mut command, &log, &log)?;
        let step = format!("wait for the floor, log {}", log.display());
        wait::until(&step, START_TIME_MAX, || {
            process.expect_running()?;
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })?;
        Ok(Floor { process, address })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9`: it has nothing to lose.
    pub fn kill(self) -> Result<()> {
        self.process.kill(STOP_TIME_MAX)
    }
}

/// Serves until it is killed.
pub fn serve(address: SocketAddr, file: &Path) -> Result<()> {
    let step = || Error::io(format!("serve {address}"));
    let listener = TcpListener::bind(address).map_err(step())?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| step()(errno.into()))?;
    let watch = |socket: &dyn rustix::fd::AsFd, id: u64| {
        let data = epoll::EventData::new_u64(id);
        epoll::add(&poll, socket.as_fd(), data, epoll::EventFlags::IN)
            .map_err(|errno| step()(errno.into()))
    };
    watch(&listener, LISTENER)?;
    let mut written = Written::create(file)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(step()(errno.into())),
        }
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                let (socket, _) = listener.accept().map_err(step())?;
                socket.set_nodelay(true).map_err(step())?;
                watch(&socket, peers.len() as u64)?;
                peers.push(Some(Peer::new(socket)));
                continue;
            }
            let Some(slot) = peers.get_mut(id as usize) else {
                continue;
            };
            let Some(peer) = slot else { continue };
            match peer.turn(&mut buffer, &mut written) {
                Ok(true) => {}
                Ok(false) => *slot = None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => *slot = None,
                Err(error) => return Err(step()(error)),
            }
        }
    }
}

/// What everybody's bytes go to.
struct Written {
    file: File,
    bytes: u64,
    /// Where the next Fetch reads.
    read_at: u64,
}

impl Written {
    fn create(file: &Path) -> Result<Written> {
        let step = || Error::io(format!("create {}", file.display()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(file)
            .map_err(step())?;
        Ok(Written {
            file,
            bytes: 0,
            read_at: 0,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Sends the next piece, from the page cache into the socket.
    fn send_piece(&mut self, socket: &TcpStream) -> std::io::Result<()> {
        if self.read_at + FETCHED_BYTES as u64 > self.bytes {
            self.read_at = 0;
        }
        let end = self.read_at + FETCHED_BYTES as u64;
        while self.read_at < end {
            let count = (end - self.read_at) as usize;
            let sent = rustix::fs::sendfile(socket, &self.file, Some(&mut self.read_at), count)?;
            if sent == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

struct Peer {
    socket: TcpStream,
    /// Of the frame that comes in: its head, how much of that is there, and what is missing behind it.
    head: [u8; HEAD_BYTES],
    have: usize,
    missing: usize,
    answers: Vec<u8>,
}

impl Peer {
    fn new(socket: TcpStream) -> Peer {
        Peer {
            socket,
            head: [0; HEAD_BYTES],
            have: 0,
            missing: 0,
            answers: Vec::new(),
        }
    }

    /// Takes what has come; false once nothing will come any more.
    fn turn(&mut self, buffer: &mut [u8], written: &mut Written) -> std::io::Result<bool> {
        let read = self.socket.read(buffer)?;
        if read == 0 {
            return Ok(false);
        }
        let mut rest = &buffer[..read];
        let mut to_write = true;
        while let Some((key, correlation)) = self.next(&mut rest) {
            let fetch = key == ApiKey::Fetch as i16;
            let behind = if fetch { FETCHED_BYTES } else { 0 };
            let size = (ANSWER_BYTES - 4 + behind) as i32;
            let from = self.answers.len();
            self.answers.extend_from_slice(&size.to_be_bytes());
            self.answers.extend_from_slice(&correlation);
            self.answers.resize(from + ANSWER_BYTES, 0);
            if fetch {
                to_write = false;
                self.flush()?;
                written.send_piece(&self.socket)?;
            }
        }
        if to_write {
            written.append(&buffer[..read])?;
        }
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if !self.answers.is_empty() {
            self.socket.write_all(&self.answers)?;
            self.answers.clear();
        }
        Ok(())
    }

    /// API key and correlation id of the next frame that ends in `input`.
    fn next(&mut self, input: &mut &[u8]) -> Option<(i16, [u8; 4])> {
        let head = (HEAD_BYTES - self.have).min(input.len());
        let (now, rest) = input.split_at(head);
        *input = rest;
        self.head[self.have..self.have + head].copy_from_slice(now);
        self.have += head;
        if self.have < HEAD_BYTES {
            return None;
        }
        let [a, b, c, d, key, of_key, _, _, correlation @ ..] = self.head;
        if head > 0 {
            let size = u32::from_be_bytes([a, b, c, d]) as usize;
            self.missing = size.saturating_sub(HEAD_BYTES - 4);
        }
        let body = self.missing.min(input.len());
        *input = &input[body..];
        self.missing -= body;
        if self.missing > 0 {
            return None;
        }
        self.have = 0;
        Some((i16::from_be_bytes([key, of_key]), correlation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: i16, correlation: i32, body: usize) -> Vec<u8> {
        let mut frame = ((8 + body) as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&9_i16.to_be_bytes());
        frame.extend_from_slice(&correlation.to_be_bytes());
        frame.resize(frame.len() + body, 7);
        frame
    }

    /// However the bytes come, each frame counts once, at its end.
    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let frames = [frame(0, 1, 500), frame(1, 2, 0), frame(0, 3, 1)].concat();
        for piece in [1, 2, 7, 11, 12, 13, 511, 512, 513, frames.len()] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("its address");
            let mut peer = Peer::new(TcpStream::connect(address).expect("a connection"));
            let mut told = Vec::new();
            for mut input in frames.chunks(piece) {
                while let Some((key, correlation)) = peer.next(&mut input) {
                    told.push((key, i32::from_be_bytes(correlation)));
                }
                assert!(input.is_empty(), "{piece}");
            }
            assert_eq!(told, [(0, 1), (1, 2), (0, 3)], "{piece}");
        }
    }
}
