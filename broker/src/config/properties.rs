//! Java's properties files, the syntax of `server.properties`.
//!
//! | Line | Is |
//! |---|---|
//! | blank, or beginning with `#` or `!` | nothing |
//! | ending with an odd number of `\` | continued on the next, whose indent is dropped |
//! | `key = value`, `key: value`, `key value` | a pair; the first of `=`, `:` or space ends the key |
//!
//! `\t`, `\n`, `\r`, `\f` and `\uXXXX` are what they say; `\` before anything else is that thing. A
//! file is UTF-8.

/// A pair and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Counted from 1.
    pub line: usize,
    /// With escapes resolved.
    pub key: String,
    /// With escapes resolved.
    pub value: String,
}

/// A `\u` without four hexadecimal digits, or half a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\\u needs four hexadecimal digits that name a character")]
pub struct BadEscape {
    /// Counted from 1.
    pub line: usize,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Vec<Pair>, BadEscape> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = trim_start(first);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(trim_start(next)),
                None => break,
            }
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        let bad = || BadEscape { line };
        let key = unescape(key).ok_or_else(bad)?;
        let value = unescape(value).ok_or_else(bad)?;
        pairs.push(Pair { line, key, value });
    }
    Ok(pairs)
}

/// Writes pairs, so that [`parse`] reads the same.
pub fn render<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        escape(key, true, &mut out);
        out.push('=');
        escape(value, false, &mut out);
        out.push('\n');
    }
    out
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn trim_start(line: &str) -> &str {
    line.trim_start_matches(is_space)
}

fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (is_space(*c) || matches!(c, '=' | ':'));
            escaped = !escaped && *c == '\\';
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = trim_start(rest);
    let value = rest.strip_prefix(['=', ':']).map_or(rest, trim_start);
    (key, value)
}

fn unescape(text: &str) -> Option<String> {
    // In UTF-16, because `\u` names halves of characters outside the first plane.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let meant = match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let (digits, after) = rest.as_str().split_at_checked(4)?;
                    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                        return None;
                    }
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    rest = after.chars();
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn escape(text: &str, is_key: bool, out: &mut String) {
    for (index, c) in text.chars().enumerate() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            ' ' if is_key || index == 0 => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if is_key || index == 0 => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn the_syntax_is_javas() {
        check("", &[]);
        check("# a\n! b\n\n   \n\t# c\n", &[]);
        check("a=b", &[(1, "a", "b")]);
        check("a:b\nc d\ne", &[(1, "a", "b"), (2, "c", "d"), (3, "e", "")]);
        check("  a  =  b  ", &[(1, "a", "b  ")]);
        check("a = = b", &[(1, "a", "= b")]);
        check("a\\ b\\=c = d", &[(1, "a b=c", "d")]);
        check("a=b\r\nc=d\r\n", &[(1, "a", "b"), (2, "c", "d")]);
        check(
            "a=b,\\\n    c,\\\n\td\ne=f",
            &[(1, "a", "b,c,d"), (4, "e", "f")],
        );
        check("a=b\\\\\nc=d", &[(1, "a", "b\\"), (2, "c", "d")]);
        check("a=b\\", &[(1, "a", "b")]);
        check("# no\\\na=b", &[(2, "a", "b")]);
        check(
            "a=\\t\\n\\q\\u0041\\ud83d\\ude00",
            &[(1, "a", "\t\nqA\u{1f600}")],
        );
        check(
            "listeners=PLAINTEXT://:9092",
            &[(1, "listeners", "PLAINTEXT://:9092")],
        );
    }

    #[test]
    fn a_broken_escape_is_an_error_with_its_line() {
        for text in [
            "a=b\nc=\\u12",
            "a=b\nc=\\uzzzz",
            "a=b\nc=\\ud83d",
            "a=b\nc=\\u00\u{e9}0",
        ] {
            assert_eq!(parse(text), Err(BadEscape { line: 2 }), "for {text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_again(pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..8)) {
            let pairs: Vec<_> = pairs.into_iter().filter(|(key, _)| !key.is_empty()).collect();
            let text = render(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            let read: Vec<_> = parse(&text).unwrap().into_iter().map(|pair| (pair.key, pair.value)).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
