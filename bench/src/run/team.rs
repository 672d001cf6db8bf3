//! Everybody at work: started, watched, and ended when there is nothing left for them.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::TICK;
use super::collector::Collector;
use super::crew::Crew;
use crate::error::BenchError;
use crate::load::{Shared, Stop, Worker};
use crate::process::{HostTicks, ProcessWatch};
use crate::workload::Mode;

/// The processes that are watched, and the host.
pub(super) struct Watches {
    pub(super) broker: Option<ProcessWatch>,
    pub(super) generator: Option<ProcessWatch>,
    /// At the begin of the measurement.
    pub(super) host: Option<HostTicks>,
}

impl Watches {
    /// The measurement begins.
    pub(super) fn restart(&mut self) {
        self.each(ProcessWatch::restart);
        self.host = HostTicks::now();
    }

    /// The share of the processors that the host took since, %.
    pub(super) fn stolen_percent(&self) -> Option<f64> {
        let between = HostTicks::now()?.since(self.host?);
        Some(between.stolen as f64 / between.all.max(1) as f64 * 100.0)
    }

    pub(super) fn each(&mut self, call: impl FnMut(&mut ProcessWatch)) {
        [&mut self.broker, &mut self.generator]
            .into_iter()
            .flatten()
            .for_each(call);
    }
}

/// Everybody at work.
pub(super) struct Team {
    shared: Arc<Shared>,
    producers: JoinSet<Result<u64, BenchError>>,
    consumers: JoinSet<Result<(), BenchError>>,
    /// Ends producers, and consumers that catch up.
    stop_load: watch::Sender<bool>,
    /// Ends the others.
    stop_followers: watch::Sender<bool>,
    pub(super) unsent: u64,
    pub(super) interrupted: bool,
    /// When consumers that still wait for records are ended.
    deadline: u64,
    failed: Option<BenchError>,
}

impl Team {
    pub(super) fn start(crew: Crew, shared: &Arc<Shared>, rate: f64) -> Result<Self, BenchError> {
        let mut team = Self {
            shared: Arc::clone(shared),
            producers: JoinSet::new(),
            consumers: JoinSet::new(),
            stop_load: watch::Sender::new(false),
            stop_followers: watch::Sender::new(false),
            unsent: 0,
            interrupted: false,
            deadline: shared.phases.deadline,
            failed: None,
        };
        let mut numbers = 0..;
        let mut worker = || Worker {
            number: numbers.next().unwrap_or_default(),
            shared: Arc::clone(shared),
        };
        for consumer in crew.followers {
            let stop = Stop(team.stop_followers.subscribe());
            team.consumers.spawn(consumer.run(worker(), stop));
        }
        for consumer in crew.catch_up {
            let stop = Stop(team.stop_load.subscribe());
            team.consumers.spawn(consumer.run(worker(), stop));
        }
        for (setup, share) in crew.producers {
            let producer = setup.start(worker(), share, rate)?;
            let stop = Stop(team.stop_load.subscribe());
            team.producers.spawn(producer.run(stop));
        }
        for producer in crew.applications.producers {
            let stop = Stop(team.stop_load.subscribe());
            team.producers.spawn(producer.run(worker(), rate, stop));
        }
        for consumer in crew.applications.consumers {
            let stop = Stop(team.stop_followers.subscribe());
            team.consumers.spawn(consumer.run(worker(), rate, stop));
        }
        Ok(team)
    }

    /// Collects figures until everybody is done.
    pub(super) async fn oversee(
        &mut self,
        collector: &mut Collector,
        watches: &mut Watches,
    ) -> Result<(), BenchError> {
        let interrupts = signal(SignalKind::interrupt());
        let mut interrupts = interrupts.map_err(|source| BenchError::System {
            what: "signals cannot be heard",
            source,
        })?;
        let mut next_tick = self.shared.clock.now();
        while !(self.producers.is_empty() && self.consumers.is_empty()) {
            let now = self.shared.clock.now();
            let wait = std::time::Duration::from_nanos(next_tick.saturating_sub(now));
            // A worker that has ended stays in its set until it is joined; the tick is set anew.
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let now = self.shared.clock.now();
                    collector.tick(now, watches);
                    self.follow_up(now, collector);
                    next_tick = collector.next_tick(now, TICK);
                }
                Some(joined) = self.producers.join_next() => match joined {
                    Ok(Ok(unsent)) => self.unsent += unsent,
                    Ok(Err(error)) => self.fail(error),
                    Err(error) => self.fail(BenchError::Worker(error.to_string())),
                },
                Some(joined) = self.consumers.join_next() => match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => self.fail(error),
                    Err(error) => self.fail(BenchError::Worker(error.to_string())),
                },
                Some(()) = interrupts.recv() => self.interrupt(),
            }
        }
        collector.tick(self.shared.clock.now(), watches);
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Ends consumers when there is nothing left for them.
    fn follow_up(&mut self, now: u64, collector: &Collector) {
        let phases = &self.shared.phases;
        let consuming_ends = self.shared.workload.mode == Mode::Consume && now >= phases.end;
        let load_ended = self.producers.is_empty() && self.shared.workload.mode.produces();
        if load_ended || consuming_ends {
            self.stop_load.send_replace(true);
        }
        let drained = load_ended && collector.backlog() == 0;
        if drained || consuming_ends || now >= self.deadline {
            self.stop_followers.send_replace(true);
        }
    }

    fn fail(&mut self, error: BenchError) {
        self.failed.get_or_insert(error);
        self.stop_load.send_replace(true);
        self.stop_followers.send_replace(true);
    }

    /// The first Ctrl-C ends the load; what was measured is reported.
    fn interrupt(&mut self) {
        if self.interrupted {
            // Whoever asks twice does not want to wait for answers: 128 + SIGINT, as shells have it.
            std::process::exit(130);
        }
        self.interrupted = true;
        let drain = self.shared.workload.drain.nanos();
        let now = self.shared.clock.now();
        self.deadline = self.deadline.min(now.saturating_add(drain));
        self.stop_load.send_replace(true);
        if !self.shared.workload.mode.produces() {
            self.stop_followers.send_replace(true);
        }
    }
}
