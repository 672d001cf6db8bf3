//! Files that Apache Kafka 4.3.1 wrote, against what this crate makes of the same log.
//!
//! `kafka-4.3.1/` is a log directory after a clean stop: topic `orders` with one partition,
//! `index.interval.bytes=300`, 250 records from two idempotent producers, the first with lz4.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tidewheel_protocol::{BatchHeader, Batches, TopicPartition};
use tidewheel_storage::checkpoint;
use tidewheel_storage::error::StorageError;
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::index::{ActiveIndex, IndexedBatch, OffsetIndex, OffsetPosition, TimeIndex};
use tidewheel_storage::leader_epochs::LeaderEpochs;
use tidewheel_storage::producer_state::{PRODUCER_ID_EXPIRATION_MS, ProducerState};
use tidewheel_storage::{meta_properties, partition_metadata, producer_snapshot};

const INDEX_INTERVAL_BYTES: u32 = 300;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka-4.3.1")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(dir().join("orders-0").join(name)).unwrap()
}

/// Every batch of the log with its position in the file.
fn batches() -> Vec<(u32, BatchHeader)> {
    let mut position = 0;
    let mut found = Vec::new();
    for batch in Batches::new(file("00000000000000000000.log").into()) {
        let header = batch.unwrap().header;
        found.push((u32::try_from(position).unwrap(), header));
        position += header.size_in_bytes();
    }
    found
}

#[test]
fn fact_18_indexes_built_from_the_log_are_kafkas_byte_for_byte() {
    let mut index = ActiveIndex::new(0);
    for (position, header) in batches() {
        let batch = IndexedBatch {
            last_offset: header.last_offset(),
            position,
            size: u32::try_from(header.size_in_bytes()).unwrap(),
            max_timestamp: header.max_timestamp,
        };
        index.batch_appended(&batch, INDEX_INTERVAL_BYTES);
    }
    index.seal();
    let offsets = file("00000000000000000000.index");
    let times = file("00000000000000000000.timeindex");
    assert!(
        offsets.len() > 100 && times.len() > 100,
        "the example has entries"
    );
    assert_eq!(index.unwritten_offsets().bytes, offsets);
    assert_eq!(index.unwritten_times().bytes, times);
}

#[test]
fn look_ups_in_kafkas_indexes_find_the_batch() {
    let log = file("00000000000000000000.log");
    let offsets = file("00000000000000000000.index");
    let times = file("00000000000000000000.timeindex");
    let index = OffsetIndex::open(0, &offsets, log.len() as u64).unwrap();
    let time_index = TimeIndex::open(0, &times).unwrap();
    index.check().unwrap();
    time_index.check().unwrap();
    let batches = batches();
    for (position, header) in &batches {
        for offset in header.base_offset..=header.last_offset() {
            let start = index.lookup(offset).position;
            assert!(start <= *position, "offset {offset}");
            assert!(
                position - start <= INDEX_INTERVAL_BYTES + 2 * 600,
                "offset {offset}"
            );
            assert!(
                batches.iter().any(|(at, _)| *at == start),
                "offset {offset}"
            );
        }
        let timestamp = header.max_timestamp;
        let from = time_index.lookup(timestamp).offset;
        let first = batches
            .iter()
            .find(|(_, header)| header.max_timestamp >= timestamp)
            .unwrap();
        assert!(from <= first.1.last_offset(), "timestamp {timestamp}");
    }
}

#[test]
fn the_producer_snapshot_is_read_and_written_as_kafka_does() {
    let kafkas = file("00000000000000000250.snapshot");
    let path = Path::new("00000000000000000250.snapshot");
    let read = producer_snapshot::decode(path, &kafkas, PRODUCER_ID_EXPIRATION_MS).unwrap();
    let mut replayed = ProducerState::default();
    for (_, header) in batches() {
        // Kafka keeps the largest timestamp here; ours is the time of the append.
        replayed.update(&header, header.max_timestamp);
    }
    assert_eq!(read.len(), 2);
    for (id, entry) in read.sorted() {
        let replayed = replayed.get(id).unwrap();
        assert_eq!(replayed.batches().len(), 5);
        assert_eq!(entry.batches(), &replayed.batches()[4..], "producer {id}");
        assert_eq!(entry.last_append_ms, replayed.last_append_ms);
    }
    let ours = producer_snapshot::encode(&replayed);
    assert_eq!(ours[..2], kafkas[..2], "version");
    assert_eq!(
        ours[6..kafkas.len()],
        kafkas[6..],
        "all but the checksum, which covers the tail"
    );
}

#[test]
fn text_files_are_read_and_written_as_kafka_does() {
    let epochs = file("leader-epoch-checkpoint");
    let read = LeaderEpochs::decode(Path::new("leader-epoch-checkpoint"), &epochs).unwrap();
    assert_eq!(read.encode().as_bytes(), epochs);

    let id = partition_metadata::read(&RealFs, &dir().join("orders-0"))
        .unwrap()
        .unwrap();
    let copy = tempfile::tempdir().unwrap();
    partition_metadata::write(&RealFs, copy.path(), id).unwrap();
    let written = std::fs::read(copy.path().join("partition.metadata")).unwrap();
    assert_eq!(written, file("partition.metadata"));

    let tp = |topic: &str| TopicPartition {
        topic: topic.into(),
        partition: 0,
    };
    let expected = HashMap::from([(tp("orders"), 250), (tp("s1"), 2000)]);
    for name in [
        checkpoint::RECOVERY_POINT_CHECKPOINT,
        checkpoint::REPLICATION_OFFSET_CHECKPOINT,
    ] {
        let read = checkpoint::read_offsets(&RealFs, &dir().join(name)).unwrap();
        assert_eq!(read, expected, "{name}");
        let path = copy.path().join(name);
        checkpoint::write_offsets(&RealFs, &path, &read.into_iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(
            std::fs::read(path).unwrap(),
            std::fs::read(dir().join(name)).unwrap()
        );
    }
    let none = dir().join(checkpoint::LOG_START_OFFSET_CHECKPOINT);
    assert!(checkpoint::read_offsets(&RealFs, &none).unwrap().is_empty());
}

#[test]
fn the_directory_itself_is_refused() {
    let found = meta_properties::read(&RealFs, &dir()).unwrap_err();
    assert!(
        matches!(found, StorageError::ForeignDirectory { .. }),
        "{found}"
    );
}

#[test]
fn an_index_restored_at_any_point_of_the_log_continues_as_kafka_did() {
    let offsets = file("00000000000000000000.index");
    let times = file("00000000000000000000.timeindex");
    let batches = batches();
    for (position, header) in &batches {
        let end = OffsetPosition {
            offset: header.base_offset,
            position: *position,
        };
        let mut index = ActiveIndex::restore(0, &offsets, &times, end);
        assert!(index.unwritten_offsets().bytes.is_empty());
        let resume = index.resume_position();
        assert!(resume <= *position);
        for (position, header) in batches.iter().filter(|(position, _)| *position >= resume) {
            let batch = IndexedBatch {
                last_offset: header.last_offset(),
                position: *position,
                size: u32::try_from(header.size_in_bytes()).unwrap(),
                max_timestamp: header.max_timestamp,
            };
            index.batch_appended(&batch, INDEX_INTERVAL_BYTES);
        }
        index.seal();
        assert_eq!(whole(&offsets, index.unwritten_offsets()), offsets);
        assert_eq!(whole(&times, index.unwritten_times()), times);
    }
}

/// The file as it was kept, with what is added to it.
fn whole(file: &[u8], added: tidewheel_storage::index::Unwritten<'_>) -> Vec<u8> {
    let kept = usize::try_from(added.position).unwrap();
    [&file[..kept], added.bytes].concat()
}
