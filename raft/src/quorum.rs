//! The quorum as the broker sees it. Nothing of openraft shows.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::{Raft, ServerState, SnapshotPolicy};
use reka_storage::fs::{Disk, DiskError};
use reka_storage::log_dir::id_to_text;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::identity::{self, Identity};
use crate::image::{ApplyError, MetadataImage};
use crate::log_store::{LogStore, SEGMENT_BYTES_MAX, WriterMode};
use crate::network::{Alone, PeerReply, PeerRequest, Peers, Transport};
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Record, RecordBatch};
use crate::snapshot::SnapshotFile;
use crate::state_machine::StateMachine;
use crate::types::{Snapshot, Types, Voter, VoterId};

const LOCK_NAME: &str = ".lock";

/// How to open a quorum.
#[derive(Clone)]
pub struct QuorumOptions {
    /// The disk.
    pub disk: Disk,
    /// Directory of vote, log and snapshot. Created when missing; its parent exists.
    pub dir: PathBuf,
    /// Checked against what the directory was created for.
    pub cluster_id: String,
    /// This voter's id, never used before by another disk.
    pub voter_id: VoterId,
    /// The voters a new quorum begins with, this one among them.
    pub voters: BTreeMap<VoterId, Voter>,
    /// How voters reach one another.
    pub transport: Arc<dyn Transport>,
    /// Elections and deadlines.
    pub timing: Timing,
    /// Entries after which a snapshot is taken.
    pub snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot, so that a slow peer or observer
    /// needs no snapshot.
    pub keep_entries: u64,
    /// Bytes after which a new log segment is begun.
    pub segment_bytes_max: u64,
    /// On which thread the log is written.
    pub writer: WriterMode,
}

impl QuorumOptions {
    /// A quorum of one. Its disk being wiped, the cluster is a new one, so its voter
    /// id may be 1 each time.
    pub fn single(disk: Disk, dir: PathBuf, cluster_id: String, voter: Voter) -> QuorumOptions {
        QuorumOptions {
            disk,
            dir,
            cluster_id,
            voter_id: 1,
            voters: BTreeMap::from([(1, voter)]),
            transport: Arc::new(Alone),
            timing: Timing::default(),
            snapshot_every: 10_000,
            keep_entries: 1_000,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            writer: WriterMode::Thread,
        }
    }
}

impl std::fmt::Debug for QuorumOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuorumOptions")
            .field("dir", &self.dir)
            .field("cluster_id", &self.cluster_id)
            .field("voter_id", &self.voter_id)
            .field("voters", &self.voters)
            .finish_non_exhaustive()
    }
}

/// Elections and deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A leader shows itself this often.
    pub heartbeat: Duration,
    /// A follower stands for election after not hearing a leader for at least this long.
    pub election_min: Duration,
    /// And for at most this long; the spread keeps two from standing at once.
    pub election_max: Duration,
    /// Time for a proposal to be committed, or for a barrier to be passed.
    pub propose_max: Duration,
    /// Time for a snapshot to reach a peer.
    pub snapshot_max: Duration,
    /// Time for a quorum of one to lead.
    pub start_max: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1_000),
            propose_max: Duration::from_secs(30),
            snapshot_max: Duration::from_secs(30),
            start_max: Duration::from_secs(30),
        }
    }
}

/// Why a quorum could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the directory.
    #[error("{} is in use by another process; stop it, or choose another directory", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to someone else.
    #[error(
        "{} belongs to {found}, not to {expected}; if meta.properties beside it was lost or changed, \
         set cluster.id={} and directory.id={} in it; to begin with new metadata, move the directory \
         away and create it empty",
        .dir.display(), .found.cluster_id, id_to_text(.found.directory_id)
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Who was started.
        expected: Box<Identity>,
        /// Whose it is.
        found: Box<Identity>,
    },
    /// This voter is not among the voters.
    #[error("voter {voter_id} is not among the voters; correct its id, or name it among them")]
    NotAVoter {
        /// This voter.
        voter_id: VoterId,
    },
    /// The timing makes no sense.
    #[error("timing: {reason}")]
    Timing {
        /// What contradicts what.
        reason: String,
    },
    /// Files could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Consensus stopped while starting.
    #[error("the metadata quorum stopped while starting: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// It did not get to lead in time.
    #[error("the metadata quorum was not ready within {after:?}")]
    Timeout {
        /// The time it had.
        after: Duration,
    },
}

impl From<DiskError> for StartError {
    fn from(error: DiskError) -> StartError {
        StartError::Store(error.into())
    }
}

/// Why a proposal came to nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another voter leads, or none.
    #[error("not the leader of the metadata quorum, {}", leader_words(.leader.as_ref()))]
    NotLeader {
        /// Who leads, when that is known.
        leader: Option<Voter>,
    },
    /// More than fits into one batch; nothing was proposed.
    #[error("a batch holds at most {records} records and {bytes} bytes")]
    TooLarge {
        /// Records that fit.
        records: usize,
        /// Bytes that fit.
        bytes: usize,
    },
    /// It was committed at `offset`, and refused there by every node alike.
    #[error("refused at offset {offset}: {reason}")]
    Refused {
        /// Where.
        offset: u64,
        /// Why.
        reason: ApplyError,
    },
    /// Consensus has stopped; the process cannot go on.
    #[error("the metadata quorum stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// No outcome in time. It may still be committed.
    #[error("no quorum within {after:?}")]
    Timeout {
        /// The time it had.
        after: Duration,
    },
}

fn leader_words(leader: Option<&Voter>) -> String {
    match leader {
        Some(voter) => format!("node {} is", voter.kafka_id),
        None => "no leader is known".to_owned(),
    }
}

/// A committed proposal.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The offset of the batch: broker epochs are this.
    pub offset: u64,
    /// An image that has it, and maybe later ones.
    pub image: Arc<MetadataImage>,
}

/// The state of consensus, for DescribeQuorum and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStatus {
    /// This voter.
    pub voter_id: VoterId,
    /// Whether it leads.
    pub is_leader: bool,
    /// Who leads, when that is known.
    pub leader: Option<(VoterId, Voter)>,
    /// The term: the leader's epoch.
    pub epoch: u64,
    /// Last entry known to be committed.
    pub committed_index: Option<u64>,
    /// Last entry applied here.
    pub applied_index: Option<u64>,
    /// Last entry in the log here.
    pub last_log_index: Option<u64>,
    /// Last entry in the newest snapshot.
    pub snapshot_index: Option<u64>,
    /// All voters.
    pub voters: Vec<VoterStatus>,
    /// On the leader: milliseconds since a quorum last acknowledged it.
    pub millis_since_quorum_ack: Option<u64>,
    /// Why consensus stopped, when it has.
    pub stopped: Option<String>,
}

/// One voter in a [`QuorumStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterStatus {
    /// Its id in the quorum.
    pub id: VoterId,
    /// What it is called, its disk, its endpoints.
    pub voter: Voter,
    /// Last entry known to be in its log; known to the leader only.
    pub matched_index: Option<u64>,
}

/// The metadata quorum; clones share it.
#[derive(Clone)]
pub struct MetadataQuorum {
    shared: Arc<Shared>,
}

struct Shared {
    raft: Raft<Types>,
    log: LogStore,
    machine: StateMachine,
    voter_id: VoterId,
    timing: Timing,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl std::fmt::Debug for MetadataQuorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataQuorum")
            .field("voter_id", &self.shared.voter_id)
            .field("offset", &self.image().offset())
            .finish_non_exhaustive()
    }
}

impl MetadataQuorum {
    /// Opens the quorum in a directory, or bootstraps it when the directory is new.
    ///
    /// A single voter leads on return, and all that was committed before is applied.
    /// One of several returns at once; its image follows when a leader is found.
    pub async fn start(options: QuorumOptions) -> Result<MetadataQuorum, StartError> {
        let (lock, log, machine) = open(&options)?;
        let pristine = log.is_pristine();
        log.step_down(options.voter_id);
        let config = config(&options)?;
        let raft = Raft::new(
            options.voter_id,
            Arc::new(config),
            Peers(options.transport.clone()),
            log.clone(),
            machine.clone(),
        )
        .await
        .map_err(|fatal| stopped_starting(&fatal))?;
        let quorum = MetadataQuorum {
            shared: Arc::new(Shared {
                raft,
                log,
                machine,
                voter_id: options.voter_id,
                timing: options.timing,
                lock: Mutex::new(Some(lock)),
            }),
        };
        if pristine && options.voters.keys().next() == Some(&options.voter_id) {
            quorum.bootstrap(&options).await?;
        }
        if quorum.is_alone().await? {
            quorum.lead_alone().await?;
        }
        Ok(quorum)
    }

    /// The first voter of the list founds the quorum; the others hear of it.
    async fn bootstrap(&self, options: &QuorumOptions) -> Result<(), StartError> {
        match self.shared.raft.initialize(options.voters.clone()).await {
            Ok(()) => Ok(()),
            // A peer was faster: it is founded.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => {
                Err(StartError::NotAVoter {
                    voter_id: options.voter_id,
                })
            }
            Err(RaftError::Fatal(fatal)) => Err(stopped_starting(&fatal)),
        }
    }

    /// Asked of the core itself: the metrics trail behind a bootstrap.
    async fn is_alone(&self) -> Result<bool, StartError> {
        let me = self.shared.voter_id;
        let alone = self.shared.raft.with_raft_state(move |state| {
            let mut voters = state.membership_state.effective().voter_ids();
            voters.next() == Some(me) && voters.next().is_none()
        });
        alone.await.map_err(|fatal| stopped_starting(&fatal))
    }

    /// Elects itself without waiting for an election timeout, and waits until the log
    /// is applied.
    async fn lead_alone(&self) -> Result<(), StartError> {
        let after = self.shared.timing.start_max;
        let raft = &self.shared.raft;
        let ready = async {
            let mut metrics = raft.metrics();
            if metrics.borrow().state != ServerState::Leader {
                raft.trigger().elect().await?;
            }
            loop {
                {
                    let now = metrics.borrow_and_update();
                    now.running_state.clone()?;
                    let applied = now.last_applied.map(|id| id.index);
                    if now.state == ServerState::Leader
                        && applied.is_some()
                        && applied == now.last_log_index
                    {
                        return Ok(());
                    }
                }
                if metrics.changed().await.is_err() {
                    return Err(Fatal::Stopped);
                }
            }
        };
        match tokio::time::timeout(after, ready).await {
            Ok(result) => result.map_err(|fatal| stopped_starting(&fatal)),
            Err(_) => Err(StartError::Timeout { after }),
        }
    }

    /// The newest committed and applied image.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shared.machine.image()
    }

    /// Woken on each new image; some may be passed over when several come at once.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.shared.machine.subscribe()
    }

    /// Proposes records that take effect together. On return they are committed,
    /// durable on a quorum, and applied here.
    ///
    /// Each proposal costs a disk sync, one after the other: whoever has many changes
    /// puts them into one batch.
    pub async fn propose(&self, records: Vec<Record>) -> Result<Applied, ProposeError> {
        let batch = RecordBatch::pack(&records).ok_or(ProposeError::TooLarge {
            records: BATCH_RECORDS_MAX,
            bytes: BATCH_BYTES_MAX,
        })?;
        drop(records);
        let written = self.deadline(self.shared.raft.client_write(batch)).await?;
        let response = written.map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ProposeError::NotLeader {
                    leader: forward.leader_node,
                }
            }
            other => ProposeError::Stopped {
                reason: other.to_string(),
            },
        })?;
        let offset = response.log_id.index;
        match response.data {
            Ok(()) => Ok(Applied {
                offset,
                image: self.image(),
            }),
            Err(reason) => Err(ProposeError::Refused { offset, reason }),
        }
    }

    /// On return [`MetadataQuorum::image`] has everything that was committed anywhere
    /// before the call. Asks a quorum whether this voter still leads.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let passed = self
            .deadline(self.shared.raft.ensure_linearizable())
            .await?;
        match passed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_node,
                })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped {
                reason: fatal.to_string(),
            }),
        }
    }

    async fn deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, ProposeError> {
        let after = self.shared.timing.propose_max;
        tokio::time::timeout(after, work)
            .await
            .map_err(|_| ProposeError::Timeout { after })
    }

    /// The state of consensus now.
    pub fn status(&self) -> QuorumStatus {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let is_leader = metrics.state == ServerState::Leader;
        let me = self.shared.voter_id;
        let last_log_index = self.shared.log.last_index();
        let leader = metrics
            .current_leader
            .and_then(|id| Some((id, membership.get_node(&id)?.clone())));
        let voters: Vec<_> = membership
            .voter_ids()
            .map(|id| VoterStatus {
                id,
                voter: membership.get_node(&id).cloned().unwrap_or_default(),
                matched_index: if is_leader && id == me {
                    last_log_index
                } else {
                    let matched = metrics.replication.as_ref().and_then(|all| all.get(&id));
                    matched.copied().flatten().map(|id| id.index)
                },
            })
            .collect();
        let alone = is_leader && voters.len() == 1;
        QuorumStatus {
            voter_id: me,
            is_leader,
            leader,
            epoch: metrics.current_term,
            committed_index: self.shared.log.committed_index(),
            applied_index: self.shared.machine.applied_index(),
            last_log_index,
            snapshot_index: self.shared.machine.snapshot_index(),
            voters,
            // A quorum of one acknowledges itself all the time.
            millis_since_quorum_ack: if alone {
                Some(0)
            } else {
                metrics.millis_since_quorum_ack
            },
            stopped: metrics
                .running_state
                .as_ref()
                .err()
                .map(ToString::to_string),
        }
    }

    /// Resolves with the reason once consensus has stopped, by [`MetadataQuorum::shutdown`]
    /// or because the disk failed. The process cannot go on without it.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.shared.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return Fatal::<VoterId>::Stopped.to_string();
            }
        }
    }

    /// Answers another voter.
    pub async fn serve(&self, request: PeerRequest) -> PeerReply {
        let raft = &self.shared.raft;
        match request {
            PeerRequest::Append(request) => match raft.append_entries(request).await {
                Ok(reply) => PeerReply::Append(reply),
                Err(error) => PeerReply::Stopped(error.to_string()),
            },
            PeerRequest::Vote(request) => match raft.vote(request).await {
                Ok(reply) => PeerReply::Vote(reply),
                Err(error) => PeerReply::Stopped(error.to_string()),
            },
            PeerRequest::Snapshot { vote, meta, bytes } => {
                let snapshot = Snapshot {
                    meta,
                    snapshot: Box::new(bytes),
                };
                match raft.install_full_snapshot(vote, snapshot).await {
                    Ok(reply) => PeerReply::Snapshot(reply),
                    Err(error) => PeerReply::Stopped(error.to_string()),
                }
            }
        }
    }

    /// Takes a snapshot soon, also when it is not due.
    pub async fn trigger_snapshot(&self) -> Result<(), ProposeError> {
        let triggered = self.shared.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| ProposeError::Stopped {
            reason: fatal.to_string(),
        })
    }

    /// Stops consensus. On return nothing is written any more and the directory can be
    /// opened again.
    pub async fn shutdown(&self) {
        // An error means that its task panicked: it has stopped all the same.
        let _ = self.shared.raft.shutdown().await;
        self.shared.log.drain().await;
        self.shared.machine.close().await;
        let mut lock = self
            .shared
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lock.take();
    }
}

type Opened = (Box<dyn Any + Send + Sync>, LogStore, StateMachine);

fn open(options: &QuorumOptions) -> Result<Opened, StartError> {
    let QuorumOptions { disk, dir, .. } = options;
    let Some(voter) = options.voters.get(&options.voter_id) else {
        return Err(StartError::NotAVoter {
            voter_id: options.voter_id,
        });
    };
    if let Err(error) = disk.create_dir(dir)
        && error.source.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error.into());
    }
    let Some(lock) = disk.try_lock(&dir.join(LOCK_NAME))? else {
        return Err(StartError::InUse { dir: dir.clone() });
    };
    let expected = Identity {
        cluster_id: options.cluster_id.clone(),
        voter_id: options.voter_id,
        directory_id: voter.directory_id,
    };
    match identity::read(disk, dir)? {
        Some(found) if found == expected => {}
        Some(found) => {
            return Err(StartError::Foreign {
                dir: dir.clone(),
                expected: Box::new(expected),
                found: Box::new(found),
            });
        }
        None => {
            identity::write(disk, dir, &expected)?;
            // The directory itself is new too.
            if let Some(parent) = dir.parent() {
                disk.sync_dir(parent)?;
            }
        }
    }
    let log = LogStore::open(disk, dir, options.segment_bytes_max, options.writer)?;
    let machine = StateMachine::open(SnapshotFile::new(disk, dir), options.writer)?;
    Ok((lock, log, machine))
}

fn config(options: &QuorumOptions) -> Result<openraft::Config, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let timing = &options.timing;
    let config = openraft::Config {
        cluster_name: options.cluster_id.clone(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: millis(timing.snapshot_max),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        max_in_snapshot_log_to_keep: options.keep_entries,
        // A peer that lags by more than the log keeps is sent a snapshot.
        replication_lag_threshold: options.snapshot_every + options.keep_entries,
        ..openraft::Config::default()
    };
    config.validate().map_err(|error| StartError::Timing {
        reason: error.to_string(),
    })
}

fn stopped_starting(fatal: &Fatal<VoterId>) -> StartError {
    StartError::Stopped {
        reason: fatal.to_string(),
    }
}
