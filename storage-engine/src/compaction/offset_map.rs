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
    /// `first_offset` on. It grows as keys arrive.
    pub(super) fn new(bytes: usize, first_offset: i64) -> OffsetMap {
        OffsetMap {
            slots: Vec::new(),
            // While it grows the old and the new table exist together.
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

    /// Whether `keys` more keys fit. An empty map takes at least one batch, however
    /// large, so that a pass always gets on.
    pub(super) fn has_room(&self, keys: i32) -> bool {
        self.used == 0 || self.used + keys.max(0) as usize <= self.slots_max * LOAD_PERCENT / 100
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

    /// Notes that `key` was last seen at `offset`.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) {
        if (self.used + 1) * 100 > self.slots.len() * LOAD_PERCENT {
            self.grow();
        }
        let hash = self.hash(key);
        let index = self.slot(hash);
        if self.slots[index].offset < 0 {
            self.used += 1;
        }
        self.slots[index] = Slot { hash, offset };
    }

    fn grow(&mut self) {
        let doubled = (self.slots.len() * 2).max(1024);
        let wanted = if self.has_room(1) {
            doubled.min(self.slots_max.max(self.slots.len() + 1))
        } else {
            doubled
        };
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
            map.put(&(offset % 10_000).to_be_bytes(), offset);
        }
        for key in 0..10_000_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(key + 20_000));
        }
        assert_eq!(map.get(b"never seen"), None);
    }

    #[test]
    fn a_full_map_says_so_but_takes_one_batch_of_any_size() {
        let mut map = OffsetMap::new(16 * SLOT_BYTES, 0);
        assert!(map.has_room(i32::MAX));
        for offset in 0..12_i64 {
            assert!(map.has_room(1));
            map.put(&offset.to_be_bytes(), offset);
        }
        assert!(!map.has_room(1));
        for offset in 0..500_i64 {
            map.put(&offset.to_be_bytes(), offset);
        }
        assert_eq!(map.get(&499_i64.to_be_bytes()), Some(499));
    }
}
