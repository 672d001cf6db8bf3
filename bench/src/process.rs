//! What a process takes of this host, read from `/proc`.

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

/// Watches one process over a measurement.
#[derive(Debug)]
pub(crate) struct ProcessWatch {
    pid: u32,
    before: ProcessSample,
    latest: ProcessSample,
    anonymous_bytes_max: u64,
}

impl ProcessWatch {
    /// Begins with what the process has used so far; `None` where there is none to see.
    pub(crate) fn start(pid: u32) -> Option<Self> {
        let before = sample(pid)?;
        Some(Self {
            pid,
            before,
            latest: before,
            anonymous_bytes_max: before.anonymous_bytes,
        })
    }

    /// Looks again. Once the process is gone the last look stays.
    pub(crate) fn look(&mut self) {
        if let Some(sample) = sample(self.pid) {
            self.latest = sample;
            self.anonymous_bytes_max = self.anonymous_bytes_max.max(sample.anonymous_bytes);
        }
    }

    /// Forgets what came before.
    pub(crate) fn restart(&mut self) {
        self.look();
        self.before = self.latest;
        self.anonymous_bytes_max = self.latest.anonymous_bytes;
    }

    pub(crate) fn used(&self) -> ProcessUse {
        let (before, latest) = (&self.before, &self.latest);
        ProcessUse {
            pid: self.pid,
            program: program(self.pid),
            user_seconds: latest.user_seconds - before.user_seconds,
            system_seconds: latest.system_seconds - before.system_seconds,
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

/// Processor time of the whole host: all of it, and the idle part, in ticks.
pub(crate) fn host_ticks() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let numbers = stat.lines().next()?.split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.filter_map(|text| text.parse().ok()).collect();
    // user nice system idle iowait …; waiting for a disk is idle too.
    let idle = numbers.get(3)? + numbers.get(4)?;
    // Guests are counted in user and nice already.
    Some((numbers.iter().take(8).sum(), idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 222 13";
        assert_eq!(cpu_ticks(stat), Some((111, 222)));
        assert_eq!(cpu_ticks("7 (cut"), None);
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
        let (all, idle) = host_ticks().unwrap();
        assert!(idle <= all);
    }
}
