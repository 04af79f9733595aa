//! About how much memory groups take, and how much they may. Pure.
//!
//! Counted as groups change, by what they hold and not by asking the allocator, so that the same
//! questions get the same answers everywhere. A test holds the estimate against the allocator.

/// A group: itself, its place among the others, and what is kept once for its offsets.
pub const GROUP: usize = 900;
/// What a group takes from its first member on: places for the next, too.
pub const FIRST_MEMBER: usize = 2_400;
/// A member of a group of either protocol, beside its texts.
pub const MEMBER: usize = 600;
/// A topic of which a group has offsets.
pub const TOPIC: usize = 1_000;
/// An offset, beside its metadata.
pub const OFFSET: usize = 112;
/// A partition that a member has or shall have, and that somebody is known to own.
pub const PARTITION: usize = 160;

/// How far the groups of one partition of `__consumer_offsets` may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups that are there already, in bytes.
    known: usize,
    /// Groups that are not there yet.
    new: usize,
}

/// The part of the budget that is kept for groups that are there already: whoever makes up new ones
/// does not keep the others from working.
const KEPT_FOR_KNOWN: usize = 8;

impl Limits {
    /// None.
    pub const NONE: Limits = Limits {
        known: usize::MAX,
        new: usize::MAX,
    };

    /// Of a partition whose groups take `own` bytes, while those of all partitions here take `all`
    /// of `max`.
    pub fn new(own: usize, all: usize, max: usize) -> Limits {
        let others = all.saturating_sub(own);
        Limits {
            known: max.saturating_sub(others),
            new: (max - max / KEPT_FOR_KNOWN).saturating_sub(others),
        }
    }

    /// Whether a group may make `held` bytes grow to this many.
    pub fn allow(&self, is_known: bool, bytes: usize) -> bool {
        match is_known {
            true => bytes <= self.known,
            false => bytes <= self.new,
        }
    }
}
