//! One connection to one broker, with requests in flight.
//!
//! A broker answers in the order it was asked, so the answer that comes next belongs to the oldest
//! request; the correlation id only proves it. One task owns the socket: it writes what is handed
//! to it and gives answers out as they come. A request that is not answered in time ends the
//! connection, as nothing behind it can be answered either.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reka_protocol::kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use reka_protocol::kafka_protocol::protocol::{Request, StrBytes};
use reka_protocol::{Api, ErrorCode, FrameReader, codec, response, versions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::{Address, ClientConfig};
use crate::error::{
    CLOSED_AT_FIRST, CLOSED_AT_START, ClientError, ConnectionError, ConnectionProblem,
};
use crate::negotiate::BrokerVersions;
use crate::security::login::Login;
use crate::security::{Security, tls};

/// Requests on their way over one connection; more wait for room.
const IN_FLIGHT_MAX: usize = 64;
/// What is read from the socket at once, but for large frames, which are read where they stay.
const READ_BYTES: usize = 32 * 1024;

type Answer = Result<Bytes, ConnectionProblem>;

/// A connection whose broker has said which versions it speaks. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct Connection {
    broker: Arc<str>,
    requests: mpsc::Sender<Outgoing>,
    correlation_id: Arc<AtomicI32>,
    client_id: Arc<str>,
    versions: Arc<BrokerVersions>,
    request_timeout: Duration,
    /// Who the client is, if the broker asks.
    login: Option<Arc<Login>>,
}

#[derive(Debug)]
struct Outgoing {
    frame: BytesMut,
    correlation_id: i32,
    /// How long its answer may take once it is the oldest; none for requests without an answer.
    patience: Duration,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Connection {
    /// Connects, and asks which versions the broker speaks.
    pub async fn open(address: &Address, config: &ClientConfig) -> Result<Self, ConnectionError> {
        let at = |reason| ConnectionError {
            broker: address.to_string(),
            reason,
        };
        let limit = config.connect_timeout;
        let opened = timeout(limit, async {
            let stream = dial(address).await?;
            let broker = address.to_string();
            match &config.security.tls {
                None => Self::start(stream, &broker, config).await,
                Some(tls) => {
                    let stream = tls.connect(&address.host, stream).await?;
                    Self::start(stream, &broker, config).await
                }
            }
        });
        match opened.await {
            Ok(opened) => opened.map_err(at),
            Err(_) => Err(at(ConnectionProblem::Timeout {
                what: "connection that says which versions it speaks",
                limit,
            })),
        }
    }

    /// The same over a stream that is connected already. `broker` is who errors name.
    pub async fn start<S>(
        stream: S,
        broker: &str,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionProblem>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        // As many wait as may be on their way.
        let (requests, queue) = mpsc::channel(IN_FLIGHT_MAX);
        tokio::spawn(run(stream, queue, config.frame_bytes_max));
        let mut connection = Connection {
            broker: broker.into(),
            requests,
            correlation_id: Arc::new(AtomicI32::new(0)),
            client_id: config.client_id.as_str().into(),
            versions: Arc::default(),
            request_timeout: config.request_timeout,
            login: None,
        };
        let versions = connection.negotiate().await?;
        connection.versions = Arc::new(BrokerVersions::new(&versions));
        if let Some(sasl) = &config.security.sasl {
            let without = Security {
                tls: config.security.tls.clone(),
                sasl: None,
            };
            let login = Arc::new(Login::new(sasl.clone(), without.protocol()));
            login.run(&connection).await?;
            connection.login = Some(login);
        }
        Ok(connection)
    }

    /// What the broker speaks.
    #[must_use]
    pub fn versions(&self) -> &BrokerVersions {
        &self.versions
    }

    /// Where the broker is, as errors name it.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// Whether it has ended: the next request needs another one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.call_within(version, request, Duration::ZERO).await
    }

    /// The same for a request the broker may hold back for `longer` before it answers.
    pub async fn call_within<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
        longer: Duration,
    ) -> Result<R::Response, ClientError> {
        self.send(version, request, longer).await?.wait().await
    }

    /// Sends a request; its answer is waited for later, and others may be sent meanwhile. Requests
    /// reach the broker in the order in which this returns.
    pub async fn send<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
        longer: Duration,
    ) -> Result<Pending<R>, ClientError> {
        let (answer, answered) = oneshot::channel();
        self.hand_over(version, request, longer, Some(answer))
            .await?;
        Ok(self.pending(version, answered))
    }

    /// Sends a request of a login, which waits for no login.
    pub(crate) async fn call_alone<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let (answer, answered) = oneshot::channel();
        self.put(version, request, Duration::ZERO, Some(answer))
            .await?;
        self.pending::<R>(version, answered).wait().await
    }

    fn pending<R: Request + 'static>(
        &self,
        version: i16,
        answered: oneshot::Receiver<Answer>,
    ) -> Pending<R> {
        Pending {
            api: api::<R>(),
            version,
            broker: self.broker.clone(),
            answered,
            request: std::marker::PhantomData,
        }
    }

    /// Sends a request that is never answered: produce with `acks=0`.
    pub async fn send_unanswered<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<(), ClientError> {
        self.hand_over(version, request, Duration::ZERO, None).await
    }

    async fn hand_over<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
        longer: Duration,
        answer: Option<oneshot::Sender<Answer>>,
    ) -> Result<(), ClientError> {
        let Some(login) = &self.login else {
            return self.put(version, request, longer, answer).await;
        };
        let mut turn = login.turn.read().await;
        if login.is_due() {
            drop(turn);
            let renewed = self.renew(login).await;
            renewed.map_err(|problem| lost(api::<R>(), &self.broker, problem))?;
            turn = login.turn.read().await;
        }
        let put = self.put(version, request, longer, answer).await;
        drop(turn);
        put
    }

    /// Logs in again. It is carried to its end even if who asked stops waiting: half a login would be
    /// the end of the connection.
    async fn renew(&self, login: &Arc<Login>) -> Result<(), ConnectionProblem> {
        let (connection, login) = (self.clone(), login.clone());
        let renewed = tokio::spawn(async move {
            let _turn = login.turn.write().await;
            match login.is_due() {
                true => login.run(&connection).await,
                // Somebody else was faster.
                false => Ok(()),
            }
        });
        renewed.await.unwrap_or(Err(ConnectionProblem::Gone))
    }

    async fn put<R: Request + 'static>(
        &self,
        version: i16,
        request: &R,
        longer: Duration,
        answer: Option<oneshot::Sender<Answer>>,
    ) -> Result<(), ClientError> {
        let api = api::<R>();
        let correlation_id = self.correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame =
            codec::request_frame(api, version, correlation_id, Some(&self.client_id), request)
                .map_err(|error| ClientError::Unencodable {
                    api: api.name,
                    reason: error.to_string(),
                })?;
        let outgoing = Outgoing {
            frame,
            correlation_id,
            patience: self.request_timeout.saturating_add(longer),
            answer,
        };
        let sent = self.requests.send(outgoing).await;
        sent.map_err(|_| lost(api, &self.broker, ConnectionProblem::Closed("")))
    }

    async fn negotiate(&self) -> Result<ApiVersionsResponse, ConnectionProblem> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("reka-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let newest = versions::API_VERSIONS.max;
        let answer = self.ask_versions(newest, &request).await?;
        // A broker that is older answers in version 0, with this error and the range it knows.
        if answer.error_code == ErrorCode::UnsupportedVersion.code() {
            let known = BrokerVersions::new(&answer);
            let version = known
                .choose(&versions::API_VERSIONS, &(0..=newest))
                .unwrap_or(0);
            let plain = ApiVersionsRequest::default();
            let request = if version >= 3 { &request } else { &plain };
            return self.ask_versions(version, request).await;
        }
        Ok(answer)
    }

    async fn ask_versions(
        &self,
        version: i16,
        request: &ApiVersionsRequest,
    ) -> Result<ApiVersionsResponse, ConnectionProblem> {
        let unreadable = |error: String| ConnectionProblem::Frame(error);
        let sent = self.send(version, request, Duration::ZERO).await;
        let pending = sent.map_err(connection_problem)?;
        let frame = match pending.answered.await {
            Ok(Ok(frame)) => frame,
            Ok(Err(ConnectionProblem::Closed(_) | ConnectionProblem::Io(_))) | Err(_) => {
                return Err(ConnectionProblem::Closed(CLOSED_AT_START));
            }
            Ok(Err(problem)) => return Err(problem),
        };
        // The error code comes first in every version, and tells which version the rest is in.
        let code = frame
            .get(4..6)
            .map(|code| i16::from_be_bytes([code[0], code[1]]));
        let version = match code {
            Some(code) if code == ErrorCode::UnsupportedVersion.code() => 0,
            _ => version,
        };
        let decoded =
            response::decode_response::<ApiVersionsRequest>(version, &frame, &response::LIMITS);
        let answer =
            decoded.map_err(|error| unreadable(format!("no answer to ApiVersions: {error}")))?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None | ErrorCode::UnsupportedVersion) => Ok(answer),
            _ => Err(unreadable(format!(
                "it refused to say which versions it speaks: error {}",
                answer.error_code
            ))),
        }
    }
}

fn connection_problem(error: ClientError) -> ConnectionProblem {
    match error {
        ClientError::Connection { error, .. } => error.reason,
        other => ConnectionProblem::Io(other.to_string()),
    }
}

/// An answer that is waited for.
#[derive(Debug)]
pub struct Pending<R> {
    api: &'static Api,
    version: i16,
    broker: Arc<str>,
    answered: oneshot::Receiver<Answer>,
    request: std::marker::PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer; the connection ends the wait when it takes too long.
    pub async fn wait(self) -> Result<R::Response, ClientError> {
        let answer = self.answered.await.unwrap_or(Err(ConnectionProblem::Gone));
        let frame = answer.map_err(|reason| lost(self.api, &self.broker, reason))?;
        let decoded = response::decode_response::<R>(self.version, &frame, &response::LIMITS);
        decoded.map_err(|error| ClientError::Malformed {
            broker: self.broker.to_string(),
            error,
        })
    }
}

fn lost(api: &Api, broker: &str, reason: ConnectionProblem) -> ClientError {
    ClientError::Connection {
        api: api.name,
        error: ConnectionError {
            broker: broker.to_owned(),
            reason,
        },
    }
}

/// The table's row for a request. Every request type the crate uses is in it.
pub(crate) fn api<R: Request>() -> &'static Api {
    let Some(api) = versions::by_key(R::KEY) else {
        panic!("no row in the version table for key {}", R::KEY);
    };
    api
}

async fn dial(address: &Address) -> Result<TcpStream, ConnectionProblem> {
    let addresses = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let addresses: Vec<_> = addresses
        .map_err(|error| ConnectionProblem::Name(error.to_string()))?
        .collect();
    let mut problem = ConnectionProblem::Name("it has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => problem = ConnectionProblem::Connect(error.to_string()),
        }
    }
    Err(problem)
}

/// A request that is to be answered.
struct Owed {
    correlation_id: i32,
    /// By when, counted from the moment it was handed over.
    by: Instant,
    patience: Duration,
    answer: oneshot::Sender<Answer>,
}

/// Owns the socket until it breaks, an answer is overdue, or nobody holds the connection.
async fn run<S>(stream: S, mut queue: mpsc::Receiver<Outgoing>, frame_bytes_max: usize)
where
    S: AsyncRead + AsyncWrite,
{
    let mut owed = VecDeque::new();
    let mut answered = 0;
    let problem = serve(
        stream,
        &mut queue,
        &mut owed,
        frame_bytes_max,
        &mut answered,
    )
    .await;
    // A broker that lets nobody in without a login still says which versions it speaks.
    let problem = match problem {
        ConnectionProblem::Closed("") if answered == 1 && !owed.is_empty() => {
            ConnectionProblem::Closed(CLOSED_AT_FIRST)
        }
        other => other,
    };
    queue.close();
    for request in owed {
        let _ = request.answer.send(Err(problem.clone()));
    }
    while let Some(request) = queue.recv().await {
        if let Some(answer) = request.answer {
            let _ = answer.send(Err(problem.clone()));
        }
    }
}

async fn serve<S>(
    stream: S,
    queue: &mut mpsc::Receiver<Outgoing>,
    owed: &mut VecDeque<Owed>,
    frame_bytes_max: usize,
    answered: &mut u64,
) -> ConnectionProblem
where
    S: AsyncRead + AsyncWrite,
{
    let (mut input, mut output) = tokio::io::split(stream);
    let mut frames = FrameReader::new(frame_bytes_max);
    let mut scratch = BytesMut::with_capacity(READ_BYTES);
    let mut out: VecDeque<BytesMut> = VecDeque::new();
    // What TLS has taken and not sent yet.
    let mut unflushed = false;
    loop {
        let overdue = owed.front().map(|oldest| (oldest.by, oldest.patience));
        let deadline = async {
            match overdue {
                Some((by, patience)) => {
                    tokio::time::sleep_until(by).await;
                    patience
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = read_some(&mut input, &mut frames, &mut scratch) => match read {
                Ok(0) => return ConnectionProblem::Closed(""),
                Ok(_) => {
                    if let Err(problem) = hand_out(&mut frames, &mut scratch, owed, answered) {
                        return problem;
                    }
                }
                Err(error) => return ConnectionProblem::io(&error),
            },
            written = write_some(&mut output, &mut out, &mut unflushed),
                if unflushed || !out.is_empty() => {
                if let Err(error) = written {
                    return ConnectionProblem::io(&error);
                }
            }
            next = queue.recv(), if owed.len() < IN_FLIGHT_MAX && out.len() < IN_FLIGHT_MAX => {
                let Some(next) = next else {
                    return ConnectionProblem::Gone;
                };
                out.push_back(next.frame);
                if let Some(answer) = next.answer {
                    owed.push_back(Owed {
                        correlation_id: next.correlation_id,
                        by: Instant::now() + next.patience,
                        patience: next.patience,
                        answer,
                    });
                }
            }
            limit = deadline => return ConnectionProblem::Timeout { what: "answer", limit },
        }
    }
}

/// Reads into the frame under way if there is one, into `scratch` otherwise. Nothing is lost if it
/// is dropped before it is done.
async fn read_some<S: AsyncRead>(
    input: &mut tokio::io::ReadHalf<S>,
    frames: &mut FrameReader,
    scratch: &mut BytesMut,
) -> io::Result<usize> {
    if frames.declared().is_some() {
        return input.read_buf(&mut frames.room()).await;
    }
    scratch.reserve(READ_BYTES);
    input.read_buf(scratch).await
}

async fn write_some<S: AsyncWrite>(
    output: &mut tokio::io::WriteHalf<S>,
    out: &mut VecDeque<BytesMut>,
    unflushed: &mut bool,
) -> io::Result<()> {
    if let Some(frame) = out.front_mut() {
        let written = output.write_buf(frame).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *unflushed = true;
        if frame.is_empty() {
            out.pop_front();
        }
    }
    if out.is_empty() {
        output.flush().await?;
        *unflushed = false;
    }
    Ok(())
}

/// Gives every answer that has arrived whole to who waits for it.
fn hand_out(
    frames: &mut FrameReader,
    scratch: &mut BytesMut,
    owed: &mut VecDeque<Owed>,
    answered: &mut u64,
) -> Result<(), ConnectionProblem> {
    if let Some(frame) = frames.take_complete() {
        answer(frame, owed)?;
        *answered += 1;
    }
    // To plaintext a port that speaks TLS answers with an alert.
    if *answered == 0 && frames.is_between_frames() && tls::looks_like_tls(scratch) {
        return Err(ConnectionProblem::SpeaksTls);
    }
    let mut input = &scratch[..];
    loop {
        let frame = frames
            .read(&mut input)
            .map_err(|error| ConnectionProblem::Frame(error.to_string()))?;
        match frame {
            Some(frame) => {
                answer(frame, owed)?;
                *answered += 1;
            }
            None => break,
        }
    }
    scratch.clear();
    Ok(())
}

fn answer(frame: BytesMut, owed: &mut VecDeque<Owed>) -> Result<(), ConnectionProblem> {
    let found = response::correlation_id(&frame)
        .map_err(|error| ConnectionProblem::Frame(error.to_string()))?;
    let Some(oldest) = owed.pop_front() else {
        let text = format!("answer {found} came where nothing was asked");
        return Err(ConnectionProblem::Frame(text));
    };
    let expected = oldest.correlation_id;
    if found != expected {
        let problem = ConnectionProblem::OutOfOrder { found, expected };
        let _ = oldest.answer.send(Err(problem.clone()));
        return Err(problem);
    }
    // Whoever asked may have stopped waiting; the answer is dropped then.
    let _ = oldest.answer.send(Ok(frame.freeze()));
    Ok(())
}
