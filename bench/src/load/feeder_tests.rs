use super::*;
use crate::payload::RecordShape;
use crate::values::{Keys, ValueSize};
use tidewheel_protocol::Compression;

const SECOND: u64 = 1_000_000_000;

fn feeder(rate: Option<f64>, linger: u64, keys: Keys, targets: usize) -> Feeder {
    let shape = RecordShape {
        size: ValueSize::Fixed(100),
        random_ratio: 0.0,
        keyed: keys != Keys::None,
        batch_bytes: 1300,
        compression: Compression::None,
        seed: 1,
    };
    let options = FeederOptions {
        schedule: rate.map(|rate| Schedule::new(0, SECOND, rate, 0, 1)),
        linger,
        end: SECOND,
        run_id: None,
        chooser: KeyChooser::new(keys, targets, 1),
        recording: None,
        ahead: None,
        start: 0,
        targets,
        first_target: 0,
    };
    Feeder::new(BatchMaker::new(&shape).unwrap(), options)
}

/// Everything that leaves at `now`: count and times of each batch.
fn drain(feeder: &mut Feeder, now: u64) -> Vec<Vec<u64>> {
    let mut batches = Vec::new();
    while let Some(batch) = feeder.take(now, 0, |_| true).unwrap() {
        batches.push(feeder.times(&batch.due));
    }
    batches
}

#[test]
fn after_a_stall_every_record_leaves_with_the_time_it_was_due() {
    let mut feeder = feeder(Some(1000.0), 0, Keys::None, 1);
    assert_eq!(drain(&mut feeder, 0), [[0]]);
    assert_eq!(feeder.next_at(0, |_| true), Some(1_000_000));
    // Nothing can leave for half a second.
    let stalled = SECOND / 2;
    assert!(feeder.take(stalled, 0, |_| false).unwrap().is_none());
    assert_eq!(feeder.next_at(stalled, |_| false), Some(u64::MAX));
    assert_eq!(feeder.next_at(stalled, |_| true), Some(stalled));
    let times: Vec<u64> = drain(&mut feeder, stalled).concat();
    let expected: Vec<u64> = (1..=500).map(|record| record * 1_000_000).collect();
    assert_eq!(times, expected);
}

#[test]
fn a_batch_leaves_when_it_is_full_or_has_lingered() {
    let mut feeder = feeder(Some(1000.0), 5_000_000, Keys::None, 1);
    assert_eq!(feeder.next_at(0, |_| true), Some(5_000_000));
    assert_eq!(drain(&mut feeder, 4_999_999).len(), 0);
    assert_eq!(
        drain(&mut feeder, 5_000_000),
        [[0, 1, 2, 3, 4, 5].map(|n| n * 1_000_000)]
    );
    let full = feeder.maker.capacity();
    let batches = drain(&mut feeder, 100_000_000);
    assert_eq!(batches[0].len(), full);
}

#[test]
fn the_last_records_do_not_linger() {
    let mut feeder = feeder(Some(3.0), 10 * SECOND, Keys::None, 1);
    assert_eq!(feeder.next_at(0, |_| true), Some(2 * SECOND / 3));
    assert_eq!(drain(&mut feeder, SECOND)[0].len(), 3);
    assert_eq!(feeder.next_at(SECOND, |_| true), None);
    assert_eq!(feeder.unsent(), 0);
}

#[test]
fn without_keys_partitions_take_turns_and_a_blocked_one_is_passed_over() {
    let mut feeder = feeder(Some(1000.0), 0, Keys::None, 3);
    let mut targets = Vec::new();
    for now in 0..4 {
        let batch = feeder.take(now * 1_000_000, 0, |target| target != 1);
        targets.push(batch.unwrap().unwrap().target);
    }
    assert_eq!(targets, [0, 2, 0, 2]);
}

#[test]
fn with_keys_every_record_is_sent_once_to_the_partition_of_its_key() {
    for keys in [Keys::RoundRobin(20), Keys::Zipf(1.0, 20)] {
        let mut feeder = feeder(Some(1000.0), 0, keys, 4);
        let mut times = Vec::new();
        for step in 0..=100 {
            times.extend(drain(&mut feeder, step * 10_000_000).concat());
        }
        times.sort_unstable();
        let expected: Vec<u64> = (0..1000).map(|record| record * 1_000_000).collect();
        assert_eq!(times, expected);
        assert_eq!(
            (feeder.next_at(SECOND, |_| true), feeder.unsent()),
            (None, 0)
        );
    }
}

#[test]
fn a_blocked_partition_holds_keyed_records_in_bounded_memory() {
    let mut feeder = feeder(Some(1_000_000.0), 0, Keys::RoundRobin(1), 1);
    assert!(feeder.take(SECOND, 0, |_| false).unwrap().is_none());
    let gathered = feeder.keyed.as_ref().unwrap().gathered[0].len();
    assert_eq!(gathered, feeder.maker.capacity());
    assert_eq!(feeder.unsent(), 1_000_000);
    assert_eq!(drain(&mut feeder, SECOND).concat().len(), 1_000_000);
}

#[test]
fn a_closed_loop_sends_full_batches_that_are_due_when_they_leave() {
    for keys in [Keys::None, Keys::RoundRobin(1)] {
        let mut feeder = feeder(None, 0, keys, 1);
        let batch = feeder.take(777, 0, |_| true).unwrap().unwrap();
        let full = feeder.maker.capacity();
        assert_eq!(
            batch.due,
            Due::Now {
                at: 777,
                count: full
            }
        );
        assert_eq!(feeder.next_at(SECOND - 1, |_| true), Some(SECOND - 1));
    }
}

#[test]
fn an_early_end_leaves_what_is_due_and_drops_the_rest() {
    let mut feeder = feeder(Some(1000.0), 0, Keys::None, 1);
    feeder.cut(499_999_999);
    assert_eq!(feeder.unsent(), 500);
    assert_eq!(drain(&mut feeder, SECOND).concat().len(), 500);
    assert_eq!(feeder.next_at(SECOND, |_| true), None);
}
