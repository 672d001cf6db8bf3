//! Loading: precedence, places, suggestions, and every problem at once.

use tidewheel_config::{
    AckAll, AdminAuth, BrokerConfig, ConfigFile, HostPort, LogConfig, Sources, TopicConfigOverrides,
};

fn file(text: &str) -> Sources {
    Sources {
        file: Some(ConfigFile {
            name: "tidewheel.toml".to_owned(),
            bytes: text.into(),
        }),
        ..Sources::default()
    }
}

fn warnings(sources: &Sources) -> Vec<String> {
    let warnings = load(sources).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

fn sets(sets: &[&str]) -> Sources {
    Sources {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..Sources::default()
    }
}

fn load(sources: &Sources) -> BrokerConfig {
    BrokerConfig::load(sources).expect("the settings are valid")
}

fn errors(sources: &Sources) -> Vec<String> {
    let errors = BrokerConfig::load(sources).expect_err("it should not load");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// What a command takes as its default gives way to whatever anybody says, also under the setting's other names.
#[test]
fn the_defaults_of_a_command_are_weaker_than_every_source() {
    let mut sources = Sources {
        defaults: vec![
            "num.partitions=2".to_owned(),
            "log.retention.ms=1000".to_owned(),
        ],
        ..Sources::default()
    };
    let found = |sources: &Sources| {
        let config = load(sources);
        (config.num_partitions, config.log.retention_ms)
    };
    assert_eq!(found(&sources), (2, 1_000));
    sources.file = file("num.partitions = 3").file;
    assert_eq!(found(&sources), (3, 1_000));
    sources.environment = vec![("TIDEWHEEL_LOG_RETENTION_HOURS".to_owned(), "1".to_owned())];
    assert_eq!(found(&sources), (3, 3_600_000));
    sources.sets = vec!["num.partitions=4".to_owned()];
    assert_eq!(found(&sources), (4, 3_600_000));
    sources.defaults = vec!["num.partition=2".to_owned()];
    assert!(errors(&sources)[0].contains("the command's own default"));
}

#[test]
fn gotcha_09_a_broker_that_is_told_nothing_serves_this_machine_durably() {
    let config = BrokerConfig::default();
    let listeners: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(
        listeners,
        ["PLAINTEXT://127.0.0.1:9092", "PLAINTEXT://[::1]:9092"]
    );
    assert!(config.listeners_are_default);
    let advertised: Vec<String> = config
        .advertised_listeners
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(advertised, ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!(
        (
            config.node_id,
            config.num_partitions,
            config.rack.as_deref()
        ),
        (1, 1, None)
    );
    assert_eq!(
        config.log_dirs,
        [std::path::PathBuf::from("tidewheel-data")]
    );
    assert_eq!(config.log.ack_all, AckAll::Disk);
    assert_eq!(config.log.retention_ms, 604_800_000);
    assert_eq!(config.log.flush_ms, i64::MAX);
    assert_eq!(
        (config.admin.listen, config.max_connections),
        (HostPort::parse("127.0.0.1:9644").ok(), 10_000)
    );
    assert_eq!(config.queued_max_request_bytes, 128 << 20);
    assert_eq!(config.flush_unsynced_max_bytes, 64 << 20);
    assert_eq!(config.warnings, []);
}

#[test]
fn a_later_source_beats_an_earlier_one() {
    let mut sources = file("num.partitions = 2\nnode.id = 2\nbroker.rack = \"a\"");
    sources.environment = vec![
        ("TIDEWHEEL_NUM_PARTITIONS".to_owned(), "3".to_owned()),
        ("TIDEWHEEL_NODE_ID".to_owned(), "3".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    sources.sets = vec!["node.id=4".to_owned(), "node.id=5".to_owned()];
    let config = load(&sources);
    assert_eq!((config.node_id, config.num_partitions), (5, 3));
    assert_eq!(config.rack.as_deref(), Some("a"));
}

#[test]
fn tables_dotted_and_quoted_keys_and_units_are_read() {
    let config = load(&file(
        "log.segment.bytes = \"64MiB\"\n\
         \"max.connections\" = 5\n\
         \"max.connections.per.ip\" = 2\n\
         log.dirs = [\"a\", \"b\"]\n\
         [log.retention]\n\
         ms = \"7d\"\n\
         [tidewheel]\n\
         log.ack.all = \"memory\"\n\
         admin.listen = \"127.0.0.1:9644\"\n",
    ));
    assert_eq!(config.log.segment_bytes, 64 << 20);
    assert_eq!(
        (config.max_connections, config.max_connections_per_ip),
        (5, 2)
    );
    assert_eq!(config.log_dirs.len(), 2);
    assert_eq!(config.log.retention_ms, 604_800_000);
    assert_eq!(config.log.ack_all, AckAll::Memory);
    let admin = HostPort {
        host: "127.0.0.1".to_owned(),
        port: 9644,
    };
    assert_eq!(config.admin.listen, Some(admin));
}

#[test]
fn own_keys_do_not_double_their_prefix_in_the_environment() {
    let mut sources = Sources::default();
    sources
        .environment
        .push(("TIDEWHEEL_ADMIN_LISTEN".to_owned(), "[::1]:9644".to_owned()));
    assert_eq!(
        load(&sources)
            .admin
            .listen
            .map(|a| a.to_string())
            .as_deref(),
        Some("[::1]:9644")
    );
}

#[test]
fn the_http_api_is_open_to_this_machine_only_unless_somebody_says_who_may_use_it() {
    let load = |sets: &[&str]| {
        BrokerConfig::load(&Sources {
            sets: sets.iter().map(|&set| set.to_owned()).collect(),
            ..Sources::default()
        })
    };
    for (host, is_local) in [
        ("127.0.0.1", true),
        ("127.8.8.8", true),
        ("[::1]", true),
        ("localhost", true),
        ("", false),
        ("0.0.0.0", false),
        ("[::]", false),
        ("192.0.2.1", false),
        ("localhost.example", false),
    ] {
        let listen = format!("tidewheel.admin.listen={host}:9644");
        assert_eq!(load(&[&listen]).is_ok(), is_local, "{host}");
        assert!(load(&[&listen, "tidewheel.admin.auth=none"]).is_ok());
        let tokens = load(&[&listen, "tidewheel.admin.tokens.file=/tokens"]).unwrap();
        assert_eq!(tokens.admin.auth, AdminAuth::Token, "{host}");
    }
    assert!(load(&["tidewheel.admin.auth=token"]).is_err(), "no file");
    let off = load(&["tidewheel.admin.listen=off"]).unwrap();
    assert_eq!(off.admin.listen, None);
}

#[test]
fn finer_units_beat_coarser_ones_and_later_sources_beat_both() {
    let retention = |sources: &Sources| load(sources).log.retention_ms;
    assert_eq!(retention(&sets(&["log.retention.hours=1"])), 3_600_000);
    assert_eq!(
        retention(&sets(&["log.retention.hours=1", "log.retention.minutes=2"])),
        120_000
    );
    assert_eq!(
        retention(&sets(&["log.retention.ms=5", "log.retention.minutes=2"])),
        5
    );
    assert_eq!(retention(&sets(&["log.retention.hours=-1"])), -1);
    let mut both = file("log.retention.ms = 5");
    both.sets.push("log.retention.hours=1".to_owned());
    assert_eq!(retention(&both), 3_600_000);
    let config = load(&sets(&[
        "log.roll.hours=2",
        "log.flush.scheduler.interval.ms=9",
    ]));
    assert_eq!((config.log.segment_ms, config.log.flush_ms), (7_200_000, 9));
    let dirs = load(&sets(&["log.dir=one"])).log_dirs;
    assert_eq!(dirs, [std::path::PathBuf::from("one")]);
    assert_eq!(load(&sets(&["broker.id=7"])).node_id, 7);
    assert_eq!(load(&sets(&["broker.id=-1"])).node_id, 1);
    let reserved = |given: &[&str]| load(&sets(given)).log_dir_reserved_bytes;
    let (own, other) = (
        "tidewheel.log.dir.reserved.bytes",
        "tidewheel.storage.min.free.bytes",
    );
    assert_eq!(reserved(&[]), 256 << 20);
    assert_eq!(reserved(&[&format!("{other}=1GiB")]), 1 << 30);
    assert_eq!(
        reserved(&[&format!("{other}=1GiB"), &format!("{own}=7")]),
        7
    );
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let mut sources =
        file("num.partitons = 3\nlog.segment.bytes = 12\nssl.keystore.type = \"x\"\n");
    sources
        .environment
        .push(("TIDEWHEEL_NODE_ID".to_owned(), "-5".to_owned()));
    sources.sets = vec![
        "cleanup".to_owned(),
        "log.cleanup.policy=compacted".to_owned(),
    ];
    let errors = errors(&sources);
    assert_eq!(
        errors,
        [
            "tidewheel.toml:1:5: there is no broker setting num.partitons; did you mean \
             num.partitions?",
            "tidewheel.toml:2:13: log.segment.bytes = \"12\" is not valid: it must be a number of \
             bytes from 1048576 to 2147483647",
            "tidewheel.toml:3:14: ssl.keystore.type = \"x\" is not supported: encryption, logins \
             and access control are not built yet",
            "environment TIDEWHEEL_NODE_ID: node.id = \"-5\" is not valid: it must be a whole \
             number from 0 to 2147483647",
            "--set: \"cleanup\" does not look like key=value",
            "--set: log.cleanup.policy = \"compacted\" is not valid: it must be delete, compact, or \
             both with a comma",
        ]
    );
}

#[test]
fn a_topic_name_for_a_broker_default_is_pointed_at_it() {
    assert_eq!(
        errors(&sets(&["retention.ms=1"])),
        ["--set: there is no broker setting retention.ms; did you mean log.retention.ms?"]
    );
}

#[test]
fn a_name_that_begins_another_is_explained() {
    let errors = errors(&file("max.connections = 1\nmax.connections.per.ip = 2\n"));
    assert!(errors[0].starts_with("tidewheel.toml:2:"), "{errors:?}");
    assert!(errors[0].contains("write them in quotes"), "{errors:?}");
}

#[test]
fn broken_toml_is_an_error_with_its_line() {
    let errors = errors(&file("node.id = 1\nnum.partitions = = 2\n"));
    assert!(errors[0].starts_with("tidewheel.toml:2:"), "{errors:?}");
}

/// What comes before the first odd byte is not taken for the whole file.
#[test]
fn a_toml_file_in_another_encoding_is_an_error_at_its_first_odd_byte() {
    let mut sources = file("node.id = 2\n# ");
    if let Some(file) = &mut sources.file {
        file.bytes.push(0xe9);
    }
    assert_eq!(
        errors(&sources),
        ["tidewheel.toml:2:3: the file is not UTF-8"]
    );
}

#[test]
fn kafka_settings_without_meaning_are_warnings() {
    let quorum = file("process.roles = \"broker\"\n[zookeeper]\nconnect = \"z:2181\"\n");
    assert_eq!(
        warnings(&quorum),
        [
            "tidewheel.toml:1:9: process.roles has no effect: there is no controller quorum here",
            "tidewheel.toml:3:1: zookeeper.connect has no effect: Apache Kafka 4 no longer has it",
        ]
    );
    // A value that only asks for more than there is, of a setting that there is.
    assert_eq!(
        warnings(&sets(&["log.cleaner.threads=4"])),
        [
            "--set: log.cleaner.threads has no effect: one thread compacts all logs, one after the \
             other; 1 is in force"
        ]
    );
}

#[test]
fn a_stray_environment_variable_is_a_warning() {
    let mut sources = Sources::default();
    for name in [
        "TIDEWHEEL_SERVICE_HOST",
        "TIDEWHEEL_NUM_PARTITION",
        "TIDEWHEEL_LOG",
    ] {
        sources.environment.push((name.to_owned(), "x".to_owned()));
    }
    assert_eq!(
        warnings(&sources),
        [
            "environment TIDEWHEEL_SERVICE_HOST: it is not a setting",
            "environment TIDEWHEEL_NUM_PARTITION: it is not a setting; did you mean \
             TIDEWHEEL_NUM_PARTITIONS?",
        ]
    );
}

#[test]
fn listeners_that_clients_cannot_find_are_refused() {
    let refused = |settings: &[&str]| errors(&sets(settings)).join("\n");
    assert!(refused(&["listeners=PLAINTEXT://0.0.0.0:9092"]).contains("advertised.listeners"));
    assert!(refused(&["listeners=PLAINTEXT://:9092"]).contains("advertised.listeners"));
    assert!(refused(&["listeners=A://127.0.0.1:1"]).contains("A:PLAINTEXT"));
    assert!(refused(&["advertised.listeners=B://h:1"]).contains("no entry of listeners"));
    assert!(refused(&["advertised.listeners=PLAINTEXT://0.0.0.0:1"]).contains("needs a host"));
    assert!(
        refused(&["listeners=S://h:1", "listener.security.protocol.map=S:SSL"])
            .contains("not built yet")
    );
    assert!(refused(&["listeners="]).contains("listener"));
    let config = load(&sets(&[
        "listeners=PLAINTEXT://0.0.0.0:9092,IN://127.0.0.1:0",
        "advertised.listeners=PLAINTEXT://kafka.example:443",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,in:plaintext",
    ]));
    let advertised: Vec<String> = config
        .advertised_listeners
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        advertised,
        ["PLAINTEXT://kafka.example:443", "IN://127.0.0.1:0"]
    );
    assert!(!config.listeners_are_default);
}

#[test]
fn contradictions_between_settings_are_refused() {
    assert_eq!(errors(&sets(&["node.id=1", "broker.id=2"])).len(), 1);
    assert_eq!(errors(&sets(&["default.replication.factor=3"])).len(), 1);
    load(&sets(&[
        "default.replication.factor=3",
        "tidewheel.replication.factor.max=3",
    ]));
    assert_eq!(errors(&sets(&["log.retention.ms=0"])).len(), 1);
    assert_eq!(errors(&sets(&["log.retention.hours=0h"])).len(), 1);
    assert_eq!(errors(&sets(&["log.dirs=a,a"])).len(), 1);
    assert_eq!(errors(&sets(&["log.dirs="])).len(), 1);
}

#[test]
fn times_of_groups_that_contradict_each_other_are_refused() {
    let session = "group.consumer.session.timeout.ms";
    let heartbeat = "group.consumer.heartbeat.interval.ms";
    for (given, refused) in [
        (
            &["group.max.session.timeout.ms=5999"][..],
            "group.max.session.timeout.ms",
        ),
        (&["group.consumer.session.timeout.ms=44999"], session),
        (
            &["group.consumer.session.timeout.ms=60001"],
            "group.consumer.max.session.timeout.ms",
        ),
        (&["group.consumer.heartbeat.interval.ms=4999"], heartbeat),
        (
            &["group.consumer.heartbeat.interval.ms=15001"],
            "group.consumer.max.heartbeat.interval.ms",
        ),
        (
            &[
                "group.consumer.min.session.timeout.ms=5000",
                "group.consumer.session.timeout.ms=5000",
            ],
            session,
        ),
    ] {
        let errors = errors(&sets(given));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(refused), "{given:?}: {errors:?}");
    }
    for bound in ["session.timeout", "heartbeat.interval"] {
        let (min, max) = (
            format!("group.consumer.min.{bound}.ms=50000"),
            format!("group.consumer.max.{bound}.ms=49000"),
        );
        assert!(!errors(&sets(&[&min, &max])).is_empty());
    }
    load(&sets(&[
        "group.consumer.min.session.timeout.ms=5001",
        "group.consumer.session.timeout.ms=5001",
    ]));
}

#[test]
fn sizes_that_keep_batches_out_are_warnings_at_their_place() {
    assert_eq!(
        warnings(&sets(&[
            "message.max.bytes=200MB",
            "log.segment.bytes=1MiB"
        ])),
        [
            "--set: log.segment.bytes (1048576) is smaller than message.max.bytes (200000000): \
             larger batches are refused",
            "socket.request.max.bytes (104857600) is smaller than message.max.bytes (200000000): \
             larger batches are refused",
        ]
    );
}

#[test]
fn groups_get_kafkas_settings_in_the_units_that_act() {
    let config = load(&sets(&["offsets.retention.minutes=2", "group.max.size=7"]));
    assert_eq!(config.group.offsets_retention_ms, 120_000);
    assert_eq!(config.group.max_size, 7);
    assert_eq!(config.group.initial_rebalance_delay_ms, 3_000);
    // One node keeps one copy of the offsets.
    for setting in [
        "offsets.topic.replication.factor=1",
        "offsets.topic.compression.codec=1",
    ] {
        assert_eq!(warnings(&sets(&[setting])).len(), 1, "{setting}");
    }
    let newer = load(&sets(&[
        "group.consumer.max.size=3",
        "group.consumer.migration.policy=upgrade",
    ]));
    assert_eq!(newer.group.consumer_max_size, 3);
    assert!(newer.group.consumer_upgrade && !newer.group.consumer_downgrade);
    assert_eq!(newer.group.consumer_session_timeout_ms, 45_000);
    let bounded = load(&sets(&["group.consumer.min.session.timeout.ms=1"]));
    let bounds_ms = bounded.group.consumer_session_timeout_bounds_ms;
    assert_eq!((bounds_ms, bounded.warnings), ((1, 60_000), vec![]));
    let other = ["group.consumer.assignors=range"];
    assert_eq!(warnings(&sets(&other)).len(), 1);
}

#[test]
fn topics_lay_their_overrides_over_the_broker() {
    let broker = load(&sets(&["log.retention.ms=1000", "log.segment.bytes=2MiB"]));
    let overrides = TopicConfigOverrides::from([
        ("segment.bytes".to_owned(), "1048576".to_owned()),
        (
            "message.timestamp.type".to_owned(),
            "LogAppendTime".to_owned(),
        ),
    ]);
    let log = LogConfig::resolve(&broker, &overrides).unwrap();
    assert_eq!((log.retention_ms, log.segment_bytes), (1000, 1 << 20));
    assert_eq!(
        log.timestamp_type,
        tidewheel_config::TimestampType::LogAppendTime
    );
    assert_eq!(
        LogConfig::resolve(&broker, &TopicConfigOverrides::new()).unwrap(),
        broker.log
    );
    let bad = TopicConfigOverrides::from([("segment.bytes".to_owned(), "1".to_owned())]);
    assert!(LogConfig::resolve(&broker, &bad).is_err());
}

#[test]
fn a_good_value_in_a_stronger_source_heals_a_malformed_one() {
    let mut sources =
        file("num.partitions = \"many\"\nlog.retention.hours = \"x\"\nnode.id = -7\n");
    assert_eq!(errors(&sources).len(), 3);
    sources.sets = vec!["num.partitions=3".to_owned()];
    assert_eq!(errors(&sources).len(), 2, "the others stay");
    // Another name of the same thing.
    sources.environment = vec![("TIDEWHEEL_LOG_RETENTION_MS".to_owned(), "5".to_owned())];
    let left = errors(&sources);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("node.id"), "{left:?}");
    sources.sets.push("node.id=7".to_owned());
    let config = load(&sources);
    assert_eq!((config.num_partitions, config.node_id), (3, 7));
    // What is wrong in the stronger one is told.
    sources.sets.push("num.partitions=few".to_owned());
    let wrong = errors(&sources);
    assert!(wrong.len() == 1 && wrong[0].contains("few"), "{wrong:?}");
}

#[test]
fn errors_come_with_the_warnings_and_with_the_way_out_of_kafkas_variables() {
    let mut sources = file("num.io.threads = 8\nnum.partitions = \"many\"\n");
    let wrong = BrokerConfig::load(&sources).unwrap_err();
    assert_eq!((wrong.problems.len(), wrong.warnings.len()), (1, 1));
    assert_eq!(wrong.hint(), None);
    sources.environment = vec![("KAFKA_NUM_PARTITIONS".to_owned(), "many".to_owned())];
    let wrong = BrokerConfig::load(&sources).unwrap_err();
    let text = wrong.to_string();
    assert!(
        text.ends_with("TIDEWHEEL_KAFKA_ENV=off switches that off"),
        "{text}"
    );
    sources.environment[0].0 = "TIDEWHEEL_NUM_PARTITIONS".to_owned();
    assert_eq!(BrokerConfig::load(&sources).unwrap_err().hint(), None);
}
