//! What there is of topics.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use tidewheel_protocol::messages::metadata::MetadataResponseTopic;
use tidewheel_protocol::{StrBytes, TopicPartition};

use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::offsets::{END, Offsets, START, leaders, name_of, offsets};
use crate::cli::kafka::{ClusterArguments, Tried, refused};
use crate::cli::outcome::{Failure, Format, print_json};
use crate::cli::table::{Table, escaped, joined, known, summary};
use crate::config_changes::TOPIC;

/// DescribeConfigs: set on the topic itself.
const SET_ON_TOPIC: i8 = 1;

/// Arguments of `topic ls`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// List also topics that only brokers write to
    #[arg(long)]
    internal: bool,
    /// A table, or one JSON object per topic and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Arguments of `topic describe`.
#[derive(Args, Debug)]
pub(super) struct DescribeArguments {
    /// Names of topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Tables, or one JSON object per topic and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A topic in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
struct Topic {
    name: String,
    id: String,
    internal: bool,
    partitions: usize,
    replication_factor: usize,
}

/// A topic with its partitions.
#[derive(Serialize)]
struct TopicDetail {
    #[serde(flatten)]
    topic: Topic,
    /// Settings of the topic itself; null for a secret.
    overrides: BTreeMap<String, Option<String>>,
    partition_details: Vec<Partition>,
}

/// A partition; offsets are null where its leader cannot tell.
#[derive(Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    offline_replicas: Vec<i32>,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
}

impl Topic {
    fn new(topic: &MetadataResponseTopic) -> Self {
        let replicas = topic.partitions.iter().map(|one| one.replica_nodes.len());
        Self {
            name: topic.name.as_deref().unwrap_or_default().to_owned(),
            id: topic.topic_id.to_string(),
            internal: topic.is_internal,
            partitions: topic.partitions.len(),
            replication_factor: replicas.min().unwrap_or_default(),
        }
    }
}

/// Lists topics.
pub(super) async fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let answer = client.metadata(None, false).await?;
    let topics = answer.topics.iter().filter(|topic| topic.error_code == 0);
    let is_shown = |topic: &Topic| arguments.internal || !topic.internal;
    let mut topics: Vec<Topic> = topics.map(Topic::new).filter(is_shown).collect();
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.format == Format::Json {
        for topic in &topics {
            print_json(&mut out, topic)?;
        }
        return Ok(out.flush()?);
    }
    let mut table = Table::new(&["NAME", "PARTITIONS", "REPLICAS"]);
    for topic in &topics {
        table.row(vec![
            escaped(&topic.name),
            topic.partitions.to_string(),
            topic.replication_factor.to_string(),
        ]);
    }
    table.write(&mut out)?;
    Ok(out.flush()?)
}

/// Shows topics.
pub(super) async fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let answer = client.metadata(Some(&arguments.topics), false).await?;
    let mut tried = Tried::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut is_first = true;
    for topic in answer.topics {
        if topic.error_code != 0 {
            let of = format!("topic {}", name_of(&topic));
            tried.note(refused(&of, topic.error_code, None));
            continue;
        }
        let detail = detail(&mut client, &topic).await?;
        if arguments.format == Format::Json {
            print_json(&mut out, &detail)?;
            continue;
        }
        if !is_first {
            writeln!(out)?;
        }
        is_first = false;
        print(&mut out, &detail)?;
    }
    out.flush()?;
    tried.end()
}

async fn detail(
    client: &mut Client,
    topic: &MetadataResponseTopic,
) -> Result<TopicDetail, Failure> {
    let name = topic.name.as_deref().unwrap_or_default();
    let leaders = leaders(std::slice::from_ref(topic));
    let starts = offsets(client, &leaders, START).await?;
    let ends = offsets(client, &leaders, END).await?;
    let at = |offsets: &Offsets, partition| {
        let partition = TopicPartition {
            topic: name.into(),
            partition,
        };
        offsets.get(&partition).copied()?.ok()
    };
    let partitions = topic.partitions.iter().map(|one| Partition {
        partition: one.partition_index,
        leader: Some(one.leader_id).filter(|leader| *leader >= 0),
        leader_epoch: one.leader_epoch,
        replicas: one.replica_nodes.clone(),
        isr: one.isr_nodes.clone(),
        offline_replicas: one.offline_replicas.clone(),
        log_start_offset: at(&starts, one.partition_index),
        high_watermark: at(&ends, one.partition_index),
    });
    let mut partition_details: Vec<Partition> = partitions.collect();
    partition_details.sort_by_key(|one| one.partition);
    Ok(TopicDetail {
        topic: Topic::new(topic),
        overrides: overrides(client, name).await?,
        partition_details,
    })
}

/// What was set on a topic itself.
async fn overrides(
    client: &mut Client,
    name: &str,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: StrBytes::from(name),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let answer: DescribeConfigsResponse = client.call(To::Any, i16::MAX, &request).await?;
    let mut overrides = BTreeMap::new();
    for result in answer.results {
        if result.error_code != 0 {
            let of = format!("settings of topic {}", escaped(name));
            return Err(refused(
                &of,
                result.error_code,
                result.error_message.as_ref(),
            ));
        }
        let set = result.configs.into_iter();
        overrides.extend(
            set.filter(|config| config.config_source == SET_ON_TOPIC)
                .map(|config| {
                    let value = config.value.map(|value| value.to_string());
                    (config.name.to_string(), value)
                }),
        );
    }
    Ok(overrides)
}

fn print(out: &mut impl Write, detail: &TopicDetail) -> io::Result<()> {
    let topic = &detail.topic;
    let mut facts = vec![
        ("NAME", escaped(&topic.name)),
        ("ID", topic.id.clone()),
        ("PARTITIONS", topic.partitions.to_string()),
        ("REPLICAS", topic.replication_factor.to_string()),
    ];
    if topic.internal {
        facts.push(("INTERNAL", "yes".to_owned()));
    }
    summary(out, &facts)?;
    for (name, value) in &detail.overrides {
        let value = value.as_deref().map_or("(secret)".to_owned(), escaped);
        writeln!(out, "CONFIG      {}={value}", escaped(name))?;
    }
    writeln!(out)?;
    let mut table = Table::new(&[
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "ISR",
        "LOG-START-OFFSET",
        "HIGH-WATERMARK",
    ]);
    for one in &detail.partition_details {
        table.row(vec![
            one.partition.to_string(),
            known(one.leader),
            one.leader_epoch.to_string(),
            joined(&one.replicas),
            joined(&one.isr),
            known(one.log_start_offset),
            known(one.high_watermark),
        ]);
    }
    table.write(out)
}
