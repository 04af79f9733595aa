//! `rkctl profile list`.

use clap::Args;

use super::Done;
use crate::failure::Failure;
use crate::profiles::Profiles;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let profiles = Profiles::read()?;
        let status = |name: &String| match profiles.current.as_ref() == Some(name) {
            true => "in use",
            false => "",
        };
        let rows: Vec<Done> = profiles
            .by_name
            .iter()
            .map(|(name, settings)| Done::new(name, status(name), settings))
            .collect();
        session.show(&rows)
    }
}
