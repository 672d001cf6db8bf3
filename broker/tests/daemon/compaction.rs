//! Compacted topics as clients see them: what they take, and what is left of them.

use std::collections::BTreeMap;

use crate::support::{self, Broker, Client, batches, eventually, fetch_request, now_ms};
use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use tidewheel_protocol::{Compression, ErrorCode, RecordBatchBuilder, StrBytes};

const INVALID_RECORD: i16 = ErrorCode::InvalidRecord.code();

/// Settings under which what can be compacted is compacted soon.
const SOON: [&str; 2] = [
    "log.cleaner.backoff.ms=50",
    "log.flush.offset.checkpoint.interval.ms=50",
];
const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
    ("segment.bytes", "1048576"),
];

fn keyed(records: &[(Option<&str>, &[u8])], codec: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::new().compression(codec);
    for (key, value) in records {
        builder = builder.record(now_ms(), key.map(str::as_bytes), Some(value));
    }
    builder.build().unwrap().bytes
}

fn set_policy(client: &mut Client, topic: &str, policy: &str) {
    let config = AlterableConfig {
        name: StrBytes::from_static("cleanup.policy"),
        config_operation: 0,
        value: Some(StrBytes::from(policy)),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: StrBytes::from(topic),
            configs: vec![config],
        }],
        validate_only: false,
    };
    let answer: IncrementalAlterConfigsResponse = client.call(1, &request);
    assert_eq!(answer.responses[0].error_code, 0);
}

/// The records of partition 0: offset, key, length of the value.
fn read(client: &mut Client, topic: &str) -> Vec<(i64, Bytes, usize)> {
    let (mut offset, mut all) = (0, Vec::new());
    loop {
        let request = fetch_request(topic, 0, offset);
        let mut answer: FetchResponse<Bytes> = client.call(11, &request);
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        for batch in batches(data.records.unwrap_or_default()) {
            for record in batch.records(1 << 28).unwrap() {
                let record = record.unwrap();
                let len = record.value.map_or(0, |value| value.len());
                all.push((record.offset, record.key.unwrap(), len));
            }
            offset = offset.max(batch.header.next_offset());
        }
        if offset >= data.high_watermark {
            return all;
        }
    }
}

#[test]
fn gotcha_26_records_without_a_key_are_refused_by_their_places_while_a_topic_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &COMPACTED[..1]);
    client.create_topic("plain", 1, &[]);
    let mixed: [(Option<&str>, &[u8]); 4] = [
        (Some("a"), b"1"),
        (None, b"2"),
        (Some(""), b"3"),
        (None, b"4"),
    ];
    for codec in [Compression::None, Compression::Zstd] {
        let batch = keyed(&mixed, codec);
        assert_eq!(client.produce("plain", 0, -1, batch.clone()).error_code, 0);
        let refused = client.produce("t", 0, -1, batch);
        assert_eq!(refused.error_code, INVALID_RECORD);
        assert_eq!(refused.base_offset, -1);
        let places: Vec<_> = refused
            .record_errors
            .iter()
            .map(|error| error.batch_index)
            .collect();
        assert_eq!(places, [1, 3]);
        assert!(refused.error_message.is_some());
        let good = client.produce("t", 0, -1, keyed(&mixed[..1], codec));
        assert_eq!((good.error_code, good.record_errors.len()), (0, 0));
    }
    set_policy(&mut client, "plain", "compact,delete");
    let refused = client.produce("plain", 0, -1, keyed(&mixed, Compression::None));
    assert_eq!(refused.error_code, INVALID_RECORD);
    set_policy(&mut client, "t", "delete");
    let taken = client.produce("t", 0, -1, keyed(&mixed, Compression::None));
    assert_eq!((taken.error_code, taken.base_offset), (0, 2));
    assert!(broker.stop());
}

/// Produces until segments are full, then waits until only the newest record of every key is left before
/// the last one.
fn fill_and_wait(client: &mut Client, newest: &mut BTreeMap<Bytes, i64>, rounds: u32) {
    let value = vec![7; 20_000];
    let mut written = 0;
    for round in 0..rounds {
        let key = format!("{}", round % 10);
        let batch = keyed(&[(Some(&key), &value)], Compression::None);
        let answer = client.produce("t", 0, 1, batch);
        assert_eq!(answer.error_code, 0);
        newest.insert(Bytes::from(key), answer.base_offset);
        written += 1;
    }
    eventually("the log is compacted", || {
        let found = read(client, "t");
        let last: BTreeMap<Bytes, i64> = found
            .iter()
            .map(|(offset, key, _)| (key.clone(), *offset))
            .collect();
        assert_eq!(&last, newest, "the newest of every key is there, always");
        // A segment takes about 52 of them; the last one is not compacted.
        found.len() < 75 && written > 100
    });
}

#[test]
fn a_running_broker_compacts_and_finds_its_log_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_with(dir.path(), &SOON);
    let mut client = broker.connect();
    client.create_topic("t", 1, &COMPACTED);
    let mut newest = BTreeMap::new();
    for _ in 0..3 {
        fill_and_wait(&mut client, &mut newest, 150);
        broker.kill();
        broker = Broker::start_with(dir.path(), &SOON);
        client = broker.connect();
    }
    fill_and_wait(&mut client, &mut newest, 150);
    assert!(broker.stop());
    let verified = support::run(&["log", "verify", dir.path().to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_broker_stops_at_once_in_the_middle_of_a_slow_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let slow = [SOON[0], SOON[1], "log.cleaner.io.max.bytes.per.second=1000"];
    let broker = Broker::start_with(dir.path(), &slow);
    let mut client = broker.connect();
    client.create_topic("t", 1, &COMPACTED);
    let value = vec![7; 20_000];
    for _ in 0..150 {
        let batch = keyed(&[(Some("a"), &value)], Compression::None);
        assert_eq!(client.produce("t", 0, 1, batch).error_code, 0);
    }
    // What a pass notes before it begins.
    let noted = dir.path().join("cleaner-offset-checkpoint");
    eventually("a pass runs", || noted.exists());
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    assert_eq!(read(&mut broker.connect(), "t").len(), 150);
    assert!(broker.stop());
}
