//! Brokers that answer with anything but an answer: no panic, no hang, no memory beyond the bound,
//! and an error that says who and what.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use reka_client::connection::Connection;
use reka_client::error::ConnectionProblem;
use reka_client::{ClientConfig, ClientError};
use reka_protocol::kafka_protocol::messages::MetadataRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn config() -> ClientConfig {
    let mut config = ClientConfig::new("broker:9092".parse().expect("an address"));
    config.request_timeout = Duration::from_secs(2);
    config.frame_bytes_max = 1 << 20;
    config
}

/// Frames that answer nothing but versions: ApiVersions 0 to 3 and Metadata 0 to 8.
fn versions(correlation_id: i32) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i32(correlation_id);
    body.put_slice(&[
        0, 0, 3, 0, 18, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0,
    ]);
    let mut frame = BytesMut::new();
    frame.put_i32(body.len() as i32);
    frame.put_slice(&body);
    frame
}

async fn read_request(stream: &mut DuplexStream) -> Option<i32> {
    let size = stream.read_i32().await.ok()?;
    let mut request = vec![0; usize::try_from(size).ok()?];
    stream.read_exact(&mut request).await.ok()?;
    let id = request.get(4..8)?;
    Some(i32::from_be_bytes([id[0], id[1], id[2], id[3]]))
}

/// A broker that says which versions it speaks, and answers what comes next with `bytes`.
fn broker(bytes: impl FnOnce(i32) -> Vec<u8> + Send + 'static) -> DuplexStream {
    let (ours, mut theirs) = duplex(1 << 16);
    tokio::spawn(async move {
        let id = read_request(&mut theirs).await?;
        theirs.write_all(&versions(id)).await.ok()?;
        let id = read_request(&mut theirs).await?;
        theirs.write_all(&bytes(id)).await.ok()?;
        // Until the client hangs up.
        read_request(&mut theirs).await
    });
    ours
}

async fn ask(stream: DuplexStream) -> Result<usize, ClientError> {
    let started = Connection::start(stream, "broker:9092", &config()).await;
    let connection = started.expect("versions");
    let request = MetadataRequest::default().with_topics(None);
    let answer = connection.call(8, &request).await?;
    Ok(answer.brokers.len())
}

fn problem(error: ClientError) -> ConnectionProblem {
    match error {
        ClientError::Connection { error, .. } => error.reason,
        other => panic!("no error of the connection: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_request_ends_the_connection() {
    let stream = broker(|id| {
        let mut frame = versions(id + 1).to_vec();
        frame.extend([0; 8]);
        frame
    });
    let error = problem(ask(stream).await.expect_err("not ours"));
    assert!(
        matches!(error, ConnectionProblem::OutOfOrder { .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_above_the_bound_is_not_read() {
    let stream = broker(|_| (2_i32 << 20).to_be_bytes().to_vec());
    let error = problem(ask(stream).await.expect_err("too large"));
    assert!(
        error.to_string().contains("above the limit of 1048576"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_costs_the_request_its_patience() {
    let stream = broker(|id| {
        let mut frame = BytesMut::new();
        frame.put_i32(100);
        frame.put_i32(id);
        frame.to_vec()
    });
    let error = problem(ask(stream).await.expect_err("half"));
    assert!(
        matches!(error, ConnectionProblem::Timeout { .. }),
        "{error}"
    );
    assert_eq!(error.to_string(), "no answer within 2 s");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_promises_more_than_it_holds_is_malformed() {
    let stream = broker(|id| {
        let mut frame = BytesMut::new();
        frame.put_i32(12);
        frame.put_i32(id);
        frame.put_i32(0);
        // So many brokers.
        frame.put_i32(i32::MAX);
        frame.to_vec()
    });
    let error = ask(stream).await.expect_err("it promises too much");
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("broker broker:9092") && text.contains("brokers"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Anything at all in place of an answer: an answer or an error, and never a hang.
    #[test]
    fn whatever_comes_the_call_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        framed in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let stream = broker(move |id| {
                let mut frame = BytesMut::new();
                if framed {
                    frame.put_i32(bytes.len() as i32 + 4);
                    frame.put_i32(id);
                }
                frame.put_slice(&bytes);
                frame.to_vec()
            });
            let limit = Duration::from_secs(60);
            let _ = tokio::time::timeout(limit, ask(stream)).await.expect("an end");
        });
    }
}
