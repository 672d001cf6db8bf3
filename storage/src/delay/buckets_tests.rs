//! Buckets as a queue uses them.

use super::super::DelayOptions;
use super::super::test_queue::{NOW, accept, add, checkpoint, deliver, open, open_on};
use crate::fs::{FileSystem, SimFs};
use std::path::Path;

fn options() -> DelayOptions {
    DelayOptions {
        near_records_max: 8,
        near_ms: 1_000,
        step_bytes: 200,
        step_records: 2,
        ..DelayOptions::default()
    }
}

#[test]
fn a_bucket_whose_division_has_begun_is_divided_to_the_end() {
    let mut queue = open(options());
    let mut log_end = 0;
    for round in 0..2 {
        let now_ms = NOW + round * 3_600_000;
        let far = |at: i64| now_ms + 960_000 + at * 1_000;
        accept(&mut queue, now_ms, (0..4).map(|at| add(now_ms + 100 + at)));
        accept(&mut queue, now_ms, (0..6).map(|at| add(far(at))));
        // Four of eight places are free, so the six are divided when their time comes near.
        let mut later_ms = 0;
        while queue.buckets.split.is_none() {
            assert!(later_ms < 900_000, "nothing is divided");
            queue.maintain(now_ms + later_ms).unwrap();
            later_ms += 10_000;
        }
        let now_ms = now_ms + later_ms;
        let near = deliver(&mut queue, now_ms, &mut log_end);
        assert_eq!(near.len(), 4, "and now there is room for all");
        let mut seen = Vec::new();
        for tick_ms in (now_ms..far(10)).step_by(500) {
            while queue.maintain(tick_ms).unwrap() {}
            seen.extend(deliver(&mut queue, tick_ms, &mut log_end));
            checkpoint(&mut queue, tick_ms, log_end);
        }
        let expected: Vec<i64> = (0..6).map(far).collect();
        assert_eq!(seen, expected, "round {round}");
        assert_eq!(queue.totals().pending.records, 0);
    }
}

#[test]
fn memory_and_files_are_bounded_whenever_records_are_due() {
    let times = [20_000, 400_000, 1_500_000, 5_000_000].into_iter();
    for (ahead_ms, max) in times.flat_map(|ahead_ms| [(ahead_ms, 8), (ahead_ms, 1_000)]) {
        let near_ms = DelayOptions::default().near_ms;
        let mut queue = open(DelayOptions {
            near_ms,
            near_records_max: max,
            ..options()
        });
        let (mut log_end, mut accepted) = (0, Vec::new());
        // Half of an hour has passed.
        let now_ms = NOW + 1_800_000;
        for number in 0..300 {
            let due_ms = now_ms + ahead_ms + number % 7 * 100;
            accept(&mut queue, now_ms + number, [add(due_ms)]);
            accepted.push(due_ms);
            while queue.maintain(now_ms + number).unwrap() {}
            let totals = queue.totals();
            assert!(totals.near_records <= max + 2, "{ahead_ms}: {totals:?}");
            // A bucket of more records than memory has room for is divided.
            let divided = max < 300;
            assert!(totals.buckets <= 3 || divided, "{ahead_ms}: {totals:?}");
        }
        accepted.sort_unstable();
        let mut seen = Vec::new();
        let end_ms = now_ms + ahead_ms + 3_000;
        let ticks = (now_ms + 1_000..end_ms - 5_000).step_by(60_000);
        for tick_ms in ticks.chain((end_ms - 5_000..end_ms).step_by(50)) {
            for _ in 0..200 {
                let more = queue.maintain(tick_ms).unwrap();
                let due = deliver(&mut queue, tick_ms, &mut log_end);
                assert!(due.iter().all(|due_ms| *due_ms <= tick_ms), "early");
                let near = queue.totals().near_records;
                assert!(near <= max + 2, "{ahead_ms}: {near}");
                if !more && due.is_empty() {
                    break;
                }
                seen.extend(due);
            }
        }
        assert_eq!(seen, accepted, "{ahead_ms}");
    }
}

#[test]
fn a_disk_that_stays_full_leaves_nothing_behind_for_each_try() {
    let disk = SimFs::new();
    let mut queue = open_on(disk.clone(), options());
    let far = |at: i64| NOW + 7_200_000 + at * 3_600_000;
    accept(&mut queue, NOW, (0..6).map(|at| add(far(at))));
    disk.set_free_bytes(100);
    for at in 1..20 {
        // The widths of the files that it tries to write change with time.
        let refused = queue.maintain(NOW + at * 1_200_000).unwrap_err();
        assert!(refused.passes(), "{refused}");
        assert_eq!(queue.buckets.all.len() + queue.buckets.retired.len(), 0);
    }
    let names = disk.read_dir(Path::new("/d")).unwrap().into_iter();
    let mut names = names.map(|entry| entry.name);
    assert!(!names.any(|name| name.ends_with(".delaybucket")));
    disk.set_free_bytes(u64::MAX);
    assert_eq!(queue.totals().pending.records, 6);
    let (mut log_end, mut seen) = (0, Vec::new());
    while seen.len() < 6 {
        while queue.maintain(far(6)).unwrap() {}
        seen.extend(deliver(&mut queue, far(6), &mut log_end));
    }
    assert_eq!(seen, (0..6).map(far).collect::<Vec<_>>());
}
