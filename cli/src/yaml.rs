//! A JSON value as YAML: blocks, and strings in quotes wherever plain ones could mean something else.
//! And YAML as a JSON value: one document, whose keys are texts.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number, Value};

/// Reads one document. What is wrong is told with its place.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| {
        let at = error.marker();
        format!(
            "line {} column {}: {}",
            at.line(),
            at.col() + 1,
            error.info()
        )
    })?;
    match documents.as_slice() {
        [] => Ok(Value::Null),
        [one] => value(one, &mut Vec::new()),
        more => Err(format!("expected one document, found {}", more.len())),
    }
}

fn value(node: &Yaml<'_>, path: &mut Vec<String>) -> Result<Value, String> {
    let at = |path: &[String]| match path.is_empty() {
        true => "the document".to_owned(),
        false => path.join("."),
    };
    Ok(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(yes)) => Value::Bool(*yes),
        Yaml::Value(Scalar::Integer(number)) => Value::Number((*number).into()),
        Yaml::Value(Scalar::FloatingPoint(number)) => Number::from_f64(number.into_inner())
            .map(Value::Number)
            .ok_or_else(|| format!("{}: {number} is no number here", at(path)))?,
        Yaml::Value(Scalar::String(text)) => Value::String(text.clone().into_owned()),
        Yaml::Sequence(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (nth, item) in items.iter().enumerate() {
                path.push(nth.to_string());
                list.push(value(item, path)?);
                path.pop();
            }
            Value::Array(list)
        }
        Yaml::Mapping(fields) => {
            let mut map = Map::new();
            for (name, field) in fields {
                let name = match name {
                    Yaml::Value(Scalar::String(text)) => text.clone().into_owned(),
                    Yaml::Value(Scalar::Integer(number)) => number.to_string(),
                    Yaml::Value(Scalar::Boolean(yes)) => yes.to_string(),
                    _ => return Err(format!("{}: a key is no text", at(path))),
                };
                path.push(name.clone());
                let field = value(field, path)?;
                path.pop();
                map.insert(name, field);
            }
            Value::Object(map)
        }
        _ => return Err(format!("{}: tags and such are not known here", at(path))),
    })
}

/// One document.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value from the start of a line on.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                nested(item, depth, out);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (nth, (name, value)) in fields.iter().enumerate() {
                // The first field stands behind the dash of its item, or at the start of its line.
                if nth > 0 || !out.ends_with("- ") {
                    indent(depth, out);
                }
                out.push_str(&text(name));
                out.push(':');
                match value {
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        block(value, depth, out);
                    }
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, depth + 1, out);
                    }
                    plain => {
                        out.push(' ');
                        scalar(plain, out);
                        out.push('\n');
                    }
                }
            }
        }
        plain => {
            scalar(plain, out);
            out.push('\n');
        }
    }
}

/// Writes an item behind its dash.
fn nested(item: &Value, depth: usize, out: &mut String) {
    match item {
        Value::Object(fields) if !fields.is_empty() => {
            out.push(' ');
            block(item, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(item, depth + 1, out);
        }
        plain => {
            out.push(' ');
            scalar(plain, out);
            out.push('\n');
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => out.push_str(&text(string)),
        // Empty lists and objects, numbers, booleans and null are the same in both.
        other => out.push_str(&other.to_string()),
    }
}

/// Plain where that cannot be misread, which takes letters alone (`1e5`, `12:30` and `0x1` are
/// numbers), else as a JSON string, which YAML reads as well.
fn text(string: &str) -> String {
    let plain = string
        .chars()
        .all(|c| c.is_ascii_alphabetic() || "._/-".contains(c));
    let first = string.chars().next();
    let starts = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let lower = string.to_ascii_lowercase();
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if plain && starts && !word.contains(&lower.as_str()) {
        string.to_owned()
    } else {
        Value::from(string).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_again() {
        let written = json!({
            "a": {"b.c": "1", "d": [1, -2.5, null, true, "no", "12:30", "x: y", ""]},
            "e": [], "f": {}, "g": [{"h": "line\nbreak"}, [1, ["two"]]], "#i": " j ",
        });
        assert_eq!(read(&write(&written)), Ok(written));
        assert_eq!(read(""), Ok(Value::Null));
    }

    #[test]
    fn mistakes_are_placed_and_bombs_do_not_go_off() {
        let check = |text: &str, expected: &str| {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("a: 1\nb: [1, 2\nc: 3", "line ");
        check("a: 1\na: 2", "line 2");
        check("a: 1\n---\nb: 2", "found 2");
        check("a:\n  ? [1]\n  : 2", "a: a key is no text");
        check("a: .nan", "a: ");
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for nth in 1..12 {
            let before = format!("*a{},", nth - 1).repeat(10);
            bomb += &format!("a{nth}: &a{nth} [{before}]\n");
        }
        check(&bomb, "line ");
    }

    #[test]
    fn lists_and_fields_are_indented_and_strings_quoted_where_they_must() {
        let value = json!([
            {"name": "orders", "replicas": [1, 2], "leader": null, "configs": {"a.b": "1"}},
            {"name": "no", "replicas": [], "configs": {}, "at": "12:30"},
            [1, [2]],
            "x: y",
        ]);
        let expected = r#"- name: orders
  replicas:
  - 1
  - 2
  leader: null
  configs:
    a.b: "1"
- name: "no"
  replicas: []
  configs: {}
  at: "12:30"
-
  - 1
  -
    - 2
- "x: y"
"#;
        assert_eq!(write(&value), expected);
        assert_eq!(write(&json!({"a": 1})), "a: 1\n");
        assert_eq!(write(&json!("line\nbreak")), "\"line\\nbreak\"\n");
    }
}
