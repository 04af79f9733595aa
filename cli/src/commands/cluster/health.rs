//! `rkctl cluster health`.

use clap::Args;
use reka_client::{Client, ClientError, TopicInfo};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::table::{Page, Table};

/// Exits with 4 where something is wrong, so that scripts can ask.
#[derive(Debug, Args)]
pub(crate) struct Health {}

#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    healthy: bool,
    pub(crate) findings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let healthy = findings.is_empty();
        Findings { healthy, findings }
    }

    /// Shows them; where there are any that is the exit code.
    pub(crate) fn show(self, session: &Session) -> Result<(), Failure> {
        session.show(&self)?;
        match self.findings.len() {
            0 => Ok(()),
            count => Err(Failure::unhealthy(count)),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What has it, such as `partition orders-3`.
    pub(crate) subject: String,
    pub(crate) problem: String,
    pub(crate) advice: String,
}

impl Report for Findings {
    fn page(&self) -> Page {
        if self.findings.is_empty() {
            return Page::default().line("healthy: no finding");
        }
        let mut table = Table::new(["WHAT", "PROBLEM", "WHAT TO DO"]);
        for finding in &self.findings {
            table.row([
                finding.subject.clone(),
                finding.problem.clone(),
                finding.advice.clone(),
            ]);
        }
        table.into()
    }
}

/// A disk that is fuller than this is a finding.
const USED_SHARE_MAX: f64 = 0.9;

impl Health {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = session.client().await?;
        Findings::new(look(client).await?).show(session)
    }
}

/// Everything that is wrong with the cluster right now.
pub(crate) async fn look(client: &Client) -> Result<Vec<Finding>, Failure> {
    let cluster = client.describe_cluster().await?;
    let mut findings = Vec::new();
    for broker in &cluster.brokers {
        let subject = format!("broker {}", broker.id);
        if broker.is_fenced {
            findings.push(Finding {
                subject: subject.clone(),
                problem: "it is fenced: it leads nothing".to_owned(),
                advice: "it has not caught up or does not reach the controller: see its log"
                    .to_owned(),
            });
        }
        match client.describe_log_dirs(broker.id).await {
            Ok(dirs) => findings.extend(dirs.iter().filter_map(|(path, dir)| {
                let subject = format!("{subject} directory {path}");
                match dir {
                    Ok(dir) => full(subject, dir.total_bytes, dir.usable_bytes),
                    Err(refusal) => Some(Finding {
                        subject,
                        problem: format!("it has failed: {refusal}"),
                        advice: "replace the disk and restart the broker".to_owned(),
                    }),
                }
            })),
            Err(error) => findings.push(unreachable(subject, &error)),
        }
    }
    match client.describe_quorum().await {
        Ok(quorum) if quorum.leader.is_none() => findings.push(Finding {
            subject: "the metadata quorum".to_owned(),
            problem: "it has no leader: nothing can be changed".to_owned(),
            advice: "bring back a majority of its voters".to_owned(),
        }),
        Ok(_) | Err(ClientError::Unsupported { .. }) => {}
        Err(error) => findings.push(unreachable("the metadata quorum".to_owned(), &error)),
    }
    for topic in client.list_topics().await? {
        findings.extend(of_topic(&topic));
    }
    Ok(findings)
}

fn unreachable(subject: String, error: &ClientError) -> Finding {
    Finding {
        subject,
        problem: format!("it does not answer: {error}"),
        advice: "see whether it runs, and its log".to_owned(),
    }
}

fn full(subject: String, total: Option<i64>, usable: Option<i64>) -> Option<Finding> {
    let (total, usable) = total.zip(usable)?;
    let used = 1.0 - usable as f64 / total.max(1) as f64;
    (used > USED_SHARE_MAX).then(|| Finding {
        subject,
        problem: format!("its disk is {:.0} % full", used * 100.0),
        advice: "shorten retention, delete topics or add space; appends stop when it is full"
            .to_owned(),
    })
}

fn of_topic(topic: &TopicInfo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for partition in &topic.partitions {
        let subject = format!("partition {}-{}", topic.name, partition.index);
        if partition.leader.is_none() {
            findings.push(Finding {
                subject,
                problem: "it has no leader: nobody can read or write it".to_owned(),
                advice: format!("bring back one of brokers {:?}", partition.in_sync),
            });
        } else if partition.in_sync.len() < partition.replicas.len() {
            let missing: Vec<i32> = partition
                .replicas
                .iter()
                .filter(|id| !partition.in_sync.contains(id))
                .copied()
                .collect();
            findings.push(Finding {
                subject,
                problem: format!("replicas on brokers {missing:?} are not in sync"),
                advice: "see whether these brokers run, and their logs".to_owned(),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use reka_client::PartitionInfo;

    fn topic(leader: Option<i32>, in_sync: &[i32]) -> TopicInfo {
        TopicInfo {
            name: "t".to_owned(),
            id: uuid::Uuid::nil(),
            is_internal: false,
            partitions: vec![PartitionInfo {
                index: 0,
                leader,
                leader_epoch: 0,
                replicas: vec![1, 2, 3],
                in_sync: in_sync.to_vec(),
                offline: Vec::new(),
            }],
        }
    }

    #[test]
    fn partitions_without_leader_or_replicas_in_sync_are_findings() {
        assert_eq!(of_topic(&topic(Some(1), &[1, 2, 3])), []);
        let found = of_topic(&topic(Some(1), &[1, 3]));
        assert_eq!(found[0].problem, "replicas on brokers [2] are not in sync");
        let found = of_topic(&topic(None, &[2]));
        assert_eq!(found[0].advice, "bring back one of brokers [2]");
    }

    #[test]
    fn a_disk_is_a_finding_when_it_is_nearly_full() {
        let full = |total, usable| full("d".to_owned(), total, usable);
        assert!(full(Some(100), Some(10)).is_none());
        assert!(full(Some(100), Some(9)).is_some());
        assert!(full(Some(0), Some(0)).is_some());
        assert!(full(None, None).is_none());
    }
}
