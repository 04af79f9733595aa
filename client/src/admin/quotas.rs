//! Quotas of users, client ids and addresses.

use reka_protocol::kafka_protocol::messages::alter_client_quotas_request::{
    EntityData, EntryData, OpData,
};
use reka_protocol::kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use reka_protocol::kafka_protocol::messages::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest,
};

use crate::client::{ANY, Client, Target, text};
use crate::error::{ClientError, judge};

/// Who a quota is for: parts such as `user` = `alice`; `None` is the default of that part.
pub type QuotaEntity = Vec<(String, Option<String>)>;

/// Quotas of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaEntry {
    /// Who it is for.
    pub entity: QuotaEntity,
    /// Limits by key, such as `producer_byte_rate`.
    pub values: Vec<(String, f64)>,
}

/// Which part of an entity to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaFilter {
    /// This name.
    Name(String, String),
    /// The default.
    Default(String),
    /// Any name.
    Any(String),
}

impl Client {
    /// Quotas whose entity matches every filter.
    pub async fn describe_quotas(
        &self,
        filters: &[QuotaFilter],
    ) -> Result<Vec<QuotaEntry>, ClientError> {
        const API: &str = "DescribeClientQuotas";
        let components: Vec<ComponentData> = filters
            .iter()
            .map(|filter| {
                let (part, match_type, name) = match filter {
                    QuotaFilter::Name(part, name) => (part, 0, Some(name)),
                    QuotaFilter::Default(part) => (part, 1, None),
                    QuotaFilter::Any(part) => (part, 2, None),
                };
                ComponentData::default()
                    .with_entity_type(text(part))
                    .with_match_type(match_type)
                    .with_match(name.map(|name| text(name)))
            })
            .collect();
        let answer = self
            .call(Target::Any, ANY, |_| {
                DescribeClientQuotasRequest::default().with_components(components.clone())
            })
            .await?;
        let message = answer.error_message.as_deref();
        judge(API, || "quotas".to_owned(), answer.error_code, message)?;
        let mut entries: Vec<QuotaEntry> = answer
            .entries
            .iter()
            .flatten()
            .map(|entry| {
                let parts = entry.entity.iter().map(|part| {
                    let name = part.entity_name.as_ref().map(ToString::to_string);
                    (part.entity_type.to_string(), name)
                });
                let mut entity: QuotaEntity = parts.collect();
                entity.sort();
                let values = entry.values.iter();
                let mut values: Vec<(String, f64)> = values
                    .map(|value| (value.key.to_string(), value.value))
                    .collect();
                values.sort_by(|a, b| a.0.cmp(&b.0));
                QuotaEntry { entity, values }
            })
            .collect();
        entries.sort_by(|a, b| a.entity.cmp(&b.entity));
        Ok(entries)
    }

    /// Sets limits of one entity, or takes them away where there is no number; or only says what
    /// would come of it.
    pub async fn alter_quotas(
        &self,
        entity: &QuotaEntity,
        changes: &[(String, Option<f64>)],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        const API: &str = "AlterClientQuotas";
        let parts = entity.iter().map(|(part, name)| {
            EntityData::default()
                .with_entity_type(text(part))
                .with_entity_name(name.as_deref().map(text))
        });
        let operations = changes.iter().map(|(key, value)| {
            OpData::default()
                .with_key(text(key))
                .with_value(value.unwrap_or(0.0))
                .with_remove(value.is_none())
        });
        let entry = EntryData::default()
            .with_entity(parts.collect())
            .with_ops(operations.collect());
        let answer = self
            .call(Target::Controller, ANY, |_| {
                AlterClientQuotasRequest::default()
                    .with_entries(vec![entry.clone()])
                    .with_validate_only(validate_only)
            })
            .await?;
        for entry in &answer.entries {
            let message = entry.error_message.as_deref();
            judge(API, || "quotas".to_owned(), entry.error_code, message)?;
        }
        Ok(())
    }
}
