//! Memory for requests in flight, for all connections together (`queued.max.request.bytes`).
//!
//! A frame holds memory for what has arrived of it and for as much again, never for what was only
//! promised: a client that declares a large frame and stalls takes from others at most twice what
//! it sent. Small frames have a part of the memory to themselves, so that none waits behind large
//! ones. When nothing is left the connection stops reading, and TCP tells the client; those that
//! wait are served in the order they asked in, so that a large one does not starve either.
//!
//! Frames that each hold a part and wait for the rest would wait for each other for good. So some
//! of the memory is for one frame at a time: the first of those that wait is given all it will
//! need out of that. A frame that needs more than that part is the only one that may hold more
//! than it counts for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Frames up to this size have memory to themselves.
pub const SMALL_FRAME_BYTES: usize = 128 << 10;
/// What part of all memory that is.
const SMALL_FRAMES_PART: usize = 4;

/// The budget; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    total: usize,
    small: Arc<Mutex<Pool>>,
    large: Arc<Mutex<Pool>>,
}

/// Memory of frames of one kind.
#[derive(Debug)]
struct Pool {
    total: usize,
    free: usize,
    /// What the one frame is given that others wait for.
    last: usize,
    last_is_free: bool,
    /// In the order they asked in.
    waiting: VecDeque<(u64, Waker)>,
    next_place: u64,
}

/// What one frame holds of the budget, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Mutex<Pool>>,
    /// The size of the frame.
    declared: usize,
    /// What may arrive of it.
    covered: usize,
    /// What it took of the memory for all.
    taken: usize,
    /// It has the memory that is for one.
    last: bool,
    /// Where it waits.
    place: Option<u64>,
}

impl Pool {
    /// A pool for frames up to `frame_bytes_max`.
    fn new(total: usize, frame_bytes_max: usize) -> Pool {
        let last = frame_bytes_max.min(total / 2);
        Pool {
            total,
            free: total - last,
            last,
            last_is_free: true,
            waiting: VecDeque::new(),
            next_place: 0,
        }
    }

    /// The first of those that wait may have its turn.
    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.front() {
            waker.wake_by_ref();
        }
    }

    fn leave(&mut self, place: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != place);
        self.wake_first();
    }
}

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// `bytes` for all frames, each up to `frame_bytes_max`.
    pub fn new(bytes: usize, frame_bytes_max: usize) -> Budget {
        let small = bytes / SMALL_FRAMES_PART;
        let pool = |bytes, frame_bytes_max| Arc::new(Mutex::new(Pool::new(bytes, frame_bytes_max)));
        Budget {
            total: bytes,
            small: pool(small, SMALL_FRAME_BYTES),
            large: pool(bytes - small, frame_bytes_max),
        }
    }

    /// A lease for a frame of this size, of nothing yet.
    pub fn lease(&self, declared: usize) -> Lease {
        let pool = match declared <= SMALL_FRAME_BYTES {
            true => &self.small,
            false => &self.large,
        };
        Lease {
            pool: pool.clone(),
            declared,
            covered: 0,
            taken: 0,
            last: false,
            place: None,
        }
    }

    /// Bytes for all frames.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes taken now.
    pub fn taken(&self) -> i64 {
        let taken = [&self.small, &self.large].map(|pool| {
            let pool = lock(pool);
            let last = if pool.last_is_free { pool.last } else { 0 };
            (pool.total - pool.free - last) as i64
        });
        taken.iter().sum()
    }
}

impl Lease {
    /// The size of the frame it is for.
    pub fn declared(&self) -> usize {
        self.declared
    }

    /// How much of its frame may arrive.
    pub fn covered(&self) -> usize {
        self.covered
    }

    /// Covers what has arrived of the frame and as much again, or all of it once all is there.
    /// When that has to wait: `false`, and the waker is called when it is worth another try.
    pub fn cover(&mut self, arrived: usize, waker: &Waker) -> bool {
        let all = self.declared;
        let wanted = if arrived >= all {
            all
        } else {
            arrived.saturating_mul(2).min(all)
        };
        if wanted <= self.covered {
            return true;
        }
        let mut pool = lock(&self.pool);
        let first = pool.waiting.front().map(|(place, _)| *place);
        let is_its_turn = first.is_none() || first == self.place;
        let step = wanted - self.covered;
        if is_its_turn && pool.free >= step {
            pool.free -= step;
            self.taken += step;
            self.covered = wanted;
        } else if is_its_turn && pool.last_is_free {
            pool.last_is_free = false;
            self.last = true;
            self.covered = self.declared;
        } else {
            match self.place {
                Some(place) => {
                    let waiting = pool.waiting.iter_mut().find(|waiting| waiting.0 == place);
                    if let Some((_, known)) = waiting {
                        known.clone_from(waker);
                    }
                }
                None => {
                    let place = pool.next_place;
                    pool.next_place += 1;
                    pool.waiting.push_back((place, waker.clone()));
                    self.place = Some(place);
                }
            }
            return false;
        }
        if let Some(place) = self.place.take() {
            pool.leave(place);
        }
        true
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = lock(&self.pool);
        pool.free += self.taken;
        pool.last_is_free |= self.last;
        match self.place {
            Some(place) => pool.leave(place),
            None => pool.wake_first(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    const KB: usize = 1 << 10;
    /// A quarter is for small frames; of the others' three megabytes, half is for one.
    const TOTAL: usize = 4096 * KB;
    const FOR_ONE: i64 = 1536 * KB as i64;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn budget() -> Budget {
        Budget::new(TOTAL, 100 * TOTAL)
    }

    /// A lease of a frame of which so much is there.
    fn leased(budget: &Budget, declared: usize, arrived: usize) -> (Lease, bool) {
        let mut lease = budget.lease(declared);
        let is_covered = lease.cover(arrived, Waker::noop());
        (lease, is_covered)
    }

    #[test]
    fn a_frame_holds_what_came_and_as_much_again_up_to_its_size() {
        let budget = budget();
        let mut lease = budget.lease(1000 * KB);
        assert_eq!(budget.taken(), 0);
        for (arrived, covered) in [(5, 10), (200 * KB, 400 * KB), (600 * KB, 1000 * KB)] {
            assert!(lease.cover(arrived, Waker::noop()));
            assert_eq!((lease.covered(), budget.taken()), (covered, covered as i64));
        }
        assert!(lease.cover(300 * KB, Waker::noop()), "never less again");
        assert_eq!(lease.covered(), 1000 * KB);
        drop(lease);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn small_frames_do_not_wait_behind_large_ones() {
        let budget = budget();
        let (_giant, covered) = leased(&budget, 90 * TOTAL, 700 * KB);
        assert!(covered);
        let (_next, covered) = leased(&budget, 90 * TOTAL, 700 * KB);
        assert!(covered, "out of what is for one");
        let (_waits, covered) = leased(&budget, 90 * TOTAL, 700 * KB);
        assert!(!covered);
        assert_eq!(budget.taken(), 1400 * KB as i64 + FOR_ONE);
        let small = [(); 4].map(|()| leased(&budget, SMALL_FRAME_BYTES, SMALL_FRAME_BYTES));
        assert!(small.iter().all(|(_, covered)| *covered));
    }

    #[test]
    fn those_who_wait_are_served_in_the_order_they_asked_in() {
        let budget = budget();
        let (most, _) = leased(&budget, 1400 * KB, 1400 * KB);
        let (one, covered) = leased(&budget, 900 * KB, 900 * KB);
        assert!(covered, "out of what is for one");
        let woken: [Arc<Woken>; 2] = Default::default();
        let wakers = woken.clone().map(Waker::from);
        let count = || woken.each_ref().map(|woken| woken.0.load(Ordering::SeqCst));
        let mut large = budget.lease(1500 * KB);
        assert!(!large.cover(1500 * KB, &wakers[0]));
        // There is room for it, and others came before.
        let mut less = budget.lease(130 * KB);
        assert!(!less.cover(130 * KB, &wakers[1]));
        assert_eq!(count(), [0, 0]);
        drop(most);
        assert_eq!(count(), [1, 0], "the first is told");
        assert!(!less.cover(130 * KB, &wakers[1]));
        assert!(large.cover(1500 * KB, &wakers[0]));
        assert_eq!(count(), [1, 1], "and then the next");
        assert!(!less.cover(130 * KB, &wakers[1]));
        drop(one);
        assert_eq!(count(), [1, 2]);
        assert!(less.cover(130 * KB, &wakers[1]));
        drop((large, less));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn one_who_goes_before_its_turn_lets_the_next_have_it() {
        let budget = budget();
        let (_most, _) = leased(&budget, 1400 * KB, 1400 * KB);
        let (_one, _) = leased(&budget, 900 * KB, 900 * KB);
        let (large, covered) = leased(&budget, 1500 * KB, 1500 * KB);
        assert!(!covered);
        let woken = Arc::new(Woken::default());
        let mut less = budget.lease(130 * KB);
        assert!(!less.cover(130 * KB, &Waker::from(woken.clone())));
        drop(large);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(less.cover(130 * KB, Waker::noop()));
    }

    /// All of them hold a part, and none could go on if each waited for the others.
    #[test]
    fn frames_that_have_taken_all_between_them_are_finished_one_after_the_other() {
        let budget = budget();
        let size = 1000 * KB;
        let mut begun: Vec<_> = (0..3).map(|_| leased(&budget, size, 250 * KB).0).collect();
        let mut done = 0;
        while !begun.is_empty() {
            let can = |lease: &mut Lease| {
                (lease.covered() / 2..=size).step_by(KB).all(|arrived| {
                    let room = arrived <= lease.covered();
                    room && lease.cover(arrived, Waker::noop())
                })
            };
            let at = begun.iter_mut().position(can).expect("one that can go on");
            drop(begun.swap_remove(at));
            done += 1;
        }
        assert_eq!((done, budget.taken()), (3, 0));
    }

    #[test]
    fn a_frame_larger_than_all_the_memory_is_served_alone() {
        let budget = Budget::new(100, 1 << 20);
        for size in [60, SMALL_FRAME_BYTES + 1] {
            let (giant, covered) = leased(&budget, size, size);
            assert!(covered, "{size}");
            let (mut other, covered) = leased(&budget, size, size);
            assert!(!covered, "{size}");
            drop(giant);
            assert!(other.cover(size, Waker::noop()), "{size}");
        }
    }
}
