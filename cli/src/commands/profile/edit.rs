//! `rkctl profile edit`.

use clap::Args;

use super::{expect_no_secrets, shown};
use crate::command_line::{Change, key_value};
use crate::editor;
use crate::failure::Failure;
use crate::profiles::{self, Profiles, name};
use crate::properties;
use crate::session::Session;

/// With settings, or keys to take away, on the command line, else in the editor of VISUAL or EDITOR.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The profile
    #[arg(value_name = "NAME", value_parser = name, add = crate::completion::profiles())]
    name: String,
    /// Settings
    #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
    values: Vec<(String, String)>,
    /// A setting to take away; may be given again
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    change: Change,
}

impl Edit {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut profiles = Profiles::read()?;
        let mut settings = profiles.get(&self.name)?.clone();
        expect_no_secrets(&self.values)?;
        if self.values.is_empty() && self.unset.is_empty() {
            let head = format!(
                "# settings of profile {}, under Apache Kafka's names\n",
                self.name
            );
            let edited = editor::edit(&(head + &properties::written(&settings)))?;
            settings = properties::parse(&edited);
        }
        for key in &self.unset {
            if settings.remove(key).is_none() {
                let text = format!("profile {} has no {key}", self.name);
                return Err(Failure::not_found(text));
            }
        }
        settings.extend(self.values.iter().cloned());
        profiles::check(&settings)?;
        let rows = shown(&settings);
        if !self.change.dry_run {
            profiles.by_name.insert(self.name.clone(), settings);
            profiles.write()?;
        }
        session.show(&rows)
    }
}
