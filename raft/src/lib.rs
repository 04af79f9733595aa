//! The metadata quorum: what the cluster agrees on, and how.
//!
//! Everything a broker needs is [`MetadataQuorum`]: it proposes [`record`]s and reads
//! [`image`]s. Below it, in reading order:
//!
//! | Module            | Owns                                                         |
//! |-------------------|--------------------------------------------------------------|
//! | [`codec`]         | the stored form of small values                              |
//! | [`record`]        | what may be written to the metadata log                      |
//! | [`image`]         | the metadata at one offset; applying records to it           |
//! | [`types`]         | voters, and the types openraft is told                       |
//! | [`log_store`]     | the log on disk, with vote and positions                     |
//! | [`snapshot`]      | an image in a file                                           |
//! | [`state_machine`] | applying committed entries, publishing images                |
//! | [`network`]       | how voters reach one another                                 |
//! | [`identity`]      | whose files a directory holds                                |
//! | [`quorum`]        | all of it joined                                             |
//!
//! Consensus itself is openraft's, and stays behind [`quorum`]. What is deliberately
//! absent: clocks and random ids (proposers read them), decisions about the cluster
//! (the controller makes them), Kafka's error codes (the broker's API layer has them).

pub mod codec;
pub mod error;
pub mod identity;
pub mod image;
pub mod log_store;
pub mod network;
pub mod quorum;
pub mod record;
pub mod snapshot;
pub mod state_machine;
pub mod types;

pub use image::{ApplyError, MetadataImage};
pub use quorum::{
    Applied, MetadataQuorum, ProposeError, QuorumOptions, QuorumStatus, StartError, Timing,
    VoterStatus,
};
pub use record::Record;
pub use types::{Voter, VoterEndpoint, VoterId};
