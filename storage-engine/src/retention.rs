//! Which old segments a log may let go.
//!
//! Planned first, as a pure function of what the segments are, then done.

use crate::config::LogConfig;
use crate::error::LogError;
use crate::log::Log;

/// What the plan needs to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base_offset: i64,
    /// The offset after its last one: the next segment's base, or the log end.
    pub end_offset: i64,
    /// Bytes of its data file.
    pub bytes: u64,
    /// Greatest timestamp in it; of records without any, when they were written. `None`
    /// when it is empty, or where no age counts.
    pub largest_timestamp: Option<i64>,
}

/// Why a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All of it lies below the log start.
    BelowLogStart,
    /// Its youngest record is older than `retention.ms`.
    Time,
    /// The log is larger than `retention.bytes` without it.
    Size,
}

/// The reasons why the oldest segments go, one each, oldest first. The order of
/// reasons and the bound are Apache Kafka's: nothing at or above the high
/// watermark goes.
pub fn plan(
    segments: &[SegmentFacts],
    config: &LogConfig,
    log_start: i64,
    high_watermark: i64,
    now_ms: i64,
) -> Vec<Reason> {
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut excess = match (config.delete, config.retention_bytes) {
        (true, 0..) => total.saturating_sub(config.retention_bytes as u64),
        _ => 0,
    };
    let mut reasons = Vec::new();
    // Compaction may leave a segment without a batch: it has no age and no size of its
    // own, and goes with the next one that has.
    let mut emptied = 0;
    for segment in segments {
        let expired = config.delete
            && config.retention_ms >= 0
            && segment
                .largest_timestamp
                .is_some_and(|largest| now_ms.saturating_sub(largest) > config.retention_ms);
        let reason = if segment.end_offset <= log_start && segment.base_offset < segment.end_offset
        {
            Reason::BelowLogStart
        } else if expired {
            Reason::Time
        } else if segment.bytes > 0 && excess >= segment.bytes {
            Reason::Size
        } else if segment.bytes == 0 && segment.base_offset < segment.end_offset {
            emptied += 1;
            continue;
        } else {
            break;
        };
        if segment.end_offset > high_watermark {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        reasons.extend(std::iter::repeat_n(reason, emptied + 1));
        emptied = 0;
    }
    reasons
}

impl Log {
    /// Lets segments go that are below the log start, too old or too many. The
    /// active segment is rolled first if it is to go too.
    pub fn apply_retention(
        &mut self,
        high_watermark: i64,
        now_ms: i64,
    ) -> Result<Vec<Reason>, LogError> {
        self.check_usable()?;
        let by_time = self.config().delete && self.config().retention_ms >= 0;
        let segments = self.segments();
        let mut facts = Vec::with_capacity(segments.len());
        for (index, segment) in segments.iter().enumerate() {
            facts.push(SegmentFacts {
                base_offset: segment.base_offset(),
                end_offset: segments
                    .get(index + 1)
                    .map_or(self.log_end(), |next| next.base_offset()),
                bytes: segment.len(),
                largest_timestamp: match by_time {
                    true => segment.youngest_ms()?,
                    false => None,
                },
            });
        }
        let mut reasons = plan(
            &facts,
            self.config(),
            self.log_start(),
            high_watermark,
            now_ms,
        );
        if reasons.is_empty() {
            return Ok(reasons);
        }
        if reasons.len() == facts.len() && self.damage().is_some() {
            // Behind the damage there may be more than is served: the last one stays.
            reasons.pop();
        } else if reasons.len() == facts.len() {
            match self.roll(now_ms) {
                // A full disk has no room for a new segment: the active one stays for now.
                Err(LogError::Disk(error)) if error.is_full() => {
                    reasons.pop();
                }
                rolled => rolled?,
            }
        }
        self.drop_oldest(reasons.len(), now_ms)?;
        Ok(reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Vec<SegmentFacts> {
        (0..4)
            .map(|n| SegmentFacts {
                base_offset: n * 10,
                end_offset: n * 10 + 10,
                bytes: 100,
                largest_timestamp: Some(n * 1_000),
            })
            .collect()
    }

    fn check(config: LogConfig, log_start: i64, high_watermark: i64, expected: &[Reason]) {
        let planned = plan(&segments(), &config, log_start, high_watermark, 5_000);
        assert_eq!(planned, expected, "{config:?}");
    }

    fn config(retention_ms: i64, retention_bytes: i64) -> LogConfig {
        LogConfig {
            retention_ms,
            retention_bytes,
            ..LogConfig::default()
        }
    }

    #[test]
    fn segments_go_by_time_size_and_log_start_oldest_first() {
        use Reason::{BelowLogStart, Size, Time};
        check(config(-1, -1), 0, 40, &[]);
        check(config(3_500, -1), 0, 40, &[Time, Time]);
        check(config(-1, 250), 0, 40, &[Size]);
        check(config(-1, 200), 0, 40, &[Size, Size]);
        check(config(-1, -1), 25, 40, &[BelowLogStart, BelowLogStart]);
        check(config(4_500, 100), 0, 40, &[Time, Size, Size]);
        check(config(0, -1), 0, 40, &[Time; 4]);
    }

    #[test]
    fn nothing_at_or_above_the_high_watermark_goes() {
        check(config(0, -1), 0, 25, &[Reason::Time; 2]);
        check(config(0, -1), 0, 0, &[]);
    }

    #[test]
    fn segments_that_compaction_emptied_go_with_the_next_one() {
        let emptied = |emptied: &[usize]| {
            let mut segments = segments();
            for index in emptied {
                segments[*index].bytes = 0;
                segments[*index].largest_timestamp = None;
            }
            plan(&segments, &config(3_500, -1), 0, 40, 5_000).len()
        };
        assert_eq!(emptied(&[]), 2);
        assert_eq!(emptied(&[0]), 2);
        assert_eq!(emptied(&[1]), 1);
        assert_eq!(emptied(&[0, 1]), 0);
    }

    #[test]
    fn without_delete_in_the_policy_only_the_log_start_counts() {
        let compacted = LogConfig {
            delete: false,
            compact: true,
            ..config(0, 0)
        };
        check(compacted, 10, 40, &[Reason::BelowLogStart]);
    }
}
