//! Delayed delivery as clients see it: never early, once, in order, also over a kill.

use crate::delays::{self, Asked, Seen, batch, due_in, end_offset, produce, read, wait_for};
use crate::support::topics::alter;
use crate::support::{self, Broker, eventually, now_ms};
use bytes::Bytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::{Compression, ErrorCode, RecordBatch, RecordBatchBuilder, StrBytes};

const TIMESTAMP: [(&str, &str); 1] = [("delay.mode", "timestamp")];
const BOTH: [(&str, &str); 1] = [("delay.mode", "both")];

#[test]
fn a_record_from_the_future_is_visible_then_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &TIMESTAMP);
    assert!(
        !dir.path().join("delays").exists(),
        "nothing was delayed yet"
    );
    let due = due_in(3_000);
    let answer = produce(&mut client, "t", &[Asked::at(due, "later")]);
    assert_eq!((answer.error_code, answer.base_offset), (0, -1));
    assert_eq!(
        answer.log_append_time_ms, -1,
        "else clients would believe it"
    );
    let plain = produce(&mut client, "t", &[Asked::now("first")]);
    assert_eq!(
        (plain.error_code, plain.base_offset),
        (0, 0),
        "it overtakes"
    );
    let end = end_offset(&mut client, "t");
    assert_eq!(end, 1, "lag counts what is visible");
    let seen = wait_for(&mut client, "t", 2);
    assert_eq!(seen[0].value, "first");
    assert_eq!((&*seen[1].value, seen[1].timestamp), ("later", due));
    // Every reader sees it, from any connection, and nobody sees it twice.
    assert_eq!(read(&mut broker.connect(), "t"), seen);
    assert!(broker.stop());
    let verified = support::run(&["log", "verify", dir.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    assert!(!said.contains("delays"), "{said}");
    let broker = Broker::start(dir.path());
    assert_eq!(read(&mut broker.connect(), "t"), seen);
    let mut client = broker.connect();
    produce(&mut client, "t", &[Asked::at(due_in(100), "again")]);
    assert_eq!(wait_for(&mut client, "t", 3)[2].value, "again");
}

#[test]
fn every_codec_is_delivered_as_it_came_and_a_mixed_batch_in_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for (index, codec) in Compression::ALL.into_iter().enumerate() {
        let topic = format!("t{index}");
        client.create_topic(&topic, 1, &TIMESTAMP);
        let due = due_in(2_000);
        let whole = [Asked::at(due, "a"), Asked::at(due + 3, "b")];
        let whole = batch(&whole).compression(codec).build().unwrap();
        let answer = client.produce(&topic, 0, -1, whole.bytes.clone());
        assert_eq!(answer.error_code, 0);
        wait_for(&mut client, &topic, 2);
        let (soon, late) = (due_in(2_500), due_in(4_000));
        let mixed = [
            Asked::at(late, "late"),
            Asked::now("now"),
            Asked::at(soon, "soon"),
            Asked::now("now too"),
        ];
        let mixed = batch(&mixed).compression(codec).build().unwrap();
        let answer = client.produce(&topic, 0, -1, mixed.bytes);
        assert_eq!((answer.error_code, answer.base_offset), (0, -1));
        let values =
            |seen: Vec<Seen>| -> Vec<String> { seen.into_iter().map(|seen| seen.value).collect() };
        let order = ["a", "b", "now", "now too", "soon", "late"];
        assert_eq!(values(read(&mut client, &topic))[..4], order[..4]);
        assert_eq!(values(wait_for(&mut client, &topic, 6)), order);
        let found = delays::stored(&mut client, &topic, 0);
        let delivered = &found[0];
        assert!(delivered.header.producer_id < -1, "it carries its cursor");
        assert_eq!(
            delivered.records_bytes(),
            whole.records_bytes(),
            "{codec:?}"
        );
    }
}

#[test]
fn what_waits_comes_in_the_codec_of_the_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[TIMESTAMP[0], ("compression.type", "zstd")]);
    let (now, due) = (Asked::now("now"), due_in(1_500));
    let parts = [now, Asked::at(due, "a"), Asked::at(due + 5_000, "b")];
    for asked in [&parts[..], &[Asked::at(due, "c")]] {
        assert_eq!(produce(&mut client, "t", asked).error_code, 0);
    }
    wait_for(&mut client, "t", 4);
    let stored = delays::stored(&mut client, "t", 0);
    let zstd = |batch: &RecordBatch| batch.header.compression() == Ok(Compression::Zstd);
    assert!(stored.iter().all(zstd), "{stored:?}");
}

#[test]
fn headers_ask_for_delays_and_name_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &BOTH);
    let until = due_in(4_500);
    let mut ask = |headers: &[(&str, &str)], value: &str| {
        let answer = produce(&mut client, "t", &[Asked::with(headers, value)]);
        assert_eq!((answer.error_code, answer.base_offset), (0, -1), "{value}");
    };
    ask(&[("delay-ms", "2000")], "relative");
    ask(&[("delay-until", &until.to_string())], "absolute");
    ask(&[("delay-ms", "1500"), ("delay-id", "x")], "cancelled");
    ask(&[("delay-op", "cancel"), ("delay-id", "x")], "");
    ask(&[("delay-ms", "1800"), ("delay-id", "y")], "replaced");
    ask(
        &[
            ("delay-ms", "3000"),
            ("delay-id", "y"),
            ("delay-op", "replace"),
        ],
        "in its place",
    );
    ask(&[("delay-ms", "3500"), ("expire-ms", "100")], "expired");
    let seen = wait_for(&mut client, "t", 3);
    let order: Vec<&str> = seen.iter().map(|seen| &*seen.value).collect();
    assert_eq!(order, ["relative", "in its place", "absolute"]);
    produce(&mut client, "t", &[Asked::at(due_in(200), "last")]);
    assert_eq!(wait_for(&mut client, "t", 4)[3].value, "last");
}

/// The clock of the one producer runs ahead, the other tells of something to come.
#[test]
fn a_timestamp_behind_the_due_time_is_kept_as_far_as_any_record_may_be_from_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let header = [("delay.mode", "header")];
    client.create_topic("t", 1, &header);
    let (ahead, to_come) = (due_in(30_000), due_in(3_000_000));
    for (timestamp, value) in [(ahead, "ahead"), (to_come, "to come")] {
        let asked = Asked {
            timestamp,
            ..Asked::with(&[("delay-ms", "4000")], value)
        };
        assert_eq!(produce(&mut client, "t", &[asked]).error_code, 0);
    }
    let less = [header[0], ("message.timestamp.after.max.ms", "60000")];
    assert_eq!(alter(&mut client, "t", &less), 0);
    let seen = wait_for(&mut client, "t", 2);
    assert_eq!((&*seen[0].value, seen[0].timestamp), ("ahead", ahead));
    assert_eq!(&*seen[1].value, "to come");
    assert!(seen[1].timestamp <= now_ms(), "the limit is lower by now");
}

#[test]
fn what_cannot_be_delayed_is_refused_whole_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[BOTH[0], ("delay.max.ms", "60000")]);
    let headers = |headers: &[(&str, &str)]| Asked::with(headers, "v");
    let far = now_ms() + 3_600_000;
    let bad = ErrorCode::InvalidRecord;
    let time = ErrorCode::InvalidTimestamp;
    let cases = [
        (headers(&[("delay-ms", "+5")]), bad, "is not a number"),
        (headers(&[("delay-ms", "5e3")]), bad, "is not a number"),
        (headers(&[("delay-ms", "")]), bad, "is not a number"),
        (
            headers(&[("delay-ms", "1"), ("delay-until", "1")]),
            bad,
            "exclude each other",
        ),
        (
            headers(&[("delay-ms", "1"), ("delay-ms", "1")]),
            bad,
            "is there twice",
        ),
        (headers(&[("delay-op", "cancel")]), bad, "needs a delay-id"),
        (
            headers(&[("delay-ms", "60001")]),
            time,
            "delay.max.ms 60000",
        ),
        (Asked::at(far, "v"), time, "delay.max.ms 60000"),
        (Asked::at(far * 1_000, "v"), time, "delay.max.ms 60000"),
        (Asked::at(i64::MAX, "v"), time, "delay.max.ms 60000"),
        (Asked::at(-2, "v"), time, "before 1970"),
    ];
    for (wrong, code, text) in cases {
        let what = format!("{wrong:?}");
        let answer = produce(&mut client, "t", &[Asked::now("good"), wrong]);
        assert_eq!(answer.error_code, code.code(), "{what}");
        let message = answer.error_message.unwrap().to_string();
        assert!(message.contains(text), "{what}: {message}");
        if code == bad {
            assert_eq!(answer.record_errors.len(), 1, "{what}");
            assert_eq!(answer.record_errors[0].batch_index, 1, "{what}");
        }
    }
    // Microseconds are guessed.
    let answer = produce(
        &mut client,
        "t",
        &[Asked::at((now_ms() + 5_000) * 1_000, "v")],
    );
    assert!(answer.error_message.unwrap().contains("microseconds"));
    assert_eq!(read(&mut client, "t"), [], "nothing of any of them");
    assert!(!dir.path().join("delays").exists());
}

/// Case B8.
#[test]
fn neither_a_cursor_nor_a_far_timestamp_gets_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &BOTH);
    // A cursor cannot be forged.
    let forged = batch(&[Asked::now("v")]).build().unwrap();
    let mut header = forged.header;
    (
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    ) = (-5, 0, 1);
    let forged = RecordBatch::assemble(header, &forged.records_bytes()).unwrap();
    assert_eq!(
        client.produce("t", 0, 1, forged.bytes).error_code,
        ErrorCode::InvalidRecord.code()
    );
    assert_eq!(read(&mut client, "t"), []);
    // A timestamp far ahead would keep its segment for as long, unless that is its due time.
    let ahead = Asked {
        timestamp: now_ms() + 50_000,
        ..Asked::with(&[("delay-ms", "10")], "v")
    };
    client.create_topic(
        "u",
        1,
        &[BOTH[0], ("message.timestamp.after.max.ms", "1000")],
    );
    let answer = produce(&mut client, "u", &[ahead]);
    assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp.code());
}

#[test]
fn settings_that_cannot_stand_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let mut create = |name: &str, configs: &[(&str, &str)]| {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: StrBytes::from(*name),
            value: Some(StrBytes::from(*value)),
        });
        let topic = CreatableTopic {
            name: StrBytes::from(name),
            num_partitions: 1,
            replication_factor: -1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..CreateTopicsRequest::default()
        };
        let mut answer: CreateTopicsResponse = client.call(7, &request);
        let topic = answer.topics.remove(0);
        (
            topic.error_code,
            topic.error_message.unwrap_or_default().to_string(),
        )
    };
    let invalid = ErrorCode::InvalidConfig.code();
    let (code, text) = create("f", &[("delay.mode", "fixed")]);
    assert!(code == invalid && text.contains("delay.fixed.ms"), "{text}");
    let (code, text) = create("c", &[BOTH[0], ("cleanup.policy", "compact")]);
    assert!(code == invalid && text.contains("compacted"), "{text}");
    assert_eq!(create("t", &[("cleanup.policy", "compact")]).0, 0);
    let mut client = broker.connect();
    let both = [BOTH[0], ("cleanup.policy", "compact")];
    assert_eq!(alter(&mut client, "t", &both), invalid);
    assert_eq!(alter(&mut client, "t", &BOTH), 0);
    let due = due_in(3_000);
    assert_eq!(
        produce(&mut client, "t", &[Asked::at(due, "pending")]).base_offset,
        -1
    );
    // Switched off, nothing more is delayed, and what is pending comes all the same.
    assert_eq!(alter(&mut client, "t", &[]), 0);
    let now = produce(&mut client, "t", &[Asked::at(due_in(60_000), "at once")]);
    assert_eq!((now.error_code, now.base_offset), (0, 0));
    assert_eq!(wait_for(&mut client, "t", 2)[1].value, "pending");
}

#[test]
fn a_log_append_time_topic_says_when_records_became_visible() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let log_append = ("message.timestamp.type", "LogAppendTime");
    client.create_topic("append", 1, &[TIMESTAMP[0], log_append]);
    client.create_topic(
        "due",
        1,
        &[("delay.mode", "header"), ("delay.deliver.timestamp", "due")],
    );
    let due = due_in(2_000);
    produce(&mut client, "append", &[Asked::at(due, "v")]);
    assert!(wait_for(&mut client, "append", 1)[0].timestamp >= due);
    let until = due_in(2_000);
    let asked = Asked::with(&[("delay-until", &until.to_string())], "v");
    produce(&mut client, "due", &[asked]);
    assert_eq!(wait_for(&mut client, "due", 1)[0].timestamp, until);
}

/// Case R5.
#[test]
fn a_deleted_topic_takes_what_is_pending_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &TIMESTAMP);
    let due = due_in(3_000);
    produce(&mut client, "t", &[Asked::at(due, "of the old one")]);
    client.delete_topic("t");
    client.create_topic("t", 1, &TIMESTAMP);
    produce(&mut client, "t", &[Asked::at(due + 300, "of the new one")]);
    let seen = wait_for(&mut client, "t", 1);
    assert_eq!(seen[0].value, "of the new one");
    broker.kill();
    let broker = Broker::start(dir.path());
    assert_eq!(read(&mut broker.connect(), "t"), seen);
}

#[test]
fn an_idempotent_producer_is_known_whichever_way_its_batches_went() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &TIMESTAMP);
    let built = |builder: RecordBatchBuilder, sequence: i32| -> Bytes {
        builder.producer(5, 0, sequence).build().unwrap().bytes
    };
    let late = due_in(4_000);
    let sent = [
        built(batch(&[Asked::now("0")]), 0),
        built(batch(&[Asked::at(late, "1")]), 1),
        built(batch(&[Asked::now("2"), Asked::at(late, "3")]), 2),
        built(batch(&[Asked::now("4")]), 4),
    ];
    let offsets = [0, -1, -1, 2];
    let gap = built(batch(&[Asked::at(late, "6")]), 6);
    for round in 0..3 {
        for (bytes, offset) in sent.iter().zip(offsets) {
            let answer = client.produce("t", 0, -1, bytes.clone());
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (0, offset),
                "round {round}"
            );
        }
        let answer = client.produce("t", 0, -1, gap.clone());
        let out_of_order = ErrorCode::OutOfOrderSequenceNumber.code();
        assert_eq!(answer.error_code, out_of_order, "round {round}");
        if round == 0 {
            broker.kill();
            broker = Broker::start(dir.path());
            client = broker.connect();
        }
        if round == 1 {
            wait_for(&mut client, "t", 5);
        }
    }
    let next = client.produce(
        "t",
        0,
        -1,
        built(batch(&[Asked::at(due_in(2_000), "5")]), 5),
    );
    assert_eq!((next.error_code, next.base_offset), (0, -1));
    let seen = wait_for(&mut client, "t", 6);
    let order: Vec<&str> = seen.iter().map(|seen| &*seen.value).collect();
    assert_eq!(order, ["0", "2", "4", "1", "3", "5"]);
    assert!(broker.stop(), "also after a clean stop");
    let broker = Broker::start(dir.path());
    let again = broker.connect().produce("t", 0, -1, sent[3].clone());
    assert_eq!((again.error_code, again.base_offset), (0, 2));
}

#[test]
fn without_an_answer_records_are_delayed_too() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[TIMESTAMP[0], ("tidewheel.ack.all", "memory")]);
    let due = due_in(3_000);
    let bytes = batch(&[Asked::at(due, "v")]).build().unwrap().bytes;
    client.send(9, &support::produce_request("t", 0, 0, Some(bytes)));
    let again = produce(&mut client, "t", &[Asked::at(due, "w")]);
    assert_eq!((again.error_code, again.base_offset), (0, -1));
    assert_eq!(
        wait_for(&mut client, "t", 2)[1].value,
        "w",
        "as they were accepted"
    );
    let long = produce(
        &mut client,
        "t",
        &[Asked::at(due + 40 * 366 * 86_400_000, "v")],
    );
    assert_eq!(long.error_code, ErrorCode::InvalidTimestamp.code());
    let refused = batch(&[Asked::at(i64::MAX, "v")]).build().unwrap().bytes;
    client.send(9, &support::produce_request("t", 0, 0, Some(refused)));
    eventually("an error without an answer closes", || {
        client.is_closed_by_broker()
    });
}

/// What `message.max.bytes` is where nobody sets it.
const MESSAGE_BYTES_MAX: usize = 1_048_588;

/// A record whose batch has so many bytes.
fn of_len(due_ms: i64, len: usize) -> Asked {
    let mut asked = Asked::at(due_ms, &"y".repeat(len - 100));
    let missing = len
        - batch(std::slice::from_ref(&asked))
            .build()
            .unwrap()
            .bytes
            .len();
    asked.value += &"y".repeat(missing);
    asked
}

/// Cases B2, B3 and B7.
#[test]
fn a_year_of_days_in_one_batch_and_thousands_of_one_moment_stand_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("year", 1, &TIMESTAMP);
    client.create_topic("burst", 1, &TIMESTAMP);
    let day = 86_400_000;
    let days = (0..366).map(|days| Asked::at(due_in(days * day + 3_000), "day"));
    let days: Vec<Asked> = days.collect();
    let bytes = batch(&days).compression(Compression::Lz4).build().unwrap();
    assert_eq!(client.produce("year", 0, -1, bytes.bytes).error_code, 0);
    let due = due_in(6_000);
    for first in (0..10_000).step_by(1_000) {
        // Every other batch is split, for a part of it is due much later.
        let numbers = first..first + 1_000;
        let mut asked: Vec<Asked> = numbers.map(|n| Asked::at(due, &format!("{n}"))).collect();
        if first % 2_000 == 0 {
            asked.push(Asked::at(due + day, "tomorrow"));
        }
        assert_eq!(produce(&mut client, "burst", &asked).error_code, 0);
    }
    let largest = "x".repeat(1_000_000);
    let late = [
        Asked::at(due + 1, &largest),
        Asked::at(due + day, "tomorrow"),
    ];
    assert_eq!(produce(&mut client, "burst", &late).error_code, 0);
    let greatest = of_len(due + 1, MESSAGE_BYTES_MAX);
    let sent = produce(&mut client, "burst", std::slice::from_ref(&greatest));
    assert_eq!(sent.error_code, 0);
    let too_large = of_len(due + 1, MESSAGE_BYTES_MAX + 1);
    let refused = produce(&mut client, "burst", &[too_large]).error_code;
    assert_eq!(refused, ErrorCode::MessageTooLarge.code());
    for _ in 0..2 {
        broker.kill();
        broker = Broker::start(dir.path());
    }
    let mut client = broker.connect();
    let seen = wait_for(&mut client, "burst", 10_002);
    for (number, seen) in seen.iter().take(10_000).enumerate() {
        assert_eq!(seen.value, number.to_string(), "in the order of acceptance");
    }
    assert!(seen[10_000].value == largest && seen[10_001].value == greatest.value);
    assert_eq!(wait_for(&mut client, "year", 1).len(), 1);
}
