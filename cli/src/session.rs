//! Which cluster a command is for, and what all commands need of it.

use std::io::Write;
use std::time::Duration;

use reka_client::admin::GroupListing;
use reka_client::{Bootstrap, Client, ClientConfig, Outcome, Refusal, TopicInfo};
use reka_protocol::ErrorCode;
use serde::Serialize;

use crate::command_line::Options;
use crate::failure::Failure;
use crate::nearest;
use crate::output::{self, Format, Report};
use crate::profiles::{Profiles, Settings};
use crate::properties;
use crate::table::{Page, Table};

const BOOTSTRAP_VARIABLE: &str = "KAFKA_BOOTSTRAP_SERVERS";
const BOOTSTRAP_DEFAULT: &str = "localhost:9092";
const CLIENT_ID: &str = "rkctl";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command's cluster and its options.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    format: Format,
    /// The addresses on the command line.
    named: Option<String>,
}

/// The settings that count: those of a file or a profile that is named, and where nothing at all is
/// named those of the profile in use. An address alone names another cluster than the profile's, which
/// must not learn the profile's secrets.
fn settings(options: &Options) -> Result<Settings, Failure> {
    if let Some(file) = &options.command_config {
        return properties::read(file).map_err(Failure::usage);
    }
    if options.profile.is_none() && options.bootstrap_server.is_some() {
        return Ok(Settings::new());
    }
    let profiles = Profiles::read()?;
    match options.profile.as_ref().or(profiles.current.as_ref()) {
        Some(name) => Ok(profiles.get(name)?.clone()),
        None => Ok(Settings::new()),
    }
}

impl Session {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let settings = settings(options)?;
        let named = options.bootstrap_server.clone();
        let named = named.or_else(|| settings.get("bootstrap.servers").cloned());
        let variable = || {
            std::env::var(BOOTSTRAP_VARIABLE)
                .ok()
                .filter(|v| !v.is_empty())
        };
        let bootstrap = named.or_else(variable);
        let bootstrap: Bootstrap = bootstrap.as_deref().unwrap_or(BOOTSTRAP_DEFAULT).parse()?;
        let mut config = ClientConfig::new(bootstrap);
        CLIENT_ID.clone_into(&mut config.client_id);
        config.deadline = TIMEOUT;
        let unused = properties::apply(&settings, &mut config).map_err(Failure::usage)?;
        if !unused.is_empty() {
            writeln!(
                std::io::stderr(),
                "rkctl: without effect here: {}",
                unused.join(", ")
            )?;
        }
        if let Some(id) = &options.client_id {
            config.client_id.clone_from(id);
        }
        if let Some(timeout) = options.timeout {
            config.deadline = timeout;
        }
        config.connect_timeout = config.connect_timeout.min(config.deadline);
        config.request_timeout = config.request_timeout.min(config.deadline);
        Ok(Session {
            client: Client::new(config),
            format: options.output,
            named: options.bootstrap_server.clone(),
        })
    }

    /// For commands that need no cluster: what is wrong with the way to one is none of their business.
    pub(crate) fn of_none(options: &Options) -> Result<Self, Failure> {
        Ok(Session {
            client: Client::new(ClientConfig::new(BOOTSTRAP_DEFAULT.parse()?)),
            format: options.output,
            named: options.bootstrap_server.clone(),
        })
    }

    /// The addresses on the command line.
    pub(crate) fn bootstrap_named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// The client, once a broker has been reached: who waits at a wrong address learns it at once.
    pub(crate) async fn client(&self) -> Result<&Client, Failure> {
        self.client.reach().await?;
        Ok(&self.client)
    }

    /// In which form to show things.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether fields are asked for rather than something for people.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// For commands that show things as they come.
    pub(crate) fn expect_lines(&self) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => Err(Failure::usage(
                "this shows lines as they come: use -o jsonl",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn show<R: Report>(&self, report: &R) -> Result<(), Failure> {
        output::show(report, self.format)
    }

    /// Shows what came of several things. Those that failed are told on standard error as well.
    pub(crate) fn show_outcomes<R: Report>(
        &self,
        report: &R,
        outcomes: &[Option<Failure>],
    ) -> Result<(), Failure> {
        self.show(report)?;
        let mut failed = 0;
        for failure in outcomes.iter().flatten() {
            failed += 1;
            if outcomes.len() > 1 {
                writeln!(std::io::stderr(), "{failure}")?;
            }
        }
        match failed {
            0 => Ok(()),
            _ if failed < outcomes.len() => Err(Failure::partial(failed, outcomes.len())),
            _ => Err(Failure::all(outcomes)),
        }
    }

    /// Topics by name. One that is not there is told with names that are near.
    pub(crate) async fn topics(&self, names: &[String]) -> Result<Vec<TopicInfo>, Failure> {
        let client = self.client().await?;
        let mut topics = Vec::with_capacity(names.len());
        for (name, described) in client.describe_topics(names).await? {
            match described {
                Ok(topic) => topics.push(topic),
                Err(refusal) => return Err(self.unknown_topic(&name, refusal).await),
            }
        }
        Ok(topics)
    }

    /// A refusal about a topic, with near names if it is not there.
    pub(crate) async fn unknown_topic(&self, name: &str, refusal: Refusal) -> Failure {
        if !refusal.is(ErrorCode::UnknownTopicOrPartition) {
            return refusal.into();
        }
        let failure = Failure::not_found(format!("there is no topic {name}"));
        let Ok(topics) = self.client.list_topics().await else {
            return failure;
        };
        let names = topics.iter().map(|topic| topic.name.as_str());
        match nearest::question(name, names) {
            Some(question) => failure.hint(question),
            None => failure.hint("rkctl topic list shows which there are"),
        }
    }

    /// The same about a group.
    pub(crate) async fn unknown_group(&self, id: &str) -> Failure {
        let failure = Failure::not_found(format!("there is no group {id}"));
        let Ok(groups) = self.client.list_groups().await else {
            return failure;
        };
        let names = groups.iter().map(|group: &GroupListing| group.id.as_str());
        match nearest::question(id, names) {
            Some(question) => failure.hint(question),
            None => failure.hint("rkctl group list shows which there are"),
        }
    }
}

/// Where this user's files of ours are kept from one command to the next.
pub(crate) fn state_dir() -> Result<std::path::PathBuf, Failure> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = named("XDG_STATE_HOME").map(std::path::PathBuf::from);
    let home = || named("HOME").map(|home| std::path::Path::new(&home).join(".local/state"));
    match state.or_else(home) {
        Some(state) => Ok(state.join("reka")),
        None => Err(Failure::other(
            "there is no place to remember anything: neither XDG_STATE_HOME nor HOME is set",
        )),
    }
}

/// What became of a partition.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionRow {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) status: &'static str,
    pub(crate) error: Option<ErrorField>,
}

impl Report for Vec<PartitionRow> {
    fn page(&self) -> Page {
        let mut table = Table::new(["TOPIC", "PARTITION", "STATUS", "ERROR"]);
        for row in self {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                row.status.to_owned(),
                ErrorField::name(&row.error),
            ]);
        }
        table.into()
    }
}

/// What went wrong with one of several things, in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorField {
    /// Kafka's name for it.
    code: String,
    /// What the broker said.
    message: Option<String>,
}

impl ErrorField {
    pub(crate) fn of<T>(outcome: &Outcome<T>) -> Option<ErrorField> {
        let refusal = outcome.as_ref().err()?;
        let code = match refusal.error() {
            Some(error) => error.name().to_owned(),
            None => refusal.code.to_string(),
        };
        Some(ErrorField {
            code,
            message: refusal.message.clone(),
        })
    }

    /// The name alone, for a column.
    pub(crate) fn name(error: &Option<ErrorField>) -> String {
        match error {
            Some(error) => error.code.clone(),
            None => String::new(),
        }
    }
}
