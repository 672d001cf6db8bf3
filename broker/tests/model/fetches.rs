//! A waiting fetch against appends, rolls and a deletion.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use loom::thread;
use tidewheel_storage::VisibleEnd;

use crate::check;
use crate::fetch_wait::{FetchWait, FetchWaits};

/// What a fetch and an append see of a partition. Values are published as `storage` publishes them: by
/// the one holder of the log's mutex, the segment before the bytes, with release stores.
#[derive(Default)]
struct Partition {
    segment: AtomicI64,
    bytes: AtomicU64,
    deleted: AtomicBool,
    waits: FetchWaits,
}

impl Partition {
    fn visible_end(&self) -> VisibleEnd {
        let bytes = self.bytes.load(Ordering::Acquire);
        let segment_base = self.segment.load(Ordering::Acquire);
        VisibleEnd {
            bytes,
            segment_base,
        }
    }

    /// As `Partition::deliver` after an append, `Partition::settle` after a flush.
    fn show(&self, segment_base: i64, bytes: u64) {
        self.segment.store(segment_base, Ordering::Release);
        self.bytes.store(bytes, Ordering::Release);
        self.waits.advanced(self.visible_end());
    }

    /// As `Broker::delete` does it.
    fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.waits.interrupt_all();
    }
}

/// As `api::fetch` waits, from segment 0 and without a deadline; returns the bytes it found.
fn fetch(partitions: &[Arc<Partition>], bytes_min: u64) -> u64 {
    loop {
        let wait = FetchWait::new(usize::try_from(bytes_min).unwrap());
        for partition in partitions {
            partition.waits.register(&wait, partition.visible_end());
        }
        let (mut found, mut urgent) = (0, false);
        for partition in partitions {
            urgent |= partition.deleted.load(Ordering::Acquire);
            let visible = partition.visible_end();
            urgent |= visible.segment_base > 0;
            found += visible.bytes;
        }
        let enough = urgent || found >= bytes_min;
        if !enough {
            wait.arrived(found);
            block_on(wait.enough());
        }
        for partition in partitions {
            partition.waits.deregister(&wait);
        }
        if enough {
            return found;
        }
    }
}

fn partitions<const N: usize>() -> [Arc<Partition>; N] {
    std::array::from_fn(|_| Arc::default())
}

#[test]
fn a_fetch_is_woken_by_the_append_that_fills_it() {
    check(|| {
        let partitions = partitions::<1>();
        let partition = Arc::clone(&partitions[0]);
        let appends = thread::spawn(move || {
            partition.show(0, 1);
            partition.show(0, 2);
        });
        assert_eq!(fetch(&partitions, 2), 2);
        appends.join().unwrap();
    });
}

#[test]
fn a_fetch_is_woken_by_two_partitions_together() {
    check(|| {
        let partitions = partitions::<2>();
        let appends = partitions.clone().map(|partition| {
            thread::spawn(move || {
                partition.show(0, 1);
            })
        });
        assert_eq!(fetch(&partitions, 2), 2);
        for append in appends {
            append.join().unwrap();
        }
    });
}

/// The first fetch holds the list while the second comes: it is told of bytes that came before.
#[test]
fn two_fetches_are_woken_by_one_append() {
    check(|| {
        let partitions = partitions::<1>();
        let others = partitions.clone();
        let other = thread::spawn(move || fetch(&others, 1));
        let partition = Arc::clone(&partitions[0]);
        let append = thread::spawn(move || partition.show(0, 1));
        assert_eq!(fetch(&partitions, 1), 1);
        assert_eq!(other.join().unwrap(), 1);
        append.join().unwrap();
    });
}

#[test]
fn a_fetch_is_woken_when_the_log_goes_on_in_a_new_segment() {
    check(|| {
        let partitions = partitions::<1>();
        let partition = Arc::clone(&partitions[0]);
        let append = thread::spawn(move || partition.show(7, 1));
        assert!(fetch(&partitions, 1_000) <= 1);
        append.join().unwrap();
    });
}

#[test]
fn a_fetch_is_woken_by_a_deletion() {
    check(|| {
        let partitions = partitions::<1>();
        let partition = Arc::clone(&partitions[0]);
        let delete = thread::spawn(move || partition.delete());
        assert_eq!(fetch(&partitions, 1), 0);
        delete.join().unwrap();
    });
}

fn at(bytes: u64) -> VisibleEnd {
    VisibleEnd {
        bytes,
        segment_base: 0,
    }
}

fn is_woken(wait: &FetchWait) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(wait.enough()).poll(&mut context).is_ready()
}

#[test]
fn a_fetch_wakes_when_the_last_missing_byte_arrives_and_only_once() {
    check(|| {
        let waits = FetchWaits::default();
        let wait = FetchWait::new(100);
        waits.register(&wait, at(1_000));
        waits.advanced(at(1_060));
        assert!(!is_woken(&wait));
        waits.advanced(at(1_100));
        assert!(is_woken(&wait));
        waits.advanced(at(1_500));
        assert!(!is_woken(&wait), "one crossing, one wake-up");
    });
}

#[test]
fn a_second_fetch_is_not_told_of_bytes_that_came_before_it() {
    check(|| {
        let waits = FetchWaits::default();
        let (first, second) = (FetchWait::new(1_000), FetchWait::new(50));
        waits.register(&first, at(0));
        waits.advanced(at(50));
        waits.register(&second, at(50));
        waits.advanced(at(60));
        assert!(!is_woken(&second));
        waits.advanced(at(100));
        assert!(is_woken(&second));
    });
}

#[test]
fn a_fetch_that_left_is_left_alone_and_an_interrupt_wakes_the_rest() {
    check(|| {
        let waits = FetchWaits::default();
        let (gone, stays) = (FetchWait::new(1), FetchWait::new(usize::MAX));
        waits.register(&gone, at(0));
        waits.register(&stays, at(0));
        waits.deregister(&gone);
        waits.interrupt_all();
        assert!(!is_woken(&gone));
        assert!(is_woken(&stays));
    });
}
