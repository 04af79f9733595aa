//! `sasl.jaas.config` as Java's clients read it: the class of a login module, how much it counts, and
//! its options.
//!
//! ```text
//! org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="x";
//! ```

use std::collections::BTreeMap;

use super::Secret;

/// A login module with its options. Values may be secrets: none is ever in an error.
#[derive(Debug)]
pub struct Jaas {
    /// The module's class.
    pub module: String,
    /// Its options.
    pub options: BTreeMap<String, Secret>,
}

/// Reads the setting. What is wrong is told with its place, and without what stands there.
pub fn parse(text: &str) -> Result<Jaas, String> {
    let mut words = words(text)?.into_iter();
    let mut word = |expected: &str| match words.next() {
        Some((_, Word::Text(text))) => Ok(text),
        Some((at, _)) => Err(format!("sasl.jaas.config column {at}: expected {expected}")),
        None => Err(format!("sasl.jaas.config ends where {expected} is due")),
    };
    let module = word("the class of a login module")?;
    let flag = word("required")?;
    let flags = ["required", "requisite", "sufficient", "optional"];
    if !flags.contains(&flag.to_ascii_lowercase().as_str()) {
        return Err(format!(
            "sasl.jaas.config: expected one of {} behind the class",
            flags.join(", ")
        ));
    }
    let mut options = BTreeMap::new();
    loop {
        let name = match words.next() {
            Some((_, Word::Text(name))) => name,
            Some((_, Word::End)) => break,
            Some((at, Word::Equals)) => {
                return Err(format!(
                    "sasl.jaas.config column {at}: there is no option before ="
                ));
            }
            None => return Err("sasl.jaas.config does not end with ;".to_owned()),
        };
        let Some((_, Word::Equals)) = words.next() else {
            return Err(format!("sasl.jaas.config: expected = behind {name}"));
        };
        let Some((_, Word::Text(value))) = words.next() else {
            return Err(format!("sasl.jaas.config: {name} has no value"));
        };
        options.insert(name, Secret::new(value));
    }
    match words.next() {
        None => Ok(Jaas { module, options }),
        Some((at, _)) => Err(format!(
            "sasl.jaas.config column {at}: only one login module is expected"
        )),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    Equals,
    End,
}

/// Words with the columns they begin in, counted from 1.
fn words(text: &str) -> Result<Vec<(usize, Word)>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '=' => words.push((at + 1, Word::Equals)),
            ';' => words.push((at + 1, Word::End)),
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        None => {
                            return Err(format!(
                                "sasl.jaas.config column {}: the quotation mark is not closed",
                                at + 1
                            ));
                        }
                        Some((_, end)) if end == c => break,
                        Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| match c {
                            'n' => '\n',
                            't' => '\t',
                            'r' => '\r',
                            other => other,
                        })),
                        Some((_, other)) => value.push(other),
                    }
                }
                words.push((at + 1, Word::Text(value)));
            }
            c => {
                let mut word = String::from(c);
                let ends = |c: char| c.is_whitespace() || "=;\"'".contains(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| !ends(*c)) {
                    word.push(c);
                }
                words.push((at + 1, Word::Text(word)));
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_with_options_quoted_or_not() {
        let text = "a.b.Module required\n  username=\"al ice\" password='it\\'s=;\\\\' plain=1;";
        let read = parse(text).expect("a module");
        assert_eq!(read.module, "a.b.Module");
        let options: Vec<(&str, &str)> = read
            .options
            .iter()
            .map(|(name, value)| (name.as_str(), value.reveal()))
            .collect();
        let expected = [
            ("password", "it's=;\\"),
            ("plain", "1"),
            ("username", "al ice"),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn mistakes_are_placed_and_tell_no_secret() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        };
        check("", "ends where the class");
        check("a.M", "ends where required");
        check("a.M maybe;", "required, requisite");
        check("a.M required password=\"hush\"", "does not end with ;");
        check(
            "a.M required password=\"hush;",
            "column 23: the quotation mark",
        );
        check("a.M required password;", "expected = behind password");
        check("a.M required password=;", "password has no value");
        check("a.M required =\"hush\";", "no option before =");
        check("a.M required; b.M required;", "only one login module");
    }
}
