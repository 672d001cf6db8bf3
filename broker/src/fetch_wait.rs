//! Fetches that wait for data: one counter of missing bytes per fetch, one list per partition.
//!
//! A fetch puts the same [`FetchWait`] on the list of every partition it asks for, *then* reads. An
//! append that becomes visible subtracts its bytes from the counter of each fetch on the list; the
//! crossing to zero wakes the fetch, once. So an append costs one subtraction per waiting fetch, and
//! a fetch over a thousand partitions is woken by whichever of them fills it, without a re-scan.
//! Bytes that arrive between the registration and the read are counted twice: the fetch then wakes
//! too early, reads again, and waits for what is still missing.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

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
    /// The partition's visible bytes that every fetch on the list has been told of.
    bytes_told: u64,
}

/// The fetches that wait on one partition.
#[derive(Debug, Default)]
pub(crate) struct FetchWaits {
    /// Length of the list, so that an append with nobody waiting takes no lock. `SeqCst` on both
    /// sides: either the append sees the fetch, or the fetch's read sees the append.
    count: AtomicUsize,
    list: Mutex<List>,
}

impl FetchWaits {
    /// Puts a fetch on the list; `visible_bytes` is the partition's counter now.
    pub(crate) fn register(&self, wait: &Arc<FetchWait>, visible_bytes: u64) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.waits.is_empty() {
            list.bytes_told = visible_bytes;
        }
        list.waits.push(Arc::clone(wait));
        self.count.store(list.waits.len(), Ordering::SeqCst);
    }

    /// Takes a fetch off the list.
    pub(crate) fn deregister(&self, wait: &Arc<FetchWait>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.waits.retain(|other| !Arc::ptr_eq(other, wait));
        self.count.store(list.waits.len(), Ordering::SeqCst);
    }

    /// Tells the waiting fetches that the partition's counter of visible bytes stands at `visible_bytes`.
    pub(crate) fn advanced(&self, visible_bytes: u64) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = visible_bytes.saturating_sub(list.bytes_told);
        if grown == 0 {
            return;
        }
        list.bytes_told = visible_bytes;
        for wait in &list.waits {
            wait.arrived(grown);
        }
    }

    /// Wakes every waiting fetch: the partition is gone or its disk failed.
    pub(crate) fn interrupt_all(&self) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for wait in &list.waits {
            wait.interrupt();
        }
    }

    /// How many fetches wait here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_woken(wait: &FetchWait) -> bool {
        use std::future::Future;
        let mut future = std::pin::pin!(wait.enough());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn a_fetch_wakes_when_the_last_missing_byte_arrives_and_only_once() {
        let waits = FetchWaits::default();
        let wait = FetchWait::new(100);
        waits.register(&wait, 1_000);
        waits.advanced(1_060);
        assert!(!is_woken(&wait));
        waits.advanced(1_100);
        assert!(is_woken(&wait));
        waits.advanced(1_500);
        assert!(!is_woken(&wait), "one crossing, one wake-up");
    }

    #[test]
    fn bytes_from_several_partitions_count_together() {
        let (one, two) = (FetchWaits::default(), FetchWaits::default());
        let wait = FetchWait::new(10);
        one.register(&wait, 0);
        two.register(&wait, 7);
        one.advanced(5);
        two.advanced(12);
        assert!(is_woken(&wait));
    }

    #[test]
    fn a_second_fetch_is_not_told_of_bytes_that_came_before_it() {
        let waits = FetchWaits::default();
        let first = FetchWait::new(1_000);
        waits.register(&first, 0);
        waits.advanced(50);
        let second = FetchWait::new(50);
        waits.register(&second, 50);
        waits.advanced(60);
        assert!(!is_woken(&second));
        waits.advanced(100);
        assert!(is_woken(&second));
    }

    #[test]
    fn a_deregistered_fetch_is_left_alone_and_an_interrupt_wakes_the_rest() {
        let waits = FetchWaits::default();
        let (gone, stays) = (FetchWait::new(1), FetchWait::new(usize::MAX));
        waits.register(&gone, 0);
        waits.register(&stays, 0);
        waits.deregister(&gone);
        assert_eq!(waits.len(), 1);
        waits.interrupt_all();
        assert!(!is_woken(&gone));
        assert!(is_woken(&stays));
    }
}
