//! The four codecs a record batch may use, with a cap on what decompression may produce.
//!
//! | codec | form in a batch |
//! |-|-|
//! | gzip | gzip members, one after the other |
//! | snappy | blocks in xerial's framing, or one block without framing |
//! | lz4 | one LZ4 frame of independent blocks |
//! | zstd | zstd frames, one after the other |
//!
//! Memory of decompression follows the output, never what the input announces. Only zstd reserves more: its window,
//! of at most [`ZSTD_WINDOW_LOG_MAX`] bits. To compress takes memory by the length of the input, at high levels of zstd
//! dozens of times as much. A few contexts of zstd are kept, of 1 MiB at most each.

use std::io::{self, Read, Write};

use crate::record_batch::BatchError;

mod lz4;
mod snappy;
mod zstd;

/// log2 of the largest zstd window in bytes: 128 MiB, the limit of zstd's own tools and of Kafka's
/// clients, reached at level 22.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The codec of a record batch: bits 0 to 2 of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, framed as by xerial's Java library.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878; only in Produce 7 and Fetch 10 and later.
    Zstd,
}

/// Why decompression stopped.
enum Failure {
    /// The input is not of the codec: what it found.
    Corrupt(String),
    /// The output would exceed the cap.
    TooLarge,
}

impl Failure {
    fn corrupt(error: impl std::fmt::Display) -> Self {
        Self::Corrupt(error.to_string())
    }

    fn cut() -> Self {
        Self::Corrupt("the data is cut".to_owned())
    }
}

impl Compression {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec that the attributes of a batch name.
    ///
    /// # Errors
    /// For the three values that stand for no codec.
    pub const fn from_attributes(attributes: i16) -> Result<Self, BatchError> {
        match attributes & 0b111 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            id => Err(BatchError::UnknownCompression(id)),
        }
    }

    /// Bits 0 to 2 of a batch's attributes.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name in Kafka's `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses records at the codec's default level.
    ///
    /// # Errors
    /// Where the codec refuses, which needs input of gigabytes.
    pub fn compress(self, records: &[u8]) -> Result<Vec<u8>, BatchError> {
        self.compress_at(records, None)
    }

    /// Compresses records at a level, which gzip (1 to 9) and zstd (-131072 to 22) have; `None` and levels out of
    /// range stand for the default.
    ///
    /// # Errors
    /// As [`Self::compress`].
    pub fn compress_at(self, records: &[u8], level: Option<i32>) -> Result<Vec<u8>, BatchError> {
        let compressed = match self {
            Self::None => Ok(records.to_vec()),
            Self::Gzip => gzip(records, level),
            Self::Snappy => snappy::compress(records),
            Self::Lz4 => lz4::compress(records),
            Self::Zstd => zstd::compress(records, level),
        };
        compressed.map_err(|error| self.error(Failure::corrupt(error), 0))
    }

    /// Decompresses records of at most `max_len` bytes.
    ///
    /// # Errors
    /// For input that is not of this codec, and where the output would be longer.
    pub fn decompress(self, compressed: &[u8], max_len: usize) -> Result<Vec<u8>, BatchError> {
        let output = match self {
            Self::None if compressed.len() > max_len => Err(Failure::TooLarge),
            Self::None => Ok(compressed.to_vec()),
            Self::Gzip => read_capped(flate2::bufread::MultiGzDecoder::new(compressed), max_len),
            Self::Snappy => snappy::decompress(compressed, max_len),
            Self::Lz4 => lz4::decompress(compressed, max_len),
            Self::Zstd => zstd::decompress(compressed, max_len),
        };
        output.map_err(|failure| self.error(failure, max_len))
    }

    fn error(self, failure: Failure, max: usize) -> BatchError {
        match failure {
            Failure::Corrupt(reason) => BatchError::CorruptCompression {
                codec: self,
                reason,
            },
            Failure::TooLarge => BatchError::DecompressedTooLarge { max },
        }
    }
}

fn gzip(records: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.filter(|level| (1..=9).contains(level));
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(records)?;
    encoder.finish()
}

fn read_capped(source: impl Read, max_len: usize) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
    let mut output = Vec::new();
    // One byte more than allowed tells output that is too long from output that just fits.
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut output)
        .map_err(Failure::corrupt)?;
    if output.len() > max_len {
        return Err(Failure::TooLarge);
    }
    Ok(output)
}

#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
