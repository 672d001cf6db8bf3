//! Two bounds on memory that outsiders can ask for: request bytes (`queued.max.request.bytes`), counted as
//! they arrive, and large answers (`limits::ANSWER_BYTES_MAX`), counted before they are made.
//!
//! An announced length reserves nothing: a hundred peers that announce 100 MB and send ten bytes
//! cost ten bytes each. Every connection may hold a first small piece outside the pool (see
//! `limits::FREE_BYTES_PER_CONNECTION`), so that small requests are served while large ones fill it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The pool counts in units of this many bytes, so that its permits fit a 32-bit count.
const UNIT_BYTES: usize = 1024;

/// A counted pool of memory, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct MemoryPool {
    permits: Arc<Semaphore>,
    units: usize,
    /// A place for a request that may be read to its end although the pool is empty. Without it,
    /// requests that are each half read could fill the pool and wait for one another.
    overdraft: Arc<Semaphore>,
    /// How many wait for memory or were let through without it.
    short: Arc<watch::Sender<usize>>,
}

/// A share of the pool, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct MemoryShare {
    permit: Option<OwnedSemaphorePermit>,
    overdraft: Option<(OwnedSemaphorePermit, Short)>,
}

/// Somebody has not been given the memory it needs.
#[derive(Debug)]
struct Short(Arc<watch::Sender<usize>>);

impl Short {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl MemoryShare {
    /// Whether it holds anything that others may wait for.
    pub(crate) fn is_counted(&self) -> bool {
        self.permit.is_some() || self.overdraft.is_some()
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
    }

    /// Gives back what goes beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let surplus = permit
                .num_permits()
                .saturating_sub(bytes.div_ceil(UNIT_BYTES));
            drop(permit.split(surplus));
        }
    }
}

impl MemoryPool {
    /// A pool of `bytes` for what grows piece by piece: one at a time may take more than there is.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::with_overdrafts(bytes, 1)
    }

    /// A pool of `bytes` for what is taken at once. A share may still stand behind one who waits, on its
    /// connection: the bound on waiting (`limits::ANSWER_WAIT`) ends that.
    pub(crate) fn strict(bytes: usize) -> Self {
        Self::with_overdrafts(bytes, 0)
    }

    fn with_overdrafts(bytes: usize, overdrafts: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(units)),
            units,
            overdraft: Arc::new(Semaphore::new(overdrafts)),
            short: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Resolves when somebody waits for memory or was let through without it: who can do with less gives
    /// it back then. Cancel-safe: it takes nothing.
    pub(crate) async fn is_short(&self) {
        // The sender lives as long as this does.
        drop(self.short.subscribe().wait_for(|count| *count > 0).await);
    }

    /// Grows `share` until it covers `bytes`, waiting for others to give back if it must.
    /// A single request larger than the whole pool gets all of it: it may proceed, alone. And where the
    /// pool is not strict, one of those that would wait is let through uncounted, so that somebody always
    /// gets on.
    pub(crate) async fn grow(&self, share: &mut MemoryShare, bytes: usize) {
        let wanted = bytes.div_ceil(UNIT_BYTES).min(self.units);
        let held = share
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(wanted.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        if let Ok(more) = Arc::clone(&self.permits).try_acquire_many_owned(missing) {
            share.add(more);
            return;
        }
        let short = Short::new(&self.short);
        // Both arms may be dropped while they wait: a place in a queue is all that is lost. The
        // semaphores are never closed, so neither arm fails.
        tokio::select! {
            biased;
            Ok(more) = Arc::clone(&self.permits).acquire_many_owned(missing) => share.add(more),
            Ok(alone) = Arc::clone(&self.overdraft).acquire_owned() => {
                share.overdraft = Some((alone, short));
            }
            else => {}
        }
    }

    /// A share of `bytes`, if it is free now.
    pub(crate) fn try_share(&self, bytes: usize) -> Option<MemoryShare> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(units);
        Some(MemoryShare {
            permit: Some(permit.ok()?),
            overdraft: None,
        })
    }

    /// Bytes that are free now.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.permits.available_permits() * UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What it is resolved to, if it is.
    fn now<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_share_grows_to_what_is_asked_and_comes_back_when_dropped() {
        let pool = MemoryPool::new(64 * UNIT_BYTES);
        let mut share = MemoryShare::default();
        pool.grow(&mut share, 1).await;
        pool.grow(&mut share, 10 * UNIT_BYTES).await;
        pool.grow(&mut share, 5 * UNIT_BYTES).await;
        assert_eq!(pool.free_bytes(), 54 * UNIT_BYTES);
        share.shrink(4 * UNIT_BYTES);
        assert_eq!(pool.free_bytes(), 60 * UNIT_BYTES);
        share.shrink(9 * UNIT_BYTES);
        assert_eq!(pool.free_bytes(), 60 * UNIT_BYTES);
        drop(share);
        assert_eq!(pool.free_bytes(), 64 * UNIT_BYTES);
    }

    #[test]
    fn a_share_that_is_not_free_is_not_waited_for() {
        let pool = MemoryPool::new(4 * UNIT_BYTES);
        let share = pool.try_share(3 * UNIT_BYTES).unwrap();
        assert!(pool.try_share(UNIT_BYTES + 1).is_none());
        drop(share);
        assert!(pool.try_share(4 * UNIT_BYTES).is_some());
    }

    #[tokio::test]
    async fn a_request_larger_than_the_pool_gets_all_of_it() {
        let pool = MemoryPool::new(4 * UNIT_BYTES);
        let mut share = MemoryShare::default();
        pool.grow(&mut share, 100 * UNIT_BYTES).await;
        assert_eq!(pool.free_bytes(), 0);
    }

    #[tokio::test]
    async fn who_holds_memory_hears_that_somebody_is_short_of_it() {
        let pool = MemoryPool::new(4 * UNIT_BYTES);
        let told = || now(pool.is_short()).is_ready();
        let [mut first, mut second] = [(); 2].map(|()| MemoryShare::default());
        pool.grow(&mut first, 4 * UNIT_BYTES).await;
        assert!(!told());
        // Let through without.
        pool.grow(&mut second, UNIT_BYTES).await;
        assert!(told());
        {
            let mut third = MemoryShare::default();
            let mut waiting = pin!(pool.grow(&mut third, UNIT_BYTES));
            assert!(now(waiting.as_mut()).is_pending());
            drop(second);
            assert!(told());
        }
        assert!(!told(), "it waits no more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_exhausted_pool_makes_the_next_wait() {
        let pool = MemoryPool::new(4 * UNIT_BYTES);
        let mut shares = [(); 3].map(|()| MemoryShare::default());
        let [first, second, third] = &mut shares;
        pool.grow(first, 4 * UNIT_BYTES).await;
        // One may overdraw, so that requests which wait for one another get on.
        pool.grow(second, 50 * UNIT_BYTES).await;
        let wait = std::time::Duration::from_secs(1);
        assert!(
            tokio::time::timeout(wait, pool.grow(third, 1))
                .await
                .is_err()
        );
        drop(std::mem::take(first));
        assert!(
            tokio::time::timeout(wait, pool.grow(third, 1))
                .await
                .is_ok()
        );
    }
}
