//! Peers that hold what they can: they read nothing, send little, announce much, or are gone without a word.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use bytes::Bytes;
use tidewheel_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tidewheel_protocol::messages::fetch::{FetchRequest, FetchResponse};

use crate::support::{Broker, Client, batch, eventually, fetch_request};

/// A fetch of all of a topic that holds 18 MB.
fn large_fetch(broker: &Broker) -> FetchRequest {
    let mut client = broker.connect();
    client.create_topic("full", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        let answer = client.produce("full", 0, 1, batch(&[&value]));
        assert_eq!(answer.error_code, 0);
    }
    let mut fetch = fetch_request("full", 0, 0);
    fetch.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    fetch
}

/// Waits until the broker has these peers, whatever else it has open.
fn accepted(broker: &Broker, peers: &[Client]) {
    eventually("all are accepted", || broker.open_files() >= peers.len());
}

/// A hundred peers with a hundred large fetches each, of which they read nothing: 180 GB of answers.
pub(crate) fn that_read_nothing(broker: &Broker) -> Vec<Client> {
    let fetch = large_fetch(broker);
    let mut peers: Vec<Client> = (0..100).map(|_| broker.connect_narrow()).collect();
    for peer in &mut peers {
        for _ in 0..100 {
            peer.send(11, &fetch);
        }
    }
    accepted(broker, &peers);
    // What one of them asked for first is there when it reads at last.
    let answer: FetchResponse<Bytes> = peers[0].receive(11, 1);
    let records = answer.responses[0].partitions[0].records.as_ref();
    assert!(records.unwrap().len() > 18_000_000);
    peers
}

pub(crate) fn that_idle(broker: &Broker) -> Vec<Client> {
    let peers: Vec<Client> = (0..1_000).map(|_| broker.connect()).collect();
    accepted(broker, &peers);
    peers
}

/// Twenty peers announce 99 MB each and send what is taken of it.
pub(crate) fn that_announce_much(broker: &Broker) -> Vec<Client> {
    let chunk = vec![0_u8; 1 << 20];
    let mut peers: Vec<Client> = (0..20).map(|_| broker.connect()).collect();
    for peer in &mut peers {
        let length = 99_000_000_u32.to_be_bytes();
        peer.socket.write_all(&length).unwrap();
        peer.socket.set_nonblocking(true).unwrap();
    }
    for _ in 0..80 {
        for peer in &peers {
            // A full socket buffer is what is expected once the broker takes no more.
            let taken = (&peer.socket).write(&chunk);
            assert!(taken.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true));
        }
        crate::case::is_served(broker);
    }
    peers
}

/// Peers that close their sending half are answered and let go; those that stop in the middle of a request
/// are closed after a while; and of a machine that is gone the kernel will tell.
pub(crate) fn that_are_half_open(broker: &Broker) {
    let connect = |count: usize| -> Vec<Client> { (0..count).map(|_| broker.connect()).collect() };
    let [mut stalling, mut cut, mut silent, mut asking] = [(); 4].map(|()| connect(50));
    for (peer, sent) in stalling.iter_mut().zip(1..) {
        // A part of the length, or of the request that it announces.
        let request = [&1_000_u32.to_be_bytes()[..], &[0; 500]].concat();
        peer.socket.write_all(&request[..sent]).unwrap();
    }
    for peer in &mut cut {
        peer.socket.write_all(&[0, 0, 3, 0, 1, 2, 3]).unwrap();
        peer.socket.shutdown(Shutdown::Write).unwrap();
    }
    for peer in &mut silent {
        peer.socket.shutdown(Shutdown::Write).unwrap();
    }
    for peer in &mut asking {
        let number = peer.send(0, &ApiVersionsRequest::default());
        peer.socket.shutdown(Shutdown::Write).unwrap();
        let answer: ApiVersionsResponse = peer.receive(0, number);
        assert_eq!(answer.error_code, 0);
    }
    eventually("all open connections are watched by the kernel", || {
        watched_by_the_kernel(broker) >= stalling.len()
    });
    for peers in [cut, silent, asking, stalling] {
        for mut peer in peers {
            assert!(peer.is_closed_by_broker());
        }
    }
}

/// The broker's connections that the kernel sends probes on when nothing comes for long.
fn watched_by_the_kernel(broker: &Broker) -> usize {
    const ESTABLISHED: &str = "01";
    const KEEPALIVE: &str = "02:";
    let port: u16 = broker.address.rsplit(':').next().unwrap().parse().unwrap();
    let port = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let watched = table.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && fields[3] == ESTABLISHED && fields[5].starts_with(KEEPALIVE)
    });
    watched.count()
}
