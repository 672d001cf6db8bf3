//! When tombstones go: once their time is over, whatever happened to the broker meanwhile.

use tidewheel_config::LogConfig;
use tidewheel_protocol::Compression;
use tidewheel_storage::fs::Fault;

use super::world::{RETENTION_MS, World, config};
use super::{PLAIN, at_every_operation_on, push_on};
use crate::support::{NOW, believe_texts, read_all};

/// A log whose record at offset 2, a tombstone of `a`, was met by a pass.
fn with_a_tombstone() -> World {
    let mut world = World::new(config());
    world.append(&[(b"a", Some(b"1")), (b"b", Some(b"2"))], PLAIN, NOW);
    world.append(&[(b"a", None)], Compression::Zstd, NOW);
    push_on(&mut world, NOW);
    assert_eq!(world.clean(NOW).len(), 1);
    world
}

fn has_tombstone(world: &World) -> bool {
    world.read().contains(&(2, b"a".to_vec(), None))
}

#[test]
fn a_tombstone_is_shown_until_its_time_is_over() {
    let mut world = with_a_tombstone();
    assert!(has_tombstone(&world), "consumers must see it");
    assert!(!world.read().iter().any(|(offset, ..)| *offset == 0));
    let batches = read_all(&world.log, 1 << 20);
    let batch = batches.iter().find(|batch| batch.header.base_offset == 2);
    let header = batch.unwrap().header;
    assert!(header.has_delete_horizon());
    assert_eq!(header.base_timestamp, NOW + RETENTION_MS);
    assert_eq!(header.max_timestamp, NOW);
    let records: Vec<_> = batch.unwrap().records(1 << 20).unwrap().collect();
    assert_eq!(records[0].as_ref().unwrap().timestamp, NOW, "it stays");
    push_on(&mut world, NOW);
    world.clean(NOW + RETENTION_MS - 1);
    assert!(has_tombstone(&world));
    assert_eq!(world.clean(NOW + RETENTION_MS).len(), 1);
    assert!(!has_tombstone(&world));
    world.check();
}

/// Nothing is ever written after the start.
#[test]
fn a_tombstone_goes_after_a_start_as_well() {
    for clean in [true, false] {
        let mut world = with_a_tombstone();
        world.restart(clean);
        assert!(world.clean(NOW + RETENTION_MS - 1).is_empty(), "not yet");
        world.restart(clean);
        assert!(has_tombstone(&world));
        assert_eq!(world.clean(NOW + RETENTION_MS).len(), 1, "clean: {clean}");
        assert!(!has_tombstone(&world));
        world.check();
        world.restart(clean);
        let later = NOW + 9 * RETENTION_MS;
        assert!(world.clean(later).is_empty(), "none waits any more");
    }
}

#[test]
fn where_the_checksum_is_lost_one_pass_finds_the_tombstones() {
    let mut world = with_a_tombstone();
    world.manager.take().unwrap().close(NOW).unwrap();
    believe_texts(&world.fs);
    let mut world = world.restart_on(world.fs.kill());
    assert_eq!(world.clean(NOW).len(), 1, "nobody knows of any");
    assert!(world.clean(NOW + RETENTION_MS - 1).is_empty());
    assert!(has_tombstone(&world));
    assert_eq!(world.clean(NOW + RETENTION_MS).len(), 1);
    assert!(!has_tombstone(&world));
    world.check();
}

/// A large part that is compacted, and a dirty one of the same size of which next to nothing stays: where a pass ends
/// in the middle of it, too little is dirty for another one.
fn mostly_clean() -> World {
    let mut world = World::new(LogConfig {
        min_cleanable_dirty_ratio: 0.5,
        ..config()
    });
    for key in 0..6 {
        world.append(&[(&[key], Some(&[key; 1_300]))], PLAIN, NOW);
    }
    push_on(&mut world, NOW);
    assert_eq!(world.clean(NOW).len(), 1);
    world.append(&[(&[0], None)], PLAIN, NOW);
    for number in 0..8 {
        world.append(&[(b"filler", Some(&[number; 1_300]))], PLAIN, NOW);
    }
    push_on(&mut world, NOW);
    world
}

fn goes_in_the_end(world: &mut World, op: u64) {
    world.settle();
    for passed in 0..3 {
        let now_ms = NOW + passed * RETENTION_MS;
        world.clean(now_ms);
        world.check();
        world.check_tombstones(now_ms);
        world.restart(op.is_multiple_of(2));
    }
    let left = world.read().into_iter().find(|sent| sent.2.is_none());
    assert_eq!(left, None, "operation {op}");
}

#[test]
fn a_tombstone_goes_wherever_a_pass_was_cut_short() {
    let base = mostly_clean();
    at_every_operation_on(&base, Fault::Crash, |base, world, op| {
        goes_in_the_end(&mut base.restart_on(world.fs.kill()), op);
        goes_in_the_end(&mut base.restart_on(world.fs.crash_lose_all_unsynced()), op);
        goes_in_the_end(&mut base.restart_on(world.fs.crash(op)), op);
    });
    at_every_operation_on(&base, Fault::Enospc, |base, world, op| {
        goes_in_the_end(&mut base.restart_on(world.fs.kill()), op);
    });
}

/// A stop ends a pass in the middle as well, and is a clean one.
#[test]
fn a_tombstone_goes_after_a_pass_that_a_stop_ended() {
    let base = mostly_clean();
    for calls in 0..40 {
        let mut world = base.restart_on(base.fs.kill());
        world.settle();
        world.clean_for(calls);
        world.restart(true);
        goes_in_the_end(&mut world, 0);
    }
}
