//! The settings of one partition log: the broker's defaults with the topic's overrides on top.

use std::sync::Arc;

use crate::broker::BrokerConfig;
use crate::compression::CompressionType;
use crate::delay::{DelayConfig, DelayMode, DeliverTimestamp};
use crate::error::ConfigError;
use crate::key::Scope;
use crate::registry;
use crate::retry::{RetryBackoff, RetryConfig};
use crate::settings::{self, Settings};
use crate::topic::{TopicConfigOverrides, parse_topic_config};
use crate::value::Value;

/// What a record's timestamp means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock.
    CreateTime,
    /// The broker's clock at the append.
    LogAppendTime,
}

/// When a produce request with `acks=all` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckAll {
    /// After the bytes are on the disk (`fdatasync`).
    Disk,
    /// After the bytes are in the page cache, as Kafka does.
    Memory,
}

/// `cleanup.policy`: what happens to old data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments go by `retention.ms` and `retention.bytes`.
    pub delete: bool,
    /// Of every key only the newest record stays.
    pub compact: bool,
}

/// The effective settings of one partition log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `min.cleanable.dirty.ratio`: above this share of bytes not yet compacted a log is compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `delete.retention.ms`: how long tombstones are kept.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older records are compacted whatever the ratio.
    pub max_compaction_lag_ms: i64,
    /// `segment.bytes`: a segment that would grow beyond it is rolled first.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment whose first batch is older is rolled at the next append.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this much is taken off `segment.ms`, per segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment whose index would grow beyond it is rolled.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: one index entry after this many bytes of log.
    pub index_interval_bytes: u32,
    /// `retention.ms`, -1 for no limit.
    pub retention_ms: i64,
    /// `retention.bytes` per partition, -1 for no limit.
    pub retention_bytes: i64,
    /// `tidewheel.retention.low.disk.ms`: the least age of records that go early while the disk is low,
    /// -1 for none.
    pub low_disk_retention_ms: i64,
    /// `max.message.bytes`: the largest record batch, compressed, headers included.
    pub max_message_bytes: u32,
    /// `compression.type` and the levels.
    pub compression: CompressionType,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a record may lie in the future.
    pub timestamp_after_max_ms: i64,
    /// `flush.messages`: records after which the log is forced to disk; `i64::MAX` for never.
    pub flush_messages: i64,
    /// `flush.ms`: age after which unsynced data is forced to disk; `i64::MAX` for never.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`: how long the files of a deleted segment or partition are kept.
    pub file_delete_delay_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `tidewheel.ack.all` (topic) or `tidewheel.log.ack.all` (broker).
    pub ack_all: AckAll,
    /// `delay.*`: which records become visible later.
    pub delay: DelayConfig,
    /// `tidewheel.retry.*`, where this is a retry topic.
    pub retry: Option<Arc<RetryConfig>>,
}

impl LogConfig {
    /// Settings under which no record expires and none is too old or forced to the disk: for the
    /// broker's own logs, which ask for durability themselves. Sizes are Kafka's defaults.
    #[must_use]
    pub fn everlasting() -> LogConfig {
        LogConfig {
            cleanup_policy: CleanupPolicy {
                delete: true,
                compact: false,
            },
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            segment_bytes: 1 << 30,
            segment_ms: i64::MAX,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: -1,
            retention_bytes: -1,
            low_disk_retention_ms: -1,
            max_message_bytes: 1_048_588,
            compression: CompressionType::Producer,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 0,
            min_insync_replicas: 1,
            ack_all: AckAll::Disk,
            delay: DelayConfig::default(),
            retry: None,
        }
    }

    /// The settings of a topic that has `overrides` on a broker with `broker`.
    ///
    /// # Errors
    /// The first override that [`crate::validate_topic_config`] would refuse.
    pub fn resolve(
        broker: &BrokerConfig,
        overrides: &TopicConfigOverrides,
    ) -> Result<LogConfig, ConfigError> {
        for (name, value) in overrides {
            parse_topic_config(name, value)?;
        }
        Ok(LogConfig::from_values(&broker.settings, |name| {
            overrides
                .get(name)
                .and_then(|value| parse_topic_config(name, value).ok())
        }))
    }

    /// As [`LogConfig::resolve`], for settings that somebody asks for: what cannot stand together is refused
    /// as well.
    ///
    /// # Errors
    /// Those of [`LogConfig::resolve`], and `Unsupported` for delays on a compacted topic or a fixed delay of
    /// no length.
    pub fn resolve_new(
        broker: &BrokerConfig,
        overrides: &TopicConfigOverrides,
    ) -> Result<LogConfig, ConfigError> {
        let config = LogConfig::resolve(broker, overrides)?;
        let reason = if config.delay.delays() && config.cleanup_policy.compact {
            "the topic is compacted, and an old value that becomes visible late would take the place of a \
             newer one"
        } else if config.retry.is_some() && config.delay.mode != DelayMode::None {
            "the topic has tidewheel.retry.target, which delays its records"
        } else if config.delay.holds_back() == Some(0) {
            "it needs delay.fixed.ms, which is 0"
        } else {
            return Ok(config);
        };
        Err(ConfigError::Unsupported {
            key: "delay.mode".to_owned(),
            value: overrides.get("delay.mode").cloned().unwrap_or_default(),
            reason: reason.to_owned(),
        })
    }

    /// Whether what is produced to the topic goes to the delay queue, or may.
    #[must_use]
    pub fn queues(&self) -> bool {
        self.delay.delays() || self.retry.is_some()
    }

    /// What a topic without overrides gets.
    pub(crate) fn of_broker(settings: &Settings) -> LogConfig {
        LogConfig::from_values(settings, |_| None)
    }

    fn from_values(settings: &Settings, topic: impl Fn(&str) -> Option<Value>) -> LogConfig {
        let value = |name: &str| {
            let row = registry::find(Scope::Topic, name).expect("names are literals, tested");
            topic(name).or_else(|| settings.effective(row))
        };
        let number = |name| settings::number(value(name));
        let text = |name| {
            value(name)
                .map(|value| value.to_string())
                .unwrap_or_default()
        };
        let mode = match text("delay.mode").as_str() {
            "timestamp" => DelayMode::Timestamp,
            "header" => DelayMode::Header,
            "both" => DelayMode::Both,
            "fixed" => DelayMode::Fixed,
            _ => DelayMode::None,
        };
        let policy = text("cleanup.policy");
        let cleans_by = |policy_wanted: &str| policy.split(',').any(|name| name == policy_wanted);
        LogConfig {
            cleanup_policy: CleanupPolicy {
                delete: cleans_by("delete"),
                compact: cleans_by("compact"),
            },
            min_cleanable_dirty_ratio: settings::double(value("min.cleanable.dirty.ratio")),
            delete_retention_ms: number("delete.retention.ms"),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            segment_bytes: settings::within(number("segment.bytes")),
            segment_ms: number("segment.ms"),
            segment_jitter_ms: number("segment.jitter.ms"),
            segment_index_bytes: settings::within(number("segment.index.bytes")),
            index_interval_bytes: settings::within(number("index.interval.bytes")),
            retention_ms: number("retention.ms").max(-1),
            retention_bytes: number("retention.bytes").max(-1),
            low_disk_retention_ms: number("tidewheel.retention.low.disk.ms"),
            max_message_bytes: settings::within(number("max.message.bytes")),
            compression: CompressionType::of(&text("compression.type"), |name| {
                settings::within(number(name))
            }),
            timestamp_type: match (text("message.timestamp.type").as_str(), mode) {
                // It counts from when the broker received a record.
                (_, DelayMode::Fixed) | ("LogAppendTime", _) => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            flush_messages: number("flush.messages"),
            flush_ms: number("flush.ms"),
            file_delete_delay_ms: number("file.delete.delay.ms"),
            min_insync_replicas: settings::within(number("min.insync.replicas")),
            ack_all: match text("tidewheel.ack.all").as_str() {
                "memory" => AckAll::Memory,
                _ => AckAll::Disk,
            },
            delay: delay(mode, &value),
            retry: retry(&text, number("tidewheel.retry.max")),
        }
    }
}

/// The settings that decide about delays.
fn delay(mode: DelayMode, value: &impl Fn(&'static str) -> Option<Value>) -> DelayConfig {
    let number = |name| settings::number(value(name));
    let stamp = value("delay.deliver.timestamp").map(|value| value.to_string());
    DelayConfig {
        mode,
        fixed_ms: number("delay.fixed.ms"),
        max_ms: number("delay.max.ms"),
        coalesce_ms: number("delay.coalesce.ms"),
        threshold_ms: number("delay.threshold.ms"),
        trust_header: value("delay.trust.header") == Some(Value::Bool(true)),
        deliver_timestamp: match stamp.as_deref() {
            Some("due") => DeliverTimestamp::Due,
            Some("append") => DeliverTimestamp::Append,
            _ => DeliverTimestamp::Create,
        },
        buries_expired: value("delay.expired")
            .is_some_and(|value| value.to_string() == "dead-letter"),
        pending_records_max: number("delay.max.pending.records"),
        pending_bytes_max: number("delay.max.pending.bytes"),
    }
}

/// The settings of a retry topic, if it is one.
fn retry(text: &impl Fn(&'static str) -> String, attempts_max: i64) -> Option<Arc<RetryConfig>> {
    let target = text("tidewheel.retry.target");
    let backoff = RetryBackoff::parse(&text("tidewheel.retry.backoff.ms"))?;
    (!target.is_empty()).then(|| {
        Arc::new(RetryConfig {
            target,
            backoff,
            attempts_max: settings::within(attempts_max),
        })
    })
}
