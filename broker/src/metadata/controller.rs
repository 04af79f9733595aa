//! Changes of the metadata, one after the other: decide against the newest image, propose, wait
//! until the partitions here have followed.
//!
//! What decides is pure and lives beside this file, one file per subject. A request may bring many
//! decisions; each sees what the ones before it would do, and all of them are one proposal.

use std::time::Duration;

use reka_protocol::ErrorCode;
use reka_raft::record::Record;
use reka_raft::{MetadataImage, MetadataQuorum, ProposeError};
use tokio::sync::{Mutex, watch};

use super::refusal::Refusal;

/// How long a change of metadata may take to reach the partitions here.
const FOLLOW_MAX: Duration = Duration::from_secs(30);

/// Changes the metadata.
#[derive(Debug)]
pub struct Controller {
    quorum: MetadataQuorum,
    followed: watch::Receiver<u64>,
    /// Held from the look at the image to the commit: two changes decided on the same image could
    /// each be right and wrong together.
    turn: Mutex<()>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The quorum did not take it.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// It was taken, and has no effect here yet.
    #[error("the change was made, but did not take effect within {FOLLOW_MAX:?}")]
    Slow,
}

impl ChangeError {
    /// Kafka's code.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            ChangeError::Refused(refusal) => refusal.error_code,
            ChangeError::Propose(ProposeError::NotLeader { .. }) => ErrorCode::NotController,
            ChangeError::Propose(ProposeError::TooLarge { .. }) => ErrorCode::PolicyViolation,
            ChangeError::Propose(ProposeError::Refused { .. }) => ErrorCode::InvalidRequest,
            ChangeError::Propose(ProposeError::Stopped { .. } | ProposeError::Timeout { .. })
            | ChangeError::Slow => ErrorCode::RequestTimedOut,
        }
    }
}

/// What is about to be proposed, and what the metadata would be with it.
#[derive(Debug)]
pub struct Draft {
    image: MetadataImage,
    records: Vec<Record>,
}

impl Draft {
    /// Nothing yet, on top of an image.
    pub fn of(image: &MetadataImage) -> Draft {
        Draft {
            image: image.clone(),
            records: Vec::new(),
        }
    }

    /// The metadata with everything that was added.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Adds records that belong together, or says why they do not fit.
    pub fn add(&mut self, records: Vec<Record>) -> Result<(), Refusal> {
        self.image = self
            .image
            .apply(self.image.offset(), &records)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
        self.records.extend(records);
        Ok(())
    }
}

impl Controller {
    /// Changes what `quorum` holds; `followed` says up to where this broker has followed.
    pub fn new(quorum: MetadataQuorum, followed: watch::Receiver<u64>) -> Controller {
        Controller {
            quorum,
            followed,
            turn: Mutex::new(()),
        }
    }

    /// Says up to which offset the partitions here follow the metadata.
    pub fn followed(&self) -> watch::Receiver<u64> {
        self.followed.clone()
    }

    /// Lets `decide` draft a change, and makes it unless it is refused or only to be validated.
    /// What `decide` returns is returned once the change has taken effect here.
    pub async fn change<T>(
        &self,
        validate_only: bool,
        decide: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
    ) -> Result<T, ChangeError> {
        if validate_only {
            return Ok(decide(&mut Draft::of(&self.quorum.image()))?);
        }
        let turn = self.turn.lock().await;
        let mut draft = Draft::of(&self.quorum.image());
        let decided = decide(&mut draft)?;
        if draft.records.is_empty() {
            return Ok(decided);
        }
        let applied = self.quorum.propose(draft.records).await?;
        drop(turn);
        let mut followed = self.followed.clone();
        let wait = followed.wait_for(|followed| *followed >= applied.offset);
        match tokio::time::timeout(FOLLOW_MAX, wait).await {
            Ok(Ok(_)) => Ok(decided),
            _ => Err(ChangeError::Slow),
        }
    }

    /// The same for many things at once, in one proposal: one that is refused, which adds nothing
    /// to the draft, does not hold the others. An outcome for each; when the quorum does not take
    /// the change, none of them is a success.
    pub async fn change_each<I, T>(
        &self,
        validate_only: bool,
        things: &[I],
        mut decide: impl FnMut(&mut Draft, &I) -> Result<T, Refusal>,
    ) -> Vec<Result<T, Refusal>> {
        let each = |draft: &mut Draft| {
            let outcomes = things.iter().map(|thing| decide(draft, thing));
            Ok(outcomes.collect::<Vec<_>>())
        };
        let changed = self.change(validate_only, each).await;
        changed.unwrap_or_else(|error| {
            let refusal = Refusal::new(error.error_code(), error.to_string());
            things.iter().map(|_| Err(refusal.clone())).collect()
        })
    }
}
