//! Kafka's own dump-log tool over the data directories that other suites leave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::broker::files_below;
use super::context::Context;
use super::crash;
use super::install::Tool;
use super::machine::LoopDisk;
use super::matrix::{self, jvm};
use super::process::{Process, note_duration, now, tail};
use super::{Fault, trial};

const LIMIT: Duration = Duration::from_secs(180);
/// Files of one call: the list is one argument, which Linux bounds to 128 KiB.
const FILES_PER_CALL: usize = 400;
const TOOL: &str = "org.apache.kafka.tools.DumpLogSegments";
/// What the tool prints on standard output about damage.
const BAD_LINES: [&str; 4] = [
    "isvalid: false",
    "invalid bytes at the end",
    "Exception",
    "corrupt",
];

/// Files of a data directory by suffix, and what they add up to.
#[derive(Debug, Default)]
struct Dumped {
    files: BTreeMap<String, usize>,
    batches: u64,
    records: u64,
}

fn suffix(path: &Path) -> Option<&str> {
    let suffix = path.extension()?.to_str()?;
    ["log", "index", "timeindex", "snapshot"]
        .contains(&suffix)
        .then_some(suffix)
}

/// A file of a topic that is deleted and only not yet removed.
fn is_deleted(path: &Path) -> bool {
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    folder.is_some_and(|name| name.ends_with("-delete"))
}

/// The offset in a segment file's name.
fn base_offset(path: &Path) -> Option<i64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The dump-log tool of an install.
fn tool(java: &Path, flags: &[&str], files: &[PathBuf]) -> Command {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let mut command = jvm(java);
    command
        .arg(TOOL)
        .args(flags)
        .arg("--files")
        .arg(names.join(","));
    command
}

/// Runs the tool; every line of damage is a fault.
fn dump(
    java: &Path,
    flags: &[&str],
    files: &[PathBuf],
    dumped: &mut Dumped,
    until: Instant,
) -> Result<(), Fault> {
    let mut process = Process::start("DumpLogSegments", &mut tool(java, flags, files))?;
    drop(process.stdin());
    let (mut named, mut sane, mut file) = (0, 0, String::new());
    while let Some(line) = process.line(until)? {
        if let Some(name) = line.strip_prefix("Dumping ") {
            named += 1;
            name.clone_into(&mut file);
        } else if line.ends_with(" passed sanity check.") || line.ends_with(" is empty.") {
            sane += 1;
        } else if line.starts_with("baseOffset: ") {
            dumped.batches += 1;
        } else if line.starts_with("| offset: ") {
            dumped.records += 1;
        }
        if BAD_LINES.iter().any(|bad| line.contains(bad)) {
            return Err(format!("{file}: {line}"));
        }
    }
    let (status, stderr) = process.wait()?;
    complaints(&stderr)?;
    if !status.success() {
        return Err(format!(
            "DumpLogSegments ended with {status}: {}",
            tail(&stderr)
        ));
    }
    let indexes = files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e != "log" && e != "snapshot"))
        .count();
    if named != files.len() || (flags.contains(&"--index-sanity-check") && sane < indexes) {
        return Err(format!(
            "{named} of {} files dumped, {sane} of {indexes} indexes sane",
            files.len()
        ));
    }
    Ok(())
}

/// The tool's error output must be empty but for its own quirk: it starts each log at -1, so a
/// segment whose base offset is not 0 gets "-1 is followed by BASE".
fn complaints(stderr: &str) -> Result<(), Fault> {
    const SECTION: &str = "Non-consecutive offsets in ";
    let mut base = None;
    for line in stderr.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix(SECTION) {
            base = base_offset(Path::new(name));
        } else if base.is_none_or(|base| line.trim() != format!("-1 is followed by {base}")) {
            return Err(format!("DumpLogSegments says: {}", tail(stderr)));
        }
    }
    Ok(())
}

/// All files of a stopped data directory; the tool must find nothing wrong with any of them.
fn check_directory(context: &Context, data: &Path) -> Result<Dumped, Fault> {
    let java = context.installs.java_4()?;
    let _permit = context.permit();
    let started = now();
    let until = started + LIMIT;
    let mut dumped = Dumped::default();
    let mut files = files_below(data)?;
    files.retain(|file| suffix(file).is_some() && !is_deleted(file));
    for file in &files {
        *dumped
            .files
            .entry(suffix(file).unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    for some in files.chunks(FILES_PER_CALL) {
        dump(
            &java,
            &["--deep-iteration", "--index-sanity-check"],
            some,
            &mut dumped,
            until,
        )?;
    }
    // Sanity looks at an index alone; this compares each entry with the log beside it.
    files.retain(|file| matches!(suffix(file), Some("index" | "timeindex")));
    for some in files.chunks(FILES_PER_CALL) {
        dump(
            &java,
            &["--verify-index-only"],
            some,
            &mut Dumped::default(),
            until,
        )?;
    }
    note_duration("dump_log", started);
    has_everything(data, &dumped)?;
    Ok(dumped)
}

/// A directory that says nothing proves nothing: several segments, indexes, records, snapshots.
fn has_everything(data: &Path, dumped: &Dumped) -> Result<(), Fault> {
    let count = |suffix: &str| dumped.files.get(suffix).copied().unwrap_or_default();
    let (logs, rolled) = (count("log"), rolled_segments(data)?);
    if logs == 0 || count("index") != logs || count("timeindex") != logs {
        return Err(format!(
            "every .log has its .index and .timeindex: {dumped:?}"
        ));
    }
    if rolled == 0
        || count("snapshot") == 0
        || dumped.records < dumped.batches
        || dumped.batches == 0
    {
        return Err(format!(
            "{rolled} rolled segments, {dumped:?}: too little to say anything"
        ));
    }
    Ok(())
}

fn rolled_segments(data: &Path) -> Result<usize, Fault> {
    let is_rolled = |file: &PathBuf| suffix(file) == Some("log") && base_offset(file) != Some(0);
    Ok(files_below(data)?
        .iter()
        .filter(|file| is_rolled(file))
        .count())
}

/// The check itself must see damage: one flipped byte in a copy of a rolled segment.
fn finds_damage(context: &Context, data: &Path) -> Result<(), Fault> {
    let files = files_below(data)?;
    let found = files
        .iter()
        .find(|f| suffix(f) == Some("log") && f.metadata().is_ok_and(|m| m.len() > 1000));
    let original = found.ok_or("no log to damage")?;
    let io = |e: std::io::Error| format!("{}: {e}", original.display());
    let folder = tempfile::tempdir().map_err(io)?;
    let copy = folder.path().join(original.file_name().unwrap_or_default());
    let mut bytes = std::fs::read(original).map_err(io)?;
    if let Some(byte) = bytes.get_mut(200) {
        *byte ^= 1;
    }
    std::fs::write(&copy, bytes).map_err(io)?;
    let java = context.installs.java_4()?;
    let until = now() + LIMIT;
    match dump(
        &java,
        &["--deep-iteration"],
        &[copy],
        &mut Dumped::default(),
        until,
    ) {
        Ok(()) => Err("a flipped byte went unnoticed".to_owned()),
        Err(_) => Ok(()),
    }
}

/// After a clean stop of the broker that all clients used.
fn after_matrix(context: &Context) -> Result<(), Fault> {
    matrix::run_all(context);
    let data = context.with_shared(|broker| {
        broker.stop()?;
        Ok(broker.data_dir())
    })?;
    check_directory(context, &data)?;
    finds_damage(context, &data)
}

/// After kills under load, recoveries and a clean stop.
fn after_crash(context: &Context) -> Result<(), Fault> {
    check_directory(context, &crash::the_run(context)?.data_dir()).map(|_| ())
}

/// After a power cut under load, a recovery and a clean stop, on a file system of its own.
fn after_power_cut(context: &Context) -> Result<(), Fault> {
    const SETTINGS: [&str; 2] = [
        "log.segment.bytes=1048576",
        "log.flush.offset.checkpoint.interval.ms=100",
    ];
    const LOAD: &str = "--topic load --partitions 4 --acks all --rate 10k/s --duration 1000s \
                        --warmup 0s --no-progress --brokers";
    /// How long the directory is not looked at.
    const PAUSE: Duration = Duration::from_millis(50);
    /// Segments that are there when the power goes.
    const SEGMENTS: usize = 12;
    let mut disk = LoopDisk::new(512 << 20, &["mkfs.ext4", "-q"]);
    let data = disk.data();
    let mut broker = context.new_broker_on(data.clone(), &SETTINGS)?;
    let mut load = context.program("bench");
    load.arg("produce").args(LOAD.split_whitespace());
    let mut load = Process::start("the load", load.arg(broker.address()))?;
    let until = now() + LIMIT;
    while rolled_segments(&data)? < SEGMENTS {
        // It says nothing until it has ended.
        if load.line(now() + PAUSE).is_ok_and(|line| line.is_none()) || now() > until {
            return Err("the load does not fill segments".to_owned());
        }
    }
    LoopDisk::cut_power(&disk.root());
    drop(load);
    broker.kill()?;
    disk.power_on();
    broker.start_again()?;
    broker.stop()?;
    check_directory(context, &data)?;
    finds_damage(context, &data)
}

/// `dump_log::after_matrix`, `dump_log::after_crash` and `dump_log::after_power_cut`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    const TOOLS: [Tool; 2] = [Tool::Java, Tool::OwnBroker];
    const CRASH_TOOLS: [Tool; 3] = [Tool::Java, Tool::Go, Tool::OwnBroker];
    const POWER_CUT_TOOLS: [Tool; 3] = [Tool::Java, Tool::Mounts, Tool::OwnBroker];
    vec![
        trial(context, "dump_log::after_matrix".to_owned(), &TOOLS, |c| {
            after_matrix(c)
        }),
        trial(
            context,
            "dump_log::after_crash".to_owned(),
            &CRASH_TOOLS,
            |c| after_crash(c),
        ),
        trial(
            context,
            "dump_log::after_power_cut".to_owned(),
            &POWER_CUT_TOOLS,
            |c| after_power_cut(c),
        ),
    ]
}
