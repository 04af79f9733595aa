//! The stored form of records and of snapshots.

use proptest::prelude::*;
use reka_raft::MetadataImage;
use reka_raft::codec::{Problem, Reader, Stored};
use reka_raft::record::{
    Acl, BrokerChange, BrokerEndpoint, ClientQuota, Config, FeatureLevel, FeatureRange,
    LeaderRecoveryState, Partition, PartitionChange, ProducerIds, QuotaEntity, Record, RecordBatch,
    RegisterBroker, RemoveAcl, RemoveScramUser, RemoveTopic, ScramUser, Topic, UnregisterBroker,
};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
const ID_HEX: &str = "0102030405060708090a0b0c0d0e0f10";

/// One record of each kind with its bytes, `ID` standing for the sixteen of the id.
fn golden() -> Vec<(Record, &'static str)> {
    vec![
        (Record::NoOp, "00 00 00"),
        (
            Topic {
                name: "ab".to_owned(),
                id: ID,
            }
            .into(),
            "01 00 13 02 6162 ID",
        ),
        (RemoveTopic { id: ID }.into(), "02 00 10 ID"),
        (
            Partition {
                topic_id: ID,
                partition: 3,
                replicas: vec![1, 2],
                directories: vec![ID, ID],
                isr: vec![1],
                adding: vec![2],
                removing: vec![],
                leader: -1,
                leader_epoch: 4,
                partition_epoch: 100,
                elr: vec![2],
                last_known_elr: vec![1],
                leader_recovery_state: LeaderRecoveryState::Recovering,
            }
            .into(),
            "03 00 43 ID 06 02 02 04 02 ID ID 01 02 01 04 00 01 08 c801 01 04 01 02 01",
        ),
        (
            PartitionChange {
                topic_id: ID,
                partition: 0,
                isr: Some(vec![]),
                leader: Some(7),
                replicas: None,
                removing: None,
                adding: Some(vec![1]),
                directories: None,
                elr: None,
                last_known_elr: None,
                leader_recovery_state: Some(LeaderRecoveryState::Recovered),
            }
            .into(),
            "04 00 1f ID 00 0100 010e 00 00 010102 00 00 00 0100",
        ),
        (
            Config {
                resource_type: 2,
                resource_name: "t".to_owned(),
                key: "k".to_owned(),
                value: Some("v".to_owned()),
            }
            .into(),
            "05 00 08 02 0174 016b 01 0176",
        ),
        (
            RegisterBroker {
                broker_id: 1,
                incarnation: ID,
                endpoints: vec![BrokerEndpoint {
                    name: "P".to_owned(),
                    host: "h".to_owned(),
                    port: 9092,
                    security_protocol: 3,
                }],
                rack: Some("r".to_owned()),
                features: vec![FeatureRange {
                    name: "f".to_owned(),
                    min: 1,
                    max: -1,
                }],
                directories: vec![ID],
                fenced: true,
                in_controlled_shutdown: false,
            }
            .into(),
            "06 00 34 02 ID 01 0150 0168 8447 06 01 0172 01 0166 02 01 01 ID 01 00",
        ),
        (
            BrokerChange {
                broker_id: 1,
                broker_epoch: 300,
                fenced: Some(false),
                in_controlled_shutdown: None,
                directories: Some(vec![]),
            }
            .into(),
            "07 00 08 02 d804 0100 00 0100",
        ),
        (
            UnregisterBroker {
                broker_id: 1,
                broker_epoch: 5,
            }
            .into(),
            "08 00 02 02 0a",
        ),
        (
            ProducerIds {
                broker_id: 1,
                broker_epoch: 5,
                next_producer_id: 1000,
            }
            .into(),
            "09 00 04 02 0a d00f",
        ),
        (
            FeatureLevel {
                name: "f".to_owned(),
                level: 25,
            }
            .into(),
            "0a 00 03 0166 32",
        ),
        (
            ClientQuota {
                entity: vec![QuotaEntity {
                    kind: "u".to_owned(),
                    name: None,
                }],
                key: "k".to_owned(),
                value: Some(1.0),
            }
            .into(),
            "0b 00 0f 01 0175 00 016b 01 3ff0000000000000",
        ),
        (
            Acl {
                id: ID,
                resource_type: 2,
                resource_name: "t".to_owned(),
                pattern_type: 3,
                principal: "U".to_owned(),
                host: "*".to_owned(),
                operation: 4,
                permission: 3,
            }
            .into(),
            "0c 00 1a ID 02 0174 03 0155 012a 04 03",
        ),
        (RemoveAcl { id: ID }.into(), "0d 00 10 ID"),
        (
            ScramUser {
                user: "u".to_owned(),
                mechanism: 1,
                salt: vec![1],
                stored_key: vec![2],
                server_key: vec![3, 255],
                iterations: 4096,
            }
            .into(),
            "0e 00 0c 0175 01 0101 0102 0203ff 8040",
        ),
        (
            RemoveScramUser {
                user: "u".to_owned(),
                mechanism: 2,
            }
            .into(),
            "0f 00 03 0175 02",
        ),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.replace("ID", ID_HEX).replace(' ', "");
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

#[test]
fn each_kind_has_these_bytes() {
    let golden = golden();
    for (number, (record, bytes)) in golden.iter().enumerate() {
        assert_eq!(record.kind() as usize, number, "each kind, in order");
        let mut stored = Vec::new();
        record.put(&mut stored);
        assert_eq!(stored, hex(bytes), "{record:?}");
        let mut from = Reader::new(&stored);
        assert_eq!(Record::take(&mut from).unwrap(), *record);
        from.finish().unwrap();
    }
}

/// The page and the code list the same kinds.
#[test]
fn the_page_lists_each_kind() {
    let page = include_str!("../../../docs/format/metadata-log.md");
    for (record, _) in golden() {
        let debug = format!("{record:?}");
        let name = debug.split('(').next().unwrap();
        let row = format!("| {} | {name} | {} |", record.kind(), record.version());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn an_unknown_kind_or_version_is_named() {
    let problem = |bytes: &[u8]| Record::take(&mut Reader::new(bytes)).unwrap_err();
    let error = problem(&[16, 0, 0]);
    let (kind, version) = (16, 0);
    assert_eq!(error.problem, Problem::UnknownRecord { kind, version });
    assert_eq!(
        problem(&[2, 9, 0]).to_string(),
        "at byte 3: record kind 2 version 9 is unknown to this release"
    );
}

#[test]
fn bytes_cut_short_or_left_over_are_refused() {
    for (record, bytes) in golden() {
        let stored = hex(bytes);
        for len in 0..stored.len() {
            let taken = Record::take(&mut Reader::new(&stored[..len]));
            assert!(taken.is_err(), "{record:?} in {len} bytes");
        }
        // A body that is longer than its fields.
        let mut long = stored.clone();
        long[2] += 1;
        long.push(0);
        let taken = Record::take(&mut Reader::new(&long));
        assert!(taken.is_err(), "{record:?} with a byte left over");
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-zé]{0,12}"
}

fn id() -> impl Strategy<Value = Uuid> {
    // Few, so that records are about the same things.
    (0..6_u128).prop_map(Uuid::from_u128)
}

fn partition() -> impl Strategy<Value = Partition> {
    let replicas = proptest::sample::subsequence(vec![1, 2, 3], 1..=3);
    (id(), 0..3_i32, replicas, 0..9_i32, any::<bool>()).prop_map(
        |(topic_id, partition, replicas, epoch, flag)| Partition {
            topic_id,
            partition,
            directories: vec![ID; replicas.len()],
            isr: replicas[..1].to_vec(),
            adding: vec![],
            removing: if flag { replicas.clone() } else { vec![] },
            leader: if flag { replicas[0] } else { -1 },
            leader_epoch: epoch,
            partition_epoch: epoch * 100,
            elr: vec![],
            last_known_elr: vec![epoch],
            leader_recovery_state: LeaderRecoveryState::Recovered,
            replicas,
        },
    )
}

fn change() -> impl Strategy<Value = PartitionChange> {
    let leader = proptest::option::of(-1..4_i32);
    let isr = proptest::option::of(proptest::collection::vec(1..4_i32, 0..3));
    (id(), 0..3_i32, leader, isr).prop_map(|(topic_id, partition, leader, isr)| PartitionChange {
        topic_id,
        partition,
        isr,
        leader,
        replicas: None,
        removing: Some(vec![]),
        adding: None,
        directories: None,
        elr: None,
        last_known_elr: None,
        leader_recovery_state: None,
    })
}

fn register() -> impl Strategy<Value = RegisterBroker> {
    (
        0..4_i32,
        id(),
        any::<u16>(),
        proptest::option::of(name()),
        any::<bool>(),
    )
        .prop_map(
            |(broker_id, incarnation, port, rack, fenced)| RegisterBroker {
                broker_id,
                incarnation,
                endpoints: vec![BrokerEndpoint {
                    name: "PLAINTEXT".to_owned(),
                    host: "host".to_owned(),
                    port,
                    security_protocol: 0,
                }],
                rack,
                features: vec![],
                directories: vec![incarnation],
                fenced,
                in_controlled_shutdown: !fenced,
            },
        )
}

fn record() -> impl Strategy<Value = Record> {
    let short = || "[ab]{1,2}";
    prop_oneof![
        Just(Record::NoOp),
        (short(), id()).prop_map(|(name, id)| Topic { name, id }.into()),
        id().prop_map(|id| RemoveTopic { id }.into()),
        partition().prop_map(Record::from),
        change().prop_map(Record::from),
        (
            any::<bool>(),
            short(),
            short(),
            proptest::option::of(name())
        )
            .prop_map(|(topic, resource_name, key, value)| {
                let resource_type = if topic { 2 } else { 4 };
                Config {
                    resource_type,
                    resource_name,
                    key,
                    value,
                }
                .into()
            }),
        register().prop_map(Record::from),
        (0..4_i32, 1..9_i64, proptest::option::of(any::<bool>())).prop_map(
            |(broker_id, broker_epoch, fenced)| BrokerChange {
                broker_id,
                broker_epoch,
                fenced,
                in_controlled_shutdown: None,
                directories: None,
            }
            .into()
        ),
        (0..4_i32, 1..9_i64).prop_map(|(broker_id, broker_epoch)| UnregisterBroker {
            broker_id,
            broker_epoch
        }
        .into()),
        (any::<i32>(), any::<i64>(), any::<i64>()).prop_map(
            |(broker_id, broker_epoch, next_producer_id)| ProducerIds {
                broker_id,
                broker_epoch,
                next_producer_id,
            }
            .into()
        ),
        (short(), -1..3_i16).prop_map(|(name, level)| FeatureLevel { name, level }.into()),
        (
            proptest::collection::vec((short(), proptest::option::of(short())), 0..3),
            short(),
            proptest::option::of(0.0..1e9_f64)
        )
            .prop_map(|(entity, key, value)| {
                let parts = entity.into_iter();
                let entity = parts
                    .map(|(kind, name)| QuotaEntity { kind, name })
                    .collect();
                ClientQuota { entity, key, value }.into()
            }),
        (id(), any::<i8>(), name(), name()).prop_map(|(id, code, resource_name, principal)| Acl {
            id,
            resource_type: code,
            resource_name,
            pattern_type: 3,
            principal,
            host: "*".to_owned(),
            operation: code,
            permission: 2,
        }
        .into()),
        id().prop_map(|id| RemoveAcl { id }.into()),
        (short(), 1..3_i8, any::<Vec<u8>>()).prop_map(|(user, mechanism, salt)| ScramUser {
            user,
            mechanism,
            stored_key: salt.clone(),
            server_key: salt.clone(),
            salt,
            iterations: 4096,
        }
        .into()),
        (short(), 1..3_i8).prop_map(|(user, mechanism)| RemoveScramUser { user, mechanism }.into()),
    ]
}

/// The records that apply, each at its own offset, and the image they lead to.
fn applied(records: Vec<Record>) -> (Vec<Record>, MetadataImage) {
    let mut image = MetadataImage::default();
    let mut kept = Vec::new();
    for record in records {
        let offset = kept.len() as u64 + 1;
        if let Ok(next) = image.apply(offset, std::slice::from_ref(&record)) {
            image = next;
            kept.push(record);
        }
    }
    image.check_invariants();
    (kept, image)
}

#[test]
fn a_broker_that_comes_back_leads_in_a_new_epoch_what_it_led() {
    let led_by = |partition: i32, leader: i32| {
        Record::from(Partition {
            topic_id: ID,
            partition,
            replicas: vec![1, 2],
            directories: vec![ID, ID],
            isr: vec![1, 2],
            adding: vec![],
            removing: vec![],
            leader,
            leader_epoch: 4,
            partition_epoch: 100,
            elr: vec![],
            last_known_elr: vec![],
            leader_recovery_state: LeaderRecoveryState::Recovered,
        })
    };
    let comes = |incarnation: u128| {
        Record::from(RegisterBroker {
            broker_id: 1,
            incarnation: Uuid::from_u128(incarnation),
            endpoints: vec![],
            rack: None,
            features: vec![],
            directories: vec![],
            fenced: false,
            in_controlled_shutdown: false,
        })
    };
    let topic = Topic {
        name: "t".to_owned(),
        id: ID,
    };
    let begun = [topic.into(), comes(1), led_by(0, 1), led_by(1, 2)];
    let epochs = |records: &[Record]| {
        let (_, image) = applied(begun.iter().chain(records).cloned().collect());
        let topic = image.topics().get("t").expect("the topic").clone();
        let epochs = topic.partitions();
        epochs
            .map(|partition| (partition.leader_epoch, partition.partition_epoch))
            .collect::<Vec<_>>()
    };
    assert_eq!(epochs(&[]), [(4, 100), (4, 100)]);
    // The same process once more, then another one.
    assert_eq!(epochs(&[comes(1)]), [(4, 100), (4, 100)]);
    assert_eq!(epochs(&[comes(2)]), [(5, 101), (4, 100)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn records_come_back_as_they_were(records in proptest::collection::vec(record(), 0..20)) {
        let batch = RecordBatch::pack(&records).unwrap();
        prop_assert_eq!(batch.unpack().unwrap(), records);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = RecordBatch::from_stored(bytes.into()).unpack();
    }

    #[test]
    fn the_same_records_lead_to_the_same_image(records in proptest::collection::vec(record(), 0..80)) {
        let (kept, image) = applied(records);
        let (_, again) = applied(kept.clone());
        prop_assert_eq!(&again, &image);
        // One batch: only offsets, and so broker epochs, may differ. Records that name
        // an epoch are left out of this comparison.
        let no_epochs = kept.iter().filter(|record| !matches!(
            record,
            Record::BrokerChange(_) | Record::UnregisterBroker(_) | Record::RegisterBroker(_)
        )).cloned().collect::<Vec<_>>();
        let (_, one_by_one) = applied(no_epochs.clone());
        let at_once = MetadataImage::default().apply(one_by_one.offset(), &no_epochs).unwrap();
        prop_assert_eq!(at_once.topics(), one_by_one.topics());
        prop_assert_eq!(at_once.configs(), one_by_one.configs());
        prop_assert_eq!(at_once.quotas(), one_by_one.quotas());
        prop_assert_eq!(at_once.acls(), one_by_one.acls());
        prop_assert_eq!(at_once.scram(), one_by_one.scram());
        prop_assert_eq!(at_once.producer_ids(), one_by_one.producer_ids());
        let levels = |image: &MetadataImage| {
            image.features().iter().map(|(name, level)| (name.to_owned(), level)).collect::<Vec<_>>()
        };
        prop_assert_eq!(levels(&at_once), levels(&one_by_one));
    }

    #[test]
    fn an_image_comes_back_from_its_snapshot(records in proptest::collection::vec(record(), 0..80)) {
        let (_, image) = applied(records);
        let stored = reka_raft::snapshot::encode_image(&image);
        let back = reka_raft::snapshot::decode_image(&stored).unwrap();
        prop_assert_eq!(&*back, &image);
        back.check_invariants();
    }
}
