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
    parse_own(Scope::Topic, "topic", name, value)
}

/// The value of a setting of something that has settings of its own.
pub(crate) fn parse_own(
    scope: Scope,
    of: &'static str,
    name: &str,
    value: &str,
) -> Result<Value, ConfigError> {
    match registry::find(scope, name) {
        Some(row) => value::parse(row, value, Notation::Kafka),
        None => {
            let names = registry::keys(scope).map(|row| row.name);
            let suggestion = suggest::nearest(name, names).map(str::to_owned);
            let key = name.chars().take(100).collect();
            Err(ConfigError::Unknown {
                scope: of,
                key,
                suggestion,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;
    use crate::compression::CompressionType;
    use crate::dynamic::BrokerConfigOverrides;
    use crate::log::{LogConfig, TimestampType};

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
        for codec in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
            assert!(check("compression.type", codec), "{codec}");
        }
        assert!(!check("compression.type", "none"));
        for (name, level, good) in [
            ("compression.gzip.level", "-1", true),
            ("compression.gzip.level", "0", false),
            ("compression.gzip.level", "9", true),
            ("compression.gzip.level", "10", false),
            ("compression.lz4.level", "9", true),
            ("compression.lz4.level", "1", false),
            ("compression.zstd.level", "-131072", true),
            ("compression.zstd.level", "22", true),
            ("compression.zstd.level", "23", false),
        ] {
            assert_eq!(check(name, level), good, "{name}={level}");
        }
        assert!(check("tidewheel.ack.all", "memory"));
        assert!(!check("tidewheel.ack.all", "page cache"));
        for (mode, good) in [
            ("none", true),
            ("both", true),
            ("fixed", true),
            ("", false),
            ("later", false),
        ] {
            assert_eq!(check("delay.mode", mode), good, "{mode}");
        }
        assert!(!check("delay.max.ms", "0"));
        assert!(!check("delay.max.ms", "9223372036854775807"));
        assert!(!check("delay.deliver.timestamp", "now"));
    }

    #[test]
    fn a_topic_is_kept_in_its_own_codec_else_in_that_of_the_broker() {
        let broker = BrokerConfig::default();
        let own = BTreeMap::from([
            ("compression.type".to_owned(), "gzip".to_owned()),
            ("compression.zstd.level".to_owned(), "-7".to_owned()),
        ]);
        let all =
            BrokerConfigOverrides::from([("compression.gzip.level".to_owned(), "9".to_owned())]);
        let broker = broker.with_dynamic(&BrokerConfigOverrides::new(), &all);
        let broker = broker.unwrap();
        let kept = |broker: &BrokerConfig, own: &TopicConfigOverrides| {
            LogConfig::resolve(broker, own).unwrap().compression
        };
        let none = BTreeMap::new();
        assert_eq!(kept(&broker, &none), CompressionType::Producer);
        assert_eq!(kept(&broker, &own), CompressionType::Gzip { level: 9 });
        let all = BrokerConfigOverrides::from([
            ("compression.type".to_owned(), "zstd".to_owned()),
            ("compression.zstd.level".to_owned(), "5".to_owned()),
        ]);
        let broker = broker.with_dynamic(&all, &BrokerConfigOverrides::new());
        let broker = broker.unwrap();
        assert_eq!(kept(&broker, &none), CompressionType::Zstd { level: 5 });
        let own = BTreeMap::from([("compression.zstd.level".to_owned(), "-7".to_owned())]);
        assert_eq!(kept(&broker, &own), CompressionType::Zstd { level: -7 });
    }

    #[test]
    fn a_compacted_topic_has_no_delays() {
        let broker = BrokerConfig::default();
        let resolved = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let overrides = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            LogConfig::resolve_new(&broker, &overrides.collect())
        };
        assert!(resolved(&[("delay.mode", "both")]).unwrap().delay.delays());
        assert!(resolved(&[("cleanup.policy", "compact")]).is_ok());
        let mut fixed = vec![("delay.mode", "fixed"), ("cleanup.policy", "compact")];
        let text = resolved(&fixed).unwrap_err().to_string();
        assert!(text.contains("needs delay.fixed.ms"), "{text}");
        fixed.push(("delay.fixed.ms", "5"));
        let fixed = resolved(&fixed).unwrap();
        assert_eq!(
            (fixed.delay.delays(), fixed.delay.holds_back()),
            (false, Some(5))
        );
        assert_eq!(fixed.timestamp_type, TimestampType::LogAppendTime);
        let refused = resolved(&[("delay.mode", "both"), ("cleanup.policy", "compact,delete")]);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("the topic is compacted"), "{text}");
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
