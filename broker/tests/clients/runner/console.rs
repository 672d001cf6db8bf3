//! The web console in a browser: `console/` drives Chromium against brokers of its own.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::process::{Report, note, remove_on_signals, run};
use super::{Fault, trial};

/// All cases together; they take some three minutes where nothing else runs.
const LIMIT: Duration = Duration::from_secs(1_200);

const CASES: &[&str] = &[
    "overview/empty",
    "overview/charts",
    "overview/fallback",
    "topics/create",
    "topics/settings",
    "topics/partitions",
    "records/kinds",
    "records/hostile",
    "records/places",
    "records/search",
    "records/stopped",
    "records/key",
    "records/live",
    "records/partly",
    "records/produce",
    "records/again",
    "records/empty",
    "records/unreadable",
    "records/kcat",
    "records/delete",
    "groups/lag",
    "groups/reset",
    "groups/places",
    "groups/consumers",
    "groups/delete",
    "delayed/list",
    "delayed/cancel",
    "delayed/countdown",
    "delayed/later",
    "delayed/move",
    "delayed/pause",
    "delayed/filters",
    "delayed/cancel-all",
    "delayed/never",
    "connections",
    "configuration",
    "configuration/change",
    "storage",
    "storage/roll",
    "storage/verify",
    "logs",
    "hidden",
    "looks/light",
    "looks/dark",
    "looks/phone",
    "looks/dialogs",
    "touch",
    "keyboard",
    "keyboard/redrawn",
    "theme",
    "folder",
    "alarms",
    "restart",
    "tokens",
    "empty",
    "many",
    "no-faults",
];

/// What it needs. Its brokers are its own.
const TOOLS: &[Tool] = &[Tool::Browser, Tool::Kcat, Tool::OwnBroker];

fn report(context: &Context) -> Result<Report, Fault> {
    let program = context.installs.console()?;
    let folder = tempfile::Builder::new()
        .prefix("tidewheel-console-")
        .tempdir();
    let folder = folder.map_err(|e| format!("no temporary directory: {e}"))?;
    remove_on_signals(folder.path());
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("console");
    let _permit = context.permit();
    let mut node = Command::new("node");
    // Chromium's profile, whose syncs it waits for.
    node.env("TMPDIR", folder.path());
    node.arg(program.join("main.js")).arg(context.binary());
    node.arg(folder.path()).arg(&shots);
    let report = run("console", &mut node, LIMIT);
    note(&format!("pictures of the console: {}", shots.display()));
    Ok(report)
}

/// `console::CASE` and `console::all-cases-known`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let made: Arc<OnceLock<Result<Report, Fault>>> = Arc::default();
    let one = |name: String, judge: fn(&Report, &str) -> Result<(), Fault>| {
        let made = Arc::clone(&made);
        trial(context, format!("console::{name}"), TOOLS, move |context| {
            let report = made.get_or_init(|| report(context)).clone()?;
            judge(&report, &name)
        })
    };
    let cases = CASES.iter().map(|case| (*case).to_owned());
    let mut trials: Vec<Trial> = cases
        .map(|case| one(case, |report, case| report.result(case).map(|_| ())))
        .collect();
    trials.push(one("all-cases-known".to_owned(), |report, _| {
        let known: Vec<String> = CASES.iter().map(|case| (*case).to_owned()).collect();
        report.only(&known)
    }));
    trials
}
