//! What a topic holds, to be produced once more at the times its timestamps tell.
//!
//! A batch is due when its youngest record was made: it cannot have left before. Batches keep their
//! records, codec and partition; they lose what belongs to their first life (producer, offsets,
//! transaction), and their timestamps move to the present.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use tidewheel_protocol::{BatchHeader, RecordBatch, StrBytes, UncheckedBatch};

use super::producer::Share;
use crate::client::{ClientError, Cluster, Connection, PartitionOffset, code_name, list_offsets};
use crate::clock::wall_ms;
use crate::error::BenchError;
use crate::workload::Workload;

/// The newest version of Fetch that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// Bytes that one fetch asks for.
const FETCH_BYTES: i32 = 8 * 1024 * 1024;
/// The codec, all that is left of a batch's attributes.
const CODEC_BITS: i16 = 0b111;
const NANOS_PER_MS: f64 = 1e6;

/// A batch that is produced once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    /// When it is due, nanoseconds after the first.
    pub(super) after: u64,
    pub(super) partition: usize,
    pub(super) records: usize,
    pub(super) bytes: Bytes,
}

/// Batches in the order in which they are due.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording {
    batches: VecDeque<Recorded>,
    partitions: usize,
}

impl Recording {
    /// Reads what a workload asks for: so much of its source as its duration has time for.
    pub(crate) async fn read(workload: &Workload, brokers: &[String]) -> Result<Self, BenchError> {
        let brokers = match workload.source_brokers.is_empty() {
            true => brokers,
            false => &workload.source_brokers,
        };
        let name = workload.source.as_deref().unwrap_or_default();
        let mut cluster = Cluster::connect(brokers, workload.timeout.0).await?;
        let source = cluster.topic(name).await?;
        let mut reader = SourceReader {
            topic: name,
            workload,
            connections: BTreeMap::new(),
            bytes: 0,
        };
        let mut first = None;
        let mut offsets = Vec::new();
        for leader in &source.leaders {
            let partition = usize::try_from(leader.partition).unwrap_or_default();
            reader.connect(&leader.address).await?;
            let (start, end) = reader.bounds(&leader.address, leader.partition).await?;
            let head = reader
                .fetch(&leader.address, leader.partition, start, end)
                .await?;
            let oldest = head.iter().map(|batch| batch.header.max_timestamp).min();
            first = first.into_iter().chain(oldest).min();
            offsets.push((partition, leader, start, end));
        }
        let Some(first) = first else {
            return Err(BenchError::usage(format!(
                "topic {name} has nothing to replay"
            )));
        };
        let times = Times::of(workload, first);
        let mut batches = Vec::new();
        for (partition, leader, start, end) in offsets {
            let mut at = start;
            let mut after = 0;
            'partition: while at < end {
                let fetched = reader
                    .fetch(&leader.address, leader.partition, at, end)
                    .await?;
                let Some(last) = fetched.last() else { break };
                at = last.header.next_offset();
                for batch in &fetched {
                    // Timestamps may go back; what was appended later is not sent earlier.
                    after = times.after(batch.header.max_timestamp).max(after);
                    if after >= times.end {
                        break 'partition;
                    }
                    batches.extend(once_more(batch, partition, after, times.begun_ms)?);
                }
            }
        }
        batches.sort_by_key(|batch| batch.after);
        Ok(Self {
            batches: batches.into(),
            partitions: source.leaders.len(),
        })
    }

    /// How many partitions its source has.
    pub(crate) fn partitions(&self) -> i32 {
        i32::try_from(self.partitions).unwrap_or(i32::MAX)
    }

    /// The part of one producer: whole partitions, since their order must stay.
    pub(crate) fn share(&self, share: Share) -> Self {
        let mine = |batch: &&Recorded| batch.partition as u64 % share.count == share.index;
        Self {
            batches: self.batches.iter().filter(mine).cloned().collect(),
            partitions: self.partitions,
        }
    }

    /// The next batch.
    pub(super) fn front(&self) -> Option<&Recorded> {
        self.batches.front()
    }

    /// Takes the next batch.
    pub(super) fn pop(&mut self) -> Option<Recorded> {
        self.batches.pop_front()
    }

    /// Records that are left.
    pub(super) fn records(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records as u64).sum()
    }

    /// Drops what is due later than so many nanoseconds after the first.
    pub(super) fn cut(&mut self, after: u64) {
        self.batches.retain(|batch| batch.after <= after);
    }
}

/// How times of the source become times of the run.
struct Times {
    first_ms: i64,
    begun_ms: i64,
    speed: f64,
    end: u64,
}

impl Times {
    fn of(workload: &Workload, first_ms: i64) -> Self {
        Self {
            first_ms,
            begun_ms: wall_ms(),
            speed: workload.speed,
            end: workload.duration.nanos(),
        }
    }

    fn after(&self, timestamp_ms: i64) -> u64 {
        let passed = timestamp_ms.saturating_sub(self.first_ms).max(0);
        crate::values::whole(passed as f64 / self.speed * NANOS_PER_MS)
    }
}

/// A batch as a producer without state sends it, due and dated `after` the beginning. Markers of
/// transactions are not records of anybody and are left out.
fn once_more(
    batch: &UncheckedBatch,
    partition: usize,
    after: u64,
    begun_ms: i64,
) -> Result<Option<Recorded>, BenchError> {
    let old = batch.header;
    if old.is_control() || old.record_count == 0 {
        return Ok(None);
    }
    if old.last_offset_delta != old.record_count - 1 {
        return Err(BenchError::usage(format!(
            "partition {partition} was compacted at offset {}: brokers take no batches with gaps",
            old.base_offset
        )));
    }
    let after_ms = i64::try_from(after / 1_000_000).unwrap_or(i64::MAX);
    let max_timestamp = begun_ms.saturating_add(after_ms);
    let header = BatchHeader {
        base_offset: 0,
        partition_leader_epoch: -1,
        attributes: old.attributes & CODEC_BITS,
        base_timestamp: old
            .base_timestamp
            .saturating_add(max_timestamp.saturating_sub(old.max_timestamp)),
        max_timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        ..old
    };
    // The CRC of what was read is checked: what is sent is what was stored.
    let checked = batch.clone().check_crc()?;
    let bytes = RecordBatch::assemble(header, &checked.records_bytes())?.bytes;
    Ok(Some(Recorded {
        after,
        partition,
        records: usize::try_from(old.record_count).unwrap_or_default(),
        bytes,
    }))
}

/// Reads partitions one after the other.
struct SourceReader<'a> {
    topic: &'a str,
    workload: &'a Workload,
    connections: BTreeMap<String, Connection>,
    /// What was fetched so far.
    bytes: u64,
}

impl SourceReader<'_> {
    async fn connect(&mut self, address: &str) -> Result<(), ClientError> {
        if !self.connections.contains_key(address) {
            let connection = Connection::open(address, self.workload.timeout.0).await?;
            self.connections.insert(address.to_owned(), connection);
        }
        Ok(())
    }

    fn connection(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        let connection = self.connections.get_mut(address);
        connection.ok_or_else(|| ClientError::Closed {
            address: address.to_owned(),
        })
    }

    /// Where a partition starts and ends.
    async fn bounds(&mut self, address: &str, partition: i32) -> Result<(i64, i64), ClientError> {
        let (topic, timeout) = (self.topic, self.workload.timeout.0);
        let connection = self.connection(address)?;
        let offset = |found: Vec<PartitionOffset>| found.first().map_or(0, |one| one.offset);
        let start = list_offsets(connection, topic, &[partition], -2, timeout).await?;
        let end = list_offsets(connection, topic, &[partition], -1, timeout).await?;
        Ok((offset(start), offset(end)))
    }

    /// The whole batches from an offset on that begin before `end`; none at the end.
    async fn fetch(
        &mut self,
        address: &str,
        partition: i32,
        offset: i64,
        end: i64,
    ) -> Result<Vec<UncheckedBatch>, BenchError> {
        if offset >= end {
            return Ok(Vec::new());
        }
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                topic: StrBytes::from(self.topic),
                partitions: vec![FetchPartition {
                    partition,
                    fetch_offset: offset,
                    partition_max_bytes: FETCH_BYTES,
                    ..FetchPartition::default()
                }],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let timeout = self.workload.timeout.0;
        let what = format!("records of {}-{partition}", self.topic);
        let connection = self.connection(address)?;
        let answer: FetchResponse<Bytes> =
            connection.call(NEWEST_BY_NAME, &request, timeout).await?;
        let data = answer.responses.into_iter().flat_map(|one| one.partitions);
        let mut batches = Vec::new();
        for data in data {
            if data.error_code != 0 {
                let detail = Some(code_name(data.error_code));
                let code = data.error_code;
                return Err(ClientError::Refused { what, code, detail }.into());
            }
            let mut rest = data.records.unwrap_or_default();
            self.bytes += rest.len() as u64;
            while let Ok(header) = BatchHeader::parse(&rest) {
                let size = header.size_in_bytes();
                if size > rest.len() {
                    break;
                }
                let batch = UncheckedBatch::parse(rest.split_to(size))?;
                // A fetch from the middle of a batch begins with all of it.
                if batch.header.base_offset < end && batch.header.last_offset() >= offset {
                    batches.push(batch);
                }
            }
        }
        if self.bytes > limits::BENCH_REPLAY_BYTES_MAX {
            return Err(BenchError::usage(
                "the source has more than 1 GiB for that time: choose a shorter --duration",
            ));
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewheel_protocol::{Compression, RecordBatchBuilder};

    fn recorded(timestamps: &[i64], offset: i64) -> UncheckedBatch {
        let mut builder = RecordBatchBuilder::new()
            .base_offset(offset)
            .compression(Compression::Lz4)
            .producer(77, 3, 1000);
        for timestamp in timestamps {
            builder = builder.record(*timestamp, Some(b"key"), Some(b"value"));
        }
        UncheckedBatch::parse(builder.build().unwrap().bytes).unwrap()
    }

    #[test]
    fn a_batch_keeps_its_records_and_loses_its_first_life() {
        let old = recorded(&[5_000, 5_400], 12);
        let again = once_more(&old, 2, 700_000_000, 1_000_000).unwrap().unwrap();
        assert_eq!((again.partition, again.records), (2, 2));
        let batch = RecordBatch::parse(again.bytes).unwrap();
        let header = batch.header;
        assert_eq!(header.max_timestamp, 1_000_700);
        assert_eq!(header.base_timestamp, 1_000_300);
        assert_eq!((header.producer_id, header.base_sequence), (-1, -1));
        assert_eq!(header.base_offset, 0);
        assert_eq!(header.compression().unwrap(), Compression::Lz4);
        let stored = old.check_crc().unwrap();
        assert_eq!(batch.records_bytes(), stored.records_bytes());
    }

    #[test]
    fn a_batch_with_gaps_is_refused_and_a_marker_left_out() {
        let mut gap = recorded(&[1, 2], 0);
        gap.header.last_offset_delta = 5;
        assert_eq!(once_more(&gap, 0, 0, 0).unwrap_err().exit_code(), 2);
        let mut marker = recorded(&[1], 0);
        marker.header.attributes |= 0b10_0000;
        assert_eq!(once_more(&marker, 0, 0, 0).unwrap(), None);
    }

    #[test]
    fn times_scale_with_the_speed_and_never_come_before_the_first() {
        let workload = Workload {
            speed: 2.0,
            ..Workload::default()
        };
        let times = Times::of(&workload, 1_000);
        assert_eq!(times.after(3_000), 1_000_000_000);
        assert_eq!(times.after(500), 0);
    }

    #[test]
    fn producers_share_whole_partitions() {
        let batch = |partition: usize, after: u64| Recorded {
            after,
            partition,
            records: 1,
            bytes: Bytes::new(),
        };
        let all = Recording {
            batches: [batch(0, 1), batch(1, 2), batch(2, 3), batch(0, 9)].into(),
            partitions: 3,
        };
        let mut first = all.share(Share { index: 0, count: 2 });
        let second = all.share(Share { index: 1, count: 2 });
        assert_eq!((first.records(), second.records()), (3, 1));
        first.cut(3);
        assert_eq!(first.records(), 2);
    }
}
