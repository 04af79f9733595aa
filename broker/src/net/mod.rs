//! Sockets: accept, read frames, answer in order.

pub mod answer;
pub mod budget;
pub mod connection;
pub mod limits;
pub mod listener;
pub mod shard;
pub(crate) mod socket;

#[cfg(test)]
mod tests;
