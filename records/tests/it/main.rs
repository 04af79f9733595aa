//! All integration tests of the crate, in one binary. A subject is a file.

mod support;

mod allocation;
mod builder;
mod codecs;
mod control;
mod crc;
mod documentation;
mod golden;
mod header;
mod iteration;
mod kafka;
mod malformed;
mod mutation;
mod oracle;
mod rebuild;
mod replay;
mod stamping;
mod validation;
