//! Why an operation of the broker was refused or failed; `api/error.rs` makes Kafka's codes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_config::ConfigError;
use tidewheel_protocol::Uuid;
use tidewheel_storage::StorageError;

use crate::metadata::MetadataError;

/// Settings beside the first of which it is told what is wrong with them.
const OTHERS_MAX: usize = 99;

/// All that is wrong with the settings of one resource. Reads as the first of it, which is what Kafka's API tells.
#[derive(Debug, thiserror::Error)]
#[error("{first}")]
pub(crate) struct WrongConfigs {
    /// Whether they are settings of brokers, of which Kafka tells with another code.
    pub(crate) of_broker: bool,
    /// What is wrong with one, or with how they go together.
    pub(crate) first: ConfigError,
    /// What is wrong with others.
    pub(crate) others: Vec<ConfigError>,
}

impl WrongConfigs {
    /// Finds out, after `first` was found, what `check` has against any of `configs`.
    pub(crate) fn find(
        first: ConfigError,
        configs: &BTreeMap<String, String>,
        check: impl Fn(&str, &str) -> Result<(), ConfigError>,
    ) -> Self {
        let errors = configs.iter().map(|(name, value)| check(name, value));
        let others = errors.filter_map(Result::err);
        Self {
            of_broker: false,
            others: others
                .filter(|error| *error != first)
                .take(OTHERS_MAX)
                .collect(),
            first,
        }
    }
}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// The topic name breaks Kafka's rules or collides with another.
    #[error("{reason}: {name:?}")]
    InvalidTopic {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The topic is there already.
    #[error("topic {name} exists already")]
    TopicExists {
        /// The name.
        name: String,
    },
    /// There is no such topic.
    #[error("there is no topic {name}")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// No topic has that id.
    #[error("there is no topic with the id {id}")]
    UnknownTopicId {
        /// The id.
        id: Uuid,
    },
    /// The number of partitions is out of bounds.
    #[error("{partitions} partitions: a topic has 1 to {max}, or -1 for the broker's default")]
    InvalidPartitions {
        /// What was asked.
        partitions: i32,
        /// The bound.
        max: i32,
    },
    /// There would be more partitions than the process can serve.
    #[error("{added} partitions beside {present} would be more than {max}, which {bound} allows")]
    TooManyPartitions {
        /// What was asked.
        added: i32,
        /// What is there.
        present: usize,
        /// The bound.
        max: usize,
        /// What it follows from.
        bound: &'static str,
    },
    /// A topic is to grow, but not to more partitions than it has.
    #[error("the topic has {present} partitions: {wanted} would not be an increase")]
    NotMorePartitions {
        /// What it has.
        present: i32,
        /// What was asked.
        wanted: i32,
    },
    /// The replication factor is out of bounds.
    #[error("replication factor {factor}: this broker accepts 1 to {max}, or -1 for its default")]
    InvalidReplicationFactor {
        /// What was asked.
        factor: i16,
        /// The bound.
        max: i16,
    },
    /// The explicit assignment makes no sense on this broker.
    #[error("{reason}")]
    InvalidAssignment {
        /// What is wrong with it.
        reason: String,
    },
    /// A topic config is unknown or its value is out of bounds.
    #[error("{reason}")]
    InvalidConfig {
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of the broker is unknown, cannot be changed while it runs, or its value is out of bounds.
    #[error("{reason}")]
    RefusedBrokerConfig {
        /// What is wrong with it.
        reason: String,
    },
    /// Settings are unknown, cannot be set where they were, or their values are out of bounds.
    #[error(transparent)]
    WrongConfigs(Box<WrongConfigs>),
    /// The settings are not those any more that the change was meant for.
    #[error("the settings were changed meanwhile: look at them again")]
    ConfigsChanged,
    /// The request contradicts itself.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `delete.topic.enable` is false.
    #[error("topics cannot be deleted here: delete.topic.enable is false")]
    DeletionDisabled,
    /// The metadata log failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A partition's log failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What several topics of one request failed with together.
    #[error(transparent)]
    Together(Arc<BrokerError>),
    /// So many changes wait for their turn that one more is not taken.
    #[error("too many changes of topics are waiting: try again later")]
    Busy,
    /// Levels of the log were changed so often that this is not done once more now.
    #[error("levels of the log are changed too often: try again later")]
    TooOften,
    /// The time that the request gave is over; a change that has begun is still carried out.
    #[error("not done in the time that the request gave")]
    TimedOut,
    /// The broker is going down.
    #[error("the broker is stopping")]
    Stopped,
}

impl BrokerError {
    /// A client wants to make the broker's own topic, or to do to it what would take groups away from their
    /// offsets.
    pub(crate) fn internal_topic(name: &str) -> Self {
        Self::InvalidTopic {
            name: name.to_owned(),
            reason: "the broker itself keeps what groups committed in this topic",
        }
    }
}
