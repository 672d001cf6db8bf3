//! Producers that wait for the disk against flush rounds.

use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicBool, AtomicI64};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::ack_wait::AckWaits;
use crate::check;

/// A partition as its producers and its flush thread see it.
#[derive(Default)]
struct Partition {
    /// The log's mutex, and its end.
    log_end: Mutex<i64>,
    durable: AtomicI64,
    failed: AtomicBool,
    waits: AckWaits<i64>,
    /// Waiters that were answered.
    answered: Mutex<Vec<(i64, bool)>>,
}

impl Partition {
    /// As `Partition::append` and `deliver`.
    fn append(&self) {
        let end_offset = {
            let mut log_end = self.log_end.lock().unwrap();
            *log_end += 1;
            *log_end
        };
        self.waits.push(end_offset, end_offset, |_| false);
        self.settle();
    }

    /// As `Partition::settle`.
    fn settle(&self) {
        let failed = self.failed.load(Ordering::Acquire);
        let durable = self.durable.load(Ordering::Acquire);
        let done = self.waits.take_done(durable);
        self.answered
            .lock()
            .unwrap()
            .extend(done.into_iter().map(|waiter| (waiter, true)));
        if failed {
            let done = self.waits.take_all();
            self.answered
                .lock()
                .unwrap()
                .extend(done.into_iter().map(|waiter| (waiter, false)));
        }
    }

    /// One flush round: what is written when it begins is durable when it ends. Returns how far.
    fn flush(&self) -> i64 {
        let end = *self.log_end.lock().unwrap();
        self.durable.store(end, Ordering::Release);
        self.settle();
        end
    }

    /// A round that fails and takes the directory offline.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.settle();
    }

    fn answered(&self) -> Vec<(i64, bool)> {
        let mut answered = self.answered.lock().unwrap().clone();
        answered.sort_unstable();
        answered
    }
}

#[test]
fn whoever_a_flush_covers_is_answered_without_another_one() {
    check(|| {
        let partition = Arc::new(Partition::default());
        let producers = [(); 2].map(|()| {
            let partition = Arc::clone(&partition);
            thread::spawn(move || partition.append())
        });
        let end = partition.flush();
        for producer in producers {
            producer.join().unwrap();
        }
        let expected: Vec<_> = (1..=end).map(|offset| (offset, true)).collect();
        assert_eq!(partition.answered(), expected);
    });
}

#[test]
fn whoever_waits_hears_of_a_failure() {
    check(|| {
        let partition = Arc::new(Partition::default());
        let producer = {
            let partition = Arc::clone(&partition);
            thread::spawn(move || partition.append())
        };
        partition.fail();
        producer.join().unwrap();
        assert_eq!(partition.answered(), [(1, false)]);
    });
}

#[test]
fn waiters_leave_in_the_order_of_their_offsets_and_those_who_are_gone_make_room() {
    check(|| {
        let waits = AckWaits::default();
        let never = |_: &i64| false;
        for offset in [1, 3, 2, 3, 5] {
            waits.push(offset, offset * 10, never);
        }
        assert!(waits.take_done(0).is_empty());
        assert_eq!(waits.take_done(3), [10, 20, 30, 30]);
        assert_eq!(waits.take_all(), [50]);
        for offset in 0..200 {
            waits.push(offset, offset, |waiter| *waiter < 190);
        }
        let left = waits.take_all();
        assert!(left.len() < 75, "{} are left", left.len());
        assert!(left.ends_with(&[197, 198, 199]));
    });
}
