//! The case that delayed delivery was made for: sarama dates records 30 s ahead and compresses them with LZ4, and three
//! groups read each of them once, soon after it was due and not before; also where the broker is killed meanwhile.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::process::{Process, Report, note_duration, now};
use super::{Fault, trial};

/// From the start of the program to its end: half a minute passes before anything is due.
const LIMIT: Duration = Duration::from_secs(120);
const ACCEPTED: &str = "reference/accepted";
const DELIVERED: &str = "reference/delivered";

/// The versions of the library, and whether the broker is killed.
const PLAYS: [(&str, bool); 4] = [
    ("1.38", false),
    ("1.38", true),
    ("1.29", false),
    ("1.43", false),
];

fn play(context: &Context, version: &'static str, kills: bool) -> Result<(), Fault> {
    let program = context.installs.reference(version)?;
    let mut broker = context.new_broker_with(&["group.initial.rebalance.delay.ms=0"])?;
    let started = now();
    let mut command = Command::new(program);
    command.args(["--bootstrap", broker.address()]);
    let label = format!("sarama {version}");
    // It sleeps nearly all the time, so it needs no permit.
    let mut process = Process::start(&label, &mut command)?;
    let (mut report, mut killed) = (Report::default(), false);
    while let Some(line) = process.line(started + LIMIT)? {
        report.take(&line);
        if kills && !killed && report.result(ACCEPTED).is_ok() {
            broker.kill()?;
            broker.start_again()?;
            killed = true;
        }
    }
    let (status, stderr) = process.wait()?;
    report.ended(&label, status, &stderr);
    report.result(ACCEPTED)?;
    let detail = report.result(DELIVERED)?;
    note_duration(&format!("{label}: {detail}"), started);
    broker.stop()
}

/// `reference::sarama-VERSION::steady` and `::killed`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let one = |(version, kills): (&'static str, bool)| {
        let how = if kills { "killed" } else { "steady" };
        let name = format!("reference::sarama-{version}::{how}");
        let tools: &'static [Tool] = &[Tool::Go, Tool::OwnBroker];
        trial(context, name, tools, move |context| {
            play(context, version, kills)
        })
    };
    PLAYS.map(one).into()
}
