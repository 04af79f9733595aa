//! Whether what was read is still there under a new leader (KIP-320). Pure.
//!
//! The leader is asked where the epoch ended in which the last record was read. If it ended before that
//! record, an election has lost it: what is at the position now is something else.

/// What a leader's answer means for a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was read is there.
    Whole,
    /// From this offset on it is gone; the epoch is that of the record before it.
    Truncated { offset: i64, epoch: i32 },
    /// The leader knows nothing of the epoch, or of any before it.
    Unknown,
}

/// Judges the end of the largest epoch up to the one in question, as a leader has told it.
pub(super) fn judge_end(offset: i64, epoch: i32, end: i64) -> Verdict {
    if epoch < 0 || end < 0 {
        return Verdict::Unknown;
    }
    match end < offset {
        true => Verdict::Truncated { offset: end, epoch },
        false => Verdict::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_behind_the_end_of_its_epoch_is_behind_records_that_are_gone() {
        let check = |end: (i32, i64), expected| {
            assert_eq!(judge_end(10, end.0, end.1), expected, "{end:?}");
        };
        check((3, 10), Verdict::Whole);
        check((3, 25), Verdict::Whole);
        check(
            (3, 9),
            Verdict::Truncated {
                offset: 9,
                epoch: 3,
            },
        );
        check(
            (1, 0),
            Verdict::Truncated {
                offset: 0,
                epoch: 1,
            },
        );
        check((-1, -1), Verdict::Unknown);
        check((-1, 10), Verdict::Unknown);
    }
}
