//! Promises of the protocol crate, held against the codec crate and against hostile bytes.

mod answers;
mod codec;
mod coordinator;
mod corpus;
mod docs;
mod frames;
mod generate;
mod guard;
mod hand_written;
mod hostile;
mod table;
