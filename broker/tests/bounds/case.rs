//! What holds around every hostile case: memory stays bounded, a well-behaved client sees no error, a new one
//! is served, and what the hostile peers took comes back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::support::{self, Broker, Client, batch, eventually};

/// What the process may hold in anonymous memory, in KiB.
const RSS_ANON_KIB_MAX: u64 = 256 * 1024;
/// The topic of the well-behaved client; no hostile request names it.
const STEADY: &str = "well-behaved";
/// The topic of the clients that come while hostile peers are there.
const BESIDE: &str = "beside";
/// Between two looks at the memory, and between two rounds of the well-behaved client.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a hostile case against a broker of its own with these settings. What the case returns, its
/// peers mostly, stays while a new client is served, and is dropped before the descriptors are counted.
pub(crate) fn bounded<T>(settings: &[&str], hostile: impl FnOnce(&Broker) -> T) {
    let dir = tempfile::tempdir().unwrap();
    bounded_on(&Broker::start_with(dir.path(), settings), hostile);
}

/// The same against a broker that runs already.
pub(crate) fn bounded_on<T>(broker: &Broker, hostile: impl FnOnce(&Broker) -> T) {
    let mut steady = broker.connect();
    for topic in [STEADY, BESIDE] {
        steady.create_topic(topic, 1, &[]);
        assert_eq!(steady.produce(topic, 0, -1, batch(&["0"])).error_code, 0);
    }
    let base = descriptors(broker);
    let rounds = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Dropped at the end of this block, also where it panics: then both threads end.
        let (_running, stopped) = sync_channel(1);
        let (_sampling, sampled) = sync_channel(1);
        let sampler = scope.spawn(move || sample(broker, &sampled));
        let steady = scope.spawn(move || produce_and_fetch(&mut steady, rounds, &stopped));
        let peers = hostile(broker);
        gets_on(rounds);
        for _ in 0..5 {
            is_served(broker);
        }
        drop(peers);
        forget_topics(broker);
        // The well-behaved client has its connection still.
        eventually("all descriptors come back", || descriptors(broker) <= base);
        is_served(broker);
        gets_on(rounds);
        drop((_running, _sampling));
        steady.join().unwrap();
        report(rounds.load(Ordering::Relaxed), sampler.join().unwrap());
    });
}

#[expect(
    clippy::print_stdout,
    reason = "a failed case is read with its figures"
)]
fn report(rounds: usize, peak_kib: u64) {
    println!("{rounds} rounds of the well-behaved client, RssAnon at most {peak_kib} KiB");
}

/// Descriptors of the broker, without the files of its own topics: what groups wrote stays open until it was
/// synced and then idle for a while, which takes half a minute and on a slow disk more.
fn descriptors(broker: &Broker) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap();
    let targets = entries.map(|entry| {
        // It may be closed by now.
        std::fs::read_link(entry.unwrap().path()).unwrap_or_default()
    });
    let is_own = |target: &PathBuf| target.to_string_lossy().contains("/__consumer_offsets-");
    targets.filter(|target| !is_own(target)).count()
}

/// Waits for the well-behaved client to do some more.
fn gets_on(rounds: &AtomicUsize) {
    let more = rounds.load(Ordering::Relaxed) + 3;
    eventually("the well-behaved client gets on", || {
        rounds.load(Ordering::Relaxed) >= more
    });
}

/// Describes, produces and consumes on one connection, one record a round, until `stopped`'s other end is
/// gone.
fn produce_and_fetch(client: &mut Client, rounds: &AtomicUsize, stopped: &Receiver<()>) {
    while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let round = rounds.load(Ordering::Relaxed) + 1;
        describe(client, STEADY);
        let value = round.to_string();
        let produced = client.produce(STEADY, 0, -1, batch(&[&value]));
        let offset = i64::try_from(round).unwrap();
        assert_eq!((produced.error_code, produced.base_offset), (0, offset));
        let read = client.consume(STEADY, 0, offset);
        let values: Vec<&[u8]> = read.iter().map(|record| &record.value[..]).collect();
        assert_eq!(values, [value.as_bytes()]);
        rounds.store(round, Ordering::Relaxed);
    }
}

/// The most anonymous memory that was seen, in KiB.
fn sample(broker: &Broker, stopped: &Receiver<()>) -> u64 {
    let mut peak = 0;
    while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let held = broker.rss_anon_kib();
        assert!(held < RSS_ANON_KIB_MAX, "RssAnon {held} KiB");
        peak = peak.max(held);
    }
    peak
}

/// A new client is answered: it describes, produces and consumes.
pub(crate) fn is_served(broker: &Broker) {
    let mut client = broker.connect();
    describe(&mut client, BESIDE);
    let produced = client.produce(BESIDE, 0, -1, batch(&["v"]));
    assert_eq!(produced.error_code, 0);
    let read = client.consume(BESIDE, 0, produced.base_offset);
    assert_eq!(&read[0].value[..], b"v");
}

fn describe(client: &mut Client, topic: &str) {
    let request = MetadataRequest {
        topics: Some(vec![support::metadata_topic(topic)]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    assert_eq!(answer.topics[0].error_code, 0);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// Deletes every topic that a case made, and with it its open files.
pub(crate) fn forget_topics(broker: &Broker) {
    let mut client = broker.connect();
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    // The broker keeps its own.
    let made = answer.topics.iter().filter(|topic| !topic.is_internal);
    let names = made.filter_map(|topic| topic.name.as_ref());
    let foreign: Vec<StrBytes> = names
        .filter(|name| ![STEADY, BESIDE].contains(&name.as_ref()))
        .cloned()
        .collect();
    let count = foreign.len();
    let request = DeleteTopicsRequest {
        topic_names: foreign,
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let answer: DeleteTopicsResponse = client.call(5, &request);
    assert!(answer.responses.iter().all(|topic| topic.error_code == 0));
    assert_eq!(answer.responses.len(), count);
}

/// splitmix64: where chance starts decides all of it.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// Starts where `TIDEWHEEL_FUZZ_SEED` says, and prints that.
    #[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("TIDEWHEEL_FUZZ_SEED")
            .map_or(0x7469_6465, |seed| seed.parse().expect("a number"));
        println!("TIDEWHEEL_FUZZ_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, 0 where that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One of `items`.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
