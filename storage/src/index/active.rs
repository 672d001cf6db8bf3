//! The indexes of the segment that is written.

use super::{
    IndexEntry, IndexedBatch, NO_TIMESTAMP, OFFSET_ENTRY_LEN, OffsetIndex, OffsetPosition,
    TIME_ENTRY_LEN, TimeIndex, TimestampOffset, relative,
};

/// Bytes of an index that its file does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten<'a> {
    /// Where in the file they belong.
    pub position: u64,
    /// The bytes: whole entries, maybe none.
    pub bytes: &'a [u8],
}

/// Both indexes of the segment that is being written.
///
/// The owner of the log feeds it every batch in order with [`ActiveIndex::batch_appended`]; the
/// same calls in the same order give the same files, so recovery rebuilds what was lost.
#[derive(Clone, Debug)]
pub struct ActiveIndex {
    base_offset: i64,
    offsets: Vec<u8>,
    times: Vec<u8>,
    /// Bytes of `offsets` and `times` that their files have.
    offsets_written: usize,
    times_written: usize,
    bytes_since_entry: u64,
    max_timestamp: TimestampOffset,
}

impl ActiveIndex {
    /// The indexes of an empty segment.
    #[must_use]
    pub fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            offsets: Vec::new(),
            times: Vec::new(),
            offsets_written: 0,
            times_written: 0,
            bytes_since_entry: 0,
            max_timestamp: TimestampOffset {
                timestamp: NO_TIMESTAMP,
                offset: base_offset,
            },
        }
    }

    /// The indexes as their files describe the log below `end`, the first offset and position that
    /// are not trusted. Entries from there on, and whatever does not rise, are dropped; where the
    /// files contradict each other nothing of them is taken.
    ///
    /// The caller then feeds every batch from [`ActiveIndex::resume_position`] on, which are few:
    /// the batches after the last entry.
    #[must_use]
    pub fn restore(base_offset: i64, offsets: &[u8], times: &[u8], end: OffsetPosition) -> Self {
        let mut index = Self::new(base_offset);
        let view = OffsetIndex {
            base_offset,
            entries: offsets.as_chunks().0,
        };
        let rising = view.entries.iter().take(view.rising_prefix());
        let good = rising
            .map(|entry| OffsetPosition::read(base_offset, entry))
            .take_while(|entry| entry.offset < end.offset && entry.position < end.position)
            .count();
        let Some(last) = good.checked_sub(1).and_then(|number| view.entry(number)) else {
            return index;
        };
        let view = TimeIndex {
            base_offset,
            entries: times.as_chunks().0,
        };
        let rising = view.entries.iter().take(view.rising_prefix());
        let good_times = rising
            .take_while(|entry| TimestampOffset::read(base_offset, entry).offset <= last.offset)
            .count();
        // Every offset entry goes with a time entry unless the timestamp stood still, so the first
        // one did; without it the largest timestamp so far is not known.
        let Some(max) = good_times
            .checked_sub(1)
            .and_then(|number| view.entry(number))
        else {
            return index;
        };
        index
            .offsets
            .extend_from_slice(&offsets[..good * OFFSET_ENTRY_LEN]);
        index
            .times
            .extend_from_slice(&times[..good_times * TIME_ENTRY_LEN]);
        index.offsets_written = index.offsets.len();
        index.times_written = index.times.len();
        index.max_timestamp = max;
        index
    }

    /// Where the log must be walked from after [`ActiveIndex::restore`]: the start of the batch of
    /// the last entry.
    #[must_use]
    pub fn resume_position(&self) -> u32 {
        self.offset_index().last().map_or(0, |last| last.position)
    }

    /// Notes a batch; gives it entries where more than `interval_bytes` of log lie before it since
    /// the last one. A batch that has its entry already (after [`ActiveIndex::restore`]) only
    /// counts, and an offset that does not fit ([`super::offset_fits`]) gets no entry: the log rolls
    /// before one, but a damaged file may hold it.
    pub fn batch_appended(&mut self, batch: &IndexedBatch, interval_bytes: u32) {
        if batch.max_timestamp > self.max_timestamp.timestamp {
            self.max_timestamp = TimestampOffset {
                timestamp: batch.max_timestamp,
                offset: batch.last_offset,
            };
        }
        let indexed = self
            .offset_index()
            .last()
            .is_some_and(|last| last.offset >= batch.last_offset);
        if indexed {
            self.bytes_since_entry = u64::from(batch.size);
            return;
        }
        if self.bytes_since_entry > u64::from(interval_bytes)
            && let Some(relative) = relative(self.base_offset, batch.last_offset)
        {
            self.offsets.extend_from_slice(&relative.to_be_bytes());
            self.offsets
                .extend_from_slice(&batch.position.to_be_bytes());
            self.add_time_entry();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += u64::from(batch.size);
    }

    /// Adds the time index entry that a sealed segment ends with. No batch may follow.
    pub fn seal(&mut self) {
        self.add_time_entry();
    }

    /// The largest timestamp so far and the last offset of its batch.
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampOffset {
        self.max_timestamp
    }

    /// Whether one more entry would take either file beyond `index_bytes_max`
    /// (`segment.index.bytes`); the final entry of the time index has its place kept.
    #[must_use]
    pub fn is_full(&self, index_bytes_max: u32) -> bool {
        let max = index_bytes_max as usize;
        self.offsets.len() + OFFSET_ENTRY_LEN > max || self.times.len() + 2 * TIME_ENTRY_LEN > max
    }

    /// See [`OffsetIndex::lookup`].
    #[must_use]
    pub fn lookup(&self, offset: i64) -> OffsetPosition {
        self.offset_index().lookup(offset)
    }

    /// See [`TimeIndex::lookup`].
    #[must_use]
    pub fn lookup_timestamp(&self, timestamp: i64) -> TimestampOffset {
        self.time_index().lookup(timestamp)
    }

    /// A view of the offset index.
    #[must_use]
    pub fn offset_index(&self) -> OffsetIndex<'_> {
        OffsetIndex {
            base_offset: self.base_offset,
            entries: self.offsets.as_chunks().0,
        }
    }

    /// A view of the time index.
    #[must_use]
    pub fn time_index(&self) -> TimeIndex<'_> {
        TimeIndex {
            base_offset: self.base_offset,
            entries: self.times.as_chunks().0,
        }
    }

    /// What the `.index` file lacks.
    #[must_use]
    pub fn unwritten_offsets(&self) -> Unwritten<'_> {
        Unwritten {
            position: self.offsets_written as u64,
            bytes: &self.offsets[self.offsets_written..],
        }
    }

    /// What the `.timeindex` file lacks.
    #[must_use]
    pub fn unwritten_times(&self) -> Unwritten<'_> {
        Unwritten {
            position: self.times_written as u64,
            bytes: &self.times[self.times_written..],
        }
    }

    /// Notes that both files were brought to these lengths in bytes.
    pub fn mark_written(&mut self, offsets_len: u64, times_len: u64) {
        let cap = |len: u64, have: usize| usize::try_from(len).unwrap_or(have).min(have);
        self.offsets_written = cap(offsets_len, self.offsets.len());
        self.times_written = cap(times_len, self.times.len());
    }

    /// Bytes of memory the entries take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.offsets.capacity() + self.times.capacity()
    }

    fn add_time_entry(&mut self) {
        let last = self
            .time_index()
            .last()
            .map_or(NO_TIMESTAMP, |last| last.timestamp);
        if self.max_timestamp.timestamp > last
            && let Some(relative) = relative(self.base_offset, self.max_timestamp.offset)
        {
            self.times
                .extend_from_slice(&self.max_timestamp.timestamp.to_be_bytes());
            self.times.extend_from_slice(&relative.to_be_bytes());
        }
    }
}
