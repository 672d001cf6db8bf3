//! Runs commands that speak to a broker, and looks at what they print.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::support::commands::Ran;
use crate::support::{Broker, tidewheel};

/// Runs a command that finds the broker, with this on its standard input.
pub(crate) fn fed(broker: &Broker, arguments: &[&str], input: &[u8]) -> Ran {
    fed_at(&broker.address, arguments, input)
}

/// The same with what listens at this address.
pub(crate) fn fed_at(address: &str, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = tidewheel(arguments);
    command.args(["--brokers", address]);
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

/// A command that goes on until it is stopped.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(broker: &Broker, arguments: &[&str]) -> Self {
        Self::start_at(&broker.address, arguments)
    }

    /// The same with what listens at this address.
    pub(crate) fn start_at(address: &str, arguments: &[&str]) -> Self {
        let mut command = tidewheel(arguments);
        command.args(["-b", address]).stdin(Stdio::piped());
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn feed(&mut self, text: &str) {
        self.input
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Nothing more comes in, and nothing is read any more: the exit code, and what it said.
    pub(crate) fn leave(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        drop(self.output);
        let output = self.child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// The same where what comes out is read to its end.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        self.leave()
    }

    /// The same where nobody reads what comes out, and nobody closes it.
    pub(crate) fn unread(mut self) -> (Option<i32>, String) {
        let exit = self.child.wait().unwrap().code();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (exit, said)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}
