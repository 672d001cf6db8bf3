//! The place of a delayed record in the order of its partition, and how a delivered batch carries it.
//!
//! A delivered batch is written to its partition with the key of its **last** record in the producer
//! fields of its header. Those fields are under the batch's CRC, so data and cursor reach the disk as
//! one, are cut off together and are copied together:
//! ```text
//! producer_id     sign bit 1 | ticket bits 31..46 (15 bits) | due time, ms since 1970 (48 bits)
//! producer_epoch  0
//! base_sequence   ticket bits 0..31
//! ```
//! A producer id below -1 is none for every client: they look at the transactional bit first, which a
//! delivered batch never has. Produced batches with such an id are refused
//! ([`crate::validate_header`]), so that nobody can forge a cursor.

use tidewheel_protocol::{BatchError, BatchHeader, RecordBatch, Uuid};

use crate::producer_state::NO_PRODUCER_ID;

/// Bits of a due time: enough until the year 10889.
const DUE_BITS: u32 = 48;
/// Bits of a ticket that go into the sequence number.
const SEQUENCE_BITS: u32 = 31;
/// The largest due time, ms since 1970. One less than the bits allow, so that no key is -1.
pub const DUE_MS_MAX: u64 = (1 << DUE_BITS) - 2;
/// The largest ticket: 70 million million.
pub const TICKET_MAX: u64 = (1 << 46) - 1;

/// A partition, whatever its topic is called: a topic that is made anew under an old name has
/// another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

/// What delayed records of a partition are sorted by. A record is delivered if its key is greater
/// than that of the last delivered one, and only then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelayKey {
    /// When it becomes visible, ms since 1970: what was asked for, or the due time of the last
    /// delivered record, if that is later.
    pub due_ms: u64,
    /// Given in the order of acceptance, unique in its log directory, from 1.
    pub ticket: u64,
}

impl DelayKey {
    /// The least key of a due time.
    #[must_use]
    pub fn first_of(due_ms: u64) -> Self {
        Self { due_ms, ticket: 0 }
    }

    /// The key that a batch header carries, `None` where the batch was not delivered by a delay.
    #[must_use]
    pub fn of_header(header: &BatchHeader) -> Option<Self> {
        if header.producer_id >= NO_PRODUCER_ID || header.base_sequence < 0 {
            return None;
        }
        let id = header.producer_id.cast_unsigned();
        let high = (id >> DUE_BITS) & 0x7fff;
        let low = u64::from(header.base_sequence.cast_unsigned());
        Some(Self {
            due_ms: id & ((1 << DUE_BITS) - 1),
            ticket: high << SEQUENCE_BITS | low,
        })
    }

    /// The batch with this key in its header.
    ///
    /// # Errors
    /// Where the length field cannot express the length, which a batch that was read has.
    pub fn stamp(self, batch: &RecordBatch) -> Result<RecordBatch, BatchError> {
        assert!(
            self.due_ms <= DUE_MS_MAX && self.ticket <= TICKET_MAX,
            "a key that was given out fits a header"
        );
        let high = self.ticket >> SEQUENCE_BITS;
        let low = self.ticket & ((1 << SEQUENCE_BITS) - 1);
        let id = 1 << 63 | high << DUE_BITS | self.due_ms;
        let header = BatchHeader {
            producer_id: id.cast_signed(),
            producer_epoch: 0,
            // The mask leaves 31 bits.
            base_sequence: i32::try_from(low).unwrap_or(i32::MAX),
            ..batch.header
        };
        RecordBatch::assemble(header, &batch.records_bytes())
    }
}

/// A time on the wall as the delay queue counts it, ms since 1970: before that is 1970.
pub(super) fn unsigned_ms(time_ms: i64) -> u64 {
    u64::try_from(time_ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tidewheel_protocol::RecordBatchBuilder;

    use super::*;

    proptest! {
        #[test]
        fn a_key_survives_the_header_and_the_crc_covers_it(
            due_ms in 0..=DUE_MS_MAX,
            ticket in 0..=TICKET_MAX,
        ) {
            let batch = RecordBatchBuilder::new().record(7, None, Some(b"v")).build().unwrap();
            prop_assert_eq!(DelayKey::of_header(&batch.header), None);
            let key = DelayKey { due_ms, ticket };
            let stamped = key.stamp(&batch).unwrap();
            let read = RecordBatch::parse(stamped.bytes.clone()).unwrap();
            prop_assert_eq!(DelayKey::of_header(&read.header), Some(key));
            prop_assert!(read.header.producer_id < -1 && read.header.base_sequence >= 0);
            prop_assert!(!read.header.is_transactional());
            prop_assert_eq!(read.records_bytes(), batch.records_bytes());
            let mut damaged = stamped.bytes.to_vec();
            damaged[45] ^= 1;
            prop_assert!(RecordBatch::parse(Bytes::from(damaged)).is_err());
        }
    }

    #[test]
    fn batches_of_producers_and_of_nobody_carry_no_key() {
        for producer in [(-1, -1, -1), (0, 0, 0), (i64::MAX, 1, 5)] {
            let builder = RecordBatchBuilder::new().record(7, None, None);
            let builder = builder.producer(producer.0, producer.1, producer.2);
            let header = builder.build().unwrap().header;
            assert_eq!(DelayKey::of_header(&header), None);
        }
    }
}
