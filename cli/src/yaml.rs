//! A JSON value as YAML: blocks, and strings in quotes wherever plain ones could mean something else.

use serde_json::Value;

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
