//! The Python clients: confluent-kafka (librdkafka), kafka-python and aiokafka, in one environment
//! whose packages are pinned by hash.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::{self, Client, prepare};
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};

pub(super) const ROW: Row = Row {
    name: "python",
    tiers: &[Tier::Ci],
    about: "confluent-kafka, kafka-python and aiokafka: every codec, groups, admin, refusals",
    judges: Judges::Any,
    run,
};

fn run(ctx: &Context) -> Result<Verdict> {
    let python = environment(ctx)?.join("bin/python");
    let sources = ctx.client_sources("python");
    let client = |name, file| {
        let (python, program) = (python.clone(), sources.join(file));
        Client::new(name, move || {
            let mut command = Command::new(&python);
            // The checkout is not ours to write into.
            command.env("PYTHONDONTWRITEBYTECODE", "1").arg(&program);
            command
        })
    };
    let clients = [
        client("confluent-kafka 2.16.1", "client_confluent.py"),
        client("kafka-python 3.0.12", "client_kafka_python.py"),
        client("aiokafka 0.14.0", "client_aiokafka.py"),
    ];
    clients::run(ctx, &clients)
}

/// The virtual environment of the clients.
pub(super) fn environment(ctx: &Context) -> Result<PathBuf> {
    let requirements = ctx.client_sources("python").join("requirements.txt");
    environment_of(ctx, "python", &requirements)
}

/// A virtual environment with what a lock file names. It belongs to one release of Python, which is
/// part of its key.
pub(super) fn environment_of(ctx: &Context, name: &str, requirements: &Path) -> Result<PathBuf> {
    const ASK_TIME_MAX: Duration = Duration::from_secs(30);
    let version = ctx.work().join("python-version.txt");
    let mut ask = Command::new("python3");
    ask.arg("--version");
    Process::start("ask Python for its version", &mut ask, &version, &version)?
        .finish(ASK_TIME_MAX)?;
    let mut key = files::read(requirements)?;
    key.extend(files::read(&version)?);
    prepare::once(ctx, name, &key, "venv", |partial| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(partial);
        let step = format!("make the Python environment {name}");
        prepare::tool(ctx, &format!("venv-{name}"), &step, &mut venv)?;
        let mut pip = Command::new(partial.join("bin/python"));
        pip.args(["-m", "pip", "install", "-q", "--require-hashes", "-r"])
            .arg(requirements);
        let step = format!("install the Python packages of {name}");
        prepare::tool(ctx, &format!("pip-{name}"), &step, &mut pip)
    })
}
