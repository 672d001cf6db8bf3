//! What a run of a command printed, and commands that are missing.

use std::process::Output;

use serde_json::Value;

/// What one run printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: Option<i32>,
    pub(crate) out: String,
    pub(crate) said: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What was printed where all went well.
    pub(crate) fn good(self) -> String {
        assert_eq!((self.exit, self.said.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// The one sentence that was said where it did not.
    pub(crate) fn failed(self, exit: i32) -> String {
        assert_eq!(
            (self.exit, self.said.lines().count()),
            (Some(exit), 1),
            "{self:?}"
        );
        assert!(self.said.starts_with("tidewheel: "), "{self:?}");
        self.said
    }
}

/// The objects that a command printed, one a line.
pub(crate) fn objects(printed: &str) -> Vec<Value> {
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a tool would show is not looked at, for it cannot be started; in CI, where everything must run, that fails.
pub(crate) fn skipped(tool: &str, error: &std::io::Error) {
    let is_required = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_required, "{tool}: {error}");
    #[expect(clippy::print_stdout, reason = "what is skipped is said")]
    {
        println!("ignored: {tool}: {error}");
    }
}
