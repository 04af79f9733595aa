//! The one version table: which APIs exist, in which versions, and how each is framed.
//!
//! This is what the crate can decode and encode. A broker advertises the part of it for which it
//! has handlers; it never asks the codec crate, whose own table promises versions its structs
//! refuse (requests of OffsetCommit 10 and OffsetFetch 10, InitProducerId 6).
//!
//! The fields of each request are in `guard/requests.txt`; a test holds the two to the same list,
//! and another holds `docs/protocol.md` to this table.

/// Who may send an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Clients: advertised on every listener that has a handler for it.
    Clients,
    /// Brokers talking to the controller: never advertised to clients.
    Brokers,
}

/// One API: its key, its versions and the points where its encoding changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// The number on the wire.
    pub key: i16,
    /// Kafka's name for it.
    pub name: &'static str,
    /// Lowest version to advertise.
    pub min: i16,
    /// Highest version to advertise; inclusive.
    pub max: i16,
    /// First version with varint lengths and tagged fields; `i16::MAX` when there is none.
    pub flexible_from: i16,
    /// Lowest version that gets past UNSUPPORTED_VERSION. Above `min` only for Produce, which
    /// advertises versions it refuses because librdkafka up to 2.11 looks for them before it
    /// turns compression on.
    pub served_from: i16,
    /// Highest version the codec crate knows. Below `max` only where the newer version has the
    /// same bytes and differs in meaning alone.
    pub codec_max: i16,
    /// First version whose requests are read and written in `messages`: the codec crate has their
    /// fields and refuses the version. Of the answers it knows all up to `codec_max`.
    pub request_by_hand_from: i16,
    /// Who may send it.
    pub audience: Audience,
}

const NEVER: i16 = i16::MAX;

const fn api(key: i16, name: &'static str, min: i16, max: i16, flexible_from: i16) -> Api {
    Api {
        key,
        name,
        min,
        max,
        flexible_from,
        served_from: min,
        codec_max: max,
        request_by_hand_from: NEVER,
        audience: Audience::Clients,
    }
}

impl Api {
    const fn served_from(mut self, version: i16) -> Self {
        self.served_from = version;
        self
    }

    const fn coded_as(mut self, version: i16) -> Self {
        self.codec_max = version;
        self
    }

    const fn request_by_hand_from(mut self, version: i16) -> Self {
        self.request_by_hand_from = version;
        self
    }

    const fn for_brokers(mut self) -> Self {
        self.audience = Audience::Brokers;
        self
    }

    /// Whether `version` may be advertised.
    pub const fn advertises(&self, version: i16) -> bool {
        version >= self.min && version <= self.max
    }

    /// Whether a request in `version` is decoded and handed to its handler.
    pub const fn serves(&self, version: i16) -> bool {
        version >= self.served_from && version <= self.max
    }

    /// Whether `version` uses varint lengths and tagged fields. True above `max` too, so that the
    /// header of an unknown version can be read.
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// The request header version: 2 adds tagged fields.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The response header version: 1 adds tagged fields. ApiVersions answers with 0 always, as a
    /// client reads that answer before it knows what the broker speaks.
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.key != API_VERSIONS.key && self.is_flexible(version) {
            1
        } else {
            0
        }
    }

    /// The version to hand to the codec crate.
    pub const fn codec_version(&self, version: i16) -> i16 {
        if version > self.codec_max {
            self.codec_max
        } else {
            version
        }
    }
}

/// Produce.
pub const PRODUCE: Api = api(0, "Produce", 0, 13, 9).served_from(3);
/// Fetch.
pub const FETCH: Api = api(1, "Fetch", 4, 18, 12);
/// SaslHandshake.
pub const SASL_HANDSHAKE: Api = api(17, "SaslHandshake", 0, 1, NEVER);
/// ApiVersions.
pub const API_VERSIONS: Api = api(18, "ApiVersions", 0, 4, 3);
/// SaslAuthenticate.
pub const SASL_AUTHENTICATE: Api = api(36, "SaslAuthenticate", 0, 2, 2);

/// Every API, by key.
#[rustfmt::skip]
pub const APIS: &[Api] = &[
    // key, name, min, max, flexible from
    PRODUCE,
    FETCH,
    // 11 adds a meaning for timestamp -6 and no bytes (KIP-1023).
    api(2, "ListOffsets", 1, 11, 6).coded_as(10),
    api(3, "Metadata", 0, 13, 9),
    // 10 calls topics by id.
    api(8, "OffsetCommit", 2, 10, 8).request_by_hand_from(10),
    api(9, "OffsetFetch", 1, 10, 6).request_by_hand_from(10),
    api(10, "FindCoordinator", 0, 6, 3),
    api(11, "JoinGroup", 0, 9, 6),
    api(12, "Heartbeat", 0, 4, 4),
    api(13, "LeaveGroup", 0, 5, 4),
    api(14, "SyncGroup", 0, 5, 4),
    api(15, "DescribeGroups", 0, 6, 5),
    api(16, "ListGroups", 0, 5, 3),
    SASL_HANDSHAKE,
    API_VERSIONS,
    api(19, "CreateTopics", 2, 7, 5),
    api(20, "DeleteTopics", 1, 6, 4),
    api(21, "DeleteRecords", 0, 2, 2),
    api(22, "InitProducerId", 0, 5, 2),
    api(23, "OffsetForLeaderEpoch", 2, 4, 4),
    api(24, "AddPartitionsToTxn", 0, 5, 3),
    api(25, "AddOffsetsToTxn", 0, 4, 3),
    api(26, "EndTxn", 0, 5, 3),
    api(27, "WriteTxnMarkers", 1, 1, 1),
    api(28, "TxnOffsetCommit", 0, 5, 3),
    api(29, "DescribeAcls", 1, 3, 2),
    api(30, "CreateAcls", 1, 3, 2),
    api(31, "DeleteAcls", 1, 3, 2),
    api(32, "DescribeConfigs", 1, 4, 4),
    api(33, "AlterConfigs", 0, 2, 2),
    api(34, "AlterReplicaLogDirs", 1, 2, 2),
    api(35, "DescribeLogDirs", 1, 4, 2),
    SASL_AUTHENTICATE,
    api(37, "CreatePartitions", 0, 3, 2),
    api(42, "DeleteGroups", 0, 2, 2),
    api(43, "ElectLeaders", 0, 2, 2),
    api(44, "IncrementalAlterConfigs", 0, 1, 1),
    api(45, "AlterPartitionReassignments", 0, 1, 0),
    api(46, "ListPartitionReassignments", 0, 0, 0),
    api(47, "OffsetDelete", 0, 0, NEVER),
    api(48, "DescribeClientQuotas", 0, 1, 1),
    api(49, "AlterClientQuotas", 0, 1, 1),
    api(50, "DescribeUserScramCredentials", 0, 0, 0),
    api(51, "AlterUserScramCredentials", 0, 0, 0),
    api(55, "DescribeQuorum", 0, 2, 0),
    api(56, "AlterPartition", 2, 3, 0).for_brokers(),
    api(57, "UpdateFeatures", 0, 2, 0),
    api(58, "Envelope", 0, 0, 0).for_brokers(),
    api(60, "DescribeCluster", 0, 2, 0),
    api(61, "DescribeProducers", 0, 0, 0),
    api(62, "BrokerRegistration", 0, 4, 0).for_brokers(),
    api(63, "BrokerHeartbeat", 0, 1, 0).for_brokers(),
    api(64, "UnregisterBroker", 0, 0, 0),
    api(65, "DescribeTransactions", 0, 0, 0),
    api(66, "ListTransactions", 0, 2, 0),
    api(67, "AllocateProducerIds", 0, 0, 0).for_brokers(),
    api(68, "ConsumerGroupHeartbeat", 0, 1, 0),
    api(69, "ConsumerGroupDescribe", 0, 1, 0),
    api(74, "ListConfigResources", 0, 1, 0),
    api(75, "DescribeTopicPartitions", 0, 0, 0),
    api(80, "AddRaftVoter", 0, 0, 0),
    api(81, "RemoveRaftVoter", 0, 0, 0),
];

const KEYS: usize = 82;

/// Position in `APIS` by key; `u8::MAX` where there is no API.
const BY_KEY: [u8; KEYS] = {
    assert!(APIS.len() < u8::MAX as usize);
    let mut table = [u8::MAX; KEYS];
    let mut at = 0;
    while at < APIS.len() {
        assert!(at == 0 || APIS[at - 1].key < APIS[at].key, "keys ascend");
        table[APIS[at].key as usize] = at as u8;
        at += 1;
    }
    table
};

/// The API with this key, if this crate speaks it.
pub fn by_key(key: i16) -> Option<&'static Api> {
    let position = *BY_KEY.get(usize::try_from(key).ok()?)?;
    APIS.get(usize::from(position))
}

/// Where an API is in [`APIS`].
pub fn position(api: &Api) -> usize {
    let known = usize::try_from(api.key)
        .ok()
        .and_then(|key| BY_KEY.get(key));
    known.map_or(usize::MAX, |position| usize::from(*position))
}

/// The API with this name, if this crate speaks it.
pub fn by_name(name: &str) -> Option<&'static Api> {
    APIS.iter().find(|api| api.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_own_row_and_other_keys_find_none() {
        for api in APIS {
            assert_eq!(by_key(api.key), Some(api));
            assert_eq!(by_name(api.name), Some(api));
        }
        for key in [i16::MIN, -1, 4, 7, 52, 93, 999, i16::MAX] {
            assert_eq!(by_key(key), None);
        }
    }

    #[test]
    fn header_versions_follow_the_first_flexible_version_except_in_api_versions_answers() {
        let check = |name: &str, version, request, response| {
            let api = by_name(name).expect(name);
            assert_eq!(
                api.request_header_version(version),
                request,
                "{name} {version}"
            );
            assert_eq!(
                api.response_header_version(version),
                response,
                "{name} {version}"
            );
        };
        check("Produce", 8, 1, 0);
        check("Produce", 9, 2, 1);
        check("SaslHandshake", 1, 1, 0);
        check("OffsetDelete", 0, 1, 0);
        check("DescribeCluster", 0, 2, 1);
        check("ApiVersions", 2, 1, 0);
        check("ApiVersions", 3, 2, 0);
        check("ApiVersions", 99, 2, 0);
    }
}
