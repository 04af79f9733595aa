//! Stands between a broker and its clients, cuts what passes into frames, and does a fault to them.
//!
//! Answers keep the order of their requests, those the broker never saw included: clients count on it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use reka_protocol::kafka_protocol::messages::ProduceRequest;
use reka_protocol::kafka_protocol::protocol::Request;
use reka_protocol::{RequestHeader, versions};

use super::{Fault, wire};
use crate::error::{Error, Result};
use crate::ports;

const FRAME_BYTES_MAX: i32 = 128 << 20;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Dropping it closes its port and every connection through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `address`; where the broker has to.
    pub fn start(fault: Fault, address: SocketAddr) -> Result<(Proxy, SocketAddr)> {
        let [port] = ports::free().map_err(Error::io("find a free port"))?;
        let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = || Error::io(format!("listen on {address} before the broker"));
        let listener = TcpListener::bind(address).map_err(listen())?;
        let stop = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (stopped, opened) = (Arc::clone(&stop), Arc::clone(&open));
        let accepting = thread::spawn(move || {
            let shared = Arc::new(Shared::default());
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that fails is one the broker refused.
                if let Ok(client) = client {
                    let _ = connect(fault, &shared, client, broker, &opened);
                }
            }
        });
        let proxy = Proxy {
            address,
            stop,
            open,
            accepting: Some(accepting),
        };
        Ok((proxy, broker))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Who waits for a connection wakes up at one.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_TIME_MAX);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What all connections know together.
#[derive(Debug, Default)]
struct Shared {
    names: wire::Names,
    commits: Mutex<i64>,
}

/// What has been asked and not answered, in order.
#[derive(Debug)]
struct Asked {
    key: i16,
    version: i16,
    correlation_id: i32,
    /// The answer to what the broker never saw.
    answer: Option<BytesMut>,
}

/// The way back to a client.
struct Back {
    asked: VecDeque<Asked>,
    client: TcpStream,
}

impl Back {
    /// Sends what the broker never saw, up to the first request it did.
    fn answer_forgotten(&mut self) -> io::Result<()> {
        while let Some(asked) = self.asked.front() {
            let Some(answer) = &asked.answer else { break };
            self.client.write_all(answer)?;
            self.asked.pop_front();
        }
        Ok(())
    }
}

fn connect(
    fault: Fault,
    shared: &Arc<Shared>,
    client: TcpStream,
    broker: SocketAddr,
    open: &Mutex<Vec<TcpStream>>,
) -> io::Result<()> {
    let broker = TcpStream::connect_timeout(&broker, CONNECT_TIME_MAX)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([client.try_clone()?, broker.try_clone()?]);
    }
    let back = Arc::new(Mutex::new(Back {
        asked: VecDeque::new(),
        client: client.try_clone()?,
    }));
    let ends = [client.try_clone()?, broker.try_clone()?];
    let close = move |ends: &[TcpStream]| {
        for end in ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    };
    let (there, and_back) = (Arc::clone(shared), Arc::clone(shared));
    let (asking, answering) = (Arc::clone(&back), back);
    let both = [ends[0].try_clone()?, ends[1].try_clone()?];
    let mut to = broker.try_clone()?;
    thread::spawn(move || {
        let _ = requests(fault, &there, client, &mut to, &asking);
        close(&both);
    });
    thread::spawn(move || {
        let _ = answers(fault, &and_back, broker, &answering);
        close(&ends);
    });
    Ok(())
}

fn requests(
    fault: Fault,
    shared: &Shared,
    mut client: TcpStream,
    broker: &mut TcpStream,
    back: &Mutex<Back>,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut client)?;
        let key = frame.first_chunk().map(|key| i16::from_be_bytes(*key));
        let api = key
            .and_then(versions::by_key)
            .ok_or(io::ErrorKind::InvalidData)?;
        let header = RequestHeader::parse(&frame, api).map_err(|_| io::ErrorKind::InvalidData)?;
        let answer = {
            let mut commits = shared
                .commits
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            wire::forget(fault, &header, &frame, &mut commits)
        };
        let forgotten = answer.is_some();
        let unanswered = api.key == ProduceRequest::KEY && wire::wants_no_answer(&header, &frame);
        {
            // Before the broker may answer.
            let mut back = back.lock().unwrap_or_else(PoisonError::into_inner);
            if !unanswered {
                back.asked.push_back(Asked {
                    key: api.key,
                    version: header.version,
                    correlation_id: header.correlation_id,
                    answer,
                });
            }
            back.answer_forgotten()?;
        }
        if !forgotten {
            broker.write_all(&with_size(&frame))?;
        }
    }
}

fn answers(
    fault: Fault,
    shared: &Shared,
    mut broker: TcpStream,
    back: &Mutex<Back>,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut broker)?;
        let mut back = back.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = back.asked.pop_front().ok_or(io::ErrorKind::InvalidData)?;
        let request = (asked.key, asked.version, asked.correlation_id);
        let frame = match wire::alter(fault, &shared.names, request, &frame) {
            Some(altered) => altered.freeze(),
            None => with_size(&frame),
        };
        back.client.write_all(&frame)?;
        back.answer_forgotten()?;
    }
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = i32::from_be_bytes(size);
    if !(4..=FRAME_BYTES_MAX).contains(&size) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; size as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn with_size(frame: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(4 + frame.len());
    whole.put_i32(frame.len() as i32);
    whole.put_slice(frame);
    whole.freeze()
}
