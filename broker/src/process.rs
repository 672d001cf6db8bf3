//! What the system says about this process and its machine.

use std::fs;

/// Facts that change all the time. What the system does not tell is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    /// Processors that it may use.
    pub(crate) cores: Option<usize>,
    /// Memory of the machine.
    pub(crate) memory_total_bytes: Option<u64>,
    /// Its own memory that is resident, without pages of mapped files.
    pub(crate) memory_resident_bytes: Option<u64>,
    /// Descriptors that are open.
    pub(crate) open_files: Option<usize>,
    /// Descriptors that may be open.
    pub(crate) open_files_max: Option<u64>,
}

impl ProcessFacts {
    /// Those of this process. Reads files of `/proc`.
    pub(crate) fn of_this_one() -> Self {
        use rustix::process::{Resource, getrlimit};
        let cores = std::thread::available_parallelism();
        Self {
            cores: cores.ok().map(|cores| cores.get()),
            memory_total_bytes: kib("/proc/meminfo", "MemTotal:"),
            memory_resident_bytes: memory_resident_bytes(),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            open_files_max: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Memory of this process that is resident, without pages of mapped files. Reads a file of `/proc`.
pub(crate) fn memory_resident_bytes() -> Option<u64> {
    kib("/proc/self/status", "RssAnon:")
}

/// A line `NAME  NUMBER kB`, in bytes.
pub(crate) fn kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_everything() {
        let facts = ProcessFacts::of_this_one();
        assert!(facts.cores.is_some() && facts.open_files_max.is_some());
        assert!(facts.memory_total_bytes > facts.memory_resident_bytes);
        assert!(facts.open_files.is_some_and(|files| files > 2));
        assert_eq!(kib("/proc/meminfo", "Nonsense:"), None);
        assert_eq!(kib("/nonexistent", "MemTotal:"), None);
    }
}
