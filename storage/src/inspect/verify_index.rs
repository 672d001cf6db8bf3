//! Checks the two indexes of a segment against its batches, in one walk over both.

use std::path::PathBuf;

use super::finding::Report;
use super::verify_segment::Rules;

/// Bytes of an entry: relative offset u32, position u32.
pub(super) const OFFSET_ENTRY_LEN: usize = 8;
/// Bytes of an entry: timestamp i64, relative offset u32.
pub(super) const TIME_ENTRY_LEN: usize = 12;

/// An entry of an offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub(super) offset: i64,
    pub(super) position: u32,
}

/// An entry of a time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
}

/// A batch as the indexes may name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchFact {
    pub(super) position: u64,
    pub(super) last_offset: i64,
    /// The largest timestamp of its records.
    pub(super) max_timestamp: i64,
    /// The largest timestamp of the segment up to and with this batch.
    pub(super) running_max_timestamp: i64,
}

impl OffsetEntry {
    pub(super) fn read(base_offset: i64, bytes: &[u8]) -> Option<OffsetEntry> {
        let (offset, rest) = bytes.split_first_chunk::<4>()?;
        let position = u32::from_be_bytes(rest.try_into().ok()?);
        let offset = base_offset.checked_add(u32::from_be_bytes(*offset).into())?;
        Some(OffsetEntry { offset, position })
    }
}

impl TimeEntry {
    pub(super) fn read(base_offset: i64, bytes: &[u8]) -> Option<TimeEntry> {
        let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
        let offset = u32::from_be_bytes(rest.try_into().ok()?);
        let offset = base_offset.checked_add(offset.into())?;
        Some(TimeEntry {
            timestamp: i64::from_be_bytes(*timestamp),
            offset,
        })
    }
}

/// An index file whose entries are ticked off while the walk passes their batches.
pub(super) struct IndexWalk<E> {
    path: PathBuf,
    entries: Vec<E>,
    entry_len: usize,
    next: usize,
}

impl<E: Copy> IndexWalk<E> {
    /// Splits the file into entries; a rest that is none is reported.
    pub(super) fn new(
        path: PathBuf,
        bytes: &[u8],
        entry_len: usize,
        read: impl Fn(&[u8]) -> Option<E>,
        report: &mut Report<'_>,
        rules: &Rules,
    ) -> IndexWalk<E> {
        let entries: Vec<E> = bytes.chunks_exact(entry_len).map_while(read).collect();
        let used = entries.len() * entry_len;
        if used != bytes.len() {
            let rest = bytes.len() - used;
            let what = format!("{rest} bytes at the end are no index entry");
            report.add(rules.tail_severity(), &path, used as u64, what);
        }
        IndexWalk {
            path,
            entries,
            entry_len,
            next: 0,
        }
    }

    fn position(&self, entry: usize) -> u64 {
        (entry * self.entry_len) as u64
    }
}

impl IndexWalk<OffsetEntry> {
    /// Checks the entries that name this batch, or lie before it and name none.
    pub(super) fn pass(&mut self, batch: &BatchFact, report: &mut Report<'_>, rules: &Rules) {
        while let Some(entry) = self.entries.get(self.next) {
            if u64::from(entry.position) > batch.position {
                return;
            }
            let at = self.position(self.next);
            let OffsetEntry { offset, position } = *entry;
            self.next += 1;
            if u64::from(position) < batch.position {
                let what = format!("position {position} is not the beginning of a batch");
                report.add(rules.severity(offset), &self.path, at, what);
            } else if offset != batch.last_offset || position == 0 {
                let what = format!(
                    "offset {offset} at position {position}, where the batch ends with offset {}",
                    batch.last_offset
                );
                report.add(
                    rules.severity(offset.min(batch.last_offset)),
                    &self.path,
                    at,
                    what,
                );
            }
        }
    }

    /// Passes over entries up to and with the batch at `position`, which cannot be judged.
    pub(super) fn skip(&mut self, position: u64) {
        let rest = self.entries.iter().skip(self.next);
        self.next += rest
            .take_while(|entry| u64::from(entry.position) <= position)
            .count();
    }

    /// Reports the entries that lie behind the last batch.
    pub(super) fn finish(&mut self, report: &mut Report<'_>, rules: &Rules) {
        for (number, entry) in self.entries.iter().enumerate().skip(self.next) {
            let OffsetEntry { offset, position } = *entry;
            let what = format!("offset {offset} at position {position} lies behind the last batch");
            report.add(
                rules.severity(offset),
                &self.path,
                self.position(number),
                what,
            );
        }
    }
}

impl IndexWalk<TimeEntry> {
    /// Checks the entries that name this batch, or an offset inside it.
    pub(super) fn pass(&mut self, batch: &BatchFact, report: &mut Report<'_>, rules: &Rules) {
        while let Some(entry) = self.entries.get(self.next) {
            if entry.offset > batch.last_offset {
                return;
            }
            let at = self.position(self.next);
            let TimeEntry { timestamp, offset } = *entry;
            let risen = self.next == 0 || {
                let before = self.entries[self.next - 1];
                before.timestamp < timestamp && before.offset < offset
            };
            self.next += 1;
            let what = if offset != batch.last_offset {
                format!("offset {offset} is not the last offset of a batch")
            } else if timestamp != batch.max_timestamp {
                format!(
                    "timestamp {timestamp} for offset {offset}, where the batch has {}",
                    batch.max_timestamp
                )
            } else if timestamp != batch.running_max_timestamp || !risen {
                format!("timestamp {timestamp} for offset {offset} does not rise")
            } else {
                continue;
            };
            report.add(rules.severity(offset), &self.path, at, what);
        }
    }

    /// Passes over entries up to `offset`, which cannot be judged.
    pub(super) fn skip(&mut self, offset: i64) {
        let rest = self.entries.iter().skip(self.next);
        self.next += rest.take_while(|entry| entry.offset <= offset).count();
    }

    /// Reports the entries that lie behind the last batch, and a sealed segment whose last entry
    /// is not its largest timestamp: look-ups would miss records.
    pub(super) fn finish(
        &mut self,
        segment_max_timestamp: i64,
        sealed: bool,
        report: &mut Report<'_>,
        rules: &Rules,
    ) {
        for (number, entry) in self.entries.iter().enumerate().skip(self.next) {
            let TimeEntry { timestamp, offset } = *entry;
            let what = format!("timestamp {timestamp} for offset {offset} behind the last batch");
            report.add(
                rules.severity(offset),
                &self.path,
                self.position(number),
                what,
            );
        }
        let last = self.entries.last().map_or(-1, |entry| entry.timestamp);
        if sealed && last < segment_max_timestamp {
            let what =
                format!("ends with timestamp {last}, the segment has {segment_max_timestamp}");
            report.add(
                rules.tail_severity(),
                &self.path,
                self.position(self.entries.len()),
                what,
            );
        }
    }
}
