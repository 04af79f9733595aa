//! The metadata quorum.

pub mod codec;
pub mod image;
pub mod record;
