//! Fetches that wait for a partition to grow.
//!
//! A parked fetch leaves its waker with every partition it asks for. An append looks at one atomic
//! when nobody waits; otherwise it wakes them all, and each looks again whether it has enough.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Wakers that are kept of one partition. More are there only where connections come and go and
/// nothing is ever appended.
const WAKERS_MAX: usize = 4096;

/// Who waits for one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    present: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Waiters {
    /// Leaves a waker until the partition changes. Look at the partition again after this: a change
    /// before it woke nobody.
    pub fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            // Of connections that are gone. To be woken for nothing does no harm.
            if wakers.len() >= WAKERS_MAX {
                wakers.drain(..).for_each(Waker::wake);
            }
            wakers.push(waker.clone());
        }
        self.present.store(true, Ordering::SeqCst);
        // Pairs with the fence in `wake`: either the append sees the waker, or the look after this
        // sees the append.
        fence(Ordering::SeqCst);
    }

    /// The partition changed.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if !self.present.load(Ordering::Relaxed) {
            return;
        }
        let wakers = {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            self.present.store(false, Ordering::SeqCst);
            std::mem::take(&mut *wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}
