//! `tidewheel delayed` against a broker with delayed records.

use serde_json::{Value, json};

use crate::commands::cli;
use crate::delayed::{BOTH, HOUR, delayed, items, list, names};
use crate::delays::{Asked, due_in, produce, wait_for};
use crate::support::Broker;
use crate::support::commands::objects;
use crate::support::http::{get, start};

/// The ids of what is pending in `t`, by due time.
fn ids(broker: &Broker) -> Vec<String> {
    let page = list(broker, "");
    let ids = items(&page)
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[test]
fn what_is_pending_is_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    assert_eq!(
        cli(&broker, &["delayed", "ls"]).good(),
        "ID  DUE    RECORDS  SIZE  KEY\n"
    );
    let mut client = delayed(&broker, &[1, 2, 200]);
    client.create_topic("other", 1, &BOTH);
    let odd = Asked::at(due_in(HOUR / 2), "a value\u{1b}[2J");
    produce(&mut client, "other", &[odd]);
    let out = cli(&broker, &["delayed", "ls"]).good();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    assert!(
        lines[1].starts_with("other-0-") && lines[1].contains("in 29m 5"),
        "{out}"
    );
    assert!(
        lines[2].contains(" in 59m 5") && lines[2].ends_with(" k"),
        "{out}"
    );
    assert!(lines[4].contains("in 8d 7h"), "{out}");

    let listed = |arguments: &[&str]| {
        let mut all = vec!["delayed", "ls", "--topic", "t", "--format", "json"];
        all.extend(arguments);
        objects(&cli(&broker, &all).good())
    };
    let told = listed(&[]);
    assert_eq!(told.as_slice(), {
        let page = list(&broker, "");
        items(&page).to_vec()
    });
    let due = |at: usize| told[at]["deliver_at_ms"].as_i64().unwrap();
    for (arguments, count) in [
        (vec!["--due-within", "1h30m"], 1),
        (vec!["--due-within", "0s"], 0),
        (vec!["--due-before", &due(1).to_string()], 1),
        (vec!["--due-after", &due(1).to_string()], 2),
        (vec!["--due-after", "2200-01-01T00:00Z"], 0),
        (vec!["--state", "overdue"], 0),
        (
            vec!["--state", "pending", "--key", "k", "--partition", "0"],
            3,
        ),
        (vec!["--key", "k&limit=1"], 0),
        (vec!["--limit", "0"], 3),
    ] {
        assert_eq!(listed(&arguments).len(), count, "{arguments:?}");
    }
    let first = cli(&broker, &["delayed", "ls", "--topic", "t", "--limit", "2"]);
    assert_eq!(
        (first.exit, first.out.lines().count()),
        (Some(0), 3),
        "{first:?}"
    );
    assert_eq!(first.said, "tidewheel: t has more; see --limit\n");
}

#[test]
fn a_record_is_shown_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1]);
    let id = &ids(&broker)[0];
    let shown = objects(&cli(&broker, &["delayed", "show", id, "--format", "json"]).good());
    assert_eq!(
        shown,
        [get(&broker, &format!("/v1/delayed/messages/{id}")).good()]
    );
    let shown = cli(&broker, &["delayed", "show", id]).good();
    for line in [
        "state     pending\n",
        "delay-id  1\n",
        "key       k\n",
        "header    delay-id: 1\n",
        "value     1\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    client.create_topic("other", 1, &BOTH);
    let odd = Asked::at(due_in(HOUR), "a value\u{1b}[2J");
    produce(&mut client, "other", &[odd]);
    let out = cli(&broker, &["delayed", "ls", "--topic", "other"]).good();
    let other = out.lines().last().unwrap().split(' ').next().unwrap();
    let shown = cli(&broker, &["delayed", "show", other]).good();
    assert!(shown.ends_with("value     a value?[2J\n"), "{shown}");
}

#[test]
fn what_is_not_there_and_what_makes_no_sense_have_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[1]);
    let unknown = "t-0-1-1";
    for arguments in [
        &["ls", "--topic", "none"][..],
        &["ls", "--topic", "t", "--partition", "7"],
        &["cancel", "--topic", "none", "--yes"],
        &["cancel", "--topic", "none"],
        &["pause", "none"],
        &["resume", "none"],
        &["show", "none-0-1-1"],
    ] {
        let said = cli(&broker, &[&["delayed"], arguments].concat()).failed(3);
        assert!(said.contains("HTTP 404"), "{said}");
    }
    for arguments in [
        &["show", unknown][..],
        &["cancel", unknown],
        &["run-now", unknown],
    ] {
        let ran = cli(&broker, &[&["delayed"], arguments].concat());
        // Which of the two hangs on what its partition was given.
        assert!(matches!(ran.exit, Some(1 | 3)), "{ran:?}");
        assert!(ran.said.contains("pending"), "{ran:?}");
    }
    for arguments in [
        &["show", "nonsense"][..],
        &["show", "../../v1/topics"],
        &["cancel"],
        &["cancel", unknown, "--topic", "t"],
        &["cancel", unknown, "--key", "k"],
        &["cancel", unknown, "--yes"],
        &["ls", "--due-within", "soon"],
        &["ls", "--due-before", "2026-12-01T09:00"],
        &["ls", "--due-before", "1", "--due-within", "1h"],
        &["reschedule", unknown],
        &["reschedule", unknown, "--at", "1", "--delay", "1h"],
        &["run-now"],
        &["pause"],
    ] {
        let ran = cli(&broker, &[&["delayed"], arguments].concat());
        assert_eq!(ran.exit, Some(2), "{ran:?}");
    }
    assert_eq!(names(&list(&broker, "")), ["1"]);
}

#[test]
fn records_are_cancelled_by_name_each_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[1, 2, 3]);
    let [one, two, three] = <[String; 3]>::try_from(ids(&broker)).unwrap();
    let out = cli(&broker, &["delayed", "cancel", "--dry-run", &one, &two]).good();
    assert_eq!(
        out,
        format!("{one} would be cancelled\n{two} would be cancelled\n")
    );
    assert_eq!(names(&list(&broker, "")), ["1", "2", "3"]);
    assert_eq!(
        cli(&broker, &["delayed", "cancel", &one]).good(),
        format!("{one} is cancelled\n")
    );
    let ran = cli(
        &broker,
        &["delayed", "cancel", &one, &three, "--format", "json"],
    );
    assert_eq!(
        (ran.exit, ran.said.lines().count()),
        (Some(3), 1),
        "{ran:?}"
    );
    assert!(
        ran.said
            .starts_with(&format!("tidewheel: {one}: no such record is pending")),
        "{ran:?}"
    );
    assert_eq!(objects(&ran.out), [json!({"id": three, "dry_run": false})]);
    assert_eq!(names(&list(&broker, "")), ["2"]);
}

#[test]
fn many_are_cancelled_only_by_whoever_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1, 2, 200]);
    let soon = ["delayed", "cancel", "--topic", "t", "--due-within", "3h"];
    // Nobody is there to be asked.
    let said = cli(&broker, &soon).failed(2);
    assert!(
        said.contains("2 of t would be cancelled; say --yes"),
        "{said}"
    );
    let with = |more: &[&str]| cli(&broker, &[&soon, more].concat()).good();
    assert_eq!(with(&["--dry-run"]), "2 of t would be cancelled\n");
    assert_eq!(names(&list(&broker, "")), ["1", "2", "200"]);
    assert_eq!(with(&["--yes"]), "2 of t are cancelled\n");
    assert_eq!(names(&list(&broker, "")), ["200"]);
    let none = objects(&with(&["--yes", "--format", "json"]));
    assert_eq!(
        none,
        [json!({"topic": "t", "cancelled": 0, "dry_run": false})]
    );

    // More than a page.
    let due = due_in(HOUR);
    let asked: Vec<Asked> = (0..1_100)
        .map(|later| Asked::at(due + later, "x"))
        .collect();
    produce(&mut client, "t", &asked);
    assert_eq!(with(&["--dry-run"]), "1100 of t would be cancelled\n");
    assert_eq!(with(&["--yes"]), "1100 of t are cancelled\n");
    assert_eq!(names(&list(&broker, "")), ["200"]);
}

#[test]
fn records_are_delivered_now_or_at_another_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let _client = delayed(&broker, &[1, 2, 3]);
    let [one, two, three] = <[String; 3]>::try_from(ids(&broker)).unwrap();
    let out = cli(&broker, &["delayed", "pause", "t"]).good();
    assert_eq!(out, "t is paused\n");
    let out = cli(&broker, &["delayed", "run-now", &one, "--dry-run"]).good();
    assert_eq!(out, format!("{one} would be delivered now\n"));
    let out = cli(&broker, &["delayed", "run-now", &one]).good();
    assert!(
        out.starts_with(&format!("{one} is delivered now, as t-0-")),
        "{out}"
    );
    let out = cli(&broker, &["delayed", "reschedule", &two, "--delay", "5h"]).good();
    assert!(
        out.starts_with(&format!("{two} is delivered at 20")),
        "{out}"
    );
    let at = due_in(4 * HOUR);
    let moved = [
        "delayed",
        "reschedule",
        &three,
        "--format",
        "json",
        "--at",
        &at.to_string(),
    ];
    let moved = objects(&cli(&broker, &moved).good());
    assert_eq!(moved[0]["deliver_at_ms"], json!(at));
    assert_eq!(names(&list(&broker, "")), ["1", "3", "2"]);
    let too_far = ["delayed", "reschedule", &ids(&broker)[1], "--delay", "400d"];
    let said = cli(&broker, &too_far).failed(1);
    assert!(
        said.contains("delay.max.ms") && said.contains("INVALID_TIMESTAMP"),
        "{said}"
    );
}

#[test]
fn what_is_held_is_told_and_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = delayed(&broker, &[1, 2, 3]);
    cli(&broker, &["delayed", "pause", "t"]).good();
    cli(&broker, &["delayed", "run-now", &ids(&broker)[0]]).good();
    let stats = objects(&cli(&broker, &["delayed", "stats", "--format", "json"]).good());
    assert_eq!(
        (&stats[0]["pending"], &stats[0]["per_topic"][0]["paused"]),
        // What was moved counts until it would have been due.
        (&json!(4), &json!(true))
    );
    let stats = cli(&broker, &["delayed", "stats"]).good();
    for part in [
        "pending   4\n",
        "overdue   1\n",
        "\nDUE WITHIN  COUNT\noverdue     1\n",
    ] {
        assert!(stats.contains(part), "{part:?} in {stats}");
    }
    let topic = stats.lines().last().unwrap();
    assert!(
        topic.starts_with("t      both  4") && topic.ends_with("  paused"),
        "{stats}"
    );
    let out = cli(&broker, &["delayed", "resume", "t", "--dry-run"]).good();
    assert_eq!(out, "t would be delivered again\n");
    let out = cli(&broker, &["delayed", "resume", "t"]).good();
    assert_eq!(out, "t is delivered again\n");
    let seen = wait_for(&mut client, "t", 1);
    assert_eq!(seen[0].value, "1");
    let out = cli(&broker, &["delayed", "accept-clock"]).good();
    assert_eq!(out, "the clock is taken as it is\n");
    let dry = objects(
        &cli(
            &broker,
            &["delayed", "accept-clock", "--dry-run", "--format", "json"],
        )
        .good(),
    );
    assert_eq!(dry[0]["dry_run"], Value::Bool(true));
}
