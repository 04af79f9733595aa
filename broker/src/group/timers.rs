//! What falls due when. Pure: somebody else looks at the clock and asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Something that happens to a group when nothing else does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// A member of a classic group has been silent for too long.
    Session {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
    },
    /// Joining has taken long enough.
    Join {
        /// The group.
        group: Arc<str>,
    },
    /// Members that joined have not asked for their assignment.
    Sync {
        /// The group.
        group: Arc<str>,
    },
    /// A member of a consumer group has been silent for too long.
    ConsumerSession {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
    },
    /// A member of a consumer group has not given up what it must.
    Revocation {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
    },
    /// A classic member of a consumer group has been called to join again.
    Rejoin {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
    },
    /// A classic member of a consumer group has joined, and not asked for its assignment.
    FetchAssignment {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
    },
}

impl Timer {
    /// The group it is about.
    pub fn group(&self) -> &Arc<str> {
        match self {
            Timer::Session { group, .. }
            | Timer::Join { group }
            | Timer::Sync { group }
            | Timer::ConsumerSession { group, .. }
            | Timer::Revocation { group, .. }
            | Timer::Rejoin { group, .. }
            | Timer::FetchAssignment { group, .. } => group,
        }
    }
}

/// Timers, each armed at most once.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeMap<(i64, u64), Timer>,
    armed: HashMap<Timer, (i64, u64)>,
    next: u64,
}

impl Timers {
    /// Arms a timer, or moves it.
    pub fn arm(&mut self, timer: Timer, at_ms: i64) {
        self.next += 1;
        let place = (at_ms, self.next);
        if let Some(before) = self.armed.insert(timer.clone(), place) {
            self.due.remove(&before);
        }
        self.due.insert(place, timer);
    }

    /// Disarms a timer, if it is armed.
    pub fn disarm(&mut self, timer: &Timer) {
        if let Some(place) = self.armed.remove(timer) {
            self.due.remove(&place);
        }
    }

    /// When the next one falls due.
    pub fn next_ms(&self) -> Option<i64> {
        self.due.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Takes out one that is due, the oldest first.
    pub fn take_due(&mut self, now_ms: i64) -> Option<Timer> {
        let first = self.due.first_entry()?;
        if first.key().0 > now_ms {
            return None;
        }
        let timer = first.remove();
        self.armed.remove(&timer);
        Some(timer)
    }

    /// Whether it is armed.
    pub fn is_armed(&self, timer: &Timer) -> bool {
        self.armed.contains_key(timer)
    }

    /// How many are armed.
    pub fn len(&self) -> usize {
        self.armed.len()
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &str) -> Timer {
        Timer::Join {
            group: group.into(),
        }
    }

    #[test]
    fn a_timer_that_is_armed_again_falls_due_once_and_at_the_later_time() {
        let mut timers = Timers::default();
        timers.arm(join("a"), 10);
        timers.arm(join("b"), 20);
        timers.arm(join("a"), 30);
        assert_eq!(timers.next_ms(), Some(20));
        assert_eq!(timers.take_due(100), Some(join("b")));
        assert_eq!(timers.take_due(29), None);
        assert_eq!(timers.take_due(30), Some(join("a")));
        assert_eq!(timers.take_due(100), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_timer_that_was_disarmed_never_falls_due() {
        let mut timers = Timers::default();
        timers.arm(join("a"), 10);
        timers.disarm(&join("a"));
        assert_eq!((timers.next_ms(), timers.take_due(100)), (None, None));
    }
}
