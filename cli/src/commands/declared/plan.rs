//! `rkctl plan`.

use clap::Args;

use super::{difference, live, read};
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The file
    file: std::path::PathBuf,
}

impl Plan {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let declared = read(&self.file)?;
        let live = live(session, Some(&declared)).await?;
        session.show(&difference(&declared, &live))
    }
}
