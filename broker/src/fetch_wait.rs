//! Fetches that wait for data: one counter of missing bytes per fetch, one list per partition.
//!
//! A fetch puts the same [`FetchWait`] on the list of every partition it asks for, *then* reads. An
//! append that becomes visible subtracts its bytes from the counter of each fetch on the list; the
//! crossing to zero wakes the fetch, once. So an append costs one subtraction per waiting fetch, and
//! a fetch over a thousand partitions is woken by whichever of them fills it, without a re-scan.
//! Bytes that arrive between the registration and the read are counted twice: the fetch then wakes
//! too early, reads again, and waits for what is still missing. A fetch is woken too when the log goes
//! on in a new segment: what it can get from the old one grows no more.
//!
//! **No wake-up is lost.** A fetch stores `count`, fences, and reads the log; an append publishes,
//! fences, and loads `count`. Of two sequentially consistent fences one comes first: either the read
//! sees what was published, or the append sees the fetch. `broker/tests/model/` tries every
//! interleaving of the code in this file.

use tidewheel_storage::VisibleEnd;

use crate::sync::atomic::{AtomicI64, AtomicUsize, Ordering, fence};
use crate::sync::{Arc, Mutex, MutexGuard, Notify, PoisonError};

/// One waiting fetch.
#[derive(Debug)]
pub(crate) struct FetchWait {
    missing_bytes: AtomicI64,
    wake: Notify,
}

impl FetchWait {
    /// A fetch that wants `bytes` more before it answers.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        let missing_bytes = AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        Arc::new(Self {
            missing_bytes,
            wake: Notify::new(),
        })
    }

    /// Counts `bytes` as arrived; wakes the fetch when nothing is missing any more.
    pub(crate) fn arrived(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.missing_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.wake.notify_one();
        }
    }

    /// Wakes the fetch whatever is missing: an error is waiting for it.
    fn interrupt(&self) {
        self.wake.notify_one();
    }

    /// Resolves when enough has arrived. Cancel-safe: a wake-up is kept until it is taken.
    pub(crate) async fn enough(&self) {
        self.wake.notified().await;
    }
}

#[derive(Debug, Default)]
struct List {
    waits: Vec<Arc<FetchWait>>,
    /// What every fetch on the list has been told of.
    told: VisibleEnd,
}

/// The fetches that wait on one partition.
#[derive(Debug, Default)]
pub(crate) struct FetchWaits {
    /// Length of the list, so that an append with nobody waiting takes no lock. Its stores and loads
    /// are ordered by the fences beside them.
    count: AtomicUsize,
    list: Mutex<List>,
}

impl FetchWaits {
    /// Puts a fetch on the list; `visible` is how far the partition shows its log now. Whatever the
    /// fetch reads after this, it sees or is woken for.
    pub(crate) fn register(&self, wait: &Arc<FetchWait>, visible: VisibleEnd) {
        let mut list = self.lock();
        if list.waits.is_empty() {
            list.told = visible;
        }
        list.waits.push(Arc::clone(wait));
        self.count.store(list.waits.len(), Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Takes a fetch off the list.
    pub(crate) fn deregister(&self, wait: &Arc<FetchWait>) {
        let mut list = self.lock();
        list.waits.retain(|other| !Arc::ptr_eq(other, wait));
        // An append that still sees the old length takes the lock in vain.
        self.count.store(list.waits.len(), Ordering::Relaxed);
    }

    /// Tells the waiting fetches that the partition shows its log as far as `visible`, which was
    /// published before the call.
    pub(crate) fn advanced(&self, visible: VisibleEnd) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut list = self.lock();
        let grown = visible.bytes.saturating_sub(list.told.bytes);
        let rolled = visible.segment_base > list.told.segment_base;
        list.told.bytes += grown;
        if rolled {
            list.told.segment_base = visible.segment_base;
            list.waits.iter().for_each(|wait| wait.interrupt());
        } else if grown > 0 {
            list.waits.iter().for_each(|wait| wait.arrived(grown));
        }
    }

    /// Wakes every waiting fetch: the partition is gone or its disk failed.
    pub(crate) fn interrupt_all(&self) {
        self.lock().waits.iter().for_each(|wait| wait.interrupt());
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing in the critical sections panics.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
