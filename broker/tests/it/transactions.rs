//! Transactions over the wire.

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use reka_protocol::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProducerId, TransactionalId,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::{BatchBuilder, batches};

use crate::support::{Client, fetch_request, produce_request, start, topic_name};
use crate::topics_and_records::create;

const TOPIC: &str = "t";
/// The first version in which partitions are added on the way.
const PRODUCE_ADDS: i16 = 12;

fn id(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// Makes the coordinator's topic, and the one written to.
fn prepare(client: &mut Client) {
    let find = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_static_str("x"))
        .with_key_type(1);
    let found = client.call(3, &find);
    assert_eq!(found.error_code, 0, "{:?}", found.error_message);
    assert_eq!(create(client, TOPIC, 1), 0);
}

fn init(client: &mut Client, name: &str) -> InitProducerIdResponse {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let answer = client.call(4, &request);
        let loading = [
            ErrorCode::CoordinatorLoadInProgress.code(),
            ErrorCode::NotCoordinator.code(),
        ];
        // The tasks of a new topic start a moment after it is there.
        if !loading.contains(&answer.error_code) {
            return answer;
        }
    }
}

fn batch(producer: (i64, i16), sequence: i32, value: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0)
        .producer(producer.0, producer.1, sequence)
        .transactional();
    let now_ms = reka_broker::clock::Clock.now_ms();
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    builder
        .append(0, now_ms, None, Some(value.as_bytes()), headers)
        .expect("a record");
    builder.finish()
}

fn produce(client: &mut Client, version: i16, name: &str, batch: Vec<u8>) -> ErrorCode {
    let request = produce_request(TOPIC, batch)
        .with_acks(-1)
        .with_transactional_id(Some(id(name)));
    let correlation_id = client.send(version, &request);
    let mut answer = client.receive::<ProduceRequest>(version, correlation_id);
    let partition = answer.responses.remove(0).partition_responses.remove(0);
    ErrorCode::from_code(partition.error_code).expect("a known code")
}

fn end(
    client: &mut Client,
    version: i16,
    name: &str,
    producer: (i64, i16),
    commit: bool,
) -> (ErrorCode, (i64, i16)) {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    let answer = client.call(version, &request);
    let code = ErrorCode::from_code(answer.error_code).expect("a known code");
    (code, (answer.producer_id.0, answer.producer_epoch))
}

/// What a reader of committed data is given: values that are not in an aborted transaction.
fn committed(client: &mut Client) -> Vec<String> {
    let request = fetch_request(TOPIC, 0, 0).with_isolation_level(1);
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

#[test]
fn committed_records_are_read_and_aborted_ones_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    prepare(&mut client);
    let begun = init(&mut client, "x");
    assert_eq!((begun.error_code, begun.producer_epoch), (0, 0));
    let producer = (begun.producer_id.0, 0);
    assert_eq!(
        produce(&mut client, PRODUCE_ADDS, "x", batch(producer, 0, "a")),
        ErrorCode::None
    );
    assert_eq!(committed(&mut client), [""; 0]);
    let (code, producer) = end(&mut client, 5, "x", producer, true);
    assert_eq!((code, producer.1), (ErrorCode::None, 1));
    assert_eq!(committed(&mut client), ["a"]);
    assert_eq!(
        produce(&mut client, PRODUCE_ADDS, "x", batch(producer, 0, "b")),
        ErrorCode::None
    );
    let (code, producer) = end(&mut client, 5, "x", producer, false);
    assert_eq!((code, producer.1), (ErrorCode::None, 2));
    assert_eq!(
        produce(&mut client, PRODUCE_ADDS, "x", batch(producer, 0, "c")),
        ErrorCode::None
    );
    assert_eq!(end(&mut client, 5, "x", producer, true).0, ErrorCode::None);
    assert_eq!(committed(&mut client), ["a", "c"]);
    node.stop().expect("a clean stop");
}

#[test]
fn an_older_producer_adds_partitions_itself_and_is_refused_where_it_did_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = start(dir.path());
    let mut client = Client::connect(&node);
    prepare(&mut client);
    let begun = init(&mut client, "x");
    let producer = (begun.producer_id.0, 0);
    assert_eq!(
        produce(&mut client, 10, "x", batch(producer, 0, "a")),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(
        produce(&mut client, 11, "x", batch(producer, 0, "a")),
        ErrorCode::TransactionAbortable
    );
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id("x"))
        .with_v3_and_below_producer_id(ProducerId(producer.0))
        .with_v3_and_below_producer_epoch(0)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call(3, &add);
    let result = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(result.partition_error_code, 0);
    assert_eq!(
        produce(&mut client, 10, "x", batch(producer, 0, "a")),
        ErrorCode::None
    );
    assert_eq!(end(&mut client, 4, "x", producer, true).0, ErrorCode::None);
    assert_eq!(committed(&mut client), ["a"]);
    // The epoch goes on, and so do the sequences; a batch that comes late begins nothing.
    assert_eq!(
        produce(&mut client, 10, "x", batch(producer, 1, "b")),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(client.call(3, &add).results_by_topic_v3_and_below.len(), 1);
    assert_eq!(
        produce(&mut client, 10, "x", batch(producer, 1, "b")),
        ErrorCode::None
    );
    assert_eq!(end(&mut client, 4, "x", producer, false).0, ErrorCode::None);
    assert_eq!(committed(&mut client), ["a"]);
    node.stop().expect("a clean stop");
}
