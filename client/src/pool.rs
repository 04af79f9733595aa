//! Connections by broker: made when they are first needed, made again when they have ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Address, ClientConfig};
use crate::connection::Connection;
use crate::error::ConnectionError;

/// What a connection is for. A broker answers in order, so what it may hold back has a connection
/// of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// What is answered at once.
    Control,
    /// Produce requests, which wait for replicas.
    Produce,
    /// Fetches, which wait for records.
    Fetch,
    /// A member of a group, whose joining waits for other members: one each, as members of the same
    /// process wait for each other.
    Member(u64),
}

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// All connections of a client.
#[derive(Debug, Default)]
pub struct Pool {
    slots: Mutex<HashMap<(Address, Lane), Slot>>,
}

impl Pool {
    /// The connection to a broker. Who comes while it is being made waits for it.
    pub async fn get(
        &self,
        address: &Address,
        lane: Lane,
        config: &ClientConfig,
    ) -> Result<Connection, ConnectionError> {
        let slot = self.slot(address, lane);
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(address, config).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets connections to all addresses but these. Requests on their way are still answered.
    pub fn keep(&self, addresses: &[Address]) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|(address, _), _| addresses.contains(address));
    }

    /// Forgets the connections for one purpose.
    pub fn release(&self, lane: Lane) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|(_, purpose), _| *purpose != lane);
    }

    fn slot(&self, address: &Address, lane: Lane) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((address.clone(), lane)).or_default().clone()
    }
}
