//! AlterClientQuotas (49), versions 0-1 (KIP-546). Quotas are stored; they are not enforced yet.
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |

use std::rc::Rc;

use reka_protocol::kafka_protocol::messages::alter_client_quotas_request::EntryData as Entry;
use reka_protocol::kafka_protocol::messages::alter_client_quotas_response::{
    EntityData, EntryData,
};
use reka_protocol::kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse,
};
use reka_raft::record::QuotaEntity;

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::quotas::{Op, alter};

/// Sets and unsets quotas.
#[derive(Debug)]
pub struct AlterClientQuotas;

impl Handler for AlterClientQuotas {
    type Request = AlterClientQuotasRequest;

    async fn handle(
        context: Rc<Context>,
        _call: Call,
        request: AlterClientQuotasRequest,
    ) -> AlterClientQuotasResponse {
        let entries = &request.entries;
        let outcomes = context
            .services
            .controller
            .change_or_consider(request.validate_only, |draft| {
                let altered = entries
                    .iter()
                    .map(|entry| alter(draft, &entity(entry), &ops(entry)));
                altered.collect::<Vec<_>>()
            })
            .await;
        let answers = entries.iter().enumerate().map(|(at, entry)| {
            let entity = entry.entity.iter().map(|part| {
                EntityData::default()
                    .with_entity_type(part.entity_type.clone())
                    .with_entity_name(part.entity_name.clone())
            });
            let answer = EntryData::default().with_entity(entity.collect());
            let (error_code, said) = match &outcomes {
                Ok(outcomes) => match &outcomes[at] {
                    Ok(()) => return answer,
                    Err(refusal) => (refusal.error_code, refusal.message.clone()),
                },
                Err(error) => (error.error_code(), error.to_string()),
            };
            answer
                .with_error_code(error_code.code())
                .with_error_message(message(said))
        });
        AlterClientQuotasResponse::default().with_entries(answers.collect())
    }
}

fn entity(entry: &Entry) -> Vec<QuotaEntity> {
    let parts = entry.entity.iter().map(|part| QuotaEntity {
        kind: part.entity_type.to_string(),
        name: part.entity_name.as_ref().map(ToString::to_string),
    });
    parts.collect()
}

fn ops(entry: &Entry) -> Vec<Op> {
    let ops = entry.ops.iter().map(|op| Op {
        key: op.key.to_string(),
        value: (!op.remove).then_some(op.value),
    });
    ops.collect()
}
