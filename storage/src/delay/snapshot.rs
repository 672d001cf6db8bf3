//! The checkpoint file of a delay store: what a start need not find out by reading everything.
//!
//! Big-endian; lists begin with their length as u32:
//! ```text
//! "TWDELAYC" | version u32 = 4 | sequence u64 | salt u64 | written ms i64 | spilled u64 |
//! next ticket u64 | next bucket u64 | start of the delay log u64 | end u64 | uncounted u8 |
//! holes:      from u64, to u64 |
//! partitions: topic id 16 bytes, partition i32, due u64, ticket u64, scan from i64, records u64, bytes u64,
//!             latest due u64 |
//! buckets:    id u64, width u8, start u64, length u64, records u64, first ticket u64, damaged u8 |
//! cancelled ids:     partition u32, before ticket u64, none due after u64, id length u8, id |
//! cancelled tickets: partition u32, ticket u64, due u64, records u64 |
//! paused topics:     topic id 16 bytes |
//! producer batches:  partition u32, producer i64, epoch i16, first i32, last i32, accepted ms i64 |
//! CRC-32 u32 of everything before it
//! ```
//! Version 3 does not say how many records a cancelled ticket is, version 2 has no holes and does not say what is due at the latest, version 1 has neither start nor end of the delay
//! log nor `uncounted`; all are read as well.
//! A `partition u32` is the place in the list of partitions. Two files hold the same, written one after the
//! other, each replaced as a whole: damage to one of them loses nothing.

use std::collections::HashSet;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, TryGetError};
use tidewheel_protocol::Uuid;

use super::block::ALIGNMENT;
use super::bucket::{Bucket, Span, Width};
use super::buckets::{BUCKET_BYTES_MAX, BUCKET_IDS};
use super::damage::DelayDamage;
use super::delay_log::POSITIONS;
use super::key::{DUE_MS_MAX, DelayKey, PartitionId, TICKET_MAX};
use super::partitions::DelayCount;
use super::producers::DelayedProducerBatch;
use super::record::ProducerStamp;
use super::scan::FILE_HEAD_LEN;
use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;

/// The two files, in the order in which they are written.
pub(super) const CHECKPOINT_FILES: [&str; 2] = ["delay-checkpoint", "delay-checkpoint.copy"];
const MAGIC: &[u8; 8] = b"TWDELAYC";
const VERSION: u32 = 4;

/// A partition at the time of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionSnapshot {
    pub(super) id: PartitionId,
    /// Everything up to it is delivered for good.
    pub(super) cursor: DelayKey,
    /// Batches of its log before this offset have no greater key.
    pub(super) scan_from: i64,
    /// What is pending behind the cursor.
    pub(super) pending: DelayCount,
    /// Nothing of that is due later, ms since 1970.
    pub(super) latest_ms: u64,
}

/// What is cancelled by an id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CancelledIdSnapshot {
    /// Its place in the list of partitions.
    pub(super) partition: u32,
    /// Records with a smaller ticket.
    pub(super) before: u64,
    /// None of them is due later, ms since 1970.
    pub(super) reach_ms: u64,
    pub(super) id: Bytes,
}

/// A bucket at the time of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketSnapshot {
    pub(super) id: u64,
    pub(super) span: Span,
    pub(super) len: u64,
    pub(super) count: u64,
    pub(super) first_ticket: u64,
    pub(super) damaged: bool,
}

impl BucketSnapshot {
    pub(super) fn of(bucket: &Bucket) -> Self {
        Self {
            id: bucket.id,
            span: bucket.span,
            len: bucket.len,
            count: bucket.count,
            first_ticket: bucket.first_ticket,
            damaged: bucket.damaged,
        }
    }

    pub(super) fn restore(&self) -> Bucket {
        Bucket {
            len: self.len,
            count: self.count,
            first_ticket: self.first_ticket,
            next_ticket: self.first_ticket,
            damaged: self.damaged,
            ..Bucket::new(self.id, self.span)
        }
    }
}

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) sequence: u64,
    pub(super) salt: u64,
    pub(super) written_ms: i64,
    /// Far records of the delay log before it are in the buckets.
    pub(super) spilled: u64,
    pub(super) next_ticket: u64,
    pub(super) next_bucket: u64,
    /// The first file of the delay log that is needed begins here.
    pub(super) log_start: u64,
    /// All of the delay log before it is on the disk.
    pub(super) log_end: u64,
    /// Damage took records that are counted as pending.
    pub(super) uncounted: bool,
    /// Where the delay log holds nothing, because a crash kept it from the disk: from and to which position.
    pub(super) holes: Vec<(u64, u64)>,
    pub(super) partitions: Vec<PartitionSnapshot>,
    pub(super) buckets: Vec<BucketSnapshot>,
    pub(super) cancelled_ids: Vec<CancelledIdSnapshot>,
    /// With the number of records that each is.
    pub(super) cancelled_tickets: Vec<(u32, DelayKey, u64)>,
    pub(super) paused: Vec<Uuid>,
    pub(super) producers: Vec<(u32, DelayedProducerBatch)>,
}

impl Snapshot {
    /// The content of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u32(VERSION);
        out.put_u64(self.sequence);
        out.put_u64(self.salt);
        out.put_i64(self.written_ms);
        out.put_u64(self.spilled);
        out.put_u64(self.next_ticket);
        out.put_u64(self.next_bucket);
        out.put_u64(self.log_start);
        out.put_u64(self.log_end);
        out.put_u8(self.uncounted.into());
        put_len(&mut out, self.holes.len());
        for (from, to) in &self.holes {
            out.put_u64(*from);
            out.put_u64(*to);
        }
        put_len(&mut out, self.partitions.len());
        for partition in &self.partitions {
            out.put_slice(&partition.id.topic_id.0);
            out.put_i32(partition.id.partition);
            out.put_u64(partition.cursor.due_ms);
            out.put_u64(partition.cursor.ticket);
            out.put_i64(partition.scan_from);
            out.put_u64(partition.pending.records);
            out.put_u64(partition.pending.bytes);
            out.put_u64(partition.latest_ms);
        }
        put_len(&mut out, self.buckets.len());
        for bucket in &self.buckets {
            out.put_u64(bucket.id);
            out.put_u8(bucket.span.width.code());
            out.put_u64(bucket.span.start_ms);
            out.put_u64(bucket.len);
            out.put_u64(bucket.count);
            out.put_u64(bucket.first_ticket);
            out.put_u8(bucket.damaged.into());
        }
        self.encode_cancelled(&mut out);
        put_len(&mut out, self.producers.len());
        for (partition, batch) in &self.producers {
            out.put_u32(*partition);
            out.put_i64(batch.stamp.producer_id);
            out.put_i16(batch.stamp.epoch);
            out.put_i32(batch.stamp.first_sequence);
            out.put_i32(batch.stamp.last_sequence);
            out.put_i64(batch.accepted_ms);
        }
        out.put_u32(crc32fast::hash(&out));
        out
    }

    fn encode_cancelled(&self, out: &mut Vec<u8>) {
        put_len(out, self.cancelled_ids.len());
        for cancelled in &self.cancelled_ids {
            out.put_u32(cancelled.partition);
            out.put_u64(cancelled.before);
            out.put_u64(cancelled.reach_ms);
            let id = &cancelled.id;
            out.put_u8(u8::try_from(id.len()).expect("an id has at most 64 bytes"));
            out.put_slice(id);
        }
        put_len(out, self.cancelled_tickets.len());
        for (partition, key, records) in &self.cancelled_tickets {
            out.put_u32(*partition);
            out.put_u64(key.ticket);
            out.put_u64(key.due_ms);
            out.put_u64(*records);
        }
        put_len(out, self.paused.len());
        for topic_id in &self.paused {
            out.put_slice(&topic_id.0);
        }
    }

    /// Reads what [`Snapshot::encode`] wrote. `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(content) != crc.get_u32() {
            return None;
        }
        let mut bytes = content.strip_prefix(MAGIC)?;
        let version = bytes.try_get_u32().ok()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let snapshot = Self::decode_fields(&mut bytes, version).ok()??;
        let count = snapshot.partitions.len();
        let known = |partition: &u32| (*partition as usize) < count;
        let ids = &snapshot.cancelled_ids;
        let sound = ids.iter().all(|cancelled| known(&cancelled.partition))
            && snapshot.cancelled_tickets.iter().all(|(at, ..)| known(at))
            && snapshot.producers.iter().all(|(at, _)| known(at));
        let plausible = snapshot.is_plausible();
        (bytes.is_empty() && sound && plausible).then_some(snapshot)
    }

    /// Whether no number is one that a store could never have written.
    fn is_plausible(&self) -> bool {
        let key = |key: &DelayKey| key.due_ms <= DUE_MS_MAX && key.ticket <= TICKET_MAX;
        let bucket = |bucket: &BucketSnapshot| {
            let BucketSnapshot {
                id,
                len,
                count,
                span,
                ..
            } = *bucket;
            let begins = span.start_ms <= DUE_MS_MAX;
            let fits = (FILE_HEAD_LEN..=BUCKET_BYTES_MAX * 2).contains(&len) && count <= len;
            id < BUCKET_IDS && begins && fits
        };
        let ids: HashSet<_> = self
            .partitions
            .iter()
            .map(|partition| partition.id)
            .collect();
        ids.len() == self.partitions.len()
            && self.spilled < POSITIONS
            && self.log_start <= self.log_end
            && self.log_end < POSITIONS
            && self.log_end.is_multiple_of(ALIGNMENT)
            && self
                .holes
                .iter()
                .all(|(from, to)| from < to && *to <= self.log_end)
            && self.next_ticket <= TICKET_MAX
            && self
                .partitions
                .iter()
                .all(|partition| key(&partition.cursor))
            && self
                .cancelled_tickets
                .iter()
                .all(|(_, cancelled, _)| key(cancelled))
            && self.buckets.iter().all(bucket)
    }

    fn decode_fields(bytes: &mut &[u8], version: u32) -> Result<Option<Self>, TryGetError> {
        let mut snapshot = Self {
            sequence: bytes.try_get_u64()?,
            salt: bytes.try_get_u64()?,
            written_ms: bytes.try_get_i64()?,
            spilled: bytes.try_get_u64()?,
            next_ticket: bytes.try_get_u64()?,
            next_bucket: bytes.try_get_u64()?,
            ..Self::default()
        };
        if version > 1 {
            snapshot.log_start = bytes.try_get_u64()?;
            snapshot.log_end = bytes.try_get_u64()?;
            snapshot.uncounted = bytes.try_get_u8()? != 0;
        }
        if version > 2 {
            for _ in 0..bytes.try_get_u32()? {
                let hole = (bytes.try_get_u64()?, bytes.try_get_u64()?);
                snapshot.holes.push(hole);
            }
        }
        for _ in 0..bytes.try_get_u32()? {
            snapshot.partitions.push(get_partition(bytes, version)?);
        }
        for _ in 0..bytes.try_get_u32()? {
            let (id, width) = (bytes.try_get_u64()?, bytes.try_get_u8()?);
            let (Some(width), start_ms) = (Width::of_code(width), bytes.try_get_u64()?) else {
                return Ok(None);
            };
            snapshot.buckets.push(BucketSnapshot {
                id,
                span: Span { width, start_ms },
                len: bytes.try_get_u64()?,
                count: bytes.try_get_u64()?,
                first_ticket: bytes.try_get_u64()?,
                damaged: bytes.try_get_u8()? != 0,
            });
        }
        if !snapshot.decode_cancelled(bytes, version)? {
            return Ok(None);
        }
        for _ in 0..bytes.try_get_u32()? {
            snapshot.paused.push(get_uuid(bytes)?);
        }
        for _ in 0..bytes.try_get_u32()? {
            let partition = bytes.try_get_u32()?;
            let stamp = ProducerStamp {
                producer_id: bytes.try_get_i64()?,
                epoch: bytes.try_get_i16()?,
                first_sequence: bytes.try_get_i32()?,
                last_sequence: bytes.try_get_i32()?,
            };
            let accepted_ms = bytes.try_get_i64()?;
            let batch = DelayedProducerBatch { stamp, accepted_ms };
            snapshot.producers.push((partition, batch));
        }
        Ok(Some(snapshot))
    }

    /// Reads what is cancelled; whether that can be.
    fn decode_cancelled(&mut self, bytes: &mut &[u8], version: u32) -> Result<bool, TryGetError> {
        for _ in 0..bytes.try_get_u32()? {
            let (partition, before) = (bytes.try_get_u32()?, bytes.try_get_u64()?);
            let reach_ms = get_latest(bytes, version)?;
            let len = usize::from(bytes.try_get_u8()?);
            let Some((id, rest)) = bytes.split_at_checked(len) else {
                return Ok(false);
            };
            *bytes = rest;
            let id = Bytes::copy_from_slice(id);
            self.cancelled_ids.push(CancelledIdSnapshot {
                partition,
                before,
                reach_ms,
                id,
            });
        }
        for _ in 0..bytes.try_get_u32()? {
            let (partition, ticket) = (bytes.try_get_u32()?, bytes.try_get_u64()?);
            let due_ms = bytes.try_get_u64()?;
            let key = DelayKey { due_ms, ticket };
            let records = match version {
                ..=3 => 1,
                _ => bytes.try_get_u64()?,
            };
            self.cancelled_tickets.push((partition, key, records));
        }
        Ok(true)
    }

    /// Replaces both files, durably.
    pub(super) fn write(&self, fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
        let bytes = self.encode();
        for name in CHECKPOINT_FILES {
            checkpoint::write_atomically(fs, &dir.join(name), &bytes)?;
        }
        Ok(())
    }

    /// The newest of the files that is sound, and those that are damaged.
    pub(super) fn read(
        fs: &dyn FileSystem,
        dir: &Path,
    ) -> Result<(Option<Self>, Vec<DelayDamage>), StorageError> {
        let (mut newest, mut damaged): (Option<Self>, _) = (None, Vec::new());
        for name in CHECKPOINT_FILES {
            let path = dir.join(name);
            let Some(bytes) = checkpoint::read_small(fs, &path)? else {
                continue;
            };
            match Self::decode(&bytes) {
                None => damaged.push(DelayDamage::new(&path, 0, bytes.len() as u64)),
                Some(found) => {
                    if newest
                        .as_ref()
                        .is_none_or(|newest| newest.sequence < found.sequence)
                    {
                        newest = Some(found);
                    }
                }
            }
        }
        Ok((newest, damaged))
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.put_u32(u32::try_from(len).expect("every list is bounded far below 2^32"));
}

fn get_uuid(bytes: &mut &[u8]) -> Result<Uuid, TryGetError> {
    let mut uuid = Uuid([0; 16]);
    bytes.try_copy_to_slice(&mut uuid.0)?;
    Ok(uuid)
}

fn get_partition(bytes: &mut &[u8], version: u32) -> Result<PartitionSnapshot, TryGetError> {
    Ok(PartitionSnapshot {
        id: PartitionId {
            topic_id: get_uuid(bytes)?,
            partition: bytes.try_get_i32()?,
        },
        cursor: get_key(bytes)?,
        scan_from: bytes.try_get_i64()?,
        pending: DelayCount {
            records: bytes.try_get_u64()?,
            bytes: bytes.try_get_u64()?,
        },
        latest_ms: get_latest(bytes, version)?,
    })
}

/// The latest time at which something is due, which older versions do not know.
fn get_latest(bytes: &mut &[u8], version: u32) -> Result<u64, TryGetError> {
    match version {
        ..=2 => Ok(u64::MAX),
        _ => bytes.try_get_u64(),
    }
}

fn get_key(bytes: &mut &[u8]) -> Result<DelayKey, TryGetError> {
    Ok(DelayKey {
        due_ms: bytes.try_get_u64()?,
        ticket: bytes.try_get_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_of_older_versions_are_read_and_know_less_of_the_delay_log() {
        let snapshot = Snapshot {
            sequence: 3,
            salt: 4,
            next_bucket: 5,
            log_start: 64,
            log_end: 128,
            uncounted: true,
            holes: vec![(72, 80), (96, 128)],
            paused: vec![Uuid([7; 16])],
            ..Snapshot::default()
        };
        let bytes = snapshot.encode();
        assert_eq!(Snapshot::decode(&bytes), Some(snapshot.clone()));
        // Behind six numbers lie 17 bytes that came with version 2, and 4 and twice 16 that came with version 3.
        let (head, rest) = bytes.split_at(MAGIC.len() + 4 + 6 * 8);
        let (ends, rest) = rest.split_at(17);
        let rest = &rest[4 + 2 * 16..rest.len() - 4];
        let older = |version: u32, ends: &[u8]| {
            let mut older = MAGIC.to_vec();
            older.put_u32(version);
            older.extend([&head[MAGIC.len() + 4..], ends, rest].concat());
            older.put_u32(crc32fast::hash(&older));
            Snapshot::decode(&older)
        };
        let second = Snapshot {
            holes: Vec::new(),
            ..snapshot
        };
        assert_eq!(older(2, ends), Some(second.clone()));
        let first = Snapshot {
            log_start: 0,
            log_end: 0,
            uncounted: false,
            ..second
        };
        assert_eq!(older(1, &[]), Some(first));
        assert_eq!(older(VERSION + 1, ends), None);
    }

    #[test]
    fn a_checkpoint_of_before_says_of_no_cancelled_ticket_how_many_records_it_is() {
        let key = DelayKey {
            due_ms: 9,
            ticket: 7,
        };
        let snapshot = |records| Snapshot {
            next_ticket: 8,
            partitions: vec![PartitionSnapshot {
                id: PartitionId {
                    topic_id: Uuid([1; 16]),
                    partition: 0,
                },
                cursor: DelayKey::default(),
                scan_from: 0,
                pending: DelayCount::default(),
                latest_ms: 9,
            }],
            cancelled_tickets: vec![(0, key, records)],
            ..Snapshot::default()
        };
        let bytes = snapshot(500).encode();
        assert_eq!(Snapshot::decode(&bytes), Some(snapshot(500)));
        // Behind the number of records are two empty lists and the checksum.
        let (before, behind) = bytes.split_at(bytes.len() - 20);
        let mut older = [before, &behind[8..16]].concat();
        older[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&3u32.to_be_bytes());
        older.put_u32(crc32fast::hash(&older));
        assert_eq!(Snapshot::decode(&older), Some(snapshot(1)));
    }

    #[test]
    fn a_checkpoint_whose_holes_are_behind_the_log_or_empty_is_none() {
        for hole in [(120, 136), (80, 80), (80, 72)] {
            let snapshot = Snapshot {
                log_end: 128,
                holes: vec![hole],
                ..Snapshot::default()
            };
            assert_eq!(Snapshot::decode(&snapshot.encode()), None, "{hole:?}");
        }
    }
}
