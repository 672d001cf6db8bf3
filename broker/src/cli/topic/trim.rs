//! The oldest records of a topic go.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tidewheel_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes, TopicPartition};

use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::offsets::{Leaders, all_bounds, leaders, only, topics};
use crate::cli::kafka::place::{Bounds, Place};
use crate::cli::kafka::{ClusterArguments, PartitionsArguments, Tried, refused};
use crate::cli::outcome::{Failure, Format, print_json};
use crate::cli::progress::{Progress, ProgressArguments, Unit};
use crate::cli::table::{Table, escaped};

/// Arguments of `topic trim`.
#[derive(Args, Debug)]
pub(super) struct TrimArguments {
    /// The topic
    topic: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The first record to keep: end, an offset, -N (the last N), +N (all but the first N) or @TIME
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    to: Place,
    #[command(flatten)]
    only: PartitionsArguments,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// A table, or one JSON object per partition and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArguments,
}

/// What becomes of a partition.
#[derive(Serialize)]
struct Trimmed {
    topic: String,
    partition: i32,
    log_start_offset: i64,
    new_log_start_offset: i64,
    dry_run: bool,
}

/// Deletes the oldest records of a topic.
pub(super) async fn trim(arguments: &TrimArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let names = [arguments.topic.clone()];
    let is_needed = |partition| arguments.only.has(partition);
    let topics = topics(&mut client, &names, false, is_needed).await?;
    let leaders = only(leaders(&topics), &arguments.only.partitions)?;
    let mut planned = plan(&mut client, &leaders, arguments.to).await?;
    let mut tried = Tried::default();
    if !arguments.dry_run {
        let progress = Progress::new(
            arguments.progress,
            &format!("topic trim {}", arguments.topic),
            Unit::Partitions,
            Some(planned.len() as u64),
        );
        let how = (arguments.cluster.wait_ms(), &progress);
        delete(&mut client, &leaders, &mut planned, how, &mut tried).await?;
    }
    let mut out = io::stdout().lock();
    let mut table = Table::new(&[
        "TOPIC",
        "PARTITION",
        "LOG-START-OFFSET",
        "NEW-LOG-START-OFFSET",
    ]);
    for (partition, (from, to)) in &planned {
        if arguments.format == Format::Json {
            let trimmed = Trimmed {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                log_start_offset: *from,
                new_log_start_offset: *to,
                dry_run: arguments.dry_run,
            };
            print_json(&mut out, &trimmed)?;
            continue;
        }
        table.row(vec![
            escaped(&partition.topic),
            partition.partition.to_string(),
            from.to_string(),
            to.to_string(),
        ]);
    }
    if arguments.format == Format::Text {
        table.write(&mut out)?;
    }
    tried.end()
}

/// Where each partition begins, and is to begin.
type Planned = BTreeMap<TopicPartition, (i64, i64)>;

/// What is to become of each partition: where one of them cannot be what was asked for, nothing is deleted in any.
async fn plan(client: &mut Client, leaders: &Leaders, to: Place) -> Result<Planned, Failure> {
    let (mut planned, mut tried) = (Planned::new(), Tried::default());
    for (partition, [bounds]) in all_bounds(client, leaders, [to.time()]).await? {
        let Bounds { start, end, .. } = bounds;
        let to = to.offset(bounds).max(start);
        if to > end {
            let code = ErrorCode::OffsetOutOfRange.code();
            tried.note(refused(&escaped(&partition.to_string()), code, None));
        }
        planned.insert(partition, (start, to));
    }
    tried.end()?;
    Ok(planned)
}

/// Deletes what is planned. What is refused leaves the plan.
async fn delete(
    client: &mut Client,
    leaders: &Leaders,
    planned: &mut Planned,
    (wait_ms, progress): (i32, &Progress),
    tried: &mut Tried,
) -> Result<(), Failure> {
    let mut by_node: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
    let grown = planned.iter().filter(|(_, (from, to))| from < to);
    for (partition, (_, to)) in grown {
        let node = leaders.get(partition).copied().unwrap_or(-1);
        by_node
            .entry(node)
            .or_default()
            .push(DeleteRecordsPartition {
                partition_index: partition.partition,
                offset: *to,
            });
    }
    let Some(topic) = planned.keys().next().map(|one| Arc::clone(&one.topic)) else {
        return Ok(());
    };
    // Those that stay as they are need no time.
    let to_do: usize = by_node.values().map(Vec::len).sum();
    let mut done = planned.len().saturating_sub(to_do) as u64;
    for (node, partitions) in by_node {
        progress.reach(done, || format!("asking broker {node}"));
        done += partitions.len() as u64;
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: StrBytes::from(&*topic),
                partitions,
            }],
            timeout_ms: wait_ms,
        };
        let answer: DeleteRecordsResponse = client.call(To::Node(node), i16::MAX, &request).await?;
        for result in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            let partition = TopicPartition {
                topic: Arc::clone(&topic),
                partition: result.partition_index,
            };
            if result.error_code != 0 {
                let of = escaped(&partition.to_string());
                tried.note(refused(&of, result.error_code, None));
                planned.remove(&partition);
            } else if let Some((_, to)) = planned.get_mut(&partition) {
                *to = result.low_watermark;
            }
        }
    }
    Ok(())
}
