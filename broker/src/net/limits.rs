//! How many connections may be open, of everybody and of one address, and how many may come in a
//! second.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::SocketConfig;

const SECOND: Duration = Duration::from_secs(1);

/// Open connections of all listeners.
#[derive(Debug, Default)]
pub struct ConnectionLimits {
    open: Arc<Mutex<Open>>,
    second: Mutex<Option<Second>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Second {
    began: Instant,
    accepted: u32,
}

/// The limit a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max.connections`
    All(usize),
    /// `max.connections.per.ip` or an override of it.
    Address(IpAddr, usize),
}

impl Limit {
    /// The key that sets it.
    pub fn name(self) -> &'static str {
        match self {
            Limit::All(_) => "max.connections",
            Limit::Address(..) => "max.connections.per.ip",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::All(max) => write!(f, "{max} are open, as many as max.connections allows"),
            Limit::Address(address, max) => write!(
                f,
                "{address} has {max} open, as many as max.connections.per.ip or its override allows"
            ),
        }
    }
}

/// The place of an open connection; freed when dropped.
#[derive(Debug)]
pub struct Slot {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConnectionLimits {
    /// Whether another connection may be accepted in this second, of which `max` may; what to
    /// tell [`ConnectionLimits::accepted`].
    pub fn may_accept(&self, max: u32) -> Option<Instant> {
        self.may_accept_at(max, Instant::now())
    }

    fn may_accept_at(&self, max: u32, now: Instant) -> Option<Instant> {
        let mut second = lock(&self.second);
        match *second {
            Some(Second { began, accepted }) if now.duration_since(began) < SECOND => {
                // Zero would be a listener that never accepts; Kafka takes it so too.
                (accepted < max).then_some(began)
            }
            _ => {
                *second = Some(Second {
                    began: now,
                    accepted: 0,
                });
                (max > 0).then_some(now)
            }
        }
    }

    /// One was accepted in the second that began then.
    pub fn accepted(&self, began: Instant) {
        if let Some(second) = &mut *lock(&self.second)
            && second.began == began
        {
            second.accepted += 1;
        }
    }

    /// Takes a place for a connection from `address`, or says which limit it met.
    pub fn take(&self, address: IpAddr, config: &SocketConfig) -> Result<Slot, Limit> {
        let of_address = limit_of(address, config);
        let mut open = lock(&self.open);
        if open.all >= config.connections_max {
            return Err(Limit::All(config.connections_max));
        }
        let here = open.by_address.get(&address).copied().unwrap_or_default();
        if here >= of_address {
            return Err(Limit::Address(address, of_address));
        }
        open.all += 1;
        open.by_address.insert(address, here + 1);
        Ok(Slot {
            open: self.open.clone(),
            address,
        })
    }
}

/// `max.connections.per.ip`, or what overrides it for this address.
fn limit_of(address: IpAddr, config: &SocketConfig) -> usize {
    let is_meant = |host: &str| match host.parse::<IpAddr>() {
        Ok(named) => named == address,
        Err(_) => {
            let found = (host, 0).to_socket_addrs().into_iter().flatten();
            found.map(|found| found.ip()).any(|named| named == address)
        }
    };
    let overrides = config.connections_per_address_overrides.iter();
    overrides
        .filter(|(host, _)| is_meant(host))
        .map(|(_, max)| *max)
        .next_back()
        .unwrap_or(config.connections_per_address_max)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn socket(overrides: &[&str]) -> SocketConfig {
        let sources = Sources {
            overrides: overrides.iter().map(ToString::to_string).collect(),
            ..Sources::default()
        };
        Config::load(&sources)
            .expect("a good configuration")
            .config
            .socket
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_taken_up_to_the_limits_and_given_back() {
        let config = socket(&[
            "max.connections=4",
            "max.connections.per.ip=2",
            "max.connections.per.ip.overrides=10.0.0.9:1,localhost:3",
        ]);
        let limits = ConnectionLimits::default();
        let take = |from: &str| limits.take(address(from), &config);
        let one = take("10.0.0.1").expect("a place");
        let _two = take("10.0.0.1").expect("a place");
        let full = Limit::Address(address("10.0.0.1"), 2);
        assert_eq!(take("10.0.0.1").err(), Some(full));
        let _nine = take("10.0.0.9").expect("a place");
        assert_eq!(
            take("10.0.0.9").err(),
            Some(Limit::Address(address("10.0.0.9"), 1))
        );
        let _local = take("127.0.0.1").expect("a place");
        assert_eq!(take("127.0.0.1").err(), Some(Limit::All(4)));
        drop(one);
        take("10.0.0.1").expect("the place that was given back");
    }

    #[test]
    fn so_many_are_accepted_in_a_second_and_more_in_the_next() {
        let limits = ConnectionLimits::default();
        let now = Instant::now();
        for _ in 0..3 {
            let second = limits.may_accept_at(3, now).expect("room");
            limits.accepted(second);
        }
        assert_eq!(limits.may_accept_at(3, now), None);
        assert_eq!(
            limits.may_accept_at(3, now + SECOND - Duration::from_millis(1)),
            None
        );
        assert!(limits.may_accept_at(3, now + SECOND).is_some());
    }
}
