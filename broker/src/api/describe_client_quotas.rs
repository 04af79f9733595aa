//! DescribeClientQuotas (48), versions 0-1 (KIP-546). Quotas are stored; they are not enforced yet.
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use reka_protocol::kafka_protocol::messages::describe_client_quotas_response::{
    EntityData, EntryData, ValueData,
};
use reka_protocol::kafka_protocol::messages::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::text::{message, text};
use super::{Call, Context, Handler};
use crate::metadata::Refusal;
use crate::metadata::quotas::{Wanted, check_filter, matching};

/// The quotas of entities that match.
#[derive(Debug)]
pub struct DescribeClientQuotas;

impl Handler for DescribeClientQuotas {
    type Request = DescribeClientQuotasRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: DescribeClientQuotasRequest,
    ) -> DescribeClientQuotasResponse {
        let filter = request.components.iter().map(wanted).collect();
        let filter: Vec<(String, Wanted)> = match filter {
            Ok(filter) => filter,
            Err(refusal) => return refused(refusal),
        };
        if let Err(refusal) = check_filter(&filter) {
            return refused(refusal);
        }
        let image = context.services.quorum.image();
        let entries = matching(image.quotas(), &filter, request.strict).map(|(entity, values)| {
            let entity = entity.iter().map(|(kind, name)| {
                EntityData::default()
                    .with_entity_type(text(kind))
                    .with_entity_name(name.as_ref().map(text))
            });
            let values = values
                .into_iter()
                .map(|(key, value)| ValueData::default().with_key(text(key)).with_value(value));
            EntryData::default()
                .with_entity(entity.collect())
                .with_values(values.collect())
        });
        DescribeClientQuotasResponse::default().with_entries(Some(entries.collect()))
    }
}

fn wanted(component: &ComponentData) -> Result<(String, Wanted), Refusal> {
    let wanted = match (component.match_type, &component._match) {
        (0, Some(name)) => Wanted::Name(name.to_string()),
        (1, _) => Wanted::Default,
        (2, _) => Wanted::Any,
        (other, _) => {
            let why = format!("Unexpected match type: {other}");
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
    };
    Ok((component.entity_type.to_string(), wanted))
}

fn refused(refusal: Refusal) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse::default()
        .with_error_code(refusal.error_code.code())
        .with_error_message(message(refusal.message))
        .with_entries(None)
}
