//! Changes of topics beside everything else: in the order of a connection, beside other clients, under
//! the same name again, and with the process killed in the middle.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::support::{self, Broker, Client, batch, batches, fetch_request, produce_request};
use bytes::Bytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::produce::ProduceResponse;
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, StrBytes, Uuid};

fn creation(name: &str, partitions: i32, timeout_ms: i32) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: StrBytes::from(name),
            num_partitions: partitions,
            replication_factor: -1,
            ..CreatableTopic::default()
        }],
        timeout_ms,
        ..CreateTopicsRequest::default()
    }
}

fn deletion(name: &str, timeout_ms: i32) -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        topic_names: vec![StrBytes::from(name)],
        timeout_ms,
        ..DeleteTopicsRequest::default()
    }
}

/// All topics: name, id, number of partitions.
fn topics(client: &mut Client) -> Vec<(String, Uuid, usize)> {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(12, &request);
    let topics = answer.topics.into_iter().map(|topic| {
        let name = topic.name.unwrap().to_string();
        (name, topic.topic_id, topic.partitions.len())
    });
    topics.collect()
}

/// As in Apache Kafka 4.3.1: no time is too little time, and nothing happens.
#[test]
fn a_change_with_no_time_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("there", 1, &[]);
    let timed_out = ErrorCode::RequestTimedOut.code();
    for timeout_ms in [0, -1, i32::MIN] {
        let answer: CreateTopicsResponse = client.call(7, &creation("late", 1, timeout_ms));
        assert_eq!(answer.topics[0].error_code, timed_out);
        let answer: DeleteTopicsResponse = client.call(5, &deletion("there", timeout_ms));
        assert_eq!(answer.responses[0].error_code, timed_out);
    }
    let names: Vec<String> = topics(&mut client)
        .into_iter()
        .map(|topic| topic.0)
        .collect();
    assert_eq!(names, ["there"]);
}

/// Kafka takes one request of a connection at a time, so what is sent behind a change sees it.
#[test]
fn requests_sent_behind_a_change_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for round in 0..20 {
        let produce = produce_request("t", 2, 1, Some(batch(&["x"])));
        let created = client.send(7, &creation("t", 3, 30_000));
        let first = client.send(9, &produce);
        let second = client.send(9, &produce);
        let deleted = client.send(5, &deletion("t", 30_000));
        let third = client.send(9, &produce);
        let created: CreateTopicsResponse = client.receive(7, created);
        assert_eq!(created.topics[0].error_code, 0, "round {round}");
        let codes: Vec<(i16, i64)> = [first, second]
            .map(|sent| {
                let answer: ProduceResponse = client.receive(9, sent);
                let partition = &answer.responses[0].partition_responses[0];
                (partition.error_code, partition.base_offset)
            })
            .to_vec();
        assert_eq!(codes, [(0, 0), (0, 1)], "round {round}");
        let deleted: DeleteTopicsResponse = client.receive(5, deleted);
        assert_eq!(deleted.responses[0].error_code, 0, "round {round}");
        let third: ProduceResponse = client.receive(9, third);
        let gone = third.responses[0].partition_responses[0].error_code;
        assert_eq!(gone, ErrorCode::UnknownTopicOrPartition.code());
    }
}

/// More than there are threads for blocking work.
const CREATORS: usize = 32;
/// How often it is tried.
const ROUNDS: usize = 3;

/// More clients create topics than there are threads for blocking work; who reads from the disk, writes
/// to it or wants a producer id is answered before the last of them.
#[test]
fn others_are_served_while_thousands_of_partitions_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("served", 1, &[]);
    let ids = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    let _: InitProducerIdResponse = client.call(4, &ids);
    // Where the machine is busy with something else this client may come too late by itself.
    let overtaken = (0..ROUNDS).any(|round| is_served_meanwhile(&broker, &mut client, &ids, round));
    assert!(overtaken, "others wait until all topics are made");
}

/// Whether a client is answered before the last of many that create topics.
fn is_served_meanwhile(
    broker: &Broker,
    client: &mut Client,
    ids: &InitProducerIdRequest,
    round: usize,
) -> bool {
    let mut creators: Vec<(Client, i32)> = (0..CREATORS)
        .map(|number| {
            let name = format!("many-{round}-{number}");
            let mut creator = broker.connect();
            let sent = creator.send(7, &creation(&name, 400, 60_000));
            (creator, sent)
        })
        .collect();
    assert_eq!(client.produce("served", 0, -1, batch(&["x"])).error_code, 0);
    let by_time = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from("served"),
            partitions: vec![ListOffsetsPartition::default()],
        }],
        ..ListOffsetsRequest::default()
    };
    let found: ListOffsetsResponse = client.call(7, &by_time);
    assert_eq!(found.topics[0].partitions[0].offset, 0);
    let id: InitProducerIdResponse = client.call(4, ids);
    assert_eq!(id.error_code, 0);
    let last = &creators[CREATORS - 1].0.socket;
    last.set_nonblocking(true).unwrap();
    let answered = last.peek(&mut [0]);
    last.set_nonblocking(false).unwrap();
    for (creator, sent) in &mut creators {
        let answer: CreateTopicsResponse = creator.receive(7, *sent);
        assert_eq!(answer.topics[0].error_code, 0);
    }
    assert_eq!(topics(client).len(), 1 + (round + 1) * CREATORS);
    answered.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Produces one record that says which topic id it was meant for, by that id.
fn produce_by_id(client: &mut Client, id: Uuid, producer: Option<i64>) -> (i16, i64) {
    let mut builder = RecordBatchBuilder::new();
    if let Some(producer) = producer {
        builder = builder.producer(producer, 0, 0);
    }
    let record = builder.record(support::now_ms(), None, Some(&id.0));
    let mut request = produce_request("", 0, 1, Some(record.build().unwrap().bytes));
    request.topic_data[0].topic_id = id;
    let answer: ProduceResponse = client.call(13, &request);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// The values of a fetch from offset 0, by name or by id; an error where the topic is gone.
fn fetch_values(client: &mut Client, name: &str, id: Option<Uuid>) -> Result<Vec<Bytes>, i16> {
    let mut request = fetch_request(name, 0, 0);
    request.topics[0].topic_id = id.unwrap_or_default();
    let version = if id.is_some() { 13 } else { 11 };
    let mut answer: FetchResponse<Bytes> = client.call(version, &request);
    let partition = answer.responses.remove(0).partitions.remove(0);
    if partition.error_code != 0 {
        return Err(partition.error_code);
    }
    let batches = batches(partition.records.unwrap_or_default());
    let values = batches.iter().flat_map(|batch| {
        let records: Vec<Bytes> = batch
            .records(1 << 20)
            .unwrap()
            .map(|record| record.unwrap().value.unwrap())
            .collect();
        records
    });
    Ok(values.collect())
}

#[test]
fn a_topic_made_again_under_its_name_shares_nothing_with_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let stop = AtomicBool::new(false);
    let gone = ErrorCode::UnknownTopicId.code();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = broker.connect();
            while !stop.load(Ordering::Acquire) {
                for (name, id, _) in topics(&mut client) {
                    assert_eq!(name, "again");
                    let (error, _) = produce_by_id(&mut client, id, None);
                    // Deleted between the look-up and the append, the partition is gone, as in Kafka.
                    let deleted = ErrorCode::UnknownTopicOrPartition.code();
                    assert!([0, gone, deleted].contains(&error), "{error}");
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut client = broker.connect();
            let mut seen: Vec<Bytes> = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let found = fetch_values(&mut client, "again", None);
                let ids: HashSet<Bytes> = found.unwrap_or_default().into_iter().collect();
                assert!(ids.len() <= 1, "one topic holds the records of one topic");
                for id in ids {
                    if seen.last() != Some(&id) {
                        assert!(!seen.contains(&id), "what is gone stays gone");
                        seen.push(id);
                    }
                }
            }
        });
        let mut old: Option<Uuid> = None;
        for round in 0..25 {
            client.create_topic("again", 1, &[]);
            let id = client.topic_id("again");
            assert_ne!(Some(id), old);
            let values = fetch_values(&mut client, "again", None).unwrap();
            assert!(values.iter().all(|value| **value == id.0), "round {round}");
            // The first batch of a producer that the old topic knew is no duplicate here.
            let (error, offset) = produce_by_id(&mut client, id, Some(77));
            assert_eq!(error, 0);
            let values = fetch_values(&mut client, "", Some(id)).unwrap();
            assert!(values.len() > usize::try_from(offset).unwrap());
            if let Some(old) = old {
                assert_eq!(fetch_values(&mut client, "", Some(old)), Err(gone));
                assert_eq!(produce_by_id(&mut client, old, None).0, gone);
            }
            client.delete_topic("again");
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(fetch_values(&mut client, "again", None), Err(unknown));
            old = Some(id);
        }
        stop.store(true, Ordering::Release);
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// A small generator, so that a seed tells the whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// What a client was told of a topic, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Created(Topic),
    /// Asked for or deleted without an answer.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Topic {
    id: Uuid,
    partitions: usize,
    retention: String,
    /// Whether partition 0 was written.
    written: bool,
}

/// Topics as the broker has them.
fn found(client: &mut Client) -> BTreeMap<String, Topic> {
    let mut all = BTreeMap::new();
    for (name, id, partitions) in topics(client) {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: 2,
                resource_name: StrBytes::from(name.as_str()),
                configuration_keys: Some(vec![StrBytes::from("retention.ms")]),
            }],
            ..DescribeConfigsRequest::default()
        };
        let answer: DescribeConfigsResponse = client.call(4, &request);
        let retention = answer.results[0].configs[0].value.clone().unwrap();
        let written = !client.consume(&name, 0, 0).is_empty();
        let topic = Topic {
            id,
            partitions,
            retention: retention.to_string(),
            written,
        };
        all.insert(name, topic);
    }
    all
}

fn random_creation(random: &mut Random, name: &str) -> CreateTopicsRequest {
    let partitions = 1 + i32::try_from(random.below(30)).unwrap();
    let mut request = creation(name, partitions, 30_000);
    request.topics[0].configs = vec![CreatableTopicConfig {
        name: StrBytes::from("retention.ms"),
        value: Some(StrBytes::from(format!(
            "{}",
            1_000_000 + random.below(1_000)
        ))),
    }];
    request
}

/// Creates, writes and deletes, and waits for each answer.
fn change_topics(client: &mut Client, random: &mut Random, told: &mut BTreeMap<String, Told>) {
    for _ in 0..random.below(12) {
        let name = format!("topic.{}", random.below(8));
        if told.contains_key(&name) {
            client.delete_topic(&name);
            told.remove(&name);
            continue;
        }
        let request = random_creation(random, &name);
        let answer: CreateTopicsResponse = client.call(7, &request);
        let created = &answer.topics[0];
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
        let written = random.below(2) == 0;
        if written {
            assert_eq!(client.produce(&name, 0, -1, batch(&["x"])).error_code, 0);
        }
        let topic = Topic {
            id: created.topic_id,
            partitions: usize::try_from(request.topics[0].num_partitions).unwrap(),
            retention: request.topics[0].configs[0]
                .value
                .clone()
                .unwrap()
                .to_string(),
            written,
        };
        told.insert(name, Told::Created(topic));
    }
}

/// Sends changes without waiting; nobody will ever say what became of them.
fn leave_changes(client: &mut Client, random: &mut Random, told: &mut BTreeMap<String, Told>) {
    for _ in 0..6 {
        let name = format!("topic.{}", random.below(8));
        match random.below(2) {
            0 => client.send(7, &random_creation(random, &name)),
            _ => client.send(5, &deletion(&name, 30_000)),
        };
        told.insert(name, Told::Unknown);
    }
    // With some of them answered the kill meets the others in the middle.
    for _ in 0..random.below(7) {
        client.read_frame().unwrap();
    }
}

/// The partition directories, and whether one that was deleted is still to be unlinked.
fn directories(dir: &Path) -> (HashSet<String>, bool) {
    let mut names = HashSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.insert(entry.file_name().into_string().unwrap());
        }
    }
    names.remove("__tidewheel_metadata-0");
    let deleted = names.iter().any(|name| name.ends_with("-delete"));
    (names, deleted)
}

/// Looks again and again, for as long as any healthy broker takes.
fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let (_sender, never) = sync_channel::<()>(0);
    let step = Duration::from_millis(50);
    let tries = support::PATIENCE.as_millis() / step.as_millis();
    let happened = (0..tries).any(|_| condition() || never.recv_timeout(step).is_ok());
    assert!(happened, "{what}");
}

#[test]
fn what_was_answered_stands_after_a_kill_in_the_middle_of_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Random(seed * 7_919 + 1);
        let broker = Broker::start(dir.path());
        let mut client = broker.connect();
        let found = found(&mut client);
        for name in found.keys() {
            assert!(told.contains_key(name), "{name} was deleted");
        }
        for (name, told) in &told {
            if let Told::Created(topic) = told {
                assert_eq!(found.get(name), Some(topic), "{name}");
            }
        }
        told = found
            .into_iter()
            .map(|(name, topic)| (name, Told::Created(topic)))
            .collect();
        change_topics(&mut client, &mut random, &mut told);
        leave_changes(&mut client, &mut random, &mut told);
        broker.kill();
    }
    let broker = Broker::start(dir.path());
    let written = found(&mut broker.connect());
    let written = written.into_iter().filter(|(_, topic)| topic.written);
    let expected: HashSet<String> = written.map(|(name, _)| format!("{name}-0")).collect();
    wait_until(
        || !directories(dir.path()).1,
        "what was deleted is unlinked",
    );
    assert_eq!(directories(dir.path()).0, expected);
    assert!(broker.stop());
    let verified = support::run(&["log", "verify", dir.path().to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
}
