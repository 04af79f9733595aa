//! The version table against the codec crate.

use reka_protocol::versions::{APIS, PRODUCE};

use crate::codec;

#[test]
fn every_version_in_the_table_is_inside_both_of_the_codec_structs_ranges() {
    let codecs = codec::all();
    let keys: Vec<i16> = codecs.iter().map(|codec| codec.key).collect();
    assert_eq!(keys, APIS.iter().map(|api| api.key).collect::<Vec<_>>());
    for (api, codec) in APIS.iter().zip(&codecs) {
        for version in api.served_from..=api.max {
            let by_hand = version >= api.request_by_hand_from;
            let version = api.codec_version(version);
            let request = (!by_hand).then_some(codec.request);
            for range in request.into_iter().chain([codec.response]) {
                assert!(
                    range.min <= version && version <= range.max,
                    "{} v{version} is outside {range}",
                    api.name
                );
            }
        }
    }
}

/// The versions above or below the codec crate are few, on purpose, and handled by hand.
#[test]
fn only_these_reach_past_the_codec_crate() {
    let past: Vec<&str> = APIS
        .iter()
        .filter(|api| {
            api.served_from != api.min
                || api.codec_max != api.max
                || api.request_by_hand_from <= api.max
        })
        .map(|api| api.name)
        .collect();
    assert_eq!(
        past,
        ["Produce", "ListOffsets", "OffsetCommit", "OffsetFetch"]
    );
    assert!(PRODUCE.advertises(0) && !PRODUCE.serves(2) && PRODUCE.serves(3));
}

/// librdkafka before 2.11 looks for Produce 0 and JoinGroup 0 before it uses compression and SASL.
#[test]
fn produce_and_join_group_are_advertised_from_zero() {
    for name in ["Produce", "JoinGroup"] {
        let api = reka_protocol::versions::by_name(name).expect(name);
        assert_eq!(api.min, 0, "{name}");
    }
}
