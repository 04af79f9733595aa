//! Which partition a record goes to. Pure.
//!
//! A record with a key goes where every Java producer sends it: 32-bit murmur2 of the key, without
//! its sign, modulo the partitions. Records without a key stay with one partition as long as its
//! batch grows, and go on to another, chosen by chance, when the batch is on its way (KIP-480).

/// The partition for a key.
///
/// # Panics
///
/// If there are no partitions.
#[must_use]
pub fn for_key(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has partitions");
    (murmur2(key) & i32::MAX) % partitions
}

/// Another partition than `current` if there is one; `chance` is from 0 to 1.
#[must_use]
pub fn other(current: Option<i32>, partitions: i32, chance: f64) -> i32 {
    let partitions = partitions.max(1);
    let current = current.filter(|at| (0..partitions).contains(at));
    let choices = match current {
        Some(_) if partitions > 1 => partitions - 1,
        _ => partitions,
    };
    let chosen = ((f64::from(choices) * chance) as i32).clamp(0, choices - 1);
    match current {
        Some(current) if partitions > 1 && chosen >= current => chosen + 1,
        _ => chosen,
    }
}

/// Austin Appleby's MurmurHash2 in its 32-bit form, as Apache Kafka seeds it.
fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values Apache Kafka's own tests hold its Java code to.
    #[test]
    fn hashes_are_those_of_java() {
        let check = |key: &str, expected| assert_eq!(murmur2(key.as_bytes()), expected, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check(
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        );
        check("abc", 479_470_107);
    }

    #[test]
    fn partitions_are_never_negative_and_never_past_the_last() {
        for number in 0..10_000_i32 {
            let partition = for_key(&number.to_be_bytes(), 7);
            assert!((0..7).contains(&partition));
        }
        assert_eq!(for_key(b"", 1), 0);
    }

    #[test]
    fn the_next_sticky_partition_is_another_one() {
        for current in [None, Some(0), Some(3), Some(9)] {
            for step in 0..=100 {
                let next = other(current, 4, f64::from(step) / 100.0);
                assert!((0..4).contains(&next));
                assert_ne!(Some(next), current);
            }
        }
        assert_eq!(other(Some(0), 1, 0.7), 0);
    }
}
