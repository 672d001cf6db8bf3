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
) -> Result<Option<RecordTime>, BatchError> {
    select(batch, from, |times| {
        times
            .iter()
            .copied()
            .find(|time| time.timestamp >= timestamp)
    })
}

/// The first record at or after offset `from` that has the largest timestamp of those.
pub(crate) fn largest(batch: &RecordBatch, from: i64) -> Result<Option<RecordTime>, BatchError> {
    select(batch, from, |times| {
        let largest = times.iter().map(|time| time.timestamp).max()?;
        times.iter().copied().find(|time| time.timestamp == largest)
    })
}

fn select(
    batch: &RecordBatch,
    from: i64,
    choose: impl Fn(&[RecordTime]) -> Option<RecordTime>,
) -> Result<Option<RecordTime>, BatchError> {
    let header = &batch.header;
    let offset = header.base_offset.max(from);
    if offset > header.last_offset() {
        return Ok(None);
    }
    let whole_batch = RecordTime {
        timestamp: header.max_timestamp,
        offset,
    };
    if all_alike(header) {
        return Ok(choose(&[whole_batch]));
    }
    match record_times(batch) {
        Ok(mut times) => {
            times.retain(|time| time.offset >= from);
            Ok(choose(&times))
        }
        // Too large to look into: the whole batch is the most exact answer that is affordable.
        Err(BatchError::DecompressedTooLarge { .. }) => Ok(choose(&[whole_batch])),
        Err(error) => Err(error),
    }
}

fn all_alike(header: &BatchHeader) -> bool {
    header.timestamp_type() == TimestampType::LogAppendTime
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
                first_at_or_after(&batch, timestamp, from)
                    .unwrap()
                    .map(|time| (time.timestamp, time.offset))
            };
            assert_eq!(find(0, 0), Some((50, 100)));
            assert_eq!(find(55, 0), Some((70, 101)));
            assert_eq!(find(55, 102), Some((60, 102)));
            assert_eq!(find(71, 0), None);
            assert_eq!(find(0, 104), None);
            let largest = |from| {
                largest(&batch, from)
                    .unwrap()
                    .map(|time| (time.timestamp, time.offset))
            };
            assert_eq!(largest(0), Some((70, 101)));
            assert_eq!(largest(102), Some((70, 103)));
        }
    }

    #[test]
    fn log_append_time_holds_for_every_record() {
        let batch = batch(Compression::Gzip, &[50, 70]).with_log_append_time(1_000);
        let found = first_at_or_after(&batch, 60, 101).unwrap().unwrap();
        assert_eq!((found.timestamp, found.offset), (1_000, 101));
    }
}
