//! `rkctl dev logs`.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use clap::Args;

use super::local::Local;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on and show what comes
    #[arg(short = 'F', long)]
    follow: bool,
}

const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Logs {
    pub(crate) async fn run(&self, _: &Session) -> Result<(), Failure> {
        let path = Local::find()?.log();
        let missing = |error: std::io::Error| {
            Failure::not_found(format!("cannot read {}: {error}", path.display()))
        };
        let mut file = std::fs::File::open(&path).map_err(missing)?;
        let mut text = Vec::new();
        loop {
            text.clear();
            file.read_to_end(&mut text).map_err(missing)?;
            let mut out = std::io::stdout().lock();
            out.write_all(&text)?;
            out.flush()?;
            drop(out);
            if !self.follow {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // A restart begins the file anew.
            let length = file.metadata().map_err(missing)?.len();
            if length < file.stream_position().map_err(missing)? {
                file.seek(SeekFrom::Start(0)).map_err(missing)?;
            }
        }
    }
}
