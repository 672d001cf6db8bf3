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
use crate::cli::kafka::offsets::{START, leaders, offsets};
use crate::cli::outcome::Failure;
use crate::clock;

/// The newest version of Fetch that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// Bytes that are asked of a partition; a larger batch comes whole.
const BYTES: i32 = 1024;

/// How many batches are skipped in which a partition has nothing from an offset on: markers of transactions, and what
/// compaction left.
const SKIPPED_MAX: usize = 100;

/// For how many seconds the oldest unread record of each partition has been waiting.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// When it was written, in ms since 1970, or that nothing there waits; not there where nobody can tell.
    written: BTreeMap<TopicPartition, Option<i64>>,
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
        if progress.lag()? == 0 {
            return Some(0);
        }
        let waits = |written_ms| self.now_ms.saturating_sub(written_ms).max(0) / 1_000;
        Some(self.written.get(&progress.partition)?.map_or(0, waits))
    }

    /// The longest of all; nothing where that cannot be told for a partition that is behind.
    pub(super) fn max(&self, progress: &[Progress]) -> Option<i64> {
        let known = progress.iter().filter(|one| one.lag().is_some());
        let all: Option<Vec<i64>> = known.map(|one| self.seconds(one)).collect();
        all?.into_iter().max()
    }
}

async fn oldest(
    client: &mut Client,
    progress: &[Progress],
) -> Result<BTreeMap<TopicPartition, Option<i64>>, Failure> {
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
    let mut known = leaders(&client.metadata(Some(&names), false).await?.topics);
    known.retain(|partition, node| *node >= 0 && behind.contains_key(partition));
    // What lies before is gone, so that the group goes on from there at best.
    let starts = offsets(client, &known, START).await?;
    // A partition at a time: whatever its batch is like, one of them is in memory.
    for (partition, node) in known {
        if let (Some(committed), Some(Ok(start))) = (behind.get(&partition), starts.get(&partition))
        {
            let from = *committed.max(start);
            let told = first_from(client, node, &partition, from).await?;
            found.extend(told.map(|written_ms| (partition, written_ms)));
        }
    }
    Ok(found)
}

/// The timestamp of the first record from an offset on, or that there is none; nothing where nobody can tell.
async fn first_from(
    client: &mut Client,
    node: i32,
    partition: &TopicPartition,
    mut offset: i64,
) -> Result<Option<Option<i64>>, Failure> {
    for _ in 0..SKIPPED_MAX {
        let request = request(partition, offset);
        let answer: FetchResponse<Bytes> = client
            .call(To::Node(node), NEWEST_BY_NAME, &request)
            .await?;
        let topics = answer.responses.into_iter();
        let data = topics.flat_map(|topic| topic.partitions).next();
        let Some(data) = data.filter(|data| data.error_code == 0) else {
            return Ok(None);
        };
        let end = data.high_watermark;
        match first(data, offset) {
            Found::Written(written_ms) => return Ok(written_ms.map(Some)),
            Found::Unreadable => return Ok(None),
            Found::GoOnFrom(next) if next > offset => offset = next,
            Found::GoOnFrom(_) => return Ok(None),
        }
        if offset >= end {
            return Ok(Some(None));
        }
    }
    Ok(None)
}

/// What batches hold from an offset on.
enum Found {
    /// A record, and its timestamp if it has one.
    Written(Option<i64>),
    /// None: there may be one from this offset on.
    GoOnFrom(i64),
    /// Nobody can tell.
    Unreadable,
}

fn first(data: PartitionData<Bytes>, offset: i64) -> Found {
    let mut next = offset;
    for batch in data.records.into_iter().flat_map(Batches::new) {
        let Ok(batch) = batch else {
            return Found::Unreadable;
        };
        if batch.header.next_offset() <= offset {
            continue;
        }
        next = batch.header.next_offset();
        if batch.header.is_control() {
            continue;
        }
        let Ok(records) = batch.records(limits::DECOMPRESSED_BATCH_BYTES_MAX) else {
            return Found::Unreadable;
        };
        for record in records.limit_headers(limits::COMMAND_BATCH_HEADERS_MAX) {
            match record {
                // A record may have no timestamp.
                Ok(record) if record.offset >= offset => {
                    let written_ms = Some(record.timestamp).filter(|written_ms| *written_ms >= 0);
                    return Found::Written(written_ms);
                }
                Ok(_) => {}
                Err(_) => return Found::Unreadable,
            }
        }
    }
    Found::GoOnFrom(next)
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

#[cfg(test)]
mod tests {
    use tidewheel_protocol::{BatchHeader, RecordBatch, RecordBatchBuilder};

    use super::*;

    fn data(attributes: i16) -> PartitionData<Bytes> {
        let builder = RecordBatchBuilder::new().record(7, None, Some(b"a"));
        let built = builder.record(8, None, Some(b"b")).build().unwrap();
        let header = BatchHeader {
            attributes,
            ..built.header
        };
        let batch = RecordBatch::assemble(header, &built.bytes[BatchHeader::LEN..]);
        PartitionData {
            records: Some(batch.unwrap().bytes),
            ..PartitionData::default()
        }
    }

    #[test]
    fn behind_a_marker_of_a_transaction_it_is_looked_on() {
        let found = |attributes, offset| match first(data(attributes), offset) {
            Found::Written(written_ms) => (written_ms, None),
            Found::GoOnFrom(next) => (None, Some(next)),
            Found::Unreadable => (None, None),
        };
        assert_eq!(found(0, 0), (Some(7), None));
        assert_eq!(found(0, 1), (Some(8), None));
        let (transaction, control) = (1 << 4, 1 << 5);
        assert_eq!(found(transaction, 0), (Some(7), None));
        assert_eq!(found(transaction | control, 1), (None, Some(2)));
    }

    #[test]
    fn a_partition_of_which_nobody_can_tell_hides_the_longest() {
        let one = |partition, committed, end| Progress {
            partition: TopicPartition {
                topic: "t".into(),
                partition,
            },
            committed,
            end,
        };
        let progress = |last| {
            vec![
                one(0, Some(1), Some(9)),
                one(1, Some(9), Some(9)),
                one(2, None, Some(9)),
                one(3, Some(1), None),
                one(4, Some(2), Some(9)),
                last,
            ]
        };
        let written = [(0, Some(1_000)), (4, None)];
        let ages = Ages {
            written: written
                .into_iter()
                .map(|(at, ms)| (one(at, None, None).partition, ms))
                .collect(),
            now_ms: 43_999,
        };
        assert_eq!(ages.max(&progress(one(5, Some(9), Some(9)))), Some(42));
        assert_eq!(ages.max(&progress(one(5, Some(8), Some(9)))), None);
        assert_eq!(ages.max(&[]), None);
    }
}
