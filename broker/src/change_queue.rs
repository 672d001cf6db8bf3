//! One owner for what changes the metadata: changes take turns, and wait for theirs without a thread.
//!
//! A change runs on the blocking pool and takes one thread of it, so that however many are asked for,
//! the other threads are left to those who read. The order is that of the requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::broker::BrokerError;

/// What is changed, and who waits to change it.
#[derive(Debug)]
pub(crate) struct ChangeQueue<S> {
    /// Locked by the holder of the turn, and by who stops the broker.
    state: Arc<Mutex<S>>,
    /// The turn: one permit.
    turn: Arc<Semaphore>,
    /// A permit for each who waits or has the turn.
    places: Semaphore,
}

impl<S: Send + 'static> ChangeQueue<S> {
    /// A queue in which at most `places` wait.
    pub(crate) fn new(state: S, places: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            turn: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(places),
        }
    }

    /// Waits, on this thread, for the change that runs; no other runs until the guard is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }

    /// Runs `work`, which may block, when its turn comes. If this future is dropped, work that has not
    /// begun never does, and work that has begun is carried out.
    ///
    /// # Errors
    /// `Busy` where the queue is full; `TimedOut` when `wait` is over, at once where it is zero, as in
    /// Kafka: work that has begun is still carried out; `Stopped` where the broker goes down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        wait: Duration,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        if wait.is_zero() {
            return Err(BrokerError::TimedOut);
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(BrokerError::Busy);
        };
        let run = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let turn = turn.map_err(|_| BrokerError::Stopped)?;
            let state = Arc::clone(&self.state);
            let work = move || {
                let done = work(&mut lock(&state));
                drop(turn);
                done
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|_| BrokerError::Stopped)
        };
        timeout(wait, run)
            .await
            .unwrap_or(Err(BrokerError::TimedOut))
    }
}

fn lock<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    // Poisoned only by a panic in the middle of a change; the log still says what is true, and the
    // next change fails on it if it is broken.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Work that says that it has begun, and then blocks until told to go on.
    fn blocking(
        name: &'static str,
    ) -> (
        impl FnOnce(&mut Vec<&'static str>) + Send + 'static,
        Receiver<()>,
        SyncSender<()>,
    ) {
        let (begun, has_begun) = sync_channel(1);
        let (go_on, may_go_on) = sync_channel(1);
        let work = move |done: &mut Vec<&'static str>| {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            done.push(name);
        };
        (work, has_begun, go_on)
    }

    fn queue(places: usize) -> Arc<ChangeQueue<Vec<&'static str>>> {
        Arc::new(ChangeQueue::new(Vec::new(), places))
    }

    /// Two threads for blocking work: with a second change on one of them nobody could read.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .unwrap()
    }

    #[test]
    fn changes_take_turns_and_leave_the_other_threads_to_readers() {
        runtime().block_on(async {
            let queue = queue(100);
            let (work, has_begun, go_on) = blocking("first");
            let first = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.run(LONG, work).await }
            });
            let waiting: Vec<_> = (0..20)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    tokio::spawn(async move { queue.run(LONG, |done| done.push("later")).await })
                })
                .collect();
            tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
                .await
                .unwrap();
            let read = timeout(LONG, tokio::task::spawn_blocking(|| "read"));
            assert_eq!(read.await.expect("a thread is left").unwrap(), "read");
            assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
            go_on.send(()).unwrap();
            first.await.unwrap().unwrap();
            for waiting in waiting {
                waiting.await.unwrap().unwrap();
            }
            let done = queue.run(LONG, |done| done.clone()).await.unwrap();
            assert_eq!((done[0], done.len()), ("first", 21));
        });
    }

    #[test]
    fn a_change_that_has_begun_is_carried_out_and_one_that_waits_can_be_left() {
        runtime().block_on(async {
            let queue = queue(100);
            let (work, has_begun, go_on) = blocking("begun");
            let begun = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.run(LONG, work).await }
            });
            tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
                .await
                .unwrap();
            begun.abort();
            assert!(begun.await.unwrap_err().is_cancelled());
            let too_late = queue
                .run(Duration::from_millis(1), |done| done.push("too late"))
                .await;
            assert!(matches!(too_late, Err(BrokerError::TimedOut)));
            go_on.send(()).unwrap();
            let done = queue.run(LONG, |done| done.clone()).await.unwrap();
            assert_eq!(done, ["begun"]);
            let none = queue.run(Duration::ZERO, |done| done.push("no time")).await;
            assert!(matches!(none, Err(BrokerError::TimedOut)));
            assert_eq!(queue.run(LONG, |done| done.len()).await.unwrap(), 1);
        });
    }

    #[test]
    fn a_full_queue_says_so_and_takes_changes_again_later() {
        runtime().block_on(async {
            let queue = queue(2);
            let (work, has_begun, go_on) = blocking("first");
            let run = |work| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move { queue.run(LONG, work).await })
            };
            let first = run(work);
            tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
                .await
                .unwrap();
            let second = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.run(LONG, |done| done.push("second")).await }
            });
            tokio::task::yield_now().await;
            let third = queue.run(LONG, |done| done.push("third")).await;
            assert!(matches!(third, Err(BrokerError::Busy)));
            go_on.send(()).unwrap();
            first.await.unwrap().unwrap();
            second.await.unwrap().unwrap();
            let done = queue.run(LONG, |done| done.clone()).await.unwrap();
            assert_eq!(done, ["first", "second"]);
        });
    }
}
