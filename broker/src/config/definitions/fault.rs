//! Whether a value fits its key, and how it is said when it does not.
//!
//! A fault is said in two ways: in ours, to who wrote a file, and in Apache Kafka's, to a client of
//! the Admin API, because tools and tests look at that text.

use std::fmt;

use super::{Kind, Valid};

/// Why a value may not be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a number of that type, or one that does not fit into it.
    NotANumber(Kind),
    /// Neither `true` nor `false`.
    NotABoolean,
    /// Below the least.
    TooSmall {
        /// The least allowed.
        min: i64,
        /// What is allowed, in words.
        range: String,
    },
    /// Above the greatest.
    TooLarge {
        /// The greatest allowed.
        max: i64,
        /// What is allowed, in words.
        range: String,
    },
    /// Outside a range that has an exception.
    Outside {
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
        /// Allowed, too.
        or: i64,
    },
    /// Not one of the names.
    NotOneOf {
        /// The names.
        names: &'static [&'static str],
        /// The one that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// Nothing, where something is needed.
    Empty,
    /// Not a list of partition:broker.
    NotThrottledReplicas,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotANumber(kind) => match bounds(*kind) {
                Some((min, max)) => write!(f, "expected a whole number from {min} to {max}"),
                None => f.write_str("expected a number"),
            },
            Fault::NotABoolean => f.write_str("expected true or false"),
            Fault::TooSmall { range, .. } | Fault::TooLarge { range, .. } => {
                write!(f, "expected {range}")
            }
            Fault::Outside { min, max, or } => write!(f, "expected {min} to {max}, or {or}"),
            Fault::NotOneOf { names, nearest } => {
                write!(f, "expected one of {}", names.join(", "))?;
                match nearest {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => Ok(()),
                }
            }
            Fault::Empty => f.write_str("expected a value"),
            Fault::NotThrottledReplicas => {
                f.write_str("expected partition:broker, comma separated, or *")
            }
        }
    }
}

impl Fault {
    /// The sentence that Apache Kafka answers with.
    pub fn in_kafkas_words(&self, name: &str, value: &str) -> String {
        let said = match self {
            Fault::NotANumber(kind) => {
                format!("Not a number of type {}", kind.name().to_uppercase())
            }
            Fault::NotABoolean => "Expected value to be either true or false".to_owned(),
            Fault::TooSmall { min, .. } => format!("Value must be at least {min}"),
            Fault::TooLarge { max, .. } => format!("Value must be no more than {max}"),
            Fault::Outside { min, max, or } => {
                format!("Value must be between {min} and {max} or equal to {or}")
            }
            Fault::NotOneOf { names, .. } => {
                format!("String must be one of: {}", names.join(", "))
            }
            Fault::Empty => "String must be non-empty".to_owned(),
            Fault::NotThrottledReplicas => {
                let value = items(value).collect::<Vec<_>>().join(", ");
                return format!(
                    "Invalid value [{value}] for configuration {name}: {name} must be the literal \
                     '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                );
            }
        };
        format!("Invalid value {value} for configuration {name}: {said}")
    }
}

/// The items of a list: trimmed; nothing is no items.
pub(crate) fn items(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim();
    let all = if value.is_empty() {
        None
    } else {
        Some(value.split(',').map(str::trim))
    };
    all.into_iter().flatten()
}

pub(super) fn check(kind: Kind, valid: Valid, value: &str) -> Result<(), Fault> {
    match kind {
        Kind::Boolean => match value.trim().to_ascii_lowercase().as_str() {
            "true" | "false" => Ok(()),
            _ => Err(Fault::NotABoolean),
        },
        Kind::Int | Kind::Short | Kind::Long => {
            let number = whole(kind, value)?;
            let range = || range(valid).unwrap_or_default();
            match valid {
                Valid::AtLeast(min) | Valid::Between(min, _) if number < min => {
                    Err(Fault::TooSmall {
                        min,
                        range: range(),
                    })
                }
                Valid::Between(_, max) if number > max => Err(Fault::TooLarge {
                    max,
                    range: range(),
                }),
                Valid::BetweenOr(min, max, or)
                    if !(min..=max).contains(&number) && number != or =>
                {
                    Err(Fault::Outside { min, max, or })
                }
                _ => Ok(()),
            }
        }
        Kind::Double => {
            let number = fraction(value)?;
            let range = || range(valid).unwrap_or_default();
            match valid {
                Valid::AtLeast(min) | Valid::Between(min, _) if number < min as f64 => {
                    Err(Fault::TooSmall {
                        min,
                        range: range(),
                    })
                }
                Valid::Between(_, max) if number > max as f64 => Err(Fault::TooLarge {
                    max,
                    range: range(),
                }),
                _ => Ok(()),
            }
        }
        Kind::List => match valid {
            Valid::EachOneOf(names) => items(value).try_for_each(|item| one_of(names, item)),
            Valid::ThrottledReplicas => throttled_replicas(value),
            _ => Ok(()),
        },
        Kind::String | Kind::Class | Kind::Password | Kind::Unknown => {
            let value = value.trim();
            match valid {
                Valid::OneOf(names) => one_of(names, value),
                Valid::OneOfIgnoringCase(names) => {
                    if names.iter().any(|name| name.eq_ignore_ascii_case(value)) {
                        return Ok(());
                    }
                    one_of(names, value)
                }
                Valid::NonEmpty if value.is_empty() => Err(Fault::Empty),
                _ => Ok(()),
            }
        }
    }
}

/// The value as DescribeConfigs shows it. What does not parse is shown as it is.
pub(super) fn shown(kind: Kind, value: &str) -> String {
    let trimmed = value.trim();
    match kind {
        Kind::Boolean => trimmed.to_ascii_lowercase(),
        Kind::Int | Kind::Short | Kind::Long => {
            whole(kind, value).map_or_else(|_| trimmed.to_owned(), |number| number.to_string())
        }
        Kind::Double => fraction(value).map_or_else(|_| trimmed.to_owned(), as_java),
        Kind::List => items(value).collect::<Vec<_>>().join(","),
        Kind::String | Kind::Class | Kind::Password | Kind::Unknown => trimmed.to_owned(),
    }
}

/// What is allowed, in words.
pub(super) fn range(valid: Valid) -> Option<String> {
    match valid {
        Valid::Any => None,
        Valid::AtLeast(min) => Some(format!("at least {min}")),
        Valid::Between(min, max) => Some(format!("{min} to {max}")),
        Valid::BetweenOr(min, max, or) => Some(format!("{min} to {max}, or {or}")),
        Valid::OneOf(names) | Valid::OneOfIgnoringCase(names) => {
            Some(format!("one of {}", names.join(", ")))
        }
        Valid::EachOneOf(names) => Some(format!("any of {}", names.join(", "))),
        Valid::NonEmpty => Some("not empty".to_owned()),
        Valid::ThrottledReplicas => Some("partition:broker, comma separated, or *".to_owned()),
    }
}

/// Reads a whole number that fits into the type.
pub(crate) fn whole(kind: Kind, value: &str) -> Result<i64, Fault> {
    let fault = || Fault::NotANumber(kind);
    let number: i64 = value.trim().parse().map_err(|_| fault())?;
    match bounds(kind) {
        Some((min, max)) if (min..=max).contains(&number) => Ok(number),
        _ => Err(fault()),
    }
}

/// Reads a decimal fraction.
pub(crate) fn fraction(value: &str) -> Result<f64, Fault> {
    match value.trim().parse::<f64>() {
        Ok(number) if !number.is_nan() => Ok(number),
        _ => Err(Fault::NotANumber(Kind::Double)),
    }
}

fn bounds(kind: Kind) -> Option<(i64, i64)> {
    match kind {
        Kind::Short => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        Kind::Int => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        Kind::Long => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

fn one_of(names: &'static [&'static str], value: &str) -> Result<(), Fault> {
    if names.contains(&value) {
        return Ok(());
    }
    let nearest = super::nearest(value, names.iter().copied()).or_else(|| {
        names
            .iter()
            .copied()
            .find(|name| name.eq_ignore_ascii_case(value))
    });
    Err(Fault::NotOneOf { names, nearest })
}

fn throttled_replicas(value: &str) -> Result<(), Fault> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pair = |item: &str| {
        item.split_once(':')
            .is_some_and(|(partition, broker)| number(partition) && number(broker))
    };
    if value.trim() == "*" || items(value).all(pair) {
        return Ok(());
    }
    Err(Fault::NotThrottledReplicas)
}

/// A fraction as Java writes it: `0.5`, `10.0`, `1.7976931348623157E308`.
fn as_java(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) || !number.is_finite() {
        return format!("{number:?}");
    }
    let written = format!("{number:E}");
    match written.split_once('E') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_as_kafka_checks_them() {
        // What Apache Kafka 4.3.1 answered to CreateTopics with this override.
        let check = |name: &str, value: &str, said: Option<&str>| {
            let key = super::super::topic(name).expect("a key of topics");
            let fault = key
                .check(value)
                .err()
                .map(|fault| fault.in_kafkas_words(name, value));
            let whole =
                said.map(|said| format!("Invalid value {value} for configuration {name}: {said}"));
            assert_eq!(fault, whole, "{name}={value}");
        };
        check("retention.ms", "5", None);
        check("retention.ms", " 100 ", None);
        check("retention.ms", "abc", Some("Not a number of type LONG"));
        check("retention.ms", "", Some("Not a number of type LONG"));
        check("retention.ms", "-2", Some("Value must be at least -1"));
        check("segment.bytes", "1", Some("Value must be at least 1048576"));
        check(
            "segment.bytes",
            "99999999999",
            Some("Not a number of type INT"),
        );
        check(
            "preallocate",
            "maybe",
            Some("Expected value to be either true or false"),
        );
        check("preallocate", " TRUE ", None);
        check(
            "unclean.leader.election.enable",
            "1",
            Some("Expected value to be either true or false"),
        );
        check(
            "cleanup.policy",
            "foo",
            Some("String must be one of: compact, delete"),
        );
        check("cleanup.policy", " compact , delete ", None);
        check("cleanup.policy", "", None);
        check(
            "min.cleanable.dirty.ratio",
            "1.5",
            Some("Value must be no more than 1"),
        );
        check(
            "compression.type",
            "gz",
            Some("String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
        );
        check(
            "compression.zstd.level",
            "99",
            Some("Value must be no more than 22"),
        );
        check(
            "compression.gzip.level",
            "0",
            Some("Value must be between 1 and 9 or equal to -1"),
        );
        check(
            "message.timestamp.type",
            "x",
            Some("String must be one of: CreateTime, LogAppendTime"),
        );
        check("flush.ms", "-1", Some("Value must be at least 0"));
        check("min.insync.replicas", "0", Some("Value must be at least 1"));
        check(
            "message.timestamp.before.max.ms",
            "-1",
            Some("Value must be at least 0"),
        );
        check("leader.replication.throttled.replicas", "0:1,1:2", None);
        check("leader.replication.throttled.replicas", "*", None);
    }

    #[test]
    fn throttled_replicas_are_refused_in_kafkas_words() {
        let name = "leader.replication.throttled.replicas";
        let key = super::super::topic(name).expect("a key of topics");
        let fault = key.check("foo").expect_err("not a replica");
        assert_eq!(
            fault.in_kafkas_words(name, "foo"),
            "Invalid value [foo] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in \
             the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
    }

    #[test]
    fn our_own_words_name_what_is_allowed() {
        let check = |name: &str, value: &str, said: &str| {
            let key = super::super::broker(name).expect("a key of the broker");
            let fault = key.check(value).expect_err("a bad value");
            assert_eq!(fault.to_string(), said, "{name}={value}");
        };
        check(
            "num.partitions",
            "many",
            "expected a whole number from -2147483648 to 2147483647",
        );
        check("num.partitions", "0", "expected at least 1");
        check("compression.zstd.level", "23", "expected -131072 to 22");
        check("compression.gzip.level", "0", "expected 1 to 9, or -1");
        check("auto.create.topics.enable", "yes", "expected true or false");
        check(
            "log.cleanup.policy",
            "compat",
            "expected one of compact, delete; did you mean compact?",
        );
        check(
            "log.message.timestamp.type",
            "createtime",
            "expected one of CreateTime, LogAppendTime; did you mean CreateTime?",
        );
    }

    #[test]
    fn fractions_are_written_as_java_writes_them() {
        let check = |number: f64, expected: &str| assert_eq!(as_java(number), expected);
        check(0.5, "0.5");
        check(0.0, "0.0");
        check(10.0, "10.0");
        check(0.001, "0.001");
        check(0.0001, "1.0E-4");
        check(1e7, "1.0E7");
        check(12_345_678.5, "1.23456785E7");
        check(f64::MAX, "1.7976931348623157E308");
    }

    #[test]
    fn a_value_is_shown_in_one_form() {
        assert_eq!(shown(Kind::Long, " +100 "), "100");
        assert_eq!(shown(Kind::Boolean, " TRUE"), "true");
        assert_eq!(shown(Kind::List, " compact , delete "), "compact,delete");
        assert_eq!(shown(Kind::List, "  "), "");
        assert_eq!(shown(Kind::Double, ".5"), "0.5");
    }
}
