//! What the first half of a pass has learnt about offsets of the dirty part, a bit each: the second half neither hashes
//! and looks for their keys once more, nor opens a batch of which all records stay, or none.

use tidewheel_protocol::BatchHeader;

/// A bit for each offset from the first dirty one on, as far as memory goes.
#[derive(Debug)]
pub(crate) struct Marks {
    first: i64,
    /// The record at this offset is the newest of its key so far.
    newest: Vec<u64>,
    /// The batch that begins at this offset has to be opened: it holds tombstones, or is too large for that.
    unclear: Vec<u64>,
}

impl Marks {
    /// No marks yet, for `offsets` offsets from `first` on, or as many as find room in `bytes_max`.
    pub(crate) fn new(first: i64, offsets: u64, bytes_max: u64) -> Self {
        let words = offsets.div_ceil(64).min(bytes_max / 16);
        let bits = || vec![0; usize::try_from(words).unwrap_or(0)];
        Self {
            first,
            newest: bits(),
            unclear: bits(),
        }
    }

    /// The record at `offset` is the newest of its key, and that at `before` no longer.
    pub(crate) fn put(&mut self, offset: i64, before: Option<i64>) {
        let cleared = before.and_then(|before| self.place(before));
        if let Some((word, bit)) = cleared {
            self.newest[word] &= !bit;
        }
        if let Some((word, bit)) = self.place(offset) {
            self.newest[word] |= bit;
        }
    }

    /// The batch that begins at `base_offset` has to be opened.
    pub(crate) fn put_unclear(&mut self, base_offset: i64) {
        if let Some((word, bit)) = self.place(base_offset) {
            self.unclear[word] |= bit;
        }
    }

    /// Whether the record at `offset` is the newest of its key; `None` where no mark tells.
    pub(crate) fn is_newest(&self, offset: i64) -> Option<bool> {
        let (word, bit) = self.place(offset)?;
        Some(self.newest[word] & bit != 0)
    }

    /// How many records of a batch are the newest of their keys, and have values; `None` where only the batch itself
    /// can tell.
    pub(crate) fn newest_in(&self, header: &BatchHeader) -> Option<u32> {
        let (first, first_bit) = self.place(header.base_offset)?;
        let (last, last_bit) = self.place(header.last_offset())?;
        if self.unclear[first] & first_bit != 0 {
            return None;
        }
        let (from, to) = (!(first_bit - 1), last_bit | (last_bit - 1));
        let words = self.newest.get(first..=last)?.iter().enumerate();
        let counts = words.map(|(at, word)| {
            let low = if at == 0 { from } else { u64::MAX };
            let high = if at == last - first { to } else { u64::MAX };
            (word & low & high).count_ones()
        });
        Some(counts.sum())
    }

    /// The word and the bit of an offset.
    fn place(&self, offset: i64) -> Option<(usize, u64)> {
        let at = u64::try_from(offset.checked_sub(self.first)?).ok()?;
        let word = usize::try_from(at / 64).ok()?;
        (word < self.newest.len()).then_some((word, 1 << (at % 64)))
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::RecordBatchBuilder;

    use super::*;

    /// The header of a batch from one offset to another.
    fn header(first: i64, last: i64) -> BatchHeader {
        let batch = RecordBatchBuilder::new().base_offset(first).build();
        BatchHeader {
            last_offset_delta: i32::try_from(last - first).unwrap(),
            ..batch.unwrap().header
        }
    }

    #[test]
    fn what_is_counted_ends_with_the_batch_also_within_a_word() {
        let mut marks = Marks::new(100, 300, 1 << 10);
        for offset in 100..400 {
            marks.put(offset, None);
        }
        marks.put(399, Some(200));
        for (first, last, newest) in [
            (100, 100, 1),
            (100, 163, 64),
            (101, 164, 64),
            (130, 199, 70),
            (130, 200, 70),
            (200, 200, 0),
            (163, 300, 137),
            (399, 399, 1),
        ] {
            assert_eq!(
                marks.newest_in(&header(first, last)),
                Some(newest),
                "{first}"
            );
        }
        assert_eq!(
            (marks.is_newest(200), marks.is_newest(201)),
            (Some(false), Some(true))
        );
    }

    #[test]
    fn no_more_is_told_than_there_is_memory_for() {
        // Two words of either kind.
        let mut marks = Marks::new(100, 1 << 40, 40);
        for offset in [99, 227, 228, i64::MAX, i64::MIN] {
            marks.put(offset, Some(offset));
            marks.put_unclear(offset);
        }
        let told = [99, 227, 228, i64::MAX, i64::MIN].map(|offset| marks.is_newest(offset));
        assert_eq!(told, [None, Some(true), None, None, None]);
        let counted = [(99, 120), (120, 228), (120, 227), (227, 227)];
        let counted = counted.map(|(first, last)| marks.newest_in(&header(first, last)));
        assert_eq!(
            counted,
            [None, None, Some(1), None],
            "the last was told to be unclear"
        );
        let none = Marks::new(0, 1 << 40, 15);
        assert_eq!(
            (none.is_newest(0), none.newest_in(&header(0, 0))),
            (None, None)
        );
    }
}
