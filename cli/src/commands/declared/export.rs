//! `rkctl export`.

use std::io::Write;

use clap::Args;

use super::{live, value, written};
use crate::failure::Failure;
use crate::names::matches_any;
use crate::output::Format;
use crate::session::Session;
use crate::yaml;

/// As TOML; with -o yaml or -o json as these. Without patterns quotas are in it as well.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only topics whose names match, with * for any text and ? for any letter
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Export {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut found = live(session, None).await?;
        if !self.patterns.is_empty() {
            found
                .topics
                .retain(|name, _| matches_any(&self.patterns, name));
            found.quotas.clear();
        }
        let text = match session.format() {
            Format::Table => written(&found),
            Format::Yaml => yaml::write(&value(&found)),
            Format::Json => format!("{:#}\n", value(&found)),
            Format::Jsonl => format!("{}\n", value(&found)),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}
