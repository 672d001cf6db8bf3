//! One consumer of librdkafka, with partitions of its own: no group takes part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message};

use super::{config, failed};
use crate::client::{Connection, TopicInfo, list_offsets};
use crate::error::BenchError;
use crate::load::{Stop, Worker};
use crate::payload::STAMP_BYTES;
use crate::recorder::Series;
use crate::workload::{Mode, Workload};

const AT_END: i64 = -1;
const AT_START: i64 = -2;

/// A consumer that knows where it begins.
pub(crate) struct RecordConsumer {
    config: ClientConfig,
    topic: String,
    /// Partitions, and the offset each begins at.
    starts: BTreeMap<i32, i64>,
    /// Whether it is done at the end of its partitions.
    once: bool,
}

impl fmt::Debug for RecordConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordConsumer")
            .field("topic", &self.topic)
            .field("starts", &self.starts)
            .finish_non_exhaustive()
    }
}

impl RecordConsumer {
    /// Looks up where to begin; `None` where there is nothing for it.
    pub(super) async fn open(
        workload: &Workload,
        brokers: &[String],
        topic: &TopicInfo,
        number: u32,
    ) -> Result<Option<Self>, BenchError> {
        let once = workload.mode == Mode::Consume;
        let mut starts = BTreeMap::new();
        let mine = topic.leaders.iter().skip(number as usize);
        for leader in mine.step_by(workload.consumers as usize) {
            let timeout = workload.timeout.0;
            let mut connection = Connection::open(&leader.address, timeout).await?;
            let mut offset = async |at| {
                let partitions = [leader.partition];
                let found =
                    list_offsets(&mut connection, &topic.name, &partitions, at, timeout).await?;
                Ok::<i64, BenchError>(found.first().map_or(0, |one| one.offset))
            };
            let end = offset(AT_END).await?;
            let start = match once {
                true => offset(AT_START).await?,
                false => end,
            };
            if !once || start < end {
                starts.insert(leader.partition, start);
            }
        }
        let mut config = config(workload, brokers);
        config
            // librdkafka assigns partitions only where there is a name for a group; none is joined.
            .set("group.id", "tidewheel-bench")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "500")
            .set(
                "fetch.message.max.bytes",
                workload.fetch_bytes.0.to_string(),
            );
        Ok((!starts.is_empty()).then(|| Self {
            config,
            topic: topic.name.clone(),
            starts,
            once,
        }))
    }

    /// Consumes until it is stopped or, where it reads once, has reached every end.
    pub(crate) async fn run(
        self,
        worker: Worker,
        _records_per_second: f64,
        mut stop: Stop,
    ) -> Result<(), BenchError> {
        let consumer: StreamConsumer = self.config.create().map_err(|error| failed(&error))?;
        let mut assignment = TopicPartitionList::new();
        for (partition, start) in &self.starts {
            assignment
                .add_partition_offset(&self.topic, *partition, Offset::Offset(*start))
                .map_err(|error| failed(&error))?;
        }
        if self.once {
            // What is there already is not to be had before the measurement begins.
            let shared = &worker.shared;
            let lead = shared.phases.start.saturating_sub(shared.clock.now());
            tokio::time::sleep(std::time::Duration::from_nanos(lead)).await;
        }
        consumer
            .assign(&assignment)
            .map_err(|error| failed(&error))?;
        let mut open: BTreeSet<i32> = self.starts.keys().copied().collect();
        while !open.is_empty() {
            // What is received is taken from its queue before anything waits again.
            let received = tokio::select! {
                received = consumer.recv() => received,
                () = stop.asked() => break,
            };
            match received {
                Ok(message) => count(&worker, &message),
                Err(KafkaError::PartitionEOF(partition)) => {
                    if self.once {
                        open.remove(&partition);
                    }
                }
                Err(error) => {
                    let name = format!("fetch: {error}");
                    let shared = &worker.shared;
                    shared.record(worker.number, |interval| interval.error(&name, 1));
                }
            }
        }
        Ok(())
    }
}

/// Counts a record, and its latency where it is one of this run.
fn count(worker: &Worker, message: &impl Message) {
    let shared = &worker.shared;
    let arrived = shared.clock.now();
    let key = message.key().unwrap_or_default();
    let value = message.payload().unwrap_or_default();
    let due = due(value, shared.run_id);
    if shared.workload.mode.is_stamped() && due.is_none() && shared.filled == 0 {
        return;
    }
    shared.record(worker.number, |interval| {
        interval.counts.consumed += 1;
        interval.counts.consumed_bytes += (value.len() + key.len()) as u64;
        if let Some(due) = due.filter(|due| shared.is_measured(*due)) {
            interval.record(Series::EndToEnd, arrived.saturating_sub(due), 1);
        }
    });
}

/// When a record was due, if this run produced it.
fn due(value: &[u8], run_id: u64) -> Option<u64> {
    let stamp = value.first_chunk::<STAMP_BYTES>()?;
    let (run, time) = stamp.split_at(8);
    let time = time.first_chunk::<8>()?;
    (run == run_id.to_be_bytes()).then(|| u64::from_be_bytes(*time))
}
