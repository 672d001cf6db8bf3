//! The offset index and the time index of a segment: Kafka's files, byte for byte.
//!
//! ```text
//! .index      8 B entries:  relative offset u32 of a batch's LAST offset | position u32 of its start
//! .timeindex 12 B entries:  largest timestamp so far i64 | relative offset u32 of the batch it is in
//! ```
//! Everything is big-endian; offsets are relative to the segment's base offset. Both indexes are
//! sparse: a batch gets entries where more than `index.interval.bytes` of log lie since the last
//! one, so the first batch never does. The time index skips an entry whose timestamp is not above
//! the last one, and gets a final entry with the segment's largest timestamp when it is sealed.
//! There is no checksum: an index is a hint that is rebuilt from the log on doubt, and a look-up
//! only says where to start reading.
//!
//! [`ActiveIndex`] holds both indexes of the segment that is written, in memory; the files are
//! written behind it. [`OffsetIndex`] and [`TimeIndex`] are views of a sealed segment's files.

mod active;

pub use active::{ActiveIndex, Unwritten};

/// Bytes of an offset index entry.
pub const OFFSET_ENTRY_LEN: usize = 8;
/// Bytes of a time index entry.
pub const TIME_ENTRY_LEN: usize = 12;

/// "No record yet" in a [`TimestampOffset`].
pub const NO_TIMESTAMP: i64 = -1;

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPosition {
    /// The batch's last offset; the base offset where the index knows nothing earlier.
    pub offset: i64,
    /// The batch's first byte in the segment's `.log` file.
    pub position: u32,
}

/// The largest timestamp up to some point of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The timestamp, ms since 1970, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The last offset of the batch that has it.
    pub offset: i64,
}

/// A batch that was just appended, as the indexes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBatch {
    /// Its last offset.
    pub last_offset: i64,
    /// Its first byte in the `.log` file.
    pub position: u32,
    /// Its length in bytes.
    pub size: u32,
    /// The largest timestamp of its records, ms since 1970.
    pub max_timestamp: i64,
}

/// Whether `offset` can be indexed in a segment that begins at `base_offset`. Where it cannot, the
/// log rolls first. (Kafka reads the relative offset as a signed number.)
#[must_use]
pub fn offset_fits(base_offset: i64, offset: i64) -> bool {
    relative(base_offset, offset).is_some()
}

fn relative(base_offset: i64, offset: i64) -> Option<u32> {
    let relative = i32::try_from(offset.checked_sub(base_offset)?).ok()?;
    u32::try_from(relative).ok()
}

/// An index file is not what it must be; it is rebuilt from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("index entry {entry}: {reason}")]
pub struct IndexError {
    /// The first bad entry, from 0.
    pub entry: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// An entry of an index file.
pub trait IndexEntry: Copy {
    /// The entry as it lies in the file.
    type Bytes;

    /// Reads it in a segment that begins at `base_offset`.
    fn read(base_offset: i64, bytes: &Self::Bytes) -> Self;

    /// What a look-up finds where no entry is early enough: the segment's beginning.
    fn beginning(base_offset: i64) -> Self;

    /// Whether it may follow `before`.
    fn follows(&self, before: &Self) -> bool;

    /// Whether it may be the first one.
    fn may_be_first(&self) -> bool;
}

impl IndexEntry for OffsetPosition {
    type Bytes = [u8; OFFSET_ENTRY_LEN];

    fn read(base_offset: i64, bytes: &Self::Bytes) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        let relative = u32::from_be_bytes([a, b, c, d]);
        Self {
            offset: base_offset.saturating_add(i64::from(relative)),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }

    fn beginning(base_offset: i64) -> Self {
        Self {
            offset: base_offset,
            position: 0,
        }
    }

    fn follows(&self, before: &Self) -> bool {
        self.offset > before.offset && self.position > before.position
    }

    fn may_be_first(&self) -> bool {
        self.position > 0
    }
}

impl IndexEntry for TimestampOffset {
    type Bytes = [u8; TIME_ENTRY_LEN];

    fn read(base_offset: i64, bytes: &Self::Bytes) -> Self {
        let [timestamp @ .., a, b, c, d] = *bytes;
        let relative = u32::from_be_bytes([a, b, c, d]);
        Self {
            timestamp: i64::from_be_bytes(timestamp),
            offset: base_offset.saturating_add(i64::from(relative)),
        }
    }

    fn beginning(base_offset: i64) -> Self {
        Self {
            timestamp: NO_TIMESTAMP,
            offset: base_offset,
        }
    }

    fn follows(&self, before: &Self) -> bool {
        self.offset > before.offset && self.timestamp > before.timestamp
    }

    fn may_be_first(&self) -> bool {
        true
    }
}

/// A view of an index file.
#[derive(Debug)]
pub struct IndexView<'a, E: IndexEntry> {
    base_offset: i64,
    entries: &'a [E::Bytes],
}

/// A view of an offset index.
pub type OffsetIndex<'a> = IndexView<'a, OffsetPosition>;
/// A view of a time index.
pub type TimeIndex<'a> = IndexView<'a, TimestampOffset>;

impl<'a, E: IndexEntry> IndexView<'a, E> {
    /// Takes over `entries` of a file that ends with `rest`; looks at the first and last one only.
    fn checked(base_offset: i64, entries: &'a [E::Bytes], rest: &[u8]) -> Result<Self, IndexError> {
        let index = Self {
            base_offset,
            entries,
        };
        if !rest.is_empty() {
            return Err(IndexError {
                entry: entries.len(),
                reason: "cut off",
            });
        }
        if let (Some(first), Some(last)) = (index.entry(0), index.last())
            && !(first.may_be_first() && (entries.len() == 1 || last.follows(&first)))
        {
            return Err(index.does_not_rise(entries.len() - 1));
        }
        Ok(index)
    }

    fn does_not_rise(&self, entry: usize) -> IndexError {
        IndexError {
            entry,
            reason: "does not rise",
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry with this number, from 0.
    #[must_use]
    pub fn entry(&self, number: usize) -> Option<E> {
        Some(E::read(self.base_offset, self.entries.get(number)?))
    }

    /// The last entry: in the time index of a sealed segment the one with its largest timestamp.
    #[must_use]
    pub fn last(&self) -> Option<E> {
        Some(E::read(self.base_offset, self.entries.last()?))
    }

    /// The last of the entries for which `early` holds, else the segment's beginning.
    fn last_where(&self, early: impl Fn(E) -> bool) -> E {
        let after = self
            .entries
            .partition_point(|entry| early(E::read(self.base_offset, entry)));
        after
            .checked_sub(1)
            .and_then(|number| self.entry(number))
            .unwrap_or(E::beginning(self.base_offset))
    }

    /// Checks every entry: offsets, and positions or timestamps, rise strictly.
    ///
    /// # Errors
    /// [`IndexError`] with the first entry that does not.
    pub fn check(&self) -> Result<(), IndexError> {
        match self.rising_prefix() {
            good if good == self.len() => Ok(()),
            good => Err(self.does_not_rise(good)),
        }
    }

    /// How many entries there are before the first one that does not rise.
    fn rising_prefix(&self) -> usize {
        let mut before: Option<E> = None;
        for (number, entry) in self.entries.iter().enumerate() {
            let entry = E::read(self.base_offset, entry);
            let rises = before.map_or(entry.may_be_first(), |before| entry.follows(&before));
            if !rises {
                return number;
            }
            before = Some(entry);
        }
        self.len()
    }
}

impl<'a> OffsetIndex<'a> {
    /// Views a whole file. Looks at its length, first and last entry only.
    ///
    /// # Errors
    /// [`IndexError`] where the length is no multiple of 8 or the ends contradict each other or
    /// `log_len`, the length of the `.log` file in bytes.
    pub fn open(base_offset: i64, bytes: &'a [u8], log_len: u64) -> Result<Self, IndexError> {
        let (entries, rest) = bytes.as_chunks();
        let index = Self::checked(base_offset, entries, rest)?;
        let beyond = |last: OffsetPosition| u64::from(last.position) >= log_len;
        if index.last().is_some_and(beyond) {
            return Err(IndexError {
                entry: entries.len() - 1,
                reason: "beyond the log",
            });
        }
        Ok(index)
    }

    /// The last entry at or before `offset`, else the segment's beginning. A scan for `offset`
    /// starts at its position.
    #[must_use]
    pub fn lookup(&self, offset: i64) -> OffsetPosition {
        self.last_where(|entry| entry.offset <= offset)
    }
}

impl<'a> TimeIndex<'a> {
    /// Views a whole file. Looks at its length, first and last entry only.
    ///
    /// # Errors
    /// [`IndexError`] where the length is no multiple of 12 or the ends contradict each other.
    pub fn open(base_offset: i64, bytes: &'a [u8]) -> Result<Self, IndexError> {
        let (entries, rest) = bytes.as_chunks();
        Self::checked(base_offset, entries, rest)
    }

    /// The last entry with a timestamp at or before `timestamp`, else the segment's beginning with
    /// [`NO_TIMESTAMP`]. No record before that entry's batch has a timestamp at or above
    /// `timestamp`, so a search starts at that batch.
    #[must_use]
    pub fn lookup(&self, timestamp: i64) -> TimestampOffset {
        self.last_where(|entry| entry.timestamp <= timestamp)
    }
}

#[cfg(test)]
mod tests;
