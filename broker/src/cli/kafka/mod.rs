//! What the commands share that speak Kafka's protocol, with this or any other broker.

pub(crate) mod client;
pub(crate) mod escapes;
pub(crate) mod offsets;
pub(crate) mod place;
pub(crate) mod time;

use std::time::Duration;

use clap::Args;
use tidewheel_bench::cli::BrokersArguments;
use tidewheel_protocol::{ErrorCode, StrBytes};

use self::client::{Client, ClientError};
use super::outcome::{EXIT_NOT_FOUND, EXIT_TIMED_OUT, Failure, failed, runtime};
use super::table;
use super::{EXIT_ENVIRONMENT, say};

/// Which cluster, and how long it may take.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    brokers: BrokersArguments,
    /// Seconds to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl ClusterArguments {
    /// How long each answer may take.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The same as requests have it, in ms.
    pub(crate) fn wait_ms(&self) -> i32 {
        i32::try_from(self.wait().as_millis()).unwrap_or(i32::MAX)
    }

    /// Connects to the first broker that answers.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.reach(self.wait()).await?)
    }

    /// The same for who waits so long for each answer; nothing is said of it.
    pub(crate) async fn reach(&self, wait: Duration) -> Result<Client, ClientError> {
        Client::connect(&self.brokers.brokers, wait).await
    }
}

/// Some of the partitions that a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct PartitionsArguments {
    /// Only these partitions
    #[arg(
        short,
        long = "partition",
        value_name = "NUMBER",
        value_delimiter = ','
    )]
    pub(crate) partitions: Vec<i32>,
}

impl PartitionsArguments {
    /// Whether it is about a partition.
    pub(crate) fn has(&self, partition: i32) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::TimedOut { .. } => EXIT_TIMED_OUT,
            ClientError::Refused { code, .. } => exit_for(ErrorCode::from_code(*code)),
            _ => EXIT_ENVIRONMENT,
        };
        failed(&table::escaped(&error.to_string()), code)
    }
}

/// The exit code that an error of a broker stands for.
fn exit_for(code: Option<ErrorCode>) -> u8 {
    match code {
        Some(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::GroupIdNotFound
            | ErrorCode::ResourceNotFound,
        ) => EXIT_NOT_FOUND,
        Some(ErrorCode::RequestTimedOut) => EXIT_TIMED_OUT,
        _ => EXIT_ENVIRONMENT,
    }
}

/// Kafka's name of an error.
pub(crate) fn code_name(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => known.name().to_owned(),
        None => format!("error code {code}"),
    }
}

/// Says what a broker said instead of doing it.
pub(crate) fn refused(of: &str, code: i16, message: Option<&StrBytes>) -> Failure {
    let name = code_name(code);
    match message.filter(|message| !message.is_empty()) {
        Some(message) => {
            let message = table::escaped(message);
            say(&format!("tidewheel: {of}: {message} ({name})"));
        }
        None => say(&format!("tidewheel: {of}: {name}")),
    }
    Failure(exit_for(ErrorCode::from_code(code)))
}

/// Says that an answer tells nothing of what was asked.
pub(crate) fn untold(client: &Client, of: &str) -> Failure {
    let here = table::escaped(client.here());
    let sentence = format!("{of}: the answer of {here} tells nothing of it");
    failed(&sentence, EXIT_ENVIRONMENT)
}

/// Runs a command to its end.
pub(crate) fn waited_for(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime()?.block_on(work)
}

/// The first failure of several things that were all tried.
#[derive(Debug, Default)]
pub(crate) struct Tried(Option<Failure>);

impl Tried {
    /// Notes a failure, of which was told already.
    pub(crate) fn note(&mut self, failure: Failure) {
        self.0.get_or_insert(failure);
    }

    /// How all of it ended.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}
