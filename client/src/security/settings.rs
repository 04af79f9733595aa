//! Security from settings under the names Java's clients have for them, and librdkafka where it has
//! others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::jaas::{self, Jaas};
use super::oauthbearer::Token;
use super::sasl::{Credentials, Sasl};
use super::scram::Hash;
use super::tls::{HostCheck, Identity, Tls, TlsSettings, Trust};
use super::{Secret, Security};
use crate::error::ClientError;

/// A setting that is read here.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Whether its value is a secret.
    pub is_secret: bool,
}

const fn key(name: &'static str) -> Key {
    let is_secret = false;
    Key { name, is_secret }
}

const fn secret(name: &'static str) -> Key {
    let is_secret = true;
    Key { name, is_secret }
}

/// All settings that are read here.
pub const KEYS: &[Key] = &[
    key("security.protocol"),
    key("ssl.truststore.type"),
    key("ssl.truststore.location"),
    key("ssl.truststore.certificates"),
    secret("ssl.truststore.password"),
    key("ssl.keystore.type"),
    key("ssl.keystore.location"),
    key("ssl.keystore.certificate.chain"),
    secret("ssl.keystore.key"),
    secret("ssl.keystore.password"),
    secret("ssl.key.password"),
    key("ssl.enabled.protocols"),
    key("ssl.protocol"),
    key("ssl.endpoint.identification.algorithm"),
    key("sasl.mechanism"),
    secret("sasl.jaas.config"),
    key("sasl.oauthbearer.token.endpoint.url"),
    key("sasl.login.callback.handler.class"),
    // As librdkafka has them.
    key("ssl.ca.location"),
    key("ssl.ca.pem"),
    key("ssl.certificate.location"),
    key("ssl.certificate.pem"),
    key("ssl.key.location"),
    secret("ssl.key.pem"),
    key("sasl.mechanisms"),
    key("sasl.username"),
    secret("sasl.password"),
];

/// Whether a setting is read here.
#[must_use]
pub fn is_known(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

/// Whether a setting's value must not be shown.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name && key.is_secret)
}

const PROTOCOLS: &str = "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
/// The login module of Java's clients for tokens of elsewhere.
const OAUTH_HANDLER: &str =
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";

type Settings = BTreeMap<String, String>;

impl Security {
    /// From settings; those that are about something else are left alone. What does not fit together
    /// or cannot be had is refused by name.
    pub fn from_settings(settings: &Settings) -> Result<Self, ClientError> {
        read(settings).map_err(|reason| ClientError::Config { reason })
    }
}

fn read(settings: &Settings) -> Result<Security, String> {
    let protocol = value(settings, "security.protocol").unwrap_or("PLAINTEXT");
    let (with_tls, with_sasl) = match protocol.to_ascii_uppercase().as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        _ => {
            return Err(format!(
                "security.protocol: expected {PROTOCOLS}, found {protocol:?}"
            ));
        }
    };
    // A login that is spelt out and not made would be found out late.
    let stray = |prefix: &str, needed: &str| {
        let own = |key: &&Key| key.name.starts_with(prefix) && settings.contains_key(key.name);
        match KEYS.iter().find(own) {
            Some(key) => Err(format!(
                "{} has no effect with security.protocol={protocol}: set {needed}",
                key.name
            )),
            None => Ok(()),
        }
    };
    if !with_tls {
        stray("ssl.", "SSL or SASL_SSL")?;
    }
    if !with_sasl {
        stray("sasl.", "SASL_PLAINTEXT or SASL_SSL")?;
    }
    let tls = match with_tls {
        true => {
            let settings = tls(settings)?;
            Some(Tls::new(&settings).map_err(|error| error.to_string())?)
        }
        false => None,
    };
    let sasl = match with_sasl {
        true => Some(sasl(settings)?),
        false => None,
    };
    Ok(Security { tls, sasl })
}

/// A value that says something: an empty one is none.
fn value<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    let value = settings.get(name).map(|value| value.trim());
    value.filter(|value| !value.is_empty())
}

fn tls(settings: &Settings) -> Result<TlsSettings, String> {
    let stores = ["ssl.truststore", "ssl.keystore"];
    for store in stores {
        let kind = format!("{store}.type");
        if let Some(found) = value(settings, &kind).filter(|kind| *kind != "PEM") {
            return Err(format!(
                "{kind}: only PEM can be read, found {found}; keytool -importkeystore with \
                 -deststoretype PKCS12 and then openssl pkcs12 -nodes make PEM of it"
            ));
        }
        let password = format!("{store}.password");
        if value(settings, &password).is_some() {
            return Err(format!("{password}: PEM files have no password"));
        }
    }
    if value(settings, "ssl.key.password").is_some() {
        return Err(
            "ssl.key.password: encrypted keys cannot be read; decrypt it with openssl pkcs8 -in \
             KEY -out PLAIN"
                .to_owned(),
        );
    }
    let versions = value(settings, "ssl.enabled.protocols").or(value(settings, "ssl.protocol"));
    let versions = versions.unwrap_or_default().split(',').map(str::trim);
    let host = match settings.get("ssl.endpoint.identification.algorithm") {
        None => HostCheck::Name,
        Some(name) => match name.trim() {
            "https" | "HTTPS" => HostCheck::Name,
            "" | "none" => HostCheck::Off,
            other => {
                return Err(format!(
                    "ssl.endpoint.identification.algorithm: expected https or nothing, found \
                     {other:?}"
                ));
            }
        },
    };
    Ok(TlsSettings {
        trust: trust(settings)?,
        identity: identity(settings)?,
        host,
        versions: versions
            .filter(|version| !version.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// The text of the first of some settings that is there: of one that is the text itself, or of one
/// that names a file. With where it is from.
fn pem(
    settings: &Settings,
    inline: &[&'static str],
    files: &[&'static str],
) -> Result<Option<(String, String)>, String> {
    for name in inline {
        if let Some(text) = value(settings, name) {
            return Ok(Some(((*name).to_owned(), text.to_owned())));
        }
    }
    for name in files {
        if let Some(path) = value(settings, name) {
            let bytes = std::fs::read(path).map_err(|error| format!("{name}: {path}: {error}"))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                format!(
                    "{name}: {path} is no PEM file: it may be JKS or PKCS12, which cannot be read"
                )
            })?;
            return Ok(Some((path.to_owned(), text)));
        }
    }
    Ok(None)
}

fn trust(settings: &Settings) -> Result<Trust, String> {
    let inline = ["ssl.truststore.certificates", "ssl.ca.pem"];
    let files = ["ssl.truststore.location", "ssl.ca.location"];
    Ok(match pem(settings, &inline, &files)? {
        Some((from, text)) => Trust::Pem { from, text },
        None => Trust::System,
    })
}

fn identity(settings: &Settings) -> Result<Option<Identity>, String> {
    // One file of Java's has both.
    let both = pem(settings, &[], &["ssl.keystore.location"])?;
    let inline = ["ssl.keystore.certificate.chain", "ssl.certificate.pem"];
    let chain = pem(settings, &inline, &["ssl.certificate.location"])?.or_else(|| both.clone());
    let inline = ["ssl.keystore.key", "ssl.key.pem"];
    let key = pem(settings, &inline, &["ssl.key.location"])?.or(both);
    match (chain, key) {
        (None, None) => Ok(None),
        (Some((from, chain)), Some((_, key))) => Ok(Some(Identity {
            from,
            chain,
            key: Secret::new(key),
        })),
        (Some((from, _)), None) => Err(format!(
            "{from}: a certificate of the client needs its key, in ssl.keystore.key or a file \
             with both in ssl.keystore.location"
        )),
        (None, Some(_)) => Err(
            "a key of the client needs its certificate, in ssl.keystore.certificate.chain or a \
             file with both in ssl.keystore.location"
                .to_owned(),
        ),
    }
}

fn sasl(settings: &Settings) -> Result<Sasl, String> {
    let mechanism = value(settings, "sasl.mechanism").or(value(settings, "sasl.mechanisms"));
    let mechanism =
        mechanism.ok_or_else(|| format!("sasl.mechanism is not set: expected {MECHANISMS}"))?;
    let jaas = value(settings, "sasl.jaas.config")
        .map(jaas::parse)
        .transpose()?;
    match mechanism.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(Sasl::Plain(credentials(
            settings,
            jaas,
            "PlainLoginModule",
        )?)),
        "SCRAM-SHA-256" => {
            let credentials = credentials(settings, jaas, "ScramLoginModule")?;
            Ok(Sasl::Scram(Hash::Sha256, credentials))
        }
        "SCRAM-SHA-512" => {
            let credentials = credentials(settings, jaas, "ScramLoginModule")?;
            Ok(Sasl::Scram(Hash::Sha512, credentials))
        }
        "OAUTHBEARER" => Ok(Sasl::OAuthBearer(token(settings, jaas)?)),
        _ => Err(format!(
            "sasl.mechanism: expected {MECHANISMS}, found {mechanism:?}"
        )),
    }
}

fn expect_module(jaas: &Jaas, module: &str) -> Result<(), String> {
    match jaas.module.rsplit('.').next() == Some(module) {
        true => Ok(()),
        false => Err(format!(
            "sasl.jaas.config: expected {module} for this sasl.mechanism, found {}",
            jaas.module
        )),
    }
}

fn credentials(
    settings: &Settings,
    jaas: Option<Jaas>,
    module: &str,
) -> Result<Credentials, String> {
    let Some(mut jaas) = jaas else {
        let user = value(settings, "sasl.username");
        let password = settings.get("sasl.password");
        return match (user, password) {
            (Some(user), Some(password)) => Ok(Credentials::new(user, password.as_str())),
            _ => Err(format!(
                "nobody is named to log in: sasl.jaas.config is not set, expected {module} \
                 required username=\"...\" password=\"...\";"
            )),
        };
    };
    expect_module(&jaas, module)?;
    let mut option = |name: &str| {
        let found = jaas.options.remove(name);
        found.ok_or_else(|| format!("sasl.jaas.config: {module} has no {name}"))
    };
    let (user, password) = (option("username")?, option("password")?);
    let credentials = Credentials {
        user: user.reveal().to_owned(),
        password,
    };
    match jaas.options.keys().next() {
        None => Ok(credentials),
        Some(other) => Err(format!(
            "sasl.jaas.config: the option {other} of {module} is not known here"
        )),
    }
}

fn token(settings: &Settings, jaas: Option<Jaas>) -> Result<Token, String> {
    if let Some(class) = value(settings, "sasl.login.callback.handler.class")
        && class != OAUTH_HANDLER
    {
        return Err(format!(
            "sasl.login.callback.handler.class: {class} cannot be loaded here; a token comes from \
             a file, sasl.oauthbearer.token.endpoint.url=file:///PATH"
        ));
    }
    if let Some(jaas) = &jaas {
        expect_module(jaas, "OAuthBearerLoginModule")?;
    }
    if let Some(url) = value(settings, "sasl.oauthbearer.token.endpoint.url") {
        let Some(path) = url.strip_prefix("file:") else {
            return Err(format!(
                "sasl.oauthbearer.token.endpoint.url: only file:///PATH can be read, found {url}"
            ));
        };
        let path = match path.strip_prefix("//") {
            Some(rest) => rest,
            None => path,
        };
        return Ok(Token::File(PathBuf::from(path)));
    }
    unsecured(jaas.map(|jaas| jaas.options).unwrap_or_default())
}

/// The claims Apache Kafka's own login module puts into a token that nobody signs.
fn unsecured(options: BTreeMap<String, Secret>) -> Result<Token, String> {
    let mut claims = Vec::new();
    let mut lifetime = Duration::from_secs(3600);
    for (name, value) in options {
        if let Some(claim) = name.strip_prefix("unsecuredLoginStringClaim_") {
            claims.push((claim.to_owned(), value.reveal().to_owned()));
        } else if name == "unsecuredLoginLifetimeSeconds" {
            let seconds = value.reveal().parse().ok().filter(|seconds| *seconds > 0);
            let seconds = seconds
                .ok_or_else(|| format!("sasl.jaas.config: {name}: expected a number of seconds"))?;
            lifetime = Duration::from_secs(seconds);
        } else {
            return Err(format!(
                "sasl.jaas.config: the option {name} is not known here"
            ));
        }
    }
    if !claims.iter().any(|(name, _)| name == "sub") {
        return Err(
            "there is no token: set sasl.oauthbearer.token.endpoint.url=file:///PATH, or for \
             trials unsecuredLoginStringClaim_sub in sasl.jaas.config"
                .to_owned(),
        );
    }
    Ok(Token::Unsecured { claims, lifetime })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[(&str, &str)]) -> Settings {
        lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                         username=\"alice\" password=\"hush\";";
    const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required \
                         username=\"alice\" password=\"hush\";";
    const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
                          required unsecuredLoginStringClaim_sub=\"alice\";";

    #[test]
    fn logins_are_read_from_javas_settings_and_from_librdkafkas() {
        let check = |lines: &[(&str, &str)], protocol: &str, mechanism: &str| {
            let read = Security::from_settings(&settings(lines)).expect("security");
            assert_eq!(read.protocol(), protocol);
            let found = read.sasl.as_ref().map_or("", Sasl::mechanism);
            assert_eq!(found, mechanism);
        };
        let protocol = ("security.protocol", "SASL_PLAINTEXT");
        check(&[], "PLAINTEXT", "");
        check(&[("acks", "all")], "PLAINTEXT", "");
        check(
            &[
                protocol,
                ("sasl.mechanism", "PLAIN"),
                ("sasl.jaas.config", PLAIN),
            ],
            "SASL_PLAINTEXT",
            "PLAIN",
        );
        for hash in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let lines = [
                protocol,
                ("sasl.mechanism", hash),
                ("sasl.jaas.config", SCRAM),
            ];
            check(&lines, "SASL_PLAINTEXT", hash);
        }
        check(
            &[
                protocol,
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.jaas.config", BEARER),
            ],
            "SASL_PLAINTEXT",
            "OAUTHBEARER",
        );
        check(
            &[
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanisms", "PLAIN"),
                ("sasl.username", "alice"),
                ("sasl.password", "hush"),
            ],
            "SASL_PLAINTEXT",
            "PLAIN",
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name_and_no_secret_is_told() {
        let check = |lines: &[(&str, &str)], expected: &str| {
            let error = Security::from_settings(&settings(lines)).expect_err(expected);
            let error = error.to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        };
        let sasl = ("security.protocol", "SASL_PLAINTEXT");
        let ssl = ("security.protocol", "SSL");
        let plain = ("sasl.mechanism", "PLAIN");
        check(&[("security.protocol", "TLS")], "expected PLAINTEXT, SSL");
        check(&[plain], "sasl.mechanism has no effect with");
        check(&[("ssl.ca.location", "x")], "ssl.ca.location has no effect");
        check(&[sasl], "sasl.mechanism is not set");
        check(&[sasl, ("sasl.mechanism", "GSSAPI")], "found \"GSSAPI\"");
        check(&[sasl, plain], "sasl.jaas.config is not set");
        check(
            &[sasl, plain, ("sasl.jaas.config", SCRAM)],
            "expected PlainLoginModule",
        );
        check(
            &[
                sasl,
                plain,
                (
                    "sasl.jaas.config",
                    "a.PlainLoginModule required username=x;",
                ),
            ],
            "has no password",
        );
        check(
            &[
                sasl,
                plain,
                ("sasl.jaas.config", &PLAIN.replace(';', " more=\"hush\";")),
            ],
            "the option more",
        );
        let bearer = ("sasl.mechanism", "OAUTHBEARER");
        check(&[sasl, bearer], "there is no token");
        let url = "sasl.oauthbearer.token.endpoint.url";
        check(&[sasl, bearer, (url, "http://x")], "only file:///PATH");
        let handler = "sasl.login.callback.handler.class";
        check(
            &[sasl, bearer, (handler, "my.Handler")],
            "my.Handler cannot be loaded",
        );
        check(
            &[ssl, ("ssl.truststore.type", "JKS")],
            "only PEM can be read, found JKS",
        );
        check(
            &[ssl, ("ssl.truststore.password", "hush")],
            "have no password",
        );
        check(&[ssl, ("ssl.key.password", "hush")], "encrypted keys");
        check(
            &[ssl, ("ssl.truststore.location", "/nowhere.pem")],
            "/nowhere.pem",
        );
        check(&[ssl, ("ssl.ca.pem", "none")], "no certificate in it");
        check(
            &[ssl, ("ssl.endpoint.identification.algorithm", "x")],
            "expected https",
        );
        check(
            &[ssl, ("ssl.keystore.key", "hush")],
            "needs its certificate",
        );
    }

    #[test]
    fn secrets_are_known_as_such() {
        for name in [
            "sasl.jaas.config",
            "sasl.password",
            "ssl.keystore.key",
            "ssl.key.pem",
        ] {
            assert!(is_known(name) && is_secret(name), "{name}");
        }
        assert!(is_known("sasl.username") && !is_secret("sasl.username"));
        assert!(!is_known("acks") && !is_secret("acks"));
    }
}
