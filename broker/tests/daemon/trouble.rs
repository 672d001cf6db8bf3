//! Commands whose brokers move, fall silent, lose answers, or say what no broker should.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};
use tidewheel_protocol::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::commands::{Running, fed_at, good, good_fed};
use crate::relay::{Asked, relay};
use crate::support::commands::objects;
use crate::support::{Broker, batch, batches, fetch_request, now_ms, tidewheel};

/// A broker with a topic `t` of so many partitions.
fn scene(dir: &std::path::Path, partitions: i32) -> Broker {
    let broker = Broker::start(dir);
    broker.connect().create_topic("t", partitions, &[]);
    broker
}

fn values(broker: &Broker) -> String {
    good(broker, &["consume", "t", "-e", "-f", "%v "])
}

/// The answer to a produce request, of this partition of this topic and no other.
fn produced(topic: &str, index: i32, code: ErrorCode) -> ProduceResponse {
    ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: StrBytes::from(topic),
            partition_responses: vec![PartitionProduceResponse {
                index,
                error_code: code.code(),
                ..PartitionProduceResponse::default()
            }],
            ..TopicProduceResponse::default()
        }],
        ..ProduceResponse::default()
    }
}

/// Has every partition of an answer say that somebody else leads it.
fn not_leading(answer: &mut FetchResponse<Bytes>) {
    let topics = answer.responses.iter_mut();
    for data in topics.flat_map(|topic| &mut topic.partitions) {
        data.error_code = ErrorCode::NotLeaderOrFollower.code();
        data.records = None;
    }
}

/// Every other answer to a produce request gets lost, when its records have been appended.
#[test]
fn what_is_sent_again_after_a_lost_answer_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let address = relay(&broker.address, move |asked| {
        let is_one = asked.of::<ProduceRequest>().is_some();
        let is_lost = is_one && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        asked.passed().filter(|_| !is_lost)
    });
    let produce = ["produce", "t", "--format", "json"];
    let told = objects(&fed_at(&address, &produce, b"a\nb\nc\n").good());
    let offsets: Vec<_> = told.iter().map(|one| one["offset"].as_i64()).collect();
    assert_eq!(offsets, [Some(0), Some(1), Some(2)]);
    assert_eq!(values(&broker), "a b c ");
    let before = sent.load(Ordering::SeqCst);
    assert!(before > 1 && before.is_multiple_of(2), "{before}");
    // Without it brokers cannot tell.
    fed_at(&address, &["produce", "t", "--acks", "1"], b"x\n").good();
    assert_eq!(values(&broker), "a b c x x ");
    assert!(broker.stop());
}

#[test]
fn an_idempotent_producer_numbers_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let mut producer = Running::start(&broker, &["produce", "t", "--format", "json"]);
    for lines in ["a\n", "b\nc\n", "d\n"] {
        producer.feed(lines);
        lines.lines().for_each(|_| drop(producer.line()));
    }
    assert_eq!(producer.end(), (Some(0), String::new()));
    good_fed(&broker, &["produce", "t", "--acks", "1"], b"x\n");
    let answer: FetchResponse<Bytes> = broker.connect().call(11, &fetch_request("t", 0, 0));
    let records = answer.responses[0].partitions[0].records.clone().unwrap();
    let mut batches = batches(records);
    let last = batches.pop().unwrap().header;
    assert_eq!((last.producer_id, last.base_sequence), (-1, -1));
    assert!(batches.len() >= 3, "{batches:?}");
    let first = batches[0].header.producer_id;
    for batch in batches {
        assert!(first >= 0 && batch.header.producer_id == first);
        // It has this partition to itself.
        let sequence = i64::from(batch.header.base_sequence);
        assert_eq!(sequence, batch.header.base_offset);
    }
    assert!(broker.stop());
}

/// Whoever asks again and again would append again and again.
#[test]
fn an_answer_that_tells_nothing_of_the_records_ends_a_producer() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    for lie in [
        ProduceResponse::default(),
        produced("t", 7, ErrorCode::None),
        produced("u", 0, ErrorCode::None),
        produced("t", 7, ErrorCode::NotLeaderOrFollower),
    ] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let address = relay(&broker.address, move |asked| {
            if asked.of::<ProduceRequest>().is_none() {
                return asked.passed();
            }
            count.fetch_add(1, Ordering::SeqCst);
            asked.answered(&lie)
        });
        let ran = fed_at(&address, &["produce", "t"], b"x\n");
        assert_eq!(ran.exit, Some(1), "{ran:?}");
        assert_eq!(ran.out, "topic t: 0 records produced\n");
        assert!(ran.said.contains("tells nothing of it"), "{ran:?}");
        assert_eq!(sent.load(Ordering::SeqCst), 1);
    }
    assert!(broker.stop());
}

#[test]
fn who_waits_in_vain_for_records_to_come_or_go_ends_with_4() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    good_fed(&broker, &["produce", "t"], b"a\n");
    let address = relay(&broker.address, |asked| {
        let waits = asked.of::<ProduceRequest>().is_some() || asked.of::<FetchRequest>().is_some();
        if waits {
            Asked::silence()
        } else {
            asked.passed()
        }
    });
    for command in [
        &["produce", "t", "--timeout", "1"][..],
        &["consume", "t", "-e", "--timeout", "1"],
    ] {
        let ran = fed_at(&address, command, b"x\n");
        assert_eq!(ran.exit, Some(4), "{ran:?}");
    }
    assert!(broker.stop());
}

/// The first of two brokers, which share one behind them: the second leads until this is set.
fn two_brokers(broker: &Broker) -> (String, Arc<AtomicBool>) {
    let addresses: Arc<OnceLock<[String; 2]>> = Arc::default();
    let moved = Arc::new(AtomicBool::new(false));
    let relays = [1, 2].map(|node| {
        let (addresses, moved) = (Arc::clone(&addresses), Arc::clone(&moved));
        relay(&broker.address, move |asked| {
            let leader = if moved.load(Ordering::SeqCst) { 1 } else { 2 };
            if asked.of::<MetadataRequest>().is_some() {
                let all = (1..).zip(addresses.wait());
                let brokers = all.map(|(node_id, address)| {
                    let (host, port) = address.split_once(':').unwrap();
                    MetadataResponseBroker {
                        node_id,
                        host: StrBytes::from(host),
                        port: port.parse().unwrap(),
                        rack: None,
                    }
                });
                let brokers = brokers.collect();
                return asked.changed(|answer: &mut MetadataResponse| {
                    answer.brokers = brokers;
                    let topics = answer.topics.iter_mut();
                    let partitions = topics.flat_map(|topic| &mut topic.partitions);
                    partitions.for_each(|partition| partition.leader_id = leader);
                });
            }
            if leader == node {
                return asked.passed();
            }
            if asked.of::<ProduceRequest>().is_some() {
                return asked.answered(&produced("t", 0, ErrorCode::NotLeaderOrFollower));
            }
            match asked.of::<FetchRequest>() {
                Some(_) => asked.changed(not_leading),
                None => asked.passed(),
            }
        })
    });
    addresses.set(relays.clone()).unwrap();
    let [first, _] = relays;
    (first, moved)
}

#[test]
fn records_go_on_with_the_broker_that_leads_now() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let (address, moved) = two_brokers(&broker);
    let mut consumer = Running::start_at(&address, &["consume", "t", "-f", "%v\\n"]);
    let mut producer = Running::start_at(&address, &["produce", "t"]);
    producer.feed("before\n");
    assert_eq!(consumer.line(), "before\n");
    moved.store(true, Ordering::SeqCst);
    producer.feed("after\n");
    assert_eq!(consumer.line(), "after\n");
    // That one may have answered a request from before the change; the next request is refused for certain.
    producer.feed("again\n");
    assert_eq!(consumer.line(), "again\n");
    assert_eq!(producer.end(), (Some(0), String::new()));
    consumer.signal("-INT");
    let (exit, said) = consumer.end();
    assert_eq!((exit, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.contains("NOT_LEADER_OR_FOLLOWER"), "{said}");
    assert_eq!(values(&broker), "before after again ");
    assert!(broker.stop());
}

#[test]
fn a_leader_that_moves_while_offsets_are_looked_up_is_looked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 2);
    good_fed(&broker, &["produce", "t", "-p", "1"], b"a\n");
    let asked_for = AtomicUsize::new(0);
    let address = relay(&broker.address, move |asked| {
        let is_one = asked.of::<ListOffsetsRequest>().is_some();
        if !is_one || asked_for.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return asked.passed();
        }
        asked.changed(|answer: &mut ListOffsetsResponse| {
            // The other one is not asked for again.
            let partitions = &mut answer.topics[0].partitions;
            let moved = partitions.iter_mut().find(|one| one.partition_index == 1);
            moved.unwrap().error_code = ErrorCode::NotLeaderOrFollower.code();
        })
    });
    let ran = fed_at(&address, &["consume", "t", "-e", "-f", "%v"], b"");
    assert_eq!(ran.good(), "a");
    assert!(broker.stop());
}

#[test]
fn a_partition_without_a_leader_keeps_nobody_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 2);
    let address = relay(&broker.address, |asked| {
        if asked.of::<MetadataRequest>().is_none() {
            return asked.passed();
        }
        asked.changed(|answer: &mut MetadataResponse| {
            let topics = answer.topics.iter_mut();
            for topic in topics.filter(|topic| topic.partitions.len() > 1) {
                topic.partitions[1].error_code = ErrorCode::LeaderNotAvailable.code();
                topic.partitions[1].leader_id = -1;
            }
        })
    });
    let began_ms = now_ms();
    fed_at(&address, &["produce", "t", "-p", "0"], b"a\nb\n").good();
    let read = ["consume", "t", "-p", "0", "-e", "-f", "%v"];
    assert_eq!(fed_at(&address, &read, b"").good(), "ab");
    let trim = ["topic", "trim", "t", "-p", "0", "--to", "+1"];
    fed_at(&address, &trim, b"").good();
    fed_at(&address, &["topic", "add-partitions", "t", "-n", "1"], b"").good();
    // Whoever waits for that leader waits for 30 s.
    assert!(now_ms() - began_ms < 25_000);
    let read = ["consume", "t", "-p", "1", "-e", "--timeout", "5"];
    let ran = fed_at(&address, &read, b"");
    assert_eq!(ran.exit, Some(1), "{ran:?}");
    assert!(ran.said.contains("t-1: LEADER_NOT_AVAILABLE"), "{ran:?}");
    assert!(broker.stop());
}

/// Asked for together they would be made again together, and those that are there already refused.
#[test]
fn a_topic_that_has_to_wait_is_asked_for_again_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let asked_for: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let log = Arc::clone(&asked_for);
    let address = relay(&broker.address, move |asked| {
        let Some(request) = asked.of::<CreateTopicsRequest>() else {
            return asked.passed();
        };
        let names = request.topics.iter().map(|topic| topic.name.to_string());
        let (names, mut log) = (names.collect::<Vec<_>>(), log.lock().unwrap());
        let is_first = log.iter().flatten().all(|name| name != "b");
        log.push(names.clone());
        if !is_first || !names.contains(&"b".to_owned()) {
            return asked.passed();
        }
        let code = ErrorCode::ThrottlingQuotaExceeded.code();
        let topics = names.iter().map(|name| CreatableTopicResult {
            name: StrBytes::from(name.as_str()),
            error_code: code,
            ..CreatableTopicResult::default()
        });
        asked.answered(&CreateTopicsResponse {
            topics: topics.collect(),
            ..CreateTopicsResponse::default()
        })
    });
    let ran = fed_at(&address, &["topic", "create", "a", "b"], b"");
    assert_eq!(ran.good(), "topic a: created\ntopic b: created\n");
    assert_eq!(*asked_for.lock().unwrap(), [["a"], ["b"], ["b"]]);
    let ran = fed_at(&broker.address, &["topic", "delete", "a", "b"], b"");
    assert_eq!(ran.good(), "topic a: deleted\ntopic b: deleted\n");
    assert!(broker.stop());
}

#[test]
fn a_topic_that_is_deleted_ends_who_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let consume = ["consume", "t", "--timeout", "5", "-f", "%v\\n"];
    let mut consumer = Running::start(&broker, &consume);
    good_fed(&broker, &["produce", "t"], b"a\n");
    assert_eq!(consumer.line(), "a\n");
    broker.connect().delete_topic("t");
    let (exit, said) = consumer.end();
    assert_eq!(exit, Some(3), "{said}");
    assert!(
        said.ends_with("t-0: UNKNOWN_TOPIC_OR_PARTITION\n"),
        "{said}"
    );
    assert!(broker.stop());
}

#[test]
fn who_wants_so_many_records_gives_up_on_a_broker_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let consume = ["consume", "t", "-n", "5", "--timeout", "5", "-f", "%v\\n"];
    let mut consumer = Running::start(&broker, &consume);
    good_fed(&broker, &["produce", "t"], b"a\n");
    assert_eq!(consumer.line(), "a\n");
    broker.kill();
    let (exit, said) = consumer.end();
    assert_eq!(exit, Some(1), "{said}");
}

/// It would be asked for and come again for ever.
#[test]
fn records_that_nobody_has_asked_for_end_a_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    good_fed(&broker, &["produce", "t"], b"a\nb\nc\n");
    let early = batch(&["early"]);
    for records in [early.clone(), early.slice(..early.len() - 1)] {
        let address = relay(&broker.address, move |asked| {
            if asked.of::<FetchRequest>().is_none() {
                return asked.passed();
            }
            asked.changed(|answer: &mut FetchResponse<Bytes>| {
                answer.responses[0].partitions[0].records = Some(records.clone());
            })
        });
        let ran = fed_at(&address, &["consume", "t", "-o", "2", "-e"], b"");
        assert_eq!((ran.exit, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        let why = "none of the records that were asked for";
        assert!(ran.said.contains(why), "{ran:?}");
    }
    assert!(broker.stop());
}

/// As where a topic was made anew, with less in it.
#[test]
fn an_end_that_is_never_reached_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    good_fed(&broker, &["produce", "t"], b"a\nb\n");
    let address = relay(&broker.address, |asked| {
        let Some(request) = asked.of::<ListOffsetsRequest>() else {
            return asked.passed();
        };
        let is_end = request.topics[0].partitions[0].timestamp == -1;
        asked.changed(|answer: &mut ListOffsetsResponse| {
            answer.topics[0].partitions[0].offset += if is_end { 5 } else { 0 };
        })
    });
    let read = ["consume", "t", "-e", "--timeout", "5", "-f", "%v"];
    let ran = fed_at(&address, &read, b"");
    assert_eq!((ran.exit, ran.out.as_str()), (Some(0), "ab"), "{ran:?}");
    assert!(
        ran.said.contains("t-0: nothing from offset 2 to 7"),
        "{ran:?}"
    );
    assert!(broker.stop());
}

#[test]
fn lag_is_watched_over_a_broker_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = scene(dir.path(), 1);
    let address = broker.address.clone();
    good(
        &broker,
        &["group", "seek", "g", "--to-start", "--topic", "t"],
    );
    let watch = ["group", "lag", "--watch=1", "--format", "json"];
    let mut lag = Running::start(&broker, &watch);
    assert_eq!(objects(&lag.line())[0]["total_lag"], 0);
    broker.kill();
    let mut command = tidewheel(&["serve", "--set"]);
    command.arg(format!("listeners=PLAINTEXT://{address}"));
    let broker = Broker::spawn(&mut command, dir.path());
    good_fed(&broker, &["produce", "t"], b"a\n");
    while objects(&lag.line())[0]["total_lag"] != 1 {}
    lag.signal("-TERM");
    lag.end();
    assert!(broker.stop());
}
