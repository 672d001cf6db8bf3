//! What a fetch does with threads and memory, seen from below: through a file system that notes who
//! comes, and through the addresses of what leaves.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bytes::Bytes;
use tidewheel_config::{BrokerConfig, Sources, limits};
use tidewheel_protocol::messages::fetch::FetchTopic;
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidewheel_protocol::{
    Message, RecordBatchBuilder, RequestHeader, StrBytes, Uuid, decode_response_frame,
    encode_request_frame,
};
use tidewheel_storage::fs::{FileSystem, RealFs, SimFs};
use tidewheel_storage::{LogManager, LogManagerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::broker::{Broker, NewTopic, create_topics};
use crate::clock::Clock;
use crate::connection::serve;
use crate::testing;
use crate::testing::gate::Gate;

mod files;
mod memory;
mod sessions;

/// A broker without storage threads; its leader appends are visible at once.
fn open(fs: Arc<dyn FileSystem>, dir: PathBuf) -> Arc<Broker> {
    let config = BrokerConfig::load(&Sources::default()).unwrap();
    let directory_ids = vec![Uuid([1; 16])];
    let options = LogManagerOptions::new(vec![dir], 1, "cluster".to_owned(), directory_ids);
    let logs = LogManager::open(fs, options).unwrap();
    Arc::new(Broker::open(config, Vec::new(), logs, Clock::default()).unwrap())
}

async fn create(broker: &Arc<Broker>, name: &str) {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let created = create_topics(broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

fn batch(value: &[u8]) -> Bytes {
    let builder = RecordBatchBuilder::new().record(clock::now_ms(), None, Some(value));
    builder.build().unwrap().bytes
}

fn produce_request(topic: &str, value: &[u8]) -> ProduceRequest {
    ProduceRequest {
        acks: 1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: StrBytes::from(topic),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(batch(value)),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// Topics, each with an offset.
fn fetch_request(topics: &[(&str, i64)]) -> FetchRequest {
    let topic = |(topic, fetch_offset): &(&str, i64)| FetchTopic {
        topic: StrBytes::from(*topic),
        partitions: vec![FetchPartition {
            fetch_offset: *fetch_offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        }],
        ..FetchTopic::default()
    };
    FetchRequest {
        max_bytes: 1 << 20,
        topics: topics.iter().map(topic).collect(),
        ..FetchRequest::default()
    }
}

/// A connection to a broker that is served by the same runtime.
struct Client {
    socket: TcpStream,
    served: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Client {
    async fn connect(broker: &Arc<Broker>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let (socket, accepted) = tokio::join!(socket, listener.accept());
        let (served, peer) = accepted.unwrap();
        let (stop, stopped) = watch::channel(false);
        Self {
            socket: socket.unwrap(),
            served: tokio::spawn(serve(served, peer, 0, Arc::clone(broker), stopped)),
            _stop: stop,
        }
    }

    /// Closes the connection and waits until the broker has let go of it.
    async fn close(self) {
        drop(self.socket);
        self.served.await.unwrap();
    }

    async fn send<Q: Message>(&mut self, version: i16, request: &Q) {
        let header = RequestHeader {
            api_key: Q::KEY.code(),
            api_version: version,
            correlation_id: 1,
            client_id: None,
        };
        let frame = encode_request_frame(&header, request);
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn receive<A: Message>(&mut self, version: i16) -> A {
        let len = self.socket.read_u32().await.unwrap();
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        self.socket.read_exact(&mut frame).await.unwrap();
        decode_response_frame(Bytes::from(frame), version)
            .unwrap()
            .1
    }

    async fn produce(&mut self, topic: &str, value: &[u8]) {
        self.send(9, &produce_request(topic, value)).await;
        let answer: ProduceResponse = self.receive(9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }

    /// Error code and bytes of records of each topic.
    async fn fetch(&mut self, topics: &[(&str, i64)]) -> Vec<(i16, usize)> {
        self.send(11, &fetch_request(topics)).await;
        self.fetched().await
    }

    async fn fetched(&mut self) -> Vec<(i16, usize)> {
        let answer: FetchResponse<Bytes> = self.receive(11).await;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let outcome = |data: &PartitionData<Bytes>| {
            let records = data.records.as_ref();
            (data.error_code, records.map_or(0, Bytes::len))
        };
        partitions.map(outcome).collect()
    }
}

/// A disk on which each of these topics has its batches, as a clean stop leaves it.
async fn stopped(topics: &[(&str, &[&[u8]])]) -> SimFs {
    let disk = SimFs::new();
    let broker = open(Arc::new(disk.clone()), PathBuf::from("/data"));
    let mut client = Client::connect(&broker).await;
    for (topic, values) in topics {
        create(&broker, topic).await;
        for value in *values {
            client.produce(topic, value).await;
        }
    }
    client.close().await;
    broker.close().unwrap();
    disk
}

/// The one worker of this runtime is the thread of the test: were it to wait for the gate, or only to
/// pass it, the gate would know.
#[tokio::test]
async fn a_cold_fetch_leaves_the_disk_to_the_blocking_pool_and_others_are_served_meanwhile() {
    let disk = stopped(&[("cold", &[b"old"]), ("hot", &[])]).await;
    let gate = Gate::new(disk, "/data/cold-0");
    let broker = open(Arc::new(gate.clone()), PathBuf::from("/data"));
    gate.shut();
    let (mut slow, mut quick) = tokio::join!(Client::connect(&broker), Client::connect(&broker));
    let request = fetch_request(&[("hot", 0), ("cold", 0)]);
    slow.send(11, &request).await;
    gate.visited().await;
    quick.produce("hot", b"new").await;
    let new = batch(b"new").len();
    assert_eq!(quick.fetch(&[("hot", 0)]).await, [(0, new)]);
    let early = slow.socket.try_read(&mut [0]);
    assert_eq!(early.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    gate.open();
    assert_eq!(slow.fetched().await[1], (0, batch(b"old").len()));
    assert_eq!(gate.visits_by_this_thread(), 0);
}

#[tokio::test]
async fn a_fetch_of_what_was_just_written_asks_the_disk_for_nothing() {
    let disk = stopped(&[("t", &[b"old"])]).await;
    let gate = Gate::new(disk, "/data/t-0");
    let broker = open(Arc::new(gate.clone()), PathBuf::from("/data"));
    let mut client = Client::connect(&broker).await;
    // Longer than an index interval, so that the next one is found without a look at it.
    client.produce("t", &[7; 5_000]).await;
    client.produce("t", b"new").await;
    let expected = [(0, batch(b"new").len())];
    assert_eq!(client.fetch(&[("t", 2)]).await, expected);
    let visits = gate.visits();
    assert_eq!(client.fetch(&[("t", 2)]).await, expected);
    assert_eq!(gate.visits(), visits);
}

/// The map of the gate says of all pages that they are not in memory.
#[tokio::test]
async fn a_rotten_batch_is_an_error_of_its_partition_alone() {
    let (good, bad): (&[u8], &[u8]) = (b"good", b"bad");
    let disk = stopped(&[("rotten", &[good, bad]), ("sound", &[good])]).await;
    let gate = Gate::new(disk.clone(), "/data/rotten-0");
    let broker = open(Arc::new(gate.clone()), PathBuf::from("/data"));
    let mut client = Client::connect(&broker).await;
    let (good, bad) = (batch(good).len(), batch(bad).len());
    let whole = [(0, good + bad), (0, good)];
    assert_eq!(client.fetch(&[("rotten", 0), ("sound", 0)]).await, whole);
    let path = PathBuf::from("/data/rotten-0/00000000000000000000.log");
    disk.rot(&path, (good + bad - 2) as u64, b"!").unwrap();
    let before = [(0, good), (0, good)];
    assert_eq!(client.fetch(&[("rotten", 0), ("sound", 0)]).await, before);
    let corrupt = [(ErrorCode::CorruptMessage.code(), 0), (0, good)];
    for _ in 0..2 {
        assert_eq!(client.fetch(&[("rotten", 1), ("sound", 0)]).await, corrupt);
    }
    client.produce("rotten", b"on").await;
    assert_eq!(
        client.fetch(&[("rotten", 2)]).await,
        [(0, batch(b"on").len())]
    );
}

/// Fetch's promise: record bytes go from the page cache to the socket. What the connection is handed is
/// the map itself, between pieces of header.
#[tokio::test]
async fn what_leaves_is_the_mapped_file_and_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(Arc::new(RealFs), dir.path().to_owned());
    create(&broker, "t").await;
    let mut client = Client::connect(&broker).await;
    client.produce("t", &[7; 10_000]).await;
    client.produce("t", &[8; 10_000]).await;
    let call = testing::call(&broker, 11, &fetch_request(&[("t", 0)]));
    let Reply::Later(answer) = handle(call) else {
        panic!("a fetch is answered in its turn");
    };
    let Answer::Parts(parts) = answer.await else {
        panic!("a fetch is answered");
    };
    let topics = broker.topics();
    let log = topics.named("t").unwrap().partition(0).unwrap().log();
    let slice = log.read(0, 1 << 20, true).unwrap().slice.unwrap();
    let mapped = slice.bytes().unwrap();
    assert_eq!(mapped.len(), 2 * batch(&[7; 10_000]).len());
    let records: Vec<_> = parts.iter().filter(|part| part.len() > 1_000).collect();
    assert_eq!(records.len(), 1, "both batches in one piece");
    assert_eq!(
        (records[0].as_ptr(), records[0].len()),
        (mapped.as_ptr(), mapped.len())
    );
}
