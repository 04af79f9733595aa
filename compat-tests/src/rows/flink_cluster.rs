//! A session cluster of Flink, a JobManager and a TaskManager in JVMs of their own, with the jobs of `flink`: the
//! TaskManager is killed and they go on by themselves; they are stopped with savepoints and begun again from
//! these; both JVMs are killed and the jobs begun again from their newest checkpoints; the broker is
//! killed, where it is ours. Every window of every key is told exactly once.
//!
//! `REKA_KILL_SEED` repeats the moments of the kills.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::flink::{self, WINDOW, feed, judge, windows};
use super::kill_transactions::{committed, create_topics};
use super::raw::{Random, in_rounds};
use crate::context::Context;
use crate::control::java::Java;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::{self, Target};
use crate::{files, http, ports, wait};

pub(super) const ROW: Row = Row {
    name: "flink-cluster",
    // Not in the commit tier: minutes.
    tiers: &[Tier::Nightly],
    about: "Flink's session cluster under kill -9 of its JVMs, restored from checkpoints and savepoints",
    judges: Judges::Any,
    run,
};

const OUTPUTS: [&str; 2] = ["incrementing", "pooling"];
/// Two jobs of two subtasks each.
const SLOTS: u64 = 4;
const RECORDS: u64 = 1200;
const MOMENT_MS: std::ops::Range<u64> = 50..700;
const START_TIME_MAX: Duration = Duration::from_secs(180);
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(300);
const KILL_TIME_MAX: Duration = Duration::from_secs(60);

fn run(ctx: &Context) -> Result<Verdict> {
    in_rounds(1, |rounds, seed| {
        let flink = flink::of_line(ctx, "2.2")?;
        target::each_told(ctx, &flink::settings(), |target| {
            let mut world = World::new(&flink, target, seed)?;
            let began = Instant::now();
            let told = world.go_on(rounds)?;
            Ok(format!("{told} ({:.0} s)", began.elapsed().as_secs_f64()))
        })
    })
}

/// The cluster, its jobs, and what they were given.
struct World<'a> {
    flink: &'a Java,
    target: &'a mut Target,
    home: PathBuf,
    address: SocketAddr,
    rest: SocketAddr,
    manager: Option<Process>,
    worker: Option<Process>,
    lives: usize,
    records: u64,
    random: Random,
}

impl<'a> World<'a> {
    fn new(flink: &'a Java, target: &'a mut Target, seed: u64) -> Result<World<'a>> {
        let home = target.home().join("flink");
        files::make_dir(&home.join("conf"))?;
        let [rest, rpc] = ports::free().map_err(Error::io("find free ports"))?;
        let settings = settings(&home.display().to_string(), rest, rpc);
        files::write(&home.join("conf/config.yaml"), settings)?;
        Ok(World {
            flink,
            address: target.address(),
            target,
            home,
            rest: SocketAddr::from((Ipv4Addr::LOCALHOST, rest)),
            manager: None,
            worker: None,
            lives: 0,
            records: 0,
            random: Random::new(seed),
        })
    }

    fn go_on(&mut self, rounds: u64) -> Result<String> {
        let topics = ["in", OUTPUTS[0], OUTPUTS[1]];
        create_topics(self.address, &topics)?;
        self.start_manager()?;
        self.start_worker()?;
        self.submit()?;
        self.feed(RECORDS)?;
        self.catch_up()?;
        for _ in 0..rounds {
            self.at_a_moment(|world| {
                world
                    .worker
                    .take()
                    .map_or(Ok(()), |jvm| jvm.kill(KILL_TIME_MAX))?;
                world.start_worker()
            })?;
            self.at_a_moment(|world| {
                world.savepoints()?;
                world.submit()
            })?;
            if self.target.comes_back_soon() {
                self.at_a_moment(|world| world.target.kill_and_start_again())?;
            }
            self.at_a_moment(|world| {
                for jvm in [world.manager.take(), world.worker.take()]
                    .into_iter()
                    .flatten()
                {
                    jvm.kill(KILL_TIME_MAX)?;
                }
                world.start_manager()?;
                world.start_worker()?;
                world.submit()
            })?;
        }
        let (over, maybe) = (self.catch_up()?, windows(self.records));
        for topic in OUTPUTS {
            judge(topic, &committed(self.address, topic)?, &over, &maybe)?;
        }
        for jvm in [self.worker.take(), self.manager.take()]
            .into_iter()
            .flatten()
        {
            jvm.kill(KILL_TIME_MAX)?;
        }
        let broker = match self.target.comes_back_soon() {
            true => ", and a kill of the broker",
            false => "",
        };
        Ok(format!(
            "{} records for each output, {rounds} times: a TaskManager killed, savepoints, both JVMs \
             killed{broker}",
            self.records
        ))
    }

    /// Gives the jobs something to do, lets `happen` in the middle of it, and waits for all of it to be told.
    fn at_a_moment(&mut self, happen: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.feed(RECORDS)?;
        // The moment of the event is what is tried out here, not something that is waited for.
        std::thread::sleep(Duration::from_millis(self.random.within(MOMENT_MS)));
        happen(self)?;
        // Only the restored jobs can tell of these.
        self.feed(2 * WINDOW)?;
        self.catch_up().map(drop)
    }

    fn start(&mut self, name: &str, main: &str) -> Result<Process> {
        let mut command = self.flink.command(main, "WARN");
        // As its scripts do, for Java 17.
        command
            .env(
                "JDK_JAVA_OPTIONS",
                "--add-opens java.base/java.util=ALL-UNNAMED",
            )
            .arg("--configDir")
            .arg(self.home.join("conf"));
        self.lives += 1;
        let log = self.home.join(format!("{name}-{}.log", self.lives));
        Process::start(&format!("run Flink's {name}"), &mut command, &log, &log)
    }

    fn start_manager(&mut self) -> Result<()> {
        let main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint";
        let mut manager = self.start("JobManager", main)?;
        wait::until("wait for the JobManager", START_TIME_MAX, || {
            manager.expect_running()?;
            // Refused connections are what a starting one looks like.
            Ok(self.ask("GET", "/overview", "").ok().map(drop))
        })?;
        self.manager = Some(manager);
        Ok(())
    }

    fn start_worker(&mut self) -> Result<()> {
        let main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner";
        let mut worker = self.start("TaskManager", main)?;
        wait::until("wait for the TaskManager", START_TIME_MAX, || {
            worker.expect_running()?;
            let overview = self.ask("GET", "/overview", "")?;
            // The one before it may still be missed.
            let all = overview["slots-total"].as_u64() >= Some(SLOTS);
            Ok((all && overview["taskmanagers"].as_u64() >= Some(1)).then_some(()))
        })?;
        self.worker = Some(worker);
        Ok(())
    }

    /// Both jobs, from their newest savepoint or checkpoint where there is one.
    fn submit(&mut self) -> Result<()> {
        let mut command = self.flink.command("Windows", "WARN");
        command
            .arg(self.home.join("checkpoints"))
            .args([WINDOW.to_string(), self.address.to_string()])
            .arg(self.rest.to_string());
        self.lives += 1;
        let log = self.home.join(format!("submit-{}.log", self.lives));
        Process::start("submit the jobs", &mut command, &log, &log)?.finish(START_TIME_MAX)
    }

    /// Stops every job with a savepoint, beside its checkpoints.
    fn savepoints(&mut self) -> Result<()> {
        for (id, name) in self.jobs()? {
            let folder = self.home.join("checkpoints").join(&name).join("savepoints");
            let wanted = json!({
                "targetDirectory": format!("file://{}", folder.display()),
                "drain": false,
            });
            let asked = self.ask("POST", &format!("/jobs/{id}/stop"), &wanted.to_string())?;
            let request = asked["request-id"].as_str().unwrap_or_default().to_owned();
            let path = format!("/jobs/{id}/savepoints/{request}");
            wait::until("wait for a savepoint", CATCH_UP_TIME_MAX, || {
                let told = self.ask("GET", &path, "")?;
                if let Some(failed) = told["operation"].get("failure-cause") {
                    let finding = failed.to_string().chars().take(400).collect::<String>();
                    return Err(Error::refused(
                        format!("stop {name} with a savepoint"),
                        finding,
                    ));
                }
                Ok((told["status"]["id"] == "COMPLETED").then_some(()))
            })?;
        }
        wait::until("wait for the jobs to end", CATCH_UP_TIME_MAX, || {
            Ok(self.jobs()?.is_empty().then_some(()))
        })
    }

    /// The ids and names of the jobs that have not ended.
    fn jobs(&self) -> Result<Vec<(String, String)>> {
        const ENDED: [&str; 3] = ["FINISHED", "CANCELED", "FAILED"];
        let overview = self.ask("GET", "/jobs/overview", "")?;
        let jobs = overview["jobs"].as_array().cloned().unwrap_or_default();
        let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
        Ok(jobs
            .iter()
            .filter(|job| !ENDED.contains(&job["state"].as_str().unwrap_or_default()))
            .map(|job| (text(job, "jid"), text(job, "name")))
            .collect())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let (status, answer) = http::ask(self.rest, method, path, body)?;
        let step = format!("{method} {path} of Flink");
        if !(200..300).contains(&status) {
            return Err(Error::refused(
                step,
                format!("status {status}: {answer:.400}"),
            ));
        }
        serde_json::from_str(&answer).map_err(|error| Error::refused(step, error.to_string()))
    }

    fn feed(&mut self, count: u64) -> Result<()> {
        feed(self.address, &mut self.records, count)
    }

    fn catch_up(&mut self) -> Result<BTreeSet<String>> {
        let (manager, worker) = (&mut self.manager, &mut self.worker);
        flink::catch_up(self.address, &OUTPUTS, &mut self.records, || {
            let mut jvms = [&mut *manager, &mut *worker].into_iter().flatten();
            jvms.try_for_each(Process::expect_running)
        })
    }
}

/// A TaskManager that no script starts is told all its resources; who is gone is missed within seconds.
fn settings(home: &str, rest: u16, rpc: u16) -> String {
    format!(
        "jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: {SLOTS}
taskmanager.cpu.cores: 2
taskmanager.memory.task.heap.size: 128m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 64m
taskmanager.memory.jvm-metaspace.size: 128m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
heartbeat.interval: 500
heartbeat.timeout: 4000
io.tmp.dirs: {home}
"
    )
}
