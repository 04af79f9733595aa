//! SCRAM credentials.

use std::sync::Arc;

use imbl::OrdMap;

use super::ApplyError;
use crate::record::{Record, RemoveScramUser, ScramUser};

/// Credentials by user and mechanism.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScramUsers {
    users: OrdMap<(String, i8), Arc<ScramUser>>,
}

impl ScramUsers {
    /// A user's credential of one mechanism.
    pub fn get(&self, user: &str, mechanism: i8) -> Option<&Arc<ScramUser>> {
        self.users.get(&(user.to_owned(), mechanism))
    }

    /// All, by user and mechanism.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ScramUser>> {
        self.users.values()
    }

    pub(super) fn set(&mut self, record: &ScramUser) {
        let key = (record.user.clone(), record.mechanism);
        self.users.insert(key, Arc::new(record.clone()));
    }

    pub(super) fn remove(&mut self, record: &RemoveScramUser) -> Result<(), ApplyError> {
        let removed = self.users.remove(&(record.user.clone(), record.mechanism));
        removed
            .map(drop)
            .ok_or_else(|| ApplyError::UnknownScramUser {
                user: record.user.clone(),
                mechanism: record.mechanism,
            })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.iter().map(|user| Record::ScramUser((**user).clone()))
    }
}
