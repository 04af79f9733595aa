//! `rkctl dev restart`.

use clap::Args;
use rustix::process::Signal;

use super::local::Local;
use crate::failure::Failure;
use crate::session::Session;

/// At the address it had, so that clients find it again.
#[derive(Debug, Args)]
pub(crate) struct Restart {}

impl Restart {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let local = Local::find()?;
        let Some(last) = local.last()? else {
            let failure = Failure::not_found("nothing was started here");
            return Err(failure.hint("rkctl dev up starts a broker"));
        };
        if let Some(note) = local.running()? {
            local.end(&note, Signal::TERM).await?;
        }
        let port = last.address.rsplit(':').next();
        let port = port.and_then(|port| port.parse().ok());
        local.start(port).await?;
        session.show(&local.shown()?)
    }
}
