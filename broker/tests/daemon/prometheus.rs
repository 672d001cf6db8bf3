//! A Prometheus beside a broker: it scrapes all pages, takes the types from them, and goes by the alert rules.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;

use crate::generate::dashboard_queries;
use crate::support::commands::skipped;
use crate::support::groups::{codes, commit_request, find};
use crate::support::http::{admin, raw, start};
use crate::support::{batch, eventually, run};

/// A Prometheus with a port that the system has chosen, stopped when dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// `None` where there is none on this machine, which is said.
    fn start(dir: &Path) -> Option<Self> {
        let mut command = Command::new("prometheus");
        command
            .current_dir(dir)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                skipped("prometheus of the package prometheus", &error);
                return None;
            }
        };
        let mut prometheus = Self {
            child,
            address: String::new(),
        };
        eventually("it listens", || {
            prometheus.address = listening(prometheus.child.id()).unwrap_or_default();
            let ended = prometheus.child.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {ended:?}");
            !prometheus.address.is_empty()
        });
        Some(prometheus)
    }

    /// What its API answers, once it is ready for that.
    fn asked(&self, path: &str) -> Option<Value> {
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        let answer = raw(&self.address, request.as_bytes())?;
        (answer.status == 200).then(|| answer.json()["data"].clone())
    }

    /// The value of the one series that a query finds.
    fn value(&self, query: &str) -> Option<f64> {
        match self.series(query)?.as_slice() {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// How many series a query finds; `None` where it is not answered.
    fn found(&self, query: &str) -> Option<usize> {
        self.series(query).map(|series| series.len())
    }

    fn series(&self, query: &str) -> Option<Vec<Value>> {
        let escaped = query.bytes().map(|byte| format!("%{byte:02x}"));
        let path = format!("query?query={}", escaped.collect::<String>());
        self.asked(&path)?["result"].as_array().cloned()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where a process listens on 127.0.0.1, by its sockets.
fn listening(pid: u32) -> Option<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let sockets: Vec<String> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields.get(1)?.strip_prefix("0100007F:")?;
        let is_its = *fields.get(3)? == "0A" && sockets.iter().any(|own| own == fields[9]);
        let port = u16::from_str_radix(port, 16).ok()?;
        is_its.then(|| format!("127.0.0.1:{port}"))
    })
}

/// Scrapes the three pages each second, and goes by the rules that the broker's binary prints.
fn configure(dir: &Path, target: &str) {
    let pages = ["/metrics", "/metrics/detailed", "/metrics/kafka-exporter"];
    let job = |path: &str| {
        json!({
            "job_name": path,
            "metrics_path": path,
            "static_configs": [{ "targets": [target] }],
        })
    };
    let configuration = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": ["alerts.yaml"],
        "scrape_configs": pages.map(job),
    });
    // JSON is YAML.
    fs::write(dir.join("prometheus.yml"), configuration.to_string()).unwrap();
    let rules = run(&["generate", "prometheus"]);
    assert!(rules.status.success(), "{rules:?}");
    fs::write(dir.join("alerts.yaml"), rules.stdout).unwrap();
}

#[test]
fn a_prometheus_scrapes_all_pages_and_goes_by_the_alert_rules() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir.path().join("broker"), &[]);
    let mut client = broker.connect();
    client.create_topic("orders", 1, &[]);
    let answer = client.produce("orders", 0, -1, batch(&["a", "b", "c"]));
    assert_eq!(answer.error_code, 0);
    find(&mut client, &["billing"]);
    let commit = commit_request("billing", "orders", &[(0, 1, "")]);
    eventually("the group's coordinator serves", || {
        let answer: OffsetCommitResponse = client.call(8, &commit);
        codes(&answer).iter().all(|code| *code == 0)
    });
    configure(dir.path(), &admin(&broker));
    let Some(prometheus) = Prometheus::start(dir.path()) else {
        return;
    };
    for (query, expected) in [
        ("sum(up)", 3.0),
        ("tidewheel_broker_state{job=\"/metrics\"}", 3.0),
        (
            "tidewheel_topic_records_in_total{job=\"/metrics\",topic=\"orders\"}",
            3.0,
        ),
        (
            "tidewheel_request_duration_seconds_count{job=\"/metrics\",api=\"Produce\",phase=\"total\"}",
            1.0,
        ),
        (
            "count(histogram_quantile(0.99, sum by (le) (tidewheel_request_duration_seconds_bucket\
             {job=\"/metrics\",api=\"Produce\",phase=\"total\"})) > 0)",
            1.0,
        ),
        (
            "tidewheel_group_lag_sum{job=\"/metrics\",group=\"billing\"}",
            2.0,
        ),
        (
            "tidewheel_partition_high_watermark{job=\"/metrics/detailed\",topic=\"orders\",partition=\"0\"}",
            3.0,
        ),
        (
            "kafka_consumergroup_lag{consumergroup=\"billing\",topic=\"orders\",partition=\"0\"}",
            2.0,
        ),
        (
            "kafka_topic_partition_current_offset{topic=\"orders\",partition=\"0\"}",
            3.0,
        ),
    ] {
        let mut found = None;
        eventually(query, || {
            found = prometheus.value(query);
            found.is_some() && (found == Some(expected) || !query.starts_with("sum(up)"))
        });
        assert_eq!(found, Some(expected), "{query}");
    }
    // Of what is scraped as OpenMetrics a family is named without the ending of its samples.
    for (family, kind) in [
        ("tidewheel_requests", "counter"),
        ("tidewheel_request_duration_seconds", "histogram"),
        ("tidewheel_broker_state", "gauge"),
    ] {
        let told = prometheus.asked("metadata").unwrap();
        assert_eq!(told[family][0]["type"], kind, "{family}: {told}");
    }
    assert_rules_hold(&prometheus);
    assert_the_dashboard_is_answered(&prometheus);
    assert!(broker.stop());
}

/// Queries of the dashboard that find nothing here, by a word of theirs and why.
const NOTHING_FOUND: &[(&str, &str)] = &[
    ("_errors_total", "no request of a topic failed"),
    ("error!=\"NONE\"", "no other request failed, either"),
    ("api=\"Fetch\"", "nobody fetches"),
    ("tidewheel_group_rebalances_total", "no group has members"),
    ("tidewheel_auth_failures_total", "nobody wants tokens"),
    ("(topic) (tidewheel_delayed_pending", "no topic delays"),
];

/// Each query of the dashboard finds something, as soon as there are two scrapes between which to compare.
fn assert_the_dashboard_is_answered(prometheus: &Prometheus) {
    let queries = dashboard_queries("10s");
    assert!(queries.len() > 40, "{} are not all", queries.len());
    let mut empty = Vec::new();
    eventually("the dashboard is full", || {
        empty.clear();
        for query in &queries {
            let found = prometheus.found(query).unwrap_or_else(|| panic!("{query}"));
            let is_expected = NOTHING_FOUND.iter().any(|(word, _)| query.contains(word));
            if found == 0 && !is_expected {
                empty.push(query.clone());
            }
        }
        empty.is_empty()
    });
}

/// Each rule was evaluated without an error, and none says that something is wrong with a broker that is well.
fn assert_rules_hold(prometheus: &Prometheus) {
    let mut rules = Vec::new();
    eventually("all rules were evaluated", || {
        let told = prometheus.asked("rules").unwrap();
        let groups = told["groups"].as_array().unwrap().iter();
        let all = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules = all.collect();
        rules.iter().all(|rule| rule["health"] != "unknown")
    });
    assert!(rules.len() >= 18, "{} are not all", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_eq!(rule["type"], "alerting", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}
