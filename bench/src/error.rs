//! Why a run did not take place, and the exit code it means.

use std::path::PathBuf;

use tidewheel_protocol::{BatchError, DecodeError};

use crate::client::ClientError;
use crate::values::InvalidValue;

/// What keeps a command from its result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The command or a file asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// A value is not what it should be.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// A broker did not do what it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A batch cannot be made.
    #[error("cannot make a batch: {0}")]
    Batch(#[from] BatchError),
    /// What consumers were to begin with could not be produced.
    #[error("what consumers begin with could not be filled in: {lost} records are missing")]
    NotFilled {
        /// How many records failed or were not sent.
        lost: u64,
    },
    /// librdkafka refused to begin.
    #[cfg(feature = "librdkafka")]
    #[error("librdkafka: {0}")]
    Librdkafka(String),
    /// A worker of the run ended in a panic.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl BenchError {
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// Our own records do not read back.
    pub(crate) fn own_batch(source: DecodeError) -> Self {
        Self::Batch(BatchError::MalformedRecord { index: 0, source })
    }

    /// The exit code: 1 error, 2 usage, 3 not found, 4 timed out.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Value(_) | Self::Content { .. } => 2,
            Self::Client(error) if error.is_not_found() => 3,
            Self::Client(ClientError::TimedOut { .. }) => 4,
            Self::Client(_)
            | Self::File { .. }
            | Self::System { .. }
            | Self::Batch(_)
            | Self::NotFilled { .. }
            | Self::Worker(_) => 1,
            #[cfg(feature = "librdkafka")]
            Self::Librdkafka(_) => 1,
        }
    }
}
