//! Produce and Fetch on the wire: the answers that clients rely on, error by error.

use crate::support::{Broker, Client, batch, batches, fetch_request, now_ms, produce_request};
use bytes::{Bytes, BytesMut};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse, PartitionData};
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tidewheel_protocol::messages::produce::{ProduceRequest, ProduceResponse};
use tidewheel_protocol::{Compression, ErrorCode, RecordBatchBuilder, StrBytes, Uuid, crc32c};

struct Fixture {
    broker: Broker,
    client: Client,
    _dir: tempfile::TempDir,
}

fn fixture(configs: &[(&str, &str)]) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, configs);
    Fixture {
        broker,
        client,
        _dir: dir,
    }
}

fn fetch(client: &mut Client, version: i16, request: &FetchRequest) -> PartitionData<Bytes> {
    let mut answer: FetchResponse<Bytes> = client.call(version, request);
    assert_eq!(answer.error_code, 0);
    answer.responses.remove(0).partitions.remove(0)
}

/// A batch whose header bytes were changed, with the CRC made right again.
fn forged(at: usize, bytes: &[u8]) -> Bytes {
    let mut forged = BytesMut::from(&*batch(&["a", "b"]));
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&forged[21..]);
    forged[17..21].copy_from_slice(&crc.to_be_bytes());
    forged.freeze()
}

fn lies() -> Vec<(&'static str, Bytes, ErrorCode)> {
    let good = batch(&["a", "b"]);
    let mut bad_crc = BytesMut::from(&*good);
    let last = bad_crc.len() - 1;
    bad_crc[last] ^= 1;
    let mut long = BytesMut::from(&*good);
    long.extend_from_slice(b"!");
    let two = [&*good, &*good].concat();
    vec![
        ("bad CRC", bad_crc.freeze(), ErrorCode::CorruptMessage),
        (
            "cut short",
            good.slice(..good.len() - 1),
            ErrorCode::CorruptMessage,
        ),
        (
            "shorter than a header",
            good.slice(..60),
            ErrorCode::CorruptMessage,
        ),
        (
            "bytes after the batch",
            long.freeze(),
            ErrorCode::InvalidRecord,
        ),
        ("two batches", two.into(), ErrorCode::InvalidRecord),
        ("magic 1", forged(16, &[1]), ErrorCode::InvalidRecord),
        ("no records", Bytes::new(), ErrorCode::InvalidRecord),
        (
            "count above the delta",
            forged(57, &3_i32.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "negative delta",
            forged(23, &(-1_i32).to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "control batch",
            forged(21, &0x20_i16.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        (
            "transactional",
            forged(21, &0x10_i16.to_be_bytes()),
            ErrorCode::InvalidTxnState,
        ),
        (
            "codec 7",
            forged(21, &7_i16.to_be_bytes()),
            ErrorCode::UnsupportedCompressionType,
        ),
        (
            "reserved producer id",
            forged(43, &(-2_i64).to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
    ]
}

#[test]
fn gotcha_20_24_fact_27_lies_about_a_batch_are_refused_with_kafkas_codes() {
    let mut f = fixture(&[]);
    for (what, records, code) in lies() {
        for acks in [1, -1] {
            let answer = f.client.produce("t", 0, acks, records.clone());
            assert_eq!(
                answer.error_code,
                code.code(),
                "{what}: {:?}",
                answer.error_message
            );
            assert_eq!(answer.base_offset, -1, "{what}");
        }
    }
    assert_eq!(
        f.client.produce("t", 0, -1, batch(&["a", "b"])).base_offset,
        0,
        "nothing of it took an offset"
    );
}

#[test]
fn gotcha_14_21_25_unknown_partitions_acks_and_sizes_have_their_codes() {
    let mut f = fixture(&[("max.message.bytes", "1000")]);
    let code = |client: &mut Client, topic: &str, partition, acks, records| {
        client.produce(topic, partition, acks, records).error_code
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(code(&mut f.client, "nope", 0, 1, batch(&["x"])), unknown);
    assert_eq!(code(&mut f.client, "t", 2, 1, batch(&["x"])), unknown);
    assert_eq!(code(&mut f.client, "t", -1, 1, batch(&["x"])), unknown);
    let acks = ErrorCode::InvalidRequiredAcks.code();
    assert_eq!(code(&mut f.client, "t", 0, 2, batch(&["x"])), acks);
    // Its size is all that is looked at: the CRC is wrong too.
    let mut large = BytesMut::from(&*batch(&[&"x".repeat(1_000)]));
    large[17] ^= 1;
    assert_eq!(
        code(&mut f.client, "t", 0, 1, large.freeze()),
        ErrorCode::MessageTooLarge.code()
    );
    let mut request = produce_request("t", 0, 1, Some(batch(&["x"])));
    request.topic_data[0].topic_id = Uuid([7; 16]);
    let answer: ProduceResponse = f.client.call(13, &request);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicId.code());
}

/// zstd came with Produce 7.
#[test]
fn gotcha_20_zstd_needs_produce_7() {
    let mut f = fixture(&[]);
    let builder = RecordBatchBuilder::new().compression(Compression::Zstd);
    let records = builder
        .record(now_ms(), None, Some(b"x"))
        .build()
        .unwrap()
        .bytes;
    let request = produce_request("t", 0, 1, Some(records));
    for (version, code) in [
        (3, ErrorCode::UnsupportedCompressionType),
        (7, ErrorCode::None),
    ] {
        let answer: ProduceResponse = f.client.call(version, &request);
        assert_eq!(
            answer.responses[0].partition_responses[0].error_code,
            code.code()
        );
    }
}

/// `acks=0` has no answer, and an error closes the connection.
#[test]
fn gotcha_21_fact_08_acks_0_is_never_answered() {
    let mut f = fixture(&[]);
    let correlation_id = f
        .client
        .send(9, &produce_request("t", 0, 0, Some(batch(&["quiet"]))));
    // The next answer belongs to the next request.
    assert_eq!(f.client.consume("t", 0, 0).len(), 1);
    assert!(correlation_id > 0);
    let mut client = f.broker.connect();
    client.send(9, &produce_request("nope", 0, 0, Some(batch(&["lost"]))));
    assert!(client.is_closed_by_broker());
}

/// Many requests in flight, answered in their order, appended in their order.
#[test]
fn gotcha_07_pipelined_requests_are_appended_and_answered_in_order() {
    let mut f = fixture(&[]);
    let values: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let sent: Vec<(i32, i16)> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let acks = [1, -1][at % 2];
            (
                f.client
                    .send(9, &produce_request("t", 0, acks, Some(batch(&[value])))),
                acks,
            )
        })
        .collect();
    for (offset, (correlation_id, _)) in (0..).zip(&sent) {
        let answer: ProduceResponse = f.client.receive(9, *correlation_id);
        assert_eq!(
            answer.responses[0].partition_responses[0].base_offset,
            offset
        );
    }
    let read = f.client.consume("t", 0, 0);
    let read: Vec<&[u8]> = read.iter().map(|read| &*read.value).collect();
    let sent: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    assert_eq!(read, sent);
}

/// LogAppendTime is stamped into the batch and into the answer.
#[test]
fn gotcha_22_23_log_append_time_is_stamped() {
    let mut f = fixture(&[("message.timestamp.type", "LogAppendTime")]);
    let old = RecordBatchBuilder::new()
        .record(1_000, None, Some(b"x"))
        .build()
        .unwrap()
        .bytes;
    let before = now_ms();
    let answer = f.client.produce("t", 0, -1, old);
    assert!(before <= answer.log_append_time_ms && answer.log_append_time_ms <= now_ms());
    let data = fetch(&mut f.client, 11, &fetch_request("t", 0, 0));
    let found = batches(data.records.unwrap()).remove(0);
    assert_eq!(found.header.max_timestamp, answer.log_append_time_ms);
    let record = found.records(1_000).unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, answer.log_append_time_ms);
}

fn producer_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let answer: InitProducerIdResponse = client.call(4, &request);
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    answer.producer_id
}

fn sequenced(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = RecordBatchBuilder::new().producer(producer_id, epoch, sequence);
    for value in values {
        builder = builder.record(now_ms(), None, Some(value.as_bytes()));
    }
    builder.build().unwrap().bytes
}

/// The last five batches are known, a repeat gets its old offset, a gap and an old epoch are
/// refused; all of it also after a clean stop and after `kill -9`.
#[test]
fn gotcha_28_fact_09_idempotent_producers_are_deduplicated_also_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let id = producer_id(&mut client);
    let send = |client: &mut Client, epoch: i16, sequence: i32| {
        let records = sequenced(id, epoch, sequence, &["a", "b"]);
        let answer = client.produce("t", 0, -1, records);
        (answer.error_code, answer.base_offset)
    };
    for number in 0..7 {
        assert_eq!(send(&mut client, 0, number * 2), (0, i64::from(number) * 2));
    }
    for restart in [None, Some("stop"), Some("kill")] {
        match restart {
            None => {}
            Some("stop") => {
                assert!(broker.stop());
                broker = Broker::start(dir.path());
            }
            Some(_) => {
                broker.kill();
                broker = Broker::start(dir.path());
            }
        }
        let mut client = broker.connect();
        for number in 2..7 {
            let expected = (0, i64::from(number) * 2);
            assert_eq!(
                send(&mut client, 0, number * 2),
                expected,
                "a repeat after {restart:?}"
            );
        }
        let gap = send(&mut client, 0, 16);
        assert_eq!(
            gap.0,
            ErrorCode::OutOfOrderSequenceNumber.code(),
            "after {restart:?}"
        );
        assert_eq!(
            client.consume("t", 0, 0).len(),
            14,
            "nothing was appended twice"
        );
        assert_ne!(
            producer_id(&mut client),
            id,
            "producer ids are given out once"
        );
    }
    let mut client = broker.connect();
    assert_eq!(send(&mut client, 0, 14), (0, 14), "the next batch goes on");
    let fresh = ErrorCode::OutOfOrderSequenceNumber.code();
    assert_eq!(send(&mut client, 1, 5).0, fresh, "a new epoch starts at 0");
    assert_eq!(send(&mut client, 1, 0), (0, 16));
    assert_eq!(
        send(&mut client, 0, 16).0,
        ErrorCode::InvalidProducerEpoch.code()
    );
}

#[test]
fn transactions_are_refused_before_they_exist() {
    let mut f = fixture(&[]);
    let request = InitProducerIdRequest {
        transactional_id: Some(StrBytes::from_static("tx")),
        ..InitProducerIdRequest::default()
    };
    let answer: InitProducerIdResponse = f.client.call(4, &request);
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    let request = ProduceRequest {
        transactional_id: Some(StrBytes::from_static("tx")),
        ..produce_request("t", 0, -1, Some(batch(&["x"])))
    };
    let answer: ProduceResponse = f.client.call(9, &request);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidTxnState.code());
}

#[test]
fn min_insync_replicas_above_one_refuses_acks_all() {
    let mut f = fixture(&[("min.insync.replicas", "2")]);
    let refused = f.client.produce("t", 0, -1, batch(&["x"]));
    assert_eq!(refused.error_code, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(f.client.produce("t", 0, 1, batch(&["x"])).error_code, 0);
}
