//! TOML with Kafka's keys: dotted, quoted or nested in tables, all the same.
//!
//! `log.retention.hours = 24`, `[log.retention]` with `hours = 24`, and `"log.retention.hours" = 24`
//! mean one key. A list may be an array. Where a key is the beginning of another (`log.dir` and
//! `log.dir.failure.timeout.ms`), TOML wants one of them quoted.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::properties::Pair;

/// A file that is not TOML, or says something that is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadToml {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Vec<Pair>, BadToml> {
    let table = DeTable::parse(text).map_err(|error| BadToml {
        line: line(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    let mut pairs = Vec::new();
    walk(text, "", table.get_ref(), &mut pairs)?;
    pairs.sort_by_key(|pair| pair.line);
    Ok(pairs)
}

fn walk(
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    pairs: &mut Vec<Pair>,
) -> Result<(), BadToml> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            walk(text, &format!("{key}."), inner, pairs)?;
            continue;
        }
        let line = line(text, name.span().start);
        let value = said(value).ok_or_else(|| BadToml {
            line,
            reason: format!("{key}: expected a string, number, boolean or an array of these"),
        })?;
        pairs.push(Pair { line, key, value });
    }
    Ok(())
}

fn said(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => match number.radix() {
            10 => Some(number.as_str().to_owned()),
            radix => i64::from_str_radix(number.as_str(), radix)
                .ok()
                .map(|n| n.to_string()),
        },
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| match item.get_ref() {
                DeValue::Array(_) => None,
                _ => said(item),
            });
            Some(items.collect::<Option<Vec<_>>>()?.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let pairs = parse(text).expect("well-formed");
        let found: Vec<_> = pairs
            .iter()
            .map(|pair| (pair.line, pair.key.as_str(), pair.value.as_str()))
            .collect();
        assert_eq!(found, expected, "for {text:?}");
    }

    #[test]
    fn dotted_nested_and_quoted_keys_are_the_same() {
        check(
            "log.retention.hours = 24",
            &[(1, "log.retention.hours", "24")],
        );
        check(
            "\n[log.retention]\nhours = 24",
            &[(3, "log.retention.hours", "24")],
        );
        check(
            "\"log.retention.hours\" = 24",
            &[(1, "log.retention.hours", "24")],
        );
        check(
            "log = { retention = { hours = 24 } }",
            &[(1, "log.retention.hours", "24")],
        );
    }

    #[test]
    fn values_are_said_as_properties_say_them() {
        check(
            "a = 1_000_000\nb = 0x10",
            &[(1, "a", "1000000"), (2, "b", "16")],
        );
        check(
            "a = true\nb = 0.5\nc = \"x\"",
            &[(1, "a", "true"), (2, "b", "0.5"), (3, "c", "x")],
        );
        check(
            "a = [\"x\", \"y\", 3]\nb = []",
            &[(1, "a", "x,y,3"), (2, "b", "")],
        );
        check("a = -1", &[(1, "a", "-1")]);
    }

    #[test]
    fn what_is_no_value_is_an_error_with_its_line() {
        let check = |text: &str, line: usize| {
            assert_eq!(
                parse(text).expect_err("malformed").line,
                line,
                "for {text:?}"
            );
        };
        check("a = 1\nb = ", 2);
        check("a = 1\na = 2", 2);
        check("\na = 2026-01-01", 2);
        check("a = [[1]]", 1);
        check("a = [{ b = 1 }]", 1);
    }
}
