//! Typed access to the values that count, for building [`super::Config`].
//!
//! A value that does not parse is noted and the build goes on with nothing in its place, so that all
//! mistakes come out at once. Which keys were read is noted as well: a test compares them with the
//! keys that claim to be served.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::definitions::{self, Kind, fraction, items, whole};
use super::error::{ConfigError, ConfigErrors, Problem};
use super::layers::Layers;

/// As good as never, and still safe to add to a clock.
pub(super) const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

pub(super) struct Values<'a> {
    layers: &'a Layers,
    read: RefCell<BTreeSet<&'static str>>,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'a> Values<'a> {
    pub(super) fn new(layers: &'a Layers) -> Values<'a> {
        Values {
            layers,
            read: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// Everything that was wrong, or the keys that were read.
    pub(super) fn finish(self) -> Result<BTreeSet<&'static str>, ConfigErrors> {
        match self.errors.into_inner() {
            errors if errors.is_empty() => Ok(self.read.into_inner()),
            errors => Err(ConfigErrors(errors)),
        }
    }

    pub(super) fn layers(&self) -> &'a Layers {
        self.layers
    }

    pub(super) fn note_read(&self, key: &'static str) {
        self.read.borrow_mut().insert(key);
    }

    /// The value as it was given; null and nothing are the same.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.note_read(key);
        self.layers
            .effective(key)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn list(&self, key: &'static str) -> Vec<&'a str> {
        self.text(key)
            .map(|value| items(value).filter(|item| !item.is_empty()).collect())
            .unwrap_or_default()
    }

    pub(super) fn yes(&self, key: &'static str) -> bool {
        self.text(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn fraction(&self, key: &'static str) -> f64 {
        let Some(value) = self.text(key) else {
            return 0.0;
        };
        fraction(value).unwrap_or_else(|fault| {
            self.wrong(
                key,
                Problem::BadValue {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    fault,
                },
            );
            0.0
        })
    }

    /// A whole number, if there is one.
    pub(super) fn number(&self, key: &'static str) -> Option<i64> {
        let value = self.text(key)?;
        let kind = definitions::broker(key).map_or(Kind::Long, |definition| definition.kind);
        let checked = match definitions::broker(key) {
            Some(definition) => definition.check(value).and_then(|()| whole(kind, value)),
            None => whole(kind, value),
        };
        checked
            .map_err(|fault| {
                let (key_text, value) = (key.to_owned(), value.to_owned());
                self.wrong(
                    key,
                    Problem::BadValue {
                        key: key_text,
                        value,
                        fault,
                    },
                );
            })
            .ok()
    }

    /// A whole number that fits; what does not is at the end of its range.
    pub(super) fn count<T: TryFrom<i64> + Default>(&self, key: &'static str) -> T {
        self.number(key)
            .and_then(|number| T::try_from(number.max(0)).ok())
            .unwrap_or_default()
    }

    pub(super) fn millis(&self, key: &'static str) -> Duration {
        self.duration(key, 1)
    }

    pub(super) fn seconds(&self, key: &'static str) -> Duration {
        self.duration(key, 1000)
    }

    pub(super) fn minutes(&self, key: &'static str) -> Duration {
        self.duration(key, 60_000)
    }

    /// Below nothing is never.
    fn duration(&self, key: &'static str, millis: u64) -> Duration {
        match u64::try_from(self.number(key).unwrap_or(-1)) {
            Ok(number) => Duration::from_millis(number.saturating_mul(millis)).min(NEVER),
            Err(_) => NEVER,
        }
    }

    /// Bytes, where -1 leaves the choice to somebody else.
    pub(super) fn bytes_if_given(&self, key: &'static str) -> Option<u64> {
        self.number(key)
            .and_then(|number| u64::try_from(number).ok())
    }

    pub(super) fn malformed(&self, key: &'static str, value: &str, reason: impl Into<String>) {
        let (value, reason) = (value.to_owned(), reason.into());
        self.wrong(
            key,
            Problem::Malformed {
                key: key.to_owned(),
                value,
                reason,
            },
        );
    }

    pub(super) fn wrong(&self, key: &'static str, problem: Problem) {
        let origin = self.layers.origin(key);
        self.errors
            .borrow_mut()
            .push(ConfigError::new(origin, problem));
    }
}
