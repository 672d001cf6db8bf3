//! Producers and consumers through librdkafka: record by record, as an application uses it. What they
//! measure contains the client's own queues and threads, and its processor time is the bench's.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::client::TopicInfo;
use crate::error::BenchError;
use crate::load::producer::Share;
use crate::workload::{Mode, Workload};

mod consumer;
mod producer;

use consumer::RecordConsumer;
use producer::RecordProducer;

/// What takes part in a run through librdkafka.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    pub(crate) producers: Vec<RecordProducer>,
    pub(crate) consumers: Vec<RecordConsumer>,
}

impl Applications {
    /// Prepares them. Where consumers begin is looked up now, before anything is produced.
    pub(crate) async fn open(
        workload: &Workload,
        brokers: &[String],
        topics: &[TopicInfo],
    ) -> Result<Self, BenchError> {
        let mut all = Self::default();
        for topic in topics.iter().filter(|_| workload.mode.consumes()) {
            for _ in 0..workload.subscriptions {
                for number in 0..workload.consumers {
                    let consumer = RecordConsumer::open(workload, brokers, topic, number).await?;
                    all.consumers.extend(consumer);
                }
            }
        }
        if workload.mode == Mode::Consume && all.consumers.is_empty() {
            return Err(BenchError::usage(
                "there is nothing to consume: the topic is empty",
            ));
        }
        for (share, topic) in Share::all(workload, topics) {
            let producer = RecordProducer::prepare(workload, brokers, &topic.name, share)?;
            all.producers.push(producer);
        }
        Ok(all)
    }

    /// The mean of the values that are sent, in bytes.
    pub(crate) fn mean_value(&self) -> Option<f64> {
        self.producers.first().map(RecordProducer::mean_value)
    }
}

/// What producers and consumers have in common.
fn config(workload: &Workload, brokers: &[String]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers.join(","))
        .set("client.id", "tidewheel-bench")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", milliseconds(workload.timeout.0));
    config
}

fn milliseconds(duration: Duration) -> String {
    // librdkafka wants ten milliseconds or more of its time-outs.
    duration.as_millis().clamp(10, 900_000).to_string()
}

/// What librdkafka says of an error, under which it is counted.
fn failed(error: &rdkafka::error::KafkaError) -> BenchError {
    BenchError::Librdkafka(error.to_string())
}
