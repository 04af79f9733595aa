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

use super::config_resource::Resource;
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
        let resources = &request.resources;
        let outcomes = context
            .services
            .controller
            .change_or_consider(request.validate_only, |draft| {
                let replaced = resources
                    .iter()
                    .map(|one| replace(&context, draft, resources, one));
                replaced.collect::<Vec<_>>()
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
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn replace(
    context: &Context,
    draft: &mut Draft,
    all: &[AlterConfigsResource],
    resource: &AlterConfigsResource,
) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let same = |other: &&AlterConfigsResource| {
        other.resource_type == resource.resource_type
            && other.resource_name == resource.resource_name
    };
    if all.iter().filter(same).count() > 1 {
        return invalid("Each resource must appear at most once.");
    }
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
