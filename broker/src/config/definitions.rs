//! Every configuration key: its name, type, default, range, whether it can be changed at run time,
//! and what it does here.
//!
//! The tables are the single source: parsing and validation, defaults, DescribeConfigs and
//! `docs/configuration.md` are derived from them. Names, types, defaults and ranges are Apache
//! Kafka's, so that a configuration written for it means the same; where ours differ, the test
//! against Kafka's own answers (`config/kafka.rs`) says why, key by key.
//!
//! | Table | Keys of |
//! |---|---|
//! | [`BROKER`] | the broker, from the file, the environment, `--override`, and the Admin API |
//! | [`TOPIC`] | a topic, from CreateTopics and the Admin API |
//! | [`GROUP`] | a group, from the Admin API |
//! | [`REMOVED`] | Kafka's past, still found in files |
//!
//! A key that is in a table is never silently without effect: [`Effect`] says what becomes of it.

mod broker;
mod fault;
mod group;
mod removed;
mod topic;

pub use self::broker::BROKER;
pub use self::fault::Fault;
pub(crate) use self::fault::{fraction, items, whole};
pub use self::group::GROUP;
pub use self::removed::{REMOVED, Removed, removed};
pub use self::topic::TOPIC;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Kafka's name, or one of ours, which begin with `reka.`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its value when nobody gives one. `None` is null.
    pub default: Option<&'static str>,
    /// Which values are allowed.
    pub valid: Valid,
    /// Whether and for whom it can be changed at run time.
    pub dynamic: Dynamic,
    /// What it does here.
    pub effect: Effect,
    /// Whether DescribeConfigs lists it.
    pub listed: Listed,
    /// For a topic's key: the broker's keys that its default comes from, the most telling first.
    pub broker_keys: &'static [&'static str],
    /// One sentence or two.
    pub doc: &'static str,
}

/// What a value is. The numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// A key nobody has defined.
    Unknown = 0,
    /// `true` or `false`, in any case.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A decimal fraction.
    Double = 6,
    /// Texts, comma separated.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// Text that nobody is told.
    Password = 9,
}

impl Kind {
    /// The number in DescribeConfigs.
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Its name in documents, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }

    /// Nobody is told the value.
    pub const fn is_sensitive(self) -> bool {
        matches!(self, Kind::Password | Kind::Unknown)
    }
}

/// Which values are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// Whatever the type allows.
    Any,
    /// From this number up.
    AtLeast(i64),
    /// From the first to the last, both included.
    Between(i64, i64),
    /// The same, or the third number.
    BetweenOr(i64, i64, i64),
    /// One of these, exactly.
    OneOf(&'static [&'static str]),
    /// One of these, in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of these.
    EachOneOf(&'static [&'static str]),
    /// Something.
    NonEmpty,
    /// A list of partition:broker, or `*`.
    ThrottledReplicas,
}

/// Whether and for whom a key can be changed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Needs a restart.
    ReadOnly,
    /// Of one broker.
    PerBroker,
    /// Of one broker, or of all at once.
    ClusterWide,
}

impl Dynamic {
    /// Its name in documents, as Kafka's.
    pub const fn name(self) -> &'static str {
        match self {
            Dynamic::ReadOnly => "read-only",
            Dynamic::PerBroker => "per-broker",
            Dynamic::ClusterWide => "cluster-wide",
        }
    }
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its documentation says.
    Served,
    /// Nothing, and nothing is missed. Another value than the default is worth a warning.
    None(&'static str),
    /// Nothing yet. Another value than the default is refused.
    NotYet(&'static str),
    /// Nothing, ever, and who sets it relies on it. Another value than the default is refused.
    Never(&'static str),
}

/// Whether DescribeConfigs lists a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Always.
    Public,
    /// Never: it is for tests and emergencies.
    Internal,
    /// When somebody has set it.
    WhenSet,
}

impl Definition {
    const fn new(name: &'static str, kind: Kind) -> Definition {
        Definition {
            name,
            kind,
            default: None,
            valid: Valid::Any,
            dynamic: Dynamic::ReadOnly,
            effect: Effect::Served,
            listed: Listed::Public,
            broker_keys: &[],
            doc: "",
        }
    }

    const fn default(mut self, value: &'static str) -> Definition {
        self.default = Some(value);
        self
    }

    const fn valid(mut self, valid: Valid) -> Definition {
        self.valid = valid;
        self
    }

    const fn at_least(self, min: i64) -> Definition {
        self.valid(Valid::AtLeast(min))
    }

    const fn between(self, min: i64, max: i64) -> Definition {
        self.valid(Valid::Between(min, max))
    }

    const fn one_of(self, names: &'static [&'static str]) -> Definition {
        self.valid(Valid::OneOf(names))
    }

    const fn each_one_of(self, names: &'static [&'static str]) -> Definition {
        self.valid(Valid::EachOneOf(names))
    }

    const fn per_broker(mut self) -> Definition {
        self.dynamic = Dynamic::PerBroker;
        self
    }

    const fn cluster_wide(mut self) -> Definition {
        self.dynamic = Dynamic::ClusterWide;
        self
    }

    const fn internal(mut self) -> Definition {
        self.listed = Listed::Internal;
        self
    }

    const fn when_set(mut self) -> Definition {
        self.listed = Listed::WhenSet;
        self
    }

    const fn from(mut self, broker_keys: &'static [&'static str]) -> Definition {
        self.broker_keys = broker_keys;
        self
    }

    const fn served(mut self, doc: &'static str) -> Definition {
        self.doc = doc;
        self
    }

    const fn no_effect(mut self, reason: &'static str, doc: &'static str) -> Definition {
        self.effect = Effect::None(reason);
        self.served(doc)
    }

    const fn not_yet(mut self, reason: &'static str, doc: &'static str) -> Definition {
        self.effect = Effect::NotYet(reason);
        self.served(doc)
    }

    const fn never(mut self, reason: &'static str, doc: &'static str) -> Definition {
        self.effect = Effect::Never(reason);
        self.served(doc)
    }

    /// Whether `value` may be given. Kafka's rules: what surrounds a value is trimmed.
    pub fn check(&self, value: &str) -> Result<(), Fault> {
        fault::check(self.kind, self.valid, value)
    }

    /// `value` as DescribeConfigs shows it: trimmed, numbers and lists in one form.
    pub fn shown(&self, value: &str) -> String {
        fault::shown(self.kind, value)
    }

    /// Whether two values mean the same.
    pub fn same(&self, one: &str, other: &str) -> bool {
        self.shown(one) == self.shown(other)
    }

    /// Which values are allowed, in words; `None` if the type says it all.
    pub fn range(&self) -> Option<String> {
        fault::range(self.valid)
    }
}

const fn boolean(name: &'static str) -> Definition {
    Definition::new(name, Kind::Boolean)
}

const fn string(name: &'static str) -> Definition {
    Definition::new(name, Kind::String)
}

const fn int(name: &'static str) -> Definition {
    Definition::new(name, Kind::Int)
}

const fn short(name: &'static str) -> Definition {
    Definition::new(name, Kind::Short)
}

const fn long(name: &'static str) -> Definition {
    Definition::new(name, Kind::Long)
}

const fn double(name: &'static str) -> Definition {
    Definition::new(name, Kind::Double)
}

const fn list(name: &'static str) -> Definition {
    Definition::new(name, Kind::List)
}

const fn class(name: &'static str) -> Definition {
    Definition::new(name, Kind::Class)
}

const fn password(name: &'static str) -> Definition {
    Definition::new(name, Kind::Password)
}

/// A group of related keys.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// The keys.
    pub keys: &'static [Definition],
}

/// The broker's key of that name.
pub fn broker(name: &str) -> Option<&'static Definition> {
    all_broker().find(|key| key.name == name)
}

/// The topic's key of that name.
pub fn topic(name: &str) -> Option<&'static Definition> {
    TOPIC.iter().find(|key| key.name == name)
}

/// The group's key of that name.
pub fn group(name: &str) -> Option<&'static Definition> {
    GROUP.iter().find(|key| key.name == name)
}

/// The broker's keys, section after section.
pub fn all_broker() -> impl Iterator<Item = &'static Definition> {
    BROKER.iter().flat_map(|section| section.keys)
}

/// The known name that a mistyped `name` is nearest to, if one is near enough to be meant.
pub fn nearest_broker(name: &str) -> Option<&'static str> {
    nearest(name, all_broker().map(|key| key.name))
}

/// The known name that a mistyped `name` of a topic's key is nearest to.
pub fn nearest_topic(name: &str) -> Option<&'static str> {
    nearest(name, TOPIC.iter().map(|key| key.name))
}

fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    // A third of the name may be wrong; more is another name.
    let most = (name.chars().count() / 3).clamp(1, 6);
    known
        .map(|candidate| (distance(&name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, candidate)| candidate)
}

/// Inserted, removed, replaced and swapped characters that lead from one name to the other.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let wrong = usize::from(one[i - 1] != other[j - 1]);
            let mut cost = (last[j - 1] + wrong).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                let swapped: &Vec<usize> = &before;
                cost = cost.min(swapped[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_is_valid_and_every_name_is_there_once() {
        let all = [
            all_broker().collect::<Vec<_>>(),
            TOPIC.iter().collect(),
            GROUP.iter().collect(),
        ];
        for table in all {
            let mut names = BTreeSet::new();
            for key in table {
                assert!(names.insert(key.name), "{} is there twice", key.name);
                if let Some(default) = key.default {
                    assert_eq!(key.check(default), Ok(()), "the default of {}", key.name);
                }
            }
        }
    }

    #[test]
    fn every_key_has_a_sentence_of_its_own_length() {
        for key in all_broker().chain(TOPIC).chain(GROUP) {
            assert!(
                key.doc.ends_with('.'),
                "the documentation of {} is a sentence",
                key.name
            );
            assert!(
                key.doc.len() < 130,
                "the documentation of {} is short",
                key.name
            );
        }
    }

    #[test]
    fn a_topics_or_groups_default_comes_from_keys_of_the_broker() {
        for key in TOPIC.iter().chain(GROUP) {
            for name in key.broker_keys {
                let broker = broker(name).expect("a key of the broker");
                assert!(matches!(broker.kind, Kind::Int | Kind::Long) || broker.kind == key.kind);
            }
        }
    }

    #[test]
    fn a_removed_key_is_not_a_key() {
        for gone in REMOVED {
            assert!(broker(gone.name).is_none(), "{} is still there", gone.name);
        }
    }

    #[test]
    fn a_mistyped_name_finds_the_name_that_was_meant() {
        let check = |mistyped: &str, meant: Option<&str>| {
            assert_eq!(nearest_broker(mistyped), meant, "for {mistyped}");
        };
        check("num.partition", Some("num.partitions"));
        check("num.partitoins", Some("num.partitions"));
        check("log.retention.hour", Some("log.retention.hours"));
        check("advertized.listeners", Some("advertised.listeners"));
        check("listener", Some("listeners"));
        check(
            "auto_create_topics_enable",
            Some("auto.create.topics.enable"),
        );
        check("Log.Dirs", Some("log.dirs"));
        check("reka.http.listen", Some("reka.http.listener"));
        check("something.else.entirely", None);
        check("", None);
    }

    #[test]
    fn distances_count_the_four_slips() {
        let check = |one: &str, other: &str, expected: usize| {
            assert_eq!(distance(one, other), expected, "{one} to {other}");
            assert_eq!(distance(other, one), expected, "{other} to {one}");
        };
        check("abc", "abc", 0);
        check("abc", "ab", 1);
        check("abc", "adc", 1);
        check("abc", "acb", 1);
        check("", "abc", 3);
    }
}
