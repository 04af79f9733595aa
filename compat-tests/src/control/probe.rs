//! Whether a broker answers: one Metadata request, written by hand.
//!
//! A port that accepts is not enough, Apache Kafka listens before it serves. A Metadata answer
//! lists only brokers that are registered and unfenced, so one entry means it is ready.
//!
//! | Field | Request (version 1) | Answer |
//! |---|---|---|
//! | 0..4 | length of what follows | length of what follows |
//! | 4..8 | api key 3, version 1 | correlation id |
//! | 8..12 | correlation id | number of brokers |
//! | 12..14 | client id: null | ... |
//! | 14..18 | topics: none | |

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CORRELATION_ID: [u8; 4] = *b"reka";
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const REQUEST: [u8; 18] = [
    0, 0, 0, 14, 0, 3, 0, 1, b'r', b'e', b'k', b'a', 0xff, 0xff, 0, 0, 0, 0,
];

/// How many brokers the one at `address` says the cluster has.
pub fn brokers(address: SocketAddr) -> io::Result<u32> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    stream.write_all(&REQUEST)?;
    let mut answer = [0; 12];
    stream
        .read_exact(&mut answer)
        .map_err(|error| match error.kind() {
            // As Linux says that the time is over.
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()),
            ),
            _ => error,
        })?;
    parse(answer)
}

fn parse(answer: [u8; 12]) -> io::Result<u32> {
    let [_, _, _, _, a, b, c, d, count @ ..] = answer;
    if [a, b, c, d] != CORRELATION_ID {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer belongs to another request",
        ));
    }
    Ok(u32::from_be_bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_one_broker_counts_one() {
        let answer = *b"\0\0\0\x2areka\0\0\0\x01";
        assert_eq!(parse(answer).expect("our correlation id"), 1);
    }

    #[test]
    fn who_does_not_answer_is_told_of_in_words() {
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = silent.local_addr().expect("its address");
        let error = brokers(address).expect_err("it never answers").to_string();
        assert_eq!(error, "no answer within 2 s");
    }

    #[test]
    fn an_answer_to_somebody_else_is_an_error() {
        let answer = *b"\0\0\0\x2aabcd\0\0\0\x01";
        assert!(parse(answer).is_err());
    }
}
