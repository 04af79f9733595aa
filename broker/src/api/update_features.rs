//! UpdateFeatures (57), versions 0-2.
//!
//! | version | adds |
//! |---|---|
//! | 1 | kinds of upgrade, validate-only (KIP-778) |
//! | 2 | no list of the features that were updated (KIP-1022) |
//!
//! All or nothing: what cannot be done for one feature is done for none.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use reka_protocol::kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::ChangeError;
use crate::metadata::features::{Upgrade, update};

/// Finalizes features.
#[derive(Debug)]
pub struct UpdateFeatures;

impl Handler for UpdateFeatures {
    type Request = UpdateFeaturesRequest;

    async fn handle(
        context: Rc<Context>,
        call: Call,
        request: UpdateFeaturesRequest,
    ) -> UpdateFeaturesResponse {
        let updates = &request.feature_updates;
        let validate_only = call.version >= 1 && request.validate_only;
        let changed = context
            .services
            .controller
            .change(validate_only, |draft| {
                updates.iter().try_for_each(|one| {
                    let level = one.max_version_level;
                    update(draft, one.feature.as_str(), level, upgrade(call, one))
                })
            })
            .await;
        match changed {
            Ok(()) => {}
            Err(ChangeError::Refused(refusal)) => {
                let said = format!(
                    "The update failed for all features since the following feature had an \
                     error: {refusal}"
                );
                return error(refusal.error_code, said);
            }
            Err(change) => return error(change.error_code(), change.to_string()),
        }
        let results = updates.iter().filter(|_| call.version < 2).map(|update| {
            UpdatableFeatureResult::default()
                .with_feature(update.feature.clone())
                // What Kafka says of success.
                .with_error_message(message("NONE"))
        });
        UpdateFeaturesResponse::default().with_results(results.collect())
    }
}

fn upgrade(call: Call, update: &FeatureUpdateKey) -> Option<Upgrade> {
    match (call.version, update.allow_downgrade) {
        (0, true) => Some(Upgrade::SafeDowngrade),
        (0, false) => Some(Upgrade::Upgrade),
        _ => Upgrade::from_number(update.upgrade_type),
    }
}

fn error(error_code: ErrorCode, said: String) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse::default()
        .with_error_code(error_code.code())
        .with_error_message(message(said))
}
