//! What many partitions cost: to make them, to hold them, to start with them, to write to all of them.
//!
//! `cargo bench -p tidewheel-broker --bench partitions` measures 10,000 and then 50,000, under a limit of
//! 20,000 descriptors; other numbers can be given after `--`. It measures and judges nothing: see
//! docs/performance.md.
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

use std::path::Path;
use std::time::{Duration, Instant};

use support::{Broker, Client, batch, eventually, metadata_topic};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

/// Partitions of each topic.
const PER_TOPIC: i32 = 1_000;
/// Topics of one request: as many as one may make.
const PER_REQUEST: usize = 10;
/// That the broker may have.
const OPEN_FILES: u32 = 20_000;
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    let given = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let mut counts: Vec<i32> = given.collect();
    if counts.is_empty() {
        counts = vec![10_000, 50_000];
    }
    counts.into_iter().for_each(measure);
}

fn measure(partitions: i32) {
    let dir = tempfile::tempdir().unwrap();
    let topics: Vec<String> = (0..partitions / PER_TOPIC)
        .map(|at| format!("t{at}"))
        .collect();
    let broker = Broker::start_limited(OPEN_FILES, dir.path(), &[]);
    let began = Instant::now();
    let mut client = broker.connect();
    topics
        .chunks(PER_REQUEST)
        .for_each(|some| create(&mut client, some));
    println!("{partitions} partitions");
    println!(
        "  created durably in {:.2} s",
        began.elapsed().as_secs_f64()
    );
    idle(&broker, "empty");
    assert!(broker.stop());
    let broker = timed_start(dir.path(), "empty");
    write(&broker, &topics);
    report(&broker, "written to");
    let before = open_files(&broker);
    let began = Instant::now();
    eventually("idle files are closed", || {
        open_files(&broker) < before / 10 + 50 || began.elapsed() > Duration::from_secs(50)
    });
    idle(&broker, "written to");
    assert!(broker.stop());
    let broker = timed_start(dir.path(), "written to");
    report(&broker, "started again");
    assert!(broker.stop());
}

fn create(client: &mut Client, topics: &[String]) {
    let topics = topics.iter().map(|name| CreatableTopic {
        name: StrBytes::from(name.as_str()),
        num_partitions: PER_TOPIC,
        replication_factor: -1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 60_000,
        ..CreateTopicsRequest::default()
    };
    let answer: CreateTopicsResponse = client.call(7, &request);
    for topic in answer.topics {
        assert_eq!(topic.error_code, 0, "{:?}", topic.error_message);
    }
}

fn timed_start(data: &Path, what: &str) -> Broker {
    let began = Instant::now();
    let broker = Broker::start_limited(OPEN_FILES, data, &[]);
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic("t0")]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = broker.connect().call(9, &request);
    assert_eq!(answer.topics[0].error_code, 0);
    let took = began.elapsed().as_secs_f64() * 1e3;
    println!("  {what}: clean start to the first Metadata answer in {took:.0} ms");
    broker
}

/// One batch to every partition; what is refused is sent again.
fn write(broker: &Broker, topics: &[String]) {
    let mut client = broker.connect();
    let records = batch(&["value"]);
    let (began, mut refused) = (Instant::now(), 0);
    for topic in topics {
        for partition in 0..PER_TOPIC {
            while client
                .produce(topic, partition, 1, records.clone())
                .error_code
                != 0
            {
                refused += 1;
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("  first batch to each, one after the other, in {took:.2} s, {refused} refused");
}

fn idle(broker: &Broker, what: &str) {
    let before = cpu_ticks(broker.pid());
    std::thread::sleep(IDLE);
    let used = cpu_ticks(broker.pid()) - before;
    // Linux counts user-visible CPU time in hundredths of a second.
    let share = f64::from(u32::try_from(used).unwrap()) / IDLE.as_secs_f64();
    println!(
        "  {what}, idle for {} s: {share:.2} % of a core",
        IDLE.as_secs()
    );
    report(broker, what);
}

fn report(broker: &Broker, what: &str) {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", broker.pid())).unwrap();
    let files = maps
        .lines()
        .filter(|line| line.contains(".log") || line.contains("index"));
    println!(
        "  {what}: RssAnon {:.1} MiB, {} descriptors, {} maps of logs",
        f64::from(u32::try_from(broker.rss_anon_kib()).unwrap()) / 1024.0,
        open_files(broker),
        files.count()
    );
}

fn open_files(broker: &Broker) -> usize {
    broker.open_files()
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
