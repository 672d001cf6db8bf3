//! Record timestamps of a batch: the record that a time look-up means.

use tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use tidewheel_protocol::{BatchError, BatchHeader, RecordBatch, TimestampType};

/// A record's timestamp and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordTime {
    /// The timestamp, ms since 1970.
    pub(crate) timestamp: i64,
    /// The record's offset.
    pub(crate) offset: i64,
}

/// The first record at or after offset `from` with a timestamp at or above `timestamp`.
pub(crate) fn first_at_or_after(
    batch: &RecordBatch,
    timestamp: i64,
    from: i64,
) -> Option<RecordTime> {
    select(batch, from, |times| {
        times
            .iter()
            .copied()
            .find(|time| time.timestamp >= timestamp)
    })
}

/// The first record at or after offset `from`.
pub(crate) fn first_from(batch: &RecordBatch, from: i64) -> Option<RecordTime> {
    select(batch, from, |times| times.first().copied())
}

/// The same where the header says it: all records are there, none of them before `from`, and its base
/// timestamp is that of the first one.
pub(crate) fn first_from_header(header: &BatchHeader, from: i64) -> Option<RecordTime> {
    let is_first = is_whole(header) && header.base_offset >= from;
    let is_own = header.timestamp_type() == TimestampType::CreateTime;
    (is_first && is_own && !header.has_delete_horizon()).then_some(RecordTime {
        timestamp: header.base_timestamp,
        offset: header.base_offset,
    })
}

/// The first record at or after offset `from` that has the largest timestamp of those.
pub(crate) fn largest(batch: &RecordBatch, from: i64) -> Option<RecordTime> {
    select(batch, from, |times| {
        let largest = times.iter().map(|time| time.timestamp).max()?;
        times.iter().copied().find(|time| time.timestamp == largest)
    })
}

fn select(
    batch: &RecordBatch,
    from: i64,
    choose: impl Fn(&[RecordTime]) -> Option<RecordTime>,
) -> Option<RecordTime> {
    let header = &batch.header;
    let offset = header.base_offset.max(from);
    if offset > header.last_offset() {
        return None;
    }
    let whole_batch = RecordTime {
        timestamp: header.max_timestamp,
        offset,
    };
    if all_alike(header) {
        return choose(&[whole_batch]);
    }
    match record_times(batch) {
        Ok(mut times) => {
            times.retain(|time| time.offset >= from);
            choose(&times)
        }
        // Too large to look into, or not in a form that is read here: the producer's doing, which must
        // not fail look-ups of what others wrote. The whole batch is the most exact answer there is.
        Err(_) => choose(&[whole_batch]),
    }
}

fn all_alike(header: &BatchHeader) -> bool {
    is_whole(header) && header.timestamp_type() == TimestampType::LogAppendTime
}

/// Where compaction took records, only a walk says which are left.
fn is_whole(header: &BatchHeader) -> bool {
    i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1
}

fn record_times(batch: &RecordBatch) -> Result<Vec<RecordTime>, BatchError> {
    let records = batch.records(DECOMPRESSED_BATCH_BYTES_MAX)?;
    records
        .map(|record| {
            record.map(|record| RecordTime {
                timestamp: record.timestamp,
                offset: record.offset,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewheel_protocol::{Compression, RecordBatchBuilder};

    fn batch(compression: Compression, times: &[i64]) -> RecordBatch {
        let builder = RecordBatchBuilder::new()
            .base_offset(100)
            .compression(compression);
        let builder = times.iter().fold(builder, |builder, time| {
            builder.record(*time, None, Some(b"v"))
        });
        builder.build().unwrap()
    }

    #[test]
    fn a_look_up_finds_the_record_also_in_a_compressed_batch() {
        for compression in [Compression::None, Compression::Gzip, Compression::Lz4] {
            let batch = batch(compression, &[50, 70, 60, 70]);
            let find = |timestamp, from| {
                first_at_or_after(&batch, timestamp, from).map(|time| (time.timestamp, time.offset))
            };
            assert_eq!(find(0, 0), Some((50, 100)));
            assert_eq!(find(55, 0), Some((70, 101)));
            assert_eq!(find(55, 102), Some((60, 102)));
            assert_eq!(find(71, 0), None);
            assert_eq!(find(0, 104), None);
            let largest = |from| largest(&batch, from).map(|time| (time.timestamp, time.offset));
            assert_eq!(largest(0), Some((70, 101)));
            assert_eq!(largest(102), Some((70, 103)));
        }
    }

    #[test]
    fn log_append_time_holds_for_every_record() {
        let batch = batch(Compression::Gzip, &[50, 70]).with_log_append_time(1_000);
        let found = first_at_or_after(&batch, 60, 101).unwrap();
        assert_eq!((found.timestamp, found.offset), (1_000, 101));
    }

    #[test]
    fn a_header_tells_the_first_records_time_only_where_it_has_it() {
        let written = batch(Compression::Gzip, &[70, 50]);
        let told = |batch: &RecordBatch, from| {
            first_from_header(&batch.header, from).map(|time| time.timestamp)
        };
        assert_eq!(
            (told(&written, 0), told(&written, 100)),
            (Some(70), Some(70))
        );
        assert_eq!(told(&written, 101), None);
        assert_eq!(
            first_from(&written, 101).map(|time| time.timestamp),
            Some(50)
        );
        assert_eq!(told(&written.with_log_append_time(1_000), 0), None);
        let mut compacted = written;
        compacted.header.record_count = 1;
        assert_eq!(told(&compacted, 0), None);
        compacted.header.record_count = 2;
        compacted.header = compacted.header.with_delete_horizon(9_000);
        assert_eq!(told(&compacted, 0), None);
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_found_as_a_whole() {
        // Blocks that depend on each other, as lz4js writes them: Kafka reads no such frame either.
        let frame = [0x04, 0x22, 0x4D, 0x18, 0x40, 0x70, 0xDF, 0, 0, 0, 0];
        let mut batch = batch(Compression::Lz4, &[50, 70, 60]);
        let mut bytes = batch.bytes[..BatchHeader::LEN].to_vec();
        bytes.extend(frame);
        batch.bytes = bytes.into();
        let at = |timestamp, offset| Some(RecordTime { timestamp, offset });
        assert_eq!(first_at_or_after(&batch, 55, 0), at(70, 100));
        assert_eq!(first_at_or_after(&batch, 55, 102), at(70, 102));
        assert_eq!(first_at_or_after(&batch, 71, 0), None);
        assert_eq!(largest(&batch, 0), at(70, 100));
    }
}
