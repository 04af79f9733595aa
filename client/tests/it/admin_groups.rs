//! Groups without members: their offsets are set, read, deleted, and they with them.

use reka_client::TopicPartition;
use reka_client::admin::{NewTopic, OffsetToCommit};
use reka_protocol::ErrorCode;

use crate::admin_topics::client;
use crate::server::{Server, create};

#[tokio::test]
async fn offsets_are_committed_read_and_deleted_and_the_group_goes_with_the_last() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("grouped").partitions(2)];
    create(&client, &new).await;
    let at = |partition| TopicPartition::new("grouped", partition);
    let mut second = OffsetToCommit::new(8);
    second.metadata = "half".to_owned();
    let offsets = [(at(0), OffsetToCommit::new(5)), (at(1), second)];
    let committed = client.commit_group_offsets("readers", &offsets).await;
    for (partition, outcome) in committed.expect("answers") {
        outcome.unwrap_or_else(|refusal| panic!("{partition}: {refusal}"));
    }

    let listed = client.list_groups().await.expect("groups");
    let readers = listed.iter().find(|group| group.id == "readers");
    assert_eq!(readers.expect("listed").state, "Empty");
    let asked = ["readers".to_owned(), "readers-none".to_owned()];
    let described = client.describe_groups(&asked).await.expect("answers");
    let group = described[0].1.as_ref().expect("described");
    assert_eq!((group.state.as_str(), group.members.len()), ("Empty", 0));
    match &described[1].1 {
        Ok(dead) => assert_eq!(dead.state, "Dead"),
        Err(refusal) => assert!(refusal.is(ErrorCode::GroupIdNotFound), "{refusal}"),
    }

    let read = client.group_offsets("readers").await.expect("offsets");
    assert_eq!(read[&at(0)].offset, 5);
    assert_eq!(
        (read[&at(1)].offset, read[&at(1)].metadata.as_str()),
        (8, "half")
    );

    let deleted = client.delete_group_offsets("readers", &[at(1)]).await;
    assert!(deleted.expect("answers")[0].1.is_ok());
    let read = client.group_offsets("readers").await.expect("offsets");
    assert_eq!(read.keys().collect::<Vec<_>>(), [&at(0)]);

    let deleted = client.delete_groups(&asked).await.expect("answers");
    assert!(deleted[0].1.is_ok());
    let refused = deleted[1].1.as_ref().expect_err("never there");
    assert!(refused.is(ErrorCode::GroupIdNotFound), "{refused}");
    let listed = client.list_groups().await.expect("groups");
    assert!(listed.iter().all(|group| group.id != "readers"));
}
