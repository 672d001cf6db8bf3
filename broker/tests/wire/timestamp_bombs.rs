//! Batches that are small on the wire and on disk and huge when they are opened: look-ups by time open
//! what clients sent.

use crate::support::{Broker, Client, batch, now_ms};
use bytes::Bytes;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::{Compression, RecordBatchBuilder};

/// What two batches may take that are opened at the same time, and some room.
const BOUND_KIB: u64 = 256 * 1024;

fn asked(timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    }
}

fn found(answer: &ListOffsetsResponse) -> (i16, i64, i64) {
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

/// Of two records, of which the second, in 120 MiB of zeros, has the larger time.
fn bomb(at: i64, codec: Compression) -> Bytes {
    let builder = RecordBatchBuilder::new()
        .compression(codec)
        .record(at, None, Some(&vec![0; 120 << 20]))
        .record(at + 1, None, None);
    builder.build().unwrap().bytes
}

#[test]
fn fact_28_look_ups_by_time_open_bombs_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let at = now_ms() + 600_000;
    let bomb = bomb(at, Compression::Zstd);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    assert_eq!(client.produce("t", 0, 1, bomb).error_code, 0);
    let before = broker.rss_peak_kib();
    let mut peers: Vec<(Client, i32)> = (0..16)
        .map(|number| {
            let mut peer = broker.connect();
            // The record with the largest time, and the first from a time on.
            let sent = peer.send(7, &asked([-3, at + 1][number % 2]));
            (peer, sent)
        })
        .collect();
    let beside = broker.connect().produce("t", 0, 1, batch(&["beside"]));
    assert_eq!(beside.error_code, 0);
    for (peer, sent) in &mut peers {
        let told = found(&peer.receive(7, *sent));
        assert_eq!(told, (0, 1, at + 1));
    }
    let grown = broker.rss_peak_kib().saturating_sub(before);
    assert!(
        grown < BOUND_KIB,
        "{grown} KiB for look-ups by sixteen clients"
    );
}
