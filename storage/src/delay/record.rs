//! What lies in the files of the delay store: groups of records, and the records.
//!
//! A **group** is what was accepted together, whole or not at all. It is a block
//! ([`super::block`]) with the body
//! ```text
//! producer id i64 | epoch i16 | 0 u16 | first sequence i32 | last sequence i32 | records u32 |
//! end of the partition's log at the time i64 | time of acceptance, ms i64 | records
//! ```
//! (producer id -1 where there is none), and each **record** in it is a block again, with the body
//! ```text
//! ticket u64 | due ms u64 | expires ms u64, 0 = never | target u64 | topic id 16 bytes | partition i32 |
//! kind u8 | flags u8 | id length u8 | 0 u8 | id | payload
//! ```
//! so that a record can be copied to a bucket with another head and the same body. What `target` means
//! depends on the kind. The payload is one record batch; its base offset, leader epoch and producer are
//! not those it is delivered with.

use bytes::{Buf, BufMut, Bytes};
use tidewheel_protocol::{BatchHeader, Uuid};

use super::block::{self, GROUP_MAGIC, HEAD_LEN, RECORD_MAGIC};
use super::key::{DUE_MS_MAX, DelayKey, PartitionId, TICKET_MAX};
use super::partitions::{DelayCount, ENTRY_RECORDS_MAX};
use crate::producer_state::{NO_PRODUCER_ID, last_sequence};

/// Bytes of a group's body before its records.
const GROUP_FIELDS_LEN: usize = 40;
/// Bytes of a record's body before id and payload.
pub(super) const RECORD_FIELDS_LEN: usize = 56;
/// The longest `delay-id`, in bytes.
pub const DELAY_ID_LEN_MAX: usize = 64;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Deliver the payload. `target` is the number of records in it.
    Add,
    /// Deliver nothing that has this id and an earlier ticket.
    CancelId,
    /// Do not deliver the ticket `target`. Where others say when they expire it says how many records that is, 0 for
    /// one.
    CancelTicket,
    /// The ticket `target` was due and not delivered, because it had expired.
    Drop,
    /// The payload was appended to the partition at once, at offset `target`.
    Immediate,
    /// Deliver nothing of the topic until it is resumed.
    Pause,
    /// Deliver the topic's records again.
    Resume,
    /// Records for this partition may follow; its log ended at offset `target`.
    Toward,
}

const KINDS: [Kind; 8] = [
    Kind::Add,
    Kind::CancelId,
    Kind::CancelTicket,
    Kind::Drop,
    Kind::Immediate,
    Kind::Pause,
    Kind::Resume,
    Kind::Toward,
];

impl Kind {
    fn code(self) -> u8 {
        let at = KINDS.iter().position(|kind| *kind == self);
        u8::try_from(at.unwrap_or_default()).unwrap_or_default() + 1
    }

    fn of_code(code: u8) -> Option<Self> {
        KINDS.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// The record waits for a bucket; it was not put into the wheel when it was accepted.
pub(super) const FLAG_FAR: u8 = 1;
/// Nothing with the same id and an earlier ticket is delivered any more.
pub(super) const FLAG_REPLACE: u8 = 1 << 1;
/// The payload is part of a batch that was split, and may be joined with its neighbours.
pub(super) const FLAG_SPLIT: u8 = 1 << 2;

/// A record as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: DelayKey,
    /// 0 for never.
    pub(super) expires_ms: u64,
    pub(super) target: u64,
    pub(super) partition: PartitionId,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) id: Bytes,
    pub(super) payload: Bytes,
}

impl Record {
    /// What it adds to what is pending; its block has `len` bytes.
    pub(super) fn count(&self, len: u64) -> DelayCount {
        DelayCount {
            records: self.target.clamp(1, ENTRY_RECORDS_MAX),
            bytes: len,
        }
    }

    pub(super) fn is_far(&self) -> bool {
        self.flags & FLAG_FAR != 0
    }

    /// Adds the record's block to `out`, which begins at `base` in its file; its length.
    pub(super) fn put(&self, out: &mut Vec<u8>, salt: u64, base: u64) -> u32 {
        let start = out.len();
        block::put(out, RECORD_MAGIC, salt, base, |out| {
            out.put_u64(self.key.ticket);
            out.put_u64(self.key.due_ms);
            out.put_u64(self.expires_ms);
            out.put_u64(self.target);
            out.put_slice(&self.partition.topic_id.0);
            out.put_i32(self.partition.partition);
            out.put_u8(self.kind.code());
            out.put_u8(self.flags);
            let id_len = u8::try_from(self.id.len()).expect("an id has at most 64 bytes");
            out.put_u8(id_len);
            out.put_u8(0);
            out.put_slice(&self.id);
            out.put_slice(&self.payload);
        });
        u32::try_from(out.len() - start).expect("a record is bounded by the size of a request")
    }

    /// The record in a block's body. `None` for one that no version writes.
    pub(super) fn parse(body: &Bytes) -> Option<Self> {
        let mut record = Self::parse_fields(body)?;
        let id_len = usize::from(*body.get(RECORD_FIELDS_LEN - 2)?);
        if id_len > DELAY_ID_LEN_MAX || body.len() < RECORD_FIELDS_LEN + id_len {
            return None;
        }
        let payload_at = RECORD_FIELDS_LEN + id_len;
        record.id = body.slice(RECORD_FIELDS_LEN..payload_at);
        record.payload = body.slice(payload_at..);
        Some(record)
    }

    /// The record without id and payload, of which `body` may be only the beginning.
    pub(super) fn parse_fields(body: &[u8]) -> Option<Self> {
        let mut fields = body.get(..RECORD_FIELDS_LEN)?;
        let (ticket, due_ms) = (fields.get_u64(), fields.get_u64());
        let (expires_ms, target) = (fields.get_u64(), fields.get_u64());
        let mut topic_id = Uuid([0; 16]);
        fields.copy_to_slice(&mut topic_id.0);
        let partition = fields.get_i32();
        let (kind, flags) = (Kind::of_code(fields.get_u8())?, fields.get_u8());
        let sound = due_ms <= DUE_MS_MAX && (1..=TICKET_MAX).contains(&ticket);
        sound.then_some(Self {
            key: DelayKey { due_ms, ticket },
            expires_ms,
            target,
            partition: PartitionId {
                topic_id,
                partition,
            },
            kind,
            flags,
            id: Bytes::new(),
            payload: Bytes::new(),
        })
    }
}

/// The idempotent producer of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Its id, at least 0.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of the first record of the produced batch.
    pub first_sequence: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
}

impl ProducerStamp {
    /// The producer of a batch, `None` where that is not an idempotent one.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        (header.producer_id > NO_PRODUCER_ID).then(|| Self {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            first_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
        })
    }
}

/// What is said of a group as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupFields {
    pub(super) producer: Option<ProducerStamp>,
    /// The end of the partition's log when the group was accepted: its records are delivered at this
    /// offset or behind it.
    pub(super) log_end: i64,
    pub(super) accepted_ms: i64,
}

/// A group as it lies in the delay log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) fields: GroupFields,
    /// Each with the position of its block in the file and the length of the block.
    pub(super) records: Vec<(u64, u32, Record)>,
}

/// The block of a group that will lie at `base` in its file, and where each record is in it: the
/// distance from the group's beginning and the length, both in bytes.
pub(super) fn encode_group(
    fields: &GroupFields,
    records: &[Record],
    salt: u64,
    base: u64,
) -> (Vec<u8>, Vec<(u64, u32)>) {
    let mut out = Vec::new();
    let mut places = Vec::with_capacity(records.len());
    block::put(&mut out, GROUP_MAGIC, salt, base, |out| {
        let producer = fields.producer.unwrap_or(ProducerStamp {
            producer_id: -1,
            epoch: -1,
            first_sequence: -1,
            last_sequence: -1,
        });
        out.put_i64(producer.producer_id);
        out.put_i16(producer.epoch);
        out.put_u16(0);
        out.put_i32(producer.first_sequence);
        out.put_i32(producer.last_sequence);
        out.put_u32(u32::try_from(records.len()).expect("bounded by the size of a request"));
        out.put_i64(fields.log_end);
        out.put_i64(fields.accepted_ms);
        for record in records {
            let at = out.len() as u64;
            let len = record.put(out, salt, base);
            places.push((at, len));
        }
    });
    (out, places)
}

/// The group in a block's body; the block lies at `position`. `None` for one that no version writes.
pub(super) fn parse_group(body: &Bytes, salt: u64, position: u64) -> Option<Group> {
    let mut bytes = body.get(..GROUP_FIELDS_LEN)?;
    let (producer_id, epoch) = (bytes.get_i64(), bytes.get_i16());
    bytes.advance(2);
    let (first_sequence, last_sequence) = (bytes.get_i32(), bytes.get_i32());
    let count = bytes.get_u32();
    let (log_end, accepted_ms) = (bytes.get_i64(), bytes.get_i64());
    let producer = (producer_id >= 0).then_some(ProducerStamp {
        producer_id,
        epoch,
        first_sequence,
        last_sequence,
    });
    let mut records = Vec::new();
    let mut at = GROUP_FIELDS_LEN;
    for _ in 0..count {
        let place = position + (HEAD_LEN + at) as u64;
        let rest = body.get(at..)?;
        let head = block::parse_head(RECORD_MAGIC, salt, place, rest)?;
        let len = usize::try_from(head.block_len()).ok()?;
        let end = at
            .checked_add(HEAD_LEN)?
            .checked_add(head.body_len as usize)?;
        if end > body.len() {
            return None;
        }
        let record = Record::parse(&body.slice(at + HEAD_LEN..end))?;
        records.push((place, u32::try_from(len).ok()?, record));
        at = at.checked_add(len)?;
    }
    let fields = GroupFields {
        producer,
        log_end,
        accepted_ms,
    };
    (at == body.len()).then_some(Group { fields, records })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = |max| prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
        (
            (0..=DUE_MS_MAX, 1..=TICKET_MAX, any::<u64>(), any::<u64>()),
            (any::<[u8; 16]>(), any::<i32>(), 0..KINDS.len(), any::<u8>()),
            (bytes(DELAY_ID_LEN_MAX + 1), bytes(100)),
        )
            .prop_map(
                |((due_ms, ticket, expires_ms, target), other, (id, payload))| {
                    let (topic_id, partition, kind, flags) = other;
                    Record {
                        key: DelayKey { due_ms, ticket },
                        expires_ms,
                        target,
                        partition: PartitionId {
                            topic_id: Uuid(topic_id),
                            partition,
                        },
                        kind: KINDS[kind],
                        flags,
                        id,
                        payload,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_group_is_read_as_it_was_written(
            records in prop::collection::vec(record(), 0..5),
            producer_id in -1i64..3,
            salt in any::<u64>(),
            base in (0u64..1 << 40).prop_map(|base| base * 8),
        ) {
            let producer = (producer_id >= 0).then_some(ProducerStamp {
                producer_id, epoch: 1, first_sequence: 2, last_sequence: i32::MAX,
            });
            let fields = GroupFields { producer, log_end: 5, accepted_ms: 6 };
            let (bytes, places) = encode_group(&fields, &records, salt, base);
            let body = block::parse(GROUP_MAGIC, salt, base, &bytes).unwrap();
            let group = parse_group(&Bytes::copy_from_slice(body), salt, base).unwrap();
            prop_assert_eq!(group.fields, fields);
            prop_assert_eq!(group.records.len(), records.len());
            for ((read, written), (at, len)) in group.records.iter().zip(&records).zip(places) {
                prop_assert_eq!(&read.2, written);
                prop_assert_eq!((read.0, read.1), (base + at, len));
                let at = usize::try_from(at).unwrap();
                let alone = block::parse(RECORD_MAGIC, salt, read.0, &bytes[at..]).unwrap();
                let parsed = Record::parse(&Bytes::copy_from_slice(alone));
                prop_assert_eq!(parsed.as_ref(), Some(written));
                let short = Record::parse_fields(&alone[..RECORD_FIELDS_LEN]).unwrap();
                prop_assert_eq!(short.key, written.key);
            }
        }

        #[test]
        fn no_body_makes_the_parsers_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = Bytes::from(body);
            Record::parse(&body);
            Record::parse_fields(&body);
            parse_group(&body, 0, 0);
        }
    }

    #[test]
    fn a_record_costs_72_bytes_and_a_group_56() {
        let record = Record {
            key: DelayKey {
                due_ms: 1,
                ticket: 1,
            },
            expires_ms: 0,
            target: 0,
            partition: PartitionId {
                topic_id: Uuid([1; 16]),
                partition: 0,
            },
            kind: Kind::Add,
            flags: 0,
            id: Bytes::new(),
            payload: Bytes::from_static(&[1; 80]),
        };
        let fields = GroupFields {
            producer: None,
            log_end: 0,
            accepted_ms: 0,
        };
        let (bytes, places) = encode_group(&fields, &[record], 1, 0);
        assert_eq!(places, [(56, 152)]);
        assert_eq!(bytes.len(), 56 + 72 + 80);
    }
}
