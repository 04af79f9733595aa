//! Client quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::ApplyError;
use crate::record::{ClientQuota, QuotaEntity, Record};

/// An entity in its one order: kind, then name, where `None` is the kind's default.
pub type EntityKey = Vec<(String, Option<String>)>;

/// The order in which an entity is kept.
pub fn entity_key(entity: &[QuotaEntity]) -> EntityKey {
    let mut key: EntityKey = entity
        .iter()
        .map(|part| (part.kind.clone(), part.name.clone()))
        .collect();
    key.sort_unstable();
    key
}

/// Quotas by entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    entities: OrdMap<EntityKey, Arc<BTreeMap<String, f64>>>,
}

impl Quotas {
    /// Quotas of an entity as [`entity_key`] orders it.
    pub fn get(&self, entity: &EntityKey) -> Option<&Arc<BTreeMap<String, f64>>> {
        self.entities.get(entity)
    }

    /// All, by entity.
    pub fn iter(&self) -> impl Iterator<Item = (&EntityKey, &Arc<BTreeMap<String, f64>>)> {
        self.entities.iter()
    }

    pub(super) fn set(&mut self, record: &ClientQuota) -> Result<(), ApplyError> {
        let key = entity_key(&record.entity);
        let repeated = key.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if key.is_empty() || repeated {
            return Err(ApplyError::BadQuotaEntity);
        }
        match record.value {
            Some(value) => {
                let quotas = self.entities.entry(key).or_default();
                Arc::make_mut(quotas).insert(record.key.clone(), value);
            }
            None => {
                if let Some(quotas) = self.entities.get_mut(&key) {
                    let quotas = Arc::make_mut(quotas);
                    quotas.remove(&record.key);
                    if quotas.is_empty() {
                        self.entities.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.entities.iter().flat_map(|(entity, quotas)| {
            let parts = entity.iter().map(|(kind, name)| QuotaEntity {
                kind: kind.clone(),
                name: name.clone(),
            });
            let entity: Vec<_> = parts.collect();
            quotas.iter().map(move |(key, value)| {
                Record::ClientQuota(ClientQuota {
                    entity: entity.clone(),
                    key: key.clone(),
                    value: Some(*value),
                })
            })
        })
    }
}
