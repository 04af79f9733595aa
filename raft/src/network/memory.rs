//! A network inside one process, with faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Call, PeerRequest, Transport, TransportError};
use crate::quorum::MetadataQuorum;
use crate::types::{Voter, VoterId};

/// What befalls one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after this time.
    Arrives(Duration),
    /// It is lost; the sender finds out after this time.
    Lost(Duration),
}

/// Decides what befalls the next message, a request or an answer, between two voters.
pub type Weather = Box<dyn FnMut(VoterId, VoterId) -> Fate + Send>;

struct State {
    nodes: BTreeMap<VoterId, MetadataQuorum>,
    /// Directed: from, to.
    cut: BTreeSet<(VoterId, VoterId)>,
    weather: Weather,
}

/// The network; clones share it.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Mutex<State>>);

impl Default for MemoryNetwork {
    fn default() -> MemoryNetwork {
        MemoryNetwork::new(Box::new(|_, _| Fate::Arrives(Duration::ZERO)))
    }
}

impl MemoryNetwork {
    /// A network on which `weather` decides over each message.
    pub fn new(weather: Weather) -> MemoryNetwork {
        MemoryNetwork(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather,
        })))
    }

    /// The end of the network at which `voter` sits.
    pub fn end(&self, voter: VoterId) -> Arc<dyn Transport> {
        Arc::new(End {
            network: self.clone(),
            from: voter,
        })
    }

    /// Lets `voter` be reached.
    pub fn join(&self, voter: VoterId, quorum: MetadataQuorum) {
        self.lock().nodes.insert(voter, quorum);
    }

    /// Nobody reaches `voter` any more.
    pub fn leave(&self, voter: VoterId) {
        self.lock().nodes.remove(&voter);
    }

    /// Messages from `from` to `to` are lost from now on.
    pub fn cut(&self, from: VoterId, to: VoterId) {
        self.lock().cut.insert((from, to));
    }

    /// All links work again.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// From now on another weather.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn travel(&self, from: VoterId, to: VoterId) -> Result<(), TransportError> {
        let fate = {
            let mut state = self.lock();
            if state.cut.contains(&(from, to)) {
                Fate::Lost(Duration::ZERO)
            } else {
                (state.weather)(from, to)
            }
        };
        let (Fate::Arrives(after) | Fate::Lost(after)) = fate;
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        match fate {
            Fate::Arrives(_) => Ok(()),
            Fate::Lost(_) => Err(TransportError::Unreachable {
                voter: to,
                reason: format!("a message from {from} to {to} was lost"),
            }),
        }
    }
}

struct End {
    network: MemoryNetwork,
    from: VoterId,
}

impl Transport for End {
    fn call<'a>(
        &'a self,
        to: VoterId,
        _voter: &'a Voter,
        request: PeerRequest,
        deadline: Duration,
    ) -> Call<'a> {
        let conversation = async move {
            self.network.travel(self.from, to).await?;
            let node = self.network.lock().nodes.get(&to).cloned();
            let Some(node) = node else {
                return Err(TransportError::Unreachable {
                    voter: to,
                    reason: "it is down".to_owned(),
                });
            };
            let reply = node.serve(request).await;
            self.network.travel(to, self.from).await?;
            Ok(reply)
        };
        Box::pin(async move {
            tokio::time::timeout(deadline, conversation)
                .await
                .unwrap_or_else(|_| {
                    Err(TransportError::Unreachable {
                        voter: to,
                        reason: format!("no answer within {deadline:?}"),
                    })
                })
        })
    }
}
