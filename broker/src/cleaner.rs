//! Compacts logs that are due, on `log.cleaner.threads` threads.
//!
//! Rounds over all partitions, one behind the other while there is something to do, else with
//! `log.cleaner.backoff.ms` between them. What may be set at run time counts from the next round on, the
//! number of bytes per second at once. A pass that is held back by that goes on for as long as it takes, so it
//! asks again and again whether it is still wanted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reka_storage::LogError;
use reka_storage::compaction::CompactionLimits;
use tokio::sync::watch;

use crate::coordinator::tasks::told;
use crate::node::Services;
use crate::partition::Partition;

/// Between two rounds, at least.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A pass that is held back asks so often whether it is still wanted.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Rounds until the tasks are to end.
pub(crate) async fn clean(
    services: Arc<Services>,
    delay: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let throttle = Arc::new(Throttle::default());
    let mut pause = delay;
    loop {
        tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let (services, throttle, stopped) = (services.clone(), throttle.clone(), stopped.clone());
        let backoff = services.config().logs.cleaner.backoff;
        let blocking = services.blocking;
        let done = blocking
            .run(move || round(&services, &throttle, &stopped))
            .await;
        pause = match done {
            Ok(0) => backoff.max(PAUSE_MIN),
            Ok(_) => PAUSE_MIN,
            Err(_) => {
                tracing::error!("compaction panicked; it is tried again");
                backoff.max(PAUSE_MIN)
            }
        };
    }
}

/// Compacts what is due now; how many logs that were.
fn round(services: &Services, throttle: &Throttle, stopped: &watch::Receiver<bool>) -> usize {
    let threads = services.config().logs.cleaner.threads;
    let compacted = services.partitions.all().into_iter();
    let compacted = compacted.filter(|partition| partition.settings().compact);
    let queue = Mutex::new(compacted);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = 0;
        while let Some(partition) = next() {
            let cleaner = Cleaner {
                services,
                throttle,
                stopped,
                partition: &partition,
            };
            match cleaner.compact(threads) {
                Ok(was_due) => done += usize::from(was_due),
                Err(LogError::GivenUp) => {}
                Err(error) => tracing::error!("{partition}: compaction failed: {error}"),
            }
        }
        done
    };
    if threads == 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = others.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.sum()
    })
}

struct Cleaner<'a> {
    services: &'a Services,
    throttle: &'a Throttle,
    stopped: &'a watch::Receiver<bool>,
    partition: &'a Partition,
}

impl Cleaner<'_> {
    /// Whether the log was due and is compacted.
    fn compact(&self, threads: usize) -> Result<bool, LogError> {
        let partition = self.partition;
        if *self.stopped.borrow() || partition.is_offline() {
            return Ok(false);
        }
        let map_bytes = self.services.config().logs.cleaner.map_bytes / threads.max(1) as u64;
        let limits = CompactionLimits {
            map_bytes: usize::try_from(map_bytes).unwrap_or(usize::MAX),
            ..CompactionLimits::default()
        };
        let now_ms = self.services.clock.now_ms();
        let high_watermark = partition.high_watermark();
        let Some(_upkeep) = partition.upkeep() else {
            return Ok(false);
        };
        let plan = partition.log().plan_compaction(high_watermark, now_ms)?;
        let Some(plan) = plan.filter(|plan| plan.is_due(now_ms)) else {
            return Ok(false);
        };
        let compacted = plan.run_at(&limits, now_ms, &|bytes| self.wait_for(bytes))?;
        partition.log().finish_compaction(compacted, now_ms)?;
        Ok(true)
    }

    /// Waits until so many bytes more are within the limit, or the pass is not wanted any more.
    fn wait_for(&self, bytes: u64) -> Result<(), LogError> {
        let mut left = bytes as f64;
        loop {
            if *self.stopped.borrow() || self.partition.is_leaving() {
                return Err(LogError::GivenUp);
            }
            let rate = self.services.config().logs.cleaner.bytes_per_second_max;
            left = self.throttle.take(left, rate, Instant::now());
            if left <= 0.0 {
                return Ok(());
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    }
}

/// How many bytes all threads together may read and write now.
#[derive(Debug, Default)]
struct Throttle {
    state: Mutex<Option<Allowance>>,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    bytes: f64,
    at: Instant,
}

impl Throttle {
    /// Takes of `wanted` bytes what `rate` per second allows by now; what is left to be waited for. What
    /// nobody takes is saved up for a second.
    fn take(&self, wanted: f64, rate: f64, now: Instant) -> f64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.unwrap_or(Allowance {
            bytes: 0.0,
            at: now,
        });
        let since = now.saturating_duration_since(known.at).as_secs_f64();
        let bytes = (known.bytes + since * rate).min(rate);
        let taken = wanted.min(bytes.max(0.0));
        *state = Some(Allowance {
            bytes: bytes - taken,
            at: now,
        });
        wanted - taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_at_the_rate_that_is_in_force() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.take(100.0, 1_000.0, at(0)), 100.0);
        assert_eq!(throttle.take(100.0, 1_000.0, at(40)), 60.0);
        assert_eq!(throttle.take(60.0, 1_000.0, at(140)), 0.0);
        // The other 40 are somebody else's, with what a second brings and no more.
        assert_eq!(throttle.take(50.0, 1_000.0, at(140)), 10.0);
        assert_eq!(throttle.take(3_000.0, 1_000.0, at(9_000)), 2_000.0);
        // Another rate, from now on.
        assert_eq!(throttle.take(2_000.0, 10_000.0, at(9_100)), 1_000.0);
        // None at all.
        assert_eq!(throttle.take(1e9, f64::MAX, at(9_101)), 0.0);
    }
}
