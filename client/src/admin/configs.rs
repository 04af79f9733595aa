//! Configurations of topics, brokers, groups and loggers.

use reka_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use reka_protocol::kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::client::{ANY, Client, Target, no_answer, text};
use crate::error::{ClientError, judge};

/// What can have a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A topic.
    Topic,
    /// A broker, or all of them.
    Broker,
    /// The loggers of a broker.
    BrokerLogger,
    /// Subscriptions of client metrics.
    ClientMetrics,
    /// A group.
    Group,
}

impl ResourceKind {
    fn code(self) -> i8 {
        match self {
            ResourceKind::Topic => 2,
            ResourceKind::Broker => 4,
            ResourceKind::BrokerLogger => 8,
            ResourceKind::ClientMetrics => 16,
            ResourceKind::Group => 32,
        }
    }

    /// What it is called in messages to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::Topic => "topic",
            ResourceKind::Broker => "broker",
            ResourceKind::BrokerLogger => "loggers of broker",
            ResourceKind::ClientMetrics => "client metrics",
            ResourceKind::Group => "group",
        }
    }
}

/// Something with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name; empty for all brokers.
    pub name: String,
}

impl Resource {
    /// A topic.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Resource {
            kind: ResourceKind::Topic,
            name: name.to_owned(),
        }
    }

    /// A broker.
    #[must_use]
    pub fn broker(id: i32) -> Self {
        Resource {
            kind: ResourceKind::Broker,
            name: id.to_string(),
        }
    }

    /// All brokers.
    #[must_use]
    pub fn all_brokers() -> Self {
        Resource {
            kind: ResourceKind::Broker,
            name: String::new(),
        }
    }

    fn is_for(&self) -> Target {
        // A broker answers for itself alone.
        match (self.kind, self.name.parse()) {
            (ResourceKind::Broker | ResourceKind::BrokerLogger, Ok(id)) => Target::Broker(id),
            _ => Target::Any,
        }
    }

    fn subject(&self) -> String {
        match self.name.as_str() {
            "" => "the configuration of all brokers".to_owned(),
            name => format!("{} {name}", self.kind.name()),
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` for secrets.
    pub value: Option<String>,
    /// Where the value is from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether its value is a secret.
    pub sensitive: bool,
    /// What values it takes.
    pub kind: ConfigType,
    /// What it is for, where the broker says so and was asked to.
    pub documentation: Option<String>,
    /// Every value there is for it, the one in force first, by the name it has there.
    pub synonyms: Vec<ConfigSynonym>,
}

/// A value that counts where those before it are not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key it was set by.
    pub name: String,
    /// The value; `None` for secrets.
    pub value: Option<String>,
    /// Where it was set.
    pub source: ConfigSource,
}

/// Where a value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set for this topic.
    Topic,
    /// Set for this broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    AllBrokers,
    /// In the broker's own configuration.
    Static,
    /// Nobody set it.
    Default,
    /// Set for this logger.
    Logger,
    /// Set for these client metrics.
    ClientMetrics,
    /// Set for this group.
    Group,
    /// A number Kafka has not given out.
    Unknown,
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::Broker,
            3 => ConfigSource::AllBrokers,
            4 => ConfigSource::Static,
            5 => ConfigSource::Default,
            6 => ConfigSource::Logger,
            7 => ConfigSource::ClientMetrics,
            8 => ConfigSource::Group,
            _ => ConfigSource::Unknown,
        }
    }

    /// Kafka's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::Broker => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::AllBrokers => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::Static => "STATIC_BROKER_CONFIG",
            ConfigSource::Default => "DEFAULT_CONFIG",
            ConfigSource::Logger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
            ConfigSource::Unknown => "UNKNOWN",
        }
    }

    /// Whether somebody set it while the cluster ran.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        !matches!(
            self,
            ConfigSource::Static | ConfigSource::Default | ConfigSource::Unknown
        )
    }
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigType {
    /// Yes or no.
    Boolean,
    /// Text.
    String,
    /// A 32-bit number.
    Int,
    /// A 16-bit number.
    Short,
    /// A 64-bit number.
    Long,
    /// A number with a fraction.
    Double,
    /// Words with commas between them.
    List,
    /// The name of a class.
    Class,
    /// A secret.
    Password,
    /// Not said, or a number Kafka has not given out.
    Unknown,
}

impl ConfigType {
    fn from_code(code: i8) -> Self {
        match code {
            1 => ConfigType::Boolean,
            2 => ConfigType::String,
            3 => ConfigType::Int,
            4 => ConfigType::Short,
            5 => ConfigType::Long,
            6 => ConfigType::Double,
            7 => ConfigType::List,
            8 => ConfigType::Class,
            9 => ConfigType::Password,
            _ => ConfigType::Unknown,
        }
    }
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Give it this value.
    Set(String, String),
    /// Take its value away, so that the default counts.
    Delete(String),
    /// Add to a list.
    Append(String, String),
    /// Take out of a list.
    Subtract(String, String),
}

impl Client {
    /// The configuration of something, in the order the broker tells it.
    pub async fn describe_config(
        &self,
        resource: &Resource,
        with_documentation: bool,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        const API: &str = "DescribeConfigs";
        let versions = if with_documentation {
            3..=i16::MAX
        } else {
            ANY
        };
        let asked = DescribeConfigsResource::default()
            .with_resource_type(resource.kind.code())
            .with_resource_name(text(&resource.name))
            .with_configuration_keys(None);
        let answer = self
            .call(resource.is_for(), versions, |version| {
                DescribeConfigsRequest::default()
                    .with_resources(vec![asked.clone()])
                    .with_include_synonyms(version >= 1)
                    .with_include_documentation(with_documentation)
            })
            .await?;
        let Some(result) = answer.results.first() else {
            return Err(no_answer(API, resource.subject()).into());
        };
        let message = result.error_message.as_deref();
        judge(API, || resource.subject(), result.error_code, message)?;
        Ok(result.configs.iter().map(entry).collect())
    }

    /// Changes some keys of a configuration, all or none; or only says what would come of it.
    pub async fn alter_config(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        const API: &str = "IncrementalAlterConfigs";
        let configs: Vec<AlterableConfig> = changes.iter().map(alterable).collect();
        let asked = AlterConfigsResource::default()
            .with_resource_type(resource.kind.code())
            .with_resource_name(text(&resource.name))
            .with_configs(configs);
        let answer = self
            .call(resource.is_for(), ANY, |_| {
                IncrementalAlterConfigsRequest::default()
                    .with_resources(vec![asked.clone()])
                    .with_validate_only(validate_only)
            })
            .await?;
        let Some(result) = answer.responses.first() else {
            return Err(no_answer(API, resource.subject()).into());
        };
        let message = result.error_message.as_deref();
        judge(API, || resource.subject(), result.error_code, message)?;
        Ok(())
    }

    /// The names of what has a configuration of its own of this kind.
    pub async fn list_config_resources(
        &self,
        kind: ResourceKind,
    ) -> Result<Vec<String>, ClientError> {
        const API: &str = "ListConfigResources";
        // Version 0 knows client metrics only.
        let versions = match kind {
            ResourceKind::ClientMetrics => ANY,
            _ => 1..=i16::MAX,
        };
        let answer = self
            .call(Target::Any, versions, |version| {
                let request = ListConfigResourcesRequest::default();
                if version >= 1 {
                    request.with_resource_types(vec![kind.code()])
                } else {
                    request
                }
            })
            .await?;
        judge(API, || kind.name().to_owned(), answer.error_code, None)?;
        let names = answer.config_resources.iter();
        let mut names: Vec<String> = names.map(|found| found.resource_name.to_string()).collect();
        names.sort();
        Ok(names)
    }
}

fn entry(result: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: result.name.to_string(),
        value: result.value.as_ref().map(ToString::to_string),
        source: ConfigSource::from_code(result.config_source),
        read_only: result.read_only,
        sensitive: result.is_sensitive,
        kind: ConfigType::from_code(result.config_type),
        documentation: result.documentation.as_ref().map(ToString::to_string),
        synonyms: result
            .synonyms
            .iter()
            .map(|synonym| ConfigSynonym {
                name: synonym.name.to_string(),
                value: synonym.value.as_ref().map(ToString::to_string),
                source: ConfigSource::from_code(synonym.source),
            })
            .collect(),
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let (name, operation, value) = match change {
        ConfigChange::Set(name, value) => (name, 0, Some(value)),
        ConfigChange::Delete(name) => (name, 1, None),
        ConfigChange::Append(name, value) => (name, 2, Some(value)),
        ConfigChange::Subtract(name, value) => (name, 3, Some(value)),
    };
    AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(|value| text(value)))
}
