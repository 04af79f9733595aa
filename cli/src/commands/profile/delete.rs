//! `rkctl profile delete`.

use clap::Args;

use super::Done;
use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::profiles::Profiles;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The profiles
    #[arg(required = true, value_name = "NAME", add = crate::completion::profiles())]
    names: Vec<String>,
    #[command(flatten)]
    destruction: Destruction,
}

impl Delete {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut profiles = Profiles::read()?;
        let status = match self.destruction.dry_run {
            true => "would be deleted",
            false => "deleted",
        };
        let mut done = Vec::new();
        for name in &self.names {
            done.push(Done::new(name, status, profiles.get(name)?));
        }
        let what = format!("forget profiles {}", self.names.join(", "));
        self.destruction.consent(&what)?;
        if !self.destruction.dry_run {
            profiles
                .by_name
                .retain(|name, _| !self.names.contains(name));
            let current = profiles.current.take();
            profiles.current = current.filter(|name| !self.names.contains(name));
            profiles.write()?;
        }
        session.show(&done)
    }
}
