//! Subscriptions by expression: RE2's language, matched against the whole name of each topic.
//!
//! The engine takes time linear in the length of the name whatever the expression, and the size of
//! what an expression compiles to is bounded. With many expressions and many topics that still takes
//! long, so it is done where no other group waits for it: the coordinator says what it needs matched, and
//! is asked again with the outcome.

use std::collections::{BTreeSet, HashMap};

use regex::{Regex, RegexBuilder};
use reka_raft::MetadataImage;

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
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(COMPILED_BYTES_MAX)
                .dfa_size_limit(COMPILED_BYTES_MAX)
                .nest_limit(NEST_MAX)
                .build()
        };
        // By itself first: an unbalanced parenthesis must not close ours.
        build(pattern)
            .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
            .map(Pattern)
            .map_err(|error| {
                // The last line says what is wrong, those above show where.
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            })
    }

    /// Topics it stands for.
    fn matches(&self, image: &MetadataImage) -> BTreeSet<String> {
        let names = image.topics().iter().map(|topic| topic.name());
        names
            .filter(|name| self.0.is_match(name))
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
