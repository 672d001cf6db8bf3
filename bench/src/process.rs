//! What a process takes of this host, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a process has used since it started, and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessSample {
    /// Seconds of processor time in user mode.
    pub(crate) user_seconds: f64,
    /// Seconds of processor time in the kernel.
    pub(crate) system_seconds: f64,
    /// Anonymous resident memory in bytes; mapped files belong to the page cache.
    pub(crate) anonymous_bytes: u64,
    /// Bytes it caused to be written to disks, where the kernel tells.
    pub(crate) written_bytes: u64,
}

/// What a process used in a measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Its number.
    pub pid: u32,
    /// Its program.
    pub program: String,
    /// Seconds of processor time in user mode.
    pub user_seconds: f64,
    /// Seconds of processor time in the kernel.
    pub system_seconds: f64,
    /// The most anonymous resident memory seen, in bytes.
    pub anonymous_bytes_max: u64,
    /// Bytes it caused to be written to disks.
    pub written_bytes: u64,
}

impl ProcessUse {
    /// Seconds of processor time.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// The processor time of a process by its threads, in nanoseconds: `stat` counts whole ticks, mostly of
/// 10 ms, and cuts both of its halves.
#[derive(Debug, Clone, Default)]
struct ThreadTimes {
    running: BTreeMap<u32, u64>,
    /// What threads had used that were gone when they were looked for again.
    ended: u64,
}

impl ThreadTimes {
    /// Takes what the threads that are there now have used.
    fn look(&mut self, now: BTreeMap<u32, u64>) {
        for (thread, used) in std::mem::replace(&mut self.running, now) {
            // A number may be given to another thread, which begins at zero.
            let goes_on = self.running.get(&thread).is_some_and(|now| *now >= used);
            if !goes_on {
                self.ended += used;
            }
        }
    }

    fn seconds(&self) -> f64 {
        (self.ended + self.running.values().sum::<u64>()) as f64 / 1e9
    }
}

/// What each thread has used, as far as the system counts it (`CONFIG_SCHED_INFO`).
fn thread_times(pid: u32) -> BTreeMap<u32, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let times = threads.into_iter().flatten().flatten().filter_map(|entry| {
        let thread = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        Some((thread, text.split_whitespace().next()?.parse().ok()?))
    });
    times.collect()
}

/// What was used, by its ticks and by the sum over threads. The sum is the finer figure, but lacks threads
/// that came and went between two looks; where it is further off than two halves that are cut may be, the
/// ticks count. They do as well where the system does not count by threads.
fn used_seconds(ticks: f64, threads: f64, tick: f64) -> f64 {
    match threads > 0.0 && (threads - ticks).abs() <= 2.0 * tick {
        true => threads,
        false => ticks,
    }
}

/// Watches one process over a measurement.
#[derive(Debug)]
pub(crate) struct ProcessWatch {
    pid: u32,
    before: ProcessSample,
    latest: ProcessSample,
    /// Since it was watched first.
    threads: ThreadTimes,
    /// Their time at the begin of the measurement, in seconds.
    threads_before: f64,
    anonymous_bytes_max: u64,
}

impl ProcessWatch {
    /// Begins with what the process has used so far; `None` where there is none to see.
    pub(crate) fn start(pid: u32) -> Option<Self> {
        let before = sample(pid)?;
        let mut threads = ThreadTimes::default();
        threads.look(thread_times(pid));
        Some(Self {
            pid,
            before,
            latest: before,
            threads_before: threads.seconds(),
            threads,
            anonymous_bytes_max: before.anonymous_bytes,
        })
    }

    /// Looks again. Once the process is gone the last look stays.
    pub(crate) fn look(&mut self) {
        if self.glance() {
            self.threads.look(thread_times(self.pid));
        }
    }

    /// Looks at the process, but not at its threads, of which there may be a hundred. Returns whether it is
    /// still there.
    pub(crate) fn glance(&mut self) -> bool {
        let Some(sample) = sample(self.pid) else {
            return false;
        };
        self.latest = sample;
        self.anonymous_bytes_max = self.anonymous_bytes_max.max(sample.anonymous_bytes);
        true
    }

    /// Forgets what came before.
    pub(crate) fn restart(&mut self) {
        self.look();
        self.before = self.latest;
        self.threads_before = self.threads.seconds();
        self.anonymous_bytes_max = self.latest.anonymous_bytes;
    }

    pub(crate) fn used(&self) -> ProcessUse {
        let (before, latest) = (&self.before, &self.latest);
        let user = latest.user_seconds - before.user_seconds;
        let system = latest.system_seconds - before.system_seconds;
        let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        let threads = self.threads.seconds() - self.threads_before;
        let all = used_seconds(user + system, threads, tick);
        ProcessUse {
            pid: self.pid,
            program: program(self.pid),
            user_seconds: user.min(all),
            system_seconds: all - user.min(all),
            anonymous_bytes_max: self.anonymous_bytes_max,
            written_bytes: latest.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

fn program(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

pub(crate) fn sample(pid: u32) -> Option<ProcessSample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (user, system) = cpu_ticks(&stat)?;
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    Some(ProcessSample {
        user_seconds: user as f64 / per_second,
        system_seconds: system as f64 / per_second,
        anonymous_bytes: field(&status, "RssAnon:").unwrap_or(0) * 1024,
        written_bytes: field(&io, "write_bytes:").unwrap_or(0),
    })
}

/// Fields 14 and 15 of `stat`. The second is the program's name in brackets, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut after_name = stat.rsplit(')').next()?.split_whitespace().skip(11);
    Some((
        after_name.next()?.parse().ok()?,
        after_name.next()?.parse().ok()?,
    ))
}

/// The number on the line that begins with `name`.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

/// An address of this host: by number, or `localhost`.
fn loopback(address: &str) -> Option<SocketAddr> {
    let address: SocketAddr = match address.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse().ok()?,
        None => address.parse().ok()?,
    };
    address.ip().is_loopback().then_some(address)
}

/// Whether an address is one that only this host reaches.
pub(crate) fn is_on_this_host(address: &str) -> bool {
    loopback(address).is_some()
}

/// The process that listens on an address of this host, as far as this user may see.
pub(crate) fn listener(address: &str) -> Option<u32> {
    let address = loopback(address)?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        listening_inode(&text, address.port())
    })?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.into_iter().flatten().flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
    })
}

/// The inode of the socket in state LISTEN (0A) on a port, from a table of `/proc/net`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let port = format!("{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit(':').next()?;
        let listens = local == port && *fields.get(3)? == "0A";
        listens.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

/// Processor time of the whole host, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostTicks {
    /// All of it.
    pub(crate) all: u64,
    /// Waiting for a disk is idle too.
    pub(crate) idle: u64,
    /// What the host took while something here wanted it: for others, or to bring memory back.
    pub(crate) stolen: u64,
}

impl HostTicks {
    pub(crate) fn now() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn of(stat: &str) -> Option<Self> {
        let numbers = stat.lines().next()?.split_whitespace().skip(1);
        let numbers: Vec<u64> = numbers.filter_map(|text| text.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are counted in user and nice already.
        Some(Self {
            all: numbers.iter().take(8).sum(),
            idle: numbers.get(3)? + numbers.get(4)?,
            stolen: *numbers.get(7)?,
        })
    }

    /// What came after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            idle: self.idle.saturating_sub(before.idle),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 222 13";
        assert_eq!(cpu_ticks(stat), Some((111, 222)));
        assert_eq!(cpu_ticks("7 (cut"), None);
    }

    #[test]
    fn what_the_host_took_is_seen() {
        let ticks = |line: &str| HostTicks::of(line).unwrap();
        let before = ticks("cpu  10 0 10 50 5 0 0 7 3 0\ncpu0 1 1");
        let after = ticks("cpu  20 0 20 90 5 1 1 17 3 0\ncpu0 1 1");
        let between = after.since(before);
        assert_eq!((between.all, between.idle, between.stolen), (72, 40, 10));
        assert!(HostTicks::of("cpu  10 0 10 50").is_none());
    }

    #[test]
    fn what_threads_used_counts_when_they_are_gone() {
        let mut times = ThreadTimes::default();
        for now in [
            vec![(1, 1_000_000_000), (2, 500_000_000)],
            vec![(1, 1_250_000_000)],
            // The number of the second again, of another thread.
            vec![(1, 1_250_000_000), (2, 100_000_000)],
            vec![(1, 1_500_000_000), (2, 50_000_000)],
        ] {
            times.look(now.into_iter().collect());
        }
        assert!((times.seconds() - 2.15).abs() < 1e-9, "{times:?}");
    }

    #[test]
    fn threads_are_finer_than_ticks_and_ticks_miss_no_thread() {
        for (ticks, threads, used) in [
            (0.03, 0.0437, 0.0437),
            (0.05, 0.031, 0.031),
            // A thread that nobody saw used most of it.
            (0.5, 0.031, 0.5),
            // The system does not count by threads.
            (0.5, 0.0, 0.5),
            (0.01, 0.0, 0.01),
        ] {
            assert_eq!(used_seconds(ticks, threads, 0.01), used);
        }
    }

    /// A smoke run of a thousand small requests takes a handful of ticks.
    #[test]
    fn processor_time_is_not_rounded_to_ticks() {
        let work = "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done; echo done; read -r rest";
        let mut shell = Command::new("sh");
        shell.args(["-c", work]).stdin(Stdio::piped());
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        let times = thread_times(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        // Not where the system does not count (`CONFIG_SCHED_INFO`).
        if fs::exists("/proc/self/schedstat").unwrap() {
            let nanos: u64 = times.values().sum();
            let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
            assert!(!nanos.is_multiple_of(tick), "{times:?}");
        }
    }

    #[test]
    fn this_process_is_found_by_the_port_it_listens_on() {
        let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener_socket.local_addr().unwrap().to_string();
        assert_eq!(listener(&address), Some(std::process::id()));
        assert_eq!(listener("192.0.2.1:9092"), None);
    }

    #[test]
    fn this_process_is_seen_to_use_time_and_memory() {
        let mut watch = ProcessWatch::start(std::process::id()).unwrap();
        watch.look();
        let used = watch.used();
        assert!(used.anonymous_bytes_max > 0 && used.cpu_seconds() >= 0.0);
        assert!(!used.program.is_empty());
        assert!(ProcessWatch::start(u32::MAX).is_none());
        let host = HostTicks::now().unwrap();
        assert!(host.idle + host.stolen <= host.all);
    }
}
