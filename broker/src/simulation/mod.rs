//! Whole nodes on a disk in memory, behind a network in memory, in virtual time and on one thread:
//! what goes in is a seed, and the same seed takes the same steps.

pub(crate) mod client;
pub(crate) mod network;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reka_storage::fs::Disk;
use reka_storage::fs::sim::{Choice, Seeded, SimDisk};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Config;
use crate::background::Background;
use crate::clock::Clock;
use crate::config::Sources;
use crate::coordinator::tasks;
use crate::group::coordinators::GroupCoordinator;
use crate::loggers::{Level, Loggers};
use crate::net::limits::ConnectionLimits;
use crate::net::shard::{self, Arrival};
use crate::net::socket::Accepted;
use crate::node::{self, Assembled, Entrances, Listener, Services};
use crate::seams::{Blocking, Chance, Seams};
use crate::txn::coordinators::TransactionCoordinator;

use client::Client;
use network::Network;

mod tests;
mod transactions;

/// When the first boot is, in milliseconds since 1970.
const BEGAN_MS: i64 = 1_700_000_000_000;
/// Connections on their way to the node.
const ARRIVALS_MAX: usize = 16;

/// Numbers that follow from a seed; clones go on with the same ones.
#[derive(Clone, Debug)]
pub struct Generator(Arc<Mutex<Seeded>>);

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        Generator(Arc::new(Mutex::new(Seeded(seed))))
    }

    /// A number below `below`.
    pub(crate) fn below(&self, below: u64) -> u64 {
        let mut seeded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seeded.pick(below)
    }

    pub(crate) fn uuid(&self) -> Uuid {
        let half = || u128::from(self.below(u64::MAX));
        let bytes = (half() << 64 | half()).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// A machine: it goes through several boots, and keeps what is on its disk.
pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    pub(crate) generator: Generator,
    pub(crate) network: Network,
    overrides: Vec<String>,
    /// The virtual time of all boots so far.
    lived: Duration,
}

impl Machine {
    /// One that was never booted.
    pub(crate) fn new(seed: u64, overrides: &[&str]) -> Machine {
        let generator = Generator::new(seed);
        Machine {
            disk: SimDisk::new(),
            network: Network::new(generator.clone()),
            generator,
            overrides: overrides.iter().map(ToString::to_string).collect(),
            lived: Duration::ZERO,
        }
    }

    /// Boots a node and lives with it in virtual time until `life` is over. Then the node is gone,
    /// without a word; what the disk keeps of it is up to the caller.
    pub(crate) fn live<T>(&mut self, life: impl AsyncFnOnce(&Rc<SimulatedNode>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let lived = self.lived;
        let (outcome, lived) = LocalSet::new().block_on(&runtime, async {
            let began = Instant::now();
            self.network.began(began, lived);
            let node = Rc::new(self.boot(began).await);
            let outcome = life(&node).await;
            (outcome, lived + began.elapsed())
        });
        self.lived = lived;
        outcome
    }

    async fn boot(&self, began: Instant) -> SimulatedNode {
        let began_ms = BEGAN_MS + self.lived.as_millis() as i64;
        self.disk.set_time_ms(began_ms);
        let seams = Seams {
            disk: Disk::new(self.disk.clone()),
            clock: Clock::Virtual { began_ms, began },
            chance: Chance::Seeded(self.generator.clone()),
            blocking: Blocking::Inline,
        };
        let fixed = [
            "log.dirs=/data",
            "reka.http.listener=",
            // Logs are opened one after the other.
            "num.recovery.threads.per.data.dir=1",
        ];
        let fixed = fixed.iter().map(ToString::to_string);
        let sources = Sources {
            overrides: fixed.chain(self.overrides.iter().cloned()).collect(),
            ..Sources::default()
        };
        let config = Config::load(&sources).expect("a good configuration").config;
        let loggers = Loggers::new(Level::Warn, &[], Box::new(|_| {}));
        let listener = Arc::new(Listener {
            name: "PLAINTEXT".to_owned(),
            bound: SocketAddr::from(([10, 0, 0, 1], 9092)),
            advertised: None,
        });
        let entrances = Entrances {
            broker: vec![(listener.clone(), ())],
            http: None,
        };
        let assembled = node::assemble(config, loggers, seams, |_| Ok(entrances)).await;
        let Assembled {
            services, follower, ..
        } = assembled.expect("a node that starts");
        let (stop, stopped) = watch::channel(false);
        let background = Background::start(&Handle::current(), &services, follower);
        let groups = tasks::follow::<GroupCoordinator>(services.clone(), stopped.clone());
        tokio::task::spawn_local(groups);
        let transactions =
            tasks::follow::<TransactionCoordinator>(services.clone(), stopped.clone());
        tokio::task::spawn_local(transactions);
        let (door, arrivals) = mpsc::channel(ARRIVALS_MAX);
        tokio::task::spawn_local(shard::serve(services.clone(), arrivals, stopped));
        SimulatedNode {
            services,
            network: self.network.clone(),
            listener,
            door,
            limits: ConnectionLimits::default(),
            _stop: stop,
            _background: background,
        }
    }
}

/// A node that runs.
pub(crate) struct SimulatedNode {
    pub(crate) services: Arc<Services>,
    network: Network,
    listener: Arc<Listener>,
    door: mpsc::Sender<Arrival>,
    limits: ConnectionLimits,
    _stop: watch::Sender<bool>,
    _background: Background,
}

impl SimulatedNode {
    /// Connects a client.
    pub(crate) async fn connect(&self) -> Client {
        let (ours, theirs) = self.network.connection();
        let peer = SocketAddr::from(([10, 0, 0, 2], 50_000));
        let config = self.services.config();
        let slot = self.limits.take(peer.ip(), &config.socket);
        let arrival = Arrival {
            socket: Accepted::Simulated(theirs, self.listener.bound),
            peer,
            listener: self.listener.clone(),
            slot: slot.expect("few connections"),
        };
        let given = self.door.send(arrival).await;
        given.expect("a shard that serves");
        Client::new(ours)
    }
}
