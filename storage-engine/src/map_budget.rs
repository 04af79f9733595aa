//! Keeps the number of mapped files below what the kernel allows.
//!
//! `vm.max_map_count` is 65,530 by default and a broker that reaches it dies, so
//! files are mapped when they are first read and unmapped, coldest first, when
//! more than the budget are mapped. A slice that is still in use keeps its own
//! mapping alive; the file is simply mapped anew for the next reader.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::fs::{DiskResult, File, RawMapping};

/// Mapped files at most, in one process; a quarter of the kernel's default limit.
pub const MAPS_MAX: usize = 16_000;

/// The place of one file's mapping.
#[derive(Debug, Default)]
pub(crate) struct MapSlot {
    mapping: Mutex<Option<Arc<dyn RawMapping>>>,
    /// Set by readers, cleared by the budget's hand: the second chance.
    used: AtomicBool,
}

impl MapSlot {
    /// The mapping of `file`, made now if there is none.
    pub(crate) fn get(
        self: &Arc<Self>,
        budget: &MapBudget,
        file: &File,
        len: usize,
    ) -> DiskResult<Arc<dyn RawMapping>> {
        self.used.store(true, Ordering::Relaxed);
        let mut mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = &*mapping {
            return Ok(mapping.clone());
        }
        let made = file.map(len)?;
        *mapping = Some(made.clone());
        drop(mapping);
        budget.admit(self);
        Ok(made)
    }

    /// Drops the mapping if nobody holds a slice of it.
    pub(crate) fn release_if_unused(&self) {
        let mut mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if mapping
            .as_ref()
            .is_none_or(|held| Arc::strong_count(held) == 1)
        {
            *mapping = None;
        }
    }

    fn release(&self) {
        *self.mapping.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Counts mappings and evicts the coldest.
#[derive(Debug)]
pub struct MapBudget {
    max: usize,
    hand: Mutex<VecDeque<Weak<MapSlot>>>,
}

impl MapBudget {
    /// At most `max` mapped files.
    pub fn new(max: usize) -> MapBudget {
        MapBudget {
            max: max.max(1),
            hand: Mutex::default(),
        }
    }

    /// Files mapped now, at most.
    pub fn mapped(&self) -> usize {
        self.hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn admit(&self, slot: &Arc<MapSlot>) {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        hand.push_back(Arc::downgrade(slot));
        // Each slot gets one second chance, so this ends after two rounds.
        let mut steps = 2 * hand.len();
        while hand.len() > self.max && steps > 0 {
            steps -= 1;
            let Some(oldest) = hand.pop_front() else {
                break;
            };
            let Some(oldest) = oldest.upgrade() else {
                continue;
            };
            if Arc::ptr_eq(&oldest, slot) || oldest.used.swap(false, Ordering::Relaxed) {
                hand.push_back(Arc::downgrade(&oldest));
            } else {
                oldest.release();
            }
        }
    }
}
