//! Whose configuration a request is about, as the config APIs name it.

use reka_protocol::ErrorCode;

use super::Context;
use crate::metadata::Refusal;
use crate::metadata::configs::Owner;

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// A resource with configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// A topic or brokers: in the metadata.
    Stored(Owner<'a>),
    /// The loggers of this broker.
    Loggers,
}

impl<'a> Resource<'a> {
    /// The resource of this type and name, if it is one of ours.
    pub(super) fn parse(
        context: &Context,
        resource_type: i8,
        name: &'a str,
    ) -> Result<Resource<'a>, Refusal> {
        let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let ours = context.services.broker_id;
        let broker = || {
            let Ok(id) = name.parse::<i32>() else {
                return Err(format!("Broker id must be an integer, but it is: {name}"));
            };
            match id == ours {
                true => Ok(id),
                false => Err(format!(
                    "Unexpected broker id, expected {ours} or empty string, but received {name}"
                )),
            }
        };
        match resource_type {
            TOPIC => Ok(Resource::Stored(Owner::Topic(name))),
            BROKER if name.is_empty() => Ok(Resource::Stored(Owner::AllBrokers)),
            BROKER => match broker() {
                Ok(id) => Ok(Resource::Stored(Owner::Broker(id))),
                Err(why) => invalid(why),
            },
            GROUP => Ok(Resource::Stored(Owner::Group(name))),
            BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty".into()),
            BROKER_LOGGER => match broker() {
                Ok(_) => Ok(Resource::Loggers),
                Err(_) => invalid(format!(
                    "Unexpected broker id, expected {ours} but received {name}"
                )),
            },
            other => invalid(format!("Unsupported resource type: {other}")),
        }
    }
}
