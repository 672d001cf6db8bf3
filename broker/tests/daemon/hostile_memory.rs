//! Many hostile peers at a time: what the process holds in memory stays below 256 MiB, a well-behaved
//! client is served beside them, and nothing is left when they are gone.

use std::io::Write;

use crate::support::{self, Broker, Client, batch, eventually, fetch_request};
use tidewheel_protocol::Message;
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

const BOUND_KIB: u64 = 256 * 1024;

/// Connections that each send the same requests and read nothing.
fn unread<Q: Message>(broker: &Broker, peers: usize, version: i16, request: &Q) -> Vec<Client> {
    let connect = |_| {
        let mut peer = broker.connect_narrow();
        for _ in 0..3 {
            peer.send(version, request);
        }
        peer
    };
    (0..peers).map(connect).collect()
}

fn announcing(broker: &Broker) -> Client {
    let mut peer = broker.connect();
    peer.socket
        .write_all(&99_000_000_u32.to_be_bytes())
        .unwrap();
    peer.socket.write_all(&[0; 200_000]).unwrap();
    peer
}

/// Describes, produces and consumes.
fn is_served(broker: &Broker) {
    let mut client = broker.connect();
    let request = MetadataRequest {
        topics: Some(vec![support::metadata_topic("small")]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    assert_eq!(answer.topics[0].error_code, 0);
    let produced = client.produce("small", 0, -1, batch(&["v"]));
    assert_eq!(produced.error_code, 0);
    let read = client.consume("small", 0, produced.base_offset);
    assert_eq!(&read[0].value[..], b"v");
}

/// Whether memory stays within the bound while the broker takes in what it was sent.
fn stays_bounded(broker: &Broker, what: &str) {
    for _ in 0..20 {
        is_served(broker);
        let held = broker.rss_anon_kib();
        assert!(held < BOUND_KIB, "{held} KiB with {what}");
    }
}

#[test]
fn fact_26_peers_that_send_little_or_read_nothing_stay_within_bounds_together() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("small", 1, &[]);
    client.create_topic("full", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        let answer = client.produce("full", 0, 1, batch(&[&value]));
        assert_eq!(answer.error_code, 0);
    }
    let base = broker.open_files();
    let idle: Vec<Client> = (0..1_000).map(|_| broker.connect()).collect();
    eventually("all are accepted", || {
        broker.open_files() >= base + idle.len()
    });
    // These are not counted: the broker hangs up on them after a while, on a slow machine before
    // the last one is there.
    let announcing: Vec<Client> = (0..20).map(|_| announcing(&broker)).collect();
    let mut fetch = fetch_request("full", 0, 0);
    fetch.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let fetching = unread(&broker, 100, 11, &fetch);
    stays_bounded(&broker, "idle, announcing and fetching peers");
    drop((idle, announcing, fetching));
    // The mapped segments of a log stay open.
    eventually("all are let go of", || broker.open_files() <= base + 5);
}
