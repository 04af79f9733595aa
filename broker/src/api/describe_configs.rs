//! DescribeConfigs (32), versions 1-4.
//!
//! | version | adds |
//! |---|---|
//! | 1 | sources and synonyms (KIP-226) |
//! | 3 | types and documentation (KIP-569) |
//! | 4 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use reka_protocol::kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use reka_protocol::kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::config_resource::Resource;
use super::text::{message, text};
use super::{Call, Context, Handler};
use crate::config::{Described, describe_loggers};
use crate::metadata::Refusal;
use crate::metadata::configs::{Owner, overrides};

/// What is configured, and where it comes from.
#[derive(Debug)]
pub struct DescribeConfigs;

impl Handler for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let documented = call.version >= 3 && request.include_documentation;
        let results = request.resources.iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe(&context, resource) {
                Ok(described) => {
                    let wanted = described.into_iter().filter(|key| is_wanted(resource, key));
                    let configs =
                        wanted.map(|key| answer(key, request.include_synonyms, documented));
                    result.with_configs(configs.collect())
                }
                Err(refusal) => result
                    .with_error_code(refusal.error_code.code())
                    .with_error_message(message(refusal.message)),
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

fn describe(
    context: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, Refusal> {
    let services = &context.services;
    let config = services.config();
    let image = services.quorum.image();
    match Resource::parse(
        context,
        resource.resource_type,
        resource.resource_name.as_str(),
    )? {
        Resource::Stored(owner @ Owner::Topic(_)) => {
            owner.check(&image).map_err(|refusal| Refusal {
                message: match refusal.error_code {
                    ErrorCode::UnknownTopicOrPartition => String::new(),
                    _ => refusal.message,
                },
                ..refusal
            })?;
            Ok(config.describe_topic(&overrides(&image, owner)))
        }
        Resource::Stored(Owner::Group("")) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Group name must not be empty",
        )),
        Resource::Stored(owner @ Owner::Group(_)) => {
            Ok(config.describe_group(&overrides(&image, owner)))
        }
        Resource::Stored(Owner::Broker(_)) => Ok(config.describe_broker()),
        Resource::Stored(Owner::AllBrokers) => Ok(config.describe_cluster_default()),
        Resource::Loggers => Ok(describe_loggers(&services.loggers.list())),
    }
}

/// No list of keys, and an empty one, mean all.
fn is_wanted(resource: &DescribeConfigsResource, key: &Described) -> bool {
    match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.is_empty() || keys.iter().any(|wanted| wanted.as_str() == key.name),
    }
}

fn answer(key: Described, synonyms: bool, documented: bool) -> DescribeConfigsResourceResult {
    let synonyms = key
        .synonyms
        .into_iter()
        .filter(|_| synonyms)
        .map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(text(synonym.name))
                .with_value(synonym.value.map(text))
                .with_source(synonym.source.number())
        });
    DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(key.value.map(text))
        .with_read_only(key.read_only)
        .with_config_source(key.source.number())
        .with_is_sensitive(key.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(key.kind.number())
        .with_documentation(key.documentation.filter(|_| documented).map(text))
}
