//! The test suite that franz-go ships for its client, `pkg/kgo`: what of it needs a broker.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::consumers::FREQUENT_HEARTBEATS;
use super::context::Context;
use super::install::Tool;
use super::process::{Process, note_duration, now, tail};
use super::{Fault, trial};

/// What passes, a case a line; `full` behind it: in the long run.
const LIST: &str = include_str!("../go/kgo.list");
/// Records that go through the chains of groups of `TestGroupETL`.
const RECORDS: &str = "5000";
/// The suite's own number.
const RECORDS_FULL: &str = "500000";
/// The suite on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);
const LIMIT_FULL: Duration = Duration::from_secs(3600);
/// Tests that run at once: they mostly wait.
const PARALLEL: &str = "8";

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
    let rest = line.trim_start().strip_prefix("--- PASS: ")?;
    rest.split(' ').next()
}

/// Runs what the list names, with its subtests; all that is named must say that it passed.
fn kgo(context: &Context) -> Result<(), Fault> {
    let suite = context.installs.kgo_suite()?;
    let own = match context.bootstrap {
        Some(_) => None,
        None => Some(context.new_broker_with(&FREQUENT_HEARTBEATS)?),
    };
    let address = own.as_ref().map(|broker| broker.address().to_owned());
    let address = address
        .or_else(|| context.bootstrap.clone())
        .unwrap_or_default();
    let mut due = cases(context.is_full);
    let tests: Vec<&str> = due.iter().copied().filter(|c| !c.contains('/')).collect();
    let (records, limit) = match context.is_full {
        true => (RECORDS_FULL, LIMIT_FULL),
        false => (RECORDS, LIMIT),
    };
    let mut command = Command::new(suite);
    command.args(["-test.v", "-test.parallel", PARALLEL]);
    command.args(["-test.timeout", &format!("{}s", limit.as_secs())]);
    command.args(["-test.run", &format!("^({})$", tests.join("|"))]);
    command.env("KGO_SEEDS", &address).env("KGO_TEST_RF", "1");
    command.env("KGO_TEST_RECORDS", records);
    command.env("KGO_LOG_LEVEL", "none");
    let _permit = context.permit();
    let started = now();
    let mut process = Process::start("kgo", &mut command)?;
    drop(process.stdin());
    let mut said = String::new();
    while let Some(line) = process.line(started + limit)? {
        passed(&line).map(|case| due.remove(case));
        said.push_str(&line);
        said.push('\n');
    }
    let (status, errors) = process.wait()?;
    note_duration("kgo", started);
    if status.success() && due.is_empty() {
        return Ok(());
    }
    let (said, errors) = (tail(&said), tail(&errors));
    Err(format!("{status}, not passed: {due:?}: {said} {errors}"))
}

/// `go::kgo`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    vec![trial(context, "go::kgo".to_owned(), &[Tool::Go], |c| {
        kgo(c)
    })]
}
