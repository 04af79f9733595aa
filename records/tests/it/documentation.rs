//! The format page and the constants say the same.

use reka_records::{Attributes, layout};

const PAGE: &str = include_str!("../../../docs/format/record-batch.md");

/// The cells of each row of the table under `heading`.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE
        .split_once(&format!("## {heading}\n"))
        .expect("the section exists");
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_header_table_has_every_field_at_its_offset() {
    let documented: Vec<(String, usize, usize)> = table("Header")
        .into_iter()
        .filter(|row| row[2] != "rest")
        .map(|row| {
            (
                row[1].to_lowercase(),
                row[0].parse().unwrap(),
                row[2].parse().unwrap(),
            )
        })
        .collect();
    let constants: Vec<_> = layout::FIELDS
        .iter()
        .map(|field| (field.name.to_owned(), field.at, field.bytes))
        .collect();
    assert_eq!(documented, constants);
}

#[test]
fn the_attribute_table_has_every_bit_in_its_place() {
    let documented: Vec<(&str, String)> = table("Attributes")
        .into_iter()
        .map(|row| (row[0], row[1].to_lowercase()))
        .collect();
    for (bits, name, mask) in [
        ("0-2", "compression", Attributes::COMPRESSION_MASK),
        ("3", "timestamp type", Attributes::LOG_APPEND_TIME),
        ("4", "transactional", Attributes::TRANSACTIONAL),
        ("5", "control", Attributes::CONTROL),
        ("6", "delete horizon", Attributes::DELETE_HORIZON),
    ] {
        assert!(
            documented.contains(&(bits, name.to_owned())),
            "{bits} {name}"
        );
        let first = bits.split('-').next().unwrap().parse::<u32>().unwrap();
        let last = bits.split('-').next_back().unwrap().parse::<u32>().unwrap();
        let expected: i16 = (first..=last).map(|bit| 1 << bit).sum();
        assert_eq!(mask, expected, "{name}");
    }
}
