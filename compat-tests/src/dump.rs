//! Apache Kafka's `DumpLogSegments` as the judge of a directory of partitions.
//!
//! [`tool`] runs it over every file, [`parse`] reads what it prints and refuses what it does not
//! know, [`rules`] holds the result against what must be true of any log, [`manifest`] against what
//! the writer says it wrote, and [`sabotage`] proves that all of this can fail.
//!
//! The tool alone is a lenient judge: it ends with success although a checksum is wrong, an index
//! entry points elsewhere or a snapshot cannot be read, and it stops silently at an index entry of
//! zeros. That is why its output is parsed and not only its exit status.

pub mod judge;
pub mod manifest;
pub mod parse;
pub mod rules;
pub mod sabotage;
pub mod tool;
