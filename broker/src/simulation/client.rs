//! A client in virtual time: one request after the other.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use reka_protocol::codec::request_frame;
use reka_protocol::kafka_protocol::messages::ResponseHeader;
use reka_protocol::kafka_protocol::protocol::{Decodable, Request};
use reka_protocol::versions;

use super::network::End;

/// Longer than any answer takes, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    end: End,
    correlation_id: i32,
}

impl Client {
    pub(super) fn new(end: End) -> Client {
        Client {
            end,
            correlation_id: 0,
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<R>(&mut self, version: i16, request: &R) -> R::Response
    where
        R: Request + 'static,
    {
        self.correlation_id += 1;
        let api = versions::by_key(R::KEY).expect("a known api");
        let frame = request_frame(api, version, self.correlation_id, Some("sim"), request)
            .expect("a request of this version");
        let exchange = self.exchange(&frame);
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        let mut answer = answer.expect("an answer in time").expect("a connection");
        let header = ResponseHeader::decode(&mut answer, api.response_header_version(version))
            .expect("a header");
        assert_eq!(header.correlation_id, self.correlation_id);
        R::Response::decode(&mut answer, api.codec_version(version)).expect("an answer")
    }

    async fn exchange(&self, mut request: &[u8]) -> io::Result<Bytes> {
        while !request.is_empty() {
            poll_fn(|task| self.end.poll_write_ready(task)).await?;
            request = &request[self.end.try_write(request)?..];
        }
        let mut answer = BytesMut::new();
        loop {
            if let Some(size) = answer.first_chunk() {
                let size = u32::from_be_bytes(*size) as usize;
                if answer.len() == 4 + size {
                    answer.advance(4);
                    return Ok(answer.freeze());
                }
            }
            poll_fn(|task| self.end.poll_read_ready(task)).await?;
            match self.end.try_read(&mut answer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}
