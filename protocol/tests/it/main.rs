//! Promises of the protocol crate, held against the codec crate and against hostile bytes.

mod codec;
mod frames;
mod generate;
mod guard;
mod hand_written;
mod hostile;
mod table;
