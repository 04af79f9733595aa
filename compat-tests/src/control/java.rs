//! JVM command lines: Apache Kafka's classes and our few beside them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::context::Context;
use crate::control::jars;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;

const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// A class path and the flags every JVM here gets.
#[derive(Clone, Debug)]
pub struct Java {
    class_path: String,
    logging: PathBuf,
    flags: &'static [&'static str],
}

/// A small heap and a quick start.
const FLAGS: &[&str] = &["-Xmx256m", "-XX:TieredStopAtLevel=1"];
/// As Apache Kafka's scripts start it: its heap, its collector, everything compiled.
const FLAGS_FOR_MEASURING: &[&str] = &[
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// What a program that ran to its end printed.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Java {
    /// Apache Kafka's jars alone.
    pub fn kafka(ctx: &Context) -> Result<Self> {
        Ok(Self::of_jars(ctx, &jars::fetch(ctx)?))
    }

    /// As it runs where its speed counts.
    #[must_use]
    pub fn for_measuring(mut self) -> Self {
        self.flags = FLAGS_FOR_MEASURING;
        self
    }

    /// The same with our own sources, compiled against them into the row's folder.
    pub fn with_our_classes(ctx: &Context) -> Result<Self> {
        let mut java = Self::kafka(ctx)?;
        java.compile(ctx, &[ctx.kafka_sources().join("src")])?;
        Ok(java)
    }

    /// Compiles against the class path, and puts what came of it in front of it.
    fn compile(&mut self, ctx: &Context, sources: &[PathBuf]) -> Result<()> {
        let classes = ctx.work().join("classes");
        self.compile_into(ctx, sources, &classes)
    }

    fn compile_into(&mut self, ctx: &Context, sources: &[PathBuf], classes: &Path) -> Result<()> {
        files::make_dir(classes)?;
        let log = ctx.work().join("javac.log");
        let mut javac = Command::new("javac");
        javac
            // Jars may name others that they can do without.
            .args(["-Xlint:all,-path", "-Werror", "-d"])
            .arg(classes)
            .args(["-cp", &self.class_path]);
        for folder in sources {
            javac.args(files::list(folder)?);
        }
        Process::start("compile our Java sources", &mut javac, &log, &log)?
            .finish(COMPILE_TIME_MAX)?;
        self.add_classes(classes);
        Ok(())
    }

    fn add_classes(&mut self, classes: &Path) {
        self.class_path = format!("{}:{}", classes.display(), self.class_path);
    }

    /// Other jars, with our sources in `sources` compiled against them into the row's folder.
    pub fn with_classes_of(ctx: &Context, jars: &Path, sources: &Path) -> Result<Self> {
        let mut java = Self::of_jars(ctx, jars);
        java.compile(ctx, &[sources.to_owned()])?;
        Ok(java)
    }

    /// The same of several folders, into a folder of that name, as one row may compile against more than one line
    /// of a library.
    pub fn with_classes_named(
        ctx: &Context,
        name: &str,
        jars: &Path,
        sources: &[PathBuf],
    ) -> Result<Self> {
        let mut java = Self::of_jars(ctx, jars);
        let classes = ctx.work().join(format!("classes-{name}"));
        java.compile_into(ctx, sources, &classes)?;
        Ok(java)
    }

    /// Other jars alone.
    #[must_use]
    pub fn of_jars(ctx: &Context, jars: &Path) -> Self {
        Self {
            class_path: format!("{}/*", jars.display()),
            logging: ctx.kafka_sources().join("log4j2.yaml"),
            flags: FLAGS,
        }
    }

    /// Apache Kafka's jars with the classes that were compiled before, against others.
    pub fn with_compiled_classes(ctx: &Context) -> Result<Self> {
        Ok(Self::kafka(ctx)?.and_compiled_classes(ctx))
    }

    /// The same with the classes that were compiled before, against others.
    #[must_use]
    pub fn and_compiled_classes(mut self, ctx: &Context) -> Self {
        self.add_classes(&ctx.work().join("classes"));
        self
    }

    /// A command that runs `main`, with log lines from `level` up.
    #[must_use]
    pub fn command(&self, main: &str, level: &str) -> Command {
        let mut command = Command::new("java");
        // With these set the JVM says so on standard error, where a judge takes it for a finding.
        for options in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"] {
            command.env_remove(options);
        }
        command
            .args(self.flags)
            .arg("-Djava.awt.headless=true")
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.logging.display()
            ))
            .arg(format!("-Dreka.loglevel={level}"))
            .args(["-cp", &self.class_path])
            .arg(main);
        command
    }

    /// Runs `main` to its end, which must be a success. `name` names its two output files.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        name: &str,
        main: &str,
        args: impl IntoIterator<Item = A>,
        work: &Path,
        limit: Duration,
    ) -> Result<Output> {
        let output = self.capture(name, main, args, work, limit)?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(Error::Ended {
                step: name.into(),
                status: output.status,
                log: work.join(format!("{name}.err")),
            })
        }
    }

    /// The same for programs whose failure is an answer too.
    pub fn capture<A: AsRef<OsStr>>(
        &self,
        name: &str,
        main: &str,
        args: impl IntoIterator<Item = A>,
        work: &Path,
        limit: Duration,
    ) -> Result<Output> {
        let out = work.join(format!("{name}.out"));
        let err = work.join(format!("{name}.err"));
        let mut command = self.command(main, "WARN");
        command.args(args);
        let status = Process::start(name, &mut command, &out, &err)?.end(limit)?;
        Ok(Output {
            status,
            out: files::read_text(&out)?,
            err: files::read_text(&err)?,
        })
    }
}
