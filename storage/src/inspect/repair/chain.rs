//! The batches of a segment whose labels are most likely right.
//!
//! No CRC covers a batch's base offset, its label. What is known: offsets rise through a segment, within the bounds
//! that the names of the segments set. So the longest chain of batches whose offsets rise is right; of several,
//! the one in which most batches agree with another of the same undamaged stretch.

use std::collections::{BTreeMap, HashMap};

use super::scan::{Bounds, Found};

/// How many batches a chain has, and how many of them continue another.
type Worth = (u32, u32);

/// What decides about a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) bounds: Bounds,
    /// Length of its file in bytes.
    pub(super) len: u64,
    /// Batches continue each other: it was never compacted.
    pub(super) exact: bool,
}

impl Place {
    /// The offset behind its last batch, where that is known.
    pub(super) fn end_offset(&self) -> Option<i64> {
        Some(self.bounds.end_offset).filter(|end| *end != i64::MAX)
    }
}

/// The numbers of the batches of the longest chain.
pub(super) fn chain(found: &[Found], place: Place) -> Vec<u32> {
    let bounds = place.bounds;
    // The best chain that ends with this offset; the longer, the later.
    let mut best: BTreeMap<i64, (Worth, u32)> = BTreeMap::new();
    // The best chain of an undamaged stretch whose batches continue each other: they have the same shift
    // against the offsets that the stretch took so far. A file begins with the offset in its name.
    let mut stretch: HashMap<i64, (Worth, Option<u32>)> = HashMap::new();
    stretch.insert(bounds.base_offset, ((0, 0), None));
    let mut before: Vec<Option<u32>> = Vec::with_capacity(found.len());
    let (mut stretch_end, mut span) = (0, 0_i64);
    for (number, batch) in (0_u32..).zip(found) {
        if batch.position != stretch_end {
            stretch.clear();
            span = 0;
        }
        let shift = batch.base_offset.wrapping_sub(span);
        stretch_end = batch.end();
        span = span.saturating_add(batch.span());
        if !bounds.hold(batch.base_offset, batch.last_offset()) {
            before.push(None);
            continue;
        }
        let lower = best.range(..batch.base_offset).next_back();
        let longer = |((count, links), from)| ((count + 1, links), from);
        let mut choice = longer(lower.map_or(((0, 0), None), |(_, best)| (best.0, Some(best.1))));
        if let Some(((count, links), from)) = stretch.get(&shift) {
            choice = choice.max(((count + 1, links + 1), *from));
        }
        stretch.insert(shift, (choice.0, Some(number)));
        before.push(choice.1);
        put_best(&mut best, batch.last_offset(), (choice.0, number));
    }
    let mut last = best.values().next_back().copied();
    if let Some(end) = place.end_offset()
        && stretch_end == place.len
        && let Some(((count, links), Some(number))) = stretch.get(&end.wrapping_sub(span))
    {
        let linked = ((*count, links + 1), *number);
        last = last.map(|last| if linked.0 > last.0 { linked } else { last });
    }
    let mut numbers: Vec<u32> = std::iter::successors(last.map(|(_, number)| number), |number| {
        before[*number as usize]
    })
    .collect();
    numbers.reverse();
    numbers
}

/// Notes a chain that ends with `last_offset`, unless one that ends before it is as good.
fn put_best(best: &mut BTreeMap<i64, (Worth, u32)>, last_offset: i64, chain: (Worth, u32)) {
    let lower = best.range(..=last_offset).next_back();
    if lower.is_some_and(|(_, lower)| lower.0 >= chain.0) {
        return;
    }
    while let Some((offset, higher)) = best.range(last_offset..).next()
        && higher.0 <= chain.0
    {
        let offset = *offset;
        best.remove(&offset);
    }
    best.insert(last_offset, chain);
}
