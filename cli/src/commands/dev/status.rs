//! `rkctl dev status`.

use clap::Args;

use super::local::Local;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.show(&Local::find()?.shown()?)
    }
}
