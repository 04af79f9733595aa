//! `rkctl dev down`.

use clap::Args;
use rustix::process::Signal;

use super::local::Local;
use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Also remove its data
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    destruction: Destruction,
}

impl Down {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let local = Local::find()?;
        if self.purge {
            let what = format!("remove everything in {}", local.data().display());
            self.destruction.consent(&what)?;
        }
        if self.destruction.dry_run {
            return session.show(&local.shown()?);
        }
        if let Some(note) = local.running()? {
            local.end(&note, Signal::TERM).await?;
        }
        if self.purge {
            local.purge()?;
        }
        session.show(&local.shown()?)
    }
}
