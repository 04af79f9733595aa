//! The one place where parts are built and joined, and shut down in reverse order.
//!
//! What the process starts, in order: the data directory is locked and its identity read, the
//! metadata quorum leads, this broker registers, its partitions are opened, and only then sockets
//! are bound: a client that gets in is served.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use reka_protocol::messages::TopicRef;
use reka_protocol::messages::api_versions::{FinalizedFeature, SupportedFeature};
use reka_raft::record::{
    BrokerEndpoint, FeatureLevel, FeatureRange, ProducerIds, Record, RegisterBroker,
};
use reka_raft::{MetadataImage, MetadataQuorum, ProposeError, QuorumOptions, StartError, Voter};
use reka_records::validate::Rules;
use reka_storage::fs::DiskError;
use reka_storage::health::DirOffline;
pub use reka_storage::log_dir::LogDirError;
use reka_storage::log_dirs::LogDirs;
pub use reka_storage::log_dirs::LogDirsError;
use reka_storage::{LogError, TopicPartition};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::background::Background;
use crate::beginning::Beginning;
pub use crate::beginning::BeginningError;
use crate::clock::Clock;
use crate::config::{Config, CurrentConfig, HostPort, ListenerConfig, SecurityProtocol};
use crate::coordinator::tasks::CoordinatorThread;
use crate::directories::{
    METADATA_DIR, check_unused, directories_to_register, directory_id, left_alone, metadata_dir,
    take_log_dirs, unfamiliar, with_ids,
};
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
use crate::seams::{Blocking, Chance, Seams};
use crate::txn;
use crate::txn::coordinators::TransactionCoordinator;

#[cfg(test)]
mod tests;

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
    /// Ids that nobody had before.
    pub chance: Chance,
    /// Where work is done that blocks.
    pub blocking: Blocking,
    /// The groups coordinated here.
    pub groups: Coordinators,
    /// The transactions coordinated here.
    pub transactions: txn::Coordinators,
    /// How much is told.
    pub loggers: Loggers,
    log_dirs: Arc<LogDirs>,
    /// Directories whose failure was reported.
    reported: Mutex<BTreeSet<PathBuf>>,
    /// Who is told when the node cannot go on.
    owner: Mutex<Option<mpsc::Sender<String>>>,
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
            TopicRef::Id(id) => {
                let name = self.names.get(id);
                (name.as_deref().unwrap_or_default().to_owned(), id)
            }
        }
    }

    /// A partition that is here.
    pub fn partition(&self, topic: TopicRef<'_>, index: i32) -> Option<Arc<Partition>> {
        match topic {
            TopicRef::Name(name) => self.partitions.get(name, index),
            TopicRef::Id(id) => self.partitions.get(&self.names.get(id)?, index),
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
            id: self.chance.uuid(),
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
            self.directory_of_new(),
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
            if let Some(dir) = self.log_dirs.of(&name) {
                let high_watermarks = &dir.env().high_watermarks;
                high_watermarks.set(&name, partition.high_watermark());
            }
        }
    }

    /// Directories that failed since this was asked last.
    pub(crate) fn dirs_gone_offline(&self) -> Vec<DirOffline> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let offline = self.log_dirs.offline().into_iter();
        offline
            .filter(|offline| reported.insert(offline.dir.clone()))
            .collect()
    }

    /// Who owns the node is told when it cannot go on, and why; stopping it is up to them.
    pub fn tell_owner(&self, owner: mpsc::Sender<String>) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
    }

    pub(crate) fn give_up(&self, why: &str) {
        let owner = self
            .owner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(owner) = owner {
            let _ = owner.send(why.to_owned());
        }
    }

    /// What is wrong and needs a person.
    pub fn troubles(&self) -> Vec<String> {
        let stopped = self.quorum.status().stopped;
        self.log_dirs
            .out_of_use()
            .into_iter()
            .chain(stopped.map(|why| format!("the metadata quorum stopped: {why}")))
            .chain(self.groups.troubles())
            .chain(self.transactions.troubles())
            .collect()
    }

    /// The data directory's id, for the metadata of a new partition. Of several it is chosen
    /// when the partition is opened, and until then, as in Apache Kafka, unassigned.
    pub fn directory_of_new(&self) -> Uuid {
        match (self.log_dirs.dirs(), self.log_dirs.failed()) {
            ([_], []) => self.directory_id,
            _ => Uuid::nil(),
        }
    }

    /// The data directories.
    pub fn log_dirs(&self) -> &Arc<LogDirs> {
        &self.log_dirs
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be created.
    #[error("cannot create the data directory {}: {}", .dir.display(), .source.source)]
    CreateDir {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// The data directories cannot be used.
    #[error(transparent)]
    LogDirs(#[from] LogDirsError),
    /// The one with the metadata cannot be used, or may be one that cannot.
    #[error(
        "the metadata is in none of the log directories in use, and may be in one that is not: {reason}"
    )]
    MetadataDir {
        /// Why.
        reason: String,
    },
    /// Nobody can say which metadata is that of this broker.
    #[error(
        "there is metadata in {} and in {}: find out which of them knows the topics of this broker (the \
         younger files, if a disk was away for a while), and move the other one out of the log directories",
        .first.display(), .second.display()
    )]
    MetadataTwice {
        /// One place.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// There are partitions, and no metadata that knows of them.
    #[error(transparent)]
    Beginning(#[from] BeginningError),
    /// A directory that nobody ever used stands where one is missing.
    #[error(
        "log directory {} was never used, and {missing} of this broker is in none of log.dirs: mount \
         its disk; if what was in it is lost for good, go on without it by formatting the new one \
         (reka format --ignore-formatted --cluster-id {cluster_id} --config FILE) or by leaving it \
         out of log.dirs",
        .dir.display()
    )]
    NotMounted {
        /// Which was never used.
        dir: PathBuf,
        /// What the metadata knows and nobody has.
        missing: String,
        /// The cluster it is to be formatted for.
        cluster_id: String,
    },
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
    drivers: Drivers,
    runtime: Runtime,
    listeners: Vec<Arc<Listener>>,
}

/// What drives a node, in the order of its start, as far as that came.
#[derive(Debug, Default)]
struct Drivers {
    http: Option<Http>,
    background: Option<Background>,
    groups: Option<CoordinatorThread>,
    transactions: Option<CoordinatorThread>,
    front: Option<Front>,
}

impl Node {
    /// Starts a broker of one node. It is ready when this returns.
    pub fn start(config: Config, loggers: Loggers) -> Result<Node, NodeError> {
        Node::start_behind(config, loggers, bind_entrances)
    }

    fn start_behind(
        config: Config,
        loggers: Loggers,
        enter: impl FnOnce(&Config) -> Result<Entrances<TcpListener>, NodeError>,
    ) -> Result<Node, NodeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(BACKGROUND_THREADS)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(NodeError::Threads)?;
        let assembled = assemble(config, loggers, Seams::real(), enter);
        let Assembled {
            services,
            follower,
            entrances,
        } = runtime.block_on(assembled)?;
        let listeners = entrances.broker.iter();
        let listeners = listeners.map(|(listener, _)| listener.clone()).collect();
        let mut node = Node {
            services,
            drivers: Drivers::default(),
            runtime,
            listeners,
        };
        match node.drive(follower, entrances) {
            Ok(()) => Ok(node),
            Err(refused) => {
                // Its logs are open: without this, the next start would take what was stopped cleanly
                // before for what a crash left.
                if let Err(error) = node.stop() {
                    tracing::error!("the start that failed was not undone cleanly: {error}");
                }
                Err(NodeError::Threads(refused))
            }
        }
    }

    fn drive(
        &mut self,
        follower: Follower,
        entrances: Entrances<TcpListener>,
    ) -> std::io::Result<()> {
        let Node {
            services,
            drivers,
            runtime,
            ..
        } = self;
        if let Some(socket) = entrances.http {
            drivers.http = Some(Http::start(runtime, socket, services.clone())?);
        }
        drivers.background = Some(Background::start(runtime.handle(), services, follower));
        let groups = CoordinatorThread::start::<GroupCoordinator>(services.clone());
        drivers.groups = Some(groups?);
        let transactions = CoordinatorThread::start::<TransactionCoordinator>(services.clone());
        drivers.transactions = Some(transactions?);
        drivers.front = Some(serve(services, entrances.broker)?);
        Ok(())
    }

    /// Where clients come in.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Where metrics and health are served.
    pub fn http(&self) -> Option<SocketAddr> {
        self.drivers.http.as_ref().map(|http| http.address)
    }

    /// What connections reach; for the executable's banner and for tests.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Stops accepting, answers what is under way, leaves everything on disk as a clean stop does.
    pub fn stop(self) -> Result<(), LogError> {
        let Node {
            services,
            drivers,
            runtime,
            listeners: _,
        } = self;
        if let Some(front) = drivers.front {
            front.stop();
        }
        if let Some(http) = drivers.http {
            http.stop();
        }
        // Transactions end among groups.
        let coordinators = drivers.transactions.into_iter().chain(drivers.groups);
        coordinators.for_each(CoordinatorThread::stop);
        if let Some(background) = drivers.background {
            runtime.block_on(background.stop());
        }
        let marked = close_logs(&services);
        runtime.block_on(services.quorum.shutdown());
        runtime.shutdown_timeout(Duration::from_secs(1));
        marked
    }
}

/// Leaves everything on disk as a clean stop does.
fn close_logs(services: &Services) -> Result<(), LogError> {
    services.note_high_watermarks();
    let partitions = services.partitions.all();
    let mut guards: Vec<_> = partitions.iter().map(|partition| partition.log()).collect();
    let mut logs: Vec<_> = guards.iter_mut().map(|log| &mut **log).collect();
    services.log_dirs.stop(&mut logs, services.broker_epoch)
}

/// Where a node is entered: sockets, or what stands for them.
pub(crate) struct Entrances<S> {
    /// By clients.
    pub(crate) broker: Vec<(Arc<Listener>, S)>,
    /// By whoever watches it.
    pub(crate) http: Option<S>,
}

/// A broker but for what drives it: its threads, or a simulation.
pub(crate) struct Assembled<S> {
    pub(crate) services: Arc<Services>,
    pub(crate) follower: Follower,
    pub(crate) entrances: Entrances<S>,
}

/// Builds a broker and joins its parts. Its partitions are open and it is known to the metadata
/// when this returns; nothing runs yet.
pub(crate) async fn assemble<S>(
    config: Config,
    loggers: Loggers,
    seams: Seams,
    enter: impl FnOnce(&Config) -> Result<Entrances<S>, NodeError>,
) -> Result<Assembled<S>, NodeError> {
    served_by_one_node(&config)?;
    let Seams {
        disk,
        clock,
        chance,
        blocking,
    } = seams;
    let mut log_dirs = take_log_dirs(&disk, &chance, &config)?;
    for failed in log_dirs.failed() {
        tracing::error!("its partitions are not served: {}", failed.reason);
    }
    for remark in log_dirs.remarks() {
        tracing::warn!("{remark}");
    }
    let metadata_dir = metadata_dir(&log_dirs, &config)?.clone();
    let beginning = Beginning::of(&log_dirs, &metadata_dir)?;
    let dir = metadata_dir.path();
    let cluster_id = metadata_dir.identity().cluster_id.clone();
    let directory_id = directory_id(&metadata_dir);
    let entrances = enter(&config)?;
    let listeners: Vec<_> = entrances
        .broker
        .iter()
        .map(|(listener, _)| listener.clone())
        .collect();
    let voter = Voter {
        kafka_id: config.node.id,
        directory_id,
        endpoints: Vec::new(),
    };
    let options = QuorumOptions {
        writer: blocking.writer(),
        ..QuorumOptions::single(disk, dir.join(METADATA_DIR), cluster_id.clone(), voter)
    };
    let quorum = MetadataQuorum::start(options).await?;
    let image = quorum.image();
    let registered = image.brokers().get(config.node.id);
    let known = registered.map_or(&[][..], |known| &known.registration.directories);
    let is_known = registered.is_some();
    let belongs = check_unused(&log_dirs, known, &cluster_id);
    if let Err(refused) = belongs.and_then(|()| Ok(beginning.check(is_known)?)) {
        quorum.shutdown().await;
        return Err(refused);
    }
    log_dirs.take_unused()?;
    let log_dirs = Arc::new(log_dirs);
    let directories = with_ids(&log_dirs);
    if is_known {
        for remark in unfamiliar(known, &directories) {
            tracing::warn!("{remark}");
        }
    }
    let ids = directories_to_register(&log_dirs, known);
    let registration = registration(&config, chance.uuid(), ids, &listeners);
    let broker_epoch = register(&quorum, registration).await?;
    for line in features::behind(&quorum.image()) {
        tracing::info!("{line}");
    }

    let memory = config
        .socket
        .queued_request_bytes_max
        .unwrap_or_else(quarter_of_memory);
    let memory = Budget::new(
        usize::try_from(memory).unwrap_or(usize::MAX),
        config.socket.request_max_bytes,
    );
    let broker_id = config.node.id;
    let fetch_sessions_max = config.requests.fetch_sessions_max;
    let config = Arc::new(CurrentConfig::new(config));
    let partitions = Arc::new(PartitionTable::default());
    let names = Arc::new(TopicNames::default());
    let (mut follower, followed) = Follower::new(
        broker_id,
        config.clone(),
        log_dirs.clone(),
        partitions.clone(),
        names.clone(),
        clock,
    );
    follower.follow(&quorum.image());
    for remark in left_alone(&log_dirs, quorum.image().topics()) {
        tracing::warn!("{remark}");
    }
    let services = Arc::new(Services {
        memory,
        broker_id,
        config,
        cluster_id,
        partitions,
        metrics: Metrics::new()?,
        fetch_sessions: FetchSessions::new(fetch_sessions_max),
        clock,
        chance,
        blocking,
        groups: Coordinators::default(),
        transactions: txn::Coordinators::default(),
        loggers,
        log_dirs,
        reported: Mutex::default(),
        owner: Mutex::default(),
        names,
        broker_epoch,
        directory_id,
        producer_ids: tokio::sync::Mutex::new(0..0),
        controller: Controller::new(quorum.clone(), followed),
        quorum,
    });
    if let Err(refused) = services.metrics.watch(&services) {
        if let Err(error) = close_logs(&services) {
            tracing::error!("the start that failed was not undone cleanly: {error}");
        }
        services.quorum.shutdown().await;
        return Err(refused.into());
    }
    Ok(Assembled {
        services,
        follower,
        entrances,
    })
}

/// Binds what the configuration names.
fn bind_entrances(config: &Config) -> Result<Entrances<TcpListener>, NodeError> {
    let listeners = config.listeners.broker.iter();
    let broker = listeners.map(open_listener).collect::<Result<_, _>>()?;
    let http = match &config.http {
        Some(HostPort { host, port }) => Some(bind(host, *port)?),
        None => None,
    };
    Ok(Entrances { broker, http })
}

fn serve(
    services: &Arc<Services>,
    sockets: Vec<(Arc<Listener>, TcpListener)>,
) -> std::io::Result<Front> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = services.config().node.shards.unwrap_or_else(cores);
    Front::start(services, sockets, shards)
}

/// What this release cannot be yet is refused by name.
fn served_by_one_node(config: &Config) -> Result<(), NodeError> {
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
    Ok(())
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

fn registration(
    config: &Config,
    incarnation: Uuid,
    directories: Vec<Uuid>,
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
        incarnation,
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
        directories,
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
