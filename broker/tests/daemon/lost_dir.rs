//! A broker one of whose data directories is not there at a start: what clients are told of what lies in it.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::support::groups::{codes, commit_request, committed, fetch_offsets, find};
use crate::support::http::send;
use crate::support::{Broker, Client, batch, eventually, fetch_request, tidewheel};

const PARTITIONS: i32 = 4;
const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

fn start(one: &Path, two: &Path) -> Broker {
    let dirs = format!("log.dirs={},{}", one.display(), two.display());
    let settings = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "tidewheel.admin.listen=127.0.0.1:0",
        "offsets.topic.num.partitions=2",
        &dirs,
    ];
    let mut arguments = vec!["serve"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Broker::spawn_as_is(&mut tidewheel(&arguments), one)
}

/// Every partition holds a record, every group an offset.
fn fill(client: &mut Client) {
    client.create_topic("t", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        assert_eq!(
            client.produce("t", partition, -1, batch(&["v"])).error_code,
            0
        );
    }
    for group in GROUPS {
        eventually("the group has a coordinator", || {
            find(client, &[group]).coordinators[0].error_code == 0
        });
        eventually("an offset is committed", || {
            let request = commit_request(group, "t", &[(0, 1, "")]);
            codes(&client.call::<_, OffsetCommitResponse>(8, &request)) == [0]
        });
    }
}

/// Who asks as Redpanda's tools do is told that nobody leads a partition.
fn assert_leaderless(broker: &Broker, partition: i32) {
    let health = send(broker, "GET", "/v1/cluster/health_overview", &[], "").good();
    let named = health["leaderless_partitions"].as_array().unwrap();
    let partition = json!(format!("kafka/t/{partition}"));
    assert!(named.contains(&partition), "{health}");
    assert_eq!(
        (&health["is_healthy"], &health["leaderless_count"]),
        (&json!(false), &json!(named.len()))
    );
}

/// What a client is told that produces, fetches, and asks for the end of a partition and of an epoch.
fn told(client: &mut Client, partition: i32) -> [i16; 4] {
    let produced = client.produce("t", partition, -1, batch(&["w"])).error_code;
    let fetched: FetchResponse<Bytes> = client.call(11, &fetch_request("t", partition, 0));
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from("t"),
            partitions: vec![ListOffsetsPartition {
                partition_index: partition,
                timestamp: -1,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let listed: ListOffsetsResponse = client.call(7, &request);
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: StrBytes::from("t"),
            partitions: vec![OffsetForLeaderPartition {
                partition,
                current_leader_epoch: -1,
                ..OffsetForLeaderPartition::default()
            }],
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    let ended: OffsetForLeaderEpochResponse = client.call(4, &request);
    [
        produced,
        fetched.responses[0].partitions[0].error_code,
        listed.topics[0].partitions[0].error_code,
        ended.topics[0].partitions[0].error_code,
    ]
}

fn offset_fetch_code(client: &mut Client, group: &str) -> i16 {
    fetch_offsets(client, group).error_code
}

/// The second disk is not mounted: in its place is an empty directory.
#[test]
fn what_lies_in_a_directory_that_is_lost_at_a_start_is_offline_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let broker = start(&one, &two);
    fill(&mut broker.connect());
    assert!(broker.stop());
    let is_lost = |name: String| two.join(name).exists();
    let lost: Vec<_> = (0..PARTITIONS)
        .filter(|at| is_lost(format!("t-{at}")))
        .collect();
    assert_eq!(lost.len(), 2, "half of them");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&two, &elsewhere).unwrap();
    std::fs::create_dir(&two).unwrap();

    let broker = start(&one, &two);
    let mut client = broker.connect();
    for partition in 0..PARTITIONS {
        let expected = match lost.contains(&partition) {
            true => ErrorCode::KafkaStorageError.code(),
            false => 0,
        };
        assert_eq!(told(&mut client, partition), [expected; 4], "{partition}");
    }
    let mut without = 0;
    for group in GROUPS {
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        eventually("its offsets are read, or are not there", || {
            offset_fetch_code(&mut client, group) != loading
        });
        match offset_fetch_code(&mut client, group) {
            // Nobody is told that nothing was committed.
            0 => assert_eq!(committed(&mut client, group).len(), 1, "{group}"),
            _ => without += 1,
        }
    }
    assert!((1..GROUPS.len()).contains(&without), "{without}");
    // Nobody is sent to an end that is not known.
    let mut groups = GROUPS.into_iter();
    let group = groups.find(|group| offset_fetch_code(&mut client, group) == 0);
    let path = format!("/v1/groups/{}/offsets:seek", group.unwrap());
    let content = [
        ("content-type", "application/json"),
        ("x-requested-with", "test"),
    ];
    let topics = json!([{"topic": "t", "partitions": [lost[0]]}]);
    let body = json!({"to": "end", "topics": topics}).to_string();
    let refused = send(&broker, "POST", &path, &content, &body).problem(503);
    assert!(
        refused["detail"].as_str().unwrap().contains("two"),
        "{refused}"
    );
    assert_leaderless(&broker, lost[0]);
    broker.stop();
    assert_eq!(std::fs::read_dir(&two).unwrap().count(), 0);

    std::fs::remove_dir(&two).unwrap();
    std::fs::rename(&elsewhere, &two).unwrap();
    let broker = start(&one, &two);
    let mut client = broker.connect();
    for partition in 0..PARTITIONS {
        let records = client.consume("t", partition, 0).len();
        let written = if lost.contains(&partition) { 1 } else { 2 };
        assert_eq!(records, written, "{partition}");
    }
    for group in GROUPS {
        eventually("its offsets are read", || {
            offset_fetch_code(&mut client, group) == 0
        });
        assert_eq!(committed(&mut client, group).len(), 1, "{group}");
    }
    assert!(broker.stop());
}
