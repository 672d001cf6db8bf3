//! Every order in which the steps of threads that wake one another can happen, and every value that
//! the memory model lets them see (loom). A wake-up that can be lost shows as a deadlock.
//!
//! The two modules below are the broker's own source, compiled against loom's mutexes and atomics.
#![allow(clippy::unwrap_used, reason = "a failed step of a test fails the test")]

mod acks;
mod fetches;

#[path = "../../src/ack_wait.rs"]
mod ack_wait;
#[path = "../../src/fetch_wait.rs"]
mod fetch_wait;

/// How often a thread may be stopped where it could go on. Lost wake-ups need one or two.
const PREEMPTIONS_MAX: usize = 2;
/// Steps of one run.
const STEPS_MAX: usize = 10_000;

/// Runs `scenario` in every order.
fn check(scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.max_branches = STEPS_MAX;
    model.check(scenario);
}

/// In place of `src/sync.rs`.
mod sync {
    use std::future::poll_fn;
    use std::sync::atomic::Ordering;
    use std::task::Poll;

    use loom::future::AtomicWaker;

    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};

    /// What the broker uses of tokio's: one waiter, one permit that is kept until it is taken.
    #[derive(Debug)]
    pub(crate) struct Notify {
        permit: atomic::AtomicBool,
        waiter: AtomicWaker,
    }

    impl Notify {
        pub(crate) fn new() -> Self {
            Self {
                permit: atomic::AtomicBool::new(false),
                waiter: AtomicWaker::new(),
            }
        }

        pub(crate) fn notify_one(&self) {
            self.permit.swap(true, Ordering::AcqRel);
            self.waiter.wake();
        }

        pub(crate) async fn notified(&self) {
            poll_fn(|context| {
                self.waiter.register_by_ref(context.waker());
                match self.permit.swap(false, Ordering::AcqRel) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
    }
}
