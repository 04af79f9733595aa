//! An answer as a tree, read from its pretty `Debug` text.

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tree {
    /// A number, a string, `None`.
    Value(String),
    /// A list or a map.
    List(Vec<Tree>),
    /// A struct.
    Fields(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads what `{:#?}` wrote.
    pub(super) fn parse(text: &str) -> Tree {
        let mut lines = text.lines().map(str::trim);
        let first = lines.next().unwrap_or_default();
        parse(first, &mut lines)
    }

    /// Looks at every value with its path, what is inside first: fields joined by dots, `[]` for an
    /// element of a list.
    pub(super) fn visit(&mut self, path: &str, look: &mut impl FnMut(&str, &mut Tree)) {
        match self {
            Tree::Value(_) => {}
            Tree::List(items) => {
                for item in items {
                    item.visit(&format!("{path}[]"), look);
                }
            }
            Tree::Fields(fields) => {
                for (name, value) in fields {
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    value.visit(&path, look);
                }
            }
        }
        look(path, self);
    }

    /// Where two trees differ, one line each.
    pub(super) fn differences(&self, other: &Tree) -> Vec<String> {
        let mut found = Vec::new();
        compare("", self, other, &mut found);
        found
    }
}

fn compare(path: &str, one: &Tree, other: &Tree, found: &mut Vec<String>) {
    match (one, other) {
        (Tree::List(one), Tree::List(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{at}]"), one, other, found);
            }
        }
        (Tree::Fields(one), Tree::Fields(other)) if one.len() == other.len() => {
            for ((name, one), (_, other)) in one.iter().zip(other) {
                compare(&format!("{path}.{name}"), one, other, found);
            }
        }
        (Tree::List(one), Tree::List(other)) => {
            let only = |these: &[Tree], those: &[Tree]| {
                let only = these.iter().filter(|item| !those.contains(item));
                only.map(brief).collect::<Vec<_>>().join(", ")
            };
            found.push(format!(
                "{path}: {} | {} elements; only there: {} | {}",
                one.len(),
                other.len(),
                only(one, other),
                only(other, one)
            ));
        }
        _ if one == other => {}
        _ => found.push(format!("{path}: {} | {}", brief(one), brief(other))),
    }
}

/// A value in one line.
fn brief(tree: &Tree) -> String {
    let text = match tree {
        Tree::Value(value) => return value.clone(),
        Tree::List(items) => {
            let items: Vec<String> = items.iter().map(brief).collect();
            format!("[{}]", items.join(", "))
        }
        Tree::Fields(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", brief(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    };
    const LONGEST: usize = 600;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn parse<'a>(head: &'a str, rest: &mut impl Iterator<Item = &'a str>) -> Tree {
    let head = head.strip_suffix(',').unwrap_or(head);
    if head == "[]" {
        return Tree::List(Vec::new());
    }
    if head.ends_with('[') {
        return Tree::List(items(rest));
    }
    if head.ends_with('(') {
        // A newtype or `Some`: what is in it is meant.
        let mut inner = items(rest);
        return match inner.len() {
            1 => inner.remove(0),
            _ => Tree::List(inner),
        };
    }
    if head.ends_with('{') {
        let mut fields = Vec::new();
        while let Some(line) = rest.next() {
            if is_close(line) {
                break;
            }
            match line.split_once(": ") {
                Some((name, value)) => fields.push((name.to_owned(), parse(value, rest))),
                None => fields.push((String::new(), parse(line, rest))),
            }
        }
        return Tree::Fields(fields);
    }
    Tree::Value(head.to_owned())
}

fn items<'a>(rest: &mut impl Iterator<Item = &'a str>) -> Vec<Tree> {
    let mut items = Vec::new();
    while let Some(line) = rest.next() {
        if is_close(line) {
            break;
        }
        items.push(parse(line, rest));
    }
    items
}

fn is_close(line: &str) -> bool {
    matches!(line.trim_end_matches(','), "]" | ")" | "}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "looked at through Debug")]
    struct Answer {
        code: i16,
        topics: Vec<Topic>,
        none: Option<i32>,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "looked at through Debug")]
    struct Topic {
        name: Option<Name>,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "looked at through Debug")]
    struct Name(&'static str);

    fn tree(code: i16, names: &[&'static str]) -> Tree {
        let topics = names.iter().map(|name| Topic {
            name: Some(Name(name)),
        });
        let answer = Answer {
            code,
            topics: topics.collect(),
            none: None,
        };
        Tree::parse(&format!("{answer:#?}"))
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        assert_eq!(tree(0, &["a: {"]).differences(&tree(0, &["a: {"])), [""; 0]);
        assert_eq!(
            tree(0, &["a", "b"]).differences(&tree(3, &["a", "c"])),
            [".code: 0 | 3", r#".topics[1].name: "b" | "c""#]
        );
        assert_eq!(
            tree(0, &["a"]).differences(&tree(0, &[])),
            [r#".topics: 1 | 0 elements; only there: {name: "a"} | "#]
        );
    }

    #[test]
    fn every_value_is_visited_by_its_path() {
        let mut seen = Vec::new();
        tree(7, &["a"]).visit("", &mut |path, _| seen.push(path.to_owned()));
        assert_eq!(
            seen,
            ["code", "topics[].name", "topics[]", "topics", "none", ""]
        );
    }
}
