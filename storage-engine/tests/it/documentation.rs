//! The pages in `docs/format`, the constants and the bytes say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reka_storage::format::{self, FileKind, FileName, FileStage};

macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("../../../docs/format/", $name, ".md"))
    };
}

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../testdata/golden/golden-0/", $name)).as_slice()
    };
}

/// The cells of each row of the first table under `heading`.
fn table(page: &'static str, heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = page
        .split_once(&format!("## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Checks that the fields of a table follow one another and fill `bytes`, and reads the
/// first entry of `content` by them.
fn fields(
    page: &'static str,
    heading: &str,
    bytes: usize,
    content: &[u8],
) -> BTreeMap<&'static str, i64> {
    let mut end = 0;
    let mut fields = BTreeMap::new();
    for row in table(page, heading) {
        let (at, width): (usize, usize) = (row[0].parse().unwrap(), row[2].parse().unwrap());
        assert_eq!(at, end, "{}", row[1]);
        end += width;
        let negative = content[at] & 0x80 != 0;
        let number = content[at..end]
            .iter()
            .fold(if negative { -1 } else { 0 }, |number: i64, byte| {
                number << 8 | i64::from(*byte)
            });
        fields.insert(row[1], number);
    }
    assert_eq!(end, bytes);
    fields
}

#[test]
fn the_offset_index_table_reads_our_file() {
    let content = golden!("00000000000000000000.index");
    let bytes = format::OFFSET_INDEX_ENTRY_BYTES;
    let found = fields(page!("offset-index"), "Entry", bytes, content);
    assert_eq!(found, [("relative offset", 5), ("position", 176)].into());
}

#[test]
fn the_time_index_table_reads_our_file() {
    let content = golden!("00000000000000000000.timeindex");
    let bytes = format::TIME_INDEX_ENTRY_BYTES;
    let found = fields(page!("time-index"), "Entry", bytes, content);
    assert_eq!(found, [("timestamp", 1_002), ("relative offset", 5)].into());
}

#[test]
fn the_transaction_index_table_reads_our_file() {
    let content = golden!("00000000000000000000.txnindex");
    let bytes = format::TXN_INDEX_ENTRY_BYTES;
    let found = fields(page!("txn-index"), "Entry", bytes, content);
    let expected = [
        ("version", i64::from(format::TXN_INDEX_VERSION)),
        ("producer id", 8),
        ("first offset", 9),
        ("last offset", 10),
        ("last stable offset", 11),
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn the_producer_snapshot_tables_read_our_file() {
    let content = golden!("00000000000000000014.snapshot");
    let page = page!("producer-snapshot");
    let header = fields(page, "Header", format::SNAPSHOT_HEADER_BYTES, content);
    assert_eq!(header["version"], i64::from(format::SNAPSHOT_VERSION));
    assert_eq!(header["count"], 2);
    let entry = &content[format::SNAPSHOT_HEADER_BYTES + format::SNAPSHOT_ENTRY_BYTES..];
    let found = fields(page, "Entry", format::SNAPSHOT_ENTRY_BYTES, entry);
    let expected = [
        ("producer id", 8),
        ("producer epoch", 0),
        ("last sequence", 1),
        ("last offset", 11),
        ("offset delta", 0),
        ("timestamp", 1_040),
        ("coordinator epoch", 0),
        ("txn first offset", 11),
    ];
    assert_eq!(found, expected.into());
}

fn first_cells(page: &'static str, heading: &str) -> BTreeSet<String> {
    let rows = table(page, heading).into_iter();
    rows.map(|row| row[0].trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_name_in_a_log_directory_is_documented() {
    let page = page!("log-directory");
    assert_eq!(
        first_cells(page, "Files"),
        format::DIR_FILES.map(str::to_owned).into()
    );
    let folders = first_cells(page, "Folders");
    let suffixes = format::DIR_SUFFIXES.map(str::to_owned);
    let plain = "none: `<topic>-<partition>".to_owned();
    let expected: BTreeSet<_> = suffixes.into_iter().chain([plain]).collect();
    assert_eq!(folders, expected);
    assert_eq!(
        first_cells(page!("checkpoints"), "Files"),
        format::OFFSET_CHECKPOINTS.map(str::to_owned).into()
    );
}

#[test]
fn every_name_in_a_partition_is_documented() {
    let page = page!("log-directory");
    let kinds = FileKind::ALL.map(|kind| format!("<offset>{}", kind.suffix()));
    let others = format::PARTITION_FILES;
    let expected: BTreeSet<_> = kinds.into_iter().chain(others.map(str::to_owned)).collect();
    assert_eq!(first_cells(page, "Files of a partition"), expected);
    assert!(page.contains(&format!("`<offset>` has {} digits", format::OFFSET_DIGITS)));
    // The second table of the section.
    let (_, behind) = page.split_once("A suffix behind these says").expect("it");
    let behind = behind.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = behind.take_while(|row| !row.starts_with('#')).skip(1);
    let cells = rows.filter_map(|row| row.split_once(" |"));
    let documented: BTreeSet<String> = cells
        .map(|(cell, _)| cell.trim_matches('`').to_owned())
        .collect();
    let live = FileName::live(0, FileKind::Log);
    let suffix = |stage| {
        let name = live.at(stage).render();
        match name.strip_prefix(&live.render()) {
            Some("") | None => "none".to_owned(),
            Some(suffix) => suffix.to_owned(),
        }
    };
    let stages = FileStage::ALL.into_iter().map(suffix);
    let unusable = format::UNUSABLE_SUFFIX.to_owned();
    let expected: BTreeSet<String> = stages.chain([unusable]).collect();
    assert_eq!(documented, expected);
}

#[test]
fn every_page_is_linked_from_the_log_directory() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format");
    let linked = page!("log-directory");
    for entry in std::fs::read_dir(dir).expect("the pages") {
        let name = entry.expect("a page").file_name();
        let name = name.to_str().expect("a plain name");
        let through = page!("segment").contains(&format!("({name})"));
        let known = linked.contains(&format!("({name})")) || through;
        assert!(known || name == "log-directory.md", "{name}");
    }
}
