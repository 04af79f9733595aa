//! Access rules. Deciding by them is the broker's business.

use std::sync::Arc;

use imbl::OrdMap;
use uuid::Uuid;

use super::ApplyError;
use crate::record::{Acl, Record, RemoveAcl};

/// All rules, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acls {
    rules: OrdMap<Uuid, Arc<Acl>>,
}

impl Acls {
    /// One rule.
    pub fn get(&self, id: Uuid) -> Option<&Arc<Acl>> {
        self.rules.get(&id)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Acl>> {
        self.rules.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn add(&mut self, record: &Acl) {
        self.rules.insert(record.id, Arc::new(record.clone()));
    }

    pub(super) fn remove(&mut self, record: &RemoveAcl) -> Result<(), ApplyError> {
        let removed = self.rules.remove(&record.id);
        removed
            .map(drop)
            .ok_or(ApplyError::UnknownAcl { id: record.id })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.iter().map(|rule| Record::Acl((**rule).clone()))
    }
}
