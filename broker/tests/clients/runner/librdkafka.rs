//! The test suite of librdkafka, in C: what of it needs one broker and no transactions, in groups of both protocols.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::librdkafka_build::built;
use super::matrix::jvm;
use super::process::{Process, note, note_duration, now, tail};
use super::{Fault, trial};

/// What passes: a case a line, and behind it the runs that have it, with `:full` those of the long run.
const LIST: &str = include_str!("../c/librdkafka.list");
/// The suite on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
const LIMIT_FULL: Duration = Duration::from_secs(3600);
/// Cases that cut their own connections, each in a process of its own: they have been seen to close descriptors that had
/// become another's, and all of the suite goes with them.
const CUTTING: [&str; 6] = ["0049", "0068", "0075", "0076", "0088", "0094"];
/// Cases that run at once, which mostly wait; the suite gives each more time with it.
const PARALLEL: &str = "-p8";
/// What Kafka's script for topics starts.
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const TOOLS: [Tool; 4] = [Tool::CppAndMake, Tool::RapidJson, Tool::Zstd, Tool::Java];
/// The release that the suite takes the broker for: it knows groups' settings, and no client is to feign an old one.
const VERSION: &str = "4.0.0";
/// A release for which the suite has no script that makes ACLs, so that it leaves out what needs them.
const VERSION_NO_ACLS: &str = "2.0.0";

/// One way to run the suite.
#[derive(Debug, Clone, Copy)]
struct Run {
    name: &'static str,
    protocol: &'static str,
    scenario: &'static str,
    version: &'static str,
    /// Of a broker of its own. Some cases count on four partitions of a topic that is created by use.
    settings: &'static [&'static str],
}

const RUNS: [Run; 5] = [
    Run {
        name: "classic",
        protocol: "classic",
        scenario: "default",
        version: VERSION,
        settings: &["num.partitions=4"],
    },
    Run {
        name: "consumer",
        protocol: "consumer",
        scenario: "default",
        version: VERSION,
        settings: &["num.partitions=4"],
    },
    Run {
        name: "classic-noautocreate",
        protocol: "classic",
        scenario: "noautocreate",
        version: VERSION,
        settings: &[
            "num.partitions=4",
            "auto.create.topics.enable=false",
            // Some cases make topics with three replicas.
            "tidewheel.replication.factor.max=3",
        ],
    },
    Run {
        name: "classic-noacls",
        protocol: "classic",
        scenario: "default",
        version: VERSION_NO_ACLS,
        settings: &["num.partitions=4"],
    },
    Run {
        name: "consumer-noacls",
        protocol: "consumer",
        scenario: "default",
        version: VERSION_NO_ACLS,
        settings: &["num.partitions=4"],
    },
];

/// The cases that a run owes; behind a slash what of the case, where it is not all.
fn cases(run: Run, is_full: bool) -> Vec<&'static str> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let owed = lines.filter_map(|line| {
        let mut words = line.split(' ');
        let case = words.next()?;
        let is_in = |word: &str| match word.strip_suffix(":full") {
            Some(name) => is_full && name == run.name,
            None => word == run.name,
        };
        words.any(is_in).then_some(case)
    });
    owed.collect()
}

/// The line without what colours it.
fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |said, part| {
        said + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

/// What the suite says of each case: its state, and in the closing table how long it took and why it failed. The
/// table is lost where the suite gives itself up in the end, as it does when a failed case left threads behind; what
/// it says when a case ends is not.
fn outcomes(said: &str, errors: &str) -> BTreeMap<String, String> {
    let ended = |line: &str| {
        let (_, rest) = line.split_once("================= Test ")?;
        let (case, state) = rest.split_once(' ')?;
        let state = state.trim_end_matches('=').trim();
        Some((case.to_owned(), state.to_owned()))
    };
    let row = |line: &str| {
        let (case, outcome) = line.strip_prefix('|')?.split_once('|')?;
        let words: Vec<&str> = outcome.split_whitespace().collect();
        Some((case.trim().to_owned(), words.join(" ")))
    };
    let ended = errors.lines().filter_map(ended);
    ended.chain(said.lines().filter_map(row)).collect()
}

/// Whether the suite says of a part by that name that it passed.
fn part_passed(errors: &str, part: &str) -> bool {
    let said = |line: &str| line.contains(part) && line.contains(": PASS (");
    errors.lines().any(said)
}

/// The suite with a broker.
struct Suite {
    /// With `test-runner`.
    tests: PathBuf,
    /// The suite's configuration, and Kafka's script for topics, which some cases call.
    files: tempfile::TempDir,
    run: Run,
    address: String,
}

impl Suite {
    fn new(context: &Context, run: Run, address: String) -> Result<Self, Fault> {
        let files = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let tool = jvm(&context.installs.java_4()?);
        let words = [tool.get_program()].into_iter().chain(tool.get_args());
        let words: Vec<String> = words.map(|w| format!("'{}'", w.display())).collect();
        let script = format!("#!/bin/sh\nexec {} {TOPICS} \"$@\"\n", words.join(" "));
        let config = format!("metadata.broker.list={address}\ntest.topic.random=true\n");
        let io = |e: std::io::Error| format!("{}: {e}", files.path().display());
        let bin = files.path().join("bin");
        std::fs::create_dir(&bin).map_err(io)?;
        let path = bin.join("kafka-topics.sh");
        std::fs::write(&path, script).map_err(io)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(io)?;
        std::fs::write(files.path().join("test.conf"), config).map_err(io)?;
        Ok(Self {
            tests: built()?,
            files,
            run,
            address,
        })
    }

    /// Starts what is owed of the suite: whole cases, or one of which only `part` runs.
    fn start(&self, owed: &[&str], part: Option<&str>) -> Result<Process, Fault> {
        // The suite chooses by number.
        let numbers: Vec<&str> = owed.iter().filter_map(|case| case.get(..4)).collect();
        let mut command = Command::new("./test-runner");
        command.args(["-L", PARALLEL]).current_dir(&self.tests);
        command.env("RDKAFKA_TEST_CONF", self.files.path().join("test.conf"));
        command.env("TESTS", numbers.join(","));
        command.env("TEST_KAFKA_VERSION", self.run.version);
        command.env_remove("CI");
        command.env("TEST_CONSUMER_GROUP_PROTOCOL", self.run.protocol);
        command.env("TEST_SCENARIO", self.run.scenario);
        command.env("KAFKA_PATH", self.files.path());
        command.env("BROKERS", &self.address);
        if let Some(part) = part {
            command.env("SUBTESTS", part);
        }
        let mut process = Process::start("librdkafka's suite", &mut command)?;
        drop(process.stdin());
        Ok(process)
    }
}

/// The part of a case of which not all is owed.
fn part_of(case: &str) -> Option<&str> {
    case.split_once('/').map(|(_, part)| part)
}

/// What did not pass, and what was said meanwhile.
struct Failed<'a> {
    cases: Vec<&'a str>,
    said: String,
}

/// Waits for the end of what has been started. All that is owed should have passed.
fn judge<'a>(
    mut process: Process,
    owed: &[&'a str],
    until: Instant,
) -> Result<Option<Failed<'a>>, Fault> {
    let mut said = String::new();
    while let Some(line) = process.line(until)? {
        said.push_str(&plain(&line));
        said.push('\n');
    }
    let (status, errors) = process.wait()?;
    let errors = plain(&errors);
    let outcomes = outcomes(&said, &errors);
    let not_passed = |case: &'a str| {
        let (name, _) = case.split_once('/').unwrap_or((case, ""));
        let outcome = outcomes.get(name).map_or("nothing said", String::as_str);
        if !outcome.starts_with("PASSED") {
            return Some((case, format!("{case}: {outcome}")));
        }
        // A case none of whose parts has run passes, too.
        let has_passed = part_of(case).is_none_or(|part| part_passed(&errors, part));
        (!has_passed).then(|| (case, format!("{case}: no such part has passed")))
    };
    let failed = owed.iter().copied().filter_map(not_passed);
    let (cases, reasons): (Vec<&str>, Vec<String>) = failed.unzip();
    if cases.is_empty() {
        return Ok(None);
    }
    let (said, errors) = (tail(&said), tail(&errors));
    let said = format!(
        "{reasons:#?}, {} cases have ended ({status}): {said} {errors}",
        outcomes.len()
    );
    Ok(Some(Failed { cases, said }))
}

/// Runs what failed once more, each case in a process of its own: some count milliseconds, which others take.
fn alone(suite: &Suite, failed: Failed<'_>, until: Instant) -> Result<Vec<Fault>, Fault> {
    let mut faults = Vec::new();
    for case in failed.cases {
        let process = suite.start(&[case], part_of(case))?;
        match judge(process, &[case], until)? {
            Some(again) => faults.push(format!("{}\nalone: {}", failed.said, again.said)),
            None => note(&format!("librdkafka's {case} has passed only alone")),
        }
    }
    Ok(faults)
}

/// Runs what the list names; all that is named must say that it passed.
fn suite(context: &Context, run: Run) -> Result<(), Fault> {
    let own = match context.bootstrap {
        Some(_) => None,
        None => Some(context.new_broker_with(run.settings)?),
    };
    let address = own.as_ref().map(|broker| broker.address().to_owned());
    let address = address
        .or_else(|| context.bootstrap.clone())
        .unwrap_or_default();
    let suite = Suite::new(context, run, address)?;
    let is_apart = |case: &&str| {
        let is_one = |number: &&str| case.starts_with(*number);
        case.contains('/') || CUTTING.iter().any(is_one)
    };
    let (apart, whole): (Vec<&str>, Vec<&str>) =
        cases(run, context.is_full).into_iter().partition(is_apart);
    let limit = if context.is_full { LIMIT_FULL } else { LIMIT };
    // It waits most of its time, and longest of all suites: it needs no permit.
    let started = now();
    let mut running = vec![(suite.start(&whole, None)?, whole)];
    for case in apart {
        running.push((suite.start(&[case], part_of(case))?, vec![case]));
    }
    let (mut failed, mut faults) = (Vec::new(), Vec::new());
    for (process, owed) in running {
        failed.extend(judge(process, &owed, started + limit)?);
    }
    for one in failed {
        faults.extend(alone(&suite, one, started + limit)?);
    }
    note_duration(&format!("librdkafka's suite, {}", run.name), started);
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("\n")),
    }
}

/// `c::librdkafka::RUN`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let one = |run: &Run| {
        let (run, name) = (*run, format!("c::librdkafka::{}", run.name));
        trial(context, name, &TOOLS, move |c| suite(c, run))
    };
    RUNS.iter().map(one).collect()
}
