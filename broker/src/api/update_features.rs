//! UpdateFeatures (57), versions 0-2.
//!
//! | version | adds |
//! |---|---|
//! | 1 | kinds of upgrade, validate-only (KIP-778) |
//! | 2 | one error for all instead of one each (KIP-1022) |
//!
//! All or nothing: what cannot be done for one feature is done for none.

use std::rc::Rc;

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use reka_protocol::kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use reka_protocol::kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::text::message;
use super::{Call, Context, Handler};
use crate::metadata::features::{Upgrade, update};
use crate::metadata::{ChangeError, Draft, Refusal};

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
        let controller = &context.services.controller;
        let updates = &request.feature_updates;
        let all = |draft: &mut Draft| {
            let outcomes = updates.iter().map(|one| {
                let level = one.max_version_level;
                update(draft, one.feature.as_str(), level, upgrade(call, one))
            });
            outcomes.collect::<Vec<_>>()
        };
        // Considered first, as nothing may be done when anything is refused.
        let outcomes = controller.consider(all);
        let refused = outcomes.iter().any(Result::is_err);
        let done = match refused || (call.version >= 1 && request.validate_only) {
            true => Ok(()),
            false => controller.change(all).await.map(|_| ()),
        };
        if call.version < 2 {
            return one_by_one(updates, outcomes, done);
        }
        let first = outcomes.into_iter().find_map(Result::err);
        match (first, done) {
            (None, Ok(())) => UpdateFeaturesResponse::default(),
            (Some(refusal), _) => error(
                refusal.error_code,
                format!(
                    "The update failed for all features since the following feature had an error: {}",
                    refusal.message
                ),
            ),
            (None, Err(change)) => error(change.error_code(), change.to_string()),
        }
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

fn one_by_one(
    updates: &[FeatureUpdateKey],
    outcomes: Vec<Result<(), Refusal>>,
    done: Result<(), ChangeError>,
) -> UpdateFeaturesResponse {
    if let Err(change) = done {
        return error(change.error_code(), change.to_string());
    }
    let results = updates.iter().zip(outcomes).map(|(update, outcome)| {
        let result = UpdatableFeatureResult::default().with_feature(update.feature.clone());
        match outcome {
            Ok(()) => result,
            Err(refusal) => result
                .with_error_code(refusal.error_code.code())
                .with_error_message(message(refusal.message)),
        }
    });
    UpdateFeaturesResponse::default().with_results(results.collect())
}
