//! `tidewheel topic`: topics of a running broker, over Kafka's protocol.

use crate::commands::{good, ran, refused, words};
use crate::support::commands::objects;
use crate::support::{Broker, batch, run};

#[test]
fn topics_are_made_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    assert_eq!(
        words(&good(&broker, &["topic", "ls"])),
        [["NAME", "PARTITIONS", "REPLICAS"]]
    );
    let create = [
        "topic",
        "create",
        "orders",
        "bills",
        "-p",
        "3",
        "-r",
        "1",
        "-c",
        "retention.ms=7d",
    ];
    let would = good(&broker, &[&create[..], &["--dry-run"]].concat());
    assert_eq!(
        would,
        "topic orders: would be created\ntopic bills: would be created\n"
    );
    let told = good(&broker, &create);
    assert_eq!(told, "topic orders: created\ntopic bills: created\n");
    let again = ran(&broker, &create);
    assert_eq!((again.exit, again.out.as_str()), (Some(1), ""));
    assert!(again.said.contains("TOPIC_ALREADY_EXISTS"), "{again:?}");
    let told = good(&broker, &[&create[..], &["--if-not-exists"]].concat());
    assert_eq!(told, "topic orders: is there\ntopic bills: is there\n");
    let listed = good(&broker, &["topic", "ls"]);
    assert_eq!(
        listed,
        "NAME    PARTITIONS  REPLICAS\nbills   3           1\norders  3           1\n"
    );
    let listed = objects(&good(&broker, &["topic", "ls", "--format", "json"]));
    assert_eq!(listed[1]["name"], "orders");
    assert_eq!(listed[1]["id"].as_str().unwrap().len(), 22);
    assert_eq!(listed[1]["partitions"], 3);

    assert_eq!(
        good(&broker, &["topic", "delete", "orders"]),
        "topic orders: deleted\n"
    );
    let both = ran(&broker, &["topic", "delete", "orders", "bills"]);
    assert_eq!(
        (both.exit, both.out.as_str()),
        (Some(3), "topic bills: deleted\n")
    );
    let told = good(&broker, &["topic", "delete", "orders", "--if-exists"]);
    assert_eq!(told, "topic orders: is not there\n");
    assert!(broker.stop());
}

#[test]
fn topics_are_grown_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("orders", 3, &[("retention.ms", "604800000")]);
    client.create_topic("bills", 3, &[]);
    let grow = ["topic", "add-partitions", "orders", "-n", "2"];
    let would = good(&broker, &[&grow[..], &["--dry-run"]].concat());
    assert_eq!(would, "topic orders: would have 5 partitions\n");
    assert_eq!(good(&broker, &grow), "topic orders: has 5 partitions\n");
    let some = ["topic", "add-partitions", "none", "bills", "-n", "1"];
    let some = ran(&broker, &some);
    let told = "topic bills: has 4 partitions\n";
    assert_eq!((some.exit, some.out.as_str()), (Some(3), told), "{some:?}");
    client.produce("orders", 4, -1, batch(&["a", "b"]));
    let told = good(&broker, &["topic", "describe", "orders", "bills"]);
    let (orders, bills) = told.split_once("\n\nNAME").unwrap();
    assert!(
        orders.contains("CONFIG      retention.ms=604800000\n"),
        "{told}"
    );
    assert!(orders.contains("\nPARTITIONS  5\n"), "{told}");
    assert_eq!(
        words(orders).last().unwrap()[..],
        ["4", "1", "0", "1", "1", "0", "2"]
    );
    assert!(bills.starts_with("        bills\n"), "{told}");
    let json = ["topic", "describe", "orders", "--format", "json"];
    let told = &objects(&good(&broker, &json))[0];
    assert_eq!(told["overrides"]["retention.ms"], "604800000");
    assert_eq!(told["partition_details"][4]["high_watermark"], 2);
    assert_eq!(told["partition_details"][4]["isr"][0], 1);
    drop(client);
    assert!(broker.stop());
}

#[test]
fn the_oldest_records_are_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut client = broker.connect();
    client.create_topic("t", 2, &[]);
    client.produce("t", 0, -1, batch(&["a", "b", "c", "d"]));
    client.produce("t", 1, -1, batch(&["a"]));
    let starts = || {
        let json = ["topic", "describe", "t", "--format", "json"];
        let told = objects(&good(&broker, &json)).remove(0);
        [0, 1].map(|at| {
            told["partition_details"][at]["log_start_offset"]
                .as_i64()
                .unwrap()
        })
    };
    let would = good(&broker, &["topic", "trim", "t", "--to", "-2", "--dry-run"]);
    assert_eq!(
        words(&would)[1..],
        [["t", "0", "0", "2"], ["t", "1", "0", "0"]]
    );
    assert_eq!(starts(), [0, 0]);
    let told = good(&broker, &["topic", "trim", "t", "--to", "-2"]);
    assert_eq!(told, would);
    assert_eq!(starts(), [2, 0]);
    let json = [
        "topic", "trim", "t", "--to", "end", "-p", "1", "--format", "json",
    ];
    let told = &objects(&good(&broker, &json))[0];
    assert_eq!(
        (&told["partition"], &told["new_log_start_offset"]),
        (&1.into(), &1.into())
    );
    assert_eq!(starts(), [2, 1]);
    // Nothing is old enough.
    good(&broker, &["topic", "trim", "t", "--to", "@2000-01-01"]);
    assert_eq!(starts(), [2, 1]);
    // What one partition does not have keeps the others as they are, and a dry run says so, too.
    for more in [&[][..], &["--dry-run"]] {
        let beyond = [&["topic", "trim", "t", "--to", "3"], more].concat();
        let beyond = ran(&broker, &beyond);
        assert_eq!((beyond.exit, beyond.out.as_str()), (Some(1), ""));
        let said = "tidewheel: t-1: OFFSET_OUT_OF_RANGE\n";
        assert_eq!(beyond.said, said, "{beyond:?}");
        assert_eq!(starts(), [2, 1]);
    }
    assert!(broker.stop());
}

#[test]
fn what_is_refused_says_why_and_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    refused(
        &broker,
        &[
            (
                &["topic", "describe", "none"],
                3,
                "topic none: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["topic", "delete", "none"],
                3,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["topic", "add-partitions", "none", "-n", "1"],
                3,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["topic", "trim", "none", "--to", "end"],
                3,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (
                &["topic", "trim", "t", "--to", "end", "-p", "7"],
                3,
                "t-7: UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (&["topic", "create", "a/b"], 1, "INVALID_TOPIC_EXCEPTION"),
            (
                &["topic", "create", "x", "-c", "retention.mss=5"],
                1,
                "did you mean retention.ms?",
            ),
            (
                &["topic", "create", "x", "-c", "retention.ms"],
                2,
                "is not NAME=VALUE",
            ),
            (&["topic", "create", "x", "-p", "0"], 2, "invalid value"),
            (&["topic", "trim", "t", "--to", "soon"], 2, "invalid value"),
            (&["topic", "trim", "t"], 2, "required"),
            (&["topic", "add-partitions", "t"], 2, "required"),
            (&["topic", "describe"], 2, "required"),
            (&["topic"], 2, "Usage"),
        ],
    );
    assert!(broker.stop());
}

#[test]
fn every_command_of_topics_has_help_and_gives_up_where_nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    // A name that would move the cursor.
    let strange = ran(&broker, &["topic", "describe", "\u{1b}[2J"]);
    assert!(!strange.said.contains('\u{1b}'), "{strange:?}");
    assert_eq!(strange.out, "");
    assert!(broker.stop());
    for command in [
        "ls",
        "describe",
        "create",
        "delete",
        "add-partitions",
        "trim",
    ] {
        let help = run(&["topic", command, "--help"]);
        assert!(help.status.success());
        assert!(
            String::from_utf8(help.stdout)
                .unwrap()
                .contains("TIDEWHEEL_BROKERS")
        );
    }
    let nobody = run(&["topic", "ls", "--brokers", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let waited = run(&["topic", "ls", "-b", &address, "--timeout", "1"]);
    assert_eq!(waited.status.code(), Some(4));
}

#[test]
fn brokers_come_from_the_environment_and_the_first_that_answers_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    let mut command = crate::support::tidewheel(&["topic", "ls"]);
    command.env(
        "TIDEWHEEL_BROKERS",
        format!("127.0.0.1:1,{}", broker.address),
    );
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("\nt "));
    assert!(broker.stop());
}
