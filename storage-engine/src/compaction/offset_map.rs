//! From a key to its newest offset, in bounded memory.
//!
//! Keys are not kept, only 128 bits of keyed hash, so a slot has 24 bytes whatever
//! the key. Two keys with one hash would lose a record; the hash is SipHash under
//! two random keys of this pass, so nobody can choose such keys, and among ten
//! million of them the chance is about one in 10^24.

use std::hash::{BuildHasher, RandomState};

/// How full the table may get; above this probes become long.
const LOAD_PERCENT: usize = 80;
const SLOT_BYTES: usize = size_of::<Slot>();

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u64; 2],
    /// -1: the slot is free.
    offset: i64,
}

const FREE: Slot = Slot {
    hash: [0; 2],
    offset: -1,
};

/// The newest offset of each key.
#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    slots_max: usize,
    used: usize,
    end_offset: i64,
    hashers: [RandomState; 2],
}

impl OffsetMap {
    /// An empty map that will take at most `bytes` of memory, for offsets from
    /// `first_offset` on, and half as much again for the moment in which it grows.
    pub(super) fn new(bytes: usize, first_offset: i64) -> OffsetMap {
        OffsetMap {
            slots: Vec::new(),
            slots_max: (bytes / SLOT_BYTES).max(16),
            used: 0,
            end_offset: first_offset,
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Everything below this was looked at.
    pub(super) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Everything below `offset` was looked at.
    pub(super) fn reached(&mut self, offset: i64) {
        self.end_offset = self.end_offset.max(offset);
    }

    /// Whether the table may take another key as it is.
    fn has_room(&self) -> bool {
        (self.used + 1) * 100 <= self.slots.len() * LOAD_PERCENT
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }

    /// The slot of a hash: its own, or the free one where it belongs.
    fn slot(&self, hash: [u64; 2]) -> usize {
        // The high bits of a product spread over any table size.
        let mut index = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[index];
            if slot.offset < 0 || slot.hash == hash {
                return index;
            }
            index += 1;
            if index == self.slots.len() {
                index = 0;
            }
        }
    }

    /// Notes that `key` was last seen at `offset`; `false` if it is a new one and there is
    /// no room for it. An empty map always has room.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if !self.has_room() && self.slots.len() < self.slots_max {
            self.grow();
        }
        let hash = self.hash(key);
        let index = self.slot(hash);
        if self.slots[index].offset < 0 {
            if !self.has_room() {
                return false;
            }
            self.used += 1;
        }
        self.slots[index] = Slot { hash, offset };
        true
    }

    fn grow(&mut self) {
        let wanted = (self.slots.len() * 2).max(1024).min(self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![FREE; wanted]);
        for slot in old.into_iter().filter(|slot| slot.offset >= 0) {
            let index = self.slot(slot.hash);
            self.slots[index] = slot;
        }
    }

    /// The newest offset of `key`, if it was seen.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slots[self.slot(self.hash(key))];
        (slot.offset >= 0).then_some(slot.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_is_kept_while_the_map_grows() {
        let mut map = OffsetMap::new(1 << 20, 0);
        for offset in 0..30_000_i64 {
            assert!(map.put(&(offset % 10_000).to_be_bytes(), offset));
        }
        for key in 0..10_000_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(key + 20_000));
        }
        assert_eq!(map.get(b"never seen"), None);
    }

    #[test]
    fn a_full_map_takes_no_new_key_but_newer_offsets_of_those_it_has() {
        for slots in [16, 1024, 5000] {
            let mut map = OffsetMap::new(slots * SLOT_BYTES, 0);
            let taken = (0..10_000_i64).filter(|key| map.put(&key.to_be_bytes(), *key));
            let taken = taken.count() as i64;
            assert_eq!(taken, (slots * LOAD_PERCENT / 100) as i64);
            assert!(map.slots.capacity() <= slots);
            assert!(map.put(&(taken - 1).to_be_bytes(), 20_000));
            assert_eq!(map.get(&(taken - 1).to_be_bytes()), Some(20_000));
            assert_eq!(map.get(&taken.to_be_bytes()), None);
        }
    }
}
