//! One of the two brokers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reka_protocol::codec::request_frame;
use reka_protocol::kafka_protocol::messages::ResponseHeader;
use reka_protocol::kafka_protocol::protocol::{Decodable, Request};
use reka_protocol::versions;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Longer than any single answer takes, joins of groups included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
const ANSWER_BYTES_MAX: i32 = 64 << 20;
/// The connection that is used unless another one is named.
const FIRST: &str = "";

/// A broker, spoken to.
#[derive(Debug)]
pub struct Side {
    /// What it is called in reports.
    pub name: &'static str,
    address: SocketAddr,
    /// By name; most is asked on the one without.
    streams: HashMap<&'static str, TcpStream>,
    /// Ids of topics, by name, as this broker gave them.
    pub topic_ids: HashMap<String, Uuid>,
    /// Other numbers this broker gave, by what the script calls them.
    pub numbers: HashMap<String, i64>,
    /// Other texts this broker gave, by what the script calls them.
    pub texts: HashMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub enum Answer<T> {
    /// An answer.
    Response(T),
    /// The connection was closed instead.
    Closed,
}

impl Side {
    /// A broker at `address`.
    pub fn new(name: &'static str, address: SocketAddr) -> Side {
        Side {
            name,
            address,
            streams: HashMap::new(),
            topic_ids: HashMap::new(),
            numbers: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    /// The id of a topic; nil when it has none.
    pub fn topic_id(&self, name: &str) -> Uuid {
        self.topic_ids.get(name).copied().unwrap_or_default()
    }

    /// A number the broker gave; -1 when it did not.
    pub fn number(&self, name: &str) -> i64 {
        self.numbers.get(name).copied().unwrap_or(-1)
    }

    /// A text the broker gave; empty when it did not.
    pub fn text(&self, name: &str) -> String {
        self.texts.get(name).cloned().unwrap_or_default()
    }

    /// Sends a request and waits for what comes back.
    pub fn ask<R: Request + 'static>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<Answer<R::Response>> {
        self.ask_on(FIRST, version, request)
    }

    /// The same on a connection of its own: whoever waits for an answer keeps only that one.
    pub fn ask_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
        request: &R,
    ) -> Result<Answer<R::Response>> {
        self.send_on(connection, version, request)?;
        self.receive_on::<R>(connection, version)
    }

    /// Sends a request, whose answer is to be received on the same connection.
    pub fn send_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
        request: &R,
    ) -> Result<()> {
        let (step, api) = self.step::<R>(version)?;
        let frame = request_frame(api, version, 1, Some("differential"), request)
            .map_err(|error| Error::refused(step.as_str(), error.to_string()))?;
        match self.write(connection, &frame) {
            Ok(()) => Ok(()),
            // Noticed when its answer is waited for.
            Err(error) if was_closed(&error) => Ok(()),
            Err(error) => Err(Error::io(step)(error)),
        }
    }

    /// Waits for what comes back.
    pub fn receive_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
    ) -> Result<Answer<R::Response>> {
        let (step, api) = self.step::<R>(version)?;
        let answer = match self.read(connection) {
            Ok(answer) => answer,
            Err(error) if was_closed(&error) => {
                self.streams.remove(connection);
                return Ok(Answer::Closed);
            }
            Err(error) => return Err(Error::io(step)(error)),
        };
        let mut answer = bytes::Bytes::from(answer);
        let decoded = ResponseHeader::decode(&mut answer, api.response_header_version(version))
            .and_then(|_| R::Response::decode(&mut answer, api.codec_version(version)));
        let response = decoded.map_err(|error| Error::refused(step.as_str(), error.to_string()))?;
        match answer.is_empty() {
            true => Ok(Answer::Response(response)),
            false => Err(Error::refused(
                step,
                format!("{} bytes behind the answer", answer.len()),
            )),
        }
    }

    fn step<R: Request + 'static>(&self, version: i16) -> Result<(String, &'static versions::Api)> {
        let step = format!("ask {} for api {} version {version}", self.name, R::KEY);
        match versions::by_key(R::KEY) {
            Some(api) => Ok((step, api)),
            None => Err(Error::refused(step, "not in the version table")),
        }
    }

    fn write(&mut self, connection: &'static str, frame: &[u8]) -> io::Result<()> {
        let stream = match self.streams.entry(connection) {
            Entry::Occupied(stream) => stream.into_mut(),
            Entry::Vacant(place) => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
                stream.set_nodelay(true)?;
                place.insert(stream)
            }
        };
        stream.write_all(frame)
    }

    fn read(&mut self, connection: &'static str) -> io::Result<Vec<u8>> {
        let Some(stream) = self.streams.get_mut(connection) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let size = i32::from_be_bytes(size);
        if !(4..=ANSWER_BYTES_MAX).contains(&size) {
            let why = format!("an answer of {size} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut answer = vec![0; size as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
