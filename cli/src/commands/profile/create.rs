//! `rkctl profile create`.

use std::path::PathBuf;

use clap::Args;

use super::{Done, expect_no_secrets};
use crate::command_line::{Change, key_value};
use crate::failure::Failure;
use crate::profiles::{self, Profiles, Settings, name};
use crate::properties;
use crate::session::Session;

/// The cluster is the one at --bootstrap-server. Settings have the names Java's clients have for
/// them, such as security.protocol. Secrets come from a file, not from the command line.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Settings
    #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
    values: Vec<(String, String)>,
    /// A file with more of them, as Java's clients read it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Use it from now on
    #[arg(long = "use")]
    used: bool,
    #[command(flatten)]
    change: Change,
}

impl Create {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut profiles = Profiles::read()?;
        if profiles.by_name.contains_key(&self.name) {
            let text = format!("there is a profile {} already", self.name);
            return Err(Failure::refused(text).hint("rkctl profile edit changes it"));
        }
        expect_no_secrets(&self.values)?;
        let mut settings: Settings = match &self.from {
            Some(file) => properties::read(file).map_err(Failure::usage)?,
            None => Settings::new(),
        };
        settings.extend(self.values.iter().cloned());
        if let Some(servers) = session.bootstrap_named() {
            settings.insert("bootstrap.servers".to_owned(), servers.to_owned());
        }
        profiles::check(&settings)?;
        let status = match self.change.dry_run {
            true => "would be created",
            false => "created",
        };
        let done = vec![Done::new(&self.name, status, &settings)];
        if !self.change.dry_run {
            profiles.by_name.insert(self.name.clone(), settings);
            if self.used {
                profiles.current = Some(self.name.clone());
            }
            profiles.write()?;
        }
        session.show(&done)
    }
}
