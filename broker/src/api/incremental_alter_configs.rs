//! IncrementalAlterConfigs (44), versions 0-1 (KIP-339): topics, brokers, loggers.
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use reka_protocol::kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::config_resource::Resource;
use super::text::message;
use super::{Call, Context, Handler};
use crate::config::{AlterOp, Alteration};
use crate::loggers::{Level, Loggers, ROOT};
use crate::metadata::{Draft, Refusal, configs};

/// Changes single keys.
#[derive(Debug)]
pub struct IncrementalAlterConfigs;

impl Handler for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let resources = &request.resources;
        let validate_only = request.validate_only;
        let outcomes = context
            .services
            .controller
            .change_or_consider(validate_only, |draft| {
                let altered = resources.iter().map(|one| {
                    check_once(resources, one)?;
                    alter(&context, draft, one, validate_only)
                });
                altered.collect::<Vec<_>>()
            })
            .await;
        let responses = resources.iter().enumerate().map(|(at, resource)| {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let (error_code, said) = match &outcomes {
                Ok(outcomes) => match &outcomes[at] {
                    Ok(()) => return response,
                    Err(refusal) => (refusal.error_code, refusal.message.clone()),
                },
                Err(error) => (error.error_code(), error.to_string()),
            };
            response
                .with_error_code(error_code.code())
                .with_error_message(message(said))
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn check_once(all: &[AlterConfigsResource], one: &AlterConfigsResource) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let same = |other: &&AlterConfigsResource| {
        other.resource_type == one.resource_type && other.resource_name == one.resource_name
    };
    if all.iter().filter(same).count() > 1 {
        return invalid("Each resource must appear at most once.");
    }
    let twice = |config: &AlterableConfig| {
        let same = one.configs.iter().filter(|other| other.name == config.name);
        same.count() > 1
    };
    match one.configs.iter().any(twice) {
        true => invalid("Error due to duplicate config keys"),
        false => Ok(()),
    }
}

fn alter(
    context: &Context,
    draft: &mut Draft,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let named = Resource::parse(
        context,
        resource.resource_type,
        resource.resource_name.as_str(),
    )?;
    let alterations = resource.configs.iter().map(|config| {
        let op = AlterOp::from_number(config.config_operation).ok_or_else(|| {
            let why = format!("Unknown operation type {}", config.config_operation);
            Refusal::new(ErrorCode::InvalidRequest, why)
        })?;
        let value = config.value.as_ref().map(ToString::to_string);
        let key = config.name.to_string();
        Ok(Alteration { key, op, value })
    });
    let alterations = alterations.collect::<Result<Vec<_>, Refusal>>()?;
    match named {
        Resource::Stored(owner) => {
            configs::alter(draft, &context.services.config(), owner, &alterations)
        }
        Resource::Loggers => {
            let changes = levels(&alterations)?;
            if !validate_only {
                context.services.loggers.change(&changes);
            }
            Ok(())
        }
    }
}

/// What changes of loggers come to. They are this process' own and not in the metadata.
fn levels(alterations: &[Alteration]) -> Result<Vec<(String, Option<Level>)>, Refusal> {
    let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let mut changes = Vec::new();
    for Alteration { key, op, value } in alterations {
        if !Loggers::is_known(key) {
            let why = format!("Logger {key} does not exist!");
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        }
        let level = match op {
            AlterOp::Delete if key == ROOT => {
                return invalid(
                    "Removing the log level of the root logger is not allowed".to_owned(),
                );
            }
            AlterOp::Delete => None,
            AlterOp::Append | AlterOp::Subtract => {
                return invalid(format!(
                    "{} operation is not allowed for the BROKER_LOGGER resource",
                    op.name()
                ));
            }
            AlterOp::Set => {
                let asked = value.as_deref().unwrap_or_default();
                let Some(level) = Level::from_name(asked) else {
                    let why = format!(
                        "Cannot set the log level of {key} to {asked} as it is not a supported \
                         log level. Valid log levels are TRACE, DEBUG, INFO, WARN, ERROR, FATAL"
                    );
                    return Err(Refusal::new(ErrorCode::InvalidConfig, why));
                };
                Some(level)
            }
        };
        changes.push((key.clone(), level));
    }
    Ok(changes)
}
