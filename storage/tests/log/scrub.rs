//! The scrubber: it finds what is rotten, says where, and leaves everything else alone.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::support::{Draft, Log, Manager, NOW, append, config, live, open, read_all};
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::{Damage, ScrubStats, StorageError};

/// Two partitions with several segments each, stopped and started again.
fn filled() -> (SimFs, Manager, Vec<Arc<Log>>) {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let partitions = || vec![live("a", 1, config()), live("b", 2, config())];
    let (manager, logs) = open(&fs, partitions(), 0).unwrap();
    for id in 0..60 {
        append(
            &logs[usize::try_from(id % 2).unwrap()],
            &Draft::new(id),
            false,
            NOW,
        )
        .unwrap();
    }
    manager.close(NOW).unwrap();
    drop((manager, logs));
    let (manager, mut logs) = open(&fs, partitions(), 1).unwrap();
    logs.sort_by(|one, other| one.topic_partition().cmp(other.topic_partition()));
    (disk, manager, logs)
}

fn scrub(manager: &Manager, first: u64) -> (Vec<Damage>, Option<ScrubStats>) {
    let mut damages = Vec::new();
    let stats = manager.scrub(first, &mut |_| true, &mut |damage| damages.push(damage));
    (damages, stats)
}

#[test]
fn sound_segments_are_gone_through_and_nothing_is_touched() {
    let (disk, manager, logs) = filled();
    let ops = disk.op_count();
    let mut bytes = 0;
    let stats = manager.scrub(
        7,
        &mut |read| {
            bytes += read;
            true
        },
        &mut |damage| {
            panic!("{damage:?}");
        },
    );
    let stats = stats.unwrap();
    assert!(
        stats.segments >= 2 && stats.bytes == bytes,
        "{stats:?} {bytes}"
    );
    assert_eq!(disk.op_count(), ops);
    append(&logs[0], &Draft::new(100), false, NOW).unwrap();
}

#[test]
fn a_rotten_batch_is_named_and_its_partition_takes_no_appends() {
    for first in 0..4 {
        let (disk, manager, logs) = filled();
        let sealed = Path::new("/data/a-0/00000000000000000000.log");
        disk.rot(sealed, 300, &[0xee, 0xee]).unwrap();
        let (damages, stats) = scrub(&manager, first);
        assert!(stats.is_some(), "the sweep goes on");
        assert_eq!(damages.len(), 1);
        assert_eq!(&*damages[0].tp.topic, "a");
        let said = damages[0].error.to_string();
        assert!(said.contains(sealed.to_str().unwrap()), "{said}");
        assert!(matches!(damages[0].error, StorageError::Corrupt { .. }));
        let refused = append(&logs[0], &Draft::new(100), false, NOW);
        assert!(
            matches!(refused, Err(StorageError::Corrupt { .. })),
            "{refused:?}"
        );
        // Read as it is; the other one goes on.
        let end = logs[0].offsets().log_end;
        assert!(logs[0].read(end - 1, 1, true).unwrap().slice.is_some());
        append(&logs[1], &Draft::new(101), false, NOW).unwrap();
        assert_eq!(read_all(&logs[1], 1 << 20).len(), 31);
        assert_eq!(scrub(&manager, first).0.len(), 0, "it is told once");
    }
}

#[test]
fn what_leaves_the_log_meanwhile_is_no_damage() {
    let (_disk, manager, logs) = filled();
    let mut calls = 0;
    let mut pace = |_| {
        calls += 1;
        if calls == 3 {
            for log in &logs {
                log.advance_log_start(25).unwrap();
                assert!(log.apply_retention(NOW).unwrap().deleted_segments() > 0);
            }
            manager.checkpoint(NOW).unwrap();
            manager.unlink_deleted(i64::MAX).unwrap();
        }
        if calls == 5 {
            manager.delete(&logs[1], NOW).unwrap();
        }
        true
    };
    let stats = manager.scrub(0, &mut pace, &mut |damage| panic!("{damage:?}"));
    assert!(stats.is_some() && calls >= 3, "{calls}");
}

#[test]
fn a_sweep_ends_where_it_is_told_to() {
    let (_disk, manager, _logs) = filled();
    let mut calls = 0;
    let mut pace = |_| {
        calls += 1;
        calls < 4
    };
    assert_eq!(manager.scrub(0, &mut pace, &mut |_| ()), None);
    assert_eq!(calls, 4);
}

#[test]
fn a_log_is_verified_to_its_end_in_as_many_steps_as_somebody_likes() {
    let (disk, _manager, logs) = filled();
    let log = &logs[0];
    append(log, &Draft::new(100), false, NOW).unwrap();
    let ops = disk.op_count();
    let end = log.offsets().log_end;
    let whole = log.verify(0, &mut |_| true).unwrap();
    assert_eq!((whole.next_offset, whole.end_offset), (None, end));
    assert!(whole.damage.is_none(), "{whole:?}");
    assert_eq!(whole.bytes, log.size_bytes());
    let (mut from, mut batches, mut bytes) = (0, 0, 0);
    for step in 1.. {
        let mut left = step % 3 + 1;
        let mut pace = |_| {
            left -= 1;
            left > 0
        };
        let some = log.verify(from, &mut pace).unwrap();
        assert!(some.batches <= 3 && some.damage.is_none(), "{some:?}");
        (batches, bytes) = (batches + some.batches, bytes + some.bytes);
        match some.next_offset {
            Some(next) => assert!(std::mem::replace(&mut from, next) < next),
            None => break,
        }
    }
    assert_eq!((batches, bytes), (whole.batches, whole.bytes));
    assert_eq!(log.verify(end, &mut |_| true).unwrap().batches, 0);
    assert_eq!(disk.op_count(), ops, "nothing was touched");
}

#[test]
fn what_is_appended_meanwhile_is_no_damage() {
    let (_disk, _manager, logs) = filled();
    let log = &logs[0];
    thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for id in 1_000..3_000 {
                append(log, &Draft::new(id), false, NOW).unwrap();
            }
        });
        while !appending.is_finished() {
            for from in [log.offsets().log_end, i64::MAX] {
                let found = log.verify(from, &mut |_| true).unwrap();
                assert!(found.damage.is_none(), "{found:?}");
            }
        }
    });
}

#[test]
fn damage_is_found_wherever_it_is_and_leaves_the_log_as_it_was() {
    let (disk, _manager, logs) = filled();
    let log = &logs[0];
    append(log, &Draft::new(100), false, NOW).unwrap();
    let active = format!("/data/a-0/{:020}.log", log.roll(NOW).unwrap().1);
    append(log, &Draft::new(101), false, NOW).unwrap();
    disk.rot(Path::new(&active), 70, &[0xee]).unwrap();
    let found = log.verify(0, &mut |_| true).unwrap();
    let said = found.damage.unwrap().to_string();
    assert!(said.contains(&active), "{said}");
    assert!(!log.is_damaged(), "whoever looked decides");
    append(log, &Draft::new(102), false, NOW).unwrap();
    let sealed = Path::new("/data/a-0/00000000000000000000.log");
    disk.rot(sealed, 300, &[0xee, 0xee]).unwrap();
    let found = log.verify(0, &mut |_| true).unwrap();
    let damage = found.damage.unwrap();
    assert!(damage.to_string().contains("00000.log"), "{damage}");
    log.refuse(damage);
    assert!(log.is_damaged());
    let refused = append(log, &Draft::new(103), false, NOW);
    assert!(matches!(refused, Err(StorageError::Corrupt { .. })));
    assert!(log.roll(NOW).is_err());
}

#[test]
fn a_segment_is_rolled_where_it_holds_something() {
    let (_disk, manager, logs) = filled();
    let log = &logs[0];
    let (segments, end) = (log.segment_count(), log.offsets().log_end);
    assert_eq!(log.roll(NOW).unwrap(), (true, end));
    assert_eq!(log.segment_count(), segments + 1);
    assert_eq!(log.roll(NOW).unwrap(), (false, end));
    assert_eq!(log.segment_count(), segments + 1);
    append(log, &Draft::new(100), false, NOW).unwrap();
    assert_eq!(read_all(log, 1 << 20).len(), 31);
    manager.close(NOW).unwrap();
    assert!(matches!(log.roll(NOW), Err(StorageError::Closed)));
}
