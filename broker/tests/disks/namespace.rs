//! Configurations made for Apache Kafka start a broker as they are: its stock file byte for byte, and the environments of
//! compose files, with their ports, names and directories.
//!
//! Runs in a network and a mount namespace of its own, which needs root; without it the test says so and is ignored,
//! except in CI, where it must run.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libtest_mimic::Trial;

use crate::machine::{self, succeeds, tool};
use crate::support::{eventually, set_apart};

/// Where all of them keep their data.
const LOG_DIR: &str = "/tmp/kraft-combined-logs";

const STOCK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../config/tests/data/kafka-4-server.properties"
);
const APACHE_IMAGE: &str = include_str!("../../../config/tests/data/apache-image.env");
const CONFLUENT_IMAGE: &str = include_str!("../../../config/tests/data/confluent-image.env");

/// Variables of the two environments that act; all others have to be named.
const ACTING: [&str; 8] = [
    "KAFKA_NODE_ID",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_LISTENERS",
    "KAFKA_CONTROLLER_LISTENER_NAMES",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS",
    "KAFKA_LOG_DIRS",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE",
];

/// Settings of the stock file that act; all others have to be named.
const ACTING_IN_FILE: [&str; 10] = [
    "node.id",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "socket.request.max.bytes",
    "log.dirs",
    "num.partitions",
    "log.retention.hours",
    "log.segment.bytes",
    "log.retention.check.interval.ms",
];

/// Gives the process its own loopback, its own `/etc/hosts` with a `broker`, and its own data under the common name.
const APART: &str = "ip link set lo up
    mount --bind \"$1\" /etc/hosts
    mount --bind \"$2\" /tmp/kraft-combined-logs
    unset TIDEWHEEL_ADMIN_LISTEN
    shift 2
    exec \"$@\"";

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 2] = [
        (
            "the_stock_file_of_kafka_starts_a_broker_as_it_is",
            the_stock_file_of_kafka_starts_a_broker_as_it_is,
        ),
        (
            "environments_of_kafkas_images_start_a_broker_as_they_are",
            environments_of_kafkas_images_start_a_broker_as_they_are,
        ),
    ];
    let tests = tests.into_iter();
    let boxed = tests.map(|(name, test)| (name.to_owned(), Box::new(test) as Box<dyn Fn() + Send>));
    machine::trials(missing(), boxed.collect())
}

/// What keeps this process from having namespaces of its own.
fn missing() -> Option<String> {
    if let Some(missing) = machine::missing_tool(&["unshare", "nsenter", "ip"]) {
        return Some(missing);
    }
    let made = tool("unshare")
        .args(["--net", "--mount", "sh", "-ec", "ip link set lo up"])
        .output();
    match made {
        Ok(made) if made.status.success() => None,
        Ok(made) => {
            let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            Some(format!("namespaces need root: {said}"))
        }
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// One at a time has [`LOG_DIR`]: whoever removes it takes it from others, also where they have mounted something there.
static TURN: Mutex<()> = Mutex::new(());

/// A broker with a network of its own.
struct Apart {
    child: Child,
    dir: tempfile::TempDir,
    /// Whether the test has made [`LOG_DIR`].
    made: bool,
    _turn: MutexGuard<'static, ()>,
}

impl Apart {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let made = fs::create_dir(LOG_DIR).is_ok();
        let (hosts, data) = (dir.path().join("hosts"), dir.path().join("data"));
        fs::write(&hosts, "127.0.0.1 localhost broker\n").unwrap();
        fs::create_dir(&data).unwrap();
        let mut command = tool("unshare");
        command
            .args(["--net", "--mount", "sh", "-ec", APART, "sh"])
            .args([&hosts, &data])
            .args([env!("CARGO_BIN_EXE_tidewheel"), "serve"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("said")).unwrap());
        set_apart(&mut command);
        let child = command.spawn().unwrap();
        let mut apart = Self {
            child,
            dir,
            made,
            _turn: turn,
        };
        let mut ready = String::new();
        let out = apart.child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut ready).unwrap();
        assert!(ready.contains("listeners"), "{ready}{}", apart.said());
        apart
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap()
    }

    /// A command of ours in the network of the broker, told nothing of where that is.
    fn runs(&self, arguments: &[&str], input: &str) -> String {
        let network = format!("--net=/proc/{}/ns/net", self.child.id());
        let mut command = tool("nsenter");
        command
            .args([&network, env!("CARGO_BIN_EXE_tidewheel")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        set_apart(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", self.said());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Records go in and come out, groups and the HTTP API are there; then it stops cleanly.
    fn serves(mut self) {
        self.runs(&["topic", "create", "t"], "");
        self.runs(&["produce", "t"], "one\ntwo\n");
        let read = self.runs(&["consume", "t", "-e", "--format", "text"], "");
        assert_eq!(read, "one\ntwo\n");
        self.runs(&["health"], "");
        let data = self.dir.path().join("data");
        assert!(data.join("t-0").exists(), "it lies where log.dirs says");
        let pid = self.child.id().to_string();
        succeeds(Command::new("kill").args(["-TERM", &pid]));
        let mut ended = None;
        eventually("it stops", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{}", self.said());
    }

    /// That each of these is named on one line, with the reason.
    fn assert_named<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        is_of: fn(&str, &str) -> bool,
    ) {
        let said = self.said();
        for name in names {
            let lines = said.lines().filter(|line| is_of(line, name));
            let lines: Vec<&str> = lines.collect();
            assert_eq!(lines.len(), 1, "{name}: {said}");
            let (_, why) = lines[0].split_once("has no effect").unwrap();
            assert!(why.trim_start_matches(':').len() > 10, "{name}: {said}");
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
        if self.made {
            drop(fs::remove_dir(LOG_DIR));
        }
    }
}

fn the_stock_file_of_kafka_starts_a_broker_as_it_is() {
    let text = fs::read_to_string(STOCK).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| Some(line.split_once('=')?.0));
    let ignored: Vec<&str> = names
        .filter(|name| !ACTING_IN_FILE.contains(name))
        .collect();
    assert_eq!(ignored.len(), 14, "{ignored:?}");
    let broker = Apart::start(&["--config", STOCK], &[]);
    let is_of = |line: &str, name: &str| line.contains(&format!(": {name} has no effect"));
    broker.assert_named(ignored.into_iter(), is_of);
    broker.serves();
}

fn environments_of_kafkas_images_start_a_broker_as_they_are() {
    for image in [APACHE_IMAGE, CONFLUENT_IMAGE] {
        let lines = image.lines();
        let variables: Vec<_> = lines.map(|line| line.split_once('=').unwrap()).collect();
        let broker = Apart::start(&[], &variables);
        let names = variables.iter().map(|(name, _)| *name);
        let ignored = names.filter(|name| !ACTING.contains(name));
        let is_of = |line: &str, name: &str| line.contains(&format!("environment {name}: "));
        broker.assert_named(ignored, is_of);
        broker.serves();
    }
}
