//! Dynamic configuration of topics, brokers, groups and client metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use crate::record::{Config, Record};

/// Kafka's code of topics as resources.
pub const TOPIC: i8 = 2;
/// Kafka's code of brokers as resources; an empty name is the default of all.
pub const BROKER: i8 = 4;

type Entries = BTreeMap<String, String>;

/// What has been set, by resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configs {
    /// Type, then name, so that a lookup needs no owned key.
    types: OrdMap<i8, OrdMap<Arc<str>, Arc<Entries>>>,
}

impl Configs {
    /// All that is set for one resource, by key; `None` when nothing is.
    pub fn resource(&self, resource_type: i8, name: &str) -> Option<&Arc<Entries>> {
        self.types.get(&resource_type)?.get(name)
    }

    /// One value.
    pub fn get(&self, resource_type: i8, name: &str, key: &str) -> Option<&str> {
        Some(self.resource(resource_type, name)?.get(key)?.as_str())
    }

    /// A topic's value.
    pub fn topic(&self, name: &str, key: &str) -> Option<&str> {
        self.get(TOPIC, name, key)
    }

    /// Resources of one type with anything set, by name.
    pub fn resources(&self, resource_type: i8) -> impl Iterator<Item = (&str, &Arc<Entries>)> {
        self.types
            .get(&resource_type)
            .into_iter()
            .flatten()
            .map(|(name, entries)| (&**name, entries))
    }

    pub(super) fn set(&mut self, record: &Config) {
        let names = self.types.entry(record.resource_type).or_default();
        match &record.value {
            Some(value) => {
                let name: Arc<str> = record.resource_name.as_str().into();
                let entries = names.entry(name).or_default();
                Arc::make_mut(entries).insert(record.key.clone(), value.clone());
            }
            None => {
                let Some(entries) = names.get_mut::<str>(&record.resource_name) else {
                    self.drop_empty(record.resource_type);
                    return;
                };
                let entries = Arc::make_mut(entries);
                entries.remove(&record.key);
                // Nothing set and never set are the same, also to a comparison.
                if entries.is_empty() {
                    names.remove::<str>(&record.resource_name);
                }
            }
        }
        self.drop_empty(record.resource_type);
    }

    pub(super) fn remove_topic(&mut self, name: &str) {
        if let Some(names) = self.types.get_mut(&TOPIC) {
            names.remove(name);
            self.drop_empty(TOPIC);
        }
    }

    fn drop_empty(&mut self, resource_type: i8) {
        if self.types.get(&resource_type).is_some_and(OrdMap::is_empty) {
            self.types.remove(&resource_type);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.types.iter().flat_map(|(&resource_type, names)| {
            names.iter().flat_map(move |(name, entries)| {
                entries.iter().map(move |(key, value)| {
                    Record::Config(Config {
                        resource_type,
                        resource_name: name.to_string(),
                        key: key.clone(),
                        value: Some(value.clone()),
                    })
                })
            })
        })
    }
}
