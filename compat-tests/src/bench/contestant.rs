//! A broker under load: started on a core of its own, and what it costs.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::BROKER_CORE;
use super::floor::Floor;
use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka::Kafka;
use crate::differential::{Answer, Side};
use crate::error::{Error, Result};
use crate::process::Usage;
use crate::reka::Reka;
use crate::wait;

const PARTITIONS_TIME_MAX: Duration = Duration::from_secs(120);

/// Which broker.
#[derive(Debug)]
pub enum Kind {
    /// Ours, built for release.
    Reka(PathBuf),
    /// Apache Kafka with a heap of 1 GiB.
    Kafka(Java),
    /// No broker: what the kernel alone costs.
    Floor,
}

impl Kind {
    /// Ours, built if it is not.
    pub fn reka(ctx: &Context) -> Result<Kind> {
        Reka::build_release(ctx).map(Kind::Reka)
    }

    /// Apache Kafka, fetched if it is not there.
    pub fn kafka(ctx: &Context) -> Result<Kind> {
        Ok(Kind::Kafka(Java::kafka(ctx)?.for_measuring()))
    }

    /// As in figures.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Reka(_) => "reka",
            Kind::Kafka(_) => "kafka",
            Kind::Floor => "floor",
        }
    }
}

#[derive(Debug)]
enum Running {
    Reka(Reka),
    Kafka(Kafka),
    Floor(Floor),
}

/// A broker that runs.
#[derive(Debug)]
pub struct Contestant<'a> {
    kind: &'a Kind,
    home: PathBuf,
    settings: &'static [&'static str],
    running: Option<Running>,
    ctx: &'a Context,
}

impl<'a> Contestant<'a> {
    /// Starts it, on its core.
    pub fn start(
        ctx: &'a Context,
        kind: &'a Kind,
        home: &Path,
        settings: &'static [&'static str],
    ) -> Result<Contestant<'a>> {
        let mut contestant = Contestant {
            kind,
            home: home.into(),
            settings,
            running: None,
            ctx,
        };
        contestant.start_again()?;
        Ok(contestant)
    }

    /// Starts it, or starts it again on what it left; how long until it served, in seconds.
    pub fn start_again(&mut self) -> Result<f64> {
        let began = Instant::now();
        // Children inherit where they may run.
        pin_this_thread(BROKER_CORE)?;
        let started = match self.kind {
            Kind::Reka(server) => {
                Reka::start_with(server, &self.home, &[], self.settings).map(Running::Reka)
            }
            Kind::Kafka(java) => Kafka::start(java, &self.home, self.settings).map(Running::Kafka),
            Kind::Floor => Floor::start(&self.home).map(Running::Floor),
        };
        pin_this_thread(super::LOAD_CORE)?;
        self.running = Some(started?);
        Ok(began.elapsed().as_secs_f64())
    }

    /// Which broker.
    pub fn kind(&self) -> &Kind {
        self.kind
    }

    /// Its files.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Apache Kafka's tools, fetched if they are not there.
    pub fn tools(&self) -> Result<Java> {
        Ok(Java::kafka(self.ctx)?.for_measuring())
    }

    /// Where it serves.
    pub fn address(&self) -> Result<SocketAddr> {
        match &self.running {
            Some(Running::Reka(reka)) => Ok(reka.address()),
            Some(Running::Kafka(kafka)) => Ok(kafka.address()),
            Some(Running::Floor(floor)) => Ok(floor.address()),
            None => Err(Error::refused("find the broker", "it does not run")),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        match self.running.take() {
            Some(Running::Reka(reka)) => reka.kill(),
            Some(Running::Kafka(kafka)) => kafka.kill(),
            Some(Running::Floor(floor)) => floor.kill(),
            None => Ok(()),
        }
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        match self.running.take() {
            Some(Running::Reka(reka)) => reka.stop(),
            Some(Running::Kafka(kafka)) => kafka.stop(),
            Some(Running::Floor(floor)) => floor.kill(),
            None => Ok(()),
        }
    }

    fn usage(&mut self) -> Result<Usage> {
        match &mut self.running {
            Some(Running::Reka(reka)) => reka.process().usage(),
            Some(Running::Kafka(kafka)) => kafka.process().usage(),
            Some(Running::Floor(floor)) => floor.process().usage(),
            None => Err(Error::refused("find the broker", "it does not run")),
        }
    }

    /// CPU time it has used so far, user and system, in seconds.
    pub fn cpu_seconds(&mut self) -> Result<f64> {
        Ok(self.usage()?.cpu.as_secs_f64())
    }

    /// Its resident memory, in bytes.
    pub fn memory_bytes(&mut self) -> Result<f64> {
        Ok(self.usage()?.resident_bytes as f64)
    }

    /// Memory that is its own, without what it has mapped of files, in bytes.
    pub fn own_bytes(&mut self) -> Result<f64> {
        Ok(self.usage()?.own_bytes as f64)
    }

    /// Creates topics `PREFIX-N` for each number, all in one request.
    pub fn create_topics(&self, prefix: &str, topics: usize, partitions: i32) -> Result<()> {
        if matches!(self.kind, Kind::Floor) {
            return Ok(());
        }
        let topic = |number| {
            let name = StrBytes::from_string(format!("{prefix}-{number}"));
            CreatableTopic::default()
                .with_name(TopicName(name))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
        };
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(60_000)
            .with_topics((0..topics).map(topic).collect());
        let mut side = Side::new(self.kind.name(), self.address()?);
        let Answer::Response(created) = side.ask(5, &request)? else {
            return Err(Error::refused("create topics", "the connection was closed"));
        };
        if let Some(topic) = created.topics.iter().find(|topic| topic.error_code != 0) {
            let finding = format!("{}: error {}", topic.name.0, topic.error_code);
            return Err(Error::refused("create topics", finding));
        }
        // Apache Kafka answers before its partitions take anything.
        let last = format!("{prefix}-{}", topics.saturating_sub(1));
        let step = format!("wait for a leader of every partition of {last}");
        wait::until(&step, PARTITIONS_TIME_MAX, || {
            let Answer::Response(offsets) = side.ask(5, &ends_of(&last, partitions))? else {
                return Ok(None);
            };
            let mut told = offsets.topics.iter().flat_map(|topic| &topic.partitions);
            Ok(told.all(|told| told.error_code == 0).then_some(()))
        })
    }

    /// Waits until so many partitions have a leader that serves.
    pub fn expect_partitions(&self, count: usize) -> Result<()> {
        let mut side = Side::new(self.kind.name(), self.address()?);
        let step = format!("wait for {count} partitions");
        wait::until(&step, PARTITIONS_TIME_MAX, || {
            let request = MetadataRequest::default().with_topics(None);
            let Answer::Response(metadata) = side.ask(9, &request)? else {
                return Ok(None);
            };
            let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
            let led = partitions.filter(|partition| partition.error_code == 0);
            Ok((led.count() >= count).then_some(()))
        })
    }
}

fn ends_of(topic: &str, partitions: i32) -> ListOffsetsRequest {
    let end_of = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(-1)
    };
    let name = StrBytes::from_string(topic.to_owned());
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(name))
        .with_partitions((0..partitions).map(end_of).collect());
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic])
}

/// Takes memory for the page cache from the host and frees it again, so that what is written next
/// finds it there: a virtual machine gives free memory back, and the first write to a page then
/// costs ten times what it costs later.
pub fn warm_page_cache(dir: &Path, bytes: u64) -> Result<()> {
    let path = dir.join("warm");
    let step = || Error::io(format!("write {}", path.display()));
    let block = vec![1_u8; 1 << 20];
    let mut file = File::create(&path).map_err(step())?;
    for _ in 0..bytes >> 20 {
        file.write_all(&block).map_err(step())?;
    }
    drop(file);
    fs::remove_file(&path).map_err(step())
}

/// Where this thread, and what it starts, may run.
pub fn pin_this_thread(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
        .map_err(|errno| Error::io(format!("pin to core {core}"))(errno.into()))
}
