//! Batches that compaction cannot take up: they came before the topic was compacted, or before producers were
//! refused.

use tidewheel_config::limits::COMPACTED_BATCH_BYTES_MAX;
use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::Compression;

use super::world::{RETENTION_MS, World, config};
use super::{PLAIN, push_on};
use crate::support::NOW;

fn kept(world: &World, key: &[u8]) -> Vec<(i64, Option<usize>)> {
    let found = world
        .read()
        .into_iter()
        .filter(|(_, found, _)| found == key);
    found
        .map(|(offset, _, value)| (offset, value.map(|value| value.len())))
        .collect()
}

/// A log of a topic that becomes compacted, with a batch of one huge value, and values of its key before and behind.
fn with_a_huge_value() -> World {
    let mut world = World::new(LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: true,
            compact: false,
        },
        ..config()
    });
    world.append(&[(b"a", Some(b"1")), (b"b", Some(b"2"))], PLAIN, NOW);
    let huge = vec![0; COMPACTED_BATCH_BYTES_MAX];
    world.append(&[(b"a", Some(&huge))], Compression::Zstd, NOW);
    world.append(&[(b"b", Some(b"3"))], PLAIN, NOW);
    world.config = config();
    world.log.set_config(config());
    world
}

#[test]
fn a_batch_that_is_too_large_stays_whole_and_the_pass_goes_on() {
    let mut world = with_a_huge_value();
    push_on(&mut world, NOW);
    let reports = world.clean(NOW);
    assert_eq!(reports.len(), 1);
    assert!(!reports[0].given_up, "{:?}", reports[0]);
    let stats = reports[0].outcome.as_ref().unwrap();
    assert_eq!(stats.too_large, Some(2));
    world.check();
    assert_eq!(kept(&world, b"b"), [(3, Some(1))], "others are compacted");
    // Nobody knows whether something newer than the first of them is in the batch.
    let huge = (2, Some(COMPACTED_BATCH_BYTES_MAX));
    assert_eq!(kept(&world, b"a"), [(0, Some(1)), huge]);

    world.append(&[(b"a", Some(b"4")), (b"b", Some(b"5"))], PLAIN, NOW);
    push_on(&mut world, NOW);
    let reports = world.clean(NOW);
    let stats = reports[0].outcome.as_ref().unwrap();
    assert_eq!(stats.too_large, None, "it was told of");
    world.check();
    let newest = world.sent.iter().rfind(|sent| sent.1 == b"a").unwrap().0;
    assert_eq!(kept(&world, b"a"), [huge, (newest, Some(1))]);
    assert_eq!(kept(&world, b"b").len(), 1);
    world.restart(false);
    world.check();
    assert_eq!(world.verify(), Vec::<String>::new());
}

/// It would be there again for whoever reads from the beginning.
#[test]
fn what_is_deleted_in_a_batch_that_is_too_large_stays_deleted() {
    for restart in [false, true] {
        let mut world = with_a_huge_value();
        world.append(&[(b"a", None), (b"b", None)], PLAIN, NOW);
        for later in [0, RETENTION_MS, 2 * RETENTION_MS] {
            push_on(&mut world, NOW);
            world.clean(NOW + later);
            world.check();
            let huge = (2, Some(COMPACTED_BATCH_BYTES_MAX));
            assert_eq!(kept(&world, b"a").last(), Some(&(4, None)));
            assert!(kept(&world, b"a").contains(&huge));
            if restart {
                world.restart(false);
            }
        }
        assert!(world.clean(NOW + 3 * RETENTION_MS).is_empty(), "in vain");
    }
}

/// What held it back may go without anything new in the log, also after a start.
#[test]
fn a_tombstone_goes_when_the_batch_is_gone_that_held_it_back() {
    for restart in [None, Some(true), Some(false)] {
        goes_with_what_held_it_back(restart);
    }
}

/// `restart`: none, or after a clean stop or another.
fn goes_with_what_held_it_back(restart: Option<bool>) {
    let mut world = with_a_huge_value();
    // It lies in a segment of its own.
    for key in [b"c", b"d"] {
        world.append(&[(key, Some(&[9; 900]))], PLAIN, NOW);
    }
    world.append(&[(b"a", None)], PLAIN, NOW);
    push_on(&mut world, NOW);
    world.clean(NOW);
    // Its time comes, and it has to stay.
    assert_eq!(world.clean(NOW + RETENTION_MS).len(), 1);
    assert_eq!(kept(&world, b"a").last(), Some(&(6, None)));
    let later = NOW + 2 * RETENTION_MS;
    assert!(world.clean(later).is_empty(), "not again and again");
    if let Some(clean) = restart {
        world.restart(clean);
        assert!(world.clean(later).is_empty(), "nor after a start");
    }

    world.log.advance_log_start(4).unwrap();
    let gone = world.log.apply_retention(NOW).unwrap();
    assert!(gone.deleted_segments() > 0);
    assert_eq!(world.clean(later).len(), 1);
    assert_eq!(kept(&world, b"a"), []);
    assert_eq!(kept(&world, b"c"), [(4, Some(900))]);
    assert!(world.clean(later).is_empty(), "nothing waits any more");
    world.restart(false);
    assert_eq!(kept(&world, b"a"), []);
}
