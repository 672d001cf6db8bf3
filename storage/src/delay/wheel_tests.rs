//! The wheel against a sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn entry(due_ms: u64, ticket: u64) -> WheelEntry {
    WheelEntry {
        due_ms,
        ticket,
        ..WheelEntry::default()
    }
}

/// The wheel, and what should be in it.
struct Pair {
    wheel: TimingWheel,
    model: BTreeMap<(u64, u64), WheelEntry>,
}

impl Pair {
    fn new(now_ms: u64) -> Self {
        Self {
            wheel: TimingWheel::new(now_ms),
            model: BTreeMap::new(),
        }
    }

    fn insert(&mut self, due_ms: u64, ticket: u64) {
        let entry = entry(due_ms, ticket);
        let taken = self.wheel.insert(entry).is_ok();
        assert_eq!(taken, due_ms > self.wheel.reached_ms());
        if taken {
            self.model.insert((due_ms, ticket), entry);
        }
    }

    fn advance(&mut self, to_ms: u64) {
        let mut due = Vec::new();
        self.wheel.advance(to_ms, &mut due);
        due.sort_unstable_by_key(|entry| (entry.due_ms, entry.ticket));
        let later = self.model.split_off(&(to_ms + 1, 0));
        let expected: Vec<_> = std::mem::replace(&mut self.model, later)
            .into_values()
            .collect();
        assert_eq!(due, expected, "advanced to {to_ms}");
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        self.check_next();
        self.check_seconds();
    }

    fn check_seconds(&self) {
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        for (due_ms, _) in self.model.keys() {
            *seconds.entry(due_ms / 1_000).or_default() += 1;
        }
        assert!(self.wheel.seconds().eq(seconds));
    }

    fn check_next(&self) {
        let first = self.model.keys().next().map(|(due_ms, _)| *due_ms);
        let next = self.wheel.next_ms();
        assert_eq!(next.is_some(), first.is_some());
        if let (Some(next), Some(first)) = (next, first) {
            assert!(self.wheel.reached_ms() < next && next <= first);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many ms ahead of the wheel, and below a bound with so many bits.
    Insert(u64),
    /// By so many ms.
    Advance(u64),
    /// To where the wheel wants to be looked at.
    ToNext,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let distance = (0u32..46, any::<u64>()).prop_map(|(bits, any)| any & ((1 << bits) - 1));
    let step = prop_oneof![
        6 => distance.clone().prop_map(Step::Insert),
        1 => (0u64..3).prop_map(Step::Insert),
        2 => distance.prop_map(Step::Advance),
        3 => Just(Step::ToNext),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_wheel_gives_out_what_a_sorted_map_does(start in 0u64..1 << 47, steps in steps()) {
        let mut pair = Pair::new(start);
        for (ticket, step) in (1..).zip(steps) {
            let reached = pair.wheel.reached_ms();
            match step {
                Step::Insert(ahead) => pair.insert((reached + ahead).min((1 << 48) - 2), ticket),
                Step::Advance(by) => pair.advance((reached + by).min((1 << 48) - 2)),
                Step::ToNext => pair.advance(pair.wheel.next_ms().unwrap_or(reached)),
            }
        }
        pair.advance((1 << 48) - 2);
        prop_assert!(pair.wheel.is_empty());
    }
}

#[test]
fn every_boundary_of_a_digit_is_exact_to_the_ms() {
    for bits in [10, 20, 30, 40] {
        let boundary = 1u64 << bits;
        for start in [boundary - 2, boundary - 1, boundary, 3 * boundary - 1] {
            let mut pair = Pair::new(start);
            for (ticket, ahead) in [0, 1, 2, boundary - 1, boundary, boundary + 1]
                .into_iter()
                .enumerate()
            {
                pair.insert(start + ahead, ticket as u64 + 1);
            }
            for to in [start, start + 1, start + 2, start + boundary - 1] {
                pair.advance(to);
            }
            pair.advance(start + boundary);
            pair.advance(start + boundary + 1);
            assert!(pair.wheel.is_empty());
        }
    }
}

#[test]
fn a_wheel_that_is_set_back_keeps_everything() {
    let mut pair = Pair::new(1_000_000);
    pair.insert(1_000_500, 1);
    pair.advance(1_000_400);
    let mut due = Vec::new();
    pair.wheel.advance(5, &mut due);
    assert!(due.is_empty());
    assert_eq!(pair.wheel.reached_ms(), 1_000_400);
    pair.advance(1_000_500);
}

#[test]
fn memory_is_reused_and_36_bytes_a_record() {
    let mut wheel = TimingWheel::new(0);
    let mut due = Vec::new();
    for round in 0..20 {
        for ticket in 0..10_000 {
            wheel
                .insert(entry(round * 1_000 + 1 + ticket % 1_000, ticket))
                .unwrap();
        }
        wheel.advance((round + 1) * 1_000, &mut due);
        assert_eq!(due.len(), 10_000);
        due.clear();
    }
    assert_eq!(wheel.arena.chunks.len(), 10_000usize.div_ceil(CHUNK_LEN));
    assert_eq!(TimingWheel::BYTES_PER_ENTRY, 36);
}

#[test]
fn a_million_records_of_one_millisecond_come_out_together() {
    let mut wheel = TimingWheel::new(0);
    for ticket in 0..1_000_000 {
        wheel.insert(entry(300_000, ticket)).unwrap();
    }
    let mut due = Vec::new();
    wheel.advance(299_999, &mut due);
    assert!(due.is_empty());
    wheel.advance(300_000, &mut due);
    assert_eq!(due.len(), 1_000_000);
}

#[test]
fn a_record_is_found_in_its_slot_or_by_places_and_nowhere_else() {
    let mut wheel = TimingWheel::new(0);
    for ticket in 1..=10_000 {
        wheel.insert(entry(300_000, ticket)).unwrap();
    }
    let find = |wheel: &TimingWheel, most, ticket| {
        wheel.find(300_000, most, |entry| entry.ticket == ticket)
    };
    assert_eq!(
        find(&wheel, 1, 10_000),
        Search::Found(entry(300_000, 10_000))
    );
    assert_eq!(find(&wheel, 9_999, 1), Search::Unfinished, "it is the last");
    assert_eq!(find(&wheel, 10_000, 1), Search::Found(entry(300_000, 1)));
    assert_eq!(find(&wheel, 10_000, 0), Search::Missing);
    let places = |wheel: &TimingWheel, from, ticket| {
        wheel.find_in(from..from + 5_000, |entry| entry.ticket == ticket)
    };
    assert_eq!(places(&wheel, 0, 6_000), Search::Unfinished);
    assert_eq!(
        places(&wheel, 5_000, 6_000),
        Search::Found(entry(300_000, 6_000))
    );
    assert_eq!(places(&wheel, 10_000, 6_000), Search::Missing, "behind it");
    assert_eq!(places(&wheel, 1 << 40, 6_000), Search::Missing);
    let mut due = Vec::new();
    wheel.advance(299_999, &mut due);
    assert_eq!(
        places(&wheel, 5_000, 6_000),
        Search::Found(entry(300_000, 6_000))
    );
    wheel.advance(300_000, &mut due);
    assert_eq!(
        places(&wheel, 5_000, 6_000),
        Search::Unfinished,
        "it has left"
    );
    assert_eq!(find(&wheel, 1, 6_000), Search::Missing);
}
