//! Batches that the chain left out, and of which no neighbour tells the offset.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Judged, Labels};

impl Labels {
    /// Looks at the batches that have no offset yet.
    pub(super) fn judge_strays(&mut self) {
        let stray = |number: &usize| {
            let batch = &self.batches[*number];
            batch.offset.is_none() && !self.is_copy(batch)
        };
        let strays: Vec<usize> = (0..self.batches.len()).filter(stray).collect();
        if strays.is_empty() {
            return;
        }
        let moved = (0..self.batches.len()).filter(|number| self.batches[*number].moved);
        let in_bounds = strays
            .iter()
            .copied()
            .filter(|number| self.in_bounds(*number));
        let displaced = in_bounds.chain(moved).collect();
        self.put_in_place(displaced);
        for number in strays {
            let batch = &self.batches[number];
            if batch.offset.is_none() && !batch.contradicted {
                self.judge_alone(number);
            }
        }
    }

    fn in_bounds(&self, number: usize) -> bool {
        let found = &self.batches[number].found;
        self.place
            .bounds
            .hold(found.base_offset, found.last_offset())
    }

    /// Gives strays that continue each other their own offsets, where these are free.
    fn put_in_place(&mut self, mut strays: Vec<usize>) {
        strays.sort_by_key(|number| (self.batches[*number].label(), !self.batches[*number].moved));
        strays.dedup_by_key(|number| self.batches[*number].label());
        let continues =
            |a: &usize, b: &usize| self.batches[*a].found.next_offset() == self.batches[*b].label();
        let runs = strays.chunk_by(continues).filter(|run| run.len() > 1);
        let displaced: Vec<usize> = runs.flatten().copied().collect();
        if displaced.is_empty() {
            return;
        }
        let taken = self.batches.iter().filter_map(Judged::offsets);
        let mut taken: BTreeMap<i64, i64> = taken.map(|range| (range.start, range.end)).collect();
        for number in displaced {
            let batch = &mut self.batches[number];
            let (start, end) = (batch.label(), batch.found.next_offset());
            let lower = taken.range(..end).next_back();
            if batch.offset.is_none() && lower.is_none_or(|(_, lower_end)| *lower_end <= start) {
                batch.offset = Some(start);
                batch.doubtful = false;
                taken.insert(start, end);
            }
        }
    }

    /// A batch outside of the chain that nobody speaks of.
    fn judge_alone(&mut self, number: usize) {
        let (batch, in_bounds) = (self.batches[number], self.in_bounds(number));
        let (label, next) = (batch.label(), batch.found.next_offset());
        let at = self
            .chain
            .partition_point(|other| (*other as usize) < number);
        let of = |number: &u32| {
            let batch = &self.batches[*number as usize];
            batch.offsets().map(|range| (*number as usize, range))
        };
        let before: Vec<_> = self.chain[..at]
            .iter()
            .rev()
            .filter_map(of)
            .take(2)
            .collect();
        let after: Vec<_> = self.chain[at..].iter().filter_map(of).take(2).collect();
        let bounds = self.place.bounds;
        let low = |at: usize| before.get(at).map_or(bounds.base_offset, |one| one.1.end);
        let high = |at: usize| after.get(at).map_or(bounds.end_offset, |one| one.1.start);
        let wrong_before = before.iter().filter(|one| one.1.end > label);
        let wrong_after = after.iter().filter(|one| one.1.start < next);
        let against: Vec<usize> = wrong_before.chain(wrong_after).map(|one| one.0).collect();
        let own = self.one_bit_off(&batch, low(0)..high(0));
        match against[..] {
            [] if in_bounds => self.batches[number].offset = Some(label),
            [other] if in_bounds && !self.batches[other].confirmed => {
                let room = match other < number {
                    true => low(1)..label,
                    false => next..high(1),
                };
                let others = self.one_bit_off(&self.batches[other], room);
                self.decide((number, &own), (other, &others));
            }
            _ => {
                let told = self.only(&own);
                // Beside damage it may well be the others that were moved.
                let stays = in_bounds && self.is_beside_damage(number) && self.is_free(label..next);
                let batch = &mut self.batches[number];
                batch.offset = told.or(stays.then_some(label));
                batch.doubtful |= told.is_none();
            }
        }
    }

    fn is_beside_damage(&self, number: usize) -> bool {
        let batch = &self.batches[number];
        let end = self
            .batches
            .get(number + 1)
            .map_or(self.place.len, |next| next.found.position);
        batch.before == 0 && batch.found.position > 0 || batch.found.end() < end
    }

    /// Whether no batch of the chain has one of these offsets.
    fn is_free(&self, offsets: Range<i64>) -> bool {
        let of = |number: &u32| {
            let batch = &self.batches[*number as usize];
            batch.offsets().unwrap_or(batch.label()..batch.label())
        };
        let behind = self
            .chain
            .partition_point(|number| of(number).start < offsets.start);
        let (before, behind) = (
            behind.checked_sub(1).and_then(|at| self.chain.get(at)),
            self.chain.get(behind),
        );
        before.is_none_or(|number| of(number).end <= offsets.start)
            && behind.is_none_or(|number| offsets.end <= of(number).start)
    }

    /// One of two batches has a wrong label; each comes with the offsets that it could have instead.
    fn decide(&mut self, one: (usize, &[i64]), other: (usize, &[i64])) {
        let label = self.batches[one.0].label();
        match (self.only(one.1), self.only(other.1)) {
            (Some(offset), None) if other.1.is_empty() => self.batches[one.0].offset = Some(offset),
            (None, Some(offset)) if one.1.is_empty() => {
                self.batches[one.0].offset = Some(label);
                self.batches[other.0].offset = Some(offset);
            }
            _ => {
                self.keep_order(one, other);
                self.batches[one.0].doubtful = true;
                self.batches[other.0].doubtful = true;
            }
        }
    }

    /// Nobody knows which label is wrong. But where no damage is beside them, the file has them in their order: one of
    /// them gets an offset that it could have, so that no older record stands behind a newer one. Else both keep
    /// theirs.
    fn keep_order(&mut self, one: (usize, &[i64]), other: (usize, &[i64])) {
        let label = self.batches[one.0].label();
        let moved = self.exact || self.is_beside_damage(one.0) || self.is_beside_damage(other.0);
        let highest = |offsets: &[i64]| offsets.iter().copied().max().filter(|_| !moved);
        match (highest(one.1), highest(other.1)) {
            (Some(offset), _) => self.batches[one.0].offset = Some(offset),
            (None, offset) => {
                self.batches[one.0].offset = Some(label);
                let other = &mut self.batches[other.0];
                other.offset = offset.or(other.offset);
            }
        }
    }

    /// The only one of some offsets, where holes are all that keep neighbours from telling it.
    fn only(&self, offsets: &[i64]) -> Option<i64> {
        match offsets {
            [offset] if !self.exact => Some(*offset),
            _ => None,
        }
    }

    /// The offsets within `room` that a batch could have if one bit of its label was flipped. None are told of a
    /// batch that stands behind damage, which rather reaches into its label.
    fn one_bit_off(&self, batch: &Judged, room: Range<i64>) -> Vec<i64> {
        if batch.before == 0 && batch.found.position > 0 {
            return Vec::new();
        }
        let flipped = (0..64).map(|bit| batch.label() ^ (1 << bit));
        let fits = |offset: &i64| self.fits(*offset, batch.found.span(), &room);
        flipped.filter(fits).collect()
    }
}
