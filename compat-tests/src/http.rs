//! A request over HTTP to a program that was started here: no TLS, no redirects, one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The status and the body of what `address` answers. Version 1.0, so that the answer ends with the
/// connection.
pub fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let step = format!("{method} http://{address}{path}");
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(Error::io(step.as_str()))?;
    parse(&answer).ok_or_else(|| Error::refused(step, format!("no answer of HTTP: {answer:?}")))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = "HTTP/1.1 201 Created\r\nServer: Jetty\r\n\r\n{\"name\":\"sink\"}";
        assert_eq!(parse(answer), Some((201, "{\"name\":\"sink\"}".to_owned())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
