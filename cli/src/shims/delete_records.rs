//! `kafka-delete-records.sh`.

use std::collections::BTreeMap;
use std::io::Write;

use reka_client::{Client, TopicPartition};

use super::arguments::{Arguments, Known, option};
use super::{Wrong, exception, json};

pub(super) const OPTIONS: &[Known] = &[
    option("bootstrap-server"),
    option("command-config"),
    option("offset-json-file"),
];

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let file = json::file(arguments.required("offset-json-file")?)?;
    json::version_one(&file)?;
    let mut wanted: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut twice: Vec<String> = Vec::new();
    for row in json::rows(&file, "partitions", "Missing partitions field")? {
        let at = json::partition(row)?;
        let offset = json::number(row, "offset")?;
        if wanted.insert(at.clone(), offset).is_some() && !twice.contains(&at.to_string()) {
            twice.push(at.to_string());
        }
    }
    if !twice.is_empty() {
        let twice = twice.join(",");
        return Err(Wrong::Failed(format!(
            "Offset json file contains duplicate topic partitions: {twice}"
        )));
    }
    let mut out = std::io::stdout();
    writeln!(out, "Executing records delete operation")?;
    let wanted: Vec<(TopicPartition, i64)> = wanted.into_iter().collect();
    let deleted = client.delete_records(&wanted).await?;
    writeln!(out, "Records delete operation completed:")?;
    for (at, outcome) in deleted {
        match outcome {
            Ok(low) => writeln!(out, "partition: {at}\tlow_watermark: {low}")?,
            Err(refusal) => writeln!(out, "partition: {at}\terror: {}", exception(&refusal))?,
        }
    }
    Ok(())
}
