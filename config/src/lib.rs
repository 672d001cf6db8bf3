//! Loads, validates and documents every setting of Tidewheel.
//!
//! One table, [`REGISTRY`], knows each setting: name, type, default, bounds, documentation. From it
//! come [`BrokerConfig::load`] (all problems at once), [`validate_topic_config`],
//! [`validate_group_config`], [`describe_topic`], [`describe_group`] and [`describe_broker`] (DescribeConfigs), `docs/configuration.md` and the
//! example file. The crate does no I/O: the caller reads files and the environment.

mod admin;
mod broker;
mod compression;
mod convert;
mod delay;
mod describe;
pub mod docs;
mod dynamic;
mod environment;
mod error;
mod group;
mod key;
mod kraft;
pub mod limits;
mod listener;
mod load;
mod log;
mod properties_file;
mod registry;
mod reload;
mod retry;
mod settings;
mod suggest;
mod toml_file;
mod topic;
mod value;

pub use admin::{AdminAuth, AdminConfig};
pub use broker::{BrokerConfig, CleanerConfig, LogFormat, MetricsPerPartition};
pub use compression::CompressionType;
pub use convert::{assignment, to_toml};
pub use delay::{DelayConfig, DelayMode, DeliverTimestamp};
pub use describe::{
    ConfigEntry, ConfigSource, ConfigSynonym, describe_broker, describe_broker_defaults,
    describe_group, describe_topic,
};
pub use dynamic::{BrokerConfigOverrides, acts_at_once, validate_broker_config};
pub use error::{ConfigError, ConfigErrors, Place, Problem, Warning};
pub use group::{ConsumerTimes, GroupConfig, GroupConfigOverrides, validate_group_config};
pub use key::{Check, ConfigKey, ConfigType, Scope, Synonym, Unit, UpdateMode};
pub use listener::{HostPort, Listener};
pub use load::{ConfigFile, Sources};
pub use log::{AckAll, CleanupPolicy, LogConfig, TimestampType};
pub use registry::{REGISTRY, Section, find, keys};
pub use reload::Reloaded;
pub use retry::{RetryBackoff, RetryConfig, dead_letter_topic};
pub use topic::{TopicConfigOverrides, validate_topic_config};
pub use value::{canonical, time_unit_ms};
