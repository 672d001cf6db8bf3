//! Records as Kafka writes them, and back.

use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::coordinator_record::{
    CoordinatorRecord, CoordinatorRecordError, GroupMetadataKey, GroupMetadataValue,
    MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};

use super::consumer::ConsumerGroupChange;
use super::consumer_encoding::*;
use super::{CommittedOffset, GroupMember, GroupMetadata, OffsetKey, OffsetsRecord};

/// A record of `__consumer_offsets` that cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetsRecordError {
    /// It is of a kind or in a layout that is not known, or damaged.
    #[error(transparent)]
    Unreadable(#[from] CoordinatorRecordError),
}

impl OffsetsRecordError {
    /// Whether the record is of a kind that nobody here knows, so that nothing here follows from it. Any other may hide a
    /// commit, and what was committed before it is not what holds.
    #[must_use]
    pub fn is_unknown_kind(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(CoordinatorRecordError::UnknownType(_))
        )
    }
}

impl OffsetsRecord {
    /// Key and value as Kafka writes them; no value in a tombstone.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let record = match self {
            OffsetsRecord::OffsetCommit { key, value } => {
                CoordinatorRecord::OffsetCommit(key.to_kafka(), value.as_ref().map(offset_to_kafka))
            }
            OffsetsRecord::GroupMetadata { group_id, value } => {
                let group = StrBytes::from(&**group_id);
                let value = value.as_ref().map(group_to_kafka);
                CoordinatorRecord::GroupMetadata(GroupMetadataKey { group }, value)
            }
            OffsetsRecord::ConsumerGroup { group_id, change } => change.to_kafka(group_id),
        };
        record.encode()
    }

    /// Reads a record of the log.
    ///
    /// # Errors
    /// For records that are not known here, or damaged: see [`OffsetsRecordError::is_unknown_kind`].
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<OffsetsRecord, OffsetsRecordError> {
        match CoordinatorRecord::decode(key, value)? {
            CoordinatorRecord::OffsetCommit(key, value) => Ok(OffsetsRecord::OffsetCommit {
                key: OffsetKey {
                    group_id: text(&key.group),
                    topic: text(&key.topic),
                    partition: key.partition,
                },
                value: value.map(offset_from_kafka),
            }),
            CoordinatorRecord::GroupMetadata(key, value) => Ok(OffsetsRecord::GroupMetadata {
                group_id: text(&key.group),
                value: value.map(|value| group_from_kafka(&value)),
            }),
            CoordinatorRecord::ConsumerGroupMetadata(key, value) => {
                Ok(consumer_group(&key.group_id, epoch_from_kafka(value)))
            }
            CoordinatorRecord::ConsumerGroupPartitionMetadata(key, value) => {
                let change = ConsumerGroupChange::PartitionMetadata(value.is_some());
                Ok(consumer_group(&key.group_id, change))
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => Ok(
                consumer_group(&key.group_id, target_epoch_from_kafka(value)),
            ),
            CoordinatorRecord::ConsumerGroupMemberMetadata(key, value) => {
                let change = member_from_kafka(&key.member_id, value);
                Ok(consumer_group(&key.group_id, change))
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
                let change = target_from_kafka(&key.member_id, value);
                Ok(consumer_group(&key.group_id, change))
            }
            CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let change = current_from_kafka(&key.member_id, value);
                Ok(consumer_group(&key.group_id, change))
            }
            CoordinatorRecord::ConsumerGroupRegularExpression(key, value) => {
                let change = regex_from_kafka(&key.regular_expression, value);
                Ok(consumer_group(&key.group_id, change))
            }
        }
    }
}

fn consumer_group(group_id: &StrBytes, change: ConsumerGroupChange) -> OffsetsRecord {
    OffsetsRecord::ConsumerGroup {
        group_id: text(group_id),
        change,
    }
}

pub(super) fn text(text: &StrBytes) -> Arc<str> {
    Arc::from(text.as_str())
}

pub(super) fn string(text: &Arc<str>) -> StrBytes {
    StrBytes::from(&**text)
}

impl OffsetKey {
    fn to_kafka(&self) -> OffsetCommitKey {
        OffsetCommitKey {
            group: string(&self.group_id),
            topic: string(&self.topic),
            partition: self.partition,
        }
    }
}

fn offset_to_kafka(value: &CommittedOffset) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch.unwrap_or(-1),
        metadata: value.metadata.clone(),
        commit_timestamp: value.commit_timestamp_ms,
        expire_timestamp: value.expire_timestamp_ms.unwrap_or(-1),
        topic_id: value.topic_id,
    }
}

fn offset_from_kafka(value: OffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: value.offset,
        leader_epoch: Some(value.leader_epoch).filter(|&epoch| epoch != -1),
        metadata: value.metadata,
        topic_id: value.topic_id,
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: Some(value.expire_timestamp).filter(|&at_ms| at_ms != -1),
    }
}

fn group_to_kafka(value: &GroupMetadata) -> GroupMetadataValue {
    let member = |member: &GroupMember| MemberMetadata {
        member_id: string(&member.member_id),
        group_instance_id: member.instance_id.as_ref().map(string),
        client_id: string(&member.client_id),
        client_host: string(&member.client_host),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    };
    GroupMetadataValue {
        protocol_type: value.protocol_type.as_ref().map(string).unwrap_or_default(),
        generation: value.generation,
        protocol: value.protocol_name.as_ref().map(string),
        leader: value.leader.as_ref().map(string),
        current_state_timestamp: value.state_timestamp_ms.unwrap_or(-1),
        members: value.members.iter().map(member).collect(),
    }
}

fn group_from_kafka(value: &GroupMetadataValue) -> GroupMetadata {
    let member = |member: &MemberMetadata| GroupMember {
        member_id: text(&member.member_id),
        instance_id: member.group_instance_id.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        rebalance_timeout_ms: match member.rebalance_timeout {
            -1 => member.session_timeout,
            timeout_ms => timeout_ms,
        },
        session_timeout_ms: member.session_timeout,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    };
    GroupMetadata {
        protocol_type: Some(text(&value.protocol_type)).filter(|kind| !kind.is_empty()),
        generation: value.generation,
        protocol_name: value.protocol.as_ref().map(text),
        leader: value.leader.as_ref().map(text),
        state_timestamp_ms: Some(value.current_state_timestamp).filter(|&at_ms| at_ms != -1),
        members: value.members.iter().map(member).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset_of(key: &str) -> OffsetKey {
        OffsetKey {
            group_id: key.into(),
            topic: "t".into(),
            partition: 7,
        }
    }

    fn check(record: &OffsetsRecord) -> Option<Bytes> {
        let (key, value) = record.encode();
        let decoded = OffsetsRecord::decode(key, value.clone());
        assert_eq!(decoded.as_ref(), Ok(record));
        value
    }

    #[test]
    fn offsets_come_back_as_they_went() {
        let mut offset = CommittedOffset {
            offset: 5,
            leader_epoch: Some(3),
            metadata: "note ü".into(),
            topic_id: tidewheel_protocol::Uuid::ZERO,
            commit_timestamp_ms: 9,
            expire_timestamp_ms: None,
        };
        let record = |value| OffsetsRecord::OffsetCommit {
            key: offset_of("g"),
            value,
        };
        let value = check(&record(Some(offset.clone())));
        assert_eq!(value.unwrap()[..2], [0, 4]);
        offset.leader_epoch = None;
        check(&record(Some(offset.clone())));
        // Version 1, which knows no leader epochs, is the only one with a time of its own.
        offset.expire_timestamp_ms = Some(10);
        let value = check(&record(Some(offset)));
        assert_eq!(value.unwrap()[..2], [0, 1]);
        assert_eq!(check(&record(None)), None);
    }

    #[test]
    fn groups_come_back_as_they_went() {
        let member = GroupMember {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 1,
            session_timeout_ms: 2,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"a"),
        };
        let mut group = GroupMetadata {
            protocol_type: Some("consumer".into()),
            generation: 4,
            protocol_name: Some("range".into()),
            leader: Some("m".into()),
            state_timestamp_ms: Some(1),
            members: vec![member],
        };
        let record = |value| OffsetsRecord::GroupMetadata {
            group_id: "g".into(),
            value,
        };
        check(&record(Some(group.clone())));
        (group.protocol_type, group.state_timestamp_ms, group.leader) = (None, None, None);
        group.members.clear();
        check(&record(Some(group)));
        check(&record(None));
    }
}
