//! The one place where parts are built and joined, and shut down in reverse order.
//!
//! What the process starts, in order: the data directory is locked and its identity read, the
//! metadata quorum leads, this broker registers, its partitions are opened, and only then sockets
//! are bound: a client that gets in is served.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reka_protocol::messages::TopicRef;
use reka_protocol::messages::api_versions::{FinalizedFeature, SupportedFeature};
use reka_raft::record::{
    BrokerEndpoint, FeatureLevel, FeatureRange, ProducerIds, Record, RegisterBroker,
};
use reka_raft::{MetadataImage, MetadataQuorum, ProposeError, QuorumOptions, StartError, Voter};
use reka_records::validate::Rules;
use reka_storage::fs::Disk;
use reka_storage::log_dir::Identity;
pub use reka_storage::log_dir::LogDirError;
use reka_storage::map_budget::{MAPS_MAX, MapBudget};
use reka_storage::{LogDir, LogError, TopicPartition};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::background::Background;
use crate::clock::Clock;
use crate::config::{Config, CurrentConfig, HostPort, ListenerConfig, SecurityProtocol};
use crate::coordinator::tasks::CoordinatorThread;
use crate::fetch_session::FetchSessions;
use crate::group::Coordinators;
use crate::group::coordinators::GroupCoordinator;
use crate::http::Http;
use crate::loggers::Loggers;
use crate::metadata::features;
use crate::metadata::follow::{Follower, TopicNames};
use crate::metadata::topics::{self, NewTopic};
use crate::metadata::{ChangeError, Controller, Draft, Refusal};
use crate::metrics::Metrics;
use crate::net::budget::Budget;
use crate::net::listener::{BindError, Front, bind};
use crate::partition::Partition;
use crate::partition::table::PartitionTable;
use crate::txn;
use crate::txn::coordinators::TransactionCoordinator;

/// Where the quorum keeps its files, inside the data directory.
const METADATA_DIR: &str = "reka-metadata";
/// Producer ids are taken from the quorum in blocks of this size.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// What a listener without a host is bound to.
const EVERY_ADDRESS: &str = "0.0.0.0";
/// What the process does by the clock runs on this many threads.
const BACKGROUND_THREADS: usize = 2;

/// Where clients come in.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// What it is bound to.
    pub bound: SocketAddr,
    /// What clients are told; `None` is the address they connected to.
    pub advertised: Option<HostPort>,
}

/// What every connection can reach.
#[derive(Debug)]
pub struct Services {
    config: Arc<CurrentConfig>,
    /// The cluster's id.
    pub cluster_id: String,
    /// This broker's id.
    pub broker_id: i32,
    /// The metadata.
    pub quorum: MetadataQuorum,
    /// Changes of the metadata.
    pub controller: Controller,
    /// The partitions here.
    pub partitions: Arc<PartitionTable>,
    /// Memory of requests in flight.
    pub memory: Budget,
    /// What is counted.
    pub metrics: Metrics,
    /// What clients fetch again and again.
    pub fetch_sessions: FetchSessions,
    /// The clock.
    pub clock: Clock,
    /// The groups coordinated here.
    pub groups: Coordinators,
    /// The transactions coordinated here.
    pub transactions: txn::Coordinators,
    /// How much is told.
    pub loggers: Loggers,
    log_dir: Arc<LogDir>,
    names: Arc<TopicNames>,
    broker_epoch: i64,
    directory_id: Uuid,
    producer_ids: tokio::sync::Mutex<std::ops::Range<i64>>,
}

/// Feature levels to be told to clients.
#[derive(Debug)]
pub struct Features {
    /// Grows with each change.
    pub epoch: i64,
    levels: Vec<(String, i16)>,
}

impl Features {
    /// What this release can do.
    pub fn supported(&self) -> &'static [SupportedFeature<'static>] {
        features::SUPPORTED
    }

    /// What the cluster has agreed on.
    pub fn finalized(&self) -> Vec<FinalizedFeature<'_>> {
        self.levels
            .iter()
            .map(|(name, level)| FinalizedFeature {
                name,
                level: *level,
            })
            .collect()
    }
}

impl Services {
    /// The features in force.
    pub fn features(&self) -> Features {
        let image = self.quorum.image();
        Features {
            epoch: image.features().epoch() as i64,
            levels: image
                .features()
                .iter()
                .map(|(name, level)| (name.to_owned(), level))
                .collect(),
        }
    }

    /// Name and id as far as a request gives them: by name without the id, by id with the name,
    /// which is empty when no topic has the id.
    pub fn name_topic(&self, topic: TopicRef<'_>) -> (String, Uuid) {
        match topic {
            TopicRef::Name(name) => (name.to_owned(), Uuid::nil()),
            TopicRef::Id(id) => (self.names.get(id).unwrap_or_default(), id),
        }
    }

    /// What a partition asks of a batch.
    pub fn rules_of(&self, partition: &Partition, now_ms: i64) -> Rules {
        partition.settings().to_rules(now_ms)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Creates a topic as nobody asked for anything particular.
    pub async fn create_topic_by_default(&self, name: &str) -> Result<(Uuid, i32), ChangeError> {
        let topic = NewTopic {
            name: name.to_owned(),
            id: Uuid::new_v4(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        self.create_topic(topic, false).await
    }

    /// Creates a topic, or only says whether it could; its id and number of partitions once it can
    /// be used.
    pub async fn create_topic(
        &self,
        topic: NewTopic,
        validate_only: bool,
    ) -> Result<(Uuid, i32), ChangeError> {
        let created = self
            .controller
            .change(validate_only, |draft| self.draft_topic(draft, &topic))
            .await?;
        Ok(created)
    }

    /// Drafts the creation of a topic; its id and number of partitions.
    pub fn draft_topic(&self, draft: &mut Draft, topic: &NewTopic) -> Result<(Uuid, i32), Refusal> {
        let records = topics::create(
            draft.image(),
            topic,
            self.broker_id,
            self.directory_id,
            &self.config().topics,
        )?;
        let partitions = records
            .iter()
            .filter(|record| matches!(record, Record::Partition(_)))
            .count();
        draft.add(records)?;
        Ok((topic.id, partitions as i32))
    }

    /// A producer id that was never handed out before.
    pub async fn next_producer_id(&self) -> Result<i64, ProposeError> {
        let mut block = self.producer_ids.lock().await;
        if block.is_empty() {
            let first = self.quorum.image().producer_ids().next();
            let next_producer_id = first + PRODUCER_ID_BLOCK;
            let record = ProducerIds {
                broker_id: self.broker_id,
                broker_epoch: self.broker_epoch,
                next_producer_id,
            };
            self.quorum
                .propose(vec![Record::ProducerIds(record)])
                .await?;
            *block = first..next_producer_id;
        }
        Ok(block.next().unwrap_or_default())
    }

    /// Hands the high watermarks to the checkpoint that is stored next.
    pub fn note_high_watermarks(&self) {
        for partition in self.partitions.all() {
            let name = TopicPartition::new(partition.topic.clone(), partition.index);
            self.log_dir
                .env()
                .high_watermarks
                .set(&name, partition.high_watermark());
        }
    }

    /// What is wrong and needs a person.
    pub fn troubles(&self) -> Vec<String> {
        let offline = self.log_dir.env().health.check().err();
        let stopped = self.quorum.status().stopped;
        offline
            .map(|offline| offline.to_string())
            .into_iter()
            .chain(stopped.map(|why| format!("the metadata quorum stopped: {why}")))
            .collect()
    }

    /// The data directory's id.
    pub fn directory_id(&self) -> Uuid {
        self.directory_id
    }

    /// The data directory.
    pub fn log_dir(&self) -> &Arc<LogDir> {
        &self.log_dir
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be created.
    #[error("cannot create the data directory {}: {source}", .dir.display())]
    CreateDir {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// The metadata quorum did not start.
    #[error(transparent)]
    Quorum(#[from] StartError),
    /// The metadata quorum did not take this broker's registration.
    #[error("the metadata quorum did not take this broker's registration: {0}")]
    Register(#[from] ProposeError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The configuration asks for something this release has not learnt.
    #[error("not supported yet: {what}")]
    NotYet {
        /// What was asked for.
        what: String,
    },
    /// Metrics cannot be counted.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct Node {
    services: Arc<Services>,
    front: Front,
    http: Option<Http>,
    background: Background,
    /// In the order they are stopped: transactions end among groups.
    coordinators: [CoordinatorThread; 2],
    runtime: Runtime,
    listeners: Vec<Arc<Listener>>,
}

impl Node {
    /// Starts a broker of one node. It is ready when this returns.
    pub fn start(config: Config, loggers: Loggers) -> Result<Node, NodeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(BACKGROUND_THREADS)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(NodeError::Threads)?;
        let dir = served_by_one_node(&config)?.clone();
        std::fs::create_dir_all(&dir).map_err(|source| NodeError::CreateDir {
            dir: dir.clone(),
            source,
        })?;
        let disk = Disk::real();
        let log_dir = Arc::new(take_log_dir(&disk, &dir, &config)?);
        let cluster_id = log_dir.identity().cluster_id.clone();
        let directory_id = directory_id(&log_dir);
        let mut sockets = Vec::new();
        for listener in &config.listeners.broker {
            sockets.push(open_listener(listener)?);
        }
        let listeners: Vec<_> = sockets
            .iter()
            .map(|(listener, _)| listener.clone())
            .collect();

        let http_socket = match &config.http {
            Some(HostPort { host, port }) => Some(bind(host, *port)?),
            None => None,
        };
        let voter = Voter {
            kafka_id: config.node.id,
            directory_id,
            endpoints: Vec::new(),
        };
        let options =
            QuorumOptions::single(disk, dir.join(METADATA_DIR), cluster_id.clone(), voter);
        let quorum = runtime.block_on(MetadataQuorum::start(options))?;
        let registration = registration(&config, directory_id, &listeners);
        let broker_epoch = runtime.block_on(register(&quorum, registration))?;

        let memory = config
            .socket
            .queued_request_bytes_max
            .unwrap_or_else(quarter_of_memory);
        let broker_id = config.node.id;
        let fetch_sessions_max = config.requests.fetch_sessions_max;
        let config = Arc::new(CurrentConfig::new(config));
        let partitions = Arc::new(PartitionTable::default());
        let names = Arc::new(TopicNames::default());
        let clock = Clock;
        let (mut follower, followed) = Follower::new(
            broker_id,
            config.clone(),
            log_dir.clone(),
            partitions.clone(),
            names.clone(),
            clock,
        );
        follower.follow(&quorum.image());
        let services = Arc::new(Services {
            memory: Budget::new(usize::try_from(memory).unwrap_or(usize::MAX)),
            broker_id,
            config,
            cluster_id,
            partitions,
            metrics: Metrics::new()?,
            fetch_sessions: FetchSessions::new(fetch_sessions_max),
            clock,
            groups: Coordinators::default(),
            transactions: txn::Coordinators::default(),
            loggers,
            log_dir,
            names,
            broker_epoch,
            directory_id,
            producer_ids: tokio::sync::Mutex::new(0..0),
            controller: Controller::new(quorum.clone(), followed),
            quorum,
        });
        services.metrics.watch(&services)?;
        let http = http_socket
            .map(|socket| Http::start(&runtime, socket, services.clone()))
            .transpose()
            .map_err(NodeError::Threads)?;
        let background = Background::start(&runtime, &services, follower);
        let groups = CoordinatorThread::start::<GroupCoordinator>(services.clone())
            .map_err(NodeError::Threads)?;
        let transactions = CoordinatorThread::start::<TransactionCoordinator>(services.clone())
            .map_err(NodeError::Threads)?;
        let coordinators = [transactions, groups];
        let front = serve(&services, sockets)?;
        Ok(Node {
            services,
            front,
            http,
            background,
            coordinators,
            runtime,
            listeners,
        })
    }

    /// Where clients come in.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Where metrics and health are served.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// What connections reach; for the executable's banner and for tests.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Stops accepting, ends what is under way, leaves everything on disk as a clean stop does.
    pub fn stop(self) -> Result<(), LogError> {
        let Node {
            services,
            front,
            http,
            background,
            coordinators,
            runtime,
            listeners: _,
        } = self;
        front.stop();
        if let Some(http) = http {
            http.stop();
        }
        coordinators.into_iter().for_each(CoordinatorThread::stop);
        background.stop(&runtime);
        services.note_high_watermarks();
        let partitions = services.partitions.all();
        let mut guards: Vec<_> = partitions.iter().map(|partition| partition.log()).collect();
        let mut logs: Vec<_> = guards.iter_mut().map(|log| &mut **log).collect();
        let closed = services.log_dir.close_logs(&mut logs);
        drop(logs);
        drop(guards);
        let marked = closed.and_then(|()| services.log_dir.mark_clean(services.broker_epoch));
        runtime.block_on(services.quorum.shutdown());
        runtime.shutdown_timeout(Duration::from_secs(1));
        marked
    }
}

fn serve(
    services: &Arc<Services>,
    sockets: Vec<(Arc<Listener>, TcpListener)>,
) -> Result<Front, NodeError> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = services.config().node.shards.unwrap_or_else(cores);
    Front::start(services, sockets, shards).map_err(NodeError::Threads)
}

/// What this release cannot be yet is refused by name; the one data directory otherwise.
fn served_by_one_node(config: &Config) -> Result<&PathBuf, NodeError> {
    let refused = |what: String| Err(NodeError::NotYet { what });
    if !config.node.is_broker || !config.node.is_controller {
        return refused("process.roles other than broker,controller".to_owned());
    }
    if config.quorum.voters.len() > 1 {
        return refused(format!(
            "{} voters in controller.quorum.voters",
            config.quorum.voters.len()
        ));
    }
    for listener in &config.listeners.broker {
        if listener.protocol != SecurityProtocol::Plaintext {
            return refused(format!(
                "{:?} on listener {}",
                listener.protocol, listener.name
            ));
        }
    }
    match config.logs.dirs.as_slice() {
        [dir] => Ok(dir),
        dirs => refused(format!("{} directories in log.dirs", dirs.len())),
    }
}

fn open_listener(listener: &ListenerConfig) -> Result<(Arc<Listener>, TcpListener), NodeError> {
    let socket = bind(
        listener.host.as_deref().unwrap_or(EVERY_ADDRESS),
        listener.port,
    )?;
    let bound = socket.local_addr().map_err(NodeError::Threads)?;
    let listener = Listener {
        name: listener.name.clone(),
        bound,
        advertised: listener.advertised.clone(),
    };
    Ok((Arc::new(listener), socket))
}

/// `queued.max.request.bytes` when nobody says: a quarter of the memory, between 64 MiB and 512 MiB.
fn quarter_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    (total / 4).clamp(64 << 20, 512 << 20)
}

/// Locks the data directory. A new one gets the cluster id that was asked for, or a new one.
fn take_log_dir(disk: &Disk, dir: &Path, config: &Config) -> Result<LogDir, LogDirError> {
    let maps = Arc::new(MapBudget::new(MAPS_MAX));
    let known = Identity::read(disk, dir)?.map(|identity| identity.cluster_id);
    let cluster_id = match (&config.node.cluster_id, known) {
        (Some(asked), _) => asked.clone(),
        (None, Some(known)) => known,
        (None, None) => reka_storage::log_dir::random_id(),
    };
    LogDir::open(
        disk.clone(),
        dir,
        Identity {
            cluster_id,
            node_id: config.node.id,
            directory_id: None,
        },
        maps,
    )
}

/// The directory's id as sixteen bytes.
fn directory_id(log_dir: &LogDir) -> Uuid {
    log_dir
        .identity()
        .directory_uuid()
        .unwrap_or_else(Uuid::nil)
}

fn registration(
    config: &Config,
    directory_id: Uuid,
    listeners: &[Arc<Listener>],
) -> RegisterBroker {
    let endpoint = |listener: &Arc<Listener>| {
        let told = listener.advertised.clone().unwrap_or_else(|| HostPort {
            host: listener.bound.ip().to_string(),
            port: listener.bound.port(),
        });
        BrokerEndpoint {
            name: listener.name.clone(),
            host: told.host,
            port: told.port,
            security_protocol: 0,
        }
    };
    RegisterBroker {
        broker_id: config.node.id,
        incarnation: Uuid::new_v4(),
        endpoints: listeners.iter().map(endpoint).collect(),
        rack: config.node.rack.clone(),
        features: features::SUPPORTED
            .iter()
            .map(|feature| FeatureRange {
                name: feature.name.to_owned(),
                min: feature.min,
                max: feature.max,
            })
            .collect(),
        directories: vec![directory_id],
        fenced: false,
        in_controlled_shutdown: false,
    }
}

/// Registers, and finalizes the newest of everything where nothing is finalized yet: in a new
/// cluster. Later an operator decides; what was set to 0 stays so. The broker epoch.
async fn register(quorum: &MetadataQuorum, broker: RegisterBroker) -> Result<i64, ProposeError> {
    let image: Arc<MetadataImage> = quorum.image();
    let is_new = image.features().level(features::METADATA_VERSION).is_none();
    let missing = features::SUPPORTED
        .iter()
        .filter(|_| is_new)
        .map(|feature| {
            Record::FeatureLevel(FeatureLevel {
                name: feature.name.to_owned(),
                level: feature.max,
            })
        });
    let records = std::iter::once(Record::RegisterBroker(broker))
        .chain(missing)
        .collect();
    Ok(quorum.propose(records).await?.offset as i64)
}
