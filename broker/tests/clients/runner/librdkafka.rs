//! The test suite of librdkafka, in C: what of it needs one broker and no transactions, built from the sources that
//! the crate rdkafka-sys carries.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::{Tool, install};
use super::process::{Process, must_succeed, note_duration, now, tail};
use super::rust_suites::crate_folder;
use super::{Fault, trial};

/// What passes, a case a line; `full` behind it: in the long run.
const LIST: &str = include_str!("../c/librdkafka.list");
/// What the build depends on; the list does not count.
const INPUTS: [&str; 4] = [
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "rust/empty.rs",
    "runner/librdkafka.rs",
];
/// The libraries of the machine that no case needs, and the optimizer.
const CONFIGURE: [&str; 8] = [
    "--disable-optimization",
    "--disable-ssl",
    "--disable-gssapi",
    "--disable-curl",
    "--disable-zstd",
    "--disable-lz4-ext",
    "--disable-syslog",
    "--enable-static",
];
/// The suite on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
const LIMIT_FULL: Duration = Duration::from_secs(3600);
/// Cases that run at once, which mostly wait; the suite gives each more time with it.
const PARALLEL: &str = "-p8";

/// The cases that this run owes.
fn cases(is_full: bool) -> BTreeSet<&'static str> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| match line.strip_suffix(" full") {
            Some(case) => is_full.then_some(case),
            None => Some(line),
        })
        .collect()
}

/// The case that a line of the suite's output says has passed.
fn passed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("================= Test ")?;
    rest.split_once(" PASSED =").map(|(case, _)| case)
}

/// Copies the sources and builds the suite, statically.
fn make(folder: &Path) -> Result<(), Fault> {
    let sources = crate_folder(folder, "rdkafka-sys")?.join("librdkafka");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(&sources).arg(folder);
    must_succeed("cp", &mut copy)?;
    let folder = folder.join("librdkafka");
    let mut configure = Command::new("./configure");
    configure.args(CONFIGURE).current_dir(&folder);
    must_succeed("configure", &mut configure)?;
    for (part, target) in [
        ("src", "librdkafka.a"),
        ("src-cpp", "librdkafka++.a"),
        ("tests", "test-runner"),
    ] {
        let mut make = Command::new("make");
        make.args(["-j2", "-C", part, target]).current_dir(&folder);
        must_succeed("make", &mut make)?;
    }
    Ok(())
}

/// Runs what the list names; all that is named must say that it passed.
fn suite(context: &Context) -> Result<(), Fault> {
    let built = install("librdkafka", &INPUTS, make)?.join("librdkafka/tests");
    let own = match context.bootstrap {
        Some(_) => None,
        // Some cases count on four partitions of a topic that is created by use.
        None => Some(context.new_broker_with(&["num.partitions=4"])?),
    };
    let address = own.as_ref().map(|broker| broker.address().to_owned());
    let address = address
        .or_else(|| context.bootstrap.clone())
        .unwrap_or_default();
    let config = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    let lines = format!("metadata.broker.list={address}\ntest.topic.random=true\n");
    std::fs::write(config.path(), lines).map_err(|e| format!("the configuration: {e}"))?;
    let mut due = cases(context.is_full);
    // The suite chooses by number.
    let numbers: Vec<&str> = due.iter().filter_map(|case| case.get(..4)).collect();
    let mut command = Command::new("./test-runner");
    command.args(["-L", PARALLEL]).current_dir(&built);
    command.env("RDKAFKA_TEST_CONF", config.path());
    command.env("TESTS", numbers.join(","));
    command.env("TEST_KAFKA_VERSION", "3.9.0").env_remove("CI");
    let _permit = context.permit();
    let started = now();
    let limit = if context.is_full { LIMIT_FULL } else { LIMIT };
    let mut process = Process::start("librdkafka's suite", &mut command)?;
    drop(process.stdin());
    let mut said = String::new();
    while let Some(line) = process.line(started + limit)? {
        if let Some(case) = passed(&line) {
            due.remove(case);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let (_, errors) = process.wait()?;
    note_duration("librdkafka's suite", started);
    match due.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "not passed: {due:?}: {} {}",
            tail(&said),
            tail(&errors)
        )),
    }
}

/// `c::librdkafka`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let name = "c::librdkafka".to_owned();
    vec![trial(context, name, &[Tool::CppAndMake], |c| suite(c))]
}
