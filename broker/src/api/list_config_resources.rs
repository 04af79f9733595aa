//! ListConfigResources (74), versions 0-1: what has configuration (KIP-1142).
//!
//! | version | adds |
//! |---|---|
//! | 0 | client metrics only, of which there are none |
//! | 1 | every type |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::list_config_resources_response::ConfigResource;
use reka_protocol::kafka_protocol::messages::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::config_resource::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::text::text;
use super::{Call, Context, Handler};

const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// The names of everything that can be configured.
#[derive(Debug)]
pub struct ListConfigResources;

impl Handler for ListConfigResources {
    type Request = ListConfigResourcesRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: ListConfigResourcesRequest,
    ) -> ListConfigResourcesResponse {
        let response = ListConfigResourcesResponse::default();
        let types: Vec<i8> = match call.version {
            0 => vec![CLIENT_METRICS],
            _ if request.resource_types.is_empty() => ALL.to_vec(),
            _ => ALL
                .into_iter()
                .filter(|known| request.resource_types.contains(known))
                .collect(),
        };
        if request
            .resource_types
            .iter()
            .any(|asked| !ALL.contains(asked))
        {
            return response.with_error_code(ErrorCode::UnsupportedVersion.code());
        }
        let image = context.services.quorum.image();
        let mut resources = Vec::new();
        for resource_type in types {
            let names: Vec<String> = match resource_type {
                TOPIC => image.topics().iter().map(|t| t.name().to_owned()).collect(),
                BROKER | BROKER_LOGGER => {
                    let brokers = image.brokers().iter();
                    brokers.map(|broker| broker.id().to_string()).collect()
                }
                other => {
                    let set = image.configs().resources(other);
                    set.map(|(name, _)| name.to_owned()).collect()
                }
            };
            resources.extend(names.into_iter().map(|name| {
                ConfigResource::default()
                    .with_resource_name(text(name))
                    .with_resource_type(resource_type)
            }));
        }
        response.with_config_resources(resources)
    }
}
