//! How many partitions this process can serve: beyond that topics are not made.
//!
//! A partition that nobody uses holds no descriptor and no map, and those of partitions in use are closed
//! in turn, so there may be a multiple of what can be open at once. Each one takes some memory, though, and
//! one that dies at start for want of it is no use to anybody.

use rustix::process::{Resource, getrlimit};
use tidewheel_storage::OpenLimits;

use crate::process::kib;

/// Partitions for each descriptor and each map that the logs may hold.
const PARTITIONS_PER_OPEN: u64 = 8;
/// Memory that a partition in use takes, in bytes, with some producers.
const BYTES_PER_PARTITION: u64 = 8 * 1024;
/// The share of the memory that partitions may take: one part in so many.
const MEMORY_SHARE: u64 = 4;
/// Maps of a process where the system does not say it: Linux's default.
const MAPS_DEFAULT: u64 = 65_530;

/// What the system grants the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// Descriptors.
    pub(crate) files: u64,
    /// Maps (`vm.max_map_count`).
    pub(crate) maps: u64,
    /// Bytes of memory.
    pub(crate) memory: u64,
}

impl Granted {
    /// As the system says now.
    pub(crate) fn to_this_process() -> Self {
        let number =
            |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
        // A container's own limit; "max" where it has none.
        let cgroup = number("/sys/fs/cgroup/memory.max").unwrap_or(u64::MAX);
        Self {
            files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            maps: number("/proc/sys/vm/max_map_count").unwrap_or(MAPS_DEFAULT),
            memory: kib("/proc/meminfo", "MemTotal:")
                .unwrap_or(u64::MAX)
                .min(cgroup),
        }
    }

    /// What logs may hold open. Half of the descriptors are for connections, and of the rest a part stays
    /// free for what is opened for a moment and for what cannot be closed before it is on disk.
    pub(crate) fn open_limits(self) -> OpenLimits {
        let whole = |count: u64| usize::try_from(count.max(1)).unwrap_or(usize::MAX);
        OpenLimits {
            files: whole(self.files / 8 * 3),
            maps: whole(self.maps / 4),
        }
    }
}

/// The most partitions there may be, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionBudget {
    /// Partitions of all topics.
    pub(crate) max: usize,
    /// What to raise for more.
    pub(crate) bound: &'static str,
}

impl PartitionBudget {
    /// `tidewheel.max.partitions` where that is set, or what the system's grants allow.
    pub(crate) fn new(max_partitions: i32, granted: Granted) -> Self {
        if let Ok(max) = usize::try_from(max_partitions) {
            let bound = "tidewheel.max.partitions";
            return Self { max, bound };
        }
        let open = granted.open_limits();
        let many = |count: usize| (count as u64).saturating_mul(PARTITIONS_PER_OPEN);
        let by_memory = granted.memory / MEMORY_SHARE / BYTES_PER_PARTITION;
        let bounds = [
            (many(open.files), "the limit of open files (ulimit -n)"),
            (
                many(open.maps),
                "the limit of memory maps (vm.max_map_count)",
            ),
            (by_memory, "the memory of this machine"),
        ];
        let [first, rest @ ..] = bounds;
        let least = rest.into_iter().fold(
            first,
            |least, bound| {
                if bound.0 < least.0 { bound } else { least }
            },
        );
        Self {
            max: usize::try_from(least.0).unwrap_or(usize::MAX),
            bound: least.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn budget(files: u64, maps: u64, memory: u64) -> PartitionBudget {
        let granted = Granted {
            files,
            maps,
            memory,
        };
        PartitionBudget::new(-1, granted)
    }

    #[test]
    fn the_scarcest_grant_decides() {
        let common = budget(20_000, 65_530, 23 * GIB);
        assert_eq!(
            (common.max, &common.bound[..22]),
            (60_000, "the limit of open file")
        );
        let small = budget(20_000, 65_530, GIB);
        assert_eq!(
            (small.max, small.bound),
            (32_768, "the memory of this machine")
        );
        let few_maps = budget(1 << 20, 65_530, 64 * GIB);
        assert_eq!(few_maps.max, 131_056);
        assert!(few_maps.bound.contains("max_map_count"));
        assert_eq!(budget(64, 65_530, GIB).max, 192);
        assert!(budget(u64::MAX, u64::MAX, u64::MAX).max > 1 << 40);
    }

    #[test]
    fn a_setting_beats_the_grants() {
        let granted = Granted::to_this_process();
        assert!(granted.files > 0 && granted.maps > 0 && granted.memory > 0);
        let set = PartitionBudget::new(7, granted);
        assert_eq!((set.max, set.bound), (7, "tidewheel.max.partitions"));
        assert_eq!(PartitionBudget::new(0, granted).max, 0);
    }
}
