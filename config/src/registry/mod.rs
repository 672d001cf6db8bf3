//! The one table of settings. Parsing, validation, DescribeConfigs, `docs/configuration.md` and
//! the example file come from its rows; a new setting is a new row and a reader where it acts.

mod admin;
mod broker_logs;
mod broker_topics;
mod checks;
mod delay;
mod groups;
mod kafka_only;
mod server;
mod topic;

pub(crate) use checks::protocol_map;
pub(crate) use kafka_only::{Foreign, OF_ONE_LISTENER, all_foreign, foreign, shown};

use crate::key::{ConfigKey, Scope};

/// Rows that are documented together.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Headline in the documentation.
    pub title: &'static str,
    /// The rows.
    pub keys: &'static [ConfigKey],
}

/// Every setting that Tidewheel knows.
pub static REGISTRY: &[Section] = &[
    Section {
        title: "Broker and listeners",
        keys: server::KEYS,
    },
    Section {
        title: "HTTP API",
        keys: admin::KEYS,
    },
    Section {
        title: "Topic creation",
        keys: broker_topics::KEYS,
    },
    Section {
        title: "Logs: files, flushing and defaults of topics",
        keys: broker_logs::KEYS,
    },
    Section {
        title: "Consumer groups",
        keys: groups::KEYS,
    },
    Section {
        title: "Topics",
        keys: topic::KEYS,
    },
    Section {
        title: "Single consumer groups",
        keys: groups::OF_ONE_GROUP,
    },
    Section {
        title: "Topics: delayed delivery",
        keys: delay::KEYS,
    },
];

/// All rows of one scope, in the order of the documentation.
pub fn keys(scope: Scope) -> impl Iterator<Item = &'static ConfigKey> {
    REGISTRY
        .iter()
        .flat_map(|section| section.keys)
        .filter(move |key| key.scope == scope)
}

/// The row with this name.
#[must_use]
pub fn find(scope: Scope, name: &str) -> Option<&'static ConfigKey> {
    keys(scope).find(|key| key.name == name)
}

/// Whether a broker setting is called `name`, here or in Apache Kafka.
pub(crate) fn is_known(name: &str, value: &str) -> bool {
    find(Scope::Broker, name).is_some() || foreign(name, value).is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::key::{ConfigType, UpdateMode};
    use crate::value;

    #[test]
    fn names_and_environment_names_are_unique_and_documented() {
        for scope in [Scope::Broker, Scope::Topic, Scope::Group] {
            let mut names = BTreeSet::new();
            for key in keys(scope) {
                assert!(
                    names.insert(key.environment_name()),
                    "{} stands twice",
                    key.name
                );
                assert!(
                    key.doc.ends_with('.'),
                    "{} has no documentation sentence",
                    key.name
                );
            }
        }
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for scope in [Scope::Broker, Scope::Topic, Scope::Group] {
            for key in keys(scope) {
                assert_eq!(
                    value::default_of(key).is_some(),
                    key.default.is_some(),
                    "{}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn synonyms_name_broker_keys_that_give_the_same_default() {
        let all = keys(Scope::Topic).chain(keys(Scope::Broker));
        for key in all.chain(keys(Scope::Group)) {
            let synonyms = key.synonyms.iter().map(|synonym| {
                let row = find(Scope::Broker, synonym.name);
                (
                    row.unwrap_or_else(|| panic!("{} names {}", key.name, synonym.name)),
                    synonym,
                )
            });
            let set = synonyms.filter_map(|(row, synonym)| Some((row.default?, synonym.factor)));
            let Some((default, factor)) = set.into_iter().next() else {
                continue;
            };
            if key.scope != Scope::Broker && factor == 1 {
                assert_eq!(Some(default), key.default, "{}", key.name);
            } else if key.scope == Scope::Topic {
                let number: i64 = default.parse().unwrap();
                assert_eq!(Some((number * factor).to_string().as_str()), key.default);
            }
        }
    }

    /// Name, type, default and update mode of every key as Apache Kafka 4.3.1 describes it on a
    /// broker that was given nothing but its identity and listeners.
    const KAFKA: &str = include_str!("../../tests/data/kafka-4.3.1-configs.tsv");

    /// Broker defaults that are ours on purpose: docs/configuration.md says why.
    const OWN_DEFAULTS: &[&str] = &[
        "advertised.listeners",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "max.connections",
        "node.id",
        "queued.max.request.bytes",
        "socket.listen.backlog.size",
    ];

    #[test]
    fn rows_agree_with_what_kafka_describes() {
        let mut topic_keys = 0;
        for line in KAFKA.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [scope, name, kafka_type, default, read_only] = columns[..] else {
                panic!("{line}");
            };
            let scope = if scope == "TOPIC" {
                Scope::Topic
            } else {
                Scope::Broker
            };
            let Some(key) = find(scope, name) else {
                assert!(scope == Scope::Broker, "topic key {name} is missing");
                continue;
            };
            topic_keys += usize::from(scope == Scope::Topic);
            assert_eq!(type_name(key.config_type), kafka_type, "type of {name}");
            assert_eq!(
                key.update == UpdateMode::ReadOnly,
                read_only == "true",
                "mode of {name}"
            );
            if scope == Scope::Topic || !OWN_DEFAULTS.contains(&name) {
                let ours = value::default_of(key).map(|value| value.to_string());
                assert_eq!(
                    ours.as_deref().unwrap_or("null"),
                    default,
                    "default of {name}"
                );
            }
        }
        assert_eq!(
            topic_keys,
            keys(Scope::Topic).count() - 2 - delay::KEYS.len(),
            "own topic keys: tidewheel.ack.all, tidewheel.retention.low.disk.ms and delay.*"
        );
    }

    fn type_name(config_type: ConfigType) -> String {
        format!("{config_type:?}").to_ascii_uppercase()
    }
}
