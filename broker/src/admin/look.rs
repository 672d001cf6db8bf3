//! What is looked at for all who ask at about the same time: one thread looks, the others are told what it saw.
//!
//! So a file system that hangs holds one thread, however many ask, and nobody waits for it for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock;

/// Something that may take long to look at.
#[derive(Debug)]
pub(crate) struct Look<T> {
    fresh_ms: i64,
    wait_ms: i64,
    seen: watch::Sender<Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    /// What was seen last; `None` where nobody has looked yet, or whoever did came to grief.
    value: Option<Arc<T>>,
    /// When it was seen, in steady ms.
    at_ms: i64,
    /// Since when somebody looks.
    since_ms: Option<i64>,
}

/// Somebody looks until this is dropped.
struct Turn<T>(Arc<Look<T>>);

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.since_ms = None);
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl<T: Send + Sync + 'static> Look<T> {
    /// What was seen is told for as long as `fresh`, and nobody waits longer than `wait` for a look.
    pub(crate) fn new(fresh: Duration, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            fresh_ms: ms(fresh),
            wait_ms: ms(wait),
            seen: watch::Sender::new(Seen {
                value: None,
                at_ms: 0,
                since_ms: None,
            }),
        })
    }

    /// What there is to be seen, now or a moment ago. `work` looks, on the blocking pool, unless somebody does so
    /// already. `None` where that takes too long.
    pub(crate) async fn at(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Arc<T>> {
        let now_ms = clock::steady_ms();
        let mut news = self.seen.subscribe();
        let (mut begins, mut since_ms) = (false, now_ms);
        self.seen.send_if_modified(|seen| {
            let is_fresh =
                seen.value.is_some() && now_ms < seen.at_ms.saturating_add(self.fresh_ms);
            match seen.since_ms {
                Some(since) => since_ms = since,
                None if is_fresh => {}
                None => {
                    begins = true;
                    seen.since_ms = Some(now_ms);
                }
            }
            false
        });
        if begins {
            let turn = Turn(Arc::clone(self));
            // It goes on where nobody waits for it any more.
            drop(tokio::task::spawn_blocking(move || turn.take(work)));
        }
        let left_ms = since_ms.saturating_add(self.wait_ms).saturating_sub(now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        let seen = timeout(left, news.wait_for(|seen| seen.since_ms.is_none())).await;
        seen.ok()?.ok()?.value.clone()
    }
}

impl<T> Turn<T> {
    fn take(self, work: impl FnOnce() -> T) {
        // Where it panics, nothing is known any more.
        self.0.seen.send_if_modified(|seen| {
            seen.value = None;
            false
        });
        let value = Arc::new(work());
        self.0.seen.send_if_modified(|seen| {
            seen.value = Some(value);
            seen.at_ms = clock::steady_ms();
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_was_seen_a_moment_ago_is_told_again_and_what_is_old_is_not() {
        let looks = Arc::new(AtomicUsize::new(0));
        let look = |look: &Arc<Look<usize>>| {
            let (look, looks) = (Arc::clone(look), Arc::clone(&looks));
            async move { look.at(move || looks.fetch_add(1, Ordering::Relaxed)).await }
        };
        let fresh = Look::new(LONG, LONG);
        assert_eq!(look(&fresh).await.as_deref(), Some(&0));
        assert_eq!(look(&fresh).await.as_deref(), Some(&0));
        let old = Look::new(Duration::ZERO, LONG);
        assert_eq!(look(&old).await.as_deref(), Some(&1));
        assert_eq!(look(&old).await.as_deref(), Some(&2));
    }

    #[tokio::test]
    async fn a_look_that_hangs_holds_one_thread_and_nobody_for_long() {
        let look = Look::new(LONG, Duration::from_millis(30));
        let (go_on, hangs) = mpsc::sync_channel::<()>(1);
        let first = look.at(move || hangs.recv().map_or(1, |()| 2));
        assert_eq!(first.await, None);
        for _ in 0..3 {
            assert_eq!(look.at(|| unreachable!("nobody looks twice")).await, None);
        }
        go_on.send(()).unwrap();
        while look.seen.borrow().since_ms.is_some() {
            tokio::task::yield_now().await;
        }
        let seen = look.at(|| unreachable!("it was seen a moment ago"));
        assert_eq!(seen.await.as_deref(), Some(&2));
    }

    #[tokio::test]
    async fn a_look_that_panics_is_not_waited_for() {
        let look = Look::<usize>::new(Duration::ZERO, LONG);
        assert_eq!(look.at(|| 1).await.as_deref(), Some(&1));
        let broken = look.at(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(broken.await, None);
        assert_eq!(look.at(|| 3).await.as_deref(), Some(&3));
    }
}
