//! Topics, records and configurations, asked for and changed as an administrator would.

use reka_client::admin::{
    ConfigChange, ConfigSource, Isolation, NewTopic, OffsetSpec, Resource, ResourceKind,
};
use reka_client::{Client, ClientConfig, TopicPartition};
use reka_protocol::ErrorCode;

use crate::server::{Server, create, eventually};

pub(crate) fn client(server: &Server) -> Client {
    Client::new(ClientConfig::new(
        server.address().parse().expect("an address"),
    ))
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn topics_are_created_listed_grown_and_deleted() {
    let server = Server::start();
    let client = client(&server);
    let new = [
        NewTopic::new("life-a").partitions(3),
        NewTopic::new("life-b"),
        NewTopic::new("life/bad"),
    ];
    let created = client.create_topics(&new, false).await.expect("answers");
    let a = created[0].1.as_ref().expect("created");
    assert!(!a.id.is_nil());
    assert_eq!((a.partitions, a.replication_factor), (3, 1));
    assert!(created[1].1.is_ok());
    let refused = created[2].1.as_ref().expect_err("a name with a slash");
    assert!(refused.is(ErrorCode::InvalidTopicException), "{refused}");
    assert!(
        refused.to_string().starts_with("topic life/bad: "),
        "{refused}"
    );

    let again = client
        .create_topics(&new[..1], false)
        .await
        .expect("answers");
    let refused = again[0].1.as_ref().expect_err("it is there");
    assert!(refused.is(ErrorCode::TopicAlreadyExists), "{refused}");

    let listed = async || {
        let listed = client.list_topics().await.expect("topics");
        let mut listed: Vec<(String, usize)> = listed
            .into_iter()
            .map(|topic| (topic.name, topic.partitions.len()))
            .collect();
        listed.retain(|(name, _)| name.starts_with("life-"));
        listed
    };
    eventually("both are listed", async || {
        listed().await == [("life-a".to_owned(), 3), ("life-b".to_owned(), 1)]
    })
    .await;

    let grown = client
        .create_partitions(&[("life-a".to_owned(), 5), ("life-b".to_owned(), 1)], false)
        .await
        .expect("answers");
    assert!(grown[0].1.is_ok());
    let refused = grown[1].1.as_ref().expect_err("no more than it has");
    assert!(refused.is(ErrorCode::InvalidPartitions), "{refused}");

    let asked = names(&["life-a", "life-none"]);
    eventually("it has five", async || {
        let described = client.describe_topics(&asked).await.expect("answers");
        described[0]
            .1
            .as_ref()
            .is_ok_and(|topic| topic.partitions.len() == 5)
    })
    .await;
    let described = client.describe_topics(&asked).await.expect("answers");
    let refused = described[1].1.as_ref().expect_err("not there");
    assert!(refused.is(ErrorCode::UnknownTopicOrPartition), "{refused}");

    let asked = names(&["life-a", "life-b", "life-none"]);
    let deleted = client.delete_topics(&asked).await.expect("answers");
    assert!(deleted[0].1.is_ok() && deleted[1].1.is_ok());
    assert!(deleted[2].1.is_err());
    eventually("none is left", async || listed().await.is_empty()).await;
}

#[tokio::test]
async fn a_dry_run_creates_nothing() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("dry").partitions(2)];
    let would = client.create_topics(&new, true).await.expect("answers");
    assert_eq!(would[0].1.as_ref().expect("would be").partitions, 2);
    let found = client
        .describe_topics(&names(&["dry"]))
        .await
        .expect("answers");
    assert!(found[0].1.is_err());
}

#[tokio::test]
async fn a_topics_configuration_is_read_set_and_unset() {
    let server = Server::start();
    let client = client(&server);
    let mut new = NewTopic::new("configured");
    new.configs = vec![("retention.ms".to_owned(), "60000".to_owned())];
    create(&client, &[new]).await;
    let topic = Resource::topic("configured");
    let value = async |key: &str| {
        let entries = client
            .describe_config(&topic, false)
            .await
            .expect("entries");
        let entry = entries.into_iter().find(|entry| entry.name == key);
        let entry = entry.expect(key);
        (entry.value.unwrap_or_default(), entry.source)
    };
    let set = ("60000".to_owned(), ConfigSource::Topic);
    eventually("the value is set", async || {
        value("retention.ms").await == set
    })
    .await;
    assert_eq!(value("segment.bytes").await.1, ConfigSource::Default);

    let changes = [
        ConfigChange::Delete("retention.ms".to_owned()),
        ConfigChange::Set("cleanup.policy".to_owned(), "compact".to_owned()),
    ];
    client
        .alter_config(&topic, &changes, true)
        .await
        .expect("it would do");
    assert_eq!(
        value("retention.ms").await,
        set,
        "a dry run changes nothing"
    );
    client
        .alter_config(&topic, &changes, false)
        .await
        .expect("it does");
    let compact = ("compact".to_owned(), ConfigSource::Topic);
    eventually(
        "one key has its default and the other its value",
        async || {
            value("retention.ms").await.1 == ConfigSource::Default
                && value("cleanup.policy").await == compact
        },
    )
    .await;

    let wrong = [ConfigChange::Set(
        "retention.ms".to_owned(),
        "soon".to_owned(),
    )];
    let refused = client.alter_config(&topic, &wrong, false).await;
    let refused = refused.expect_err("no number");
    let refusal = refused.refusal().expect("a refusal");
    assert!(refusal.is(ErrorCode::InvalidConfig), "{refused}");
    assert!(
        refused.to_string().contains("topic configured"),
        "{refused}"
    );

    let known = client
        .list_config_resources(ResourceKind::Topic)
        .await
        .expect("names");
    assert!(known.contains(&"configured".to_owned()), "{known:?}");
}

#[tokio::test]
async fn offsets_of_an_empty_topic_are_zero_and_unknown_partitions_are_refused_each() {
    let server = Server::start();
    let client = client(&server);
    let new = [NewTopic::new("offsets").partitions(2)];
    create(&client, &new).await;
    let at = |partition| TopicPartition::new("offsets", partition);
    let wanted = [
        (at(0), OffsetSpec::Latest),
        (at(1), OffsetSpec::Earliest),
        (at(2), OffsetSpec::Latest),
        (TopicPartition::new("offsets-none", 0), OffsetSpec::Latest),
        (at(0), OffsetSpec::Latest),
    ];
    let listed = client
        .list_offsets(&wanted, Isolation::ReadCommitted)
        .await
        .expect("answers");
    assert_eq!(listed.len(), 4, "what is named twice is answered once");
    assert_eq!(listed[0].1.as_ref().expect("an offset").offset, Some(0));
    assert_eq!(listed[1].1.as_ref().expect("an offset").offset, Some(0));
    let refused = listed[2].1.as_ref().expect_err("it has two");
    assert!(
        refused.to_string().contains("the topic has 2 partitions"),
        "{refused}"
    );
    assert!(listed[3].1.is_err());

    let times = [
        (at(0), OffsetSpec::At(0)),
        (at(1), OffsetSpec::MaxTimestamp),
    ];
    let listed = client.list_offsets(&times, Isolation::default()).await;
    for (_, listed) in listed.expect("answers") {
        assert_eq!(listed.expect("an answer").offset, None);
    }

    let trimmed = client.delete_records(&[(at(0), 0), (at(1), 7)]).await;
    let trimmed = trimmed.expect("answers");
    assert_eq!(trimmed[0].1, Ok(0));
    let refused = trimmed[1].1.as_ref().expect_err("it has no record 7");
    assert!(refused.is(ErrorCode::OffsetOutOfRange), "{refused}");
}
