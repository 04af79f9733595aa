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

/// What is told of a batch: the offset of its first record.
type Outcome = Result<Option<i64>, ClientError>;

/// A batch's outcome, shared by its records.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    fate: OnceLock<Fate>,
    told: Notify,
}

#[derive(Debug)]
enum Fate {
    Done(Outcome),
    /// It became two: the first so many records are the first one's.
    Split(i32, [Arc<Settled>; 2]),
}

impl Settled {
    pub(crate) fn settle(&self, outcome: Outcome) {
        let _ = self.fate.set(Fate::Done(outcome));
        self.told.notify_waiters();
    }

    /// The batch goes on as two.
    pub(crate) fn split(&self, middle: i32, parts: [Arc<Settled>; 2]) {
        let _ = self.fate.set(Fate::Split(middle, parts));
        self.told.notify_waiters();
    }

    async fn wait(&self) -> &Fate {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Registered before looking, so that nothing is told in between.
            told.as_mut().enable();
            if let Some(fate) = self.fate.get() {
                return fate;
            }
            told.await;
        }
    }

    /// The offset of a record, once it is known.
    #[cfg(test)]
    pub(crate) fn outcome_of(&self, index: i32) -> Option<Outcome> {
        match self.fate.get()? {
            Fate::Done(outcome) => {
                let offset = |base: Option<i64>| base.map(|base| base + i64::from(index));
                Some(outcome.clone().map(offset))
            }
            Fate::Split(middle, parts) => {
                let (part, index) = part_of(*middle, parts, index);
                part.outcome_of(index)
            }
        }
    }
}

fn part_of(middle: i32, parts: &[Arc<Settled>; 2], index: i32) -> (&Arc<Settled>, i32) {
    match index < middle {
        true => (&parts[0], index),
        false => (&parts[1], index - middle),
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
        let (mut settled, mut index) = (self.settled, self.index);
        let base = loop {
            let next = match settled.wait().await {
                Fate::Done(outcome) => break outcome.clone()?,
                Fate::Split(middle, parts) => part_of(*middle, parts, index),
            };
            let next = (next.0.clone(), next.1);
            (settled, index) = next;
        };
        Ok(Delivered {
            partition: self.partition,
            offset: base.map(|base| base + i64::from(index)),
        })
    }
}
