//! `reka dump-log` says what Apache Kafka's `DumpLogSegments` says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage-engine/tests/testdata")
}

fn dump(dir: &Path, files: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reka"))
        .args(["dump-log", "--files", files])
        .args(more)
        .current_dir(dir)
        .output()
        .expect("the tool")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Paragraphs of complaints: Apache Kafka's tool has them in the order of a hash map.
fn complaints(text: &str) -> Vec<String> {
    let mut complaints: Vec<String> = Vec::new();
    for line in text.lines() {
        match complaints.last_mut() {
            Some(last) if line.starts_with("  ") => {
                last.push('\n');
                last.push_str(line);
            }
            _ => complaints.push(line.to_owned()),
        }
    }
    complaints.sort();
    complaints
}

#[test]
fn files_of_kafka_and_of_reka_are_shown_as_kafkas_tool_shows_them() {
    let root = testdata().canonicalize().expect("test data");
    let files = include_str!("../testdata/dump-log/files.txt").trim_end();
    let sound: Vec<&str> = files
        .lines()
        .filter(|file| !file.contains("killed"))
        .collect();
    let check = |files: &str, more: &[&str], out: &str, err: &str| {
        let output = dump(&root, files, more);
        assert!(output.status.success(), "{more:?}: {output:?}");
        let said = text(&output.stdout);
        for (number, (said, expected)) in said.lines().zip(out.lines()).enumerate() {
            assert_eq!(said, expected, "{more:?}, line {}", number + 1);
        }
        assert_eq!(said.lines().count(), out.lines().count(), "{more:?}");
        let said = text(&output.stderr).replace(&*root.to_string_lossy(), "DIR");
        assert_eq!(complaints(&said), complaints(err), "{more:?}");
    };
    let all = files.replace('\n', ",");
    check(
        &all,
        &["--print-data-log"],
        include_str!("../testdata/dump-log/print-data-log.out"),
        include_str!("../testdata/dump-log/print-data-log.err"),
    );
    check(
        &all,
        &["--verify-index-only"],
        include_str!("../testdata/dump-log/verify-index-only.out"),
        include_str!("../testdata/dump-log/verify-index-only.err"),
    );
    check(
        &sound.join(","),
        &[
            "--index-sanity-check",
            "--deep-iteration",
            "--max-bytes",
            "1000",
        ],
        include_str!("../testdata/dump-log/sanity-and-1000-bytes.out"),
        include_str!("../testdata/dump-log/sanity-and-1000-bytes.err"),
    );
}

#[test]
fn checkpoints_are_shown_line_by_line() {
    let dir = testdata().join("golden");
    let shown = |file: &str| {
        let output = dump(&dir, file, &[]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    assert_eq!(
        shown("recovery-point-offset-checkpoint,golden-0/leader-epoch-checkpoint"),
        RECOVERY_POINTS_AND_EPOCHS
    );
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(
        place.path().join("partition.metadata"),
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABw\n",
    )
    .expect("a file");
    let output = dump(place.path(), "partition.metadata", &[]);
    assert_eq!(
        text(&output.stdout),
        "Dumping partition.metadata\nversion: 0\ntopicId: AAAAAAAAAAAAAAAAAAAABw\n"
    );
}

const RECOVERY_POINTS_AND_EPOCHS: &str = "\
Dumping recovery-point-offset-checkpoint
topic: golden partition: 0 offset: 14
Dumping golden-0/leader-epoch-checkpoint
epoch: 0 startOffset: 1
epoch: 3 startOffset: 10
";

/// A copy of a small partition, to be spoilt.
fn copied() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let from = testdata().join("golden/golden-0");
    for entry in std::fs::read_dir(from).expect("test data") {
        let entry = entry.expect("an entry");
        let to = place.path().join(entry.file_name());
        std::fs::copy(entry.path(), to).expect("copied");
    }
    place
}

fn spoil(place: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = place.join(name);
    let mut content = std::fs::read(&path).expect("a file");
    change(&mut content);
    std::fs::write(path, content).expect("a file");
}

const LOG: &str = "00000000000000000000.log";

#[test]
fn damage_is_shown_where_it_is() {
    let place = copied();
    spoil(place.path(), LOG, |content| content[80] ^= 1);
    let output = dump(place.path(), LOG, &[]);
    assert!(output.status.success());
    let said = text(&output.stdout);
    assert!(
        said.lines()
            .nth(2)
            .is_some_and(|line| line.ends_with("isvalid: false")),
        "{said}"
    );

    spoil(place.path(), LOG, |content| content.extend([7; 5]));
    let said = text(&dump(place.path(), LOG, &[]).stdout);
    let last = format!("Found 5 invalid bytes at the end of {LOG}");
    assert_eq!(said.lines().last(), Some(last.as_str()));

    spoil(place.path(), LOG, |content| content[16] = 1);
    let output = dump(place.path(), LOG, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with(&format!("reka: {LOG}: at position 0: ")),
        "{said}"
    );

    let index = "00000000000000000000.index";
    spoil(place.path(), index, |content| content.extend([0xFF; 8]));
    let output = dump(place.path(), index, &["--index-sanity-check"]);
    assert_eq!(output.status.code(), Some(1));
    // A broker that was killed left zeros behind the last entry.
    let killed = testdata().join("kafka-4.3.1/killed/log-dir/codec-lz4-0");
    let times = "00000000000000000000.timeindex";
    let output = dump(&killed, times, &["--index-sanity-check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is of timestamp 0, the first of"),
        "{output:?}"
    );
    let output = dump(place.path(), "nowhere.log,x", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere"), "{output:?}");
    let output = dump(place.path(), "notes.zip", &[]);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "Ignoring unknown file notes.zip\n");
}

/// No input makes it panic or take memory for what a file only claims.
#[test]
fn any_bytes_are_survived() {
    let place = copied();
    let names: Vec<String> = std::fs::read_dir(place.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let mut state: u64 = 1;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..60 {
        let spoilt = copied();
        for name in &names {
            spoil(spoilt.path(), name, |content| {
                for _ in 0..=random(3) {
                    if content.is_empty() {
                        content.push(0);
                    }
                    let at = random(content.len());
                    match random(3) {
                        0 => content[at] = random(256) as u8,
                        1 => content[at] = 0xFF,
                        _ => content.truncate(at),
                    }
                }
            });
        }
        let files = names.join(",");
        for name in names.iter().chain([&files]) {
            let output = dump(spoilt.path(), name, &["--print-data-log"]);
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 1)),
                "round {round}, {name}: {output:?}"
            );
            assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
        }
    }
}
