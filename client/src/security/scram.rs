//! SCRAM, the client's side (RFC 5802, with SHA-256 of RFC 7677 and SHA-512 as Kafka has it): proves
//! to know a password without sending it, and demands that the broker proves the same.
//!
//! ```text
//! client-first   n,,n=user,r=NONCE
//! server-first   r=NONCEmore,s=SALT,i=4096
//! client-final   c=biws,r=NONCEmore,p=PROOF
//! server-final   v=SIGNATURE
//! ```

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use super::Secret;
use super::sasl::{Credentials, SaslError, Step};

/// What is hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// Fewer make a stolen answer cheap to try passwords on; Kafka's own bound.
const ITERATIONS_MIN: u32 = 4096;
/// A broker cannot make a client compute for longer than about a second.
const ITERATIONS_MAX: u32 = 1 << 20;
/// `n,,` in base 64: no channel binding, nobody to act for.
const CHANNEL: &str = "c=biws";

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// A conversation under way.
#[derive(Debug)]
pub struct Exchange {
    hash: Hash,
    password: Secret,
    nonce: String,
    /// `n=user,r=NONCE`, which the proof is about.
    first_bare: String,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    /// What the broker has to sign, and the key it has to know.
    Final {
        server_key: Vec<u8>,
        about: String,
    },
    Over,
}

impl Exchange {
    /// Begins with the first message.
    #[must_use]
    pub fn begin(hash: Hash, credentials: &Credentials, nonce: &str) -> (Self, Vec<u8>) {
        let user = credentials.user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let first = format!("n,,{first_bare}").into_bytes();
        let exchange = Exchange {
            hash,
            password: credentials.password.clone(),
            nonce: nonce.to_owned(),
            first_bare,
            state: State::First,
        };
        (exchange, first)
    }

    /// Takes in what the broker said.
    pub fn next(&mut self, said: &[u8]) -> Result<Step, SaslError> {
        let said = std::str::from_utf8(said)
            .map_err(|_| SaslError::new("the broker's message of SCRAM is no text"))?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => self.prove(said).map(Step::Send),
            State::Final { server_key, about } => {
                self.verify(said, &server_key, &about)?;
                Ok(Step::Done)
            }
            State::Over => Err(SaslError::new("the broker goes on after SCRAM has ended")),
        }
    }

    fn prove(&mut self, said: &str) -> Result<Vec<u8>, SaslError> {
        let wrong =
            |what: &str| SaslError::new(format!("the broker's first message of SCRAM {what}"));
        let mut fields = said.split(',');
        let mut field = |name: &str| {
            let found = fields.next().and_then(|field| field.strip_prefix(name));
            found.ok_or_else(|| wrong(&format!("has no {name} where it is due")))
        };
        let nonce = field("r=")?;
        let salt = field("s=")?;
        let iterations = field("i=")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(wrong("does not go on with the nonce it was sent"));
        }
        let salt = BASE64
            .decode(salt)
            .map_err(|_| wrong("has a salt that is no base 64"))?;
        let iterations = iterations
            .parse::<u32>()
            .ok()
            .filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count))
            .and_then(NonZeroU32::new)
            .ok_or_else(|| {
                wrong(&format!(
                    "asks for {iterations} iterations, expected {ITERATIONS_MIN} to {ITERATIONS_MAX}"
                ))
            })?;
        let mut salted = vec![0; self.hash.digest().output_len()];
        let password = self.password.reveal().as_bytes();
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, password, &mut salted);

        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let server_key = sign(&salted, b"Server Key");
        let without_proof = format!("{CHANNEL},r={nonce}");
        let about = format!("{},{said},{without_proof}", self.first_bare);
        let signature = sign(stored_key.as_ref(), about.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        self.state = State::Final {
            server_key: server_key.as_ref().to_vec(),
            about,
        };
        Ok(message.into_bytes())
    }

    fn verify(&self, said: &str, server_key: &[u8], about: &str) -> Result<(), SaslError> {
        let first = said.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(SaslError::new(format!("the broker ended SCRAM: {error}")));
        }
        let signature = first
            .strip_prefix("v=")
            .and_then(|signature| BASE64.decode(signature).ok())
            .ok_or_else(|| SaslError::new("the broker's last message of SCRAM has no signature"))?;
        let key = hmac::Key::new(self.hash.hmac(), server_key);
        hmac::verify(&key, about.as_bytes(), &signature).map_err(|_| {
            SaslError::new("the broker does not know the password: it is not who it says it is")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vector {
        hash: Hash,
        nonce: &'static str,
        first: &'static str,
        answered: &'static str,
        last: &'static str,
        signed: &'static str,
    }

    /// The example of RFC 7677, section 3.
    const SHA256: Vector = Vector {
        hash: Hash::Sha256,
        nonce: "rOprNGfwEbeRWgbNEkqO",
        first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        answered: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        last: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        signed: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    };

    fn begin(vector: &Vector) -> Exchange {
        let credentials = Credentials::new("user", "pencil");
        let (exchange, first) = Exchange::begin(vector.hash, &credentials, vector.nonce);
        assert_eq!(first, vector.first.as_bytes());
        exchange
    }

    #[test]
    fn the_conversation_of_the_rfc_is_held() {
        let mut exchange = begin(&SHA256);
        let last = exchange.next(SHA256.answered.as_bytes());
        assert_eq!(last, Ok(Step::Send(SHA256.last.as_bytes().to_vec())));
        assert_eq!(exchange.next(SHA256.signed.as_bytes()), Ok(Step::Done));
        assert!(exchange.next(b"").is_err(), "it is over");
    }

    /// The password decides the proof, and a broker that signs with another one is found out.
    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        for signed in [
            "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            "v=",
            "v=!",
            "",
            "e=invalid-proof",
        ] {
            let mut exchange = begin(&SHA256);
            exchange.next(SHA256.answered.as_bytes()).expect("a proof");
            let refused = exchange.next(signed.as_bytes());
            assert!(refused.is_err(), "{signed:?}: {refused:?}");
        }
    }

    /// SHA-512 has no example in an RFC; the broker's side, computed here from the definitions, takes
    /// the proof.
    #[test]
    fn a_broker_of_sha_512_takes_the_proof() {
        let (salt, iterations, nonce) = (b"0123456789abcdef", 4096, "abcdef");
        let credentials = Credentials::new("a=b,c", "secret");
        let (mut exchange, first) = Exchange::begin(Hash::Sha512, &credentials, nonce);
        assert_eq!(first, b"n,,n=a=3Db=2Cc,r=abcdef");
        let answered = format!("r=abcdefxyz,s={},i={iterations}", BASE64.encode(salt));
        let Ok(Step::Send(last)) = exchange.next(answered.as_bytes()) else {
            panic!("no proof");
        };
        let last = String::from_utf8(last).expect("text");
        let (without_proof, proof) = last.split_once(",p=").expect("a proof");
        let proof = BASE64.decode(proof).expect("base 64");
        let mut salted = [0; 64];
        let count = NonZeroU32::new(iterations).expect("some");
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA512,
            count,
            salt,
            b"secret",
            &mut salted,
        );
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), text);
        let stored = digest::digest(&digest::SHA512, sign(&salted, b"Client Key").as_ref());
        let about = format!("n=a=3Db=2Cc,r=abcdef,{answered},{without_proof}");
        let signature = sign(stored.as_ref(), about.as_bytes());
        let shown: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(proof, signature)| proof ^ signature)
            .collect();
        // What is left is the client's key: its hash is what the broker keeps.
        let hashed = digest::digest(&digest::SHA512, &shown);
        assert_eq!(hashed.as_ref(), stored.as_ref());
        let server_key = sign(&salted, b"Server Key");
        let signature = sign(server_key.as_ref(), about.as_bytes());
        let signed = format!("v={}", BASE64.encode(signature));
        assert_eq!(exchange.next(signed.as_bytes()), Ok(Step::Done));
    }

    #[test]
    fn a_broker_that_asks_for_anything_else_is_refused() {
        let check = |answered: &str, expected: &str| {
            let refused = begin(&SHA256).next(answered.as_bytes());
            let refused = refused.expect_err(answered).to_string();
            assert!(refused.contains(expected), "{answered}: {refused}");
        };
        let nonce = SHA256.nonce;
        check("", "no r=");
        check("r=other,s=AA==,i=4096", "nonce");
        check(&format!("r={nonce},s=AA==,i=4096"), "nonce");
        check(&format!("r={nonce}x,s=!,i=4096"), "base 64");
        check(&format!("r={nonce}x,s=AA==,i=4095"), "4095 iterations");
        check(&format!("r={nonce}x,s=AA==,i=2000000000"), "iterations");
        check(&format!("r={nonce}x,s=AA==,i=-1"), "iterations");
        check(&format!("r={nonce}x,s=AA=="), "no i=");
        assert!(begin(&SHA256).next(&[0xff]).is_err(), "no text");
    }

    proptest::proptest! {
        /// Whatever a broker says first and then, there is an end.
        #[test]
        fn whatever_is_said_there_is_no_panic(first: Vec<u8>, then: Vec<u8>, tail in "[ -~]{0,40}") {
            let mut exchange = begin(&SHA256);
            let said = [SHA256.nonce.as_bytes(), tail.as_bytes()].concat();
            let _ = begin(&SHA256).next(&[b"r=".as_slice(), &said].concat());
            let _ = exchange.next(&first);
            let _ = exchange.next(&then);
        }
    }
}
