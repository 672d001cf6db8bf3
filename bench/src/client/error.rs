//! Why a request got no good answer.

use std::time::Duration;

use tidewheel_protocol::{ApiKey, DecodeError, ErrorCode};

/// What can go wrong between a client and a broker.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came about.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket failed.
    #[error("connection to {address} failed: {source}")]
    Io {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The broker closed the connection.
    #[error("{address} closed the connection")]
    Closed {
        /// `host:port`.
        address: String,
    },
    /// No answer in time.
    #[error("no answer from {address} in {after:?}")]
    TimedOut {
        /// `host:port`.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not what was asked for.
    #[error("{address} sent an answer that cannot be read: {source}")]
    Decode {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The answer is longer than any answer may be, or belongs to another request.
    #[error("{address} sent something that is no answer: {what}")]
    Malformed {
        /// `host:port`.
        address: String,
        /// What was found.
        what: String,
    },
    /// The broker and this client share no version of an API.
    #[error("{address} does not speak a version of {api} that this client knows")]
    UnsupportedVersion {
        /// `host:port`.
        address: String,
        /// The API.
        api: ApiKey,
    },
    /// The broker refused.
    #[error("{what}: {}{}", code_name(*code), detail.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// What the broker says about it.
        detail: Option<String>,
    },
    /// A partition has no leader, or the leader is no known broker.
    #[error("{topic}-{partition} has no leader that can be reached")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition's number.
        partition: i32,
    },
}

impl ClientError {
    /// A short name under which such errors are counted.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Connect { .. } => "cannot connect".to_owned(),
            Self::Io { source, .. } => format!("connection failed: {}", source.kind()),
            Self::Closed { .. } => "connection closed".to_owned(),
            Self::TimedOut { .. } => "timed out".to_owned(),
            Self::Decode { .. } | Self::Malformed { .. } => "unreadable answer".to_owned(),
            Self::UnsupportedVersion { .. } => "unsupported version".to_owned(),
            Self::Refused { code, .. } => code_name(*code),
            Self::NoLeader { .. } => "no leader".to_owned(),
        }
    }

    /// Whether the broker says that there is no such topic or partition.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. }
            if *code == ErrorCode::UnknownTopicOrPartition.code())
    }
}

/// Kafka's name of an error code.
pub(crate) fn code_name(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => known.name().to_owned(),
        None => format!("error code {code}"),
    }
}
