//! A proxy between client and broker that cuts connections in the middle of answers, delays them and
//! flips bits in them; and what must hold whatever it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reka_client::admin::NewTopic;
use reka_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, OffsetReset, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Server, create};

const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to answers on their way back. Chances are in thousandths per piece of them.
#[derive(Debug, Default)]
struct Faults {
    /// A piece is cut off somewhere in it, and the connection ends.
    cut: AtomicU64,
    /// A piece waits.
    delay: AtomicU64,
    /// A bit of a piece is another.
    flip: AtomicU64,
    /// How many pieces were touched.
    done: AtomicU64,
    random: AtomicU64,
}

impl Faults {
    /// SplitMix64, shared: which connection draws which number depends on the machine.
    fn draw(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.random.fetch_add(step, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn hits(&self, chance: &AtomicU64) -> bool {
        let hit = self.draw() % 1000 < chance.load(Ordering::Relaxed);
        self.done.fetch_add(u64::from(hit), Ordering::Relaxed);
        hit
    }
}

/// Passes everything on to `broker`, whose answers suffer.
fn proxy(listener: TcpListener, broker: String, faults: Arc<Faults>) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (broker, faults) = (broker.clone(), faults.clone());
            tokio::spawn(async move {
                if let Ok(server) = TcpStream::connect(broker).await {
                    carry(client, server, &faults).await;
                }
            });
        }
    });
}

async fn carry(mut client: TcpStream, mut server: TcpStream, faults: &Faults) {
    let (mut asked, mut answering) = client.split();
    let (mut answers, mut asking) = server.split();
    let requests = tokio::io::copy(&mut asked, &mut asking);
    let answers = async {
        let mut piece = vec![0; 4096];
        loop {
            let Ok(length @ 1..) = answers.read(&mut piece).await else {
                return;
            };
            let at = faults.draw() as usize % length;
            if faults.hits(&faults.delay) {
                tokio::time::sleep(Duration::from_millis(faults.draw() % 20)).await;
            }
            if faults.hits(&faults.flip) {
                piece[at] ^= 1 << (faults.draw() % 8);
            }
            let cut = faults.hits(&faults.cut);
            let whole = if cut { at } else { length };
            if answering.write_all(&piece[..whole]).await.is_err() || cut {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = answers => {}
    }
}

/// A broker behind the proxy, a client that knows only the proxy, and a topic of two partitions.
async fn behind_proxy(seed: u64) -> (Server, Client, Arc<Faults>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = Server::start_ours_as(&address);
    let faults = Arc::new(Faults::default());
    faults.random.store(seed, Ordering::Relaxed);
    proxy(listener, server.address().to_owned(), faults.clone());
    let mut config = ClientConfig::new(address.parse().expect("an address"));
    config.request_timeout = Duration::from_secs(2);
    config.backoff.first = Duration::from_millis(5);
    config.backoff.max = Duration::from_millis(50);
    let client = Client::new(config);
    let new = [NewTopic::new("proxied").partitions(2)];
    create(&client, &new).await;
    (server, client, faults)
}

/// Every value of both partitions, in order.
async fn everything(client: &Client, count: usize) -> [Vec<i32>; 2] {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        partition_bytes_max: 5000,
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    consumer.assign([0, 1].map(|partition| TopicPartition::new("proxied", partition)));
    let mut found = [Vec::new(), Vec::new()];
    while found.iter().map(Vec::len).sum::<usize>() < count {
        let fetched = consumer.poll(PATIENCE).await.expect("no error that lasts");
        let fetched = fetched.expect("as many as were delivered");
        let values = &mut found[fetched.partition.partition as usize];
        for record in fetched.records {
            let value = record.value.expect("a value");
            values.push(String::from_utf8_lossy(&value).parse().expect("a number"));
        }
    }
    // Anything that is there twice would come now.
    let more = consumer.poll(Duration::from_millis(300)).await;
    assert!(
        more.expect("no error that lasts").is_none(),
        "more than was sent"
    );
    found
}

async fn produce(client: &Client, numbers: std::ops::Range<i32>) {
    let config = ProducerConfig {
        batch_bytes_max: 500,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client.clone(), config).expect("a producer");
    let mut deliveries = Vec::new();
    for number in numbers {
        let record = ProducerRecord::new("proxied")
            .partition(number % 2)
            .value(number.to_string());
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    for delivery in deliveries {
        delivery.wait().await.expect("delivered in the end");
    }
}

/// An answer that is cut off leaves open whether the batch was appended. It is sent again, and the
/// broker tells it from a new one: what is there is what was sent, once and in order.
#[tokio::test]
async fn answers_that_are_cut_and_late_lose_nothing_and_double_nothing() {
    for seed in 1..=3 {
        let (_server, client, faults) = behind_proxy(seed).await;
        faults.cut.store(300, Ordering::Relaxed);
        faults.delay.store(200, Ordering::Relaxed);
        let mut count = 0;
        // Until the proxy has done its worst: how many answers share a piece is the machine's affair.
        while faults.done.load(Ordering::Relaxed) < 25 {
            assert!(count < 50_000, "the proxy does nothing");
            produce(&client, count..count + 500).await;
            count += 500;
        }
        let found = everything(&client, count as usize).await;
        for (parity, values) in (0..).zip(found) {
            let expected: Vec<i32> = (0..count).filter(|n| n % 2 == parity).collect();
            assert_eq!(values, expected, "seed {seed}");
        }
    }
}

/// Bits that are flipped end as errors, or go unnoticed where nothing protects them; they never make
/// the client hang, and never let a wrong record through.
#[tokio::test]
async fn flipped_bits_let_no_wrong_record_through() {
    let (_server, client, faults) = behind_proxy(9).await;
    produce(&client, 0..400).await;
    faults.flip.store(300, Ordering::Relaxed);
    let began = std::time::Instant::now();
    let mut read = 0;
    while faults.done.load(Ordering::Relaxed) < 25 {
        assert!(began.elapsed() < 2 * PATIENCE, "{read} read, then nothing");
        let config = ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            partition_bytes_max: 600,
            ..ConsumerConfig::default()
        };
        let mut consumer = Consumer::new(client.clone(), config);
        consumer.assign([TopicPartition::new("proxied", 0)]);
        while let Ok(Some(fetched)) = consumer.poll(Duration::from_millis(200)).await {
            for record in fetched.records {
                read += 1;
                let value = record.value.expect("a value");
                let number: i64 = String::from_utf8_lossy(&value).parse().expect("a number");
                assert!((0..400).contains(&number) && number % 2 == 0, "{number}");
            }
        }
    }
    faults.flip.store(0, Ordering::Relaxed);
    assert_eq!(
        everything(&client, 400).await[0].len(),
        200,
        "it reads on when the noise ends"
    );
}
