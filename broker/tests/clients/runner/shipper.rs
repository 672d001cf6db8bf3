//! A log shipper of the distribution: rsyslog with omkafka follows a file, and every line of it arrives.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use super::broker::Broker;
use super::context::Context;
use super::install::Tool;
use super::process::{Process, must_succeed, note_duration, now, remove_on_signals, tail};
use super::{Fault, trial};

const LINES: usize = 10_000;
/// From the start of the shipper to its last line read back.
const LIMIT: Duration = Duration::from_secs(90);
/// From SIGTERM to the end of the shipper.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A line of the followed file: tabs and other alphabets too, from short to long.
fn line(number: usize) -> String {
    let rest = "прилив \u{2192} tide\t".repeat(number % 23);
    format!("{number} \"the tide\" {rest}{}", number % 7)
}

/// The shipper's whole configuration: no file of the machine is read or written but in `folder`.
fn config(folder: &Path, log: &Path, address: &str, topic: &str) -> String {
    let (folder, log) = (folder.display(), log.display());
    format!(
        r#"module(load="imfile")
module(load="omkafka")
global(workDirectory="{folder}")
template(name="line" type="string" string="%msg%")
ruleset(name="ship") {{
  action(type="omkafka" broker="{address}" topic="{topic}" template="line"
    partitions.auto="on" resubmitOnFailure="on"
    confParam=["enable.idempotence=true", "compression.codec=lz4", "sticky.partitioning.linger.ms=0"])
}}
input(type="imfile" file="{log}" tag="tide" ruleset="ship")
"#
    )
}

/// Reads as many lines as were sent, whatever their partition; gives them by partition.
fn read_back(address: &str, topic: &str) -> Result<BTreeMap<u32, Vec<String>>, Fault> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", address, "-C", "-q", "-t", topic, "-o", "beginning"]);
    kcat.args(["-c", &LINES.to_string(), "-f", "%p %s\n"]);
    let mut process = Process::start("kcat", &mut kcat)?;
    drop(process.stdin());
    let (until, mut out) = (now() + LIMIT, BTreeMap::<u32, Vec<String>>::new());
    let mut count = 0;
    loop {
        let next = process.line(until);
        let Some(line) = next.map_err(|e| format!("{e}: {count} of {LINES} lines"))? else {
            break;
        };
        let parts = line.split_once(' ');
        let record = parts.and_then(|(partition, line)| Some((partition.parse().ok()?, line)));
        let (partition, line) = record.ok_or_else(|| format!("kcat says {line}"))?;
        out.entry(partition).or_default().push(line.to_owned());
        count += 1;
    }
    let (status, errors) = process.wait()?;
    if !status.success() || count != LINES {
        let errors = tail(&errors);
        return Err(format!(
            "kcat: {status}, {count} of {LINES} lines: {errors}"
        ));
    }
    Ok(out)
}

/// Each line is there once, and in each partition they come in the file's order.
fn compare(read: &BTreeMap<u32, Vec<String>>) -> Result<(), Fault> {
    let mut seen = vec![false; LINES];
    for (partition, lines) in read {
        let mut last = None;
        for text in lines {
            let number = text.split(' ').next().and_then(|n| n.parse().ok());
            let number = number.filter(|n| *n < LINES && line(*n) == *text);
            let number = number.ok_or_else(|| format!("nobody wrote this line: {text}"))?;
            if last.is_some_and(|last| last >= number) || seen[number] {
                return Err(format!("line {number} comes late or twice in {partition}"));
            }
            (last, seen[number]) = (Some(number), true);
        }
    }
    if read.len() < 2 || seen.contains(&false) {
        return Err(format!("{} partitions hold lines", read.len()));
    }
    Ok(())
}

fn ship(context: &Context, address: &str, folder: &Path) -> Result<(), Fault> {
    let io = |e: std::io::Error| format!("{}: {e}", folder.display());
    let topic = format!("shipper-{:x}", std::process::id());
    let _permit = context.permit();
    let started = now();
    let mut list = Command::new("kcat"); // makes the topic
    must_succeed("kcat", list.args(["-b", address, "-L", "-t", &topic]))?;
    let (log, settings) = (folder.join("app.log"), folder.join("rsyslog.conf"));
    let text: String = (0..LINES).map(|n| line(n) + "\n").collect();
    std::fs::write(&log, text).map_err(io)?;
    std::fs::write(&settings, config(folder, &log, address, &topic)).map_err(io)?;
    let mut rsyslog = Command::new("rsyslogd");
    rsyslog.arg("-n").arg("-f").arg(&settings);
    rsyslog.arg("-i").arg(folder.join("pid"));
    let mut shipper = Process::start("rsyslogd", &mut rsyslog)?;
    let read = read_back(address, &topic);
    shipper.signal(Signal::TERM);
    let stopped = shipper.drain(now() + STOP_LIMIT);
    let (status, errors) = shipper.wait()?;
    let read = read.map_err(|e| format!("{e}; rsyslogd says: {}", tail(&errors)))?;
    note_duration("shipper", started);
    compare(&read)?;
    if stopped && status.success() {
        return Ok(());
    }
    Err(format!("rsyslogd ended with {status}: {}", tail(&errors)))
}

fn rsyslog(context: &Context) -> Result<(), Fault> {
    let folder = tempfile::Builder::new()
        .prefix("tidewheel-clients-")
        .tempdir();
    let folder = folder.map_err(|e| format!("no temporary directory: {e}"))?;
    remove_on_signals(folder.path());
    if let Some(address) = &context.bootstrap {
        return ship(context, address, folder.path());
    }
    let broker: Broker = context.new_broker()?;
    ship(context, broker.address(), folder.path())
}

/// `shipper::rsyslog`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let name = "shipper::rsyslog".to_owned();
    vec![trial(context, name, &[Tool::Rsyslog, Tool::Kcat], |c| {
        rsyslog(c)
    })]
}
