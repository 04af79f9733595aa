//! `rkctl shims`.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Report;
use crate::session::Session;
use crate::shims;
use crate::table::{Page, Table};

/// Scripts that call kafka-topics.sh and kafka-get-offsets.sh then run without a JVM: put the folder
/// first in PATH.
#[derive(Debug, Args)]
pub(crate) struct Shims {
    /// The folder, made if it is not there
    #[arg(value_name = "DIR")]
    dir: std::path::PathBuf,
    /// Replace what is there by these names
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    path: String,
}

impl Report for Vec<Row> {
    fn page(&self) -> Page {
        let mut table = Table::new(["NAME", "PATH"]);
        for row in self {
            table.row([row.name.clone(), row.path.clone()]);
        }
        table.into()
    }
}

impl Shims {
    pub(crate) fn run(&self, session: &Session) -> Result<(), Failure> {
        let unusable = |verb: &str, path: &std::path::Path, error: std::io::Error| {
            Failure::other(format!("cannot {verb} {}: {error}", path.display()))
        };
        let own = std::env::current_exe();
        let own = own.map_err(|error| Failure::other(format!("cannot find rkctl: {error}")))?;
        std::fs::create_dir_all(&self.dir).map_err(|error| unusable("create", &self.dir, error))?;
        let mut rows = Vec::new();
        for name in shims::names() {
            let path = self.dir.join(&name);
            if self.force && path.symlink_metadata().is_ok() {
                std::fs::remove_file(&path).map_err(|error| unusable("replace", &path, error))?;
            }
            std::os::unix::fs::symlink(&own, &path).map_err(|error| {
                unusable("create", &path, error).hint("--force replaces what is there")
            })?;
            let path = path.display().to_string();
            rows.push(Row { name, path });
        }
        session.show(&rows)
    }
}
