//! Runs commands that speak to a broker, and looks at what they print.

use std::io::Write;
use std::process::Stdio;

use crate::support::commands::Ran;
use crate::support::{Broker, tidewheel};

/// Runs a command that finds the broker, with this on its standard input.
pub(crate) fn fed(broker: &Broker, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = tidewheel(arguments);
    command.args(["--brokers", &broker.address]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    // One that ends at once reads nothing.
    let _fed = child.stdin.take().unwrap().write_all(input);
    Ran::new(child.wait_with_output().unwrap())
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
    fed(broker, arguments, input).good()
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
