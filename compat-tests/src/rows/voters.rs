//! `rkctl cluster quorum` with a quorum of Apache Kafka whose voters may change: a controller that follows
//! is given a vote and loses it again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::context::Context;
use crate::control::java::Java;
use crate::control::kafka;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::{files, ports, wait};

pub(super) const ROW: Row = Row {
    name: "voters",
    tiers: &[Tier::Nightly],
    about: "rkctl gives a controller of Apache Kafka a vote in the metadata quorum, and takes it",
    judges: Judges::Kafka,
    run,
};

const TIME_MAX: Duration = Duration::from_secs(120);
/// The first one builds it.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(600);
/// The one that leads, and the one that comes and goes.
const LEADER: i64 = 1;
const OTHER: i64 = 2;

fn run(ctx: &Context) -> Result<Verdict> {
    let java = Java::kafka(ctx)?;
    let [client, of_leader, of_other] = ports::free().map_err(Error::io("find free ports"))?;
    let home = |id: i64| ctx.work().join(format!("controller-{id}"));
    let leader = home(LEADER);
    let properties = [
        format!(
            "process.roles=broker,controller\nnode.id={LEADER}\nlisteners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{of_leader}\n"
        ),
        format!(
            "process.roles=controller\nnode.id={OTHER}\nlisteners=CONTROLLER://127.0.0.1:{of_other}\n"
        ),
    ];
    let [first, second] = properties.map(|own| {
        own + &format!(
            "controller.quorum.bootstrap.servers=127.0.0.1:{of_leader}\ncontroller.listener.names=CONTROLLER\n"
        )
    });
    let dirs = |id: i64| format!("log.dirs={}/data\n", home(id).display());
    let mut started = vec![
        kafka::run(&java, &leader, &(first + &dirs(LEADER)), &["--standalone"])?,
        kafka::run(
            &java,
            &home(OTHER),
            &(second + &dirs(OTHER)),
            &["--no-initial-controllers"],
        )?,
    ];
    let rkctl = Rkctl {
        ctx,
        bootstrap: format!("127.0.0.1:{client}"),
    };
    let mut roles = |told: &str, wanted: &str| {
        let step = format!("wait for controller {OTHER} to be {wanted}: {told}");
        wait::until(&step, TIME_MAX, || {
            for process in &mut started {
                process.expect_running()?;
            }
            let role = rkctl.role(OTHER)?;
            Ok((role.as_deref() == Some(wanted)).then_some(()))
        })
    };
    roles("after its start", "observer")?;
    let id = OTHER.to_string();
    let listener = format!("CONTROLLER://127.0.0.1:{of_other}");
    rkctl.expect(&["add-voter", &id, "--listener", &listener], "votes")?;
    roles("after add-voter", "voter")?;
    rkctl.expect(&["remove-voter", &id, "--dry-run"], "would vote no more")?;
    roles("after a dry run", "voter")?;
    rkctl.expect(&["remove-voter", &id, "--yes"], "votes no more")?;
    roles("after remove-voter", "observer")?;
    // The only one left, which Apache Kafka keeps.
    let last = rkctl.quorum(&["remove-voter", &LEADER.to_string(), "--yes"])?;
    if last.status.success() {
        return Err(Error::refused("remove the last voter", "it was removed"));
    }
    started
        .into_iter()
        .try_for_each(|process| process.kill(TIME_MAX))?;
    let seen =
        "a follower was given a vote, kept it in a dry run, and lost it; the last voter stayed";
    Ok(Verdict::Passed(seen.to_owned()))
}

struct Rkctl<'a> {
    ctx: &'a Context,
    bootstrap: String,
}

struct Said {
    status: std::process::ExitStatus,
    out: String,
    log: std::path::PathBuf,
}

impl Rkctl<'_> {
    fn quorum(&self, arguments: &[&str]) -> Result<Said> {
        let (out, log) = (
            self.ctx.work().join("rkctl.json"),
            self.ctx.work().join("rkctl.log"),
        );
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(self.ctx.checkout())
            .args(["run", "--locked", "--quiet", "--package", "rkctl", "--"])
            .args(["-b", &self.bootstrap, "-o", "json", "cluster", "quorum"])
            .args(arguments);
        let status = Process::start("run rkctl", &mut cargo, &out, &log)?.end(COMMAND_TIME_MAX)?;
        let out = files::read_text(Path::new(&out))?;
        Ok(Said { status, out, log })
    }

    /// Runs a change, which must say this.
    fn expect(&self, arguments: &[&str], status: &str) -> Result<()> {
        let said = self.quorum(arguments)?;
        let step = format!("rkctl cluster quorum {}", arguments.join(" "));
        if !said.status.success() {
            let log = said.log;
            return Err(Error::Ended {
                step,
                status: said.status,
                log,
            });
        }
        let told = json(&step, &said.out)?;
        if told["status"] != status {
            return Err(Error::refused(
                step,
                format!("it said {told}, not {status}"),
            ));
        }
        Ok(())
    }

    /// What a node is in the quorum; `None` while it is not there, or nobody answers.
    fn role(&self, node: i64) -> Result<Option<String>> {
        let said = self.quorum(&[])?;
        if !said.status.success() {
            return Ok(None);
        }
        let quorum = json("rkctl cluster quorum", &said.out)?;
        let replicas = quorum["replicas"].as_array().into_iter().flatten();
        let mut own = replicas.filter(|replica| replica["node"] == node);
        Ok(own
            .next()
            .and_then(|replica| replica["role"].as_str().map(str::to_owned)))
    }
}

fn json(step: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::refused(step, format!("{error}: {text}")))
}
