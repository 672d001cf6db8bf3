//! Configurations made for Apache Kafka: its stock `server.properties` and environments of its container
//! images, taken as they are.

use proptest::prelude::*;
use tidewheel_config::{BrokerConfig, ConfigFile, Listener, Sources, Warning};

const STOCK: &str = include_str!("data/kafka-4-server.properties");

/// As the documentation of the image `apache/kafka` starts one node.
const APACHE_IMAGE: &str = include_str!("data/apache-image.env");

/// As compose files with the image `confluentinc/cp-kafka` do.
const CONFLUENT_IMAGE: &str = include_str!("data/confluent-image.env");

fn properties(text: &str) -> Sources {
    Sources {
        file: Some(ConfigFile {
            name: "server.properties".to_owned(),
            bytes: text.into(),
        }),
        ..Sources::default()
    }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        environment: variables.iter().map(owned).collect(),
        ..Sources::default()
    }
}

/// Variables of a file with one a line.
fn image(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines();
    lines
        .map(|line| line.split_once('=').expect("a variable"))
        .collect()
}

fn load(sources: &Sources) -> BrokerConfig {
    BrokerConfig::load(sources).expect("it should load")
}

fn errors(sources: &Sources) -> Vec<String> {
    let errors = BrokerConfig::load(sources).expect_err("it should not load");
    errors.to_string().lines().map(str::to_owned).collect()
}

fn told(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(ToString::to_string).collect()
}

fn warnings(config: &BrokerConfig) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

fn ignored(config: &BrokerConfig) -> Vec<&str> {
    let keys = config.warnings.iter().map(|warning| match warning {
        Warning::Ignored { key, .. } => key.as_str(),
        Warning::Note { .. } => "-",
    });
    keys.collect()
}

#[test]
fn the_stock_file_of_kafka_4_serves_clients_and_names_what_has_no_effect() {
    let config = load(&properties(STOCK));
    assert_eq!(told(&config.listeners), ["PLAINTEXT://:9092"]);
    assert_eq!(
        told(&config.advertised_listeners),
        ["PLAINTEXT://localhost:9092"]
    );
    assert_eq!(
        config.log_dirs,
        [std::path::Path::new("/tmp/kraft-combined-logs")]
    );
    assert_eq!(
        ignored(&config),
        [
            "process.roles",
            "controller.quorum.bootstrap.servers",
            "inter.broker.listener.name",
            "controller.listener.names",
            "num.network.threads",
            "num.io.threads",
            "socket.send.buffer.bytes",
            "socket.receive.buffer.bytes",
            "num.recovery.threads.per.data.dir",
            "offsets.topic.replication.factor",
            "share.coordinator.state.topic.replication.factor",
            "share.coordinator.state.topic.min.isr",
            "transaction.state.log.replication.factor",
            "transaction.state.log.min.isr",
            "-",
            "-",
        ]
    );
    let warnings = warnings(&config);
    assert_eq!(
        warnings[4],
        "server.properties:10:1: num.network.threads has no effect: threads are managed without \
         settings"
    );
    assert_eq!(
        warnings[14],
        "server.properties:5:1: CONTROLLER://:9093 of listeners has no effect: there is no \
         controller here"
    );
}

#[test]
fn an_environment_of_apaches_image_starts_unchanged() {
    let config = load(&environment(&image(APACHE_IMAGE)));
    assert_eq!(
        told(&config.listeners),
        ["PLAINTEXT_HOST://:9092", "PLAINTEXT://:19092"]
    );
    assert_eq!(
        told(&config.advertised_listeners),
        [
            "PLAINTEXT_HOST://localhost:9092",
            "PLAINTEXT://broker:19092"
        ]
    );
    assert_eq!(config.group.initial_rebalance_delay_ms, 0);
    let warnings = warnings(&config);
    let roles = "environment KAFKA_PROCESS_ROLES: process.roles has no effect: there is no controller \
                 quorum here";
    assert!(warnings.iter().any(|told| told == roles), "{warnings:?}");
    for (variable, reason) in [
        (
            "CLUSTER_ID",
            "a data directory makes an id of its own, and keeps it",
        ),
        ("KAFKA_HEAP_OPTS", "there is no JVM here"),
        ("KAFKA_JMX_OPTS", "there is no JMX here"),
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "there is no Log4j here"),
        ("KAFKA_LOG4J_LOGGERS", "there is no Log4j here"),
    ] {
        let start = format!("environment {variable}: it has no effect: {reason}");
        let told = warnings.iter().filter(|told| told.starts_with(&start));
        assert_eq!(told.count(), 1, "{variable}: {warnings:?}");
    }
}

#[test]
fn an_environment_of_confluents_image_starts_unchanged() {
    let config = load(&environment(&image(CONFLUENT_IMAGE)));
    assert_eq!(
        told(&config.listeners),
        ["PLAINTEXT://broker:29092", "PLAINTEXT_HOST://0.0.0.0:9092"]
    );
    assert!(!config.auto_create_topics_enable);
    let ignored = ignored(&config);
    assert!(ignored.contains(&"confluent.license.topic.replication.factor"));
    let told = warnings(&config);
    for variable in ["KAFKA_JMX_PORT", "KAFKA_JMX_HOSTNAME"] {
        let start = format!("environment {variable}: it has no effect: there is no JMX here");
        let named = told.iter().filter(|told| told.starts_with(&start));
        assert_eq!(named.count(), 1, "{variable}: {told:?}");
    }
}

#[test]
fn a_cluster_id_beside_no_variable_of_kafka_is_somebody_elses() {
    let config = load(&environment(&[("CLUSTER_ID", "x")]));
    assert_eq!(warnings(&config), [""; 0]);
    let switched = [
        ("TIDEWHEEL_KAFKA_ENV", "off"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
    ];
    assert_eq!(warnings(&load(&environment(&switched))), [""; 0]);
}

#[test]
fn an_image_that_is_told_what_to_advertise_listens_there_on_every_address() {
    let advertised = (
        "KAFKA_ADVERTISED_LISTENERS",
        "IN://kafka:19092, OUT://[::1]:9092",
    );
    let map = (
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
        "IN:PLAINTEXT,OUT:PLAINTEXT",
    );
    let config = load(&environment(&[advertised, map]));
    assert_eq!(told(&config.listeners), ["IN://:19092", "OUT://:9092"]);
    // Who says where to listen is taken at his word.
    let mut file = properties("listeners=IN://127.0.0.1:1,OUT://127.0.0.1:2");
    file.environment = environment(&[advertised, map]).environment;
    assert_eq!(
        told(&load(&file).listeners),
        ["IN://127.0.0.1:1", "OUT://127.0.0.1:2"]
    );
}

#[test]
fn variables_of_kafka_beat_the_file_and_lose_against_our_own() {
    let mut sources = environment(&[
        ("TIDEWHEEL_NUM_PARTITIONS", "3"),
        ("KAFKA_NUM_PARTITIONS", "2"),
        ("KAFKA_CFG_NODE_ID", "2"),
    ]);
    sources.file = properties("num.partitions=1\nnode.id=1").file;
    let config = load(&sources);
    assert_eq!((config.num_partitions, config.node_id), (3, 2));
    for (switch, node_id) in [("on", 2), ("off", 1)] {
        let mut sources = sources.clone();
        let switch = ("TIDEWHEEL_KAFKA_ENV".to_owned(), switch.to_owned());
        sources.environment.push(switch);
        assert_eq!(load(&sources).node_id, node_id);
    }
    let odd = environment(&[("TIDEWHEEL_KAFKA_ENV", "no")]);
    assert_eq!(
        errors(&odd),
        ["environment TIDEWHEEL_KAFKA_ENV: it must be on or off, not \"no\""]
    );
}

#[test]
fn variables_that_only_look_like_settings_of_kafka_keep_nothing_from_starting() {
    let config = load(&environment(&[
        ("KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("KAFKA_NUM_PARTITION", "3"),
        ("KAFKA_OPTS", "-Dx=y"),
        ("KAFKA_HOME", "/opt/kafka"),
    ]));
    assert_eq!(
        warnings(&config),
        [
            "environment KAFKA_SERVICE_HOST: it is not a setting",
            "environment KAFKA_NUM_PARTITION: it is not a setting; did you mean \
             KAFKA_NUM_PARTITIONS?",
            "environment KAFKA_OPTS: it has no effect: there is no JVM here, and nothing has to be set \
             in its place",
            "environment KAFKA_HOME: it has no effect: it is for the scripts of an image of Kafka",
        ]
    );
    let wrong = environment(&[("KAFKA_NUM_PARTITIONS", "many")]);
    assert_eq!(
        errors(&wrong),
        [
            "environment KAFKA_NUM_PARTITIONS: num.partitions = \"many\" is not valid: it must be a \
          whole number",
            "variables that begin with KAFKA_ count as settings; TIDEWHEEL_KAFKA_ENV=off switches \
             that off"
        ]
    );
}

/// Whoever asks for encryption or logins must not get an open broker.
#[test]
fn a_file_that_asks_for_protection_starts_nothing() {
    let errors = |text: &str| errors(&properties(text)).join("\n");
    let tls =
        "listeners=SSL://127.0.0.1:9093\nssl.keystore.location=/k.jks\nssl.key.password=hush\n";
    let refused = errors(tls);
    assert_eq!(
        refused,
        "server.properties:2:1: ssl.keystore.location = \"/k.jks\" is not supported: encryption, \
         logins and access control are not built yet\n\
         server.properties:3:1: ssl.key.password = \"[hidden]\" is not supported: encryption, logins \
         and access control are not built yet\n\
         server.properties:1:1: listeners = \"SSL://127.0.0.1:9093\" is not valid: \
         SSL://127.0.0.1:9093 asks for SSL, which is not built yet"
    );
    for text in [
        "listeners=A://127.0.0.1:1\nlistener.security.protocol.map=A:SASL_PLAINTEXT",
        "listeners=SASL_SSL://127.0.0.1:1",
        "security.inter.broker.protocol=SSL",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "listener.name.plaintext.plain.sasl.jaas.config=x",
        "process.roles=controller",
        "listeners=CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER",
    ] {
        assert!(!errors(text).is_empty(), "{text}");
    }
    // A node that is a controller only is told so, and nothing besides.
    let controller = "process.roles=controller\nlisteners=CONTROLLER://:9093\n\
                      advertised.listeners=CONTROLLER://h:9093\ncontroller.listener.names=CONTROLLER";
    assert_eq!(
        errors(controller),
        "server.properties:1:1: process.roles = \"controller\" is not supported: this is a broker, \
         and there are no controllers\n\
         server.properties:2:1: listeners = \"CONTROLLER://:9093\" is not valid: every one is a \
         controller's, and none is left for clients"
    );
    // None of that is opened, so nothing is left unprotected.
    let text = "listeners=PLAINTEXT://127.0.0.1:1,C://127.0.0.1:2\ncontroller.listener.names=C\n\
                listener.security.protocol.map=PLAINTEXT:PLAINTEXT,C:SSL\n\
                listener.name.c.ssl.key.password=hush\nssl.endpoint.identification.algorithm=\n";
    let config = load(&properties(text));
    assert_eq!(told(&config.listeners), ["PLAINTEXT://127.0.0.1:1"]);
    assert!(!format!("{:?}", config.warnings).contains("hush"));
}

#[test]
fn every_problem_of_a_properties_file_has_its_place_and_a_suggestion() {
    let text = "! a comment\n num.partitons : 3\r\nlog.segment.bytes 12\nlog.retention.hours=\\\n  7x\n\
                broker.rack=\\u00\nlisteners=PLAINTEXT://:9092\n";
    assert_eq!(
        errors(&properties(text)),
        [
            "server.properties:6:1: four hexadecimal digits must follow \\u",
            "server.properties:2:2: there is no broker setting num.partitons; did you mean \
             num.partitions?",
            "server.properties:3:1: log.segment.bytes = \"12\" is not valid: it must be a number of \
             bytes from 1048576 to 2147483647",
            "server.properties:4:1: log.retention.hours = \"7x\" is not valid: it must be a number \
             of hours",
            "server.properties:7:1: listeners = \"PLAINTEXT://:9092\" is not valid: \
             PLAINTEXT://:9092 accepts on every address, so advertised.listeners must say \
             which address clients of PLAINTEXT connect to",
        ]
    );
}

#[test]
fn unknown_names_are_warnings_for_whoever_is_lenient() {
    let mut sources = properties("my.plugin.setting=1\nnum.partitions=2");
    assert_eq!(errors(&sources).len(), 1);
    sources.lenient = true;
    let config = load(&sources);
    assert_eq!(config.num_partitions, 2);
    assert_eq!(
        warnings(&config),
        ["server.properties:1:1: there is no broker setting my.plugin.setting"]
    );
    // That does not go for what protects data, nor for bad values.
    for text in ["ssl.keystore.location=k", "num.partitions=x"] {
        let mut sources = properties(text);
        sources.lenient = true;
        assert_eq!(errors(&sources).len(), 1);
    }
}

#[test]
fn units_are_read_in_properties_too() {
    let config = load(&properties(
        "log.segment.bytes=64MiB\nlog.retention.ms = 7d\n",
    ));
    assert_eq!(config.log.segment_bytes, 64 << 20);
    assert_eq!(config.log.retention_ms, 604_800_000);
}

proptest! {
    /// A file may hold anything: it loads, or every problem is a sentence.
    #[test]
    fn no_file_makes_loading_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        lines in prop::collection::vec((0..LINES.len(), ".{0,20}"), 0..8),
        toml in any::<bool>(),
    ) {
        let mut text = Vec::new();
        for (line, value) in lines {
            text.extend(format!("{}{value}\n", LINES[line]).into_bytes());
        }
        text.extend(bytes);
        let name = if toml { "a.toml" } else { "a.properties" };
        let file = Some(ConfigFile { name: name.to_owned(), bytes: text });
        let sources = Sources { file, ..Sources::default() };
        if let Err(errors) = BrokerConfig::load(&sources) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

/// How lines begin that come as far as the checks of values.
const LINES: &[&str] = &[
    "listeners=",
    "advertised.listeners=PLAINTEXT://",
    "controller.listener.names=",
    "listener.name.",
    "listener.security.protocol.map=",
    "log.retention.ms=",
    "log.segment.bytes=1",
    "log.dirs=",
    "ssl.",
    "broker.rack=\"",
    "process.roles=",
];
