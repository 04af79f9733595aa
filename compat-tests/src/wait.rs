//! Waiting on a condition, with a deadline; never for a time that somebody guessed.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::interrupt;

/// The longest pause between two looks.
const POLL_EVERY: Duration = Duration::from_millis(25);
const POLL_EVERY_MIN: Duration = Duration::from_millis(1);

/// Asks `condition` until it gives a value, fails, `limit` has passed or the user interrupts.
pub fn until<T>(
    step: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    until_stopped(step, limit, || match condition()? {
        None if interrupt::requested() => Err(Error::Interrupted { step: step.into() }),
        other => Ok(other),
    })
}

/// The same for what an interrupt sets in motion, which must not be interrupted by it.
pub fn until_stopped<T>(
    step: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        let waited = began.elapsed();
        if waited >= limit {
            return Err(Error::Deadline {
                step: step.into(),
                limit,
                log: None,
            });
        }
        // What takes milliseconds is noticed within some of them.
        thread::sleep((waited / 10).clamp(POLL_EVERY_MIN, POLL_EVERY));
    }
}

/// Returns when the user interrupts, or with whatever `watch` fails with before that.
pub fn until_interrupted(mut watch: impl FnMut() -> Result<()>) -> Result<()> {
    while !interrupt::requested() {
        watch()?;
        thread::sleep(POLL_EVERY);
    }
    Ok(())
}
