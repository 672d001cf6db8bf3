//! Group commit: one round of `fdatasync` answers everybody who waits for the disk.
//!
//! Logs that were appended to are listed here. A round takes the list, notes the published end of
//! every log **before** it syncs anything, syncs, and only then moves the durable offsets to the noted
//! ends: bytes appended meanwhile belong to the next round, which starts as soon as this one ends.
//! No timer is needed for those who wait; [`DirtyState::is_due`] lets the caller bound the age of data
//! that nobody waits for.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;

use crate::error::StorageError;
use crate::flush_work::FlushWork;
use crate::intervals::has_passed;
use crate::log_dir::LogDir;
use crate::partition_log::PartitionLog;
use crate::shared_log::LogId;

/// What a log directory still has to sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirtyState {
    /// Somebody waits: a round is due now.
    pub waiters: bool,
    /// When the oldest unsynced byte was appended, ms since 1970.
    pub oldest_dirty_ms: Option<i64>,
    /// When `flush.ms` of some topic asks for a round, ms since 1970.
    pub due_ms: Option<i64>,
    /// Bytes appended since the last round began.
    pub unsynced_bytes: u64,
}

impl DirtyState {
    /// Whether a round is due at `now_ms` (ms since 1970): somebody waits, or `flush.ms` asks for it,
    /// or data is older than `age_max_ms`. A clock that was set back makes it due once.
    #[must_use]
    pub fn is_due(&self, age_max_ms: i64, now_ms: i64) -> bool {
        let old = |since_ms| has_passed(age_max_ms, since_ms, now_ms);
        self.waiters
            || self.due_ms.is_some_and(|due_ms| now_ms >= due_ms)
            || self.oldest_dirty_ms.is_some_and(old)
    }
}

/// What a round did.
#[derive(Debug, Default)]
pub struct FlushRound {
    /// The logs whose durable offset (and maybe high watermark) moved.
    pub advanced: Vec<LogId>,
    /// What kept a log from being synced. Mostly a failure that took the directory offline: nobody who still
    /// waits there will be answered. Where [`StorageError::is_out_of_descriptors`], the log waits for the
    /// next round, which is due.
    pub error: Option<StorageError>,
}

/// An append, as far as the next round is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirtyAppend {
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Whether a round is due at once.
    pub(crate) urgent: bool,
    /// When, ms since 1970.
    pub(crate) now_ms: i64,
    /// `flush.ms` of the topic, in ms.
    pub(crate) flush_ms: i64,
}

#[derive(Debug, Default)]
struct DirtyLogs {
    logs: Vec<Arc<PartitionLog>>,
    state: DirtyState,
}

/// The dirty logs of one log directory.
#[derive(Debug, Default)]
pub(crate) struct FlushCoalescer {
    dirty: Mutex<DirtyLogs>,
    /// Wakes whoever begins the rounds.
    waker: OnceLock<Waker>,
}

impl FlushCoalescer {
    /// Lists a log for the next round.
    pub(crate) fn mark(&self, log: &Arc<PartitionLog>, append: DirtyAppend) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if log.list_as_dirty() {
            dirty.logs.push(Arc::clone(log));
        }
        let state = &mut dirty.state;
        state.waiters |= append.urgent;
        state.unsynced_bytes += append.bytes;
        let oldest = state.oldest_dirty_ms.get_or_insert(append.now_ms);
        *oldest = append.now_ms.min(*oldest);
        let due_ms = append.now_ms.saturating_add(append.flush_ms);
        if due_ms < i64::MAX {
            let earliest = state.due_ms.get_or_insert(due_ms);
            *earliest = due_ms.min(*earliest);
        }
    }

    /// What waits for the next round.
    pub(crate) fn state(&self) -> DirtyState {
        self.dirty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .state
    }

    /// Begins a round: who appends from here on belongs to the next one.
    pub(crate) fn begin_round(&self, dir: &Arc<LogDir>) -> FlushWork {
        match dir.check_online() {
            Ok(()) => FlushWork::new(dir, self.take()),
            Err(error) => {
                let cause = dir.offline_cause().cloned().unwrap_or(error);
                FlushWork::refused(dir, cause)
            }
        }
    }

    /// Lists a log again whose sync could not begin: somebody may wait for it.
    pub(crate) fn put_back(&self, log: &Arc<PartitionLog>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if log.list_as_dirty() {
            dirty.logs.push(Arc::clone(log));
        }
        dirty.state.waiters = true;
    }

    /// From here on `waker` is woken where a round becomes due that no append asked for. The first one stays.
    pub(crate) fn wake_with(&self, waker: Waker) {
        self.waker.get_or_init(|| waker);
    }

    /// Makes a round due where there is something to sync, and wakes who begins it.
    pub(crate) fn urge(&self) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let becomes_due = !dirty.state.waiters && !dirty.logs.is_empty();
        dirty.state.waiters |= becomes_due;
        drop(dirty);
        if let Some(waker) = self.waker.get().filter(|_| becomes_due) {
            waker.wake_by_ref();
        }
    }

    /// Forgets all logs.
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// Takes the list; who appends from here on is listed again.
    fn take(&self) -> Vec<Arc<PartitionLog>> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *dirty);
        for log in &taken.logs {
            log.unlist_as_dirty();
        }
        taken.logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_due_for_a_waiter_for_flush_ms_and_for_age_also_after_the_clock_was_set_back() {
        let clean = DirtyState::default();
        assert!(!clean.is_due(10, i64::MAX));
        let dirty = DirtyState {
            oldest_dirty_ms: Some(100),
            ..clean
        };
        assert!(!dirty.is_due(10, 109) && dirty.is_due(10, 110));
        assert!(dirty.is_due(10, 99), "the clock was set back");
        let due_ms = Some(104);
        assert!(DirtyState { due_ms, ..dirty }.is_due(10, 104));
        assert!(!DirtyState { due_ms, ..dirty }.is_due(10, 103));
        let waiters = true;
        assert!(DirtyState { waiters, ..dirty }.is_due(10, 100));
    }
}
