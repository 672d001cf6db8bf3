//! Frames of real clients and of Apache Kafka: read whole, and written again byte for byte.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidewheel_protocol::messages::{
    api_versions, consumer_group_describe, consumer_group_heartbeat, create_topics, delete_groups,
    delete_topics, describe_cluster, describe_configs, describe_groups, fetch, find_coordinator,
    heartbeat, init_producer_id, join_group, leave_group, list_groups, list_offsets, metadata,
    offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, produce, sync_group,
};
use tidewheel_protocol::{
    Message, Reader, RequestHeader, decode_request_frame, decode_response_frame,
    encode_request_frame, encode_response_frame,
};

/// The bytes of the 4-byte length that starts each file.
const LENGTH: usize = 4;

fn folder(api: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/frames")
        .join(api)
}

fn read(path: &Path) -> Bytes {
    Bytes::from(std::fs::read(path).expect("a recorded frame"))
}

/// Every exchange of one API: decoded and encoded again, both ways.
fn check<Q: Message, A: Message>(api: &str) {
    let mut exchanges = 0;
    for entry in std::fs::read_dir(folder(api)).expect("a folder of frames") {
        let path = entry.expect("an entry").path();
        let name = path.to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix("-request.bin") else {
            continue;
        };
        exchanges += 1;
        let request = read(&path);
        let (header, decoded) = decode_request_frame::<Q>(request.slice(LENGTH..)).expect(&name);
        assert_eq!(encode_request_frame(&header, &decoded), request, "{name}");

        let response = read(Path::new(&format!("{stem}-response.bin")));
        let version = header.api_version;
        let (answered, decoded) =
            decode_response_frame::<A>(response.slice(LENGTH..), version).expect(&name);
        assert_eq!(answered.correlation_id, header.correlation_id, "{name}");
        let again = encode_response_frame(version, answered.correlation_id, &decoded);
        assert_eq!(again, response, "{name}");
    }
    assert!(exchanges > 0, "no frames of {api}");
}

macro_rules! frames {
    ($($api:ident: $request:ty, $response:ty;)*) => {
        $(
            #[test]
            fn $api() {
                check::<$request, $response>(stringify!($api));
            }
        )*
        const APIS: &[&str] = &[$(stringify!($api)),*];
    };
}

frames! {
    api_versions: api_versions::ApiVersionsRequest, api_versions::ApiVersionsResponse;
    consumer_group_describe: consumer_group_describe::ConsumerGroupDescribeRequest, consumer_group_describe::ConsumerGroupDescribeResponse;
    consumer_group_heartbeat: consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
    create_topics: create_topics::CreateTopicsRequest, create_topics::CreateTopicsResponse;
    delete_groups: delete_groups::DeleteGroupsRequest, delete_groups::DeleteGroupsResponse;
    delete_topics: delete_topics::DeleteTopicsRequest, delete_topics::DeleteTopicsResponse;
    describe_cluster: describe_cluster::DescribeClusterRequest, describe_cluster::DescribeClusterResponse;
    describe_configs: describe_configs::DescribeConfigsRequest, describe_configs::DescribeConfigsResponse;
    describe_groups: describe_groups::DescribeGroupsRequest, describe_groups::DescribeGroupsResponse;
    fetch: fetch::FetchRequest, fetch::FetchResponse<Bytes>;
    find_coordinator: find_coordinator::FindCoordinatorRequest, find_coordinator::FindCoordinatorResponse;
    heartbeat: heartbeat::HeartbeatRequest, heartbeat::HeartbeatResponse;
    init_producer_id: init_producer_id::InitProducerIdRequest, init_producer_id::InitProducerIdResponse;
    join_group: join_group::JoinGroupRequest, join_group::JoinGroupResponse;
    leave_group: leave_group::LeaveGroupRequest, leave_group::LeaveGroupResponse;
    list_groups: list_groups::ListGroupsRequest, list_groups::ListGroupsResponse;
    list_offsets: list_offsets::ListOffsetsRequest, list_offsets::ListOffsetsResponse;
    metadata: metadata::MetadataRequest, metadata::MetadataResponse;
    offset_commit: offset_commit::OffsetCommitRequest, offset_commit::OffsetCommitResponse;
    offset_delete: offset_delete::OffsetDeleteRequest, offset_delete::OffsetDeleteResponse;
    offset_fetch: offset_fetch::OffsetFetchRequest, offset_fetch::OffsetFetchResponse;
    offset_for_leader_epoch: offset_for_leader_epoch::OffsetForLeaderEpochRequest,
        offset_for_leader_epoch::OffsetForLeaderEpochResponse;
    produce: produce::ProduceRequest, produce::ProduceResponse;
    sync_group: sync_group::SyncGroupRequest, sync_group::SyncGroupResponse;
}

/// No folder is left out, and each file lies where its header says.
#[test]
fn every_file_is_read() {
    for entry in std::fs::read_dir(folder(".")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        let api = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        assert!(APIS.contains(&api.as_str()), "nothing reads {api}");
        for file in std::fs::read_dir(&path).expect("a folder of frames") {
            let file = file.expect("an entry").path();
            let name = file.to_string_lossy().into_owned();
            if name.ends_with("-request.bin") {
                let mut reader = Reader::new(read(&file).slice(LENGTH..));
                let header = RequestHeader::decode(&mut reader).expect(&name);
                assert!(
                    name.contains(&format!("-v{}-", header.api_version)),
                    "{name}"
                );
            }
        }
    }
}
