//! DescribeLogDirs: the log directories, their volumes and the sizes of the partitions in them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidewheel_protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};
use tidewheel_storage::{LogDirReport, METADATA_TOPIC};

use super::{Context, error};
use crate::partition::AppendWaiter;

/// The partitions in question by topic; `None` asks for all.
type Wanted = Option<HashMap<String, HashSet<i32>>>;

pub(super) async fn handle(
    context: Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let wanted = request.topics.map(wanted);
    let broker = Arc::clone(&context.broker);
    let reports = context
        .broker
        .read_blocking(move || broker.logs().report())
        .await;
    let Some(reports) = reports else {
        return DescribeLogDirsResponse {
            error_code: ErrorCode::UnknownServerError.code(),
            ..DescribeLogDirsResponse::default()
        };
    };
    DescribeLogDirsResponse {
        results: reports.iter().map(|dir| described(dir, &wanted)).collect(),
        ..DescribeLogDirsResponse::default()
    }
}

fn wanted(topics: Vec<DescribableLogDirTopic>) -> HashMap<String, HashSet<i32>> {
    let mut wanted: HashMap<String, HashSet<i32>> = HashMap::new();
    for topic in topics {
        wanted
            .entry(topic.topic.to_string())
            .or_default()
            .extend(topic.partitions);
    }
    wanted
}

fn described(dir: &LogDirReport<AppendWaiter>, wanted: &Wanted) -> DescribeLogDirsResult {
    let path = std::path::absolute(&dir.path).unwrap_or_else(|_| dir.path.clone());
    let log_dir = StrBytes::from(path.to_string_lossy().into_owned());
    match &dir.space {
        Ok(space) => DescribeLogDirsResult {
            log_dir,
            topics: topics(dir, wanted),
            total_bytes: i64::try_from(space.total_bytes).unwrap_or(i64::MAX),
            usable_bytes: i64::try_from(space.free_bytes).unwrap_or(i64::MAX),
            ..DescribeLogDirsResult::default()
        },
        Err(error) => DescribeLogDirsResult {
            error_code: error::storage_code(error).code(),
            log_dir,
            ..DescribeLogDirsResult::default()
        },
    }
}

fn topics(dir: &LogDirReport<AppendWaiter>, wanted: &Wanted) -> Vec<DescribeLogDirsTopic> {
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in &dir.logs {
        let tp = log.topic_partition();
        let asked = wanted.as_ref().is_none_or(|wanted| {
            let partitions = wanted.get(&*tp.topic);
            partitions.is_some_and(|partitions| partitions.contains(&tp.partition))
        });
        if !asked || &*tp.topic == METADATA_TOPIC {
            continue;
        }
        let partition = DescribeLogDirsPartition {
            partition_index: tp.partition,
            partition_size: i64::try_from(log.size_bytes()).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        };
        topics.entry(&*tp.topic).or_default().push(partition);
    }
    let described = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic {
            name: StrBytes::from(name),
            partitions,
        }
    });
    described.collect()
}
