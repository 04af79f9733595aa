//! The mechanisms of SASL that brokers of Kafka know and that need no other service: a login is a
//! conversation of a few messages. Pure: who sends them is `login`.

use std::time::SystemTime;

use thiserror::Error;

use super::Secret;
use super::oauthbearer::{self, Token};
use super::scram::{self, Hash};

/// How to log in.
#[derive(Debug, Clone)]
pub enum Sasl {
    /// Name and password as they are: for encrypted connections.
    Plain(Credentials),
    /// Proof of knowing the password, which is not sent (RFC 5802, RFC 7677).
    Scram(Hash, Credentials),
    /// A token of somebody else (RFC 7628).
    OAuthBearer(Token),
}

/// Who logs in.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// What proves it.
    pub password: Secret,
}

impl Credentials {
    /// A name and a password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials {
            user: user.into(),
            password: Secret::new(password),
        }
    }
}

impl Sasl {
    /// Kafka's name of the mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Plain(_) => "PLAIN",
            Sasl::Scram(Hash::Sha256, _) => "SCRAM-SHA-256",
            Sasl::Scram(Hash::Sha512, _) => "SCRAM-SHA-512",
            Sasl::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Who logs in, as errors say it.
    #[must_use]
    pub fn who(&self) -> String {
        match self {
            Sasl::Plain(credentials) | Sasl::Scram(_, credentials) => {
                format!("user {}", credentials.user)
            }
            Sasl::OAuthBearer(_) => "the bearer of the token".to_owned(),
        }
    }
}

/// Why a login cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SaslError(pub String);

impl SaslError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        SaslError(text.into())
    }
}

/// What follows from what the broker said.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// This is to be sent next.
    Send(Vec<u8>),
    /// The broker has said all it has to.
    Done,
}

/// A login under way.
#[derive(Debug)]
pub enum Exchange {
    /// Everything was said at once.
    Said,
    /// The messages of SCRAM.
    Scram(scram::Exchange),
    /// A token was sent.
    Bearer(oauthbearer::Exchange),
}

impl Exchange {
    /// Begins a login: with what is to be sent first. `now` and `nonce` are for mechanisms that need
    /// them.
    pub fn begin(sasl: &Sasl, now: SystemTime, nonce: &str) -> Result<(Self, Vec<u8>), SaslError> {
        match sasl {
            Sasl::Plain(credentials) => Ok((Exchange::Said, plain(credentials)?)),
            Sasl::Scram(hash, credentials) => {
                let (exchange, first) = scram::Exchange::begin(*hash, credentials, nonce);
                Ok((Exchange::Scram(exchange), first))
            }
            Sasl::OAuthBearer(token) => {
                let token = token.fetch(now)?;
                let (exchange, first) = oauthbearer::Exchange::begin(&token)?;
                Ok((Exchange::Bearer(exchange), first))
            }
        }
    }

    /// Takes in what the broker said.
    pub fn next(&mut self, said: &[u8]) -> Result<Step, SaslError> {
        match self {
            Exchange::Said => Ok(Step::Done),
            Exchange::Scram(exchange) => exchange.next(said),
            Exchange::Bearer(exchange) => exchange.next(said),
        }
    }
}

/// RFC 4616: nobody to act for, the name, the password, with NUL between them.
fn plain(credentials: &Credentials) -> Result<Vec<u8>, SaslError> {
    let (user, password) = (&credentials.user, credentials.password.reveal());
    if user.is_empty() || password.is_empty() {
        return Err(SaslError::new("PLAIN needs a user and a password"));
    }
    if user.contains('\0') || password.contains('\0') {
        return Err(SaslError::new(
            "PLAIN can carry no user or password with a NUL in it",
        ));
    }
    Ok(format!("\0{user}\0{password}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_says_all_at_once() {
        let sasl = Sasl::Plain(Credentials::new("tim", "tanstaaftanstaaf"));
        let begun = Exchange::begin(&sasl, SystemTime::UNIX_EPOCH, "n");
        let (mut exchange, first) = begun.expect("a message");
        assert_eq!(first, b"\0tim\0tanstaaftanstaaf");
        assert_eq!(exchange.next(b""), Ok(Step::Done));
        for (user, password) in [("", "x"), ("x", ""), ("a\0b", "x"), ("x", "a\0b")] {
            let sasl = Sasl::Plain(Credentials::new(user, password));
            let begun = Exchange::begin(&sasl, SystemTime::UNIX_EPOCH, "n");
            assert!(begun.is_err(), "{user:?} {password:?}");
        }
    }
}
