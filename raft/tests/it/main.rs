//! The metadata quorum, from the outside.

mod quorum;
mod storage_suite;
mod support;
