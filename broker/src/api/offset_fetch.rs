//! OffsetFetch: how far a group has read; from version 8 on, several groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidewheel_consumer_groups::reply::{FetchedPartition, FetchedTopic};
use tidewheel_consumer_groups::request::{FetchOffsetsRequest, TopicPartitions};
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Context, error};
use crate::groups::NoCoordinator;
use crate::topics::TopicsSnapshot;

pub(super) async fn handle(context: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    let offsets_of = |group: &_| wanted(&context.broker.topics(), group, require_stable);
    if context.version >= 8 {
        let mut groups = Vec::new();
        let told = |group, reply| groups.push(fetched(&context, group, reply));
        context
            .broker
            .groups()
            .ask_each(once(request.groups), offsets_of, told)
            .await;
        return OffsetFetchResponse {
            groups,
            ..OffsetFetchResponse::default()
        };
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
            })
            .collect()
    });
    let asked = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    let mut group = None;
    let told = |asked, reply| group = Some(fetched(&context, asked, reply));
    context
        .broker
        .groups()
        .ask_each(once(vec![asked]), offsets_of, told)
        .await;
    let group = group.unwrap_or_default();
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(single).collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}

/// The same in the words of the versions that ask for one group.
fn single(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter();
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: partitions
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    }
}

/// Every partition of a group once, where it is named first, and everything at once only once: a client makes
/// the same of the answer, and a partition of four bytes may stand for kilobytes of metadata.
fn once(mut groups: Vec<OffsetFetchRequestGroup>) -> Vec<OffsetFetchRequestGroup> {
    let mut all = HashSet::new();
    let mut named: HashMap<_, HashSet<i32>> = HashMap::new();
    groups.retain_mut(|group| {
        let Some(topics) = &mut group.topics else {
            return all.insert(group.group_id.clone());
        };
        let count = topics.len();
        topics.retain_mut(|topic| {
            let name = (group.group_id.clone(), topic.name.clone());
            let before = named.entry(name).or_default();
            let partitions = &mut topic.partition_indexes;
            let count = partitions.len();
            partitions.retain(|partition| before.insert(*partition));
            !partitions.is_empty() || count == 0
        });
        !topics.is_empty() || count == 0
    });
    groups
}

/// What the coordinator of a group is asked.
fn wanted(
    known: &TopicsSnapshot,
    asked: &OffsetFetchRequestGroup,
    require_stable: bool,
) -> (Arc<str>, GroupRequest) {
    let wanted = |topic: &OffsetFetchRequestTopics| TopicPartitions {
        topic: Arc::from(&*topic.name),
        // An offset in a topic that was deleted and made again says nothing of the new one.
        topic_id: known
            .named(&topic.name)
            .map_or(Uuid::ZERO, |topic| topic.id),
        partitions: topic.partition_indexes.clone(),
    };
    let topics = asked.topics.as_ref();
    let group_id: Arc<str> = Arc::from(&*asked.group_id);
    let request = GroupRequest::FetchOffsets(FetchOffsetsRequest {
        group_id: Arc::clone(&group_id),
        member: match &asked.member_id {
            None if asked.member_epoch < 0 => None,
            member_id => {
                let member_id = Arc::from(member_id.as_deref().unwrap_or_default());
                Some((member_id, asked.member_epoch))
            }
        },
        topics: topics.map(|topics| topics.iter().map(wanted).collect()),
        require_stable,
    });
    (group_id, request)
}

fn fetched(
    context: &Context,
    asked: OffsetFetchRequestGroup,
    reply: Result<GroupReply, NoCoordinator>,
) -> OffsetFetchResponseGroup {
    let topics = match reply {
        // All that the group has may include what its coordinator has yet to forget.
        Ok(GroupReply::FetchOffsets(Ok(topics))) => match asked.topics {
            Some(_) => topics,
            None => of_present_topics(&context.broker.topics(), topics),
        },
        other => return refused(context.version, asked, refusal(&other)),
    };
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: StrBytes::from(&*topic.topic),
        partitions: topic.partitions.into_iter().map(found).collect(),
    });
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics: topics.collect(),
        ..OffsetFetchResponseGroup::default()
    }
}

fn refusal(reply: &Result<GroupReply, NoCoordinator>) -> ErrorCode {
    let code = match reply {
        Ok(GroupReply::FetchOffsets(Err(error))) => error::group_code(*error),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(reason) => error::no_coordinator_code(*reason),
    };
    match code {
        // As Kafka says it to consumers, which before version 3.9 give up at the other one here.
        ErrorCode::CoordinatorNotAvailable => ErrorCode::NotCoordinator,
        code => code,
    }
}

/// Without the offsets in topics that are gone, whether or not they were made again.
fn of_present_topics(known: &TopicsSnapshot, mut fetched: Vec<FetchedTopic>) -> Vec<FetchedTopic> {
    fetched.retain_mut(|fetched| {
        let Some(topic) = known.named(&fetched.topic) else {
            return false;
        };
        fetched.partitions.retain(|partition| {
            let committed = partition.committed.as_ref();
            let id = committed.map_or(Uuid::ZERO, |committed| committed.topic_id);
            id == topic.id || id.is_zero()
        });
        !fetched.partitions.is_empty()
    });
    fetched
}

fn found(partition: FetchedPartition) -> OffsetFetchResponsePartitions {
    let Some(committed) = partition.committed else {
        return nothing(partition.partition, ErrorCode::None);
    };
    OffsetFetchResponsePartitions {
        partition_index: partition.partition,
        committed_offset: committed.offset,
        committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
        metadata: Some(committed.metadata),
        error_code: ErrorCode::None.code(),
    }
}

/// No offset: clients read -1 as such.
fn nothing(partition_index: i32, code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        metadata: Some(StrBytes::default()),
        error_code: code.code(),
        ..OffsetFetchResponsePartitions::default()
    }
}

/// Version 1 has no room for an error but at each partition.
fn refused(
    version: i16,
    asked: OffsetFetchRequestGroup,
    code: ErrorCode,
) -> OffsetFetchResponseGroup {
    let topics = asked.topics.filter(|_| version < 2).unwrap_or_default();
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics: topics
            .into_iter()
            .map(|topic| OffsetFetchResponseTopics {
                name: topic.name,
                partitions: topic
                    .partition_indexes
                    .into_iter()
                    .map(|partition| nothing(partition, code))
                    .collect(),
            })
            .collect(),
        error_code: code.code(),
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_consumer_groups::GroupError;
    use tidewheel_consumer_groups::reply::FetchedOffset;

    use super::*;
    use crate::topics::{Topic, TopicRegistry};

    fn fetched(topic: &str, ids: &[u8]) -> FetchedTopic {
        let committed = |id: &u8| FetchedOffset {
            offset: 1,
            leader_epoch: None,
            topic_id: Uuid([*id; 16]),
            metadata: StrBytes::default(),
            commit_timestamp_ms: 0,
        };
        let partitions = (0..).zip(ids).map(|(partition, id)| FetchedPartition {
            partition,
            committed: Some(committed(id)),
        });
        FetchedTopic {
            topic: topic.into(),
            partitions: partitions.collect(),
        }
    }

    /// A commit that was under way when its topic was deleted may come after the deletion.
    #[test]
    fn offsets_in_topics_that_are_gone_are_not_among_all_that_a_group_has() {
        let topics = TopicRegistry::default();
        let topic = |(name, id): (&str, u8)| {
            Arc::new(Topic {
                name: name.into(),
                id: Uuid([id; 16]),
                configs: Default::default(),
                partitions: Vec::new(),
            })
        };
        topics.insert_all([("same", 1), ("again", 2)].map(topic).into());
        let all = vec![
            fetched("again", &[1, 1]),
            fetched("gone", &[1]),
            fetched("same", &[1, 2, 0]),
        ];
        let present = of_present_topics(&topics.snapshot(), all);
        let left: Vec<_> = present
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|p| p.partition);
                (&*topic.topic, partitions.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(left, [("same", vec![0, 2])]);
    }

    #[test]
    fn consumers_look_for_their_coordinator_where_it_cannot_answer() {
        let too_late = Err(NoCoordinator::Failed);
        let not_durable = GroupReply::FetchOffsets(Err(GroupError::CoordinatorNotAvailable));
        for reply in [too_late, Ok(not_durable)] {
            assert_eq!(refusal(&reply), ErrorCode::NotCoordinator);
        }
        let loading = refusal(&Err(NoCoordinator::Loading));
        assert_eq!(loading, ErrorCode::CoordinatorLoadInProgress);
    }

    /// Ten partitions that were asked for a hundred thousand times were answered as often, with all of their
    /// metadata.
    #[test]
    fn what_is_asked_for_again_is_answered_once() {
        let group = |name: &str, topics: Option<&[(&str, &[i32])]>| OffsetFetchRequestGroup {
            group_id: StrBytes::from(name),
            topics: topics.map(|topics| {
                let topics = topics.iter();
                topics
                    .map(|(name, partitions)| OffsetFetchRequestTopics {
                        name: StrBytes::from(*name),
                        partition_indexes: partitions.to_vec(),
                    })
                    .collect()
            }),
            ..OffsetFetchRequestGroup::default()
        };
        let asked = vec![
            group("g", Some(&[("t", &[2, 0, 2]), ("u", &[1]), ("t", &[0, 7])])),
            group("h", Some(&[("t", &[0]), ("none", &[])])),
            group("g", None),
            group("g", Some(&[("t", &[0])])),
            group("g", None),
            group("empty", Some(&[])),
        ];
        let answered = vec![
            group("g", Some(&[("t", &[2, 0]), ("u", &[1]), ("t", &[7])])),
            group("h", Some(&[("t", &[0]), ("none", &[])])),
            group("g", None),
            group("empty", Some(&[])),
        ];
        assert_eq!(once(asked), answered);
    }
}
