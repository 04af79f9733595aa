//! Lines of the log that may be called for a thousand times a second.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Says when such a line is told: at first, and then once a minute.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    kept_back: u64,
}

impl Seldom {
    /// Whether to tell it now, and how many times it was not since the last.
    pub fn tells(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + PAUSE) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_a_minute_with_how_many_were_not() {
        let began = Instant::now();
        let mut seldom = Seldom::default();
        let mut tells = |ms| seldom.tells(began + Duration::from_millis(ms));
        assert_eq!(tells(0), Some(0));
        assert_eq!(tells(0), None);
        assert_eq!(tells(59_999), None);
        assert_eq!(tells(60_000), Some(2));
        assert_eq!(tells(60_001), None);
        assert_eq!(tells(120_000), Some(1));
        assert_eq!(tells(180_000), Some(0));
    }
}
