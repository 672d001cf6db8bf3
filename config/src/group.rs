//! The settings of consumer groups, of all of them and of single ones.

use std::collections::BTreeMap;

use crate::broker::{BrokerConfig, contradiction};
use crate::error::ConfigError;
use crate::key::Scope;
use crate::settings::{self, Settings, within};
use crate::topic::parse_own;
use crate::value::Value;

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
    /// `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`.
    pub consumer_session_timeout_bounds_ms: (i32, i32),
    /// `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_bounds_ms: (i32, i32),
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
    /// `tidewheel.group.state.max.bytes`; `None` for what the machine's memory allows.
    pub state_bytes_max: Option<usize>,
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
            consumer_session_timeout_bounds_ms: (
                settings.within("group.consumer.min.session.timeout.ms"),
                settings.within("group.consumer.max.session.timeout.ms"),
            ),
            consumer_heartbeat_interval_bounds_ms: (
                settings.within("group.consumer.min.heartbeat.interval.ms"),
                settings.within("group.consumer.max.heartbeat.interval.ms"),
            ),
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
            state_bytes_max: usize::try_from(settings.number("tidewheel.group.state.max.bytes"))
                .ok(),
        }
    }
}

/// Refuses times of groups that contradict each other, as Kafka does: members that live by them would be taken for
/// gone, or no setting of a single group would be taken.
pub(crate) fn check_times(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let mut at_most = |less: &str, more: &str| {
        let least = settings.number(less);
        if settings.number(more) < least {
            let reason = format!("{less} asks for {least} at least");
            errors.push(contradiction(settings, more, reason));
        }
    };
    at_most(
        "group.min.session.timeout.ms",
        "group.max.session.timeout.ms",
    );
    for time in ["session.timeout", "heartbeat.interval"] {
        let (min, max) = (
            format!("group.consumer.min.{time}.ms"),
            format!("group.consumer.max.{time}.ms"),
        );
        let value = format!("group.consumer.{time}.ms");
        at_most(&min, &max);
        at_most(&min, &value);
        at_most(&value, &max);
    }
    let (session, heartbeat) = (
        "group.consumer.session.timeout.ms",
        "group.consumer.heartbeat.interval.ms",
    );
    if settings.number(session) <= settings.number(heartbeat) {
        let reason = format!("it must be greater than {heartbeat}");
        errors.push(contradiction(settings, session, reason));
    }
}

/// How members of one group of the newer protocol are told to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTimes {
    /// Silence after which a member counts as gone, ms.
    pub session_timeout_ms: i32,
    /// How often members send heartbeats, ms.
    pub heartbeat_interval_ms: i32,
}

impl ConsumerTimes {
    /// Whether whoever lives by them is heard of before it counts as gone.
    fn fit(&self) -> bool {
        self.heartbeat_interval_ms < self.session_timeout_ms
    }
}

/// What is set on one consumer group, by name. Together the pairs have passed [`validate_group_config`].
pub type GroupConfigOverrides = BTreeMap<String, String>;

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// Checks what is set on one consumer group as AlterConfigs gives it, all together.
///
/// # Errors
/// `Unknown` for a name that no setting of a group has, `Invalid` for a value that is out of the bounds that
/// the broker's settings give it, and for a session that is not longer than the heartbeat interval.
pub fn validate_group_config(
    broker: &BrokerConfig,
    overrides: &GroupConfigOverrides,
) -> Result<(), ConfigError> {
    let invalid = |key: &str, value: String, expected: String| ConfigError::Invalid {
        key: key.to_owned(),
        value,
        expected,
    };
    for (name, text) in overrides {
        let value = settings::number(Some(parse_group_config(name, text)?));
        let (least, most) = broker.group.bounds(name);
        if !(i64::from(least)..=i64::from(most)).contains(&value) {
            let expected = format!("group.consumer.min and .max want {least} to {most}");
            return Err(invalid(name, text.clone(), expected));
        }
    }
    let times = broker.group.bounded_times(overrides);
    if !times.fit() {
        let expected = format!("it must be greater than {HEARTBEAT}");
        let value = times.session_timeout_ms.to_string();
        return Err(invalid(SESSION, value, expected));
    }
    Ok(())
}

/// The value of one setting of a group: each is a number.
fn parse_group_config(name: &str, value: &str) -> Result<Value, ConfigError> {
    parse_own(Scope::Group, "group", name, value)
}

impl GroupConfig {
    /// The bounds of a setting of groups.
    fn bounds(&self, name: &str) -> (i32, i32) {
        match name {
            SESSION => self.consumer_session_timeout_bounds_ms,
            _ => self.consumer_heartbeat_interval_bounds_ms,
        }
    }

    /// How members of a group live on which this is set. Bounds that have changed since then hold all the same; where
    /// that leaves no time for a heartbeat, the group lives as if nothing were set on it.
    #[must_use]
    pub fn consumer_times(&self, overrides: &GroupConfigOverrides) -> ConsumerTimes {
        let times = self.bounded_times(overrides);
        match times.fit() {
            true => times,
            false => self.default_consumer_times(),
        }
    }

    fn bounded_times(&self, overrides: &GroupConfigOverrides) -> ConsumerTimes {
        let set = |name: &str| {
            let value = parse_group_config(name, overrides.get(name)?).ok()?;
            let (least, most) = self.bounds(name);
            let value: i32 = within(settings::number(Some(value)));
            Some(value.min(most).max(least))
        };
        let default = self.default_consumer_times();
        ConsumerTimes {
            session_timeout_ms: set(SESSION).unwrap_or(default.session_timeout_ms),
            heartbeat_interval_ms: set(HEARTBEAT).unwrap_or(default.heartbeat_interval_ms),
        }
    }

    /// The same of a group on which nothing is set.
    #[must_use]
    pub fn default_consumer_times(&self) -> ConsumerTimes {
        ConsumerTimes {
            session_timeout_ms: self.consumer_session_timeout_ms,
            heartbeat_interval_ms: self.consumer_heartbeat_interval_ms,
        }
    }
}

impl Default for GroupConfig {
    /// The settings of a broker that was told nothing.
    fn default() -> GroupConfig {
        GroupConfig::from_settings(&Settings::default())
    }
}
