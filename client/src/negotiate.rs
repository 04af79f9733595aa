//! Which version of an API to speak with a broker: the highest both sides know. Pure.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use reka_protocol::Api;
use reka_protocol::kafka_protocol::messages::ApiVersionsResponse;

/// What a broker said it speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerVersions {
    ranges: HashMap<i16, (i16, i16)>,
    /// Levels of features in force, such as `transaction.version`.
    finalized: HashMap<String, i16>,
    supported: HashMap<String, (i16, i16)>,
    finalized_epoch: i64,
}

impl BrokerVersions {
    /// From the broker's answer. A range that ends before it begins is no range.
    #[must_use]
    pub fn new(answer: &ApiVersionsResponse) -> Self {
        let ranges = answer
            .api_keys
            .iter()
            .filter(|range| range.min_version <= range.max_version)
            .map(|range| (range.api_key, (range.min_version, range.max_version)))
            .collect();
        let finalized = answer
            .finalized_features
            .iter()
            .map(|feature| (feature.name.to_string(), feature.max_version_level))
            .collect();
        let supported = answer
            .supported_features
            .iter()
            .map(|feature| {
                let range = (feature.min_version, feature.max_version);
                (feature.name.to_string(), range)
            })
            .collect();
        BrokerVersions {
            ranges,
            finalized,
            supported,
            finalized_epoch: answer.finalized_features_epoch,
        }
    }

    /// The versions of an API the broker speaks.
    #[must_use]
    pub fn offered(&self, key: i16) -> Option<RangeInclusive<i16>> {
        self.ranges.get(&key).map(|(min, max)| *min..=*max)
    }

    /// Every API the broker named with its versions, by key.
    #[must_use]
    pub fn all(&self) -> Vec<(i16, RangeInclusive<i16>)> {
        let mut all: Vec<_> = self
            .ranges
            .iter()
            .map(|(key, (min, max))| (*key, *min..=*max))
            .collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    /// The level of a feature in force; 0 where there is none.
    #[must_use]
    pub fn finalized(&self, feature: &str) -> i16 {
        self.finalized.get(feature).copied().unwrap_or(0)
    }

    /// Features by name: the levels the broker supports and the one in force.
    #[must_use]
    pub fn features(&self) -> Vec<Feature> {
        let mut names: Vec<&String> = self.supported.keys().chain(self.finalized.keys()).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let level = self.finalized(name);
                let (min, max) = self.supported.get(name).copied().unwrap_or((level, level));
                Feature {
                    name: name.clone(),
                    supported_min: min,
                    supported_max: max,
                    finalized: level,
                    epoch: self.finalized_epoch,
                }
            })
            .collect()
    }

    /// The highest version both sides know, within `wanted`.
    pub fn choose(&self, api: &Api, wanted: &RangeInclusive<i16>) -> Result<i16, String> {
        let Some((min, max)) = self.ranges.get(&api.key) else {
            return Err("the broker does not have it".to_owned());
        };
        // Produce is advertised lower than it is served, here as by brokers.
        let ours_min = api.served_from.max(*wanted.start());
        let ours_max = api.max.min(*wanted.end());
        let chosen = ours_max.min(*max);
        if chosen < ours_min.max(*min) {
            return Err(format!(
                "versions {min} to {max} are offered, {ours_min} to {ours_max} are needed"
            ));
        }
        Ok(chosen)
    }
}

/// A feature of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// The lowest level the broker supports.
    pub supported_min: i16,
    /// The highest level the broker supports.
    pub supported_max: i16,
    /// The level in force; 0 where there is none.
    pub finalized: i16,
    /// Rises with every change of a feature.
    pub epoch: i64,
}

/// Every version.
pub const ANY: RangeInclusive<i16> = 0..=i16::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use reka_protocol::kafka_protocol::messages::api_versions_response::ApiVersion;
    use reka_protocol::versions;

    fn offering(key: i16, min: i16, max: i16) -> BrokerVersions {
        let range = ApiVersion::default()
            .with_api_key(key)
            .with_min_version(min)
            .with_max_version(max);
        BrokerVersions::new(&ApiVersionsResponse::default().with_api_keys(vec![range]))
    }

    #[test]
    fn the_highest_common_version_is_chosen_or_the_reason_is_told() {
        let metadata = versions::by_name("Metadata").expect("Metadata");
        let check = |min, max, wanted: RangeInclusive<i16>, expected: Result<i16, &str>| {
            let chosen = offering(metadata.key, min, max).choose(metadata, &wanted);
            assert_eq!(chosen, expected.map_err(str::to_owned));
        };
        check(0, 99, ANY, Ok(13));
        check(0, 9, ANY, Ok(9));
        check(0, 13, 0..=7, Ok(7));
        let older = "versions 0 to 3 are offered, 4 to 13 are needed";
        check(0, 3, 4..=i16::MAX, Err(older));
        let newer = "versions 14 to 20 are offered, 0 to 13 are needed";
        check(14, 20, ANY, Err(newer));
        check(5, 2, ANY, Err("the broker does not have it"));
        check(
            i16::MIN,
            -1,
            ANY,
            Err("versions -32768 to -1 are offered, 0 to 13 are needed"),
        );
        let none = offering(1, 0, 9).choose(metadata, &ANY);
        assert_eq!(none, Err("the broker does not have it".to_owned()));
    }

    #[test]
    fn produce_is_never_spoken_in_versions_that_are_only_advertised() {
        let produce = versions::by_name("Produce").expect("Produce");
        assert_eq!(offering(0, 0, 13).choose(produce, &ANY), Ok(13));
        assert!(offering(0, 0, 2).choose(produce, &ANY).is_err());
    }
}
