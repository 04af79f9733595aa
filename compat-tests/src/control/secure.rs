//! Secure ports of Apache Kafka, with the settings by which a client comes in, and others by which it
//! must not: an authority of this run's own signs certificates, Apache Kafka keeps two users.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::control::java::Java;
use crate::control::kafka::{Kafka, Listener};
use crate::error::{Error, Result};
use crate::files;
use crate::ports;

/// Apache Kafka with a port for each way of being safe.
#[derive(Debug)]
pub struct Secure {
    /// The broker, whose own address is one of plaintext.
    pub kafka: Kafka,
    /// Settings of clients: `NAME.properties`, and beside those that must be refused `NAME.refused`
    /// with what has to be said.
    pub settings: PathBuf,
}

const PASSWORD: &str = "alice-secret";
/// How long a login on one port is good for.
const LOGIN_MS: u32 = 1500;

/// Starts it with all its files below `home`.
pub fn start(java: &Java, home: &Path) -> Result<Secure> {
    let settings = home.join("settings");
    files::make_dir(&settings)?;
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = settings.join(name);
        files::write(&path, text)?;
        Ok(path)
    };
    let broker = write("broker.pem", &ours.sign("127.0.0.1")?)?;
    let authority = write("authority.pem", &ours.pem)?;
    let stranger = write("stranger.pem", &theirs.pem)?;
    let alice = write("alice.pem", &ours.sign("alice")?)?;

    let [tls, asking, sasl, renewed, both] = ports::free().map_err(Error::io("find free ports"))?;
    let listeners = [
        Listener::new("TLS", "SSL", tls),
        Listener::new("ASKING", "SSL", asking),
        Listener::new("SASL", "SASL_PLAINTEXT", sasl),
        Listener::new("RENEWED", "SASL_PLAINTEXT", renewed),
        Listener::new("BOTH", "SASL_SSL", both),
    ];
    let mut lines = vec![
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", broker.display()),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", authority.display()),
        "listener.name.asking.ssl.client.auth=required".to_owned(),
        format!("listener.name.renewed.plain.connections.max.reauth.ms={LOGIN_MS}"),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
    ];
    for listener in ["sasl", "renewed", "both"] {
        let modules = [
            (
                "plain",
                format!("plain.PlainLoginModule required user_alice=\"{PASSWORD}\";"),
            ),
            (
                "scram-sha-256",
                "scram.ScramLoginModule required;".to_owned(),
            ),
            (
                "scram-sha-512",
                "scram.ScramLoginModule required;".to_owned(),
            ),
            (
                "oauthbearer",
                "oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"broker\";"
                    .to_owned(),
            ),
        ];
        for (mechanism, module) in modules {
            lines.push(format!(
                "listener.name.{listener}.{mechanism}.sasl.jaas.config={SECURITY}.{module}"
            ));
        }
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let users = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
        .map(|mechanism| format!("{mechanism}=[name=alice,password={PASSWORD}]"));
    let kafka = Kafka::start_with_listeners(java, home, &lines, &listeners, &users)?;

    let plain = kafka.address().port();
    let trust = format!(
        "ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        authority.display()
    );
    let with = |protocol: &str, more: &str| format!("security.protocol={protocol}\n{more}");
    let jaas = |module: &str, password: &str| {
        format!(
            "sasl.jaas.config={SECURITY}.{module} required username=\"alice\" \
             password=\"{password}\";\n"
        )
    };
    let by_plain = |password: &str| {
        format!(
            "sasl.mechanism=PLAIN\n{}",
            jaas("plain.PlainLoginModule", password)
        )
    };
    let by_scram = |hash: &str, password: &str| {
        let jaas = jaas("scram.ScramLoginModule", password);
        format!("sasl.mechanism=SCRAM-SHA-{hash}\n{jaas}")
    };
    let bearer = format!(
        "sasl.mechanism=OAUTHBEARER\nsasl.jaas.config={SECURITY}.oauthbearer.\
         OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";\n"
    );
    let identity = format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\n",
        alice.display()
    );
    let file = |name: &str, port: u16, text: String| {
        let at = format!("bootstrap.servers=127.0.0.1:{port}\n");
        write(&format!("{name}.properties"), &(at + &text)).map(drop)
    };
    file("tls", tls, with("SSL", &trust))?;
    let older = format!("{trust}ssl.enabled.protocols=TLSv1.2\n");
    file("tls-1.2", tls, with("SSL", &older))?;
    file("asking", asking, with("SSL", &format!("{trust}{identity}")))?;
    file("plain", sasl, with("SASL_PLAINTEXT", &by_plain(PASSWORD)))?;
    for hash in ["256", "512"] {
        let text = with("SASL_PLAINTEXT", &by_scram(hash, PASSWORD));
        file(&format!("scram-{hash}"), sasl, text)?;
    }
    file("bearer", sasl, with("SASL_PLAINTEXT", &bearer))?;
    file(
        "renewed",
        renewed,
        with("SASL_PLAINTEXT", &by_plain(PASSWORD)),
    )?;
    let text = format!("{trust}{}", by_scram("512", PASSWORD));
    file("both", both, with("SASL_SSL", &text))?;

    let refused = |name: &str, port: u16, text: String, expected: &str| -> Result<()> {
        file(name, port, text)?;
        write(&format!("{name}.refused"), expected).map(drop)
    };
    let strange = format!("ssl.truststore.location={}\n", stranger.display());
    let nobody = "signed by nobody who is trusted";
    refused("stranger", tls, with("SSL", &strange), nobody)?;
    let elsewhere = with("SSL", &trust) + &format!("bootstrap.servers=localhost:{tls}\n");
    let name = "for 127.0.0.1 and not for localhost";
    refused("other-name", tls, elsewhere, name)?;
    let unknown = "it wants a certificate of the client";
    refused("nobody", asking, with("SSL", &trust), unknown)?;
    let no_tls = "is its port one without tls?";
    refused("tls-to-plaintext", plain, with("SSL", &trust), no_tls)?;
    let tls_there = "its port speaks tls";
    refused("plaintext-to-tls", tls, with("PLAINTEXT", ""), tls_there)?;
    let no_login = "does it expect a login by sasl?";
    refused("no-login", sasl, with("PLAINTEXT", ""), no_login)?;
    let uncalled = with("SASL_PLAINTEXT", &by_plain(PASSWORD));
    refused(
        "uncalled",
        plain,
        uncalled,
        "it expects no login on this port",
    )?;
    let wrong = with("SASL_PLAINTEXT", &by_plain("guess"));
    refused(
        "plain-guess",
        sasl,
        wrong,
        "refused the login of user alice by PLAIN",
    )?;
    let wrong = with("SASL_PLAINTEXT", &by_scram("256", "guess"));
    let expected = "refused the login of user alice by SCRAM-SHA-256";
    refused("scram-guess", sasl, wrong, expected)?;
    Ok(Secure { kafka, settings })
}

const SECURITY: &str = "org.apache.kafka.common.security";

/// Signs certificates for the length of a run.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Result<Authority> {
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let key = KeyPair::generate()?;
            let pem = params.self_signed(&key)?.pem();
            let issuer = Issuer::new(params, key);
            Ok(Authority { pem, issuer })
        };
        make().map_err(|error: rcgen::Error| Error::refused("make an authority", error.to_string()))
    }

    /// A key and its certificate for a host, in one file as Java wants it.
    fn sign(&self, host: &str) -> Result<String> {
        let make = || {
            let mut params = CertificateParams::new(vec![host.to_owned()])?;
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, host);
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok(key.serialize_pem() + &certificate.pem())
        };
        make()
            .map_err(|error: rcgen::Error| Error::refused("sign a certificate", error.to_string()))
    }
}
