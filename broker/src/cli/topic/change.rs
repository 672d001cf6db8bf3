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
use crate::cli::kafka::offsets::{name_of, topics};
use crate::cli::kafka::{ClusterArguments, Tried, refused};
use crate::cli::outcome::{Failure, usage};
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
    let topic = |name: &String| CreatableTopic {
        name: StrBytes::from(name.as_str()),
        num_partitions: arguments.partitions.unwrap_or(-1),
        replication_factor: arguments.replicas.unwrap_or(-1),
        configs: configs.clone(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: arguments.topics.iter().map(topic).collect(),
        timeout_ms: arguments.cluster.wait_ms(),
        validate_only: arguments.dry_run,
    };
    let mut client = arguments.cluster.connect().await?;
    let answer: CreateTopicsResponse = client.call(To::Controller, i16::MAX, &request).await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    let would = if arguments.dry_run { "would be " } else { "" };
    for result in answer.topics {
        let name = escaped(&result.name);
        let exists = result.error_code == ErrorCode::TopicAlreadyExists.code();
        match result.error_code {
            0 => writeln!(out, "topic {name}: {would}created")?,
            _ if exists && arguments.if_not_exists => writeln!(out, "topic {name}: is there")?,
            code => {
                let message = result.error_message.as_ref();
                tried.note(refused(&format!("topic {name}"), code, message));
            }
        }
    }
    tried.end()
}

/// Deletes topics.
pub(super) async fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let names = arguments.topics.iter();
    let request = DeleteTopicsRequest {
        topic_names: names.map(|name| StrBytes::from(name.as_str())).collect(),
        timeout_ms: arguments.cluster.wait_ms(),
        ..DeleteTopicsRequest::default()
    };
    let mut client = arguments.cluster.connect().await?;
    let to = To::Controller;
    let answer: DeleteTopicsResponse = client.call(to, DELETE_BY_NAME, &request).await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    for result in answer.responses {
        let name = escaped(result.name.as_deref().unwrap_or_default());
        let unknown = result.error_code == ErrorCode::UnknownTopicOrPartition.code();
        match result.error_code {
            0 => writeln!(out, "topic {name}: deleted")?,
            _ if unknown && arguments.if_exists => writeln!(out, "topic {name}: is not there")?,
            code => {
                let message = result.error_message.as_ref();
                tried.note(refused(&format!("topic {name}"), code, message));
            }
        }
    }
    tried.end()
}

/// Gives topics more partitions.
pub(super) async fn add_partitions(arguments: &AddPartitionsArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let known = topics(&mut client, &arguments.topics, false).await?;
    let mut grown = Vec::new();
    for topic in &known {
        let has = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let count = has
            .checked_add(arguments.num)
            .ok_or_else(|| usage(&format!("topic {} cannot have so many", name_of(topic))))?;
        grown.push(CreatePartitionsTopic {
            name: topic.name.clone().unwrap_or_default(),
            count,
            assignments: None,
        });
    }
    let request = CreatePartitionsRequest {
        topics: grown.clone(),
        timeout_ms: arguments.cluster.wait_ms(),
        validate_only: arguments.dry_run,
    };
    let to = To::Controller;
    let answer: CreatePartitionsResponse = client.call(to, i16::MAX, &request).await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    let would = if arguments.dry_run {
        "would have"
    } else {
        "has"
    };
    for result in answer.results {
        let name = escaped(&result.name);
        let count = grown.iter().find(|topic| topic.name == result.name);
        let count = count.map_or(0, |topic| topic.count);
        match result.error_code {
            0 => writeln!(out, "topic {name}: {would} {count} partitions")?,
            code => {
                let message = result.error_message.as_ref();
                tried.note(refused(&format!("topic {name}"), code, message));
            }
        }
    }
    tried.end()
}
