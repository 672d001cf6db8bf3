//! Produce requests that would keep a runtime worker from other connections for long: how many of them
//! are appended at once, on the blocking pool.

use std::sync::Arc;

use tidewheel_config::{LogConfig, limits};
use tidewheel_protocol::messages::produce::{ProduceRequest, TopicProduceData};
use tidewheel_protocol::{BatchHeader, Compression};
use tidewheel_storage::{contradicts_itself, must_decompress, must_recompress};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a request is not appended where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Many bytes or many partitions, or a batch that is to be compressed.
    Long,
    /// A topic has delays: its records are looked at, and the delay queue may be busy.
    Delayed,
    /// The records of a batch must be walked to find the largest timestamp, or decompressed to find their
    /// keys or to be kept in another codec.
    Walked,
}

impl Lane {
    /// The lane of a request that came in `bytes`; `None` for those that are appended at once. `config`
    /// gives the settings of a topic that is there.
    pub(crate) fn of(
        request: &ProduceRequest,
        bytes: usize,
        config: impl Fn(&TopicProduceData) -> Option<Arc<LogConfig>>,
    ) -> Option<Self> {
        let topics = request.topic_data.iter();
        let (mut delayed, mut packed) = (false, false);
        let partitions = || topics.clone().flat_map(|topic| &topic.partition_data);
        let walked = topics.clone().any(|topic| {
            let config = config(topic);
            let queues = config.as_ref().is_some_and(|config| config.queues());
            delayed |= queues;
            let headers = topic.partition_data.iter();
            let mut headers =
                headers.filter_map(|data| BatchHeader::parse(data.records.as_ref()?).ok());
            headers.any(|header| {
                let of_topic = |rule: fn(&BatchHeader, &LogConfig) -> bool| {
                    config.as_ref().is_some_and(|config| rule(&header, config))
                };
                packed |= of_topic(must_recompress);
                let compressed = header.compression() != Ok(Compression::None);
                match queues {
                    // Its records are looked at in any case.
                    true => compressed && of_topic(must_recompress),
                    false => contradicts_itself(&header) || of_topic(must_decompress),
                }
            })
        });
        let long = packed
            || bytes > limits::INLINE_PRODUCE_BYTES_MAX
            || partitions()
                .nth(limits::INLINE_PRODUCE_PARTITIONS_MAX)
                .is_some();
        match (walked, delayed, long) {
            (true, ..) => Some(Self::Walked),
            (false, true, _) => Some(Self::Delayed),
            (false, false, true) => Some(Self::Long),
            (false, false, false) => None,
        }
    }
}

/// The places of the lanes.
#[derive(Debug)]
pub(crate) struct ProduceLanes {
    long: Arc<Semaphore>,
    delayed: Arc<Semaphore>,
    walked: Arc<Semaphore>,
}

impl Default for ProduceLanes {
    fn default() -> Self {
        Self {
            long: Arc::new(Semaphore::new(limits::LONG_PRODUCE_AT_ONCE)),
            delayed: Arc::new(Semaphore::new(limits::DELAY_PRODUCE_AT_ONCE)),
            walked: Arc::new(Semaphore::new(limits::WALKED_PRODUCE_AT_ONCE)),
        }
    }
}

impl ProduceLanes {
    /// Waits for a place, which is free again when the permit is dropped.
    pub(crate) async fn enter(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let places = match lane {
            Lane::Long => &self.long,
            Lane::Delayed => &self.delayed,
            Lane::Walked => &self.walked,
        };
        // Never closed, so never `None`.
        Arc::clone(places).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidewheel_config::{CompressionType, DelayMode};
    use tidewheel_protocol::messages::produce::PartitionProduceData;
    use tidewheel_protocol::{RecordBatch, RecordBatchBuilder};

    fn request(partitions: usize, records: &Bytes) -> ProduceRequest {
        let data = PartitionProduceData {
            index: 0,
            records: Some(records.clone()),
        };
        ProduceRequest {
            topic_data: vec![TopicProduceData {
                partition_data: vec![data; partitions],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        }
    }

    #[test]
    fn only_what_takes_long_leaves_the_worker() {
        let batch = RecordBatchBuilder::new()
            .record(5, None, None)
            .build()
            .unwrap();
        let most = limits::INLINE_PRODUCE_PARTITIONS_MAX;
        let bytes = limits::INLINE_PRODUCE_BYTES_MAX;
        let plain = |_: &TopicProduceData| Some(Arc::new(LogConfig::everlasting()));
        let lane = |partitions, bytes| Lane::of(&request(partitions, &batch.bytes), bytes, plain);
        assert_eq!(lane(most, bytes), None);
        assert_eq!(lane(most + 1, bytes), Some(Lane::Long));
        assert_eq!(lane(1, bytes + 1), Some(Lane::Long));
        let mut header = batch.header;
        header.max_timestamp = 4;
        let old = RecordBatch::assemble(header, &batch.records_bytes()).unwrap();
        let of = |records: &Bytes| Lane::of(&request(1, records), 100, plain);
        assert_eq!(of(&old.bytes), Some(Lane::Walked));
        assert_eq!(of(&Bytes::from_static(b"?")), None);

        let delayed = |_: &TopicProduceData| {
            let mut config = LogConfig::everlasting();
            config.delay.mode = DelayMode::Header;
            Some(Arc::new(config))
        };
        for bytes in [&batch.bytes, &old.bytes] {
            let found = Lane::of(&request(1, bytes), 100, delayed);
            assert_eq!(found, Some(Lane::Delayed));
        }

        let delayed_in_gzip = |_: &TopicProduceData| {
            let mut config = LogConfig::everlasting();
            config.delay.mode = DelayMode::Header;
            config.compression = CompressionType::Gzip { level: 1 };
            Some(Arc::new(config))
        };
        let lz4 = RecordBatchBuilder::new().compression(Compression::Lz4);
        let lz4 = lz4.record(5, None, None).build().unwrap();
        let found = [&batch, &lz4].map(|batch| {
            let request = request(1, &batch.bytes);
            Lane::of(&request, 100, delayed_in_gzip)
        });
        assert_eq!(found, [Some(Lane::Delayed), Some(Lane::Walked)]);

        let compacted = |_: &TopicProduceData| {
            let mut config = LogConfig::everlasting();
            config.cleanup_policy.compact = true;
            Some(Arc::new(config))
        };
        let packed = RecordBatchBuilder::new()
            .compression(Compression::Lz4)
            .record(5, Some(b"k"), None)
            .build()
            .unwrap();
        assert_eq!(of(&packed.bytes), None, "kept as it is");
        let of = |records: &Bytes| Lane::of(&request(1, records), 100, compacted);
        assert_eq!(of(&packed.bytes), Some(Lane::Walked));
        let recompressed = |compression| {
            move |_: &TopicProduceData| {
                let mut config = LogConfig::everlasting();
                config.compression = compression;
                Some(Arc::new(config))
            }
        };
        let zstd = || recompressed(CompressionType::Zstd { level: 3 });
        let found = [&batch, &packed].map(|batch| Lane::of(&request(1, &batch.bytes), 100, zstd()));
        assert_eq!(found, [Some(Lane::Long), Some(Lane::Walked)]);
        let in_lz4 = recompressed(CompressionType::Lz4);
        let found = Lane::of(&request(1, &packed.bytes), 100, in_lz4);
        assert_eq!(found, None, "kept as it is");
        assert_eq!(
            of(&batch.bytes),
            None,
            "a walk without decompression is short"
        );
    }
}
