//! Options as Apache Kafka's tools take them: `--name value` and `--name=value`, shortened as long as
//! it is clear which is meant.

use super::Wrong;

/// An option.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) takes_value: bool,
}

pub(super) const fn flag(name: &'static str) -> Known {
    Known {
        name,
        takes_value: false,
    }
}

pub(super) const fn option(name: &'static str) -> Known {
    Known {
        name,
        takes_value: true,
    }
}

/// What was given, in order.
#[derive(Debug)]
pub(super) struct Arguments {
    given: Vec<(&'static str, Option<String>)>,
}

impl Arguments {
    pub(super) fn parse(
        args: impl Iterator<Item = String>,
        known: &'static [Known],
    ) -> Result<Self, Wrong> {
        let mut args = args;
        let mut given = Vec::new();
        while let Some(arg) = args.next() {
            let Some(name) = arg.strip_prefix("--") else {
                return Err(Wrong::Usage(format!("{arg} is not a recognized option")));
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let exact = known.iter().find(|known| known.name == name);
            let mut near = known.iter().filter(|known| known.name.starts_with(name));
            let found = match (exact, near.next(), near.next()) {
                (Some(exact), _, _) => exact,
                (None, Some(only), None) => only,
                _ => return Err(Wrong::Usage(format!("{name} is not a recognized option"))),
            };
            let value = match (found.takes_value, value) {
                (false, _) => None,
                (true, Some(value)) => Some(value),
                (true, None) => match args.next() {
                    Some(value) => Some(value),
                    None => {
                        let text = format!("Option {} requires an argument", found.name);
                        return Err(Wrong::Usage(text));
                    }
                },
            };
            given.push((found.name, value));
        }
        Ok(Arguments { given })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The value of an option, the first where there are several.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut named = self.given.iter().filter(|(given, _)| *given == name);
        named.find_map(|(_, value)| value.as_deref())
    }

    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.given.iter().filter(move |(given, _)| *given == name);
        named.filter_map(|(_, value)| value.as_deref())
    }

    /// A number, with the words of the library the tools read options with.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Wrong> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let wrong = || Wrong::Failed(format!("Cannot parse argument '{value}' of option {name}"));
        value.parse().map(Some).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[flag("list"), option("topic"), option("topic-partitions")];

    fn parse(line: &str) -> Result<Arguments, Wrong> {
        Arguments::parse(line.split(' ').map(str::to_owned), KNOWN)
    }

    #[test]
    fn options_may_be_shortened_and_joined() {
        let Ok(read) = parse("--li --topic=a --topic b --topic-p c") else {
            panic!("all of it is known");
        };
        assert!(read.has("list"));
        assert_eq!(read.values("topic").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read.value("topic-partitions"), Some("c"));
        for line in ["--nonsense", "list", "--topic", "--to x"] {
            assert!(matches!(parse(line), Err(Wrong::Usage(_))), "{line}");
        }
    }
}
