//! `rkctl doctor`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use reka_client::admin::{ConfigEntry, Resource};
use reka_client::{Client, Target, TopicInfo};

use super::cluster::health::{self, Finding, Findings};
use crate::failure::Failure;
use crate::properties;
use crate::session::Session;

/// What is wrong now is found as by rkctl cluster health; beside that what will be wrong on a bad day:
/// brokers that tell clients addresses which lead nowhere, topics that a single broker takes with it,
/// settings that lose records. Exits with 4 where there is a finding.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Settings of a client to look at as well, as Java's clients or librdkafka read them
    #[arg(long, value_name = "FILE")]
    client: Option<PathBuf>,
}

impl Doctor {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        let mut findings = health::look(client).await?;
        findings.extend(addresses(client).await?);
        let brokers: Vec<i32> = client
            .brokers()
            .await?
            .iter()
            .map(|broker| broker.id)
            .collect();
        for id in &brokers {
            let entries = client
                .describe_config(&Resource::broker(*id), false)
                .await?;
            findings.extend(of_broker(*id, &values(&entries), brokers.len()));
        }
        for topic in client.list_topics().await? {
            let resource = Resource::topic(&topic.name);
            // One that is deleted meanwhile needs no doctor.
            if let Ok(entries) = client.describe_config(&resource, false).await {
                findings.extend(of_topic(&topic, &values(&entries), brokers.len()));
            }
        }
        if let Some(file) = &self.client {
            let settings = properties::read(file).map_err(Failure::usage)?;
            findings.extend(of_client(&file.display().to_string(), &settings));
        }
        Findings::new(findings).show(session)
    }
}

fn finding(subject: &str, problem: impl Into<String>, advice: &str) -> Finding {
    Finding {
        subject: subject.to_owned(),
        problem: problem.into(),
        advice: advice.to_owned(),
    }
}

fn values(entries: &[ConfigEntry]) -> BTreeMap<String, String> {
    entries
        .iter()
        .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)))
        .collect()
}

/// Whether every broker is where it tells clients to come: the first hour's most frequent mistake.
async fn addresses(client: &Client) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for broker in client.brokers().await? {
        let lane = reka_client::pool::Lane::Control;
        if let Err(error) = client.connection(Target::Broker(broker.id), lane).await {
            findings.push(finding(
                &format!("broker {}", broker.id),
                format!(
                    "it tells clients to come to {}, which leads nowhere: {error}",
                    broker.address
                ),
                "set advertised.listeners to an address that can be reached from here",
            ));
        }
    }
    Ok(findings)
}

fn of_broker(id: i32, values: &BTreeMap<String, String>, brokers: usize) -> Vec<Finding> {
    let subject = format!("broker {id}");
    let value = |key: &str| values.get(key).map(String::as_str);
    let number = |key: &str| value(key).and_then(|value| value.parse::<usize>().ok());
    let mut findings = Vec::new();
    let mut add = |problem: String, advice: &str| findings.push(finding(&subject, problem, advice));
    if value("unclean.leader.election.enable") == Some("true") {
        add(
            "unclean.leader.election.enable=true: a replica that lacks records may lead".to_owned(),
            "rkctl cluster config set unclean.leader.election.enable=false",
        );
    }
    if brokers > 1 {
        for key in [
            "offsets.topic.replication.factor",
            "transaction.state.log.replication.factor",
        ] {
            if let Some(count) = number(key).filter(|count| *count < brokers.min(3)) {
                add(
                    format!("{key}={count}: groups or transactions stop with one broker"),
                    "set it to 3 before the topic is made; move its partitions after",
                );
            }
        }
        if number("default.replication.factor") == Some(1) {
            add(
                "default.replication.factor=1: new topics live on one broker".to_owned(),
                "rkctl cluster config set default.replication.factor=3",
            );
        }
    }
    findings
}

fn of_topic(topic: &TopicInfo, values: &BTreeMap<String, String>, brokers: usize) -> Vec<Finding> {
    let subject = format!("topic {}", topic.name);
    let copies = topic
        .partitions
        .iter()
        .map(|info| info.replicas.len())
        .min()
        .unwrap_or(0);
    let least = values
        .get("min.insync.replicas")
        .and_then(|least| least.parse::<usize>().ok());
    let least = least.unwrap_or(1);
    let mut findings = Vec::new();
    let mut add = |problem: String, advice: &str| findings.push(finding(&subject, problem, advice));
    if copies < least {
        add(
            format!("min.insync.replicas={least} and only {copies} replicas: acks=all is refused"),
            "lower min.insync.replicas, or add replicas with rkctl cluster partitions move",
        );
    } else if copies == least && copies > 1 {
        add(
            format!(
                "min.insync.replicas={least} of {copies} replicas: one broker down stops acks=all"
            ),
            "lower min.insync.replicas by one, or add a replica",
        );
    }
    if brokers > 1 && copies == 1 {
        add(
            "its partitions have one replica: a broker that is lost takes them with it".to_owned(),
            "add replicas with rkctl cluster partitions move",
        );
    } else if copies >= 3 && least == 1 {
        add(
            format!("min.insync.replicas=1 of {copies} replicas: acks=all may mean one broker"),
            "rkctl topic config set TOPIC min.insync.replicas=2",
        );
    }
    findings
}

/// Settings of producers and consumers that lose or double records, or wait where nobody expects it.
fn of_client(file: &str, settings: &BTreeMap<String, String>) -> Vec<Finding> {
    let value = |key: &str| settings.get(key).map(|value| value.trim());
    let number = |key: &str| value(key).and_then(|value| value.parse::<i64>().ok());
    let mut findings = Vec::new();
    let mut add = |problem: &str, advice: &str| findings.push(finding(file, problem, advice));
    let acks = value("acks").or(value("request.required.acks"));
    match acks {
        Some("0") => add(
            "acks=0: records that no broker has taken are counted as sent",
            "set acks=all",
        ),
        Some("1") => add(
            "acks=1: records that only one broker has are lost with it",
            "set acks=all",
        ),
        _ => {}
    }
    if value("enable.idempotence") == Some("false") {
        add(
            "enable.idempotence=false: retries double records and change their order",
            "leave it out, or set it to true",
        );
    }
    if number("retries") == Some(0) {
        add(
            "retries=0: an election of a leader is an error for the program",
            "leave it out, and set delivery.timeout.ms to how long to try",
        );
    }
    let in_flight = number("max.in.flight.requests.per.connection");
    if in_flight.is_some_and(|count| count > 5) && value("enable.idempotence") != Some("false") {
        add(
            "max.in.flight.requests.per.connection is above 5, which idempotence does not allow",
            "set it to 5 or less",
        );
    }
    if let (Some(session), Some(heartbeat)) = (
        number("session.timeout.ms"),
        number("heartbeat.interval.ms"),
    ) && heartbeat * 3 > session
    {
        add(
            "heartbeat.interval.ms is more than a third of session.timeout.ms: two late heartbeats \
             end the membership",
            "set heartbeat.interval.ms to a third of session.timeout.ms or less",
        );
    }
    if let Err(error) = reka_client::Security::from_settings(settings) {
        add(
            &error.to_string(),
            "mend the setting; rkctl --command-config tries it",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[&str]) -> BTreeMap<String, String> {
        properties::parse(&lines.join("\n"))
    }

    #[test]
    fn settings_of_clients_that_lose_records_are_found() {
        let check = |lines: &[&str], expected: &[&str]| {
            let found = of_client("f", &settings(lines));
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, expected) in found.iter().zip(expected) {
                assert!(finding.problem.contains(expected), "{finding:?}");
            }
        };
        check(&["acks=all", "enable.idempotence=true"], &[]);
        check(&[], &[]);
        check(&["acks=1"], &["acks=1"]);
        check(&["acks=0", "retries=0"], &["acks=0", "retries=0"]);
        check(&["enable.idempotence=false"], &["double records"]);
        check(&["max.in.flight.requests.per.connection=6"], &["above 5"]);
        check(
            &["session.timeout.ms=6000", "heartbeat.interval.ms=3000"],
            &["a third"],
        );
        check(&["security.protocol=TLS"], &["security.protocol"]);
    }

    fn topic(copies: i32) -> TopicInfo {
        TopicInfo {
            name: "t".to_owned(),
            id: uuid::Uuid::nil(),
            is_internal: false,
            partitions: vec![reka_client::PartitionInfo {
                index: 0,
                leader: Some(1),
                leader_epoch: 0,
                replicas: (1..=copies).collect(),
                in_sync: (1..=copies).collect(),
                offline: Vec::new(),
            }],
        }
    }

    #[test]
    fn topics_that_one_broker_stops_or_takes_with_it_are_found() {
        let check = |copies: i32, least: &str, brokers: usize, expected: Option<&str>| {
            let values = settings(&[&format!("min.insync.replicas={least}")]);
            let found = of_topic(&topic(copies), &values, brokers);
            match expected {
                None => assert_eq!(found, []),
                Some(text) => assert!(found[0].problem.contains(text), "{found:?}"),
            }
        };
        check(1, "1", 1, None);
        check(3, "2", 3, None);
        check(1, "1", 3, Some("takes them with it"));
        check(3, "3", 3, Some("one broker down stops"));
        check(1, "2", 1, Some("acks=all is refused"));
        check(3, "1", 3, Some("may mean one broker"));
    }

    #[test]
    fn brokers_that_lose_records_or_stop_groups_are_found() {
        let alone = settings(&["offsets.topic.replication.factor=1"]);
        assert_eq!(of_broker(1, &alone, 1), []);
        assert!(of_broker(1, &alone, 3)[0].problem.contains("groups"));
        let unclean = settings(&["unclean.leader.election.enable=true"]);
        assert!(
            of_broker(1, &unclean, 1)[0]
                .problem
                .contains("lacks records")
        );
    }
}
