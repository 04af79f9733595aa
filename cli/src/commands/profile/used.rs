//! `rkctl profile use`.

use clap::Args;

use super::Done;
use crate::failure::Failure;
use crate::profiles::Profiles;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Use {
    /// The profile
    #[arg(value_name = "NAME", required_unless_present = "none", add = crate::completion::profiles())]
    name: Option<String>,
    /// Use none
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

impl Use {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut profiles = Profiles::read()?;
        let mut done = Vec::new();
        if let Some(name) = &self.name {
            done.push(Done::new(name, "in use", profiles.get(name)?));
        }
        profiles.current.clone_from(&self.name);
        profiles.write()?;
        session.show(&done)
    }
}
