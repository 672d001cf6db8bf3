//! A small data directory made by hand, file by file: two segments, two epochs, two producers,
//! every codec.

use std::path::{Path, PathBuf};

use tidewheel_protocol::{Compression, RecordBatchBuilder, TopicPartition, Uuid};
use tidewheel_storage::checkpoint::{
    self, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, REPLICATION_OFFSET_CHECKPOINT,
};
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::index::{ActiveIndex, IndexedBatch};
use tidewheel_storage::leader_epochs::{LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use tidewheel_storage::manifest::{self, Manifest, PartitionManifest, SegmentManifest};
use tidewheel_storage::meta_properties::{self, MetaProperties};
use tidewheel_storage::producer_state::ProducerState;
use tidewheel_storage::{partition_metadata, producer_snapshot};

/// The data directory.
pub(crate) const DATA: &str = "/data";
/// Its only partition.
pub(crate) const ORDERS: &str = "/data/orders-0";

const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;
const BATCHES_PER_SEGMENT: i64 = 4;
const RECORDS_PER_BATCH: i64 = 2;
const END: i64 = 16;

/// The directory on its simulated disk.
pub(crate) struct Fixture {
    /// The disk.
    pub(crate) fs: SimFs,
    /// Where the batches begin in their segments, in the order of their offsets.
    pub(crate) batch_positions: Vec<u64>,
}

impl Fixture {
    /// As a clean stop leaves it.
    pub(crate) fn clean() -> Fixture {
        let mut fixture = Fixture::crashed();
        let segments = fixture.write_partition();
        fixture.write_directory(segments);
        checkpoint::write_clean_shutdown(&fixture.fs, Path::new(DATA)).expect("the disk works");
        fixture
    }

    /// As a crash leaves it with the recovery point at the second segment: no marker, no manifest.
    pub(crate) fn crashed() -> Fixture {
        let mut fixture = Fixture {
            fs: SimFs::new(),
            batch_positions: Vec::new(),
        };
        fixture
            .fs
            .create_dir_all(Path::new(ORDERS))
            .expect("the disk works");
        fixture.write_partition();
        let meta = MetaProperties {
            cluster_id: "MMLmzvLqQ8aZ4Gv8hQ9Wtw".to_owned(),
            node_id: 1,
            directory_id: Uuid(*b"a directory's id"),
        };
        meta_properties::write(&fixture.fs, Path::new(DATA), &meta).expect("the disk works");
        fixture.write_offsets(RECOVERY_POINT_CHECKPOINT, 8);
        fixture.write_offsets(REPLICATION_OFFSET_CHECKPOINT, END);
        fixture
    }

    /// Every file of the directory but the lock.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let list = |dir: &str| {
            let entries = self
                .fs
                .read_dir(Path::new(dir))
                .expect("the directory is there");
            let files = entries
                .into_iter()
                .filter(|entry| !entry.is_dir && entry.name != ".lock");
            files
                .map(|entry| Path::new(dir).join(entry.name))
                .collect::<Vec<_>>()
        };
        [list(DATA), list(ORDERS)].concat()
    }

    fn write(&self, dir: &str, name: &str, bytes: &[u8]) {
        checkpoint::write_atomically(&self.fs, &Path::new(dir).join(name), bytes)
            .expect("the simulated disk works");
    }

    fn write_offsets(&self, name: &str, offset: i64) {
        let tp = TopicPartition {
            topic: "orders".into(),
            partition: 0,
        };
        checkpoint::write_offsets(&self.fs, &Path::new(DATA).join(name), &[(tp, offset)])
            .expect("the simulated disk works");
    }

    fn write_partition(&mut self) -> Vec<SegmentManifest> {
        self.batch_positions.clear();
        let mut producers = ProducerState::default();
        let mut epochs = LeaderEpochs::new();
        let segments: Vec<SegmentManifest> = [0, BATCHES_PER_SEGMENT]
            .into_iter()
            .map(|first| self.write_segment(first, &mut producers, &mut epochs))
            .collect();
        self.write(ORDERS, LEADER_EPOCH_CHECKPOINT, epochs.encode().as_bytes());
        partition_metadata::write(&self.fs, Path::new(ORDERS), topic_id()).expect("the disk works");
        self.write(
            ORDERS,
            &format!("{END:020}.snapshot"),
            &producer_snapshot::encode(&producers),
        );
        segments
    }

    fn write_segment(
        &mut self,
        first_batch: i64,
        producers: &mut ProducerState,
        epochs: &mut LeaderEpochs,
    ) -> SegmentManifest {
        let base_offset = first_batch * RECORDS_PER_BATCH;
        let mut log = Vec::new();
        let mut index = ActiveIndex::new(base_offset);
        let mut first_timestamp = -1;
        for number in first_batch..first_batch + BATCHES_PER_SEGMENT {
            // The second epoch begins inside the second segment.
            let epoch = if number < 6 { 3 } else { 5 };
            let batch = build_batch(number, epoch);
            epochs.assign(epoch, batch.header.base_offset);
            producers.update(&batch.header, FIRST_TIMESTAMP + number);
            self.batch_positions.push(log.len() as u64);
            let indexed = IndexedBatch {
                last_offset: batch.header.last_offset(),
                position: u32::try_from(log.len()).expect("the log is small"),
                size: u32::try_from(batch.bytes.len()).expect("the batch is small"),
                max_timestamp: batch.header.max_timestamp,
            };
            index.batch_appended(&indexed, 100);
            log.extend_from_slice(&batch.bytes);
            if first_timestamp < 0 {
                first_timestamp = batch.header.max_timestamp;
            }
        }
        index.seal();
        self.write(ORDERS, &format!("{base_offset:020}.log"), &log);
        self.write(
            ORDERS,
            &format!("{base_offset:020}.index"),
            index.unwritten_offsets().bytes,
        );
        self.write(
            ORDERS,
            &format!("{base_offset:020}.timeindex"),
            index.unwritten_times().bytes,
        );
        let max = index.max_timestamp();
        SegmentManifest {
            base_offset,
            log_bytes: log.len() as u64,
            max_timestamp: max.timestamp,
            offset_of_max_timestamp: max.offset,
            first_timestamp,
        }
    }

    fn write_directory(&self, segments: Vec<SegmentManifest>) {
        self.write_offsets(RECOVERY_POINT_CHECKPOINT, END);
        self.write_offsets(LOG_START_OFFSET_CHECKPOINT, 1);
        let epochs = [(3, 0), (5, 12)];
        let entry = |(epoch, start_offset)| tidewheel_storage::leader_epochs::EpochEntry {
            epoch,
            start_offset,
        };
        let partition = PartitionManifest {
            topic: "orders".to_owned(),
            partition: 0,
            topic_id: topic_id(),
            log_start_offset: 1,
            log_end_offset: END,
            segments,
            leader_epochs: epochs.map(entry).to_vec(),
            producer_snapshot_offset: Some(END),
            older_snapshot_offsets: Vec::new(),
        };
        manifest::write(
            &self.fs,
            Path::new(DATA),
            &Manifest {
                partitions: vec![partition],
            },
        )
        .expect("the simulated disk works");
        drop(
            self.fs
                .lock(&Path::new(DATA).join(".lock"))
                .expect("nobody holds it"),
        );
    }
}

fn topic_id() -> Uuid {
    Uuid(*b"a topic's own id")
}

fn build_batch(number: i64, epoch: i32) -> tidewheel_protocol::RecordBatch {
    let codec = Compression::ALL[usize::try_from(number).expect("not negative") % 5];
    let base_offset = number * RECORDS_PER_BATCH;
    // Timestamps that do not simply rise.
    let timestamp = FIRST_TIMESTAMP + (number % 3) * 1000 + number;
    let sequence = i32::try_from(number / 2 * RECORDS_PER_BATCH).expect("small");
    RecordBatchBuilder::new()
        .base_offset(base_offset)
        .partition_leader_epoch(epoch)
        .compression(codec)
        .producer(100 + number % 2, 0, sequence)
        .record(
            timestamp,
            Some(b"key"),
            Some(format!("value {number}").as_bytes()),
        )
        .record(timestamp + 1, None, None)
        .build()
        .expect("a small batch")
}
