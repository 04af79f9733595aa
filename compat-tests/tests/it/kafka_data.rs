//! The committed data of Apache Kafka agrees with itself: what its consumer read, what its dump
//! tool counted and what lies there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reka_compat::context::Context;
use reka_compat::dump::manifest::{Manifest, folder};
use reka_compat::files;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    offset: i64,
    read_committed: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offsets {
    log_start_offset: i64,
    last_stable_offset: i64,
    high_watermark: i64,
}

fn lives() -> [PathBuf; 2] {
    let data = Context::new(&PathBuf::new()).kafka_data();
    [data.join("clean"), data.join("killed")]
}

#[test]
fn the_consumer_saw_as_many_records_as_the_dump_counted() {
    for life in lives() {
        let expected = life.join("expected");
        let manifest: Manifest = files::read_json(&expected.join("manifest.json")).expect("json");
        let offsets: BTreeMap<String, Offsets> =
            files::read_json(&expected.join("offsets.json")).expect("json");
        assert_eq!(manifest.len(), 14);
        for (topic, written) in &manifest {
            let folder = folder(topic);
            let text = files::read_text(&expected.join(format!("{folder}.jsonl"))).expect("text");
            let records: Vec<Record> = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a record"))
                .collect();
            let Offsets {
                log_start_offset,
                last_stable_offset,
                high_watermark,
            } = offsets[&folder];
            // No topic that was trimmed has gaps, so that every offset below the start is a record.
            let below = u64::try_from(log_start_offset).expect("not negative");
            assert_eq!(
                records.len() as u64 + below,
                written.counts.records,
                "{folder}"
            );
            assert!(
                records
                    .windows(2)
                    .all(|pair| pair[0].offset < pair[1].offset)
            );
            for record in &records {
                assert!((log_start_offset..high_watermark).contains(&record.offset));
                let visible = record.offset < last_stable_offset;
                assert!(
                    visible || !record.read_committed,
                    "{folder} {}",
                    record.offset
                );
            }
        }
    }
}

#[test]
fn nothing_of_the_machine_or_the_metadata_log_was_kept() {
    for life in lives() {
        for file in files::list(&life.join("log-dir")).expect("a folder") {
            let name = files::name_of(&file);
            let unwanted = [".lock", "bootstrap.checkpoint"].contains(&name.as_str())
                || name.starts_with("__cluster_metadata");
            assert!(!unwanted, "{}", file.display());
        }
    }
}
