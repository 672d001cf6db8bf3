//! One producer: sends what is due as soon as it may, and takes answers as they come.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::ahead::Ahead;
use super::feeder::{Due, Feeder, FeederOptions};
use super::lane::{InFlight, Lane, Outcome};
use super::recording::Recording;
use super::{Stop, Worker};
use crate::client::{ClientError, ProduceFrame, TopicInfo};
use crate::clock::{PreciseTimer, wall_ns};
use crate::error::BenchError;
use crate::keys::KeyChooser;
use crate::payload::{BatchMaker, RecordShape, STAMP_BYTES};
use crate::recorder::Series;
use crate::schedule::Schedule;
use crate::values::{Acks, Keys, Rate};
use crate::workload::Workload;

/// Records that leave later than this after they were due and had lingered are called late: 1 ms.
pub(super) const LATE: u64 = 1_000_000;

/// What a producer needs before the run's times are known.
#[derive(Debug)]
pub(crate) struct ProducerSetup {
    lanes: Vec<Lane>,
    /// For each partition: its lane, and the frame around its batches.
    targets: Vec<(usize, ProduceFrame)>,
    maker: BatchMaker,
    /// In the place of records that are made.
    pub(crate) recording: Option<Recording>,
}

/// Which of how many producers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) index: u64,
    pub(crate) count: u64,
}

impl Share {
    /// The producers of a workload, numbered over all topics, and what each produces to; none where it does
    /// not produce.
    pub(crate) fn all<'a>(
        workload: &Workload,
        topics: &'a [TopicInfo],
    ) -> impl Iterator<Item = (Share, &'a TopicInfo)> + use<'a> {
        let each = match workload.mode.produces() {
            true => workload.producers,
            false => 0,
        };
        let count = u64::from(each) * topics.len() as u64;
        let all = topics
            .iter()
            .flat_map(move |topic| (0..each).map(move |_| topic));
        (0..)
            .zip(all)
            .map(move |(index, topic)| (Share { index, count }, topic))
    }
}

impl ProducerSetup {
    /// Connects to the leaders of a topic and makes records.
    pub(crate) async fn open(
        workload: &Workload,
        topic: &TopicInfo,
        share: Share,
    ) -> Result<Self, BenchError> {
        let shape = RecordShape {
            size: workload.size.clone(),
            random_ratio: workload.random_ratio,
            keyed: workload.keys != Keys::None,
            batch_bytes: usize::try_from(workload.batch_bytes.0).unwrap_or(usize::MAX),
            compression: workload.compression.0,
            seed: workload.seed.wrapping_add(share.index),
        };
        let maker = BatchMaker::new(&shape)?;
        if workload.mode.is_stamped() && maker.shortest_value() < STAMP_BYTES as u64 {
            return Err(BenchError::usage(
                "end-to-end latency needs values of at least 16 bytes, which carry the time",
            ));
        }
        let mut lanes: Vec<Lane> = Vec::new();
        let mut targets = Vec::with_capacity(topic.leaders.len());
        let timeout_ms = i32::try_from(workload.timeout.0.as_millis()).unwrap_or(i32::MAX);
        for leader in &topic.leaders {
            let known = lanes
                .iter()
                .position(|lane| lane.address() == leader.address);
            let lane = match known {
                Some(lane) => lane,
                None => {
                    let congestion = workload.congestion.as_deref();
                    let opened = Lane::open(&leader.address, congestion, workload.timeout.0);
                    lanes.push(opened.await?);
                    lanes.len() - 1
                }
            };
            let version = lanes[lane].version();
            let (partition, acks) = (leader.partition, workload.acks.code());
            let frame = ProduceFrame::new(version, &topic.name, partition, acks, timeout_ms);
            targets.push((lane, frame));
        }
        Ok(Self {
            lanes,
            targets,
            maker,
            recording: None,
        })
    }

    /// The mean of its values, in bytes.
    pub(crate) fn mean_value(&self) -> f64 {
        self.maker.mean_value()
    }

    /// The producer, once the times are known; `records_per_second` is that of all producers.
    pub(crate) fn start(
        self,
        worker: Worker,
        share: Share,
        records_per_second: f64,
    ) -> Result<Producer, BenchError> {
        let shared = &worker.shared;
        let (phases, workload) = (shared.phases, &shared.workload);
        let is_paced = workload.rate != Rate::Max && self.recording.is_none();
        let schedule = is_paced.then(|| {
            let duration = phases.end - phases.start;
            Schedule::new(
                phases.start,
                duration,
                records_per_second,
                share.index,
                share.count,
            )
        });
        let targets = self.targets.len();
        let options = FeederOptions {
            schedule,
            linger: workload.linger.nanos(),
            end: phases.end,
            run_id: workload.mode.is_stamped().then_some(shared.run_id),
            chooser: KeyChooser::new(workload.keys, targets, workload.seed ^ share.index)
                .filter(|_| self.recording.is_none()),
            recording: self.recording,
            ahead: Ahead::of(workload, phases, workload.seed ^ share.index),
            start: phases.start,
            targets,
            first_target: usize::try_from(share.index).unwrap_or_default(),
        };
        let timer = PreciseTimer::new().map_err(|source| BenchError::System {
            what: "no timer",
            source,
        })?;
        Ok(Producer {
            lanes: self.lanes,
            targets: self.targets,
            feeder: Feeder::new(self.maker, options),
            timer,
            in_flight_max: workload.in_flight as usize,
            timeout: workload.timeout.nanos(),
            linger: workload.linger.nanos(),
            answered: workload.acks != Acks::None,
            worker,
        })
    }
}

/// A producer of a run.
#[derive(Debug)]
pub(crate) struct Producer {
    worker: Worker,
    lanes: Vec<Lane>,
    targets: Vec<(usize, ProduceFrame)>,
    feeder: Feeder,
    timer: PreciseTimer,
    in_flight_max: usize,
    timeout: u64,
    linger: u64,
    answered: bool,
}

impl Producer {
    fn now(&self) -> u64 {
        self.worker.shared.clock.now()
    }

    /// Runs to the end of the schedule and until everything is answered, or the deadline. Returns how many
    /// records of the schedule were never sent.
    pub(crate) async fn run(mut self, mut stop: Stop) -> Result<u64, BenchError> {
        let mut stopped_at = None;
        let mut deadline = self.worker.shared.phases.deadline;
        loop {
            let now = self.now();
            if stop.is_asked() {
                self.feeder.cut(now);
                let drain = self.worker.shared.workload.drain.nanos();
                deadline = deadline.min(stopped_at.get_or_insert(now).saturating_add(drain));
            }
            self.expire(now);
            for lane in &mut self.lanes {
                lane.revive(now).await;
            }
            self.send_due().await?;
            let now = self.now();
            let (lanes, targets, most) = (&self.lanes, &self.targets, self.in_flight_max);
            let can_send = |target: usize| lanes[targets[target].0].can_send(most);
            let next_at = self.feeder.next_at(now, can_send);
            if next_at.is_some_and(|at| at <= now) {
                // Something came due since.
                continue;
            }
            let idle = self.lanes.iter().all(Lane::is_idle);
            if (next_at.is_none() && idle) || now >= deadline {
                break;
            }
            let wake = self.wake_at(next_at).min(deadline);
            let stopping = stop.is_asked();
            // Dropping any of these loses nothing: connections keep what they read, the timer is set anew.
            let outcome = tokio::select! {
                biased;
                outcome = next_outcome(&mut self.lanes) => Some(outcome),
                waited = self.timer.wait(wake.saturating_sub(now)), if wake < u64::MAX => {
                    waited.map_err(|source| BenchError::System { what: "the timer failed", source })?;
                    None
                }
                () = stop.asked(), if !stopping => None,
            };
            if let Some((lane, outcome)) = outcome {
                self.settle(lane, outcome);
            }
        }
        let now = self.now();
        for lane in 0..self.lanes.len() {
            let lost = self.lanes[lane].fail(now);
            self.lost(lost, "no answer before the end");
        }
        Ok(self.feeder.unsent())
    }

    /// When the clock, rather than an answer, gives something to do.
    fn wake_at(&self, next_at: Option<u64>) -> u64 {
        let lanes = self.lanes.iter().map(|lane| lane.wake_at(self.timeout));
        let lanes = lanes.min().unwrap_or(u64::MAX);
        lanes.min(next_at.unwrap_or(u64::MAX))
    }

    fn expire(&mut self, now: u64) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].is_overdue(now, self.timeout) {
                let lost = self.lanes[lane].fail(now);
                self.lost(lost, "timed out");
            }
        }
    }

    async fn send_due(&mut self) -> Result<(), BenchError> {
        loop {
            let now = self.now();
            let (lanes, targets, most) = (&self.lanes, &self.targets, self.in_flight_max);
            let can_send = |target: usize| lanes[targets[target].0].can_send(most);
            let Some(batch) = self.feeder.take(now, wall_ns(), can_send)? else {
                return Ok(());
            };
            let (lane, frame) = &self.targets[batch.target];
            let wire_bytes = (frame.overhead() + batch.bytes.len()) as u64;
            // Making a batch takes time too: it leaves now.
            let sent = self.now();
            let lane = *lane;
            let mut sending = self.lanes[lane].send(frame, batch.bytes);
            if sending.is_ok() && !self.answered {
                sending = self.lanes[lane]
                    .flush(Duration::from_nanos(self.timeout))
                    .await;
            }
            let flight = InFlight {
                due: batch.due,
                sent,
                value_bytes: batch.value_bytes,
            };
            self.note_sent(&flight, wire_bytes);
            match sending {
                Ok(()) if self.answered => self.lanes[lane].await_answer(flight),
                Ok(()) => self.note_unanswered(&flight),
                Err(error) => {
                    self.lanes[lane].await_answer(flight);
                    self.give_up(lane, &error);
                }
            }
        }
    }

    fn settle(&mut self, lane: usize, outcome: Result<Outcome, ClientError>) {
        match outcome {
            Ok(Outcome { batch, error: None }) => self.note_acked(&batch),
            Ok(Outcome {
                batch,
                error: Some(name),
            }) => self.lost(vec![batch], &name),
            Err(error) => self.give_up(lane, &error),
        }
    }

    fn give_up(&mut self, lane: usize, error: &ClientError) {
        let now = self.now();
        let lost = self.lanes[lane].fail(now);
        self.lost(lost, &error.label());
    }

    fn lost(&self, batches: Vec<InFlight>, name: &str) {
        for batch in batches {
            let count = batch.due.count() as u64;
            self.worker.shared.record(self.worker.number, |interval| {
                interval.counts.failed += count;
                interval.error(name, count);
            });
        }
    }

    fn note_sent(&self, batch: &InFlight, wire_bytes: u64) {
        let shared = &self.worker.shared;
        shared.record(self.worker.number, |interval| {
            interval.counts.sent += batch.due.count() as u64;
            interval.counts.requests += 1;
            interval.counts.wire_bytes += wire_bytes;
            self.each_measured(&batch.due, |due, count| {
                let delay = batch.sent.saturating_sub(due);
                interval.record(Series::SendDelay, delay, count);
                if delay > self.linger + LATE {
                    interval.counts.late += count;
                }
            });
        });
    }

    fn note_acked(&self, batch: &InFlight) {
        let now = self.now();
        let shared = &self.worker.shared;
        shared.record(self.worker.number, |interval| {
            interval.counts.acked += batch.due.count() as u64;
            interval.counts.acked_bytes += batch.value_bytes;
            let service = now.saturating_sub(batch.sent);
            self.each_measured(&batch.due, |due, count| {
                interval.record(Series::Response, now.saturating_sub(due), count);
                interval.record(Series::Service, service, count);
            });
        });
    }

    /// With `acks=0` the socket has it, and that is all that will be known.
    fn note_unanswered(&self, batch: &InFlight) {
        self.worker.shared.record(self.worker.number, |interval| {
            interval.counts.acked += batch.due.count() as u64;
            interval.counts.acked_bytes += batch.value_bytes;
        });
    }

    /// Calls with the time each record of the measurement was due, and how many were due then.
    fn each_measured(&self, due: &Due, mut call: impl FnMut(u64, u64)) {
        let shared = &self.worker.shared;
        if let Due::Now { at, count } = due {
            if shared.is_measured(*at) {
                call(*at, *count as u64);
            }
            return;
        }
        for time in self.feeder.times(due) {
            if shared.is_measured(time) {
                call(time, 1);
            }
        }
    }
}

/// The next answer of any lane, and the lane.
async fn next_outcome(lanes: &mut [Lane]) -> (usize, Result<Outcome, ClientError>) {
    poll_fn(|context| {
        for (index, lane) in lanes.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = lane.poll_outcome(context) {
                return Poll::Ready((index, outcome));
            }
        }
        Poll::Pending
    })
    .await
}
