//! kaf, a command-line client of many people's daily work.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::broker::Broker;
use super::context::Context;
use super::install::{Tool, install, sources};
use super::process::{Process, must_succeed, now};
use super::{Fault, trial};

const PACKAGE: &str = "github.com/birdayz/kaf/cmd/kaf";
/// One command, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The program, of the version in `go/kaf/go.mod`, whose sums are compared.
fn installed() -> Result<PathBuf, Fault> {
    let made = install("kaf", &["go/kaf"], |target| {
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-o"]);
        build.arg(target.join("kaf")).arg(PACKAGE);
        build.env("GOTOOLCHAIN", "local");
        must_succeed("go build", build.current_dir(sources().join("go/kaf"))).map(|_| ())
    });
    Ok(made?.join("kaf"))
}

/// kaf beside a broker of its own.
struct Kaf<'a> {
    context: &'a Context,
    program: PathBuf,
    broker: Broker,
    /// Where it looks for settings: there are some only where a file of them is named.
    home: tempfile::TempDir,
}

impl Kaf<'_> {
    /// What it prints; it has to end well.
    fn run(&self, args: &[&str], input: &str) -> Result<String, Fault> {
        let mut command = Command::new(&self.program);
        command.args(["--brokers", self.broker.address()]);
        command.args(args).env("HOME", self.home.path());
        let _permit = self.context.permit();
        let until = now() + LIMIT;
        let mut process = Process::start("kaf", &mut command)?;
        if let Some(mut stdin) = process.stdin() {
            let written = stdin.write_all(input.as_bytes());
            written.map_err(|e| format!("kaf: {e}"))?;
        }
        let mut said = String::new();
        while let Some(line) = process.line(until)? {
            said.push_str(&line);
            said.push('\n');
        }
        match process.wait()? {
            (status, _) if status.success() => Ok(said),
            (status, errors) => Err(format!("kaf {args:?} ended with {status}: {said}{errors}")),
        }
    }

    /// A file of settings without which it takes brokers for ones of before 2.3, and sets nothing.
    fn settings(&self) -> Result<String, Fault> {
        let file = self.home.path().join("settings");
        let here = self.broker.address();
        let cluster = format!("- name: here\n  version: 2.3.0\n  brokers: [\"{here}\"]\n");
        let settings = format!("current-cluster: here\nclusters:\n{cluster}");
        std::fs::write(&file, settings).map_err(|e| format!("kaf's settings: {e}"))?;
        Ok(file.display().to_string())
    }

    /// It prints a line with these words, whatever lies between them.
    fn tells(&self, args: &[&str], words: &[&str]) -> Result<(), Fault> {
        let said = self.run(args, "")?;
        let has = |line: &str| line.split_whitespace().eq(words.iter().copied());
        match said.lines().any(has) {
            true => Ok(()),
            false => Err(format!("kaf {args:?}: no line {words:?} in: {said}")),
        }
    }

    fn topics(&self) -> Result<(), Fault> {
        self.tells(&["nodes"], &["1", self.broker.address(), "true"])?;
        self.run(&["topic", "create", "orders", "-p", "2"], "")?;
        self.tells(&["topics"], &["orders", "2", "1"])?;
        for (partition, lines) in [("0", "one\ntwo\nthree\n"), ("1", "four\n")] {
            let said = self.run(&["produce", "orders", "-k", "k", "-p", partition], lines)?;
            let last = lines.lines().count() - 1;
            let due = format!("Sent record to partition {partition} at offset {last}.");
            if !said.contains(&due) {
                return Err(format!("no \"{due}\" in: {said}"));
            }
        }
        let describe = ["topic", "describe", "orders"];
        self.tells(&describe, &["0", "3", "1", "[1]", "[1]"])?;
        self.tells(&describe, &["1", "1", "1", "[1]", "[1]"])?;
        self.tells(&describe, &["Summed", "HighWatermark:", "4"])?;
        let settings = self.settings()?;
        let set = ["--config", &*settings, "topic", "set-config", "orders"];
        self.run(&[&set[..], &["retention.ms=7000000"]].concat(), "")?;
        self.tells(&describe, &["retention.ms", "7000000", "false", "false"])
    }

    /// Every record once, each a JSON document in a line.
    fn records(&self) -> Result<(), Fault> {
        let consume = ["consume", "orders", "--output", "json-each-row"];
        let said = self.run(&consume, "")?;
        let mut seen = Vec::new();
        for line in said.lines() {
            let told: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
            seen.push(json!([
                told["partition"],
                told["offset"],
                told["key"],
                told["payload"]
            ]));
        }
        seen.sort_by_key(Value::to_string);
        let expected = [
            json!([0, 0, "k", "one"]),
            json!([0, 1, "k", "two"]),
            json!([0, 2, "k", "three"]),
            json!([1, 0, "k", "four"]),
        ];
        match seen == expected {
            true => Ok(()),
            false => Err(format!("not the records that were sent: {said}")),
        }
    }

    /// Lag is what it makes of committed offsets and high watermarks.
    fn groups(&self) -> Result<(), Fault> {
        let commit = ["group", "commit", "readers", "-t", "orders", "--noconfirm"];
        let offsets = ["--offset-map", "{\"0\": 1, \"1\": 1}"];
        self.run(&[&commit[..], &offsets].concat(), "")?;
        self.tells(&["groups"], &["readers", "Empty", "0"])?;
        let describe = ["group", "describe", "readers"];
        self.tells(&describe, &["0", "1", "3", "2"])?;
        self.tells(&describe, &["1", "1", "1", "0"])?;
        self.tells(&describe, &["Total", "2", "2"])?;
        self.run(&["group", "delete", "readers"], "")?;
        let left = self.run(&["groups"], "")?;
        if left.contains("readers") {
            return Err(format!("the group is still there: {left}"));
        }
        self.run(&["topic", "delete", "orders"], "").map(|_| ())
    }
}

fn everyday(context: &Context) -> Result<(), Fault> {
    let kaf = Kaf {
        context,
        program: installed()?,
        broker: context.new_broker_with(&["group.initial.rebalance.delay.ms=0"])?,
        home: tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?,
    };
    kaf.topics()?;
    kaf.records()?;
    kaf.groups()
}

/// `tools::kaf`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let tools = &[Tool::Go, Tool::OwnBroker];
    vec![trial(context, "tools::kaf".to_owned(), tools, |context| {
        everyday(context)
    })]
}
