//! `tidewheel produce` and `tidewheel consume`: records of a running broker, over Kafka's protocol.

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::{Compression, partition_of_key};

use crate::commands::{Running, fed, good, good_fed, ran, refused};
use crate::support::commands::objects;
use crate::support::topics::delete_records;
use crate::support::{Broker, batches, eventually, fetch_request, now_ms, run, tidewheel};

/// A broker with a topic `t` of three partitions.
fn scene(dir: &std::path::Path) -> Broker {
    let broker = Broker::start(dir);
    broker.connect().create_topic("t", 3, &[]);
    broker
}

/// What a topic holds, as objects, by partition and offset.
fn held(broker: &Broker, topic: &str) -> Vec<serde_json::Value> {
    let mut all = objects(&good(broker, &["consume", topic, "-e"]));
    all.sort_by_key(|one| (one["partition"].as_i64(), one["offset"].as_i64()));
    all
}

#[test]
fn lines_become_records_and_records_lines() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let told = good_fed(&broker, &["produce", "t", "-p", "1"], b"a\n\nb");
    assert_eq!(told, "topic t: 3 records produced\n");
    assert_eq!(
        good(&broker, &["produce", "t"]),
        "topic t: 0 records produced\n"
    );
    let text = good(&broker, &["consume", "t", "-e", "--format", "text"]);
    assert_eq!(text, "a\n\nb\n");
    let template = [
        "consume",
        "t",
        "-e",
        "-p",
        "1",
        "-f",
        "%t-%p %o [%v] %K%S\\n",
    ];
    assert_eq!(
        good(&broker, &template),
        "t-1 0 [a] -11\nt-1 1 [] -10\nt-1 2 [b] -11\n"
    );
    // Not on a terminal, it writes objects.
    let all = held(&broker, "t");
    assert_eq!(
        (&all[2]["value"], &all[2]["key"]),
        (&"b".into(), &serde_json::Value::Null)
    );
    assert!((all[0]["timestamp_ms"].as_i64().unwrap() - now_ms()).abs() < 600_000);
    let meta = objects(&good(&broker, &["consume", "t", "-e", "--meta-only"]));
    assert_eq!(
        (meta[0].get("value"), &meta[0]["value_size_bytes"]),
        (None, &1.into())
    );
    assert!(broker.stop());
}

#[test]
fn keys_choose_partitions_as_javas_client_does() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let input: String = (0..50).map(|n| format!("key{n} value {n}\n")).collect();
    let produce = [
        "produce", "t", "-f", "%k %v", "-H", "a:1", "-H", "b:x:y", "--format", "json",
    ];
    let told = objects(&good_fed(&broker, &produce, input.as_bytes()));
    assert_eq!(told.len(), 50);
    assert!(told.iter().all(|one| one["offset"].is_i64()));
    let all = held(&broker, "t");
    assert_eq!(all.len(), 50);
    for one in &all {
        let key = one["key"].as_str().unwrap();
        let partition = partition_of_key(key.as_bytes(), 3);
        assert_eq!(one["partition"], partition, "{key}");
        assert_eq!(one["value"], format!("value {}", &key[3..]));
        assert_eq!(one["headers"][1]["value"], "x:y");
    }
    let first = good(&broker, &["consume", "t", "-n", "1", "-f", "%h"]);
    assert_eq!(first, "a=1,b=x:y");
    good_fed(
        &broker,
        &["produce", "t", "-k", "fixed", "-p", "2", "--tombstone"],
        b"\n",
    );
    let last = objects(&good(
        &broker,
        &["consume", "t", "-p", "2", "-o", "-1", "-e"],
    ));
    assert_eq!(
        (&last[0]["key"], &last[0]["value"]),
        (&"fixed".into(), &serde_json::Value::Null)
    );
    assert!(broker.stop());
}

#[test]
fn every_codec_and_every_acks_is_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let line = format!("{}\n", "squeeze me ".repeat(50));
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        good_fed(
            &broker,
            &["produce", "t", "-p", "0", "-z", codec],
            line.as_bytes(),
        );
    }
    let answer: FetchResponse<Bytes> = broker.connect().call(11, &fetch_request("t", 0, 0));
    let records = answer.responses[0].partitions[0].records.clone().unwrap();
    let codecs: Vec<_> = batches(records)
        .iter()
        .map(|one| one.header.compression().unwrap())
        .collect();
    assert_eq!(codecs, Compression::ALL);
    let text = good(&broker, &["consume", "t", "-e", "-f", "%v\\n"]);
    assert_eq!(text, line.repeat(5));
    for acks in ["all", "-1", "1", "0"] {
        let produce = ["produce", "t", "-p", "1", &format!("--acks={acks}")];
        assert_eq!(
            good_fed(&broker, &produce, b"x\n"),
            "topic t: 1 record produced\n"
        );
    }
    eventually("nobody was waited for, and it came all the same", || {
        good(&broker, &["consume", "t", "-p", "1", "-e", "-f", "%v"]) == "xxxx"
    });
    assert!(broker.stop());
}

#[test]
fn a_topic_is_copied_with_keys_headers_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let input = br#"{"key":"k","value":{"base64":"AAH+"},"headers":[{"key":"h","value":null}],"timestamp_ms":1700000000000}
{"key":null,"value":"plain"}
{"value":null}
"#;
    good_fed(&broker, &["produce", "t", "--input", "jsonl"], input);
    let copied = good(&broker, &["consume", "t", "-e"]);
    let produce = ["produce", "copy", "--input", "jsonl", "--create-topic"];
    good_fed(&broker, &produce, copied.as_bytes());
    let strip = |topic| {
        let mut all = held(&broker, topic);
        for one in &mut all {
            let object = one.as_object_mut().unwrap();
            for name in ["topic", "partition", "offset"] {
                object.remove(name);
            }
        }
        let mut all: Vec<String> = all.iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    assert_eq!(strip("t"), strip("copy"));
    assert_eq!(strip("t").len(), 3);
    assert!(
        strip("t")
            .iter()
            .any(|one| one.contains("1700000000000") && one.contains("AAH+"))
    );
    assert!(broker.stop());
}

#[test]
fn records_are_delayed_as_their_topic_wants_to_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let mut client = broker.connect();
    for mode in ["header", "timestamp", "both"] {
        client.create_topic(mode, 1, &[("delay.mode", mode)]);
        let json = ["produce", mode, "--delay", "1h", "--format", "json"];
        let told = &objects(&good_fed(&broker, &json, b"later\n"))[0];
        assert_eq!(told["offset"], serde_json::Value::Null, "{mode}");
        let due = format!("{}", now_ms() + 500);
        good_fed(&broker, &["produce", mode, "--at", &due], b"soon\n");
        good_fed(
            &broker,
            &["produce", mode, "--at", "2001-01-01T00:00Z"],
            b"now\n",
        );
        let read = ["consume", mode, "-n", "2", "-f", "%v "];
        assert_eq!(good(&broker, &read), "now soon ", "{mode}");
    }
    client.create_topic(
        "fixed",
        1,
        &[("delay.mode", "fixed"), ("delay.fixed.ms", "1000")],
    );
    for (topic, word) in [
        ("t", "tidewheel config set delay.mode=both --topic t"),
        ("fixed", "delay.fixed.ms"),
    ] {
        let ran = fed(&broker, &["produce", topic, "--delay", "1h"], b"x\n");
        assert_eq!((ran.exit, ran.out.as_str()), (Some(1), ""));
        assert!(ran.said.contains(word), "{ran:?}");
    }
    assert!(broker.stop());
}

#[test]
fn a_batch_that_is_too_large_is_divided_and_a_record_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    broker
        .connect()
        .create_topic("small", 1, &[("max.message.bytes", "2000")]);
    let input: String = (0..500)
        .map(|n| format!("a line of the number {n}\n"))
        .collect();
    let told = good_fed(&broker, &["produce", "small"], input.as_bytes());
    assert_eq!(told, "topic small: 500 records produced\n");
    assert_eq!(
        good(&broker, &["consume", "small", "-e", "-f", "%v\\n"]),
        input
    );
    let large = "x".repeat(3_000);
    let ran = fed(
        &broker,
        &["produce", "small"],
        format!("fits\n{large}\n").as_bytes(),
    );
    // What is in the log already is told.
    let told = "topic small: 1 record produced\n";
    assert_eq!((ran.exit, ran.out.as_str()), (Some(1), told));
    assert!(
        ran.said.contains("small-0: ") && ran.said.contains("MESSAGE_TOO_LARGE"),
        "{ran:?}"
    );
    assert!(broker.stop());
}

#[test]
fn places_say_where_to_begin_and_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let input: String = (0..10)
        .map(|n| {
            format!(
                "{{\"value\":\"{n}\",\"timestamp_ms\":{}}}\n",
                1_700_000_000_000_i64 + n * 1_000
            )
        })
        .collect();
    good_fed(
        &broker,
        &["produce", "t", "-p", "0", "--input", "jsonl"],
        input.as_bytes(),
    );
    for (place, expected) in [
        ("start", "0123456789"),
        ("end", ""),
        ("7", "789"),
        ("+8", "89"),
        ("-3", "789"),
        ("@1700000006500", "789"),
        ("@1700000006", "6789"),
        ("@2023-11-14T22:13:28Z", "89"),
        ("2:5", "234"),
        (":4", "0123"),
        ("-4:-2", "67"),
        ("@1700000002:@1700000005", "234"),
    ] {
        let read = ["consume", "t", "-p", "0", "-o", place, "-e", "-f", "%v"];
        assert_eq!(good(&broker, &read), expected, "{place}");
    }
    // It ends by itself where an end was named, or a number.
    assert_eq!(
        good(
            &broker,
            &["consume", "t", "-p", "0", "-o", "4:6", "-f", "%v"]
        ),
        "45"
    );
    assert_eq!(
        good(&broker, &["consume", "t", "-n", "3", "-f", "%v"]),
        "012"
    );
    // Nothing that was not asked for, though there is something before it.
    let yet = ["consume", "t", "-p", "0", "-o", "20:30", "-e", "-f", "%v"];
    let yet = ran(&broker, &yet);
    assert_eq!((yet.exit, yet.out.as_str()), (Some(0), ""));
    assert!(yet.said.contains("offset 20 is not there yet"), "{yet:?}");
    assert_eq!(delete_records(&mut broker.connect(), "t", 0, 8), (0, 8));
    let gone = ran(
        &broker,
        &["consume", "t", "-p", "0", "-o", "2", "-e", "-f", "%v"],
    );
    assert_eq!((gone.exit, gone.out.as_str()), (Some(0), "89"));
    assert!(
        gone.said
            .contains("t-0: offset 2 is not there any more: beginning at 8"),
        "{gone:?}"
    );
    assert!(broker.stop());
}

#[test]
fn a_consumer_follows_what_a_producer_is_told_line_by_line_until_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let mut consumer = Running::start(&broker, &["consume", "t", "-f", "%v\\n"]);
    let mut producer = Running::start(&broker, &["produce", "t"]);
    for n in 0..5 {
        producer.feed(&format!("line {n}\n"));
        assert_eq!(consumer.line(), format!("line {n}\n"));
    }
    consumer.signal("-INT");
    assert_eq!(consumer.end(), (Some(0), String::new()));
    assert_eq!(producer.end(), (Some(0), String::new()));
    assert!(broker.stop());
}

#[test]
fn both_go_on_where_a_broker_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let address = broker.address.clone();
    let mut consumer = Running::start(&broker, &["consume", "t", "-f", "%v\\n"]);
    let mut producer = Running::start(&broker, &["produce", "t", "-p", "0"]);
    producer.feed("before\n");
    assert_eq!(consumer.line(), "before\n");
    broker.kill();
    producer.feed("after\n");
    let mut command = tidewheel(&["serve", "--set"]);
    command.arg(format!("listeners=PLAINTEXT://{address}"));
    let broker = Broker::spawn(&mut command, dir.path());
    assert_eq!(consumer.line(), "after\n");
    assert_eq!(producer.end(), (Some(0), String::new()));
    consumer.signal("-INT");
    let (exit, said) = consumer.end();
    assert_eq!(
        (exit, said.matches("trying again").count()),
        (Some(0), 1),
        "{said}"
    );
    assert_eq!(
        good(&broker, &["consume", "t", "-e", "-f", "%v "]),
        "before after "
    );
    assert!(broker.stop());
}

#[test]
fn who_has_seen_enough_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    let input = "a line\n".repeat(100_000);
    good_fed(&broker, &["produce", "t", "-z", "lz4"], input.as_bytes());
    let mut consumer = Running::start(&broker, &["consume", "t", "-f", "%v\\n"]);
    assert_eq!(consumer.line(), "a line\n");
    let (exit, said) = consumer.leave();
    assert_eq!((exit, said.as_str()), (Some(1), ""));
    assert!(broker.stop());
}

#[test]
fn what_is_refused_says_why_and_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path());
    refused(
        &broker,
        &[
            (
                &["consume", "none"],
                3,
                "topic none: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["consume", "t", "-p", "9"],
                3,
                "t-9: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["produce", "none"],
                3,
                "topic none: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["produce", "t", "-p", "9"],
                3,
                "t-9: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (&["consume", "t", "-o", "soon"], 2, "it is not start, end"),
            (&["consume", "t", "-f", "%q"], 2, "it knows %t"),
            (&["consume", "t", "-n", "0"], 2, "invalid value"),
            (&["consume"], 2, "required"),
            (&["produce", "t", "-f", "%q"], 2, "it knows %k"),
            (&["produce", "t", "-H", "no colon"], 2, "is not NAME:VALUE"),
            (&["produce", "t", "-z", "rar"], 2, "invalid value"),
            (&["produce", "t", "--acks", "2"], 2, "invalid value"),
            (
                &["produce", "t", "--delay", "5 years"],
                2,
                "it is no duration",
            ),
            (&["produce", "t", "--at", "soon"], 2, "it is no time"),
            (
                &["produce", "t", "--delay", "5m", "--at", "2100-01-01"],
                2,
                "cannot be used with",
            ),
        ],
    );
    let wrong = fed(
        &broker,
        &["produce", "t", "-f", "%k:%v"],
        b"a:1\nno colon\n",
    );
    assert_eq!(wrong.exit, Some(1));
    assert_eq!(wrong.out, "topic t: 1 record produced\n");
    assert!(
        wrong
            .said
            .contains("record 2: it does not look like the template"),
        "{wrong:?}"
    );
    assert!(broker.stop());
    for command in ["produce", "consume"] {
        let help = run(&[command, "--help"]);
        assert!(help.status.success());
        let nobody = run(&[command, "t", "--brokers", "127.0.0.1:1"]);
        assert_eq!(nobody.status.code(), Some(1));
    }
}
