//! Fetches of more partitions than anybody has, which wait for as long as the protocol can say.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use tidewheel_protocol::{ApiKey, RequestHeader, StrBytes, encode_request_frame};

use crate::case::is_served;
use crate::support::{Broker, Client};

/// A topic with as many partitions as one may have.
const WIDE: i32 = 10_000;
/// As many as a request can name: more than the broker looks up at once.
const MOST: i32 = 600_000;
/// About as many as it does.
const MANY: i32 = 30_000;

fn fetch(topic: &str, partitions: impl Iterator<Item = i32>, session_epoch: i32) -> Bytes {
    let partition = |partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: 1 << 20,
        session_epoch,
        topics: vec![FetchTopic {
            topic: StrBytes::from(topic),
            partitions: partitions.map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let header = RequestHeader {
        api_key: ApiKey::Fetch.code(),
        api_version: 7,
        correlation_id: 1,
        client_id: None,
    };
    encode_request_frame(&header, &request)
}

/// What waits for bytes that never come, or is not read.
fn requests() -> Vec<Bytes> {
    let same = |count| (0..count).map(|_| 0);
    vec![
        fetch("none", 0..MOST, -1),
        fetch("wide", same(MOST), -1),
        fetch("none", 0..MANY, -1),
        fetch("wide", same(MANY), -1),
        fetch("wide", 0..WIDE, -1),
        // With a session each.
        fetch("none", 0..MANY, 0),
        fetch("wide", 0..WIDE, 0),
    ]
}

/// Twenty peers each send every one of them over a connection of its own, two at a time, and read nothing.
pub(crate) fn of_more_partitions_than_there_are(broker: &Broker) -> Vec<Client> {
    broker.connect().create_topic("wide", WIDE, &[]);
    let mut peers = Vec::new();
    for request in requests() {
        for _ in 0..20 {
            let peer = broker.connect();
            // Those that ask for too much are closed, and others not read while much is under way.
            let patience = Some(Duration::from_millis(100));
            peer.socket.set_write_timeout(patience).unwrap();
            for _ in 0..2 {
                if (&peer.socket).write_all(&request).is_err() {
                    break;
                }
            }
            peers.push(peer);
        }
        is_served(broker);
    }
    peers
}
