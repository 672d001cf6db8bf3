//! Producers, a consumer that commits and an administrator at work, what they were told, and what must hold because of it.

#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::Scope;

use bytes::Bytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::produce::{PartitionProduceResponse, ProduceResponse};
use tidewheel_protocol::{ErrorCode, RecordBatch, RecordBatchBuilder, StrBytes, Uuid};

use crate::support::groups::{codes, commit_request, committed, find, loaded};
use crate::support::{Broker, Client, batches, fetch_request, now_ms, produce_request};

/// Takes `acks=all` from idempotent producers, one for each partition.
const STRICT: &str = "strict";
/// Takes `acks=1`, and keeps only the newest.
const LOOSE: &str = "loose";
const PARTITIONS: i32 = 3;
/// Commits offsets in the first.
const GROUP: &str = "ledger";

/// With these a broker does often whatever is done now and then.
pub(crate) const SETTINGS: [&str; 6] = [
    "offsets.topic.num.partitions=3",
    "log.segment.bytes=1048576",
    "log.flush.offset.checkpoint.interval.ms=50",
    "log.retention.check.interval.ms=100",
    "log.segment.delete.delay.ms=100",
    "log.initial.task.delay.ms=0",
];

/// A small generator of repeatable numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Everything that was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    strict: Vec<Strict>,
    loose: Vec<Loose>,
    commits: Commits,
    topics: Topics,
}

impl Ledger {
    /// Holds a broker that has just started to all of it; begins the ledger where there is none yet.
    pub(crate) fn check(&mut self, broker: &Broker) {
        let mut client = loaded(broker);
        if self.strict.is_empty() {
            client.create_topic(STRICT, PARTITIONS, &[]);
            client.create_topic(LOOSE, PARTITIONS, &[("retention.bytes", "2000000")]);
            self.strict.extend((0..PARTITIONS).map(Strict::new));
            self.loose.extend((0..PARTITIONS).map(Loose::new));
        }
        self.topics.check(&mut client);
        self.commits.check(&mut client);
        for producer in &mut self.strict {
            producer.check(&mut client);
        }
        for producer in &mut self.loose {
            producer.check(&mut client);
        }
    }

    /// Everybody works until the power goes, and tells of every acknowledgement.
    pub(crate) fn work<'scope>(
        &'scope mut self,
        scope: &'scope Scope<'scope, '_>,
        broker: &Broker,
        power: &'scope Power,
        acked: &SyncSender<()>,
    ) {
        // It may be gone already.
        let connect = || {
            let socket = TcpStream::connect(&broker.address).ok()?;
            Some((Client::new(socket), acked.clone()))
        };
        for producer in &mut self.strict {
            let Some((mut client, acked)) = connect() else {
                return;
            };
            scope.spawn(
                move || {
                    while producer.produce(&mut client, power) && acked.send(()).is_ok() {}
                },
            );
        }
        for producer in &mut self.loose {
            let Some((mut client, acked)) = connect() else {
                return;
            };
            scope.spawn(
                move || {
                    while producer.produce(&mut client, power) && acked.send(()).is_ok() {}
                },
            );
        }
        let Some((mut client, acked)) = connect() else {
            return;
        };
        let commits = &mut self.commits;
        scope.spawn(move || while commits.commit(&mut client, power) && acked.send(()).is_ok() {});
        let Some((mut client, acked)) = connect() else {
            return;
        };
        let topics = &mut self.topics;
        scope.spawn(move || while topics.change(&mut client, power) && acked.send(()).is_ok() {});
    }

    /// Only the process died: whatever was acknowledged stays, also with `acks=1`.
    pub(crate) fn only_the_process_died(&mut self) {
        for producer in &mut self.loose {
            let acked = producer.sent.iter();
            let acked = acked.filter_map(|(id, (_, at))| Some((*id, (*at)?)));
            producer.kept.extend(acked);
        }
    }
}

/// Whether the power is being cut. The shutdown of a file system takes some milliseconds, in which syncs
/// that are under way return although what they wrote is lost, on ext4 and XFS alike; so an answer that
/// comes after it began promises nothing.
#[derive(Debug, Default)]
pub(crate) struct Power {
    going: AtomicBool,
}

impl Power {
    /// From here on answers count for nothing.
    pub(crate) fn goes(&self) {
        self.going.store(true, Ordering::SeqCst);
    }

    /// The answer, where it came before that.
    fn promised<A>(&self, answer: Option<A>) -> Option<A> {
        answer.filter(|_| !self.going.load(Ordering::SeqCst))
    }
}

/// A batch of a few records that are known by `id`.
fn batch(id: u64, producer: Option<(i64, i32)>) -> Bytes {
    let mut random = Random(id);
    let mut builder = RecordBatchBuilder::new();
    if let Some((producer_id, sequence)) = producer {
        builder = builder.producer(producer_id, 0, sequence);
    }
    for number in 0..records_of(id) {
        let value = vec![u8::try_from(random.below(256)).unwrap(); 10_000];
        let key = [id.to_be_bytes().as_slice(), &number.to_be_bytes()].concat();
        builder = builder.record(now_ms(), Some(&key), Some(&value));
    }
    builder.build().unwrap().bytes
}

fn records_of(id: u64) -> i32 {
    1 + i32::try_from(Random(id).below(4)).unwrap()
}

fn id_of(batch: &RecordBatch) -> u64 {
    let first = batch.records(1 << 28).unwrap().next().unwrap().unwrap();
    u64::from_be_bytes(first.key.unwrap()[..8].try_into().unwrap())
}

/// Produces; `None` where the broker did not take it or is gone.
fn produce(
    client: &mut Client,
    (topic, partition): (&str, i32),
    acks: i16,
    batch: &Bytes,
) -> Option<PartitionProduceResponse> {
    let request = produce_request(topic, partition, acks, Some(batch.clone()));
    let mut answer: ProduceResponse = client.try_call(9, &request)?;
    let answer = answer.responses.remove(0).partition_responses.remove(0);
    (answer.error_code == 0).then_some(answer)
}

/// The batches of a partition from its log start on: one follows the other.
fn stored(client: &mut Client, (topic, partition): (&str, i32)) -> Vec<RecordBatch> {
    let mut all = Vec::<RecordBatch>::new();
    let mut offset = log_start(client, (topic, partition));
    loop {
        let request = fetch_request(topic, partition, offset);
        let mut answer: FetchResponse<Bytes> = client.call(11, &request);
        let data = answer.responses.remove(0).partitions.remove(0);
        if data.error_code == ErrorCode::OffsetOutOfRange.code() {
            // Retention took what lay between two fetches.
            offset = log_start(client, (topic, partition));
            all.clear();
            continue;
        }
        assert_eq!(data.error_code, 0, "{topic}-{partition} from {offset}");
        for batch in batches(data.records.unwrap_or_default()) {
            if let Some(before) = all.last() {
                assert_eq!(before.header.next_offset(), batch.header.base_offset);
            }
            offset = batch.header.next_offset();
            all.push(batch);
        }
        if offset >= data.high_watermark {
            return all;
        }
    }
}

fn log_start(client: &mut Client, (topic, partition): (&str, i32)) -> i64 {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from(topic),
            partitions: vec![ListOffsetsPartition {
                partition_index: partition,
                timestamp: -2,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = client.call(7, &request);
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0, "the log start of {topic}-{partition}");
    found.offset
}

/// What an idempotent producer sent with `acks=all`, one batch after the other.
#[derive(Clone, Debug)]
struct Strict {
    partition: i32,
    /// Base offset and bytes.
    acked: Vec<(i64, Bytes)>,
    /// Was sent, and never answered.
    in_doubt: Option<Bytes>,
    sent: u64,
    sequence: i32,
}

impl Strict {
    fn new(partition: i32) -> Self {
        Self {
            partition,
            acked: Vec::new(),
            in_doubt: None,
            sent: 0,
            sequence: 0,
        }
    }

    fn produce(&mut self, client: &mut Client, power: &Power) -> bool {
        let producer_id = 1_000 + i64::from(self.partition);
        let bytes = batch(self.sent, Some((producer_id, self.sequence)));
        self.sequence += records_of(self.sent);
        self.sent += 1;
        let answer = produce(client, (STRICT, self.partition), -1, &bytes);
        match power.promised(answer) {
            Some(answer) => self.acked.push((answer.base_offset, bytes)),
            None => self.in_doubt = Some(bytes),
        }
        self.in_doubt.is_none()
    }

    fn check(&mut self, client: &mut Client) {
        let place = (STRICT, self.partition);
        let found = stored(client, place);
        let mut expected = self.acked.iter();
        for batch in &found {
            let (base_offset, bytes) = match (expected.next(), &self.in_doubt) {
                (Some((base_offset, bytes)), _) => (*base_offset, bytes),
                (None, Some(in_doubt)) => (batch.header.base_offset, in_doubt),
                (None, None) => panic!("nobody sent it: {:?}", batch.header),
            };
            assert_eq!(batch.header.base_offset, base_offset, "it moved");
            assert_eq!(batch.bytes[16..], bytes[16..], "it has other bytes");
        }
        let lost = expected.next().map(|(base_offset, _)| base_offset);
        assert_eq!(lost, None, "acknowledged, {} found", found.len());
        assert!(
            found.len() <= self.acked.len() + 1,
            "a batch is there twice"
        );
        let end = found.last().map_or(0, |batch| batch.header.next_offset());
        if let Some(bytes) = self.in_doubt.take() {
            let there = found.get(self.acked.len());
            let place_of_it = there.map_or(end, |batch| batch.header.base_offset);
            let answer = produce(client, place, -1, &bytes).expect("it is sent again");
            assert_eq!(answer.base_offset, place_of_it, "not written twice");
            self.acked.push((place_of_it, bytes));
        }
        let before = stored(client, place).len();
        for (base_offset, bytes) in self.acked.iter().rev().take(5) {
            let answer = produce(client, place, -1, bytes).expect("a repeated batch");
            assert_eq!(answer.base_offset, *base_offset, "the producer is known");
        }
        assert_eq!(stored(client, place).len(), before);
    }
}

/// What was sent with `acks=1`.
#[derive(Clone, Debug)]
struct Loose {
    partition: i32,
    /// By id: bytes, and where it went if that was said.
    sent: BTreeMap<u64, (Bytes, Option<i64>)>,
    /// What stays, by id: what the last start had found.
    kept: BTreeMap<u64, i64>,
}

impl Loose {
    fn new(partition: i32) -> Self {
        Self {
            partition,
            sent: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    fn produce(&mut self, client: &mut Client, power: &Power) -> bool {
        let id = self.sent.len() as u64;
        let bytes = batch(id, None);
        let answer = produce(client, (LOOSE, self.partition), 1, &bytes);
        let base_offset = power.promised(answer).map(|answer| answer.base_offset);
        self.sent.insert(id, (bytes, base_offset));
        base_offset.is_some()
    }

    fn check(&mut self, client: &mut Client) {
        let found = stored(client, (LOOSE, self.partition));
        assert!(found.is_sorted_by_key(id_of), "in the order of the appends");
        let start = found.first().map_or(0, |batch| batch.header.base_offset);
        let mut kept = BTreeMap::new();
        for batch in found {
            let id = id_of(&batch);
            let (bytes, base_offset) = &self.sent[&id];
            assert_eq!(batch.bytes[16..], bytes[16..], "it has other bytes");
            let found_at = batch.header.base_offset;
            assert_eq!(base_offset.unwrap_or(found_at), found_at, "it moved");
            assert!(kept.insert(id, found_at).is_none(), "it is there twice");
        }
        for (id, base_offset) in &self.kept {
            let still = kept.contains_key(id) || *base_offset < start;
            assert!(still, "batch {id} at {base_offset} is lost");
        }
        self.kept = kept;
    }
}

/// The offset of a group, which only rises.
#[derive(Clone, Debug, Default)]
struct Commits {
    acked: i64,
    tried: i64,
}

impl Commits {
    fn commit(&mut self, client: &mut Client, power: &Power) -> bool {
        self.tried += 1;
        let request = commit_request(GROUP, STRICT, &[(0, self.tried, "")]);
        let answer: Option<OffsetCommitResponse> = client.try_call(8, &request);
        let done = power
            .promised(answer)
            .is_some_and(|answer| codes(&answer) == [0]);
        if done {
            self.acked = self.tried;
        }
        done
    }

    fn check(&mut self, client: &mut Client) {
        let coordinator = find(client, &[GROUP]).coordinators.remove(0);
        assert_eq!(coordinator.error_code, 0);
        let found = committed(client, GROUP);
        let offset = found.first().map_or(0, |(_, _, offset, _)| *offset);
        assert!(
            (self.acked..=self.tried).contains(&offset),
            "{found:?}, {self:?}"
        );
        self.acked = offset;
    }
}

/// Topics that come and go.
#[derive(Clone, Debug, Default)]
struct Topics {
    /// By name: id and partitions.
    exist: BTreeMap<String, (Uuid, i32)>,
    deleted: Vec<String>,
    changes: i32,
}

impl Topics {
    /// Makes two, and deletes the older of them.
    fn change(&mut self, client: &mut Client, power: &Power) -> bool {
        self.changes += 1;
        if self.changes % 3 == 0
            && let Some((name, _)) = self.exist.pop_first()
        {
            return self.delete(client, power, name);
        }
        let (name, partitions) = (format!("made-{:05}", self.changes), 1 + self.changes % 4);
        let topic = CreatableTopic {
            name: StrBytes::from(name.as_str()),
            num_partitions: partitions,
            replication_factor: -1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..CreateTopicsRequest::default()
        };
        let answer: Option<CreateTopicsResponse> = client.try_call(7, &request);
        let Some(made) = power
            .promised(answer)
            .filter(|answer| answer.topics[0].error_code == 0)
        else {
            return false;
        };
        let id = made.topics[0].topic_id;
        self.exist.insert(name.clone(), (id, partitions));
        // Its directory is made with its first data.
        produce(client, (&name, 0), -1, &batch(1, None)).is_some()
    }

    fn delete(&mut self, client: &mut Client, power: &Power, name: String) -> bool {
        let request = DeleteTopicsRequest {
            topic_names: vec![StrBytes::from(name.as_str())],
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        let answer: Option<DeleteTopicsResponse> = client.try_call(5, &request);
        let done = power
            .promised(answer)
            .is_some_and(|answer| answer.responses[0].error_code == 0);
        // Where nothing was said it may be there or not.
        if done {
            self.deleted.push(name);
        }
        done
    }

    fn check(&self, client: &mut Client) {
        let request = MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = client.call(10, &request);
        let topics = answer.topics.iter().map(|topic| {
            let name = topic.name.as_ref().unwrap().to_string();
            (
                name,
                (
                    topic.topic_id,
                    i32::try_from(topic.partitions.len()).unwrap(),
                ),
            )
        });
        let found: BTreeMap<String, (Uuid, i32)> = topics.collect();
        for (name, topic) in &self.exist {
            assert_eq!(found.get(name), Some(topic), "{name}");
        }
        for name in &self.deleted {
            assert!(!found.contains_key(name), "{name} is back");
        }
    }
}
