//! The files in JSON that the tools read.

use reka_client::TopicPartition;
use serde_json::Value;

use super::Wrong;

/// A file's content.
pub(super) fn file(path: &str) -> Result<Value, Wrong> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Wrong::Failed(format!("Unable to read file {path}: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|_| Wrong::Failed("The input string is not a valid JSON".to_owned()))
}

/// Version 1 is the only one there is, and the one that is meant without.
pub(super) fn version_one(file: &Value) -> Result<(), Wrong> {
    match file.get("version") {
        None => Ok(()),
        Some(version) if version.as_i64() == Some(1) => Ok(()),
        Some(version) => Err(Wrong::Failed(format!(
            "Not supported version field value {version}"
        ))),
    }
}

/// The elements of a field that is a list.
pub(super) fn rows<'a>(
    file: &'a Value,
    field: &str,
    missing: &str,
) -> Result<&'a Vec<Value>, Wrong> {
    let missing = || Wrong::Failed(missing.to_owned());
    file.get(field)
        .and_then(Value::as_array)
        .ok_or_else(missing)
}

/// A field that is text.
pub(super) fn text<'a>(row: &'a Value, field: &str) -> Result<&'a str, Wrong> {
    let wrong = || Wrong::Failed(format!("No such field exists: `{field}`"));
    row.get(field).and_then(Value::as_str).ok_or_else(wrong)
}

/// A field that is a number.
pub(super) fn number(row: &Value, field: &str) -> Result<i64, Wrong> {
    let wrong = || Wrong::Failed(format!("No such field exists: `{field}`"));
    row.get(field).and_then(Value::as_i64).ok_or_else(wrong)
}

/// The fields `topic` and `partition`.
pub(super) fn partition(row: &Value) -> Result<TopicPartition, Wrong> {
    let index = number(row, "partition")?;
    let index = i32::try_from(index)
        .map_err(|_| Wrong::Failed(format!("{index} is no index of a partition")))?;
    Ok(TopicPartition::new(text(row, "topic")?, index))
}
