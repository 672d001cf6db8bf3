use super::*;
use crate::types::Uuid;

type Stored = (Bytes, Option<Bytes>);

/// The records of a golden file: one a line, key and value in hexadecimal, `-` for null.
fn golden(name: &str) -> Vec<Stored> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/coordinator_records/"
    );
    let text = std::fs::read_to_string(format!("{folder}kafka-4.3.1-{name}.txt")).unwrap();
    let hex = |digits: &str| -> Bytes {
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    };
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(key, value)| (hex(key), (value != "-").then(|| hex(value))))
        .collect()
}

fn decode((key, value): &Stored) -> CoordinatorRecord {
    let record = CoordinatorRecord::decode(key.clone(), value.clone());
    record.unwrap_or_else(|error| panic!("{error}: {key:?} {value:?}"))
}

const TOPIC_ID: Uuid = Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const TIME: i64 = 1_700_000_000_000;

/// What the file of classes has of offsets, in its order: type 0, then versions 0, 2, 3, 4, 1 and 4.
fn offsets() -> Vec<CoordinatorRecord> {
    let key = OffsetCommitKey {
        group: "g".into(),
        topic: "t".into(),
        partition: 3,
    };
    let old = OffsetCommitValue {
        offset: 7,
        metadata: "meta".into(),
        commit_timestamp: TIME,
        ..OffsetCommitValue::default()
    };
    let with_epoch = OffsetCommitValue {
        leader_epoch: 5,
        ..old.clone()
    };
    let expiring = OffsetCommitValue {
        expire_timestamp: TIME + 1_000,
        ..old.clone()
    };
    let with_id = OffsetCommitValue {
        topic_id: TOPIC_ID,
        ..with_epoch.clone()
    };
    [
        old.clone(),
        old.clone(),
        old,
        with_epoch.clone(),
        with_epoch,
        expiring,
        with_id,
    ]
    .map(|value| CoordinatorRecord::OffsetCommit(key.clone(), Some(value)))
    .to_vec()
}

/// What the file of classes has of classic groups: versions 0 to 4.
fn classic_groups() -> Vec<CoordinatorRecord> {
    let group = |version: i16| {
        let member = MemberMetadata {
            member_id: "m".into(),
            group_instance_id: (version >= 3).then(|| "i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: if version >= 1 { 300 } else { -1 },
            session_timeout: 100,
            subscription: Bytes::from_static(&[0, 1]),
            assignment: Bytes::from_static(&[2]),
        };
        let value = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            current_state_timestamp: if version >= 2 { TIME } else { -1 },
            members: vec![member],
        };
        let key = GroupMetadataKey { group: "g".into() };
        CoordinatorRecord::GroupMetadata(key, Some(value))
    };
    (0..=4).map(group).collect()
}

/// What the file of classes has of a KIP-848 group itself.
fn consumer_groups() -> Vec<CoordinatorRecord> {
    let epoch = |metadata_hash| {
        let group_id = "g".into();
        let value = ConsumerGroupMetadataValue {
            epoch: 9,
            metadata_hash,
        };
        CoordinatorRecord::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id }, Some(value))
    };
    let topic = TopicMetadata {
        topic_id: TOPIC_ID,
        topic_name: "t".into(),
        num_partitions: 2,
        partition_metadata: vec![PartitionMetadata {
            partition: 1,
            racks: vec!["r1".into(), "r2".into()],
        }],
    };
    let topics = CoordinatorRecord::ConsumerGroupPartitionMetadata(
        ConsumerGroupPartitionMetadataKey {
            group_id: "g".into(),
        },
        Some(ConsumerGroupPartitionMetadataValue {
            topics: vec![topic],
        }),
    );
    vec![epoch(0), epoch(77), topics]
}

/// What the file of classes has of members: with empty, null and real classic metadata.
fn members() -> Vec<CoordinatorRecord> {
    let classic = ClassicMemberMetadata {
        session_timeout_ms: 100,
        supported_protocols: vec![ClassicProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(&[0, 1]),
        }],
    };
    let member = |classic_member_metadata| {
        let key = ConsumerGroupMemberMetadataKey {
            group_id: "g".into(),
            member_id: "m".into(),
        };
        let value = ConsumerGroupMemberMetadataValue {
            instance_id: Some("i".into()),
            rack_id: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            subscribed_topic_names: vec!["t".into()],
            subscribed_topic_regex: Some("t.*".into()),
            rebalance_timeout_ms: 300,
            server_assignor: Some("uniform".into()),
            classic_member_metadata,
        };
        CoordinatorRecord::ConsumerGroupMemberMetadata(key, Some(value))
    };
    let empty = ClassicMemberMetadata::default();
    vec![member(Some(empty)), member(None), member(Some(classic))]
}

/// What the file of classes has of assignments and regular expressions.
fn assignments() -> Vec<CoordinatorRecord> {
    let epoch = CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(
        ConsumerGroupTargetAssignmentMetadataKey {
            group_id: "g".into(),
        },
        Some(ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: 9,
            assignment_timestamp: TIME,
        }),
    );
    let target = CoordinatorRecord::ConsumerGroupTargetAssignmentMember(
        ConsumerGroupTargetAssignmentMemberKey {
            group_id: "g".into(),
            member_id: "m".into(),
        },
        Some(ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: vec![TargetTopicPartition {
                topic_id: TOPIC_ID,
                partitions: vec![0, 2],
            }],
        }),
    );
    let partitions = |assignment_epochs| CurrentTopicPartitions {
        topic_id: TOPIC_ID,
        partitions: vec![0, 2],
        assignment_epochs,
    };
    let current = CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(
        ConsumerGroupCurrentMemberAssignmentKey {
            group_id: "g".into(),
            member_id: "m".into(),
        },
        Some(ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 9,
            previous_member_epoch: 8,
            state: 1,
            assigned_partitions: vec![partitions(Some(vec![])), partitions(None)],
            partitions_pending_revocation: vec![partitions(Some(vec![7, 8]))],
        }),
    );
    let regex = CoordinatorRecord::ConsumerGroupRegularExpression(
        ConsumerGroupRegularExpressionKey {
            group_id: "g".into(),
            regular_expression: "t.*".into(),
        },
        Some(ConsumerGroupRegularExpressionValue {
            topics: vec!["t".into(), "tt".into()],
            version: 5,
            timestamp: TIME,
        }),
    );
    vec![epoch, target, current, regex]
}

#[test]
fn every_version_that_kafkas_classes_write_is_read() {
    let stored = golden("classes");
    let read: Vec<CoordinatorRecord> = stored.iter().map(decode).collect();
    let wanted = [
        offsets(),
        classic_groups(),
        consumer_groups(),
        members(),
        assignments(),
    ];
    assert_eq!(read, wanted.concat());
    // Those in the version that Kafka writes today are written the same; the others are brought to it.
    let again = read.iter().map(CoordinatorRecord::encode);
    let kept: Vec<bool> = stored.iter().zip(again).map(|(a, b)| *a == b).collect();
    let older = [0, 1, 2, 3, 7, 8, 9, 11];
    let wanted: Vec<bool> = (0..stored.len()).map(|at| !older.contains(&at)).collect();
    assert_eq!(kept, wanted);
    for record in &read {
        assert_eq!(decode(&record.encode()), *record);
    }
}

#[test]
fn the_logs_of_real_groups_come_back_byte_for_byte() {
    for name in ["classic-group", "consumer-group"] {
        let stored = golden(name);
        let gone = stored.iter().filter(|(_, value)| value.is_none()).count();
        assert!(gone > 0 && gone < stored.len(), "{name}");
        for record in &stored {
            assert_eq!(decode(record).encode(), *record, "{name}");
        }
    }
}

#[test]
fn unknown_types_and_versions_are_told_apart_from_broken_bytes() {
    use CoordinatorRecordError::{Malformed, UnknownType, UnknownVersion};

    let decode = |key: &'static [u8], value: &'static [u8]| {
        CoordinatorRecord::decode(Bytes::from_static(key), Some(Bytes::from_static(value)))
    };
    for unknown in [-1_i16, 9, 10, 15, 17, i16::MAX] {
        let key = Bytes::copy_from_slice(&unknown.to_be_bytes());
        let result = CoordinatorRecord::decode(key, None);
        assert_eq!(result, Err(UnknownType(unknown)));
    }
    let group = b"\0\x03\0\x01g";
    for version in [&[0xFF, 0xFF][..], &[0, 1], &[0x7F, 0xFF]] {
        let error = UnknownVersion {
            record: "ConsumerGroupMetadata",
            version: i16::from_be_bytes(*version.first_chunk().unwrap()),
        };
        assert_eq!(decode(group, version), Err(error));
    }
    assert!(decode(group, b"\0\0\0\0\0\x09\0").is_ok());
    let trailing = Err(Malformed(DecodeError::TrailingBytes(1)));
    assert_eq!(decode(group, b"\0\0\0\0\0\x09\0!"), trailing);
    assert_eq!(decode(b"\0\x03\0\x01g!", b"\0\0\0\0\0\x09\0"), trailing);
}

#[test]
fn a_cut_key_or_value_is_refused() {
    for (key, value) in golden("classes") {
        for len in 0..key.len() {
            let cut = CoordinatorRecord::decode(key.slice(..len), value.clone());
            assert!(cut.is_err(), "{key:?}");
        }
        let value = value.unwrap();
        for len in 0..value.len() {
            let cut = CoordinatorRecord::decode(key.clone(), Some(value.slice(..len)));
            assert!(cut.is_err(), "{value:?}");
        }
    }
}

#[test]
fn fields_that_a_newer_broker_adds_are_skipped() {
    // An epoch of 9 with the unknown tagged field 5.
    let key = Bytes::from_static(b"\0\x03\0\x01g");
    let value = Bytes::from_static(b"\0\0\0\0\0\x09\x01\x05\x02ab");
    let record = CoordinatorRecord::decode(key, Some(value)).unwrap();
    assert_eq!(record, consumer_groups()[0]);
}
