//! Stopping: in bounded time whatever clients do, and at once for whoever asks twice.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Broker, Client, batch, eventually, fetch_request, produce_request, run};
use tidewheel_protocol::messages::fetch::FetchRequest;

/// What Kafka leaves in a data directory that was closed in order.
const CLEAN: &str = ".kafka_cleanshutdown";

fn broker_with_data() -> (Broker, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("full", 1, &[]);
    client.create_topic("busy", 4, &[]);
    client.create_topic("quiet", 1, &[]);
    assert_eq!(client.produce("quiet", 0, 1, batch(&["v"])).error_code, 0);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        let answer = client.produce("full", 0, 1, batch(&[&value]));
        assert_eq!(answer.error_code, 0);
    }
    (broker, dir)
}

/// A peer that asks for 18 MB again and again and reads none of it.
fn stalled(broker: &Broker) -> Client {
    let mut peer = broker.connect();
    let mut request = fetch_request("full", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    for _ in 0..70 {
        peer.send(11, &request);
    }
    peer
}

/// A peer whose queue is full of fetches that nothing answers.
fn waiting(broker: &Broker) -> Client {
    let mut peer = broker.connect();
    let request = FetchRequest {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..fetch_request("quiet", 0, 1)
    };
    for _ in 0..70 {
        peer.send(11, &request);
    }
    peer
}

fn is_stopping(broker: &Broker) -> bool {
    TcpStream::connect(&broker.address).is_err()
}

/// Produces until the broker takes no more; counts what was acknowledged.
fn produce(broker: &Broker, partition: i32, acked: &AtomicUsize) {
    let mut client = broker.connect();
    loop {
        let request = produce_request("busy", partition, -1, Some(batch(&["v"])));
        if !client.try_send(9, &request) || client.read_frame().is_none() {
            return;
        }
        acked.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_broker_under_load_stops_cleanly_whatever_its_clients_do() {
    let (broker, dir) = broker_with_data();
    let stalled: Vec<Client> = (0..20).map(|_| stalled(&broker)).collect();
    let waiting: Vec<Client> = (0..40).map(|_| waiting(&broker)).collect();
    let half: Vec<Client> = (0..20)
        .map(|_| {
            let mut peer = broker.connect();
            peer.socket
                .write_all(&99_000_000_u32.to_be_bytes())
                .unwrap();
            peer.socket.write_all(&[0; 50_000]).unwrap();
            peer
        })
        .collect();
    let acked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for producer in 0..20 {
            let (broker, acked) = (&broker, &acked);
            scope.spawn(move || produce(broker, producer % 4, acked));
        }
        eventually("all produce", || acked.load(Ordering::Relaxed) > 200);
        broker.terminate();
    });
    assert_eq!(broker.wait(), Some(0), "a clean stop");
    drop((stalled, waiting, half));
    assert!(dir.path().join(CLEAN).exists());
    let verified = run(&["log", "verify", dir.path().to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    let read: usize = (0..4)
        .map(|partition| client.consume("busy", partition, 0).len())
        .sum();
    assert!(read >= acked.into_inner(), "what was acknowledged is there");
}

#[test]
fn a_second_signal_ends_the_broker_at_once() {
    for second in ["-TERM", "-INT"] {
        let (broker, dir) = broker_with_data();
        // It would be given some seconds to read what it asked for.
        let stalled = stalled(&broker);
        broker.terminate();
        eventually("the broker stops", || is_stopping(&broker));
        broker.signal(second);
        assert_eq!(broker.wait(), Some(130));
        drop(stalled);
        assert!(!dir.path().join(CLEAN).exists());
        let broker = Broker::start(dir.path());
        assert_eq!(broker.connect().consume("full", 0, 0).len(), 20);
    }
}
