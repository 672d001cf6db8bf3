//! Faults that a test puts between its clients and an embedded broker.

use std::time::Duration;

use bytes::Bytes;
use tidewheel_broker::{ApiKey, EmbeddedBroker, ErrorCode, Faults};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use tidewheel_protocol::messages::produce::ProduceResponse;

use crate::embedded::Embedded;
use crate::support::{
    Client, batch, eventually, fetch_request, metadata_topic, now_ms, produce_request,
};

fn broker(faults: &Faults) -> Embedded {
    Embedded::build(EmbeddedBroker::builder().topic("t", 1).faults(faults))
}

fn produce(client: &mut Client, value: &str) -> Option<i16> {
    let request = produce_request("t", 0, -1, Some(batch(&[value])));
    let answer: Option<ProduceResponse> = client.try_call(9, &request);
    answer.map(|answer| answer.responses[0].partition_responses[0].error_code)
}

fn values(client: &mut Client) -> Vec<String> {
    let read = client.consume("t", 0, 0).into_iter();
    read.map(|one| String::from_utf8(one.value.to_vec()).unwrap())
        .collect()
}

#[test]
fn a_request_that_is_refused_is_not_handled() {
    let faults = Faults::new();
    let broker = broker(&faults);
    let mut client = broker.connect();
    let code = ErrorCode::NotLeaderOrFollower;
    let moved = faults.on(ApiKey::Produce).after(1).times(2);
    let moved = moved.fail_with(code).unwrap();
    let told = ["a", "b", "c", "d"].map(|value| produce(&mut client, value).unwrap());
    assert_eq!(told, [0, code.code(), code.code(), 0]);
    assert_eq!(values(&mut client), ["a", "d"]);
    assert_eq!(moved.happened(), 2);
    // Of other APIs nobody hears anything.
    let missing = faults.on(ApiKey::Metadata);
    missing.fail_with(ErrorCode::LeaderNotAvailable).unwrap();
    assert_eq!(produce(&mut client, "e"), Some(0));
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic("t")]),
        ..MetadataRequest::default()
    };
    let codes = [(); 2].map(|()| {
        let answer: MetadataResponse = client.call(9, &request);
        answer.topics[0].error_code
    });
    assert_eq!(codes, [ErrorCode::LeaderNotAvailable.code(), 0]);
    broker.stop();
}

#[test]
fn an_answer_gets_lost_after_the_request_was_handled_and_a_connection_before() {
    let faults = Faults::new();
    let broker = broker(&faults);
    faults.on(ApiKey::Produce).drop_answer();
    assert_eq!(produce(&mut broker.connect(), "handled"), None);
    let cut = faults.on(ApiKey::Produce).drop_connection();
    assert_eq!(produce(&mut broker.connect(), "lost"), None);
    assert_eq!(cut.happened(), 1);
    let mut client = broker.connect();
    assert_eq!(produce(&mut client, "after"), Some(0));
    assert_eq!(values(&mut client), ["handled", "after"]);
    // One of a coordinator, and one that is answered in its turn.
    faults.on(ApiKey::Heartbeat).drop_answer();
    let request = HeartbeatRequest::default();
    let answer: Option<HeartbeatResponse> = client.try_call(4, &request);
    assert_eq!(answer, None);
    faults.on(ApiKey::Metadata).drop_answer();
    let answer: Option<MetadataResponse> =
        broker.connect().try_call(9, &MetadataRequest::default());
    assert_eq!(answer, None);
    broker.stop();
}

#[test]
fn a_request_that_is_delayed_is_handled_later_and_what_comes_behind_it_waits() {
    const LATE: Duration = Duration::from_millis(300);
    let faults = Faults::new();
    let broker = broker(&faults);
    let (mut client, mut other) = (broker.connect(), broker.connect());
    let delay = faults.on(ApiKey::Produce).delay(LATE);
    let began = now_ms();
    let request = produce_request("t", 0, -1, Some(batch(&["late"])));
    let late = client.send(9, &request);
    let behind = client.send(9, &MetadataRequest::default());
    eventually("it is delayed", || delay.happened() == 1);
    assert_eq!(produce(&mut other, "in time"), Some(0));
    let answer: ProduceResponse = client.receive(9, late);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let _: MetadataResponse = client.receive(9, behind);
    assert!(now_ms() - began >= 300);
    assert_eq!(values(&mut client), ["in time", "late"]);
    broker.stop();
}

/// A fault without end keeps nobody from stopping the broker.
#[test]
fn a_broker_stops_while_requests_are_delayed() {
    let faults = Faults::new();
    let broker = broker(&faults);
    let delay = faults.on(ApiKey::Produce).always();
    let delay = delay.delay(Duration::from_secs(3_600));
    let mut client = broker.connect();
    let request = produce_request("t", 0, -1, Some(batch(&["never"])));
    client.send(9, &request);
    eventually("it is delayed", || delay.happened() == 1);
    let began = now_ms();
    broker.stop();
    assert!(now_ms() - began < 30_000);
    assert!(client.is_closed_by_broker());
}

/// Client and broker would count on from different epochs: the next fetch begins a new session instead.
#[test]
fn a_session_of_fetches_does_not_go_on_with_a_refusal() {
    let faults = Faults::new();
    let broker = broker(&faults);
    let mut client = broker.connect();
    assert_eq!(produce(&mut client, "v"), Some(0));
    let mut fetch = |session_id, session_epoch| {
        let request = FetchRequest {
            session_id,
            session_epoch,
            ..fetch_request("t", 0, 0)
        };
        let answer: FetchResponse<Bytes> = client.call(12, &request);
        let partition = &answer.responses[0].partitions[0];
        (answer.error_code, answer.session_id, partition.error_code)
    };
    let (_, session_id, _) = fetch(0, 0);
    assert_ne!(session_id, 0);
    let code = ErrorCode::NotLeaderOrFollower;
    faults.on(ApiKey::Fetch).fail_with(code).unwrap();
    assert_eq!(fetch(session_id, 1), (0, 0, code.code()));
    // As clients do that are told of no session.
    let (error, session_id, partition) = fetch(0, 0);
    assert_eq!((error, partition), (0, 0));
    assert_ne!(session_id, 0);
    broker.stop();
}

/// A version that is not served closes the connection, as without faults, and the fault waits for the next request.
#[test]
fn what_is_not_served_is_not_refused_either() {
    let faults = Faults::new();
    let broker = broker(&faults);
    let code = ErrorCode::NotLeaderOrFollower;
    let moved = faults.on(ApiKey::Produce).fail_with(code).unwrap();
    for version in [2, 14] {
        let mut client = broker.connect();
        let request = produce_request("t", 0, -1, Some(batch(&["v"])));
        assert!(client.try_send(version, &request));
        assert!(client.is_closed_by_broker(), "{version}");
        assert_eq!(moved.happened(), 0, "{version}");
    }
    assert_eq!(produce(&mut broker.connect(), "v"), Some(code.code()));
    assert_eq!(moved.happened(), 1);
    broker.stop();
}
