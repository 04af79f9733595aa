//! Until a partition is read back its coordinator knows nothing, and says so.

use std::sync::Arc;
use std::time::Duration;

use reka_protocol::ErrorCode;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::mailbox::{Answer, Envelope, Mailboxes};
use super::replay::LoadError;
use super::seldom::Seldom;
use super::tasks::told;
use crate::partition::Partition;
use crate::seams::Blocking;

/// After the log could not be read, or did not take a batch, nothing is tried for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Reads the partition with `read`, which blocks, until that succeeds; whoever asks meanwhile is
/// told so. What was read and how long it took; `None` if the task is to end. `what` it is, for
/// the log. As long as it cannot be read, that is a trouble of the node.
pub async fn load<T, A, R>(
    blocking: Blocking,
    partition: &Arc<Partition>,
    what: &str,
    mailboxes: &Mailboxes<A, R>,
    read: impl Fn(&Partition) -> Result<T, LoadError> + Clone + Send + 'static,
    mailbox: &mut mpsc::Receiver<Envelope<A, R>>,
    stop: &mut watch::Receiver<bool>,
) -> Option<(T, Duration)>
where
    T: Send + Unpin + 'static,
    R: Answer,
{
    let mut failed = Seldom::default();
    loop {
        let (read, here) = (read.clone(), partition.clone());
        let began = Instant::now();
        let mut reading = blocking.run(move || read(&here));
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut reading => break outcome,
                envelope = mailbox.recv() => match envelope {
                    Some(envelope) => envelope.refuse(ErrorCode::CoordinatorLoadInProgress),
                    None => return None,
                },
                () = told(stop) => return None,
            }
        };
        let trouble = match outcome {
            Ok(Ok(loaded)) => {
                mailboxes.write().unread.remove(&partition.index);
                return Some((loaded, began.elapsed()));
            }
            Ok(Err(error)) => format!("{partition}: {what} cannot be loaded: {error}"),
            Err(error) => format!("{partition}: loading {what} failed: {error}"),
        };
        if let Some(kept_back) = failed.tells(Instant::now()) {
            tracing::error!(
                "{trouble}; it is tried again each second, and until then clients find no coordinator \
                 ({kept_back} more since the last such line, of which there is one a minute)"
            );
        }
        mailboxes.write().unread.insert(partition.index, trouble);
        if !pause(mailbox, stop).await {
            return None;
        }
    }
}

/// Lets a failure pass. False if the task is to end.
pub async fn pause<A, R: Answer>(
    mailbox: &mut mpsc::Receiver<Envelope<A, R>>,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let over = Instant::now() + PAUSE_AFTER_FAILURE;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(over) => return true,
            envelope = mailbox.recv() => match envelope {
                Some(envelope) => envelope.refuse(ErrorCode::CoordinatorNotAvailable),
                None => return false,
            },
            () = told(stop) => return false,
        }
    }
}
