//! Which offset each batch of a segment gets.
//!
//! A label, the base offset of a batch, is under no CRC. So it is judged by the others:
//!
//! 1. The longest chain of rising labels is right (`chain.rs`), but for what follows.
//! 2. Batches of an undamaged stretch continue each other in a log that was never compacted: labels that agree about
//!    where the stretch begins confirm each other, as do the names of the segments where it reaches them. A batch
//!    whose label agrees with none gets the one that they tell, where one flipped bit explains it, or damage in front
//!    of the batch that reaches into its header up to the edge of a sector. Where nothing does, the batch is cut out
//!    and kept aside. Of two that only have each other, the one is wrong that one flipped bit explains.
//! 3. A batch outside of the chain stands in a wrong place of the file where another such batch continues it,
//!    whose label says the same, then: both stay, where their offsets are free. One alone has a wrong label, unless
//!    damage is beside it, which may as well have moved the others: it stays where its offsets are free, and is
//!    doubtful.
//! 4. Where one of two batches is wrong and nobody knows which, both stay as far as they can, and it is told. Where
//!    no damage is beside them they stay in the order of the file, and one of them may get another offset for that.
//!
//! In a compacted segment there are holes, and a batch says nothing about the one behind it. Only a batch that does
//! not rise is known to be wrong there; it gets the one offset that is a flipped bit away and fits, if there is
//! exactly one.

mod strays;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::chain::{Place, chain};
use super::scan::Found;

/// What a disk writes or loses at once.
const SECTOR_BYTES: u64 = 512;
/// Of a base offset.
const LABEL_BYTES: u64 = 8;
/// Those of a header that can be lost while it is still known: all before the magic byte.
const UNCOVERED_BYTES: u64 = 16;

/// A batch that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// As it was found.
    pub(super) found: Found,
    /// The offset that it has from now on.
    pub(super) base_offset: i64,
    /// Its offset may be wrong, or that of a batch beside it.
    pub(super) doubtful: bool,
}

impl Kept {
    pub(super) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.found.span())
    }
}

/// The batches that stay, in the order of the offsets that they get. `found` are all of the segment;
/// some 200 bytes of memory are taken for each.
pub(super) fn settle(found: &[Found], place: Place) -> Vec<Kept> {
    let mut labels = Labels::new(found, place);
    if labels.exact {
        labels.hear_neighbours();
    }
    labels.judge_strays();
    labels.doubt_torn();
    labels.into_kept()
}

/// A batch that is being judged.
#[derive(Clone, Copy, Debug)]
struct Judged {
    found: Found,
    /// How many offsets the batches take that stand before it in the same stretch; 0 where it begins one.
    before: i64,
    /// Another label of the stretch, or the name of a segment, agrees with its own.
    confirmed: bool,
    /// Confirmed labels of the stretch say that its own is wrong.
    contradicted: bool,
    /// They say so, but it continues another one, or is continued: a place in the file is wrong, not a label.
    moved: bool,
    /// The offset that it gets; none where it is cut out.
    offset: Option<i64>,
    doubtful: bool,
}

impl Judged {
    fn label(&self) -> i64 {
        self.found.base_offset
    }

    /// Where its stretch begins if its label is right.
    fn shift(&self) -> i64 {
        self.label().wrapping_sub(self.before)
    }

    /// How many bytes of its label damage in front of it may have reached: that ends at the edge of a sector.
    fn torn_bytes(&self) -> u64 {
        let position = self.found.position;
        let reached = (position + 1).next_multiple_of(SECTOR_BYTES) - position;
        let damaged = self.before == 0 && position > 0 && reached <= UNCOVERED_BYTES;
        if damaged { reached.min(LABEL_BYTES) } else { 0 }
    }

    /// Whether one flipped bit or damage in front of it explains its label if `offset` was right.
    fn may_have_been(&self, offset: i64) -> bool {
        let differs = offset ^ self.label();
        let whole_bits = 8 * (LABEL_BYTES - self.torn_bytes());
        differs.count_ones() == 1 || u64::from(differs.trailing_zeros()) >= whole_bits
    }

    /// What only copies have in common.
    fn identity(&self) -> (i64, u32, u32) {
        (self.label(), self.found.crc, self.found.size)
    }

    /// The offsets that it gets.
    fn offsets(&self) -> Option<Range<i64>> {
        let offset = self.offset?;
        Some(offset..offset.saturating_add(self.found.span()))
    }
}

/// Where a stretch begins, as others than a batch of it have it.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The nearest confirmed batch before it, or the name of the segment.
    before: Option<i64>,
    /// The nearest confirmed batch behind it.
    behind: Option<i64>,
    /// The name of the next segment.
    end: Option<i64>,
    /// One of the first two is right beside it: nothing between them could take another number of offsets than it
    /// should.
    sure: bool,
}

/// What is around a batch.
#[derive(Clone, Debug)]
struct Around {
    /// Between the confirmed batches on both sides.
    room: Range<i64>,
    /// Behind the batch of the chain before it.
    behind_before: Option<i64>,
    /// Where the batch of the chain behind it begins.
    next: Option<i64>,
}

struct Labels {
    place: Place,
    /// All that were found, in the order of the file.
    batches: Vec<Judged>,
    /// The numbers of those in the chain.
    chain: Vec<u32>,
    /// Batches that stand side by side continue each other.
    exact: bool,
}

impl Labels {
    fn new(found: &[Found], place: Place) -> Self {
        let chain = chain(found, place);
        let mut batches: Vec<Judged> = Vec::with_capacity(found.len());
        for found in found {
            let before = batches
                .last()
                .filter(|last| last.found.end() == found.position)
                .map_or(0, |last| last.before.saturating_add(last.found.span()));
            batches.push(Judged {
                found: *found,
                before,
                confirmed: false,
                contradicted: false,
                moved: false,
                offset: None,
                doubtful: false,
            });
        }
        for number in &chain {
            let batch = &mut batches[*number as usize];
            batch.offset = Some(batch.label());
        }
        let mut labels = Self {
            place,
            batches,
            chain,
            exact: false,
        };
        labels.confirm();
        labels.exact = place.exact && !labels.has_holes();
        labels
    }

    /// Where undamaged stretches lie among the batches.
    fn stretches(&self) -> Vec<Range<usize>> {
        let begins = |number: &usize| self.batches[*number].before == 0;
        let starts: Vec<usize> = (0..self.batches.len()).filter(begins).collect();
        let ends = starts.iter().skip(1).copied().chain([self.batches.len()]);
        starts
            .iter()
            .zip(ends)
            .map(|(start, end)| *start..end)
            .collect()
    }

    /// Where a stretch begins by the name of its segment and that of the next one, as far as it reaches them.
    fn by_names(&self, stretch: &Range<usize>) -> [Option<i64>; 2] {
        let (first, last) = (&self.batches[stretch.start], &self.batches[stretch.end - 1]);
        let begins = first.found.position == 0;
        let ends = last.found.end() == self.place.len;
        let taken = last.before.saturating_add(last.found.span());
        let end = self.place.end_offset().filter(|_| ends);
        [
            begins.then_some(self.place.bounds.base_offset),
            end.map(|end| end.wrapping_sub(taken)),
        ]
    }

    fn confirm(&mut self) {
        for stretch in self.stretches() {
            let mut votes: HashMap<i64, u32> = HashMap::new();
            for shift in self.by_names(&stretch).into_iter().flatten() {
                *votes.entry(shift).or_default() += 1;
            }
            let batches = &mut self.batches[stretch];
            for batch in batches.iter().filter(|batch| batch.offset.is_some()) {
                *votes.entry(batch.shift()).or_default() += 1;
            }
            for batch in batches.iter_mut().filter(|batch| batch.offset.is_some()) {
                batch.confirmed = votes.get(&batch.shift()).is_some_and(|votes| *votes > 1);
            }
        }
    }

    /// Whether there are holes that rotten labels do not explain: it was compacted, whatever is known about it.
    fn has_holes(&self) -> bool {
        let thinned = self.batches.iter().any(|batch| batch.found.thinned);
        thinned
            || self.is_whole()
            || self.stretches().into_iter().any(|stretch| {
                let batches = &self.batches[stretch];
                let mut confirmed = batches.iter().filter(|batch| batch.confirmed);
                let first = confirmed.next().map(Judged::shift);
                let alone = |batch: &Judged| batch.offset.is_some() && !batch.confirmed;
                let rise =
                    |pair: &[Judged]| pair.iter().all(alone) && pair[0].shift() < pair[1].shift();
                confirmed.any(|batch| Some(batch.shift()) != first)
                    || batches.len() > 2 && batches.windows(2).any(rise)
            })
    }

    /// Whether all labels rise to the end that the next segment's name sets, without damage between them.
    fn is_whole(&self) -> bool {
        let follows = |batch: &Judged| batch.before > 0 || batch.found.position == 0;
        let undamaged = self.batches.iter().all(follows);
        let all = undamaged && self.chain.len() == self.batches.len();
        let last = self.batches.last().filter(|_| all);
        last.is_some_and(|last| {
            last.found.end() == self.place.len
                && Some(last.found.next_offset()) == self.place.end_offset()
        })
    }

    fn around(&self) -> Vec<Around> {
        let bounds = self.place.bounds;
        let mut low = (bounds.base_offset, None);
        let mut all: Vec<Around> = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            all.push(Around {
                room: low.0..bounds.end_offset,
                behind_before: low.1,
                next: None,
            });
            if let Some(offsets) = batch.offsets() {
                low.1 = Some(offsets.end);
                low.0 = if batch.confirmed { offsets.end } else { low.0 };
            }
        }
        let mut high = (bounds.end_offset, None);
        for (batch, around) in self.batches.iter().zip(&mut all).rev() {
            (around.room.end, around.next) = high;
            if let Some(offsets) = batch.offsets() {
                high.1 = Some(offsets.start);
                high.0 = if batch.confirmed {
                    offsets.start
                } else {
                    high.0
                };
            }
        }
        all
    }

    /// Asks those beside it about each batch that nothing confirms.
    fn hear_neighbours(&mut self) {
        let around = self.around();
        let unsure = self.batches.iter().filter(|batch| !batch.confirmed);
        let unsure: HashSet<i64> = unsure.map(Judged::label).collect();
        let left_out = self.batches.iter().filter(|batch| batch.offset.is_none());
        let left_out: HashSet<_> = left_out.map(Judged::identity).collect();
        for stretch in self.stretches() {
            let [name, end] = self.by_names(&stretch);
            let silent = !self.batches[stretch.clone()]
                .iter()
                .any(|batch| batch.confirmed);
            if stretch.len() == 2 && silent && name.is_none() && end.is_none() {
                let room = around[stretch.start].room.start..around[stretch.end - 1].room.end;
                self.hear_pair(stretch.start, room);
                continue;
            }
            let (start, last) = (stretch.start, stretch.end);
            let mut before = name;
            let mut told = Vec::with_capacity(stretch.len());
            for batch in &self.batches[stretch.clone()] {
                before = if batch.confirmed {
                    Some(batch.shift())
                } else {
                    before
                };
                told.push(before);
            }
            let mut behind = None;
            for (number, before) in stretch.zip(told).rev() {
                let batch = &self.batches[number];
                if batch.confirmed {
                    behind = Some(batch.shift());
                    continue;
                }
                let first = number == start;
                let told = Told {
                    before,
                    behind,
                    end,
                    sure: first && name.is_some()
                        || !first && self.batches[number - 1].confirmed
                        || number + 1 < last && self.batches[number + 1].confirmed,
                };
                let batch = &self.batches[number];
                let is_copy = self.is_copy(batch)
                    || batch.offset.is_some() && left_out.contains(&batch.identity());
                let possible = |offset: &i64| {
                    // A batch that has this label stands in a wrong place, and so may this one.
                    *offset == batch.label()
                        || batch.may_have_been(*offset) && !is_copy && !unsure.contains(offset)
                };
                let offsets = self.possible(number, told, &around[number], possible);
                self.hear(number, told, &around[number], &offsets);
            }
        }
    }

    /// The offsets of those told to a batch that it may have.
    fn possible(
        &self,
        number: usize,
        told: Told,
        around: &Around,
        possible: impl Fn(&i64) -> bool,
    ) -> Vec<i64> {
        let batch = &self.batches[number];
        let shifts = [told.before, told.behind.or(told.end)];
        let offsets = shifts
            .iter()
            .flatten()
            .map(|shift| shift.wrapping_add(batch.before));
        let fits = |offset: &i64| self.fits(*offset, batch.found.span(), &around.room);
        let mut offsets: Vec<i64> = offsets
            .filter(|offset| possible(offset) && fits(offset))
            .collect();
        offsets.dedup();
        offsets
    }

    /// What becomes of a batch of which others tell where its stretch begins, and that it may have `offsets`.
    fn hear(&mut self, number: usize, told: Told, around: &Around, offsets: &[i64]) {
        let batch = &mut self.batches[number];
        let next = batch.found.next_offset();
        let continues = around.behind_before == Some(batch.label()) || around.next == Some(next);
        let nobody = told.before.or(told.behind).or(told.end).is_none();
        match offsets {
            [offset] => batch.offset = Some(*offset),
            [_, _, ..] => batch.doubtful = true,
            [] if nobody => {}
            // A file may have lost its last batches without a trace.
            [] if !told.sure => batch.doubtful = true,
            [] if batch.offset.is_some() && continues => batch.moved = true,
            [] => (batch.offset, batch.contradicted) = (None, true),
        }
    }

    /// Two batches that only have each other, and do not agree.
    fn hear_pair(&mut self, first: usize, room: Range<i64>) {
        let (a, b) = (self.batches[first], self.batches[first + 1]);
        let of_a = b.label().saturating_sub(a.found.span());
        let of_b = a.label().saturating_add(a.found.span());
        let fit = |a_offset: i64, b_offset: i64| {
            self.fits(a_offset, a.found.span(), &(room.start..b_offset))
                && self.fits(b_offset, b.found.span(), &(b_offset..room.end))
        };
        let a_wrong = a.may_have_been(of_a) && fit(of_a, b.label()) && !self.is_copy(&a);
        let b_wrong = b.may_have_been(of_b) && fit(a.label(), of_b) && !self.is_copy(&b);
        let pair = &mut self.batches[first..first + 2];
        match (a_wrong, b_wrong) {
            (true, false) => (pair[0].offset, pair[1].offset) = (Some(of_a), Some(b.label())),
            (false, true) => (pair[0].offset, pair[1].offset) = (Some(a.label()), Some(of_b)),
            _ => pair.iter_mut().for_each(|batch| batch.doubtful = true),
        }
    }

    /// Whether `span` offsets from `offset` on lie within `room`.
    fn fits(&self, offset: i64, span: i64, room: &Range<i64>) -> bool {
        let last = offset.saturating_add(span - 1);
        room.start <= offset && last < room.end && self.place.bounds.hold(offset, last)
    }

    /// Whether the same batch stands in the chain with the same offset.
    fn is_copy(&self, batch: &Judged) -> bool {
        let at = |number: &u32| &self.batches[*number as usize];
        let (chain, found) = (&self.chain, &batch.found);
        let place = chain.partition_point(|number| at(number).label() < found.base_offset);
        let other = chain.get(place).map(at);
        other.is_some_and(|other| {
            other.offset == Some(found.base_offset)
                && other.identity() == batch.identity()
                && other.found.position != found.position
        })
    }

    /// A label that damage may have reached may be wrong, unless another one agrees with it.
    fn doubt_torn(&mut self) {
        for batch in &mut self.batches {
            let told = batch.offset != Some(batch.label());
            batch.doubtful |= batch.torn_bytes() > 0 && !batch.confirmed && !told;
        }
    }

    /// In order, and of two that want the same offsets only one: a confirmed one, where there is one.
    fn into_kept(self) -> Vec<Kept> {
        let given = self.batches.into_iter();
        let mut given: Vec<(i64, Judged)> = given
            .filter_map(|batch| Some((batch.offset?, batch)))
            .collect();
        given.sort_by_key(|(offset, batch)| (*offset, batch.found.position));
        let mut kept: Vec<(bool, Kept)> = Vec::with_capacity(given.len());
        for (base_offset, batch) in given {
            let one = Kept {
                found: batch.found,
                base_offset,
                doubtful: batch.doubtful,
            };
            let mut overlapped = false;
            while let Some((confirmed, last)) = kept.last_mut()
                && last.next_offset() > base_offset
            {
                if *confirmed || !batch.confirmed {
                    (last.doubtful, overlapped) = (last.doubtful || !*confirmed, true);
                    break;
                }
                kept.pop();
            }
            if !overlapped {
                kept.push((batch.confirmed, one));
            }
        }
        kept.into_iter().map(|(_, kept)| kept).collect()
    }
}

#[cfg(test)]
mod tests;
