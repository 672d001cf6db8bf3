//! `tidewheel config get|set|unset`: settings of a running broker, over Kafka's protocol.

use serde_json::Value;

use crate::commands::{self, ran};
use crate::support::commands::Ran;
use crate::support::{Broker, run};

fn config(broker: &Broker, arguments: &[&str]) -> Ran {
    ran(broker, &[&["config"], arguments].concat())
}

fn good(broker: &Broker, arguments: &[&str]) -> String {
    commands::good(broker, &[&["config"], arguments].concat())
}

#[test]
fn settings_of_a_topic_and_of_a_broker_are_told_set_and_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(dir.path(), &["log.retention.ms=5000000"]);
    broker.connect().create_topic("t", 1, &[]);
    let topic = ["get", "--topic", "t", "--origin"];
    let given = "retention.ms=5000000  # STATIC_BROKER_CONFIG\n";
    assert_eq!(good(&broker, &topic), given);
    let set = [
        "set",
        "retention.ms=7d",
        "segment.bytes=4MiB",
        "--topic",
        "t",
    ];
    let would = good(&broker, &[&set[..], &["--dry-run"]].concat());
    assert!(would.starts_with("topic t: retention.ms=604800000 would be set\n"));
    assert_eq!(good(&broker, &topic), given);
    let told = good(&broker, &set);
    assert!(
        told.ends_with("topic t: segment.bytes=4194304 set\n"),
        "{told}"
    );
    let own = good(&broker, &["get", "--topic", "t"]);
    assert_eq!(own, "retention.ms=604800000\nsegment.bytes=4194304\n");
    let told = good(
        &broker,
        &["unset", "retention.ms", "segment.bytes", "--topic", "t"],
    );
    assert_eq!(told.lines().count(), 2);
    assert_eq!(good(&broker, &topic), given);
    let both = good(
        &broker,
        &["get", "segment.bytes", "retention.ms", "--topic", "t"],
    );
    assert_eq!(both, "retention.ms=5000000\nsegment.bytes=1073741824\n");

    good(&broker, &["set", "log.retention.ms=1h", "--all-brokers"]);
    good(&broker, &["set", "log.retention.ms=2h"]);
    let all = good(&broker, &["get", "--all-brokers"]);
    assert_eq!(all, "log.retention.ms=3600000\n");
    let json = [
        "get",
        "log.retention.ms",
        "--broker",
        "1",
        "--format",
        "json",
    ];
    let told: Value = serde_json::from_str(&good(&broker, &json)).unwrap();
    assert_eq!(told["value"], "7200000");
    assert_eq!(told["source"], "DYNAMIC_BROKER_CONFIG");
    assert_eq!(
        told["synonyms"][1]["source"],
        "DYNAMIC_DEFAULT_BROKER_CONFIG"
    );
    good(&broker, &["unset", "log.retention.ms"]);
    let told: Value = serde_json::from_str(&good(&broker, &json)).unwrap();
    assert_eq!(told["value"], "3600000");

    good(
        &broker,
        &["set", "consumer.session.timeout.ms=50s", "--group", "g"],
    );
    let group = good(&broker, &["get", "--group", "g"]);
    assert_eq!(group, "consumer.session.timeout.ms=50000\n");
    let everything = good(&broker, &["get", "--all"]);
    assert!(everything.contains("\nnum.partitions=1\n"), "{everything}");
    assert!(broker.stop());
}

#[test]
fn what_is_refused_says_why_and_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    for (arguments, exit, word) in [
        (
            &["set", "retention.ms=soon", "--topic", "t"][..],
            1,
            "a number of milliseconds",
        ),
        (
            &["set", "retention.mss=5", "--topic", "t"],
            1,
            "did you mean retention.ms?",
        ),
        (
            &["set", "node.id=5"],
            1,
            "cannot be changed while the broker runs",
        ),
        (
            &["set", "retention.ms=5", "--topic", "none"],
            3,
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (&["get", "--topic", "none"], 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        (
            &["get", "colour", "--topic", "t"],
            3,
            "topic t has no setting colour",
        ),
        (&["get", "--broker", "7"], 3, "there is no broker 7"),
        (
            &["set", "retention.ms", "--topic", "t"],
            2,
            "is not NAME=VALUE",
        ),
        (
            &["get", "--topic", "t", "--group", "g"],
            2,
            "cannot be used with",
        ),
        (&["set"], 2, "required"),
    ] {
        let ran = config(&broker, arguments);
        assert_eq!((ran.exit, ran.out.as_str()), (Some(exit), ""), "{ran:?}");
        assert!(ran.said.contains(word), "{ran:?}");
    }
    assert_eq!(good(&broker, &["get", "--topic", "t"]), "");
    assert!(broker.stop());
    let nobody = run(&["config", "get", "--brokers", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let waited = run(&["config", "get", "--brokers", &address, "--timeout", "1"]);
    assert_eq!(waited.status.code(), Some(4));
}

/// One connection for each address, set while the broker ran: tools that open two are locked out.
#[test]
fn what_was_set_while_it_ran_is_passed_over_where_the_start_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    good(
        &broker,
        &["set", "max.connections.per.ip=1", "log.retention.ms=1h"],
    );
    assert!(broker.stop());
    let broker = Broker::start_with(dir.path(), &["tidewheel.ignore.dynamic.config=true"]);
    let kept: Vec<_> = (0..3).map(|_| broker.connect()).collect();
    broker.connect().create_topic("t", 1, &[]);
    let told = good(&broker, &["get", "retention.ms", "--topic", "t"]);
    assert_eq!(told, "retention.ms=604800000\n");
    good(&broker, &["unset", "max.connections.per.ip"]);
    drop(kept);
    assert!(broker.stop());
    let broker = Broker::start(dir.path());
    let _kept: Vec<_> = (0..3).map(|_| broker.connect()).collect();
    let told = good(&broker, &["get", "retention.ms", "--topic", "t"]);
    assert_eq!(
        told, "retention.ms=3600000\n",
        "what was not set back acts again"
    );
    let shown = run(&["config", "show", "--origin", "--ignore-dynamic-config"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    let mut lines = shown.lines();
    let is_told =
        |line: &str| line.contains("tidewheel.ignore.dynamic.config") && line.contains("true");
    assert!(lines.any(is_told), "{shown}");
}
