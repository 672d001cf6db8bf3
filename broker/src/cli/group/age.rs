//! For how long the oldest record waits that a group has not read.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use tidewheel_protocol::{Batches, StrBytes, TopicPartition};

use super::look::Progress;
use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::offsets::leaders;
use crate::cli::outcome::Failure;
use crate::clock;

/// The newest version of Fetch that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// Bytes that are asked of a partition; a larger batch comes whole.
const BYTES: i32 = 1024;

/// For how many seconds the oldest unread record of each partition has been waiting.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// When it was written, in ms since 1970; nothing where there is none, or its leader does not tell.
    written: BTreeMap<TopicPartition, i64>,
    now_ms: i64,
}

impl Ages {
    /// Reads the first record of each partition that the group has not read.
    ///
    /// # Errors
    /// Where a leader does not answer.
    pub(super) async fn look(client: &mut Client, progress: &[Progress]) -> Result<Self, Failure> {
        let written = oldest(client, progress).await?;
        let now_ms = clock::now_ms();
        Ok(Self { written, now_ms })
    }

    /// 0 where everything is read; nothing where that cannot be told.
    pub(super) fn seconds(&self, progress: &Progress) -> Option<i64> {
        match progress.lag()? {
            0 => Some(0),
            _ => {
                let written_ms = self.written.get(&progress.partition)?;
                Some(self.now_ms.saturating_sub(*written_ms).max(0) / 1_000)
            }
        }
    }
}

async fn oldest(
    client: &mut Client,
    progress: &[Progress],
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let behind = progress.iter().filter(|one| one.lag() > Some(0));
    let behind: BTreeMap<&TopicPartition, i64> = behind
        .filter_map(|one| Some((&one.partition, one.committed?)))
        .collect();
    let mut names: Vec<String> = behind.keys().map(|one| one.topic.to_string()).collect();
    names.dedup();
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    let known = leaders(&client.metadata(Some(&names), false).await?.topics);
    // A partition at a time: whatever its batch is like, one of them is in memory.
    for (partition, offset) in behind {
        let Some(&node) = known.get(partition).filter(|node| **node >= 0) else {
            continue;
        };
        let request = request(partition, offset);
        let answer: FetchResponse<Bytes> = client
            .call(To::Node(node), NEWEST_BY_NAME, &request)
            .await?;
        let data = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let written = data.into_iter().find_map(|data| first(data, offset));
        found.extend(written.map(|written_ms| (partition.clone(), written_ms)));
    }
    Ok(found)
}

/// The timestamp of the first record from this offset on.
fn first(data: PartitionData<Bytes>, offset: i64) -> Option<i64> {
    for batch in Batches::new(data.records?) {
        let batch = batch.ok()?;
        if batch.header.is_control() || batch.header.next_offset() <= offset {
            continue;
        }
        let records = batch.records(limits::DECOMPRESSED_BATCH_BYTES_MAX).ok()?;
        for record in records.limit_headers(limits::COMMAND_BATCH_HEADERS_MAX) {
            let record = record.ok()?;
            if record.offset >= offset {
                // A record may have none.
                return Some(record.timestamp).filter(|written_ms| *written_ms >= 0);
            }
        }
    }
    None
}

fn request(partition: &TopicPartition, offset: i64) -> FetchRequest {
    FetchRequest {
        min_bytes: 1,
        max_bytes: BYTES,
        topics: vec![FetchTopic {
            topic: StrBytes::from(&*partition.topic),
            partitions: vec![FetchPartition {
                partition: partition.partition,
                fetch_offset: offset,
                partition_max_bytes: BYTES,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}
