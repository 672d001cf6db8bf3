//! The settings of consumer groups.

use crate::settings::Settings;

/// What governs consumer groups and the topic that remembers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.max.size`.
    pub max_size: usize,
    /// `group.consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub consumer_max_size: usize,
    /// Whether `group.consumer.migration.policy` lets classic groups become groups of the newer protocol.
    pub consumer_upgrade: bool,
    /// Whether `group.consumer.migration.policy` lets groups of the newer protocol become classic ones.
    pub consumer_downgrade: bool,
    /// `offset.metadata.max.bytes`, in UTF-16 units.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.commit.timeout.ms`.
    pub offsets_commit_timeout_ms: i64,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: u32,
}

impl GroupConfig {
    pub(crate) fn from_settings(settings: &Settings) -> GroupConfig {
        let policy = settings.text("group.consumer.migration.policy");
        let is_policy = |name: &str| policy.as_deref() == Some(name);
        GroupConfig {
            min_session_timeout_ms: settings.within("group.min.session.timeout.ms"),
            max_session_timeout_ms: settings.within("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: settings.number("group.initial.rebalance.delay.ms"),
            max_size: settings.within("group.max.size"),
            consumer_session_timeout_ms: settings.within("group.consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: settings.within("group.consumer.heartbeat.interval.ms"),
            consumer_max_size: settings.within("group.consumer.max.size"),
            consumer_upgrade: is_policy("bidirectional") || is_policy("upgrade"),
            consumer_downgrade: is_policy("bidirectional") || is_policy("downgrade"),
            offset_metadata_max_bytes: settings.within("offset.metadata.max.bytes"),
            offsets_retention_ms: settings.number("offsets.retention.minutes") * 60_000,
            offsets_retention_check_interval_ms: settings
                .number("offsets.retention.check.interval.ms"),
            offsets_commit_timeout_ms: settings.number("offsets.commit.timeout.ms"),
            offsets_topic_num_partitions: settings.within("offsets.topic.num.partitions"),
            offsets_topic_segment_bytes: settings.within("offsets.topic.segment.bytes"),
        }
    }
}

impl Default for GroupConfig {
    /// The settings of a broker that was told nothing.
    fn default() -> GroupConfig {
        GroupConfig::from_settings(&Settings::default())
    }
}
