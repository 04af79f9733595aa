//! A connection, turned by hand on the test's own thread.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use reka_protocol::Api;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    FetchRequest, ProduceRequest, RequestHeader, TopicName,
};
use reka_protocol::kafka_protocol::protocol::{Encodable, StrBytes};
use reka_protocol::versions::{FETCH, PRODUCE};
use reka_records::BatchBuilder;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::connection::{Closed, Connection};
use super::shard::{SCRATCH_BYTES, Shard};
use super::socket::Accepted;
use crate::api::Context;
use crate::config::Sources;
use crate::loggers::{Level, Loggers};
use crate::{Config, Node};

const VERSION: i16 = 9;
/// Exchanges before anything is counted.
const WARM_UP: usize = 20;
/// Longer than anything here takes; a hang fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the connection wants its turn.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Turned {
    connection: Connection,
    shard: Rc<Shard>,
    woken: Arc<Woken>,
    client: TcpStream,
    /// How much of the last buffer was filled.
    received: usize,
    runtime: Runtime,
    node: Option<Node>,
    _dir: TempDir,
}

impl Turned {
    fn new(more: &[&str]) -> Turned {
        let dir = tempfile::tempdir().expect("a folder");
        let mut overrides = vec![
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            "reka.http.listener=".to_owned(),
            format!("log.dirs={}", dir.path().display()),
        ];
        overrides.extend(more.iter().map(ToString::to_string));
        let sources = Sources {
            overrides,
            ..Sources::default()
        };
        let config = Config::load(&sources).expect("a good configuration").config;
        let loggers = Loggers::new(Level::Warn, &[], Box::new(|_| {}));
        let node = Node::start(config, loggers).expect("a node");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let created = runtime.block_on(node.services().create_topic_by_default("t"));
        created.expect("a topic");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here: SocketAddr = listener.local_addr().expect("bound");
        let client = TcpStream::connect(here).expect("a connection");
        client.set_nonblocking(true).expect("a socket");
        let (socket, peer) = listener.accept().expect("a connection");
        socket.set_nonblocking(true).expect("a socket");
        let shard = Rc::new(Shard::new());
        let context = Context::new(
            node.services().clone(),
            shard.clone(),
            node.listeners()[0].clone(),
            peer,
            here,
        );
        let connection = {
            let _entered = runtime.enter();
            let (socket, _) = Accepted::Tcp(socket).open().expect("a socket");
            Connection::new(socket, shard.clone(), Rc::new(context))
        };
        Turned {
            connection,
            shard,
            woken: Arc::new(Woken(AtomicBool::new(true))),
            client,
            received: 0,
            runtime,
            node: Some(node),
            _dir: dir,
        }
    }

    /// Turns the connection as often as it wants to be, and no longer.
    fn exchange_nothing(&mut self) -> Option<Closed> {
        let waker = Waker::from(self.woken.clone());
        let Turned {
            connection,
            woken,
            runtime,
            ..
        } = self;
        runtime.block_on(poll_fn(|_| {
            let mut its_task = TaskContext::from_waker(&waker);
            while woken.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(closed) = connection.turn(&mut its_task) {
                    return Poll::Ready(Some(closed));
                }
            }
            Poll::Ready(None)
        }))
    }

    /// Sends `bytes`, and turns the connection until they are read and `buffer` is full of answers.
    fn exchange(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Option<Closed> {
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        let Turned {
            connection,
            woken,
            client,
            received,
            runtime,
            ..
        } = self;
        *received = 0;
        let waker = Waker::from(woken.clone());
        runtime.block_on(poll_fn(|task| {
            loop {
                assert!(Instant::now() < deadline, "{received} bytes came");
                let written = client.write(&bytes[sent..]).unwrap_or(0);
                sent += written;
                // Only when it was woken: one that sleeps for good is found out.
                let mut its_task = TaskContext::from_waker(&waker);
                if woken.0.swap(false, Ordering::SeqCst)
                    && let Poll::Ready(closed) = connection.turn(&mut its_task)
                {
                    return Poll::Ready(Some(closed));
                }
                let read = client.read(&mut buffer[*received..]).unwrap_or(0);
                *received += read;
                if sent == bytes.len() && *received == buffer.len() && written == 0 {
                    return Poll::Ready(None);
                }
                if written == 0 && read == 0 {
                    // The client's socket wakes nobody.
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }))
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().expect("a clean stop");
        }
    }
}

/// A whole Produce frame with one record of this size.
fn produce(value_bytes: usize) -> Vec<u8> {
    produce_batch(BatchBuilder::new(0), value_bytes)
}

fn produce_batch(mut builder: BatchBuilder, value_bytes: usize) -> Vec<u8> {
    let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let value = vec![7; value_bytes];
    let now_ms = 1_700_000_000_000;
    builder
        .append(0, now_ms, None, Some(&value), none)
        .expect("a record");
    let data = PartitionProduceData::default().with_records(Some(builder.finish().into()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    framed(&PRODUCE, VERSION, &request)
}

/// A whole frame.
fn framed<R: Encodable>(api: &Api, version: i16, request: &R) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api.key)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("steady")));
    let mut frame = vec![0; 4];
    header
        .encode(&mut frame, api.request_header_version(version))
        .expect("encodes");
    request.encode(&mut frame, version).expect("encodes");
    let size = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// Correlation id, tags, one topic `t`, one partition without error, and the size in front.
const ANSWER_BYTES: usize = 4 + 4 + 1 + 1 + 2 + 1 + (4 + 2 + 8 + 8 + 8 + 1 + 1 + 1) + 1 + 4 + 1;

/// The base offsets in answers that came one behind the other.
fn base_offsets(answers: &[u8]) -> Vec<i64> {
    let answer = answers.chunks_exact(ANSWER_BYTES);
    let told = answer.map(|answer| {
        assert_eq!(answer[17..19], [0, 0], "an error code in {answer:02x?}");
        i64::from_be_bytes(*answer[19..].first_chunk().expect("an offset"))
    });
    told.collect()
}

/// The error codes and base offsets in answers of any length.
fn told(mut answers: &[u8]) -> Vec<(i16, i64)> {
    let mut told = Vec::new();
    while let Some(size) = answers.first_chunk::<4>() {
        let code = i16::from_be_bytes(*answers[17..].first_chunk().expect("a code"));
        let offset = i64::from_be_bytes(*answers[19..].first_chunk().expect("an offset"));
        told.push((code, offset));
        answers = &answers[4 + u32::from_be_bytes(*size) as usize..];
    }
    told
}

#[test]
fn a_produce_in_steady_state_takes_no_memory() {
    for (value_bytes, pipelined) in [(100, 1), (100, 20), (16_000, 20), (SCRATCH_BYTES * 2, 2)] {
        // The flusher takes its list of what to sync with it, a few times a second.
        let mut turned = Turned::new(&["reka.flush.group.ms=0"]);
        let bytes = produce(value_bytes).repeat(pipelined);
        let mut answers = vec![0; ANSWER_BYTES * pipelined];
        for _ in 0..WARM_UP {
            assert!(turned.exchange(&bytes, &mut answers).is_none());
        }
        // Few enough that no index grows: that takes memory too, every 128th entry.
        let rounds = 20;
        let allocated = allocation_counter::measure(|| {
            for _ in 0..rounds {
                assert!(turned.exchange(&bytes, &mut answers).is_none());
            }
        });
        assert_eq!(
            base_offsets(&answers).last(),
            Some(&(((WARM_UP + rounds) * pipelined) as i64 - 1))
        );
        assert_eq!(
            allocated.count_total, 0,
            "{pipelined} requests of {value_bytes} bytes: {allocated:?}"
        );
    }
}

/// How many frames end at or before `end`.
fn frames_before(stream: &[u8], end: usize) -> usize {
    let (mut at, mut whole) = (0, 0);
    while let Some(size) = stream[at..].first_chunk::<4>() {
        at += 4 + u32::from_be_bytes(*size) as usize;
        if at > end {
            break;
        }
        whole += 1;
    }
    whole
}

/// Sizes around those where a frame gets memory of its own, cut wherever the socket cuts them.
#[test]
fn frames_of_all_sizes_are_answered_in_order_however_they_arrive() {
    let mut turned = Turned::new(&[]);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for size in [
        1,
        3_000,
        SCRATCH_BYTES - 200,
        SCRATCH_BYTES,
        700_000,
        50,
        60_000,
    ] {
        expected.push(expected.len() as i64);
        bytes.extend(produce(size));
    }
    for step in [bytes.len(), 70_001, 8_191] {
        let mut answers = vec![0; ANSWER_BYTES * expected.len()];
        let mut came = 0;
        // Piece by piece: what a piece completes is answered before the next is sent.
        let ends = (step..bytes.len()).step_by(step).chain([bytes.len()]);
        let mut from = 0;
        for end in ends {
            let whole = frames_before(&bytes, end);
            let upto = whole * ANSWER_BYTES;
            let closed = turned.exchange(&bytes[from..end], &mut answers[came..upto]);
            assert!(closed.is_none());
            (from, came) = (end, upto);
        }
        let offsets = base_offsets(&answers);
        assert_eq!(offsets, expected);
        expected.iter_mut().for_each(|offset| *offset += 7);
    }
}

/// Batches that arrive together are written together where that comes to the same; a retry, a gap
/// and what follows them are answered as if each had come alone.
#[test]
fn pipelined_batches_of_a_producer_are_answered_each_for_itself() {
    answered_each_for_itself(&[]);
}

/// A batch that was stamped and comes again would be one whose producer set what only a topic sets.
#[test]
fn pipelined_batches_are_stamped_once() {
    answered_each_for_itself(&["log.message.timestamp.type=LogAppendTime"]);
}

fn answered_each_for_itself(settings: &[&str]) {
    let of = |sequence| produce_batch(BatchBuilder::new(0).producer(7, 0, sequence), 10);
    let sent: Vec<u8> = [of(0), of(1), of(2), of(1), of(3), of(9), of(4), produce(10)].concat();
    let out_of_order = ErrorCode::OutOfOrderSequenceNumber.code();
    let expected = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 1),
        (0, 3),
        (out_of_order, -1),
        (0, 4),
        (0, 5),
    ];
    // One by one, to learn how long the answers are; then together.
    let mut apart = Turned::new(settings);
    let mut answers = Vec::new();
    let mut at = 0;
    while at < sent.len() {
        let size = u32::from_be_bytes(*sent[at..].first_chunk().expect("a size")) as usize;
        let mut head = [0; 4];
        assert!(
            apart
                .exchange(&sent[at..at + 4 + size], &mut head)
                .is_none()
        );
        let mut rest = vec![0; u32::from_be_bytes(head) as usize];
        assert!(apart.exchange(&[], &mut rest).is_none());
        answers.extend_from_slice(&head);
        answers.extend(rest);
        at += 4 + size;
    }
    assert_eq!(told(&answers), expected);
    let mut together = Turned::new(settings);
    let mut answers = vec![0; answers.len()];
    assert!(together.exchange(&sent, &mut answers).is_none());
    assert_eq!(told(&answers), expected);
}

/// Answers that are more than a client may leave unread hold its next requests back, until they
/// are out.
#[test]
fn requests_held_back_by_large_answers_go_on_when_those_are_out() {
    let mut turned = Turned::new(&[]);
    let mut stored = vec![0; ANSWER_BYTES];
    assert!(turned.exchange(&produce(100_000), &mut stored).is_none());
    let fetch = fetch();
    let mut head = [0; 4];
    assert!(turned.exchange(&fetch, &mut head).is_none());
    let mut rest = vec![0; u32::from_be_bytes(head) as usize];
    assert!(turned.exchange(&[], &mut rest).is_none());
    assert!(rest.len() > 100_000);
    let mut answers = vec![0; 20 * (4 + rest.len())];
    assert!(turned.exchange(&fetch.repeat(20), &mut answers).is_none());
}

/// What stands behind file ranges is kept for a moment to leave with them, and not until the kernel gives up
/// waiting for more, which is after a fifth of a second.
#[test]
fn the_end_of_a_large_answer_is_not_held_back() {
    let mut turned = Turned::new(&[]);
    let mut stored = vec![0; ANSWER_BYTES];
    assert!(turned.exchange(&produce(100_000), &mut stored).is_none());
    let fetch = fetch();
    let mut head = [0; 4];
    assert!(turned.exchange(&fetch, &mut head).is_none());
    let mut rest = vec![0; u32::from_be_bytes(head) as usize];
    assert!(turned.exchange(&[], &mut rest).is_none());
    let mut answer = vec![0; 4 + rest.len()];
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        assert!(turned.exchange(&fetch, &mut answer).is_none());
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}

/// A whole Fetch frame for all of the topic.
fn fetch() -> Vec<u8> {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    framed(&FETCH, 12, &request)
}

/// Else both wait for ever: the one whose turn it is, because nobody lets it go on, and the one before it.
#[test]
fn a_request_goes_on_when_it_is_its_turn_though_one_before_it_waits_for_the_same() {
    let mut turned = Turned::new(&[]);
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let (asked, may_ask) = tokio::sync::oneshot::channel::<()>();
    let held = lock.clone().try_lock_owned().expect("a free lock");
    let answer = |text: &'static str| super::answer::Answer::from(bytes::BytesMut::from(text));
    let waker = Waker::from(turned.woken.clone());
    let mut task = TaskContext::from_waker(&waker);
    let first = {
        let lock = lock.clone();
        async move {
            let _ = may_ask.await;
            let _turn = lock.lock().await;
            answer("first")
        }
    };
    let second = async move {
        let _turn = lock.lock().await;
        answer("second")
    };
    let begun = turned.connection.begin_waiting(first, &mut task);
    begun.expect("a connection that goes on");
    let begun = turned.connection.begin_waiting(second, &mut task);
    begun.expect("a connection that goes on");
    // The second is in line already; now the first gets in line behind it.
    asked.send(()).expect("somebody who waits");
    assert!(turned.exchange_nothing().is_none());
    drop(held);
    let mut answers = [0; "firstsecond".len()];
    assert!(turned.exchange(&[], &mut answers).is_none());
    assert_eq!(&answers, b"firstsecond");
}

/// A frame that is none closes the connection; what came before it is done and answered.
#[test]
fn what_came_before_a_broken_frame_is_answered() {
    let mut turned = Turned::new(&[]);
    let mut sent = [produce(10), produce(10)].concat();
    sent.extend_from_slice(&(-1_i32).to_be_bytes());
    // One byte more than is owed, so that only the end ends the exchange.
    let mut answers = vec![0; ANSWER_BYTES * 2 + 1];
    let closed = turned.exchange(&sent, &mut answers);
    assert!(matches!(closed, Some(Closed::Frame(_))), "{closed:?}");
    turned.client.set_nonblocking(false).expect("a socket");
    let patience = turned.client.set_read_timeout(Some(PATIENCE));
    patience.expect("a socket");
    let rest = &mut answers[turned.received..ANSWER_BYTES * 2];
    turned.client.read_exact(rest).expect("the answers");
    assert_eq!(base_offsets(&answers), [0, 1]);
}

#[test]
fn a_connection_that_is_told_to_stop_answers_what_was_started_and_begins_nothing() {
    let mut turned = Turned::new(&[]);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let started = async {
        let _ = ended.await;
        super::answer::Answer::from(bytes::BytesMut::from("answer"))
    };
    let waker = Waker::from(turned.woken.clone());
    let begun = turned
        .connection
        .begin_waiting(started, &mut TaskContext::from_waker(&waker));
    begun.expect("a connection that goes on");
    assert!(turned.exchange_nothing().is_none());
    turned.shard.stop();
    turned.client.write_all(&produce(10)).expect("a connection");
    waker.wake_by_ref();
    assert!(turned.exchange_nothing().is_none());
    end.send(()).expect("somebody who waits");
    // One byte more than is owed, so that only the end ends the exchange.
    let mut answers = [0; "answer".len() + 1];
    let closed = turned.exchange(&[], &mut answers);
    assert!(matches!(closed, Some(Closed::Stopping)), "{closed:?}");
    turned.client.set_nonblocking(false).expect("a socket");
    let patience = turned.client.set_read_timeout(Some(PATIENCE));
    patience.expect("a socket");
    let rest = &mut answers[turned.received.."answer".len()];
    turned.client.read_exact(rest).expect("the answer");
    assert_eq!(&answers, b"answer\0");
    let node = turned.node.as_ref().expect("a node");
    let partition = node.services().partitions.get("t", 0);
    assert_eq!(partition.expect("a partition").log().log_end(), 0);
}
