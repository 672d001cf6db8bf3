//! A configuration that is read again: what a running broker follows, and what waits for the next start.

use tidewheel_config::{
    BrokerConfig, BrokerConfigOverrides, ConfigFile, ConfigSource, Place, Scope, Sources,
    TopicConfigOverrides, acts_at_once, describe_broker, describe_topic, find,
};

fn loaded(text: &str, sets: &[&str]) -> BrokerConfig {
    let file = ConfigFile {
        name: "broker.toml".to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    BrokerConfig::load(&Sources {
        file: Some(file),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..Sources::default()
    })
    .expect("the settings are valid")
}

#[test]
fn what_cannot_be_followed_stays_and_is_named() {
    let start = loaded("log.retention.ms = 1000\nnum.partitions = 2\n", &[]);
    let fresh = loaded(
        "# moved down\nnum.partitions = 3\nlog.retention.ms = 2000\nlog.roll.hours = 5\n",
        &[],
    );
    let after = start.reloaded(&fresh).unwrap();
    assert_eq!(after.pending, ["num.partitions"]);
    let mut changed = after.changed.clone();
    changed.sort_unstable();
    // Kafka calls the second one read-only: clients may not alter it, but a file may.
    assert_eq!(changed, ["log.retention.ms", "log.roll.hours"]);
    assert_eq!(after.config.num_partitions, 2);
    assert_eq!(after.config.log.retention_ms, 2_000);
    assert_eq!(after.config.log.segment_ms, 5 * 3_600_000);
    let line = |config: &BrokerConfig, name: &str| match config.place(name) {
        Some(Place::File { line, .. }) => Some(line),
        _ => None,
    };
    assert_eq!(line(&after.config, "log.retention.ms"), Some(3));
    assert_eq!(line(&after.config, "num.partitions"), Some(2), "as it acts");

    // Put back, nothing waits any more; what is gone from the file goes back to its default.
    let again = after
        .config
        .reloaded(&loaded("num.partitions = 2", &[]))
        .unwrap();
    assert!(again.pending.is_empty());
    assert_eq!(again.config.num_partitions, 2);
    assert_eq!(
        again.config.log.retention_ms,
        BrokerConfig::default().log.retention_ms
    );
    assert_eq!(again.config.place("log.retention.ms"), None);
    let nothing = again
        .config
        .reloaded(&loaded("num.partitions = 2", &[]))
        .unwrap();
    assert!(nothing.changed.is_empty() && nothing.pending.is_empty());
}

#[test]
fn what_was_set_while_it_ran_and_what_is_stronger_than_the_file_stay_above_it() {
    let set = ["log.segment.bytes=2097152"];
    let start = loaded("", &set);
    let text = "log.segment.bytes = 4194304\nlog.retention.bytes = 5\n";
    let after = start.reloaded(&loaded(text, &set)).unwrap();
    assert_eq!(after.changed, ["log.retention.bytes"]);
    assert_eq!(after.config.log.segment_bytes, 2_097_152);
    let altered = [("log.retention.bytes".to_owned(), "9".to_owned())];
    let all = BrokerConfigOverrides::from(altered);
    let acting = after
        .config
        .with_dynamic(&BrokerConfigOverrides::new(), &all);
    let entries = describe_topic(&acting.unwrap(), &TopicConfigOverrides::new());
    let entry = entries
        .iter()
        .find(|entry| entry.name == "retention.bytes")
        .unwrap();
    let sources: Vec<_> = entry.synonyms.iter().map(|one| one.source).collect();
    assert_eq!(entry.value.as_deref(), Some("9"));
    assert_eq!(
        sources,
        [
            ConfigSource::DynamicDefaultBroker,
            ConfigSource::StaticBroker,
            ConfigSource::Default
        ]
    );
}

/// Every single setting: either it is followed or it waits, and never both.
#[test]
fn each_setting_is_followed_or_named() {
    let start = BrokerConfig::default();
    for entry in describe_broker(&start) {
        let row = find(Scope::Broker, entry.name).unwrap();
        let Some(other) = entry
            .value
            .as_deref()
            .and_then(|value| value.parse::<i64>().ok())
        else {
            continue;
        };
        let set = [format!("{}={}", row.name, other.saturating_sub(1).max(1))];
        let sources = Sources {
            sets: set.to_vec(),
            ..Sources::default()
        };
        let Ok(fresh) = BrokerConfig::load(&sources) else {
            continue;
        };
        if fresh
            .warnings
            .iter()
            .any(|warning| warning.to_string().contains("no effect"))
        {
            continue;
        }
        let value = |config: &BrokerConfig| {
            let mut all = describe_broker(config).into_iter();
            let found = all.find(|one| one.name == row.name);
            found.and_then(|one| one.value)
        };
        if value(&fresh) == value(&start) {
            continue;
        }
        let after = start.reloaded(&fresh).unwrap();
        let is_followed = after.changed.contains(&row.name);
        assert_eq!(is_followed, acts_at_once(row), "{}", row.name);
        assert_eq!(
            after.pending.contains(&row.name),
            !acts_at_once(row),
            "{}",
            row.name
        );
        let expected = if is_followed { &fresh } else { &start };
        assert_eq!(value(&after.config), value(expected), "{}", row.name);
    }
}
