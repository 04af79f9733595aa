//! Registered brokers.

use std::sync::Arc;

use imbl::OrdMap;

use super::ApplyError;
use crate::record::{BrokerChange, Record, RegisterBroker, UnregisterBroker};

/// A broker as it registered, with the changes since.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    /// Offset of its registration.
    pub epoch: i64,
    /// What it said, with the changes since.
    pub registration: RegisterBroker,
}

impl Broker {
    /// Kafka's broker id.
    pub fn id(&self) -> i32 {
        self.registration.broker_id
    }

    /// Whether partitions may be led by it and put on it.
    pub fn is_active(&self) -> bool {
        !self.registration.fenced && !self.registration.in_controlled_shutdown
    }
}

/// All brokers, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brokers {
    brokers: OrdMap<i32, Arc<Broker>>,
}

impl Brokers {
    /// One broker.
    pub fn get(&self, broker_id: i32) -> Option<&Arc<Broker>> {
        self.brokers.get(&broker_id)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// How many are registered.
    pub fn len(&self) -> usize {
        self.brokers.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.brokers.is_empty()
    }

    pub(super) fn register(&mut self, offset: u64, record: &RegisterBroker) {
        let broker = Broker {
            epoch: offset as i64,
            registration: record.clone(),
        };
        self.brokers.insert(record.broker_id, Arc::new(broker));
    }

    /// The broker, when `epoch` is that of its registration. An older one belongs to
    /// an earlier process, which must not speak for this one.
    fn of_epoch(&mut self, broker_id: i32, epoch: i64) -> Result<&mut Broker, ApplyError> {
        match self.brokers.get_mut(&broker_id) {
            None => Err(ApplyError::UnknownBroker { broker_id }),
            Some(broker) if broker.epoch != epoch => Err(ApplyError::StaleBrokerEpoch {
                broker_id,
                stale: epoch,
                current: broker.epoch,
            }),
            Some(broker) => Ok(Arc::make_mut(broker)),
        }
    }

    pub(super) fn change(&mut self, record: &BrokerChange) -> Result<(), ApplyError> {
        let broker = self.of_epoch(record.broker_id, record.broker_epoch)?;
        let registration = &mut broker.registration;
        if let Some(fenced) = record.fenced {
            registration.fenced = fenced;
        }
        if let Some(shutdown) = record.in_controlled_shutdown {
            registration.in_controlled_shutdown = shutdown;
        }
        if let Some(directories) = &record.directories {
            registration.directories.clone_from(directories);
        }
        Ok(())
    }

    pub(super) fn unregister(&mut self, record: &UnregisterBroker) -> Result<(), ApplyError> {
        self.of_epoch(record.broker_id, record.broker_epoch)?;
        self.brokers.remove(&record.broker_id);
        Ok(())
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (u64, Record)> + '_ {
        self.iter().map(|broker| {
            let record = Record::RegisterBroker(broker.registration.clone());
            (broker.epoch as u64, record)
        })
    }
}
