//! How a command ends, what it says before, and the form of its output.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::table::is_hidden;
use super::{EXIT_ENVIRONMENT, EXIT_USAGE, say};

/// There is nothing of that name.
pub(crate) const EXIT_NOT_FOUND: u8 = 3;
/// No answer in time.
pub(crate) const EXIT_TIMED_OUT: u8 = 4;
/// What was to be checked is not as it should be.
pub(crate) const EXIT_CHECK_FAILED: u8 = 5;

/// How the output looks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why a command ended early; what there was to say has been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u8);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        // Whoever reads our output has seen enough, as `head` does.
        if error.kind() != io::ErrorKind::BrokenPipe {
            say(&format!("cannot write the output: {error}"));
        }
        Failure(EXIT_ENVIRONMENT)
    }
}

/// Says what is wrong with the arguments.
pub(crate) fn usage(sentence: &str) -> Failure {
    failed(sentence, EXIT_USAGE)
}

/// Says why a command ends with this code.
pub(crate) fn failed(sentence: &str, code: u8) -> Failure {
    say(&format!("tidewheel: {sentence}"));
    Failure(code)
}

/// The code of a command that has ended.
pub(crate) fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code)) => ExitCode::from(code),
    }
}

/// What waits for sockets, on this thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| failed(&format!("cannot start: {error}"), EXIT_ENVIRONMENT))
}

/// One object on a line of its own. What [`table::escaped`](super::table::escaped) keeps from a terminal is escaped here,
/// too, as JSON has it, which reads the same.
pub(crate) fn print_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Plain))?;
    writeln!(out)
}

/// JSON as it may stand on a terminal.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            // Those beyond 16 bits come in two halves.
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_nothing_that_moves_the_cursor_and_reads_the_same() {
        for (text, written) in [
            ("größe \u{1f600}", "\"größe \u{1f600}\""),
            ("a\u{1b}[2J\n", r#""a\u001b[2J\n""#),
            (
                "\u{9b}1m\u{7f}x\u{80}\u{9f}\u{a0}",
                "\"\\u009b1m\\u007fx\\u0080\\u009f\u{a0}\"",
            ),
            ("\u{202e}\"\\\u{feff}", r#""\u202e\"\\\ufeff""#),
        ] {
            let mut out = Vec::new();
            print_json(&mut out, &text).unwrap();
            let line = String::from_utf8(out).unwrap();
            assert_eq!(line, format!("{written}\n"));
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
        // Names, too.
        let mut out = Vec::new();
        print_json(&mut out, &std::collections::BTreeMap::from([("\u{85}", 1)])).unwrap();
        assert_eq!(out, b"{\"\\u0085\":1}\n");
    }
}
