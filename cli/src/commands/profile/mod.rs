//! `rkctl profile`.

mod create;
mod delete;
mod edit;
mod import;
mod list;
mod show;
mod used;

use clap::Subcommand;
use reka_client::security::settings::is_secret;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::profiles::Settings;
use crate::session::Session;
use crate::table::{Page, Table, or_none};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give a cluster a name, with the settings to come to it
    Create(create::Create),
    /// Make a profile the one that counts where no cluster is named
    Use(used::Use),
    /// List profiles
    List(list::List),
    /// Show the settings of a profile, but no secrets
    Show(show::Show),
    /// Change settings of a profile
    Edit(edit::Edit),
    /// Forget profiles
    Delete(delete::Delete),
    /// Make profiles of files of other programs
    Import(import::Import),
}

impl Command {
    pub(crate) fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Command::Create(command) => command.run(session),
            Command::Use(command) => command.run(session),
            Command::List(command) => command.run(session),
            Command::Show(command) => command.run(session),
            Command::Edit(command) => command.run(session),
            Command::Delete(command) => command.run(session),
            Command::Import(command) => command.run(session),
        }
    }
}

/// A setting as it is shown.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    /// Null where it is a secret.
    value: Option<String>,
    secret: bool,
}

/// Settings as they are shown: secrets are not.
fn shown(settings: &Settings) -> Vec<Setting> {
    let setting = |(name, value): (&String, &String)| {
        let secret = is_secret(name);
        Setting {
            name: name.clone(),
            value: (!secret).then(|| value.clone()),
            secret,
        }
    };
    settings.iter().map(setting).collect()
}

impl Report for Vec<Setting> {
    fn page(&self) -> Page {
        let mut table = Table::new(["KEY", "VALUE"]);
        for setting in self {
            let value = match setting.secret {
                true => "(secret)".to_owned(),
                false => or_none(setting.value.as_ref()),
            };
            table.row([setting.name.clone(), value]);
        }
        table.into()
    }
}

/// What became of profiles.
#[derive(Debug, Serialize)]
struct Done {
    profile: String,
    status: &'static str,
    bootstrap_server: Option<String>,
    security_protocol: String,
}

impl Done {
    fn new(profile: &str, status: &'static str, settings: &Settings) -> Self {
        let protocol = settings.get("security.protocol").map(String::as_str);
        Done {
            profile: profile.to_owned(),
            status,
            bootstrap_server: settings.get("bootstrap.servers").cloned(),
            security_protocol: protocol.unwrap_or("PLAINTEXT").to_ascii_uppercase(),
        }
    }
}

impl Report for Vec<Done> {
    fn page(&self) -> Page {
        let mut table = Table::new(["PROFILE", "STATUS", "BOOTSTRAP SERVER", "PROTOCOL"]);
        for done in self {
            table.row([
                done.profile.clone(),
                done.status.to_owned(),
                or_none(done.bootstrap_server.as_ref()),
                done.security_protocol.clone(),
            ]);
        }
        table.into()
    }
}

/// What a command line is told is in the list of processes and in the shell's history.
fn expect_no_secrets(values: &[(String, String)]) -> Result<(), Failure> {
    match values.iter().find(|(key, _)| is_secret(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Failure::usage(format!(
            "{key} is a secret, and others can see command lines"
        ))
        .hint(
            "put it into a file for rkctl profile import, or let rkctl profile edit open an editor",
        )),
    }
}
