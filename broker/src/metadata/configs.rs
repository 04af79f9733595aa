//! What may be set for topics and brokers, and the records that set it. Pure.

use reka_protocol::ErrorCode;
use reka_raft::MetadataImage;
use reka_raft::image::{BROKER, TOPIC};
use reka_raft::record::{self, Record};

use super::topics::check_name;
use super::{Draft, Refusal};
use crate::config::{self, AlterError, Alteration, Config, Overrides, Scope};

/// Kafka's code of groups as resources.
const GROUP: i8 = 32;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A topic's.
    Topic(&'a str),
    /// One broker's.
    Broker(i32),
    /// All brokers'.
    AllBrokers,
    /// A group's, of which there need not be one yet.
    Group(&'a str),
}

impl Owner<'_> {
    fn resource(self) -> (i8, String) {
        match self {
            Owner::Topic(name) => (TOPIC, name.to_owned()),
            Owner::Broker(id) => (BROKER, id.to_string()),
            Owner::AllBrokers => (BROKER, String::new()),
            Owner::Group(name) => (GROUP, name.to_owned()),
        }
    }

    fn scope(self) -> Scope {
        match self {
            Owner::Topic(_) => Scope::Topic,
            Owner::Broker(_) => Scope::Broker,
            Owner::AllBrokers => Scope::ClusterDefault,
            Owner::Group(_) => Scope::Group,
        }
    }

    /// Does the broker allow all of it?
    fn check_limits(self, config: &Config, after: &Overrides) -> Result<(), Refusal> {
        match self {
            Owner::Group(_) => Ok(config.check_group(after)?),
            Owner::Broker(_) | Owner::AllBrokers => Ok(config.check_cleaner(after)?),
            Owner::Topic(_) => Ok(()),
        }
    }

    /// Is there such a one, and may it be changed?
    fn check_change(self, image: &MetadataImage) -> Result<(), Refusal> {
        match self {
            Owner::Topic("") => {
                let why = "Default topic resources are not allowed.";
                Err(Refusal::new(ErrorCode::InvalidRequest, why))
            }
            Owner::Group("") => {
                let why = "Default group resources are not allowed.";
                Err(Refusal::new(ErrorCode::InvalidRequest, why))
            }
            other => other.check(image),
        }
    }

    /// Is there such a one?
    pub fn check(self, image: &MetadataImage) -> Result<(), Refusal> {
        match self {
            Owner::Topic(name) => {
                check_name(name)?;
                match image.topics().get(name) {
                    Some(_) => Ok(()),
                    None => Err(Refusal::new(
                        ErrorCode::UnknownTopicOrPartition,
                        format!("The topic '{name}' does not exist."),
                    )),
                }
            }
            Owner::Broker(id) if image.brokers().get(id).is_none() => Err(Refusal::new(
                ErrorCode::BrokerIdNotRegistered,
                format!("No broker with id {id} found."),
            )),
            Owner::Broker(_) | Owner::AllBrokers | Owner::Group(_) => Ok(()),
        }
    }
}

/// What is set.
pub fn overrides(image: &MetadataImage, owner: Owner<'_>) -> Overrides {
    let (resource_type, name) = owner.resource();
    let entries = image.configs().resource(resource_type, &name);
    entries
        .map(|entries| (**entries).clone())
        .unwrap_or_default()
}

/// Changes single keys (IncrementalAlterConfigs).
pub fn alter(
    draft: &mut Draft,
    config: &Config,
    owner: Owner<'_>,
    alterations: &[Alteration],
) -> Result<(), Refusal> {
    owner.check_change(draft.image())?;
    let before = overrides(draft.image(), owner);
    let after = config::alter(owner.scope(), &before, alterations)?;
    owner.check_limits(config, &after)?;
    draft.add(difference(owner, &before, &after))
}

/// Sets these keys and no others (AlterConfigs).
pub fn replace(
    draft: &mut Draft,
    config: &Config,
    owner: Owner<'_>,
    alterations: &[Alteration],
) -> Result<(), Refusal> {
    owner.check_change(draft.image())?;
    let before = overrides(draft.image(), owner);
    let after = config::alter(owner.scope(), &Overrides::new(), alterations)?;
    owner.check_limits(config, &after)?;
    draft.add(difference(owner, &before, &after))
}

fn difference(owner: Owner<'_>, before: &Overrides, after: &Overrides) -> Vec<Record> {
    let (resource_type, resource_name) = owner.resource();
    let record = |key: &String, value: Option<&String>| {
        Record::Config(record::Config {
            resource_type,
            resource_name: resource_name.clone(),
            key: key.clone(),
            value: value.cloned(),
        })
    };
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| record(key, Some(value)));
    let gone = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .map(|key| record(key, None));
    set.chain(gone).collect()
}

impl From<AlterError> for Refusal {
    fn from(error: AlterError) -> Refusal {
        match error {
            AlterError::InvalidConfig(said) => Refusal::new(ErrorCode::InvalidConfig, said),
            AlterError::InvalidRequest(said) => Refusal::new(ErrorCode::InvalidRequest, said),
        }
    }
}
