//! What durability costs: `acks=all` beside a single `fdatasync` of the same disk, and the first
//! acknowledgement after `kill -9`.
//!
//! `cargo bench -p tidewheel-broker --bench durability` measures both, the second with 10 GiB in 1 and in 100
//! partitions; `-- 2` takes 2 GiB, `-- 0` leaves that out. `TMPDIR` says on which disk. It measures and judges
//! nothing: see docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and writes files of its own"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Broker, Client, batch, produce_request};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse,
};

const ROUNDS: usize = 500;
const GIB: u64 = 1 << 30;

fn main() {
    let given = std::env::args().skip(1).find_map(|text| text.parse().ok());
    acknowledgements();
    let gib: u64 = given.unwrap_or(10);
    for partitions in [1, 100] {
        if gib > 0 {
            recovery(gib * GIB, partitions);
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(mut work: impl FnMut()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// One round each in turn, so that all see the same disk.
fn acknowledgements() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let mut client = broker.connect();
    let mut file = std::fs::File::create(dir.path().join("single")).unwrap();
    let counts = [1, 16, 100];
    for count in counts {
        client.create_topic(&format!("t{count}"), count, &[]);
    }
    let mut single = Vec::new();
    let mut acked = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        single.push(timed(|| {
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
        }));
        for (count, times) in counts.into_iter().zip(&mut acked) {
            let request = to_all(&format!("t{count}"), count);
            times.push(timed(|| acknowledge(&mut client, &request)));
        }
    }
    let single = median(single);
    println!("fdatasync of 4 KiB: median {single:.1?}");
    for (count, times) in counts.into_iter().zip(acked) {
        let median = median(times);
        let ratio = median.as_secs_f64() / single.as_secs_f64();
        println!("acks=all, {count} partitions: median {median:.1?}, {ratio:.1} times as long");
    }
    assert!(broker.stop());
}

/// A request with a batch of 4 KiB for every partition.
fn to_all(topic: &str, partitions: i32) -> ProduceRequest {
    let records = batch(&[&"x".repeat(4_000)]);
    let mut request = produce_request(topic, 0, -1, None);
    request.topic_data[0].partition_data = (0..partitions)
        .map(|index| PartitionProduceData {
            index,
            records: Some(records.clone()),
        })
        .collect();
    request
}

fn acknowledge(client: &mut Client, request: &ProduceRequest) {
    let answer: ProduceResponse = client.call(9, request);
    for partition in &answer.responses[0].partition_responses {
        assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
    }
}

/// The time from `exec` to the first acknowledgement with `acks=all`, after a kill under load.
fn recovery(bytes: u64, partitions: i32) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", partitions, &[]);
    let value = "x".repeat(900_000);
    let records = batch(&[&value]);
    let batches = bytes / records.len() as u64;
    for number in 0..batches {
        let partition = i32::try_from(number % u64::try_from(partitions).unwrap()).unwrap();
        let answer = client.produce("t", partition, 1, records.clone());
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
    broker.kill();
    let took = timed(|| first_acknowledgement(dir.path()));
    let gib = bytes / GIB;
    println!("{gib} GiB in {partitions} partitions: acknowledges {took:.0?} after kill -9");
}

fn first_acknowledgement(data: &Path) {
    let broker = Broker::start(data);
    let answer = broker.connect().produce("t", 0, -1, batch(&["first"]));
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}
