//! Large answers that stand behind one another on their connections and share a bounded memory.

use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::support::{Broker, Client};

const PEERS: usize = 8;
/// Of each kind on every connection.
const ROUNDS: usize = 3;
/// Estimated at far more than all answers may take, though its request is small.
const RESOURCES: usize = 4_000;
/// Estimated at nearly as much as all answers to produce requests may take.
const PARTITIONS: i32 = 30_000;
const DESCRIBE_VERSION: i16 = 1;
const PRODUCE_VERSION: i16 = 9;

/// Everybody asks for a giant answer, and behind it for one whose memory is taken before its turn, without
/// reading in between. All are answered: whoever waits for memory that is held behind it on its connection
/// is closed after `limits::ANSWER_WAIT`, and others wait as long.
pub(crate) fn that_stand_behind_giants(broker: &Broker) -> Vec<Client> {
    let (giant, behind) = (describe(), produce());
    let mut peers: Vec<_> = (0..PEERS).map(|_| broker.connect()).collect();
    let sent: Vec<Vec<_>> = peers
        .iter_mut()
        .map(|peer| {
            let mut round = |_| {
                let described = peer.send(DESCRIBE_VERSION, &giant);
                (described, peer.send(PRODUCE_VERSION, &behind))
            };
            (0..ROUNDS).map(&mut round).collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for (peer, sent) in peers.iter_mut().zip(sent) {
            scope.spawn(move || read(peer, sent));
        }
    });
    peers
}

fn read(peer: &mut Client, sent: Vec<(i32, i32)>) {
    for (described, produced) in sent {
        let answer: DescribeConfigsResponse = peer.receive(DESCRIBE_VERSION, described);
        assert_eq!(answer.results.len(), RESOURCES);
        let answer: ProduceResponse = peer.receive(PRODUCE_VERSION, produced);
        let partitions = &answer.responses[0].partition_responses;
        assert_eq!(partitions.len(), usize::try_from(PARTITIONS).unwrap());
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert!(partitions.iter().all(|one| one.error_code == unknown));
    }
}

fn describe() -> DescribeConfigsRequest {
    let resource = |number| DescribeConfigsResource {
        resource_type: 2,
        resource_name: StrBytes::from(format!("none-{number}").as_str()),
        configuration_keys: None,
    };
    DescribeConfigsRequest {
        resources: (0..RESOURCES).map(resource).collect(),
        ..DescribeConfigsRequest::default()
    }
}

fn produce() -> ProduceRequest {
    let partition = |index| PartitionProduceData {
        index,
        ..PartitionProduceData::default()
    };
    ProduceRequest {
        acks: 1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: StrBytes::from("none"),
            partition_data: (0..PARTITIONS).map(partition).collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}
