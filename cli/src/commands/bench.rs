//! `rkctl bench`.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use reka_client::admin::NewTopic;
use reka_client::{
    Client, Consumer, ConsumerConfig, Delivery, OffsetReset, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::command_line::duration;
use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, or_none};

/// A topic is made, written to, read from its start to its end, and deleted again, however the command
/// ends. Rates are told every second on standard error while it runs.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How long to write
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    time: Duration,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 100, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    size: u32,
    /// Partitions of the topic
    #[arg(short, long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Replicas of the topic; as the cluster has them without
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// At most so many records a second
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Measured {
    records: u64,
    record_bytes: u32,
    produced_records_per_second: f64,
    produced_mb_per_second: f64,
    /// From handing a record over to the broker's acknowledgement, in milliseconds.
    delivery_ms_p50: Option<f64>,
    delivery_ms_p99: Option<f64>,
    delivery_ms_p999: Option<f64>,
    delivery_ms_max: Option<f64>,
    consumed_records_per_second: f64,
    consumed_mb_per_second: f64,
}

impl Report for Measured {
    fn page(&self) -> Page {
        let ms = |time: Option<f64>| or_none(time.map(|time| format!("{time:.1} ms")));
        Page::default().pairs(vec![
            ("records", self.records.to_string()),
            ("record bytes", self.record_bytes.to_string()),
            (
                "produced",
                format!(
                    "{:.0} records/s, {:.1} MB/s",
                    self.produced_records_per_second, self.produced_mb_per_second
                ),
            ),
            ("delivery median", ms(self.delivery_ms_p50)),
            ("delivery p99", ms(self.delivery_ms_p99)),
            ("delivery p99.9", ms(self.delivery_ms_p999)),
            ("delivery max", ms(self.delivery_ms_max)),
            (
                "consumed",
                format!(
                    "{:.0} records/s, {:.1} MB/s",
                    self.consumed_records_per_second, self.consumed_mb_per_second
                ),
            ),
        ])
    }
}

/// One in so many records is timed.
const TIMED_EVERY: u64 = 32;
/// Deliveries that are not looked at yet.
const OPEN_MAX: usize = 200_000;

impl Bench {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let topic = format!("rkctl-bench-{}", uuid::Uuid::new_v4());
        let mut new = NewTopic::new(&topic).partitions(self.partitions);
        new.replication_factor = self.replication_factor;
        for (_, created) in client.create_topics(&[new], false).await? {
            created?;
        }
        let measured = tokio::select! {
            measured = self.measure(client, &topic) => measured,
            _ = tokio::signal::ctrl_c() => Err(Failure::other("stopped: nothing was measured")),
        };
        for (_, deleted) in client.delete_topics(&[topic]).await? {
            deleted?;
        }
        session.show(&measured?)
    }

    async fn measure(&self, client: &Client, topic: &str) -> Result<Measured, Failure> {
        let (records, seconds, mut times) = self.produce(client, topic).await?;
        times.sort_unstable();
        let share = |of: f64| {
            let at = ((times.len() as f64 * of).ceil() as usize).max(1) - 1;
            times.get(at).map(|time| time.as_secs_f64() * 1e3)
        };
        let read = self.consume(client, topic, records).await?;
        let megabytes = records as f64 * f64::from(self.size) / 1e6;
        Ok(Measured {
            records,
            record_bytes: self.size,
            produced_records_per_second: records as f64 / seconds,
            produced_mb_per_second: megabytes / seconds,
            delivery_ms_p50: share(0.5),
            delivery_ms_p99: share(0.99),
            delivery_ms_p999: share(0.999),
            delivery_ms_max: share(1.0),
            consumed_records_per_second: records as f64 / read,
            consumed_mb_per_second: megabytes / read,
        })
    }

    /// How many records in how many seconds, and how long those took that were timed.
    async fn produce(
        &self,
        client: &Client,
        topic: &str,
    ) -> Result<(u64, f64, Vec<Duration>), Failure> {
        let producer = Producer::new(client.clone(), ProducerConfig::default())?;
        let value = bytes::Bytes::from(vec![b'x'; self.size as usize]);
        let (timed, mut times) = mpsc::unbounded_channel();
        let mut open: VecDeque<Delivery> = VecDeque::new();
        let mut told = Told::new("written");
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < self.time {
            if let Some(rate) = self.rate {
                let due = began + Duration::from_secs_f64(sent as f64 / f64::from(rate));
                tokio::time::sleep_until(due).await;
            }
            let record = ProducerRecord::new(topic).value(value.clone());
            let at = Instant::now();
            let delivery = producer.send(record).await?;
            if sent.is_multiple_of(TIMED_EVERY) {
                let timed = timed.clone();
                tokio::spawn(async move {
                    let delivered = delivery.wait().await;
                    // Nobody is left to tell if the command was stopped.
                    let _ = timed.send(delivered.map(|_| at.elapsed()));
                });
            } else {
                open.push_back(delivery);
                if open.len() > OPEN_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.wait().await?;
                }
            }
            sent += 1;
            told.progress(sent)?;
        }
        producer.flush().await;
        for delivery in open {
            delivery.wait().await?;
        }
        drop(timed);
        let mut taken = Vec::new();
        while let Some(time) = times.recv().await {
            taken.push(time?);
        }
        Ok((sent, began.elapsed().as_secs_f64(), taken))
    }

    /// How many seconds it takes to read everything.
    async fn consume(&self, client: &Client, topic: &str, records: u64) -> Result<f64, Failure> {
        let config = ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            ..ConsumerConfig::default()
        };
        let mut consumer = Consumer::new(client.clone(), config);
        consumer.assign((0..self.partitions).map(|index| TopicPartition::new(topic, index)));
        let mut told = Told::new("read");
        let began = Instant::now();
        let mut read = 0;
        while read < records {
            let fetched = consumer.poll(client.config().deadline).await?;
            let Some(fetched) = fetched else {
                let text = format!("{read} of {records} records came back, and then no more");
                return Err(Failure::other(text));
            };
            read += fetched.records.len() as u64;
            told.progress(read)?;
        }
        Ok(began.elapsed().as_secs_f64().max(f64::EPSILON))
    }
}

/// Tells every second how it goes.
struct Told {
    what: &'static str,
    at: Instant,
    count: u64,
    looked: u64,
}

impl Told {
    fn new(what: &'static str) -> Self {
        Told {
            what,
            at: Instant::now(),
            count: 0,
            looked: 0,
        }
    }

    fn progress(&mut self, count: u64) -> Result<(), Failure> {
        // A clock is not free.
        if count < self.looked + 64 {
            return Ok(());
        }
        self.looked = count;
        let passed = self.at.elapsed();
        if passed < Duration::from_secs(1) {
            return Ok(());
        }
        let rate = (count - self.count) as f64 / passed.as_secs_f64();
        let mut err = std::io::stderr();
        if err.is_terminal() {
            write!(err, "\r{} {rate:.0} records/s   ", self.what)?;
        } else {
            writeln!(err, "{} {rate:.0} records/s", self.what)?;
        }
        self.at = Instant::now();
        self.count = count;
        Ok(())
    }
}
