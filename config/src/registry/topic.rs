//! Settings of one topic. Each falls back on the broker setting named as its synonym.

use crate::compression::{CompressionType, ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN};
use crate::key::{Check, ConfigKey, ConfigType, Synonym, Unit};

use super::broker_logs::{ACK_ALL, MIB};
use super::broker_topics::{NO_REPLICAS, NO_TIERS, ONE_LZ4};
use super::checks;
use ConfigType::{Boolean, Double, Int, List, Long, String};
use Unit::{Bytes, Milliseconds};

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const HOURS_IN_MS: i64 = 3_600_000;
const MINUTES_IN_MS: i64 = 60_000;

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::topic(
        "retention.ms",
        Long,
        "604800000",
        "How long records are kept, by their timestamp; -1 keeps them for good.",
    )
    .min(-1)
    .unit(Milliseconds)
    .synonyms(&[
        same("log.retention.ms"),
        Synonym {
            name: "log.retention.minutes",
            factor: MINUTES_IN_MS,
        },
        Synonym {
            name: "log.retention.hours",
            factor: HOURS_IN_MS,
        },
    ]),
    ConfigKey::topic(
        "retention.bytes",
        Long,
        "-1",
        "How many bytes each partition keeps before its oldest segments go; -1 for no limit.",
    )
    .min(-1)
    .unit(Bytes)
    .synonyms(&[same("log.retention.bytes")]),
    ConfigKey::topic(
        "segment.bytes",
        Int,
        "1073741824",
        "Size at which a segment file is closed and the next one started.",
    )
    .min(MIB)
    .unit(Bytes)
    .synonyms(&[same("log.segment.bytes")]),
    ConfigKey::topic(
        "segment.ms",
        Long,
        "604800000",
        "Age at which a segment file is closed even if it is small, so that retention can act.",
    )
    .min(1)
    .unit(Milliseconds)
    .synonyms(&[
        same("log.roll.ms"),
        Synonym {
            name: "log.roll.hours",
            factor: HOURS_IN_MS,
        },
    ]),
    ConfigKey::topic(
        "segment.jitter.ms",
        Long,
        "0",
        "At most this much is taken off segment.ms, so that not all segments close at once.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[
        same("log.roll.jitter.ms"),
        Synonym {
            name: "log.roll.jitter.hours",
            factor: HOURS_IN_MS,
        },
    ]),
    ConfigKey::topic(
        "segment.index.bytes",
        Int,
        "10485760",
        "Size of an index file at which its segment is closed.",
    )
    .min(4)
    .unit(Bytes)
    .synonyms(&[same("log.index.size.max.bytes")]),
    ConfigKey::topic(
        "index.interval.bytes",
        Int,
        "4096",
        "Bytes of log between two entries of the offset index.",
    )
    .min(0)
    .unit(Bytes)
    .synonyms(&[same("log.index.interval.bytes")]),
    ConfigKey::topic(
        "file.delete.delay.ms",
        Long,
        "60000",
        "How long the files of a deleted segment or partition stay on the disk.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[same("log.segment.delete.delay.ms")]),
    ConfigKey::topic(
        "max.message.bytes",
        Int,
        "1048588",
        "The largest record batch that is accepted, compressed and with its header.",
    )
    .min(0)
    .unit(Bytes)
    .synonyms(&[same("message.max.bytes")]),
    ConfigKey::topic(
        "message.timestamp.type",
        String,
        "CreateTime",
        "Whether a record carries its producer's clock or the broker's clock at the append.",
    )
    .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
    .synonyms(&[same("log.message.timestamp.type")]),
    ConfigKey::topic(
        "message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        "How far a record's timestamp may lie in the past.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[same("log.message.timestamp.before.max.ms")]),
    ConfigKey::topic(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        "How far a record's timestamp may lie in the future.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[same("log.message.timestamp.after.max.ms")]),
    ConfigKey::topic(
        "flush.messages",
        Long,
        "9223372036854775807",
        "Records after which an append waits for the disk, whatever its acks.",
    )
    .min(1)
    .synonyms(&[same("log.flush.interval.messages")]),
    ConfigKey::topic(
        "flush.ms",
        Long,
        "9223372036854775807",
        "Age at which unsynced records are forced to the disk, beside tidewheel.ack.all.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[
        same("log.flush.interval.ms"),
        same("log.flush.scheduler.interval.ms"),
    ]),
    ConfigKey::topic("tidewheel.ack.all", String, "disk", ACK_ALL)
        .check(Check::OneOf(&["disk", "memory"]))
        .synonyms(&[same("tidewheel.log.ack.all")]),
    ConfigKey::topic(
        "tidewheel.retention.low.disk.ms",
        Long,
        "-1",
        "Age from which records may go before retention.ms and retention.bytes say so, the oldest of all \
         topics first, while free space is below tidewheel.log.dir.low.bytes; for cleanup.policy with \
         delete, -1 for never.",
    )
    .min(-1)
    .unit(Milliseconds)
    .synonyms(&[same("tidewheel.log.retention.low.disk.ms")]),
    ConfigKey::topic(
        "min.insync.replicas",
        Int,
        "1",
        "Replicas that a write with acks=all needs. There is one replica: above 1 such writes are \
         refused, unless tidewheel.replication.factor.max allows as many.",
    )
    .min(1)
    .synonyms(&[same("min.insync.replicas")]),
    ConfigKey::topic(
        "cleanup.policy",
        List,
        "delete",
        "What happens to old data: delete removes old segments by retention.ms and retention.bytes, \
         compact keeps the newest record of every key; both may stand together.",
    )
    .check(Check::Custom(checks::cleanup_policy))
    .synonyms(&[same("log.cleanup.policy")]),
    ConfigKey::topic(
        "compression.type",
        String,
        "producer",
        "The codec in which batches are kept: producer keeps them as they come, any other has those that \
         come otherwise compressed again by the broker.",
    )
    .check(Check::OneOf(CompressionType::NAMES))
    .synonyms(&[same("compression.type")]),
    ConfigKey::topic("compression.gzip.level", Int, "-1", "Level of gzip, 1 to 9, or -1 for its default.")
        .check(Check::Custom(checks::gzip_level))
        .synonyms(&[same("compression.gzip.level")]),
    ConfigKey::topic("compression.lz4.level", Int, "9", "Level of lz4.")
        .check(Check::OnlyDefault(ONE_LZ4))
        .synonyms(&[same("compression.lz4.level")]),
    ConfigKey::topic("compression.zstd.level", Int, "3", "Level of zstd.")
        .range(ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX)
        .synonyms(&[same("compression.zstd.level")]),
    ConfigKey::topic(
        "delete.retention.ms",
        Long,
        "86400000",
        "How long tombstones are kept in a compacted topic after the compaction that first met them.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[same("log.cleaner.delete.retention.ms")]),
    ConfigKey::topic(
        "min.compaction.lag.ms",
        Long,
        "0",
        "How long records stay as they were written before compaction may remove them.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(&[same("log.cleaner.min.compaction.lag.ms")]),
    ConfigKey::topic(
        "max.compaction.lag.ms",
        Long,
        "9223372036854775807",
        "Age at which records are compacted whatever the dirty ratio; the active segment is rolled \
         for that.",
    )
    .min(1)
    .unit(Milliseconds)
    .synonyms(&[same("log.cleaner.max.compaction.lag.ms")]),
    ConfigKey::topic(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        "Share of bytes that were not compacted yet above which a log is compacted.",
    )
    .check(Check::Custom(checks::ratio))
    .synonyms(&[same("log.cleaner.min.cleanable.ratio")]),
    ConfigKey::topic(
        "preallocate",
        Boolean,
        "false",
        "Whether whole segments are preallocated.",
    )
    .check(Check::OnlyDefault(
        "segments are preallocated in growing steps",
    ))
    .synonyms(&[same("log.preallocate")]),
    ConfigKey::topic(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        "Whether a replica that lags behind may become leader.",
    )
    .check(Check::OnlyDefault(NO_REPLICAS))
    .synonyms(&[same("unclean.leader.election.enable")]),
    ConfigKey::topic(
        "leader.replication.throttled.replicas",
        List,
        "",
        "Replicas whose leaders send slowly.",
    )
    .check(Check::OnlyDefault(NO_REPLICAS)),
    ConfigKey::topic(
        "follower.replication.throttled.replicas",
        List,
        "",
        "Replicas whose followers fetch slowly.",
    )
    .check(Check::OnlyDefault(NO_REPLICAS)),
    ConfigKey::topic("remote.storage.enable", Boolean, "false", "Tiered storage.")
        .check(Check::OnlyDefault(NO_TIERS)),
    ConfigKey::topic(
        "remote.log.copy.disable",
        Boolean,
        "false",
        "Tiered storage: no more copies.",
    )
    .check(Check::OnlyDefault(NO_TIERS)),
    ConfigKey::topic(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        "Tiered storage: delete the copies when it is switched off.",
    )
    .check(Check::OnlyDefault(NO_TIERS)),
    ConfigKey::topic(
        "local.retention.ms",
        Long,
        "-2",
        "Tiered storage: time kept locally.",
    )
    .check(Check::OnlyDefault(NO_TIERS))
    .unit(Milliseconds)
    .synonyms(&[same("log.local.retention.ms")]),
    ConfigKey::topic(
        "local.retention.bytes",
        Long,
        "-2",
        "Tiered storage: bytes kept locally.",
    )
    .check(Check::OnlyDefault(NO_TIERS))
    .unit(Bytes)
    .synonyms(&[same("log.local.retention.bytes")]),
];
