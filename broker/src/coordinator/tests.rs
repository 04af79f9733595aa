//! Tasks of coordinators on a simulated node, in virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, OffsetCommitRequest, TopicName, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_raft::record::{NO_LEADER, PartitionChange, Record};
use reka_storage::ReadError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::load;
use super::mailbox::{Envelope, Mailboxes};
use super::replay::LoadError;
use super::tasks::{self, Coordinator, told};
use crate::group::ask::{
    Ask, Beat, Caller, Commit, CommitPartition, CommitTopic, FetchOffsets, Join, Protocol, Reply,
    WantedTopic,
};
use crate::metadata::CONSUMER_OFFSETS;
use crate::node::Services;
use crate::partition::Partition;
use crate::seams::Blocking;
use crate::simulation::client::Client;
use crate::simulation::{Machine, SimulatedNode};
use crate::txn::ask::{self as txn, Add, Producer};
use crate::txn::record::State;

const SMALL: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
];
const GROUP: &str = "g";
const TOPIC: &str = "t";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn create(client: &mut Client, name: &str) {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
}

async fn delete(client: &mut Client, name: &str) {
    let state = DeleteTopicState::default().with_name(Some(TopicName(text(name))));
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![state])
        .with_timeout_ms(10_000);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
}

/// Waits until `done`, with a deadline in virtual time.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: in vain");
}

/// Groups have a coordinator, which has read its partition.
async fn coordinated(node: &SimulatedNode) -> Client {
    let mut client = node.connect().await;
    until("a coordinator", async || {
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let found = client.call(3, &request).await.error_code == 0;
        found && committed(&node.services).await.is_ok()
    })
    .await;
    client
}

/// Offsets of a group that manages its partitions alone.
async fn commit(services: &Services, offset: i64) -> Reply {
    let partition = CommitPartition {
        index: 0,
        offset,
        leader_epoch: -1,
        metadata: String::new(),
    };
    let topic = CommitTopic {
        name: TOPIC.to_owned(),
        id: Uuid::nil(),
        partitions: vec![partition],
    };
    let commit = Commit {
        group: GROUP.to_owned(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: -1,
        topics: vec![topic],
        knows_member_epochs: false,
    };
    services.groups.ask(GROUP, Ask::Commit(commit)).await
}

async fn committed(services: &Services) -> Result<i64, ErrorCode> {
    let wanted = WantedTopic {
        name: TOPIC.to_owned(),
        id: Uuid::nil(),
        partitions: vec![0],
    };
    let fetch = FetchOffsets {
        group: GROUP.to_owned(),
        member: None,
        topics: Some(vec![wanted]),
        require_stable: false,
    };
    match services.groups.ask(GROUP, Ask::Fetch(fetch)).await {
        Reply::Fetch(Ok(topics)) => Ok(topics[0].partitions[0].offset),
        other => Err(other.refusal()),
    }
}

/// A coordinator that panics on one of the questions.
struct Fragile;

const BOOM: &str = "boom";

impl Coordinator for Fragile {
    type Ask = Ask;
    type Reply = Reply;
    type Settings = ();
    const TOPIC: &'static str = "fragile";
    const THREAD: &'static str = "fragile";

    fn settings(_: &Services) {}

    fn mailboxes(services: &Services) -> &Mailboxes<Ask, Reply> {
        services.groups.mailboxes()
    }

    async fn serve(
        _: Arc<Services>,
        _: Arc<Partition>,
        _: Arc<()>,
        mut mailbox: mpsc::Receiver<Envelope<Ask, Reply>>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                biased;
                () = told(&mut stop) => return,
                asked = mailbox.recv() => match asked {
                    Some(Envelope { ask: Ask::Delete(group), .. }) if group == BOOM => {
                        panic!("the test asked for it")
                    }
                    Some(Envelope { reply, .. }) => drop(reply.send(Reply::Code(ErrorCode::None))),
                    None => return,
                }
            }
        }
    }
}

/// Nothing else happens on the node: the metadata stays as it is.
#[test]
fn a_task_that_panics_is_told_of_at_once_and_begun_anew() {
    Machine::new(1, SMALL).live(async |node| {
        let services = &node.services;
        let mut client = node.connect().await;
        create(&mut client, Fragile::TOPIC).await;
        let (_stop, stopped) = watch::channel(false);
        tokio::task::spawn_local(tasks::follow::<Fragile>(services.clone(), stopped));
        let ask = async |group: &str| {
            let ask = Ask::Delete(group.to_owned());
            services.groups.ask_partition(0, ask).await
        };
        let well = Reply::Code(ErrorCode::None);
        until("a task", async || ask("well").await == well).await;
        assert_eq!(services.troubles(), Vec::<String>::new());
        let refused = Reply::Refused(ErrorCode::NotCoordinator);
        assert_eq!(ask(BOOM).await, refused);
        until("a trouble", async || !services.troubles().is_empty()).await;
        let told = services.troubles().join("\n");
        for part in ["fragile-0", "the test asked for it"] {
            assert!(told.contains(part), "{told}");
        }
        until("another task", async || ask("well").await == well).await;
        assert_eq!(services.troubles(), Vec::<String>::new());
    });
}

/// Asks all of it before the task has its turn, `later`; the last answer.
async fn all_at_once<R: 'static>(
    later: Duration,
    count: usize,
    ask: impl AsyncFn() -> R + Clone + 'static,
) -> R {
    let mut asked = JoinSet::new();
    asked.spawn_local(async move {
        tokio::time::advance(later).await;
        None
    });
    for index in 0..count {
        let ask = ask.clone();
        asked.spawn_local(async move { Some((index, ask().await)) });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        answers.extend(answer.expect("an answer"));
    }
    answers.pop_last().expect("an answer").1
}

/// More questions than one turn takes are there when a member's time is over: those behind the first
/// turn find it gone.
#[test]
fn a_member_falls_due_however_many_questions_come() {
    Machine::new(2, SMALL).live(async |node| {
        let services = node.services.clone();
        let _client = coordinated(node).await;
        let join = Join {
            group: GROUP.to_owned(),
            member_id: String::new(),
            instance_id: None,
            caller: Caller::default(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 6_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: Vec::new(),
            }],
            reason: None,
            fresh_id: Uuid::from_u128(1),
            takes_id_first: false,
            can_skip_assignment: false,
        };
        let reply = services.groups.ask(GROUP, Ask::Join(join)).await;
        assert!(
            matches!(&reply, Reply::Join(joined) if joined.error_code == ErrorCode::None),
            "{reply:?}"
        );
        let describe = async move || {
            let ask = Ask::Describe(GROUP.to_owned());
            match services.groups.ask(GROUP, ask).await {
                Reply::Describe(described) => described.state,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(describe().await, "CompletingRebalance");
        assert_eq!(
            all_at_once(Duration::ZERO, 1, describe.clone()).await,
            "CompletingRebalance"
        );
        assert_eq!(
            all_at_once(Duration::from_secs(7), 1000, describe).await,
            "Empty"
        );
    });
}

/// The same of a transaction that takes too long.
#[test]
fn a_transaction_falls_due_however_many_questions_come() {
    Machine::new(3, &["transaction.state.log.num.partitions=1"]).live(async |node| {
        let services = node.services.clone();
        let mut client = node.connect().await;
        create(&mut client, TOPIC).await;
        let producer = RefCell::new(None);
        until("a producer", async || {
            let request = FindCoordinatorRequest::default()
                .with_key_type(1)
                .with_key(text("x"));
            client.call(3, &request).await;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text("x"))))
                .with_transaction_timeout_ms(1_000)
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            let answer = client.call(4, &request).await;
            let known =
                (answer.error_code == 0).then_some((answer.producer_id.0, answer.producer_epoch));
            producer.replace(known);
            known.is_some()
        })
        .await;
        let (id, epoch) = producer.take().expect("a producer");
        let add = Add {
            id: "x".to_owned(),
            producer: Producer { id, epoch },
            partitions: vec![(TOPIC.into(), 0)],
            client_version: 2,
        };
        let added = services.transactions.ask("x", txn::Ask::Add(add)).await;
        assert_eq!(added, txn::Reply::Code(ErrorCode::None));
        let describe = async move || {
            let ask = txn::Ask::Describe("x".to_owned());
            match services.transactions.ask("x", ask).await {
                txn::Reply::Describe(Ok(described)) => described.state,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(describe().await, State::Ongoing);
        let last = all_at_once(Duration::from_secs(60), 1000, describe).await;
        assert!(
            matches!(last, State::PrepareAbort | State::CompleteAbort),
            "{last:?}"
        );
    });
}

/// What the task is asked while it reads is refused, and answered by what it read.
#[test]
fn whoever_asks_while_a_partition_is_read_is_told_so() {
    Machine::new(4, SMALL).live(async |node| {
        let services = &node.services;
        let _client = coordinated(node).await;
        let partition = services
            .partitions
            .get(CONSUMER_OFFSETS, 0)
            .expect("a partition");
        let (mailbox, mut inbox) = mpsc::channel::<Envelope<Ask, Reply>>(8);
        let (_stop, mut stopped) = watch::channel(false);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let reading = tokio::task::spawn_local(async move {
            let read = move |_: &Partition| {
                let gone = wait.lock().expect("one reader").recv();
                gone.map_err(|_| LoadError::Read {
                    offset: 7,
                    source: ReadError::OutOfRange {
                        offset: 7,
                        start: 0,
                        end: 1,
                    },
                })
            };
            let pool = Blocking::Pool;
            let (mailboxes, told) = (Mailboxes::default(), &mut stopped);
            load::load(
                pool, &partition, "a test", &mailboxes, read, &mut inbox, told,
            )
            .await
        });
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            let ask = Ask::Describe(GROUP.to_owned());
            mailbox.send(Envelope { ask, reply }).await.expect("a task");
            let refused = Reply::Refused(ErrorCode::CoordinatorLoadInProgress);
            assert_eq!(answer.await, Ok(refused));
        }
        go_on.send(()).expect("a reader");
        assert!(matches!(reading.await, Ok(Some(_))));
    });
}

/// And after a failure it is tried again; whoever asks in between is to come back.
#[test]
fn a_partition_that_could_not_be_read_is_read_again() {
    Machine::new(5, SMALL).live(async |node| {
        let services = &node.services;
        let _client = coordinated(node).await;
        let partition = services
            .partitions
            .get(CONSUMER_OFFSETS, 0)
            .expect("a partition");
        let (mailbox, mut inbox) = mpsc::channel::<Envelope<Ask, Reply>>(8);
        let (_stop, mut stopped) = watch::channel(false);
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = attempts.clone();
        let mailboxes = Rc::new(Mailboxes::default());
        let here = mailboxes.clone();
        let reading = tokio::task::spawn_local(async move {
            let read = move |_: &Partition| match count.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(LoadError::Read {
                    offset: 7,
                    source: ReadError::OutOfRange {
                        offset: 7,
                        start: 0,
                        end: 1,
                    },
                }),
                _ => Ok("read"),
            };
            let (inline, told) = (Blocking::Inline, &mut stopped);
            load::load(inline, &partition, "a test", &here, read, &mut inbox, told).await
        });
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Describe(GROUP.to_owned());
        mailbox.send(Envelope { ask, reply }).await.expect("a task");
        let refused = Reply::Refused(ErrorCode::CoordinatorNotAvailable);
        assert_eq!(answer.await, Ok(refused));
        let troubles = mailboxes.troubles().join("\n");
        for part in ["__consumer_offsets-0", "a test", "offset 7"] {
            assert!(troubles.contains(part), "{troubles}");
        }
        let loaded = reading.await.expect("no panic").map(|(what, _)| what);
        assert_eq!(mailboxes.troubles(), Vec::<String>::new());
        assert_eq!(loaded, Some("read"));
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
    });
}

/// The leader of the partition goes and comes back: groups go with it, and are as they were.
#[test]
fn groups_go_with_their_partition_and_come_back_with_it() {
    Machine::new(6, SMALL).live(async |node| {
        let services = &node.services;
        let mut client = coordinated(node).await;
        create(&mut client, TOPIC).await;
        let reply = commit(services, 17).await;
        assert!(matches!(&reply, Reply::Partitions(codes) if codes.error_code == ErrorCode::None));
        assert_eq!(committed(services).await, Ok(17));
        let topic_id = services
            .quorum
            .image()
            .topics()
            .get(CONSUMER_OFFSETS)
            .expect("it")
            .id();
        let elect = async |leader: i32| {
            let change = PartitionChange {
                topic_id,
                partition: 0,
                isr: None,
                leader: Some(leader),
                replicas: None,
                removing: None,
                adding: None,
                directories: None,
                elr: None,
                last_known_elr: None,
                leader_recovery_state: None,
            };
            let proposed = services
                .quorum
                .propose(vec![Record::PartitionChange(change)]);
            proposed.await.expect("a change");
        };
        for _ in 0..2 {
            elect(NO_LEADER).await;
            let gone = Err(ErrorCode::NotCoordinator);
            until("it is gone", async || committed(services).await == gone).await;
            assert_eq!(services.metrics.groups.groups.get(), 0);
            elect(services.broker_id).await;
            until("it is back", async || committed(services).await == Ok(17)).await;
            assert_eq!(services.metrics.groups.groups.get(), 1);
        }
    });
}

/// The coordinator of some groups is not able to forget offsets of a topic when it is deleted: it is asked
/// again until it has.
#[test]
fn offsets_of_a_deleted_topic_are_forgotten_as_soon_as_they_can_be() {
    Machine::new(7, SMALL).live(async |node| {
        let services = &node.services;
        let mut client = coordinated(node).await;
        create(&mut client, TOPIC).await;
        create(&mut client, "other").await;
        let (mailbox, mut inbox) = mpsc::channel(8);
        services.groups.mailboxes().write().here.insert(7, mailbox);
        delete(&mut client, TOPIC).await;
        let mut asked = async |reply: Reply| {
            let next = tokio::time::timeout(Duration::from_secs(60), inbox.recv());
            let Some(Envelope { ask, reply: to }) = next.await.expect("a question") else {
                panic!("nobody asks");
            };
            to.send(reply).expect("somebody who waits");
            match ask {
                Ask::TopicsDeleted(topics) => {
                    let mut names: Vec<String> = topics.into_iter().map(|(name, _)| name).collect();
                    names.sort();
                    names
                }
                other => panic!("{other:?}"),
            }
        };
        let refused = |code| Reply::Refused(code);
        assert_eq!(
            asked(refused(ErrorCode::CoordinatorLoadInProgress)).await,
            [TOPIC]
        );
        assert_eq!(asked(refused(ErrorCode::NotCoordinator)).await, [TOPIC]);
        delete(&mut client, "other").await;
        assert_eq!(
            asked(refused(ErrorCode::CoordinatorNotAvailable)).await,
            ["other", TOPIC]
        );
        assert_eq!(asked(Reply::Forgotten(3)).await, ["other", TOPIC]);
        // And then no more: it has nothing else to say, either.
        create(&mut client, "third").await;
        delete(&mut client, "third").await;
        assert_eq!(asked(Reply::Forgotten(0)).await, ["third"]);
    });
}

/// A topic is made anew, and a group commits an offset for it by name before the coordinator has heard
/// that the one before was deleted.
#[test]
fn a_commit_for_a_topic_made_anew_outlives_the_deletion_of_the_one_before() {
    Machine::new(8, SMALL).live(async |node| {
        let services = &node.services;
        let mut client = coordinated(node).await;
        create(&mut client, TOPIC).await;
        let id_before = services
            .quorum
            .image()
            .topics()
            .get(TOPIC)
            .expect("a topic")
            .id();
        delete(&mut client, TOPIC).await;
        create(&mut client, TOPIC).await;
        for version in [2, 9] {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
            let topic = OffsetCommitRequestTopic::default()
                .with_name(TopicName(text(TOPIC)))
                .with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(text(GROUP)))
                .with_topics(vec![topic]);
            let answer = client.call(version, &request).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
            let late = Ask::TopicsDeleted(vec![(TOPIC.to_owned(), id_before)]);
            assert_eq!(services.groups.ask(GROUP, late).await, Reply::Forgotten(0));
            assert_eq!(committed(services).await, Ok(5));
        }
        // Offsets from before topics were told apart go with any of the name.
        commit(services, 6).await;
        let late = Ask::TopicsDeleted(vec![(TOPIC.to_owned(), id_before)]);
        assert_eq!(services.groups.ask(GROUP, late).await, Reply::Forgotten(1));
    });
}

/// A classic group whose members would not fit the log as a consumer group stays one, and whoever waits in
/// another group of the partition does not notice.
#[test]
fn a_group_that_does_not_fit_the_log_is_no_trouble_of_the_groups_beside_it() {
    let settings = [
        "offsets.topic.num.partitions=1",
        "offsets.topic.segment.bytes=1048576",
    ];
    Machine::new(9, &settings).live(async |node| {
        let services = node.services.clone();
        let _client = coordinated(node).await;
        let join = |group: &str, user_data: usize| {
            let mut metadata = b"\0\0\0\0\0\x01\0\x01t".to_vec();
            metadata.extend((user_data as u32).to_be_bytes());
            metadata.extend(vec![7; user_data]);
            let join = Join {
                group: group.to_owned(),
                member_id: String::new(),
                instance_id: None,
                caller: Caller::default(),
                session_timeout_ms: 30_000,
                rebalance_timeout_ms: 30_000,
                protocol_type: "consumer".to_owned(),
                protocols: vec![Protocol {
                    name: "range".to_owned(),
                    metadata,
                }],
                reason: None,
                fresh_id: Uuid::new_v4(),
                takes_id_first: false,
                can_skip_assignment: true,
            };
            let (services, group) = (services.clone(), group.to_owned());
            tokio::task::spawn_local(async move {
                let reply = services.groups.ask(&group, Ask::Join(join)).await;
                match reply {
                    Reply::Join(joined) => joined.error_code,
                    other => other.refusal(),
                }
            })
        };
        for joining in [join("large", 700_000), join("large", 700_000)] {
            assert_eq!(joining.await.expect("no panic"), ErrorCode::None);
        }
        // It waits for others, as the first of its group.
        let waiting = join("beside", 10);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        let beat = Beat {
            group: "large".to_owned(),
            member_id: "m".to_owned(),
            epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: 30_000,
            caller: Caller::default(),
            topics: Some(vec![TOPIC.to_owned()]),
            pattern: None,
            matched: None,
            assignor: None,
            owned: Some(Default::default()),
            fresh_id: Uuid::new_v4(),
            chooses_id: true,
        };
        let reply = services
            .groups
            .ask("large", Ask::Beat(Box::new(beat)))
            .await;
        assert_eq!(committed(&services).await, Ok(-1), "nothing is read anew");
        assert_eq!(waiting.await.expect("no panic"), ErrorCode::None);
        let Reply::Beat(Err(refused)) = reply else {
            panic!("expected a refusal, found {reply:?}");
        };
        assert_eq!(refused.error_code, ErrorCode::GroupIdNotFound);
    });
}
