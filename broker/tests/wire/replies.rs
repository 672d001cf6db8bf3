//! Replies as frames: their headers, their order, and what stands in all of them.

use std::time::Duration;

use crate::support::consumers::join;
use crate::support::groups::{codes, commit_request, find};
use crate::support::{
    self, Broker, Client, PATIENCE, batch, fetch_request, metadata_topic, produce_request,
};
use bytes::Bytes;
use tidewheel_protocol::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use tidewheel_protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse,
};
use tidewheel_protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use tidewheel_protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use tidewheel_protocol::messages::fetch::{FetchPartition, FetchResponse};
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tidewheel_protocol::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use tidewheel_protocol::messages::produce::ProduceResponse;
use tidewheel_protocol::{ErrorCode, Message, StrBytes, Uuid};

fn broker() -> (Broker, Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let client = broker.connect();
    (broker, client, dir)
}

/// What stands behind the correlation id.
fn after_correlation_id<Q: Message>(client: &mut Client, version: i16, request: &Q) -> Vec<u8> {
    let correlation_id = client.send(version, request);
    let frame = client.read_frame().unwrap();
    assert_eq!(frame[..4], correlation_id.to_be_bytes());
    frame[4..].to_vec()
}

/// Clients read it before they know what the broker speaks: it never has tagged fields.
#[test]
fn gotcha_02_the_reply_to_api_versions_has_the_oldest_header() {
    let (_broker, mut client, _dir) = broker();
    for version in 0..=4 {
        let asked = ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1".into(),
        };
        let body = after_correlation_id(&mut client, version, &asked);
        // The error code, then the count of keys: compact from version 3 on, which adds one.
        let (error, count) = body.split_at(2);
        assert_eq!(error, [0, 0], "version {version}");
        match version {
            0..3 => assert_eq!(count[..3], [0, 0, 0]),
            _ => assert!(count[0] > 15 && count[0] < 127, "{}", count[0]),
        }
    }
    let body = after_correlation_id(&mut client, 9, &MetadataRequest::default());
    assert_eq!(body[..5], [0; 5], "no tagged fields, then no throttling");
    assert_eq!(body[5], 2, "one broker");
}

fn is_silent(client: &mut Client) {
    let socket = &client.socket;
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(socket.peek(&mut [0]).is_err());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn gotcha_07_33_a_waiting_fetch_holds_back_the_replies_behind_it() {
    let (broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[]);
    let mut fetch = fetch_request("t", 0, 0);
    (fetch.max_wait_ms, fetch.min_bytes) = (i32::MAX, 1);
    let fetched = client.send(11, &fetch);
    let versions = client.send(0, &ApiVersionsRequest::default());
    let described = client.send(9, &MetadataRequest::default());
    is_silent(&mut client);
    broker.connect().produce("t", 0, -1, batch(&["x"]));
    let fetched: FetchResponse<Bytes> = client.receive(11, fetched);
    let records = fetched.responses[0].partitions[0].records.clone();
    assert_eq!(support::batches(records.unwrap()).len(), 1);
    let versions: ApiVersionsResponse = client.receive(0, versions);
    assert_eq!(versions.error_code, 0);
    let described: MetadataResponse = client.receive(9, described);
    assert_eq!(described.brokers.len(), 1);
}

/// Where Kafka lets a producer wait for the fetch before it, the fetch is ended; what comes first is
/// answered first all the same.
#[test]
fn gotcha_07_a_produce_behind_a_waiting_fetch_does_not_overtake_it() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[]);
    client.create_topic("other", 1, &[]);
    let mut fetch = fetch_request("t", 0, 0);
    (fetch.max_wait_ms, fetch.min_bytes) = (i32::MAX, 1);
    for offset in 0..5 {
        let fetched = client.send(11, &fetch);
        let acks = if offset % 2 == 0 { 1 } else { -1 };
        let request = produce_request("other", 0, acks, Some(batch(&["x"])));
        let produced = client.send(9, &request);
        let fetched: FetchResponse<Bytes> = client.receive(11, fetched);
        assert_eq!(fetched.responses[0].partitions[0].error_code, 0);
        let produced: ProduceResponse = client.receive(9, produced);
        let partition = &produced.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset));
    }
}

/// One partition has an error to tell: the other, which would wait for ever, is answered with it.
#[test]
fn gotcha_33_34_an_offset_outside_the_log_ends_the_wait() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 2, &[]);
    for outside in [1, -1] {
        let mut fetch = fetch_request("t", 0, 0);
        (fetch.max_wait_ms, fetch.min_bytes) = (i32::MAX, 1);
        fetch.topics[0].partitions.push(FetchPartition {
            partition: 1,
            fetch_offset: outside,
            ..FetchPartition::default()
        });
        let answer: FetchResponse<Bytes> = client.call(11, &fetch);
        let partitions = answer.responses[0].partitions.iter();
        let codes: Vec<i16> = partitions.map(|one| one.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::OffsetOutOfRange.code()]);
    }
}

macro_rules! throttled {
    ($client:ident, $($version:literal $request:expr => $response:ty),+ $(,)?) => {
        $({
            let answer: $response = $client.call($version, &$request);
            assert_eq!(answer.throttle_time_ms, 0, stringify!($response));
        })+
    };
}

/// There are no quotas: nobody is ever told to wait.
#[test]
fn gotcha_10_no_reply_asks_its_client_to_wait() {
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[]);
    for _ in 0..20 {
        throttled!(client,
            9 produce_request("t", 0, 1, Some(batch(&["x"]))) => ProduceResponse,
            11 fetch_request("t", 0, 0) => FetchResponse<Bytes>,
            6 ListOffsetsRequest::default() => ListOffsetsResponse,
            9 MetadataRequest::default() => MetadataResponse,
            2 ApiVersionsRequest::default() => ApiVersionsResponse,
            7 CreateTopicsRequest::default() => CreateTopicsResponse,
            5 DeleteTopicsRequest::default() => DeleteTopicsResponse,
            4 InitProducerIdRequest::default() => InitProducerIdResponse,
            4 OffsetForLeaderEpochRequest::default() => OffsetForLeaderEpochResponse,
            4 DescribeConfigsRequest::default() => DescribeConfigsResponse,
            2 AlterConfigsRequest::default() => AlterConfigsResponse,
            1 DescribeClusterRequest::default() => DescribeClusterResponse,
            4 DescribeLogDirsRequest::default() => DescribeLogDirsResponse,
        );
    }
}

/// As Kafka tells it that has no authorizer: in bits, and to those who ask.
#[test]
fn gotcha_19_without_an_authorizer_clients_may_do_everything() {
    const NOT_ASKED: i32 = i32::MIN;
    const CLUSTER: i32 = 8_096;
    const TOPIC: i32 = 3_576;
    let (_broker, mut client, _dir) = broker();
    client.create_topic("t", 1, &[]);
    let mut request = MetadataRequest {
        topics: Some(vec![metadata_topic("t"), metadata_topic("none")]),
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    for version in 8..=13 {
        let answer: MetadataResponse = client.call(version, &request);
        let cluster = if version <= 10 { CLUSTER } else { NOT_ASKED };
        assert_eq!(answer.cluster_authorized_operations, cluster);
        for topic in answer.topics {
            assert_eq!(topic.topic_authorized_operations, TOPIC, "{:?}", topic.name);
        }
    }
    let with_id = |topic_id| MetadataRequestTopic {
        topic_id,
        ..MetadataRequestTopic::default()
    };
    let answer: MetadataResponse = client.call(12, &request);
    let id = answer.topics[0].topic_id;
    request.topics = Some(vec![with_id(id), with_id(Uuid([7; 16]))]);
    let answer: MetadataResponse = client.call(12, &request);
    let told = answer
        .topics
        .iter()
        .map(|topic| topic.topic_authorized_operations);
    assert_eq!(told.collect::<Vec<_>>(), [TOPIC, NOT_ASKED]);
    request.include_topic_authorized_operations = false;
    request.include_cluster_authorized_operations = false;
    let answer: MetadataResponse = client.call(10, &request);
    assert_eq!(answer.cluster_authorized_operations, NOT_ASKED);
    assert_eq!(answer.topics[0].topic_authorized_operations, NOT_ASKED);
    for (is_asked, operations) in [(true, CLUSTER), (false, NOT_ASKED)] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: is_asked,
            ..DescribeClusterRequest::default()
        };
        let answer: DescribeClusterResponse = client.call(1, &request);
        assert_eq!(answer.cluster_authorized_operations, operations);
    }
    let request = DescribeTopicPartitionsRequest {
        topics: ["none", "t"]
            .map(|name| TopicRequest {
                name: StrBytes::from(name),
            })
            .into(),
        ..DescribeTopicPartitionsRequest::default()
    };
    let answer: DescribeTopicPartitionsResponse = client.call(0, &request);
    assert_eq!(answer.topics.len(), 2);
    for topic in answer.topics {
        assert_eq!(topic.topic_authorized_operations, TOPIC, "asked or not");
    }
}

/// The same of groups: of those that there are, and where an answer is that a group has no members.
#[test]
fn gotcha_19_without_an_authorizer_clients_may_do_everything_with_groups() {
    const NOT_ASKED: i32 = i32::MIN;
    const GROUP: i32 = 3_400;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    find(&mut client, &["newer"]);
    client.create_topic("t", 1, &[]);
    join(&mut client, "newer", "m", &["t"]);
    let answer: OffsetCommitResponse =
        client.call(8, &commit_request("classic", "t", &[(0, 1, "")]));
    assert_eq!(codes(&answer), [0]);
    let names = || ["classic", "newer"].map(StrBytes::from).to_vec();
    let told = |is_asked, operations: [i32; 2]| match is_asked {
        true => operations,
        false => [NOT_ASKED; 2],
    };
    for is_asked in [true, false] {
        let request = DescribeGroupsRequest {
            groups: names(),
            include_authorized_operations: is_asked,
        };
        // Before version 6 one that is none is no error.
        for (version, expected) in [(3, [GROUP; 2]), (5, [GROUP; 2]), (6, [GROUP, NOT_ASKED])] {
            let answer: DescribeGroupsResponse = client.call(version, &request);
            let groups = answer
                .groups
                .iter()
                .map(|group| group.authorized_operations);
            assert_eq!(groups.collect::<Vec<_>>(), told(is_asked, expected));
        }
        let request = ConsumerGroupDescribeRequest {
            group_ids: names(),
            include_authorized_operations: is_asked,
        };
        let answer: ConsumerGroupDescribeResponse = client.call(1, &request);
        let groups = answer
            .groups
            .iter()
            .map(|group| group.authorized_operations);
        let expected = told(is_asked, [NOT_ASKED, GROUP]);
        assert_eq!(groups.collect::<Vec<_>>(), expected);
    }
}
