//! kafka-python's own integration tests, as its source package brings them along, against a broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::python;
use super::suite::{Seen, Suite};
use crate::clients::prepare;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;
use crate::rows::{Judges, Row, Tier, Verdict};
use crate::target::Target;

pub(super) const ROW: Row = Row {
    name: "kafka-python-suite",
    tiers: &[Tier::Nightly],
    about: "the integration tests of kafka-python, as its source package brings them along",
    judges: Judges::Any,
    run,
};

const TESTS_TIME_MAX: Duration = Duration::from_secs(1200);
const SUITE: Suite = Suite {
    name: "the tests of kafka-python",
    // As the configuration of the brokers that it would start, which it does not bring along, must be.
    broker: &[
        "auto.create.topics.enable=true",
        "num.partitions=4",
        "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=1000",
    ],
    skipped: &[
        ("test_sasl_integration", "starts a broker of its own"),
        ("test_ssl_integration", "starts a broker of its own"),
        (
            "test_describe_configs_broker_resource",
            "asks for a broker whose id is 0",
        ),
        ("test_create_partitions", "asks for a broker whose id is 0"),
        (
            "test_create_describe_delete_acls",
            "sets ACLs, which Reka does not have yet",
        ),
        (
            "test_kafka_version_infer",
            "takes Reka for 4.2: it tells 4.3 by version 5 of DescribeLogDirs",
        ),
    ],
};

fn run(ctx: &Context) -> Result<Verdict> {
    let lock = ctx.client_sources("python").join("suite");
    let environment = "kafka-python-suite";
    let venv = python::environment_of(ctx, environment, &lock.join("requirements.txt"))?;
    let sources = sources(ctx, &lock)?;
    SUITE.judge(ctx, |target| {
        run_against(&venv.join("bin/python"), &sources, &lock, target)
    })
}

/// The source package, fetched and unpacked.
fn sources(ctx: &Context, lock: &Path) -> Result<PathBuf> {
    let key = files::read(&lock.join("sources.txt"))?;
    prepare::once(ctx, "kafka-python-sources", &key, "sources", |partial| {
        let fetched = ctx.work().join("sdist");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "-q", "--no-deps"])
            .args(["--no-binary", ":all:"])
            .args(["--require-hashes", "-r"])
            .arg(lock.join("sources.txt"))
            .arg("-d")
            .arg(&fetched);
        let step = "fetch the sources of kafka-python";
        prepare::tool(ctx, "pip-kafka-python", step, &mut pip)?;
        let packages = files::list(&fetched)?;
        let [package] = packages.as_slice() else {
            return Err(Error::refused(
                step,
                format!("expected one package, found {packages:?}"),
            ));
        };
        files::make_dir(partial)?;
        let mut tar = Command::new("tar");
        tar.args(["-xf"])
            .arg(package)
            .args(["--strip-components=1", "-C"])
            .arg(partial);
        let step = "unpack the sources of kafka-python";
        prepare::tool(ctx, "tar-kafka-python", step, &mut tar)
    })
}

fn run_against(python: &Path, sources: &Path, lock: &Path, target: &Target) -> Result<Seen> {
    let home = target.home().join("kafka-python");
    files::copy_dir(sources, &home, &|_| true)?;
    // What the package leaves out: without it `test` is the folder of Python's own tests.
    files::write(&home.join("test/__init__.py"), "")?;
    files::copy(&lock.join("service.py"), &home.join("test/service.py"))?;
    let log = target.home().join("kafka-python.log");
    let mut command = Command::new(python);
    command
        .current_dir(&home)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KAFKA_URI", format!("PLAINTEXT://{}", target.address()))
        // The newest its list of versions knows.
        .env("KAFKA_VERSION", "4.2.0")
        // Where an installation would be that nothing is started of.
        .env("KAFKA_ROOT", &home)
        .args(["-m", "pytest", "-q", "--no-header", "--tb=short"])
        .args(["-p", "no:cacheprovider", "-o", "addopts=", "--timeout=120"])
        // One line for each test, without what those that passed have printed.
        .args(["-rpfEsx", "test/integration"]);
    let skipped: Vec<&str> = SUITE.skipped.iter().map(|(test, _)| *test).collect();
    command.args(["-k", &format!("not ({})", skipped.join(" or "))]);
    let step = format!("run kafka-python's tests against {}", target.name());
    let status = Process::start(&step, &mut command, &log, &log)?.end(TESTS_TIME_MAX)?;
    let mut seen = judge(&files::read_text(&log)?);
    if !status.success() && seen.failed.is_empty() {
        seen.failed.push(format!("pytest ended with {status}"));
    }
    for test in &mut seen.failed {
        *test = format!("{test}, log: {}", log.display());
    }
    Ok(seen)
}

/// Lines such as "PASSED test/integration/test_admin_integration.py::test_delete_groups".
fn judge(printed: &str) -> Seen {
    let mut seen = Seen::default();
    for line in printed.lines() {
        let Some((end, test)) = line.split_once(" test/integration/") else {
            continue;
        };
        let test = test.split(" - ").next().unwrap_or(test);
        match end {
            "PASSED" => seen.passed += 1,
            "FAILED" | "ERROR" => seen.failed.push(test.to_owned()),
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_lines() {
        let printed = "12:00:01 ERROR test/integration/ is no line of theirs\n\
            PASSED test/integration/a.py::one[None]\n\
            FAILED test/integration/a.py::two - AssertionError: no\n\
            ERROR test/integration/b.py::C::three\n\
            SKIPPED [1] test/integration/a.py:3: old\n\
            1 failed, 1 passed, 1 skipped, 1 error in 42.84s\n";
        let failed = ["a.py::two", "b.py::C::three"].map(str::to_owned).to_vec();
        assert_eq!(judge(printed), Seen { passed: 1, failed });
    }
}
