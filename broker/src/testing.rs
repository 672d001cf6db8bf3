//! A broker inside a unit test: no process, no port, no storage threads.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};

use tidewheel_config::{BrokerConfig, Sources, limits};
use tidewheel_consumer_groups::GroupRequest;
use tidewheel_consumer_groups::request::{CommitOffsetsRequest, CommitPartition, CommitTopic};
use tidewheel_protocol::{Message, RecordBatchBuilder, RequestHeader, Uuid, encode_request_frame};
use tidewheel_storage::fs::{FileSystem, RealFs};
use tidewheel_storage::{LogManager, LogManagerOptions, RecordSlice, RecoveryProgress};
use tokio::sync::watch;

use crate::api::{Call, RequestMemory};
use crate::broker::{Broker, Endpoint, NewTopic, create_topics};
use crate::clients::Client;
use crate::clock::{self, Clock};
use crate::connection::Session;
use crate::ids;
use crate::partition::Acks;

pub(crate) mod gate;

/// A broker with its data in `dir`, with settings, `key=value`.
pub(crate) fn broker(dir: &Path, settings: &[&str]) -> Arc<Broker> {
    broker_on(Arc::new(RealFs), dir, settings)
}

/// The same on another file system.
pub(crate) fn broker_on(fs: Arc<dyn FileSystem>, dir: &Path, settings: &[&str]) -> Arc<Broker> {
    opened(fs, dir, settings, Arc::default())
}

/// One that tells how far it is while it reads its data.
pub(crate) fn broker_that_tells(
    fs: Arc<dyn FileSystem>,
    dir: &Path,
    progress: Arc<RecoveryProgress>,
) -> Arc<Broker> {
    opened(fs, dir, &[], progress)
}

fn opened(
    fs: Arc<dyn FileSystem>,
    dir: &Path,
    settings: &[&str],
    progress: Arc<RecoveryProgress>,
) -> Arc<Broker> {
    crate::logging::let_tests_note();
    let mut sets = vec![format!("log.dirs={}", dir.display())];
    sets.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let config = BrokerConfig::load(&Sources {
        sets,
        ..Sources::default()
    })
    .expect("good settings");
    let directory_ids = config.log_dirs.iter().map(|_| ids::random_uuid()).collect();
    let cluster = "cluster".to_owned();
    let options = LogManagerOptions {
        progress,
        ..LogManagerOptions::new(
            config.log_dirs.clone(),
            config.node_id,
            cluster,
            directory_ids,
        )
    };
    let logs = LogManager::open(fs, options).expect("a good directory");
    let endpoint = Endpoint {
        host: "localhost".to_owned(),
        port: 1,
    };
    Arc::new(Broker::open(config, vec![endpoint], logs, Clock::default()).expect("good data"))
}

/// Creates a topic, which must work.
pub(crate) async fn create_topic(broker: &Arc<Broker>, name: &str, partitions: i32) {
    let mut topic = NewTopic::with_defaults(name, broker.config());
    topic.partitions = partitions;
    let made = create_topics(broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Appends a batch of one record to partition 0 of a topic; returns how it lies in the log.
pub(crate) fn written(broker: &Broker, topic: &str, value: &[u8]) -> RecordSlice {
    let topics = broker.topics();
    let topic = topics.named(topic).expect("a topic");
    let partition = topic.partition(0).expect("its first partition");
    let batch = RecordBatchBuilder::new().record(clock::now_ms(), None, Some(value));
    let batch = batch.build().expect("a small batch").bytes;
    let appended = partition.append(batch, Acks::Leader, true, clock::now_ms());
    assert!(appended.is_ok());
    let read = partition.log().read(0, usize::MAX, true);
    read.expect("a good log").slice.expect("a record")
}

/// Commits offsets of the first partitions of a topic. What is decided is decided when this returns; that it is on disk nobody waits for.
pub(crate) fn commit(broker: &Arc<Broker>, group: &str, topic: &str, offsets: &[i64]) {
    let partition = |(partition, offset): (i32, &i64)| CommitPartition {
        partition,
        offset: *offset,
        leader_epoch: None,
        metadata: None,
        commit_timestamp_ms: None,
    };
    let request = CommitOffsetsRequest {
        group_id: group.into(),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        reports_unknown_group: true,
        retention_ms: None,
        topics: vec![CommitTopic {
            topic: topic.into(),
            topic_id: Uuid::ZERO,
            partitions: (0..).zip(offsets).map(partition).collect(),
        }],
    };
    drop(
        broker
            .groups()
            .ask(group, GroupRequest::CommitOffsets(request)),
    );
}

/// What never closes: the connections of the calls below.
static OPEN: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// A connection without a socket.
pub(crate) fn session(broker: &Broker) -> Arc<Session> {
    let metrics = broker.metrics();
    Arc::new(Session {
        peer: ([127, 0, 0, 1], 1).into(),
        listener: 0,
        closing: OPEN.subscribe(),
        holding: watch::Sender::new(0),
        meter: metrics.meter(),
        open: metrics.opened(0),
        client: Arc::new(Client::new(1, ([127, 0, 0, 1], 1).into(), 0)),
        wished_us: AtomicU64::new(0),
    })
}

/// A request as it comes off a socket.
pub(crate) fn call<Q: Message>(broker: &Arc<Broker>, version: i16, request: &Q) -> Call {
    let header = RequestHeader {
        api_key: Q::KEY.code(),
        api_version: version,
        correlation_id: 1,
        client_id: None,
    };
    let frame = encode_request_frame(&header, request).slice(4..);
    let memory = RequestMemory {
        free: 0,
        counted: false,
    };
    Call::new(frame, session(broker), Arc::clone(broker), memory).expect("a good header")
}
