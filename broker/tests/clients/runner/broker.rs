//! A broker under test: a process of our own, or one that somebody else runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;

use super::Fault;
use super::process::{Process, now, remove_on_signals, tail};

/// From the start of the process to its ready line, at most. Generous: a foreign broker may be slow.
const START_LIMIT: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of the process, at most.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Partitions of a topic that is created by using it.
pub(crate) const PARTITIONS: i32 = 3;

#[derive(Deserialize)]
struct ReadyLine {
    event: String,
    listeners: Vec<String>,
}

/// A broker process with a data directory of its own.
pub(crate) struct Broker {
    binary: OsString,
    /// Settings of this broker, as `NAME=VALUE`.
    settings: Vec<String>,
    /// Removed with everything in it when the broker is dropped.
    folder: tempfile::TempDir,
    /// Where it keeps its data.
    data: PathBuf,
    process: Option<Process>,
    address: String,
}

impl Broker {
    /// Starts a broker on an empty directory, `data` or one of its own, and a free port of the loopback
    /// interface.
    pub(crate) fn start(
        binary: OsString,
        settings: &[&str],
        data: Option<PathBuf>,
    ) -> Result<Self, Fault> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("tidewheel-clients-");
        let folder = builder
            .tempdir()
            .map_err(|e| format!("no temporary directory: {e}"))?;
        remove_on_signals(folder.path());
        let mut broker = Self {
            binary,
            settings: settings.iter().map(|&s| s.to_owned()).collect(),
            data: data.unwrap_or_else(|| folder.path().join("data")),
            folder,
            process: None,
            address: "127.0.0.1:0".to_owned(),
        };
        broker.start_again()?;
        Ok(broker)
    }

    /// HOST:PORT of the Kafka listener.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where the broker keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// A path for a file of the suite itself, beside the data.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the process on the same data and, after the first time, the same port.
    pub(crate) fn start_again(&mut self) -> Result<(), Fault> {
        let until = now() + START_LIMIT;
        let mut command = Command::new(&self.binary);
        command.arg("serve");
        for setting in [
            format!("listeners=PLAINTEXT://{}", self.address),
            format!("num.partitions={PARTITIONS}"),
            "tidewheel.admin.listen=off".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--port-file").arg(self.beside("port"));
        let mut process = Process::start("the broker", &mut command)?;
        let ready = match process.line(until)? {
            Some(line) => line,
            None => return Err(format!("the broker ended at once: {}", ended(&mut process))),
        };
        let line: ReadyLine =
            serde_json::from_str(&ready).map_err(|e| format!("ready line {ready}: {e}"))?;
        let listener = line
            .listeners
            .first()
            .and_then(|l| l.strip_prefix("PLAINTEXT://"));
        self.address = match listener {
            Some(address) if line.event == "ready" => address.to_owned(),
            _ => return Err(format!("not a ready line: {ready}")),
        };
        self.process = Some(process);
        Ok(())
    }

    /// SIGTERM and a clean end.
    pub(crate) fn stop(&mut self) -> Result<(), Fault> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.signal(Signal::TERM);
        if !process.drain(now() + STOP_LIMIT) {
            return Err(format!("the broker does not stop within {STOP_LIMIT:?}"));
        }
        let (status, stderr) = process.wait()?;
        // 143: how a JVM ends on SIGTERM, for runs against a foreign broker.
        if status.success() || status.code() == Some(143) {
            return Ok(());
        }
        Err(format!(
            "the broker stopped with {status}: {}",
            tail(&stderr)
        ))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<(), Fault> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.signal(Signal::KILL);
        process.wait().map(|_| ())
    }
}

fn ended(process: &mut Process) -> String {
    match process.wait() {
        Ok((status, stderr)) => format!("{status}: {}", tail(&stderr)),
        Err(fault) => fault,
    }
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry
                .map_err(|e| format!("{}: {e}", folder.display()))?
                .path();
            if path.is_dir() {
                folders.push(path)
            } else {
                out.push(path)
            }
        }
    }
    out.sort();
    Ok(out)
}
