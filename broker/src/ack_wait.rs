//! Producers that wait for the disk, in the order of the offsets they wait for.
//!
//! A flush publishes the durable offset, *then* takes who is done. A producer appends, puts itself on
//! the list, *then* looks at the durable offset itself: a flush that ended in between has passed it by.
//! Both go through the list's mutex, so one of the two sees the other.

use std::collections::VecDeque;

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The list is looked through for those who are gone when it has this many entries, and then each
/// time it has doubled.
const PRUNE_MIN: usize = 64;

#[derive(Debug)]
struct List<T> {
    /// The offset that the durable offset must reach, and who waits for it; lowest first.
    waiters: VecDeque<(i64, T)>,
    prune_at: usize,
}

/// The producers that wait on one partition.
#[derive(Debug)]
pub(crate) struct AckWaits<T> {
    /// At most twice as long as there are requests in flight, see `prune_at`.
    list: Mutex<List<T>>,
}

impl<T> Default for AckWaits<T> {
    fn default() -> Self {
        let list = List {
            waiters: VecDeque::new(),
            prune_at: PRUNE_MIN,
        };
        Self {
            list: Mutex::new(list),
        }
    }
}

impl<T> AckWaits<T> {
    /// Lets `waiter` wait until everything before `end_offset` is on the disk. `is_gone` tells those
    /// whom nobody listens to any more: while a disk hangs they are all that leaves the list.
    pub(crate) fn push(&self, end_offset: i64, waiter: T, is_gone: impl Fn(&T) -> bool) {
        let mut list = self.lock();
        if list.waiters.len() >= list.prune_at {
            list.waiters.retain(|(_, waiter)| !is_gone(waiter));
            list.prune_at = (2 * list.waiters.len()).max(PRUNE_MIN);
        }
        // At the end, except for appends that overtook one another on their way here and for repeats.
        let at = list.waiters.partition_point(|(end, _)| *end <= end_offset);
        list.waiters.insert(at, (end_offset, waiter));
    }

    /// Takes those whose offset `durable` has reached.
    pub(crate) fn take_done(&self, durable: i64) -> Vec<T> {
        let mut list = self.lock();
        let done = list.waiters.partition_point(|(end, _)| *end <= durable);
        list.waiters
            .drain(..done)
            .map(|(_, waiter)| waiter)
            .collect()
    }

    /// Takes everybody.
    pub(crate) fn take_all(&self) -> Vec<T> {
        self.take_done(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, List<T>> {
        // Nothing in the critical sections panics; a poisoned list is still a good list.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
