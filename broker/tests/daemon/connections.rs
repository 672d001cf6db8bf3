//! How many connections there may be, and what is left of one when its client is gone.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{self, Broker, Client, eventually, fetch_request};
use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use tidewheel_protocol::messages::produce::{PartitionProduceData, ProduceResponse};

fn is_served(client: &mut Client) {
    let answer: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default());
    assert_eq!(answer.error_code, 0);
}

/// A connection from another address of this machine.
fn connect_from(address: [u8; 4], broker: &Broker) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    let to: SocketAddr = broker.address.parse().unwrap();
    socket.connect(&to.into()).unwrap();
    Client::new(TcpStream::from(socket))
}

#[test]
fn an_address_has_its_connections_and_the_next_one_is_closed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["max.connections.per.ip=3"]);
    let mut open: Vec<Client> = (0..3).map(|_| broker.connect()).collect();
    open.iter_mut().for_each(is_served);
    for _ in 0..10 {
        assert!(broker.connect().is_closed_by_broker());
    }
    open.iter_mut().for_each(is_served);
    is_served(&mut connect_from([127, 0, 0, 2], &broker));
    drop(open.pop());
    eventually("the place of a closed connection is free", || {
        let mut client = broker.connect();
        client.try_send(0, &ApiVersionsRequest::default()) && !client.is_closed_by_broker()
    });
}

#[test]
fn at_max_connections_the_next_one_waits_until_another_closes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["max.connections=2"]);
    let mut open: Vec<Client> = (0..2).map(|_| broker.connect()).collect();
    open.iter_mut().for_each(is_served);
    let mut next = broker.connect();
    next.send(0, &ApiVersionsRequest::default());
    open.iter_mut().for_each(is_served);
    drop(open.pop());
    assert!(!next.is_closed_by_broker(), "answered after its wait");
}

/// Alters a setting of all brokers while they run.
fn alter(client: &mut Client, name: &str, value: Option<&str>) {
    let operation = if value.is_some() { 0 } else { 1 };
    let config = AlterableConfig {
        name: StrBytes::from(name.to_owned()),
        config_operation: operation,
        value: value.map(|value| StrBytes::from(value.to_owned())),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 4,
            resource_name: StrBytes::default(),
            configs: vec![config],
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let answer: IncrementalAlterConfigsResponse = client.call(1, &request);
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[test]
fn limits_of_connections_are_altered_while_the_broker_runs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["max.connections=3"]);
    let mut admin = broker.connect();
    let mut open: Vec<Client> = (0..2).map(|_| broker.connect()).collect();
    open.iter_mut().for_each(is_served);
    let mut next = broker.connect();
    next.send(0, &ApiVersionsRequest::default());
    alter(&mut admin, "max.connections", Some("4"));
    assert!(next.read_frame().is_some(), "there is a place for it");
    alter(&mut admin, "max.connections.per.ip", Some("4"));
    alter(&mut admin, "max.connections", None);
    // Nobody is sent away, but the next one waits until there are less than three.
    open.push(next);
    open.iter_mut().for_each(is_served);
    let mut late = broker.connect();
    late.send(0, &ApiVersionsRequest::default());
    drop(open.pop());
    let (patience, moment) = (
        late.socket.read_timeout().unwrap(),
        Duration::from_millis(200),
    );
    late.socket.set_read_timeout(Some(moment)).unwrap();
    let waits = late.socket.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(waits, Err(ErrorKind::WouldBlock), "three are left");
    late.socket.set_read_timeout(patience).unwrap();
    drop(open.pop());
    assert!(late.read_frame().is_some());
    alter(&mut admin, "max.connections", Some("100"));
    let mut fourth = broker.connect();
    is_served(&mut fourth);
    assert!(
        broker.connect().is_closed_by_broker(),
        "the fifth of its address"
    );
    // It is remembered.
    drop((admin, open, late, fourth));
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let mut all: Vec<Client> = (0..4).map(|_| broker.connect()).collect();
    all.iter_mut().for_each(is_served);
    assert!(broker.connect().is_closed_by_broker());
}

/// More fetches than a connection may have under way, none of which would be answered for weeks.
fn fetches_that_wait(client: &mut Client) -> usize {
    let request = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..fetch_request("t", 0, 0)
    };
    let count = 80;
    for _ in 0..count {
        client.send(11, &request);
    }
    count
}

#[test]
fn a_client_that_stops_sending_gets_all_its_answers_however_long_they_would_have_waited() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let count = fetches_that_wait(&mut client);
    client.socket.shutdown(Shutdown::Write).unwrap();
    for answer in 0..count {
        assert!(client.read_frame().is_some(), "answer {answer}");
    }
    assert_eq!(client.socket.read(&mut [0]).unwrap(), 0);
}

/// The end of a connection used to be seen only after all requests before it: behind a queue full of
/// waiting fetches, that was never.
#[test]
fn fact_26_clients_that_are_gone_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    // The only connection: one that was dropped would be counted here, and not be there later.
    let mut beside = broker.connect();
    beside.create_topic("t", 1, &[]);
    is_served(&mut beside);
    let before = broker.open_files();
    let gone: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = broker.connect();
            fetches_that_wait(&mut client);
            client
        })
        .collect();
    eventually("all are accepted", || {
        broker.open_files() >= before + gone.len()
    });
    drop(gone);
    eventually("all are let go of", || broker.open_files() <= before);
    is_served(&mut beside);
}

/// A produce that waits behind a fetch holds memory that others may wait for; the fetch, which its client lets
/// wait for weeks, must not hold it up.
#[test]
fn a_fetch_does_not_wait_while_memory_is_held_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    client.create_topic("idle", 1, &[]);
    let mut fetch = fetch_request("idle", 0, 0);
    (fetch.max_wait_ms, fetch.min_bytes) = (i32::MAX, 1);
    let waiting = client.send(11, &fetch);
    let records = support::batch(&["value"]);
    let mut produce = support::produce_request("t", 0, -1, Some(records));
    // So many that their answer's memory is counted.
    let partitions = &mut produce.topic_data[0].partition_data;
    let (first, unknown) = (partitions[0].clone(), 1..1_000);
    partitions.extend(unknown.map(|index| PartitionProduceData {
        index,
        ..first.clone()
    }));
    let produced = client.send(9, &produce);
    let fetched: FetchResponse<Bytes> = client.receive(11, waiting);
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0);
    let produced: ProduceResponse = client.receive(9, produced);
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
}
