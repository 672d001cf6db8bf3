//! The settings of a topic that say in which codec its batches are kept.

/// The fastest level of zstd that its library knows, as in Kafka.
pub(crate) const ZSTD_LEVEL_MIN: i64 = -131_072;
/// The slowest.
pub(crate) const ZSTD_LEVEL_MAX: i64 = 22;

/// `compression.type` with the level of its codec: how batches of producers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionType {
    /// As their producer compressed them.
    #[default]
    Producer,
    /// Without compression.
    Uncompressed,
    /// In gzip.
    Gzip {
        /// `compression.gzip.level`: 1 to 9, -1 for the codec's own.
        level: i32,
    },
    /// In snappy.
    Snappy,
    /// In LZ4.
    Lz4,
    /// In zstd.
    Zstd {
        /// `compression.zstd.level`: -131072 to 22.
        level: i32,
    },
}

impl CompressionType {
    /// What Kafka calls them.
    pub(crate) const NAMES: &[&str] =
        &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

    /// The one that is called `name`, with the levels of the topic.
    pub(crate) fn of(name: &str, level: impl Fn(&'static str) -> i32) -> Self {
        match name {
            "uncompressed" => Self::Uncompressed,
            "gzip" => Self::Gzip {
                level: level("compression.gzip.level"),
            },
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd {
                level: level("compression.zstd.level"),
            },
            _ => Self::Producer,
        }
    }
}
