//! Where values are written, and which counts.
//!
//! From the weakest to the strongest: the default, the file, the environment, `--override`. What the
//! Admin API has changed at run time is stronger than all of them ([`super::layers`]).
//!
//! The environment is read as Apache Kafka's container image reads it: `KAFKA_LOG_DIRS` is
//! `log.dirs`; `__` stands for `_` and `___` for `-`. That image treats some variables differently,
//! and so do we:
//!
//! | Variable | Is |
//! |---|---|
//! | `CLUSTER_ID` | the id of the cluster |
//! | `KAFKA_OPTS`, `KAFKA_HEAP_OPTS`, `KAFKA_JMX_OPTS`, `KAFKA_LOG4J_*`, … | for the JVM: ignored |
//! | `KAFKA_LISTENERS`, not given | `KAFKA_ADVERTISED_LISTENERS` with every host replaced by all addresses |
//! | `KAFKA_SSL_*_FILENAME`, `KAFKA_SSL_*_CREDENTIALS` | names of secret files: refused until TLS is served |
//! | `KAFKA_SERVICE_*`, `KAFKA_PORT`, `KAFKA_PORT_*` | Kubernetes' links to a service named kafka: ignored |
//!
//! A variable that is no setting is an error if it is nearly one, and a warning otherwise: clients'
//! variables (`KAFKA_BOOTSTRAP_SERVERS`) live in the same shells.

use std::path::Path;

use super::definitions;
use super::error::{ConfigError, Origin, Problem, Warning};
use super::properties::{self, Pair};
use super::toml_file;

/// Everything a broker is told when it starts.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<SourceFile>,
    /// The environment; what does not concern us is passed over.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--override`.
    pub overrides: Vec<String>,
}

/// A configuration file. TOML if its name says so, a properties file otherwise.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As it is to be named in errors.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl SourceFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<SourceFile, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(SourceFile { name, text }),
            Err(error) => {
                let problem = Problem::Unreadable(format!("cannot be read: {error}"));
                Err(ConfigError::new(Origin::File { name, line: 0 }, problem))
            }
        }
    }

    fn pairs(&self) -> Result<Vec<Pair>, ConfigError> {
        let wrong = |line, reason| {
            ConfigError::new(
                Origin::File {
                    name: self.name.clone(),
                    line,
                },
                Problem::Syntax(reason),
            )
        };
        if self.name.ends_with(".toml") {
            toml_file::parse(&self.text).map_err(|error| wrong(error.line, error.reason))
        } else {
            properties::parse(&self.text).map_err(|error| wrong(error.line, error.to_string()))
        }
    }
}

/// A value that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its key.
    pub key: String,
    /// As written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// What the sources say, the strongest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) given: Vec<Given>,
    pub(super) cluster_id: Option<String>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
}

impl Sources {
    pub(super) fn read(&self) -> Said {
        let mut said = Said::default();
        if let Some(file) = &self.file {
            read_file(file, &mut said);
        }
        read_environment(&self.environment, &mut said);
        for text in &self.overrides {
            match text.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => said.given.push(Given {
                    key: key.trim().to_owned(),
                    value: value.to_owned(),
                    origin: Origin::Override,
                }),
                _ => said.errors.push(ConfigError::new(
                    Origin::Override,
                    Problem::NotAPair(text.clone()),
                )),
            }
        }
        said
    }
}

fn read_file(file: &SourceFile, said: &mut Said) {
    let pairs = match file.pairs() {
        Ok(pairs) => pairs,
        Err(error) => {
            said.errors.push(error);
            return;
        }
    };
    for (index, pair) in pairs.iter().enumerate() {
        let origin = Origin::File {
            name: file.name.clone(),
            line: pair.line,
        };
        if pairs[index + 1..].iter().any(|later| later.key == pair.key) {
            said.warnings.push(Warning::GivenTwice {
                origin,
                key: pair.key.clone(),
            });
            continue;
        }
        said.given.push(Given {
            key: pair.key.clone(),
            value: pair.value.clone(),
            origin,
        });
    }
}

/// Variables of Kafka's scripts and of its image that say nothing to a broker.
const FOR_THE_JVM: &[&str] = &[
    "KAFKA_VERSION",
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPT",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_DEBUG",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
];

fn read_environment(environment: &[(String, String)], said: &mut Said) {
    // A process has no order of its variables; errors shall have one.
    let mut environment: Vec<_> = environment.iter().collect();
    environment.sort();
    let first = said.given.len();
    for (variable, value) in environment {
        if variable == "CLUSTER_ID" {
            said.cluster_id = Some(value.trim().to_owned()).filter(|id| !id.is_empty());
            continue;
        }
        let Some(rest) = variable.strip_prefix("KAFKA_") else {
            continue;
        };
        let kubernetes =
            rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
        if kubernetes || FOR_THE_JVM.contains(&variable.as_str()) {
            continue;
        }
        let key = key_of(rest);
        let origin = Origin::Environment(variable.clone());
        if rest.starts_with("SSL_")
            && (rest.ends_with("_FILENAME") || rest.ends_with("_CREDENTIALS"))
        {
            let reason = "TLS is not served".to_owned();
            let problem = Problem::NotYet {
                key,
                value: value.clone(),
                reason,
                default: None,
            };
            said.errors.push(ConfigError::new(origin, problem));
            continue;
        }
        if let Some(bitnami) = rest.strip_prefix("CFG_") {
            let nearest = Some(format!("KAFKA_{bitnami}"));
            let problem = Problem::UnknownKey { key, nearest };
            said.errors.push(ConfigError::new(origin, problem));
            continue;
        }
        if super::layers::is_known(&key) {
            said.given.push(Given {
                key,
                value: value.clone(),
                origin,
            });
            continue;
        }
        match definitions::nearest_broker(&key) {
            Some(name) => {
                let nearest = Some(name.to_owned());
                said.errors.push(ConfigError::new(
                    origin,
                    Problem::UnknownKey { key, nearest },
                ));
            }
            None => said.warnings.push(Warning::NotASetting {
                variable: variable.clone(),
            }),
        }
    }
    derive_listeners(first, said);
}

/// The key a variable names, without its `KAFKA_`.
fn key_of(rest: &str) -> String {
    rest.to_lowercase()
        .replace('_', ".")
        .replace("...", "-")
        .replace("..", "_")
}

/// Who only says what is advertised listens on the same ports of all addresses.
fn derive_listeners(first: usize, said: &mut Said) {
    let environment = &said.given[first..];
    let has = |key: &str| {
        said.given
            .iter()
            .any(|given| given.key == key && !given.value.is_empty())
    };
    let controller_only = environment
        .iter()
        .any(|given| given.key == "process.roles" && given.value.trim() == "controller");
    if has("listeners") || controller_only {
        return;
    }
    let Some(advertised) = environment
        .iter()
        .find(|given| given.key == "advertised.listeners")
    else {
        return;
    };
    let listeners: Vec<String> = definitions::items(&advertised.value)
        .map(
            |item| match (item.split_once("://"), item.rsplit_once(':')) {
                (Some((name, _)), Some((_, port))) => format!("{name}://0.0.0.0:{port}"),
                _ => item.to_owned(),
            },
        )
        .collect();
    said.given.push(Given {
        key: "listeners".to_owned(),
        value: listeners.join(","),
        origin: advertised.origin.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Said {
        let environment = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Sources {
            environment,
            ..Sources::default()
        }
        .read()
    }

    fn check(pairs: &[(&str, &str)], expected: &[(&str, &str)]) {
        let said = environment(pairs);
        assert_eq!(said.errors, [], "for {pairs:?}");
        let found: Vec<_> = said
            .given
            .iter()
            .map(|given| (given.key.as_str(), given.value.as_str()))
            .collect();
        assert_eq!(found, expected, "for {pairs:?}");
    }

    #[test]
    fn variables_are_read_as_kafkas_image_reads_them() {
        check(&[("KAFKA_NODE_ID", "7")], &[("node.id", "7")]);
        check(&[("KAFKA_LOG_DIRS", "/data")], &[("log.dirs", "/data")]);
        check(
            &[("KAFKA_REKA_HTTP_LISTENER", "")],
            &[("reka.http.listener", "")],
        );
        check(
            &[("KAFKA_LISTENER_NAME_A__B_SASL_ENABLED_MECHANISMS", "GSSAPI")],
            &[("listener.name.a_b.sasl.enabled.mechanisms", "GSSAPI")],
        );
        check(
            &[("PATH", "/bin"), ("LOG_DIR", "/x"), ("kafka_node_id", "1")],
            &[],
        );
        check(
            &[
                ("KAFKA_OPTS", "-X"),
                ("KAFKA_HEAP_OPTS", "-Xmx1g"),
                ("KAFKA_VERSION", "4"),
            ],
            &[],
        );
        check(
            &[
                ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
                ("KAFKA_PORT_9092_TCP", "x"),
            ],
            &[],
        );
        check(&[("KAFKA_SERVICE_HOST", "10.0.0.1")], &[]);
        assert_eq!(
            key_of("VALID___PROPERTY__ALL_CASES"),
            "valid-property_all.cases"
        );
    }

    #[test]
    fn listeners_follow_what_is_advertised() {
        check(
            &[(
                "KAFKA_ADVERTISED_LISTENERS",
                "PLAINTEXT://a:9092, B://[::1]:19092",
            )],
            &[
                (
                    "advertised.listeners",
                    "PLAINTEXT://a:9092, B://[::1]:19092",
                ),
                ("listeners", "PLAINTEXT://0.0.0.0:9092,B://0.0.0.0:19092"),
            ],
        );
        check(
            &[
                ("KAFKA_ADVERTISED_LISTENERS", "A://a:1"),
                ("KAFKA_LISTENERS", "A://:2"),
            ],
            &[("advertised.listeners", "A://a:1"), ("listeners", "A://:2")],
        );
        check(
            &[
                ("KAFKA_ADVERTISED_LISTENERS", "A://a:1"),
                ("KAFKA_PROCESS_ROLES", "controller"),
            ],
            &[
                ("advertised.listeners", "A://a:1"),
                ("process.roles", "controller"),
            ],
        );
    }

    #[test]
    fn the_cluster_id_has_a_variable_of_its_own() {
        let said = environment(&[("CLUSTER_ID", "MkU3OEVBNTcwNTJENDM2Qg")]);
        assert_eq!(said.cluster_id.as_deref(), Some("MkU3OEVBNTcwNTJENDM2Qg"));
    }

    #[test]
    fn a_variable_that_is_nearly_a_setting_is_an_error() {
        let check = |variable: &str, expected: &str| {
            let said = environment(&[(variable, "x")]);
            assert_eq!(said.errors.len(), 1, "for {variable}");
            assert_eq!(said.errors[0].to_string(), expected);
        };
        check(
            "KAFKA_ADVERTIZED_LISTENERS",
            "KAFKA_ADVERTIZED_LISTENERS: unknown key advertized.listeners; did you mean advertised.listeners?",
        );
        check(
            "KAFKA_CFG_NODE_ID",
            "KAFKA_CFG_NODE_ID: unknown key cfg.node.id; did you mean KAFKA_NODE_ID?",
        );
        check(
            "KAFKA_SSL_KEYSTORE_FILENAME",
            "KAFKA_SSL_KEYSTORE_FILENAME: ssl.keystore.filename=x is not supported yet: TLS is not served; remove it",
        );
    }

    #[test]
    fn a_variable_of_a_client_is_a_warning() {
        let said = environment(&[("KAFKA_BOOTSTRAP_SERVERS", "x:9092")]);
        assert_eq!(said.errors, []);
        let variable = "KAFKA_BOOTSTRAP_SERVERS".to_owned();
        assert_eq!(said.warnings, [Warning::NotASetting { variable }]);
    }
}
