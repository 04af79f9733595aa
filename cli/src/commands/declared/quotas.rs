//! Quotas in files of what a cluster is to have.

use std::collections::BTreeMap;

use reka_client::admin::QuotaEntity;
use serde_json::{Map, Value};

use super::{Step, What};
use crate::failure::Failure;
use crate::session::Session;

/// Limits by key.
type Limits = BTreeMap<String, f64>;
/// Limits by whom they are for.
pub(super) type Quotas = BTreeMap<QuotaEntity, Limits>;

/// Parts of an entity: as files have them, and as Kafka does.
const PARTS: [(&str, &str); 3] = [("user", "user"), ("client_id", "client-id"), ("ip", "ip")];

pub(super) fn parse(value: &toml::Value) -> Result<Quotas, String> {
    let list = value.as_array().ok_or("quotas: expected [[quotas]]")?;
    let mut quotas = Quotas::new();
    for (nth, quota) in list.iter().enumerate() {
        let at = format!("quotas.{nth}");
        let fields = quota.as_table();
        let fields = fields.ok_or_else(|| format!("{at}: expected fields"))?;
        let mut entity = QuotaEntity::new();
        let mut limits = Limits::new();
        for (field, value) in fields {
            if let Some((_, part)) = PARTS.iter().find(|(name, _)| name == field) {
                let name = value.as_str();
                let name = name.ok_or_else(|| format!("{at}.{field}: expected a name"))?;
                let name = Some(name.to_owned()).filter(|name| name != "*");
                entity.push(((*part).to_owned(), name));
            } else if field == "limits" {
                let table = value.as_table();
                let table = table.ok_or_else(|| format!("{at}.limits: expected numbers"))?;
                for (key, value) in table {
                    let number = value.as_float().or(value.as_integer().map(|n| n as f64));
                    let number = number.filter(|number| number.is_finite());
                    let number =
                        number.ok_or_else(|| format!("{at}.limits.{key}: expected a number"))?;
                    limits.insert(key.clone(), number);
                }
            } else {
                let known = "user, client_id, ip and limits";
                return Err(format!(
                    "{at}.{field}: there is no such field, there are {known}"
                ));
            }
        }
        if entity.is_empty() {
            return Err(format!(
                "{at}: it is for nobody, expected user, client_id or ip"
            ));
        }
        if limits.is_empty() {
            return Err(format!("{at}: there are no limits"));
        }
        entity.sort();
        if quotas.contains_key(&entity) {
            return Err(format!("{at}: {} was named before", name(&entity)));
        }
        quotas.insert(entity, limits);
    }
    Ok(quotas)
}

/// Quotas of the cluster as they are.
pub(super) async fn live(session: &Session) -> Result<Quotas, Failure> {
    let entries = session.client().await?.describe_quotas(&[]).await?;
    let entries = entries.into_iter();
    Ok(entries
        .map(|entry| (entry.entity, entry.values.into_iter().collect()))
        .collect())
}

/// Pure: what has to be done about those that are declared.
pub(super) fn difference(declared: &Quotas, live: &Quotas) -> Vec<Step> {
    let mut steps = Vec::new();
    let none = Limits::new();
    for (entity, wanted) in declared {
        let found = live.get(entity).unwrap_or(&none);
        let mut step = |what, key: &str, before: Option<f64>, after: Option<f64>| {
            steps.push(Step {
                topic: None,
                quota: Some(name(entity)),
                what,
                key: Some(key.to_owned()),
                before: before.map(|number| number.to_string()),
                after: after.map(|number| number.to_string()),
            });
        };
        for (key, limit) in wanted {
            let before = found.get(key).copied();
            if before != Some(*limit) {
                step(What::Set, key, before, Some(*limit));
            }
        }
        for (key, limit) in found {
            if !wanted.contains_key(key) {
                step(What::Unset, key, Some(*limit), None);
            }
        }
    }
    steps
}

/// Does what [`difference`] says.
pub(super) async fn apply(
    session: &Session,
    declared: &Quotas,
    live: &Quotas,
) -> Result<(), Failure> {
    let client = session.client().await?;
    let none = Limits::new();
    for (entity, wanted) in declared {
        let found = live.get(entity).unwrap_or(&none);
        let set = wanted
            .iter()
            .filter(|(key, limit)| found.get(*key) != Some(*limit));
        let mut changes: Vec<(String, Option<f64>)> = set
            .map(|(key, limit)| (key.clone(), Some(*limit)))
            .collect();
        let gone = found.keys().filter(|key| !wanted.contains_key(*key));
        changes.extend(gone.map(|key| (key.clone(), None)));
        if !changes.is_empty() {
            client.alter_quotas(entity, &changes, false).await?;
        }
    }
    Ok(())
}

/// `user=alice,client-id=*`.
fn name(entity: &QuotaEntity) -> String {
    let parts: Vec<String> = entity
        .iter()
        .map(|(part, name)| format!("{part}={}", name.as_deref().unwrap_or("*")))
        .collect();
    parts.join(",")
}

fn field(part: &str) -> &str {
    PARTS
        .iter()
        .find(|(_, theirs)| *theirs == part)
        .map_or(part, |(ours, _)| ours)
}

/// As TOML.
pub(super) fn written(quotas: &Quotas) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut out = String::new();
    for (entity, limits) in quotas {
        out += "\n[[quotas]]\n";
        for (part, name) in entity {
            let name = quoted(name.as_deref().unwrap_or("*"));
            out += &format!("{} = {name}\n", field(part));
        }
        let limits: Vec<String> = limits
            .iter()
            .map(|(key, limit)| format!("{} = {}", quoted(key), toml::Value::from(*limit)))
            .collect();
        out += &format!("limits = {{ {} }}\n", limits.join(", "));
    }
    out
}

/// As JSON and YAML have it.
pub(super) fn value(quotas: &Quotas) -> Value {
    let rows = quotas.iter().map(|(entity, limits)| {
        let mut fields = Map::new();
        for (part, name) in entity {
            let name = name.as_deref().unwrap_or("*");
            fields.insert(field(part).to_owned(), name.into());
        }
        let limits = limits
            .iter()
            .map(|(key, limit)| (key.clone(), (*limit).into()));
        fields.insert("limits".to_owned(), Value::Object(limits.collect()));
        Value::Object(fields)
    });
    Value::Array(rows.collect())
}
