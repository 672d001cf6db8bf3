//! Settings of topics as clients give them.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::key::Scope;
use crate::registry;
use crate::suggest;
use crate::value::{self, Notation, Value};

/// What a topic's creator set, by name. Each pair has passed [`validate_topic_config`].
pub type TopicConfigOverrides = BTreeMap<String, String>;

/// Checks one setting of a topic as CreateTopics and AlterConfigs give it.
///
/// # Errors
/// `Unknown` for a name that no topic setting has, `Invalid` for a value out of range,
/// `Unsupported` for a value that Tidewheel does not act on yet.
pub fn validate_topic_config(name: &str, value: &str) -> Result<(), ConfigError> {
    parse_topic_config(name, value).map(|_| ())
}

pub(crate) fn parse_topic_config(name: &str, value: &str) -> Result<Value, ConfigError> {
    match registry::find(Scope::Topic, name) {
        Some(row) => value::parse(row, value, Notation::Kafka),
        None => {
            let names = registry::keys(Scope::Topic).map(|row| row.name);
            let suggestion = suggest::nearest(name, names).map(str::to_owned);
            let key = name.chars().take(100).collect();
            Err(ConfigError::Unknown {
                scope: "topic",
                key,
                suggestion,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_settings_are_checked_as_kafka_does() {
        let check = |name: &str, value: &str| validate_topic_config(name, value).is_ok();
        assert!(check("retention.ms", "-1"));
        assert!(!check("retention.ms", "-2"));
        assert!(!check("retention.ms", "7d"));
        assert!(!check("segment.bytes", "1048575"));
        assert!(check("segment.bytes", "1048576"));
        assert!(check("cleanup.policy", "delete"));
        assert!(check("cleanup.policy", "compact"));
        assert!(check("cleanup.policy", "compact,delete"));
        assert!(check("cleanup.policy", "delete, compact"));
        for policy in ["", "none", "compact,compact", "compact,", "Compact"] {
            assert!(!check("cleanup.policy", policy), "{policy}");
        }
        for (ratio, good) in [("0", true), ("1.0", true), ("1.01", false), ("NaN", false)] {
            assert_eq!(check("min.cleanable.dirty.ratio", ratio), good, "{ratio}");
        }
        assert!(check("max.compaction.lag.ms", "1"));
        assert!(!check("max.compaction.lag.ms", "0"));
        assert!(check("compression.type", "producer"));
        assert!(!check("compression.type", "zstd"));
        assert!(check("tidewheel.ack.all", "memory"));
        assert!(!check("tidewheel.ack.all", "page cache"));
    }

    #[test]
    fn an_unknown_topic_setting_is_named_with_its_neighbour() {
        let error = validate_topic_config("retention.msec", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no topic setting retention.msec; did you mean retention.ms?"
        );
    }
}
