//! Log compaction: what stays, what goes and when, beside producers, readers, retention and crashes.

mod tombstones;
mod too_large;
mod world;

use crate::support::{NOW, Random, check_lookups, read_all};
use proptest::prelude::*;
use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::Compression;
use tidewheel_storage::StorageError;
use tidewheel_storage::fs::{Fault, SimFs};
use world::{RETENTION_MS, World, append, cleaner, config};

const PLAIN: Compression = Compression::None;

/// Eighty batches over a few keys in several segments, some of them tombstones, all durable. The first
/// half is compacted, so that the next pass finds segments to put together.
fn filled(config: LogConfig) -> World {
    let mut world = World::new(config);
    fill(&mut world, 0..40);
    world.clean(NOW);
    fill(&mut world, 40..80);
    world
}

fn fill(world: &mut World, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let keys = [[number % 5], [number % 3]];
        let value = [number; 60];
        let second = (number % 7 != 0).then_some(&value[..10]);
        let codec = Compression::ALL[usize::from(number % 5)];
        world.append(&[(&keys[0], Some(&value)), (&keys[1], second)], codec, NOW);
    }
    world.settle();
}

fn segments(world: &World) -> usize {
    world.files(".log").len()
}

#[test]
fn only_the_newest_of_every_key_stays_below_the_active_segment() {
    let mut world = filled(config());
    let before = segments(&world);
    let reports = world.clean(NOW);
    assert_eq!(reports.len(), 1);
    let stats = reports[0].outcome.as_ref().unwrap();
    assert!(stats.bytes_after < stats.bytes_before, "{stats:?}");
    world.check();
    assert!(segments(&world) < before, "small segments became one");
    let active = stats.cleaned_to;
    let mut keys: Vec<_> = world
        .read()
        .into_iter()
        .filter(|(offset, ..)| *offset < active)
        .map(|(_, key, _)| key)
        .collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "each key once");
    check_lookups(&world.log, &read_all(&world.log, 1 << 20));
    assert!(world.clean(NOW).is_empty(), "nothing is dirty any more");
    assert_eq!(world.verify(), Vec::<String>::new());
    world.manager = None;
}

#[test]
fn a_compacted_log_is_found_again_after_any_stop() {
    for clean in [true, false] {
        let mut world = filled(config());
        world.clean(NOW);
        let before = world.read();
        world.restart(clean);
        assert_eq!(world.read(), before, "clean: {clean}");
        world.check();
        check_lookups(&world.log, &read_all(&world.log, 1 << 20));
        assert!(world.clean(NOW).is_empty(), "it is known to be clean");
        world.append(&[(b"\0", Some(b"new"))], PLAIN, NOW);
        world.check();
    }
}

/// Fills the active segment until it is rolled, so that all before is compacted.
fn push_on(world: &mut World, now_ms: i64) {
    for _ in 0..3 {
        world.append(&[(b"filler", Some(&[9; 900]))], PLAIN, now_ms);
    }
    world.settle();
}

#[test]
fn younger_records_than_the_least_lag_stay_as_they_are() {
    let lag = LogConfig {
        min_compaction_lag_ms: 10_000,
        ..config()
    };
    let mut world = World::new(lag);
    fill(&mut world, 0..40);
    let before = world.read();
    assert!(world.clean(NOW + 9_999).is_empty());
    assert_eq!(world.read(), before);
    assert_eq!(world.clean(NOW + 10_010).len(), 1);
    assert!(world.read().len() < before.len());
    world.check();
}

#[test]
fn records_that_wait_too_long_are_compacted_whatever_the_ratio() {
    let lag = LogConfig {
        max_compaction_lag_ms: 10_000,
        min_cleanable_dirty_ratio: 1.0,
        ..config()
    };
    let mut world = World::new(lag);
    for value in [b"1", b"2", b"3"] {
        world.append(&[(b"a", Some(value))], PLAIN, NOW);
    }
    world.settle();
    assert!(world.clean(NOW + 10_000).is_empty(), "not yet");
    assert_eq!(segments(&world), 1);
    assert!(
        world.clean(NOW + 10_001).is_empty(),
        "the segment is rolled"
    );
    assert_eq!(segments(&world), 2);
    world.settle();
    assert_eq!(world.clean(NOW + 10_001).len(), 1);
    assert_eq!(world.read().len(), 1);
    world.check();
}

#[test]
fn a_log_is_compacted_above_its_dirty_ratio_only() {
    let half = LogConfig {
        min_cleanable_dirty_ratio: 0.5,
        ..config()
    };
    let mut world = World::new(half);
    for key in 0..40_u8 {
        world.append(&[(&[key], Some(&[1; 200]))], PLAIN, NOW);
    }
    world.settle();
    assert_eq!(world.clean(NOW).len(), 1, "all of it is dirty");
    let big = |world: &mut World, count| {
        for _ in 0..count {
            world.append(&[(b"big", Some(&[2; 1_400]))], PLAIN, NOW);
        }
        world.settle();
    };
    big(&mut world, 3);
    assert!(world.clean(NOW).is_empty(), "less than half of it");
    big(&mut world, 8);
    assert_eq!(world.clean(NOW).len(), 1);
    world.check();
}

#[test]
fn nothing_above_the_written_recovery_point_is_touched() {
    let mut world = World::new(config());
    for number in 0..40_u8 {
        world.append(&[(b"a", Some(&[number; 100]))], PLAIN, NOW);
    }
    assert!(world.clean(NOW).is_empty());
    world.settle();
    assert_eq!(world.clean(NOW).len(), 1);
}

#[test]
fn what_finds_no_room_in_memory_waits_for_the_next_pass() {
    let mut world = World::new(config());
    for round in 0..4_u8 {
        for key in 0..200_u8 {
            world.append(&[(&[key], Some(&[round; 20]))], PLAIN, NOW);
        }
    }
    world.settle();
    // The smallest table has 64 places.
    world.cleaner = cleaner(1);
    let passes = world.clean(NOW).len();
    assert!(passes > 5, "{passes}");
    world.check();
    assert!(world.read().len() < 300);
}

#[test]
fn idempotent_producers_go_on_after_compaction_and_any_start() {
    for clean in [true, false] {
        let mut world = World::new(config());
        for number in 0..30_i32 {
            let value = [7; 100];
            let records = [(&b"a"[..], Some(&value[..]))];
            let info = append(&world.log, &records, PLAIN, Some((5, number)), NOW).unwrap();
            world.note(&records, info.base_offset);
        }
        for _ in 0..20 {
            world.append(&[(b"a", Some(&[8; 100]))], PLAIN, NOW);
        }
        world.settle();
        world.clean(NOW);
        let headers: Vec<_> = read_all(&world.log, 1 << 20)
            .into_iter()
            .map(|batch| batch.header)
            .filter(|header| header.producer_id == 5)
            .collect();
        assert!(headers.iter().all(|header| header.record_count == 0));
        let last = headers.last().unwrap().last_sequence();
        assert_eq!(last, 29, "an empty batch keeps the sequence");
        world.restart(clean);
        // Also where all snapshots are lost, and the batches alone say it.
        let again = append(&world.log, &[(b"a", None)], PLAIN, Some((5, 29)), NOW).unwrap();
        assert!(again.duplicate, "clean: {clean}");
        assert_eq!(again.base_offset, 29);
        let gap = append(&world.log, &[(b"a", None)], PLAIN, Some((5, 31)), NOW);
        assert!(matches!(
            gap,
            Err(StorageError::OutOfOrderSequence { expected: 30, .. })
        ));
        let next = append(&world.log, &[(b"a", None)], PLAIN, Some((5, 30)), NOW).unwrap();
        assert!(!next.duplicate);
    }
}

#[test]
fn slices_of_old_segments_stay_good() {
    let mut world = filled(config());
    let read = world.log.read(0, 1 << 20, true).unwrap().slice.unwrap();
    let before = read.bytes().unwrap().to_vec();
    world.clean(NOW);
    world.manager().unlink_deleted(i64::MAX).unwrap();
    assert_eq!(read.bytes().unwrap(), before);
    read.load().unwrap();
}

#[test]
fn retention_and_deletion_go_on_in_a_compacted_log() {
    let both = LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: true,
            compact: true,
        },
        retention_ms: 5_000,
        ..config()
    };
    let mut world = World::new(both.clone());
    for key in 0..40_u8 {
        let records = [(&[key][..], Some(&[1; 80][..])), (b"a", Some(&[2; 80]))];
        world.append(&records, PLAIN, NOW);
    }
    world.settle();
    assert_eq!(world.clean(NOW).len(), 1);
    assert_eq!(
        world.log.apply_retention(NOW).unwrap().deleted_segments(),
        0
    );
    assert!(
        world
            .log
            .apply_retention(NOW + 6_000)
            .unwrap()
            .deleted_segments()
            > 0
    );

    let mut world = filled(config());
    world.config = config();
    world.log.set_config(LogConfig {
        cleanup_policy: config().cleanup_policy,
        ..both
    });
    let outcome = world.log.apply_retention(NOW + 6_000).unwrap();
    assert_eq!(
        outcome.deleted_segments(),
        0,
        "only compacted: nothing expires"
    );
    world.log.advance_log_start(30).unwrap();
    assert!(world.log.apply_retention(NOW).unwrap().deleted_segments() > 0);
    world.clean(NOW);
    world.check();
    world.settle();
    world.restart(false);
    assert_eq!(world.log.offsets().log_start, 30);
    world.check();
}

#[test]
fn a_topic_that_is_compacted_no_more_keeps_its_holes_and_one_that_begins_is_compacted() {
    let delete = LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: true,
            compact: false,
        },
        ..config()
    };
    let mut world = filled(delete.clone());
    assert!(world.clean(NOW).is_empty());
    world.log.set_config(config());
    assert_eq!(world.clean(NOW).len(), 1);
    world.check();
    world.config = delete;
    world.restart(false);
    world.check();
    assert_eq!(world.verify(), Vec::<String>::new());
}

#[test]
fn a_damaged_batch_makes_the_partition_uncleanable_and_nothing_is_lost() {
    let mut world = filled(config());
    let path = std::path::Path::new("/data/t-0/00000000000000000000.log");
    world.fs.rot(path, 17, b"!CRC").unwrap();
    let size = world.log.size_bytes();
    let reports = world.clean(NOW);
    assert_eq!(reports.len(), 1);
    assert!(reports[0].given_up, "{:?}", reports[0]);
    assert!(matches!(
        reports[0].outcome,
        Err(StorageError::Corrupt { .. })
    ));
    assert_eq!(world.log.size_bytes(), size);
    assert_eq!(world.files(".cleaned"), Vec::<String>::new());
    world.append(&[(b"a", Some(b"1"))], PLAIN, NOW);
    world.settle();
    assert!(world.clean(NOW).is_empty(), "it is left alone");
}

#[test]
fn a_pass_ends_in_the_middle_when_it_is_told_to() {
    let mut world = filled(config());
    let before = world.read();
    for calls in 0..60 {
        world.clean_for(calls);
        world.check();
    }
    assert_eq!(world.files(".cleaned"), Vec::<String>::new());
    assert!(before.len() >= world.read().len());
    world.clean(NOW);
    world.check();
}

#[test]
fn a_topic_that_is_deleted_during_a_pass_is_gone() {
    let mut world = filled(config());
    let mut calls = 0;
    let (log, manager) = (&world.log, world.manager.as_ref().unwrap());
    let mut pace = |_| {
        calls += 1;
        if calls == 50 {
            manager.delete(log, NOW).unwrap();
        }
        true
    };
    let mut reports = 0;
    world
        .cleaner
        .clean_due(manager, &|| NOW, &mut pace, &mut |_| reports += 1);
    assert!(calls >= 50, "{calls}");
    assert_eq!(reports, 0, "that is no failure");
    manager.unlink_deleted(i64::MAX).unwrap();
}

#[test]
fn what_retention_takes_during_a_pass_does_not_come_back() {
    let mut world = filled(config());
    let mut calls = 0;
    let log = &world.log;
    let mut pace = |_| {
        calls += 1;
        if calls == 50 {
            log.advance_log_start(100).unwrap();
            assert!(log.apply_retention(NOW).unwrap().deleted_segments() > 0);
        }
        true
    };
    let manager = world.manager.as_ref().unwrap();
    world
        .cleaner
        .clean_due(manager, &|| NOW, &mut pace, &mut |_| {});
    assert!(calls >= 50, "{calls}");
    world.check();
    assert_eq!(world.clean(NOW).len(), 0, "the rest of it is compacted");
    world.settle();
    world.restart(false);
    assert_eq!(world.log.offsets().log_start, 100);
    world.check();
}

#[test]
fn a_log_gets_on_whose_first_segment_goes_during_every_part_of_a_pass() {
    let mut world = World::new(LogConfig {
        segment_bytes: 500,
        ..config()
    });
    fill(&mut world, 0..80);
    let (before, log) = (segments(&world), &world.log);
    // What takes its segments one by one also closes their files, as an idle log's are.
    let (mut calls, mut taken) = (0, 0);
    let manager = world.manager.as_ref().unwrap();
    let mut pace = |_| {
        calls += 1;
        let end = log.offsets().log_start + 8;
        if calls % 3 == 0 && end < 120 {
            log.advance_log_start(end).unwrap();
            taken += log.apply_retention(NOW).unwrap().deleted_segments();
            manager.checkpoint(NOW).unwrap();
            manager.unlink_deleted(i64::MAX).unwrap();
            manager.release_idle(i64::MAX, 0);
            manager.release_idle(i64::MAX, 0);
        }
        true
    };
    let mut reports = Vec::new();
    let mut report = |report| reports.push(report);
    world
        .cleaner
        .clean_due(manager, &|| NOW, &mut pace, &mut report);
    assert!(taken >= 10, "{taken} of {before} segments");
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].outcome.as_ref().unwrap().cleaned_to > 120);
    world.check();
    assert_eq!(world.clean(NOW).len(), 0, "all of it is compacted");
    world.restart(false);
    world.check();
}

/// What a fault at each operation of a pass leaves.
fn at_every_operation(fault: Fault, test: impl Fn(&World, &World, u64)) {
    at_every_operation_on(&filled(config()), fault, test);
}

fn at_every_operation_on(base: &World, fault: Fault, test: impl Fn(&World, &World, u64)) {
    let mut whole = base.restart_on(base.fs.kill());
    whole.settle();
    let start = whole.fs.op_count();
    whole.clean(NOW);
    whole.check();
    let ops = whole.fs.op_count() - start;
    assert!(ops > 20, "{ops}");
    for op in 0..ops {
        let mut world = base.restart_on(base.fs.kill());
        world.settle();
        assert_eq!(world.fs.op_count(), start, "the same program");
        world.fs.fail_at(start + op, fault);
        world.clean(NOW);
        test(base, &world, op);
    }
}

/// The partition is whole, can be compacted to the end, and survives another start.
fn recovers(base: &World, fs: SimFs, op: u64) {
    let mut world = base.restart_on(fs);
    world.check();
    assert_eq!(world.sent.len(), base.sent.len(), "operation {op}");
    for ending in [".cleaned", ".swap"] {
        assert_eq!(world.files(ending), Vec::<String>::new(), "operation {op}");
    }
    world.settle();
    world.clean(NOW);
    world.check();
    check_lookups(&world.log, &read_all(&world.log, 1 << 20));
    world.restart(true);
    world.check();
    assert_eq!(world.verify(), Vec::<String>::new(), "operation {op}");
}

#[test]
fn a_kill_at_any_operation_of_a_pass_loses_nothing() {
    at_every_operation(Fault::Crash, |base, world, op| {
        recovers(base, world.fs.kill(), op);
    });
}

#[test]
fn a_power_cut_at_any_operation_of_a_pass_loses_nothing() {
    at_every_operation(Fault::Crash, |base, world, op| {
        recovers(base, world.fs.crash_lose_all_unsynced(), op);
        for seed in 0..3 {
            recovers(base, world.fs.crash(op * 3 + seed), op);
        }
    });
}

#[test]
fn a_disk_that_fails_during_a_pass_is_finished_by_the_next_start() {
    at_every_operation(Fault::Eio, |base, world, op| {
        let offline = world.manager().offline_cause(0).is_some();
        assert!(offline, "operation {op}");
        recovers(base, world.fs.kill(), op);
    });
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was_until_there_is_room() {
    at_every_operation(Fault::Enospc, |base, world, op| {
        if world.manager().offline_cause(0).is_none() {
            world.check();
        }
        recovers(base, world.fs.kill(), op);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// A random life of a compacted partition beside a map.
    #[test]
    fn a_compacted_log_agrees_with_a_map(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut world = World::new(config());
        world.cleaner = cleaner(if random.chance(30) { 1 } else { 1 << 20 });
        let mut now_ms = NOW;
        for step in 0..150_u64 {
            match random.below(100) {
                0..=69 => {
                    let count = 1 + random.index(4);
                    let keys: Vec<[u8; 1]> = (0..count)
                        .map(|_| [u8::try_from(random.below(40)).unwrap()])
                        .collect();
                    let value = vec![step.to_le_bytes()[0]; random.index(120)];
                    let records: Vec<_> = keys
                        .iter()
                        .map(|key| (&key[..], (!random.chance(20)).then_some(&value[..])))
                        .collect();
                    let codec = Compression::ALL[random.index(5)];
                    world.append(&records, codec, now_ms);
                }
                70..=79 => world.settle(),
                80..=87 => {
                    now_ms += random.signed(2 * 1_000);
                    world.clean(now_ms);
                    world.check_tombstones(now_ms);
                }
                88..=90 => world.restart(true),
                91..=93 => world.restart(false),
                94..=96 => {
                    let fs = world.fs.crash(step);
                    world = world.restart_on(fs);
                }
                97 => {
                    let end = world.log.offsets().high_watermark;
                    let start = world.log.offsets().log_start;
                    world.log.advance_log_start(start + (end - start) / 4).unwrap();
                    world.settle();
                }
                98 => {
                    world.log.apply_retention(now_ms).unwrap();
                    world.settle();
                }
                _ => world.manager().unlink_deleted(i64::MAX).unwrap(),
            }
            world.check();
        }
        world.settle();
        world.clean(now_ms);
        world.check();
        world.restart(random.chance(50));
        world.clean(now_ms + RETENTION_MS);
        world.check_tombstones(now_ms + RETENTION_MS);
        prop_assert_eq!(world.verify(), Vec::<String>::new());
    }
}
