//! `--client librdkafka` against a real broker. The feature is off by default and takes minutes to build,
//! so this is a test of the bench alone: `TIDEWHEEL_TEST_BINARY` names a broker that is built already,
//! `TIDEWHEEL_TEST_BINARY=target/release/tidewheel cargo test --release -p tidewheel-bench --features librdkafka`.
#![cfg(feature = "librdkafka")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;
use tidewheel_bench::cli::BenchArguments;

/// A broker process, killed when dropped.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    fn start(data_dir: &Path) -> Self {
        let binary = std::env::var_os("TIDEWHEEL_TEST_BINARY")
            .unwrap_or_else(|| panic!("TIDEWHEEL_TEST_BINARY is not set"));
        // Relative to the workspace, where cargo is called; tests run in the folder of their crate.
        let binary = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(binary);
        let mut child = Command::new(binary)
            .args(["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"])
            .args(["--set", "tidewheel.admin.listen=off"])
            .arg("--data-dir")
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let listener = ready["listeners"][0].as_str().unwrap();
        let address = listener.strip_prefix("PLAINTEXT://").unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `tidewheel bench` of this build.
#[derive(Parser)]
struct Bench {
    #[command(flatten)]
    arguments: BenchArguments,
}

fn bench(broker: &Broker, arguments: &str) -> ExitCode {
    let mut words: Vec<&str> = arguments.split_whitespace().collect();
    words.splice(1..1, ["--brokers", &broker.address]);
    words.insert(0, "bench");
    tidewheel_bench::cli::run(&Bench::parse_from(words).arguments)
}

/// Runs what must go well, with its files in `dir`, and returns our part of the result.
fn result(broker: &Broker, arguments: &str, dir: &Path) -> Value {
    let ended = bench(broker, &format!("{arguments} --out {}", dir.display()));
    assert_eq!(ended, ExitCode::SUCCESS, "{arguments}");
    let text = std::fs::read_to_string(dir.join("result.json")).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    whole["tidewheel"].take()
}

#[test]
fn librdkafka_produces_follows_and_consumes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let short = "-p 2 --duration 1s --warmup 0s --client librdkafka";
    let produce = format!("produce -t orders --rate 300/s {short} --keys rr:5 -z lz4 --acks 1");
    let run = result(&broker, &produce, &dir.path().join("produced"));
    assert_eq!(run["latencies"]["response"]["count"], 300);
    assert_eq!(run["workload"]["client"], "librdkafka");

    let consume = "consume -t orders --client librdkafka --consumers 2";
    let run = result(&broker, consume, &dir.path().join("consumed"));
    assert_eq!(run["counts"]["consumed"], 300);

    let follow = format!("e2e -t both --rate 200/s --producers 2 {short}");
    let run = result(&broker, &follow, &dir.path().join("both"));
    assert_eq!(run["latencies"]["e2e"]["count"], 200);
    assert_eq!(run["latencies"]["response"]["count"], 200);

    let closed = format!("produce -t closed --size 100 --rate max {short}");
    let run = result(&broker, &closed, &dir.path().join("closed"));
    assert!(run["counts"]["acked"].as_u64() > Some(0));

    let refused = "mixed -t t --rate 5/s --client librdkafka";
    assert_eq!(bench(&broker, refused), ExitCode::from(2));
}
