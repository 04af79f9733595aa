//! What a small produce costs: the thread that serves it is traced, and each call that it makes of
//! the system is counted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use reka_records::BatchBuilder;

use crate::server::{Running, reka};

const CREATE_TOPICS: i16 = 19;
const PRODUCE: i16 = 0;
/// Longer than an answer takes; a hang fails instead.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_small_produce_costs_three_system_calls_and_one_that_waits_for_the_next() {
    let (_folder, _server, mut client, calls) = traced();
    // Taken from the socket, written, answered; waited for.
    let each = calls_each(&mut client, &calls, 1);
    assert!(each <= 4.05, "{each} calls for each produce");
}

#[test]
fn produces_that_come_together_share_their_system_calls() {
    let (_folder, _server, mut client, calls) = traced();
    let each = calls_each(&mut client, &calls, 16);
    assert!(each <= 1.0, "{each} calls for each of sixteen produces");
}

/// A server with one shard, a client of it with a topic, and the calls of that shard's thread.
fn traced() -> (tempfile::TempDir, Running, TcpStream, Arc<AtomicU64>) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(reka(folder.path(), &["reka.shards=1"]));
    let mut client = TcpStream::connect(server.address).expect("a connection");
    client.set_nodelay(true).expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    create_topic(&mut client);
    let calls = Arc::new(AtomicU64::new(0));
    count_calls(shard_of(server.child.id()), &calls);
    (folder, server, client, calls)
}

/// How many calls a produce costs where this many are sent together.
fn calls_each(client: &mut TcpStream, calls: &AtomicU64, together: usize) -> f64 {
    const ROUNDS: usize = 200;
    let frames = produce().repeat(together);
    let mut round = || {
        client.write_all(&frames).expect("sent");
        for _ in 0..together {
            let answer = receive(client);
            // Correlation id, topics, the name with its length, partitions, index.
            let error_at = 4 + 4 + 2 + 1 + 4 + 4;
            assert_eq!(answer[error_at..error_at + 2], [0, 0], "refused");
        }
    };
    // The first ones open files and take memory.
    (0..20).for_each(|_| round());
    let before = calls.load(Ordering::SeqCst);
    (0..ROUNDS).for_each(|_| round());
    let counted = calls.load(Ordering::SeqCst) - before;
    assert!(counted > 0, "nothing was counted");
    counted as f64 / (ROUNDS * together) as f64
}

/// The thread that serves connections.
fn shard_of(process: u32) -> Pid {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let shard = threads.flatten().find(|thread| is_shard(&thread.path()));
    let name = shard.expect("a shard").file_name();
    let id = name.to_str().and_then(|name| name.parse().ok());
    Pid::from_raw(id.expect("a number"))
}

fn is_shard(thread: &Path) -> bool {
    std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("shard-"))
}

/// Counts the calls of a thread until it ends. What traces has to be one thread itself.
fn count_calls(thread: Pid, calls: &Arc<AtomicU64>) {
    let calls = calls.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD).expect("may be traced");
        ptrace::interrupt(thread).expect("is traced");
        ready.send(()).expect("somebody waits");
        let mut entering = true;
        loop {
            let pass_on: Option<Signal> = match waitpid(thread, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceSyscall(_)) => {
                    if entering {
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                    entering = !entering;
                    None
                }
                Ok(WaitStatus::PtraceEvent(..)) => None,
                Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
                // It has ended.
                _ => return,
            };
            if ptrace::syscall(thread, pass_on).is_err() {
                return;
            }
        }
    });
    is_ready.recv_timeout(PATIENCE).expect("it is traced");
}

fn receive(client: &mut TcpStream) -> Vec<u8> {
    let mut size = [0; 4];
    client.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    client.read_exact(&mut answer).expect("the rest of it");
    answer
}

fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    // Correlation id, no client id.
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(body);
    [(request.len() as i32).to_be_bytes().to_vec(), request].concat()
}

/// One topic by the name of `t`, with one partition.
fn create_topic(client: &mut TcpStream) {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(b"t");
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    // No assignments, no configurations; the time there is.
    body.extend([0; 8]);
    body.extend(30_000_i32.to_be_bytes());
    // Not only validated.
    body.push(0);
    let request = frame(CREATE_TOPICS, 2, &body);
    client.write_all(&request).expect("sent");
    let answer = receive(client);
    // Correlation id, throttle time, topics, the name with its length.
    let error_at = 4 + 4 + 4 + 2 + 1;
    assert_eq!(answer[error_at..error_at + 2], [0, 0], "refused");
}

fn produce() -> Vec<u8> {
    let mut batch = BatchBuilder::new(0);
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let appended = batch.append(0, 1_700_000_000_000, None, Some(&[b'x'; 100]), headers);
    appended.expect("a record that fits");
    let batch = batch.finish();
    let mut body = Vec::new();
    // No transactional id, acks=1, a time; one topic, one partition.
    body.extend((-1_i16).to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(30_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(b"t");
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    frame(PRODUCE, 7, &body)
}
