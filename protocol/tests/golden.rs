//! Record batches that Kafka's Java client and kafka-python wrote are read as what was put into them.

use bytes::Bytes;
use tidewheel_protocol::{Compression, Record, RecordBatch, RecordHeader, TimestampType};

const BASE_TIMESTAMP: i64 = 1_700_000_000_000;

fn golden(name: &str) -> RecordBatch {
    let path = format!("{}/tests/golden/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    RecordBatch::parse(Bytes::from(std::fs::read(path).expect("the file is there")))
        .expect("a batch")
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    let records = batch.records(1 << 20).expect("readable");
    records.map(|record| record.expect("readable")).collect()
}

fn header(key: &'static str, value: Option<&'static str>) -> RecordHeader {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    RecordHeader {
        key: bytes(key),
        value: value.map(bytes),
    }
}

/// Five records that both writers were given: every other one has a key, the last one no value.
fn check_five(
    batch: &RecordBatch,
    base_offset: i64,
    timestamps: [i64; 5],
    headers: &[RecordHeader],
) {
    let found = records(batch);
    assert_eq!(found.len(), 5);
    for ((index, record), timestamp) in (0_u8..).zip(&found).zip(timestamps) {
        assert_eq!(record.offset, base_offset + i64::from(index));
        assert_eq!(record.timestamp, BASE_TIMESTAMP + timestamp);
        let key = (index % 2 == 0).then(|| Bytes::from(format!("key{index}")));
        assert_eq!(record.key, key);
        let value = Bytes::from(vec![b'a' + index; usize::from(index) * 50]);
        assert_eq!(record.value, (index != 4).then_some(value));
        assert_eq!(record.headers, if index == 0 { headers } else { &[] });
    }
}

#[test]
fn batches_of_kafkas_java_client() {
    let headers = [
        header("h", Some("1")),
        header("g", None),
        header("h", Some("2")),
    ];
    for codec in Compression::ALL {
        let batch = golden(&format!("kafka-4.3.1-{}", codec.name()));
        assert_eq!(batch.header.compression(), Ok(codec));
        assert_eq!(
            (batch.header.producer_id, batch.header.producer_epoch),
            (4711, 3)
        );
        assert_eq!(
            (batch.header.base_sequence, batch.header.last_sequence()),
            (2_147_483_646, 2)
        );
        assert_eq!(
            (batch.header.base_offset, batch.header.next_offset()),
            (1_000, 1_005)
        );
        assert_eq!(batch.header.max_timestamp, BASE_TIMESTAMP + 40);
        assert_eq!(batch.header.timestamp_type(), TimestampType::CreateTime);
        check_five(&batch, 1_000, [0, 10, 20, -250, 40], &headers);
    }
}

#[test]
fn batches_of_kafka_python() {
    let headers = [header("h", Some("1")), header("h", Some("2"))];
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let batch = golden(&format!("kafka-python-3.0.12-{}", codec.name()));
        assert_eq!(batch.header.compression(), Ok(codec));
        check_five(&batch, 0, [0, 10, 20, 30, 40], &headers);
    }
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let batch = golden("kafka-4.3.1-log-append-time");
    assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
    let times: Vec<(i64, i64)> = records(&batch)
        .iter()
        .map(|record| (record.offset, record.timestamp))
        .collect();
    assert_eq!(
        times,
        [(77, BASE_TIMESTAMP + 9_999), (78, BASE_TIMESTAMP + 9_999)]
    );
}

#[test]
fn transaction_markers_are_control_batches() {
    let batch = golden("kafka-4.3.1-commit-marker");
    assert!(batch.header.is_control() && batch.header.is_transactional());
    assert_eq!(batch.header.partition_leader_epoch, 6);
    let found = records(&batch);
    assert_eq!(found.len(), 1);
    // Version 0 and type 1 (commit); then version 0 and the coordinator's epoch.
    assert_eq!(found[0].key.as_deref(), Some(&b"\0\0\0\x01"[..]));
    assert_eq!(found[0].value.as_deref(), Some(&b"\0\0\0\0\0\x09"[..]));
}
