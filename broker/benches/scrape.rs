//! What it costs to be watched: `cargo bench -p tidewheel-broker --bench scrape`.
//!
//! 10,000 partitions in 1,000 topics and 1,000 groups that have committed offsets in ten partitions each:
//!
//! - `pages`: each page of the metrics within the process, with everything read and with every group behind
//! - `http`: a scrape as Prometheus sends it
//! - `idle`: the processor time of a broker that does nothing, left alone and scraped; nine minutes
//! - `produce`: what a record costs, with the HTTP API off, with nobody looking, and scraped all the time
//!
//! Names after `--` choose some of them. It measures and judges nothing: see docs/performance.md.
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

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::groups::{codes, commit_request, find};
use support::{Broker, Client, batch, eventually, http, produce_request};
use tidewheel_broker::{EmbeddedBroker, MetricsFormat, MetricsPage};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::messages::produce::ProduceResponse;
use tokio::runtime::Runtime;

const TOPICS: usize = 1_000;
const PARTITIONS: i32 = 10;
const SCRAPES: usize = 50;
/// As long as four scrapes of Prometheus as it is set up most of the time.
const IDLE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(15);
/// Until a broker has nothing left to do of what filled it.
const SETTLE: Duration = Duration::from_secs(90);
const IDLE_ROUNDS: usize = 2;
const ROUNDS: usize = 7;
const REQUESTS: u32 = 20_000;
const MAX_PARTITIONS: &str = "tidewheel.max.partitions=20000";

fn topic(at: usize) -> String {
    format!("a-topic-named-{at:04}")
}

fn main() {
    let parts: [(&str, fn()); 4] = [
        ("pages", pages),
        ("http", over_http),
        ("idle", idle),
        ("produce", produce),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = !parts
        .iter()
        .any(|(name, _)| wanted.iter().any(|one| one == name));
    for (name, part) in parts {
        if all || wanted.iter().any(|one| one == name) {
            part();
        }
    }
}

/// What is to be looked at: topics, and groups that have read them.
fn populate(client: &mut Client) {
    create(client);
    eventually("there is a coordinator", || {
        let found = find(client, &["group"]);
        found.coordinators.iter().all(|one| one.error_code == 0)
    });
    for at in 0..TOPICS {
        let offsets: Vec<_> = (0..PARTITIONS)
            .map(|partition| (partition, 0, ""))
            .collect();
        let request = commit_request(&format!("group-{at:04}"), &topic(at), &offsets);
        let answer: OffsetCommitResponse = client.call(8, &request);
        assert!(codes(&answer).iter().all(|code| *code == 0));
    }
}

/// A record to each topic, which its group has not read.
fn fall_behind(client: &mut Client) {
    for at in 0..TOPICS {
        let request = produce_request(&topic(at), 0, 1, Some(batch(&["value"])));
        let answer: ProduceResponse = client.call(9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

fn pages() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let log_dir = format!("log.dirs={}", dir.path().display());
    let settings = [
        &log_dir,
        "listeners=PLAINTEXT://127.0.0.1:0",
        MAX_PARTITIONS,
    ];
    let broker = runtime.block_on(EmbeddedBroker::start(&settings)).unwrap();
    let mut client = Client::connect(&broker.bootstrap());
    populate(&mut client);
    let scrape = |page| {
        let text = broker.metrics(page, MetricsFormat::OpenMetrics);
        runtime.block_on(text).unwrap()
    };
    measure("everything is read", || scrape(MetricsPage::Default));
    fall_behind(&mut client);
    measure("every group is behind", || scrape(MetricsPage::Default));
    measure("detailed", || scrape(MetricsPage::Detailed));
    measure("kafka_exporter's names", || {
        scrape(MetricsPage::KafkaExporter)
    });
    runtime.block_on(broker.stop()).unwrap();
}

/// A broker process with all of it; `listen` says where its HTTP API is, if it has one.
fn populated(data: &std::path::Path, listen: &str) -> Broker {
    let admin = format!("tidewheel.admin.listen={listen}");
    let broker = Broker::start_with(data, &[&admin, MAX_PARTITIONS]);
    let mut client = broker.connect();
    populate(&mut client);
    fall_behind(&mut client);
    broker
}

fn scrape(broker: &Broker) -> String {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = http::send(broker, "GET", "/metrics", &[("accept", accept)], "");
    assert_eq!(answer.status, 200);
    answer.body
}

fn over_http() {
    let dir = tempfile::tempdir().unwrap();
    let broker = populated(dir.path(), "127.0.0.1:0");
    measure("over HTTP, every group is behind", || scrape(&broker));
    assert!(broker.stop());
}

fn idle() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let served = populated(dirs[0].path(), "127.0.0.1:0");
    let off = populated(dirs[1].path(), "off");
    // What the last requests left to do is done: files are closed, offsets are compacted, all is on the disk.
    std::thread::sleep(SETTLE);
    for _ in 0..IDLE_ROUNDS {
        rest("without an HTTP API", &off, || {});
        rest("left alone", &served, || {});
        rest("scraped every 15 s", &served, || drop(scrape(&served)));
    }
    assert!(served.stop());
    assert!(off.stop());
}

/// Processor time that the whole machine has taken so far, what waited for disks and what others took of it left out,
/// in hundredths of a second.
fn machine_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let mut fields = stat.lines().next().unwrap().split_whitespace().skip(1);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    let [user, nice, system, _idle, _waited, irq, softirq] = std::array::from_fn(|_| next());
    user + nice + system + irq + softirq
}

fn rest(what: &str, broker: &Broker, look: impl Fn()) {
    let (before, all_before) = (broker.cpu_ticks(), machine_ticks());
    let began = Instant::now();
    while began.elapsed() < IDLE {
        look();
        std::thread::sleep(INTERVAL);
    }
    let used = broker.cpu_ticks() - before;
    // Linux counts user-visible CPU time in hundredths of a second.
    let of_a_core =
        |ticks: u64| f64::from(u32::try_from(ticks).unwrap()) / began.elapsed().as_secs_f64();
    let beside = (machine_ticks() - all_before).saturating_sub(used);
    println!(
        "idle, {what}: {:.2} % of a core; all else on the machine: {:.2} %",
        of_a_core(used),
        of_a_core(beside)
    );
}

/// The processor time that the process has taken so far, of the threads that it has now, in ns.
fn cpu_ns(broker: &Broker) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let path = thread.unwrap().path().join("schedstat");
        // A thread that has just ended.
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        stat.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

/// Sides take turns, so that what the machine does besides meets all of them.
fn produce() {
    let sides = [
        ("HTTP API off", "off", false),
        ("nobody looks", "127.0.0.1:0", false),
        ("scraped all the time", "127.0.0.1:0", true),
    ];
    let dirs: Vec<_> = sides.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let brokers: Vec<Broker> = sides
        .iter()
        .zip(&dirs)
        .map(|((_, listen, _), dir)| populated(dir.path(), listen))
        .collect();
    let mut taken = vec![Vec::new(); sides.len()];
    // The first round is of caches and files that are opened.
    for round in 0..=ROUNDS {
        for (at, (_, _, scraped)) in sides.iter().enumerate() {
            let cost = one_round(&brokers[at], *scraped);
            if round > 0 {
                taken[at].push(cost);
            }
        }
    }
    let mut alone = None;
    for ((what, _, _), mut costs) in sides.iter().zip(taken) {
        costs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (cpu, _) = costs[ROUNDS / 2];
        let (least, most) = (costs[0].0, costs[ROUNDS - 1].0);
        costs.sort_by(|one, other| one.1.total_cmp(&other.1));
        let (_, wall) = costs[ROUNDS / 2];
        let ratio = cpu / *alone.get_or_insert(cpu);
        println!(
            "produce, {what}: {cpu:.2} us of CPU a request ({least:.2} to {most:.2}), {ratio:.3} of the first, \
             answered after {wall:.1} us"
        );
    }
    for broker in brokers {
        assert!(broker.stop());
    }
}

/// Requests of one record, each sent when the one before is answered: µs of CPU and of time for each.
fn one_round(broker: &Broker, scraped: bool) -> (f64, f64) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if scraped {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    scrape(broker);
                }
            });
        }
        let mut client = broker.connect();
        let records = batch(&["value"]);
        let (before, began) = (cpu_ns(broker), Instant::now());
        for at in 0..REQUESTS {
            let partition = i32::try_from(at % 8).unwrap();
            let answer = client.produce(&topic(0), partition, 1, records.clone());
            assert_eq!(answer.error_code, 0);
        }
        let (took, used) = (began.elapsed(), cpu_ns(broker) - before);
        is_over.store(true, Ordering::Relaxed);
        let requests = f64::from(REQUESTS);
        (
            Duration::from_nanos(used).as_secs_f64() * 1e6 / requests,
            took.as_secs_f64() * 1e6 / requests,
        )
    })
}

fn create(client: &mut Client) {
    let topics = (0..TOPICS).map(|at| CreatableTopic {
        name: StrBytes::from(topic(at)),
        num_partitions: PARTITIONS,
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

/// Of a machine that others use only the fastest says something.
fn measure(what: &str, scrape: impl Fn() -> String) {
    let mut times: Vec<Duration> = Vec::new();
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let began = Instant::now();
        bytes = scrape().len();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "{what}: {bytes} bytes, median {:.1} ms, fastest {:.1} ms, slowest {:.1} ms",
        times[SCRAPES / 2].as_secs_f64() * 1e3,
        times[0].as_secs_f64() * 1e3,
        times[SCRAPES - 1].as_secs_f64() * 1e3,
    );
}
