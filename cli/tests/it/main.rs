//! `rkctl` as people run it, against a real broker: a `reka` process, or the one at
//! `REKA_TEST_BOOTSTRAP`.

mod dev;
mod followers;
mod hanging;
mod profiles;
mod refusals;
mod reports;
#[path = "../../../client/tests/it/server.rs"]
mod server;
mod session;
mod sessions;
