//! Work that is done again and again, by a task that looks at the clock itself: questions that never
//! stop coming do not keep it from its turn.

use std::time::Duration;

use tokio::time::Instant;

/// When it is due.
#[derive(Debug)]
pub struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    /// For the first time at the end of a period.
    pub fn new(period: Duration, now: Instant) -> Every {
        let period = period.max(Duration::from_millis(1));
        Every {
            period,
            next: now + period,
        }
    }

    /// When it is due next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether it is due now; then the next time is a period from now on.
    pub fn take(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.period;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_at_the_end_of_each_period_however_late_somebody_looks() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut every = Every::new(Duration::from_millis(10), began);
        let due = [0, 9, 10, 11, 35, 36, 44, 45].map(|ms| every.take(at(ms)));
        let expected = [false, false, true, false, true, false, false, true];
        assert_eq!(due, expected);
        assert_eq!(every.next(), at(55));
    }
}
