//! Child processes that never outlive the run, and the lines that client programs print.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::Fault;

/// Lines that may wait between a program and its reader.
const LINES_WAITING: usize = 4096;
/// How much of a program's error output a failure shows.
const STDERR_SHOWN: usize = 2000;

/// The children that run now: what a signal to the runner has to end.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The folders that a signal to the runner has to remove.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Has a temporary folder removed also when the run is interrupted.
pub(crate) fn remove_on_signals(folder: &Path) {
    FOLDERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(folder.to_owned());
}

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "tests of whole processes wait in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Ends every child and the runner itself when somebody interrupts or terminates it.
pub(crate) fn kill_children_on_signals() {
    let wait = async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        for pid in running().iter() {
            send_signal(*pid, Signal::KILL);
        }
        for folder in FOLDERS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            std::fs::remove_dir_all(folder).ok(); // many are gone already
        }
        std::process::exit(130);
    };
    let watch = move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            runtime.block_on(wait);
        }
    };
    // Without the thread an interrupted run may leave children behind; the run itself is unharmed.
    drop(
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(watch),
    );
}

fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A process that has just ended needs no signal.
        kill_process(pid, signal).ok();
    }
}

/// A running child with its output; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts a command with piped input and output.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Fault> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| format!("{name}: cannot start {command:?}: {e}"))?;
        running().push(child.id());
        let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(format!("{name}: no pipes"));
        };
        let (sender, lines) = sync_channel(LINES_WAITING);
        let read_lines = move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        };
        let read_errors = move || {
            let mut bytes = Vec::new();
            drop(err.read_to_end(&mut bytes)); // what could be read is shown
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let thread = |e| format!("{name}: {e}");
        std::thread::Builder::new()
            .spawn(read_lines)
            .map_err(thread)?;
        let stderr = std::thread::Builder::new()
            .spawn(read_errors)
            .map_err(thread)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            stderr: Some(stderr),
        })
    }

    /// The next line of standard output; None at its end.
    pub(crate) fn line(&mut self, until: Instant) -> Result<Option<String>, Fault> {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(now()))
        {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("{} takes too long", self.name)),
        }
    }

    /// Standard input, to be written or closed.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// Waits for the end after standard output has closed; gives the status and the error output.
    pub(crate) fn wait(&mut self) -> Result<(ExitStatus, String), Fault> {
        let status = self
            .child
            .wait()
            .map_err(|e| format!("{}: {e}", self.name))?;
        running().retain(|pid| *pid != self.child.id());
        let errors = self.stderr.take().map(JoinHandle::join);
        Ok((status, errors.and_then(Result::ok).unwrap_or_default()))
    }

    /// Reads and drops output until it closes or time is up; true when it closed.
    pub(crate) fn drain(&mut self, until: Instant) -> bool {
        while let Ok(line) = self.line(until) {
            if line.is_none() {
                return true;
            }
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        running().retain(|pid| *pid != self.child.id());
    }
}

/// One line of a client program: the outcome of a case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Outcome {
    case: String,
    ok: bool,
    #[serde(default)]
    detail: String,
}

/// What a client program said about its cases, and how it ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    outcomes: HashMap<String, Outcome>,
    /// Why the program as a whole failed (crash, time-out), if it did.
    fault: Option<Fault>,
}

impl Report {
    /// Takes a line; lines of other kinds (progress) are left to the caller.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        match serde_json::from_str::<Outcome>(line) {
            Ok(outcome) => {
                self.outcomes.insert(outcome.case.clone(), outcome);
                true
            }
            Err(_) => false,
        }
    }

    /// Notes how the program ended: a failed case and a failed exit belong together.
    pub(crate) fn ended(&mut self, name: &str, status: ExitStatus, stderr: &str) {
        let failed_cases = self.outcomes.values().any(|o| !o.ok);
        if !status.success() && !failed_cases {
            self.fault = Some(format!("{name} ended with {status}: {}", tail(stderr)));
        }
    }

    /// The report of a program that could not run.
    pub(crate) fn of_fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    /// The detail of a case that went well; a case without a line is a failure.
    pub(crate) fn result(&self, case: &str) -> Result<&str, Fault> {
        match (self.outcomes.get(case), &self.fault) {
            (Some(outcome), _) if !outcome.ok => Err(outcome.detail.clone()),
            (Some(outcome), None) => Ok(&outcome.detail),
            (_, Some(fault)) => Err(fault.clone()),
            (None, None) => Err("the program said nothing about this case".to_owned()),
        }
    }

    /// Fails when the program reported a case that nobody expects.
    pub(crate) fn only(&self, expected: &[String]) -> Result<(), Fault> {
        match self.outcomes.keys().find(|case| !expected.contains(case)) {
            Some(case) => Err(format!(
                "the program reports {case}, which the runner does not know"
            )),
            None => self.fault.clone().map_or(Ok(()), Err),
        }
    }
}

/// The end of a long text.
pub(crate) fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(STDERR_SHOWN);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Tells people something; the outcome does not depend on it.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Tells people what took how long.
pub(crate) fn note_duration(what: &str, since: Instant) {
    note(&format!("{what}: {:.1} s", (now() - since).as_secs_f32()));
}

/// Runs a client program to its end and gathers its cases.
pub(crate) fn run(name: &str, command: &mut Command, limit: Duration) -> Report {
    let started = now();
    let mut report = Report::default();
    if let Err(fault) = run_into(&mut report, name, command, limit) {
        report.fault = Some(fault);
    }
    note_duration(name, started);
    report
}

fn run_into(
    report: &mut Report,
    name: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<(), Fault> {
    let until = now() + limit;
    let mut process = Process::start(name, command)?;
    drop(process.stdin());
    while let Some(line) = process.line(until)? {
        report.take(&line);
    }
    let (status, stderr) = process.wait()?;
    report.ended(name, status, &stderr);
    Ok(())
}

/// Runs a command that must succeed; gives its standard output.
pub(crate) fn must_succeed(name: &str, command: &mut Command) -> Result<String, Fault> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name}: {command:?}: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    Err(format!(
        "{name} ended with {}: {} {}",
        done.status,
        tail(&out),
        tail(&err)
    ))
}
