//! What happens by the clock, off the shards.
//!
//! | Every | What |
//! |---|---|
//! | second | directories that failed are reported, and the node gives up when none is left |
//! | ten seconds | offsets that readers found missing between segments are reported |
//! | new image | the partitions here follow the metadata |
//! | second, later less and less often | logs that a disk did not let open are tried again |
//! | `reka.flush.group.ms` | logs that were appended to are synced, all in one round |
//! | 100 ms, or `log.flush.scheduler.interval.ms` | logs with records older than `flush.ms` are synced, unless all are so often |
//! | second | files of partitions that were deleted are unlinked when their delay is over |
//! | `log.flush.offset.checkpoint.interval.ms`, or that of start offsets if it is less | checkpoints are stored |
//! | `log.retention.check.interval.ms` | retention, unlinking of what was deleted |
//! | `producer.id.expiration.check.interval.ms` | producers that were silent for too long are forgotten |
//! | `transaction.abort.timed.out.transaction.cleanup.interval.ms` | transactions that hang are looked for |
//! | `log.cleaner.backoff.ms`, and at once while there is something to do | compaction of logs that are due (`cleaner.rs`) |
//!
//! All of it blocks, so it runs on the blocking pool. Retention, the forgetting of producers and
//! compaction begin `log.initial.task.delay.ms` after the start, when clients have come back and caches
//! are warm.

use std::sync::Arc;
use std::time::Duration;

use reka_storage::TopicPartition;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cleaner;
use crate::coordinator::tasks::told;
use crate::metadata::follow::Follower;
use crate::node::Services;
use crate::partition::{Partition, sync};
use crate::txn::late;

/// Between two looks for records that are older than `flush.ms`, unless
/// `log.flush.scheduler.interval.ms` is less. Apache Kafka looks only if that is set.
const FLUSH_LOOK_PERIOD: Duration = Duration::from_millis(100);
const FLUSH_LOOK_PERIOD_MIN: Duration = Duration::from_millis(1);

/// Between two looks for deleted partitions whose files may go.
const UNLINK_PERIOD: Duration = Duration::from_secs(1);

/// Between two looks at whether the directories are still in use.
const DIRS_PERIOD: Duration = Duration::from_secs(1);

/// Between two attempts to open logs that a disk did not let open, at first and at last.
const OPEN_AGAIN_PERIOD: Duration = Duration::from_secs(1);
const OPEN_AGAIN_PERIOD_MAX: Duration = Duration::from_secs(60);

/// Between two looks at whether a reader found offsets missing.
const GAPS_PERIOD: Duration = Duration::from_secs(10);

/// Checkpoints are whole files: more often would be work without end.
const CHECKPOINT_PERIOD_MIN: Duration = Duration::from_millis(10);

/// The tasks.
#[derive(Debug)]
pub struct Background {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts them all.
    pub fn start(runtime: &Handle, services: &Arc<Services>, follower: Follower) -> Background {
        let (stop, stopped) = watch::channel(false);
        let config = services.config();
        let logs = &config.logs;
        let spawn = |delay, period, work| {
            runtime.spawn(every(
                delay,
                period,
                services.clone(),
                stopped.clone(),
                work,
            ))
        };
        let (at_once, upkeep) = (Duration::ZERO, logs.upkeep_delay);
        let mut tasks = vec![
            runtime.spawn(follow(services.clone(), follower, stopped.clone())),
            spawn(at_once, DIRS_PERIOD, watch_dirs),
            spawn(at_once, GAPS_PERIOD, tell_of_gaps),
            spawn(
                at_once,
                logs.recovery_checkpoint_interval
                    .min(logs.start_checkpoint_interval)
                    .max(CHECKPOINT_PERIOD_MIN),
                checkpoint as fn(&Services),
            ),
            spawn(at_once, UNLINK_PERIOD, unlink),
            spawn(upkeep, logs.retention_check_interval, expire),
            spawn(upkeep, logs.producer_id_check_interval, forget_producers),
            spawn(
                at_once,
                config.transactions.timeout_check_interval,
                late::look,
            ),
        ];
        if let Some(period) = logs.flush_group_interval {
            tasks.push(spawn(at_once, period, flush));
        }
        if logs
            .flush_group_interval
            .is_none_or(|group| group > FLUSH_LOOK_PERIOD)
        {
            let period = logs.flush_check_interval.min(FLUSH_LOOK_PERIOD);
            tasks.push(spawn(at_once, period.max(FLUSH_LOOK_PERIOD_MIN), flush_old));
        }
        if logs.cleaner.enabled {
            let cleaner = cleaner::clean(services.clone(), upkeep, stopped.clone());
            tasks.push(runtime.spawn(cleaner));
        }
        Background { stop, tasks }
    }

    /// Ends them, letting what is under way finish.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a background task ended by a panic");
            }
        }
    }
}

async fn follow(
    services: Arc<Services>,
    mut follower: Follower,
    mut stopped: watch::Receiver<bool>,
) {
    let mut images = services.quorum.subscribe();
    let mut again = Again::new(Instant::now());
    loop {
        let image = images.borrow_and_update().clone();
        let attempts = follower.has_unopened() && again.is_due(Instant::now());
        let followed = services.blocking.run(move || {
            if attempts {
                follower.open_again();
            }
            follower.follow(&image);
            follower
        });
        follower = match followed.await {
            Ok(follower) => follower,
            Err(error) => {
                tracing::error!("following the metadata failed: {error}");
                return;
            }
        };
        let is_left = follower.has_unopened();
        if attempts || !is_left {
            again.put_off(is_left, Instant::now());
        }
        tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            changed = images.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(again.at), if is_left => {}
        }
    }
}

/// When logs that a disk did not let open are opened again: each attempt reads what there is to
/// recover, so they come less and less often.
#[derive(Debug)]
struct Again {
    at: Instant,
    pause: Duration,
}

impl Again {
    fn new(now: Instant) -> Again {
        Again {
            at: now + OPEN_AGAIN_PERIOD,
            pause: OPEN_AGAIN_PERIOD,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// The next attempt: later than the one before if something is left of that.
    fn put_off(&mut self, is_left: bool, now: Instant) {
        self.pause = match is_left {
            true => (self.pause * 2).min(OPEN_AGAIN_PERIOD_MAX),
            false => OPEN_AGAIN_PERIOD,
        };
        self.at = now + self.pause;
    }
}

async fn every(
    delay: Duration,
    period: Duration,
    services: Arc<Services>,
    mut stopped: watch::Receiver<bool>,
    work: fn(&Services),
) {
    let first = Instant::now() + delay;
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            _ = ticks.tick() => {
                let here = services.clone();
                if services.blocking.run(move || work(&here)).await.is_err() {
                    tracing::error!("a background task panicked; it is tried again");
                }
            }
        }
    }
}

/// Says once of each directory that it failed: whatever is done in it afterwards fails silently.
fn watch_dirs(services: &Services) {
    for offline in services.dirs_gone_offline() {
        tracing::error!("{offline}; its partitions are not served until then");
    }
    let dirs = services.log_dirs();
    if dirs.offline().len() == dirs.dirs().len() {
        services.give_up("no log directory is in use any more");
    }
}

/// Says what readers found missing since the last look.
fn tell_of_gaps(services: &Services) {
    for partition in services.partitions.all() {
        if !partition.reader().has_met_gaps() {
            continue;
        }
        for gap in partition.log().take_gaps_met() {
            tracing::warn!("{partition}: {gap}");
        }
    }
}

/// Syncs what was appended since the last round. The log's lock is not held meanwhile.
pub fn flush(services: &Services) {
    for partition in services.partitions.all() {
        if partition.reader().log_end() != partition.flushed() {
            flush_one(services, &partition);
        }
    }
}

/// Syncs what is older than its topic's `flush.ms`.
fn flush_old(services: &Services) {
    let now_ms = services.clock.now_ms();
    for partition in services.partitions.all() {
        let is_synced = partition.reader().log_end() == partition.flushed();
        if !is_synced && partition.log().flush_is_due_by_age(now_ms) {
            flush_one(services, &partition);
        }
    }
}

fn flush_one(services: &Services, partition: &Partition) {
    let Some(_upkeep) = partition.upkeep() else {
        return;
    };
    let end = partition.reader().log_end();
    // An error is counted and told of there, and the partition is offline by now.
    if partition.is_offline() || sync::sync_below(services, partition, end).is_err() {
        return;
    }
    // Recovery points are not only stored by the clock.
    let name = TopicPartition::new(partition.topic.as_str(), partition.index);
    let Some(dir) = services.log_dirs().of(&name).cloned() else {
        return;
    };
    if let Err(error) = dir.note_flushed(partition.take_grown_bytes()) {
        tracing::error!("recovery points were not stored: {error}");
    }
}

fn checkpoint(services: &Services) {
    services.note_high_watermarks();
    for dir in services.log_dirs().dirs() {
        if dir.env().health.check().is_err() {
            continue;
        }
        if let Err(error) = dir.checkpoint() {
            tracing::error!("checkpoints were not stored: {error}");
        }
    }
}

fn unlink(services: &Services) {
    for error in services.log_dirs().unlink_deleted(services.clock.now_ms()) {
        tracing::warn!("a deleted partition's files stay until the next start: {error}");
    }
}

fn expire(services: &Services) {
    let now_ms = services.clock.now_ms();
    for partition in services.partitions.all() {
        let high_watermark = partition.high_watermark();
        let Some(mut log) = partition.log_to_change() else {
            continue;
        };
        if log.is_offline() {
            continue;
        }
        let expired = log.apply_retention(high_watermark, now_ms);
        let unlinked = log.unlink_deleted(now_ms);
        drop(log);
        match expired {
            Ok(reasons) if reasons.is_empty() => {}
            Ok(reasons) => tracing::info!("{}: segments went: {reasons:?}", partition),
            Err(error) => tracing::error!("{}: retention failed: {error}", partition),
        }
        if let Err(error) = unlinked {
            tracing::error!("{}: unlinking failed: {error}", partition);
        }
    }
}

fn forget_producers(services: &Services) {
    let now_ms = services.clock.now_ms();
    for partition in services.partitions.all() {
        if let Some(mut log) = partition.log_to_change() {
            log.expire_producers(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_tried_less_and_less_often_and_what_comes_later_soon() {
        let start = Instant::now();
        let mut again = Again::new(start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push((again.at - now).as_secs());
            assert!(!again.is_due(again.at - Duration::from_millis(1)));
            now = again.at;
            assert!(again.is_due(now));
            again.put_off(true, now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        again.put_off(false, now);
        assert_eq!(again.at, now + OPEN_AGAIN_PERIOD);
    }
}
