//! A process that may open few files: connections take half of them at most, and where the files run out
//! some requests fail while everything else goes on.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use crate::case::bounded_on;
use crate::support::{Broker, batch, eventually};

/// A connection that is begun; nobody waits for it to be accepted, which it may never be.
fn knock(broker: &Broker) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let to: SocketAddr = broker.address.parse().unwrap();
    // It is under way.
    assert!(socket.connect(&to.into()).is_err());
    TcpStream::from(socket)
}

/// A thousand peers where there is room for 64: those that have a place are served, files can be opened
/// all the while, and when the peers are gone the next client is served.
#[test]
fn a_thousand_connections_leave_files_their_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_limited(128, dir.path(), &[]);
    bounded_on(&broker, |broker| {
        let mut beside = broker.connect();
        let idle: Vec<TcpStream> = (0..1_000).map(|_| knock(broker)).collect();
        for number in 0..20 {
            // A topic's first batch opens its file and syncs two directories.
            let name = format!("made-{number}");
            beside.create_topic(&name, 1, &[]);
            let answer = beside.produce(&name, 0, -1, batch(&["v"]));
            assert_eq!(answer.error_code, 0);
        }
        let answer: ApiVersionsResponse = beside.call(0, &ApiVersionsRequest::default());
        assert_eq!(answer.error_code, 0);
        drop(idle);
    });
    assert!(broker.stop(), "no directory went offline");
}

/// More partitions are written than files can be open. Appends wait or are refused, what was taken is
/// acknowledged by the disk once idle files are closed, and no directory goes offline.
#[test]
fn files_that_cannot_be_opened_hold_appends_up_and_break_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_limited(64, dir.path(), &[]);
    bounded_on(&broker, |broker| {
        let mut client = broker.connect();
        client.create_topic("many", 100, &[]);
        for partition in 0..100 {
            eventually("files are closed for this one", || {
                let answer = client.produce("many", partition, -1, batch(&["v"]));
                let refused = ErrorCode::KafkaStorageError.code();
                assert!([0, refused].contains(&answer.error_code), "{answer:?}");
                answer.error_code == 0
            });
        }
    });
    assert!(broker.stop(), "no directory went offline");
}
