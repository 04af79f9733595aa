//! How many records a second a producer writes and a consumer reads: `throughput BOOTSTRAP COUNT [BYTES]`.
//!
//! Writes into a topic of its own with acks=all and idempotence, as Kafka's clients do unless told
//! otherwise, reads it from its start, and deletes it. Compare with librdkafka's `rdkafka_performance`
//! on the same machine against the same broker: `-P -t TOPIC -s BYTES -c COUNT -a all`, and
//! `-C -t TOPIC -p 0 -o beginning -c COUNT`.

use std::time::Duration;

use reka_client::admin::NewTopic;
use reka_client::{
    Client, ClientConfig, ClientError, Consumer, ConsumerConfig, OffsetReset, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use tokio::time::Instant;

const USAGE: &str = "throughput BOOTSTRAP COUNT [BYTES]";
/// Records that are read in vain for are not waited for for longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bootstrap = args.next().ok_or(USAGE)?;
    let count: u64 = args.next().ok_or(USAGE)?.parse()?;
    let bytes: usize = args.next().map_or(Ok(100), |bytes| bytes.parse())?;
    // As rkctl has it: one thread does everything.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = Client::new(ClientConfig::new(bootstrap.parse()?));
    runtime.block_on(async {
        let topic = format!("throughput-{}", uuid::Uuid::new_v4());
        let new = NewTopic::new(&topic).partitions(1);
        for (_, created) in client.create_topics(&[new], false).await? {
            created?;
        }
        let done = measure(&client, &topic, count, bytes).await;
        for (_, deleted) in client.delete_topics(&[topic]).await? {
            deleted?;
        }
        Ok(done?)
    })
}

async fn measure(
    client: &Client,
    topic: &str,
    count: u64,
    bytes: usize,
) -> Result<(), ClientError> {
    let config = ProducerConfig {
        linger: Duration::from_millis(5),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config)?;
    let value = bytes::Bytes::from(vec![b'x'; bytes]);
    let began = Instant::now();
    let mut deliveries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let record = ProducerRecord::new(topic).partition(0).value(value.clone());
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        delivery.wait().await?;
    }
    told("produced", count, bytes, began.elapsed());

    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign([TopicPartition::new(topic, 0)]);
    let began = Instant::now();
    let mut read = 0;
    while read < count {
        let Some(fetched) = consumer.poll(PATIENCE).await? else {
            break;
        };
        read += fetched.records.len() as u64;
    }
    told("consumed", read, bytes, began.elapsed());
    Ok(())
}

fn told(what: &str, count: u64, bytes: usize, time: Duration) {
    let rate = count as f64 / time.as_secs_f64();
    println!(
        "{what} {count} records of {bytes} bytes: {rate:.0} records/s, {:.1} MB/s",
        rate * bytes as f64 / 1e6
    );
}
