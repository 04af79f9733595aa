//! How long to wait before the next attempt: twice as long each time, with a spread so that many
//! clients that lost the same broker do not come back in step. Pure: chance is an argument.

use std::time::Duration;

/// Apache Kafka's `retry.backoff.ms` and `retry.backoff.max.ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Before any attempt.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
        }
    }
}

/// A fifth less or more.
const SPREAD: f64 = 0.2;

impl Backoff {
    /// The wait after `failures` failed attempts; `chance` is from 0 to 1.
    #[must_use]
    pub fn after(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let wait = self.first.saturating_mul(1 << doublings).min(self.max);
        wait.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_spread_by_a_fifth() {
        let backoff = Backoff::default();
        let check = |failures, chance, millis| {
            assert_eq!(
                backoff.after(failures, chance),
                Duration::from_millis(millis)
            );
        };
        check(1, 0.5, 100);
        check(2, 0.5, 200);
        check(4, 0.5, 800);
        check(5, 0.5, 1000);
        check(u32::MAX, 0.5, 1000);
        check(1, 0.0, 80);
        check(1, 1.0, 120);
    }
}
