//! The cluster itself: brokers, quorum, features, directories, quotas, transactions.

use reka_client::admin::{Election, NewTopic, QuotaFilter};
use reka_client::{Target, TopicPartition};
use reka_protocol::{ErrorCode, versions};

use crate::admin_topics::client;
use crate::server::{Server, create, eventually};

#[tokio::test]
async fn the_cluster_tells_its_brokers_its_quorum_and_its_features() {
    let server = Server::start();
    let client = client(&server);
    let cluster = client.describe_cluster().await.expect("a cluster");
    assert_eq!(cluster.brokers.len(), 1);
    assert!(!cluster.id.is_empty());
    assert_eq!(client.cluster_id().await.expect("an id"), Some(cluster.id));
    let broker = &cluster.brokers[0];
    assert_eq!(format!("{}:{}", broker.host, broker.port), server.address());

    let quorum = client.describe_quorum().await.expect("a quorum");
    assert_eq!(quorum.voters.len(), 1);
    assert_eq!(quorum.leader, Some(quorum.voters[0].id));
    assert!(quorum.high_watermark > 0);

    let features = client.features().await.expect("features");
    let version = features.iter().find(|f| f.name == "metadata.version");
    let version = version.expect("metadata.version");
    assert!(version.finalized > 0 && version.finalized <= version.supported_max);

    let versions_of = client.broker_versions(Target::Broker(broker.id)).await;
    let metadata = versions::by_name("Metadata").expect("Metadata");
    let offered = versions_of.expect("versions").offered(metadata.key);
    assert!(offered.expect("Metadata").contains(&12));
    let nobody = client.broker_versions(Target::Broker(999)).await;
    let nobody = nobody.expect_err("no such broker").to_string();
    assert!(
        nobody.starts_with("broker 999 is not in the cluster"),
        "{nobody}"
    );
}

#[tokio::test]
async fn directories_name_the_partitions_in_them() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("stored").partitions(2)];
    create(&client, &new).await;
    let broker = client.brokers().await.expect("brokers")[0].id;
    let at = |partition| TopicPartition::new("stored", partition);
    eventually("both partitions are in the directory", async || {
        let dirs = client.describe_log_dirs(broker).await.expect("directories");
        let partitions: Vec<TopicPartition> = dirs
            .iter()
            .flat_map(|(_, dir)| &dir.as_ref().expect("a sound directory").partitions)
            .map(|log| log.partition.clone())
            .filter(|partition| partition.topic == "stored")
            .collect();
        partitions == [at(0), at(1)]
    })
    .await;
    let dirs = client.describe_log_dirs(broker).await.expect("directories");
    let dir = dirs[0].1.as_ref().expect("a sound directory");
    assert!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes > Some(0));
}

#[tokio::test]
async fn quotas_are_set_found_and_taken_away() {
    let server = Server::start();
    let client = client(&server);
    let entity = vec![("user".to_owned(), Some("quota-alice".to_owned()))];
    let rate = |value| ("producer_byte_rate".to_owned(), value);
    let set = [rate(Some(1024.0))];
    client
        .alter_quotas(&entity, &set, true)
        .await
        .expect("it would do");
    let filter = [QuotaFilter::Name(
        "user".to_owned(),
        "quota-alice".to_owned(),
    )];
    assert_eq!(client.describe_quotas(&filter).await.expect("quotas"), []);
    client
        .alter_quotas(&entity, &set, false)
        .await
        .expect("it does");
    eventually("the quota is there", async || {
        let found = client.describe_quotas(&filter).await.expect("quotas");
        let values = [("producer_byte_rate".to_owned(), 1024.0)];
        matches!(&found[..], [one] if one.entity == entity && one.values == values)
    })
    .await;
    let taken = client.alter_quotas(&entity, &[rate(None)], false).await;
    taken.expect("it does");
    eventually("the quota is gone", async || {
        let found = client.describe_quotas(&filter).await;
        found.expect("quotas").is_empty()
    })
    .await;
    let wrong = [("no_such_rate".to_owned(), Some(1.0))];
    let refused = client.alter_quotas(&entity, &wrong, false).await;
    let refused = refused.expect_err("no such key");
    assert!(
        refused
            .refusal()
            .expect("a refusal")
            .is(ErrorCode::InvalidRequest)
    );
}

#[tokio::test]
async fn transactions_and_moves_that_are_not_there_are_told_as_none() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("moved")];
    create(&client, &new).await;
    client.list_transactions().await.expect("a list");
    let ids = ["txn-none".to_owned()];
    let described = client.describe_transactions(&ids).await.expect("answers");
    let refused = described[0].1.as_ref().expect_err("no such id");
    assert!(refused.is(ErrorCode::TransactionalIdNotFound), "{refused}");
    let at = TopicPartition::new("moved", 0);
    let producers = client.describe_producers(std::slice::from_ref(&at)).await;
    assert_eq!(producers.expect("answers")[0].1, Ok(Vec::new()));

    assert!(client.list_reassignments().await.expect("moves").is_empty());
    let cancelled = client.alter_reassignments(&[(at.clone(), None)]).await;
    let cancelled = cancelled.expect("answers");
    let refused = cancelled[0].1.as_ref().expect_err("nothing to cancel");
    assert!(refused.is(ErrorCode::NoReassignmentInProgress), "{refused}");
    let elected = client
        .elect_leaders(Election::Preferred, Some(std::slice::from_ref(&at)))
        .await
        .expect("answers");
    let refused = elected[0].1.as_ref().expect_err("it leads already");
    assert!(refused.is(ErrorCode::ElectionNotNeeded), "{refused}");
}
