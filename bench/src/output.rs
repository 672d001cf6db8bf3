//! The voice of the bench: results go to stdout, everything else to stderr.

use std::io::{self, Write};

/// Says something to people.
#[expect(clippy::print_stderr, reason = "this is the command's voice")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Prints a result. Whoever reads it may have seen enough, as `head` does.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
