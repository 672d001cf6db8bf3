//! `tidewheel dev`: what it says, what it leaves behind, and what it is like to clients.
#![allow(clippy::print_stdout, reason = "what was skipped is said")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::support::{Client, batch, eventually, metadata_topic, run, set_apart, tidewheel};

/// A broker that was started as examples do, killed when dropped.
struct Dev {
    child: Child,
    port_file: PathBuf,
    /// What the port file holds.
    ready: Value,
}

/// `dev` on free ports, which keeps its temporary files in `folder`.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = tidewheel(&["dev", "--port", "0", "--port-file"]);
    command.arg(folder.join("port.json")).args(arguments);
    command.env_remove("TIDEWHEEL_ADMIN_LISTEN");
    command.env("TIDEWHEEL_LOG", "warn");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Dev {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(folder, &mut command(folder, arguments))
    }

    fn spawn(folder: &Path, command: &mut Command) -> Self {
        let child = command.spawn().unwrap();
        let port_file = folder.join("port.json");
        let mut ready = Value::Null;
        eventually("the port file is there", || {
            let text = std::fs::read_to_string(&port_file).unwrap_or_default();
            // What another one has left may be there until the process begins; it is never seen half-written.
            if !text.is_empty() {
                ready = serde_json::from_str(&text).unwrap();
            }
            ready["pid"] == child.id()
        });
        Self {
            child,
            ready,
            port_file,
        }
    }

    fn text(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap().to_owned()
    }

    fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text("data_dir"))
    }

    fn connect(&self) -> Client {
        Client::connect(&self.text("bootstrap"))
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code, and what it has said to people.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let stderr = self.child.stderr.take();
        stderr.unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Already gone after `end`.
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}

fn partitions(client: &mut Client, topic: &str) -> usize {
    let request = MetadataRequest {
        topics: Some(vec![metadata_topic(topic)]),
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.call(9, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{topic}");
    answer.topics[0].partitions.len()
}

/// Whichever signal asks for it, also where nobody waits for the end.
#[test]
fn an_ephemeral_broker_leaves_nothing_behind() {
    for signals in [
        &["-TERM"][..],
        &["-INT"],
        &["-HUP"],
        &["-TERM", "-TERM", "-INT"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(folder.path(), &["--ephemeral"]);
        let (data, port_file) = (dev.data_dir(), dev.port_file.clone());
        let mut client = dev.connect();
        client.produce_to_new("made-when-used", batch(&["v"]));
        assert!(data.join("made-when-used-0").exists(), "{signals:?}");
        for signal in signals {
            // The first may have been enough.
            let pid = dev.child.id().to_string();
            let mut kill = Command::new("kill");
            drop(kill.args([*signal, &*pid]).stderr(Stdio::null()).status());
        }
        let (exit, said) = dev.end();
        let stopped = exit == Some(0) || (signals.len() > 1 && exit == Some(130));
        assert!(stopped, "{signals:?}: {exit:?}: {said}");
        assert!(!data.exists() && !port_file.exists(), "{signals:?}: {said}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{signals:?}");
    }
}

#[test]
fn what_it_says_is_for_programs_and_for_people() {
    let folder = tempfile::tempdir().unwrap();
    // What a broker that was killed has left is not taken for this one's.
    let stale = "{\"event\":\"ready\",\"pid\":4294967295}";
    std::fs::write(folder.path().join("port.json"), stale).unwrap();
    let arguments = ["--ephemeral", "--topic", "orders:3", "--topic", "payments"];
    let mut dev = Dev::start(folder.path(), &arguments);
    let mut line = String::new();
    let stdout = dev.child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let printed: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(printed, dev.ready);
    assert_eq!(dev.ready["event"], "ready");
    assert_eq!(dev.ready["pid"], dev.child.id());
    let bootstrap = dev.text("bootstrap");
    assert_eq!(
        dev.ready["listeners"][0],
        format!("PLAINTEXT://{bootstrap}")
    );
    assert!(bootstrap.starts_with("127.0.0.1:") && !bootstrap.ends_with(":0"));
    let admin = dev.text("admin");
    std::net::TcpStream::connect(&admin).unwrap();
    let mut client = dev.connect();
    assert_eq!(partitions(&mut client, "orders"), 3);
    assert_eq!(partitions(&mut client, "payments"), 1);
    dev.signal("-TERM");
    let data = dev.text("data_dir");
    let (exit, said) = dev.end();
    assert_eq!(exit, Some(0), "{said}");
    for told in [
        &*format!("tidewheel produce orders -b {bootstrap} "),
        &format!("tidewheel consume orders -b {bootstrap} -e\n"),
        &format!("kcat -b {bootstrap} -P -t orders"),
        &format!("kcat -b {bootstrap} -C -t orders"),
        &format!("http://{admin}"),
        &format!("{data}, gone when this ends"),
        "orders:3, payments",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

/// Only `--ephemeral` makes the data go, and what others say about settings counts.
#[test]
fn data_that_is_not_ephemeral_stays_and_settings_go_before_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let kept = ["--data-dir", data.to_str().unwrap(), "--topic", "t:2"];
    let dev = Dev::start(folder.path(), &kept);
    assert_eq!(
        dev.connect().produce("t", 1, -1, batch(&["v"])).error_code,
        0
    );
    dev.signal("-TERM");
    assert_eq!(dev.end().0, Some(0));
    assert!(data.join("t-1").exists());

    let mut again = command(
        folder.path(),
        &[&kept[..], &["--set", "num.partitions=4"]].concat(),
    );
    let dev = Dev::spawn(folder.path(), again.env("TIDEWHEEL_ADMIN_LISTEN", "off"));
    let mut client = dev.connect();
    assert_eq!(client.consume("t", 1, 0).len(), 1);
    client.produce_to_new("made", batch(&["v"]));
    assert_eq!(partitions(&mut client, "made"), 4);
    assert!(dev.ready["admin"].is_null());
}

/// After SIGKILL nothing can be removed; the next start with that port file begins anew.
#[test]
fn what_is_left_by_a_killed_broker_is_its_port_file_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &["--ephemeral"]);
    let (data, pid) = (dev.data_dir(), dev.ready["pid"].clone());
    dev.signal("-KILL");
    dev.end();
    let name = data.file_name().unwrap().to_str().unwrap();
    assert!(data.exists() && name.starts_with("tidewheel-"), "{name}");
    let next = Dev::start(folder.path(), &["--ephemeral"]);
    assert_ne!(next.ready["pid"], pid);
    assert_ne!(next.data_dir(), data);
    next.signal("-TERM");
    next.end();
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn topics_of_a_file_are_there_with_their_settings() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("topics.yaml");
    let topics = "topics:\n- name: orders\n  partitions: 3\n  config: {max.message.bytes: 1KiB}\n";
    std::fs::write(&seed, topics).unwrap();
    let seed = seed.to_str().unwrap();
    let arguments = ["--ephemeral", "--topic", "more:2", "--seed", seed];
    let dev = Dev::start(folder.path(), &arguments);
    let mut client = dev.connect();
    let held = ["orders", "more"].map(|topic| partitions(&mut client, topic));
    assert_eq!(held, [3, 2]);
    let value = "x".repeat(2_000);
    let refused = client.produce("orders", 0, -1, batch(&[&value]));
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge.code());
    dev.signal("-TERM");
    let (exit, said) = dev.end();
    assert!(
        exit == Some(0) && said.contains("more:2, orders:3"),
        "{said}"
    );

    std::fs::write(seed, topics.replace("1KiB", "much")).unwrap();
    let output = command(folder.path(), &arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("max.message.bytes"), "{said}");
    assert!(!folder.path().join("port.json").exists());
}

#[test]
fn contradictions_are_told_and_start_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let setting = format!("log.dirs={data}");
    let seed = folder.path().join("topics.yaml");
    std::fs::write(&seed, "topics: [{name: a, replicas: 3}]").unwrap();
    let seed = seed.to_str().unwrap();
    for (arguments, word) in [
        (&["--ephemeral", "--data-dir", data][..], "--data-dir"),
        (&["--ephemeral", "--set", &setting], "log.dirs"),
        (&["--topic", "orders:none"], "none"),
        (&["--topic", "no good name"], "topic"),
        (&["--topic", "a", "--topic", "a:2"], "named twice"),
        (&["--port", "70000"], "70000"),
        (&["--seed", seed], "replicas"),
        (&["--seed", data], "cannot read"),
        (&["--set", "num.partition=1"], "num.partitions"),
    ] {
        let output = run(&[&["dev"], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

/// A second one by mistake, with settings that are wrong or a port that is taken.
#[test]
fn a_start_that_fails_leaves_the_port_file_of_a_broker_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &["--ephemeral"]);
    let before = std::fs::read(&dev.port_file).unwrap();
    let taken = format!("listeners=PLAINTEXT://{}", dev.text("bootstrap"));
    for (setting, exit) in [("num.partition=1", 2), (&*taken, 1)] {
        let mut second = command(folder.path(), &["--ephemeral", "--set", setting]);
        let output = second.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{setting}: {said}");
        assert_eq!(std::fs::read(&dev.port_file).unwrap(), before, "{setting}");
    }
    dev.signal("-TERM");
    assert_eq!(dev.end().0, Some(0));
}

#[test]
fn a_file_that_is_no_port_file_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port.json");
    std::fs::write(&path, "num.partitions=3\n").unwrap();
    let output = command(folder.path(), &["--ephemeral"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("port.json"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"num.partitions=3\n");
}

/// There is nobody to read the settings again for: the terminal is gone.
#[test]
fn a_hangup_ends_it_also_where_a_file_has_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.properties");
    std::fs::write(&settings, "num.partitions=3\n").unwrap();
    let arguments = ["--ephemeral", "--config", settings.to_str().unwrap()];
    let dev = Dev::start(folder.path(), &arguments);
    let data = dev.data_dir();
    dev.signal("-HUP");
    let (exit, said) = dev.end();
    assert_eq!(exit, Some(0), "{said}");
    assert!(!data.exists(), "{said}");
}

/// Before, a signal ends the process at once, and would leave the directory there.
#[test]
fn its_directory_is_made_when_signals_are_heard() {
    if let Err(error) = Command::new("strace").arg("-V").output() {
        return println!("skipped: strace: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (trace, port_file) = (folder.path().join("trace"), folder.path().join("port.json"));
    let mut command = Command::new("strace");
    // The broker is the child itself; strace watches from beside.
    command.args(["-D", "-f", "-q", "-e", "trace=mkdir,mkdirat,rt_sigaction"]);
    command.arg("-o").arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_tidewheel"));
    command.args(["dev", "--ephemeral", "--port", "0", "--port-file"]);
    command.arg(port_file).stdin(Stdio::null());
    set_apart(&mut command);
    let dev = Dev::spawn(
        folder.path(),
        command.stdout(Stdio::piped()).stderr(Stdio::piped()),
    );
    let name = dev.data_dir().file_name().unwrap().to_owned();
    dev.signal("-TERM");
    assert_eq!(dev.end().0, Some(0));
    let mut text = String::new();
    eventually("strace has written all", || {
        text = std::fs::read_to_string(&trace).unwrap();
        text.contains("+++ exited with 0 +++")
    });
    let line = |words: [&str; 2]| {
        let mut lines = text.lines();
        lines.position(|line| words.iter().all(|word| line.contains(word)))
    };
    let made = line(["mkdir", name.to_str().unwrap()]);
    for signal in ["SIGINT", "SIGTERM", "SIGHUP"] {
        let heard = line(["rt_sigaction", &format!("({signal}, {{")]);
        assert!(heard.is_some() && heard < made, "{signal}: {text}");
    }
}
