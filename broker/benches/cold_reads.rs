//! What producers notice of a consumer that reads what is not in memory any more.
//!
//! `cargo bench -p tidewheel-broker --bench cold_reads` writes 4 GiB (`-- 20` for 20), has them leave the page
//! cache, and takes the time of requests with `acks=1` and with `acks=all`, 4 KiB each and 200 of both in a second,
//! from when they are due: for ten seconds alone, for ten beside the consumer, and so on in turn. Prints the
//! percentiles of both and their ratio. `TMPDIR` says on which disk. It measures and judges nothing: see
//! docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, waits and starts threads"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use support::{Broker, Client, batch, batches, fetch_request};
use tidewheel_protocol::messages::fetch::FetchResponse;

const GIB: u64 = 1 << 30;
const COLD: &str = "cold";
/// What is produced to, and with which `acks`.
const HOT: [(&str, i16); 2] = [("acks=1", 1), ("acks=all", -1)];
const EVERY: Duration = Duration::from_millis(5);
const WINDOW: Duration = Duration::from_secs(10);
/// Windows of each kind.
const ROUNDS: usize = 5;

fn main() {
    let given = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let bytes = given.unwrap_or(4) * GIB;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic(COLD, 1, &[]);
    for (name, _) in HOT {
        client.create_topic(&topic(name), 1, &[]);
    }
    fill(&mut client, bytes);
    let (mut alone, mut beside) = (HOT.map(|_| Vec::new()), HOT.map(|_| Vec::new()));
    let mut read = (0, Duration::ZERO);
    for _ in 0..ROUNDS {
        measure(&broker, &mut alone, || std::thread::sleep(WINDOW));
        measure(&broker, &mut beside, || {
            let began = Instant::now();
            while began.elapsed() < WINDOW {
                forget(&dir.path().join(format!("{COLD}-0")));
                let (bytes, took) = read_all(&mut client);
                read = (read.0 + bytes, read.1 + took);
            }
        });
    }
    let rate = to_f64(read.0) / read.1.as_secs_f64() / 1e6;
    println!("{} GiB, read at {rate:.0} MB/s", bytes / GIB);
    for ((name, _), (alone, beside)) in HOT.iter().zip(alone.iter_mut().zip(&mut beside)) {
        println!(
            "{name}, {} alone and {} beside it:",
            alone.len(),
            beside.len()
        );
        for (percentile, of_1000) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            let [alone, beside] = [&mut *alone, &mut *beside].map(|times| pick(times, of_1000));
            let ratio = beside.as_secs_f64() / alone.as_secs_f64();
            println!("  {percentile} {alone:.2?} alone, {beside:.2?} beside it: {ratio:.2} times");
        }
    }
    assert!(broker.stop());
}

fn topic(name: &str) -> String {
    name.replace('=', "-")
}

fn to_f64(bytes: u64) -> f64 {
    u32::try_from(bytes >> 10).map_or(f64::INFINITY, f64::from) * 1024.0
}

fn pick(times: &mut [Duration], of_1000: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * of_1000 / 1000).min(times.len() - 1)]
}

fn fill(client: &mut Client, bytes: u64) {
    let value = "x".repeat(900_000);
    let records = batch(&[&value]);
    for _ in 0..bytes / records.len() as u64 {
        let answer = client.produce(COLD, 0, 1, records.clone());
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
}

/// Has the pages of all files in a directory leave the memory.
fn forget(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Reads the cold topic from its beginning to its end, and tells the bytes and the time.
fn read_all(client: &mut Client) -> (u64, Duration) {
    let (began, mut bytes, mut offset) = (Instant::now(), 0, 0);
    loop {
        let request = fetch_request(COLD, 0, offset);
        let mut answer: FetchResponse<Bytes> = client.call(11, &request);
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        let records = data.records.unwrap_or_default();
        bytes += records.len() as u64;
        for batch in batches(records) {
            offset = batch.header.next_offset();
        }
        if offset >= data.high_watermark {
            return (bytes, began.elapsed());
        }
    }
}

/// Produces to both topics while `work` is done, and notes how long each request took.
fn measure(broker: &Broker, times: &mut [Vec<Duration>; 2], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for ((name, acks), times) in HOT.into_iter().zip(times) {
            let (client, done) = (broker.connect(), &done);
            scope.spawn(move || times.extend(produce(client, &topic(name), acks, done)));
        }
        work();
        done.store(true, Ordering::Relaxed);
    });
}

/// The time of each request, from when it was due: one that is late makes the next ones late.
fn produce(mut client: Client, topic: &str, acks: i16, done: &AtomicBool) -> Vec<Duration> {
    let records = batch(&[&"x".repeat(4_000)]);
    let (mut due, mut times) = (Instant::now(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = client.produce(topic, 0, acks, records.clone());
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        times.push(due.elapsed());
        due += EVERY;
    }
    times
}
