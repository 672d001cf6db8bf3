//! Work on many partitions by several threads: most of its time it waits for the disk, whose file system answers
//! syncs that wait together with one commit of its journal.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Does `work` with each of `items`, told by its number, over at most so many threads, the caller's among them: as many
/// as the system gives. Once it says so no further one is begun. Whoever panics with it has the caller panic.
pub(crate) fn over_threads<T: Sync>(
    items: &[T],
    threads: usize,
    work: impl Fn(usize, &T) -> ControlFlow<()> + Sync,
) {
    let taken = AtomicUsize::new(0);
    let run = || {
        loop {
            let number = taken.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else {
                return;
            };
            if work(number, item).is_break() {
                taken.store(items.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            if Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Barrier, Mutex};
    use std::thread::ThreadId;

    use super::*;

    #[test]
    fn each_is_taken_once_and_so_many_at_the_same_time() {
        let items: Vec<usize> = (0..40).collect();
        for threads in [0, 1, 2, 4, 100] {
            let seen = Mutex::new(Vec::new());
            let by: Mutex<HashSet<ThreadId>> = Mutex::default();
            let together = Barrier::new(threads.clamp(1, items.len()));
            over_threads(&items, threads, |number, item| {
                if by.lock().unwrap().insert(std::thread::current().id()) {
                    // Nobody has a second one before all have one.
                    together.wait();
                }
                assert_eq!(number, *item);
                seen.lock().unwrap().push(*item);
                ControlFlow::Continue(())
            });
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, items);
        }
    }

    #[test]
    fn none_is_begun_once_that_was_said() {
        let begun = AtomicUsize::new(0);
        over_threads(&[(); 100], 4, |_, ()| {
            begun.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        });
        assert!(begun.into_inner() <= 4);
    }
}
