//! One producer of librdkafka.

use std::fmt;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};

use super::{config, failed, milliseconds};
use crate::clock::PreciseTimer;
use crate::error::BenchError;
use crate::keys::{KEY_BYTES, KeyChooser, key};
use crate::load::producer::{LATE, Share};
use crate::load::{Stop, Worker};
use crate::payload::{BatchMaker, RecordShape, STAMP_BYTES};
use crate::recorder::Series;
use crate::schedule::Schedule;
use crate::values::{Keys, Rate};
use crate::workload::Workload;

/// How long a full queue is given to shrink, and how often the end is looked for, in nanoseconds.
const PAUSE: u64 = 200_000;
/// How long librdkafka may take to tell of records that are given up, in nanoseconds.
const PURGED: u64 = 5_000_000_000;
/// Records between two moments at which others may run.
const TURN: u64 = 64;

/// A producer that is not connected yet.
pub(crate) struct RecordProducer {
    config: ClientConfig,
    topic: String,
    share: Share,
    maker: BatchMaker,
}

impl fmt::Debug for RecordProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordProducer")
            .field("topic", &self.topic)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

/// A record on its way.
struct Flight {
    due: u64,
    sent: u64,
    bytes: u64,
}

/// Hears what became of records, on librdkafka's own thread.
struct Listener {
    worker: Worker,
}

impl ClientContext for Listener {}

impl ProducerContext<NoCustomPartitioner> for Listener {
    type DeliveryOpaque = Box<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Box<Flight>) {
        let shared = &self.worker.shared;
        let now = shared.clock.now();
        shared.record(self.worker.number, |interval| {
            if let Err((error, _)) = result {
                let known = error.rdkafka_error_code();
                let name = match known {
                    Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {
                        "no answer before the end".to_owned()
                    }
                    Some(code) => format!("{code:?}"),
                    None => error.to_string(),
                };
                interval.counts.failed += 1;
                interval.error(&name, 1);
                return;
            }
            interval.counts.acked += 1;
            interval.counts.acked_bytes += flight.bytes;
            if shared.is_measured(flight.due) {
                interval.record(Series::Response, now.saturating_sub(flight.due), 1);
                interval.record(Series::Service, now.saturating_sub(flight.sent), 1);
            }
        });
    }
}

impl RecordProducer {
    pub(super) fn prepare(
        workload: &Workload,
        brokers: &[String],
        topic: &str,
        share: Share,
    ) -> Result<Self, BenchError> {
        let shape = RecordShape {
            size: workload.size.clone(),
            random_ratio: workload.random_ratio,
            keyed: false,
            batch_bytes: usize::try_from(workload.batch_bytes.0).unwrap_or(usize::MAX),
            compression: tidewheel_protocol::Compression::None,
            seed: workload.seed.wrapping_add(share.index),
        };
        let maker = BatchMaker::new(&shape)?;
        if workload.mode.is_stamped() && maker.shortest_value() < STAMP_BYTES as u64 {
            return Err(BenchError::usage(
                "end-to-end latency needs values of at least 16 bytes, which carry the time",
            ));
        }
        let mut config = config(workload, brokers);
        config
            .set("acks", workload.acks.to_string())
            .set(
                "linger.ms",
                (workload.linger.0.as_secs_f64() * 1e3).to_string(),
            )
            .set("batch.size", workload.batch_bytes.0.to_string())
            .set("compression.type", workload.compression.to_string())
            .set("max.in.flight", workload.in_flight.to_string())
            .set("message.timeout.ms", milliseconds(workload.timeout.0))
            .set("message.max.bytes", "1000000000")
            // What fails is counted, as with the bench's own client.
            .set("retries", "0")
            .set("partitioner", "murmur2_random");
        Ok(Self {
            config,
            topic: topic.to_owned(),
            share,
            maker,
        })
    }

    pub(super) fn mean_value(&self) -> f64 {
        self.maker.mean_value()
    }

    /// Sends what is due until the schedule ends, and waits for the answers. Returns how many records were
    /// never sent.
    pub(crate) async fn run(
        self,
        worker: Worker,
        records_per_second: f64,
        mut stop: Stop,
    ) -> Result<u64, BenchError> {
        let workload = worker.shared.workload.clone();
        let phases = worker.shared.phases;
        let listener = Listener {
            worker: worker.clone(),
        };
        let producer: ThreadedProducer<Listener> = self
            .config
            .create_with_context(listener)
            .map_err(|error| failed(&error))?;
        let schedule = (workload.rate != Rate::Max).then(|| {
            let duration = phases.end - phases.start;
            let (index, count) = (self.share.index, self.share.count);
            Schedule::new(phases.start, duration, records_per_second, index, count)
        });
        let mut sender = Sender {
            chooser: KeyChooser::new(workload.keys, 1, workload.seed ^ self.share.index)
                .filter(|_| workload.keys != Keys::None),
            key: None,
            stamp: workload.mode.is_stamped().then_some(worker.shared.run_id),
            late_after: workload.linger.nanos() + LATE,
            topic: self.topic,
            maker: self.maker,
            producer,
            schedule,
            worker,
            next: 0,
        };
        let unsent = sender.send_all(&mut stop).await?;
        sender.drain(workload.drain.nanos(), &stop).await?;
        Ok(unsent)
    }
}

struct Sender {
    worker: Worker,
    topic: String,
    maker: BatchMaker,
    producer: ThreadedProducer<Listener>,
    schedule: Option<Schedule>,
    chooser: Option<KeyChooser>,
    /// Of the next record, which may be handed over more than once.
    key: Option<[u8; KEY_BYTES]>,
    stamp: Option<u64>,
    late_after: u64,
    next: u64,
}

fn timer() -> Result<PreciseTimer, BenchError> {
    PreciseTimer::new().map_err(timer_failed)
}

fn timer_failed(source: std::io::Error) -> BenchError {
    BenchError::System {
        what: "the timer failed",
        source,
    }
}

impl Sender {
    /// When the next record is due, or `None` when none is any more.
    fn next_due(&self, now: u64) -> Option<u64> {
        let phases = self.worker.shared.phases;
        match &self.schedule {
            Some(schedule) => (self.next < schedule.total()).then(|| schedule.due_at(self.next)),
            None => (now < phases.end).then(|| now.max(phases.start)),
        }
    }

    async fn send_all(&mut self, stop: &mut Stop) -> Result<u64, BenchError> {
        let mut timer = timer()?;
        let clock = self.worker.shared.clock;
        let deadline = self.worker.shared.phases.deadline;
        while let Some(due) = self.next_due(clock.now()) {
            let now = clock.now();
            if stop.is_asked() {
                let due = self.schedule.as_ref().map_or(0, |all| all.due_by(now));
                return Ok(due.saturating_sub(self.next));
            }
            if now >= deadline {
                let total = self.schedule.as_ref().map_or(0, Schedule::total);
                return Ok(total.saturating_sub(self.next));
            }
            let wait = match due > now {
                true => due - now,
                false if self.send(due)? => 0,
                // Its queue is full: the record stays due.
                false => PAUSE,
            };
            if wait > 0 {
                tokio::select! {
                    waited = timer.wait(wait) => waited.map_err(timer_failed)?,
                    () = stop.asked() => {}
                }
            } else if self.next.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(0)
    }

    /// Hands a record over; `false` where there is no room.
    fn send(&mut self, due: u64) -> Result<bool, BenchError> {
        let shared = &self.worker.shared;
        let index = usize::try_from(self.next).unwrap_or_default() % self.maker.capacity();
        let mut value = self.maker.value(index).to_vec();
        if let (Some(run_id), Some(place)) = (self.stamp, value.get_mut(..STAMP_BYTES)) {
            place[..8].copy_from_slice(&run_id.to_be_bytes());
            place[8..].copy_from_slice(&due.to_be_bytes());
        }
        let sent = shared.clock.now();
        let bytes = value.len() as u64;
        let flight = Box::new(Flight { due, sent, bytes });
        if let (None, Some(chooser)) = (self.key, &mut self.chooser) {
            self.key = Some(key(chooser.next().0));
        }
        let mut record = BaseRecord::with_opaque_to(&self.topic, flight).payload(&value[..]);
        if let Some(key) = &self.key {
            record = record.key(&key[..]);
        }
        match self.producer.send(record) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                return Ok(false);
            }
            Err((error, _)) => return Err(failed(&error)),
        }
        self.next += 1;
        self.key = None;
        shared.record(self.worker.number, |interval| {
            interval.counts.sent += 1;
            if shared.is_measured(due) {
                let delay = sent.saturating_sub(due);
                interval.record(Series::SendDelay, delay, 1);
                interval.counts.late += u64::from(delay > self.late_after);
            }
        });
        Ok(true)
    }

    /// Waits for answers; those that do not come by the deadline are lost.
    async fn drain(&self, drain: u64, stop: &Stop) -> Result<(), BenchError> {
        let mut timer = timer()?;
        let clock = self.worker.shared.clock;
        let mut deadline = self.worker.shared.phases.deadline;
        if stop.is_asked() {
            deadline = deadline.min(clock.now().saturating_add(drain));
        }
        while self.producer.in_flight_count() > 0 && clock.now() < deadline {
            timer.wait(PAUSE).await.map_err(timer_failed)?;
        }
        // Nothing waits on: the end of the client would send what is left. Each of these is heard of as lost.
        self.producer
            .purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        let heard_by = clock.now().saturating_add(PURGED);
        while self.producer.in_flight_count() > 0 && clock.now() < heard_by {
            timer.wait(PAUSE).await.map_err(timer_failed)?;
        }
        Ok(())
    }
}
