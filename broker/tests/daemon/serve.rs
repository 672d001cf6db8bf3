//! Starting and stopping: what a user sees on the first run, after a mistake, and after a restart.

use std::net::TcpListener;

use crate::support::{self, Broker, batch, eventually, run, tidewheel};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::{ErrorCode, StrBytes};

/// Runs `serve`, which must fail with `exit` and one sentence that holds all of `words`.
fn fails(arguments: &[&str], exit: i32, words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} should speak of {word:?}: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(
        output.stdout.is_empty(),
        "stdout carries only the ready line"
    );
}

#[test]
fn the_ready_line_tells_where_and_the_port_file_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let port_file = dir.path().join("port.json");
    let mut command = tidewheel(&["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .arg("--port-file")
        .arg(&port_file);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::fs::read_to_string(&port_file).unwrap(), line);
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["pid"], pid);
    assert!(ready["admin"].is_null());
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ready["data_dir"], dir.path().join("data").to_str().unwrap());
    let listener = ready["listeners"][0].as_str().unwrap();
    assert!(listener.starts_with("PLAINTEXT://127.0.0.1:"), "{listener}");
    assert!(!listener.ends_with(":0"), "{listener}");
}

#[test]
fn mistakes_in_the_configuration_are_told_all_at_once_and_start_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data_dir = data.to_str().unwrap();
    let serve = |sets: &[&str], words: &[&str]| {
        let mut arguments = vec!["serve", "--data-dir", data_dir];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        fails(&arguments, 2, words);
        assert!(!data.exists(), "nothing half-started");
    };
    serve(
        &["log.segment.byte=1"],
        &["log.segment.byte", "log.segment.bytes"],
    );
    serve(
        &["num.partitions=many", "node.id=-5"],
        &["num.partitions", "node.id"],
    );
    serve(&["listeners=SSL://127.0.0.1:0"], &["listeners"]);
    serve(
        &["ssl.keystore.location=/k.jks"],
        &["ssl.keystore.location", "not built yet"],
    );
    serve(&["log.cleanup.policy=none"], &["log.cleanup.policy"]);
    fails(&["serve", "--nonsense"], 2, &["--nonsense"]);
    fails(
        &["serve", "--config", "/nonexistent.toml"],
        2,
        &["/nonexistent.toml"],
    );
}

#[test]
fn a_toml_file_and_set_go_through_the_same_table_and_set_wins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.toml");
    std::fs::write(
        &file,
        "num.partitions = 3\nnode.id = 8\n[log]\nsegment.bytes = \"4MiB\"\n",
    )
    .unwrap();
    let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.args([
        "--set",
        "node.id=9",
        "--set",
        "tidewheel.admin.listen=127.0.0.1:0",
        "--config",
    ]);
    let broker = Broker::spawn(command.arg(&file), &dir.path().join("data"));
    let request = MetadataRequest {
        topics: Some(vec![support::metadata_topic("made")]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = broker.connect().call(9, &request);
    assert_eq!(answer.topics[0].partitions.len(), 3);
    assert_eq!(answer.brokers[0].node_id, 9);
}

/// Kafka's own file, with a port of its own, and the environment of its images.
#[test]
fn a_properties_file_and_the_environment_of_kafka_start_a_broker() {
    let stock = include_str!("../../../config/tests/data/kafka-4-server.properties");
    let text = stock.replace("PLAINTEXT://:9092,", "PLAINTEXT://127.0.0.1:0,");
    assert_ne!(text, stock);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, text).unwrap();
    let mut command = tidewheel(&["serve", "--config"]);
    command.arg(&file).env("KAFKA_NUM_PARTITIONS", "3");
    let broker = Broker::spawn(&mut command, &dir.path().join("data"));
    assert_eq!(broker.ready["listeners"].as_array().unwrap().len(), 1);
    let request = MetadataRequest {
        topics: Some(vec![support::metadata_topic("made")]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let mut client = broker.connect();
    let answer: MetadataResponse = client.call(9, &request);
    assert_eq!(answer.topics[0].partitions.len(), 3);
    let node = &answer.brokers[0];
    assert_eq!((&*node.host, node.port), ("localhost", 9092));
    assert_eq!(client.produce("made", 2, -1, batch(&["x"])).error_code, 0);
    assert!(broker.stop());
}

#[test]
fn a_taken_port_is_told_and_the_data_directory_stays_unmade() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = format!("listeners=PLAINTEXT://{}", taken.local_addr().unwrap());
    let arguments = [
        "serve",
        "--set",
        &listeners,
        "--data-dir",
        data.to_str().unwrap(),
    ];
    fails(&arguments, 1, &[&taken.local_addr().unwrap().to_string()]);
    assert!(!data.exists(), "nothing half-started");
}

fn refused(data: &std::path::Path, words: &[&str]) {
    let listeners = "listeners=PLAINTEXT://127.0.0.1:0";
    fails(
        &[
            "serve",
            "--set",
            listeners,
            "--data-dir",
            data.to_str().unwrap(),
        ],
        1,
        words,
    );
}

#[test]
fn unusable_data_directories_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the directory should be.
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    refused(&file, &["file"]);
    // A directory that Apache Kafka wrote.
    let kafka = dir.path().join("kafka");
    std::fs::create_dir(&kafka).unwrap();
    let properties = "version=1\ncluster.id=MMLmzvLqQ8aZ4Gv8hQ9Wtw\nnode.id=1\n";
    std::fs::write(kafka.join("meta.properties"), properties).unwrap();
    refused(&kafka, &["Kafka"]);
    assert_eq!(
        std::fs::read_to_string(kafka.join("meta.properties")).unwrap(),
        properties
    );
    assert_eq!(std::fs::read_dir(&kafka).unwrap().count(), 1, "untouched");
    // A directory with somebody's files.
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("thesis.txt"), "x").unwrap();
    refused(&full, &["full"]);
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1, "untouched");
}

#[test]
fn a_directory_in_use_or_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    refused(dir.path(), &["in use"]);
    // The broker that has it is not disturbed.
    broker.connect().create_topic("still-here", 1, &[]);
    assert!(broker.stop());
    let meta = dir.path().join("meta.properties");
    let text = std::fs::read_to_string(&meta).unwrap();
    assert!(text.contains("tidewheel.format.version=1"), "{text}");
    let newer = text.replace("tidewheel.format.version=1", "tidewheel.format.version=999");
    std::fs::write(&meta, &newer).unwrap();
    refused(dir.path(), &["999"]);
    assert_eq!(std::fs::read_to_string(&meta).unwrap(), newer, "untouched");
}

#[test]
fn gotcha_14_topics_ids_and_records_are_the_same_after_a_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("kept", 2, &[("retention.ms", "-1")]);
    client.create_topic("gone", 1, &[]);
    client.delete_topic("gone");
    let described = |broker: &Broker| -> MetadataResponse {
        broker.connect().call(
            10,
            &MetadataRequest {
                topics: None,
                ..MetadataRequest::default()
            },
        )
    };
    let first = described(&broker);
    let mut epoch = first.topics[0].partitions[0].leader_epoch;
    for round in 0..4 {
        let value = format!("value {round}");
        let answer = broker.connect().produce("kept", 1, -1, batch(&[&value]));
        assert_eq!((answer.error_code, answer.base_offset), (0, round));
        if round % 2 == 0 {
            assert!(broker.stop(), "a clean stop");
        } else {
            broker.kill();
        }
        broker = Broker::start(dir.path());
        let now = described(&broker);
        assert_eq!(now.cluster_id, first.cluster_id);
        let [topic] = now.topics.as_slice() else {
            panic!("{:?}", now.topics)
        };
        assert_eq!(topic.topic_id, first.topics[0].topic_id);
        assert_eq!(topic.partitions.len(), 2);
        let next = topic.partitions[1].leader_epoch;
        assert!(
            next > epoch,
            "every start leads under a higher epoch: {next} after {epoch}"
        );
        epoch = next;
        let read = broker.connect().consume("kept", 1, 0);
        let values: Vec<String> = read
            .iter()
            .map(|read| String::from_utf8_lossy(&read.value).into_owned())
            .collect();
        let expected: Vec<String> = (0..=round).map(|round| format!("value {round}")).collect();
        assert_eq!(values, expected);
    }
}

#[test]
fn gotcha_12_a_topic_is_created_on_first_use_unless_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["auto.create.topics.enable=false"]);
    let request = MetadataRequest {
        topics: Some(vec![support::metadata_topic("wanted")]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = broker.connect().call(9, &request);
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    assert_eq!(answer.topics[0].name, Some(StrBytes::from("wanted")));
}

/// With several directories, and with a partition directory that is gone, every partition still has
/// its own records: logs are known by their names, not by the order in which they are opened.
#[test]
fn partitions_keep_their_own_records_over_several_directories_and_a_lost_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let dirs = format!("log.dirs={},{}", one.display(), two.display());
    let start = || {
        let listeners = "listeners=PLAINTEXT://127.0.0.1:0";
        Broker::spawn_as_is(
            &mut tidewheel(&["serve", "--set", listeners, "--set", &dirs]),
            &one,
        )
    };
    let broker = start();
    let mut client = broker.connect();
    let topics = [("a", 2), ("b", 1), ("c", 5)];
    for (topic, partitions) in topics {
        client.create_topic(topic, partitions, &[]);
        for partition in 0..partitions {
            let value = format!("{topic}-{partition}");
            assert_eq!(
                client
                    .produce(topic, partition, -1, batch(&[&value]))
                    .error_code,
                0
            );
        }
    }
    assert!(broker.stop());
    let lost = [&one, &two]
        .map(|dir| dir.join("b-0"))
        .into_iter()
        .find(|path| path.exists());
    std::fs::remove_dir_all(lost.unwrap()).unwrap();
    let broker = start();
    for (topic, partitions) in topics {
        for partition in 0..partitions {
            let read = broker.connect().consume(topic, partition, 0);
            let values: Vec<&[u8]> = read.iter().map(|read| &*read.value).collect();
            let own = format!("{topic}-{partition}");
            let expected: &[&[u8]] = if topic == "b" { &[] } else { &[own.as_bytes()] };
            assert_eq!(values, expected, "{topic}-{partition}");
        }
    }
    assert!(broker.stop());
}

#[test]
fn sealed_segments_are_scrubbed_unless_the_rate_is_0() {
    for (rate, scrubbers) in [("1000000", 1), ("0", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let rate = format!("tidewheel.scrub.max.bytes.per.second={rate}");
        let broker = Broker::start_with(dir.path(), &[&rate]);
        let tasks = format!("/proc/{}/task", broker.pid());
        let named = |wanted: &str| {
            let tasks = std::fs::read_dir(&tasks).unwrap();
            let comm = |task: std::io::Result<std::fs::DirEntry>| task.unwrap().path().join("comm");
            let names = tasks.map(|task| std::fs::read_to_string(comm(task)).unwrap_or_default());
            names.filter(|name| name.trim() == wanted).count()
        };
        // A thread names itself when it first runs; the main one keeps this name.
        eventually("every thread has its name", || named("tidewheel") == 1);
        // The kernel keeps fifteen bytes of a name.
        assert_eq!(named("tidewheel-scrub"), scrubbers, "{rate}");
        assert!(broker.stop());
    }
}
