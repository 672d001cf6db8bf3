//! SIGHUP: settings are read again by a broker that goes on serving.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use crate::support::http::get;
use crate::support::service_manager::ServiceManager;
use crate::support::{Broker, Client, batch, eventually, tidewheel};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// A broker with a file of settings, and what it says.
struct Configured {
    dir: tempfile::TempDir,
    broker: Broker,
}

impl Configured {
    fn start(text: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Self::start_in(dir.path(), text, arguments, variables);
        Self { dir, broker }
    }

    fn start_in(dir: &Path, text: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> Broker {
        fs::write(dir.join("broker.toml"), text).unwrap();
        let mut command = tidewheel(&["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
        command
            .args(["--set", "tidewheel.admin.listen=127.0.0.1:0", "--config"])
            .arg(dir.join("broker.toml"))
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(File::create(dir.join("said")).unwrap());
        Broker::spawn(&mut command, &dir.join("data"))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("broker.toml")
    }

    /// Lines of its log that hold this.
    fn said(&self, word: &str) -> Vec<String> {
        let said = fs::read_to_string(self.dir.path().join("said")).unwrap();
        let lines = said.lines().filter(|line| line.contains(word));
        lines.map(str::to_owned).collect()
    }

    fn reload(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.broker.signal("-HUP");
    }
}

/// A setting of a resource, as `value source:value source:value`.
fn described(client: &mut Client, kind: i8, name: &str, setting: &str) -> String {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: StrBytes::from(name),
            configuration_keys: Some(vec![StrBytes::from(setting)]),
        }],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let answer: DescribeConfigsResponse = client.call(4, &request);
    let config = &answer.results[0].configs[0];
    let mut told = config.value.as_deref().unwrap().to_owned();
    for synonym in &config.synonyms {
        told += &format!(" {}:{}", synonym.source, synonym.value.as_deref().unwrap());
    }
    told
}

pub(crate) fn set_for_all_brokers(client: &mut Client, setting: &str, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: BROKER,
            resource_name: StrBytes::from(""),
            configs: vec![AlterableConfig {
                name: StrBytes::from(setting),
                config_operation: 0,
                value: Some(StrBytes::from(value)),
            }],
        }],
        validate_only: false,
    };
    let answer: IncrementalAlterConfigsResponse = client.call(1, &request);
    assert_eq!(answer.responses[0].error_code, 0);
}

const START: &str = "log.retention.ms = 1000000\nnum.partitions = 2\n";
const LATER: &str = "# what follows has moved\nnum.partitions = 3\nlog.retention.ms = 2000000\n\
                     log.retention.bytes = 5\nlog.segment.bytes = \"4MiB\"\nmessage.max.bytes = 300\n";

#[test]
fn what_a_broker_can_follow_acts_at_once_and_the_rest_is_named() {
    let set = ["--set", "log.segment.bytes=2097152"];
    let configured = Configured::start(START, &set, &[]);
    let mut client = configured.broker.connect();
    client.create_topic("t", 1, &[]);
    set_for_all_brokers(&mut client, "log.retention.bytes", "9");
    let retention = described(&mut client, TOPIC, "t", "retention.ms");
    assert_eq!(retention, "1000000 4:1000000 5:168");
    let status = || get(&configured.broker, "/v1/config/status").good();
    let at_start = status();
    assert_eq!(at_start["pending_restart"], json!([]));

    configured.reload(LATER);
    eventually("the file was read again", || {
        described(&mut client, TOPIC, "t", "retention.ms") == "2000000 4:2000000 5:168"
    });
    // An open log goes by it: the batch is longer than 300 bytes.
    let long = "x".repeat(400);
    let long = long.as_str();
    assert_eq!(client.produce("t", 0, -1, batch(&[long])).error_code, 10);
    // What was altered while it ran stays above the file, and arguments too.
    let bytes = described(&mut client, TOPIC, "t", "retention.bytes");
    assert_eq!(bytes, "9 3:9 4:5 5:-1");
    let segment = described(&mut client, TOPIC, "t", "segment.bytes");
    assert_eq!(segment, "2097152 4:2097152 5:1073741824");
    let partitions = described(&mut client, BROKER, "1", "num.partitions");
    assert_eq!(partitions, "2 4:2 5:1");
    // It is told a moment after it acts.
    eventually("what waits is told", || {
        !configured.said("restart").is_empty()
    });
    let waiting = configured.said("restart");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].contains("num.partitions"), "{waiting:?}");
    assert_eq!(status()["pending_restart"], json!(["num.partitions"]));
    assert!(status()["read_ms"].as_i64() >= at_start["read_ms"].as_i64());
    let origin = get(&configured.broker, "/v1/config?q=log.retention.ms").good();
    assert_eq!(origin["items"][0]["origin"]["line"], 3);

    // What is gone from the file goes back to its default.
    configured.reload("num.partitions = 2\n");
    eventually("the file was read again", || {
        described(&mut client, TOPIC, "t", "retention.ms") == "604800000"
    });
    assert_eq!(client.produce("t", 0, -1, batch(&[long])).error_code, 0);
    assert_eq!(status()["pending_restart"], json!([]));
    assert_eq!(
        configured.said("restart").len(),
        1,
        "nothing waits any more"
    );
    assert!(configured.broker.stop());
}

#[test]
fn a_broken_file_changes_nothing_and_all_its_errors_are_told() {
    let configured = Configured::start(START, &[], &[]);
    let mut client = configured.broker.connect();
    client.create_topic("t", 1, &[]);
    configured.reload("log.retention.ms = 5\nlog.segment.byte = 7\nnum.partitions = \"many\"\n");
    eventually("it says that it stays", || {
        !configured.said("stay as they are").is_empty()
    });
    for (place, word) in [
        ("broker.toml:2:", "log.segment.bytes"),
        ("broker.toml:3:", "many"),
    ] {
        let told = configured.said(place);
        assert!(
            told.len() == 1 && told[0].contains(word),
            "{place}: {told:?}"
        );
    }
    let retention = || described(&mut configured.broker.connect(), TOPIC, "t", "retention.ms");
    assert_eq!(retention(), "1000000 4:1000000 5:168");
    // No file at all, and a file that never ends.
    fs::remove_file(configured.file()).unwrap();
    configured.broker.signal("-HUP");
    eventually("it misses the file", || {
        !configured.said("cannot read").is_empty()
    });
    fs::create_dir(configured.file()).unwrap();
    configured.broker.signal("-HUP");
    eventually("it wants a file", || {
        !configured.said("is no file").is_empty()
    });
    assert_eq!(retention(), "1000000 4:1000000 5:168");
    fs::remove_dir(configured.file()).unwrap();
    configured.reload("log.retention.ms = 5000\n");
    eventually("a good file is taken over", || {
        retention() == "5000 4:5000 5:168"
    });
    assert_eq!(client.produce("t", 0, -1, batch(&["x"])).error_code, 0);
    assert!(configured.broker.stop());
}

/// As a container or a supervisor runs it: by variables only.
#[test]
fn without_a_file_a_hangup_changes_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let manager = ServiceManager::listen(dir.path());
    let said = dir.path().join("said");
    let mut command = tidewheel(&["serve"]);
    command
        .env("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:0")
        .env("TIDEWHEEL_ADMIN_LISTEN", "off")
        .env("KAFKA_NUM_PARTITIONS", "3")
        .envs([manager.variable()])
        .stderr(File::create(&said).unwrap());
    let broker = Broker::spawn(&mut command, &dir.path().join("data"));
    assert_eq!(manager.heard(), "READY=1\nSTATUS=serving clients\n");
    for times in 1..3 {
        broker.signal("-HUP");
        assert!(manager.heard().contains("RELOADING=1"));
        assert_eq!(manager.heard(), "READY=1\nSTATUS=serving clients\n");
        let told = fs::read_to_string(&said).unwrap();
        assert_eq!(told.matches("--config").count(), times, "{told}");
    }
    let mut client = broker.connect();
    let partitions = described(&mut client, BROKER, "1", "num.partitions");
    assert_eq!(partitions, "3 4:3 5:1");
    assert!(broker.stop());
}

/// Whoever closes a terminal wants to have ended what runs in it.
#[test]
fn a_broker_without_a_file_ends_with_its_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port_file) = (dir.path().join("data"), dir.path().join("ready"));
    let serve = format!(
        "exec {} serve --set listeners=PLAINTEXT://127.0.0.1:0 --set tidewheel.admin.listen=off \
         --data-dir {} --port-file {}",
        env!("CARGO_BIN_EXE_tidewheel"),
        data.display(),
        port_file.display(),
    );
    // It makes a terminal, which goes with it.
    let mut terminal = Command::new("script")
        .args(["--quiet", "--command", &serve, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script of util-linux, which every Debian has");
    let mut ready = String::new();
    eventually("it is ready", || {
        ready = fs::read_to_string(&port_file).unwrap_or_default();
        ready.ends_with('\n')
    });
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let pid = ready["pid"].as_u64().unwrap();
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    // Whoever inherits it may take its time to look after it.
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat"));
    eventually("the broker is gone", || {
        stat().is_ok_and(|stat| stat.contains(") Z ")) || stat().is_err()
    });
    let broker = Configured::start_in(dir.path(), "", &[], &[]);
    let recovery = get(&broker, "/readyz/recovery").good();
    assert_eq!(recovery["detail"], json!(null), "it had stopped cleanly");
    assert!(broker.stop());
}

#[test]
fn a_service_manager_hears_when_settings_are_read_again_and_what_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = ServiceManager::listen(dir.path());
    let configured = Configured::start(START, &[], &[manager.variable()]);
    assert_eq!(manager.heard(), "READY=1\nSTATUS=serving clients\n");
    configured.reload(START);
    let reloading = manager.heard();
    assert!(reloading.contains("RELOADING=1\n") && reloading.contains("MONOTONIC_USEC="));
    assert_eq!(manager.heard(), "READY=1\nSTATUS=serving clients\n");
    configured.reload("log.segment.byte = 7\nnum.partitions = \"many\"\n");
    assert!(manager.heard().contains("RELOADING=1"));
    // It goes on, whatever came of it.
    let told = manager.heard();
    let status = told.strip_prefix("READY=1\nSTATUS=").unwrap();
    assert!(
        status.starts_with("serving clients with the settings from before: "),
        "{told}"
    );
    assert!(
        status.contains("broker.toml:1:") && status.contains("(and 1 more)"),
        "{told}"
    );
    configured.reload(START);
    assert!(manager.heard().contains("RELOADING=1"));
    assert_eq!(manager.heard(), "READY=1\nSTATUS=serving clients\n");
    assert!(configured.broker.stop());
    assert!(manager.heard().contains("STOPPING=1\nSTATUS=stopping\n"));
}
