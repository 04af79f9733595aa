//! Subscriptions by expression: RE2's language (`re2.rs`), matched against the whole name of each
//! topic.
//!
//! The engine takes time linear in the length of the name whatever the expression, and the size of
//! what an expression compiles to is bounded. With many expressions and many topics that still takes
//! long, so it is done where no other group waits for it: the coordinator says what it needs matched, and
//! is asked again with the outcome.

use std::collections::{BTreeSet, HashMap};

use regex::{Regex, RegexBuilder};
use reka_raft::MetadataImage;

use super::re2::translate;

/// Longest expression.
const PATTERN_BYTES_MAX: usize = 4096;
/// What one may compile to.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// How deep its parentheses may go.
const NEST_MAX: u32 = 50;

/// An expression that can be matched.
#[derive(Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles it, or says why not.
    pub fn new(pattern: &str) -> Result<Pattern, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, at most {PATTERN_BYTES_MAX} may be",
                pattern.len()
            ));
        }
        let translated = translate(pattern)?;
        RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NEST_MAX)
            .build()
            .map(Pattern)
            .map_err(|error| {
                // The last line says what is wrong, those above show where.
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            })
    }

    /// Whether it stands for all of this.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// Topics it stands for.
    fn matches(&self, image: &MetadataImage) -> BTreeSet<String> {
        let names = image.topics().iter().map(|topic| topic.name());
        names
            .filter(|name| self.is_match(name))
            .map(str::to_owned)
            .collect()
    }
}

/// What expressions stand for as of one state of the metadata; or why one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    version: u64,
    topics: HashMap<String, Result<BTreeSet<String>, String>>,
}

impl Matched {
    /// Matches them all. Takes long.
    pub fn of(patterns: Vec<String>, image: &MetadataImage) -> Matched {
        let topics = patterns.into_iter().map(|pattern| {
            let topics = Pattern::new(&pattern).map(|compiled| compiled.matches(image));
            (pattern, topics)
        });
        Matched {
            version: image.offset(),
            topics: topics.collect(),
        }
    }

    /// The state of the metadata.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Topics of an expression; `None` if it was not asked about.
    pub fn get(&self, pattern: &str) -> Option<&Result<BTreeSet<String>, String>> {
        self.topics.get(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern)
            .expect("an expression")
            .0
            .is_match(name)
    }

    #[test]
    fn an_expression_is_matched_against_the_whole_name() {
        assert!(is_match("foo.*", "foo-1"));
        assert!(!is_match("foo", "foo-1"));
        assert!(!is_match("oo.*", "foo"));
        assert!(is_match("a|b", "b"), "the ends bind to all of it");
        assert!(!is_match("a|b", "ab"));
    }

    /// What RE2/J makes of them. Where it takes memory without a limit there is one here.
    const TOO_LARGE: [&str; 2] = ["(a{1000}){1000}", "((a{100}){100}){10}"];

    #[test]
    fn expressions_mean_what_they_mean_to_apache_kafka() {
        let table = include_str!("../../../tests/testdata/re2j-1.8.txt");
        let mut lines = table.lines().filter(|line| !line.starts_with("# "));
        let names: Vec<&str> = lines.next().expect("names").split('\t').collect();
        let mut wrong = Vec::new();
        let mut count = 0;
        for line in lines {
            count += 1;
            let mut told = line.split('\t');
            let (pattern, told) = (
                told.next().expect("an expression"),
                told.collect::<Vec<_>>(),
            );
            let expected = match told.split_first() {
                Some((&"ok", _)) if TOO_LARGE.contains(&pattern) => None,
                Some((&"ok", matched)) => Some(matched.to_vec()),
                _ => None,
            };
            let found = Pattern::new(pattern).ok().map(|pattern| {
                let matched = names.iter().filter(|name| pattern.0.is_match(name));
                matched.copied().collect::<Vec<_>>()
            });
            if found != expected {
                wrong.push(format!("{pattern}: {expected:?}, found {found:?}"));
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(count > 200, "{count} expressions");
    }

    proptest::proptest! {
        /// Whatever is asked for, what comes of it is an expression, or too large for one.
        #[test]
        fn what_is_translated_is_an_expression(
            pattern in r"([a-c]|[()\[\]{}|*+?.^$-]|\\[QEdpPbAz0-7x]|\(\?|\[:|:\]|[0-9,]|[iPL<>]){0,12}"
        ) {
            if let Ok(translated) = translate(&pattern) {
                let built = RegexBuilder::new(&translated).build();
                let is_good = match &built {
                    Ok(_) | Err(regex::Error::CompiledTooBig(_)) => true,
                    // A name of a script that nobody knows.
                    Err(error) => error.to_string().contains("Unicode property"),
                };
                proptest::prop_assert!(is_good, "{pattern} as {translated}: {built:?}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_or_would_explode_is_refused() {
        for bad in ["(", ")(", "a**b(", "[", r"(?=x)", r"(a)\1"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
        assert!(Pattern::new("((a{1000}){1000}){1000}").is_err());
        assert!(Pattern::new(&"(".repeat(2000)).is_err());
        assert!(Pattern::new(&"a".repeat(5000)).is_err());
    }
}
