//! Which feature levels a cluster may agree on, and the records that do. Pure.

use reka_protocol::ErrorCode;
use reka_protocol::messages::api_versions::SupportedFeature;
use reka_raft::MetadataImage;
use reka_raft::record::{FeatureLevel, Record};

use super::{Draft, Refusal};

/// The version of the metadata's records; never taken out of force.
pub const METADATA_VERSION: &str = "metadata.version";

/// What this release can do, by feature.
pub const SUPPORTED: &[SupportedFeature<'static>] = &[
    SupportedFeature {
        name: METADATA_VERSION,
        min: 7,
        max: 30,
    },
    // 1 is the consumer protocol of KIP-848.
    SupportedFeature {
        name: "group.version",
        min: 0,
        max: 1,
    },
    // 1 writes newer records, 2 is the new epoch for each transaction of KIP-890.
    SupportedFeature {
        name: crate::txn::TRANSACTION_VERSION,
        min: 0,
        max: 2,
    },
];

/// How a level may be changed. The numbers are those of UpdateFeatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Up only.
    Upgrade = 1,
    /// Also down, where nothing is lost.
    SafeDowngrade = 2,
    /// Also down.
    UnsafeDowngrade = 3,
}

impl Upgrade {
    /// By its number.
    pub fn from_number(number: i8) -> Option<Upgrade> {
        match number {
            1 => Some(Upgrade::Upgrade),
            2 => Some(Upgrade::SafeDowngrade),
            3 => Some(Upgrade::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// Finalizes a feature at a level; 0 takes it out of force.
pub fn update(
    draft: &mut Draft,
    feature: &str,
    level: i16,
    upgrade: Option<Upgrade>,
) -> Result<(), Refusal> {
    let invalid = |why: String| {
        let said = format!("Invalid update version {level} for feature {feature}. {why}");
        Err(Refusal::new(ErrorCode::InvalidUpdateVersion, said))
    };
    let Some(upgrade) = upgrade else {
        return invalid("The controller does not support the given upgrade type.".to_owned());
    };
    let Some(supported) = SUPPORTED.iter().find(|known| known.name == feature) else {
        return invalid("The controller does not support this feature.".to_owned());
    };
    let (min, max) = (supported.min, supported.max);
    if level < 0 {
        return invalid("A feature version cannot be less than 0.".to_owned());
    }
    if level != 0 && !(min..=max).contains(&level) {
        return invalid(format!(
            "Local controller {} only supports versions {min}-{max}",
            controller_id(draft.image())
        ));
    }
    let current = draft.image().features().level(feature).unwrap_or(0);
    if level < current && upgrade == Upgrade::Upgrade {
        return invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade."
                .to_owned(),
        );
    }
    if level > current && upgrade != Upgrade::Upgrade {
        return invalid("Can't downgrade to a newer version.".to_owned());
    }
    if level == current {
        return Ok(());
    }
    if feature == METADATA_VERSION && level < current {
        return invalid("Unsupported metadata.version downgrade.".to_owned());
    }
    draft.add(vec![Record::FeatureLevel(FeatureLevel {
        name: feature.to_owned(),
        level,
    })])
}

/// What could be finalized higher, as in a cluster made by an earlier release: a line for each. Like Apache
/// Kafka, nothing is raised by itself: brokers of the earlier release would not know it, and there is no
/// way back that loses nothing.
pub fn behind(image: &MetadataImage) -> Vec<String> {
    let of = |feature: &SupportedFeature<'_>| {
        let SupportedFeature { name, max, .. } = *feature;
        let level = image.features().level(name).unwrap_or(0);
        (level < max).then(|| {
            format!(
                "{name} is finalized at {level}, this release can do {max}: kafka-features.sh upgrade \
                 --feature {name}={max} takes it into use"
            )
        })
    };
    SUPPORTED.iter().filter_map(of).collect()
}

fn controller_id(image: &MetadataImage) -> i32 {
    image
        .brokers()
        .iter()
        .next()
        .map_or(-1, |broker| broker.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(levels: &[(&str, i16)]) -> MetadataImage {
        let records: Vec<Record> = levels
            .iter()
            .map(|(name, level)| {
                Record::FeatureLevel(FeatureLevel {
                    name: (*name).to_owned(),
                    level: *level,
                })
            })
            .collect();
        let image = MetadataImage::default().apply(1, &records);
        image.expect("levels of features")
    }

    #[test]
    fn what_could_be_finalized_higher_is_told_with_what_does_it() {
        let newest: Vec<(&str, i16)> = SUPPORTED.iter().map(|one| (one.name, one.max)).collect();
        assert!(behind(&image(&newest)).is_empty());
        let earlier = image(&[(METADATA_VERSION, 30), ("group.version", 1)]);
        assert_eq!(
            behind(&earlier),
            [
                "transaction.version is finalized at 0, this release can do 2: kafka-features.sh upgrade \
                 --feature transaction.version=2 takes it into use"
            ]
        );
    }
}
