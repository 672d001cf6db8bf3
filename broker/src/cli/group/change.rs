//! Groups and what they have committed go.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use tidewheel_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};

use super::look::{self, of};
use super::seek::TopicChoice;
use crate::cli::kafka::client::To;
use crate::cli::kafka::{ClusterArguments, Tried, refused};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, failed};
use crate::cli::table::escaped;

/// Arguments of `group delete`.
#[derive(Args, Debug)]
pub(super) struct DeleteArguments {
    /// Names of groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Arguments of `group offset-delete`.
#[derive(Args, Debug)]
pub(super) struct OffsetDeleteArguments {
    /// The group
    group: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// A topic, maybe with partitions, as orders or orders:0,1; several times
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", required = true)]
    topics: Vec<TopicChoice>,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// Deletes groups.
pub(super) async fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let mut out = io::stdout().lock();
    let mut tried = Tried::default();
    for group in &arguments.groups {
        let request = DeleteGroupsRequest {
            groups_names: vec![StrBytes::from(group.as_str())],
        };
        let to = To::Coordinator(group);
        let answer: DeleteGroupsResponse = client.call(to, i16::MAX, &request).await?;
        for result in answer.results {
            match result.error_code {
                0 => writeln!(out, "{}: deleted", of(group))?,
                code => tried.note(refused(&of(group), code, None)),
            }
        }
    }
    tried.end()
}

/// Deletes committed offsets.
pub(super) async fn offset_delete(arguments: &OffsetDeleteArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let group = &arguments.group;
    look::group(&mut client, group).await?;
    let mut tried = Tried::default();
    let mut chosen = look::committed(&mut client, group, &mut tried).await?;
    for missing in arguments
        .topics
        .iter()
        .flat_map(|topic| topic.missing(&chosen))
    {
        let sentence = format!("{} has committed nothing in {missing}", of(group));
        tried.note(failed(&sentence, EXIT_NOT_FOUND));
    }
    chosen.retain(|partition, _| arguments.topics.iter().any(|topic| topic.has(partition)));
    if chosen.is_empty() {
        return tried.end();
    }
    let mut out = io::stdout().lock();
    if arguments.dry_run {
        for (partition, offset) in &chosen {
            let partition = escaped(&partition.to_string());
            writeln!(out, "{partition}: {offset} would be deleted")?;
        }
        return tried.end();
    }
    let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for partition in chosen.keys() {
        let partitions = topics.entry(&partition.topic).or_default();
        partitions.push(OffsetDeleteRequestPartition {
            partition_index: partition.partition,
        });
    }
    let topics = topics.into_iter();
    let request = OffsetDeleteRequest {
        group_id: StrBytes::from(group.as_str()),
        topics: topics
            .map(|(name, partitions)| OffsetDeleteRequestTopic {
                name: StrBytes::from(name),
                partitions,
            })
            .collect(),
    };
    let to = To::Coordinator(group);
    let answer: OffsetDeleteResponse = client.call(to, i16::MAX, &request).await?;
    if answer.error_code != 0 {
        return Err(refused(&of(group), answer.error_code, None));
    }
    for topic in answer.topics {
        for one in topic.partitions {
            let partition = format!("{}-{}", escaped(&topic.name), one.partition_index);
            match one.error_code {
                0 => writeln!(out, "{partition}: deleted")?,
                code => tried.note(refused(&partition, code, None)),
            }
        }
    }
    tried.end()
}
