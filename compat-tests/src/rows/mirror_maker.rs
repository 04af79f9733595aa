//! MirrorMaker 2 between Apache Kafka and Reka, in both directions at once: every record of a topic is in
//! its mirror, once, with its key, and the position of a group is translated to one of the mirror that leaves no
//! record out.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use reka_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use reka_protocol::kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest, TopicName};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::connect;
use super::kill_transactions::{PARTITIONS, committed, create_topics, send};
use super::raw::{answer, group_id, wait_for_group};
use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::differential::Side;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::reka::Reka;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::{files, wait};

pub(super) const ROW: Row = Row {
    name: "mirror-maker",
    // Not in the commit tier: it takes a while to look around.
    tiers: &[Tier::Nightly],
    about: "MirrorMaker 2 between Apache Kafka and Reka, both ways, with groups' positions translated",
    judges: Judges::Both,
    run,
};

const RECORDS: u64 = 4000;
const PART: u64 = 400;
/// More, once positions are there.
const MORE: u64 = 1000;
/// What a group has read of each partition.
const READ: i64 = 900;
const GROUP: &str = "readers";
/// By how many records a translated position may be behind: MirrorMaker keeps fewer notes the older they are.
const BEHIND_MAX: i64 = 400;
const TIME_MAX: Duration = Duration::from_secs(240);
const KILL_TIME_MAX: Duration = Duration::from_secs(20);
const BROKER: &[&str] = &[
    "auto.create.topics.enable=false",
    "group.initial.rebalance.delay.ms=0",
];

/// A cluster: what MirrorMaker calls it, its topic, the mirror of the other's.
struct Cluster {
    topic: &'static str,
    mirror: &'static str,
    address: SocketAddr,
}

fn run(ctx: &Context) -> Result<Verdict> {
    let java = connect::java(ctx)?;
    let kafka = Kafka::start(&Java::kafka(ctx)?, &ctx.work().join("kafka"), BROKER)?;
    let server = Reka::build(ctx)?;
    let reka = Reka::start_with(&server, &ctx.work().join("reka"), &[], BROKER)?;
    let clusters = [
        Cluster {
            topic: "from-kafka",
            mirror: "reka.from-reka",
            address: kafka.address(),
        },
        Cluster {
            topic: "from-reka",
            mirror: "kafka.from-kafka",
            address: reka.address(),
        },
    ];
    let began = Instant::now();
    for cluster in &clusters {
        create_topics(cluster.address, &[cluster.topic])?;
    }
    let mut mirrors = start(&java, ctx.work(), &clusters)?;
    // Bit by bit: MirrorMaker notes for some of the records only where they went.
    let mut records = 0;
    while records < RECORDS {
        for cluster in &clusters {
            feed(cluster, records..records + PART)?;
        }
        records += PART;
        wait_for_mirrors(&mut mirrors, &clusters, records)?;
    }
    for cluster in &clusters {
        let mut side = Side::new("the broker", cluster.address);
        wait_for_group(&mut side, GROUP, TIME_MAX)?;
        commit(&mut side, cluster.topic)?;
    }
    let mut positions = Vec::new();
    for cluster in &clusters {
        positions.push(translated(&mut mirrors, cluster)?);
    }
    for cluster in &clusters {
        feed(cluster, records..records + MORE)?;
    }
    records += MORE;
    wait_for_mirrors(&mut mirrors, &clusters, records)?;
    for cluster in &clusters {
        let mirrored = committed(cluster.address, cluster.mirror)?;
        judge_mirror(cluster.mirror, &mirrored, records)?;
    }
    mirrors.kill(KILL_TIME_MAX)?;
    reka.stop()?;
    kafka.stop()?;
    Ok(Verdict::Passed(format!(
        "{records} records each way, position {READ} became {positions:?} of the mirrors ({:.0} s)",
        began.elapsed().as_secs_f64()
    )))
}

fn start(java: &Java, work: &Path, clusters: &[Cluster; 2]) -> Result<Process> {
    let config = work.join("mirrors.properties");
    let [kafka, reka] = clusters.each_ref().map(|cluster| cluster.address);
    files::write(
        &config,
        format!(
            "clusters=kafka,reka
kafka.bootstrap.servers={kafka}
reka.bootstrap.servers={reka}
kafka->reka.enabled=true
reka->kafka.enabled=true
kafka->reka.topics=from-kafka
reka->kafka.topics=from-reka
groups={GROUP}
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
sync.group.offsets.enabled=true
sync.group.offsets.interval.seconds=1
emit.checkpoints.interval.seconds=1
refresh.topics.interval.seconds=2
refresh.groups.interval.seconds=2
sync.topic.acls.enabled=false
offset.lag.max=10
offset.flush.interval.ms=1000
"
        ),
    )?;
    let mut command = java.command("org.apache.kafka.connect.mirror.MirrorMaker", "WARN");
    command.current_dir(work).arg(&config);
    let log = work.join("mirror-maker.log");
    Process::start("run MirrorMaker", &mut command, &log, &log)
}

/// Number n is the value of record n / 4 of partition n mod 4.
fn feed(cluster: &Cluster, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut side = Side::new("the broker", cluster.address);
    for number in numbers {
        let partition = (number % PARTITIONS as u64) as i32;
        let value = number.to_string();
        send(&mut side, cluster.topic, partition, Some("k"), &value)?;
    }
    Ok(())
}

fn wait_for_mirrors(mirrors: &mut Process, clusters: &[Cluster; 2], records: u64) -> Result<()> {
    let mut seen = [None, None];
    let waited = wait::until("wait for the mirrors", TIME_MAX, || {
        mirrors.expect_running()?;
        for (seen, cluster) in seen.iter_mut().zip(clusters) {
            // Until MirrorMaker creates it there is none.
            *seen = committed(cluster.address, cluster.mirror)
                .ok()
                .map(|values| values.len());
        }
        let all = seen
            .iter()
            .all(|seen| seen.is_some_and(|seen| seen as u64 >= records));
        Ok(all.then_some(()))
    });
    waited.map_err(|error| {
        let finding = format!("of {records} records each way arrived: {seen:?}");
        Error::refused(error.to_string(), finding)
    })
}

/// Every record once, in its order within each partition, of which the mirror has as many.
fn judge_mirror(mirror: &str, values: &[String], records: u64) -> Result<()> {
    let refused = |finding: String| Err(Error::refused(format!("look at {mirror}"), finding));
    let partitions = PARTITIONS as u64;
    let expected = (0..partitions).flat_map(|p| (p..records).step_by(PARTITIONS as usize));
    let mut found = values.iter();
    for number in expected {
        match found.next() {
            Some(value) if *value == number.to_string() => {}
            other => return refused(format!("expected {number}, found {other:?}")),
        }
    }
    match found.next() {
        None => Ok(()),
        Some(more) => refused(format!("{more} is there as well")),
    }
}

fn commit(side: &mut Side, topic: &str) -> Result<()> {
    let partitions = (0..PARTITIONS).map(|index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(READ)
            .with_committed_metadata(Some(StrBytes::new()))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(GROUP))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let committed = answer(side.ask(8, &request)?, "commit offsets")?;
    let mut codes = committed.topics[0]
        .partitions
        .iter()
        .map(|partition| partition.error_code);
    match codes.find(|code| *code != 0) {
        None => Ok(()),
        Some(code) => Err(Error::refused("commit offsets", format!("error {code}"))),
    }
}

/// The least position of the group in the mirror, once there is one for each partition. It may be behind,
/// as records are then read again, and never ahead.
fn translated(mirrors: &mut Process, cluster: &Cluster) -> Result<i64> {
    let mut side = Side::new("the broker", cluster.address);
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(GROUP))
        .with_topics(None);
    let mut last = Vec::new();
    let waited = wait::until("wait for positions in the mirror", TIME_MAX, || {
        mirrors.expect_running()?;
        let fetched = answer(side.ask(7, &request)?, "fetch offsets")?;
        let of_mirror = fetched
            .topics
            .iter()
            .filter(|topic| topic.name.0.as_str() == cluster.mirror)
            .flat_map(|topic| &topic.partitions);
        last = of_mirror
            .map(|partition| partition.committed_offset)
            .collect();
        let enough = last.iter().filter(|offset| **offset >= READ - BEHIND_MAX);
        Ok((enough.count() == PARTITIONS as usize).then_some(()))
    });
    let step = format!("look at the positions in {}", cluster.mirror);
    waited.map_err(|error| Error::refused(error.to_string(), format!("they are {last:?}")))?;
    match last.iter().find(|offset| **offset > READ) {
        None => Ok(last.iter().copied().min().unwrap_or(-1)),
        Some(ahead) => Err(Error::refused(
            step,
            format!("{READ} was committed, translated {ahead}: records are left out"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_every_record_in_order_once() {
        // Two rounds of four partitions, as they are read one after the other.
        let told =
            |numbers: &[u64]| -> Vec<String> { numbers.iter().map(u64::to_string).collect() };
        let judged = |numbers: &[u64]| judge_mirror("m", &told(numbers), 8);
        judged(&[0, 4, 1, 5, 2, 6, 3, 7]).expect("all of them");
        let finding = |numbers: &[u64]| judged(numbers).expect_err("a refusal").to_string();
        assert!(finding(&[0, 1, 5, 2, 6, 3, 7]).contains("expected 4, found Some(\"1\")"));
        assert!(finding(&[0, 4, 4, 1, 5, 2, 6, 3, 7]).contains("expected 1, found Some(\"4\")"));
        assert!(finding(&[0, 4, 1, 5, 2, 6, 3, 7, 7]).contains("is there as well"));
        assert!(finding(&[0, 4, 1, 5, 2, 6, 3]).contains("expected 7, found None"));
    }
}
