//! A transaction that nobody is going to end: its batch is in a partition, and its coordinator does not
//! know of that. Brokers that look do not let it come to that, so they are told not to.

use reka_client::admin::{ConfigChange, Resource};
use reka_client::{Client, ClientConfig, Target};
use reka_protocol::kafka_protocol::messages::produce_request::{
    PartitionProduceData, TopicProduceData,
};
use reka_protocol::kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
};
use reka_records::BatchBuilder;
use serde_json::Value;

use crate::server::{Server, eventually, usable};
use crate::session::rkctl;

const TOPIC: &str = "hang-orders";
const SWITCH: &str = "transaction.partition.verification.enable";

/// Leaves a transaction open in the topic's partition 0, at offset 0.
async fn leave_open(client: &Client) {
    let id = || TransactionalId("hang-1".into());
    let coordinator = reka_client::Coordinator::Transaction;
    let broker = std::cell::Cell::new(None);
    eventually("there is a coordinator", async || {
        broker.set(
            client
                .find_coordinator(coordinator, "hang-1")
                .await
                .ok()
                .map(|b| b.id),
        );
        broker.get().is_some()
    })
    .await;
    let to = Target::Broker(broker.get().expect("a coordinator"));
    let producer = std::cell::Cell::new((-1, -1));
    eventually("there is a producer id", async || {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = client.ask(to, 0..=4, |_| request).await;
        let answer = answer.expect("an answer");
        producer.set((answer.producer_id.0, answer.producer_epoch));
        answer.error_code == 0
    })
    .await;
    let (producer_id, epoch) = producer.get();
    let mut batch = BatchBuilder::new(0)
        .producer(producer_id, epoch, 0)
        .transactional();
    let none: [(&[u8], Option<&[u8]>); 0] = [];
    let value = Some(b"never to be committed".as_slice());
    batch
        .append(0, 1_700_000_000_000, None, value, none)
        .expect("room");
    let records = bytes::Bytes::from(batch.finish());
    // Later versions add the partition themselves.
    let answer = client.ask(Target::Any, 3..=9, |_| {
        let partition = PartitionProduceData::default().with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(TopicName(TOPIC.into()))
            .with_partition_data(vec![partition]);
        ProduceRequest::default()
            .with_transactional_id(Some(id()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic])
    });
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn a_transaction_that_hangs_is_found_and_aborted_and_readers_go_on() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = Client::new(ClientConfig::new(
        server.address().parse().expect("an address"),
    ));
    runtime.block_on(async {
        let off = ConfigChange::Set(SWITCH.to_owned(), "false".to_owned());
        let brokers = Resource::all_brokers();
        client
            .alter_config(&brokers, &[off], false)
            .await
            .expect("set");
        rkctl(&server, &format!("topic create {TOPIC}"));
        usable(&client, TOPIC).await;
        leave_open(&client).await;
        let on = ConfigChange::Delete(SWITCH.to_owned());
        client
            .alter_config(&brokers, &[on], false)
            .await
            .expect("unset");
    });

    // Young ones may yet be ended.
    let young = rkctl(
        &server,
        &format!("txn find-hanging {TOPIC} --older-than 36500d -o json"),
    );
    assert_eq!((young.out.trim(), young.exit), ("[]", 0), "{}", young.err);
    let found = rkctl(&server, &format!("txn find-hanging {TOPIC} -o json"));
    let rows: Value = serde_json::from_str(&found.out).expect("json");
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!(rows[0]["topic"], TOPIC);
    assert_eq!(rows[0]["transaction_start_offset"], 0);
    let table = rkctl(&server, &format!("txn find-hanging {TOPIC}")).out;
    assert!(
        table.starts_with("TOPIC") && table.contains(TOPIC),
        "{table}"
    );

    // Readers of what is committed stop in front of it.
    let read = format!("topic consume {TOPIC} --committed --timeout 2s -n 1");
    std::fs::write(server.home().join("h-lines.txt"), "after\n").expect("written");
    rkctl(
        &server,
        &format!("topic produce {TOPIC} --file h-lines.txt"),
    );
    let abort = format!("txn abort {TOPIC}:0 --start-offset 0");
    let dry = rkctl(&server, &format!("{abort} --dry-run -o json"));
    assert!(
        dry.out.contains("would be aborted"),
        "{}{}",
        dry.out,
        dry.err
    );
    let asked = rkctl(&server, &abort);
    assert_eq!(asked.exit, 2, "it needs consent: {}", asked.out);
    let done = rkctl(&server, &format!("{abort} --yes -o json"));
    let row: Value = serde_json::from_str(&done.out).expect("json");
    assert_eq!((&row["status"], done.exit), (&Value::from("aborted"), 0));
    let gone = rkctl(&server, &format!("txn find-hanging {TOPIC} -o json"));
    assert_eq!(gone.out.trim(), "[]");
    let said = rkctl(&server, &read);
    assert_eq!(said.out, "after\n", "{}", said.err);
    let again = rkctl(&server, &format!("{abort} --yes"));
    assert_eq!(again.exit, 3, "{}", again.err);
}
