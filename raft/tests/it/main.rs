//! The metadata quorum, from the outside.

mod crash;
mod quorum;
mod storage_suite;
mod support;
