//! Files of settings as Java's clients read them: `key=value`, `key: value`, comments with `#` or `!`,
//! lines that go on behind a `\`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reka_client::security::settings as security;
use reka_client::{ClientConfig, Security};

/// Settings that [`apply`] knows beside those of security.
pub(crate) const CLIENT_KEYS: [&str; 8] = [
    "bootstrap.servers",
    "client.id",
    "request.timeout.ms",
    "default.api.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "metadata.max.age.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
];

/// Settings as a file that [`parse`] reads.
pub(crate) fn written(settings: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (key, value) in settings {
        let mut escaped = String::with_capacity(value.len());
        for (at, c) in value.char_indices() {
            match c {
                '\\' => escaped += "\\\\",
                '\n' => escaped += "\\n",
                '\r' => escaped += "\\r",
                '\t' => escaped += "\\t",
                ' ' if at == 0 => escaped += "\\ ",
                other => escaped.push(other),
            }
        }
        out += &format!("{key}={escaped}\n");
    }
    out
}

/// Settings by key. An error names file and line.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {shown}: {error}"))?;
    Ok(parse(&text))
}

/// Settings of a text. Every text is a file of settings.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&line) {
            line.pop();
            match lines.next() {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let end = line
            .find(|c: char| c == '=' || c == ':' || c.is_whitespace())
            .unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        settings.insert(key.to_owned(), unescaped(value));
    }
    settings
}

/// Whether a line ends with a backslash that is not itself behind one.
fn goes_on(line: &str) -> bool {
    let slashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    slashes % 2 == 1
}

fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

/// Puts settings into a client's configuration. What cannot be done is refused. The names of those that
/// have no effect come back: files of settings are shared with producers and consumers, which is why
/// Java's tools leave them alone as well. What is misspelt about security would be found out too late.
pub(crate) fn apply(
    settings: &BTreeMap<String, String>,
    config: &mut ClientConfig,
) -> Result<Vec<String>, String> {
    let mut unused = Vec::new();
    for (key, value) in settings {
        let time = || {
            let ms: u64 = value
                .parse()
                .map_err(|_| format!("{key}: expected milliseconds, found {value:?}"))?;
            Ok::<Duration, String>(Duration::from_millis(ms))
        };
        match key.as_str() {
            // The command line names the cluster.
            "bootstrap.servers" => {}
            "client.id" => config.client_id.clone_from(value),
            "request.timeout.ms" => config.request_timeout = time()?,
            "default.api.timeout.ms" => config.deadline = time()?,
            "socket.connection.setup.timeout.ms" => config.connect_timeout = time()?,
            "metadata.max.age.ms" => config.metadata_age_max = time()?,
            "retry.backoff.ms" => config.backoff.first = time()?,
            "retry.backoff.max.ms" => config.backoff.max = time()?,
            key if security::is_known(key) => {}
            key if ["security.", "ssl.", "sasl."]
                .iter()
                .any(|of| key.starts_with(of)) =>
            {
                return Err(format!("the setting {key} is not known here"));
            }
            _ => unused.push(key.clone()),
        }
    }
    let security = Security::from_settings(settings);
    config.security = security.map_err(|error| error.to_string())?;
    Ok(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_java_does() {
        let text =
            "# a comment\n! another\n\na=1\n b : two words \nc\\\n  d=3\ne\tx\ng=a\\\\\nh=\n";
        let read = parse(text);
        let expected = [
            ("a", "1"),
            ("b", "two words "),
            ("cd", "3"),
            ("e", "x"),
            ("g", "a\\"),
            ("h", ""),
        ];
        let expected: BTreeMap<String, String> = expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let settings = [("a", " x\\y\nz\t"), ("b.c", "p=\"q\";"), ("d", "")];
        let settings: BTreeMap<String, String> = settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        assert_eq!(parse(&written(&settings)), settings);
    }

    #[test]
    fn settings_take_effect_or_are_refused_by_name() {
        let mut config = ClientConfig::new("a:1".parse().expect("an address"));
        let settings = parse(
            "client.id=me\nrequest.timeout.ms=1500\nsecurity.protocol=PLAINTEXT\nacks=all\ngroup.id=g",
        );
        let unused = apply(&settings, &mut config).expect("known");
        assert_eq!(unused, ["acks", "group.id"]);
        assert_eq!(config.client_id, "me");
        assert_eq!(config.request_timeout, Duration::from_millis(1500));
        for (line, named) in [
            ("security.protocol=TLS", "TLS"),
            ("sasl.mechanism=PLAIN", "sasl.mechanism"),
            ("sasl.mechansim=PLAIN", "sasl.mechansim"),
            ("ssl.cipher.suites=x", "ssl.cipher.suites"),
            ("request.timeout.ms=soon", "soon"),
        ] {
            let refused = apply(&parse(line), &mut config).expect_err(line);
            assert!(refused.contains(named), "{refused}");
        }
    }
}
