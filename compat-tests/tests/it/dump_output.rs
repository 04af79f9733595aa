//! The parser of `DumpLogSegments`' output and the rules, over what the real tool printed.

use std::path::Path;

use reka_compat::dump::parse::{Aborted, Dump, Gap, Line, Marker, Producer, parse};
use reka_compat::dump::rules::{Counts, Judged, check, count};

const GOOD: &str = include_str!("testdata/good.out");
const GOOD_ERR: &str = include_str!("testdata/good.err");
const SANITY: &str = include_str!("testdata/sanity.out");
const BAD: &str = include_str!("testdata/bad.out");
const BAD_ERR: &str = include_str!("testdata/bad.err");
const EXCEPTION_ERR: &str = include_str!("testdata/exception.err");

fn parsed(out: &str, err: &str) -> Dump {
    parse(out, err).expect("known lines only")
}

fn lines<'a>(dump: &'a Dump, path: &str) -> &'a [Line] {
    let file = dump.files.iter().find(|file| file.path == Path::new(path));
    &file.expect("the file was dumped").lines
}

/// The files of one partition, each as long as its entries or batches make it.
fn partition<'a>(dump: &'a Dump, name: &str) -> Vec<Judged<'a>> {
    let files = dump.files.iter().filter(|f| f.path.starts_with(name));
    files
        .map(|dump| Judged {
            dump,
            content: vec![0; dump.lines.iter().map(bytes).sum()],
        })
        .collect()
}

fn bytes(line: &Line) -> usize {
    match line {
        Line::Batch(batch) => usize::try_from(batch.size).expect("small"),
        Line::OffsetEntry { .. } => 8,
        Line::TimeEntry { .. } => 12,
        Line::Aborted(_) => 34,
        _ => 0,
    }
}

#[test]
fn every_kind_of_file_is_understood() {
    let dump = parsed(GOOD, GOOD_ERR);
    assert_eq!(dump.files.len(), 9);
    assert_eq!(dump.complaints, Vec::<String>::new());
    let segment = "transactional-0/00000000000000000024";
    assert_eq!(
        lines(&dump, &format!("{segment}.index"))[0],
        Line::OffsetEntry {
            offset: 29,
            position: 328
        }
    );
    assert_eq!(
        lines(&dump, &format!("{segment}.txnindex"))[0],
        Line::Aborted(Aborted {
            producer_id: 5,
            first_offset: 20,
            last_offset: 30,
            last_stable_offset: 24,
        })
    );
    let log = lines(&dump, &format!("{segment}.log"));
    assert_eq!(log[0], Line::LogStart(24));
    let markers = log.iter().filter_map(|line| match line {
        Line::Record(record) => record.marker,
        _ => None,
    });
    use Marker::{Abort, Commit};
    assert_eq!(
        markers.collect::<Vec<_>>(),
        [Abort, Commit, Abort, Commit, Abort]
    );
    assert!(matches!(
        lines(&dump, &format!("{segment}.snapshot"))[1],
        Line::Producer(Producer {
            producer_id: 5,
            txn_first_offset: Some(20),
            last: Some((1, 21)),
            ..
        })
    ));
}

#[test]
fn the_sanity_check_says_sane_or_empty() {
    let dump = parsed(SANITY, "");
    let said: Vec<_> = dump.files.iter().map(|file| &file.lines[..]).collect();
    assert_eq!(said, [&[Line::Sane][..], &[Line::Sane], &[Line::Empty]]);
}

#[test]
fn gaps_are_kept_apart_from_complaints() {
    let dump = parsed(GOOD, GOOD_ERR);
    let gap = |path: &str, before, after| Gap {
        path: path.into(),
        before,
        after,
    };
    let compacted = "compacted-0/00000000000000000220.log";
    assert_eq!(
        dump.gaps,
        [
            gap("transactional-0/00000000000000000024.log", -1, 24),
            gap(compacted, -1, 257),
            gap(compacted, 259, 323),
        ]
    );
}

#[test]
fn what_apache_kafka_wrote_breaks_no_rule() {
    let dump = parsed(GOOD, GOOD_ERR);
    for name in ["log-append-time-0", "codec-zstd-0", "compacted-0"] {
        assert_eq!(check(name, &partition(&dump, name)), []);
    }
    // The first segment is not in the capture, so that what began there is not seen to abort;
    // everything that is there fits.
    assert_eq!(
        check("transactional-0", &partition(&dump, "transactional-0")),
        []
    );
}

#[test]
fn counts_leave_out_markers() {
    let dump = parsed(GOOD, GOOD_ERR);
    let counts = count(&partition(&dump, "transactional-0"));
    let expected = Counts {
        records: 17,
        batches: 12,
        segments: 1,
    };
    assert_eq!(counts, expected);
}

/// The tool ended with success on all of these.
#[test]
fn damage_is_found_in_output_and_on_standard_error() {
    let dump = parsed(BAD, BAD_ERR);
    let complaints = dump.complaints.join("\n");
    for expected in [
        "Mismatches in :rolled-0/00000000000000000584.index",
        "Found timestamp mismatch in :rolled-0/00000000000000000584.timeindex",
        "The following indexed offsets are not found in :rolled-0",
        "Snapshot is corrupt (CRC is no longer valid)",
    ] {
        assert!(complaints.contains(expected), "{expected}: {complaints}");
    }
    let mut files = partition(&dump, "rolled-0");
    // Ten bytes behind the last batch, as on disk.
    for file in &mut files {
        if file.dump.path.extension().is_some_and(|e| e == "log") {
            file.content.extend([0; 10]);
        }
    }
    let findings: Vec<_> = check("rolled-0", &files)
        .iter()
        .map(ToString::to_string)
        .collect();
    for expected in [
        ".log: batch 584: checksum is wrong",
        ".log: 4686 bytes, of which batches fill 4676",
        ".index: no batch ending in offset 593 at 668",
        ".timeindex: no batch ending in offset 585 has time",
    ] {
        let seen = findings.iter().any(|finding| finding.contains(expected));
        assert!(seen, "{expected}: {findings:#?}");
    }
}

#[test]
fn an_exception_is_a_complaint() {
    let dump = parsed("", EXCEPTION_ERR);
    assert!(
        dump.complaints[0].contains("CorruptRecordException"),
        "{dump:?}"
    );
}

/// Rules the tool does not have, each broken by changing what it printed.
#[test]
fn rules_beyond_the_tool_can_fail() {
    for (from, to, expected) in [
        (
            "offset: 29 position: 328",
            "offset: 31 position: 600",
            "does not rise",
        ),
        (
            "firstOffset: 20 lastOffset: 30",
            "firstOffset: 20 lastOffset: 29",
            "no marker of producer 5",
        ),
        (
            "baseOffset: 30 lastOffset: 30",
            "baseOffset: 29 lastOffset: 30",
            "goes back",
        ),
        (
            "producerId: 6 producerEpoch: 1 coordinatorEpoch",
            "producerId: 5 producerEpoch: 1 coordinatorEpoch",
            "producer 5 twice",
        ),
        (
            "currentTxnFirstOffset: OptionalLong[20]",
            "currentTxnFirstOffset: OptionalLong[24]",
            "ahead of the snapshot",
        ),
        ("magic: 2", "magic: 1", "magic 1"),
        ("count: 4", "count: 5", "4 records of 5"),
        (
            "partitionLeaderEpoch: 0",
            "partitionLeaderEpoch: 1",
            "epoch goes back",
        ),
    ] {
        let changed = GOOD.replacen(from, to, 1);
        assert_ne!(changed, GOOD, "{from}");
        let dump = parsed(&changed, "");
        let findings = check("transactional-0", &partition(&dump, "transactional-0"));
        let seen = findings
            .iter()
            .any(|finding| finding.what.contains(expected));
        assert!(seen, "{expected}: {findings:#?}");
    }
}

#[test]
fn bytes_hidden_behind_an_entry_of_zeros_are_found() {
    let dump = parsed(GOOD, "");
    let mut files = partition(&dump, "transactional-0");
    files[0].content.extend([0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let findings = check("transactional-0", &files);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].what, "bytes behind the last entry, at 48");
}

#[test]
fn a_line_of_another_form_is_an_error() {
    for line in [
        "| offset: 1 CreateTime: 2 keySize: 3 valueSize: 4 headerKeys: []",
        "| offset: 1 CreateTime: 2 keySize: 3 valueSize: 4 sequence: 5 headerKeys: [] endTxnMarker: MAYBE coordinatorEpoch: 0",
        "baseOffset: 1 lastOffset: 2",
        "anything",
    ] {
        let out = format!("Dumping a-0/00000000000000000000.log\n{line}\n");
        let error = parse(&out, "").expect_err("not a known line");
        assert_eq!(error.line, line);
    }
    assert!(parse("anything before the first file", "").is_err());
}

#[test]
fn header_names_may_hold_anything() {
    let out = "Dumping a-0/00000000000000000000.log\n\
        | offset: 1 CreateTime: 2 keySize: 3 valueSize: 4 sequence: 5 headerKeys: [a],b: [,] headerKeys: []\n";
    let dump = parsed(out, "");
    assert!(
        matches!(&dump.files[0].lines[0], Line::Record(r) if r.offset == 1 && r.marker.is_none())
    );
}
