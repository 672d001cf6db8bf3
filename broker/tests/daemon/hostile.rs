//! Bytes from outside that no client would send: an error or a closed connection, in bounded memory,
//! and the next client is served.

use std::io::{Read, Write};

use crate::support::{self, Broker, Client, batch, produce_request};
use bytes::{BufMut, Bytes, BytesMut};
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::{ErrorCode, RequestHeader, encode_request_frame};

fn serves(broker: &Broker) {
    let answer: ApiVersionsResponse = broker.connect().call(0, &ApiVersionsRequest::default());
    assert_eq!(answer.error_code, 0);
}

/// Sends `bytes` on a connection of their own and expects it to be closed without an answer.
fn is_refused(broker: &Broker, bytes: &[u8]) {
    let mut client = broker.connect();
    // The broker may close before all is written.
    let written = client.socket.write_all(bytes);
    assert!(
        client.is_closed_by_broker(),
        "not closed after {bytes:?} ({written:?})"
    );
    serves(broker);
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn header(api_key: i16, api_version: i16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_i16(api_key);
    header.put_i16(api_version);
    header.put_i32(7);
    header.put_i16(-1);
    header
}

#[test]
fn gotcha_08_frames_that_cannot_be_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    for length in [-1, i32::MIN, i32::MAX, 100 * 1024 * 1024 + 1, 0, 1, 7] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 16]);
        is_refused(&broker, &bytes);
    }
    is_refused(&broker, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    is_refused(&broker, &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
}

#[test]
fn gotcha_05_unknown_keys_and_versions_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    for (key, version) in [
        (99, 0),
        (-1, 0),
        (i16::MAX, 0),
        (3, 14),
        (3, -1),
        (0, 2),
        (1, 3),
        (2, 0),
    ] {
        is_refused(&broker, &frame(&header(key, version)));
    }
}

#[test]
fn gotcha_01_an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    // Whatever follows the header, which ends with its tagged fields, is not looked at.
    let mut body = header(18, 77);
    body.put_u8(0);
    body.put_slice(&[0xff; 20]);
    client.socket.write_all(&frame(&body)).unwrap();
    let answer: ApiVersionsResponse = client.receive(0, 7);
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
    let [only] = answer.api_keys.as_slice() else {
        panic!("{:?}", answer.api_keys)
    };
    assert_eq!(
        (only.api_key, only.min_version, only.max_version),
        (18, 0, 4)
    );
    // The connection lives on.
    let answer: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default());
    assert_eq!(answer.error_code, 0);
}

#[test]
fn gotcha_05_08_fact_26_lying_array_lengths_and_truncated_bodies_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    for count in [0x7fff_ffff_u32, 0x0100_0000, 0x8000_0000] {
        let mut body = header(3, 0);
        body.put_u32(count);
        is_refused(&broker, &frame(&body));
    }
    // Every proper prefix of a good request is a bad one.
    let request = RequestHeader {
        api_key: 0,
        api_version: 9,
        correlation_id: 7,
        client_id: None,
    };
    let good = encode_request_frame(&request, &produce_request("t", 0, 1, Some(batch(&["x"]))));
    for len in (8..good.len() - 4).step_by(7) {
        is_refused(&broker, &frame(&good[4..4 + len]));
    }
}

#[test]
fn random_bytes_never_bring_the_broker_down() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..500 {
        let api_key = i16::try_from(next() % 80).unwrap();
        let api_version = i16::try_from(next() % 18).unwrap();
        let mut body = header(api_key, api_version);
        for _ in 0..next() % 64 {
            // Mostly small numbers: they reach deeper than noise does.
            let byte = next();
            body.put_u8(if byte & 0x300 == 0 {
                byte.to_le_bytes()[0]
            } else {
                byte.to_le_bytes()[0] & 3
            });
        }
        let mut client = broker.connect();
        client.socket.write_all(&frame(&body)).unwrap();
        client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        // An answer or none: what matters is that it ends.
        let mut rest = Vec::new();
        let ended = client.socket.read_to_end(&mut rest);
        assert!(ended.is_ok() || round < 500, "{ended:?}");
    }
    serves(&broker);
}

/// Twenty peers announce 99 MB each and send a few bytes: nothing is reserved for them.
#[test]
fn gotcha_08_fact_26_announced_lengths_reserve_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    serves(&broker);
    let before = broker.rss_anon_kib();
    let mut peers: Vec<Client> = (0..20).map(|_| broker.connect()).collect();
    for peer in &mut peers {
        peer.socket
            .write_all(&99_000_000_u32.to_be_bytes())
            .unwrap();
        peer.socket.write_all(&[0; 1_000]).unwrap();
    }
    serves(&broker);
    let grown = broker.rss_anon_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 20 KB of requests");
}

/// Twenty peers send 64 MB each of a request of 99 MB: the pool, and one request that may go on beside it,
/// bound what is held, and a small client still gets in.
#[test]
fn large_requests_of_many_peers_stay_within_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["queued.max.request.bytes=16777216"]);
    serves(&broker);
    let before = broker.rss_anon_kib();
    let chunk = vec![0_u8; 1 << 20];
    let peers: Vec<Client> = (0..20)
        .map(|_| {
            let mut peer = broker.connect();
            peer.socket
                .write_all(&99_000_000_u32.to_be_bytes())
                .unwrap();
            peer.socket.set_nonblocking(true).unwrap();
            peer
        })
        .collect();
    for _ in 0..64 {
        for peer in &peers {
            // A full socket buffer is what is expected once the broker stops reading.
            let written = (&peer.socket).write(&chunk);
            assert!(
                written.is_ok()
                    || written.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            );
        }
        serves(&broker);
    }
    let grown = broker.rss_anon_kib().saturating_sub(before);
    assert!(
        grown < 200 * 1024,
        "{grown} KiB with a pool of 16 MiB and one request beside it"
    );
}

#[test]
fn fact_26_a_thousand_idle_connections_cost_little_and_the_next_client_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    serves(&broker);
    let before = broker.rss_anon_kib();
    let idle: Vec<Client> = (0..1_000).map(|_| broker.connect()).collect();
    let mut client = broker.connect();
    let answer: MetadataResponse = client.call(1, &MetadataRequest::default());
    assert_eq!(answer.brokers.len(), 1);
    let grown = broker.rss_anon_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 1,000 idle connections");
    drop(idle);
}

/// A consumer that asks for much and reads nothing holds no copies of the log.
#[test]
fn slow_readers_cost_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("slow", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        assert_eq!(client.produce("slow", 0, 1, batch(&[&value])).error_code, 0);
    }
    let before = broker.rss_anon_kib();
    let mut slow: Vec<Client> = (0..50).map(|_| broker.connect()).collect();
    for peer in &mut slow {
        for _ in 0..5 {
            let mut request = support::fetch_request("slow", 0, 0);
            request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
            peer.send(11, &request);
        }
    }
    serves(&broker);
    assert_eq!(client.consume("slow", 0, 0).len(), 20);
    let grown = broker.rss_anon_kib().saturating_sub(before);
    assert!(
        grown < 32 * 1024,
        "{grown} KiB for 50 readers that ask for 4.5 GB"
    );
}

#[test]
fn fact_26_a_request_that_is_cut_off_frees_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    for _ in 0..50 {
        let mut client = broker.connect();
        client.socket.write_all(&1_000_u32.to_be_bytes()).unwrap();
        client
            .socket
            .write_all(&Bytes::from_static(&[0; 500]))
            .unwrap();
        drop(client);
    }
    serves(&broker);
}
