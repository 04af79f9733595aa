//! Gates in front of a broker that speaks plaintext and asks nobody who they are: one speaks TLS, one
//! demands a login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reka_protocol::kafka_protocol::messages::api_versions_response::ApiVersion;
use reka_protocol::kafka_protocol::messages::{
    ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_protocol::{ErrorCode, Request, codec, encode_response, response, versions};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;

/// A broker of ours behind a gate, which is all clients are told of.
pub(crate) struct Gated {
    pub(crate) address: String,
    /// Runs as long as this is kept.
    _server: Server,
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

/// Behind TLS. Clients come to the address as `host` says it.
pub(crate) async fn behind_tls(tls: Arc<ServerConfig>) -> Gated {
    let (listener, address) = listen().await;
    let server = Server::start_ours_as(&address);
    let broker = server.address().to_owned();
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, broker) = (acceptor.clone(), broker.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(broker).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    Gated {
        address,
        _server: server,
    }
}

/// What a gate that demands a login has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) logins: AtomicU64,
    /// Requests of somebody whose login was over.
    pub(crate) too_late: AtomicU64,
}

/// Behind a login by PLAIN as alice with the password `opensesame`, which is good for `lifetime`.
pub(crate) async fn behind_login(lifetime: Option<Duration>) -> (Gated, Arc<Seen>) {
    let (listener, address) = listen().await;
    let server = Server::start_ours_as(&address);
    let broker = server.address().to_owned();
    let seen = Arc::new(Seen::default());
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (broker, seen) = (broker.clone(), told.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(broker).await.ok()?;
                demand(client, server, lifetime, &seen).await
            });
        }
    });
    (
        Gated {
            address,
            _server: server,
        },
        seen,
    )
}

async fn frame(stream: &mut TcpStream) -> Option<Bytes> {
    let size = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(size).ok()?];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

async fn pass_on(stream: &mut TcpStream, frame: &[u8]) -> Option<()> {
    stream
        .write_i32(i32::try_from(frame.len()).ok()?)
        .await
        .ok()?;
    stream.write_all(frame).await.ok()
}

/// One request after the other: who is not logged in may ask for versions and log in.
async fn demand(
    mut client: TcpStream,
    mut server: TcpStream,
    lifetime: Option<Duration>,
    seen: &Seen,
) -> Option<()> {
    let mut logged_in: Option<Instant> = None;
    loop {
        let asked = frame(&mut client).await?;
        let header = Request::header(&asked).ok()?;
        let (api, version, id) = (header.api, header.version, header.correlation_id);
        let mut body = asked.slice(header.body_at..);
        match api.name {
            "SaslHandshake" => {
                let request: SaslHandshakeRequest =
                    codec::decode_request(api, version, &mut body).ok()?;
                let known = &*request.mechanism == "PLAIN";
                let code = match known {
                    true => ErrorCode::None,
                    false => ErrorCode::UnsupportedSaslMechanism,
                };
                let answer = SaslHandshakeResponse::default()
                    .with_error_code(code.code())
                    .with_mechanisms(vec![StrBytes::from_static_str("PLAIN")]);
                let answer = encode_response(api, version, id, &answer).ok()?;
                client.write_all(&answer).await.ok()?;
            }
            "SaslAuthenticate" => {
                let request: SaslAuthenticateRequest =
                    codec::decode_request(api, version, &mut body).ok()?;
                let right = &request.auth_bytes[..] == b"\0alice\0opensesame";
                let answer = match right {
                    true => SaslAuthenticateResponse::default().with_session_lifetime_ms(
                        lifetime.map_or(0, |lifetime| lifetime.as_millis() as i64),
                    ),
                    false => SaslAuthenticateResponse::default()
                        .with_error_code(ErrorCode::SaslAuthenticationFailed.code())
                        .with_error_message(Some("Invalid username or password".into())),
                };
                let answer = encode_response(api, version, id, &answer).ok()?;
                client.write_all(&answer).await.ok()?;
                if !right {
                    return None;
                }
                seen.logins.fetch_add(1, Ordering::Relaxed);
                logged_in = Some(Instant::now());
            }
            "ApiVersions" if logged_in.is_none() => {
                pass_on(&mut server, &asked).await?;
                let answered = frame(&mut server).await?;
                let decoded = response::decode_response::<ApiVersionsRequest>(
                    version,
                    &answered,
                    &response::LIMITS,
                );
                let mut answer = decoded.ok()?;
                for name in ["SaslHandshake", "SaslAuthenticate"] {
                    let api = versions::by_name(name)?;
                    let range = ApiVersion::default()
                        .with_api_key(api.key)
                        .with_min_version(api.min)
                        .with_max_version(api.max);
                    answer.api_keys.push(range);
                }
                let answer = encode_response(api, version, id, &answer).ok()?;
                client.write_all(&answer).await.ok()?;
            }
            // As Apache Kafka does: without a word.
            _ if logged_in.is_none() => return None,
            _ => {
                let is_over = |at: Instant| lifetime.is_some_and(|limit| at.elapsed() > limit);
                if logged_in.is_some_and(is_over) {
                    seen.too_late.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                pass_on(&mut server, &asked).await?;
                let answered = frame(&mut server).await?;
                pass_on(&mut client, &answered).await?;
            }
        }
    }
}
