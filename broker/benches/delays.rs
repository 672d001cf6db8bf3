//! Delayed delivery on a running broker: how late records are, what a million of one moment do to everybody
//! else, what producing with delays costs, and what others feel of what is pending.
//!
//! `cargo bench -p tidewheel-broker --bench delays` measures all of it; with `-- lateness`, `-- burst`,
//! `-- insert`, `-- beside` or `-- recovery` behind it one. A number is the records of a burst and of what is
//! pending (1,000,000). `TMPDIR` says on which disk. It measures and judges nothing: see docs/performance.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the measurement"
)]
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark starts processes of its own"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use support::{Broker, run};

const ROUNDS: usize = 3;

/// A part's name, and what measures it, with so many records.
type Part = (&'static str, fn(u64));

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let count = given.iter().find_map(|text| text.parse().ok());
    let count: u64 = count.unwrap_or(1_000_000);
    let parts: [Part; 5] = [
        ("lateness", lateness),
        ("burst", burst),
        ("insert", insert),
        ("beside", beside),
        ("recovery", recovery),
    ];
    let any = parts
        .iter()
        .any(|(name, _)| given.iter().any(|text| text == name));
    for (name, part) in parts {
        if !any || given.iter().any(|text| text == name) {
            part(count);
        }
    }
}

/// Runs `tidewheel bench` and returns our part of the result.
fn bench(broker: &Broker, arguments: &str, out: &Path) -> Value {
    let mut all: Vec<&str> = vec!["bench"];
    let words: Vec<&str> = arguments.split_whitespace().collect();
    all.push(words[0]);
    all.extend(["--brokers", &broker.address, "--no-progress", "--out"]);
    all.push(out.to_str().unwrap());
    all.extend(&words[1..]);
    let output = run(&all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {said}");
    let text = std::fs::read_to_string(out.join("result.json")).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        whole["tidewheel"]["errors"],
        serde_json::json!({}),
        "{arguments}"
    );
    whole["tidewheel"].take()
}

fn figure(result: &Value, series: &str, name: &str) -> f64 {
    let series = &result["latencies"][series];
    let value = match name {
        "max" | "mean" => &series[name],
        _ => &series["percentiles"][name],
    };
    value.as_f64().unwrap()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// 10,000 due a second, at their own times: also where each is delivered at its own ms, since what a batch waits for
/// its last record, at most `delay.coalesce.ms`, is asked for.
fn lateness(_: u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    for round in 0..ROUNDS {
        for coalesce_ms in [10, 0] {
            let load = format!(
                "delayed -t t{round}-{coalesce_ms} --rate 10k/s --size 100 --delay 3s --duration 15s \
                 --topic-config delay.coalesce.ms={coalesce_ms}"
            );
            let result = bench(&broker, &load, &dir.path().join("out"));
            let [p50, p99, max] = ["p50", "p99", "max"].map(|name| figure(&result, "e2e", name));
            println!(
                "lateness at 10,000 due a second, delay.coalesce.ms={coalesce_ms}: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.1} ms"
            );
        }
        let plain = format!("e2e -t p{round} --rate 10k/s --size 100 --duration 15s --acks 1");
        let plain = bench(&broker, &plain, &dir.path().join("out"));
        let [plain50, plain99] = ["p50", "p99"].map(|name| figure(&plain, "e2e", name));
        println!("end to end without delays: p50 {plain50:.2} ms, p99 {plain99:.2} ms");
    }
    assert!(broker.stop());
}

/// So many of one millisecond, beside a producer with a record every millisecond.
fn burst(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let live = "--rate 1000/s --size 100 --acks 1 --warmup 1s";
    let alone = format!("produce -t live {live} --duration 15s");
    let alone = bench(&broker, &alone, &dir.path().join("alone"));
    let alone = median(seconds(&alone).into_iter().map(|(_, p99)| p99).collect());
    // Half of what the bench can send, so that the load itself is no burst.
    let load_s = count.div_ceil(50_000).max(1);
    let rate = count / load_s;
    let (delayed, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let duration = load_s + 14;
            let beside = format!("produce -t live {live} --duration {duration}s");
            bench(&broker, &beside, &dir.path().join("beside"))
        });
        let load = format!(
            "delayed -t burst --burst --delay 5s --rate {rate}/s --size 100 --warmup 0s --duration \
             {load_s}s --drain 60s"
        );
        let delayed = bench(&broker, &load, &dir.path().join("burst"));
        (delayed, beside.join().unwrap())
    });
    let due_ms =
        delayed["started_ms"].as_i64().unwrap() + i64::try_from((load_s + 5) * 1_000).unwrap();
    let began = beside["started_ms"].as_i64().unwrap() + 1_000;
    let took = figure(&delayed, "e2e", "max");
    let during = seconds(&beside).into_iter().filter(|(at, _)| {
        let at = began as f64 + at * 1_000.0;
        at + 1_000.0 > due_ms as f64 && at < due_ms as f64 + took + 300.0
    });
    let during = during.map(|(_, p99)| p99).fold(0.0, f64::max);
    println!(
        "burst: {count} due in one millisecond were consumed within {took:.0} ms; p99 of a live producer \
         {during:.2} ms in the worst second then, {alone:.2} ms alone: {:.1} times",
        during / alone
    );
    assert!(broker.stop());
}

/// When each second of a run began, and the p99 of its responses in ms.
fn seconds(result: &Value) -> Vec<(f64, f64)> {
    let points = result["points"].as_array().unwrap().iter();
    let points = points.filter(|point| !point["latencies"]["response"].is_null());
    points
        .map(|point| {
            (
                point["at"].as_f64().unwrap(),
                figure(point, "response", "p99"),
            )
        })
        .collect()
}

fn produced(broker: &Broker, arguments: &str, out: &Path) -> f64 {
    let result = bench(broker, arguments, out);
    result["throughput"]["produced_mb_per_second"]
        .as_f64()
        .unwrap()
}

/// Producing as fast as answers come: without delays, due within the minute, and due tomorrow.
fn insert(_: u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let kinds = [
        ("without delays", ""),
        (
            "on a topic with delays, due now",
            "--topic-config delay.mode=timestamp",
        ),
        ("due in a minute", "--delay 60s"),
        ("due tomorrow", "--delay 24h"),
    ];
    let mut figures = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        for (at, (_, how)) in kinds.into_iter().enumerate() {
            let load = format!("produce -t i{at}-{round} --acks 1 --duration 4s --warmup 1s {how}");
            figures[at].push(produced(&broker, &load, &dir.path().join("out")));
        }
    }
    let figures = figures.map(median);
    for ((name, _), figure) in kinds.into_iter().zip(figures) {
        let share = figure / figures[0] * 100.0;
        println!("insert, {name}: {figure:.0} MB/s, {share:.0} %");
    }
    assert!(broker.stop());
}

/// A topic without delays, on a broker with none and on one with so many pending, in turn.
fn beside(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let empty = support::http::start(&dir.path().join("empty"), &[]);
    let pending = support::http::start(&dir.path().join("pending"), &[]);
    let load = format!(
        "produce -t pending --rate {}/s --size 100 --warmup 0s --duration 10s --delay 1h --spread 8760h",
        count / 10
    );
    bench(&pending, &load, &dir.path().join("out"));
    let there = support::http::get(&pending, "/v1/delayed").good()["pending"].as_u64();
    let there = there.unwrap();
    assert!(there > count / 10 * 9, "only {there} are pending");
    let mut figures = [const { Vec::new() }; 2];
    for round in 0..ROUNDS {
        for (broker, figures) in [&empty, &pending].into_iter().zip(&mut figures) {
            let load = format!("produce -t plain{round} --acks 1 --duration 4s --warmup 1s");
            figures.push(produced(broker, &load, &dir.path().join("out")));
        }
    }
    let [empty_mb, pending_mb] = figures.map(median);
    println!(
        "beside {there} pending: {pending_mb:.0} MB/s on a topic without delays, {empty_mb:.0} MB/s on a broker \
         without: {:.0} %; RssAnon {} MiB and {} MiB",
        pending_mb / empty_mb * 100.0,
        pending.rss_anon_kib() >> 10,
        empty.rss_anon_kib() >> 10,
    );
    assert!(empty.stop());
    assert!(pending.stop());
}

/// A start after a kill, with so many records pending that are due soon: in the delay log alone, up to
/// `tidewheel.delay.near.records.max`, and in files beyond that.
fn recovery(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    broker.connect().create_topic("plain", 1, &[]);
    let load_s = count.div_ceil(100_000).max(1);
    let load = format!(
        "produce -t pending --rate {}/s --size 100 --batch-bytes 2000 --warmup 0s --duration {load_s}s \
         --delay 280s --drain 120s",
        count / load_s
    );
    bench(&broker, &load, &dir.path().join("out"));
    broker.kill();
    let began = Instant::now();
    let broker = Broker::start(&dir.path().join("data"));
    let answer = broker
        .connect()
        .produce("plain", 0, 1, support::batch(&["first"]));
    assert_eq!(answer.error_code, 0);
    println!(
        "recovery: {count} records that are due soon: the first acknowledgement {:.0?} after kill -9",
        began.elapsed()
    );
    assert!(broker.stop());
}
