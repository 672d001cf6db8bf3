//! DescribeConfigs answers as Apache Kafka 4.3.1 gives them.

use tidewheel_config::{
    BrokerConfig, BrokerConfigOverrides, ConfigEntry, ConfigSource, GroupConfigOverrides,
    LogConfig, Sources, TopicConfigOverrides, describe_broker, describe_broker_defaults,
    describe_group, describe_topic, validate_group_config,
};

fn broker(sets: &[&str]) -> BrokerConfig {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    BrokerConfig::load(&Sources {
        sets,
        ..Sources::default()
    })
    .expect("the settings are valid")
}

fn topic(sets: &[&str], overrides: &[(&str, &str)], name: &str) -> ConfigEntry {
    let overrides: TopicConfigOverrides = overrides
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let mut entries = describe_topic(&broker(sets), &overrides);
    let index = entries
        .iter()
        .position(|entry| entry.name == name)
        .expect("it is described");
    entries.swap_remove(index)
}

fn synonyms(entry: &ConfigEntry) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let line = |s: &tidewheel_config::ConfigSynonym| {
        format!("{:?}:{}={}", s.source, s.name, text(&s.value))
    };
    entry.synonyms.iter().map(line).collect()
}

#[test]
fn a_default_topic_setting_names_the_broker_default_behind_it() {
    let entry = topic(&[], &[], "max.message.bytes");
    assert_eq!(entry.value.as_deref(), Some("1048588"));
    assert_eq!(
        (entry.source, entry.is_default),
        (ConfigSource::Default, true)
    );
    assert_eq!((entry.read_only, entry.sensitive), (false, false));
    assert_eq!(entry.config_type as i8, 3);
    assert_eq!(synonyms(&entry), ["Default:message.max.bytes=1048588"]);
}

#[test]
fn an_override_comes_first_and_hides_nothing() {
    let entry = topic(
        &["log.segment.bytes=2MiB"],
        &[("segment.bytes", " 1048576 ")],
        "segment.bytes",
    );
    assert_eq!(entry.value.as_deref(), Some("1048576"));
    assert_eq!((entry.source as i8, entry.is_default), (1, false));
    assert_eq!(
        synonyms(&entry),
        [
            "DynamicTopic:segment.bytes=1048576",
            "StaticBroker:log.segment.bytes=2097152",
            "Default:log.segment.bytes=1073741824",
        ]
    );
}

#[test]
fn a_setting_with_several_broker_names_is_listed_from_its_first_name_on() {
    let entry = topic(&[], &[], "retention.ms");
    assert_eq!(entry.value.as_deref(), Some("604800000"));
    assert_eq!(
        (entry.source, synonyms(&entry).len()),
        (ConfigSource::Default, 0)
    );
    let entry = topic(
        &["log.retention.ms=5", "log.retention.hours=1"],
        &[],
        "retention.ms",
    );
    assert_eq!(entry.value.as_deref(), Some("5"));
    assert_eq!(entry.source, ConfigSource::StaticBroker);
    assert_eq!(
        synonyms(&entry),
        [
            "StaticBroker:log.retention.ms=5",
            "StaticBroker:log.retention.hours=1",
            "Default:log.retention.hours=168",
        ]
    );
    let entry = topic(&["log.retention.hours=1"], &[], "retention.ms");
    assert_eq!(entry.value.as_deref(), Some("3600000"));
}

#[test]
fn topics_have_at_least_twenty_settings_with_documentation() {
    let entries = describe_topic(&BrokerConfig::default(), &TopicConfigOverrides::new());
    assert!(entries.len() >= 20, "{}", entries.len());
    assert!(entries.iter().all(|entry| !entry.documentation.is_empty()));
}

#[test]
fn the_broker_reports_dynamic_static_and_default_values() {
    let broker = broker(&["message.max.bytes=2000000", "node.id=7"]);
    let own = dynamic(&[("message.max.bytes", "3000000")]);
    let all = dynamic(&[("message.max.bytes", "4000000"), ("log.retention.ms", "9")]);
    let broker = broker.with_dynamic(&own, &all).unwrap();
    let entries = describe_broker(&broker);
    let find = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
    let entry = find("message.max.bytes");
    assert_eq!(entry.value.as_deref(), Some("3000000"));
    assert_eq!((entry.source as i8, entry.read_only), (2, false));
    assert_eq!(
        synonyms(entry),
        [
            "DynamicBroker:message.max.bytes=3000000",
            "DynamicDefaultBroker:message.max.bytes=4000000",
            "StaticBroker:message.max.bytes=2000000",
            "Default:message.max.bytes=1048588",
        ]
    );
    let node = find("node.id");
    assert_eq!(
        (node.value.as_deref(), node.source as i8, node.read_only),
        (Some("7"), 4, true)
    );
    assert_eq!(find("broker.id").value.as_deref(), Some("7"));
    let retention = find("log.retention.ms");
    assert_eq!(
        synonyms(retention),
        [
            "DynamicDefaultBroker:log.retention.ms=9",
            "Default:log.retention.hours=168"
        ]
    );
    let unset = find("log.roll.ms");
    assert_eq!((unset.value.as_deref(), unset.is_default), (None, true));
    assert_eq!(find("listeners").config_type as i8, 7);
    let defaults = describe_broker_defaults(&broker);
    let shown: Vec<_> = defaults.iter().flat_map(synonyms).collect();
    assert_eq!(
        shown,
        [
            "DynamicDefaultBroker:log.retention.ms=9",
            "DynamicDefaultBroker:message.max.bytes=4000000",
        ]
    );
}

#[test]
fn two_names_of_one_setting_both_tell_what_acts() {
    let (own, other) = (
        "tidewheel.log.dir.reserved.bytes",
        "tidewheel.storage.min.free.bytes",
    );
    for (given, value, source, acting, behind) in [
        (vec![], "268435456", 5, own, 1),
        (vec![format!("{other}=1GiB")], "1073741824", 4, other, 2),
        (vec![format!("{own}=7")], "7", 4, own, 2),
        (
            vec![format!("{other}=9"), format!("{own}=7")],
            "7",
            4,
            own,
            3,
        ),
    ] {
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let all = describe_broker(&broker(&given));
        for name in [own, other] {
            let entry = all.iter().find(|entry| entry.name == name).unwrap();
            assert_eq!(
                (
                    entry.value.as_deref(),
                    entry.source as i8,
                    entry.acting_name()
                ),
                (Some(value), source, acting),
                "{name} of {given:?}"
            );
            assert_eq!(synonyms(entry).len(), behind, "{name} of {given:?}");
        }
    }
}

fn dynamic(set: &[(&str, &str)]) -> BrokerConfigOverrides {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    set.iter().map(owned).collect()
}

#[test]
fn topics_without_their_own_follow_what_is_set_while_the_broker_runs() {
    let start = broker(&["log.retention.hours=1"]);
    let none = BrokerConfigOverrides::new();
    let retention = |broker: &BrokerConfig, overrides: &TopicConfigOverrides| {
        LogConfig::resolve(broker, overrides).unwrap().retention_ms
    };
    let all = dynamic(&[("log.retention.ms", "9")]);
    let own = dynamic(&[("log.retention.ms", "8")]);
    let with = |own, all| start.with_dynamic(own, all).unwrap();
    assert_eq!(retention(&with(&none, &all), &none), 9);
    let both = with(&own, &all);
    assert_eq!((retention(&both, &none), both.log.retention_ms), (8, 8));
    assert_eq!(retention(&both, &dynamic(&[("retention.ms", "7")])), 7);
    let back = both.with_dynamic(&none, &none).unwrap();
    assert_eq!(back, start, "nothing is left of it");

    for (name, value) in [
        ("node.id", "2"),
        ("log.dirs", "/x"),
        ("log.retention.hours", "2"),
        ("listeners", "PLAINTEXT://127.0.0.1:1"),
        ("producer.id.expiration.ms", "5"),
        ("no.such.setting", "1"),
        ("log.retention.ms", "0"),
        ("log.retention.ms", "7d"),
        ("log.cleanup.policy", "compacted"),
    ] {
        let set = dynamic(&[(name, value)]);
        assert!(start.with_dynamic(&set, &none).is_err(), "{name}");
        assert!(start.with_dynamic(&none, &set).is_err(), "{name}");
    }
}

fn group(overrides: &[(&str, &str)]) -> GroupConfigOverrides {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    overrides.iter().map(pair).collect()
}

#[test]
fn a_groups_setting_has_the_brokers_behind_it() {
    let broker = broker(&["group.consumer.heartbeat.interval.ms=6000"]);
    let set = group(&[("consumer.session.timeout.ms", "50000")]);
    let lines: Vec<String> = describe_group(&broker, &set)
        .iter()
        .map(|entry| {
            let value = entry.value.clone().unwrap_or_default();
            let source = entry.source as i8;
            format!("{}={value} {source} {:?}", entry.name, synonyms(entry))
        })
        .collect();
    assert_eq!(
        lines,
        [
            r#"consumer.session.timeout.ms=50000 8 ["DynamicGroup:consumer.session.timeout.ms=50000", "Default:group.consumer.session.timeout.ms=45000"]"#,
            r#"consumer.heartbeat.interval.ms=6000 4 ["StaticBroker:group.consumer.heartbeat.interval.ms=6000", "Default:group.consumer.heartbeat.interval.ms=5000"]"#,
        ]
    );
}

#[test]
fn what_is_set_on_a_group_has_the_brokers_bounds() {
    let default = broker(&[]);
    let refusal = |set: &[(&str, &str)]| {
        let checked = validate_group_config(&default, &group(set));
        checked.map_err(|error| error.to_string()).err()
    };
    assert_eq!(
        refusal(&[
            ("consumer.session.timeout.ms", "60000"),
            ("consumer.heartbeat.interval.ms", "15000"),
        ]),
        None
    );
    for (name, value, reason) in [
        ("consumer.session.timeout.ms", "44999", "45000 to 60000"),
        ("consumer.session.timeout.ms", "60001", "45000 to 60000"),
        ("consumer.heartbeat.interval.ms", "4999", "5000 to 15000"),
        ("consumer.heartbeat.interval.ms", "15001", "5000 to 15000"),
        ("consumer.session.timeout.ms", "x", "is not valid"),
        (
            "consumer.session.timeout",
            "50000",
            "did you mean consumer.session.timeout.ms?",
        ),
        ("share.session.timeout.ms", "50000", "no group setting"),
    ] {
        let refusal = refusal(&[(name, value)]).unwrap();
        assert!(refusal.contains(reason), "{name}={value}: {refusal}");
    }
    let narrow = broker(&[
        "group.consumer.min.session.timeout.ms=1000",
        "group.consumer.max.heartbeat.interval.ms=60000",
    ]);
    let crossed = group(&[
        ("consumer.session.timeout.ms", "7000"),
        ("consumer.heartbeat.interval.ms", "7000"),
    ]);
    let refusal = validate_group_config(&narrow, &crossed).unwrap_err();
    assert!(refusal.to_string().contains("greater than"), "{refusal}");
    // The bounds of a broker that was started anew hold for what was set before.
    let times = |broker: &BrokerConfig, overrides: &GroupConfigOverrides| {
        let times = broker.group.consumer_times(overrides);
        (times.session_timeout_ms, times.heartbeat_interval_ms)
    };
    assert_eq!(times(&default, &crossed), (45_000, 7_000));
    // They never make members seem gone between two heartbeats.
    let impatient = broker(&[
        "group.consumer.min.session.timeout.ms=8000",
        "group.consumer.session.timeout.ms=8000",
        "group.consumer.max.session.timeout.ms=12000",
    ]);
    let slow = group(&[
        ("consumer.session.timeout.ms", "50000"),
        ("consumer.heartbeat.interval.ms", "15000"),
    ]);
    assert_eq!(times(&impatient, &slow), (8_000, 5_000));
    let slow = group(&[("consumer.heartbeat.interval.ms", "10000")]);
    assert_eq!(times(&impatient, &slow), (8_000, 5_000));
}
