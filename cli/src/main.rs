//! `rkctl`: one command for everything an administrator does to a cluster.
//!
//! | Read | For |
//! |---|---|
//! | [`command_line`] | the options every command takes, and the tree of commands |
//! | [`session`] | which cluster, and how patiently |
//! | [`profiles`], [`properties`] | clusters with names; settings as Java's clients have them |
//! | [`commands`] | a file per command: options, what it asks, what it shows |
//! | [`output`], [`table`], [`yaml`] | what is shown as a table, JSON, YAML or lines of JSON |
//! | [`shims`] | Apache Kafka's shell tools by their own names |
//! | [`failure`] | what went wrong, as an exit code and a sentence |
//! | [`completion`], [`editor`] | what shells ask, and texts that people edit |
//! | [`nearest`], [`names`], [`moment`], [`confirm`] | near names, patterns, times, consent |
//!
//! Data goes to standard output, talk to standard error.

mod command_line;
mod commands;
mod completion;
mod confirm;
#[cfg(test)]
mod documentation;
mod editor;
mod failure;
mod moment;
mod names;
mod nearest;
mod output;
mod profiles;
mod properties;
mod session;
mod shims;
mod table;
mod yaml;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use command_line::CommandLine;
use failure::{Exit, Failure};
use session::Session;

fn main() -> ExitCode {
    if let Some(exit) = shims::run() {
        return exit;
    }
    // A shell that asks what could come next is answered, and that is all.
    clap_complete::CompleteEnv::with_factory(CommandLine::command).complete();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        // Help and versions come this way as well.
        Err(message) => {
            let _ = message.print();
            return match message.use_stderr() {
                true => Exit::Usage.into(),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(failure) if failure.exit == Exit::Quiet => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit.into()
        }
    }
}

fn run(line: CommandLine) -> Result<(), Failure> {
    if line.command.needs_no_cluster() {
        return line.command.run_alone(&Session::of_none(&line.options)?);
    }
    let session = Session::new(&line.options)?;
    // One command speaks to a handful of brokers: threads would only cost time to start.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("cannot start: {error}")))?;
    runtime.block_on(line.command.run(&session))
}
