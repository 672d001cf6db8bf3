//! Topics come, grow and go.

use std::io::{self, Write};

use clap::Args;
use tidewheel_config::{Scope, canonical};
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tidewheel_protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewheel_protocol::{ErrorCode, StrBytes};

use crate::cli::kafka::client::To;
use crate::cli::kafka::offsets::topics;
use crate::cli::kafka::{ClusterArguments, Tried, refused, untold};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, usage};
use crate::cli::table::escaped;

/// The newest version of DeleteTopics that takes names alone.
const DELETE_BY_NAME: i16 = 5;

/// Arguments of `topic create`.
#[derive(Args, Debug)]
pub(super) struct CreateArguments {
    /// Names of the new topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How many partitions each has [the broker's num.partitions]
    #[arg(short, long, value_name = "COUNT",
        value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas each partition has [the broker's default.replication.factor]
    #[arg(short, long, value_name = "COUNT",
        value_parser = clap::value_parser!(i16).range(1..))]
    replicas: Option<i16>,
    /// A setting of the topics, several times; times and sizes may have units, as 7d and 64MiB
    #[arg(short, long = "config", value_name = "NAME=VALUE")]
    configs: Vec<String>,
    /// Be content with topics that are there already
    #[arg(long)]
    if_not_exists: bool,
    /// Check everything and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `topic delete`.
#[derive(Args, Debug)]
pub(super) struct DeleteArguments {
    /// Names of topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Be content with topics that are not there
    #[arg(long)]
    if_exists: bool,
}

/// Arguments of `topic add-partitions`.
#[derive(Args, Debug)]
pub(super) struct AddPartitionsArguments {
    /// Names of topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How many partitions each gets besides those it has
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    num: i32,
    /// Check everything and add nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes topics.
pub(super) async fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let mut configs = Vec::new();
    for setting in &arguments.configs {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| usage(&format!("{setting:?} is not NAME=VALUE")))?;
        let (name, value) = (name.trim(), value.trim());
        configs.push(CreatableTopicConfig {
            name: StrBytes::from(name),
            value: Some(StrBytes::from(canonical(Scope::Topic, name, value))),
        });
    }
    let mut client = arguments.cluster.connect().await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    let would = if arguments.dry_run { "would be " } else { "" };
    // Each in a request of its own: what one of them has to wait for is not asked for again with those that are made.
    for name in &arguments.topics {
        let topic = CreatableTopic {
            name: StrBytes::from(name.as_str()),
            num_partitions: arguments.partitions.unwrap_or(-1),
            replication_factor: arguments.replicas.unwrap_or(-1),
            configs: configs.clone(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: arguments.cluster.wait_ms(),
            validate_only: arguments.dry_run,
        };
        let answer: CreateTopicsResponse = client.call(To::Controller, i16::MAX, &request).await?;
        let of = format!("topic {}", escaped(name));
        let result = answer.topics.into_iter().next();
        let result = result.ok_or_else(|| untold(&client, &of))?;
        let exists = result.error_code == ErrorCode::TopicAlreadyExists.code();
        match result.error_code {
            0 => writeln!(out, "{of}: {would}created")?,
            _ if exists && arguments.if_not_exists => writeln!(out, "{of}: is there")?,
            code => tried.note(refused(&of, code, result.error_message.as_ref())),
        }
    }
    tried.end()
}

/// Deletes topics.
pub(super) async fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    for name in &arguments.topics {
        let request = DeleteTopicsRequest {
            topic_names: vec![StrBytes::from(name.as_str())],
            timeout_ms: arguments.cluster.wait_ms(),
            ..DeleteTopicsRequest::default()
        };
        let to = To::Controller;
        let answer: DeleteTopicsResponse = client.call(to, DELETE_BY_NAME, &request).await?;
        let of = format!("topic {}", escaped(name));
        let result = answer.responses.into_iter().next();
        let result = result.ok_or_else(|| untold(&client, &of))?;
        let unknown = result.error_code == ErrorCode::UnknownTopicOrPartition.code();
        match result.error_code {
            0 => writeln!(out, "{of}: deleted")?,
            _ if unknown && arguments.if_exists => writeln!(out, "{of}: is not there")?,
            code => tried.note(refused(&of, code, result.error_message.as_ref())),
        }
    }
    tried.end()
}

/// Gives topics more partitions.
pub(super) async fn add_partitions(arguments: &AddPartitionsArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    let would = if arguments.dry_run {
        "would have"
    } else {
        "has"
    };
    for name in &arguments.topics {
        let of = format!("topic {}", escaped(name));
        // Nobody has to lead them for this.
        let known = topics(&mut client, std::slice::from_ref(name), false, |_| false).await;
        let has: usize = match known {
            Ok(known) => known.iter().map(|topic| topic.partitions.len()).sum(),
            Err(failure) if failure.0 == EXIT_NOT_FOUND => {
                tried.note(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let count = i32::try_from(has).ok();
        let count = count.and_then(|has| has.checked_add(arguments.num));
        let count = count.ok_or_else(|| usage(&format!("{of} cannot have so many")))?;
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: StrBytes::from(name.as_str()),
                count,
                assignments: None,
            }],
            timeout_ms: arguments.cluster.wait_ms(),
            validate_only: arguments.dry_run,
        };
        let to = To::Controller;
        let answer: CreatePartitionsResponse = client.call(to, i16::MAX, &request).await?;
        let result = answer.results.into_iter().next();
        let result = result.ok_or_else(|| untold(&client, &of))?;
        match result.error_code {
            0 => writeln!(out, "{of}: {would} {count} partitions")?,
            code => tried.note(refused(&of, code, result.error_message.as_ref())),
        }
    }
    tried.end()
}
