//! Finds the record batches of a segment, whatever lies between them.
//!
//! A batch is one where a header stands whose length leads to bytes of the right CRC. A damaged batch whose header
//! can be read is skipped as a whole. Else the next one is looked for byte by byte: a CRC is only computed where the
//! fields of a header make sense, and what that may cost in vain is bounded.
//!
//! The value of a record may hold whole batches, with offsets that would fit. So what is found byte by byte is a
//! batch of the log only where headers lead from it, one behind the other, to a place that is known: one in the
//! offset index, the end of the file, or further than any batch reaches. From within a value as programs write it
//! they lead nowhere, as bytes of its record follow it; unless the file was cut short within that, where its end is
//! no known place. A value that was made to end as its record does, with a batch of the log behind it, is taken for
//! one all the same where the header before it is destroyed: nothing in the file tells it from one.

use std::ops::Range;
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};
use tidewheel_protocol::BatchHeader;

use super::places::Places;
use super::window::Window;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::index::offset_fits;

/// Where the bytes of a batch begin that its CRC covers: at the attributes.
pub(super) const CRC_START: usize = 21;
/// Where the length in a header stands.
const LENGTH: usize = 8;
/// The bytes of a batch that its length does not count.
const UNCOUNTED_BYTES: u32 = 12;
/// Where the magic byte of a header stands.
const MAGIC: usize = 16;
/// Where its CRC stands.
const CRC: usize = 17;
/// Where the CRC of a message of an older format stands; it covers all from the magic byte on.
const OLD_CRC: usize = 12;
/// The least bytes of such a message.
const OLD_HEADER_BYTES: usize = 26;
/// Bits of a batch's attributes that mean anything.
const ATTRIBUTES: i16 = 0x7f;
/// A batch whose label is out of place is looked for behind damage only up to this size, in bytes.
const STRAY_BYTES_MAX: u64 = 1 << 20;
/// What CRCs may cover in vain, as a multiple of the file, and beside that.
const VAIN_FACTOR: u64 = 8;
const VAIN_BYTES: u64 = 64 << 20;
/// No batch is as long, in bytes: what can be sent to a broker at once is shorter.
const BATCH_BYTES_MAX: u64 = 128 << 20;
/// Most places that are told where something looks like a batch.
const PASSED_MAX: usize = 100_000;
/// Most batches of a segment that are judged: some 250 bytes of memory are taken for each.
const BATCHES_MAX: usize = 4 << 20;

/// The offsets that belong in a segment, by its name and that of the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The offset in its name.
    pub(super) base_offset: i64,
    /// The one in the next segment's, `i64::MAX` for the last segment.
    pub(super) end_offset: i64,
}

impl Bounds {
    pub(super) fn hold(&self, base_offset: i64, last_offset: i64) -> bool {
        self.base_offset <= base_offset
            && base_offset <= last_offset
            && last_offset < self.end_offset
            && offset_fits(self.base_offset, last_offset)
    }
}

/// A batch whose CRC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its first byte.
    pub(super) position: u64,
    /// As its header has it: no CRC covers this.
    pub(super) base_offset: i64,
    /// Bytes.
    pub(super) size: u32,
    pub(super) last_offset_delta: i32,
    /// As its header has it: no CRC covers this.
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    /// Some of its records are gone, as only compaction takes them; a CRC covers this.
    pub(super) thinned: bool,
    /// One byte of its length or the magic byte is another one in the file: no CRC covers these.
    pub(super) mended: bool,
}

impl Found {
    /// Behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }

    /// How many offsets it takes.
    pub(super) fn span(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.span())
    }

    /// Its header as it should be in the file; label and epoch are as they are there. What the CRC does not cover is
    /// as it was found, however it is read this time.
    pub(super) fn header(&self, source: &mut Window<'_>) -> Result<BatchHeader, StorageError> {
        let mut bytes = [0; BatchHeader::LEN];
        let read = source.from(self.position, BatchHeader::LEN)?;
        read.iter()
            .zip(&mut bytes)
            .for_each(|(read, byte)| *byte = *read);
        let length = self.size.saturating_sub(UNCOUNTED_BYTES);
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        bytes[MAGIC] = 2;
        bytes[CRC..CRC + 4].copy_from_slice(&self.crc.to_be_bytes());
        BatchHeader::parse(&bytes)
            .map_err(|error| StorageError::corrupt(source.path(), self.position, error.to_string()))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// What is known of a segment beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) bounds: Bounds,
    /// Batches continue each other: it was never compacted.
    pub(super) exact: bool,
}

/// Where headers lead that stand one behind the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// To a place that is known.
    known: bool,
    /// Behind the last one.
    end: u64,
    next_offset: i64,
}

/// Reads a segment.
pub(super) struct Scanner<'a> {
    /// Where headers are looked at.
    head: Window<'a>,
    /// Where bytes are checksummed.
    body: Window<'a>,
    known: Known,
    places: Places,
    /// Where batches with a right CRC stand that may lie within records.
    passed: Vec<u64>,
    /// Bytes that may still be checksummed in vain.
    vain_left: u64,
    /// Bytes beyond which headers lead out of any value.
    reach: u64,
}

impl<'a> Scanner<'a> {
    pub(super) fn open(
        fs: &dyn FileSystem,
        path: &'a Path,
        known: Known,
    ) -> Result<Self, StorageError> {
        let head = Window::open(fs, path)?;
        let vain_left = VAIN_BYTES.saturating_add(head.len().saturating_mul(VAIN_FACTOR));
        Ok(Self {
            body: head.again(),
            head,
            known,
            places: Places::read(fs, path, known.bounds.base_offset)?,
            passed: Vec::new(),
            vain_left,
            reach: BATCH_BYTES_MAX,
        })
    }

    /// What is read from here on comes from the disk: a read that went wrong is no damage.
    pub(super) fn forget(&mut self) -> Result<(), StorageError> {
        self.head.forget()?;
        self.body.forget()
    }

    /// At how many places of `range` batches stand that may lie within records, at least.
    pub(super) fn passed_within(&self, range: Range<u64>) -> usize {
        let passed = self.passed.iter();
        passed.filter(|position| range.contains(position)).count()
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.head.len()
    }

    /// The batch at `position`, if there is one.
    pub(super) fn batch_at(&mut self, position: u64) -> Result<Option<Found>, StorageError> {
        let Some(header) = self.header_at(position)? else {
            return Ok(None);
        };
        let good = self.crc_is_right(position, &header)?;
        Ok(good.then(|| found(position, &header)))
    }

    /// All batches of the file.
    pub(super) fn find_all(&mut self) -> Result<Vec<Found>, StorageError> {
        let mut all: Vec<Found> = Vec::new();
        let mut position = 0;
        // What is to come by the label of the batch before, and by the offsets that batches took.
        let mut expected = [self.known.bounds.base_offset; 2];
        self.passed.clear();
        while position < self.len() {
            let batch = match self.batch_at(position)? {
                None => self.mended_at(position)?,
                batch => batch,
            };
            match batch {
                Some(_) if all.len() == BATCHES_MAX => {
                    let reason = format!("more than {BATCHES_MAX} batches are too many to judge");
                    return Err(StorageError::corrupt(self.head.path(), position, reason));
                }
                Some(batch) => {
                    position = batch.end();
                    let counted = expected[1].saturating_add(batch.span());
                    expected = [batch.next_offset(), counted];
                    all.push(batch);
                }
                None => {
                    self.refuse_old_message(position)?;
                    match self.damaged_batch(position, expected)? {
                        Some((end, next_offset)) => (position, expected) = (end, [next_offset; 2]),
                        None => position = self.skip_damage(position, expected)?,
                    }
                }
            }
        }
        Ok(all)
    }

    /// The batch at `position` where one byte of its length or the magic byte is all that is wrong, as its CRC then
    /// says.
    fn mended_at(&mut self, position: u64) -> Result<Option<Found>, StorageError> {
        let left = self.len() - position;
        let mut bytes = [0; BatchHeader::LEN];
        match self
            .head
            .from(position, BatchHeader::LEN)?
            .get(..BatchHeader::LEN)
        {
            Some(head) => bytes.copy_from_slice(head),
            None => return Ok(None),
        }
        // A wrong first byte says 16 MiB or more; there one bit is enough to look for.
        let lengths = (LENGTH + 1..LENGTH + 4).flat_map(|at| (0..=u8::MAX).map(move |v| (at, v)));
        let bits = (0..8).map(|bit| (LENGTH, bytes[LENGTH] ^ (1 << bit)));
        for (at, value) in lengths.chain(bits).chain([(MAGIC, 2)]) {
            let mut changed = bytes;
            changed[at] = value;
            let parsed = BatchHeader::parse(&changed).ok();
            let Some(header) = parsed.filter(|_| value != bytes[at]) else {
                continue;
            };
            let size = header.size_in_bytes() as u64;
            if size > left || self.vain_left == 0 || !self.ends_at(position + size)? {
                continue;
            }
            if header.last_offset_delta >= 0 && self.crc_is_right(position, &header)? {
                let mended = true;
                return Ok(Some(Found {
                    mended,
                    ..found(position, &header)
                }));
            }
        }
        Ok(None)
    }

    /// What Kafka wrote before 0.11 is no damage, and is not cut out.
    fn refuse_old_message(&mut self, position: u64) -> Result<(), StorageError> {
        let left = self.len() - position;
        let head = self.head.from(position, OLD_HEADER_BYTES)?;
        let (Some(length), Some(crc), Some(0 | 1)) =
            (u32_at(head, LENGTH), u32_at(head, OLD_CRC), head.get(MAGIC))
        else {
            return Ok(());
        };
        let size = u64::from(length) + u64::from(UNCOUNTED_BYTES);
        if size > left || size < OLD_HEADER_BYTES as u64 {
            return Ok(());
        }
        let sum = self.checksum(
            CrcAlgorithm::Crc32IsoHdlc,
            position + MAGIC as u64..position + size,
        )?;
        match sum == u64::from(crc) {
            true => {
                let reason = "a message of the format before Kafka 0.11, which is not read here";
                Err(StorageError::corrupt(self.head.path(), position, reason))
            }
            false => Ok(()),
        }
    }

    fn checksum(
        &mut self,
        algorithm: CrcAlgorithm,
        range: Range<u64>,
    ) -> Result<u64, StorageError> {
        let mut digest = Digest::new(algorithm);
        self.body.for_each(range.start, range.end, |bytes| {
            digest.update(bytes);
            Ok(())
        })?;
        Ok(digest.finalize())
    }

    /// Whether a batch may end at `position`: the file does, or another batch seems to follow.
    fn ends_at(&mut self, position: u64) -> Result<bool, StorageError> {
        Ok(position == self.len() || self.header_at(position)?.is_some())
    }

    /// A header at `position` whose batch lies within the file.
    fn header_at(&mut self, position: u64) -> Result<Option<BatchHeader>, StorageError> {
        let left = self.len().saturating_sub(position);
        let header = BatchHeader::parse(self.head.from(position, BatchHeader::LEN)?);
        Ok(header.ok().filter(|header| {
            header.size_in_bytes() as u64 <= left && header.last_offset_delta >= 0
        }))
    }

    fn crc_is_right(&mut self, position: u64, header: &BatchHeader) -> Result<bool, StorageError> {
        let size = header.size_in_bytes() as u64;
        let covered = position + CRC_START as u64..position + size;
        let good = self.checksum(CrcAlgorithm::Crc32Iscsi, covered)? == u64::from(header.crc);
        if !good {
            self.vain_left = self.vain_left.saturating_sub(size);
        }
        Ok(good)
    }

    /// Where a batch of the log stands behind the damage at `position`, or the end of the file. One of the offsets
    /// `expected` was to come there.
    fn skip_damage(&mut self, position: u64, expected: [i64; 2]) -> Result<u64, StorageError> {
        let mut cut_short = self.is_cut_short(position, expected)?;
        let mut position = position + 1;
        while let Some(at) = self.next_candidate(position)? {
            let run = self.follow(at)?;
            if run.known && !(cut_short && run.end == self.len()) {
                return Ok(at);
            }
            if self.passed.len() < PASSED_MAX {
                self.passed.push(at);
            }
            cut_short |= self.is_cut_short(run.end, [run.next_offset; 2])?;
            position = at;
            // A damaged one may not end where its header says.
            while let Some(batch) = self.batch_at(position)? {
                position = batch.end();
            }
        }
        Ok(self.len())
    }

    /// The first place at or behind `position` where something stands that has the right CRC for a batch. Once too
    /// much was checksummed in vain, only where the index says that a batch stands.
    fn next_candidate(&mut self, mut position: u64) -> Result<Option<u64>, StorageError> {
        while self.len().saturating_sub(position) >= BatchHeader::LEN as u64 {
            if self.vain_left == 0 {
                return self.next_known(position);
            }
            let left = self.len() - position;
            let bounds = self.known.bounds;
            let bytes = self.head.from(position, BatchHeader::LEN)?;
            let starts = bytes.len() - BatchHeader::LEN + 1;
            let at = (0..starts).find(|at| {
                bytes[at + MAGIC] == 2 && looks_like_batch(&bytes[*at..], left - *at as u64, bounds)
            });
            let Some(at) = at else {
                position += starts as u64;
                continue;
            };
            position += at as u64;
            if self.batch_at(position)?.is_some() {
                return Ok(Some(position));
            }
            position += 1;
        }
        Ok(None)
    }

    /// The first batch at or behind `position` that the index knows.
    fn next_known(&mut self, mut position: u64) -> Result<Option<u64>, StorageError> {
        while let Some(place) = self.places.next(position) {
            let header = self.header_at(place)?;
            let known = header.is_some_and(|header| self.places.know(place, header.last_offset()));
            if known && self.batch_at(place)?.is_some() {
                return Ok(Some(place));
            }
            position = place + 1;
        }
        Ok(None)
    }

    /// Follows headers from the batch at `start` on.
    fn follow(&mut self, start: u64) -> Result<Run, StorageError> {
        let mut run = Run {
            known: false,
            end: start,
            next_offset: i64::MIN,
        };
        while run.end < self.len() {
            let header = self.header_at(run.end)?;
            let sound = |header: &BatchHeader| header.size_in_bytes() as u64 <= BATCH_BYTES_MAX;
            let Some(header) = header.filter(sound) else {
                return Ok(run);
            };
            let known = self.places.know(run.end, header.last_offset());
            let follows = run.end == start || header.base_offset == run.next_offset;
            // Holes may be before it, or a label may be wrong; but any bytes say something as well.
            if !known && !follows && !self.crc_is_right(run.end, &header)? {
                return Ok(run);
            }
            if known || run.end - start > self.reach {
                return Ok(Run { known: true, ..run });
            }
            run.end += header.size_in_bytes() as u64;
            run.next_offset = header.next_offset();
        }
        Ok(Run { known: true, ..run })
    }

    /// Whether a batch with `base_offset` may stand where `expected` was to come.
    fn may_follow(&self, base_offset: i64, expected: i64) -> bool {
        base_offset == expected || !self.known.exact && base_offset > expected
    }

    /// Whether a batch with this header may stand where one of the offsets `expected` was to come.
    fn may_come(&self, header: &BatchHeader, expected: [i64; 2]) -> bool {
        let base_offset = header.base_offset;
        let follows = expected
            .iter()
            .any(|next_offset| self.may_follow(base_offset, *next_offset));
        follows && self.known.bounds.hold(base_offset, base_offset)
    }

    /// The end of a damaged batch whose header agrees with what is around it, and the offset that it ends before: it
    /// begins with an offset that may come there, and a batch that continues it stands behind it. Nothing inside is
    /// looked at, as a record may hold what looks like a batch.
    fn damaged_batch(
        &mut self,
        position: u64,
        expected: [i64; 2],
    ) -> Result<Option<(u64, i64)>, StorageError> {
        let header = self.header_at(position)?;
        let Some(header) = header.filter(|header| self.may_come(header, expected)) else {
            return Ok(None);
        };
        let end = position + header.size_in_bytes() as u64;
        let next = self.header_at(end)?;
        let follows = next.is_some_and(|next| next.base_offset == header.next_offset());
        Ok(follows.then_some((end, header.next_offset())))
    }

    /// Whether the batch that was to come at `position` stands there and reaches beyond the end of the file.
    fn is_cut_short(&mut self, position: u64, expected: [i64; 2]) -> Result<bool, StorageError> {
        let left = self.len().saturating_sub(position);
        let header = BatchHeader::parse(self.head.from(position, BatchHeader::LEN)?);
        Ok(header.is_ok_and(|header| {
            let size = header.size_in_bytes() as u64;
            (left + 1..=BATCH_BYTES_MAX).contains(&size) && self.may_come(&header, expected)
        }))
    }
}

fn found(position: u64, header: &BatchHeader) -> Found {
    Found {
        position,
        base_offset: header.base_offset,
        // A length of 31 bits and the 12 bytes before it.
        size: u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX),
        last_offset_delta: header.last_offset_delta,
        leader_epoch: header.partition_leader_epoch,
        crc: header.crc,
        thinned: (1..=header.last_offset_delta).contains(&header.record_count),
        mended: false,
    }
}

/// Whether a CRC is worth computing: chance makes such a header once in millions of bytes.
fn looks_like_batch(bytes: &[u8], left: u64, bounds: Bounds) -> bool {
    let Ok(header) = BatchHeader::parse(bytes) else {
        return false;
    };
    let size = header.size_in_bytes() as u64;
    let records = i64::from(header.last_offset_delta) + 1;
    let count = i64::from(header.record_count);
    let sound = size <= left.min(BATCH_BYTES_MAX)
        && records > 0
        && (0..=records).contains(&count)
        && header.attributes & !ATTRIBUTES == 0
        && header.compression().is_ok();
    let in_place = bounds.hold(header.base_offset, header.last_offset());
    sound && (in_place || count == records && size <= STRAY_BYTES_MAX)
}

#[cfg(test)]
mod tests;
