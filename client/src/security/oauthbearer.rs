//! OAUTHBEARER, the client's side (RFC 7628): one message with a token. Who refuses it says why in
//! JSON and wants a last message before it ends the login.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::Secret;
use super::sasl::{SaslError, Step};

/// A token can be no larger than what brokers read of strangers, less what stands around it.
const TOKEN_BYTES_MAX: usize = 256 * 1024;
/// What separates the parts of a message.
const SEPARATOR: u8 = 1;

/// Where tokens are from. They are taken anew for each login, as they end.
#[derive(Debug, Clone)]
pub enum Token {
    /// This one.
    Given(Secret),
    /// A file that somebody else keeps up to date.
    File(PathBuf),
    /// A token nobody has signed, as Apache Kafka's own login module makes them: for trials.
    Unsecured {
        /// Claims with texts, such as `sub`.
        claims: Vec<(String, String)>,
        /// How long it is good for.
        lifetime: Duration,
    },
}

impl Token {
    /// The token as it is now.
    pub fn fetch(&self, now: SystemTime) -> Result<Secret, SaslError> {
        match self {
            Token::Given(token) => Ok(token.clone()),
            Token::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    SaslError::new(format!("read the token in {}: {error}", path.display()))
                })?;
                Ok(Secret::new(text.trim()))
            }
            Token::Unsecured { claims, lifetime } => Ok(unsecured(claims, *lifetime, now)),
        }
    }
}

/// RFC 7515 without a signature.
fn unsecured(claims: &[(String, String)], lifetime: Duration, now: SystemTime) -> Secret {
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut body = format!(
        "{{\"iat\":{},\"exp\":{}",
        issued.as_secs(),
        (issued + lifetime).as_secs()
    );
    for (name, value) in claims {
        body += &format!(",{}:{}", json_text(name), json_text(value));
    }
    body.push('}');
    let head = BASE64.encode(br#"{"alg":"none"}"#);
    Secret::new(format!("{head}.{}.", BASE64.encode(body)))
}

/// A text as JSON has it.
fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A login under way.
#[derive(Debug)]
pub struct Exchange {
    refused: bool,
}

impl Exchange {
    /// Begins with all there is to say.
    pub fn begin(token: &Secret) -> Result<(Self, Vec<u8>), SaslError> {
        let text = token.reveal();
        // RFC 6750: letters, digits and -._~+/ with = at the end.
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/=".contains(&c);
        if text.is_empty() || !text.bytes().all(is_plain) {
            return Err(SaslError::new(
                "the token of OAUTHBEARER is empty or has letters no token has",
            ));
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(SaslError::new(format!(
                "the token of OAUTHBEARER has {} bytes, above the limit of {TOKEN_BYTES_MAX}",
                text.len()
            )));
        }
        let message = [
            b"n,,".as_slice(),
            &[SEPARATOR],
            b"auth=Bearer ",
            text.as_bytes(),
            &[SEPARATOR, SEPARATOR],
        ];
        Ok((Exchange { refused: false }, message.concat()))
    }

    /// Takes in what the broker said. Why it refuses comes with the error code behind the message
    /// that is sent here.
    pub fn next(&mut self, said: &[u8]) -> Result<Step, SaslError> {
        match (said.is_empty(), self.refused) {
            (true, _) => Ok(Step::Done),
            (false, false) => {
                self.refused = true;
                Ok(Step::Send(vec![SEPARATOR]))
            }
            (false, true) => Err(SaslError::new(format!(
                "the broker refuses the token: {}",
                String::from_utf8_lossy(said).escape_debug()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_one_message_and_a_refusal_is_ended() {
        let (mut exchange, first) = Exchange::begin(&Secret::new("ab.c-d.")).expect("a token");
        assert_eq!(first, b"n,,\x01auth=Bearer ab.c-d.\x01\x01");
        assert_eq!(exchange.next(b""), Ok(Step::Done));
        let (mut exchange, _) = Exchange::begin(&Secret::new("ab.c-d.")).expect("a token");
        let said = exchange.next(br#"{"status":"invalid_token"}"#);
        assert_eq!(said, Ok(Step::Send(vec![1])));
        assert!(exchange.next(b"more").is_err(), "it was ended");
        for token in ["", "a b", "a\x01auth=Bearer b", "a\n"] {
            assert!(Exchange::begin(&Secret::new(token)).is_err(), "{token:?}");
        }
    }

    #[test]
    fn an_unsecured_token_has_claims_and_times() {
        let token = Token::Unsecured {
            claims: vec![("sub".to_owned(), "a\"b\n".to_owned())],
            lifetime: Duration::from_secs(60),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let token = token.fetch(now).expect("a token");
        let parts: Vec<&str> = token.reveal().split('.').collect();
        let body = BASE64.decode(parts[1]).expect("base 64");
        let body = String::from_utf8(body).expect("text");
        assert_eq!(body, r#"{"iat":1000,"exp":1060,"sub":"a\"b\u000a"}"#);
        assert_eq!(parts[2], "", "nobody has signed it");
    }

    /// Somebody else writes the file anew: the next login has what is in it then.
    #[test]
    fn a_token_in_a_file_is_read_for_each_login() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let token = Token::File(file.path().to_owned());
        for text in ["one", "two"] {
            std::fs::write(file.path(), format!("{text}\n")).expect("written");
            let read = token.fetch(UNIX_EPOCH).expect("a token");
            assert_eq!(read.reveal(), text);
        }
        let nowhere = Token::File("/nowhere/token".into());
        let error = nowhere.fetch(UNIX_EPOCH).expect_err("no file").to_string();
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
