//! Fetch on the wire: bounds, waiting, epochs, as Apache Kafka 4.3.1 answers them.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::support::{self, Broker, Client, batch, batches, fetch_request};
use bytes::Bytes;
use tidewheel_protocol::messages::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, PartitionData,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

struct Fixture {
    broker: Broker,
    client: Client,
    dir: tempfile::TempDir,
}

fn fixture(configs: &[(&str, &str)]) -> Fixture {
    fixture_with(&[], configs)
}

/// A broker with these settings and a topic `t` of two partitions with these configs.
fn fixture_with(settings: &[&str], configs: &[(&str, &str)]) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), settings);
    let mut client = broker.connect();
    client.create_topic("t", 2, configs);
    Fixture {
        broker,
        client,
        dir,
    }
}

fn fetch(client: &mut Client, version: i16, request: &FetchRequest) -> PartitionData<Bytes> {
    fetch_all(client, version, request).remove(0)
}

/// What is answered for each partition of the first topic.
fn fetch_all(
    client: &mut Client,
    version: i16,
    request: &FetchRequest,
) -> Vec<PartitionData<Bytes>> {
    let mut answer: FetchResponse<Bytes> = client.call(version, request);
    assert_eq!(answer.error_code, 0);
    answer.responses.remove(0).partitions
}

/// Partition 0 of `t` from `offset` on; waits for `min_bytes` as long as the protocol can say.
fn patient(offset: i64, min_bytes: i32) -> FetchRequest {
    FetchRequest {
        min_bytes,
        max_wait_ms: i32::MAX,
        ..fetch_request("t", 0, offset)
    }
}

fn partition(request: &mut FetchRequest) -> &mut FetchPartition {
    &mut request.topics[0].partitions[0]
}

/// Asks for another partition of the topic too, from its start on.
fn also(request: &mut FetchRequest, number: i32, partition_max_bytes: i32) {
    request.topics[0].partitions.push(FetchPartition {
        partition: number,
        partition_max_bytes,
        ..FetchPartition::default()
    });
}

fn records_len(data: &PartitionData<Bytes>) -> usize {
    assert_eq!(data.error_code, 0);
    data.records.as_ref().unwrap().len()
}

/// An offset inside a batch gives the whole batch; outside the log is an error, at its end is empty.
#[test]
fn gotcha_30_31_34_fetch_offsets_inside_at_and_beyond_the_log() {
    let mut f = fixture(&[]);
    f.client.produce("t", 0, 1, batch(&["a", "b", "c"]));
    f.client.produce("t", 0, 1, batch(&["d"]));
    let data = fetch(&mut f.client, 11, &fetch_request("t", 0, 2));
    let found = batches(data.records.unwrap());
    assert_eq!((found[0].header.base_offset, found.len()), (0, 2));
    assert_eq!(
        (
            data.high_watermark,
            data.last_stable_offset,
            data.log_start_offset
        ),
        (4, 4, 0)
    );
    let data = fetch(&mut f.client, 11, &fetch_request("t", 0, 4));
    assert_eq!((data.error_code, data.high_watermark), (0, 4));
    assert_eq!(data.records, Some(Bytes::new()), "empty, never null");
    for offset in [5, -1, i64::MAX] {
        let data = fetch(&mut f.client, 11, &fetch_request("t", 0, offset));
        assert_eq!(
            data.error_code,
            ErrorCode::OffsetOutOfRange.code(),
            "offset {offset}"
        );
    }
}

/// A long poll wakes on the append that fills it.
#[test]
fn gotcha_33_a_waiting_fetch_wakes_when_enough_has_come() {
    let f = fixture(&[]);
    let mut waiting = f.broker.connect();
    let mut request = fetch_request("t", 0, 0);
    request.min_bytes = 100;
    request.max_wait_ms = i32::MAX;
    let correlation_id = waiting.send(11, &request);
    let mut producer = f.broker.connect();
    producer.produce("t", 0, 1, batch(&["small"]));
    waiting
        .socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut byte = [0; 1];
    assert!(
        waiting.socket.peek(&mut byte).is_err(),
        "79 bytes are not enough"
    );
    waiting
        .socket
        .set_read_timeout(Some(support::PATIENCE))
        .unwrap();
    // Durable data becomes visible when it is flushed, and wakes the fetch then.
    producer.produce("t", 0, -1, batch(&["more"]));
    let answer: FetchResponse<Bytes> = waiting.receive(11, correlation_id);
    let records = answer.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(batches(records).len(), 2);
}

/// KIP-74: the first batch there is comes whole, however large; a later partition gets what
/// fits.
#[test]
fn gotcha_32_fact_07_only_the_first_batch_found_may_exceed_the_limits() {
    let mut f = fixture(&[]);
    let large = batch(&[&"x".repeat(100_000)]);
    f.client.produce("t", 1, 1, large.clone());
    let mut request = fetch_request("t", 0, 0);
    request.max_bytes = 10;
    partition(&mut request).partition_max_bytes = 10;
    also(&mut request, 1, 10);
    let found = fetch_all(&mut f.client, 11, &request);
    let lens = [records_len(&found[0]), records_len(&found[1])];
    assert_eq!(lens, [0, large.len()], "an empty partition takes nothing");
    f.client.produce("t", 0, 1, large.clone());
    let found = fetch_all(&mut f.client, 11, &request);
    let lens = [records_len(&found[0]), records_len(&found[1])];
    assert_eq!(lens, [large.len(), 0]);
    assert_eq!(found[1].high_watermark, 1);
}

/// Limits below zero count as zero: Kafka answers such a request with UNKNOWN_SERVER_ERROR.
#[test]
fn limits_of_zero_and_below_give_the_first_batch() {
    let mut f = fixture(&[]);
    let one = batch(&["a"]);
    f.client.produce("t", 0, 1, one.clone());
    f.client.produce("t", 0, 1, one.clone());
    for limit in [0, -1, i32::MIN] {
        let mut request = fetch_request("t", 0, 0);
        request.max_bytes = limit;
        assert_eq!(records_len(&fetch(&mut f.client, 11, &request)), one.len());
        let mut request = fetch_request("t", 0, 0);
        partition(&mut request).partition_max_bytes = limit;
        assert_eq!(records_len(&fetch(&mut f.client, 11, &request)), one.len());
    }
}

#[test]
fn gotcha_32_the_last_batch_is_cut_at_each_of_the_three_limits() {
    let mut f = fixture_with(&["fetch.max.bytes=1500"], &[]);
    let one = batch(&[&"x".repeat(1_000)]);
    for number in [0, 0, 1] {
        f.client.produce("t", number, 1, one.clone());
    }
    let mut request = fetch_request("t", 0, 0);
    also(&mut request, 1, 1 << 20);
    let found = fetch_all(&mut f.client, 11, &request);
    assert_eq!(records_len(&found[0]), 1_500, "fetch.max.bytes");
    assert_eq!(records_len(&found[1]), 0);
    request.max_bytes = 1_400;
    let found = fetch_all(&mut f.client, 11, &request);
    assert_eq!(records_len(&found[0]), 1_400, "max_bytes");
    partition(&mut request).partition_max_bytes = 1_200;
    let found = fetch_all(&mut f.client, 11, &request);
    assert_eq!(records_len(&found[0]), 1_200, "partition_max_bytes");
    assert_eq!(records_len(&found[1]), 0, "its first batch does not fit");
}

#[test]
fn a_fetch_that_asks_for_no_wait_or_no_bytes_is_answered_at_once() {
    let mut f = fixture(&[]);
    for (max_wait_ms, min_bytes) in [
        (0, 1),
        (-1, i32::MAX),
        (i32::MIN, 1),
        (i32::MAX, 0),
        (i32::MAX, -1),
    ] {
        let mut request = patient(0, min_bytes);
        request.max_wait_ms = max_wait_ms;
        assert_eq!(records_len(&fetch(&mut f.client, 11, &request)), 0);
    }
    let mut request = patient(0, 1);
    request.max_bytes = 0;
    let found = fetch(&mut f.client, 11, &request);
    assert_eq!(
        records_len(&found),
        0,
        "more than allowed is not waited for"
    );
    request.topics[0].partitions.clear();
    for _ in 0..2 {
        let answer: FetchResponse<Bytes> = f.client.call(11, &request);
        assert_eq!((answer.error_code, answer.responses.len()), (0, 0));
        request.topics.clear();
    }
}

/// What is there counts, not what fits: waiting would change nothing.
#[test]
fn bytes_that_do_not_fit_are_not_waited_for() {
    let mut f = fixture(&[]);
    f.client.produce("t", 0, 1, batch(&["small"]));
    f.client.produce("t", 1, 1, batch(&[&"x".repeat(5_000)]));
    let mut request = patient(0, 1_000);
    also(&mut request, 1, 2_000);
    let found = fetch_all(&mut f.client, 11, &request);
    assert!(records_len(&found[0]) > 0);
    assert_eq!(records_len(&found[1]), 0);
}

/// Case F of Kafka's DelayedFetch. Each segment takes one round trip, however large the limits.
#[test]
fn an_older_segment_is_answered_at_once_whatever_min_bytes_says() {
    let mut f = fixture(&[("segment.bytes", "1048576")]);
    let third = batch(&[&"x".repeat(400_000)]);
    for _ in 0..7 {
        f.client.produce("t", 0, 1, third.clone());
    }
    for (offset, found) in [(1, 1), (2, 2), (4, 2)] {
        let mut request = patient(offset, i32::MAX);
        partition(&mut request).partition_max_bytes = i32::MAX;
        let data = fetch(&mut f.client, 11, &request);
        assert_eq!(records_len(&data), found * third.len(), "offset {offset}");
    }
}

#[test]
fn a_waiting_fetch_wakes_when_the_log_goes_on_in_a_new_segment() {
    let mut f = fixture(&[("segment.bytes", "1048576")]);
    let third = batch(&[&"x".repeat(400_000)]);
    f.client.produce("t", 0, 1, third.clone());
    for acks in [1, -1] {
        let before = fetch(&mut f.client, 11, &fetch_request("t", 0, 0)).high_watermark;
        let mut request = patient(before - 1, 10_000_000);
        partition(&mut request).partition_max_bytes = i32::MAX;
        let mut waiting = f.broker.connect();
        let correlation_id = waiting.send(11, &request);
        for _ in 0..2 {
            f.client.produce("t", 0, acks, third.clone());
        }
        let answer: FetchResponse<Bytes> = waiting.receive(11, correlation_id);
        let found = records_len(&answer.responses[0].partitions[0]);
        assert_eq!(found, 2 * third.len());
    }
}

#[test]
fn gotcha_33_a_waiting_fetch_ends_at_its_deadline() {
    let mut f = fixture(&[]);
    let mut request = patient(0, 1);
    request.max_wait_ms = 50;
    assert_eq!(records_len(&fetch(&mut f.client, 11, &request)), 0);
}

/// A request of more than some 500 partitions is one whose memory is counted; it waits like any other as
/// long as nobody is short of that. Such consumers used to ask again and again without a pause.
#[test]
fn a_fetch_of_a_thousand_partitions_without_a_session_waits() {
    let mut f = fixture(&[]);
    f.client.create_topic("wide", 1_000, &[]);
    let mut waiting = f.broker.connect();
    let mut request = patient(0, 1);
    request.topics[0].topic = StrBytes::from("wide");
    for number in 1..1_000 {
        also(&mut request, number, 1 << 20);
    }
    let correlation_id = waiting.send(11, &request);
    let brief = Duration::from_millis(200);
    waiting.socket.set_read_timeout(Some(brief)).unwrap();
    assert!(waiting.socket.peek(&mut [0]).is_err(), "it waits");
    let patience = Some(support::PATIENCE);
    waiting.socket.set_read_timeout(patience).unwrap();
    f.client.produce("wide", 999, -1, batch(&["v"]));
    let answer: FetchResponse<Bytes> = waiting.receive(11, correlation_id);
    let partitions = &answer.responses[0].partitions;
    assert_eq!(partitions.len(), 1_000);
    assert!(records_len(&partitions[999]) > 0);
}

/// A fetch that waits was let in: it hears that the partition is gone, under whichever name it came. A
/// new one hears what is wrong with the name it gives.
#[test]
fn a_deleted_topic_ends_the_wait_and_is_unknown_from_then_on() {
    let f = fixture(&[]);
    for version in [11, 13, 17] {
        let mut admin = f.broker.connect();
        admin.create_topic("gone", 1, &[]);
        let mut request = patient(0, 1);
        request.topics[0].topic = StrBytes::from_static("gone");
        request.topics[0].topic_id = admin.topic_id("gone");
        let mut client = f.broker.connect();
        let correlation_id = client.send(version, &request);
        admin.delete_topic("gone");
        let answer: FetchResponse<Bytes> = client.receive(version, correlation_id);
        let code = answer.responses[0].partitions[0].error_code;
        // The request may have come late: then it is a new one.
        let unknown = match version {
            11 => ErrorCode::UnknownTopicOrPartition.code(),
            _ => ErrorCode::UnknownTopicId.code(),
        };
        assert!([ErrorCode::UnknownTopicOrPartition.code(), unknown].contains(&code));
        assert_eq!(fetch(&mut client, version, &request).error_code, unknown);
    }
}

/// As in Kafka: a client that keeps asking for what does not exist is slowed down by the rest of its
/// request, and told at once where there is no rest.
#[test]
fn an_unknown_partition_does_not_end_the_wait_for_others() {
    let mut f = fixture(&[]);
    let mut request = patient(0, 1);
    also(&mut request, 7, 1_000);
    let correlation_id = f.client.send(11, &request);
    let mut byte = [0; 1];
    f.client
        .socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(f.client.socket.peek(&mut byte).is_err(), "it waits");
    f.client
        .socket
        .set_read_timeout(Some(support::PATIENCE))
        .unwrap();
    f.broker.connect().produce("t", 0, 1, batch(&["x"]));
    let answer: FetchResponse<Bytes> = f.client.receive(11, correlation_id);
    let found = &answer.responses[0].partitions;
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!((found[0].error_code, found[1].error_code), (0, unknown));
    for number in [2, -1, i32::MAX] {
        let mut request = patient(0, 1);
        partition(&mut request).partition = number;
        assert_eq!(fetch(&mut f.client, 11, &request).error_code, unknown);
    }
}

#[test]
fn a_partition_that_is_asked_for_twice_is_answered_once_as_it_is_asked_for_last() {
    let mut f = fixture(&[]);
    f.client.produce("t", 0, 1, batch(&["x"]));
    let mut request = fetch_request("t", 0, 1);
    also(&mut request, 1, 1_000);
    also(&mut request, 0, 1_000);
    let found = fetch_all(&mut f.client, 11, &request);
    assert_eq!(found.len(), 2);
    assert!(records_len(&found[0]) > 0);
}

/// Leader epochs are stamped, compared, and one higher after each start.
#[test]
fn gotcha_37_leader_epochs_fence_stale_and_unknown_clients() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Broker::start(dir.path()).stop());
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    client.produce("t", 0, 1, batch(&["x"]));
    for (epoch, code) in [
        (-1, ErrorCode::None),
        (-2, ErrorCode::None),
        (0, ErrorCode::FencedLeaderEpoch),
        (1, ErrorCode::None),
        (2, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut request = patient(0, i32::MAX);
        partition(&mut request).current_leader_epoch = epoch;
        if code == ErrorCode::None {
            request.max_wait_ms = 0;
        }
        let data = fetch(&mut client, 11, &request);
        assert_eq!(data.error_code, code.code(), "epoch {epoch}");
        if code == ErrorCode::None {
            let header = batches(data.records.unwrap())[0].header;
            assert_eq!(header.partition_leader_epoch, 1);
        } else {
            assert_eq!((data.high_watermark, data.last_stable_offset), (-1, -1));
        }
    }
}

/// KIP-595's check, which consumers ask for since Fetch 12: offsets of an epoch that ended earlier.
#[test]
fn a_client_learns_where_its_epoch_ended() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    client.produce("t", 0, -1, batch(&["a", "b", "c"]));
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.produce("t", 0, -1, batch(&["d", "e"]));
    // A client's epoch and offset; then the end of its epoch, or an error.
    for (epoch, offset, ended, code) in [
        (-1, 4, -1, ErrorCode::None),
        (-2, 4, -1, ErrorCode::None),
        (0, 3, -1, ErrorCode::None),
        (0, 4, 3, ErrorCode::None),
        (1, 5, -1, ErrorCode::None),
        (2, 5, -1, ErrorCode::OffsetOutOfRange),
    ] {
        let mut request = patient(offset, i32::MAX);
        partition(&mut request).last_fetched_epoch = epoch;
        let told = ended >= 0 || code != ErrorCode::None;
        if !told {
            request.max_wait_ms = 0;
        }
        let data = fetch(&mut client, 12, &request);
        assert_eq!(data.error_code, code.code(), "epoch {epoch}, {offset}");
        let EpochEndOffset { epoch, end_offset } = data.diverging_epoch;
        assert_eq!((i64::from(epoch), end_offset), (ended.min(0), ended));
        if ended >= 0 {
            assert_eq!(data.high_watermark, 5);
            assert_eq!(data.records, Some(Bytes::new()));
        }
    }
}

/// Null for read_uncommitted, an empty list for read_committed, in every version. The last
/// stable offset is the high watermark; nobody is sent to another replica.
#[test]
fn gotcha_36_aborted_transactions_are_null_or_empty() {
    let mut f = fixture(&[]);
    f.client.produce("t", 0, 1, batch(&["a", "b"]));
    let topic_id = f.client.topic_id("t");
    for version in 4..=17 {
        for (isolation_level, aborted) in [(0, None), (1, Some(Vec::new()))] {
            for offset in [0, 2] {
                let mut request = fetch_request("t", 0, offset);
                request.topics[0].topic_id = topic_id;
                request.isolation_level = isolation_level;
                let data = fetch(&mut f.client, version, &request);
                assert_eq!(data.aborted_transactions, aborted);
                let log_start = if version < 5 { -1 } else { 0 };
                let offsets = (data.high_watermark, data.last_stable_offset);
                assert_eq!((offsets, data.log_start_offset), ((2, 2), log_start));
                assert_eq!(data.preferred_read_replica, -1);
            }
        }
    }
}

#[test]
fn gotcha_14_topics_can_be_fetched_by_id() {
    let mut f = fixture(&[]);
    f.client.produce("t", 0, 1, batch(&["x"]));
    let id = f.client.topic_id("t");
    for (topic_id, code) in [
        (id, ErrorCode::None),
        (Uuid([9; 16]), ErrorCode::UnknownTopicId),
        (Uuid([0; 16]), ErrorCode::UnknownTopicId),
    ] {
        let mut request = fetch_request("", 0, 0);
        request.topics[0].topic_id = topic_id;
        for version in [13, 15, 16, 17] {
            let found = fetch(&mut f.client, version, &request).error_code;
            assert_eq!(found, code.code());
        }
    }
}

/// Damage on the disk under a running broker: the batches before it and the other partitions are served,
/// and so are appends.
#[test]
fn a_batch_that_rots_is_an_error_of_its_offsets_alone() {
    let mut f = fixture(&[]);
    let one = batch(&["a"]);
    for number in [0, 0, 0, 1] {
        f.client.produce("t", number, -1, one.clone());
    }
    let path = f.dir.path().join("t-0/00000000000000000000.log");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    // The length of the second batch.
    file.write_all_at(&[0x7f], one.len() as u64 + 8).unwrap();
    let mut request = patient(1, i32::MAX);
    also(&mut request, 1, 1 << 20);
    for _ in 0..2 {
        let found = fetch_all(&mut f.client, 11, &request);
        assert_eq!(found[0].error_code, ErrorCode::CorruptMessage.code());
        assert_eq!(records_len(&found[1]), one.len());
    }
    let mut request = fetch_request("t", 0, 0);
    partition(&mut request).partition_max_bytes = 1;
    assert_eq!(records_len(&fetch(&mut f.client, 11, &request)), one.len());
    assert_eq!(f.client.produce("t", 0, -1, one).error_code, 0);
}
