//! `rkctl dev up`.

use std::io::Write;

use clap::Args;

use super::local::Local;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Listen on this port; on a free one without
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

impl Up {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let local = Local::find()?;
        let note = match local.running()? {
            Some(note) => {
                writeln!(std::io::stderr(), "it is running already")?;
                note
            }
            None => local.start(self.port).await?,
        };
        session.show(&local.shown()?)?;
        let say = format!("export KAFKA_BOOTSTRAP_SERVERS={}", note.address);
        writeln!(std::io::stderr(), "for the other commands: {say}")?;
        Ok(())
    }
}
