//! AlterClientQuotas (49), versions 0-1 (KIP-546). Quotas are stored; they are not enforced yet.
//!
//! | version | adds |
//! |---|---|
//! | 1 | flexible encoding |

use std::rc::Rc;
use std::time::Duration;

use reka_protocol::kafka_protocol::messages::alter_client_quotas_request::EntryData as Entry;
use reka_protocol::kafka_protocol::messages::alter_client_quotas_response::{
    EntityData, EntryData,
};
use reka_protocol::kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse,
};
use reka_raft::record::QuotaEntity;
use tokio::time::Instant;

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::quotas::{Op, alter, host_of, no_address};

/// How long the names of hosts in a request are looked up, all together.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);

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
        let mut entries = Vec::with_capacity(request.entries.len());
        let deadline = Instant::now() + LOOKUP_TIME_MAX;
        for entry in request.entries {
            // Looked up before anything is changed: a change waits for nobody.
            let known = match host_of(&entity(&entry)) {
                Some(host) => {
                    let lookup = tokio::net::lookup_host((host, 0));
                    let found = tokio::time::timeout_at(deadline, lookup).await;
                    found.is_ok_and(|found| found.is_ok())
                }
                None => true,
            };
            entries.push((entry, known));
        }
        let outcomes = context
            .services
            .controller
            .change_each(request.validate_only, &entries, |draft, (entry, known)| {
                let entity = entity(entry);
                match host_of(&entity).filter(|_| !known) {
                    Some(host) => Err(no_address(host)),
                    None => alter(draft, &entity, &ops(entry)),
                }
            })
            .await;
        let answers = entries.into_iter().zip(outcomes);
        let answers = answers.map(|((entry, _), outcome)| {
            let entity = entry.entity.into_iter().map(|part| {
                EntityData::default()
                    .with_entity_type(part.entity_type)
                    .with_entity_name(part.entity_name)
            });
            let answer = EntryData::default().with_entity(entity.collect());
            match outcome {
                Ok(()) => answer,
                Err(refusal) => answer
                    .with_error_code(refusal.error_code.code())
                    .with_error_message(message(refusal.message)),
            }
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
