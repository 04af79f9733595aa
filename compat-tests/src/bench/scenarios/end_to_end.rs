//! From the moment a record was due to the moment a waiting consumer has it, at fixed rates.
//!
//! One thread is producer and consumer and never sleeps, so that only the broker's share of the
//! time is that of being woken. A record is due when the clock says so, whether the broker kept up
//! with those before it or not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use reka_protocol::kafka_protocol::messages::{FetchResponse, ResponseHeader};
use reka_protocol::kafka_protocol::protocol::Decodable;
use reka_records::batches;

use super::Scenario;
use crate::bench::contestant::Contestant;
use crate::bench::figures::{Figure, Unit};
use crate::bench::frames::{self, FETCH_VERSION, Target};
use crate::error::{Error, Result};

const WARM_UP: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(4);
/// How long the last record may take.
const LATE_MAX: Duration = Duration::from_secs(10);
/// As the Java producer.
const IN_FLIGHT_MAX: usize = 5;
const BATCH_RECORDS_MAX: usize = 15;
const VALUE_BYTES: usize = 1024;
const FETCH_BYTES: i32 = 1 << 20;
const READ_BYTES: usize = 256 << 10;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// Recognised in a frame, so that it can be replaced there.
const OFFSET_MARK: i64 = 0x0102_0304_0506_0708;

pub(super) const END_TO_END: Scenario = Scenario {
    name: "end-to-end",
    about: "from due to received: 1,000, 10,000 and 50,000 records of 1 KiB per second, acks=1",
    settings: &[],
    floor: false,
    run,
};

fn run(contestant: &mut Contestant<'_>) -> Result<Vec<Figure>> {
    let rates = [
        (1_000, "end_to_end_1k_p50", "end_to_end_1k_p99"),
        (10_000, "end_to_end_10k_p50", "end_to_end_10k_p99"),
        (50_000, "end_to_end_50k_p50", "end_to_end_50k_p99"),
    ];
    contestant.create_topics("paced", rates.len(), 1)?;
    let address = contestant.address()?;
    let mut figures = Vec::new();
    for (at, (rate, p50, p99)) in rates.into_iter().enumerate() {
        let topic = format!("paced-{at}");
        let target = Target {
            topic: &topic,
            partition: 0,
        };
        let latencies = Paced::connect(address, target, rate)?.run()?;
        figures.push((p50, Unit::Microseconds, percentile(&latencies, 0.5)));
        figures.push((p99, Unit::Microseconds, percentile(&latencies, 0.99)));
    }
    Ok(figures)
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

struct Paced {
    rate: u64,
    producer: TcpStream,
    consumer: TcpStream,
    /// By the number of records in them, from one.
    batches: Vec<Bytes>,
    fetch: BytesMut,
    fetch_offset_at: usize,
    error_at: usize,
    sent: u64,
    in_flight: usize,
    produced: BytesMut,
    fetched: BytesMut,
    received: u64,
}

impl Paced {
    fn connect(address: SocketAddr, target: Target<'_>, rate: u64) -> Result<Paced> {
        let connect = || {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let step = || format!("connect to {address}");
        let batches = (1..=BATCH_RECORDS_MAX)
            .map(|records| target.produce(1, frames::batch(records, VALUE_BYTES, TIMESTAMP_MS)?))
            .collect::<Result<_>>()?;
        let fetch = target.fetch(OFFSET_MARK, FETCH_BYTES, 500)?;
        let mark = OFFSET_MARK.to_be_bytes();
        let fetch_offset_at = fetch.windows(8).position(|bytes| bytes == mark);
        Ok(Paced {
            rate,
            producer: connect().map_err(Error::io(step()))?,
            consumer: connect().map_err(Error::io(step()))?,
            batches,
            fetch: BytesMut::from(&fetch[..]),
            fetch_offset_at: fetch_offset_at
                .ok_or_else(|| Error::refused("make a fetch", "its offset is not in it"))?,
            error_at: target.produce_error_at(),
            sent: 0,
            in_flight: 0,
            produced: BytesMut::new(),
            fetched: BytesMut::new(),
            received: 0,
        })
    }

    /// Latencies in microseconds, sorted.
    fn run(mut self) -> Result<Vec<f64>> {
        let began = Instant::now();
        let rate = self.rate;
        let measured_from = rate * WARM_UP.as_secs();
        let total = measured_from + rate * MEASURED.as_secs();
        let due_at = |record: u64| began + Duration::from_nanos(record * 1_000_000_000 / rate);
        let deadline = due_at(total) + LATE_MAX;
        let mut latencies = Vec::with_capacity((total - measured_from) as usize);
        let mut buffer = vec![0; READ_BYTES];
        self.ask()?;
        while self.received < total {
            let now = Instant::now();
            if now > deadline {
                return Err(Error::Deadline {
                    step: format!("receive {total} records, {} came", self.received),
                    limit: WARM_UP + MEASURED + LATE_MAX,
                    log: None,
                });
            }
            let elapsed = (now - began).as_nanos() as u64;
            let due = total.min(1 + elapsed * rate / 1_000_000_000);
            while self.sent < due && self.in_flight < IN_FLIGHT_MAX {
                let records = (due - self.sent).min(BATCH_RECORDS_MAX as u64);
                let frame = &self.batches[records as usize - 1];
                write_all(&mut self.producer, frame).map_err(Error::io("produce"))?;
                self.sent += records;
                self.in_flight += 1;
            }
            read_some(&mut self.producer, &mut buffer, &mut self.produced)
                .map_err(Error::io("read answers to produces"))?;
            while let Some(answer) = take_answer(&mut self.produced) {
                if answer[self.error_at..self.error_at + 2] != [0, 0] {
                    return Err(Error::refused("produce", "an error code"));
                }
                self.in_flight -= 1;
            }
            read_some(&mut self.consumer, &mut buffer, &mut self.fetched)
                .map_err(Error::io("read answers to fetches"))?;
            if let Some(answer) = take_answer(&mut self.fetched) {
                let before = self.received;
                self.received = next_offset(answer)?.unwrap_or(before);
                let now = Instant::now();
                for record in before.max(measured_from)..self.received {
                    let late = now.saturating_duration_since(due_at(record));
                    latencies.push(late.as_secs_f64() * 1e6);
                }
                self.ask()?;
            }
        }
        latencies.sort_unstable_by(f64::total_cmp);
        Ok(latencies)
    }

    fn ask(&mut self) -> Result<()> {
        let at = self.fetch_offset_at;
        self.fetch[at..at + 8].copy_from_slice(&self.received.to_be_bytes());
        write_all(&mut self.consumer, &self.fetch).map_err(Error::io("fetch"))
    }
}

/// These sockets never fill up: little is in flight.
fn write_all(socket: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_some(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    input: &mut BytesMut,
) -> std::io::Result<()> {
    match socket.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            input.extend_from_slice(&buffer[..read]);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

fn take_answer(input: &mut BytesMut) -> Option<Bytes> {
    let size = u32::from_be_bytes(*input.first_chunk()?) as usize;
    if input.len() < 4 + size {
        return None;
    }
    input.advance(4);
    Some(input.split_to(size).freeze())
}

/// Behind the last record of a fetch; `None` when it brought none.
fn next_offset(mut answer: Bytes) -> Result<Option<u64>> {
    let refused = |why: String| Error::refused("read what was fetched", why);
    let response = ResponseHeader::decode(&mut answer, 1)
        .and_then(|_| FetchResponse::decode(&mut answer, FETCH_VERSION))
        .map_err(|error| refused(error.to_string()))?;
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    let mut next = None;
    for partition in partitions {
        if partition.error_code != 0 {
            return Err(refused(format!("error {}", partition.error_code)));
        }
        for batch in batches(partition.records.as_ref().map_or(&[], |bytes| &bytes[..])) {
            let batch = batch.map_err(|error| refused(error.to_string()))?;
            next = u64::try_from(batch.header().last_offset() + 1).ok();
        }
    }
    Ok(next)
}
