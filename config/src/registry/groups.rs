//! Settings of consumer groups and of the topic that remembers them.

use crate::key::{Check, ConfigKey, ConfigType, Synonym, Unit};

use ConfigType::{Int, List, Long};
use Unit::{Bytes, Milliseconds, Minutes};

pub(super) const KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "group.min.session.timeout.ms",
        Int,
        "6000",
        "The shortest session timeout that a member of a classic group may ask for.",
    )
    .min(0)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.max.session.timeout.ms",
        Int,
        "1800000",
        "The longest session timeout that a member of a classic group may ask for.",
    )
    .min(0)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.initial.rebalance.delay.ms",
        Int,
        "3000",
        "How long a group that was empty waits for more members before its first rebalance. At 0 \
         members that start together cause one rebalance each.",
    )
    .min(0)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.max.size",
        Int,
        "2147483647",
        "The most members of one classic group. There are never more than 10,000.",
    )
    .min(1),
    ConfigKey::broker(
        "group.consumer.session.timeout.ms",
        Int,
        "45000",
        "Silence after which a member of a group of the newer protocol counts as gone.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.heartbeat.interval.ms",
        Int,
        "5000",
        "How often members of a group of the newer protocol send heartbeats, and hear of their partitions.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.min.session.timeout.ms",
        Int,
        "45000",
        "The least that consumer.session.timeout.ms of a group may be.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.max.session.timeout.ms",
        Int,
        "60000",
        "The most that consumer.session.timeout.ms of a group may be.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.min.heartbeat.interval.ms",
        Int,
        "5000",
        "The least that consumer.heartbeat.interval.ms of a group may be.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.max.heartbeat.interval.ms",
        Int,
        "15000",
        "The most that consumer.heartbeat.interval.ms of a group may be.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "group.consumer.max.size",
        Int,
        "2147483647",
        "The most members of one group of the newer protocol. There are never more than 10,000.",
    )
    .min(1),
    ConfigKey::broker(
        "group.consumer.assignors",
        List,
        "uniform,range",
        "What decides who reads which partitions, by the wish of the members; the first unless more of \
         them wish for the other.",
    )
    .check(Check::OnlyDefault("there are no others")),
    ConfigKey::broker(
        "group.consumer.migration.policy",
        ConfigType::String,
        "bidirectional",
        "Whether a group with members may move from the classic protocol to the newer one (upgrade), \
         back (downgrade), both or neither (disabled).",
    )
    .check(Check::OneOf(&[
        "bidirectional",
        "upgrade",
        "downgrade",
        "disabled",
    ])),
    ConfigKey::broker(
        "tidewheel.group.state.max.bytes",
        Long,
        "-1",
        "Memory that all groups may take with their members and offsets, estimated: members of new groups are refused \
         with COORDINATOR_NOT_AVAILABLE from five eighths of it on, those of known groups from three quarters on, and \
         commits at the end. At least 16 MiB; -1 for a sixteenth of the machine's memory, between 64 and 512 MiB.",
    )
    .min(-1)
    .unit(Bytes),
    ConfigKey::broker(
        "offset.metadata.max.bytes",
        Int,
        "4096",
        "The longest note that a client may keep beside a committed offset, in UTF-16 units as \
         Apache Kafka counts.",
    )
    .min(0)
    .unit(Bytes),
    ConfigKey::broker(
        "offsets.retention.minutes",
        Int,
        "10080",
        "A committed offset expires so long after its group became empty; in a group with members, \
         so long after the commit, once nobody is subscribed to the topic; in a group that was only \
         ever used for its offsets, so long after the commit.",
    )
    .min(1)
    .unit(Minutes),
    ConfigKey::broker(
        "offsets.retention.check.interval.ms",
        Long,
        "600000",
        "How often expired offsets and empty groups without offsets are removed.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "offsets.commit.timeout.ms",
        Int,
        "5000",
        "How long a request to a group waits for the disk before it is refused; JoinGroup and SyncGroup wait as long as their rebalance takes.",
    )
    .min(1)
    .unit(Milliseconds),
    ConfigKey::broker(
        "offsets.topic.num.partitions",
        Int,
        "50",
        "Partitions of __consumer_offsets. It cannot be changed once the topic is there.",
    )
    .range(1, crate::limits::PARTITIONS_PER_TOPIC_MAX as i64),
    ConfigKey::broker(
        "offsets.topic.segment.bytes",
        Int,
        "104857600",
        "Size of the segments of __consumer_offsets.",
    )
    .min(1)
    .unit(Bytes),
    ConfigKey::broker(
        "offsets.topic.compression.codec",
        Int,
        "0",
        "Compression of the records in __consumer_offsets.",
    )
    .check(Check::OnlyDefault("they are not compressed")),
];

/// Settings of one group of the newer protocol, which AlterConfigs sets on it.
pub(super) const OF_ONE_GROUP: &[ConfigKey] = &[
    ConfigKey::group(
        "consumer.session.timeout.ms",
        Int,
        "45000",
        "Silence after which a member of this group counts as gone. The broker's \
         group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms bound it, and \
         it is longer than the heartbeat interval.",
    )
    .min(1)
    .unit(Milliseconds)
    .synonyms(&[same("group.consumer.session.timeout.ms")]),
    ConfigKey::group(
        "consumer.heartbeat.interval.ms",
        Int,
        "5000",
        "How often members of this group send heartbeats. The broker's \
         group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms bound it.",
    )
    .min(1)
    .unit(Milliseconds)
    .synonyms(&[same("group.consumer.heartbeat.interval.ms")]),
];

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}
