//! Changes through the Admin API: what may be changed, and what the stored values become.
//!
//! Pure: current values and operations in, new values or a refusal out. Error kinds and texts are
//! Apache Kafka's, which tools and tests look at.

use std::collections::BTreeMap;

use super::definitions::{self, Definition, Dynamic, Effect, Kind, items};

/// What to do with a key (IncrementalAlterConfigs; AlterConfigs is all `Set` over nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    /// Gives it a value.
    Set,
    /// Takes its value away.
    Delete,
    /// Adds items to a list, where they are not in it.
    Append,
    /// Takes items out of a list.
    Subtract,
}

impl AlterOp {
    /// By its number in IncrementalAlterConfigs.
    pub fn from_number(number: i8) -> Option<AlterOp> {
        match number {
            0 => Some(AlterOp::Set),
            1 => Some(AlterOp::Delete),
            2 => Some(AlterOp::Append),
            3 => Some(AlterOp::Subtract),
            _ => None,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            AlterOp::Set => "SET",
            AlterOp::Delete => "DELETE",
            AlterOp::Append => "APPEND",
            AlterOp::Subtract => "SUBTRACT",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub op: AlterOp,
    /// With which value; nothing for `Delete`.
    pub value: Option<String>,
}

/// Whose values are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A topic's.
    Topic,
    /// One broker's.
    Broker,
    /// All brokers'.
    ClusterDefault,
    /// A group's.
    Group,
}

/// A refusal, by Kafka's error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// INVALID_CONFIG
    #[error("{0}")]
    InvalidConfig(String),
    /// INVALID_REQUEST
    #[error("{0}")]
    InvalidRequest(String),
}

/// Whether a topic may have this override.
pub fn validate_topic_override(name: &str, value: &str) -> Result<(), AlterError> {
    let Some(key) = definitions::topic(name) else {
        return Err(AlterError::InvalidConfig(format!(
            "Unknown topic config name: {name}"
        )));
    };
    key.check(value)
        .map_err(|fault| AlterError::InvalidConfig(fault.in_kafkas_words(name, value)))?;
    if name == "remote.storage.enable" && !served(key, value) {
        return Err(AlterError::InvalidConfig(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage."
                .to_owned(),
        ));
    }
    refuse_unserved(key, value).map_err(AlterError::InvalidConfig)
}

/// Whether a topic may have these overrides, one by one and together.
pub fn validate_topic_overrides(overrides: &BTreeMap<String, String>) -> Result<(), AlterError> {
    for (name, value) in overrides {
        validate_topic_override(name, value)?;
    }
    let lag = |name: &str| {
        let given = overrides.get(name).map(String::as_str);
        let default = definitions::topic(name).and_then(|key| key.default);
        given
            .or(default)
            .and_then(|value| value.trim().parse::<i64>().ok())
    };
    if let (Some(min), Some(max)) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"))
        && min > max
    {
        return Err(AlterError::InvalidConfig(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > \
             max.compaction.lag.ms ({max})"
        )));
    }
    Ok(())
}

/// Whether a group may have these overrides, one by one; what the broker allows is for
/// [`super::Config::check_group`].
fn validate_group_overrides(overrides: &BTreeMap<String, String>) -> Result<(), AlterError> {
    for (name, value) in overrides {
        let Some(key) = definitions::group(name) else {
            return Err(AlterError::InvalidConfig(format!(
                "Unknown group config name: {name}"
            )));
        };
        key.check(value)
            .map_err(|fault| AlterError::InvalidConfig(fault.in_kafkas_words(name, value)))?;
        refuse_unserved(key, value).map_err(AlterError::InvalidConfig)?;
    }
    Ok(())
}

/// What `current` becomes. Nothing is changed if anything is refused.
pub fn alter(
    scope: Scope,
    current: &BTreeMap<String, String>,
    alterations: &[Alteration],
) -> Result<BTreeMap<String, String>, AlterError> {
    let mut changed = current.clone();
    for Alteration { key, op, value } in alterations {
        if *op == AlterOp::Delete {
            changed.remove(key);
            continue;
        }
        let Some(value) = value else {
            let said = format!("Null value not supported for : {key}");
            return Err(AlterError::InvalidRequest(said));
        };
        if *op == AlterOp::Set {
            changed.insert(key.clone(), value.clone());
            continue;
        }
        let definition = match scope {
            Scope::Topic => definitions::topic(key),
            Scope::Broker | Scope::ClusterDefault => definitions::broker(key),
            Scope::Group => definitions::group(key),
        };
        let Some(list) = definition.filter(|definition| definition.kind == Kind::List) else {
            let op = op.name();
            let said = format!("Can't {op} to key {key} because its type is not LIST.");
            return Err(AlterError::InvalidConfig(said));
        };
        let before = changed
            .get(key)
            .map(String::as_str)
            .or(list.default)
            .unwrap_or_default();
        let mut parts: Vec<&str> = items(before).filter(|item| !item.is_empty()).collect();
        for item in items(value) {
            match (op, parts.iter().position(|part| *part == item)) {
                (AlterOp::Append, None) => parts.push(item),
                (AlterOp::Subtract, Some(at)) => {
                    parts.remove(at);
                }
                _ => {}
            }
        }
        let after = parts.join(",");
        // What leaves the default as it is, is not stored.
        if changed.contains_key(key) || after != list.default.unwrap_or_default() {
            changed.insert(key.clone(), after);
        }
    }
    match scope {
        Scope::Topic => validate_topic_overrides(&changed)?,
        Scope::Group => validate_group_overrides(&changed)?,
        Scope::Broker | Scope::ClusterDefault => {
            let touched = alterations.iter().filter(|a| a.op != AlterOp::Delete);
            let touched: Vec<&str> = touched.map(|a| a.key.as_str()).collect();
            validate_broker(scope, &touched, &changed)?;
        }
    }
    Ok(changed)
}

fn validate_broker(
    scope: Scope,
    touched: &[&str],
    values: &BTreeMap<String, String>,
) -> Result<(), AlterError> {
    let refuse = |said: &str, wrong: Vec<&str>| match wrong.is_empty() {
        true => Ok(()),
        false => Err(AlterError::InvalidRequest(format!(
            "{said}: [{}]",
            wrong.join(", ")
        ))),
    };
    let of = |wanted: &dyn Fn(&Definition) -> bool| -> Vec<&str> {
        let known = |name: &&&str| definitions::broker(name).is_some_and(wanted);
        touched.iter().filter(known).copied().collect()
    };
    let is_security =
        |key: &Definition| key.name.starts_with("ssl.") || key.name.starts_with("sasl.");
    refuse(
        "Cannot update these configs dynamically",
        of(&|key| key.dynamic == Dynamic::ReadOnly),
    )?;
    refuse(
        "These security configs can be dynamically updated only per-listener using the listener \
         prefix",
        of(&|key| key.dynamic == Dynamic::PerBroker && is_security(key)),
    )?;
    if scope == Scope::ClusterDefault {
        refuse(
            "Cannot update these configs at default cluster level, broker id must be specified",
            of(&|key| key.dynamic == Dynamic::PerBroker),
        )?;
    }
    for name in touched {
        let (Some(key), Some(value)) = (definitions::broker(name), values.get(*name)) else {
            // Kafka stores what it does not know, and shows it to nobody.
            continue;
        };
        key.check(value)
            .map_err(|fault| AlterError::InvalidRequest(fault.in_kafkas_words(name, value)))?;
        refuse_unserved(key, value).map_err(AlterError::InvalidRequest)?;
    }
    Ok(())
}

fn served(key: &Definition, value: &str) -> bool {
    match key.effect {
        Effect::Served | Effect::None(_) => true,
        Effect::NotYet(_) | Effect::Never(_) => key.same(key.default.unwrap_or_default(), value),
    }
}

fn refuse_unserved(key: &Definition, value: &str) -> Result<(), String> {
    match key.effect {
        Effect::NotYet(reason) if !served(key, value) => {
            Err(format!("{} is not supported yet: {reason}", key.name))
        }
        Effect::Never(reason) if !served(key, value) => {
            Err(format!("{} cannot be honoured: {reason}", key.name))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn one(key: &str, op: AlterOp, value: Option<&str>) -> Alteration {
        Alteration {
            key: key.to_owned(),
            op,
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn the_four_operations_do_what_kafka_does() {
        let check = |before: &[(&str, &str)], op, key: &str, value, after: &[(&str, &str)]| {
            let found = alter(Scope::Topic, &map(before), &[one(key, op, value)]);
            assert_eq!(found, Ok(map(after)), "{op:?} {key} {value:?}");
        };
        use AlterOp::{Append, Delete, Set, Subtract};
        let policy = "cleanup.policy";
        check(
            &[],
            Set,
            "retention.ms",
            Some("5"),
            &[("retention.ms", "5")],
        );
        check(&[("retention.ms", "5")], Delete, "retention.ms", None, &[]);
        check(&[], Delete, "nope", None, &[]);
        check(
            &[],
            Append,
            policy,
            Some("compact"),
            &[(policy, "delete,compact")],
        );
        check(
            &[(policy, "delete,compact")],
            Subtract,
            policy,
            Some("delete"),
            &[(policy, "compact")],
        );
        check(
            &[(policy, "compact")],
            Append,
            policy,
            Some("compact"),
            &[(policy, "compact")],
        );
        check(&[], Append, policy, Some("delete"), &[]);
        check(&[], Subtract, policy, Some("foo"), &[]);
        check(&[], Subtract, policy, Some("delete"), &[(policy, "")]);
        let throttled = "leader.replication.throttled.replicas";
        check(
            &[(throttled, "0:1")],
            Append,
            throttled,
            Some("1:2"),
            &[(throttled, "0:1,1:2")],
        );
    }

    #[test]
    fn refusals_are_kafkas() {
        // What Apache Kafka 4.3.1 answered.
        let check = |scope, key: &str, op, value: Option<&str>, expected: AlterError| {
            let found = alter(scope, &BTreeMap::new(), &[one(key, op, value)]);
            assert_eq!(found, Err(expected), "{scope:?} {op:?} {key} {value:?}");
        };
        let config = |said: &str| AlterError::InvalidConfig(said.to_owned());
        let request = |said: &str| AlterError::InvalidRequest(said.to_owned());
        use AlterOp::{Append, Set};
        use Scope::{Broker, ClusterDefault, Topic};
        check(
            Topic,
            "retention.ms",
            Set,
            Some("abc"),
            config("Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        );
        check(
            Topic,
            "retention.ms",
            Append,
            Some("1"),
            config("Can't APPEND to key retention.ms because its type is not LIST."),
        );
        check(
            Topic,
            "nope",
            Set,
            Some("1"),
            config("Unknown topic config name: nope"),
        );
        check(
            Topic,
            "retention.ms",
            Set,
            None,
            request("Null value not supported for : retention.ms"),
        );
        check(
            Topic,
            "remote.storage.enable",
            Set,
            Some("true"),
            config(
                "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
            ),
        );
        check(
            Broker,
            "log.dirs",
            Set,
            Some("/x"),
            request("Cannot update these configs dynamically: [log.dirs]"),
        );
        check(
            Broker,
            "log.retention.hours",
            Set,
            Some("5"),
            request("Cannot update these configs dynamically: [log.retention.hours]"),
        );
        check(
            ClusterDefault,
            "ssl.keystore.location",
            Set,
            Some("/x"),
            request(
                "These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.location]",
            ),
        );
        check(
            ClusterDefault,
            "log.segment.bytes",
            Set,
            Some("abc"),
            request(
                "Invalid value abc for configuration log.segment.bytes: Not a number of type INT",
            ),
        );
        check(
            ClusterDefault,
            "listeners",
            Set,
            Some("PLAINTEXT://:1"),
            request(
                "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
            ),
        );
        check(
            ClusterDefault,
            "max.connections",
            Set,
            Some("-1"),
            request("Invalid value -1 for configuration max.connections: Value must be at least 0"),
        );
        check(
            Broker,
            "leader.replication.throttled.rate",
            Set,
            Some("-1"),
            request(
                "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0",
            ),
        );
    }

    #[test]
    fn brokers_take_what_can_be_changed_at_run_time() {
        let check = |scope, key: &str, value: &str| {
            let found = alter(
                scope,
                &BTreeMap::new(),
                &[one(key, AlterOp::Set, Some(value))],
            );
            assert_eq!(found, Ok(map(&[(key, value)])), "{scope:?} {key}={value}");
        };
        check(Scope::Broker, "log.retention.ms", "100");
        check(Scope::ClusterDefault, "log.retention.ms", "1000000");
        check(Scope::ClusterDefault, "max.connections.per.ip", "5");
        check(Scope::Broker, "nope.x", "1");
    }

    #[test]
    fn lags_that_exclude_each_other_are_refused() {
        let overrides = map(&[
            ("min.compaction.lag.ms", "100"),
            ("max.compaction.lag.ms", "50"),
        ]);
        let said = "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)";
        assert_eq!(
            validate_topic_overrides(&overrides),
            Err(AlterError::InvalidConfig(said.to_owned()))
        );
    }

    #[test]
    fn one_refusal_changes_nothing_else() {
        let both = [
            one("retention.ms", AlterOp::Set, Some("5")),
            one("nope", AlterOp::Set, Some("1")),
        ];
        assert!(alter(Scope::Topic, &BTreeMap::new(), &both).is_err());
    }
}
