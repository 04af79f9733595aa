//! The client against a real broker: a `reka` process, or the one at `REKA_TEST_BOOTSTRAP`.

mod admin_cluster;
mod admin_groups;
mod admin_topics;
mod certificates;
mod changed;
mod connections;
mod gates;
mod hostile;
mod members;
mod proxy;
mod records;
mod scripted;
mod security;
mod server;
mod transactions;
