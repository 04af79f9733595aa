//! What a request names more than once, found in one pass: a request may name thousands.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each thing is named.
pub(super) struct Named<K>(HashMap<K, usize>);

impl<K: Eq + Hash> FromIterator<K> for Named<K> {
    fn from_iter<I: IntoIterator<Item = K>>(things: I) -> Named<K> {
        let mut times = HashMap::new();
        for thing in things {
            *times.entry(thing).or_default() += 1;
        }
        Named(times)
    }
}

impl<K: Eq + Hash> Named<K> {
    /// Whether this one is named more than once.
    pub(super) fn repeats(&self, thing: &K) -> bool {
        self.0.get(thing).is_some_and(|times| *times > 1)
    }

    /// Whether any is.
    pub(super) fn repeats_any(&self) -> bool {
        self.0.values().any(|times| *times > 1)
    }
}
