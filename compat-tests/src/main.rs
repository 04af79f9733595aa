//! `cargo compat`: the command line of the compatibility suite.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use reka_compat::context::Context;
use reka_compat::control::java::Java;
use reka_compat::control::kafka::Kafka;
use reka_compat::error::{Error, Result};
use reka_compat::rows::{self, ROWS, Row, Tier};
use reka_compat::target::Against;
use reka_compat::{bench, fault, interrupt, kafka_data, matrix, runner, wait};

/// Of what a row said, for the report of a proof.
const SAID_CHARS_MAX: usize = 300;

/// Judges Reka with software nobody here wrote, Apache Kafka as the control.
#[derive(Parser)]
#[command(name = "cargo compat")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What can be run.
    List,
    /// Runs rows by name, by tier (ci, nightly, release), or all of them.
    Run {
        /// Row or tier names.
        #[arg(required = true)]
        names: Vec<String>,
        /// kafka, reka or host:port, instead of Apache Kafka and then Reka.
        #[arg(long)]
        against: Option<Against>,
        /// How many brokers the cluster has; more than one with Apache Kafka, or at an address.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
        brokers: u16,
        /// Also writes the outcome of each row here.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Runs rows against a Reka that is broken on purpose: each must fail, and say what is wrong.
    ProveRed {
        /// Row names; all that have a proof when there are none.
        names: Vec<String>,
    },
    /// Kills and pauses the broker and its clients at random under a mixed load, then judges.
    Chaos {
        /// For how long; what is left is then caught up with.
        #[arg(long, default_value_t = rows::chaos::SECONDS)]
        seconds: u64,
        /// Repeats the events of a run.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Prints what stock clients have passed on both brokers, as `docs/compatibility.md` has it.
    Report,
    /// Starts a broker in the foreground and prints its address; Ctrl-C stops it.
    Up {
        /// Which.
        broker: Broker,
    },
    /// Measures Reka, and Apache Kafka beside it.
    Bench {
        /// Scenario names; all of them when there are none.
        scenarios: Vec<String>,
        /// Runs Apache Kafka too and prints how many times as good Reka is.
        #[arg(long)]
        versus: Option<Broker>,
        /// How often each scenario runs against each broker.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Writes what was measured into docs/benchmarks.md.
        #[arg(long)]
        write: bool,
    },
    /// The server that shows what the kernel alone costs; `bench` starts it.
    #[command(hide = true)]
    Floor {
        /// Where it listens.
        address: SocketAddr,
        /// What it writes into.
        file: PathBuf,
    },
    /// Writes the storage engine's test data with Apache Kafka.
    MakeKafkaData {
        /// Where `clean` and `killed` go.
        dir: PathBuf,
    },
    /// Writes the broker's test data of groups and transactional ids with Apache Kafka.
    MakeCoordinatorData {
        /// Where the logs and what is expected of them go.
        dir: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Broker {
    Kafka,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    interrupt::catch().map_err(Error::io("catch Ctrl-C"))?;
    match command {
        Command::List => {
            for row in ROWS {
                let tiers: Vec<_> = row.tiers.iter().map(|tier| tier.name()).collect();
                println!("{:<16} {:<4} {}", row.name, tiers.join(","), row.about);
            }
            for scenario in bench::scenarios::SCENARIOS {
                println!("{:<26} {}", scenario.name, scenario.about);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run {
            names,
            against,
            brokers,
            json,
        } => {
            let rows = select(&names)?;
            if let Some(against) = against {
                rows::expect_choice(&names, against)?;
            }
            rows::expect_brokers(&names, against, brokers)?;
            let reports = runner::run(&rows, against, brokers)?;
            if let Some(file) = json {
                runner::write_json(&reports, &file)?;
            }
            for tier in Tier::ALL
                .iter()
                .filter(|tier| names.contains(&tier.name().to_owned()))
            {
                println!("{}", runner::time_of(*tier, &reports));
            }
            println!("{}", runner::summary(&reports));
            Ok(if runner::all_good(&reports) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Chaos { seconds, seed } => {
            let seed = seed.unwrap_or_else(rows::seed_of_now);
            in_folder("chaos", |ctx| {
                println!("{}", rows::chaos::run(ctx, seconds, seed)?);
                Ok(())
            })
        }
        Command::ProveRed { names } => prove_red(&names),
        Command::Report => {
            print!("{}", matrix::table(&matrix::checks()?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Up {
            broker: Broker::Kafka,
        } => in_folder("up", up_kafka),
        Command::Floor { address, file } => {
            bench::floor::serve(address, &file)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench {
            scenarios,
            versus,
            rounds,
            write,
        } => {
            if cfg!(debug_assertions) {
                return bench_built_for_release();
            }
            let wanted = bench::Wanted {
                scenarios,
                versus_kafka: matches!(versus, Some(Broker::Kafka)),
                rounds,
                write,
            };
            in_folder("bench", |ctx| bench::run(ctx, &wanted))
        }
        Command::MakeKafkaData { dir } => {
            let dir = std::path::absolute(&dir).map_err(Error::io("find the folder"))?;
            in_folder("make-kafka-data", |ctx| kafka_data::make(ctx, &dir))
        }
        Command::MakeCoordinatorData { dir } => {
            let dir = std::path::absolute(&dir).map_err(Error::io("find the folder"))?;
            in_folder("make-coordinator-data", |ctx| {
                kafka_data::make_coordinators(ctx, &dir)
            })
        }
    }
}

/// A load that is not optimised would measure itself: the same command again, built for release.
fn bench_built_for_release() -> Result<ExitCode> {
    let status = std::process::Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "reka-compat"])
        .arg("--")
        .args(std::env::args_os().skip(1))
        .status()
        .map_err(Error::io("run the release build"))?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// One after the other, each in a process of its own, as a fault is chosen once for all brokers of one.
fn prove_red(names: &[String]) -> Result<ExitCode> {
    let proofs = fault::proofs_of(names)?;
    if let ([name], [proof]) = (names, proofs.as_slice()) {
        let found = rows::named(proof.row);
        let row = found
            .first()
            .ok_or_else(|| Error::refused(name, "no such row"))?;
        let folder = runner::folder(row.name)?;
        let began = Instant::now();
        return match fault::prove(row, proof, &Context::new(folder.path())) {
            Ok(said) => {
                let said: String = said.chars().take(SAID_CHARS_MAX).collect();
                let (about, seconds) = (proof.fault.about(), began.elapsed().as_secs_f64());
                println!("red     {} ({seconds:.1} s) on {about}: {said}", row.name);
                runner::remove(folder)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                println!(
                    "GREEN   {}: {error}; files: {}",
                    row.name,
                    folder.keep().display()
                );
                Ok(ExitCode::FAILURE)
            }
        };
    }
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    let mut failed = 0;
    for proof in &proofs {
        let mut one = std::process::Command::new(&program);
        let status = one
            .args(["prove-red", proof.row])
            .status()
            .map_err(Error::io(format!("prove {}", proof.row)))?;
        failed += usize::from(!status.success());
        if interrupt::requested() {
            break;
        }
    }
    println!("{} passed, {failed} failed", proofs.len() - failed);
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Every named row once, in the order of the list.
fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    let mut wanted = Vec::new();
    for name in names {
        let found = rows::named(name);
        if found.is_empty() {
            let finding = "no row or tier of this name; see `cargo compat list`";
            return Err(Error::refused(name, finding));
        }
        wanted.extend(found.iter().map(|row| row.name));
    }
    let all = ROWS.iter();
    Ok(all.filter(|row| wanted.contains(&row.name)).collect())
}

/// Runs `work` with a folder for its files, which is kept and named if it fails.
fn in_folder(name: &str, work: impl FnOnce(&Context) -> Result<()>) -> Result<ExitCode> {
    let folder = runner::folder(name)?;
    if let Err(error) = work(&Context::new(folder.path())) {
        eprintln!("files: {}", folder.keep().display());
        return Err(error);
    }
    runner::remove(folder)?;
    Ok(ExitCode::SUCCESS)
}

fn up_kafka(ctx: &Context) -> Result<()> {
    let java = Java::kafka(ctx)?;
    let mut kafka = Kafka::start(&java, &ctx.work().join("kafka"), &[])?;
    println!("{}", kafka.address());
    wait::until_interrupted(|| kafka.process().expect_running())?;
    eprintln!("stopping");
    kafka.stop()
}
