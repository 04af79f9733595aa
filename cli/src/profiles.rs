//! Clusters this user has given names to: for each the settings of a client, under Apache Kafka's
//! names, in one file that nobody else can read.
//!
//! ```toml
//! current = "production"
//!
//! [profiles.production]
//! "bootstrap.servers" = "kafka-1:9092,kafka-2:9092"
//! "security.protocol" = "SASL_SSL"
//! ```

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use reka_client::{ClientConfig, security};

use crate::failure::Failure;
use crate::nearest;
use crate::properties;

/// Settings by key.
pub(crate) type Settings = BTreeMap<String, String>;

/// All profiles.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Profiles {
    /// The one that counts where no cluster is named.
    pub(crate) current: Option<String>,
    pub(crate) by_name: BTreeMap<String, Settings>,
}

/// Where they are kept.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = named("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || named("HOME").map(|home| PathBuf::from(home).join(".config"));
    match config.or_else(home) {
        Some(config) => Ok(config.join("reka/profiles.toml")),
        None => Err(Failure::other(
            "there is no place for profiles: neither XDG_CONFIG_HOME nor HOME is set",
        )),
    }
}

impl Profiles {
    /// Reads the file. Where there is none there are no profiles.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Ok(path) = path() else {
            return Ok(Profiles::default());
        };
        let shown = path.display();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Profiles::default()),
            Err(error) => return Err(Failure::other(format!("read {shown}: {error}"))),
        };
        let profiles = parse(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        let mode = std::fs::metadata(&path).map_or(0, |found| found.mode());
        if mode & 0o077 != 0 && profiles.by_name.values().any(has_secrets) {
            let mut err = std::io::stderr();
            writeln!(
                err,
                "rkctl: {shown} holds secrets and others can read it: chmod 600 {shown}"
            )?;
        }
        Ok(profiles)
    }

    /// Writes the file: whole or not at all, and for nobody else to read.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let path = path()?;
        let failed = |what: &str, error: std::io::Error| {
            Failure::other(format!("{what} {}: {error}", path.display()))
        };
        if let Some(dir) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|error| failed("make a folder for", error))?;
        }
        let new = path.with_extension("toml.new");
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            // One that was left behind keeps the mode it had.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| failed("write", error))
    }

    fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut out = String::new();
        if let Some(current) = &self.current {
            out += &format!("current = {}\n", quoted(current));
        }
        for (name, settings) in &self.by_name {
            out += &format!("\n[profiles.{}]\n", quoted(name));
            for (key, value) in settings {
                out += &format!("{} = {}\n", quoted(key), quoted(value));
            }
        }
        out
    }

    /// A profile that has to be there.
    pub(crate) fn get(&self, name: &str) -> Result<&Settings, Failure> {
        self.by_name.get(name).ok_or_else(|| {
            let failure = Failure::not_found(format!("there is no profile {name}"));
            match nearest::question(name, self.by_name.keys().map(String::as_str)) {
                Some(question) => failure.hint(question),
                None => failure.hint("rkctl profile list shows which there are"),
            }
        })
    }

    /// The name given, or the current one.
    pub(crate) fn named_or_current(&self, name: Option<&str>) -> Result<String, Failure> {
        let name = name.or(self.current.as_deref());
        name.map(str::to_owned).ok_or_else(|| {
            Failure::usage("no profile is named and none is in use")
                .hint("rkctl profile use NAME chooses one")
        })
    }
}

fn has_secrets(settings: &Settings) -> bool {
    settings
        .keys()
        .any(|key| security::settings::is_secret(key))
}

fn parse(text: &str) -> Result<Profiles, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        format!("line {line}: {}", error.message())
    })?;
    let mut profiles = Profiles::default();
    for (field, value) in &table {
        match (field.as_str(), value) {
            ("current", toml::Value::String(name)) => profiles.current = Some(name.clone()),
            ("profiles", toml::Value::Table(named)) => {
                for (name, settings) in named {
                    let settings = settings
                        .as_table()
                        .ok_or_else(|| format!("profiles.{name}: expected settings"))?;
                    let text = |(key, value): (&String, &toml::Value)| match value {
                        toml::Value::String(text) => Ok((key.clone(), text.clone())),
                        _ => Err(format!("profiles.{name}.{key}: expected a text in quotes")),
                    };
                    let settings: Result<Settings, String> = settings.iter().map(text).collect();
                    profiles.by_name.insert(name.clone(), settings?);
                }
            }
            _ => return Err(format!("{field}: expected current and [profiles.NAME]")),
        }
    }
    Ok(profiles)
}

/// Whether a client can be made of settings: what cannot be used is better known now than later.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let servers = settings.get("bootstrap.servers").map(String::as_str);
    let bootstrap = servers.unwrap_or("localhost:9092").parse()?;
    let mut config = ClientConfig::new(bootstrap);
    let unused = properties::apply(settings, &mut config).map_err(Failure::usage)?;
    match unused.first() {
        None => Ok(()),
        // A profile is for this program alone.
        Some(key) => Err(Failure::usage(format!(
            "the setting {key} is not known here"
        ))),
    }
}

/// Whether a name can be typed without quotes anywhere.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("expected up to 64 letters, digits, dots, - and _".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut profiles = Profiles {
            current: Some("a".to_owned()),
            ..Profiles::default()
        };
        let value = "a.Module required password=\"x\\\"y\";\n'''";
        let settings = [("sasl.jaas.config".to_owned(), value.to_owned())];
        profiles.by_name.insert("a".to_owned(), settings.into());
        profiles.by_name.insert("b.c".to_owned(), Settings::new());
        assert_eq!(parse(&profiles.text()), Ok(profiles));
        assert_eq!(parse(""), Ok(Profiles::default()));
    }

    #[test]
    fn mistakes_are_placed() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        };
        check("current = \"a\"\n[profiles.a]\nx = = 1", "line 3");
        check("[profiles.a]\nx = 1", "profiles.a.x: expected a text");
        check("[profiles]\nx = 1", "profiles.x: expected settings");
        check("other = 1", "expected current and");
    }

    #[test]
    fn names_are_plain() {
        assert!(name("my-cluster_1.eu").is_ok());
        for text in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
