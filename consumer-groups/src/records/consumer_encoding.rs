//! Records of groups of the newer protocol as Kafka writes them, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::coordinator_record::*;
use tidewheel_protocol::{StrBytes, Uuid};

use super::consumer::*;
use super::encoding::{string, text};
use crate::request::JoinProtocol;

impl ConsumerGroupChange {
    pub(super) fn to_kafka(&self, group_id: &Arc<str>) -> CoordinatorRecord {
        let group_id = string(group_id);
        match self {
            Self::Epoch(value) => CoordinatorRecord::ConsumerGroupMetadata(
                ConsumerGroupMetadataKey { group_id },
                value.map(|value| ConsumerGroupMetadataValue {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                }),
            ),
            Self::PartitionMetadata(is_there) => CoordinatorRecord::ConsumerGroupPartitionMetadata(
                ConsumerGroupPartitionMetadataKey { group_id },
                is_there.then(ConsumerGroupPartitionMetadataValue::default),
            ),
            Self::TargetEpoch(value) => CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(
                ConsumerGroupTargetAssignmentMetadataKey { group_id },
                value.map(|value| ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: value.epoch,
                    assignment_timestamp: value.timestamp_ms,
                }),
            ),
            Self::Member { member_id, value } => {
                let member_id = string(member_id);
                let key = ConsumerGroupMemberMetadataKey {
                    group_id,
                    member_id,
                };
                let value = value.as_deref().map(member_to_kafka);
                CoordinatorRecord::ConsumerGroupMemberMetadata(key, value)
            }
            Self::Target { member_id, value } => {
                let member_id = string(member_id);
                let key = ConsumerGroupTargetAssignmentMemberKey {
                    group_id,
                    member_id,
                };
                let value = value.as_deref().map(target_to_kafka);
                CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value)
            }
            Self::Current { member_id, value } => {
                let member_id = string(member_id);
                let key = ConsumerGroupCurrentMemberAssignmentKey {
                    group_id,
                    member_id,
                };
                let value = value.as_deref().map(current_to_kafka);
                CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value)
            }
            Self::Regex { regex, value } => {
                let regular_expression = string(regex);
                let key = ConsumerGroupRegularExpressionKey {
                    group_id,
                    regular_expression,
                };
                let value = value.as_ref().map(regex_to_kafka);
                CoordinatorRecord::ConsumerGroupRegularExpression(key, value)
            }
        }
    }
}

fn member_to_kafka(member: &ConsumerMember) -> ConsumerGroupMemberMetadataValue {
    let protocol = |protocol: &JoinProtocol| ClassicProtocol {
        name: string(&protocol.name),
        metadata: protocol.metadata.clone(),
    };
    let classic = |classic: &ClassicSide| ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: classic.protocols.iter().map(protocol).collect(),
    };
    ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.as_ref().map(string),
        rack_id: member.rack_id.as_ref().map(string),
        client_id: string(&member.client_id),
        client_host: string(&member.client_host),
        subscribed_topic_names: member.topics.iter().map(string).collect(),
        // An empty one for none, as Kafka has it from its clients.
        subscribed_topic_regex: Some(member.regex.as_ref().map(string).unwrap_or_default()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.assignor.as_ref().map(string),
        classic_member_metadata: member.classic.as_ref().map(classic),
    }
}

pub(super) fn epoch_from_kafka(value: Option<ConsumerGroupMetadataValue>) -> ConsumerGroupChange {
    ConsumerGroupChange::Epoch(value.map(|value| GroupEpoch {
        epoch: value.epoch,
        metadata_hash: value.metadata_hash,
    }))
}

pub(super) fn target_epoch_from_kafka(
    value: Option<ConsumerGroupTargetAssignmentMetadataValue>,
) -> ConsumerGroupChange {
    ConsumerGroupChange::TargetEpoch(value.map(|value| TargetEpoch {
        epoch: value.assignment_epoch,
        timestamp_ms: value.assignment_timestamp,
    }))
}

pub(super) fn member_from_kafka(
    member_id: &StrBytes,
    value: Option<ConsumerGroupMemberMetadataValue>,
) -> ConsumerGroupChange {
    let member_id = text(member_id);
    let value = value.as_ref().map(member).map(Arc::new);
    ConsumerGroupChange::Member { member_id, value }
}

fn member(value: &ConsumerGroupMemberMetadataValue) -> ConsumerMember {
    let protocol = |protocol: &ClassicProtocol| JoinProtocol {
        name: text(&protocol.name),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    let classic = |classic: &ClassicMemberMetadata| ClassicSide {
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic.supported_protocols.iter().map(protocol).collect(),
    };
    let regex = value.subscribed_topic_regex.as_ref();
    ConsumerMember {
        instance_id: value.instance_id.as_ref().map(text),
        rack_id: value.rack_id.as_ref().map(text),
        client_id: text(&value.client_id),
        client_host: text(&value.client_host),
        topics: Arc::new(value.subscribed_topic_names.iter().map(text).collect()),
        regex: regex.filter(|regex| !regex.is_empty()).map(text),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.as_ref().map(text),
        // A client that supports no protocol at all cannot have joined: what the schema has as its default.
        classic: value
            .classic_member_metadata
            .as_ref()
            .filter(|classic| !classic.supported_protocols.is_empty())
            .map(classic),
    }
}

/// Partitions by topic, each with whatever goes beside it.
fn by_topic<T>(
    partitions: impl Iterator<Item = (TopicIdPartition, T)>,
) -> BTreeMap<Uuid, (Vec<i32>, Vec<T>)> {
    let mut topics: BTreeMap<Uuid, (Vec<i32>, Vec<T>)> = BTreeMap::new();
    for (partition, beside) in partitions {
        let (numbers, all) = topics.entry(partition.topic_id).or_default();
        numbers.push(partition.partition);
        all.push(beside);
    }
    topics
}

fn target_to_kafka(
    partitions: &BTreeSet<TopicIdPartition>,
) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = by_topic(partitions.iter().map(|&partition| (partition, ())));
    let topic = |(topic_id, (partitions, _))| TargetTopicPartition {
        topic_id,
        partitions,
    };
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: topics.into_iter().map(topic).collect(),
    }
}

pub(super) fn target_from_kafka(
    member_id: &StrBytes,
    value: Option<ConsumerGroupTargetAssignmentMemberValue>,
) -> ConsumerGroupChange {
    let member_id = text(member_id);
    let value = value.as_ref().map(target).map(Arc::new);
    ConsumerGroupChange::Target { member_id, value }
}

fn target(value: &ConsumerGroupTargetAssignmentMemberValue) -> BTreeSet<TopicIdPartition> {
    let of_topic = |topic: &TargetTopicPartition| {
        let topic_id = topic.topic_id;
        let named = move |&partition: &i32| TopicIdPartition {
            topic_id,
            partition,
        };
        topic.partitions.iter().map(named).collect::<Vec<_>>()
    };
    value.topic_partitions.iter().flat_map(of_topic).collect()
}

fn owned_to_kafka(partitions: &OwnedPartitions) -> Vec<CurrentTopicPartitions> {
    let topics = by_topic(
        partitions
            .iter()
            .map(|(&partition, &epoch)| (partition, epoch)),
    );
    let topic = |(topic_id, (partitions, epochs))| CurrentTopicPartitions {
        topic_id,
        partitions,
        assignment_epochs: Some(epochs),
    };
    topics.into_iter().map(topic).collect()
}

fn owned_from_kafka(topics: &[CurrentTopicPartitions]) -> OwnedPartitions {
    let mut owned = OwnedPartitions::new();
    for topic in topics {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
        for (index, &partition) in topic.partitions.iter().enumerate() {
            let topic_id = topic.topic_id;
            let partition = TopicIdPartition {
                topic_id,
                partition,
            };
            owned.insert(partition, epochs.get(index).copied().unwrap_or(0));
        }
    }
    owned
}

fn current_to_kafka(current: &CurrentAssignment) -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: match current.state {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
        },
        assigned_partitions: owned_to_kafka(&current.assigned),
        partitions_pending_revocation: owned_to_kafka(&current.revoking),
    }
}

pub(super) fn current_from_kafka(
    member_id: &StrBytes,
    value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
) -> ConsumerGroupChange {
    let member_id = text(member_id);
    let value = value.map(|value| {
        Arc::new(CurrentAssignment {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: match value.state {
                1 => MemberState::UnrevokedPartitions,
                2 => MemberState::UnreleasedPartitions,
                _ => MemberState::Stable,
            },
            assigned: owned_from_kafka(&value.assigned_partitions),
            revoking: owned_from_kafka(&value.partitions_pending_revocation),
        })
    });
    ConsumerGroupChange::Current { member_id, value }
}

fn regex_to_kafka(value: &ResolvedRegex) -> ConsumerGroupRegularExpressionValue {
    ConsumerGroupRegularExpressionValue {
        topics: value.topics.iter().map(string).collect::<Vec<StrBytes>>(),
        version: value.version,
        timestamp: value.timestamp_ms,
    }
}

pub(super) fn regex_from_kafka(
    regex: &StrBytes,
    value: Option<ConsumerGroupRegularExpressionValue>,
) -> ConsumerGroupChange {
    let regex = text(regex);
    let value = value.map(|value| ResolvedRegex {
        topics: Arc::new(value.topics.iter().map(text).collect()),
        version: value.version,
        timestamp_ms: value.timestamp,
    });
    ConsumerGroupChange::Regex { regex, value }
}

#[cfg(test)]
mod tests {
    use super::super::OffsetsRecord;
    use super::*;

    /// The records that Apache Kafka 4.3.1 wrote are read, and written again byte for byte.
    #[test]
    fn kafkas_own_records_come_back_as_they_went() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../protocol/tests/golden/coordinator_records/"
        );
        let mut kinds = [0; 17];
        for name in ["kafka-4.3.1-classes.txt", "kafka-4.3.1-consumer-group.txt"] {
            let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap();
            for line in text.lines() {
                let (key, value) = line.split_once(' ').unwrap();
                let value = (value != "-").then(|| hex(value));
                let key = hex(key);
                let kind = usize::from(key[1]);
                if kind < 3 {
                    continue;
                }
                kinds[kind] += 1;
                let record = OffsetsRecord::decode(key.clone(), value.clone()).unwrap();
                // Of what Kafka 4.0 said about topics, only that it did is kept. The schema's default for
                // the classic side, no protocols at all, is taken for none. A topic that is there several
                // times, which Kafka does not write either, becomes one.
                let is_reduced = line.starts_with("0004")
                    || line.ends_with("756e69666f726d00")
                    || (line.starts_with("0008") && name.contains("classes"));
                if !is_reduced {
                    assert_eq!(record.encode(), (key, value), "{line}");
                }
            }
        }
        for kind in [3, 4, 5, 6, 7, 8, 16] {
            assert!(kinds[kind] > 0, "no record of type {kind}");
        }
    }

    fn hex(text: &str) -> Bytes {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }
}
