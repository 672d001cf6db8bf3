//! The first moments of topics, partitions and brokers: whoever is let in is served.

use std::net::TcpStream;

use crate::support::{Broker, Client, batch, eventually, fetch_request, metadata_topic, now_ms};
use bytes::Bytes;
use tidewheel_protocol::RecordBatchBuilder;
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

fn described(client: &mut Client, topic: &str) -> MetadataResponse {
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic(topic)]),
        ..MetadataRequest::default()
    };
    client.call(9, &request)
}

fn listed(client: &mut Client, topic: &str, partition_index: i32) -> (i16, i64) {
    let partition = ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![partition],
        }],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = client.call(7, &request);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset)
}

/// Produce, ListOffsets and Fetch of these partitions, which nobody has used, each asked once.
fn serve_at_once(broker: &Broker, topic: &str, partitions: std::ops::Range<i32>) {
    for partition in partitions {
        let what = format!("{topic}-{partition}");
        let mut client = broker.connect();
        assert_eq!(listed(&mut client, topic, partition), (0, 0), "{what}");
        let fetched: FetchResponse<Bytes> = client.call(11, &fetch_request(topic, partition, 0));
        assert_eq!(fetched.responses[0].partitions[0].error_code, 0, "{what}");
        let produced = client.produce(topic, partition, -1, batch(&["x"]));
        let told = (produced.error_code, produced.base_offset);
        assert_eq!(told, (0, 0), "{what}");
        assert_eq!(listed(&mut client, topic, partition), (0, 1), "{what}");
        assert_eq!(client.consume(topic, partition, 0).len(), 1, "{what}");
        let answer = described(&mut client, topic);
        assert_eq!(answer.topics[0].error_code, 0, "{what}");
        let leaders = answer.topics[0].partitions.iter();
        assert!(leaders.map(|one| one.leader_id).all(|leader| leader == 1));
    }
}

#[test]
fn fact_02_29_what_is_created_serves_at_once_however_it_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["num.partitions=3"]);
    let mut client = broker.connect();
    for round in 0..5 {
        let topic = format!("by-request-{round}");
        client.create_topic(&topic, 4, &[]);
        serve_at_once(&broker, &topic, 0..4);
        let wider = CreatePartitionsTopic {
            name: topic.as_str().into(),
            count: 6,
            assignments: None,
        };
        let request = CreatePartitionsRequest {
            topics: vec![wider],
            timeout_ms: 30_000,
            ..CreatePartitionsRequest::default()
        };
        let grown: CreatePartitionsResponse = client.call(3, &request);
        assert_eq!(grown.results[0].error_code, 0);
        serve_at_once(&broker, &topic, 4..6);
        let topic = format!("by-first-use-{round}");
        let answer = described(&mut client, &topic);
        let found = &answer.topics[0];
        assert_eq!((found.error_code, found.partitions.len()), (0, 3));
        serve_at_once(&broker, &topic, 0..3);
    }
}

fn sequenced(sequence: i32) -> Bytes {
    let builder = RecordBatchBuilder::new().producer(7, 0, sequence);
    let builder = builder.record(now_ms(), None, Some(b"v"));
    builder.build().unwrap().bytes
}

/// A client tries to connect all the time while a killed broker starts again on its port. What it is told
/// on the first connection that it gets is whole, and its first produce is acknowledged.
#[test]
fn fact_10_24_the_first_client_after_a_kill_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let mut client = broker.connect();
    for number in 0..20 {
        client.create_topic(&format!("topic-{number}"), 20, &[]);
    }
    for round in 0..3 {
        let mut client = broker.connect();
        for number in 0..20 {
            let topic = format!("topic-{number}");
            let answer = client.produce(&topic, 19, 1, sequenced(round));
            assert_eq!(answer.base_offset, i64::from(round));
        }
        let listener = format!("listeners=PLAINTEXT://{}", broker.address);
        let address = broker.address.clone();
        broker.kill();
        broker = std::thread::scope(|scope| {
            scope.spawn(|| finds_everything(&address, round));
            Broker::start_with(dir.path(), &[&listener])
        });
    }
}

fn finds_everything(address: &str, round: i32) {
    let mut socket = None;
    eventually("the port is open", || {
        socket = TcpStream::connect(address).ok();
        socket.is_some()
    });
    let mut client = Client::new(socket.unwrap());
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let all: MetadataResponse = client.call(9, &request);
    let partitions = all.topics.iter().flat_map(|topic| &topic.partitions);
    let led = partitions.filter(|one| (one.error_code, one.leader_id) == (0, 1));
    assert_eq!((all.topics.len(), led.count()), (20, 400));
    for number in 0..20 {
        let topic = format!("topic-{number}");
        let again = client.produce(&topic, 19, -1, sequenced(round));
        let told = (again.error_code, again.base_offset);
        assert_eq!(told, (0, i64::from(round)), "{topic} is not written twice");
    }
}
