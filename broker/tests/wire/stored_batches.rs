//! Batches on their way through the broker: what is changed in them, what is answered for them, and that
//! no batch is taken twice.

use crate::support::topics::{alter, delete_records};
use crate::support::{Broker, Client, batch, batches, fetch_request, now_ms, produce_request};
use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceResponse,
};
use tidewheel_protocol::{
    Compression, ErrorCode, RecordBatch, RecordBatchBuilder, RecordHeader, Uuid,
};

/// A broker with a topic `t` of two partitions with these configs.
fn broker(configs: &[(&str, &str)]) -> (Broker, Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, configs);
    (broker, client, dir)
}

/// The batches of partition 0 of `t`, as they are sent.
fn fetched(client: &mut Client, version: i16, offset: i64, topic_id: Uuid) -> Vec<RecordBatch> {
    let mut request = fetch_request("t", 0, offset);
    request.topics[0].topic_id = topic_id;
    let answer: FetchResponse<Bytes> = client.call(version, &request);
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, 0, "version {version}");
    batches(data.records.clone().unwrap())
}

fn with_headers(codec: Compression) -> RecordBatch {
    let header = |key: &'static str, value: Option<&'static str>| RecordHeader {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    let headers = vec![
        header("same", Some("1")),
        header("other", None),
        header("same", Some("2")),
        header("", Some("")),
    ];
    let builder = RecordBatchBuilder::new().compression(codec);
    let builder = builder.record_with_headers(now_ms(), Some(b"key"), Some(b"value"), headers);
    builder.record(now_ms(), None, None).build().unwrap()
}

/// Only the base offset and the leader epoch are written into a batch, and they lie before its checksum.
#[test]
fn gotcha_22_24_27_batches_are_kept_byte_for_byte_but_for_their_place() {
    let (_broker, mut client, _dir) = broker(&[]);
    for (base_offset, codec) in (0_i64..).step_by(2).zip(Compression::ALL) {
        let sent = with_headers(codec);
        assert_eq!(client.produce("t", 0, 1, sent.bytes.clone()).error_code, 0);
        let [stored] = fetched(&mut client, 11, base_offset, Uuid::ZERO)
            .try_into()
            .unwrap();
        assert_eq!(stored.bytes[..8], base_offset.to_be_bytes());
        assert_eq!(stored.bytes[8..12], sent.bytes[8..12]);
        assert_eq!(stored.bytes[12..16], [0; 4], "the first start's epoch");
        assert_eq!(stored.bytes[16..], sent.bytes[16..], "{codec:?}");
        let records = stored.records(1_000).unwrap().map(Result::unwrap);
        let sent = sent.records(1_000).unwrap().map(Result::unwrap);
        assert!(
            records
                .map(|one| one.headers)
                .eq(sent.map(|one| one.headers))
        );
    }
}

/// As Apache Kafka: `compression.type` decides what the log holds, from the change of the setting on.
#[test]
fn batches_are_kept_in_the_codec_of_the_topic() {
    let (_broker, mut client, _dir) = broker(&[]);
    let mut offset = 0;
    let kept = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (name, codec) in kept {
        assert_eq!(alter(&mut client, "t", &[("compression.type", name)]), 0);
        for came in Compression::ALL {
            let sent = with_headers(came);
            let answer = client.produce("t", 0, 1, sent.bytes.clone());
            assert_eq!((answer.error_code, answer.base_offset), (0, offset));
            let [stored] = fetched(&mut client, 11, offset, Uuid::ZERO)
                .try_into()
                .unwrap();
            assert_eq!(stored.header.compression(), Ok(codec), "{came:?}");
            assert_eq!(stored.header.max_timestamp, sent.header.max_timestamp);
            let records = |batch: &RecordBatch| batch.decompressed(1_000).unwrap();
            assert_eq!(records(&stored), records(&sent), "{came:?} as {name}");
            offset += 2;
        }
    }
    // Clients of before Fetch 10 know no zstd, whatever the batches at their offset are in.
    let mut error = |version| {
        let answer: FetchResponse<Bytes> = client.call(version, &fetch_request("t", 0, 0));
        answer.responses[0].partitions[0].error_code
    };
    let refused = ErrorCode::UnsupportedCompressionType.code();
    assert_eq!([error(9), error(10)], [refused, 0]);
    let garbage = RecordBatch::assemble(with_headers(Compression::Lz4).header, b"?").unwrap();
    let answer = client.produce("t", 0, 1, garbage.bytes);
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(alter(&mut client, "t", &[]), 0);
    let sent = with_headers(Compression::Snappy);
    assert_eq!(client.produce("t", 0, 1, sent.bytes).base_offset, offset);
    let stored = fetched(&mut client, 11, offset, Uuid::ZERO);
    assert_eq!(stored[0].header.compression(), Ok(Compression::Snappy));
}

fn produce(client: &mut Client, version: i16, records: Bytes) -> PartitionProduceResponse {
    let request = produce_request("t", 0, 1, Some(records));
    let mut answer: ProduceResponse = client.call(version, &request);
    answer.responses.remove(0).partition_responses.remove(0)
}

/// Base offset, append time and log start of an answer.
fn places(answer: &PartitionProduceResponse) -> (i64, i64, i64) {
    (
        answer.base_offset,
        answer.log_append_time_ms,
        answer.log_start_offset,
    )
}

#[test]
fn gotcha_23_replies_to_producers_tell_offset_append_time_and_log_start() {
    let (_broker, mut client, _dir) = broker(&[]);
    assert_eq!(places(&produce(&mut client, 9, batch(&["x"]))), (0, -1, 0));
    assert_eq!(delete_records(&mut client, "t", 0, 1), (0, 1));
    for (offset, version) in (1..).zip(3..=12) {
        let log_start = if version < 5 { -1 } else { 1 };
        let answer = produce(&mut client, version, batch(&["x"]));
        assert_eq!(places(&answer), (offset, -1, log_start), "{version}");
        let refused = produce(&mut client, version, batch(&["x"]).slice(..65));
        assert_eq!(refused.error_code, ErrorCode::CorruptMessage.code());
        assert_eq!(places(&refused), (-1, -1, -1), "{version}");
    }
    let answer: FetchResponse<Bytes> = client.call(11, &fetch_request("t", 0, 1));
    let data = &answer.responses[0].partitions[0];
    assert_eq!((data.log_start_offset, data.high_watermark), (1, 11));
}

/// A client splits what was too large and sends it again; its other partitions are not concerned.
#[test]
fn gotcha_25_a_batch_that_is_too_large_is_refused_for_its_partition_alone() {
    let (_broker, mut client, _dir) = broker(&[("max.message.bytes", "1000")]);
    let value = "x".repeat(600);
    let large = batch(&[&value, &value]);
    let mut request = produce_request("t", 0, -1, Some(large));
    let other = PartitionProduceData {
        index: 1,
        records: Some(batch(&[&value])),
    };
    request.topic_data[0].partition_data.push(other);
    let answer: ProduceResponse = client.call(9, &request);
    let partitions = answer.responses[0].partition_responses.iter();
    let codes: Vec<i16> = partitions.map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::MessageTooLarge.code(), 0]);
    for half in 0..2 {
        let answer = client.produce("t", 0, -1, batch(&[&value]));
        assert_eq!((answer.error_code, answer.base_offset), (0, half));
    }
    let builder = RecordBatchBuilder::new().compression(Compression::Zstd);
    let compressed = builder.record(now_ms(), None, Some(&[b'x'; 5_000])).build();
    let answer = client.produce("t", 0, -1, compressed.unwrap().bytes);
    assert_eq!(answer.error_code, 0, "what counts is what is sent");
}

fn sequenced(sequence: i32, timestamp: i64) -> Bytes {
    let builder = RecordBatchBuilder::new().producer(7, 0, sequence);
    let builder = builder.record(timestamp, None, Some(b"a"));
    builder
        .record(timestamp, None, Some(b"b"))
        .build()
        .unwrap()
        .bytes
}

/// The repeat comes while the first copy waits for the disk.
#[test]
fn gotcha_28_a_repeat_is_known_before_the_first_copy_is_acknowledged() {
    let (_broker, mut client, _dir) = broker(&[]);
    for round in 0..10 {
        let records = sequenced(round * 2, now_ms());
        let request = produce_request("t", 0, -1, Some(records));
        let sent = [(); 5].map(|()| client.send(9, &request));
        for correlation_id in sent {
            let answer: ProduceResponse = client.receive(9, correlation_id);
            let partition = &answer.responses[0].partition_responses[0];
            let told = (partition.error_code, partition.base_offset);
            assert_eq!(told, (0, i64::from(round) * 2));
        }
    }
    assert_eq!(client.consume("t", 0, 0).len(), 20);
}

#[test]
fn gotcha_28_sequences_begin_anywhere_and_wrap_to_zero() {
    let (_broker, mut client, _dir) = broker(&[]);
    for (offset, sequence) in [(0, i32::MAX - 2), (2, i32::MAX), (4, 1), (6, 3)] {
        let answer = client.produce("t", 0, -1, sequenced(sequence, now_ms()));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let gap = client.produce("t", 0, -1, sequenced(6, now_ms()));
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
}

/// The client never hears of the first copy: whether it was taken or lost, there is one in the end.
#[test]
fn fact_09_what_is_sent_again_after_a_cut_is_there_once() {
    let (broker, mut client, _dir) = broker(&[]);
    for round in 0..20 {
        let records = sequenced(round * 2, now_ms());
        let request = produce_request("t", 0, -1, Some(records.clone()));
        let mut cut = broker.connect();
        cut.send(9, &request);
        drop(cut);
        let answer = client.produce("t", 0, -1, records);
        let told = (answer.error_code, answer.base_offset);
        assert_eq!(told, (0, i64::from(round) * 2));
    }
    assert_eq!(client.consume("t", 0, 0).len(), 40);
}

/// The records are dated two days ago: a producer is known by when its batches came, not by what they say.
#[test]
fn fact_19_batches_that_were_not_acknowledged_are_known_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    let dated = now_ms() - 2 * 86_400_000;
    for round in 0..5 {
        let records = [0, 2, 4].map(|step| sequenced(round * 6 + step, dated));
        let mut client = broker.connect();
        for (records, acks) in records.iter().zip([1, -1, -1]) {
            client.send(9, &produce_request("t", 0, acks, Some(records.clone())));
        }
        // The first is written, and with it, mostly, the others.
        assert!(client.read_frame().is_some());
        broker.kill();
        broker = Broker::start(dir.path());
        let mut client = broker.connect();
        for (step, records) in (0..).step_by(2).zip(records) {
            let answer = client.produce("t", 0, -1, records);
            let told = (answer.error_code, answer.base_offset);
            assert_eq!(told, (0, i64::from(round) * 6 + step), "round {round}");
        }
        let count = client.consume("t", 0, 0).len();
        assert_eq!(count, usize::try_from(round + 1).unwrap() * 6);
    }
}

/// Every version that is served, with every codec that it may carry, read in every version.
#[test]
fn fact_08_every_version_produces_and_fetches_every_codec() {
    let (_broker, mut client, _dir) = broker(&[]);
    let topic_id = client.topic_id("t");
    let mut sent = Vec::new();
    for version in 3..=13 {
        let codecs = Compression::ALL.into_iter();
        for codec in codecs.filter(|codec| version >= 7 || *codec != Compression::Zstd) {
            for acks in [0, 1, -1] {
                let records = with_headers(codec).bytes;
                sent.push(records.slice(16..));
                let mut request = produce_request("t", 0, acks, Some(records));
                request.topic_data[0].topic_id = topic_id;
                let correlation_id = client.send(version, &request);
                // The next reply belongs to the next request.
                if acks != 0 {
                    let answer: ProduceResponse = client.receive(version, correlation_id);
                    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
                }
            }
        }
    }
    for version in 4..=17 {
        let read = fetched(&mut client, version, 0, topic_id);
        let bytes = read.iter().map(|batch| batch.bytes.slice(16..));
        assert!(bytes.eq(sent.iter().cloned()), "version {version}");
    }
}
