//! Large answers that stand behind one another on their connections and share a bounded memory.

use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeConfigsResult,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::support::{Broker, Client};

const PEERS: usize = 8;
/// Of each kind on every connection.
const ROUNDS: usize = 3;
/// What they describe: far more than all answers may take.
const RESOURCES: usize = 4_000;
/// As many of these are there.
const TOPICS: usize = 1_200;
/// Estimated at nearly as much as all answers to produce requests may take.
const PARTITIONS: i32 = 30_000;
const DESCRIBE_VERSION: i16 = 3;
const PRODUCE_VERSION: i16 = 9;

/// Everybody asks for a giant answer, and behind it for one whose memory is taken before its turn, without
/// reading in between. All are answered: whoever waits for memory that is held behind it on its connection
/// is closed after `limits::ANSWER_WAIT`, and others wait as long.
pub(crate) fn that_stand_behind_giants(broker: &Broker) -> Vec<Client> {
    let names = (0..RESOURCES).map(|number| format!("settings-{number}"));
    let names: Vec<StrBytes> = names.map(|name| StrBytes::from(name.as_str())).collect();
    create(&mut broker.connect(), &names[..TOPICS]);
    let (giant, behind) = (describe(names), produce());
    let mut peers: Vec<_> = (0..PEERS).map(|_| broker.connect()).collect();
    std::thread::scope(|scope| {
        for peer in &mut peers {
            scope.spawn(|| ask(peer, &giant, &behind));
        }
    });
    peers
}

fn ask(peer: &mut Client, giant: &DescribeConfigsRequest, behind: &ProduceRequest) {
    for _ in 0..ROUNDS {
        let described = peer.send(DESCRIBE_VERSION, giant);
        let produced = peer.send(PRODUCE_VERSION, behind);
        let answer: DescribeConfigsResponse = peer.receive(DESCRIBE_VERSION, described);
        let found = |result: &&DescribeConfigsResult| result.configs.len() > 10;
        assert_eq!(answer.results.len(), RESOURCES);
        assert_eq!(answer.results.iter().filter(found).count(), TOPICS);
        let answer: ProduceResponse = peer.receive(PRODUCE_VERSION, produced);
        let partitions = &answer.responses[0].partition_responses;
        assert_eq!(partitions.len(), usize::try_from(PARTITIONS).unwrap());
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert!(partitions.iter().all(|one| one.error_code == unknown));
    }
}

fn create(client: &mut Client, names: &[StrBytes]) {
    let topic = |name: &StrBytes| CreatableTopic {
        name: name.clone(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: 60_000,
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(5, &request);
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0));
}

/// With all that is known of each setting.
fn describe(names: Vec<StrBytes>) -> DescribeConfigsRequest {
    let resource = |resource_name| DescribeConfigsResource {
        resource_type: 2,
        resource_name,
        configuration_keys: None,
    };
    DescribeConfigsRequest {
        resources: names.into_iter().map(resource).collect(),
        include_synonyms: true,
        include_documentation: true,
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
