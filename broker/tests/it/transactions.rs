//! Transactions over TCP, in every version that is advertised.

use std::path::Path;
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_broker::coordinator::partition_for;
use reka_broker::txn::ask;
use reka_broker::txn::record::{State, Txn, TxnRecord};
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use reka_protocol::kafka_protocol::messages::describe_transactions_response::TransactionState;
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use reka_protocol::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use reka_protocol::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, BrokerId, DeleteTopicsRequest,
    DescribeTransactionsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, OffsetFetchRequest,
    ProduceRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest, UpdateFeaturesRequest,
    WriteTxnMarkersRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_protocol::versions;
use reka_records::{BatchBuilder, batches};

use crate::support::{Client, fetch_request, produce_request, start_with, topic_name};
use crate::topics_and_records::create;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The first version in which partitions are added on the way.
const PRODUCE_ADDS: i16 = 12;
/// The first version in which each transaction has its own epoch.
const END_BUMPS: i16 = 5;

/// A producer id and its epoch.
pub(crate) type Producer = (i64, i16);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn id(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("a known code")
}

/// A node that looks for overdue transactions all the time; both of its coordinators answer.
fn node(dir: &Path, more: &[&str]) -> Node {
    let mut settings = vec![
        "offsets.topic.num.partitions=1",
        "transaction.state.log.num.partitions=2",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=20",
    ];
    settings.extend(more);
    let node = start_with(dir, &settings);
    let mut client = Client::connect(&node);
    for key_type in [0, 1] {
        let find = FindCoordinatorRequest::default()
            .with_key(text("x"))
            .with_key_type(key_type);
        assert_eq!(client.call(3, &find).error_code, 0);
    }
    until("the coordinators answer", || {
        let listed = client.call(2, &ListTransactionsRequest::default());
        let described = client.call(
            0,
            &DescribeTransactionsRequest::default()
                .with_transactional_ids(["a", "b", "c", "d"].map(id).to_vec()),
        );
        let absent = ErrorCode::TransactionalIdNotFound.code();
        let states = &described.transaction_states;
        let answers = states
            .iter()
            .all(|state| state.error_code == absent || state.error_code == 0);
        let offset = offset(&mut client, "nobody", false);
        listed.error_code == 0 && answers && offset == Ok(-1)
    });
    node
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn init_as(
    client: &mut Client,
    version: i16,
    name: &str,
    timeout_ms: i32,
    known: Producer,
) -> Result<Producer, ErrorCode> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(known.0))
        .with_producer_epoch(known.1);
    let answer = client.call(version, &request);
    match code(answer.error_code) {
        ErrorCode::None => Ok((answer.producer_id.0, answer.producer_epoch)),
        refusal => Err(refusal),
    }
}

pub(crate) fn init(client: &mut Client, name: &str) -> Producer {
    init_as(client, 5, name, 60_000, (-1, -1)).expect("a producer")
}

fn batch(producer: Producer, sequence: i32, value: &str) -> Vec<u8> {
    let now_ms = reka_broker::clock::Clock::System.now_ms();
    let mut builder = BatchBuilder::new(0)
        .producer(producer.0, producer.1, sequence)
        .transactional();
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    builder
        .append(0, now_ms, None, Some(value.as_bytes()), headers)
        .expect("a record");
    builder.finish()
}

fn send(
    client: &mut Client,
    version: i16,
    name: Option<&str>,
    topic: &str,
    batch: Vec<u8>,
) -> ErrorCode {
    let request = produce_request(topic, batch)
        .with_acks(-1)
        .with_transactional_id(name.map(id));
    let correlation_id = client.send(version, &request);
    let mut answer = client.receive::<ProduceRequest>(version, correlation_id);
    code(
        answer
            .responses
            .remove(0)
            .partition_responses
            .remove(0)
            .error_code,
    )
}

/// A batch of one record, in a transaction that reaches the topic with it.
pub(crate) fn produce(
    client: &mut Client,
    name: &str,
    topic: &str,
    producer: Producer,
    value: &str,
) -> ErrorCode {
    send(
        client,
        PRODUCE_ADDS,
        Some(name),
        topic,
        batch(producer, 0, value),
    )
}

pub(crate) fn end_as(
    client: &mut Client,
    version: i16,
    name: &str,
    producer: Producer,
    commit: bool,
) -> Result<Producer, ErrorCode> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    let answer = client.call(version, &request);
    match code(answer.error_code) {
        ErrorCode::None => Ok((answer.producer_id.0, answer.producer_epoch)),
        refusal => Err(refusal),
    }
}

pub(crate) fn end(client: &mut Client, name: &str, producer: Producer, commit: bool) -> Producer {
    end_as(client, END_BUMPS, name, producer, commit).expect("an end")
}

fn add_request(
    name: &str,
    producer: Producer,
    topic: &str,
    partition: i32,
) -> AddPartitionsToTxnTransaction {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_topics(vec![topic])
}

fn add(client: &mut Client, version: i16, transaction: AddPartitionsToTxnTransaction) -> ErrorCode {
    if version < 4 {
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transaction.transactional_id)
            .with_v3_and_below_producer_id(transaction.producer_id)
            .with_v3_and_below_producer_epoch(transaction.producer_epoch)
            .with_v3_and_below_topics(transaction.topics);
        let mut answer = client.call(version, &request).results_by_topic_v3_and_below;
        return code(answer.remove(0).results_by_partition[0].partition_error_code);
    }
    let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
    let mut answer = client.call(version, &request);
    assert_eq!(answer.error_code, 0);
    let topics = answer.results_by_transaction.remove(0).topic_results;
    code(topics[0].results_by_partition[0].partition_error_code)
}

/// What a reader of committed data makes of a topic: as clients do, by the list of aborted
/// transactions and the markers.
fn committed(client: &mut Client, topic: &str) -> Vec<String> {
    let request = fetch_request(topic, 0, 0).with_isolation_level(1);
    let correlation_id = client.send(12, &request);
    let mut answer = client.receive::<FetchRequest>(12, correlation_id);
    let partition = answer.responses.remove(0).partitions.remove(0);
    let aborted = partition.aborted_transactions.unwrap_or_default();
    let records = partition.records.unwrap_or_default();
    let mut open: Vec<i64> = Vec::new();
    let mut aborted = aborted.into_iter().peekable();
    let mut values = Vec::new();
    let mut scratch = Vec::new();
    for batch in batches(&records) {
        let batch = batch.expect("a batch");
        let header = *batch.header();
        while let Some(next) = aborted.next_if(|txn| txn.first_offset <= header.last_offset()) {
            open.push(next.producer_id.0);
        }
        if header.is_control() {
            open.retain(|producer| *producer != header.producer_id);
            continue;
        }
        if header.is_transactional() && open.contains(&header.producer_id) {
            continue;
        }
        for record in batch.records(&mut scratch, 1 << 20).expect("records") {
            let value = record.expect("a record").value.expect("a value");
            values.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    values
}

/// The end of a topic as readers at an isolation level see it.
fn latest(client: &mut Client, topic: &str, isolation_level: i8) -> i64 {
    let partition = ListOffsetsPartition::default()
        .with_current_leader_epoch(-1)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic]);
    client.call(7, &request).topics[0].partitions[0].offset
}

pub(crate) fn offset_commit(
    version: i16,
    name: &str,
    producer: Producer,
    group: &str,
    offset: i64,
) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name("read"))
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(GroupId(text(group)))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_topics(vec![topic]);
    match version {
        3.. => request.with_generation_id(-1),
        _ => request,
    }
}

pub(crate) fn commit_offset(
    client: &mut Client,
    version: i16,
    request: &TxnOffsetCommitRequest,
) -> ErrorCode {
    code(client.call(version, request).topics[0].partitions[0].error_code)
}

/// A group's offset for partition 0 of `read`.
fn offset(client: &mut Client, group: &str, require_stable: bool) -> Result<i64, ErrorCode> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("read"))
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_groups(vec![asked])
        .with_require_stable(require_stable);
    let mut answer = client.call(8, &request).groups.remove(0);
    if answer.error_code != 0 {
        return Err(code(answer.error_code));
    }
    let partition = answer.topics.remove(0).partitions.remove(0);
    match code(partition.error_code) {
        ErrorCode::None => Ok(partition.committed_offset),
        refusal => Err(refusal),
    }
}

fn describe(client: &mut Client, name: &str) -> TransactionState {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id(name)]);
    client.call(0, &request).transaction_states.remove(0)
}

/// What a behaviour is given: a connection, the version, and a topic and a transactional id of one
/// name of its own.
struct Scene {
    client: Client,
    version: i16,
    name: String,
}

type Behaviour = fn(&mut Scene);

/// Behaviours of the APIs of transactions, by key.
const BEHAVIOURS: &[(i16, Behaviour)] = &[
    (24, add_partitions),
    (25, add_offsets),
    (26, ends),
    (27, markers),
    (28, offsets),
    (65, descriptions),
    (66, lists),
];

/// The APIs that have their behaviours here.
pub(crate) fn keys() -> impl Iterator<Item = i16> {
    BEHAVIOURS.iter().map(|(key, _)| *key)
}

#[test]
fn every_advertised_version_behaves() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    assert_eq!(create(&mut Client::connect(&node), "read", 1), 0);
    for (key, behave) in BEHAVIOURS {
        let api = versions::by_key(*key).expect("a known api");
        for version in api.min..=api.max {
            println!("{} version {version}", api.name);
            let mut client = Client::connect(&node);
            let name = format!("{}.v{version}", api.name);
            assert_eq!(create(&mut client, &name, 1), 0);
            behave(&mut Scene {
                client,
                version,
                name,
            });
        }
    }
    node.stop().expect("a clean stop");
}

fn add_partitions(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let producer = init(client, name);
    let fenced = match *version {
        ..2 => ErrorCode::InvalidProducerEpoch,
        _ => ErrorCode::ProducerFenced,
    };
    let (other_id, other_epoch) = ((producer.0 + 999, 0), (producer.0, 7));
    for (producer, topic, partition, expected) in [
        (other_id, &**name, 0, ErrorCode::InvalidProducerIdMapping),
        (other_epoch, name, 0, fenced),
        (producer, name, 1, ErrorCode::UnknownTopicOrPartition),
        (producer, "absent", 0, ErrorCode::UnknownTopicOrPartition),
        (producer, name, 0, ErrorCode::None),
        (producer, name, 0, ErrorCode::None),
    ] {
        let asked = add_request(name, producer, topic, partition);
        assert_eq!(add(client, *version, asked), expected);
    }
    let nobody = add_request("", producer, name, 0);
    assert_eq!(add(client, *version, nobody), ErrorCode::InvalidRequest);
    if *version >= 4 {
        let verify = |topic: &str| add_request(name, producer, topic, 0).with_verify_only(true);
        assert_eq!(add(client, *version, verify(name)), ErrorCode::None);
        assert_eq!(
            add(client, *version, verify("read")),
            ErrorCode::TransactionAbortable
        );
    }
    // One that is missing keeps the others out.
    let mut two = add_request(name, producer, "read", 0);
    two.topics
        .extend(add_request(name, producer, "absent", 0).topics);
    assert_eq!(add(client, *version, two), ErrorCode::OperationNotAttempted);
    let state = describe(client, name);
    assert_eq!(&*state.transaction_state, "Ongoing");
    let topics: Vec<_> = state
        .topics
        .iter()
        .map(|topic| (&*topic.topic.0, &topic.partitions))
        .collect();
    assert_eq!(topics, [(name.as_str(), &vec![0])]);
    assert_eq!(
        send(client, 10, Some(name), name, batch(producer, 0, "a")),
        ErrorCode::None
    );
}

fn add_offsets(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let (producer, version) = (init(client, name), *version);
    let fenced = match version {
        ..2 => ErrorCode::InvalidProducerEpoch,
        _ => ErrorCode::ProducerFenced,
    };
    for (transactional_id, epoch, expected) in [
        (&**name, 3, fenced),
        ("unknown", 0, ErrorCode::InvalidProducerIdMapping),
        ("", 0, ErrorCode::InvalidRequest),
        (name, 0, ErrorCode::None),
    ] {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id(transactional_id))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(epoch)
            .with_group_id(GroupId(text("g")));
        assert_eq!(code(client.call(version, &request).error_code), expected);
    }
    let topics = describe(client, name).topics;
    assert_eq!(&*topics[0].topic.0, "__consumer_offsets");
    // An older client's offsets are taken once that is so, and not before.
    let commit = offset_commit(3, name, producer, name, 3);
    assert_eq!(commit_offset(client, 3, &commit), ErrorCode::None);
}

fn ends(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let version = *version;
    let mut producer = init(client, name);
    let fenced = match version {
        ..2 => ErrorCode::InvalidProducerEpoch,
        _ => ErrorCode::ProducerFenced,
    };
    let invalid = Err(ErrorCode::InvalidTxnState);
    assert_eq!(end_as(client, version, name, producer, true), invalid);
    let other = (producer.0, 9);
    assert_eq!(end_as(client, version, name, other, true), Err(fenced));
    let other = (producer.0 + 999, 0);
    let unmapped = Err(ErrorCode::InvalidProducerIdMapping);
    assert_eq!(end_as(client, version, name, other, true), unmapped);
    assert_eq!(
        end_as(client, version, "", producer, true),
        Err(ErrorCode::InvalidRequest)
    );
    let mut sequence = 0;
    for (value, commit) in [("a", true), ("b", false), ("c", true)] {
        let sent = match version {
            END_BUMPS.. => produce(client, name, name, producer, value),
            _ => {
                let asked = add_request(name, producer, name, 0);
                assert_eq!(add(client, 3, asked), ErrorCode::None);
                let batch = batch(producer, sequence, value);
                send(client, 11, Some(name), name, batch)
            }
        };
        assert_eq!(sent, ErrorCode::None);
        assert!(
            !committed(client, name).contains(&value.to_owned()),
            "{value} too early"
        );
        let ended = end_as(client, version, name, producer, commit).expect("an end");
        // The answer was lost: the same is told again, and nothing else is done.
        assert_eq!(end_as(client, version, name, producer, commit), Ok(ended));
        assert_eq!(end_as(client, version, name, producer, !commit), invalid);
        match version {
            END_BUMPS.. => {
                assert_eq!(ended, (producer.0, producer.1 + 1));
                producer = ended;
            }
            _ => sequence += 1,
        }
    }
    assert_eq!(committed(client, name), ["a", "c"]);
}

fn markers(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let producer = init(client, name);
    assert_eq!(produce(client, name, name, producer, "a"), ErrorCode::None);
    let sent = produce_request(name, crate::support::batch(&["b"], None));
    client.call(9, &sent);
    let (all, stable) = (latest(client, name, 0), latest(client, name, 1));
    assert_eq!((all, stable), (2, 0));
    let marker = |epoch: i16, coordinator_epoch: i32| {
        let topic = |topic: &str| {
            WritableTxnMarkerTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(vec![0])
        };
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(epoch)
            .with_coordinator_epoch(coordinator_epoch)
            .with_topics(vec![
                topic(name),
                topic("absent"),
                topic("__consumer_offsets"),
            ]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    };
    let mut codes = |request: WriteTxnMarkersRequest| {
        let mut answer = client.call(*version, &request);
        let result = answer.markers.remove(0);
        assert_eq!(result.producer_id.0, producer.0);
        let topics = result.topics.into_iter();
        let codes = topics.map(|topic| code(topic.partitions[0].error_code));
        codes.collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let done = [ErrorCode::None, unknown, ErrorCode::None];
    assert_eq!(codes(marker(0, 5)), done);
    // Of a coordinator that has been replaced.
    let old = ErrorCode::TransactionCoordinatorFenced;
    assert_eq!(codes(marker(0, 4)), [old, unknown, old]);
    assert_eq!(latest(client, name, 1), 4 - 1);
    assert_eq!(committed(client, name), ["b"]);
}

fn offsets(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let (version, group) = (*version, format!("{name}-group"));
    let mut producer = init(client, name);
    let asked = |producer, offset| offset_commit(version, name, producer, &group, offset);
    let begin = |client: &mut Client, producer: Producer| {
        if version < 5 {
            let refused = match version {
                4 => ErrorCode::TransactionAbortable,
                _ => ErrorCode::InvalidTxnState,
            };
            assert_eq!(commit_offset(client, version, &asked(producer, 1)), refused);
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(id(name))
                .with_producer_id(ProducerId(producer.0))
                .with_producer_epoch(producer.1)
                .with_group_id(GroupId(text(&group)));
            assert_eq!(client.call(3, &request).error_code, 0);
        }
    };
    for (wanted, commit, before, after) in
        [(10, true, -1, 10), (20, false, 10, 10), (30, true, 10, 30)]
    {
        begin(client, producer);
        assert_eq!(
            commit_offset(client, version, &asked(producer, wanted)),
            ErrorCode::None
        );
        assert_eq!(offset(client, &group, false), Ok(before));
        let unstable = Err(ErrorCode::UnstableOffsetCommit);
        assert_eq!(offset(client, &group, true), unstable);
        producer = end(client, name, producer, commit);
        assert_eq!(offset(client, &group, true), Ok(after));
    }
    begin(client, producer);
    let mut wrong = asked(producer, 40);
    wrong.topics[0].partitions[0].partition_index = 9;
    assert_eq!(
        commit_offset(client, version, &wrong),
        ErrorCode::UnknownTopicOrPartition
    );
    if version >= 3 {
        let mut stranger = asked(producer, 40);
        stranger.generation_id = 3;
        stranger.member_id = text("nobody");
        assert_eq!(
            commit_offset(client, version, &stranger),
            ErrorCode::UnknownMemberId
        );
    }
    let mut nobodys = asked(producer, 40);
    nobodys.group_id = GroupId(text(""));
    assert_eq!(
        commit_offset(client, version, &nobodys),
        ErrorCode::InvalidGroupId
    );
    let replaced = (producer.0, producer.1 - 1);
    assert_eq!(
        commit_offset(client, version, &asked(replaced, 40)),
        ErrorCode::InvalidProducerEpoch
    );
}

fn descriptions(scene: &mut Scene) {
    let Scene { client, name, .. } = scene;
    assert_eq!(
        code(describe(client, "").error_code),
        ErrorCode::InvalidRequest
    );
    let absent = describe(client, "absent");
    assert_eq!(code(absent.error_code), ErrorCode::TransactionalIdNotFound);
    let producer = init(client, name);
    let told = |state: &TransactionState| {
        let producer = (state.producer_id.0, state.producer_epoch);
        (
            state.transaction_state.to_string(),
            producer,
            state.topics.len(),
        )
    };
    let state = describe(client, name);
    assert_eq!(
        (
            state.transaction_timeout_ms,
            state.transaction_start_time_ms
        ),
        (60_000, -1)
    );
    assert_eq!(told(&state), ("Empty".to_owned(), producer, 0));
    assert_eq!(produce(client, name, name, producer, "a"), ErrorCode::None);
    let state = describe(client, name);
    assert!(state.transaction_start_time_ms > 0);
    assert_eq!(told(&state), ("Ongoing".to_owned(), producer, 1));
    let next = end(client, name, producer, false);
    assert_eq!(
        told(&describe(client, name)),
        ("CompleteAbort".to_owned(), next, 0)
    );
}

fn lists(scene: &mut Scene) {
    let Scene {
        client,
        version,
        name,
    } = scene;
    let version = *version;
    let (idle, open) = (format!("{name}-idle"), format!("{name}-open"));
    let (idler, opener) = (init(client, &idle), init(client, &open));
    assert_eq!(produce(client, &open, name, opener, "a"), ErrorCode::None);
    let mut listed = |request: ListTransactionsRequest| {
        let answer = client.call(version, &request);
        let ids = answer.transaction_states.iter();
        let ids = ids.map(|listed| listed.transactional_id.to_string());
        let mut ids: Vec<_> = ids.filter(|id| id.starts_with(name.as_str())).collect();
        ids.sort();
        let unknown = answer.unknown_state_filters.iter().map(ToString::to_string);
        (code(answer.error_code), ids, unknown.collect::<Vec<_>>())
    };
    let all = ListTransactionsRequest::default;
    let none: [String; 0] = [];
    let both = vec![idle.clone(), open.clone()];
    let (only_idle, only_open) = (vec![idle.clone()], vec![open.clone()]);
    assert_eq!(listed(all()).1, both);
    let by_state =
        |states: &[&str]| all().with_state_filters(states.iter().map(|s| text(s)).collect());
    assert_eq!(listed(by_state(&["Ongoing"])).1, only_open);
    assert_eq!(listed(by_state(&["Dead"])).1, none);
    let (_, ids, unknown) = listed(by_state(&["Empty", "Odd"]));
    assert_eq!((ids, unknown), (only_idle.clone(), vec!["Odd".to_owned()]));
    assert_eq!(listed(by_state(&["Odd"])).1, none);
    let by_producer = all().with_producer_id_filters(vec![ProducerId(idler.0)]);
    assert_eq!(listed(by_producer).1, only_idle);
    if version >= 1 {
        // What never ran has been running since the beginning of time.
        let long = all().with_duration_filter(3_600_000);
        assert_eq!(listed(long).1, only_idle);
        assert_eq!(listed(all().with_duration_filter(-1)).1, both);
    }
    if version >= 2 {
        let by_pattern = |pattern: &str| all().with_transactional_id_pattern(Some(text(pattern)));
        assert_eq!(listed(by_pattern(".*-open")).1, only_open);
        assert_eq!(listed(by_pattern("-open")).1, none);
        assert_eq!(listed(by_pattern("")).1, both);
        assert_eq!(
            listed(by_pattern("(")).0,
            ErrorCode::InvalidRegularExpression
        );
    }
}

#[test]
fn a_batch_begins_nothing_that_its_coordinator_does_not_know_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let producer = init(&mut client, "x");
    let to_t = |client: &mut Client, version, producer, sequence| {
        send(
            client,
            version,
            Some("x"),
            "t",
            batch(producer, sequence, "v"),
        )
    };
    // Nobody added the partition; old clients know no better word for it.
    assert_eq!(
        to_t(&mut client, 10, producer, 0),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(
        to_t(&mut client, 11, producer, 0),
        ErrorCode::TransactionAbortable
    );
    let without_id = send(&mut client, 10, None, "t", batch(producer, 0, "v"));
    assert_eq!(without_id, ErrorCode::TransactionalIdAuthorizationFailed);
    let fenced = (producer.0, producer.1 + 3);
    assert_eq!(
        to_t(&mut client, 12, fenced, 0),
        ErrorCode::InvalidProducerEpoch
    );
    let stranger = (producer.0 + 999, 0);
    let unmapped = ErrorCode::InvalidProducerIdMapping;
    assert_eq!(to_t(&mut client, 12, stranger, 0), unmapped);
    assert_eq!(latest(&mut client, "t", 0), 0, "something was written");

    let asked = add_request("x", producer, "t", 0);
    assert_eq!(add(&mut client, 3, asked.clone()), ErrorCode::None);
    assert_eq!(to_t(&mut client, 10, producer, 0), ErrorCode::None);
    assert_eq!(end_as(&mut client, 4, "x", producer, true).err(), None);
    // In one epoch sequences go on, and a batch that comes late has no transaction.
    assert_eq!(
        to_t(&mut client, 10, producer, 1),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(add(&mut client, 3, asked), ErrorCode::None);
    assert_eq!(to_t(&mut client, 10, producer, 1), ErrorCode::None);
    node.stop().expect("a clean stop");
}

#[test]
fn partitions_are_not_verified_where_that_is_switched_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(
        dir.path(),
        &["transaction.partition.verification.enable=false"],
    );
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let producer = init(&mut client, "x");
    let sent = send(&mut client, 11, Some("x"), "t", batch(producer, 0, "v"));
    assert_eq!(sent, ErrorCode::None);
    assert_eq!(&*describe(&mut client, "x").transaction_state, "Empty");
    node.stop().expect("a clean stop");
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_may_begin_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &["transaction.max.timeout.ms=5000"]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    for timeout_ms in [0, -1, 5001] {
        let refused = init_as(&mut client, 5, "x", timeout_ms, (-1, -1));
        assert_eq!(
            refused,
            Err(ErrorCode::InvalidTransactionTimeout),
            "{timeout_ms} ms"
        );
    }
    let producer = init_as(&mut client, 5, "x", 50, (-1, -1)).expect("a producer");
    assert_eq!(
        produce(&mut client, "x", "t", producer, "late"),
        ErrorCode::None
    );
    until("the transaction is aborted", || {
        latest(&mut client, "t", 1) == 2
    });
    assert_eq!(committed(&mut client, "t"), [""; 0]);
    // It is told on every way there is.
    let fenced = ErrorCode::ProducerFenced;
    assert_eq!(end_as(&mut client, 5, "x", producer, true), Err(fenced));
    let late = send(&mut client, 12, Some("x"), "t", batch(producer, 1, "later"));
    assert_eq!(late, ErrorCode::InvalidProducerEpoch);
    let again = init_as(&mut client, 5, "x", 5_000, producer).expect("the next epoch");
    assert_eq!(
        produce(&mut client, "x", "t", again, "kept"),
        ErrorCode::None
    );
    end(&mut client, "x", again, true);
    assert_eq!(committed(&mut client, "t"), ["kept"]);
    node.stop().expect("a clean stop");
}

#[test]
fn a_new_producer_fences_the_one_before_and_its_transaction() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let first = init(&mut client, "x");
    assert_eq!(first.1, 0, "an id nobody has used begins at epoch 0");
    assert_eq!(
        produce(&mut client, "x", "t", first, "first"),
        ErrorCode::None
    );
    let concurrent = Err(ErrorCode::ConcurrentTransactions);
    assert_eq!(init_as(&mut client, 5, "x", 60_000, (-1, -1)), concurrent);
    let second = init(&mut client, "x");
    // Once for the abort, once for the new producer.
    assert_eq!(second, (first.0, 2));
    assert_eq!(
        produce(&mut client, "x", "t", second, "second"),
        ErrorCode::None
    );
    for (version, fenced) in [
        (1, ErrorCode::InvalidProducerEpoch),
        (2, ErrorCode::ProducerFenced),
        (5, ErrorCode::ProducerFenced),
    ] {
        // Also a commit that was under way for long: it ends nothing of the second's.
        assert_eq!(end_as(&mut client, version, "x", first, true), Err(fenced));
    }
    let known = init_as(&mut client, 3, "x", 60_000, first);
    assert_eq!(
        known, concurrent,
        "while one is open everybody is sent away"
    );
    let second = init(&mut client, "x");
    let known = init_as(&mut client, 3, "x", 60_000, first);
    assert_eq!(known, Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(
        init_as(&mut client, 4, "x", 60_000, first),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(committed(&mut client, "t"), [""; 0]);
    let again = init_as(&mut client, 5, "x", 60_000, second).expect("the next epoch");
    assert_eq!(again, (second.0, second.1 + 1));
    // Its answer was lost: the same is told again.
    assert_eq!(init_as(&mut client, 5, "x", 60_000, second), Ok(again));
    for half in [(-1, 0), (second.0, -1)] {
        let refused = init_as(&mut client, 5, "x", 60_000, half);
        assert_eq!(refused, Err(ErrorCode::InvalidRequest));
    }
    node.stop().expect("a clean stop");
}

#[test]
fn transactions_and_their_offsets_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = node(dir.path(), &[]);
    let mut client = Client::connect(&first);
    for topic in ["t", "read"] {
        assert_eq!(create(&mut client, topic, 1), 0);
    }
    let producer = init(&mut client, "x");
    let request = offset_commit(5, "x", producer, "g", 7);
    assert_eq!(commit_offset(&mut client, 5, &request), ErrorCode::None);
    assert_eq!(
        produce(&mut client, "x", "t", producer, "a"),
        ErrorCode::None
    );
    let aborting = init(&mut client, "y");
    let request = offset_commit(5, "y", aborting, "h", 8);
    assert_eq!(commit_offset(&mut client, 5, &request), ErrorCode::None);
    first.stop().expect("a clean stop");

    let second = node(dir.path(), &[]);
    let mut client = Client::connect(&second);
    assert_eq!(offset(&mut client, "g", false), Ok(-1));
    let unstable = Err(ErrorCode::UnstableOffsetCommit);
    assert_eq!(offset(&mut client, "g", true), unstable);
    assert_eq!(offset(&mut client, "h", true), unstable);
    assert_eq!(committed(&mut client, "t"), [""; 0]);
    // What was open goes on, in its epoch.
    let more = send(&mut client, 12, Some("x"), "t", batch(producer, 1, "b"));
    assert_eq!(more, ErrorCode::None);
    end(&mut client, "x", producer, true);
    end(&mut client, "y", aborting, false);
    assert_eq!(offset(&mut client, "g", true), Ok(7));
    assert_eq!(offset(&mut client, "h", true), Ok(-1));
    second.stop().expect("a clean stop");

    let third = node(dir.path(), &[]);
    let mut client = Client::connect(&third);
    assert_eq!(committed(&mut client, "t"), ["a", "b"]);
    assert_eq!(offset(&mut client, "g", true), Ok(7));
    assert_eq!(offset(&mut client, "h", true), Ok(-1));
    assert_eq!(init(&mut client, "x"), (producer.0, producer.1 + 2));
    third.stop().expect("a clean stop");
}

#[test]
fn the_version_that_was_agreed_on_outlives_a_restart_and_decides_about_epochs() {
    let dir = tempfile::tempdir().expect("a folder");
    let level = |node: &Node| {
        node.services()
            .features()
            .finalized()
            .iter()
            .find(|feature| feature.name == "transaction.version")
            .map(|feature| feature.level)
    };
    let first = node(dir.path(), &[]);
    assert_eq!(level(&first), Some(2));
    let mut client = Client::connect(&first);
    let lower = FeatureUpdateKey::default()
        .with_feature(text("transaction.version"))
        .with_max_version_level(0)
        .with_upgrade_type(3);
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(10_000)
        .with_feature_updates(vec![lower]);
    assert_eq!(client.call(1, &request).error_code, 0);
    first.stop().expect("a clean stop");

    let second = node(dir.path(), &[]);
    assert_eq!(level(&second), None);
    let mut client = Client::connect(&second);
    assert_eq!(create(&mut client, "t", 1), 0);
    let producer = init(&mut client, "x");
    assert_eq!(
        add(&mut client, 3, add_request("x", producer, "t", 0)),
        ErrorCode::None
    );
    assert_eq!(
        send(&mut client, 11, Some("x"), "t", batch(producer, 0, "a")),
        ErrorCode::None
    );
    assert!(end_as(&mut client, 4, "x", producer, true).is_ok());
    assert_eq!(committed(&mut client, "t"), ["a"]);
    let state = describe(&mut client, "x");
    assert_eq!((state.producer_id.0, state.producer_epoch), producer);

    // As from a directory that an earlier release made: an operator raises it, also while a transaction is
    // open, which ends as it began.
    let append = |client: &mut Client, version, producer, sequence, value| {
        send(
            client,
            version,
            Some("x"),
            "t",
            batch(producer, sequence, value),
        )
    };
    let added = add(&mut client, 3, add_request("x", producer, "t", 0));
    assert_eq!(added, ErrorCode::None);
    assert_eq!(append(&mut client, 11, producer, 1, "b"), ErrorCode::None);
    let higher = FeatureUpdateKey::default()
        .with_feature(text("transaction.version"))
        .with_max_version_level(2)
        .with_upgrade_type(1);
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(10_000)
        .with_feature_updates(vec![higher]);
    assert_eq!(client.call(1, &request).error_code, 0);
    assert_eq!(level(&second), Some(2));
    assert!(end_as(&mut client, 4, "x", producer, true).is_ok());
    until("it is committed", || {
        committed(&mut client, "t") == ["a", "b"]
    });
    // The next one adds its partition with its first batch, and its end takes the epoch out of use.
    let producer = init(&mut client, "x");
    assert_eq!(append(&mut client, 12, producer, 0, "c"), ErrorCode::None);
    let next = end(&mut client, "x", producer, true);
    assert_eq!(next, (producer.0, producer.1 + 1));
    until("it is committed", || {
        committed(&mut client, "t") == ["a", "b", "c"]
    });
    second.stop().expect("a clean stop");
}

/// Writes a record of the coordinator itself: what it had decided when the process was killed.
fn decide_and_crash(node: &Node, name: &str, producer: Producer, state: State, topics: &[&str]) {
    let partitions = topics.iter().map(|topic| ((*topic).into(), 0));
    let txn = Txn {
        producer: ask::Producer {
            id: producer.0,
            epoch: producer.1 + 1,
        },
        previous_producer_id: producer.0,
        next_producer_id: -1,
        last_epoch: -1,
        timeout_ms: 60_000,
        state,
        partitions: partitions.collect(),
        started_ms: 1,
        updated_ms: 1,
        client_version: 2,
        is_fenced: false,
    };
    let record = TxnRecord {
        id: name.into(),
        txn: Some(txn),
    };
    let (key, value) = record.encode(2).expect("a record");
    let mut builder = BatchBuilder::new(0);
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    let now_ms = reka_broker::clock::Clock::System.now_ms();
    builder
        .append(0, now_ms, Some(&key), value.as_deref(), headers)
        .expect("a record");
    let index = partition_for(name, 2).expect("a partition");
    let partitions = &node.services().partitions;
    let partition = partitions
        .get("__transaction_state", index)
        .expect("it is led here");
    let rules = node.services().rules_of(&partition, now_ms);
    let written = partition.append(&mut builder.finish(), &rules, &mut Vec::new());
    written.expect("a record in the log");
}

#[test]
fn what_was_decided_before_a_crash_is_carried_out_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = node(dir.path(), &[]);
    let mut client = Client::connect(&first);
    for topic in ["t", "read", "gone"] {
        assert_eq!(create(&mut client, topic, 1), 0);
    }
    let mut producers = Vec::new();
    for (name, offset) in [("kept", 7), ("undone", 8)] {
        let producer = init(&mut client, name);
        let request = offset_commit(5, name, producer, name, offset);
        assert_eq!(commit_offset(&mut client, 5, &request), ErrorCode::None);
        for topic in ["t", "gone"] {
            assert_eq!(
                produce(&mut client, name, topic, producer, name),
                ErrorCode::None
            );
        }
        producers.push(producer);
    }
    // One of the partitions does not live to hear of it.
    let delete = DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name("gone")])
        .with_timeout_ms(10_000);
    assert_eq!(client.call(5, &delete).responses[0].error_code, 0);
    let reached = ["__consumer_offsets", "gone", "t"];
    decide_and_crash(&first, "kept", producers[0], State::PrepareCommit, &reached);
    decide_and_crash(
        &first,
        "undone",
        producers[1],
        State::PrepareAbort,
        &reached,
    );
    first
        .stop()
        .expect("a stop that the coordinator knows nothing of");

    let second = node(dir.path(), &[]);
    let mut client = Client::connect(&second);
    until("both are carried out", || {
        let state =
            |client: &mut Client, name| describe(client, name).transaction_state.to_string();
        state(&mut client, "kept") == "CompleteCommit"
            && state(&mut client, "undone") == "CompleteAbort"
    });
    assert_eq!(committed(&mut client, "t"), ["kept"]);
    assert_eq!(latest(&mut client, "t", 1), latest(&mut client, "t", 0));
    assert_eq!(offset(&mut client, "kept", true), Ok(7));
    assert_eq!(offset(&mut client, "undone", true), Ok(-1));
    // The answer to the end was lost in the crash.
    let next = (producers[0].0, producers[0].1 + 1);
    assert_eq!(end_as(&mut client, 5, "kept", producers[0], true), Ok(next));
    assert_eq!(
        produce(&mut client, "kept", "t", next, "more"),
        ErrorCode::None
    );
    second.stop().expect("a clean stop");
}

#[test]
fn a_partition_that_does_not_listen_is_told_again_and_the_others_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    let mut client = Client::connect(&node);
    for topic in ["deaf", "t"] {
        assert_eq!(create(&mut client, topic, 1), 0);
    }
    let producer = init(&mut client, "x");
    for topic in ["deaf", "t"] {
        assert_eq!(
            produce(&mut client, "x", topic, producer, "v"),
            ErrorCode::None
        );
    }
    let partitions = &node.services().partitions;
    let deaf = partitions.remove_topic("deaf");
    // Decided, and so answered, though not everybody has heard.
    let next = end(&mut client, "x", producer, true);
    assert_eq!(
        &*describe(&mut client, "x").transaction_state,
        "PrepareCommit"
    );
    let concurrent = ErrorCode::ConcurrentTransactions;
    assert_eq!(produce(&mut client, "x", "t", next, "w"), concurrent);
    // Long enough for it to be told several times.
    let later = Instant::now() + Duration::from_millis(500);
    until("some time has passed", || Instant::now() > later);
    assert_eq!(latest(&mut client, "t", 0), 2, "one record and one marker");
    let refused = &node.services().metrics.transactions.markers_refused;
    assert!(refused.get() > 1, "told {} times", refused.get());
    deaf.into_iter()
        .for_each(|partition| partitions.insert(partition));
    until("it has listened", || {
        &*describe(&mut client, "x").transaction_state == "CompleteCommit"
    });
    for topic in ["deaf", "t"] {
        assert_eq!(committed(&mut client, topic), ["v"]);
        assert_eq!(latest(&mut client, topic, 0), 2);
    }
    assert_eq!(produce(&mut client, "x", "t", next, "w"), ErrorCode::None);
    node.stop().expect("a clean stop");
}

/// All ids there is room for have transactions under way: none can be forgotten for a new one.
#[test]
fn an_id_that_there_is_no_room_for_is_refused_and_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &["reka.transactional.ids.per.partition.max=16"]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let here = |name: &&String| partition_for(name, 2) == Some(0);
    let names: Vec<String> = (0..200).map(|number| format!("id-{number}")).collect();
    // Twice as many as are kept while nobody uses them.
    let names: Vec<&String> = names.iter().filter(here).take(33).collect();
    let refused = &node.services().metrics.transactions.ids_refused;
    for name in &names[..32] {
        let producer = init(&mut client, name);
        assert_eq!(
            produce(&mut client, name, "t", producer, "v"),
            ErrorCode::None
        );
    }
    assert_eq!(refused.get(), 0);
    let answer = init_as(&mut client, 5, names[32], 60_000, (-1, -1));
    assert_eq!(answer, Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(refused.get(), 1);
    node.stop().expect("a clean stop");
}

/// The partition has heard of a newer coordinator, as if leadership had moved while this one was cut off.
#[test]
fn a_coordinator_that_was_replaced_ends_nothing_and_does_not_go_on_trying() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let producer = init(&mut client, "x");
    let told_by = |client: &mut Client, coordinator_epoch: i32, epoch: i16, commit: bool| {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(epoch)
            .with_coordinator_epoch(coordinator_epoch)
            .with_transaction_result(commit)
            .with_topics(vec![topic]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let answer = client.call(1, &request);
        code(answer.markers[0].topics[0].partitions[0].error_code)
    };
    assert_eq!(
        told_by(&mut client, 1000, producer.1, false),
        ErrorCode::None
    );
    assert_eq!(
        produce(&mut client, "x", "t", producer, "v"),
        ErrorCode::None
    );
    // The decision stands in its log, and is for the one that replaced it to carry out.
    let next = end(&mut client, "x", producer, true);
    assert_eq!(next, (producer.0, producer.1 + 1));
    let state = |client: &mut Client| describe(client, "x").transaction_state.to_string();
    // Long enough for it to be told several times.
    let later = Instant::now() + Duration::from_millis(500);
    until("some time has passed", || Instant::now() > later);
    assert_eq!(state(&mut client), "PrepareCommit");
    assert_eq!(
        latest(&mut client, "t", 0),
        2,
        "the first marker and one record"
    );
    assert_eq!(latest(&mut client, "t", 1), 1, "nothing is committed");
    assert_eq!(told_by(&mut client, 1000, next.1, true), ErrorCode::None);
    assert_eq!(committed(&mut client, "t"), ["v"]);
    node.stop().expect("a clean stop");
}

#[test]
fn a_transactional_batch_that_wants_no_answer_gets_none_and_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = node(dir.path(), &[]);
    let mut client = Client::connect(&node);
    assert_eq!(create(&mut client, "t", 1), 0);
    let producer = init(&mut client, "x");
    let request = |producer| {
        produce_request("t", batch(producer, 0, "v"))
            .with_acks(0)
            .with_transactional_id(Some(id("x")))
    };
    client.send(PRODUCE_ADDS, &request(producer));
    // The next answer is that of the next question.
    assert_eq!(&*describe(&mut client, "x").transaction_state, "Ongoing");
    end(&mut client, "x", producer, true);
    assert_eq!(committed(&mut client, "t"), ["v"]);
    // Of an epoch that is over: the connection is closed, which is all such a client can notice.
    client.send(PRODUCE_ADDS, &request(producer));
    assert!(client.is_closed());
    node.stop().expect("a clean stop");
}
