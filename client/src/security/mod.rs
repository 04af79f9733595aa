//! How connections are made safe: encrypted by TLS, and begun with a login by SASL.
//!
//! | Read | For |
//! |---|---|
//! | [`tls`] | whom to trust, who the client is, and what a handshake that fails says |
//! | [`sasl`] | the mechanisms: PLAIN and which of the others to speak |
//! | [`scram`], [`oauthbearer`] | their messages; pure |
//! | `login` | the requests a login goes by, at first and before it ends |
//! | [`settings`], [`jaas`] | the same from settings under Apache Kafka's names |

pub mod jaas;
pub(crate) mod login;
pub mod oauthbearer;
pub mod sasl;
pub mod scram;
pub mod settings;
pub mod tls;

use std::fmt;

pub use login::LoginProblem;
pub use oauthbearer::Token;
pub use sasl::{Credentials, Sasl};
pub use scram::Hash;
pub use tls::{HostCheck, Identity, Tls, TlsProblem, TlsSettings, Trust};

/// What a connection needs before it can be used. Neither: plaintext, and nobody asks who it is.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Encryption.
    pub tls: Option<Tls>,
    /// The login.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Kafka's name for it.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }
}

/// Text that is never shown: a password, a token, a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for those it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let sasl = Sasl::Plain(Credentials::new("alice", "opensesame"));
        let shown = format!("{sasl:?}");
        assert!(
            shown.contains("alice") && !shown.contains("opensesame"),
            "{shown}"
        );
    }
}
