//! What can be wrong with a setting, and with a set of them.

use std::fmt;

/// One problem with one setting; reads as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("there is no {scope} setting {key}{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// `broker`, `topic` or `group`.
        scope: &'static str,
        /// The name as given.
        key: String,
        /// The nearest existing name.
        suggestion: Option<String>,
    },
    /// The value does not fit the setting.
    #[error("{key} = {value:?} is not valid: {expected}")]
    Invalid {
        /// The setting.
        key: String,
        /// The value as given.
        value: String,
        /// What would fit: type and range, or what is wrong.
        expected: String,
    },
    /// Apache Kafka knows the setting or value, this version of Tidewheel does not act on it.
    #[error("{key} = {value:?} is not supported: {reason}")]
    Unsupported {
        /// The setting.
        key: String,
        /// The value as given.
        value: String,
        /// Why.
        reason: String,
    },
    /// The source itself cannot be read: syntax of a file, a `--set` without `=`.
    #[error("{0}")]
    Syntax(String),
}

impl ConfigError {
    /// The setting that is wrong; `None` where the source is.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unknown { key, .. }
            | Self::Invalid { key, .. }
            | Self::Unsupported { key, .. } => Some(key),
            Self::Syntax(_) => None,
        }
    }
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The configuration file; line and column count from 1.
    File {
        /// Name of the file as the caller gave it.
        file: String,
        /// Line of the key.
        line: usize,
        /// Column of the key.
        column: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A `--set` argument.
    Argument,
    /// What the command that starts the broker takes where nobody says otherwise.
    Command,
    /// No single place: the settings contradict each other.
    Combination,
}

/// A [`ConfigError`] and the place that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub error: ConfigError,
}

/// Everything that is wrong with a configuration, in the order of its sources; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// What is wrong, at least one.
    pub problems: Vec<Problem>,
    /// What is odd besides.
    pub warnings: Vec<Warning>,
}

impl ConfigErrors {
    /// How to get rid of problems that are about nothing of ours, where there are such: variables of this form
    /// are also set for programs that talk to Kafka.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let is_kafkas = |problem: &Problem| match &problem.place {
            Place::Environment(name) => name.starts_with("KAFKA_"),
            _ => false,
        };
        self.problems.iter().any(is_kafkas).then_some(
            "variables that begin with KAFKA_ count as settings; TIDEWHEEL_KAFKA_ENV=off switches that off",
        )
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.hint() {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

/// Something odd about a configuration that keeps nothing from starting; reads as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A setting of Apache Kafka, or a value of it, that has no effect here.
    Ignored {
        /// Where it was given.
        place: Place,
        /// The setting.
        key: String,
        /// The value as given; `None` where it may be a secret.
        value: Option<String>,
        /// Why it has no effect.
        reason: String,
    },
    /// Anything else.
    Note {
        /// What caused it.
        place: Place,
        /// What is odd.
        sentence: String,
    },
}

impl Warning {
    /// Where it comes from.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Warning::Ignored { place, .. } | Warning::Note { place, .. } => place,
        }
    }

    /// The sentence without its place.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Warning::Ignored { key, reason, .. } => format!("{key} has no effect: {reason}"),
            Warning::Note { sentence, .. } => sentence.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Environment(name) => write!(f, "environment {name}"),
            Place::Argument => f.write_str("--set"),
            Place::Command => f.write_str("the command's own default"),
            Place::Combination => f.write_str("all together"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        placed(f, &self.place, &self.error)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        placed(f, self.place(), &self.sentence())
    }
}

fn placed(f: &mut fmt::Formatter<'_>, place: &Place, what: &dyn fmt::Display) -> fmt::Result {
    match place {
        Place::Combination => write!(f, "{what}"),
        _ => write!(f, "{place}: {what}"),
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
