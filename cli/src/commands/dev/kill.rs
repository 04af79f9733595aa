//! `rkctl dev kill`.

use clap::Args;
use rustix::process::Signal;

use super::local::Local;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Kill {}

impl Kill {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let local = Local::find()?;
        let note = local.expect_running()?;
        local.end(&note, Signal::KILL).await?;
        session.show(&local.shown()?)
    }
}
