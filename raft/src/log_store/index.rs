//! Which entries there are, and where: what readers ask, in memory.
//!
//! An entry is readable from the moment it is appended: until it is written its bytes
//! are kept here. The newest written ones stay too, since they are about to be
//! replicated and applied.

use std::collections::VecDeque;

use bytes::Bytes;

use super::segments::{Found, Place};
use crate::types::{LogId, log_id};

/// Bytes of written entries that are kept.
const CACHE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) term: u64,
    /// Set once written.
    pub(super) place: Option<Place>,
    /// Always there until written.
    pub(super) bytes: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct Index {
    /// Index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    purged: Option<LogId>,
    /// Entries below this are durable.
    synced_below: u64,
    /// Slots below this keep no bytes.
    cached_from: u64,
    cached_bytes: usize,
}

impl Index {
    pub(super) fn new(first: u64, found: Vec<Found>, purged: Option<LogId>) -> Index {
        let slots: VecDeque<_> = found
            .into_iter()
            .map(|found| Slot {
                term: found.term,
                place: Some(found.place),
                bytes: None,
            })
            .collect();
        let next = first + slots.len() as u64;
        Index {
            first,
            slots,
            purged,
            synced_below: next,
            cached_from: next,
            cached_bytes: 0,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index behind the last entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn synced_below(&self) -> u64 {
        self.synced_below
    }

    /// The last entry, or the last purged one.
    pub(super) fn last(&self) -> Option<LogId> {
        match self.slots.back() {
            Some(slot) => Some(log_id(slot.term, self.next() - 1)),
            None => self.purged,
        }
    }

    pub(super) fn get(&self, index: u64) -> Option<&Slot> {
        self.slots.get(index.checked_sub(self.first)? as usize)
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(index.checked_sub(self.first)? as usize)
    }

    /// Where an entry begins in its segment.
    pub(super) fn position(&self, index: u64) -> Option<u64> {
        Some(self.get(index)?.place.as_ref()?.position)
    }

    /// Adds an entry behind the last. The first of an empty log may be any.
    pub(super) fn push(&mut self, index: u64, term: u64, bytes: Bytes) {
        if self.slots.is_empty() {
            self.first = index;
            self.cached_from = index;
            self.synced_below = self.synced_below.min(index);
        }
        assert_eq!(index, self.next(), "openraft appends without holes");
        self.cached_bytes += bytes.len();
        self.slots.push_back(Slot {
            term,
            place: None,
            bytes: Some(bytes),
        });
    }

    pub(super) fn placed(&mut self, first: u64, places: Vec<Place>) {
        for (index, place) in (first..).zip(places) {
            if let Some(slot) = self.get_mut(index) {
                slot.place = Some(place);
            }
        }
        while self.cached_bytes > CACHE_BYTES_MAX {
            let oldest = self.cached_from;
            let Some(slot) = self.get_mut(oldest) else {
                break;
            };
            if slot.place.is_none() {
                break;
            }
            let bytes = slot.bytes.take().map_or(0, |bytes| bytes.len());
            self.cached_bytes -= bytes;
            self.cached_from += 1;
        }
    }

    pub(super) fn synced(&mut self, below: u64) {
        self.synced_below = below;
    }

    pub(super) fn truncate(&mut self, since: u64) {
        let keep = since.saturating_sub(self.first) as usize;
        for slot in self.slots.drain(keep.min(self.slots.len())..) {
            self.cached_bytes -= slot.bytes.map_or(0, |bytes| bytes.len());
        }
        self.synced_below = self.synced_below.min(self.next());
        self.cached_from = self.cached_from.min(self.next());
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        let below = upto.index.saturating_add(1);
        let gone = below.saturating_sub(self.first) as usize;
        for slot in self.slots.drain(..gone.min(self.slots.len())) {
            self.cached_bytes -= slot.bytes.map_or(0, |bytes| bytes.len());
        }
        self.purged = Some(upto);
        self.first = self.first.max(below);
        self.cached_from = self.cached_from.max(self.first);
        self.synced_below = self.synced_below.max(self.first);
    }
}
