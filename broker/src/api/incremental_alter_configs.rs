//! IncrementalAlterConfigs (44), versions 0-1 (KIP-339): topics, brokers, loggers.
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use reka_protocol::kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use reka_protocol::kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::config_resource::Resource;
use super::named::Named;
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
        let services = &context.services;
        let resources = request.resources;
        let named: Named<_> = resources.iter().map(key_of).collect();
        let outcomes = services
            .controller
            .change_each(request.validate_only, &resources, |draft, resource| {
                check_once(&named, resource)?;
                alter(&context, draft, resource)
            })
            .await;
        let responses = resources.iter().zip(outcomes).map(|(resource, outcome)| {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match outcome {
                Ok(levels) => {
                    // Levels are this process' own, so they change once everything else has.
                    if !request.validate_only && !levels.is_empty() {
                        services.loggers.change(&levels);
                    }
                    response
                }
                Err(refusal) => response
                    .with_error_code(refusal.error_code.code())
                    .with_error_message(message(refusal.message)),
            }
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn key_of(resource: &AlterConfigsResource) -> (i8, StrBytes) {
    (resource.resource_type, resource.resource_name.clone())
}

fn check_once(
    named: &Named<(i8, StrBytes)>,
    resource: &AlterConfigsResource,
) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    if named.repeats(&key_of(resource)) {
        return invalid("Each resource must appear at most once.");
    }
    let keys = resource.configs.iter().map(|config| &config.name);
    match keys.collect::<Named<_>>().repeats_any() {
        true => invalid("Error due to duplicate config keys"),
        false => Ok(()),
    }
}

/// Drafts the change of one resource; the levels of loggers it asks for, which are not in the
/// metadata.
fn alter(
    context: &Context,
    draft: &mut Draft,
    resource: &AlterConfigsResource,
) -> Result<Vec<(String, Option<Level>)>, Refusal> {
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
            configs::alter(draft, &context.services.config(), owner, &alterations)?;
            Ok(Vec::new())
        }
        Resource::Loggers => levels(&alterations),
    }
}

/// What changes of loggers come to.
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
