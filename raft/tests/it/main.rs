//! The metadata quorum, from the outside.

mod cluster;
mod crash;
mod damage;
mod quorum;
mod records;
mod storage_suite;
mod support;
