//! Decides whether a batch from a producer may enter a log.
//!
//! [`validate_header`] needs nothing but the header, so that a batch which is too large is refused
//! before its bytes are gone through for their CRC. Without compression the records must be as many as
//! the header says, each with the offset of its place, and fill the batch; compressed ones stay closed.
//! What is in the records is looked at in two cases only. Some clients (sarama before 1.45.1) state a
//! largest timestamp below that of the first record: as Kafka does, the broker then finds the true one in
//! the records and writes it into the header, since from the append on, index, retention, look-ups and
//! recovery believe every header. And every record of a compacted topic must have a key, in a batch that
//! compaction can take up.

use bytes::Bytes;
use tidewheel_config::limits::{
    COMPACTED_BATCH_BYTES_MAX, DECOMPRESSED_BATCH_BYTES_MAX, RECORD_ERRORS_MAX, WALKED_BATCH_FACTOR,
};
use tidewheel_config::{LogConfig, TimestampType};
use tidewheel_protocol::{BatchError, BatchHeader, Compression, RawRecords, RecordBatch};

use crate::compaction::opened;
use crate::error::StorageError;
use crate::index::NO_TIMESTAMP;
use crate::producer_state::NO_PRODUCER_ID;
use crate::recompression::{must_recompress, recompress};

/// Bytes of the smallest record: seven fields of at least one byte.
const RECORD_BYTES_MIN: usize = 7;

/// A batch that may be appended once its offsets and its producer's sequence are settled.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    /// The header of `bytes`.
    pub header: BatchHeader,
    /// The batch as it will lie on the disk, except for base offset and leader epoch.
    pub bytes: Bytes,
}

/// Checks the header of a batch against the rules for producers and the size that the topic allows.
///
/// # Errors
/// `RecordTooLarge`, `InvalidRecord`, `InvalidTxnState`, `UnsupportedCompression`.
pub fn validate_header(header: &BatchHeader, config: &LogConfig) -> Result<(), StorageError> {
    let size = header.size_in_bytes();
    if u32::try_from(size).map_or(true, |size| size > config.max_message_bytes) {
        return Err(StorageError::RecordTooLarge {
            size,
            max: config.max_message_bytes,
        });
    }
    check_header(header)?;
    check_count(header)
}

/// Whether a header states a largest timestamp below that of the first record: then [`validate`] has to
/// decompress and walk the records of the batch.
#[must_use]
pub fn contradicts_itself(header: &BatchHeader) -> bool {
    header.max_timestamp < header.base_timestamp
}

/// Whether [`validate`] has to decompress the records of a batch.
#[must_use]
pub fn must_decompress(header: &BatchHeader, config: &LogConfig) -> bool {
    let compressed = !matches!(header.compression(), Ok(Compression::None));
    compressed
        && (config.cleanup_policy.compact
            || contradicts_itself(header)
            || must_recompress(header, config))
}

/// Checks a batch against the rules for producers and for the topic, its header first and then the places
/// of its records unless they are compressed, brings it into the codec of the topic, and sets the largest
/// timestamp: to the append time where the topic wants that, to the records' own where the header contradicts
/// itself. `now_ms` is the broker's clock.
///
/// # Errors
/// Those of [`validate_header`] and [`recompress`], `MissingKeys`, `TooLargeToCompact` and `InvalidTimestamp`.
pub fn validate(
    batch: RecordBatch,
    config: &LogConfig,
    now_ms: i64,
) -> Result<ValidBatch, StorageError> {
    validate_header(&batch.header, config)?;
    let batch = recompress(batch, config)?;
    if config.cleanup_policy.compact {
        check_keys(&batch)?;
    } else if batch.header.compression() == Ok(Compression::None) {
        RawRecords::new(&batch.header, &batch.records_bytes())
            .check_places()
            .map_err(unreadable)?;
    }
    let RecordBatch { header, bytes } = match config.timestamp_type {
        TimestampType::LogAppendTime => batch.with_log_append_time(now_ms),
        TimestampType::CreateTime => {
            let batch = match contradicts_itself(&batch.header) {
                true => batch.with_max_timestamp(true_max_timestamp(&batch, config)?),
                false => batch,
            };
            for timestamp in [batch.header.base_timestamp, batch.header.max_timestamp] {
                check_timestamp(timestamp, config, now_ms)?;
            }
            batch
        }
    };
    Ok(ValidBatch { header, bytes })
}

fn unreadable(error: BatchError) -> StorageError {
    StorageError::invalid_record(error.to_string())
}

/// What a batch may decompress to in a topic with these settings, in bytes, where it must be.
pub(crate) fn walked_bytes_max(config: &LogConfig) -> usize {
    (config.max_message_bytes as usize)
        .saturating_mul(WALKED_BATCH_FACTOR)
        .min(DECOMPRESSED_BATCH_BYTES_MAX)
}

/// The largest timestamp of the records of a batch, ms since 1970, by walking them. What they decompress
/// to is bounded by the largest batch of the topic: a producer that counts before it compresses, as the
/// clients in question do, stays below that.
fn true_max_timestamp(batch: &RecordBatch, config: &LogConfig) -> Result<i64, StorageError> {
    let bytes_max = walked_bytes_max(config);
    let mut max = NO_TIMESTAMP;
    for record in batch.records(bytes_max).map_err(unreadable)? {
        max = max.max(record.map_err(unreadable)?.timestamp);
    }
    Ok(max)
}

/// Bytes by which a record may grow where compaction puts the delete horizon in the place of the base timestamp: its
/// timestamp delta goes from one byte to ten at most, and its length to another byte.
const HORIZON_GROWTH: usize = 10;

/// Walks all records, which must be there as the header says and have keys. There may be no more of them than
/// compaction takes up at once: it could never thin such a batch.
fn check_keys(batch: &RecordBatch) -> Result<(), StorageError> {
    let too_large = StorageError::TooLargeToCompact {
        count: batch.header.record_count,
    };
    let Some(records) = opened(batch).map_err(unreadable)? else {
        return Err(too_large);
    };
    let count = usize::try_from(batch.header.record_count).unwrap_or(0);
    if records.len() + count * HORIZON_GROWTH > COMPACTED_BATCH_BYTES_MAX {
        return Err(too_large);
    }
    let (mut count, mut indexes) = (0, Vec::new());
    for (index, record) in (0..).zip(RawRecords::new(&batch.header, &records)) {
        if record.map_err(unreadable)?.key.is_none() {
            count += 1;
            if indexes.len() < RECORD_ERRORS_MAX {
                indexes.push(index);
            }
        }
    }
    if count > 0 {
        return Err(StorageError::MissingKeys { count, indexes });
    }
    Ok(())
}

fn check_header(header: &BatchHeader) -> Result<(), StorageError> {
    let invalid = |reason: String| Err(StorageError::invalid_record(reason));
    let count = i64::from(header.record_count);
    let span = i64::from(header.last_offset_delta) + 1;
    if count <= 0 || count != span {
        return invalid(format!("{count} records at {span} offsets"));
    }
    if header.is_control() {
        return invalid("control batches come from brokers only".to_owned());
    }
    if header.is_transactional() {
        return Err(StorageError::InvalidTxnState);
    }
    if header.has_delete_horizon() {
        return invalid("a delete horizon is set by brokers only".to_owned());
    }
    if header.compression().is_err() {
        return Err(StorageError::UnsupportedCompression {
            id: header.attributes & 7,
        });
    }
    let BatchHeader {
        producer_id,
        producer_epoch,
        base_sequence,
        ..
    } = *header;
    if producer_id < NO_PRODUCER_ID {
        return invalid(format!("producer id {producer_id}"));
    }
    if producer_id != NO_PRODUCER_ID && (producer_epoch < 0 || base_sequence < 0) {
        return invalid(format!(
            "producer {producer_id} with epoch {producer_epoch} and sequence {base_sequence}"
        ));
    }
    Ok(())
}

/// Whether the batch can hold as many records as it says. A producer that takes offsets for records that
/// are not there would fill a segment's offsets with a few batches and make the log roll at will.
fn check_count(header: &BatchHeader) -> Result<(), StorageError> {
    let stored = header.size_in_bytes().saturating_sub(BatchHeader::LEN);
    let bytes = match header.compression() {
        Ok(Compression::None) => stored,
        _ => DECOMPRESSED_BATCH_BYTES_MAX,
    };
    let (count, most) = (header.record_count, bytes / RECORD_BYTES_MIN);
    if usize::try_from(count).is_ok_and(|count| count <= most) {
        return Ok(());
    }
    let reason = format!("{count} records in {stored} bytes");
    Err(StorageError::invalid_record(reason))
}

fn check_timestamp(timestamp: i64, config: &LogConfig, now_ms: i64) -> Result<(), StorageError> {
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    if timestamp == NO_TIMESTAMP || (earliest <= timestamp && timestamp <= latest) {
        return Ok(());
    }
    Err(StorageError::InvalidTimestamp {
        timestamp,
        earliest,
        latest,
    })
}

#[cfg(test)]
mod tests {
    use tidewheel_config::limits::COMPACTED_BATCH_RECORDS_MAX;
    use tidewheel_config::{BrokerConfig, Sources};
    use tidewheel_protocol::{RecordBatchBuilder, TimestampType as BatchTimestamps};

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn config() -> LogConfig {
        BrokerConfig::load(&Sources::default()).unwrap().log
    }

    fn builder() -> RecordBatchBuilder {
        RecordBatchBuilder::new()
            .record(NOW - 5, Some(b"k"), Some(b"a"))
            .record(NOW - 7, None, Some(b"b"))
    }

    #[test]
    fn every_record_of_a_compacted_topic_has_a_key() {
        let mut compacted = config();
        compacted.cleanup_policy.compact = true;
        for codec in Compression::ALL {
            let batch = builder().compression(codec).build().unwrap();
            assert!(validate(batch.clone(), &config(), NOW).is_ok());
            let found = validate(batch, &compacted, NOW);
            let Err(StorageError::MissingKeys { count: 1, indexes }) = found else {
                panic!("{found:?}");
            };
            assert_eq!(indexes, [1]);
        }
        let keyed = RecordBatchBuilder::new().record(NOW, Some(b""), None);
        let keyed = keyed.compression(Compression::Lz4).build().unwrap();
        assert!(validate(keyed.clone(), &compacted, NOW).is_ok());
        let garbage = RecordBatch::assemble(keyed.header, b"garbage").unwrap();
        assert!(validate(garbage.clone(), &config(), NOW).is_ok());
        let found = validate(garbage, &compacted, NOW);
        assert!(matches!(found, Err(StorageError::InvalidRecord { .. })));
    }

    #[test]
    fn a_batch_that_compaction_cannot_take_up_does_not_get_into_a_compacted_topic() {
        let mut compacted = config();
        compacted.cleanup_policy.compact = true;
        compacted.max_message_bytes = 64 << 20;
        let valued = |len: usize| {
            let builder = RecordBatchBuilder::new().record(NOW, Some(b"k"), Some(&vec![0; len]));
            builder.compression(Compression::Zstd).build().unwrap()
        };
        let many = |count: i32, codec| {
            let records = (0..count).fold(RecordBatchBuilder::new(), |builder, number| {
                builder.record(NOW, Some(&number.to_be_bytes()), None)
            });
            records.compression(codec).build().unwrap()
        };
        // Their growth under a delete horizon is what is too much.
        let long = |bytes: usize| {
            let count = 200_000;
            let value = vec![0; bytes / count - 16];
            let records = (0..count).fold(RecordBatchBuilder::new(), |builder, number| {
                builder.record(NOW, Some(&number.to_be_bytes()[4..]), Some(&value))
            });
            records.compression(Compression::Zstd).build().unwrap()
        };
        let (bytes, records) = (COMPACTED_BATCH_BYTES_MAX, COMPACTED_BATCH_RECORDS_MAX);
        for batch in [
            valued(bytes - 100),
            long(bytes - (bytes >> 3)),
            many(records, Compression::Lz4),
            many(records, Compression::None),
        ] {
            validate(batch, &compacted, NOW).unwrap();
        }
        for batch in [
            valued(bytes),
            long(bytes),
            many(records + 1, Compression::Lz4),
            many(records + 1, Compression::None),
        ] {
            let mut kept = config();
            kept.max_message_bytes = compacted.max_message_bytes;
            validate(batch.clone(), &kept, NOW).unwrap();
            let count = batch.header.record_count;
            let found = validate(batch, &compacted, NOW).unwrap_err();
            assert!(
                matches!(found, StorageError::TooLargeToCompact { count: c } if c == count),
                "{found:?}"
            );
            let told = found.to_string();
            assert!(
                told.contains("500000 records") && told.contains("33554432 bytes"),
                "{told}"
            );
        }
    }

    /// A batch whose header was changed after it was built.
    fn altered(builder: &RecordBatchBuilder, change: impl FnOnce(&mut BatchHeader)) -> RecordBatch {
        let batch = builder.build().unwrap();
        let mut header = batch.header;
        change(&mut header);
        RecordBatch::assemble(header, &batch.records_bytes()).unwrap()
    }

    #[test]
    fn a_plain_batch_and_one_of_an_idempotent_producer_pass_unchanged() {
        for builder in [builder(), builder().producer(7, 0, i32::MAX)] {
            let batch = builder.build().unwrap();
            let valid = validate(batch.clone(), &config(), NOW).unwrap();
            assert_eq!(valid.bytes, batch.bytes);
            assert_eq!(valid.header, batch.header);
        }
    }

    #[test]
    fn gotcha_24_fact_27_headers_that_break_a_rule_are_refused() {
        type Change = fn(&mut BatchHeader);
        let cases: [(&str, Change); 11] = [
            ("control", |header| header.attributes |= 1 << 5),
            ("delete horizon", |header| header.attributes |= 1 << 6),
            ("no records", |header| {
                (header.record_count, header.last_offset_delta) = (0, -1);
            }),
            ("count below offsets", |header| header.record_count = 1),
            ("count above offsets", |header| header.last_offset_delta = 0),
            ("negative count", |header| header.record_count = -1),
            ("negative offsets", |header| {
                header.last_offset_delta = i32::MIN
            }),
            ("producer id", |header| header.producer_id = -2),
            ("sequence", |header| {
                (header.producer_id, header.producer_epoch) = (1, 0)
            }),
            ("epoch", |header| {
                (header.producer_id, header.base_sequence) = (1, 0)
            }),
            ("huge count", |header| header.record_count = i32::MAX),
        ];
        for (name, change) in cases {
            let found = validate(altered(&builder(), change), &config(), NOW);
            assert!(
                matches!(found, Err(StorageError::InvalidRecord { .. })),
                "{name}: {found:?}"
            );
        }
        let transactional = altered(&builder(), |header| header.attributes |= 1 << 4);
        let found = validate(transactional, &config(), NOW);
        assert!(
            matches!(found, Err(StorageError::InvalidTxnState)),
            "{found:?}"
        );
        let codec = altered(&builder(), |header| header.attributes |= 6);
        let found = validate(codec, &config(), NOW);
        assert!(
            matches!(found, Err(StorageError::UnsupportedCompression { id: 6 })),
            "{found:?}"
        );
    }

    #[test]
    fn offsets_are_taken_only_for_records_that_can_be_there() {
        let claim = |batch: RecordBatch, count: usize| {
            let mut header = batch.header;
            header.record_count = i32::try_from(count).unwrap();
            header.last_offset_delta = header.record_count - 1;
            let batch = RecordBatch::assemble(header, &batch.records_bytes()).unwrap();
            validate(batch, &config(), NOW).map(|valid| valid.header.record_count)
        };
        let smallest = || {
            let builder = (0..9).fold(RecordBatchBuilder::new(), |builder, _| {
                builder.record(NOW, None, None)
            });
            builder.build().unwrap()
        };
        assert_eq!(
            smallest().bytes.len(),
            BatchHeader::LEN + 9 * RECORD_BYTES_MIN
        );
        claim(smallest(), 9).unwrap();
        claim(smallest(), 10).unwrap_err();
        let compressed = || builder().compression(Compression::Lz4).build().unwrap();
        let most = DECOMPRESSED_BATCH_BYTES_MAX / RECORD_BYTES_MIN;
        claim(compressed(), most).unwrap();
        claim(compressed(), most + 1).unwrap_err();
    }

    /// A record without a key, with the value `len` times `v`, as it lies in a batch.
    fn record(offset_delta: u8, len: u8) -> Vec<u8> {
        let front = [2 * (6 + len), 0, 0, 2 * offset_delta, 1, 2 * len];
        [&front[..], &vec![b'v'; len.into()], &[0]].concat()
    }

    #[test]
    fn fact_27_the_records_are_those_that_the_header_announces() {
        let three = || [0, 1, 2].map(|delta| record(delta, 9)).to_vec();
        let with = |more: &[u8]| [three(), vec![more.to_vec()]].concat();
        let last = |last: &[u8]| [&three()[..2], &[last.to_vec()]].concat();
        let deltas = |deltas: [u8; 3]| deltas.map(|delta| record(delta, 9)).to_vec();
        let cases = [
            ("as announced", three(), true),
            ("fewer", three()[..2].to_vec(), false),
            ("more", with(&record(3, 9)), false),
            ("bytes left over", with(&[0]), false),
            ("the same offset twice", deltas([0, 1, 1]), false),
            ("falling offsets", deltas([2, 1, 0]), false),
            ("an offset left out", deltas([0, 1, 3]), false),
            ("no first offset", deltas([1, 2, 3]), false),
            ("a length too long", last(&record(2, 9)[..14]), false),
            ("a length of 0", last(&[0]), false),
            ("a negative length", last(&[1]), false),
        ];
        let mut stamped = config();
        stamped.timestamp_type = TimestampType::LogAppendTime;
        for (name, records, accepted) in cases {
            let mut header = builder().build().unwrap().header;
            (header.record_count, header.last_offset_delta) = (3, 2);
            let batch = RecordBatch::assemble(header, &records.concat()).unwrap();
            for config in [config(), stamped.clone()] {
                validate_header(&batch.header, &config).unwrap();
                match validate(batch.clone(), &config, NOW) {
                    Ok(_) => assert!(accepted, "{name}"),
                    Err(StorageError::InvalidRecord { .. }) => assert!(!accepted, "{name}"),
                    Err(error) => panic!("{name}: {error}"),
                }
            }
        }
    }

    #[test]
    fn gotcha_25_the_size_limit_counts_the_whole_batch() {
        let batch = builder().build().unwrap();
        let size = batch.bytes.len();
        let mut config = config();
        config.max_message_bytes = u32::try_from(size).unwrap();
        validate(batch.clone(), &config, NOW).unwrap();
        config.max_message_bytes -= 1;
        let found = validate(batch, &config, NOW);
        assert!(
            matches!(found, Err(StorageError::RecordTooLarge { size: s, .. }) if s == size),
            "{found:?}"
        );
    }

    #[test]
    fn gotcha_24_timestamps_must_lie_within_the_configured_window() {
        let mut config = config();
        config.timestamp_before_max_ms = 100;
        config.timestamp_after_max_ms = 10;
        let cases = [
            (&[NOW - 100, NOW + 10][..], true),
            (&[NOW - 101], false),
            (&[NOW, NOW + 11], false),
            (&[-1], true),
            (&[-1, NOW + 11], false),
        ];
        for (timestamps, accepted) in cases {
            let mut builder = RecordBatchBuilder::new();
            for timestamp in timestamps {
                builder = builder.record(*timestamp, None, None);
            }
            let found = validate(builder.build().unwrap(), &config, NOW);
            match found {
                Ok(_) => assert!(accepted, "{timestamps:?}"),
                Err(error) => {
                    assert!(!accepted, "{timestamps:?}: {error}");
                    assert!(
                        matches!(error, StorageError::InvalidTimestamp { .. }),
                        "{error}"
                    );
                }
            }
        }
        config.timestamp_before_max_ms = i64::MAX;
        config.timestamp_after_max_ms = i64::MAX;
        let old = RecordBatchBuilder::new()
            .record(0, None, None)
            .build()
            .unwrap();
        validate(old, &config, NOW).unwrap();
    }

    #[test]
    fn log_append_time_is_stamped_whatever_the_producer_said() {
        let mut config = config();
        config.timestamp_type = TimestampType::LogAppendTime;
        config.timestamp_after_max_ms = 0;
        let batch = RecordBatchBuilder::new()
            .record(NOW * 2, None, None)
            .build()
            .unwrap();
        let valid = validate(batch, &config, NOW).unwrap();
        assert_eq!(valid.header.max_timestamp, NOW);
        let stamped = RecordBatch::parse(valid.bytes).unwrap();
        assert_eq!(stamped.header, valid.header);
        assert_eq!(
            stamped.header.timestamp_type(),
            BatchTimestamps::LogAppendTime
        );
    }

    #[test]
    fn a_maximum_below_the_base_is_replaced_by_the_records_own() {
        for compression in Compression::ALL {
            let builder = RecordBatchBuilder::new()
                .compression(compression)
                .record(NOW - 9, None, None)
                .record(NOW - 3, None, None)
                .record(NOW - 6, None, None);
            let batch = altered(&builder, |header| header.max_timestamp = -1);
            let valid = validate(batch.clone(), &config(), NOW).unwrap();
            let stored = RecordBatch::parse(valid.bytes).unwrap();
            assert_eq!(stored.header, valid.header);
            assert_eq!(stored.header.max_timestamp, NOW - 3, "{compression:?}");
            assert_eq!(stored.records_bytes(), batch.records_bytes());
        }
        let mut late = config();
        late.timestamp_after_max_ms = 0;
        let builder = RecordBatchBuilder::new()
            .record(NOW, None, None)
            .record(NOW + 1, None, None);
        let batch = altered(&builder, |header| header.max_timestamp = 0);
        let found = validate(batch, &late, NOW);
        assert!(
            matches!(found, Err(StorageError::InvalidTimestamp { .. })),
            "{found:?}"
        );
        let unreadable = altered(&builder, |header| {
            (header.max_timestamp, header.attributes) = (0, Compression::Zstd.id());
        });
        let found = validate(unreadable, &config(), NOW);
        assert!(
            matches!(found, Err(StorageError::InvalidRecord { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn what_must_be_walked_may_not_decompress_to_much_more_than_the_largest_batch() {
        let mut config = config();
        config.max_message_bytes = 1_000;
        let zeros = vec![0; 1_000 * WALKED_BATCH_FACTOR];
        let builder = RecordBatchBuilder::new()
            .compression(Compression::Zstd)
            .record(NOW, None, Some(&zeros));
        validate(builder.build().unwrap(), &config, NOW).unwrap();
        let bomb = altered(&builder, |header| header.max_timestamp = -1);
        assert!(contradicts_itself(&bomb.header));
        let found = validate(bomb, &config, NOW);
        assert!(
            matches!(found, Err(StorageError::InvalidRecord { .. })),
            "{found:?}"
        );
    }
}
