//! `rkctl export`.

use std::io::Write;

use clap::Args;

use super::{live, written};
use crate::failure::Failure;
use crate::names::matches_any;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Export {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut topics = live(session, None).await?;
        topics.retain(|name, _| matches_any(&self.patterns, name));
        std::io::stdout().write_all(written(&topics).as_bytes())?;
        Ok(())
    }
}
