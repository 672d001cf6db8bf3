//! `compression.type`: batches are kept in the codec of their topic, whatever their producer chose.
//!
//! As in Kafka a batch that came in that codec stays as it is, whatever its level. Of others the records stay, byte
//! by byte, and with them offsets, timestamps and the producer's sequence; what they are packed in changes.

use tidewheel_config::{CompressionType, LogConfig};
use tidewheel_protocol::{BatchError, BatchHeader, Compression, RawRecords, RecordBatch};

use crate::batch_validator::walked_bytes_max;
use crate::error::StorageError;

/// Bits 0 to 2 of the attributes.
const CODEC_BITS: i16 = 0b111;

/// Whether [`recompress`] has something to do with a batch, which takes time.
#[must_use]
pub fn must_recompress(header: &BatchHeader, config: &LogConfig) -> bool {
    wanted(header, config).is_some()
}

/// The codec of a topic's own; `None` where that of the producer counts.
#[must_use]
pub fn own_codec(config: &LogConfig) -> Option<Compression> {
    with_level(config.compression).map(|(codec, _)| codec)
}

fn with_level(compression: CompressionType) -> Option<(Compression, Option<i32>)> {
    match compression {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some((Compression::None, None)),
        CompressionType::Gzip { level } => Some((Compression::Gzip, Some(level))),
        CompressionType::Snappy => Some((Compression::Snappy, None)),
        CompressionType::Lz4 => Some((Compression::Lz4, None)),
        CompressionType::Zstd { level } => Some((Compression::Zstd, Some(level))),
    }
}

/// The codec and the level in which a batch is to be kept, where it came in another codec.
fn wanted(header: &BatchHeader, config: &LogConfig) -> Option<(Compression, Option<i32>)> {
    with_level(config.compression).filter(|(codec, _)| header.compression() != Ok(*codec))
}

/// The batch in the codec of its topic.
///
/// # Errors
/// `InvalidRecord` for records that cannot be read, that decompress to more than
/// [`WALKED_BATCH_FACTOR`](tidewheel_config::limits::WALKED_BATCH_FACTOR) times the largest batch, or that are
/// not those that the header announces; `RecordTooLarge` where it grows beyond the largest.
pub fn recompress(batch: RecordBatch, config: &LogConfig) -> Result<RecordBatch, StorageError> {
    let Some((codec, level)) = wanted(&batch.header, config) else {
        return Ok(batch);
    };
    let packed = packed(&batch, codec, level, walked_bytes_max(config));
    let batch = packed.map_err(|error| StorageError::invalid_record(error.to_string()))?;
    let size = batch.header.size_in_bytes();
    match u32::try_from(size).is_ok_and(|size| size <= config.max_message_bytes) {
        true => Ok(batch),
        false => Err(StorageError::RecordTooLarge {
            size,
            max: config.max_message_bytes,
        }),
    }
}

fn packed(
    batch: &RecordBatch,
    codec: Compression,
    level: Option<i32>,
    bytes_max: usize,
) -> Result<RecordBatch, BatchError> {
    let records = batch.decompressed(bytes_max)?;
    RawRecords::new(&batch.header, &records).check_places()?;
    let header = BatchHeader {
        attributes: batch.header.attributes & !CODEC_BITS | codec.id(),
        ..batch.header
    };
    match codec {
        Compression::None => RecordBatch::assemble(header, &records),
        _ => RecordBatch::assemble(header, &codec.compress_at(&records, level)?),
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_config::limits::WALKED_BATCH_FACTOR;
    use tidewheel_protocol::RecordBatchBuilder;

    use super::*;
    use crate::validate;

    const NOW: i64 = 1_700_000_000_000;
    const KEPT: [(CompressionType, Compression); 5] = [
        (CompressionType::Uncompressed, Compression::None),
        (CompressionType::Gzip { level: -1 }, Compression::Gzip),
        (CompressionType::Snappy, Compression::Snappy),
        (CompressionType::Lz4, Compression::Lz4),
        (CompressionType::Zstd { level: 3 }, Compression::Zstd),
    ];

    fn kept_as(compression: CompressionType) -> LogConfig {
        LogConfig {
            compression,
            ..LogConfig::everlasting()
        }
    }

    fn builder(codec: Compression) -> RecordBatchBuilder {
        let value = b"value ".repeat(500);
        RecordBatchBuilder::new()
            .compression(codec)
            .producer(7, 2, 30)
            .record(NOW, Some(b"k"), Some(&value))
            .record(NOW - 4, None, None)
    }

    #[test]
    fn a_batch_is_kept_in_the_codec_of_its_topic_with_the_same_records_and_header() {
        for came in Compression::ALL {
            let batch = builder(came).build().unwrap();
            for (compression, codec) in KEPT {
                let config = kept_as(compression);
                assert_eq!(must_recompress(&batch.header, &config), came != codec);
                let valid = validate(batch.clone(), &config, NOW).unwrap();
                let kept = RecordBatch::parse(valid.bytes).unwrap();
                assert_eq!(kept.header, valid.header);
                assert_eq!(kept.header.compression(), Ok(codec));
                let records = |batch: &RecordBatch| batch.decompressed(1 << 20).unwrap();
                assert_eq!(records(&kept), records(&batch));
                let same = BatchHeader {
                    attributes: batch.header.attributes,
                    batch_length: batch.header.batch_length,
                    crc: batch.header.crc,
                    ..kept.header
                };
                assert_eq!(same, batch.header);
                if came == codec {
                    assert_eq!(kept.bytes, batch.bytes, "whatever its level");
                }
            }
        }
    }

    #[test]
    fn levels_count() {
        let mut random = 1_u64;
        let words = std::iter::repeat_with(|| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ["tide ", "wheel ", "log ", "wave ", "salt "]
                [usize::try_from(random >> 61).unwrap() % 5]
        });
        let value: String = words.take(50_000).collect();
        let batch = RecordBatchBuilder::new().record(NOW, None, Some(value.as_bytes()));
        let batch = batch.build().unwrap();
        let size = |compression| {
            let kept = recompress(batch.clone(), &kept_as(compression)).unwrap();
            kept.bytes.len()
        };
        let gzip = |level| size(CompressionType::Gzip { level });
        assert!(gzip(9) < gzip(1));
        assert_eq!(gzip(-1), gzip(6), "the default");
        let zstd = |level| size(CompressionType::Zstd { level });
        assert!(zstd(19) < zstd(3) && zstd(3) < zstd(-100));
    }

    #[test]
    fn what_grows_beyond_the_largest_batch_is_refused() {
        let batch = builder(Compression::Zstd).build().unwrap();
        let config = |max_message_bytes| LogConfig {
            max_message_bytes,
            ..kept_as(CompressionType::Uncompressed)
        };
        let size = builder(Compression::None).build().unwrap().bytes.len();
        let most = u32::try_from(size).unwrap();
        assert!(batch.bytes.len() < size);
        validate(batch.clone(), &config(most), NOW).unwrap();
        let found = validate(batch, &config(most - 1), NOW);
        assert!(
            matches!(found, Err(StorageError::RecordTooLarge { size: found, .. }) if found == size),
            "{found:?}"
        );
    }

    #[test]
    fn what_unpacks_to_far_more_than_the_largest_batch_is_refused() {
        let zeros = vec![0; 1_000 * WALKED_BATCH_FACTOR];
        let bomb = RecordBatchBuilder::new()
            .compression(Compression::Gzip)
            .record(NOW, None, Some(&zeros));
        let config = LogConfig {
            max_message_bytes: 1_000,
            ..kept_as(CompressionType::Zstd { level: 3 })
        };
        let found = recompress(bomb.build().unwrap(), &config);
        assert!(
            matches!(found, Err(StorageError::InvalidRecord { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn records_that_are_not_those_announced_are_refused_before_they_are_packed() {
        let batch = builder(Compression::None).build().unwrap();
        let mut header = batch.header;
        (header.record_count, header.last_offset_delta) = (3, 2);
        for codec in [Compression::None, Compression::Lz4] {
            header.attributes = codec.id();
            let records = codec.compress(&batch.records_bytes()).unwrap();
            for records in [records, b"garbage".to_vec()] {
                let wrong = RecordBatch::assemble(header, &records).unwrap();
                let found = validate(wrong, &kept_as(CompressionType::Zstd { level: 3 }), NOW);
                assert!(matches!(found, Err(StorageError::InvalidRecord { .. })));
            }
        }
    }
}
