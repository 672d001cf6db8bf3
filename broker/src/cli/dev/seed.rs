//! Topics that a file describes: YAML, of which JSON is a part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use tidewheel_config::{Scope, canonical, limits};

use super::{DevTopic, is_partition_count};
use crate::cli::settings;
use crate::topics::topic_name_problem;

/// What a file has in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    topics: Vec<SeedTopic>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedTopic {
    name: String,
    /// `num.partitions` where it is left out.
    partitions: Option<i32>,
    /// Settings of the topic, as people write them.
    #[serde(default)]
    config: BTreeMap<String, Scalar>,
}

/// A value that people write with quotes or without.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Flag(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Fraction(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The topics of a file, in its order.
///
/// # Errors
/// A sentence that names the file, where it cannot be read or describes no topics.
pub(super) fn read(path: &Path) -> Result<Vec<DevTopic>, String> {
    let file = settings::read(path)?;
    let wrong = |what: String| format!("{}: {what}", file.name);
    let most = limits::CONFIG_FILE_BYTES_MAX;
    if file.bytes.len() > most {
        return Err(wrong(format!("the file is longer than {most} bytes")));
    }
    parse(&file.bytes).map_err(wrong)
}

fn parse(bytes: &[u8]) -> Result<Vec<DevTopic>, String> {
    let seed: Seed = serde_yaml_ng::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for topic in &seed.topics {
        if !names.insert(topic.name.as_str()) {
            return Err(format!("topic {:?} is there twice", topic.name));
        }
    }
    seed.topics.iter().map(checked).collect()
}

fn checked(topic: &SeedTopic) -> Result<DevTopic, String> {
    let name = &topic.name;
    if let Some(problem) = topic_name_problem(name) {
        return Err(format!("topic {name:?}: {problem}"));
    }
    if let Some(count) = topic.partitions.filter(|count| !is_partition_count(*count)) {
        let most = limits::PARTITIONS_PER_TOPIC_MAX;
        return Err(format!(
            "topic {name:?}: {count} partitions are none from 1 to {most}"
        ));
    }
    let configs = topic.config.iter().map(|(key, value)| {
        let value = canonical(Scope::Topic, key, &value.to_string());
        (key.clone(), Some(value))
    });
    Ok(DevTopic {
        name: name.clone(),
        partitions: topic.partitions.unwrap_or(-1),
        configs: configs.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_described_with_partitions_and_settings() {
        let text = "topics:\n\
                    - name: orders\n  partitions: 3\n  config:\n    retention.ms: 7d\n    \
                    cleanup.policy: compact\n    max.message.bytes: 2000\n    preallocate: false\n\
                    - name: payments\n";
        let topics = parse(text.as_bytes()).unwrap();
        let [orders, payments] = &topics[..] else {
            panic!("{topics:?}")
        };
        assert_eq!((orders.name.as_str(), orders.partitions), ("orders", 3));
        let configs = orders.configs.iter();
        let configs = configs.map(|(key, value)| (key.as_str(), value.as_deref().unwrap()));
        assert_eq!(
            configs.collect::<Vec<_>>(),
            [
                ("cleanup.policy", "compact"),
                ("max.message.bytes", "2000"),
                ("preallocate", "false"),
                ("retention.ms", "604800000"),
            ]
        );
        assert_eq!(payments, &"payments".parse().unwrap());
        let json = br#"{"topics":[{"name":"payments"}]}"#;
        assert_eq!(parse(json).unwrap(), std::slice::from_ref(payments));
        assert_eq!(parse(b"topics: []").unwrap(), []);
    }

    #[test]
    fn what_describes_no_topics_is_refused_with_a_reason() {
        for (text, word) in [
            ("", ""),
            ("orders: 3", "orders"),
            ("topics: orders", "topics"),
            ("topics: [{partitions: 3}]", "name"),
            ("topics: [{name: a b}]", "a b"),
            ("topics: [{name: a, partitions: 0}]", "0 partitions"),
            ("topics: [{name: a, partitions: many}]", "many"),
            ("topics: [{name: a, replicas: 3}]", "replicas"),
            ("topics: [{name: a, config: {retention.ms: [1]}}]", "config"),
            ("topics: [{name: a}, {name: a}]", "twice"),
            ("topics: [", ""),
            ("\u{0}", ""),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
