//! Answers that are an error and nothing else: what a test has an embedded broker say instead of handling a request.
//!
//! The error stands where the API has one: for each partition, topic, key or group that the request names, or for the
//! whole. What else an answer must hold is what Kafka puts there beside an error.

use bytes::Bytes;
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use tidewheel_protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use tidewheel_protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tidewheel_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use tidewheel_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseTopic,
};
use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tidewheel_protocol::{ApiKey, DecodeError, ErrorCode, Message, StrBytes, Uuid};

use super::metadata::this_broker;
use super::{Answer, Call, Context, Refused};

type Refuse = fn(Call, i16) -> Result<Answer, DecodeError>;

/// The APIs whose requests can be answered by an error alone.
const REFUSALS: &[(ApiKey, Refuse)] = &[
    (ApiKey::Produce, produce),
    (ApiKey::Fetch, |call, code| call.refused(code, fetch)),
    (ApiKey::ListOffsets, |call, code| {
        call.refused(code, list_offsets)
    }),
    (ApiKey::Metadata, |mut call, code| {
        let request = call.decode()?;
        let responder = call.responder();
        let response = metadata(&responder.context, request, code);
        Ok(responder.frame(&response))
    }),
    (ApiKey::OffsetForLeaderEpoch, |call, code| {
        call.refused(code, leader_epochs)
    }),
    (ApiKey::CreateTopics, |call, code| {
        call.refused(code, create_topics)
    }),
    (ApiKey::DeleteTopics, |call, code| {
        call.refused(code, delete_topics)
    }),
    (ApiKey::FindCoordinator, |call, code| {
        call.refused(code, find_coordinator)
    }),
    (ApiKey::OffsetCommit, |call, code| {
        call.refused(code, offset_commit)
    }),
    (ApiKey::OffsetFetch, |call, code| {
        call.refused(code, offset_fetch)
    }),
    (ApiKey::InitProducerId, |call, code| {
        call.refused(code, |_: InitProducerIdRequest, error_code| {
            InitProducerIdResponse {
                error_code,
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            }
        })
    }),
    (ApiKey::JoinGroup, |call, code| {
        call.refused(code, |request: JoinGroupRequest, error_code| {
            JoinGroupResponse {
                error_code,
                member_id: request.member_id,
                ..JoinGroupResponse::default()
            }
        })
    }),
    (ApiKey::SyncGroup, |call, code| {
        call.refused(code, |_: SyncGroupRequest, error_code| SyncGroupResponse {
            error_code,
            ..SyncGroupResponse::default()
        })
    }),
    (ApiKey::Heartbeat, |call, code| {
        call.refused(code, |_: HeartbeatRequest, error_code| HeartbeatResponse {
            error_code,
            ..HeartbeatResponse::default()
        })
    }),
    (ApiKey::LeaveGroup, |call, code| {
        call.refused(code, |_: LeaveGroupRequest, error_code| {
            LeaveGroupResponse {
                error_code,
                ..LeaveGroupResponse::default()
            }
        })
    }),
    (ApiKey::ConsumerGroupHeartbeat, |call, code| {
        call.refused(code, |_: ConsumerGroupHeartbeatRequest, error_code| {
            ConsumerGroupHeartbeatResponse {
                error_code,
                ..ConsumerGroupHeartbeatResponse::default()
            }
        })
    }),
];

/// Whether requests of this API can be answered by an error alone.
pub(crate) fn can_refuse(key: ApiKey) -> bool {
    REFUSALS.iter().any(|(known, _)| *known == key)
}

/// Answers a request with an error and does not handle it. The connection closes where there is no such answer.
///
/// # Errors
/// Where the body cannot be read.
pub(super) fn refuse(call: Call, code: ErrorCode) -> Result<Answer, Refused> {
    let (api_key, version) = (call.header.api_key, call.header.api_version);
    let row = REFUSALS.iter().find(|(key, _)| key.code() == api_key);
    let Some((key, refuse)) = row else {
        return Ok(Answer::Close);
    };
    refuse(call, code.code()).map_err(|source| Refused::Malformed {
        key: *key,
        version,
        source,
    })
}

impl Call {
    fn refused<Q: Message, A: Message>(
        mut self,
        code: i16,
        response: fn(Q, i16) -> A,
    ) -> Result<Answer, DecodeError> {
        let request = self.decode()?;
        Ok(self.responder().frame(&response(request, code)))
    }
}

fn produce(mut call: Call, error_code: i16) -> Result<Answer, DecodeError> {
    let request: ProduceRequest = call.decode()?;
    if request.acks == 0 {
        // The only way to tell of it.
        return Ok(Answer::Close);
    }
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        let partitions = partitions.map(|partition| PartitionProduceResponse {
            index: partition.index,
            error_code,
            base_offset: -1,
            ..PartitionProduceResponse::default()
        });
        TopicProduceResponse {
            partition_responses: partitions.collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        }
    });
    Ok(call.responder().frame(&ProduceResponse {
        responses: topics.collect(),
        ..ProduceResponse::default()
    }))
}

fn fetch(request: FetchRequest, error_code: i16) -> FetchResponse<Bytes> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| PartitionData {
            partition_index: partition.partition,
            error_code,
            high_watermark: -1,
            records: Some(Bytes::new()),
            ..PartitionData::default()
        });
        FetchableTopicResponse {
            partitions: partitions.collect(),
            topic: topic.topic,
            topic_id: topic.topic_id,
        }
    });
    let responses: Vec<_> = topics.collect();
    FetchResponse {
        // What a session knows is not named again. No session goes on with this: it has not heard of the request, and
        // the epoch that its client would count to is not the next one here.
        error_code: if responses.is_empty() { error_code } else { 0 },
        session_id: 0,
        responses,
        ..FetchResponse::default()
    }
}

fn list_offsets(request: ListOffsetsRequest, error_code: i16) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| ListOffsetsPartitionResponse {
            partition_index: partition.partition_index,
            error_code,
            ..ListOffsetsPartitionResponse::default()
        });
        ListOffsetsTopicResponse {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..ListOffsetsResponse::default()
    }
}

/// The broker is named: without one, clients would not know whom to ask again.
fn metadata(context: &Context, request: MetadataRequest, error_code: i16) -> MetadataResponse {
    let all = || {
        let known = context.broker.topics();
        let named = known
            .iter()
            .map(|topic| (Some(StrBytes::from(&*topic.name)), topic.id));
        named.collect()
    };
    let asked = request.topics.map(|topics| {
        let named = topics.into_iter().map(|topic| (topic.name, topic.topic_id));
        named.collect::<Vec<_>>()
    });
    // Version 0 asks for all topics with an empty list.
    let asked = asked.filter(|asked| context.version > 0 || !asked.is_empty());
    let topics = asked.unwrap_or_else(all).into_iter();
    let topics = topics.map(|(name, topic_id)| MetadataResponseTopic {
        error_code,
        name,
        topic_id,
        ..MetadataResponseTopic::default()
    });
    let topics: Vec<_> = topics.collect();
    MetadataResponse {
        error_code: if topics.is_empty() { error_code } else { 0 },
        topics,
        ..this_broker(context)
    }
}

fn leader_epochs(
    request: OffsetForLeaderEpochRequest,
    error_code: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| EpochEndOffset {
            error_code,
            partition: partition.partition,
            ..EpochEndOffset::default()
        });
        OffsetForLeaderTopicResult {
            partitions: partitions.collect(),
            topic: topic.topic,
        }
    });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn create_topics(request: CreateTopicsRequest, error_code: i16) -> CreateTopicsResponse {
    let topics = request.topics.into_iter();
    let topics = topics.map(|topic| CreatableTopicResult {
        name: topic.name,
        error_code,
        ..CreatableTopicResult::default()
    });
    CreateTopicsResponse {
        topics: topics.collect(),
        ..CreateTopicsResponse::default()
    }
}

fn delete_topics(request: DeleteTopicsRequest, error_code: i16) -> DeleteTopicsResponse {
    let result = |name, topic_id| DeletableTopicResult {
        name,
        topic_id,
        error_code,
        ..DeletableTopicResult::default()
    };
    let named = request.topic_names.into_iter();
    let named = named.map(|name| (Some(name), Uuid::ZERO));
    let topics = request.topics.into_iter();
    let topics = topics.map(|topic| (topic.name, topic.topic_id));
    let responses = named.chain(topics).map(|(name, id)| result(name, id));
    DeleteTopicsResponse {
        responses: responses.collect(),
        ..DeleteTopicsResponse::default()
    }
}

fn find_coordinator(request: FindCoordinatorRequest, error_code: i16) -> FindCoordinatorResponse {
    let keys = request.coordinator_keys.into_iter();
    let coordinators = keys.map(|key| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code,
        ..Coordinator::default()
    });
    FindCoordinatorResponse {
        error_code,
        node_id: -1,
        port: -1,
        coordinators: coordinators.collect(),
        ..FindCoordinatorResponse::default()
    }
}

fn offset_commit(request: OffsetCommitRequest, error_code: i16) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code,
        });
        OffsetCommitResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..OffsetCommitResponse::default()
    }
}

fn offset_fetch(request: OffsetFetchRequest, error_code: i16) -> OffsetFetchResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let indexes = topic.partition_indexes.into_iter();
        let partitions = indexes.map(|partition_index| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: -1,
            error_code,
            ..OffsetFetchResponsePartition::default()
        });
        OffsetFetchResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    let groups = request.groups.into_iter();
    let groups = groups.map(|group| OffsetFetchResponseGroup {
        group_id: group.group_id,
        error_code,
        ..OffsetFetchResponseGroup::default()
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code,
        groups: groups.collect(),
        ..OffsetFetchResponse::default()
    }
}

#[cfg(test)]
mod tests;
