//! `tidewheel config` and `serve --check`: what they print, and their exit codes. Nothing is started.

use std::path::Path;
use std::process::{Command, Stdio};

const STOCK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../config/tests/data/kafka-4-server.properties"
);

/// What one run came to.
#[derive(Debug)]
struct Ran {
    exit: Option<i32>,
    out: String,
    said: String,
}

/// Runs `tidewheel` in `dir` with nothing in its environment but `variables`.
fn run_with(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewheel"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran {
        exit: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        said: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ran.said.contains("panicked"), "{arguments:?}: {ran:?}");
    ran
}

fn run(dir: &Path, arguments: &[&str]) -> Ran {
    run_with(dir, arguments, &[])
}

fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

const WRONG: &str = "num.partitons=3\nlog.segment.bytes=12\nssl.keystore.password=hush\n";

#[test]
fn a_good_configuration_is_checked_and_its_warnings_are_told() {
    let dir = dir_with(&[]);
    let ran = run(dir.path(), &["config", "check"]);
    assert_eq!((ran.exit, ran.said.as_str()), (Some(0), ""));
    assert_eq!(ran.out, "the configuration is good: nothing to remark\n");
    let ran = run(dir.path(), &["config", "check", "-c", STOCK]);
    assert_eq!(ran.exit, Some(0));
    assert_eq!(ran.out, "the configuration is good: 16 warnings\n");
    assert_eq!(ran.said.lines().count(), 16);
    let first = format!("warning: {STOCK}:2:1: process.roles has no effect: ");
    assert!(ran.said.starts_with(&first), "{}", ran.said);
    let ran = run(dir.path(), &["serve", "--check", "--config", STOCK]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_exit_code_5() {
    let dir = dir_with(&[("server.properties", WRONG)]);
    let arguments = [
        "config",
        "check",
        "-c",
        "server.properties",
        "--set",
        "node.id=-1",
    ];
    let variables = [("KAFKA_LOG_RETENTION_HOURS", "soon")];
    let ran = run_with(dir.path(), &arguments, &variables);
    assert_eq!((ran.exit, ran.out.as_str()), (Some(5), ""));
    assert_eq!(
        ran.said,
        "server.properties:1:1: there is no broker setting num.partitons; did you mean \
         num.partitions?\n\
         server.properties:2:1: log.segment.bytes = \"12\" is not valid: it must be a number of \
         bytes from 1048576 to 2147483647\n\
         server.properties:3:1: ssl.keystore.password = \"[hidden]\" is not supported: encryption, \
         logins and access control are not built yet\n\
         environment KAFKA_LOG_RETENTION_HOURS: log.retention.hours = \"soon\" is not valid: it must \
         be a number of hours\n\
         --set: node.id = \"-1\" is not valid: it must be a whole number from 0 to 2147483647\n\
         variables that begin with KAFKA_ count as settings; TIDEWHEEL_KAFKA_ENV=off switches that off\n"
    );
    let both = [
        "config",
        "check",
        "--set",
        "num.io.threads=8",
        "--set",
        "node.id=-1",
    ];
    let ran = run(dir.path(), &both);
    let told = "warning: --set: num.io.threads has no effect: threads are managed without settings\n\
                --set: node.id = \"-1\" is not valid: it must be a whole number from 0 to 2147483647\n";
    assert_eq!((ran.exit, ran.said.as_str()), (Some(5), told));
    let ran = run(dir.path(), &["serve", "--check", "-c", "server.properties"]);
    assert_eq!(ran.exit, Some(5));
    let lenient = [
        "config",
        "check",
        "--strict=false",
        "--set",
        "num.partitons=3",
    ];
    let ran = run(dir.path(), &lenient);
    assert_eq!(ran.exit, Some(0));
    let told = "warning: --set: there is no broker setting num.partitons; did you mean \
                num.partitions?\n";
    assert_eq!(ran.said, told);
}

#[test]
fn programs_get_the_same_as_json() {
    let dir = dir_with(&[("server.properties", WRONG)]);
    let arguments = ["config", "check", "--format", "json", "-c"];
    let ran = run(
        dir.path(),
        &[&arguments[..], &["server.properties"]].concat(),
    );
    assert_eq!((ran.exit, ran.said.as_str()), (Some(5), ""));
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["ok"], false);
    assert_eq!(told["problems"].as_array().unwrap().len(), 3);
    assert_eq!(told["problems"][1]["origin"], "server.properties:2:1");
    let ran = run(dir.path(), &[&arguments[..], &[STOCK]].concat());
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, &told["ok"]), (Some(0), &serde_json::json!(true)));
    assert_eq!(told["warnings"].as_array().unwrap().len(), 16);
}

#[test]
fn what_was_given_is_shown_with_its_origin() {
    let dir = dir_with(&[(
        "broker.toml",
        "[log]\nretention.hours = 2\n\"segment.bytes\" = \"4MiB\"\n",
    )]);
    let variables = [
        ("TIDEWHEEL_NODE_ID", "7"),
        ("KAFKA_LISTENERS", "A://127.0.0.1:1,C://127.0.0.1:2"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "C"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "A:PLAINTEXT"),
    ];
    let arguments = [
        "config",
        "show",
        "--origin",
        "-c",
        "broker.toml",
        "--set",
        "log.dirs=a,b",
    ];
    let ran = run_with(dir.path(), &arguments, &variables);
    assert_eq!((ran.exit, ran.said.as_str()), (Some(0), ""));
    assert_eq!(
        ran.out,
        "\"node.id\" = 7  # environment TIDEWHEEL_NODE_ID\n\
         \"listeners\" = [\"A://127.0.0.1:1\"]  # environment KAFKA_LISTENERS\n\
         \"listener.security.protocol.map\" = \"A:PLAINTEXT\"  # environment \
         KAFKA_LISTENER_SECURITY_PROTOCOL_MAP\n\
         \"log.dirs\" = [\"a\", \"b\"]  # --set\n\
         \"log.retention.hours\" = 2  # broker.toml:2:11\n\
         \"log.segment.bytes\" = 4194304  # broker.toml:3:1\n"
    );
    let ran = run(dir.path(), &["config", "show", "--effective", "--origin"]);
    assert!(
        ran.out.contains("\"node.id\" = 1  # default\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("# \"log.retention.ms\" is not set  # default\n")
    );
    let ran = run(
        dir.path(),
        &["config", "show", "--format", "json", "--set", "node.id=3"],
    );
    assert_eq!(
        ran.out,
        "{\"name\":\"node.id\",\"value\":\"3\",\"origin\":\"--set\"}\n"
    );
    assert_eq!(
        run(dir.path(), &["config", "show", "--set", "node.id=x"]).exit,
        Some(5)
    );
}

/// What is shown is itself a configuration.
#[test]
fn what_is_in_force_can_be_written_to_a_file_and_read_again() {
    let dir = dir_with(&[]);
    let shown = run(dir.path(), &["config", "show", "--effective", "--origin"]).out;
    // One of the two names of the same thing.
    let lines = shown
        .lines()
        .filter(|line| !line.starts_with("\"broker.id\""));
    std::fs::write(
        dir.path().join("all.toml"),
        lines.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let ran = run(dir.path(), &["config", "check", "-c", "all.toml"]);
    assert_eq!(ran.out, "the configuration is good: nothing to remark\n");
}

#[test]
fn the_documentation_is_in_the_binary() {
    let dir = dir_with(&[]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let ran = run(dir.path(), &["config", "docs"]);
    assert_eq!(
        (ran.exit, ran.out),
        (Some(0), std::fs::read_to_string(page).unwrap())
    );
    let ran = run(
        dir.path(),
        &["config", "docs", "num.partitions", "num.io.threads"],
    );
    assert_eq!(
        ran.out,
        "num.partitions (broker)\n  type       int\n  default    1\n  values     1 to 10000\n  \
         variables  TIDEWHEEL_NUM_PARTITIONS, KAFKA_NUM_PARTITIONS\n  since      0.1\n  Partitions \
         of a topic whose creator does not say how many.\n\nnum.io.threads (a setting of Apache \
         Kafka)\n  It has no effect here: threads are managed without settings.\n"
    );
    let ran = run(dir.path(), &["config", "docs", "num.partition"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Some(3), ""));
    assert!(
        ran.said.ends_with("did you mean num.partitions?\n"),
        "{}",
        ran.said
    );
    let ran = run(dir.path(), &["config", "docs", "--example"]);
    assert!(ran.out.contains("#\"num.partitions\" = 1\n"));
}

#[test]
fn a_properties_file_and_an_environment_become_toml_that_means_the_same() {
    let dir = dir_with(&[]);
    let shown = |arguments: &[&str], variables: &[(&str, &str)]| {
        let show = ["config", "show", "--effective"];
        run_with(dir.path(), &[&show[..], arguments].concat(), variables).out
    };
    let converted = |arguments: &[&str], variables: &[(&str, &str)]| {
        let ran = run_with(
            dir.path(),
            &[&["config", "convert"][..], arguments].concat(),
            variables,
        );
        assert_eq!((ran.exit, ran.said.as_str()), (Some(0), ""));
        std::fs::write(dir.path().join("converted.toml"), &ran.out).unwrap();
        let ran = run(dir.path(), &["config", "check", "-c", "converted.toml"]);
        assert_eq!(ran.out, "the configuration is good: nothing to remark\n");
        shown(&["-c", "converted.toml"], &[])
    };
    // Without --env the environment says nothing.
    let variables = [
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://kafka:9092"),
        ("KAFKA_LOG_RETENTION_MS", "5"),
        ("TIDEWHEEL_LOG_ACK_ALL", "memory"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
    ];
    assert_eq!(converted(&[STOCK], &variables), shown(&["-c", STOCK], &[]));
    assert_eq!(converted(&["--env"], &variables), shown(&[], &variables));
    let both = converted(&[STOCK, "--env"], &variables);
    assert_eq!(both, shown(&["-c", STOCK], &variables));
    assert!(both.contains("\"log.retention.ms\" = 5\n"), "{both}");
}

#[test]
fn what_cannot_be_converted_prints_nothing() {
    let dir = dir_with(&[("server.properties", WRONG)]);
    for (arguments, exit) in [
        (&["config", "convert", "server.properties"][..], 5),
        (&["config", "convert", "absent.properties"], 2),
        (&["config", "convert", "--strict=false"], 2),
        (&["config", "convert"], 2),
        (&["config", "check", "-c", "absent.toml"], 2),
        (&["config", "frobnicate"], 2),
        (&["config", "docs", "--example", "node.id"], 2),
    ] {
        let ran = run(dir.path(), arguments);
        assert_eq!(
            (ran.exit, ran.out.as_str()),
            (Some(exit), ""),
            "{arguments:?}"
        );
        assert!(!ran.said.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_every_option() {
    let dir = dir_with(&[]);
    for (command, words) in [
        ("check", &["--config", "--set", "--strict", "--format"][..]),
        ("show", &["--origin", "--effective", "--format"]),
        ("docs", &["--example"]),
        ("convert", &["--env", ".properties"]),
    ] {
        let ran = run(dir.path(), &["config", command, "--help"]);
        assert_eq!(ran.exit, Some(0));
        for word in words {
            assert!(ran.out.contains(word), "{command}: {}", ran.out);
        }
    }
}

/// A long file, and bytes that are no text, are told and not swallowed.
#[test]
fn odd_files_are_refused() {
    let dir = dir_with(&[("long.properties", &"#".repeat((1 << 20) + 1))]);
    std::fs::write(dir.path().join("latin.toml"), b"broker.rack = \"\xe9\"\n").unwrap();
    let long = run(dir.path(), &["config", "check", "-c", "long.properties"]);
    assert_eq!(long.exit, Some(5));
    assert!(
        long.said.contains("longer than 1048576 bytes"),
        "{}",
        long.said
    );
    let latin = run(dir.path(), &["config", "check", "-c", "latin.toml"]);
    assert_eq!(latin.said, "latin.toml:1:16: the file is not UTF-8\n");
    let dir_itself = run(dir.path(), &["config", "check", "-c", "."]);
    assert_eq!(dir_itself.exit, Some(2));
}
