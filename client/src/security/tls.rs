//! TLS: whom to trust, who the client is, and what a handshake that fails says.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Secret;
use crate::error::{ClientError, ConnectionProblem};

/// What TLS is to be made of. The default trusts whom the system trusts.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Who may sign the certificates of brokers.
    pub trust: Trust,
    /// Who the client is, for brokers that ask.
    pub identity: Option<Identity>,
    /// Whether a broker's certificate has to be for the host it was reached at.
    pub host: HostCheck,
    /// Kafka's names of the versions, such as `TLSv1.3`; all there are where it is empty.
    pub versions: Vec<String>,
}

/// Who may sign the certificates of brokers.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Whom this machine trusts.
    #[default]
    System,
    /// Certificates as PEM.
    Pem {
        /// Where they are from, as errors say it.
        from: String,
        /// The certificates.
        text: String,
    },
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where they are from, as errors say it.
    pub from: String,
    /// The certificate and those that lead to an authority, as PEM.
    pub chain: String,
    /// The key as PEM, not encrypted.
    pub key: Secret,
}

/// Whether a broker's certificate has to be for the host it was reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostCheck {
    /// It has to be.
    #[default]
    Name,
    /// Any that is trusted will do: `ssl.endpoint.identification.algorithm=` without a value.
    Off,
}

/// TLS as connections use it.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [
    ("TLSv1.3", &rustls::version::TLS13),
    ("TLSv1.2", &rustls::version::TLS12),
];

impl Tls {
    /// Reads certificates and keys. What cannot be used is told with where it is from.
    pub fn new(settings: &TlsSettings) -> Result<Self, ClientError> {
        let config = config(settings).map_err(|reason| ClientError::Config { reason })?;
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Makes a connection safe: the broker has to be who `host` says.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectionProblem> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            ConnectionProblem::Tls(TlsProblem::Other(format!(
                "{host:?} is no name a certificate could be for"
            )))
        })?;
        let connected = self.connector.connect(name, stream).await;
        connected.map_err(|error| match problem(&error) {
            Some(problem) => ConnectionProblem::Tls(problem),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => ConnectionProblem::Tls(TlsProblem::Closed),
                _ => ConnectionProblem::Io(error.to_string()),
            },
        })
    }
}

fn config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let trusted = trusted(&settings.trust)?;
    let verifier = Verifier::new(trusted, settings.host, &provider)?;
    let versions = versions(&settings.versions)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("tls: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(identity) = &settings.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let from = &identity.from;
    let chain = certificates(from, &identity.chain)?;
    let key = key(from, identity.key.reveal())?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("{from}: certificate and key cannot be used: {error}"))
}

fn versions(names: &[String]) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if names.is_empty() {
        return Ok(VERSIONS.iter().map(|(_, version)| *version).collect());
    }
    let find = |name: &String| {
        let found = VERSIONS.iter().find(|(known, _)| known == name);
        found.map(|(_, version)| *version).ok_or_else(|| {
            format!("ssl.enabled.protocols: expected TLSv1.3 or TLSv1.2, found {name:?}")
        })
    };
    names.iter().map(find).collect()
}

fn trusted(trust: &Trust) -> Result<Vec<CertificateDer<'static>>, String> {
    match trust {
        Trust::Pem { from, text } => certificates(from, text),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            match (found.certs.is_empty(), found.errors.first()) {
                (false, _) => Ok(found.certs),
                (true, Some(error)) => Err(format!("read whom this machine trusts: {error}")),
                (true, None) => Err(
                    "this machine trusts no authority: name certificates in ssl.truststore.location"
                        .to_owned(),
                ),
            }
        }
    }
}

fn certificates(from: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let read = read.map_err(|error| format!("{from}: no PEM: {error}"))?;
    if read.is_empty() {
        return Err(format!(
            "{from}: there is no certificate in it, expected PEM with BEGIN CERTIFICATE"
        ));
    }
    Ok(read)
}

fn key(from: &str, text: &str) -> Result<PrivateKeyDer<'static>, String> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{from}: the key is encrypted; decrypt it with openssl pkcs8 -in KEY -out PLAIN"
        ));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| format!("{from}: there is no key in it, expected PEM with BEGIN PRIVATE KEY"))
}

/// Checks certificates as the web does, and takes one that is itself among the trusted, as Java does:
/// a broker's own, signed by nobody else.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    host: HostCheck,
}

impl Verifier {
    fn new(
        trusted: Vec<CertificateDer<'static>>,
        host: HostCheck,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // Some that machines trust are too old to be read, which is no reason to trust none.
        let (taken, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if taken == 0 {
            return Err("none of the certificates to trust can be read".to_owned());
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("certificates to trust: {error}"))?;
        Ok(Verifier {
            chains,
            trusted,
            host,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = if self.trusted.iter().any(|trusted| trusted == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)
                .map(|()| ServerCertVerified::assertion())
        } else {
            self.chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )
        };
        match verified {
            // The name is looked at last: everything else is as it should be.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.host == HostCheck::Off => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Why two sides did not come to speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// What came was no TLS.
    #[error(
        "it answers tls with something else: is its port one without tls? then set \
         security.protocol=PLAINTEXT or SASL_PLAINTEXT"
    )]
    NotTls,
    /// It closed in the middle of the handshake.
    #[error(
        "it closed the connection in the middle of the tls handshake: is its port one without tls? \
         then set security.protocol=PLAINTEXT or SASL_PLAINTEXT"
    )]
    Closed,
    /// Nobody who is trusted has signed its certificate.
    #[error(
        "its certificate is signed by nobody who is trusted: name the certificate of its authority \
         in ssl.truststore.location"
    )]
    Untrusted,
    /// Its certificate is for others.
    #[error(
        "its certificate is for {presented} and not for {expected}: use one of these names, or set \
         ssl.endpoint.identification.algorithm= to take any"
    )]
    WrongName {
        /// The host that was asked for.
        expected: String,
        /// Whom it is for.
        presented: String,
    },
    /// Its certificate is too old, or not good yet.
    #[error("its certificate has expired or is not good yet")]
    Expired,
    /// It wants a certificate of the client.
    #[error(
        "it wants a certificate of the client that it can trust: name one in ssl.keystore.location \
         (tls alert {0})"
    )]
    ClientCertificate(String),
    /// Anything else.
    #[error("tls: {0}")]
    Other(String),
}

/// What an error of a connection says about TLS; nothing if it is not about TLS.
pub(crate) fn problem(error: &io::Error) -> Option<TlsProblem> {
    use CertificateError as C;
    use rustls::Error as E;
    let error = error.get_ref()?.downcast_ref::<E>()?;
    Some(match error {
        E::InvalidMessage(_) => TlsProblem::NotTls,
        E::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => TlsProblem::Untrusted,
        E::InvalidCertificate(C::NotValidForNameContext {
            expected,
            presented,
        }) => TlsProblem::WrongName {
            expected: expected.to_str().into_owned(),
            presented: names(presented),
        },
        E::InvalidCertificate(
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. },
        ) => TlsProblem::Expired,
        E::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            // Its authority has the name of one that is trusted, and is another.
            | AlertDescription::DecryptError),
        ) => TlsProblem::ClientCertificate(format!("{alert:?}")),
        other => TlsProblem::Other(other.to_string()),
    })
}

/// `DnsName("broker")` and `IpAddress(127.0.0.1)` as people write them.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no host at all".to_owned();
    }
    let plain = |name: &String| {
        let inner = name
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let mut names: Vec<String> = presented.iter().take(NAMES_SHOWN_MAX).map(plain).collect();
    if presented.len() > NAMES_SHOWN_MAX {
        names.push("others".to_owned());
    }
    names.join(", ")
}

/// A certificate may have hundreds of names.
const NAMES_SHOWN_MAX: usize = 5;

/// Whether bytes where an answer is due are a record of TLS: an alert, or the middle of a handshake.
pub(crate) fn looks_like_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, 0..=4, ..])
}
