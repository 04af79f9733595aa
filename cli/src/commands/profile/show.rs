//! `rkctl profile show`.

use clap::Args;

use super::shown;
use crate::failure::Failure;
use crate::profiles::Profiles;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The profile; the one in use without
    #[arg(value_name = "NAME", add = crate::completion::profiles())]
    name: Option<String>,
}

impl Show {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let profiles = Profiles::read()?;
        let name = profiles.named_or_current(self.name.as_deref())?;
        session.show(&shown(profiles.get(&name)?))
    }
}
