//! Options as Apache Kafka's tools take them: `--name value` and `--name=value`, shortened as long as
//! it is clear which is meant.

use super::Wrong;

/// An option.
pub(super) struct Known {
    pub(super) name: &'static str,
    value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Never,
    Always,
    /// What follows is its value unless it is an option.
    Perhaps,
}

pub(super) const fn flag(name: &'static str) -> Known {
    let value = Value::Never;
    Known { name, value }
}

pub(super) const fn option(name: &'static str) -> Known {
    let value = Value::Always;
    Known { name, value }
}

/// An option that may stand alone.
pub(super) const fn perhaps(name: &'static str) -> Known {
    let value = Value::Perhaps;
    Known { name, value }
}

/// What was given, in order.
#[derive(Debug)]
pub(super) struct Arguments {
    given: Vec<(&'static str, Option<String>)>,
    /// What is no option, where the tool has commands.
    word: Option<String>,
    /// Everything, as it was given.
    all: Vec<String>,
}

impl Arguments {
    pub(super) fn parse(
        args: impl Iterator<Item = String>,
        known: &'static [Known],
        commands: &[&str],
    ) -> Result<Self, Wrong> {
        let all: Vec<String> = args.collect();
        let mut args = all.iter().cloned().peekable();
        let mut given = Vec::new();
        let mut word = None;
        while let Some(arg) = args.next() {
            if word.is_none() && commands.contains(&arg.as_str()) {
                word = Some(arg);
                continue;
            }
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
            let value = match (found.value, value) {
                (Value::Never, _) => None,
                (_, Some(value)) => Some(value),
                (Value::Perhaps, None) => args.next_if(|next| !next.starts_with("--")),
                (Value::Always, None) => match args.next() {
                    Some(value) => Some(value),
                    None => {
                        let text = format!("Option {} requires an argument", found.name);
                        return Err(Wrong::Usage(text));
                    }
                },
            };
            given.push((found.name, value));
        }
        Ok(Arguments { given, word, all })
    }

    /// The tool's command, if it has been named.
    pub(super) fn word(&self) -> Option<&str> {
        self.word.as_deref()
    }

    /// The whole command line.
    pub(super) fn line(&self) -> String {
        self.all.join(" ")
    }

    /// The value of an option the tool cannot do without.
    pub(super) fn required(&self, name: &str) -> Result<&str, Wrong> {
        let missing = || Wrong::Usage(format!("Missing required argument \"[{name}]\""));
        self.value(name).ok_or_else(missing)
    }

    /// Those of these options that were given.
    pub(super) fn those<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let given = |name: &&&str| self.has(name);
        names.iter().filter(given).copied().collect()
    }

    /// `key=value` pairs of an option that may be given again.
    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Wrong> {
        let pair = |text: &str| match text.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Wrong::Usage(format!(
                "Invalid command line properties: {text}"
            ))),
        };
        self.values(name).map(pair).collect()
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

    const KNOWN: &[Known] = &[
        flag("list"),
        perhaps("state"),
        option("topic"),
        option("topic-partitions"),
    ];

    fn parse(line: &str) -> Result<Arguments, Wrong> {
        Arguments::parse(line.split(' ').map(str::to_owned), KNOWN, &[])
    }

    #[test]
    fn options_may_be_shortened_and_joined() {
        let Ok(read) = parse("--li --topic=a --topic b --topic-p c") else {
            panic!("all of it is known");
        };
        assert!(read.has("list"));
        assert_eq!(read.values("topic").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read.value("topic-partitions"), Some("c"));
        let Ok(read) = parse("--state --list --state stable") else {
            panic!("all of it is known");
        };
        assert!(read.has("list"));
        assert_eq!(read.values("state").collect::<Vec<_>>(), ["stable"]);
        for line in ["--nonsense", "list", "--topic", "--to x"] {
            assert!(matches!(parse(line), Err(Wrong::Usage(_))), "{line}");
        }
    }
}
