//! Cases of delayed delivery that hang on one moment: edges of time, clocks that are set, and what happens
//! together. The numbers are those of the list in docs/testing.md.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::store::{DAY_MS, NOW, Store, add, dir, partition};
use tidewheel_storage::delay::{
    DelayOperation, DelayOptions, DelaySync, DelayedBatch, PartitionId, PendingFate, PendingQuery,
    PendingRecord,
};
use tidewheel_storage::fs::SimFs;

/// Delivers at each due time and one ms before, and looks what came.
fn at_each(store: &mut Store, mut due: Vec<(u64, i64)>) {
    due.sort_by_key(|(_, due_ms)| *due_ms);
    let mut expected = store.given();
    for group in due.chunk_by(|(_, a), (_, b)| a == b) {
        let due_ms = group[0].1;
        if store.now < due_ms {
            store.deliver_at(due_ms - 1);
            assert_eq!(store.given(), expected, "{due_ms} is not yet");
        }
        store.deliver_at(due_ms.max(store.now));
        expected.extend(group.iter().map(|(number, _)| number));
        assert_eq!(store.given(), expected, "{due_ms} is now");
    }
    assert_eq!(store.pending(), 0);
}

/// Case T1.
#[test]
fn edges_of_slots_spans_and_horizons_are_exact() {
    let widths = [1_024, 1_048_576, 1_000, 60_000, 3_600_000, DAY_MS];
    // Where near ends, files get wider, and files are loaded.
    let horizons = [300_000, 30_000, 900_000, 172_800_000, 600_000];
    for shift in [0, 1, -1, 499] {
        let now = NOW - NOW % DAY_MS + shift;
        let mut store = Store::at(Arc::new(SimFs::new()), DelayOptions::default(), now);
        let next = widths.map(|width| now - now.rem_euclid(width) + width);
        let all = next.into_iter().chain(horizons.map(|ahead| now + ahead));
        let due: BTreeSet<i64> = all.flat_map(|at| [at - 1, at, at + 1]).collect();
        let due = due.into_iter().filter(|due_ms| *due_ms > now);
        let due: Vec<(u64, i64)> = (0..).zip(due).collect();
        store.add(due.clone());
        at_each(&mut store, due);
    }
}

/// Case T2.
#[test]
fn what_is_accepted_for_the_ms_that_is_being_delivered_comes_behind_it() {
    let mut store = Store::fresh();
    store.add([(1, NOW + 5), (2, NOW + 5)]);
    store.now = NOW + 5;
    let first = store.fire();
    store.add([(3, NOW + 5), (4, NOW + 4), (5, NOW + 6)]);
    assert!(store.fire().is_empty(), "the first is not answered for");
    store.append(&first[0]);
    store.deliver();
    assert_eq!(store.given(), [1, 2, 3, 4]);
    store.deliver_at(NOW + 6);
    assert_eq!(store.given(), [1, 2, 3, 4, 5]);
}

/// Cases T3 and T8.
#[test]
fn a_clock_that_is_set_during_a_drain_loses_nothing_and_brings_nothing_early() {
    for step in [-1, -1_000, -3_600_000, 1_000, 3_600_000] {
        let options = DelayOptions {
            turn_records_max: 2,
            ..DelayOptions::default()
        };
        let mut store = Store::new(Arc::new(SimFs::new()), options);
        store.add((0..10).map(|number| (number, NOW + 100)));
        store.add([(10, NOW + 101), (11, NOW + 7_200_000)]);
        store.now = NOW + 100;
        let first = store.fire();
        store.append(&first[0]);
        store.now += step;
        // Due before what was given out: they wait until then, and keep the order in which they came.
        store.add([(12, NOW + 50), (13, NOW + 20), (14, NOW + 99)]);
        store.deliver();
        if step < 0 {
            assert_eq!(store.given(), [0, 1], "the rest is not due by the clock");
            store.deliver_at(NOW + 100);
        }
        let drained = store.given();
        let tied = [12, 13, 14];
        assert_eq!(drained[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(drained[10..13], tied, "{step}");
        store.deliver_at(NOW + 7_200_000);
        assert_eq!(store.given().len(), 15);
        assert_eq!(store.pending(), 0);
    }
}

/// Case T5.
#[test]
fn after_400_days_everything_comes_in_order() {
    let options = DelayOptions {
        near_records_max: 50,
        segment_bytes: 5_000,
        step_bytes: 4_000,
        step_records: 20,
        ..DelayOptions::default()
    };
    let mut store = Store::new(Arc::new(SimFs::new()), options);
    let due: Vec<(u64, i64)> = (0..366)
        .map(|day| {
            (
                366 - day,
                NOW + (366 - i64::try_from(day).unwrap()) * DAY_MS,
            )
        })
        .collect();
    store.add(due);
    store.maintain().unwrap();
    store.checkpoint().unwrap();
    store.now = NOW + 400 * DAY_MS;
    store.restart();
    store.deliver();
    assert_eq!(store.given(), (1..=366).collect::<Vec<u64>>());
    for _ in 0..2 {
        store.checkpoint().unwrap();
    }
    assert_eq!(store.files("bucket"), [""; 0]);
}

/// Case T6.
#[test]
fn starts_in_one_ms_change_nothing() {
    let mut store = Store::fresh();
    store.add([(1, NOW), (2, NOW + 1), (3, NOW + 1_000_000)]);
    store.deliver();
    for _ in 0..3 {
        store.restart();
        assert_eq!(store.report.damaged, 0);
        store.deliver();
        assert_eq!((store.given(), store.pending()), (vec![1], 2));
    }
    store.add([(4, NOW + 1)]);
    store.deliver_at(NOW + 1);
    assert_eq!(store.given(), [1, 2, 4], "tickets go on");
}

/// Case T7.
#[test]
fn the_ends_of_what_32_bits_count_are_days_like_any_other() {
    let seconds: [i64; 3] = [1 << 31, 1 << 32, 253_402_300_800];
    for end in seconds.map(|seconds| seconds * 1_000) {
        let mut store = Store::at(
            Arc::new(SimFs::new()),
            DelayOptions::default(),
            end - 700_000,
        );
        let ahead = [-600_000, -1, 0, 1, 600_000, DAY_MS, 366 * DAY_MS];
        let due: Vec<(u64, i64)> = (0..).zip(ahead.map(|ahead| end + ahead)).collect();
        store.add(due.clone());
        store.maintain().unwrap();
        store.checkpoint().unwrap();
        store.restart();
        at_each(&mut store, due);
    }
}

/// Case R1.
#[test]
fn what_is_not_on_disk_when_it_is_due_waits_and_nothing_passes_it() {
    let disk = SimFs::new();
    let mut store = Store::new(Arc::new(disk.clone()), DelayOptions::default());
    store.add([(1, NOW + 20)]);
    store.accept(0, vec![add(2, NOW + 10, "", false)]);
    store.now = NOW + 30;
    let fired = store.queue.fire(store.now).unwrap();
    assert!(fired.wants_sync && fired.deliveries.is_empty(), "{fired:?}");
    // The power goes: what was promised is there, the other one was not.
    let mut after = Store::at(Arc::new(SimFs::new()), DelayOptions::default(), store.now);
    after.restart_on(disk.crash_lose_all_unsynced());
    after.deliver();
    assert_eq!(after.given(), [1]);
    store.deliver();
    assert_eq!(store.given(), [2, 1]);
}

/// Case R2.
#[test]
fn a_cancellation_hits_what_is_not_handed_out_and_nothing_else() {
    let mut store = Store::fresh();
    let ids = ["a", "b"];
    let due = ids.map(|id| add(u64::from(id == "b"), NOW + 5, id, false));
    store.accept(0, due.to_vec());
    store.sync();
    store.now = NOW + 5;
    store.cancel("a");
    let handed = store.fire();
    store.cancel("b");
    store.append(&handed[0]);
    store.deliver();
    assert_eq!(store.given(), [1], "b was on its way, a never comes");
    store.restart();
    store.deliver();
    assert_eq!((store.given(), store.pending()), (vec![1], 0));
}

/// Case R3.
#[test]
fn a_replacement_takes_the_place_of_what_is_not_handed_out() {
    for late in [false, true] {
        let mut store = Store::fresh();
        store.accept(0, vec![add(1, NOW + 5, "a", false)]);
        store.sync();
        store.now = NOW + 5;
        let handed = if late { store.fire() } else { Vec::new() };
        store.accept(0, vec![add(2, NOW + 5, "a", true)]);
        store.sync();
        handed.iter().for_each(|delivery| store.append(delivery));
        store.deliver();
        let expected = if late { vec![1, 2] } else { vec![2] };
        assert_eq!(store.given(), expected);
        store.restart();
        store.deliver();
        assert_eq!((store.given(), store.pending()), (expected, 0));
    }
}

/// Case R4.
#[test]
fn a_pause_stops_what_is_not_handed_out_and_survives_a_start() {
    let mut store = Store::fresh();
    let options = DelayOptions {
        turn_records_max: 1,
        ..DelayOptions::default()
    };
    store.options = options;
    store.restart();
    store.add([(1, NOW + 5), (2, NOW + 5)]);
    store.now = NOW + 5;
    let handed = store.fire();
    let topic = partition(0).topic_id;
    store.queue.set_paused(topic, true, store.now).unwrap();
    store.append(&handed[0]);
    store.deliver_at(NOW + DAY_MS);
    assert_eq!(store.given(), [1]);
    store.restart();
    store.deliver();
    assert_eq!((store.given(), store.pending()), (vec![1], 1));
    store.queue.set_paused(topic, false, store.now).unwrap();
    store.deliver();
    assert_eq!(store.given(), [1, 2]);
}

/// Case R5.
#[test]
fn a_topic_that_is_deleted_while_its_records_are_handed_out_is_forgotten() {
    let mut store = Store::fresh();
    let other = PartitionId {
        topic_id: tidewheel_protocol::Uuid([2; 16]),
        partition: 0,
    };
    store.add([(1, NOW + 5), (2, NOW + 50_000_000)]);
    store.maintain().unwrap();
    store.now = NOW + 5;
    let handed = store.fire();
    store.queue.forget_topic(partition(0).topic_id);
    store.append(&handed[0]);
    store.deliver_at(NOW + DAY_MS);
    assert_eq!((store.given(), store.pending()), (vec![1], 0));
    assert_eq!(store.queue.pending(other).records, 0);
    for _ in 0..2 {
        store.checkpoint().unwrap();
    }
    assert_eq!(store.files("bucket"), [""; 0], "its files go");
}

/// Case R7.
#[test]
fn a_log_that_lost_its_end_is_given_exactly_that_again() {
    let mut store = Store::fresh();
    store.add([(1, NOW + 1), (2, NOW + 2), (3, NOW + 3), (4, NOW + 60_000)]);
    for due_ms in NOW + 1..=NOW + 3 {
        store.deliver_at(due_ms);
    }
    store.checkpoint().unwrap();
    assert_eq!(store.given(), [1, 2, 3]);
    store.logs.get_mut(&partition(0)).unwrap().truncate(1);
    store.restart();
    assert_eq!(store.report.rewound, [partition(0)]);
    assert_eq!(store.pending(), 3, "the count is put right");
    store.deliver();
    assert_eq!(store.given(), [1, 2, 3]);
    store.deliver_at(NOW + 60_000);
    assert_eq!((store.given(), store.pending()), (vec![1, 2, 3, 4], 0));
}

/// Case R9.
#[test]
fn records_that_come_for_a_bucket_while_it_is_loaded_or_divided_are_not_lost() {
    let options = DelayOptions {
        near_records_max: 20,
        segment_bytes: 3_000,
        step_bytes: 600,
        step_records: 5,
        ..DelayOptions::default()
    };
    let mut store = Store::new(Arc::new(SimFs::new()), options);
    let hour = NOW + 20 * 3_600_000;
    let due = |number: u64| {
        (
            number,
            hour + i64::try_from(number * 7_919 % 3_600_000).unwrap(),
        )
    };
    store.add((0..60).map(due));
    store.maintain().unwrap();
    // Its time comes near: it is divided and loaded step by step, and every step meets new records.
    for number in 60..160 {
        store.now = hour - 500_000 + i64::try_from(number).unwrap() * 4_000;
        store.add([due(number)]);
        store.queue.maintain(store.now).unwrap();
    }
    store.deliver_at(hour + 3_600_000);
    let mut given = store.given();
    given.sort_unstable();
    assert_eq!(given, (0..160).collect::<Vec<u64>>());
    assert_eq!(store.pending(), 0);
}

/// How a record is replaced.
type Replaces = fn(&mut Store) -> Vec<DelayOperation>;

/// Case C1: the cursor had passed the first one, and the power took what replaced it.
#[test]
fn a_power_cut_at_the_moment_of_a_replacement_leaves_the_one_or_the_other() {
    let by_id = |_: &mut Store| vec![add(2, NOW + 60_000, "a", true)];
    let by_name = |store: &mut Store| {
        let query = PendingQuery {
            count: 1,
            ..PendingQuery::all(partition(0).topic_id)
        };
        let page = store.queue.look(query).run(|| false).unwrap().unwrap();
        page.records[0].moved_to(NOW + 60_000).to_vec()
    };
    let ways: [(Replaces, u64); 2] = [(by_id, 2), (by_name, 1)];
    for (replace, number) in ways {
        let disk = SimFs::new();
        let mut store = Store::new(Arc::new(disk.clone()), DelayOptions::default());
        store.accept(0, vec![add(1, NOW + 5, "a", false)]);
        store.add([(3, NOW + 5)]);
        let replacement = replace(&mut store);
        store.accept(0, replacement);
        store.now = NOW + 5;
        let fired = store.queue.fire(store.now).unwrap();
        let wanted = (fired.wants_sync, fired.deliveries.len(), fired.cancelled);
        assert_eq!(wanted, (true, 0, 0), "3 would carry the cursor behind 1");
        // The partition's log is on the disk as far as it goes.
        let mut after = Store::at(Arc::new(SimFs::new()), DelayOptions::default(), store.now);
        after.logs = store.logs.clone();
        after.restart_on(disk.crash_lose_all_unsynced());
        after.deliver_at(NOW + 60_000);
        assert_eq!(after.given(), [1, 3], "as before the replacement");
        store.deliver();
        assert_eq!(store.given(), [3]);
        let mut after = Store::at(Arc::new(SimFs::new()), DelayOptions::default(), store.now);
        after.logs = store.logs.clone();
        after.restart_on(disk.crash_lose_all_unsynced());
        after.deliver_at(NOW + 60_000);
        assert_eq!(after.given(), [3, number], "as behind it");
    }
}

/// Case C2: every other one has expired, and goes to another partition.
#[test]
fn what_has_expired_stays_until_it_is_on_the_disk_elsewhere_and_costs_one_sync() {
    let disk = SimFs::new();
    let mut store = Store::new(Arc::new(disk.clone()), DelayOptions::default());
    let expires = |number: u64| match add(number, NOW + 5, "", false) {
        DelayOperation::Add(mut add) => {
            add.expires_ms = number.is_multiple_of(2).then_some(NOW + 1);
            DelayOperation::Add(add)
        }
        other => other,
    };
    store.accept(0, (0..100).map(expires).collect());
    store.sync();
    store.now = NOW + 5;
    let fire = |store: &mut Store| {
        let fired = store.queue.fire_keeping(store.now, &|_| true).unwrap();
        assert!(
            fired.deliveries.is_empty() && fired.expired == 0,
            "{fired:?}"
        );
        (fired.kept, fired.wants_sync)
    };
    let (kept, _) = fire(&mut store);
    assert_eq!(
        (kept.len(), fire(&mut store).0.len()),
        (50, 50),
        "until somebody says where they go"
    );
    let toward = DelayOperation::Toward {
        partition: partition(1),
        log_end: 0,
    };
    let adds = kept.iter().map(|found| {
        DelayOperation::Add(DelayedBatch {
            expires_ms: None,
            ..found.add.clone()
        })
    });
    let expired = kept.iter().map(PendingRecord::expired);
    let group = expired.chain([toward]).chain(adds).collect();
    store.accept(0, group);
    assert_eq!(store.queue.fate_of(&kept[0]), PendingFate::Cancelled);
    let of_first = PendingQuery {
        partition: Some(0),
        ..PendingQuery::all(partition(0).topic_id)
    };
    let page = store.queue.look(of_first).run(|| false).unwrap().unwrap();
    assert_eq!(page.records.len(), 50, "the others");
    let (none, wants_sync) = fire(&mut store);
    assert!(none.is_empty() && wants_sync);
    let mut after = Store::at(Arc::new(SimFs::new()), DelayOptions::default(), store.now);
    after.restart_on(disk.crash_lose_all_unsynced());
    assert_eq!(fire(&mut after).0.len(), 50, "the power took where they go");
    for _ in 0..2 {
        store.deliver();
        let odd: Vec<u64> = (0..50).map(|half| 2 * half + 1).collect();
        assert_eq!((store.given(), store.pending()), (odd, 0));
        let elsewhere = store.logs[&partition(1)].iter();
        let elsewhere: Vec<u64> = elsewhere.flat_map(|given| given.numbers.clone()).collect();
        assert_eq!(
            elsewhere,
            (0..50).map(|half| 2 * half).collect::<Vec<u64>>()
        );
        store.restart_on(disk.kill());
    }
}

/// One id that is replaced all the time, faster than the disk syncs, stops nobody.
#[test]
fn replacements_without_end_keep_nothing_waiting() {
    let mut store = Store::fresh();
    let mut syncing: Option<DelaySync> = None;
    for at in 0..1_000 {
        let number = 2 * u64::try_from(at).unwrap();
        let due_ms = NOW + at + 10;
        store.accept(
            0,
            vec![
                add(number, due_ms, "a", true),
                add(number + 1, due_ms, "", false),
            ],
        );
        // A sync takes 3 ms, and there is always one.
        if at % 3 == 0 {
            if let Some(work) = syncing.take() {
                let outcome = work.run(&*store.fs);
                store.queue.synced(&work, &outcome);
            }
            syncing = store.queue.sync_work();
        }
        store.now = NOW + at;
        for delivery in store.fire() {
            store.append(&delivery);
        }
        let last = store.given().last().copied();
        let late = at - 10 - last.map_or(-1, |last| i64::try_from(last / 2).unwrap());
        assert!(late <= 10, "{last:?} at {at}");
    }
    assert!(
        store.given().iter().all(|number| number % 2 == 1),
        "all were replaced"
    );
}

/// Elsewhere something is due in a year, and the partition is never empty.
#[test]
fn a_cancellation_is_forgotten_when_its_partition_has_delivered_what_is_due_later() {
    for restart in [false, true] {
        let mut store = Store::fresh();
        let far = add(1_000, NOW + 365 * DAY_MS, "", false);
        store.accept(1, vec![far]);
        store.accept(0, vec![add(1, NOW + 20_000, "a", false)]);
        store.accept(0, vec![add(2, NOW + 10_000, "b", false)]);
        store.cancel("b");
        store.accept(0, vec![add(3, NOW + 60_000, "b", false)]);
        store.accept(0, vec![add(4, NOW + 40_000, "", false)]);
        store.sync();
        for (now, left) in [(NOW + 15_000, 1), (NOW + 30_000, 1), (NOW + 45_000, 0)] {
            store.deliver_at(now);
            store.checkpoint().unwrap();
            assert_eq!(store.queue.totals().tombstones, left, "{restart}");
            if restart {
                store.restart();
            }
        }
        store.deliver_at(NOW + 60_000);
        assert_eq!(store.given(), [1, 4, 3]);
        assert_eq!(store.pending(), 1);
    }
}

/// Of what lies in a file of later records nothing but the checkpoint says when it is due.
#[test]
fn a_cancellation_that_comes_after_a_start_is_kept_for_what_is_due_much_later() {
    for lost in [false, true] {
        let mut store = Store::fresh();
        store.accept(0, vec![add(1, NOW + DAY_MS, "a", false)]);
        store.sync();
        for now in [NOW, NOW + 2_000] {
            store.now = now;
            store.maintain().unwrap();
        }
        for _ in 0..2 {
            store.checkpoint().unwrap();
            store.restart();
        }
        assert!(store.queue.totals().buckets > 0);
        store.cancel("a");
        if lost {
            for name in store.files("checkpoint") {
                store.fs.remove_file(&dir().join(name)).unwrap();
            }
            store.restart();
            assert!(store.report.checkpoint_lost);
        }
        store.accept(0, vec![add(2, NOW + 10_000, "", false)]);
        store.deliver_at(NOW + 15_000);
        store.checkpoint().unwrap();
        assert_eq!(store.queue.totals().tombstones, 1, "{lost}");
        store.deliver_at(NOW + DAY_MS);
        assert_eq!((store.given(), store.pending()), (vec![2], 0));
    }
}
