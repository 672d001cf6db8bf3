use std::sync::Arc;

use tidewheel_protocol::ResponseHeader;
use tidewheel_protocol::messages::create_topics::CreatableTopic;
use tidewheel_protocol::messages::delete_topics::DeleteTopicState;
use tidewheel_protocol::messages::fetch::{FetchPartition, FetchTopic};
use tidewheel_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use tidewheel_protocol::messages::metadata::MetadataRequestTopic;
use tidewheel_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidewheel_protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use tidewheel_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use tidewheel_protocol::wire::Reader;

use super::*;
use crate::api::{APIS, Reply, dispatch_faulty};
use crate::broker::Broker;
use crate::faults::FaultKind;
use crate::testing;

/// One that clients of every API may be told.
const CODE: ErrorCode = ErrorCode::KafkaStorageError;

struct World {
    broker: Arc<Broker>,
    checked: Vec<ApiKey>,
}

impl World {
    /// In every version that is served, the answer is the error, and can be read.
    async fn refuses<Q: Message, A: Message>(&mut self, request: &Q) -> Vec<A> {
        let api = APIS.iter().find(|api| api.key == Q::KEY).unwrap();
        let mut answers = Vec::new();
        for version in api.served.clone() {
            let call = testing::call(&self.broker, version, request);
            let refused = dispatch_faulty(call, FaultKind::Refuse(CODE)).await;
            let Ok(Reply::Now(Answer::Parts(parts))) = refused else {
                panic!("{:?} {version} is answered at once", Q::KEY)
            };
            let mut reader = Reader::new(parts.concat().split_off(4).into());
            ResponseHeader::decode(&mut reader, Q::KEY, version).unwrap();
            let answer = A::decode(&mut reader, version).unwrap();
            assert_eq!(reader.remaining(), 0, "{:?} {version}", Q::KEY);
            assert_eq!(answer.first_error(), CODE.code(), "{:?} {version}", Q::KEY);
            answers.push(answer);
        }
        self.checked.push(Q::KEY);
        answers
    }
}

fn of_topics() -> (ProduceRequest, FetchRequest, ListOffsetsRequest) {
    let name = StrBytes::from("t");
    let produce = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: name.clone(),
            partition_data: vec![PartitionProduceData::default()],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let fetch = FetchRequest {
        topics: vec![FetchTopic {
            topic: name.clone(),
            partitions: vec![FetchPartition::default()],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let list = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name,
            partitions: vec![ListOffsetsPartition::default()],
        }],
        ..ListOffsetsRequest::default()
    };
    (produce, fetch, list)
}

async fn refuse_requests_of_topics(world: &mut World) {
    let name = StrBytes::from("t");
    let (produce, fetch, list) = of_topics();
    for answer in world.refuses::<_, ProduceResponse>(&produce).await {
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, -1);
    }
    world.refuses::<_, FetchResponse<Bytes>>(&fetch).await;
    world.refuses::<_, ListOffsetsResponse>(&list).await;
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.clone()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    for answer in world.refuses::<_, MetadataResponse>(&metadata).await {
        assert_eq!(answer.brokers.len(), 1, "whom to ask again");
    }
    let epochs = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: name.clone(),
            partitions: vec![OffsetForLeaderPartition::default()],
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    world
        .refuses::<_, OffsetForLeaderEpochResponse>(&epochs)
        .await;
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.clone(),
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    world.refuses::<_, CreateTopicsResponse>(&create).await;
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(name.clone()),
            ..DeleteTopicState::default()
        }],
        topic_names: vec![name],
        ..DeleteTopicsRequest::default()
    };
    for answer in world.refuses::<_, DeleteTopicsResponse>(&delete).await {
        assert_eq!(answer.responses.len(), 1, "each is answered once");
    }
}

async fn refuse_requests_of_groups(world: &mut World) {
    let name = StrBytes::from("g");
    let find = FindCoordinatorRequest {
        key: name.clone(),
        coordinator_keys: vec![name.clone()],
        ..FindCoordinatorRequest::default()
    };
    world.refuses::<_, FindCoordinatorResponse>(&find).await;
    let commit = OffsetCommitRequest {
        topics: vec![OffsetCommitRequestTopic {
            name: name.clone(),
            partitions: vec![OffsetCommitRequestPartition::default()],
        }],
        ..OffsetCommitRequest::default()
    };
    world.refuses::<_, OffsetCommitResponse>(&commit).await;
    let fetch = OffsetFetchRequest {
        topics: Some(vec![OffsetFetchRequestTopic {
            name: name.clone(),
            partition_indexes: vec![0],
        }]),
        groups: vec![OffsetFetchRequestGroup {
            group_id: name,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    world.refuses::<_, OffsetFetchResponse>(&fetch).await;
    let init = InitProducerIdRequest::default();
    world.refuses::<_, InitProducerIdResponse>(&init).await;
    let join = JoinGroupRequest::default();
    world.refuses::<_, JoinGroupResponse>(&join).await;
    let sync = SyncGroupRequest::default();
    world.refuses::<_, SyncGroupResponse>(&sync).await;
    let heartbeat = HeartbeatRequest::default();
    world.refuses::<_, HeartbeatResponse>(&heartbeat).await;
    let leave = LeaveGroupRequest::default();
    world.refuses::<_, LeaveGroupResponse>(&leave).await;
    let heartbeat = ConsumerGroupHeartbeatRequest::default();
    world
        .refuses::<_, ConsumerGroupHeartbeatResponse>(&heartbeat)
        .await;
}

#[tokio::test]
async fn every_refusal_is_an_answer_that_clients_of_every_version_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World {
        broker: testing::broker(dir.path(), &[]),
        checked: Vec::new(),
    };
    refuse_requests_of_topics(&mut world).await;
    refuse_requests_of_groups(&mut world).await;
    for (key, _) in REFUSALS {
        assert!(world.checked.contains(key), "{key:?}");
    }
}

/// A fetch that goes on with a session names nothing, and one of all topics neither.
#[tokio::test]
async fn what_names_nothing_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let going_on = FetchRequest {
        session_id: 7,
        session_epoch: 3,
        ..FetchRequest::default()
    };
    let refused = fetch(going_on, CODE.code());
    assert_eq!((refused.error_code, refused.session_id), (CODE.code(), 0));
    let all = |broker: &Arc<Broker>| {
        let request = MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        };
        let context = testing::call(broker, 13, &request).context;
        metadata(&context, request, CODE.code())
    };
    assert_eq!(all(&broker).error_code, CODE.code());
    testing::create_topic(&broker, "t", 1).await;
    let named = all(&broker);
    assert_eq!((named.error_code, named.topics.len()), (0, 1));
    assert_eq!(named.topics[0].error_code, CODE.code());
}

#[tokio::test]
async fn a_produce_request_that_wants_no_answer_closes_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let (request, _, _) = of_topics();
    let request = ProduceRequest { acks: 0, ..request };
    let call = testing::call(&broker, 9, &request);
    let refused = dispatch_faulty(call, FaultKind::Refuse(CODE)).await;
    assert!(matches!(refused, Ok(Reply::Now(Answer::Close))));
}
