//! `rkctl profile import`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reka_client::security::settings::is_known;
use serde_json::Value;

use super::Done;
use crate::command_line::Change;
use crate::failure::Failure;
use crate::profiles::{self, Profiles, Settings, name};
use crate::properties;
use crate::session::Session;
use crate::yaml;

/// Settings that are for producers and consumers are left out, and told. Secrets are taken over.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The profile's name; the file's without. A file of kafkactl has names of its own
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Whose file it is
    #[arg(long = "as", value_enum, value_name = "KIND", default_value_t)]
    kind: Kind,
    /// Put it in the place of a profile of the same name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Kind {
    /// Found out by what is in it
    #[default]
    Any,
    /// A client.properties of Java's clients and tools
    Java,
    /// A file of librdkafka, as kcat reads it
    Librdkafka,
    /// The contexts of kafkactl
    Kafkactl,
}

/// What a file comes to: profiles, and what of it has no place in them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    profiles: Vec<(String, Settings)>,
    left_out: Vec<String>,
}

impl Import {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let shown = self.file.display();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Failure::usage(format!("read {shown}: {error}")))?;
        let wrong = |error: String| Failure::usage(format!("{shown}: {error}"));
        let stem = self
            .file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let named = match &self.name {
            Some(name) => Ok(name.clone()),
            None => name(&stem.unwrap_or_default()),
        };
        let named = named.map_err(|error| {
            Failure::usage(format!("{shown} gives no name for a profile: {error}"))
                .hint("give one with --name")
        })?;
        let is_yaml = self
            .file
            .extension()
            .is_some_and(|end| end == "yml" || end == "yaml");
        let found = match (self.kind, is_yaml) {
            (Kind::Kafkactl, _) | (Kind::Any, true) => kafkactl(&text).map_err(wrong)?,
            _ => settings_file(&named, &text),
        };
        let mut all = Profiles::read()?;
        let mut done = Vec::new();
        for (name, settings) in found.profiles {
            profiles::check(&settings)?;
            if all.by_name.contains_key(&name) && !self.replace {
                let text = format!("there is a profile {name} already");
                return Err(Failure::refused(text).hint("take another --name, or --replace it"));
            }
            let status = match self.change.dry_run {
                true => "would be imported",
                false => "imported",
            };
            done.push(Done::new(&name, status, &settings));
            all.by_name.insert(name, settings);
        }
        if !self.change.dry_run {
            all.write()?;
        }
        if !found.left_out.is_empty() {
            let left_out = found.left_out.join(", ");
            writeln!(std::io::stderr(), "rkctl: not taken over: {left_out}")?;
        }
        session.show(&done)
    }
}

/// A file of Java's clients or of librdkafka: the names tell which.
fn settings_file(name: &str, text: &str) -> Found {
    let mut found = Found::default();
    let mut settings = Settings::new();
    for (key, value) in properties::parse(text) {
        let key = match key.as_str() {
            "metadata.broker.list" => "bootstrap.servers".to_owned(),
            _ => key,
        };
        if is_known(&key) || properties::CLIENT_KEYS.contains(&key.as_str()) {
            settings.insert(key, value);
        } else {
            found.left_out.push(key);
        }
    }
    found.profiles.push((name.to_owned(), settings));
    found
}

/// Contexts of kafkactl: `contexts.NAME.brokers`, `.tls`, `.sasl`, `.clientID`.
fn kafkactl(text: &str) -> Result<Found, String> {
    let document = yaml::read(text)?;
    let contexts = document.get("contexts").and_then(Value::as_object);
    let contexts = contexts.ok_or("expected contexts with names, as kafkactl has them")?;
    let mut found = Found::default();
    for (context, fields) in contexts {
        let fields = fields.as_object();
        let fields = fields.ok_or_else(|| format!("contexts.{context}: expected settings"))?;
        let profile = name(context).map_err(|error| format!("contexts.{context}: {error}"))?;
        let mut settings = Settings::new();
        let mut set = |key: &str, value: String| {
            settings.insert(key.to_owned(), value);
        };
        let (mut with_tls, mut with_sasl) = (false, false);
        for (field, value) in fields {
            let at = format!("contexts.{context}.{field}");
            match field.as_str() {
                "brokers" => {
                    let list = value
                        .as_array()
                        .map(|list| list.iter().map(plain).collect());
                    let list: Vec<String> =
                        list.ok_or_else(|| format!("{at}: expected a list of host:port"))?;
                    set("bootstrap.servers", list.join(","));
                }
                "clientID" | "clientid" => set("client.id", plain(value)),
                "tls" | "sasl" => {
                    let inner = value.as_object();
                    let inner = inner.ok_or_else(|| format!("{at}: expected settings"))?;
                    let enabled = inner
                        .get("enabled")
                        .is_none_or(|on| on == &Value::Bool(true));
                    match field.as_str() {
                        "tls" => with_tls = enabled,
                        _ => with_sasl = enabled,
                    }
                    if !enabled {
                        continue;
                    }
                    for (key, value) in inner {
                        let ours = match (field.as_str(), key.as_str()) {
                            (_, "enabled") => continue,
                            ("tls", "ca") => "ssl.ca.location",
                            ("tls", "cert") => "ssl.certificate.location",
                            ("tls", "certKey" | "certkey") => "ssl.key.location",
                            ("tls", "insecure") if value == &Value::Bool(false) => continue,
                            ("sasl", "username") => "sasl.username",
                            ("sasl", "password") => "sasl.password",
                            ("sasl", "mechanism") => {
                                set("sasl.mechanism", mechanism(&plain(value)));
                                continue;
                            }
                            _ => {
                                found.left_out.push(format!("{at}.{key}"));
                                continue;
                            }
                        };
                        set(ours, plain(value));
                    }
                }
                _ => found.left_out.push(at),
            }
        }
        let protocol = match (with_tls, with_sasl) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        };
        settings.insert("security.protocol".to_owned(), protocol.to_owned());
        if with_sasl {
            // Its default.
            let mechanism = settings.entry("sasl.mechanism".to_owned());
            mechanism.or_insert_with(|| "PLAIN".to_owned());
        }
        found.profiles.push((profile, settings));
    }
    Ok(found)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Kafka's name for what kafkactl calls `scram-sha512`.
fn mechanism(name: &str) -> String {
    match name {
        "plaintext" | "plain" => "PLAIN".to_owned(),
        "scram-sha256" => "SCRAM-SHA-256".to_owned(),
        "scram-sha512" => "SCRAM-SHA-512".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(settings: &Settings) -> Vec<(&str, &str)> {
        settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn settings_of_java_and_librdkafka_are_taken_over_but_for_those_of_others() {
        let text = "metadata.broker.list=a:1\nsecurity.protocol=sasl_ssl\nacks=all\n\
                    sasl.mechanisms=PLAIN\nsasl.username=u\nsasl.password=p\ngroup.id=g\n";
        let found = settings_file("x", text);
        assert_eq!(found.left_out, ["acks", "group.id"]);
        let expected = [
            ("bootstrap.servers", "a:1"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.password", "p"),
            ("sasl.username", "u"),
            ("security.protocol", "sasl_ssl"),
        ];
        assert_eq!(pairs(&found.profiles[0].1), expected);
    }

    #[test]
    fn contexts_of_kafkactl_become_profiles() {
        let text = "contexts:\n  default:\n    brokers:\n    - a:1\n    - b:2\n  secure:\n    \
                    brokers: [c:3]\n    tls:\n      enabled: true\n      ca: /ca.pem\n      \
                    insecure: false\n    sasl:\n      enabled: true\n      mechanism: scram-sha512\n      \
                    username: u\n      password: p\n    avro:\n      schemaRegistry: d:4\n\
                    current-context: default\n";
        let found = kafkactl(text).expect("contexts");
        assert_eq!(found.left_out, ["contexts.secure.avro"]);
        let expected = [
            ("bootstrap.servers", "a:1,b:2"),
            ("security.protocol", "PLAINTEXT"),
        ];
        assert_eq!(found.profiles[0].0, "default");
        assert_eq!(pairs(&found.profiles[0].1), expected);
        let expected = [
            ("bootstrap.servers", "c:3"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", "p"),
            ("sasl.username", "u"),
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", "/ca.pem"),
        ];
        assert_eq!(pairs(&found.profiles[1].1), expected);
    }

    #[test]
    fn what_is_no_file_of_kafkactl_says_so() {
        let check = |text: &str, expected: &str| {
            let error = kafkactl(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        };
        check("a: 1", "expected contexts");
        check("contexts:\n  a: 1", "contexts.a: expected settings");
        check(
            "contexts:\n  a:\n    brokers: x",
            "expected a list of host:port",
        );
        check("contexts:\n  a: [", "line ");
        check("contexts:\n  'a b': {}", "letters, digits");
    }
}
