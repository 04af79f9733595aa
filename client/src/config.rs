//! Where the cluster is, and how patient the client is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::security::Security;

/// What a client is told.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The addresses to start from.
    pub bootstrap: Bootstrap,
    /// TLS, and who the client is.
    pub security: Security,
    /// What brokers write into their logs, metrics and quotas.
    pub client_id: String,
    /// For a connection to be made and to say which versions it speaks.
    pub connect_timeout: Duration,
    /// For one answer. A broker that owes one for longer loses its connection.
    pub request_timeout: Duration,
    /// For a whole call with all its attempts.
    pub deadline: Duration,
    /// Between attempts.
    pub backoff: Backoff,
    /// How old metadata may be that is used without asking again.
    pub metadata_age_max: Duration,
    /// The largest answer that is read.
    pub frame_bytes_max: usize,
}

impl ClientConfig {
    /// The defaults of Apache Kafka's clients.
    #[must_use]
    pub fn new(bootstrap: Bootstrap) -> Self {
        ClientConfig {
            bootstrap,
            security: Security::default(),
            client_id: "reka-client".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            backoff: Backoff::default(),
            metadata_age_max: Duration::from_secs(300),
            frame_bytes_max: 128 << 20,
        }
    }
}

/// A host and a port, as `bootstrap.servers` has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = ClientError;

    /// Reads `host:port` or `[ip6]:port`; port 9092 where there is none.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::Config {
            reason: format!("bootstrap server {text:?}: {reason}"),
        };
        if text.contains('/') {
            return Err(invalid("expected host:port"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| invalid("there is no ] after ["))?;
                (host, after.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(invalid("write an IPv6 address in brackets, [::1]:9092"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(invalid("expected host:port"));
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| invalid("the port is no number from 1 to 65535"))?,
            None => DEFAULT_PORT,
        };
        Ok(Address {
            host: host.to_owned(),
            port,
        })
    }
}

/// Where brokers listen unless told otherwise.
pub const DEFAULT_PORT: u16 = 9092;

/// A list of addresses, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap(Vec<Address>);

impl Bootstrap {
    /// The addresses, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }
}

impl From<Address> for Bootstrap {
    fn from(address: Address) -> Self {
        Bootstrap(vec![address])
    }
}

impl FromStr for Bootstrap {
    type Err = ClientError;

    /// Reads addresses with commas between them.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let addresses: Vec<Address> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            let reason = "no bootstrap server is named, expected host:port".to_owned();
            return Err(ClientError::Config { reason });
        }
        Ok(Bootstrap(addresses))
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, address) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike_and_bad_ones_say_why() {
        let check = |text: &str, expected: &str| {
            let read: Bootstrap = text.parse().expect(text);
            assert_eq!(read.to_string(), expected);
        };
        check("localhost:9092", "localhost:9092");
        check(" a:1, b:2 ,", "a:1,b:2");
        check("broker", "broker:9092");
        check("[::1]:9093", "[::1]:9093");
        check("[::1]", "[::1]:9092");
        let refuse = |text: &str, reason: &str| {
            let error = text.parse::<Bootstrap>().expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        };
        refuse("", "no bootstrap server is named");
        refuse("a:0", "1 to 65535");
        refuse("a:66000", "1 to 65535");
        refuse("::1:9092", "in brackets");
        refuse("[::1:9092", "no ] after [");
        refuse("http://a:9092", "expected host:port");
        refuse(":9092", "expected host:port");
    }
}
