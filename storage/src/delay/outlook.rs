//! When what is pending is due, told from memory: no file is read for it.

use std::collections::BTreeMap;

use super::queue::DelayQueue;
use super::tombstones::{SECOND_MS, Withdrawn};

/// How wide spans are that are told, in ms: a second, a minute, an hour, a day.
const WIDTHS_MS: [u64; 4] = [SECOND_MS, 60_000, 3_600_000, 86_400_000];

/// When what is pending is due. What is delivered in one piece counts once: a record, or a batch that is due as
/// a whole. One that was cancelled by its `delay-id` counts until it would have been due.
///
/// What was accepted for later than some minutes within the last second may be missing: it is counted once it is
/// copied to its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayOutlook {
    /// Was due when the queue was last asked for what is, and is not delivered yet.
    pub overdue: u64,
    /// When the first of these was due, ms since 1970.
    pub oldest_overdue_ms: Option<i64>,
    /// Nothing else is due before, ms since 1970. Exact to a second where that is a few minutes ahead, else the
    /// beginning of the minute, hour or day that is known of it.
    pub next_due_ms: Option<i64>,
    /// What is due later: how many by the last ms of the second, minute, hour or day that is known of them.
    pub until: BTreeMap<i64, u64>,
    /// Records that were cancelled or moved one by one and would be due later, as their producers count them. They count
    /// nowhere else here.
    pub withdrawn: u64,
}

/// A span in which something is due: its first and last ms, and how much.
#[derive(Clone, Copy, Debug)]
struct Due {
    from_ms: u64,
    last_ms: u64,
    count: u64,
}

/// Spans in which something is due.
#[derive(Default)]
struct Spans {
    /// By their width, the finest first. No two of one width meet in part.
    widths: [Vec<Due>; 4],
    /// In each width the spans before this one have passed.
    at: [usize; 4],
}

impl Spans {
    /// Nothing finer than a second is told.
    fn add(&mut self, from_ms: u64, width_ms: u64, count: u64) {
        let width_ms = width_ms.max(SECOND_MS);
        let from_ms = from_ms - from_ms % SECOND_MS;
        let width = WIDTHS_MS.iter().position(|ms| *ms >= width_ms);
        if let (Some(width), 1..) = (width, count) {
            self.widths[width].push(Due {
                from_ms,
                last_ms: from_ms.saturating_add(width_ms - 1),
                count,
            });
        }
    }

    fn sort(&mut self) {
        for spans in &mut self.widths {
            spans.sort_unstable_by_key(|span| span.from_ms);
        }
    }

    /// Takes out what is due in the second that begins then, where there is so much; how much there was. The seconds come
    /// one after the other.
    fn take(&mut self, second_ms: u64, count: u64) -> u64 {
        let mut left = count;
        // The finest first: that is where it was loaded to.
        for (spans, at) in self.widths.iter_mut().zip(&mut self.at) {
            while spans.get(*at).is_some_and(|span| span.last_ms < second_ms) {
                *at += 1;
            }
            let meets = |span: &&mut Due| span.from_ms <= second_ms;
            for span in spans.iter_mut().skip(*at).take_while(meets) {
                let taken = span.count.min(left);
                span.count -= taken;
                left -= taken;
            }
        }
        count - left
    }
}

impl DelayOutlook {
    /// Adds what another queue holds.
    pub fn join(&mut self, other: Self) {
        self.overdue = self.overdue.saturating_add(other.overdue);
        let first = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        self.oldest_overdue_ms = first(self.oldest_overdue_ms, other.oldest_overdue_ms);
        self.next_due_ms = first(self.next_due_ms, other.next_due_ms);
        for (until_ms, count) in other.until {
            *self.until.entry(until_ms).or_default() += count;
        }
        self.withdrawn = self.withdrawn.saturating_add(other.withdrawn);
    }
}

impl DelayQueue {
    /// When what is pending is due. Takes as long as there are partitions with delays, seconds in which something
    /// is due soon or would be that was cancelled, and files of what is due later.
    #[must_use]
    pub fn outlook(&self) -> DelayOutlook {
        let states = self.partitions.states.iter().filter(|state| !state.gone);
        let firsts = states.flat_map(|state| [state.in_flight.front(), state.ready.front()]);
        let oldest = firsts.flatten().map(|entry| entry.due_ms).min();
        let mut spans = Spans::default();
        for (second, count) in self.wheel.seconds() {
            spans.add(second.saturating_mul(SECOND_MS), SECOND_MS, count as u64);
        }
        for bucket in self.buckets.all.values() {
            let span = bucket.span;
            spans.add(span.start_ms, span.width.ms(), bucket.not_loaded());
        }
        spans.sort();
        let mut withdrawn = 0_u64;
        // What is due by now is out of the wheel.
        for (second, cancelled) in self.tombstones.withdrawn_from(self.wheel.reached_ms()) {
            let Withdrawn { pieces, records } = cancelled;
            let taken = spans.take(second.saturating_mul(SECOND_MS), pieces);
            // In the second that is just passing some may be out of the wheel: each counts as much as the others.
            withdrawn = withdrawn.saturating_add(records.saturating_mul(taken) / pieces.max(1));
        }
        let mut outlook = DelayOutlook {
            overdue: self.out_of_wheel as u64,
            oldest_overdue_ms: oldest.map(u64::cast_signed),
            withdrawn,
            ..DelayOutlook::default()
        };
        let spans = spans.widths.into_iter().flatten();
        for span in spans.filter(|span| span.count > 0) {
            let from_ms = span.from_ms.cast_signed();
            outlook.next_due_ms = Some(outlook.next_due_ms.map_or(from_ms, |ms| ms.min(from_ms)));
            *outlook.until.entry(span.last_ms.cast_signed()).or_default() += span.count;
        }
        outlook
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_queue::{
        NOW, PARTITION, accept, add, add_many, checkpoint, deliver, open, open_on,
    };
    use super::super::{DelayOptions, DelayQueue, PendingQuery};
    use super::*;
    use crate::fs::SimFs;

    fn queue() -> DelayQueue {
        open(DelayOptions {
            near_ms: 60_000,
            ..DelayOptions::default()
        })
    }

    /// How many are due within so many ms.
    fn within(outlook: &DelayOutlook, ms: i64) -> u64 {
        outlook
            .until
            .range(..=NOW + ms)
            .map(|(_, count)| count)
            .sum()
    }

    #[test]
    fn what_is_due_soon_is_known_by_its_second_and_the_rest_by_its_file() {
        let mut queue = queue();
        assert_eq!(queue.outlook(), DelayOutlook::default());
        let due = [400, 30_000, 30_001, 2_000_000, 90_000_000, 400_000_000];
        accept(&mut queue, NOW, due.map(|ahead| add(NOW + ahead)));
        while queue.maintain(NOW + 2_000).unwrap() {}
        let outlook = queue.outlook();
        assert_eq!((outlook.overdue, outlook.oldest_overdue_ms), (0, None));
        let next = outlook.next_due_ms.unwrap();
        assert!((NOW + 400 - 999..=NOW + 400).contains(&next), "{next}");
        assert_eq!(outlook.until.values().sum::<u64>(), 6);
        // Rounded up to the second, the hour and the day that is known.
        let (hour, day) = (3_600_000, 86_400_000);
        for (ms, at_least, at_most) in [
            (1_400, 1, 1),
            (29_000, 1, 1),
            (31_001, 3, 3),
            (2_000_000, 3, 4),
            (2_000_000 + hour, 4, 4),
            (90_000_000 + hour, 5, 5),
            (400_000_000, 5, 6),
            (400_000_000 + day, 6, 6),
        ] {
            let count = within(&outlook, ms);
            assert!((at_least..=at_most).contains(&count), "{count} within {ms}");
        }
    }

    #[test]
    fn what_is_due_is_overdue_until_its_partition_has_it() {
        let mut queue = queue();
        accept(
            &mut queue,
            NOW,
            [100, 200, 5_000].map(|ahead| add(NOW + ahead)),
        );
        let fired = queue.fire(NOW + 300).unwrap();
        let outlook = queue.outlook();
        assert_eq!(outlook.overdue, 2);
        assert_eq!(outlook.oldest_overdue_ms, Some(NOW + 100));
        assert_eq!(outlook.until.values().sum::<u64>(), 1);
        let up_to = fired.deliveries[0].up_to;
        queue.delivered(PARTITION, up_to, 2);
        let outlook = queue.outlook();
        assert_eq!((outlook.overdue, outlook.oldest_overdue_ms), (0, None));
        assert_eq!(deliver(&mut queue, NOW + 5_000, &mut 2).len(), 1);
        assert_eq!(queue.outlook(), DelayOutlook::default());
    }

    #[test]
    fn files_that_are_loaded_are_not_counted_twice() {
        let mut queue = queue();
        let due = [1_000_000, 1_000_500, 1_300_000].map(|ahead| add(NOW + ahead));
        accept(&mut queue, NOW, due);
        let mut now = NOW;
        while now < NOW + 1_000_000 {
            now += 10_000;
            while queue.maintain(now).unwrap() {}
            assert_eq!(deliver(&mut queue, now - 1, &mut 0), [0; 0]);
            assert_eq!(
                queue.outlook().until.values().sum::<u64>(),
                3,
                "{}",
                now - NOW
            );
        }
    }

    #[test]
    fn what_was_cancelled_or_moved_is_told_apart() {
        let mut queue = queue();
        let due = [400, 5_000, 2_000_000, 2_100_000, 400_000_000];
        accept(&mut queue, NOW, due.map(|ahead| add(NOW + ahead)));
        while queue.maintain(NOW + 2_000).unwrap() {}
        let all = PendingQuery::all(PARTITION.topic_id);
        let found = queue.look(all).run(|| false).unwrap().unwrap().records;
        accept(&mut queue, NOW, [0, 2, 4].map(|at| found[at].cancelled()));
        // The same one again, and one that goes elsewhere.
        accept(&mut queue, NOW, [found[4].cancelled()]);
        accept(&mut queue, NOW, found[3].moved_to(NOW + 9_000));
        let outlook = queue.outlook();
        assert_eq!(outlook.withdrawn, 4);
        let due: Vec<_> = outlook.until.iter().collect();
        assert_eq!(due, [(&(NOW + 5_999), &1), (&(NOW + 9_999), &1)]);
        assert_eq!(outlook.next_due_ms, Some(NOW + 5_000));
        assert_eq!(deliver(&mut queue, NOW + 10_000, &mut 0).len(), 2);
        let outlook = queue.outlook();
        assert_eq!((outlook.overdue, outlook.until.len()), (0, 0));
        assert_eq!((outlook.next_due_ms, outlook.withdrawn), (None, 3));
    }

    #[test]
    fn records_of_a_batch_that_was_cancelled_are_counted_also_after_a_start() {
        let disk = SimFs::new();
        let options = || DelayOptions {
            near_ms: 60_000,
            ..DelayOptions::default()
        };
        let mut queue = open_on(disk.clone(), options());
        let three = add_many(NOW + 7_200_000, 3);
        accept(&mut queue, NOW, [add(NOW + 30_000), three]);
        while queue.maintain(NOW + 2_000).unwrap() {}
        let all = PendingQuery::all(PARTITION.topic_id);
        let found = queue.look(all).run(|| false).unwrap().unwrap().records;
        assert_eq!(queue.totals().pending.records, 4);
        accept(&mut queue, NOW, [found[1].cancelled()]);
        assert_eq!(queue.outlook().withdrawn, 3);
        // What was written to the delay log says so, and so does a checkpoint.
        drop(queue);
        let mut queue = open_on(disk.clone(), options());
        while queue.maintain(NOW + 2_000).unwrap() {}
        assert_eq!(queue.outlook().withdrawn, 3);
        accept(&mut queue, NOW, [found[0].cancelled()]);
        checkpoint(&mut queue, NOW + 1_000, 0);
        drop(queue);
        let mut queue = open_on(disk, options());
        let outlook = queue.outlook();
        assert_eq!((outlook.withdrawn, outlook.until.len()), (4, 0));
        assert_eq!(queue.totals().pending.records, 4);
        queue.forget_topic(PARTITION.topic_id);
        assert_eq!(queue.outlook().withdrawn, 0);
    }

    /// Each in a second of its own, in files of minutes, hours and days.
    #[test]
    fn very_many_that_are_cancelled_are_all_told_apart() {
        const EACH: i64 = 500;
        let mut queue = queue();
        for ahead in [120_000, 3_600_000, 400_000_000] {
            let due = (0..EACH).map(|at| add(NOW + ahead + at * 1_000));
            accept(&mut queue, NOW, due);
        }
        while queue.maintain(NOW + 2_000).unwrap() {}
        let mut query = PendingQuery::all(PARTITION.topic_id);
        let mut cancelled = 0;
        loop {
            let found = queue.look(query).run(|| false).unwrap().unwrap().records;
            let Some(last) = found.last() else {
                break;
            };
            query.after = last.key;
            cancelled += found.len() as u64;
            accept(&mut queue, NOW, found.iter().map(|one| one.cancelled()));
            assert_eq!(queue.outlook().withdrawn, cancelled);
        }
        let outlook = queue.outlook();
        assert_eq!(cancelled, 3 * EACH.unsigned_abs());
        assert_eq!((outlook.until.len(), outlook.next_due_ms), (0, None));
    }

    #[test]
    fn queues_are_joined() {
        let one = DelayOutlook {
            overdue: 1,
            oldest_overdue_ms: Some(5),
            next_due_ms: None,
            until: BTreeMap::from([(10, 1), (20, 2)]),
            withdrawn: 3,
        };
        let mut both = DelayOutlook {
            next_due_ms: Some(7),
            until: BTreeMap::from([(20, 3)]),
            withdrawn: 1,
            ..DelayOutlook::default()
        };
        both.join(one);
        let expected = DelayOutlook {
            overdue: 1,
            oldest_overdue_ms: Some(5),
            next_due_ms: Some(7),
            until: BTreeMap::from([(10, 1), (20, 5)]),
            withdrawn: 4,
        };
        assert_eq!(both, expected);
    }
}
