//! The committed fuzz corpus, replayed: what the fuzzers start from runs in every test.
//!
//! `UPDATE=1` writes the files that are described here; findings of a fuzzer are added beside them.

use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use bytes::{BufMut, Bytes, BytesMut};
use reka_protocol::guard::check_response;
use reka_protocol::guard::schema::{REQUESTS, RESPONSES};
use reka_protocol::response::LIMITS;
use reka_protocol::versions::APIS;
use reka_protocol::{FrameReader, Limits, Request};

use crate::codec;
use crate::generate::{self, Random};

static WRITTEN: Once = Once::new();

fn corpus(target: &str) -> Vec<(PathBuf, Bytes)> {
    if std::env::var_os("UPDATE").is_some() {
        WRITTEN.call_once(write_corpus);
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("corpus folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("corpus file");
        (path, Bytes::from(bytes))
    };
    files.into_iter().map(read).collect()
}

/// A well-formed request per API in its highest version, and some of the named hostile ones.
fn write_corpus() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut stream = BytesMut::new();
    for api in APIS {
        let layout = REQUESTS.layout(api, api.max).expect("layout");
        let mut frame = BytesMut::new();
        frame.put_i16(api.key);
        frame.put_i16(api.max);
        frame.put_slice(&[0, 0, 0, 1, 0, 1, b'c']);
        frame.put_bytes(0, usize::from(api.is_flexible(api.max)));
        frame.put_slice(&generate::body(layout, &mut Random::new(11)));
        if matches!(api.name, "Heartbeat" | "ApiVersions" | "Metadata") {
            stream.put_i32(frame.len() as i32);
            stream.put_slice(&frame);
        }
        fs::write(folder.join("request").join(api.name), &frame).expect("write");
    }
    for (at, api) in (0_u8..).zip(APIS) {
        let layout = RESPONSES.layout(api, api.max).expect("layout");
        let mut answer = BytesMut::new();
        answer.put_u8(at);
        answer.put_u8(api.max as u8);
        answer.put_slice(&generate::body(layout, &mut Random::new(11)));
        fs::write(folder.join("response").join(api.name), &answer).expect("write");
    }
    let abort = [
        0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0,
    ];
    fs::write(folder.join("request/naive_abort"), abort).expect("write");
    fs::write(folder.join("request/short_header"), [0, 3, 0]).expect("write");
    fs::write(folder.join("frame/several"), stream).expect("write");
    fs::write(folder.join("frame/negative"), [0xff; 8]).expect("write");
    fs::write(folder.join("frame/http"), "GET / HTTP/1.1\r\n\r\n").expect("write");
}

#[test]
fn the_request_corpus_decodes_or_is_refused() {
    let files = corpus("request");
    assert!(files.len() >= APIS.len());
    for (path, frame) in files {
        let outcome = Request::decode(&frame, &Limits::default());
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        let ours = APIS.iter().any(|api| api.name == name);
        assert_eq!(outcome.is_ok(), ours, "{name}: {outcome:?}");
    }
}

/// The first two bytes of each name the API and the version, as for the fuzzer.
#[test]
fn the_response_corpus_decodes() {
    let files = corpus("response");
    assert!(files.len() >= APIS.len());
    let codecs = codec::all();
    for (path, bytes) in files {
        let at = usize::from(bytes[0]) % APIS.len();
        let (api, codec) = (&APIS[at], &codecs[at]);
        let version = i16::from(bytes[1]).clamp(api.served_from, api.max);
        let body = bytes.slice(2..);
        let charge = check_response(api, version, &body, 0, &LIMITS);
        let charge = charge.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let decoded = (codec.decode_answer)(body, api.codec_version(version));
        let decoded = decoded.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(decoded.left, charge.unread, "{path:?}");
    }
}

#[test]
fn the_frame_corpus_is_cut_or_refused() {
    for (path, bytes) in corpus("frame") {
        let mut reader = FrameReader::new(1 << 20);
        let mut input = &bytes[..];
        let mut frames = 0;
        let outcome = loop {
            match reader.read(&mut input) {
                Ok(Some(_)) => frames += 1,
                Ok(None) => break Ok(frames),
                Err(error) => break Err(error),
            }
        };
        let several = path.ends_with("several");
        assert_eq!(outcome.is_ok_and(|frames| frames > 1), several, "{path:?}");
    }
}
