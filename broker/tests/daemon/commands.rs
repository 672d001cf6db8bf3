//! Runs commands that speak to a broker, and looks at what they print.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Broker, tidewheel};

/// What one run printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: Option<i32>,
    pub(crate) out: String,
    pub(crate) said: String,
}

/// Runs a command that finds the broker, with this on its standard input.
pub(crate) fn fed(broker: &Broker, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = tidewheel(arguments);
    command.args(["--brokers", &broker.address]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    // One that ends at once reads nothing.
    let _fed = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        exit: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        said: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The same with nothing on its standard input.
pub(crate) fn ran(broker: &Broker, arguments: &[&str]) -> Ran {
    fed(broker, arguments, b"")
}

/// What a command prints that has nothing to complain about.
pub(crate) fn good(broker: &Broker, arguments: &[&str]) -> String {
    good_fed(broker, arguments, b"")
}

/// The same with this on its standard input.
pub(crate) fn good_fed(broker: &Broker, arguments: &[&str], input: &[u8]) -> String {
    let ran = fed(broker, arguments, input);
    assert_eq!((ran.exit, ran.said.as_str()), (Some(0), ""), "{ran:?}");
    ran.out
}

/// The objects that a command prints, one a line.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A table as words, without the width of its columns.
pub(crate) fn words(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// Runs each command; none of them prints anything, but says this and ends with this exit code.
pub(crate) fn refused(broker: &Broker, cases: &[(&[&str], i32, &str)]) {
    for (arguments, exit, word) in cases {
        let ran = ran(broker, arguments);
        assert_eq!((ran.exit, ran.out.as_str()), (Some(*exit), ""), "{ran:?}");
        assert!(ran.said.contains(word), "{arguments:?}: {ran:?}");
    }
}
