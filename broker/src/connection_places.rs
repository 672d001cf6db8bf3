//! `max.connections`: how many connections there may be at once, also where that changes while the broker runs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Places for connections, as many as there may be.
#[derive(Debug)]
pub(crate) struct ConnectionPlaces {
    most: AtomicUsize,
    taken: AtomicUsize,
    /// A place is free, or there are more.
    freed: Notify,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace(Arc<ConnectionPlaces>);

impl ConnectionPlaces {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// At most so many from now on. Where more are taken they stay so until they are given back.
    pub(crate) fn allow(&self, most: usize) {
        if self.most.swap(most, Ordering::AcqRel) < most {
            self.freed.notify_waiters();
        }
    }

    /// Takes a place, when there is one. Cancel-safe.
    pub(crate) async fn take(self: &Arc<Self>) -> ConnectionPlace {
        loop {
            // Before the look: what is freed after it is heard of.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.is_taken() {
                return ConnectionPlace(Arc::clone(self));
            }
            freed.await;
        }
    }

    /// Takes one that is free.
    fn is_taken(&self) -> bool {
        let most = self.most.load(Ordering::Acquire);
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
        self.taken.fetch_update(set, read, more).is_ok()
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        // One waiter a listener at most.
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn there_are_as_many_as_is_allowed_last() {
        let places = ConnectionPlaces::new(1);
        let first = places.take().await;
        let mut second = Box::pin(places.take());
        assert!(second.as_mut().now_or_never().is_none());
        places.allow(2);
        let second = second.await;
        places.allow(1);
        drop(first);
        let mut third = Box::pin(places.take());
        assert!(
            third.as_mut().now_or_never().is_none(),
            "one is taken still"
        );
        drop(second);
        let third = third.await;
        places.allow(0);
        drop(third);
        assert!(places.take().now_or_never().is_none());
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
