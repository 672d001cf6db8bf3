//! Bounds on memory that outsiders can ask for: request bytes (`queued.max.request.bytes`), counted as they
//! arrive, and large answers (`limits::ANSWER_BYTES_MAX` and its neighbours), counted before they are made.
//!
//! What is held of a pool must come back without anybody being given more of the same pool. Request bytes
//! have a place beyond the pool for that. Answers take theirs in their turn, one after the other on a
//! connection, and then only have to be made and to leave. Those of requests that are begun before their turn
//! have a pool of their own: they stand behind answers that may wait for the other one.
//!
//! An announced length reserves nothing: a hundred peers that announce 100 MB and send ten bytes
//! cost ten bytes each. Every connection may hold a first small piece outside the pool (see
//! `limits::FREE_BYTES_PER_CONNECTION`), so that small requests are served while large ones fill it.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

/// The pool counts in units of this many bytes, so that its permits fit a 32-bit count.
const UNIT_BYTES: usize = 1024;

/// A counted pool of memory, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct MemoryPool {
    permits: Arc<Semaphore>,
    /// The most that one share takes.
    share_units: usize,
    /// Held by a share that was taken for more than that: there is one at a time.
    giant: Arc<Semaphore>,
    /// A place for a request that may be read to its end although the pool is empty. Without it,
    /// requests that are each half read could fill the pool and wait for one another.
    overdraft: Arc<Semaphore>,
    /// How many wait for memory.
    short: Arc<watch::Sender<usize>>,
}

/// A share of the pool, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct MemoryShare {
    permit: Option<OwnedSemaphorePermit>,
    giant: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

/// Somebody waits for the memory it needs.
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
            if surplus > 0 {
                drop((permit.split(surplus), self.giant.take()));
            }
        }
    }
}

impl MemoryPool {
    /// A pool of `bytes` for what grows piece by piece: one at a time may take more than there is.
    pub(crate) fn growing(bytes: usize) -> Self {
        let units = Self::units(bytes);
        Self::new(units, units, 1)
    }

    /// A pool of `bytes` for what is taken at once. What needs more than half of it is counted as half, one
    /// at a time: it would wait for all others to be done, and those who come after it would wait with it.
    pub(crate) fn at_once(bytes: usize) -> Self {
        let units = Self::units(bytes);
        Self::new(units, units.div_ceil(2), 0)
    }

    fn units(bytes: usize) -> usize {
        (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)
    }

    fn new(units: usize, share_units: usize, overdrafts: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(units)),
            share_units,
            giant: Arc::new(Semaphore::new(1)),
            overdraft: Arc::new(Semaphore::new(overdrafts)),
            short: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Resolves when somebody waits for memory: who can do with less gives it back then. Cancel-safe: it
    /// takes nothing.
    pub(crate) async fn is_short(&self) {
        // The sender lives as long as this does.
        drop(self.short.subscribe().wait_for(|count| *count > 0).await);
    }

    /// Grows `share` until it covers `bytes`, or as much as one share may take, waiting for others to give
    /// back if it must. Where the pool is one of growing shares, one of those that would wait is let through
    /// uncounted, so that somebody always gets on.
    pub(crate) async fn grow(&self, share: &mut MemoryShare, bytes: usize) {
        let units = bytes.div_ceil(UNIT_BYTES);
        let held = share
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = units.min(self.share_units).saturating_sub(held);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        let is_giant = units > self.share_units && share.giant.is_none();
        let counted = async {
            let giant = match is_giant {
                // Nobody who gave memory back would help it to this.
                true => Some(Arc::clone(&self.giant).acquire_owned().await?),
                false => None,
            };
            let permits = || Arc::clone(&self.permits);
            if let Ok(more) = permits().try_acquire_many_owned(missing) {
                return Ok((giant, more));
            }
            let _short = Short::new(&self.short);
            let more = permits().acquire_many_owned(missing).await?;
            Ok::<_, AcquireError>((giant, more))
        };
        // Both arms may be dropped while they wait: a place in a queue is all that is lost. The
        // semaphores are never closed, so neither arm fails.
        tokio::select! {
            biased;
            Ok((giant, more)) = counted => {
                share.giant = share.giant.take().or(giant);
                share.add(more);
            }
            Ok(alone) = Arc::clone(&self.overdraft).acquire_owned() => share.overdraft = Some(alone),
            else => {}
        }
    }

    /// A share of `bytes`, if it is free now and as much as `spare` bytes stay free.
    pub(crate) fn try_share(&self, bytes: usize, spare: usize) -> Option<MemoryShare> {
        let units = bytes.div_ceil(UNIT_BYTES);
        // Several at once may each see what only one of them leaves: it is no hard bound.
        if self.permits.available_permits() < units + spare.div_ceil(UNIT_BYTES) {
            return None;
        }
        let units = u32::try_from(units).ok()?;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(units);
        Some(MemoryShare {
            permit: Some(permit.ok()?),
            ..MemoryShare::default()
        })
    }

    /// Bytes that are free now.
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
        let pool = MemoryPool::growing(64 * UNIT_BYTES);
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
        let pool = MemoryPool::growing(4 * UNIT_BYTES);
        assert!(pool.try_share(3 * UNIT_BYTES, 2 * UNIT_BYTES).is_none());
        let share = pool.try_share(3 * UNIT_BYTES, UNIT_BYTES).unwrap();
        assert_eq!(pool.free_bytes(), UNIT_BYTES, "what is spared is not held");
        assert!(pool.try_share(UNIT_BYTES + 1, 0).is_none());
        drop(share);
        assert!(pool.try_share(4 * UNIT_BYTES, 0).is_some());
    }

    #[tokio::test]
    async fn a_request_larger_than_the_pool_gets_all_of_it() {
        let pool = MemoryPool::growing(4 * UNIT_BYTES);
        let mut share = MemoryShare::default();
        pool.grow(&mut share, 100 * UNIT_BYTES).await;
        assert_eq!(pool.free_bytes(), 0);
    }

    /// They would wait for all others to be done, and everybody after them with them.
    #[tokio::test]
    async fn giants_are_counted_as_half_of_the_pool_and_made_one_at_a_time() {
        let pool = MemoryPool::at_once(8 * UNIT_BYTES);
        let [mut small, mut first, mut second, mut later] =
            [(); 4].map(|()| MemoryShare::default());
        pool.grow(&mut small, 2 * UNIT_BYTES).await;
        pool.grow(&mut first, 50 * UNIT_BYTES).await;
        assert_eq!(pool.free_bytes(), 2 * UNIT_BYTES);
        drop(small);
        let mut waiting = pin!(pool.grow(&mut second, 5 * UNIT_BYTES));
        assert!(now(waiting.as_mut()).is_pending());
        pool.grow(&mut later, 4 * UNIT_BYTES).await;
        drop(later);
        // What turned out to be small is no giant any more.
        first.shrink(UNIT_BYTES);
        waiting.await;
        assert_eq!(pool.free_bytes(), 3 * UNIT_BYTES);
    }

    #[tokio::test]
    async fn who_holds_memory_hears_that_somebody_is_short_of_it() {
        let pool = MemoryPool::growing(4 * UNIT_BYTES);
        let told = || now(pool.is_short()).is_ready();
        let [mut first, mut second] = [(); 2].map(|()| MemoryShare::default());
        pool.grow(&mut first, 4 * UNIT_BYTES).await;
        // Let through without: nobody waits for it.
        pool.grow(&mut second, UNIT_BYTES).await;
        assert!(!told());
        {
            let mut third = MemoryShare::default();
            let mut waiting = pin!(pool.grow(&mut third, UNIT_BYTES));
            assert!(now(waiting.as_mut()).is_pending());
            assert!(told());
        }
        assert!(!told(), "it waits no more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_exhausted_pool_makes_the_next_wait() {
        let pool = MemoryPool::growing(4 * UNIT_BYTES);
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
