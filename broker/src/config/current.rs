//! The configuration in force, which changes while the broker runs.

use std::sync::{Arc, PoisonError, RwLock};

use super::Config;

/// Read by everyone, replaced by the one task that follows the metadata.
#[derive(Debug)]
pub struct CurrentConfig(RwLock<Arc<Config>>);

impl CurrentConfig {
    /// What the broker was started with.
    pub fn new(config: Config) -> CurrentConfig {
        CurrentConfig(RwLock::new(Arc::new(config)))
    }

    /// What is in force now. Whoever keeps it keeps what was in force then.
    pub fn get(&self) -> Arc<Config> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
