//! How long a start takes, and what an idle broker costs.
//!
//! `cargo bench -p tidewheel-broker --bench start` starts the broker in an empty directory several times,
//! asks for Metadata until it is answered, and prints the median; then it leaves one broker alone and
//! prints its memory and its share of a core. It measures and judges nothing: see docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and waits"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::Broker;
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

const STARTS: usize = 21;
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    let mut starts: Vec<Duration> = (0..STARTS).map(|_| one_start()).collect();
    starts.sort();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!(
        "start in an empty directory to the first Metadata answer: median {:.1} ms, min {:.1}, max {:.1} ({STARTS} starts)",
        ms(starts[STARTS / 2]),
        ms(starts[0]),
        ms(starts[STARTS - 1]),
    );
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    ask(&broker);
    let before = broker.cpu_ticks();
    std::thread::sleep(IDLE);
    let used = broker.cpu_ticks() - before;
    // Linux counts user-visible CPU time in hundredths of a second.
    let share = f64::from(u32::try_from(used).unwrap()) / 100.0 / IDLE.as_secs_f64();
    println!(
        "idle for {} s: RssAnon {:.1} MiB, {:.2} % of a core",
        IDLE.as_secs(),
        f64::from(u32::try_from(broker.rss_anon_kib()).unwrap()) / 1024.0,
        share * 100.0
    );
}

fn one_start() -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let broker = Broker::start(dir.path());
    ask(&broker);
    started.elapsed()
}

fn ask(broker: &Broker) {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = broker.connect().call(1, &request);
    assert_eq!(answer.brokers.len(), 1);
}
