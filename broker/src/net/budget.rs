//! Memory for requests in flight, for all connections together (`queued.max.request.bytes`).
//!
//! A frame takes its size before its body is read. When nothing is left the connection stops
//! reading, and TCP tells the client; it goes on when another frame has been answered.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// The budget; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    left: AtomicI64,
    total: i64,
    waiting: Mutex<Vec<Waker>>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    state: Arc<State>,
    bytes: i64,
}

impl Budget {
    /// `bytes` for all.
    pub fn new(bytes: usize) -> Budget {
        let total = bytes as i64;
        let state = State {
            left: AtomicI64::new(total),
            total,
            waiting: Mutex::default(),
        };
        Budget {
            state: Arc::new(state),
        }
    }

    /// Takes `bytes`, or leaves the waker to be called when some are given back. A frame larger
    /// than the whole budget waits until it is alone.
    pub fn take(&self, bytes: usize, waker: &Waker) -> Option<Lease> {
        let bytes = (bytes as i64).min(self.state.total);
        if let Some(lease) = self.try_take(bytes) {
            return Some(lease);
        }
        self.state
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(waker.clone());
        // What was given back between the two looks woke nobody.
        self.try_take(bytes)
    }

    fn try_take(&self, bytes: i64) -> Option<Lease> {
        let taken = self
            .state
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                (left >= bytes).then(|| left - bytes)
            });
        taken.ok().map(|_| Lease {
            state: self.state.clone(),
            bytes,
        })
    }

    /// Bytes taken now.
    pub fn taken(&self) -> i64 {
        self.state.total - self.state.left.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.left.fetch_add(self.bytes, Ordering::SeqCst);
        let waiting = std::mem::take(
            &mut *self
                .state
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for waker in waiting {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_lease_is_given_back_when_dropped_and_a_giant_waits_to_be_alone() {
        let budget = Budget::new(100);
        let waker = Waker::noop();
        let small = budget.take(60, waker).expect("room");
        assert!(budget.take(60, waker).is_none());
        assert!(budget.take(1_000, waker).is_none());
        drop(small);
        let giant = budget.take(1_000, waker).expect("alone");
        assert_eq!(budget.taken(), 100);
        drop(giant);
        assert_eq!(budget.taken(), 0);
    }
}
