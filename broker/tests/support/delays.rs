//! Records that ask to be delayed, and a reader that holds the broker to it.

#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::FetchResponse;
use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::produce::PartitionProduceResponse;
use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, RecordHeader, StrBytes};
use tidewheel_storage::delay::DelayKey;

use crate::support::{Client, batches, eventually, fetch_request, now_ms};

/// A record to produce.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) timestamp: i64,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) value: String,
}

impl Asked {
    pub(crate) fn at(timestamp: i64, value: &str) -> Self {
        Self {
            timestamp,
            headers: Vec::new(),
            value: value.to_owned(),
        }
    }

    pub(crate) fn now(value: &str) -> Self {
        Self::at(now_ms(), value)
    }

    pub(crate) fn with(headers: &[(&str, &str)], value: &str) -> Self {
        let headers = headers.iter();
        let headers = headers.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self {
            headers: headers.collect(),
            ..Self::now(value)
        }
    }
}

/// Ms since 1970.
pub(crate) fn due_in(ms: i64) -> i64 {
    now_ms() + ms
}

pub(crate) fn batch(records: &[Asked]) -> RecordBatchBuilder {
    records
        .iter()
        .fold(RecordBatchBuilder::new(), |builder, asked| {
            let headers = asked.headers.iter().map(|(key, value)| RecordHeader {
                key: Bytes::from(key.clone()),
                value: Some(Bytes::from(value.clone())),
            });
            let value = Some(asked.value.as_bytes());
            builder.record_with_headers(asked.timestamp, Some(b"k"), value, headers.collect())
        })
}

/// Produces them in one batch with `acks=all`.
pub(crate) fn produce(
    client: &mut Client,
    topic: &str,
    records: &[Asked],
) -> PartitionProduceResponse {
    let bytes = batch(records).build().unwrap().bytes;
    client.produce(topic, 0, -1, bytes)
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) value: String,
}

/// All batches of a partition. Audits the log: the cursors in it strictly increase, and none of them was
/// due later than it was read.
pub(crate) fn stored(client: &mut Client, topic: &str, partition: i32) -> Vec<RecordBatch> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let request = fetch_request(topic, partition, offset);
        let mut answer: FetchResponse<Bytes> = client.call(11, &request);
        let read_at = now_ms();
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        for batch in batches(data.records.unwrap_or_default()) {
            if let Some(key) = DelayKey::of_header(&batch.header) {
                let due_ms = i64::try_from(key.due_ms).unwrap();
                assert!(due_ms <= read_at, "due {} ms later", due_ms - read_at);
            }
            offset = batch.header.next_offset();
            all.push(batch);
        }
        if offset >= data.high_watermark {
            break;
        }
    }
    let keys = all.iter();
    let keys: Vec<_> = keys
        .filter_map(|batch| DelayKey::of_header(&batch.header))
        .collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    all
}

/// All records of partition 0.
pub(crate) fn read(client: &mut Client, topic: &str) -> Vec<Seen> {
    read_partition(client, topic, 0)
}

pub(crate) fn read_partition(client: &mut Client, topic: &str, partition: i32) -> Vec<Seen> {
    let mut seen = Vec::new();
    for batch in stored(client, topic, partition) {
        for record in batch.records(1 << 28).unwrap() {
            let record = record.unwrap();
            let value = record.value.unwrap_or_default();
            seen.push(Seen {
                offset: record.offset,
                timestamp: record.timestamp,
                value: String::from_utf8(value.to_vec()).unwrap(),
            });
        }
    }
    seen
}

/// Reads again and again until partition 0 has `count` records, and no more.
pub(crate) fn wait_for(client: &mut Client, topic: &str, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    eventually("delayed records are visible", || {
        seen = read(client, topic);
        assert!(seen.len() <= count, "{seen:?}");
        seen.len() == count
    });
    seen
}

/// Where partition 0 ends for consumers.
pub(crate) fn end_offset(client: &mut Client, topic: &str) -> i64 {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: StrBytes::from(topic),
            partitions: vec![ListOffsetsPartition {
                partition_index: 0,
                timestamp: -1,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let answer: ListOffsetsResponse = client.call(7, &request);
    answer.topics[0].partitions[0].offset
}

/// What the files of a partition's log hold, read without a broker: nothing but the log says that deliveries
/// came in the order of their cursors. The records' values, once for each time they are there.
pub(crate) fn audit(data_dir: &Path, topic: &str, partition: i32) -> Vec<String> {
    let dir = data_dir.join(format!("{topic}-{partition}"));
    let mut segments: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    segments.retain(|path: &PathBuf| path.extension().is_some_and(|kind| kind == "log"));
    segments.sort();
    let (mut values, mut last, mut next) = (Vec::new(), DelayKey::default(), 0);
    for segment in segments {
        let mut rest = Bytes::from(std::fs::read(segment).unwrap());
        // What a kill left behind the last whole batch does not count.
        while let Ok(batch) = RecordBatch::split_first(&mut rest) {
            assert_eq!(batch.header.base_offset, next, "offsets have no holes");
            next = batch.header.next_offset();
            if let Some(key) = DelayKey::of_header(&batch.header) {
                assert!(last < key, "{key:?} came after {last:?}");
                last = key;
            }
            for record in batch.records(1 << 28).unwrap() {
                let value = record.unwrap().value.unwrap_or_default();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
    }
    values
}
