//! Connections that wait for their next request, the longest first: they make room for new ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Who is idle, in the order in which they became so.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    idle: BTreeMap<u64, Arc<Notify>>,
}

impl IdleConnections {
    /// Ends the connection that has been idle for longest; false where all are busy.
    pub(crate) fn end_oldest(&self) -> bool {
        match self.waiting().idle.pop_first() {
            Some((_, end)) => {
                end.notify_one();
                true
            }
            None => false,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection is at.
#[derive(Debug)]
pub(crate) struct Activity {
    connections: Arc<IdleConnections>,
    end: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests under way, and streams.
    busy: usize,
    /// Its place among the idle ones.
    place: Option<u64>,
}

impl Activity {
    /// A connection that waits for its first request.
    pub(crate) fn new(connections: &Arc<IdleConnections>) -> Arc<Self> {
        let activity = Self {
            connections: Arc::clone(connections),
            end: Arc::default(),
            state: Mutex::default(),
        };
        activity.wait(&mut activity.state());
        Arc::new(activity)
    }

    /// Something is under way until what this returns is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        if let Some(place) = state.place.take() {
            self.connections.waiting().idle.remove(&place);
        }
        Busy(Arc::clone(self))
    }

    /// The connection has to end after `wait`, unless what this returns is dropped before.
    pub(crate) fn end_after(&self, wait: Duration) -> JoinSet<()> {
        let end = Arc::clone(&self.end);
        let mut late = JoinSet::new();
        late.spawn(async move {
            tokio::time::sleep(wait).await;
            end.notify_one();
        });
        late
    }

    /// Resolves when the connection has to make room, or its reader was too slow.
    pub(crate) async fn ends(&self) {
        self.end.notified().await;
    }

    fn wait(&self, state: &mut State) {
        let mut waiting = self.connections.waiting();
        let place = waiting.next;
        waiting.next += 1;
        waiting.idle.insert(place, Arc::clone(&self.end));
        state.place = Some(place);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(place) = self.state().place {
            self.connections.waiting().idle.remove(&place);
        }
    }
}

/// Keeps a connection from making room for others.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        if state.busy == 0 {
            self.0.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_to_end(activity: &Activity) -> bool {
        use std::task::{Context, Poll, Waker};
        let mut ends = std::pin::pin!(activity.ends());
        let mut nobody = Context::from_waker(Waker::noop());
        ends.as_mut().poll(&mut nobody) == Poll::Ready(())
    }

    #[test]
    fn the_one_that_is_idle_for_longest_makes_room_and_a_busy_one_never() {
        let all = Arc::new(IdleConnections::default());
        let [first, second, third] = [(); 3].map(|()| Activity::new(&all));
        let busy = first.begin();
        let twice = first.begin();
        drop(busy);
        drop(third);
        assert!(all.end_oldest());
        assert!(has_to_end(&second) && !has_to_end(&first));
        assert!(!all.end_oldest(), "the first is busy, the third gone");
        drop(twice);
        assert!(all.end_oldest());
        assert!(has_to_end(&first));
    }
}
