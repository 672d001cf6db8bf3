//! What a look finds.

use super::super::test_queue::{NOW, PARTITION, accept, add, deliver, open};
use super::super::{DelayKey, DelayOperation, DelayOptions, DelayQueue};
use super::*;

fn queue() -> DelayQueue {
    open(DelayOptions {
        near_ms: 1_000,
        ..DelayOptions::default()
    })
}

/// Bounds under which all is kept in memory.
fn near_all() -> DelayOptions {
    DelayOptions {
        near_ms: u64::MAX,
        ..DelayOptions::default()
    }
}

fn never() -> bool {
    false
}

fn look(queue: &DelayQueue, query: PendingQuery) -> (Vec<i64>, bool) {
    let page = queue.look(query).run(never).unwrap().unwrap();
    let due = page.records.iter().map(|found| found.add.due_ms);
    (due.collect(), page.more)
}

#[test]
fn what_is_pending_is_found_wherever_it_lies_and_once() {
    let mut queue = queue();
    let due = [100, 30_000, 2_000_000, 90_000_000, 200_000_000].map(|ahead| NOW + ahead);
    for at in [4, 0, 2, 3, 1] {
        accept(&mut queue, NOW, [add(due[at])]);
    }
    let all = PendingQuery::all(PARTITION.topic_id);
    assert_eq!(look(&queue, all), (due.to_vec(), false), "in the delay log");
    while queue.maintain(NOW + 2_000).unwrap() {}
    assert_eq!(
        look(&queue, all),
        (due.to_vec(), false),
        "in buckets as well"
    );
    let mut after = DelayKey::default();
    let mut seen = Vec::new();
    loop {
        let query = PendingQuery {
            after,
            count: 2,
            ..all
        };
        let page = queue.look(query).run(never).unwrap().unwrap();
        after = page.records.last().map_or(after, |last| last.key);
        seen.extend(page.records.iter().map(|found| found.add.due_ms));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, due, "page by page");
    let until = PendingQuery {
        until_ms: due[2].unsigned_abs(),
        ..all
    };
    assert_eq!(look(&queue, until).0, due[..3]);
    for other in [
        PendingQuery::all(Uuid([9; 16])),
        PendingQuery {
            partition: Some(1),
            ..all
        },
    ] {
        assert_eq!(look(&queue, other), (Vec::new(), false));
    }
    assert_eq!(deliver(&mut queue, NOW + 150, &mut 0), due[..1]);
    assert_eq!(look(&queue, all).0, due[1..], "not what was delivered");
    queue.forget_topic(PARTITION.topic_id);
    assert!(look(&queue, all).0.is_empty());
}

#[test]
fn one_is_cancelled_or_moved_by_its_key() {
    let mut queue = queue();
    let first = [add(NOW + 500), add(NOW + 90_000), add(NOW + 5_000_000)];
    accept(&mut queue, NOW, first);
    while queue.maintain(NOW + 2_000).unwrap() {}
    let all = PendingQuery::all(PARTITION.topic_id);
    let found = queue.look(all).run(never).unwrap().unwrap().records;
    for record in &found {
        let query = PendingQuery::one(PARTITION, record.key);
        let page = queue.look(query).run(never).unwrap().unwrap();
        assert_eq!(&page.records, std::slice::from_ref(record));
        assert_eq!(queue.fate_of(record), PendingFate::Pending);
    }
    accept(&mut queue, NOW, [found[1].cancelled()]);
    assert_eq!(queue.fate_of(&found[1]), PendingFate::Cancelled);
    let moved = accept(&mut queue, NOW, found[2].moved_to(NOW + 700));
    assert_eq!(queue.fate_of(&found[2]), PendingFate::Cancelled);
    let (due, _) = look(&queue, all);
    assert_eq!(due, [NOW + 500, NOW + 700]);
    let new = PendingRecord {
        key: DelayKey {
            due_ms: (NOW + 700).unsigned_abs(),
            ticket: moved.first_ticket + 1,
        },
        ..found[2].clone()
    };
    assert_eq!(queue.fate_of(&new), PendingFate::Pending);
    while queue.maintain(NOW + 6_000).unwrap() {}
    let mut log_end = 0;
    assert_eq!(
        deliver(&mut queue, NOW + 6_000, &mut log_end),
        [NOW + 500, NOW + 700]
    );
    assert_eq!(queue.fate_of(&new), PendingFate::Delivered);
    let mut rest = Vec::new();
    for later_ms in (0..5_100_000).step_by(10_000) {
        while queue.maintain(NOW + later_ms).unwrap() {}
        rest.extend(deliver(&mut queue, NOW + later_ms, &mut log_end));
    }
    assert!(
        rest.is_empty(),
        "neither the cancelled one nor the moved one at its old time"
    );
    assert_eq!(queue.totals().pending.records, 0);
}

#[test]
fn one_is_found_by_its_key_without_reading_what_is_not_its_own() {
    let mut queue = queue();
    let due = [100, 700, 90_000, 5_000_000, 5_000_001, 200_000_000].map(|ahead| NOW + ahead);
    let first = accept(&mut queue, NOW, due.map(add)).first_ticket;
    let key = |at: usize| DelayKey {
        due_ms: due[at].unsigned_abs(),
        ticket: first + at as u64,
    };
    let find = |queue: &mut DelayQueue, key| {
        let look = queue.look_for(PARTITION, key, &mut PendingSearch::default());
        let look = look.unwrap().expect("they are few");
        let (log, buckets) = (look.log.len(), look.buckets.len());
        let found = look.run(never).unwrap().unwrap().records;
        assert!(found.iter().all(|record| record.key == key));
        (found.len(), log, buckets)
    };
    assert_eq!(find(&mut queue, key(0)), (1, 0, 0), "in the wheel");
    assert_eq!(find(&mut queue, key(3)), (1, 1, 0), "not copied yet");
    while queue.maintain(NOW + 2_000).unwrap() {}
    for (at, expected) in [
        (1, (1, 0, 0)),
        (2, (1, 0, 0)),
        (3, (1, 0, 1)),
        (5, (1, 0, 1)),
    ] {
        assert_eq!(find(&mut queue, key(at)), expected, "{at}");
    }
    let mut log_end = 0;
    let fired = queue.fire(NOW + 50).unwrap();
    assert!(fired.deliveries.is_empty());
    let cancelled = DelayOperation::CancelOne {
        key: key(1),
        records: 1,
    };
    accept(&mut queue, NOW, [cancelled]);
    assert_eq!(find(&mut queue, key(1)).0, 0, "cancelled");
    assert_eq!(deliver(&mut queue, NOW + 150, &mut log_end), due[..1]);
    assert_eq!(find(&mut queue, key(0)).0, 0, "delivered");
    queue.set_paused(PARTITION.topic_id, true, NOW).unwrap();
    queue.fire(due[2]).unwrap();
    assert_eq!(find(&mut queue, key(2)), (1, 0, 0), "due, and held");
    let other = DelayKey {
        ticket: first + 50,
        ..key(4)
    };
    assert_eq!(find(&mut queue, other).0, 0, "no such ticket");
}

/// A slot that holds many more than the one is not looked through in one go, and the others go on meanwhile.
#[test]
fn one_of_very_many_is_found_in_steps_wherever_it_goes_meanwhile() {
    const MANY: i64 = 30_000;
    let due_ms = (NOW + 900_000).unsigned_abs();
    for meanwhile in ["nothing", "cascade", "due", "delivered", "more"] {
        let mut queue = open(DelayOptions {
            turn_records_max: 1_000_000,
            turn_bytes_max: usize::MAX,
            ..near_all()
        });
        for _ in 0..MANY / 1_000 {
            let group = (0..1_000).map(|_| add(NOW + 900_000));
            accept(&mut queue, NOW, group);
        }
        // In the middle: not the first of its list, nor in the first places.
        let key = DelayKey {
            due_ms,
            ticket: 25_000,
        };
        let (mut search, mut steps) = (PendingSearch::default(), 0);
        let look = loop {
            let step = queue.look_for(PARTITION, key, &mut search).unwrap();
            steps += 1;
            if let Some(look) = step {
                break look;
            }
            assert!(steps < 10, "all places are looked at");
            match (meanwhile, steps) {
                // From a coarse slot to a finer one.
                ("cascade", 2) => drop(queue.fire(NOW + 899_990).unwrap()),
                ("due", 2) => {
                    queue.set_paused(PARTITION.topic_id, true, NOW).unwrap();
                    queue.fire(NOW + 900_000).unwrap();
                }
                ("delivered", 2) => {
                    let due = deliver(&mut queue, NOW + 900_000, &mut 0);
                    assert_eq!(due.len() as i64, MANY);
                }
                ("more", _) => {
                    let group = (0..1_000).map(|_| add(NOW + 900_000));
                    accept(&mut queue, NOW, group);
                }
                _ => {}
            }
        };
        assert!(steps > 2, "{meanwhile}: {steps} steps");
        let found = look.run(never).unwrap().unwrap().records;
        let expected = usize::from(meanwhile != "delivered");
        assert_eq!(found.len(), expected, "{meanwhile}");
        assert!(found.iter().all(|record| record.key == key));
    }
}

#[test]
fn what_its_id_cancels_after_a_look_is_cancelled() {
    let mut queue = queue();
    let DelayOperation::Add(plain) = add(NOW + 90_000) else {
        panic!("it adds");
    };
    let id = Bytes::from_static(b"x");
    let named = DelayOperation::Add(DelayedBatch {
        id: id.clone(),
        ..plain
    });
    accept(&mut queue, NOW, [named]);
    let all = PendingQuery::all(PARTITION.topic_id);
    let found = queue.look(all).run(never).unwrap().unwrap().records;
    assert_eq!(queue.fate_of(&found[0]), PendingFate::Pending);
    accept(&mut queue, NOW, [DelayOperation::Cancel { id }]);
    assert_eq!(queue.fate_of(&found[0]), PendingFate::Cancelled);
}

#[test]
fn a_look_is_bounded_and_says_that_there_is_more() {
    let mut queue = queue();
    let many = (0..DELAY_LIST_MAX as i64 + 5).map(|at| add(NOW + 100 + at));
    accept(&mut queue, NOW, many);
    let (due, more) = look(&queue, PendingQuery::all(PARTITION.topic_id));
    assert_eq!((due.len(), more), (DELAY_LIST_MAX, true));
    let large = vec![7; DELAY_LIST_BYTES_MAX / 2];
    let large = tidewheel_protocol::RecordBatchBuilder::new().record(NOW, None, Some(&large));
    let large = large.build().unwrap().bytes;
    let big = |due_ms| match add(due_ms) {
        DelayOperation::Add(small) => DelayOperation::Add(DelayedBatch {
            batch: large.clone(),
            ..small
        }),
        other => other,
    };
    accept(&mut queue, NOW, (10..13).map(|at| big(NOW + at)));
    let (due, more) = look(&queue, PendingQuery::all(PARTITION.topic_id));
    assert_eq!((due, more), (vec![NOW + 10], true));
}

#[test]
fn a_look_that_is_late_gives_the_first_records_that_are_certain_or_none() {
    let mut queue = queue();
    // In the order in which the files are read they do not lie.
    let due = [100, 30_000, 2_000_000, 90_000_000, 200_000_000].map(|ahead| NOW + ahead);
    for at in [4, 0, 2, 3, 1] {
        accept(&mut queue, NOW, [add(due[at])]);
    }
    while queue.maintain(NOW + 2_000).unwrap() {}
    let mut lens = Vec::new();
    for blocks in 0.. {
        let left = std::cell::Cell::new(blocks);
        let is_late = || match left.get() {
            0 => true,
            more => {
                left.set(more - 1);
                false
            }
        };
        let look = queue.look(PendingQuery::all(PARTITION.topic_id));
        let page = look.run(is_late).unwrap().unwrap();
        let found: Vec<i64> = page.records.iter().map(|one| one.add.due_ms).collect();
        assert_eq!(found, due[..found.len()], "after {blocks} blocks");
        if !page.more {
            break;
        }
        lens.push(found.len());
    }
    assert_eq!(lens[..5], [0; 5], "the delay log is in no order");
    assert!(
        lens.is_sorted() && lens.iter().any(|len| (1..due.len()).contains(len)),
        "{lens:?}"
    );
}
