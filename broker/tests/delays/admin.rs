//! Delayed records from an administrator's side: listed, looked into, cancelled, moved, held.

use crate::delays::{Asked, batch, due_in, produce, read, wait_for};
use crate::embedded::Embedded;
use tidewheel_broker::{
    DelayedError, DelayedPage, DelayedQuery, DelayedRecord, DelayedRecords, EmbeddedBroker,
};
use tidewheel_protocol::RecordBatch;
use tokio::runtime::Runtime;

const BOTH: [(&str, &str); 1] = [("delay.mode", "both")];
const DAY: i64 = 86_400_000;

impl Embedded {
    fn delayed(&self) -> DelayedRecords {
        self.broker.delayed()
    }

    fn page(&self, query: DelayedQuery) -> DelayedPage {
        self.runtime.block_on(self.delayed().list(query)).unwrap()
    }

    fn list(&self, topic: &str) -> Vec<DelayedRecord> {
        self.page(all(topic)).records
    }
}

fn all(topic: &str) -> DelayedQuery {
    DelayedQuery {
        topic: topic.to_owned(),
        count: 1_000,
        ..DelayedQuery::default()
    }
}

fn value(record: &DelayedRecord) -> String {
    let batch = RecordBatch::parse(record.batch.clone()).unwrap();
    let first = batch.records(1 << 20).unwrap().next().unwrap().unwrap();
    String::from_utf8(first.value.unwrap().to_vec()).unwrap()
}

#[test]
fn pending_records_are_listed_cancelled_moved_and_delivered_by_name_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Embedded::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &BOTH);
    client.create_topic("plain", 1, &[]);
    for (days, name) in [(3, "three"), (1, "one"), (200, "far"), (2, "two")] {
        let headers = [("delay-id", name), ("expire-ms", "90000000000")];
        let asked = Asked {
            timestamp: due_in(days * DAY),
            ..Asked::with(&headers, name)
        };
        assert_eq!(produce(&mut client, "t", &[asked]).base_offset, -1);
    }
    for round in 0..2 {
        let listed = broker.list("t");
        let values: Vec<String> = listed.iter().map(value).collect();
        assert_eq!(values, ["one", "two", "three", "far"], "round {round}");
        assert_eq!((listed[0].records, &*listed[0].delay_id), (1, &b"one"[..]));
        assert!(listed[0].expires_ms.is_some());
        let topics = broker.delayed().topics();
        assert_eq!(topics.len(), 1);
        assert_eq!((&*topics[0].name, topics[0].records), ("t", 4));
        if round == 0 {
            broker.stop();
            broker = Embedded::start(dir.path());
            client = broker.connect();
        }
    }
    let first = broker.page(DelayedQuery {
        count: 2,
        ..all("t")
    });
    let last = &first.records[1].id;
    let second = broker.page(DelayedQuery {
        after: Some(last.clone()),
        ..all("t")
    });
    assert_eq!((first.more, second.records.len()), (true, 2));
    let delayed = broker.delayed();
    let block = &broker.runtime;
    let [one, two, three, far] = [0, 1, 2, 3].map(|at| broker.list("t")[at].id.clone());
    let got = block.block_on(delayed.get(two.clone())).unwrap();
    assert_eq!(value(&got), "two");
    block.block_on(delayed.cancel(two.clone())).unwrap();
    let again = block.block_on(delayed.cancel(two)).unwrap_err();
    assert!(matches!(again, DelayedError::Unknown), "{again}");
    let moved = block.block_on(delayed.reschedule(three.clone(), due_in(2 * DAY)));
    let moved = moved.unwrap();
    assert_eq!(value(&broker.list("t")[1]), "three");
    assert_eq!(broker.list("t")[1].id, moved);
    let now = block.block_on(delayed.deliver_now(one)).unwrap();
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "one");
    let late = block.block_on(delayed.cancel(now)).unwrap_err();
    assert!(matches!(late, DelayedError::NotPendingAnyMore), "{late}");
    let old = block.block_on(delayed.get(three)).unwrap_err();
    assert!(matches!(old, DelayedError::Unknown), "{old}");
    let too_far = block.block_on(delayed.reschedule(far, due_in(400 * DAY)));
    assert!(matches!(too_far, Err(DelayedError::TooFar { .. })));
    broker.stop();
    let broker = Embedded::start(dir.path());
    let values: Vec<String> = broker.list("t").iter().map(value).collect();
    assert_eq!(values, ["three", "far"], "what was done stays done");
    let missing = broker.runtime.block_on(broker.delayed().list(all("none")));
    assert!(matches!(missing, Err(DelayedError::UnknownTopic(_))));
    broker.stop();
}

/// In mode `timestamp` that is the due time, and the new one takes its place: retention waits for no time to come.
#[test]
fn what_a_timestamp_delayed_and_is_delivered_now_is_dated_now() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Embedded::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("delay.mode", "timestamp")]);
    produce(&mut client, "t", &[Asked::at(due_in(600_000), "v")]);
    let id = broker.list("t").remove(0).id;
    let now = broker.runtime.block_on(broker.delayed().deliver_now(id));
    let seen = wait_for(&mut client, "t", 1);
    assert_eq!(seen[0].timestamp, now.unwrap().due_ms);
    broker.stop();
}

#[test]
fn a_paused_topic_delivers_nothing_until_it_is_resumed_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Embedded::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &BOTH);
    client.create_topic("other", 1, &BOTH);
    let delayed = broker.delayed();
    broker
        .runtime
        .block_on(delayed.pause("t".to_owned()))
        .unwrap();
    let due = due_in(500);
    produce(&mut client, "t", &[Asked::at(due, "held")]);
    produce(&mut client, "other", &[Asked::at(due + 1, "free")]);
    wait_for(&mut client, "other", 1);
    assert_eq!(read(&mut client, "t"), [], "due before the other one");
    assert!(broker.delayed().topics()[1].paused);
    broker.stop();
    let broker = Embedded::start(dir.path());
    let mut client = broker.connect();
    produce(&mut client, "other", &[Asked::at(due_in(300), "free")]);
    wait_for(&mut client, "other", 2);
    assert_eq!(read(&mut client, "t"), []);
    let delayed = broker.delayed();
    broker
        .runtime
        .block_on(delayed.resume("t".to_owned()))
        .unwrap();
    assert_eq!(wait_for(&mut client, "t", 1)[0].value, "held");
    assert!(!broker.delayed().topics()[1].paused);
    let none = broker.runtime.block_on(delayed.pause("none".to_owned()));
    assert!(matches!(none, Err(DelayedError::UnknownTopic(_))));
    broker.stop();
}

/// All records of a topic, page by page.
fn paged(broker: &Embedded, topic: &str, count: usize) -> Vec<String> {
    let (mut values, mut after) = (Vec::new(), None);
    loop {
        let page = broker.page(DelayedQuery {
            after,
            count,
            ..all(topic)
        });
        values.extend(page.records.iter().map(value));
        if !page.more {
            return values;
        }
        let last = page.records.last();
        after = Some(last.expect("there is more").id.clone());
    }
}

/// Each directory counts its own tickets, and fills its own pages: a record with the key of a page's last one was
/// left out, and what lay behind a page that was full of bytes.
#[test]
fn pages_of_a_topic_in_several_directories_leave_nothing_out() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let dirs = format!("log.dirs={},{}", one.path().display(), two.path().display());
    let runtime = Runtime::new().unwrap();
    let settings = [&*dirs, "listeners=PLAINTEXT://127.0.0.1:0"];
    let broker = runtime.block_on(EmbeddedBroker::start(&settings)).unwrap();
    let broker = Embedded { runtime, broker };
    let mut client = broker.connect();
    client.create_topic("t", 4, &BOTH);
    client.create_topic("big", 2, &BOTH);
    let due = due_in(DAY);
    let mut produce = |topic: &str, partition: i32, due: i64, value: &str| {
        let records = batch(&[Asked::at(due, value)]).build().unwrap().bytes;
        let answer = client.produce(topic, partition, -1, records);
        assert_eq!(answer.error_code, 0);
    };
    let mut expected = Vec::new();
    for round in 0..3 {
        for partition in 0..4 {
            let value = format!("{round}-{partition}");
            produce("t", partition, due, &value);
            expected.push(value);
        }
    }
    for dir in [&one, &two] {
        assert!(dir.path().join("delays").exists(), "both are used");
    }
    for count in [1, 2, 5, 1_000] {
        let mut values = paged(&broker, "t", count);
        values.sort();
        assert_eq!(values, expected, "{count} at once");
    }
    for at in 0..20 {
        produce(
            "big",
            0,
            due + at,
            &format!("{at:02}{}", "x".repeat(900_000)),
        );
        produce("big", 1, due + at, &format!("{at:02}"));
    }
    let values = paged(&broker, "big", 1_000);
    let numbers = values.iter().map(|value| &value[..2]);
    let numbers: Vec<&str> = numbers.collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(numbers.len(), 40);
    broker.stop();
}
