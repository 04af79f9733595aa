//! Apache Kafka as a process: fetched with Maven, started, stopped, and its tools run.
//!
//! [`jars`] fetches, [`java`] builds and runs JVM command lines, [`kafka`] is the broker, and
//! [`probe`] tells when it answers.

pub mod jars;
pub mod java;
pub mod kafka;
pub mod probe;
pub mod secure;
