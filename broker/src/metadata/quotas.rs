//! Client quotas: who may be limited in what, the records, and who matches a filter. Pure.

use reka_protocol::ErrorCode;
use reka_raft::image::{EntityKey, Quotas, entity_key};
use reka_raft::record::{ClientQuota, QuotaEntity, Record};

use super::{Draft, Refusal};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// What users and clients are limited in.
const OF_CLIENTS: &[&str] = &[
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
];
/// What addresses are limited in.
const OF_ADDRESSES: &[&str] = &["connection_creation_rate"];

/// One quota of an entity; without a value it is taken away.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its name.
    pub key: String,
    /// Its limit.
    pub value: Option<f64>,
}

/// Sets and unsets quotas of one entity.
pub fn alter(draft: &mut Draft, entity: &[QuotaEntity], ops: &[Op]) -> Result<(), Refusal> {
    let keys = keys_of(entity)?;
    for op in ops {
        check(keys, op)?;
    }
    let key = entity_key(entity);
    let set = draft
        .image()
        .quotas()
        .get(&key)
        .cloned()
        .unwrap_or_default();
    let records = ops
        .iter()
        .filter(|op| set.get(&op.key).copied() != op.value)
        .map(|op| {
            Record::ClientQuota(ClientQuota {
                entity: entity.to_vec(),
                key: op.key.clone(),
                value: op.value,
            })
        })
        .collect();
    draft.add(records)
}

/// The quotas an entity of these kinds can have.
fn keys_of(entity: &[QuotaEntity]) -> Result<&'static [&'static str], Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    if entity.is_empty() {
        return invalid("Invalid empty client quota entity".to_owned());
    }
    if entity.iter().any(|part| part.name.as_deref() == Some("")) {
        return invalid("Empty string is not a valid entity name".to_owned());
    }
    let mut kinds: Vec<&str> = entity.iter().map(|part| part.kind.as_str()).collect();
    kinds.sort_unstable();
    if let Some(kind) = kinds
        .iter()
        .find(|kind| ![USER, CLIENT_ID, IP].contains(kind))
    {
        return invalid(format!("Unhandled client quota entity type: {kind}"));
    }
    if let Some(name) = entity
        .iter()
        .find_map(|part| part.name.as_deref().filter(|_| part.kind == IP))
        && !is_address(name)
    {
        return Err(no_address(name));
    }
    match kinds.as_slice() {
        [IP] => Ok(OF_ADDRESSES),
        [USER] | [CLIENT_ID] | [CLIENT_ID, USER] => Ok(OF_CLIENTS),
        _ if kinds.contains(&IP) => invalid(
            "Invalid quota entity combination, IP entity should not be combined with User or \
             ClientId"
                .to_owned(),
        ),
        _ => invalid(
            "Invalid client quota entity types: an entity is a user, a client-id, both, or an ip"
                .to_owned(),
        ),
    }
}

/// The name of a host in an entity, which somebody has to look up: only addresses are known here.
pub fn host_of(entity: &[QuotaEntity]) -> Option<&str> {
    let addresses = entity.iter().filter(|part| part.kind == IP);
    let mut names = addresses.filter_map(|part| part.name.as_deref());
    names.find(|name| is_address(name) && name.parse::<std::net::IpAddr>().is_err())
}

/// What is said about an address that is none.
pub fn no_address(name: &str) -> Refusal {
    let why = format!("{name} is not a valid IP or resolvable host.");
    Refusal::new(ErrorCode::InvalidRequest, why)
}

/// An address, or what may be the name of a host.
fn is_address(name: &str) -> bool {
    let is_label = |label: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(legal)
    };
    name.parse::<std::net::IpAddr>().is_ok() || name.split('.').all(is_label)
}

fn check(keys: &[&str], op: &Op) -> Result<(), Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    if !keys.contains(&op.key.as_str()) {
        return invalid(format!("Invalid configuration key {}", op.key));
    }
    let Some(value) = op.value else {
        return Ok(());
    };
    if value.is_nan() || value <= 0.0 {
        return invalid(format!("Quota {} must be greater than 0", op.key));
    }
    // Kafka keeps byte rates and connection rates as whole numbers.
    let whole = !["request_percentage", "controller_mutation_rate"].contains(&op.key.as_str());
    if whole && value.fract() != 0.0 {
        return invalid(format!(
            "{} cannot be represented exactly as a whole number: {value}",
            op.key
        ));
    }
    Ok(())
}

/// Which names of one kind are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This one.
    Name(String),
    /// The default of the kind.
    Default,
    /// Any.
    Any,
}

/// Checks a filter: each kind once, and known.
pub fn check_filter(filter: &[(String, Wanted)]) -> Result<(), Refusal> {
    let mut seen = Vec::new();
    for (kind, _) in filter {
        if kind.is_empty() {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Invalid empty entity type.",
            ));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            let why = format!("Unsupported entity type: {kind}");
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
        }
        if seen.contains(&kind) {
            let why = format!("Entity type {kind} cannot appear more than once in the filter.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
        seen.push(kind);
    }
    if seen.len() > 1 && seen.iter().any(|kind| *kind == IP) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Invalid entity filter component combination. IP filter component should not be used \
             with user or clientId filter component.",
        ));
    }
    Ok(())
}

/// The entities that match every part of a filter; with `strict`, those that have no other kinds.
pub fn matching<'a>(
    quotas: &'a Quotas,
    filter: &'a [(String, Wanted)],
    strict: bool,
) -> impl Iterator<Item = (&'a EntityKey, Vec<(&'a str, f64)>)> {
    let matches = move |entity: &EntityKey| {
        let all = filter.iter().all(|(kind, wanted)| {
            let part = entity.iter().find(|(known, _)| known == kind);
            part.is_some_and(|(_, name)| match wanted {
                Wanted::Name(wanted) => name.as_ref() == Some(wanted),
                Wanted::Default => name.is_none(),
                Wanted::Any => true,
            })
        });
        all && !(strict && entity.len() != filter.len())
    };
    quotas
        .iter()
        .filter(move |(entity, _)| matches(entity))
        .map(|(entity, values)| {
            let values = values.iter().map(|(key, value)| (key.as_str(), *value));
            (entity, values.collect())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, &str)]) -> Vec<QuotaEntity> {
        let parts = parts.iter().map(|(kind, name)| QuotaEntity {
            kind: (*kind).to_owned(),
            name: Some((*name).to_owned()),
        });
        parts.collect()
    }

    #[test]
    fn an_address_goes_with_nobody() {
        for parts in [
            &[("user", "alice"), ("ip", "127.0.0.1")][..],
            &[("client-id", "app"), ("ip", "127.0.0.1")],
        ] {
            let refused = keys_of(&entity(parts)).expect_err("no such combination");
            assert_eq!(refused.error_code, ErrorCode::InvalidRequest);
            let said = "Invalid quota entity combination";
            assert!(refused.message.starts_with(said), "{refused:?}");
        }
        let any = |kind: &str| (kind.to_owned(), Wanted::Any);
        for other in ["user", "client-id"] {
            let refused = check_filter(&[any("ip"), any(other)]).expect_err("no such filter");
            let said = "Invalid entity filter component combination";
            assert!(refused.message.starts_with(said), "{refused:?}");
        }
        check_filter(&[any("user"), any("client-id")]).expect("both of a client");
        check_filter(&[any("ip")]).expect("an address alone");
    }

    #[test]
    fn names_of_hosts_are_to_be_looked_up_and_addresses_are_not() {
        let host = |kind, name| host_of(&entity(&[(kind, name)])).map(str::to_owned);
        assert_eq!(
            host("ip", "RFC2606.invalid").as_deref(),
            Some("RFC2606.invalid")
        );
        for (kind, name) in [
            ("ip", "127.0.0.1"),
            ("ip", "::1"),
            ("ip", "not an address"),
            ("user", "RFC2606.invalid"),
        ] {
            assert_eq!(host(kind, name), None, "{kind} {name}");
        }
    }
}
