//! What the system says about this process.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::exposition::Exposition;
use super::families as family;

/// Tells what can be read; on a system without `/proc` that is little.
pub(super) fn expose(out: &mut Exposition, started_ms: i64) {
    if let Some(ticks) = read("stat").as_deref().and_then(processor_ticks) {
        let per_second = rustix::param::clock_ticks_per_second();
        out.single(&family::PROCESS_CPU, ratio(ticks, per_second));
    }
    let status = read("status").unwrap_or_default();
    for (family, field) in [
        (&family::PROCESS_RESIDENT, "VmRSS:"),
        (&family::PROCESS_ANONYMOUS, "RssAnon:"),
        (&family::PROCESS_VIRTUAL, "VmSize:"),
    ] {
        if let Some(kibibytes) = number(&status, field) {
            out.single(family, kibibytes * 1024);
        }
    }
    if let Some(threads) = number(&status, "Threads:") {
        out.single(&family::PROCESS_THREADS, threads);
    }
    if let Some(open) = open_descriptors() {
        out.single(&family::PROCESS_FDS, open);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        out.single(&family::PROCESS_FDS_MAX, limit);
    }
    out.single(&family::PROCESS_START, seconds(started_ms));
}

/// Milliseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit a double for a long time"
)]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time needs no more digits than a double has"
)]
fn ratio(count: u64, per_unit: u64) -> f64 {
    count as f64 / per_unit.max(1) as f64
}

fn read(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{name}")).ok()
}

/// The number after `field` in the form of `/proc/self/status`.
fn number(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Ticks in user and kernel mode out of `/proc/self/stat`, where they are the fields 14 and 15. The second
/// one, the name, may have anything in it.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Linux from 6.2 on tells their number as the size of the directory; before, it is 0 and they are counted.
fn open_descriptors() -> Option<u64> {
    const DIR: &str = "/proc/self/fd";
    match fs::metadata(DIR).ok()?.len() {
        0 => Some(fs::read_dir(DIR).ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::MetricsFormat;
    use super::*;

    #[test]
    fn fields_are_found_where_they_stand() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 12 30 1 2 20 0 3 0 100 5000 6";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(processor_ticks("7 (a"), None);
        let status = "VmPeak:\t 9 kB\nVmRSS:\t  120 kB\nThreads:\t4\n";
        assert_eq!(number(status, "VmRSS:"), Some(120));
        assert_eq!(number(status, "Threads:"), Some(4));
        assert_eq!(number(status, "RssAnon:"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let mut out = Exposition::new(MetricsFormat::Classic);
        expose(&mut out, 1_500);
        let text = out.finish();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "tidewheel_process_anonymous_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value: f64 = line.and_then(|line| line.trim().parse().ok()).unwrap();
            assert!(value >= 0.0, "{name}");
        }
        assert!(
            text.contains("\nprocess_start_time_seconds 1.5\n"),
            "{text}"
        );
    }
}
