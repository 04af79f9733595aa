//! AlterConfigs (33), versions 0-2: the older way, which sets what it names and unsets all else.
//!
//! | version | adds |
//! |---|---|
//! | 2 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use reka_protocol::kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use reka_protocol::kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use reka_protocol::kafka_protocol::protocol::StrBytes;

use super::config_resource::Resource;
use super::named::Named;
use super::text::message;
use super::{Call, Context, Handler};
use crate::config::{AlterOp, Alteration};
use crate::metadata::{Draft, Refusal, configs};

/// Replaces configurations.
#[derive(Debug)]
pub struct AlterConfigs;

impl Handler for AlterConfigs {
    type Request = AlterConfigsRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: AlterConfigsRequest,
    ) -> AlterConfigsResponse {
        let resources = request.resources;
        let named: Named<_> = resources.iter().map(key_of).collect();
        let outcomes = context
            .services
            .controller
            .change_each(
                request.validate_only,
                &resources,
                |draft, resource| match named.repeats(&key_of(resource)) {
                    true => invalid("Each resource must appear at most once."),
                    false => replace(&context, draft, resource),
                },
            )
            .await;
        let responses = resources.iter().zip(outcomes).map(|(resource, outcome)| {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match outcome {
                Ok(()) => response,
                Err(refusal) => response
                    .with_error_code(refusal.error_code.code())
                    .with_error_message(message(refusal.message)),
            }
        });
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn key_of(resource: &AlterConfigsResource) -> (i8, StrBytes) {
    (resource.resource_type, resource.resource_name.clone())
}

fn invalid<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

fn replace(
    context: &Context,
    draft: &mut Draft,
    resource: &AlterConfigsResource,
) -> Result<(), Refusal> {
    let named = Resource::parse(
        context,
        resource.resource_type,
        resource.resource_name.as_str(),
    )?;
    let Resource::Stored(owner) = named else {
        return invalid("Unsupported resource type: 8");
    };
    let alterations: Vec<Alteration> = resource
        .configs
        .iter()
        .map(|config| Alteration {
            key: config.name.to_string(),
            op: AlterOp::Set,
            value: config.value.as_ref().map(ToString::to_string),
        })
        .collect();
    configs::replace(draft, &context.services.config(), owner, &alterations)
}
