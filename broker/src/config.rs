//! Typed configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the broker is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's id.
    pub node_id: i32,
    /// The cluster's id; made up for a new directory when not given.
    pub cluster_id: Option<String>,
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where data lies.
    pub log_dir: PathBuf,
    /// Partitions of a topic that is created without saying how many.
    pub num_partitions: i32,
    /// Whether asking for a missing topic creates it.
    pub auto_create_topics: bool,
    /// Sockets and requests.
    pub socket: SocketConfig,
    /// Bytes of an answer to a fetch at most.
    pub fetch_max_bytes: u64,
    /// Memory of requests in flight, all connections together.
    pub queued_max_request_bytes: usize,
    /// Records are on disk at most this long after they were taken.
    pub group_commit_ms: u64,
}

/// Sockets and requests.
#[derive(Clone, Debug)]
pub struct SocketConfig {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `max.connections`.
    pub connections_max: usize,
    /// `connections.max.idle.ms`.
    pub connections_max_idle: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node_id: 1,
            cluster_id: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 9092)),
            log_dir: PathBuf::from("reka-data"),
            num_partitions: 1,
            auto_create_topics: true,
            socket: SocketConfig {
                request_max_bytes: 100 << 20,
                connections_max: 10_000,
                connections_max_idle: Duration::from_secs(600),
            },
            fetch_max_bytes: 55 << 20,
            queued_max_request_bytes: 512 << 20,
            group_commit_ms: 100,
        }
    }
}
