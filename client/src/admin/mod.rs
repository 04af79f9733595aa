//! What administrators ask of a cluster: typed questions, a file per subject.
//!
//! Questions about several things answer for each of them ([`Outcome`](crate::Outcome)); what another
//! attempt may change is tried again until the deadline, and only that.

mod cluster;
mod configs;
mod groups;
mod log_dirs;
mod offsets;
mod partitions;
mod quotas;
mod topics;
mod transactions;

pub use cluster::{ClusterDescription, FeatureChange, NodeDescription, Quorum, QuorumReplica};
pub use configs::{
    ConfigChange, ConfigEntry, ConfigSource, ConfigSynonym, ConfigType, Resource, ResourceKind,
};
pub use groups::{
    CommittedOffset, GroupDescription, GroupListing, GroupMember, MemberAssignment, OffsetToCommit,
};
pub use log_dirs::{LogDir, LogDirPartition};
pub use offsets::{Isolation, ListedOffset, OffsetSpec};
pub use partitions::{Election, EligibleLeaders, Reassignment};
pub use quotas::{QuotaEntity, QuotaEntry, QuotaFilter};
pub use topics::{CreatedTopic, NewTopic};
pub use transactions::{
    ActiveProducer, ListedTransaction, TransactionAbort, TransactionDescription,
};
