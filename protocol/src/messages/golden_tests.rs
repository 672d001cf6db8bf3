//! The versions that the oracle does not know. The bytes are what Kafka 3.9.2's own classes, the last
//! to have these versions, write for the same values.

use super::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use super::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use super::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult,
};
use super::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use super::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
};
use super::tests::{check_golden, encoded};

#[test]
fn create_topics_0_and_1() {
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 2,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let mut create = CreateTopicsRequest {
        topics: vec![topic],
        ..CreateTopicsRequest::default()
    };
    let bytes = b"\0\0\0\x01\0\x01t\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\0\0\xEA\x60";
    check_golden(&create, 0, bytes);
    create.validate_only = true;
    check_golden(&create, 1, &[&bytes[..], b"\x01"].concat());

    let created = CreatableTopicResult {
        name: "t".into(),
        error_code: 36,
        error_message: Some("x".into()),
        ..CreatableTopicResult::default()
    };
    let created = CreateTopicsResponse {
        topics: vec![created],
        throttle_time_ms: 0,
    };
    check_golden(&created, 1, b"\0\0\0\x01\0\x01t\0\x24\0\x01x");
    // Version 0 has no message.
    assert_eq!(encoded(&created, 0), b"\0\0\0\x01\0\x01t\0\x24"[..]);
}

#[test]
fn delete_topics_0() {
    let delete = DeleteTopicsRequest {
        topic_names: vec!["a".into(), "b".into()],
        timeout_ms: 7,
        ..DeleteTopicsRequest::default()
    };
    check_golden(&delete, 0, b"\0\0\0\x02\0\x01a\0\x01b\0\0\0\x07");

    let deleted = DeletableTopicResult {
        name: Some("a".into()),
        error_code: 3,
        ..DeletableTopicResult::default()
    };
    let deleted = DeleteTopicsResponse {
        responses: vec![deleted],
        throttle_time_ms: 0,
    };
    check_golden(&deleted, 0, b"\0\0\0\x01\0\x01a\0\x03");
}

#[test]
fn offset_for_leader_epoch_0_and_1() {
    let partition = OffsetForLeaderPartition {
        partition: 5,
        leader_epoch: 4,
        ..OffsetForLeaderPartition::default()
    };
    let topic = OffsetForLeaderTopic {
        topic: "t".into(),
        partitions: vec![partition],
    };
    let ask = OffsetForLeaderEpochRequest {
        topics: vec![topic],
        ..OffsetForLeaderEpochRequest::default()
    };
    for version in [0, 1] {
        let bytes = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0\0\x04";
        check_golden(&ask, version, bytes);
    }

    let mut end = EpochEndOffset {
        partition: 5,
        end_offset: 9,
        ..EpochEndOffset::default()
    };
    let answer = |end: &EpochEndOffset| OffsetForLeaderEpochResponse {
        topics: vec![OffsetForLeaderTopicResult {
            topic: "t".into(),
            partitions: vec![end.clone()],
        }],
        throttle_time_ms: 0,
    };
    let head = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\x05";
    let tail = b"\0\0\0\0\0\0\0\x09";
    check_golden(&answer(&end), 0, &[&head[..], tail].concat());
    end.leader_epoch = 4;
    check_golden(&answer(&end), 1, &[&head[..], b"\0\0\0\x04", tail].concat());
}

#[test]
fn describe_configs_0() {
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "t".into(),
        configuration_keys: Some(vec!["n".into()]),
    };
    let describe = DescribeConfigsRequest {
        resources: vec![resource],
        ..DescribeConfigsRequest::default()
    };
    check_golden(&describe, 0, b"\0\0\0\x01\x02\0\x01t\0\0\0\x01\0\x01n");
    let config = DescribeConfigsResourceResult {
        name: "n".into(),
        value: None,
        read_only: true,
        is_default: true,
        is_sensitive: true,
        ..DescribeConfigsResourceResult::default()
    };
    let result = DescribeConfigsResult {
        error_message: None,
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![config],
        ..DescribeConfigsResult::default()
    };
    let describe = DescribeConfigsResponse {
        results: vec![result],
        throttle_time_ms: 0,
    };
    let bytes = b"\0\0\0\0\0\0\0\x01\0\0\xFF\xFF\x02\0\x01t\0\0\0\x01\0\x01n\xFF\xFF\x01\x01\x01";
    check_golden(&describe, 0, bytes);
}

#[test]
fn offset_commit_1() {
    let partition = |index, offset, timestamp, metadata| OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        commit_timestamp: timestamp,
        committed_metadata: metadata,
        ..OffsetCommitRequestPartition::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: vec![
            partition(5, 9, 7, Some("x".into())),
            partition(6, 10, -1, None),
        ],
    };
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    let head = b"\0\x01g\0\0\0\x03\0\x01m\0\0\0\x01\0\x01t\0\0\0\x02";
    let first = b"\0\0\0\x05\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x07\0\x01x";
    let second = b"\0\0\0\x06\0\0\0\0\0\0\0\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    check_golden(&commit, 1, &[&head[..], first, second].concat());

    let committed = OffsetCommitResponsePartition {
        partition_index: 5,
        error_code: 22,
    };
    let committed = OffsetCommitResponse {
        topics: vec![OffsetCommitResponseTopic {
            name: "t".into(),
            partitions: vec![committed],
        }],
        throttle_time_ms: 0,
    };
    let bytes = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\x16";
    check_golden(&committed, 1, bytes);
}
