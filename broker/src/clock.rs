//! The one clock. Everything below is handed the time.

/// Tells the time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// Follows the runtime's time, which a simulation moves on.
    #[cfg(test)]
    Virtual {
        /// When it began, in milliseconds since 1970.
        began_ms: i64,
        /// The same moment in the runtime's time.
        began: tokio::time::Instant,
    },
}

impl Clock {
    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock enters")]
    pub fn now_ms(self) -> i64 {
        match self {
            Clock::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                }),
            #[cfg(test)]
            Clock::Virtual { began_ms, began } => {
                began_ms
                    + tokio::time::Instant::now()
                        .duration_since(began)
                        .as_millis() as i64
            }
        }
    }
}
