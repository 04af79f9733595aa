//! Consent before something is destroyed.

use std::io::{BufRead, IsTerminal, Write};

use crate::command_line::Destruction;
use crate::failure::Failure;

impl Destruction {
    /// Asks on a terminal; elsewhere consent has to be on the command line. A dry run needs none.
    pub(crate) fn consent(&self, what: &str) -> Result<(), Failure> {
        if self.dry_run || self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        let mut stderr = std::io::stderr();
        if !stdin.is_terminal() || !stderr.is_terminal() {
            let text = format!("not done: {what} needs consent, and nobody can be asked here");
            return Err(
                Failure::usage(text).hint("say --yes, or --dry-run to see what would be done")
            );
        }
        write!(stderr, "{what}? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::other("not done")),
        }
    }
}
