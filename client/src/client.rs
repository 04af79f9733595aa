//! The way a request takes: a broker is picked, a connection to it found, a version agreed on, the
//! request sent; what may go better later is tried again until the deadline.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use reka_protocol::kafka_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
};
use reka_protocol::kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::config::{Address, ClientConfig};
use crate::connection::{Connection, api};
use crate::error::{ClientError, Outcome, Refusal, judge};
use crate::metadata::{self, Broker, ClusterView, TopicInfo, TopicPartition};
use crate::negotiate;
use crate::pool::{Lane, Pool};

/// A client of one cluster. Cloning it shares connections and what is known of the cluster.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    pool: Pool,
    view: Mutex<ClusterView>,
    /// The broker that was asked last, for those who do not mind which.
    favourite: Mutex<Option<Address>>,
    /// How many members of groups there have been.
    members: AtomicU64,
}

/// Who is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whoever is there.
    Any,
    /// The broker changes of the cluster go to.
    Controller,
    /// This one.
    Broker(i32),
}

impl Client {
    /// A client. Nothing is connected until something is asked.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Client {
            shared: Arc::new(Shared {
                config,
                pool: Pool::default(),
                view: Mutex::default(),
                favourite: Mutex::default(),
                members: AtomicU64::new(0),
            }),
        }
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Tries every address once: whether the cluster can be reached right now.
    pub async fn reach(&self) -> Result<(), ClientError> {
        self.any(Lane::Control).await.map(drop)
    }

    /// Asks once, without a second attempt. `build` is called with the version agreed on, which is
    /// the highest both sides know within `versions`.
    pub async fn ask<R: Request + 'static>(
        &self,
        to: Target,
        versions: RangeInclusive<i16>,
        build: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(to, Lane::Control).await?;
        let version = agree::<R>(&connection, &versions)?;
        connection.call(version, &build(version)).await
    }

    /// Asks until there is an answer or the deadline has passed.
    pub async fn call<R: Request + 'static>(
        &self,
        to: Target,
        versions: RangeInclusive<i16>,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let mut tries = self.tries(api::<R>().name);
        loop {
            let attempt = self.ask(to, versions.clone(), &build);
            if let Some(answer) = tries.run(attempt).await? {
                return Ok(answer);
            }
        }
    }

    /// A count of attempts at something that is named by `what`, until the deadline.
    pub(crate) fn tries(&self, what: impl Into<String>) -> Tries<'_> {
        let limit = self.shared.config.deadline;
        Tries {
            client: self,
            what: what.into(),
            limit,
            end: Instant::now() + limit,
            failures: 0,
            turned_away: 0,
            last: None,
        }
    }

    /// A connection to whom it concerns.
    pub async fn connection(&self, to: Target, lane: Lane) -> Result<Connection, ClientError> {
        let broker = match to {
            Target::Any => return self.any(lane).await,
            Target::Controller => {
                if self.view().asked().is_none() {
                    self.refresh(Topics::None).await?;
                }
                let controller = self.view().controller().cloned();
                match controller {
                    Some(controller) => controller,
                    // Any broker passes on what is for the controller.
                    None => return self.any(lane).await,
                }
            }
            Target::Broker(id) => self.broker(id).await?,
        };
        let config = &self.shared.config;
        let connection = self.shared.pool.get(&broker.address, lane, config).await;
        connection.map_err(|error| {
            // Where it listens may have changed.
            self.view_mut().forget_topics();
            ClientError::Unreachable {
                attempts: vec![error],
            }
        })
    }

    async fn broker(&self, id: i32) -> Result<Broker, ClientError> {
        let known = self.view().broker(id).cloned();
        if let Some(broker) = known {
            return Ok(broker);
        }
        self.refresh(Topics::None).await?;
        let view = self.view();
        view.broker(id)
            .cloned()
            .ok_or_else(|| ClientError::UnknownBroker {
                id,
                known: view.brokers().map(|broker| broker.id).collect(),
            })
    }

    /// The broker that answered last, the others known, and the addresses to start from: a cluster
    /// all of whose brokers have moved is found again.
    async fn any(&self, lane: Lane) -> Result<Connection, ClientError> {
        let mut addresses: Vec<Address> = Vec::new();
        addresses.extend(self.favourite().clone());
        addresses.extend(self.view().brokers().map(|broker| broker.address.clone()));
        addresses.extend(self.shared.config.bootstrap.addresses().iter().cloned());
        let mut attempts = Vec::new();
        let mut tried: Vec<Address> = Vec::new();
        for address in addresses {
            if tried.contains(&address) {
                continue;
            }
            let config = &self.shared.config;
            match self.shared.pool.get(&address, lane, config).await {
                Ok(connection) => {
                    *self.favourite() = Some(address);
                    return Ok(connection);
                }
                Err(error) => attempts.push(error),
            }
            tried.push(address);
        }
        *self.favourite() = None;
        Err(ClientError::Unreachable { attempts })
    }

    /// Asks any broker for the brokers and for topics, and takes the answer in.
    pub(crate) async fn refresh(
        &self,
        topics: Topics<'_>,
    ) -> Result<MetadataResponse, ClientError> {
        let connection = self.any(Lane::Control).await?;
        let version = agree::<MetadataRequest>(&connection, &topics.versions())?;
        let answer = connection.call(version, &topics.request()).await?;
        let subject = || "the cluster".to_owned();
        if let Err(refusal) = judge("Metadata", subject, answer.error_code, None) {
            if refusal.is(ErrorCode::RebootstrapRequired) {
                *self.view_mut() = ClusterView::default();
                *self.favourite() = None;
                self.shared.pool.keep(&[]);
            }
            return Err(refusal.into());
        }
        let mut view = self.view_mut();
        view.apply(&answer, Instant::now());
        // Brokers that are gone need no connection; the addresses to start from may be aliases.
        let mut addresses: Vec<Address> = view
            .brokers()
            .map(|broker| broker.address.clone())
            .collect();
        addresses.extend(self.shared.config.bootstrap.addresses().iter().cloned());
        drop(view);
        self.shared.pool.keep(&addresses);
        Ok(answer)
    }

    /// The brokers, asked anew.
    pub async fn brokers(&self) -> Result<Vec<Broker>, ClientError> {
        let mut tries = self.tries("list the brokers");
        while tries.run(self.refresh(Topics::None)).await?.is_none() {}
        Ok(self.view().brokers().cloned().collect())
    }

    /// A topic as it was known at most `metadata_age_max` ago. It is not created by asking.
    pub async fn topic(&self, name: &str) -> Result<TopicInfo, ClientError> {
        let oldest = Instant::now().checked_sub(self.shared.config.metadata_age_max);
        let known = self.view().topic(name, oldest).cloned();
        if let Some(topic) = known {
            return Ok(topic);
        }
        let mut tries = self.tries(format!("look up topic {name}"));
        loop {
            if let Some(topic) = tries.run(self.look_up(name)).await? {
                return Ok(topic);
            }
        }
    }

    async fn look_up(&self, name: &str) -> Result<TopicInfo, ClientError> {
        let answer = self.refresh(Topics::Named(&[name])).await?;
        let found = answer.topics.first().map(metadata::topic);
        Ok(found.unwrap_or_else(|| Err(no_answer("Metadata", format!("topic {name}"))))?)
    }

    /// Connections for a member of a group, shared with nothing else.
    pub(crate) fn member_lane(&self) -> Lane {
        Lane::Member(self.shared.members.fetch_add(1, Ordering::Relaxed))
    }

    /// The connections for one purpose are not needed any more.
    pub(crate) fn release(&self, lane: Lane) {
        self.shared.pool.release(lane);
    }

    /// Forgets what is known of a topic, after an answer that proves it outdated.
    pub fn forget_topic(&self, name: &str) {
        self.view_mut().forget(name);
    }

    /// Asks about several things at once until each has an outcome that another attempt would not
    /// change, in the order they were given. `round` asks about those that are open.
    pub(crate) async fn settle<K, V, T, Round>(
        &self,
        what: &'static str,
        wanted: Vec<(K, V)>,
        round: impl Fn(Vec<(K, V)>) -> Round,
    ) -> Result<Vec<(K, Outcome<T>)>, ClientError>
    where
        K: Clone + Eq + Hash + Display,
        V: Clone,
        Round: Future<Output = Result<Vec<(K, Outcome<T>)>, ClientError>>,
    {
        let mut items = Items::new(what, wanted);
        let mut tries = self.tries(what);
        loop {
            let attempt = async {
                let open = items.open();
                let asked: Vec<K> = open.iter().map(|(key, _)| key.clone()).collect();
                items.take(&asked, round(open).await?);
                items.unsettled()
            };
            match tries.run(attempt).await {
                Ok(Some(())) => return Ok(items.outcomes()),
                Ok(None) => {}
                // What was refused to the last is told as such; the others have their outcome.
                Err(ClientError::Deadline {
                    last: Some(last), ..
                }) if last.refusal().is_some() => return Ok(items.outcomes()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The same for partitions, whose leaders are asked, each about its own.
    pub(crate) async fn on_leaders<V, T, Asked>(
        &self,
        what: &'static str,
        wanted: Vec<(TopicPartition, V)>,
        ask: impl Fn(i32, Vec<(TopicPartition, V)>) -> Asked,
    ) -> Result<Vec<(TopicPartition, Outcome<T>)>, ClientError>
    where
        V: Clone,
        Asked: Future<Output = Result<Vec<(TopicPartition, Outcome<T>)>, ClientError>>,
    {
        let ask = &ask;
        let round = |open: Vec<(TopicPartition, V)>| async move {
            let mut outcomes = Vec::new();
            let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, V)>> = BTreeMap::new();
            for (partition, value) in open {
                match self.leader(&partition).await? {
                    Ok(leader) => by_leader
                        .entry(leader)
                        .or_default()
                        .push((partition, value)),
                    Err(refusal) => outcomes.push((partition, Err(refusal))),
                }
            }
            for (leader, wanted) in by_leader {
                let answered = ask(leader, wanted).await?;
                for (partition, outcome) in &answered {
                    if outcome.as_ref().is_err_and(Refusal::is_transient) {
                        self.forget_topic(&partition.topic);
                    }
                }
                outcomes.extend(answered);
            }
            Ok(outcomes)
        };
        self.settle(what, wanted, round).await
    }

    /// The same for groups or transactional ids, whose coordinators are asked.
    pub(crate) async fn on_coordinators<T, Asked>(
        &self,
        what: &'static str,
        kind: Coordinator,
        keys: &[String],
        ask: impl Fn(i32, Vec<String>) -> Asked,
    ) -> Result<Vec<(String, Outcome<T>)>, ClientError>
    where
        Asked: Future<Output = Result<Vec<(String, Outcome<T>)>, ClientError>>,
    {
        let wanted = keys.iter().map(|key| (key.clone(), ())).collect();
        let ask = &ask;
        let round = |open: Vec<(String, ())>| async move {
            let mut outcomes = Vec::new();
            let mut by_broker: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            for (key, ()) in open {
                match self.find_coordinator(kind, &key).await {
                    Ok(broker) => by_broker.entry(broker.id).or_default().push(key),
                    Err(ClientError::Refused(refusal)) => outcomes.push((key, Err(refusal))),
                    Err(error) => return Err(error),
                }
            }
            for (broker, keys) in by_broker {
                outcomes.extend(ask(broker, keys).await?);
            }
            Ok(outcomes)
        };
        self.settle(what, wanted, round).await
    }

    /// Asks once who coordinates a group or a transactional id.
    pub async fn find_coordinator(
        &self,
        kind: Coordinator,
        key: &str,
    ) -> Result<Broker, ClientError> {
        let answer = self
            .ask(Target::Any, ANY, |version| {
                let request = FindCoordinatorRequest::default();
                let request = if version >= 4 {
                    request.with_coordinator_keys(vec![text(key)])
                } else {
                    request.with_key(text(key))
                };
                // Version 0 knows groups only.
                if version >= 1 {
                    request.with_key_type(kind.code())
                } else {
                    request
                }
            })
            .await?;
        let subject = || format!("the coordinator of {} {key}", kind.name());
        let (code, message, id, host, port) = match answer.coordinators.first() {
            Some(found) => (
                found.error_code,
                &found.error_message,
                found.node_id.0,
                &found.host,
                found.port,
            ),
            None => (
                answer.error_code,
                &answer.error_message,
                answer.node_id.0,
                &answer.host,
                answer.port,
            ),
        };
        judge("FindCoordinator", subject, code, message.as_deref())?;
        let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) else {
            return Err(no_answer("FindCoordinator", subject()).into());
        };
        let broker = Broker {
            id,
            address: Address {
                host: host.to_string(),
                port,
            },
            rack: None,
        };
        // It may have started after the brokers were told last.
        if self.view().broker(id).is_none() {
            self.refresh(Topics::None).await?;
        }
        Ok(broker)
    }

    async fn leader(&self, partition: &TopicPartition) -> Result<Outcome<i32>, ClientError> {
        let refused = |code: ErrorCode, message: Option<&str>| Refusal {
            api: "Metadata",
            subject: format!("partition {partition}"),
            code: code.code(),
            message: message.map(str::to_owned),
        };
        let topic = match self.topic(&partition.topic).await {
            Ok(topic) => topic,
            Err(ClientError::Refused(refusal)) => return Ok(Err(refusal)),
            Err(error) => return Err(error),
        };
        let known = |info: &&metadata::PartitionInfo| info.index == partition.partition;
        let Some(info) = topic.partitions.iter().find(known) else {
            let message = format!("the topic has {} partitions", topic.partitions.len());
            let code = ErrorCode::UnknownTopicOrPartition;
            return Ok(Err(refused(code, Some(&message))));
        };
        Ok(match info.leader {
            Some(leader) if self.view().broker(leader).is_some() => Ok(leader),
            _ => {
                self.forget_topic(&partition.topic);
                Err(refused(ErrorCode::LeaderNotAvailable, None))
            }
        })
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, ClusterView> {
        self.view_mut()
    }

    fn view_mut(&self) -> MutexGuard<'_, ClusterView> {
        let view = self.shared.view.lock();
        view.unwrap_or_else(PoisonError::into_inner)
    }

    fn favourite(&self) -> MutexGuard<'_, Option<Address>> {
        let favourite = self.shared.favourite.lock();
        favourite.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version to speak.
pub(crate) fn agree<R: Request>(
    connection: &Connection,
    versions: &RangeInclusive<i16>,
) -> Result<i16, ClientError> {
    let api = api::<R>();
    let chosen = connection.versions().choose(api, versions);
    chosen.map_err(|reason| ClientError::Unsupported {
        api: api.name,
        broker: connection.broker().to_owned(),
        reason,
    })
}

/// Every version, for requests that can say in each what they have to.
pub use negotiate::ANY;

/// Which topics to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Topics<'a> {
    None,
    All,
    Named(&'a [&'a str]),
    Ids(&'a [Uuid]),
}

impl Topics<'_> {
    /// The versions that can ask so, without creating what is asked for.
    fn versions(self) -> RangeInclusive<i16> {
        match self {
            Topics::Ids(_) => 12..=i16::MAX,
            _ => 4..=i16::MAX,
        }
    }

    fn request(self) -> MetadataRequest {
        let topics = match self {
            Topics::None => Some(Vec::new()),
            Topics::All => None,
            Topics::Named(names) => Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                    .collect(),
            ),
            Topics::Ids(ids) => {
                let topic = |id: &Uuid| {
                    MetadataRequestTopic::default()
                        .with_topic_id(*id)
                        .with_name(None)
                };
                Some(ids.iter().map(topic).collect())
            }
        };
        MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false)
    }
}

/// A topic's name as messages have it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Text as messages have it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What is said of something an answer should have and has not.
pub(crate) fn no_answer(api: &'static str, subject: String) -> Refusal {
    Refusal {
        api,
        subject,
        code: ErrorCode::UnknownServerError.code(),
        message: Some("the broker's answer does not mention it".to_owned()),
    }
}

/// Attempts at one thing.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    client: &'a Client,
    what: String,
    limit: Duration,
    end: Instant,
    failures: u32,
    /// How often in a row a broker has closed where a login may have been due.
    turned_away: u32,
    last: Option<Box<ClientError>>,
}

/// A broker that is stopped may do that once; one that expects a login does it every time.
const TURNED_AWAY_MAX: u32 = 3;

impl Tries<'_> {
    /// Makes one attempt. `None` asks for another one: it failed in a way that may pass, and the
    /// wait before the next is over.
    pub(crate) async fn run<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<Option<T>, ClientError> {
        match timeout_at(self.end, attempt).await {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(error)) if !error.is_transient() => return Err(error),
            Ok(Err(error)) => {
                self.turned_away = match error.is_turned_away() {
                    true => self.turned_away + 1,
                    false => 0,
                };
                if self.turned_away >= TURNED_AWAY_MAX {
                    return Err(error);
                }
                if error.is_unreachable() {
                    // Leaders may have moved away from the broker that is lost.
                    self.client.view_mut().forget_topics();
                }
                self.last = Some(Box::new(error));
            }
            Err(_) => return Err(self.over()),
        }
        self.failures += 1;
        let wait = self.client.shared.config.backoff;
        let wait = wait.after(self.failures, chance());
        if Instant::now() + wait >= self.end {
            return Err(self.over());
        }
        sleep(wait).await;
        Ok(None)
    }

    fn over(&mut self) -> ClientError {
        ClientError::Deadline {
            what: std::mem::take(&mut self.what),
            limit: self.limit,
            last: self.last.take(),
        }
    }
}

/// A number from 0 to 1 that nobody can foresee and nobody has to.
pub(crate) fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// What has a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinator {
    /// A group.
    Group,
    /// A transactional id.
    Transaction,
}

impl Coordinator {
    fn code(self) -> i8 {
        match self {
            Coordinator::Group => 0,
            Coordinator::Transaction => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Coordinator::Group => "group",
            Coordinator::Transaction => "transactional id",
        }
    }
}

/// Things asked for together, each of which comes to its own outcome.
struct Items<K, V, T> {
    what: &'static str,
    rows: Vec<(K, V, Option<Outcome<T>>)>,
    at: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash + Display, V: Clone, T> Items<K, V, T> {
    /// What is named twice is asked once.
    fn new(what: &'static str, wanted: Vec<(K, V)>) -> Self {
        let mut rows = Vec::with_capacity(wanted.len());
        let mut at = HashMap::with_capacity(wanted.len());
        for (key, value) in wanted {
            if let Entry::Vacant(free) = at.entry(key.clone()) {
                free.insert(rows.len());
                rows.push((key, value, None));
            }
        }
        Items { what, rows, at }
    }

    /// What still needs an answer.
    fn open(&self) -> Vec<(K, V)> {
        let open = |outcome: &Option<Outcome<T>>| match outcome {
            None => true,
            Some(outcome) => outcome.as_ref().is_err_and(Refusal::is_transient),
        };
        self.rows
            .iter()
            .filter(|(_, _, outcome)| open(outcome))
            .map(|(key, value, _)| (key.clone(), value.clone()))
            .collect()
    }

    /// Takes outcomes in. What was asked for and has none never will.
    fn take(&mut self, asked: &[K], outcomes: Vec<(K, Outcome<T>)>) {
        for (key, outcome) in outcomes {
            // An answer about something nobody asked for is nobody's.
            if let Some(at) = self.at.get(&key) {
                self.rows[*at].2 = Some(outcome);
            }
        }
        for key in asked {
            let row = self.at.get(key).map(|at| &mut self.rows[*at].2);
            if let Some(outcome @ None) = row {
                *outcome = Some(Err(no_answer(self.what, key.to_string())));
            }
        }
    }

    /// An error as long as another attempt may change something.
    fn unsettled(&self) -> Result<(), ClientError> {
        let transient = self.rows.iter().find_map(|(_, _, outcome)| match outcome {
            Some(Err(refusal)) if refusal.is_transient() => Some(refusal.clone()),
            _ => None,
        });
        match transient {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// In the order they were asked for.
    fn outcomes(self) -> Vec<(K, Outcome<T>)> {
        let what = self.what;
        self.rows
            .into_iter()
            .map(|(key, _, outcome)| {
                let outcome = outcome.unwrap_or_else(|| Err(no_answer(what, key.to_string())));
                (key, outcome)
            })
            .collect()
    }
}
