//! Answers to DescribeConfigs, as plain data.
//!
//! A value is listed with everything that was said about it, the strongest first: for a topic its
//! override, then what the broker's keys say on each layer. As in Apache Kafka the list begins with
//! the key itself, so that `log.retention.ms`, of which nothing was said, has no synonyms although
//! `log.retention.hours` has a default.

use super::definitions::{self, Definition, Kind, Listed};
use super::layers::{Layer, Layers};
use super::topic::{self, Overrides};

/// One key of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its value; `None` if it is null or secret.
    pub value: Option<String>,
    /// It needs a restart.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: Source,
    /// Nobody is told.
    pub sensitive: bool,
    /// Everything that was said about it, the strongest first.
    pub synonyms: Vec<Synonym>,
    /// What the value is; its number is [`Kind::number`].
    pub kind: Kind,
    /// What it does.
    pub documentation: Option<&'static str>,
}

/// Something that was said about a key, under this or another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The name it was said of.
    pub name: String,
    /// What was said; `None` if it is secret.
    pub value: Option<String>,
    /// Where.
    pub source: Source,
}

/// Where a value comes from. The numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// An override of the topic.
    DynamicTopic = 1,
    /// Changed at run time for this broker.
    DynamicBroker = 2,
    /// Changed at run time for all brokers.
    DynamicDefaultBroker = 3,
    /// Given at the start.
    StaticBroker = 4,
    /// Nobody said anything.
    Default = 5,
    /// Set for the group.
    DynamicGroup = 8,
    /// A logger's level.
    DynamicBrokerLogger = 6,
}

impl Source {
    /// The number in DescribeConfigs.
    pub const fn number(self) -> i8 {
        self as i8
    }
}

impl From<Layer> for Source {
    fn from(layer: Layer) -> Source {
        match layer {
            Layer::DynamicBroker => Source::DynamicBroker,
            Layer::DynamicDefault => Source::DynamicDefaultBroker,
            Layer::Static => Source::StaticBroker,
            Layer::Default => Source::Default,
        }
    }
}

/// Keys of the broker of which the first that is given counts.
const ALTERNATIVES: &[&[&str]] = &[
    &[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

pub(super) fn topic(layers: &Layers, overrides: &Overrides) -> Vec<Described> {
    owned(definitions::TOPIC, Source::DynamicTopic, layers, overrides)
}

pub(super) fn group(layers: &Layers, overrides: &Overrides) -> Vec<Described> {
    let mut described = owned(definitions::GROUP, Source::DynamicGroup, layers, overrides);
    // Of a key that no key of the broker stands behind, its own default is named.
    let alone = described.iter_mut().filter(|key| key.synonyms.is_empty());
    for key in alone {
        key.synonyms.push(Synonym {
            name: key.name.clone(),
            value: key.value.clone(),
            source: Source::Default,
        });
    }
    described
}

/// Keys of what has overrides of its own over the broker's; internal ones where they are set.
fn owned(
    keys: &'static [Definition],
    own: Source,
    layers: &Layers,
    overrides: &Overrides,
) -> Vec<Described> {
    keys.iter()
        .filter(|key| key.listed == Listed::Public || overrides.contains_key(key.name))
        .map(|key| {
            let value = topic::effective(layers, overrides, key).map(|value| key.shown(&value));
            let mut synonyms = Vec::new();
            if overrides.contains_key(key.name) {
                let (name, value, source) = (key.name.to_owned(), value.clone(), own);
                synonyms.push(Synonym {
                    name,
                    value,
                    source,
                });
            }
            if let Some(name) = key.broker_keys.first() {
                synonyms.extend(said_of(layers, &Layer::ALL, name));
            }
            Described {
                name: key.name.to_owned(),
                value,
                read_only: false,
                source: synonyms
                    .first()
                    .map_or(Source::Default, |synonym| synonym.source),
                sensitive: false,
                synonyms,
                kind: key.kind,
                documentation: Some(key.doc),
            }
        })
        .collect()
}

pub(super) fn broker(layers: &Layers) -> Vec<Described> {
    let known = definitions::all_broker().filter(|key| match key.listed {
        Listed::Public => true,
        Listed::Internal => false,
        Listed::WhenSet => !matches!(layer_of(layers, key.name), None | Some(Layer::Default)),
    });
    let mut described: Vec<Described> = known
        .map(|key| known_key(layers, &Layer::ALL, key))
        .collect();
    let changed = layers
        .dynamic_broker()
        .keys()
        .chain(layers.dynamic_default().keys());
    let unknown = changed.filter(|name| definitions::broker(name).is_none());
    described.extend(unknown.map(|name| unknown_key(layers, &Layer::ALL, name)));
    in_order(described)
}

pub(super) fn cluster_default(layers: &Layers) -> Vec<Described> {
    let only = [Layer::DynamicDefault];
    let described = layers
        .dynamic_default()
        .keys()
        .map(|name| match definitions::broker(name) {
            Some(key) => known_key(layers, &only, key),
            None => unknown_key(layers, &only, name),
        });
    in_order(described.collect())
}

/// The loggers of a broker, from their names and levels.
pub fn describe_loggers(levels: &[(String, String)]) -> Vec<Described> {
    levels
        .iter()
        .map(|(name, level)| Described {
            name: name.clone(),
            value: Some(level.clone()),
            read_only: false,
            source: Source::DynamicBrokerLogger,
            sensitive: false,
            synonyms: Vec::new(),
            kind: Kind::Unknown,
            documentation: None,
        })
        .collect()
}

fn in_order(mut described: Vec<Described>) -> Vec<Described> {
    described.sort_by(|one, other| one.name.cmp(&other.name));
    described.dedup_by(|one, other| one.name == other.name);
    described
}

fn layer_of(layers: &Layers, name: &str) -> Option<Layer> {
    Layer::ALL
        .into_iter()
        .find(|layer| layers.of(*layer, name).is_some())
}

fn known_key(layers: &Layers, among: &[Layer], key: &Definition) -> Described {
    let sensitive = is_sensitive(key.name);
    let value = among.iter().find_map(|layer| layers.of(*layer, key.name));
    let synonyms = said_of(layers, among, key.name);
    Described {
        name: key.name.to_owned(),
        value: value.filter(|_| !sensitive).map(|value| key.shown(value)),
        read_only: key.dynamic == definitions::Dynamic::ReadOnly,
        source: synonyms
            .first()
            .map_or(Source::Default, |synonym| synonym.source),
        sensitive,
        synonyms,
        kind: key.kind,
        documentation: Some(key.doc),
    }
}

fn unknown_key(layers: &Layers, among: &[Layer], name: &str) -> Described {
    let synonyms = said_of(layers, among, name);
    Described {
        name: name.to_owned(),
        value: None,
        read_only: true,
        source: synonyms
            .first()
            .map_or(Source::Default, |synonym| synonym.source),
        sensitive: true,
        synonyms,
        kind: Kind::Unknown,
        documentation: None,
    }
}

fn is_sensitive(name: &str) -> bool {
    definitions::broker(name).is_none_or(|key| key.kind.is_sensitive())
}

/// Everything that was said of a key or an alternative, beginning with the key itself.
fn said_of(layers: &Layers, among: &[Layer], name: &str) -> Vec<Synonym> {
    let alone = [name];
    let names = ALTERNATIVES
        .iter()
        .find(|names| names.contains(&name))
        .copied()
        .unwrap_or(&alone);
    among
        .iter()
        .flat_map(|layer| names.iter().map(move |name| (*layer, *name)))
        .filter_map(|(layer, name)| {
            let value = layers.of(layer, name)?;
            let value = Some(value.to_owned()).filter(|_| !is_sensitive(name));
            Some(Synonym {
                name: name.to_owned(),
                value,
                source: layer.into(),
            })
        })
        .skip_while(|synonym| synonym.name != name)
        .collect()
}
