//! How many files and maps the logs hold, and who closes some where they are too many.
//!
//! A partition that nobody reads or writes holds none: the owner of the manager closes the files of idle
//! ones. These limits are for the moments in between, and for more partitions in use than the process has
//! descriptors or the system gives it maps. Whoever opens one too many closes those of partitions that
//! were not used for the longest: they stand in a queue in the order in which they were opened, and one
//! that was used since it was looked at last goes to its end (the clock algorithm).
//!
//! Limits are soft. What is not on the disk yet cannot be closed; then a flush is due, and the file is
//! opened all the same. Room is made before or after the mutex of a log is held, so that nobody who waits for that
//! log waits for the files of others; only where a log is opened for its first append, or its records have no
//! timestamps and their age is that of the file, room is made under it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::partition_dir::PartitionDir;

/// Partitions that one opening looks at, at most.
const LOOKS_MAX: usize = 64;

/// How many files and maps all logs of a manager may hold. The limits are soft: what waits for the disk
/// stays open until the next flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLimits {
    /// Open segment files.
    pub files: usize,
    /// Maps of segments and of their indexes.
    pub maps: usize,
}

impl Default for OpenLimits {
    fn default() -> Self {
        Self {
            files: usize::MAX,
            maps: usize::MAX,
        }
    }
}

/// How many files and maps the logs hold now. Maps that only readers still look at are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenCounts {
    /// Open segment files.
    pub files: usize,
    /// Maps of segments and of their indexes.
    pub maps: usize,
}

/// The files and maps of a manager's logs.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    limits: OpenLimits,
    files: AtomicUsize,
    maps: AtomicUsize,
    /// Partitions that may hold some, the one that was opened first at the front.
    queue: Mutex<VecDeque<Weak<PartitionDir>>>,
}

impl OpenFiles {
    pub(crate) fn new(limits: OpenLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(crate) fn counts(&self) -> OpenCounts {
        OpenCounts {
            files: self.files.load(Ordering::Relaxed),
            maps: self.maps.load(Ordering::Relaxed),
        }
    }

    /// Whether one more file or map is more than the limits allow.
    pub(crate) fn is_full(&self) -> bool {
        let counts = self.counts();
        counts.files >= self.limits.files || counts.maps >= self.limits.maps
    }

    /// Notes that a partition may hold files from here on. It calls this only while it is not queued.
    pub(crate) fn opened(&self, dir: &Arc<PartitionDir>) {
        self.queue().push_back(Arc::downgrade(dir));
    }

    /// Closes files of partitions that were not used for long, until there is room for one more or
    /// enough was looked at. Waits for no lock that a log's owner may hold.
    pub(crate) fn make_room(&self) {
        for _ in 0..LOOKS_MAX {
            if !self.is_full() {
                return;
            }
            let Some(next) = self.queue().pop_front() else {
                return;
            };
            let Some(dir) = next.upgrade() else { continue };
            dir.unqueued();
            if !dir.close_unused() {
                dir.queue_up();
            }
        }
    }

    /// Forgets those that were closed otherwise or are gone.
    pub(crate) fn forget_closed(&self) {
        self.queue().retain(|queued| {
            let dir = queued.upgrade();
            let open = dir.as_ref().is_some_and(|dir| dir.is_open());
            if let Some(dir) = dir.filter(|_| !open) {
                dir.unqueued();
            }
            open
        });
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<PartitionDir>>> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file, as long as this lives.
#[derive(Debug)]
pub(crate) struct CountedFile(Arc<OpenFiles>);

impl CountedFile {
    pub(crate) fn new(open: &Arc<OpenFiles>) -> Self {
        open.files.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }

    /// As [`OpenFiles::make_room`], before the file is mapped.
    pub(crate) fn make_room_for_map(&self) {
        self.0.make_room();
    }

    /// A map of the file.
    pub(crate) fn map(&self) -> CountedMap {
        CountedMap::new(&self.0)
    }
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        self.0.files.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A map, as long as this lives.
#[derive(Debug)]
pub(crate) struct CountedMap(Arc<OpenFiles>);

impl CountedMap {
    pub(crate) fn new(open: &Arc<OpenFiles>) -> Self {
        open.maps.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for CountedMap {
    fn drop(&mut self) {
        self.0.maps.fetch_sub(1, Ordering::Relaxed);
    }
}
