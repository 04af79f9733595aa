//! One of the two brokers.

use std::collections::HashMap;
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

/// A broker, spoken to.
#[derive(Debug)]
pub struct Side {
    /// What it is called in reports.
    pub name: &'static str,
    address: SocketAddr,
    stream: Option<TcpStream>,
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
            stream: None,
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
        let step = format!("ask {} for api {} version {version}", self.name, R::KEY);
        let api = versions::by_key(R::KEY)
            .ok_or_else(|| Error::refused(step.as_str(), "not in the version table"))?;
        let frame = request_frame(api, version, 1, Some("differential"), request)
            .map_err(|error| Error::refused(step.as_str(), error.to_string()))?;
        let answer = match self.exchange(&frame) {
            Ok(answer) => answer,
            Err(error) if was_closed(&error) => {
                self.stream = None;
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

    fn exchange(&mut self, frame: &[u8]) -> io::Result<Vec<u8>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        stream.write_all(frame)?;
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
