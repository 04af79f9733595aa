//! Listeners: where to listen, what clients are told, which protocol is spoken.
//!
//! A listener has a name. Its protocol is found through `listener.security.protocol.map`, where the
//! four protocols stand for themselves; a controller's listener that the map does not know speaks
//! plaintext. A client is told the address in `advertised.listeners`, or the one it connected to.

use std::collections::BTreeMap;
use std::fmt;

use super::error::Problem;
use super::values::Values;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is spoken on a connection before Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    /// Nothing.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL.
    SaslPlaintext,
    /// TLS, then SASL.
    SaslSsl,
}

impl SecurityProtocol {
    /// By its name in configurations, in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Some(SecurityProtocol::Plaintext),
            "SSL" => Some(SecurityProtocol::Ssl),
            "SASL_PLAINTEXT" => Some(SecurityProtocol::SaslPlaintext),
            "SASL_SSL" => Some(SecurityProtocol::SaslSsl),
            _ => None,
        }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name, upper case.
    pub name: String,
    /// What is spoken there.
    pub protocol: SecurityProtocol,
    /// The address to bind; `None` is every address.
    pub host: Option<String>,
    /// The port to bind; 0 is any free one.
    pub port: u16,
    /// What clients are told; `None` is the address they connected to.
    pub advertised: Option<HostPort>,
}

/// All listeners of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenersConfig {
    /// For clients and other brokers, in the order given.
    pub broker: Vec<ListenerConfig>,
    /// For the controller quorum.
    pub controller: Vec<ListenerConfig>,
    /// The name of the listener that other brokers use; one of `broker`.
    pub inter_broker: String,
}

/// An endpoint as it is written: `NAME://host:port`.
struct Endpoint {
    name: String,
    host: Option<String>,
    port: u16,
}

pub(super) fn build(values: &Values<'_>, is_broker: bool, is_controller: bool) -> ListenersConfig {
    let controller_names: Vec<String> = values
        .list("controller.listener.names")
        .into_iter()
        .map(str::to_uppercase)
        .collect();
    let protocols = protocols(values);
    let endpoints = endpoints(values, "listeners");
    let mut advertised = endpoints_by_name(values);
    let mut config = ListenersConfig {
        broker: Vec::new(),
        controller: Vec::new(),
        inter_broker: String::new(),
    };
    for endpoint in endpoints {
        let of_controller = controller_names.contains(&endpoint.name);
        let protocol = match protocols.get(&endpoint.name) {
            Some(protocol) => *protocol,
            None if of_controller => SecurityProtocol::Plaintext,
            None => {
                values.malformed(
                    "listeners",
                    &endpoint.name,
                    "listener.security.protocol.map does not say what this listener speaks",
                );
                continue;
            }
        };
        if protocol != SecurityProtocol::Plaintext {
            values.wrong(
                "listeners",
                Problem::NotYet {
                    key: "listeners".to_owned(),
                    value: endpoint.name,
                    reason: "TLS and SASL are not served".to_owned(),
                    default: None,
                },
            );
            continue;
        }
        let told = advertised.remove(&endpoint.name);
        let Endpoint { name, host, port } = endpoint;
        let listener = ListenerConfig {
            name,
            protocol,
            host,
            port,
            advertised: told,
        };
        if of_controller {
            &mut config.controller
        } else {
            &mut config.broker
        }
        .push(listener);
    }
    for name in advertised.keys() {
        values.malformed(
            "advertised.listeners",
            name,
            "listeners has no such listener",
        );
    }
    // Not said again of a listener that was wrong.
    let all_good = config.controller.len() == values.list("listeners").len();
    if is_broker && config.broker.is_empty() && all_good {
        values.wrong(
            "listeners",
            Problem::Conflict(
                "a broker needs a listener that is not in controller.listener.names".to_owned(),
            ),
        );
    }
    if !is_controller && !config.controller.is_empty() {
        values.wrong(
            "listeners",
            Problem::Conflict(format!(
                "listener {} is the controller's, and process.roles has no controller",
                config.controller[0].name
            )),
        );
    }
    config.inter_broker = inter_broker(values, &config.broker);
    config
}

fn protocols(values: &Values<'_>) -> BTreeMap<String, SecurityProtocol> {
    let key = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    for item in values.list(key) {
        let pair = item.split_once(':').and_then(|(name, protocol)| {
            Some((
                name.trim().to_uppercase(),
                SecurityProtocol::from_name(protocol.trim())?,
            ))
        });
        match pair {
            Some((name, protocol)) => {
                protocols.insert(name, protocol);
            }
            None => values.malformed(
                key,
                item,
                "expected NAME:PROTOCOL, a protocol being PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
            ),
        }
    }
    protocols
}

fn inter_broker(values: &Values<'_>, listeners: &[ListenerConfig]) -> String {
    let protocol = values
        .text("security.inter.broker.protocol")
        .and_then(SecurityProtocol::from_name)
        .unwrap_or(SecurityProtocol::Plaintext);
    match values.text("inter.broker.listener.name") {
        Some(name) => {
            let name = name.to_uppercase();
            if !listeners.is_empty() && listeners.iter().all(|listener| listener.name != name) {
                values.malformed(
                    "inter.broker.listener.name",
                    &name,
                    "listeners has no such listener",
                );
            }
            name
        }
        None => listeners
            .iter()
            .find(|listener| listener.protocol == protocol)
            .map(|listener| listener.name.clone())
            .unwrap_or_default(),
    }
}

fn endpoints_by_name(values: &Values<'_>) -> BTreeMap<String, HostPort> {
    let key = "advertised.listeners";
    let mut advertised = BTreeMap::new();
    for Endpoint { name, host, port } in endpoints(values, key) {
        match host {
            Some(host) if host == "0.0.0.0" || host == "::" => {
                values.malformed(
                    key,
                    &host,
                    "clients cannot connect to the address of every address",
                );
            }
            Some(host) => {
                advertised.insert(name, HostPort { host, port });
            }
            None => values.malformed(key, &name, "expected a host that clients can reach"),
        }
    }
    advertised
}

fn endpoints(values: &Values<'_>, key: &'static str) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in values.list(key) {
        let Some(endpoint) = parse_endpoint(item) else {
            values.malformed(key, item, "expected NAME://host:port");
            continue;
        };
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            values.malformed(key, item, "the name is there twice");
        }
        let taken = |other: &Endpoint| {
            key == "listeners"
                && endpoint.port != 0
                && other.port == endpoint.port
                && (other.host == endpoint.host || other.host.is_none() || endpoint.host.is_none())
        };
        if endpoints.iter().any(taken) {
            values.malformed(key, item, "the port is there twice");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (name, address) = text.split_once("://")?;
    let name = name.trim().to_uppercase();
    let (host, port) = address.rsplit_once(':')?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(allowed) {
        return None;
    }
    let host = unbracketed(host.trim())?;
    let port = port.trim().parse().ok()?;
    Some(Endpoint {
        name,
        host: Some(host).filter(|host| !host.is_empty()),
        port,
    })
}

/// Reads `host:port`, IPv6 in brackets.
pub(super) fn parse_host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = unbracketed(host).filter(|host| !host.is_empty())?;
    Some(HostPort {
        host,
        port: port.parse().ok()?,
    })
}

fn unbracketed(host: &str) -> Option<String> {
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '%');
    host.chars().all(allowed).then(|| host.to_owned())
}
