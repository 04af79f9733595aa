//! The requests a login goes by: SaslHandshake names the mechanism, SaslAuthenticate carries its
//! messages. A login that ends is made again on the same connection before it does (KIP-368).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::time::Instant;

use super::sasl::{Exchange, Sasl, Step};
use crate::connection::{Connection, api};
use crate::error::{ClientError, ConnectionProblem};

/// No mechanism has as many messages.
const ROUNDS_MAX: usize = 8;
/// When a login is made again, as a share of the time it is good for.
const RENEWED_AT: f64 = 0.85;

/// Why a broker did not let a client in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoginProblem {
    /// Its port has no logins.
    #[error(
        "it expects no login on this port: set security.protocol={protocol}, or name the port that \
         expects one"
    )]
    NotExpected {
        /// The protocol without a login.
        protocol: &'static str,
    },
    /// It knows other mechanisms.
    #[error("it does not know sasl.mechanism={wanted}; it knows {known}")]
    Mechanism {
        /// The mechanism.
        wanted: &'static str,
        /// Those it knows.
        known: String,
    },
    /// It knows the mechanism, and not who logs in, or not by this proof.
    #[error("it refused the login of {who} by {mechanism}: {message}")]
    Refused {
        /// Who.
        who: String,
        /// The mechanism.
        mechanism: &'static str,
        /// What it had to say.
        message: String,
    },
    /// The conversation cannot go on.
    #[error("the login by {mechanism} came to nothing: {reason}")]
    Broken {
        /// The mechanism.
        mechanism: &'static str,
        /// Why.
        reason: String,
    },
}

/// A connection's login.
#[derive(Debug)]
pub(crate) struct Login {
    sasl: Sasl,
    /// The protocol without it, for what errors say.
    without: &'static str,
    /// When it has to be made again; never if it does not end.
    renew_at: Mutex<Option<Instant>>,
    /// Held for reading while a request is handed over, for writing during a login: a broker takes no
    /// other request in the middle of one.
    pub(crate) turn: tokio::sync::RwLock<()>,
}

impl Login {
    pub(crate) fn new(sasl: Sasl, without: &'static str) -> Self {
        Login {
            sasl,
            without,
            renew_at: Mutex::new(None),
            turn: tokio::sync::RwLock::new(()),
        }
    }

    /// Whether it has to be made again before anything else is asked.
    pub(crate) fn is_due(&self) -> bool {
        let renew_at = self.renew_at.lock().unwrap_or_else(PoisonError::into_inner);
        renew_at.is_some_and(|at| at <= Instant::now())
    }

    /// Logs in. Nothing else may be asked meanwhile.
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), ConnectionProblem> {
        let lifetime = self.converse(connection).await?;
        let renew_at = lifetime.map(|lifetime| Instant::now() + lifetime.mul_f64(RENEWED_AT));
        *self.renew_at.lock().unwrap_or_else(PoisonError::into_inner) = renew_at;
        Ok(())
    }

    async fn converse(
        &self,
        connection: &Connection,
    ) -> Result<Option<Duration>, ConnectionProblem> {
        let mechanism = self.sasl.mechanism();
        let offered = connection.versions();
        let not_expected = || {
            let protocol = self.without;
            ConnectionProblem::Login(LoginProblem::NotExpected { protocol })
        };
        // In version 0 the messages that follow are no requests.
        let handshake = offered.choose(api::<SaslHandshakeRequest>(), &(1..=1));
        let handshake = handshake.map_err(|_| not_expected())?;
        let authenticate = offered.choose(api::<SaslAuthenticateRequest>(), &(0..=2));
        let authenticate = authenticate.map_err(|_| not_expected())?;

        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer = ask(connection.call_alone(handshake, &request).await)?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::UnsupportedSaslMechanism) => {
                let known: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
                return Err(ConnectionProblem::Login(LoginProblem::Mechanism {
                    wanted: mechanism,
                    known: if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    },
                }));
            }
            Some(ErrorCode::IllegalSaslState) => return Err(not_expected()),
            _ => return Err(self.broken(format!("error {}", answer.error_code))),
        }

        let now = clock();
        let begun = Exchange::begin(&self.sasl, now, &nonce());
        let (mut exchange, mut message) = begun.map_err(|error| self.broken(error.to_string()))?;
        for _ in 0..ROUNDS_MAX {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
            let answer = ask(connection.call_alone(authenticate, &request).await)?;
            match ErrorCode::from_code(answer.error_code) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::SaslAuthenticationFailed) => {
                    let said = answer
                        .error_message
                        .as_deref()
                        .unwrap_or("no reason is given");
                    return Err(ConnectionProblem::Login(LoginProblem::Refused {
                        who: self.sasl.who(),
                        mechanism,
                        message: said.trim_end_matches('.').to_owned(),
                    }));
                }
                _ => return Err(self.broken(format!("error {}", answer.error_code))),
            }
            let step = exchange.next(&answer.auth_bytes);
            match step.map_err(|error| self.broken(error.to_string()))? {
                Step::Send(next) => message = next,
                Step::Done => {
                    let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
                    return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
                }
            }
        }
        Err(self.broken(format!("no end within {ROUNDS_MAX} messages")))
    }

    fn broken(&self, reason: String) -> ConnectionProblem {
        ConnectionProblem::Login(LoginProblem::Broken {
            mechanism: self.sasl.mechanism(),
            reason,
        })
    }
}

fn ask<T>(answered: Result<T, ClientError>) -> Result<T, ConnectionProblem> {
    answered.map_err(|error| match error {
        ClientError::Connection { error, .. } => error.reason,
        other => ConnectionProblem::Frame(other.to_string()),
    })
}

/// What nobody can foresee and nobody has used before.
fn nonce() -> String {
    let mut bytes = [0; 24];
    // The system's source of chance does not fail once the system runs.
    let filled = SystemRandom::new().fill(&mut bytes);
    assert!(filled.is_ok(), "the system gives no random bytes");
    BASE64.encode(bytes)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a token that is made here says when it was made and when it ends, by everybody's clock"
)]
fn clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
