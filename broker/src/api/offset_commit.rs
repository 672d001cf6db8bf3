//! OffsetCommit: a group remembers how far it has read. Version 1 is for sarama before 1.41, which sends it
//! whatever it is told.

use std::future::Future;
use std::sync::Arc;

use tidewheel_consumer_groups::reply::TopicResults;
use tidewheel_consumer_groups::request::{CommitOffsetsRequest, CommitPartition, CommitTopic};
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};
use crate::groups::NoCoordinator;
use crate::topics::TopicsSnapshot;

pub(super) fn handle(
    context: Context,
    request: OffsetCommitRequest,
) -> impl Future<Output = OffsetCommitResponse> + Send + 'static {
    let topics = context.broker.topics();
    // What is answered, in the order of the request: partitions that exist wait for the coordinator.
    let mut answers: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    let mut commits = Vec::new();
    for topic in request.topics {
        let (answer, commit) = split(&topics, topic);
        answers.push(answer);
        commits.extend(commit);
    }
    let committed = (!commits.is_empty()).then(|| {
        let commit = CommitOffsetsRequest {
            group_id: Arc::from(&*request.group_id),
            member_id: Arc::from(&*request.member_id),
            instance_id: request.group_instance_id.map(|id| Arc::from(&*id)),
            generation: request.generation_id_or_member_epoch,
            reports_unknown_group: context.version >= 9,
            retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
            topics: commits,
        };
        let groups = context.broker.groups();
        groups.ask(&request.group_id, GroupRequest::CommitOffsets(commit))
    });
    async move {
        if let Some(committed) = committed {
            fill(&mut answers, committed.await);
        }
        OffsetCommitResponse {
            topics: answers,
            ..OffsetCommitResponse::default()
        }
    }
}

/// The answer about a topic, and what is to be committed: the partitions that exist. All that is kept is
/// copied: slices would keep the whole frame in memory.
fn split(
    topics: &TopicsSnapshot,
    asked: OffsetCommitRequestTopic,
) -> (OffsetCommitResponseTopic, Option<CommitTopic>) {
    let topic = topics.named(&asked.name);
    let exists = |index: i32| topic.is_some_and(|topic| topic.partition(index).is_some());
    let answer = |partition: &OffsetCommitRequestPartition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: match exists(partition.partition_index) {
            true => ErrorCode::None,
            false => ErrorCode::UnknownTopicOrPartition,
        }
        .code(),
    };
    let answer = OffsetCommitResponseTopic {
        name: StrBytes::from(&*asked.name),
        partitions: asked.partitions.iter().map(answer).collect(),
    };
    let commit = |partition: OffsetCommitRequestPartition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: Some(partition.committed_leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: partition
            .committed_metadata
            .map(|text| StrBytes::from(&*text)),
        commit_timestamp_ms: Some(partition.commit_timestamp).filter(|ms| *ms >= 0),
    };
    let known = asked.partitions.into_iter();
    let partitions: Vec<_> = known
        .filter(|partition| exists(partition.partition_index))
        .map(commit)
        .collect();
    let commit = topic
        .filter(|_| !partitions.is_empty())
        .map(|topic| CommitTopic {
            topic: Arc::clone(&topic.name),
            topic_id: topic.id,
            partitions,
        });
    (answer, commit)
}

/// Puts what the coordinator says where no error stands yet; both are in the order of the request.
fn fill(answers: &mut [OffsetCommitResponseTopic], reply: Result<GroupReply, NoCoordinator>) {
    let open = answers
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|partition| partition.error_code == 0);
    let topics: Vec<TopicResults> = match reply {
        Ok(GroupReply::CommitOffsets(topics)) => topics,
        Ok(_) => {
            return open.for_each(|partition| {
                partition.error_code = ErrorCode::UnknownServerError.code();
            });
        }
        Err(reason) => {
            let code = error::no_coordinator_code(reason).code();
            return open.for_each(|partition| partition.error_code = code);
        }
    };
    let results = topics.iter().flat_map(|topic| &topic.partitions);
    for (partition, (_, result)) in open.zip(results) {
        partition.error_code = error::group_outcome(*result).code();
    }
}
