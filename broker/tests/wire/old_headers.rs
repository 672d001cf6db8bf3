//! Batches whose header contradicts itself, as sarama before 1.45.1 sends them: the largest timestamp is
//! below that of the first record.

use crate::support::{self, Broker, batches, fetch_request, now_ms};
use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::{Compression, ErrorCode, RecordBatch, RecordBatchBuilder};

fn without_maximum(builder: &RecordBatchBuilder) -> Bytes {
    let batch = builder.build().unwrap();
    let mut header = batch.header;
    header.max_timestamp = -1;
    RecordBatch::assemble(header, &batch.records_bytes())
        .unwrap()
        .bytes
}

#[test]
fn fact_11_consumers_see_the_true_maximum_as_with_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let now = now_ms();
    for (offset, compression) in (0..).step_by(2).zip(Compression::ALL) {
        let builder = RecordBatchBuilder::new()
            .compression(compression)
            .record(now, None, Some(b"first"))
            .record(now + 7, None, Some(b"second"));
        let answer = client.produce("t", 0, 1, without_maximum(&builder));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
        let answer: FetchResponse<Bytes> = client.call(11, &fetch_request("t", 0, offset));
        let records = answer.responses[0].partitions[0].records.clone();
        let stored = batches(records.unwrap()).remove(0);
        assert_eq!(stored.header.max_timestamp, now + 7, "{compression:?}");
    }
    assert_eq!(client.consume("t", 0, 0).len(), 10);
}

/// A few kilobytes that become 100 MiB: refused, in memory that one batch of the topic explains.
#[test]
fn fact_28_a_bomb_that_must_be_walked_is_refused_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    let zeros = vec![0; 100 << 20];
    let builder = RecordBatchBuilder::new()
        .compression(Compression::Zstd)
        .record(now_ms(), None, Some(&zeros));
    let bomb = without_maximum(&builder);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    let before = broker.rss_peak_kib();
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let mut peer = broker.connect();
            let request = support::produce_request("t", 0, 1, Some(bomb.clone()));
            let sent = peer.send(9, &request);
            (peer, sent)
        })
        .collect();
    let mut beside = broker.connect();
    let code = beside
        .produce("t", 0, 1, support::batch(&["beside"]))
        .error_code;
    assert_eq!(code, 0);
    for (mut peer, sent) in requests {
        let answer: tidewheel_protocol::messages::produce::ProduceResponse = peer.receive(9, sent);
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::InvalidRecord.code());
    }
    let grown = broker.rss_peak_kib().saturating_sub(before);
    assert!(
        grown < 80 * 1024,
        "{grown} KiB for batches of 1 MiB at most"
    );
}
