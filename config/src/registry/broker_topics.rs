//! Broker settings that decide what topics may exist, and those of features that are not built.

use crate::compression::{CompressionType, ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN};
use crate::key::{Check, ConfigKey, ConfigType, Unit};

use super::checks;

use ConfigType::{Boolean, Double, Int, List, Long, Short, String};
use Unit::{Bytes, Milliseconds};

pub(super) const ONE_LZ4: &str = "LZ4 is compressed in one way only";
pub(super) const NO_REPLICAS: &str = "a single node has no second replica";
pub(super) const NO_TIERS: &str = "tiered storage is not built yet";

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "auto.create.topics.enable",
        Boolean,
        "true",
        "Whether a topic comes into being when a client first asks for it.",
    ),
    ConfigKey::broker(
        "delete.topic.enable",
        Boolean,
        "true",
        "Whether topics may be deleted.",
    ),
    ConfigKey::broker(
        "num.partitions",
        Int,
        "1",
        "Partitions of a topic whose creator does not say how many.",
    )
    .range(1, crate::limits::PARTITIONS_PER_TOPIC_MAX as i64),
    ConfigKey::broker(
        "default.replication.factor",
        Int,
        "1",
        "Replication factor of a topic whose creator does not say.",
    )
    .range(1, i16::MAX as i64),
    ConfigKey::broker(
        "tidewheel.max.partitions",
        Int,
        "-1",
        "The most partitions of all topics: what would make more is refused with POLICY_VIOLATION; -1 for \
         what open files (ulimit -n), memory maps (vm.max_map_count) and memory of the process allow.",
    )
    .min(-1),
    ConfigKey::broker(
        "tidewheel.replication.factor.max",
        Short,
        "1",
        "The largest replication factor that topics may ask for. There is one copy whatever they \
         ask for: above 1, clients written for a cluster can be tried on a single node.",
    )
    .min(1),
    ConfigKey::broker(
        "min.insync.replicas",
        Int,
        "1",
        "Default of the topic setting min.insync.replicas.",
    )
    .min(1)
    .dynamic(),
    ConfigKey::broker(
        "producer.id.expiration.ms",
        Int,
        "86400000",
        "An idempotent producer that wrote nothing to a partition for so long is forgotten there.",
    )
    .min(1)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "transaction.max.timeout.ms",
        Int,
        "900000",
        "The longest transaction that a producer may ask for.",
    )
    .check(Check::OnlyDefault("transactions are not built yet"))
    .unit(Milliseconds),
    ConfigKey::broker(
        "log.cleanup.policy",
        List,
        "delete",
        "Default of cleanup.policy.",
    )
    .check(Check::Custom(checks::cleanup_policy))
    .dynamic(),
    ConfigKey::broker(
        "compression.type",
        String,
        "producer",
        "Default of compression.type.",
    )
    .check(Check::OneOf(CompressionType::NAMES))
    .dynamic(),
    ConfigKey::broker(
        "compression.gzip.level",
        Int,
        "-1",
        "Default of compression.gzip.level: 1 to 9, or -1.",
    )
    .check(Check::Custom(checks::gzip_level))
    .dynamic(),
    ConfigKey::broker(
        "compression.lz4.level",
        Int,
        "9",
        "Default of compression.lz4.level.",
    )
    .check(Check::OnlyDefault(ONE_LZ4))
    .dynamic(),
    ConfigKey::broker(
        "compression.zstd.level",
        Int,
        "3",
        "Default of compression.zstd.level.",
    )
    .range(ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.delete.retention.ms",
        Long,
        "86400000",
        "Default of delete.retention.ms.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.min.compaction.lag.ms",
        Long,
        "0",
        "Default of min.compaction.lag.ms.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.max.compaction.lag.ms",
        Long,
        "9223372036854775807",
        "Default of max.compaction.lag.ms.",
    )
    .min(1)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.min.cleanable.ratio",
        Double,
        "0.5",
        "Default of min.cleanable.dirty.ratio.",
    )
    .check(Check::Custom(checks::ratio))
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.enable",
        Boolean,
        "true",
        "Whether topics with cleanup.policy=compact are compacted; without it they only grow.",
    ),
    ConfigKey::broker(
        "log.cleaner.threads",
        Int,
        "1",
        "Threads that compact logs.",
    )
    .check(Check::OnlyDefault(
        "one thread compacts all logs, one after the other",
    ))
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.backoff.ms",
        Long,
        "15000",
        "How long the cleaner sleeps when no log is to be compacted.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.dedupe.buffer.size",
        Long,
        "134217728",
        "The most memory that keys take while a log is compacted, 24 bytes each; what does not fit \
         waits for the next pass. It is taken when needed and given back.",
    )
    .range(super::broker_logs::MIB, 1 << 40)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.io.buffer.load.factor",
        Double,
        "0.9",
        "How full that memory may become: fuller means fewer passes and slower look-ups.",
    )
    .check(Check::Custom(checks::load_factor))
    .dynamic(),
    ConfigKey::broker(
        "log.cleaner.io.max.bytes.per.second",
        Double,
        "1.7976931348623157E308",
        "The most bytes that the cleaner reads and writes in a second, on average.",
    )
    .check(Check::Custom(checks::rate))
    .dynamic(),
    ConfigKey::broker(
        "log.preallocate",
        Boolean,
        "false",
        "Default of preallocate.",
    )
    .check(Check::OnlyDefault(
        "segments are preallocated in growing steps",
    ))
    .dynamic(),
    ConfigKey::broker(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        "Default of the topic setting unclean.leader.election.enable.",
    )
    .check(Check::OnlyDefault(NO_REPLICAS))
    .dynamic(),
    ConfigKey::broker(
        "log.local.retention.ms",
        Long,
        "-2",
        "Default of local.retention.ms.",
    )
    .check(Check::OnlyDefault(NO_TIERS))
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.local.retention.bytes",
        Long,
        "-2",
        "Default of local.retention.bytes.",
    )
    .check(Check::OnlyDefault(NO_TIERS))
    .unit(Bytes)
    .dynamic(),
];
