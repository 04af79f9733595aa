//! Records of the internal topics: golden bytes, so that a change is seen, and round trips.

use proptest::prelude::*;
use reka_protocol::messages::coordinator::consumer_group::*;
use reka_protocol::messages::coordinator::group::{GroupMetadataValue, MemberMetadata};
use reka_protocol::messages::coordinator::key::{OffsetsKey, TransactionLogKey};
use reka_protocol::messages::coordinator::offset::OffsetCommitValue;
use reka_protocol::messages::coordinator::transaction::{
    TransactionLogValue, TransactionPartitions,
};
use reka_protocol::messages::coordinator::{Opaque, Value};
use reka_protocol::{DecodeError, Problem};
use uuid::Uuid;

use crate::generate::{self, Random, seeds};

fn offset() -> OffsetCommitValue {
    OffsetCommitValue {
        offset: 7,
        leader_epoch: 2,
        metadata: "m".to_owned(),
        commit_timestamp: 9,
        expire_timestamp: 11,
        topic_id: Uuid::nil(),
    }
}

fn group() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        protocol: Some("range".to_owned()),
        leader: None,
        current_state_timestamp: 5,
        members: vec![MemberMetadata {
            member_id: "m-1".to_owned(),
            group_instance_id: Some("i".to_owned()),
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            rebalance_timeout: 60_000,
            session_timeout: 45_000,
            subscription: Opaque(vec![0, 3, 1]),
            assignment: Opaque(Vec::new()),
        }],
    }
}

fn transaction() -> TransactionLogValue {
    TransactionLogValue {
        producer_id: 1000,
        producer_epoch: 4,
        transaction_timeout_ms: 60_000,
        transaction_status: 1,
        transaction_partitions: Some(vec![TransactionPartitions {
            topic: "t".to_owned(),
            partition_ids: vec![0, 2],
        }]),
        transaction_last_update_timestamp_ms: 5,
        transaction_start_timestamp_ms: 4,
        previous_producer_id: -1,
        next_producer_id: 1001,
        client_transaction_version: 2,
    }
}

#[test]
fn offset_commit_values_keep_their_bytes_in_every_version() {
    let check = |version: i16, expected: &[&[u8]]| {
        let encoded = offset().encode(version).expect("encodes");
        assert_eq!(encoded, expected.concat(), "v{version}");
    };
    let seven = 7_i64.to_be_bytes();
    let nine = 9_i64.to_be_bytes();
    let eleven = 11_i64.to_be_bytes();
    let two = 2_i32.to_be_bytes();
    check(0, &[&[0, 0], &seven, &[0, 1, b'm'], &nine]);
    check(1, &[&[0, 1], &seven, &[0, 1, b'm'], &nine, &eleven]);
    check(2, &[&[0, 2], &seven, &[0, 1, b'm'], &nine]);
    check(3, &[&[0, 3], &seven, &two, &[0, 1, b'm'], &nine]);
    check(4, &[&[0, 4], &seven, &two, &[2, b'm'], &nine, &[0]]);
    let by_id = OffsetCommitValue {
        topic_id: Uuid::from_bytes([9; 16]),
        ..offset()
    };
    let encoded = by_id.encode(4).expect("encodes");
    let expected = [
        &[0, 4],
        &seven[..],
        &two,
        &[2, b'm'],
        &nine,
        &[1, 0, 16],
        &[9; 16],
    ];
    assert_eq!(encoded, expected.concat());
    let read = OffsetCommitValue::decode(&encoded).expect("reads");
    assert_eq!(read.topic_id, by_id.topic_id);
}

#[test]
fn group_metadata_values_keep_their_bytes_in_every_version() {
    let string = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let check = |version: i16| {
        let mut expected = [
            &version.to_be_bytes()[..],
            &string("consumer"),
            &3_i32.to_be_bytes(),
            &string("range"),
            &[0xff, 0xff],
        ]
        .concat();
        if version >= 2 {
            expected.extend(5_i64.to_be_bytes());
        }
        expected.extend(1_i32.to_be_bytes());
        expected.extend(string("m-1"));
        if version >= 3 {
            expected.extend(string("i"));
        }
        expected.extend(string("c"));
        expected.extend(string("/10.0.0.1"));
        if version >= 1 {
            expected.extend(60_000_i32.to_be_bytes());
        }
        expected.extend(45_000_i32.to_be_bytes());
        expected.extend([0, 0, 0, 3, 0, 3, 1, 0, 0, 0, 0]);
        let encoded = group().encode(version).expect("encodes");
        assert_eq!(encoded, expected, "v{version}");
    };
    (0..=3).for_each(check);
}

#[test]
fn fields_a_version_lacks_come_back_as_their_defaults() {
    let three = OffsetCommitValue::decode(&offset().encode(3).expect("encodes")).expect("reads");
    assert_eq!((three.leader_epoch, three.expire_timestamp), (2, -1));
    let one = OffsetCommitValue::decode(&offset().encode(1).expect("encodes")).expect("reads");
    assert_eq!((one.leader_epoch, one.expire_timestamp), (-1, 11));
    let old = GroupMetadataValue::decode(&group().encode(0).expect("encodes")).expect("reads");
    let member = &old.members[0];
    assert_eq!(old.current_state_timestamp, -1);
    assert_eq!(
        (member.rebalance_timeout, &member.group_instance_id),
        (-1, &None)
    );
    for version in [3, 4] {
        let encoded = group().encode(version).expect("encodes");
        assert_eq!(
            GroupMetadataValue::decode(&encoded),
            Ok(group()),
            "v{version}"
        );
    }
}

#[test]
fn transaction_log_values_keep_their_bytes_and_drop_tags_in_version_zero() {
    let fixed = [
        &1000_i64.to_be_bytes()[..],
        &4_i16.to_be_bytes(),
        &60_000_i32.to_be_bytes(),
        &[1],
    ]
    .concat();
    let times = [5_i64.to_be_bytes(), 4_i64.to_be_bytes()].concat();
    let v0 = [
        &[0, 0],
        &fixed[..],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2],
        &times,
    ]
    .concat();
    assert_eq!(transaction().encode(0).expect("encodes"), v0);
    let v1 = [
        &[0, 1],
        &fixed[..],
        &[2, 2, b't', 3, 0, 0, 0, 0, 0, 0, 0, 2, 0],
        &times,
        // Two tags: the next producer id and the client's transaction version.
        &[2, 1, 8],
        &1001_i64.to_be_bytes(),
        &[2, 2, 0, 2],
    ]
    .concat();
    assert_eq!(transaction().encode(1).expect("encodes"), v1);
    assert_eq!(TransactionLogValue::decode(&v1), Ok(transaction()));
    let old = TransactionLogValue::decode(&v0).expect("reads");
    assert_eq!(
        (old.next_producer_id, old.client_transaction_version),
        (-1, 0)
    );
}

#[test]
fn keys_have_kafkas_types_and_come_back() {
    let group_id = || "g".to_owned();
    let member_id = || "m".to_owned();
    let keys = [
        (
            1,
            OffsetsKey::OffsetCommit {
                group: group_id(),
                topic: "t".to_owned(),
                partition: 3,
            },
        ),
        (2, OffsetsKey::GroupMetadata { group: group_id() }),
        (
            3,
            OffsetsKey::ConsumerGroupMetadata {
                group_id: group_id(),
            },
        ),
        (
            4,
            OffsetsKey::ConsumerGroupPartitionMetadata {
                group_id: group_id(),
            },
        ),
        (
            5,
            OffsetsKey::ConsumerGroupMemberMetadata {
                group_id: group_id(),
                member_id: member_id(),
            },
        ),
        (
            6,
            OffsetsKey::ConsumerGroupTargetAssignmentMetadata {
                group_id: group_id(),
            },
        ),
        (
            7,
            OffsetsKey::ConsumerGroupTargetAssignmentMember {
                group_id: group_id(),
                member_id: member_id(),
            },
        ),
        (
            8,
            OffsetsKey::ConsumerGroupCurrentMemberAssignment {
                group_id: group_id(),
                member_id: member_id(),
            },
        ),
        (
            16,
            OffsetsKey::ConsumerGroupRegularExpression {
                group_id: group_id(),
                regular_expression: ".*".to_owned(),
            },
        ),
    ];
    for (key_type, key) in keys {
        let encoded = key.encode().expect("encodes");
        assert_eq!(encoded[..2], i16::to_be_bytes(key_type));
        assert_eq!(OffsetsKey::decode(&encoded), Ok(Some(key)));
        for end in 0..encoded.len() {
            assert!(
                OffsetsKey::decode(&encoded[..end]).is_err(),
                "{key_type} cut at {end}"
            );
        }
        let longer = [&encoded[..], &[0]].concat();
        let error = OffsetsKey::decode(&longer).expect_err("too long");
        assert_eq!(error.problem, Problem::Trailing(1));
    }
    let commit = [0, 0, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3];
    assert!(matches!(
        OffsetsKey::decode(&commit),
        Ok(Some(OffsetsKey::OffsetCommit { partition: 3, .. }))
    ));
    let transaction = TransactionLogKey {
        transactional_id: "tx".to_owned(),
    };
    let encoded = transaction.encode().expect("encodes");
    assert_eq!(encoded[..], [0, 0, 0, 2, b't', b'x']);
    assert_eq!(TransactionLogKey::decode(&encoded), Ok(Some(transaction)));
}

/// Share and streams groups, and whatever comes next, live in the same topics.
#[test]
fn keys_of_unknown_types_are_none_and_not_an_error() {
    for key_type in [9_i16, 10, 15, 17, 99, -1] {
        let key = [&key_type.to_be_bytes()[..], b"anything"].concat();
        assert_eq!(OffsetsKey::decode(&key), Ok(None));
        assert_eq!(TransactionLogKey::decode(&key), Ok(None));
    }
}

#[test]
fn values_of_unknown_versions_are_refused_by_version() {
    for version in [-1_i16, 5, 99] {
        let mut value = offset().encode(3).expect("encodes").to_vec();
        value[..2].copy_from_slice(&version.to_be_bytes());
        let error = OffsetCommitValue::decode(&value).expect_err("unknown");
        assert_eq!(
            (error.version, error.problem),
            (version, Problem::RecordVersion)
        );
    }
}

/// What Apache Kafka 4.3.1 wrote for a static member of the consumer protocol, and for nobody's classic one
/// what its generated code writes. A value that does not say so would be one of a classic member to it.
#[test]
fn a_member_of_the_consumer_protocol_says_that_it_is_not_a_classic_one() {
    let mut bytes = vec![0, 0, 4];
    bytes.extend(b"two");
    bytes.extend([0, 0x1d]);
    bytes.extend(b"consumer-consumer-static-two");
    bytes.push(0x0b);
    bytes.extend(b"/127.0.0.1");
    bytes.extend([2, 5]);
    bytes.extend(b"read");
    bytes.extend([1, 0, 4, 0x93, 0xe0, 0]);
    let (none, classic) = ([1, 0, 1, 0], [1, 0, 7, 1, 0, 0, 0, 9, 1, 0]);
    let mut value = ConsumerGroupMemberMetadataValue {
        instance_id: Some("two".to_owned()),
        rack_id: None,
        client_id: "consumer-consumer-static-two".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_topic_names: vec!["read".to_owned()],
        subscribed_topic_regex: Some(String::new()),
        rebalance_timeout_ms: 300_000,
        server_assignor: None,
        classic_member_metadata: None,
    };
    for (tail, metadata) in [
        (none.as_slice(), None),
        (
            &classic,
            Some(ClassicMemberMetadata {
                session_timeout_ms: 9,
                supported_protocols: Vec::new(),
            }),
        ),
        (&[0], Some(ClassicMemberMetadata::EMPTY)),
    ] {
        value.classic_member_metadata = metadata;
        let whole = [&bytes, tail].concat();
        assert_eq!(
            ConsumerGroupMemberMetadataValue::decode(&whole).as_ref(),
            Ok(&value)
        );
        assert_eq!(value.encode(0).expect("encodes"), whole);
    }
}

/// A newer broker's tagged fields are skipped, as KIP-915 promises.
#[test]
fn unknown_tagged_fields_of_a_value_are_skipped() {
    let mut value = offset().encode(4).expect("encodes").to_vec();
    value.pop();
    value.extend_from_slice(&[1, 9, 2, 0xab, 0xcd]);
    let read = OffsetCommitValue::decode(&value).expect("reads");
    assert_eq!(read.metadata, "m");
}

fn short<T: Strategy>(item: T) -> impl Strategy<Value = Vec<T::Value>> {
    proptest::collection::vec(item, 0..5)
}

fn members() -> impl Strategy<Value = ConsumerGroupMemberMetadataValue> {
    let word = || "[a-z猫]{0,9}";
    let maybe = || proptest::option::of("[a-z]{0,9}");
    let classic = proptest::option::of((
        any::<i32>(),
        proptest::collection::vec((word(), short(any::<u8>())), 0..3),
    ));
    let names = proptest::collection::vec(word(), 0..4);
    (
        (maybe(), maybe(), word(), word()),
        names,
        maybe(),
        any::<i32>(),
        maybe(),
        classic,
    )
        .prop_map(
            |(
                (instance_id, rack_id, client_id, client_host),
                names,
                regex,
                timeout,
                assignor,
                classic,
            )| {
                ConsumerGroupMemberMetadataValue {
                    instance_id,
                    rack_id,
                    client_id,
                    client_host,
                    subscribed_topic_names: names,
                    subscribed_topic_regex: regex,
                    rebalance_timeout_ms: timeout,
                    server_assignor: assignor,
                    classic_member_metadata: classic.map(|(session_timeout_ms, protocols)| {
                        ClassicMemberMetadata {
                            session_timeout_ms,
                            supported_protocols: protocols
                                .into_iter()
                                .map(|(name, metadata)| ClassicProtocol {
                                    name,
                                    metadata: Opaque(metadata),
                                })
                                .collect(),
                        }
                    }),
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn consumer_group_values_come_back_as_they_were(
        member in members(),
        numbers: (i32, i32, i8, i64),
        topics in proptest::collection::vec((any::<u128>(), short(any::<i32>()), proptest::option::of(short(any::<i32>()))), 0..4),
    ) {
        fn check<T: Value + PartialEq + std::fmt::Debug>(value: &T) {
            let encoded = value.encode(0).expect("encodes");
            assert_eq!(T::decode(&encoded).as_ref(), Ok(value));
            for end in 0..encoded.len() {
                assert!(T::decode(&encoded[..end]).is_err(), "{} cut at {end}", T::NAME);
            }
        }
        let (epoch, previous, state, long) = numbers;
        let partitions: Vec<CurrentTopicPartitions> = topics.iter().map(|(id, partitions, epochs)| CurrentTopicPartitions {
            topic_id: Uuid::from_u128(*id),
            partitions: partitions.clone(),
            assignment_epochs: epochs.clone(),
        }).collect();
        check(&member);
        check(&ConsumerGroupMetadataValue { epoch, metadata_hash: long });
        check(&ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch, assignment_timestamp: long });
        check(&ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: topics.iter().map(|(id, partitions, _)| TargetTopicPartitions {
                topic_id: Uuid::from_u128(*id),
                partitions: partitions.clone(),
            }).collect(),
        });
        check(&ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: epoch,
            previous_member_epoch: previous,
            state,
            assigned_partitions: partitions.clone(),
            partitions_pending_revocation: partitions,
        });
        check(&ConsumerGroupRegularExpressionValue {
            topics: member.subscribed_topic_names.clone(),
            version_seen: long,
            timestamp: long,
        });
        check(&ConsumerGroupPartitionMetadataValue {
            topics: topics.iter().map(|(id, partitions, _)| TopicMetadata {
                topic_id: Uuid::from_u128(*id),
                topic_name: member.client_id.clone(),
                num_partitions: epoch,
                partition_metadata: partitions.iter().map(|partition| PartitionMetadata {
                    partition: *partition,
                    racks: member.subscribed_topic_names.clone(),
                }).collect(),
            }).collect(),
        });
    }
}

type Reader = fn(&[u8]) -> Option<DecodeError>;

/// A corrupt log must not take the coordinator down.
#[test]
fn mutated_records_never_panic_or_allocate_without_bound() {
    let whole = [
        group().encode(3).expect("encodes"),
        group().encode(4).expect("encodes"),
        transaction().encode(0).expect("encodes"),
        transaction().encode(1).expect("encodes"),
        offset().encode(4).expect("encodes"),
    ];
    let readers: [Reader; 5] = [
        |bytes| GroupMetadataValue::decode(bytes).err(),
        |bytes| TransactionLogValue::decode(bytes).err(),
        |bytes| OffsetCommitValue::decode(bytes).err(),
        |bytes| ConsumerGroupMemberMetadataValue::decode(bytes).err(),
        |bytes| OffsetsKey::decode(bytes).err(),
    ];
    for seed in seeds(2000) {
        let mut random = Random::new(seed);
        let mut bytes = whole[random.below(whole.len())].to_vec();
        generate::mutate(&mut bytes, &mut random);
        for read in readers {
            let allocated = allocation_counter::measure(|| drop(read(&bytes)));
            let limit = 64 * 1024 + 200 * bytes.len() as u64;
            assert!(
                allocated.bytes_max < limit,
                "REKA_SEED={seed}: {allocated:?}"
            );
        }
    }
}
