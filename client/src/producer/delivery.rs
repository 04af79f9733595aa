//! What became of a record, for whoever wants to know.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::error::ClientError;
use crate::metadata::TopicPartition;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset; `None` where the broker did not say: with `acks=0`, or where it had the record
    /// from an earlier attempt and did not remember where.
    pub offset: Option<i64>,
}

/// A batch's outcome, shared by its records.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// The offset of the first record.
    outcome: OnceLock<Result<Option<i64>, ClientError>>,
    told: Notify,
}

impl Settled {
    pub(crate) fn settle(&self, outcome: Result<Option<i64>, ClientError>) {
        let _ = self.outcome.set(outcome);
        self.told.notify_waiters();
    }

    pub(crate) async fn wait(&self) -> &Result<Option<i64>, ClientError> {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Registered before looking, so that nothing is told in between.
            told.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            told.await;
        }
    }
}

/// A record that was handed over. It is delivered whether this is waited for or not.
#[derive(Debug)]
#[must_use = "a failure is told here and nowhere else"]
pub struct Delivery {
    pub(crate) settled: Arc<Settled>,
    pub(crate) index: i32,
    pub(crate) partition: TopicPartition,
}

impl Delivery {
    /// Waits until the record is there, or is known never to be.
    pub async fn wait(self) -> Result<Delivered, ClientError> {
        let base = self.settled.wait().await.clone()?;
        Ok(Delivered {
            partition: self.partition,
            offset: base.map(|base| base + i64::from(self.index)),
        })
    }
}
