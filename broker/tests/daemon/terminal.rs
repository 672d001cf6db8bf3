//! Commands at a terminal, which `script` of util-linux makes, and the same ones in pipes.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::commands::{fed, good, ran};
use crate::support::commands::{Ran, skipped};
use crate::support::http::{admin, start};
use crate::support::{Broker, batch, eventually, run, set_apart, tidewheel};

/// A shell that runs a line with the program's name before it, at a terminal.
///
/// The shell becomes the program, because what a shell makes of the key that ends both is its own
/// affair: dash ends by the signal (130), bash with the exit code of the program.
fn terminal(broker: Option<&Broker>, line: &str) -> Command {
    let mut command = Command::new("script");
    let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_tidewheel"));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    set_apart(&mut command);
    if let Some(broker) = broker {
        command.env("TIDEWHEEL_BROKERS", &broker.address);
    }
    command.env("SHELL", "/bin/sh").env("TERM", "xterm");
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it looks like, and the exit code; `None` where there is no `script`, which is said.
fn shown(broker: Option<&Broker>, line: &str) -> Option<(Option<i32>, String)> {
    let output = match terminal(broker, line).output() {
        Ok(output) => output,
        Err(error) => {
            skipped("script of the package bsdutils", &error);
            return None;
        }
    };
    let ran = Ran::new(output);
    Some((ran.exit, ran.out))
}

/// Somebody who sees what is on the terminal and types.
struct Person {
    child: std::process::Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Person {
    fn sits_down(broker: Option<&Broker>, line: &str) -> Option<Self> {
        let mut command = terminal(broker, line);
        let mut child = match command.stdin(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => {
                skipped("script of the package bsdutils", &error);
                return None;
            }
        };
        Some(Self {
            keys: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            child,
            seen: String::new(),
        })
    }

    /// Waits until this has been seen.
    fn sees(&mut self, text: &str) {
        let mut piece = [0; 1024];
        while !self.seen.contains(text) {
            let len = self.screen.read(&mut piece).unwrap();
            assert_ne!(len, 0, "it ended with {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&piece[..len]));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code, and all that was seen.
    fn leaves(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code(), self.seen)
    }
}

/// The names under `Commands:` of a help.
pub(crate) fn commands_of(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_help_and_says_which_flag_it_does_not_know() {
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let with = |flag: &str| {
            let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            arguments.push(flag);
            Ran::new(run(&arguments))
        };
        for flag in ["--help", "-h"] {
            let help = with(flag).good();
            let usage = format!("Usage: tidewheel{}", spaced(&command));
            assert!(help.contains(&usage), "{command:?}: {help}");
            assert!(!help.starts_with("Usage"), "{command:?} says what it does");
        }
        let unknown = with("--no-such-flag");
        assert_eq!(unknown.exit, Some(2), "{command:?}: {unknown:?}");
        assert!(
            unknown.said.contains("'--no-such-flag'") && unknown.out.is_empty(),
            "{command:?}: {unknown:?}"
        );
        for name in commands_of(&with("--help").good()) {
            left.push([command.clone(), vec![name]].concat());
        }
        seen += 1;
    }
    assert!(seen > 50, "{seen} are not all commands");
}

fn spaced(command: &[String]) -> String {
    command.iter().map(|word| format!(" {word}")).collect()
}

/// A stopped broker's directory with a megabyte in it.
fn data(dir: &Path) -> String {
    let broker = Broker::start(dir);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    for _ in 0..10 {
        let answer = client.produce("t", 0, -1, batch(&[&"x".repeat(100_000)]));
        assert_eq!(answer.error_code, 0);
    }
    assert!(broker.stop());
    dir.display().to_string()
}

#[test]
fn long_work_on_files_shows_how_far_it_is_on_a_terminal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = data(dir.path());
    for (command, says) in [
        ("verify", ": ok, "),
        ("reindex", ": indexes of 0 segments rebuilt"),
        ("repair", " partitions, 0 repaired"),
    ] {
        let Some((exit, screen)) = shown(None, &format!("log {command} {path}")) else {
            return;
        };
        assert_eq!(exit, Some(0), "{screen}");
        assert!(
            screen.contains(&format!("log {command}  ")) && screen.contains(" of 97"),
            "{command}: {screen:?}"
        );
        // The outcome stands alone, and nothing is left of the line in the end.
        let mut lines = screen.split(['\r', '\n']);
        let told = lines.find(|line| line.contains(says)).unwrap();
        assert!(!told.contains("KiB"), "{command}: {screen:?}");
        assert!(screen.ends_with("\u{1b}[2K"), "{command}: {screen:?}");
        let quiet = shown(None, &format!("log {command} {path} --quiet"));
        let (exit, screen) = quiet.unwrap();
        assert_eq!((exit, screen.lines().count()), (Some(0), 1), "{screen:?}");
        let piped = Ran::new(run(&["log", command, &path])).good();
        assert_eq!(piped.lines().count(), 1, "{piped}");
    }
    let into = dir.path().join("dumped");
    let line = format!("log dump {path} > {}", into.display());
    let (exit, screen) = shown(None, &line).unwrap();
    assert_eq!(exit, Some(0), "{screen}");
    assert!(screen.contains("log dump  "), "{screen:?}");
    let dumped = fs::read_to_string(&into).unwrap();
    assert!(
        dumped.contains("t-0") && !dumped.contains("log dump"),
        "{dumped}"
    );
    let (_, screen) = shown(None, &format!("log dump {path}")).unwrap();
    assert!(!screen.contains("log dump  "), "{screen:?}");
}

#[test]
fn records_on_their_way_are_counted_on_a_terminal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    let input = dir.path().join("input");
    fs::write(&input, "hello\n".repeat(1_000)).unwrap();
    let from = format!("produce t < {}", input.display());
    let Some((exit, screen)) = shown(Some(&broker), &from) else {
        return;
    };
    assert_eq!(exit, Some(0), "{screen}");
    assert!(
        screen.contains("produce t  ") && screen.contains(" of 5.86 KiB"),
        "{screen:?}"
    );
    assert!(
        screen.ends_with("topic t: 1000 records produced\r\n"),
        "{screen:?}"
    );
    let told = fed(&broker, &["produce", "t"], b"hello\n").good();
    assert_eq!(told, "topic t: 1 record produced\n");

    let into = dir.path().join("output");
    let to = format!("consume t -e > {}", into.display());
    let (exit, screen) = shown(Some(&broker), &to).unwrap();
    assert_eq!(exit, Some(0), "{screen}");
    assert!(
        screen.contains("consume t  ") && screen.contains(" of 1,001 records"),
        "{screen:?}"
    );
    let printed = fs::read_to_string(&into).unwrap();
    assert_eq!(printed, good(&broker, &["consume", "t", "-e"]));
    let (_, screen) = shown(Some(&broker), &format!("{to} --quiet")).unwrap();
    assert_eq!(screen, "");

    // Who sees the records needs nothing else, and no JSON.
    let (exit, screen) = shown(Some(&broker), "consume t -n 2").unwrap();
    assert_eq!((exit, screen.as_str()), (Some(0), "hello\r\nhello\r\n"));
    let (exit, screen) = shown(Some(&broker), "topic trim t --to 1000").unwrap();
    assert_eq!(exit, Some(0), "{screen}");
    assert!(
        screen.contains("topic trim t  ") && screen.contains("LOG-START-OFFSET"),
        "{screen:?}"
    );
    let trimmed = ran(&broker, &["topic", "trim", "t", "--to", "end"]);
    assert_eq!((trimmed.exit, trimmed.said.as_str()), (Some(0), ""));
    assert!(broker.stop());
}

#[test]
fn a_key_ends_what_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.connect().create_topic("t", 1, &[]);
    let Some(mut person) = Person::sits_down(Some(&broker), "consume t") else {
        return;
    };
    fed(&broker, &["produce", "t"], b"seen\n").good();
    person.sees("seen\r\n");
    person.types("\u{3}");
    let (exit, screen) = person.leaves();
    assert_eq!(exit, Some(0), "{screen:?}");

    let mut typist = Person::sits_down(Some(&broker), "produce t").unwrap();
    typist.types("typed\n");
    eventually("it is produced when its line ends", || {
        good(&broker, &["consume", "t", "-e"]).contains("typed")
    });
    typist.types("\u{4}");
    let (exit, screen) = typist.leaves();
    assert_eq!(exit, Some(0), "{screen:?}");
    assert!(
        screen.ends_with("topic t: 1 record produced\r\n") && !screen.contains("KiB"),
        "{screen:?}"
    );
    assert!(broker.stop());
}

#[test]
fn who_cancels_many_is_asked_before() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("delay.mode", "header")]);
    fed(&broker, &["produce", "t", "--delay", "1h"], b"one\n").good();
    let url = format!("http://{}", admin(&broker));
    let line = format!("delayed cancel --topic t --admin-url {url}");
    let left = || {
        let mut listed = tidewheel(&["delayed", "ls", "--topic", "t", "--admin-url", &url]);
        let listed = Ran::new(listed.output().unwrap()).good();
        listed.lines().count() - 1
    };
    eventually("it is listed", || left() == 1);
    for (answer, exit, says, after) in [
        ("n\n", Some(1), "nothing was cancelled", 1),
        ("\n", Some(1), "nothing was cancelled", 1),
        ("y\n", Some(0), "1 of t are cancelled", 0),
    ] {
        let Some(mut person) = Person::sits_down(Some(&broker), &line) else {
            return;
        };
        person.sees("1 of t would be cancelled. Cancel them? [y/N] ");
        person.types(answer);
        let (code, screen) = person.leaves();
        assert_eq!(code, exit, "{screen:?}");
        assert!(screen.contains(says), "{screen:?}");
        eventually("it is listed, or no more", || left() == after);
    }
    assert!(broker.stop());
}

/// People are shown lines to copy in the place of that for programs.
#[test]
fn a_broker_for_development_tells_people_what_to_type() {
    let line = "dev --port 0 --ephemeral --set tidewheel.admin.listen=off";
    let Some(mut person) = Person::sits_down(None, line) else {
        return;
    };
    person.sees("stop          Ctrl-C\r\n");
    person.types("\u{3}");
    let (exit, screen) = person.leaves();
    assert_eq!(exit, Some(0), "{screen}");
    assert!(
        screen.contains("listening on  ") && screen.contains("consume       "),
        "{screen}"
    );
    assert!(!screen.contains("{\""), "{screen}");
}
