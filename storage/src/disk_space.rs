//! The free space of a log directory: what clients' records may still take of it, and what goes early
//! where there is little.
//!
//! Two watermarks. Below the higher one room is made: by retention, which then runs all the time and may
//! take records that their topic lets go early, and by unlinking deleted files at once. What lies
//! below the lower one is a reserve for the broker's own logs, so that groups commit, topics are deleted
//! and a start finds room while clients' records are refused.
//!
//! A part of the reserve is taken by a file ([`crate::ballast`]) and counts as free here; so it is there also
//! where other programs have filled the disk.
//!
//! Free space is looked at by whoever owns the manager, again and again, whenever clients have written
//! [`LOOK_BYTES`], and before a batch is refused: neither a fast producer nor another program gets through to
//! the reserve between two looks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tidewheel_config::LogConfig;
use tidewheel_protocol::TopicPartition;

use crate::error::StorageError;
use crate::fs::DiskSpace;
use crate::log::RetentionOutcome;
use crate::log_dir::LogDir;
use crate::log_manager::LogManager;
use crate::partition_log::PartitionLog;

/// The largest share of a file system that lies below the higher watermark: one part in so many.
const LOW_SHARE: u64 = 10;
/// The same of the reserve.
const RESERVED_SHARE: u64 = 20;
/// The largest share of the reserve that is taken ahead of need: one part in so many.
const BALLAST_SHARE: u64 = 4;
/// Bytes of clients' records after which the free space is looked at: a system call of some microseconds.
const LOOK_BYTES: i64 = 4 << 20;

/// The watermarks of every log directory, in bytes of free space. On a small file system they are lower: a
/// tenth and a twentieth of its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Room is made below it; 0 for never.
    pub low_bytes: u64,
    /// Clients' records are refused below it; 0 for never.
    pub reserved_bytes: u64,
    /// What a file takes of the reserve ahead of need, a quarter of it at most; 0 for nothing.
    pub ballast_bytes: u64,
}

impl SpaceLimits {
    /// Those of a file system of this size.
    pub(crate) fn on(self, total_bytes: u64) -> Self {
        let reserved_bytes = self.reserved_bytes.min(total_bytes / RESERVED_SHARE);
        let low_bytes = match self.low_bytes {
            0 => 0,
            low => low.min(total_bytes / LOW_SHARE).max(reserved_bytes),
        };
        Self {
            low_bytes,
            reserved_bytes,
            ballast_bytes: self.ballast_bytes.min(reserved_bytes / BALLAST_SHARE),
        }
    }
}

/// How a log directory stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceState {
    /// Free space is below the higher watermark.
    pub is_low: bool,
    /// Clients' records are refused, or some were since the last time.
    pub is_full: bool,
}

/// What is known of the free space of a log directory.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    limits: SpaceLimits,
    /// Bytes of clients' records until the next look.
    unlooked: AtomicI64,
    /// Bytes that are missing to the higher watermark.
    lacking: AtomicU64,
    /// Only the reserve was left at the last look, or records were refused since somebody asked.
    full: AtomicBool,
    /// What the last look saw; nothing where the total is 0.
    seen_total_bytes: AtomicU64,
    seen_free_bytes: AtomicU64,
}

impl SpaceWatch {
    /// Nothing is known yet: the first batch looks.
    pub(crate) fn new(limits: SpaceLimits) -> Self {
        Self {
            limits,
            unlooked: AtomicI64::new(0),
            lacking: AtomicU64::new(0),
            full: AtomicBool::new(false),
            seen_total_bytes: AtomicU64::new(0),
            seen_free_bytes: AtomicU64::new(0),
        }
    }

    /// Takes note of the free space, to which the ballast adds `held`; returns how many bytes of it clients'
    /// records may take.
    fn note(&self, mut space: DiskSpace, held: u64) -> u64 {
        self.seen_free_bytes
            .store(space.free_bytes, Ordering::Relaxed);
        self.seen_total_bytes
            .store(space.total_bytes, Ordering::Relaxed);
        space.free_bytes = space.free_bytes.saturating_add(held);
        let limits = self.limits.on(space.total_bytes);
        let room = match limits.reserved_bytes {
            0 => u64::MAX,
            reserved => space.free_bytes.saturating_sub(reserved),
        };
        let unlooked = i64::try_from(room).unwrap_or(i64::MAX).min(LOOK_BYTES);
        self.unlooked.store(unlooked, Ordering::Relaxed);
        let lacking = limits.low_bytes.saturating_sub(space.free_bytes);
        self.lacking.store(lacking, Ordering::Relaxed);
        if room == 0 {
            self.full.store(true, Ordering::Relaxed);
        }
        room
    }

    /// Counts bytes of clients' records; false where it is time to look.
    fn take(&self, bytes: i64) -> bool {
        // Two at once may both find room for one: that is less than the reserve by far.
        let known = bytes <= self.unlooked.load(Ordering::Relaxed);
        if known {
            self.unlooked.fetch_sub(bytes, Ordering::Relaxed);
        }
        known
    }

    /// The size of the file system as it was seen last, if it was.
    fn seen(&self) -> Option<DiskSpace> {
        let space = DiskSpace {
            total_bytes: self.seen_total_bytes.load(Ordering::Relaxed),
            free_bytes: self.seen_free_bytes.load(Ordering::Relaxed),
        };
        (space.total_bytes > 0).then_some(space)
    }

    /// The next batch looks.
    pub(crate) fn forget(&self) {
        self.unlooked.store(0, Ordering::Relaxed);
    }

    /// Whether room is to be made.
    pub(crate) fn is_low(&self) -> bool {
        self.lacking.load(Ordering::Relaxed) > 0
    }
}

impl LogDir {
    /// Looks at the free space; returns how many bytes of it clients' records may take. Where it cannot
    /// be told, the writes will.
    pub(crate) fn look_at_space(&self) -> u64 {
        let held = self.ballast().held();
        let Ok(space) = self.fs().space(self.path()) else {
            return u64::MAX;
        };
        if space.free_bytes < held {
            self.release_ballast();
        }
        self.space().note(space, held)
    }

    /// Counts bytes of clients' records that are about to be written.
    ///
    /// # Errors
    /// `NoRoom` where only the reserve is left.
    pub(crate) fn take_room(&self, bytes: u64) -> Result<(), StorageError> {
        let counted = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.space().take(counted) {
            return Ok(());
        }
        if bytes <= self.look_at_space() {
            self.space().unlooked.fetch_sub(counted, Ordering::Relaxed);
            return Ok(());
        }
        self.space().full.store(true, Ordering::Relaxed);
        Err(self.no_room())
    }

    /// Fails where so many bytes more, which stand beside what they replace for a while, would leave less
    /// than half of the reserve. The logs of groups have to be compacted also when clients have filled
    /// the rest: what commits write there comes from the reserve.
    pub(crate) fn check_room_for_a_while(&self, bytes: u64) -> Result<(), StorageError> {
        let Ok(space) = self.fs().space(self.path()) else {
            return Ok(());
        };
        let kept = self.space().limits.on(space.total_bytes).reserved_bytes / 2;
        let kept_free = kept.saturating_sub(self.ballast().held());
        match bytes <= space.free_bytes.saturating_sub(kept_free) {
            true => Ok(()),
            false => Err(self.no_room()),
        }
    }

    /// How it stands; what was refused is told once.
    fn space_state(&self) -> SpaceState {
        let refused = self.space().full.swap(false, Ordering::Relaxed);
        self.look_at_space();
        if let Ok(space) = self.fs().space(self.path()) {
            let limits = self.space().limits.on(space.total_bytes);
            self.keep_ballast(limits.ballast_bytes, limits.reserved_bytes, space);
        }
        SpaceState {
            is_low: self.space().is_low(),
            is_full: refused || self.space().full.load(Ordering::Relaxed),
        }
    }

    fn no_room(&self) -> StorageError {
        StorageError::NoRoom {
            dir: self.path().to_path_buf(),
        }
    }
}

/// A segment that may go early, with those before it.
#[derive(Clone, Copy, Debug)]
struct SpareSegment {
    /// When the youngest record up to its end is from, ms since 1970.
    dated_ms: i64,
    /// Bytes of its `.log` file.
    bytes: u64,
}

/// The moment before which records go, so that at least `lacking` bytes become free, or all that may go;
/// `None` where nothing has to or may.
fn cutoff_ms(mut spare: Vec<SpareSegment>, mut lacking: u64) -> Option<i64> {
    spare.sort_unstable_by_key(|segment| segment.dated_ms);
    let mut cutoff = None;
    for segment in spare {
        if lacking == 0 {
            break;
        }
        cutoff = Some(segment.dated_ms);
        lacking = lacking.saturating_sub(segment.bytes);
    }
    cutoff
}

impl PartitionLog {
    /// The segments that retention would not take yet but may go early, from the oldest on.
    fn spare_segments(&self, now_ms: i64) -> Vec<SpareSegment> {
        let Some(config) = self.early_config(i64::MAX, now_ms) else {
            return Vec::new();
        };
        let mut youngest_ms = i64::MIN;
        let (spare, _) = self.lock().expired(&config, now_ms);
        spare
            .into_iter()
            .map(|facts| {
                youngest_ms = youngest_ms.max(facts.max_timestamp);
                SpareSegment {
                    dated_ms: youngest_ms,
                    bytes: facts.bytes,
                }
            })
            .collect()
    }

    /// Takes segments out of the log whose records are no younger than `cutoff_ms` and may go early.
    fn retain_early(&self, cutoff_ms: i64, now_ms: i64) -> Result<RetentionOutcome, StorageError> {
        let Some(config) = self.early_config(cutoff_ms, now_ms) else {
            return Ok(RetentionOutcome::default());
        };
        let _maintenance = self.maintenance();
        self.lock_with_room().apply_retention(&config, now_ms)
    }

    /// The settings with the `retention.ms` under which records no younger than `cutoff_ms` go that may go
    /// early; `None` where none may.
    fn early_config(&self, cutoff_ms: i64, now_ms: i64) -> Option<LogConfig> {
        let config = self.config().load();
        // What takes nothing any more gives nothing away either.
        let is_refused = self.lock().refusal().is_some();
        if is_refused || !config.cleanup_policy.delete || config.low_disk_retention_ms < 0 {
            return None;
        }
        // Retention takes what is older than that, not as old.
        let cutoff_age_ms = now_ms.saturating_sub(cutoff_ms).saturating_sub(1);
        Some(LogConfig {
            retention_ms: cutoff_age_ms.max(config.low_disk_retention_ms),
            ..LogConfig::clone(&config)
        })
    }
}

impl<W> LogManager<W> {
    /// Looks at the free space of all log directories and tells how they stand, in their order. Whoever
    /// owns the manager calls it about once a second.
    pub fn watch_space(&self) -> Vec<SpaceState> {
        let dirs = self.dirs.iter();
        dirs.map(|managed| managed.dir.space_state()).collect()
    }

    /// The size of the file system of a log directory as it was seen last, if it was. Does not touch the disk.
    #[must_use]
    pub fn seen_space(&self, dir: usize) -> Option<DiskSpace> {
        self.dirs.get(dir)?.dir.space().seen()
    }

    /// Takes segments out of logs whose topics let them go early, the oldest first and no more than
    /// it takes, where free space was low at the last look. The next checkpoint renames their files, and
    /// [`LogManager::unlink_deleted`] unlinks them at once. Tells of the logs that lost something and of
    /// those that failed.
    pub fn retain_early(
        &self,
        now_ms: i64,
    ) -> Vec<(TopicPartition, Result<RetentionOutcome, StorageError>)> {
        let mut told = Vec::new();
        for (number, managed) in self.dirs.iter().enumerate() {
            let lacking = managed.dir.space().lacking.load(Ordering::Relaxed);
            if lacking == 0 {
                continue;
            }
            let logs = self.logs_of(number);
            // What left a log already is not free yet.
            let leaving: u64 = logs.iter().map(|log| log.lock().doomed_bytes()).sum();
            let spare = logs.iter().flat_map(|log| log.spare_segments(now_ms));
            let Some(cutoff_ms) = cutoff_ms(spare.collect(), lacking.saturating_sub(leaving))
            else {
                continue;
            };
            for log in &logs {
                match log.retain_early(cutoff_ms, now_ms) {
                    Ok(outcome) if outcome.deleted_segments() == 0 => {}
                    outcome => told.push((log.tp().clone(), outcome)),
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn watermarks_are_shares_of_a_small_disk_and_never_cross() {
        let limits = SpaceLimits {
            low_bytes: 4 * GIB,
            reserved_bytes: GIB,
            ballast_bytes: GIB / 4,
        };
        assert_eq!(limits.on(1_000 * GIB), limits);
        let small = limits.on(10 * GIB);
        assert_eq!((small.low_bytes, small.reserved_bytes), (GIB, GIB / 2));
        assert_eq!(small.ballast_bytes, GIB / 8, "a quarter of the reserve");
        let crossed = SpaceLimits {
            low_bytes: 1,
            ..limits
        };
        assert_eq!(crossed.on(1_000 * GIB).low_bytes, GIB);
        assert_eq!(SpaceLimits::default().on(GIB), SpaceLimits::default());
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_it_takes() {
        let spare = |dated_ms, bytes| SpareSegment { dated_ms, bytes };
        let all = vec![spare(30, 10), spare(10, 10), spare(20, 10)];
        assert_eq!(cutoff_ms(all.clone(), 0), None);
        assert_eq!(cutoff_ms(all.clone(), 1), Some(10));
        assert_eq!(cutoff_ms(all.clone(), 11), Some(20));
        assert_eq!(cutoff_ms(all, 1_000), Some(30));
        assert_eq!(cutoff_ms(Vec::new(), 1_000), None);
    }
}
