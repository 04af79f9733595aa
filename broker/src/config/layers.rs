//! All values a broker was given, each with where it came from, and what counts of them.
//!
//! Of one key the strongest layer counts: changed at run time for this broker, changed for all
//! brokers, given at the start, default.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::definitions::{self, Definition, Effect, Kind};
use super::error::{ConfigError, ConfigErrors, Origin, Problem, Warning};
use super::sources::{Given, Said};

/// What the Admin API has changed, by key, as it is in the metadata.
pub type Dynamic = BTreeMap<String, String>;

/// The values of a broker.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    fixed: BTreeMap<String, Given>,
    dynamic_default: Dynamic,
    dynamic_broker: Dynamic,
}

/// One of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Changed at run time for this broker.
    DynamicBroker,
    /// Changed at run time for all brokers.
    DynamicDefault,
    /// Given at the start.
    Static,
    /// Nobody said anything.
    Default,
}

impl Layer {
    /// The strongest first.
    pub const ALL: [Layer; 4] = [
        Layer::DynamicBroker,
        Layer::DynamicDefault,
        Layer::Static,
        Layer::Default,
    ];
}

/// Whether `key` means anything: as a key, under a listener's prefix, or in Kafka's past.
pub(super) fn is_known(key: &str) -> bool {
    definitions::broker(key).is_some()
        || definitions::removed(key).is_some()
        || of_listener(key).is_some()
        || of_plug_in(key)
}

/// The key behind `listener.name.<listener>.` and, for SASL, `<mechanism>.`.
fn of_listener(key: &str) -> Option<&'static Definition> {
    let rest = key.strip_prefix("listener.name.")?;
    let (_, rest) = rest.split_once('.')?;
    definitions::broker(rest).or_else(|| {
        rest.split_once('.')
            .and_then(|(_, rest)| definitions::broker(rest))
    })
}

/// Keys that Kafka hands on to Java classes.
fn of_plug_in(key: &str) -> bool {
    ["rlmm.config.", "rsm.config.", "config.providers."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

impl Layers {
    /// Checks and stacks what the sources say.
    pub(super) fn stack(said: Said, warnings: &mut Vec<Warning>) -> Result<Layers, ConfigErrors> {
        let mut errors = said.errors;
        warnings.extend(said.warnings);
        let mut without_effect: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut fixed: BTreeMap<String, Given> = BTreeMap::new();
        for given in said.given {
            fixed.insert(given.key.clone(), given);
        }
        for given in fixed.values() {
            match judge(given) {
                Ok(None) => {}
                Ok(Some(reason)) => without_effect
                    .entry(reason)
                    .or_default()
                    .push(given.key.clone()),
                Err(problem) => errors.push(ConfigError::new(given.origin.clone(), problem)),
            }
        }
        let keep = |key: &str| definitions::broker(key).is_some();
        fixed.retain(|key, _| keep(key));
        warnings.extend(
            without_effect
                .into_iter()
                .map(|(reason, keys)| Warning::NoEffect { keys, reason }),
        );
        errors.sort_by_key(|error| error.origin.line());
        if errors.is_empty() {
            Ok(Layers {
                fixed,
                ..Layers::default()
            })
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The same with what the metadata says now.
    pub(super) fn with_dynamic(&self, default: &Dynamic, broker: &Dynamic) -> Layers {
        Layers {
            fixed: self.fixed.clone(),
            dynamic_default: default.clone(),
            dynamic_broker: broker.clone(),
        }
    }

    /// Gives a key a value as if it had been in the file, unless it was.
    pub(super) fn imply(&mut self, key: &str, value: String, origin: Origin) {
        let given = Given {
            key: key.to_owned(),
            value,
            origin,
        };
        self.fixed.entry(key.to_owned()).or_insert(given);
    }

    /// What one layer says about a key.
    pub fn of(&self, layer: Layer, key: &str) -> Option<&str> {
        match layer {
            Layer::DynamicBroker => self.dynamic_broker.get(key).map(String::as_str),
            Layer::DynamicDefault => self.dynamic_default.get(key).map(String::as_str),
            Layer::Static => self.fixed.get(key).map(|given| given.value.as_str()),
            Layer::Default => definitions::broker(key).and_then(|key| key.default),
        }
    }

    /// The value that counts; `None` is null.
    pub fn effective(&self, key: &str) -> Option<&str> {
        Layer::ALL.into_iter().find_map(|layer| self.of(layer, key))
    }

    /// Where the value that counts comes from.
    pub fn origin(&self, key: &str) -> Origin {
        if self.dynamic_broker.contains_key(key) {
            Origin::DynamicBroker
        } else if self.dynamic_default.contains_key(key) {
            Origin::DynamicDefault
        } else {
            self.fixed
                .get(key)
                .map_or(Origin::Default, |given| given.origin.clone())
        }
    }

    /// The keys changed at run time for all brokers.
    pub fn dynamic_default(&self) -> &Dynamic {
        &self.dynamic_default
    }

    /// The keys changed at run time for this broker.
    pub fn dynamic_broker(&self) -> &Dynamic {
        &self.dynamic_broker
    }

    /// The default of a topic's key: what the broker's keys say, in the topic's unit.
    pub fn topic_default(&self, topic: &Definition) -> Option<Cow<'_, str>> {
        for name in topic.broker_keys {
            let Some(value) = self.effective(name) else {
                continue;
            };
            let unit = match name.rsplit_once('.') {
                Some((_, "minutes")) => 60_000,
                Some((_, "hours")) => 3_600_000,
                Some(("log.retention", _)) => 1,
                _ => return Some(Cow::Borrowed(value)),
            };
            let value = match value.trim().parse::<i64>() {
                // Below nothing is for ever, in whichever unit.
                Ok(number) if number < 0 => "-1".to_owned(),
                Ok(number) => number.saturating_mul(unit).to_string(),
                Err(_) => value.to_owned(),
            };
            return Some(Cow::Owned(value));
        }
        topic.default.map(Cow::Borrowed)
    }
}

/// Whether a value may be given at the start. `Some` is a reason why it does nothing.
fn judge(given: &Given) -> Result<Option<&'static str>, Problem> {
    let key = given.key.as_str();
    if let Some(definition) = definitions::broker(key) {
        return judge_known(definition, key, &given.value);
    }
    if let Some(definition) = of_listener(key) {
        // No listener has settings of its own yet; saying the default again is harmless.
        let served = matches!(definition.effect, Effect::Served);
        if served
            && definition
                .default
                .is_none_or(|default| !definition.same(default, &given.value))
        {
            let reason = "listeners have no settings of their own".to_owned();
            let (key, value) = (key.to_owned(), shown(definition, &given.value));
            return Err(Problem::NotYet {
                key,
                value,
                reason,
                default: None,
            });
        }
        return judge_known(definition, key, &given.value);
    }
    if let Some(gone) = definitions::removed(key) {
        return Ok(Some(gone.reason));
    }
    if key.starts_with("config.providers.") {
        let reason = "${...} in values is not resolved".to_owned();
        let (key, value) = (key.to_owned(), given.value.clone());
        return Err(Problem::NotYet {
            key,
            value,
            reason,
            default: None,
        });
    }
    if of_plug_in(key) {
        return Ok(Some("tiered storage is not served"));
    }
    if let Some(topic) = definitions::topic(key) {
        let nearest = topic.broker_keys.first().map(|name| (*name).to_owned());
        return Err(Problem::UnknownKey {
            key: key.to_owned(),
            nearest,
        });
    }
    let nearest = definitions::nearest_broker(key).map(str::to_owned);
    Err(Problem::UnknownKey {
        key: key.to_owned(),
        nearest,
    })
}

fn judge_known(
    definition: &Definition,
    key: &str,
    value: &str,
) -> Result<Option<&'static str>, Problem> {
    definition.check(value).map_err(|fault| Problem::BadValue {
        key: key.to_owned(),
        value: shown(definition, value),
        fault,
    })?;
    let default = definition.default.unwrap_or_default();
    if definition.same(default, value) {
        return Ok(None);
    }
    let (key, value) = (key.to_owned(), shown(definition, value));
    let default = definition.default.map(str::to_owned);
    match definition.effect {
        Effect::Served => Ok(None),
        Effect::None(reason) => Ok(Some(reason)),
        Effect::NotYet(reason) => Err(Problem::NotYet {
            key,
            value,
            reason: reason.to_owned(),
            default,
        }),
        Effect::Never(reason) => Err(Problem::Never {
            key,
            value,
            reason: reason.to_owned(),
            default,
        }),
    }
}

fn shown(definition: &Definition, value: &str) -> String {
    if definition.kind == Kind::Password {
        "***".to_owned()
    } else {
        value.to_owned()
    }
}
