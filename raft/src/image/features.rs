//! Finalized features.

use imbl::OrdMap;

use super::ApplyError;
use crate::record::{FeatureLevel, Record};

/// Levels that hold for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    levels: OrdMap<String, i16>,
    epoch: u64,
}

impl Features {
    /// Level of a feature; `None` when it is not finalized.
    pub fn level(&self, name: &str) -> Option<i16> {
        self.levels.get(name).copied()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i16)> {
        self.levels
            .iter()
            .map(|(name, level)| (name.as_str(), *level))
    }

    /// Offset of the last change; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn finalize(
        &mut self,
        offset: u64,
        record: &FeatureLevel,
    ) -> Result<(), ApplyError> {
        match record.level {
            ..0 => {
                return Err(ApplyError::BadFeatureLevel {
                    name: record.name.clone(),
                    level: record.level,
                });
            }
            0 => {
                self.levels.remove(&record.name);
            }
            level => {
                self.levels.insert(record.name.clone(), level);
            }
        }
        self.epoch = offset;
        Ok(())
    }

    /// All at the offset of the last change. When that was the removal of the last
    /// feature, a removal stands for it.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, Record)> + '_ {
        let none_left = (self.levels.is_empty() && self.epoch > 0).then(|| FeatureLevel {
            name: String::new(),
            level: 0,
        });
        let levels = self.levels.iter().map(|(name, level)| FeatureLevel {
            name: name.clone(),
            level: *level,
        });
        none_left
            .into_iter()
            .chain(levels)
            .map(|record| (self.epoch, Record::FeatureLevel(record)))
    }
}
