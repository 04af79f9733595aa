//! How voters reach one another.
//!
//! A [`Transport`] carries one request to one voter and brings back its answer; the
//! other side hands the request to [`crate::MetadataQuorum::serve`]. Both are plain
//! values with serde, so a transport over TCP is a frame around them. It checks
//! cluster and voter id when it connects. [`memory`] is one for tests and simulations.

pub mod memory;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable as Backoff,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use crate::types::{Snapshot, SnapshotMeta, Types, Vote, Voter, VoterId};

/// What one voter asks of another.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum PeerRequest {
    /// Store these entries.
    Append(AppendEntriesRequest<Types>),
    /// Vote for me.
    Vote(VoteRequest<VoterId>),
    /// Take this snapshot, your log is too far behind.
    Snapshot {
        /// The leader's vote.
        vote: Vote,
        /// What the snapshot covers.
        meta: SnapshotMeta,
        /// The snapshot, as in the file.
        bytes: Bytes,
    },
}

/// What it answers.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum PeerReply {
    /// To [`PeerRequest::Append`].
    Append(AppendEntriesResponse<VoterId>),
    /// To [`PeerRequest::Vote`].
    Vote(VoteResponse<VoterId>),
    /// To [`PeerRequest::Snapshot`].
    Snapshot(SnapshotResponse<VoterId>),
    /// It has stopped, and says why.
    Stopped(String),
}

/// Why a voter gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It cannot be reached now.
    #[error("voter {voter} cannot be reached: {reason}")]
    Unreachable {
        /// Which one.
        voter: VoterId,
        /// Why.
        reason: String,
    },
    /// It was reached and did not answer as it should.
    #[error("voter {voter} answered with {reason}")]
    BadReply {
        /// Which one.
        voter: VoterId,
        /// What came.
        reason: String,
    },
}

/// The future of a call.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<PeerReply, TransportError>> + Send + 'a>>;

/// Carries requests between voters.
pub trait Transport: Send + Sync + 'static {
    /// Brings `request` to a voter and its answer back. Gives up after `deadline`.
    /// Dropping the future cancels the call; the request may have arrived all the same.
    fn call<'a>(
        &'a self,
        to: VoterId,
        voter: &'a Voter,
        request: PeerRequest,
        deadline: Duration,
    ) -> Call<'a>;
}

/// For a quorum of one: there is nobody to reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Transport for Alone {
    fn call<'a>(
        &'a self,
        to: VoterId,
        _voter: &'a Voter,
        _request: PeerRequest,
        _deadline: Duration,
    ) -> Call<'a> {
        Box::pin(async move {
            Err(TransportError::Unreachable {
                voter: to,
                reason: "this quorum has one voter".to_owned(),
            })
        })
    }
}

/// Gives openraft a peer for each voter.
pub(crate) struct Peers(pub(crate) Arc<dyn Transport>);

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: VoterId, node: &Voter) -> Peer {
        Peer {
            transport: self.0.clone(),
            id: target,
            voter: node.clone(),
        }
    }
}

/// One voter, as openraft reaches it.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    id: VoterId,
    voter: Voter,
}

impl Peer {
    async fn call(
        &self,
        request: PeerRequest,
        option: &RPCOption,
    ) -> Result<PeerReply, TransportError> {
        let deadline = option.hard_ttl();
        self.transport
            .call(self.id, &self.voter, request, deadline)
            .await
    }

    fn unexpected(&self, reply: PeerReply) -> TransportError {
        let reason = match reply {
            PeerReply::Stopped(reason) => reason,
            other => format!("{other:?}, which was not asked"),
        };
        TransportError::BadReply {
            voter: self.id,
            reason,
        }
    }
}

type RpcError = RPCError<VoterId, Voter, RaftError<VoterId>>;

impl From<TransportError> for RpcError {
    fn from(error: TransportError) -> RpcError {
        match error {
            // openraft waits before it tries again.
            TransportError::Unreachable { .. } => Backoff::new(&error).into(),
            TransportError::BadReply { .. } => NetworkError::new(&error).into(),
        }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<VoterId>, RpcError> {
        match self.call(PeerRequest::Append(rpc), &option).await? {
            PeerReply::Append(reply) => Ok(reply),
            other => Err(self.unexpected(other).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<VoterId>,
        option: RPCOption,
    ) -> Result<VoteResponse<VoterId>, RpcError> {
        match self.call(PeerRequest::Vote(rpc), &option).await? {
            PeerReply::Vote(reply) => Ok(reply),
            other => Err(self.unexpected(other).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<VoterId>, StreamingError<Types, Fatal<VoterId>>> {
        let request = PeerRequest::Snapshot {
            vote,
            meta: snapshot.meta,
            bytes: *snapshot.snapshot,
        };
        let reply = tokio::select! {
            closed = cancel => return Err(closed.into()),
            reply = self.call(request, &option) => reply,
        };
        match reply {
            Ok(PeerReply::Snapshot(reply)) => Ok(reply),
            Ok(other) => Err(NetworkError::new(&self.unexpected(other)).into()),
            Err(error @ TransportError::Unreachable { .. }) => Err(Backoff::new(&error).into()),
            Err(error) => Err(NetworkError::new(&error).into()),
        }
    }
}
