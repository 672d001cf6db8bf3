//! Broker settings of the logs: directories, flushing, background work and what topics without
//! overrides get.

use crate::key::{Check, ConfigKey, ConfigType, Synonym, Unit};

use super::checks;
use ConfigType::{Int, List, Long, String};
use Unit::{Bytes, Hours, Milliseconds, Minutes};

pub(super) const MIB: i64 = 1024 * 1024;

pub(super) const ACK_ALL: &str = "When a write with acks=all is answered: disk means after \
    fdatasync, so it survives a power cut; memory means once it is in the page cache, so it \
    survives the end of the process, as in Apache Kafka.";

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const LOG_DIRS: &[Synonym] = &[same("log.dirs"), same("log.dir")];
const RESERVED: &[Synonym] = &[
    same("tidewheel.log.dir.reserved.bytes"),
    same("tidewheel.storage.min.free.bytes"),
];
const RETENTION: &[Synonym] = &[
    same("log.retention.ms"),
    same("log.retention.minutes"),
    same("log.retention.hours"),
];
const ROLL: &[Synonym] = &[same("log.roll.ms"), same("log.roll.hours")];
const ROLL_JITTER: &[Synonym] = &[same("log.roll.jitter.ms"), same("log.roll.jitter.hours")];
const FLUSH: &[Synonym] = &[
    same("log.flush.interval.ms"),
    same("log.flush.scheduler.interval.ms"),
];

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "log.dirs",
        List,
        "",
        "Data directories, separated by commas. The first one also holds the metadata of topics.",
    )
    .unset()
    .check(Check::Custom(checks::log_dirs))
    .synonyms(LOG_DIRS),
    ConfigKey::broker(
        "log.dir",
        List,
        "tidewheel-data",
        "Data directory where log.dirs is not set; relative to the working directory.",
    )
    .check(Check::Custom(checks::log_dirs))
    .synonyms(LOG_DIRS),
    ConfigKey::broker("tidewheel.log.ack.all", String, "disk", ACK_ALL)
        .check(Check::OneOf(&["disk", "memory"]))
        .dynamic(),
    ConfigKey::broker(
        "tidewheel.flush.unsynced.max.bytes",
        Long,
        "67108864",
        "Unsynced bytes of a data directory at which the background flush starts: with the \
         interval, the most that a recovery has to read.",
    )
    .min(1)
    .unit(Bytes),
    ConfigKey::broker(
        "tidewheel.flush.interval.ms",
        Long,
        "1000",
        "Age of unsynced bytes at which the background flush starts.",
    )
    .range(1, 3_600_000)
    .unit(Milliseconds),
    ConfigKey::broker(
        "tidewheel.scrub.max.bytes.per.second",
        Long,
        "16777216",
        "How fast all sealed segments are read and checked, once a day from ten minutes after the \
         start; 0 for never. A damaged partition takes no data until the next start.",
    )
    .range(0, 4_294_967_295)
    .unit(Bytes),
    ConfigKey::broker(
        "tidewheel.log.dir.low.bytes",
        Long,
        "4294967296",
        "Free bytes of a data directory's file system, a tenth of its size at most, below which room is \
         made: retention runs every second and as tidewheel.retention.low.disk.ms allows, deleted files \
         are unlinked at once, and no blocks are reserved ahead; 0 for never.",
    )
    .min(0)
    .unit(Bytes),
    ConfigKey::broker(
        "tidewheel.log.dir.reserved.bytes",
        Long,
        "268435456",
        "Free bytes of a data directory's file system, a twentieth of its size at most, that clients' \
         records do not get: below it they are refused with KAFKA_STORAGE_ERROR, while groups commit \
         and topics are deleted; 0 for none. A quarter of it, 32 MiB at most, is taken by a file, which is \
         emptied where other programs leave less than that.",
    )
    .min(0)
    .unit(Bytes)
    .synonyms(RESERVED),
    ConfigKey::broker(
        "tidewheel.storage.min.free.bytes",
        Long,
        "",
        "Another name of tidewheel.log.dir.reserved.bytes, which counts where the same source gives both; a \
         source that counts more, such as the environment, replaces both.",
    )
    .unset()
    .min(0)
    .unit(Bytes)
    .synonyms(RESERVED),
    ConfigKey::broker(
        "tidewheel.delay.near.records.max",
        Int,
        "4000000",
        "Delayed records of a data directory that are kept in memory, at 36 bytes each; those that are due \
         later lie in files until then.",
    )
    .range(1, 100_000_000),
    ConfigKey::broker(
        "tidewheel.log.retention.low.disk.ms",
        Long,
        "-1",
        "Default of tidewheel.retention.low.disk.ms.",
    )
    .min(-1)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.flush.interval.messages",
        Long,
        "9223372036854775807",
        "Default of flush.messages.",
    )
    .min(1)
    .dynamic(),
    ConfigKey::broker(
        "log.flush.interval.ms",
        Long,
        "",
        "Default of flush.ms; not set, log.flush.scheduler.interval.ms counts.",
    )
    .unset()
    .min(0)
    .unit(Milliseconds)
    .dynamic()
    .synonyms(FLUSH),
    ConfigKey::broker(
        "log.flush.scheduler.interval.ms",
        Long,
        "9223372036854775807",
        "Counts as log.flush.interval.ms where that is not set.",
    )
    .min(0)
    .unit(Milliseconds)
    .synonyms(FLUSH),
    ConfigKey::broker(
        "log.flush.offset.checkpoint.interval.ms",
        Int,
        "60000",
        "How often recovery points, log starts and high watermarks are written down.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "log.initial.task.delay.ms",
        Long,
        "30000",
        "How long after the start retention first runs.",
    )
    .min(0)
    .unit(Milliseconds),
    ConfigKey::broker(
        "log.retention.check.interval.ms",
        Long,
        "300000",
        "How often retention runs.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "log.retention.ms",
        Long,
        "",
        "Default of retention.ms; the unit with the finest grain that is set counts.",
    )
    .unset()
    .check(Check::NotZero)
    .unit(Milliseconds)
    .dynamic()
    .synonyms(RETENTION),
    ConfigKey::broker(
        "log.retention.minutes",
        Int,
        "",
        "Default of retention.ms, in minutes.",
    )
    .unset()
    .check(Check::NotZero)
    .unit(Minutes)
    .synonyms(RETENTION),
    ConfigKey::broker(
        "log.retention.hours",
        Int,
        "168",
        "Default of retention.ms, in hours.",
    )
    .check(Check::NotZero)
    .unit(Hours)
    .synonyms(RETENTION),
    ConfigKey::broker(
        "log.retention.bytes",
        Long,
        "-1",
        "Default of retention.bytes.",
    )
    .min(-1)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker(
        "log.segment.bytes",
        Int,
        "1073741824",
        "Default of segment.bytes.",
    )
    .min(MIB)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker("log.roll.ms", Long, "", "Default of segment.ms.")
        .unset()
        .min(1)
        .unit(Milliseconds)
        .dynamic()
        .synonyms(ROLL),
    ConfigKey::broker(
        "log.roll.hours",
        Int,
        "168",
        "Default of segment.ms, in hours.",
    )
    .min(1)
    .unit(Hours)
    .synonyms(ROLL),
    ConfigKey::broker(
        "log.roll.jitter.ms",
        Long,
        "",
        "Default of segment.jitter.ms.",
    )
    .unset()
    .min(0)
    .unit(Milliseconds)
    .dynamic()
    .synonyms(ROLL_JITTER),
    ConfigKey::broker(
        "log.roll.jitter.hours",
        Int,
        "0",
        "Default of segment.jitter.ms, in hours.",
    )
    .min(0)
    .unit(Hours)
    .synonyms(ROLL_JITTER),
    ConfigKey::broker(
        "log.segment.delete.delay.ms",
        Long,
        "60000",
        "Default of file.delete.delay.ms.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.index.size.max.bytes",
        Int,
        "10485760",
        "Default of segment.index.bytes.",
    )
    .min(4)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker(
        "log.index.interval.bytes",
        Int,
        "4096",
        "Default of index.interval.bytes.",
    )
    .min(0)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker(
        "message.max.bytes",
        Int,
        "1048588",
        "Default of max.message.bytes.",
    )
    .min(0)
    .unit(Bytes)
    .dynamic(),
    ConfigKey::broker(
        "log.message.timestamp.type",
        String,
        "CreateTime",
        "Default of message.timestamp.type.",
    )
    .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
    .dynamic(),
    ConfigKey::broker(
        "log.message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        "Default of message.timestamp.before.max.ms.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
    ConfigKey::broker(
        "log.message.timestamp.after.max.ms",
        Long,
        "3600000",
        "Default of message.timestamp.after.max.ms.",
    )
    .min(0)
    .unit(Milliseconds)
    .dynamic(),
];
