//! Collects what workers record, and cuts it into seconds.

use std::sync::Arc;

use super::progress::{Progress, ProgressKind};
use super::{Outcome, Watches};
use crate::load::Shared;
use crate::process::ProcessWatch;
use crate::recorder::{Counts, Interval};
use crate::report::hlog::IntervalLog;
use crate::summary::{Point, Summary};

const SECOND: u64 = 1_000_000_000;

/// Where the figures of a run come together.
pub(super) struct Collector {
    shared: Arc<Shared>,
    spare: Interval,
    /// Since the last second ended.
    current: Interval,
    current_since: u64,
    /// Latencies of the whole measurement; errors of the whole run.
    total: Interval,
    /// Counters between the measurement's begin and end.
    measured: Counts,
    /// Counters since the load began.
    lifetime: Counts,
    window: Window,
    points: Vec<Point>,
    log: IntervalLog,
    progress: Progress,
}

/// Where a run is, and when the measurement began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Before,
    Open { since: u64 },
    Closed { since: u64, until: u64 },
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>, progress: ProgressKind) -> Self {
        let progress = Progress::new(progress, &shared);
        Self {
            spare: Interval::default(),
            current: Interval::default(),
            current_since: shared.phases.start,
            total: Interval::default(),
            measured: Counts::default(),
            lifetime: Counts::default(),
            window: Window::Before,
            points: Vec::new(),
            log: IntervalLog::new(),
            progress,
            shared,
        }
    }

    /// Records filled in or acknowledged that some subscription has not consumed.
    pub(super) fn backlog(&self) -> u64 {
        let workload = &self.shared.workload;
        if !workload.mode.is_stamped() {
            return 0;
        }
        let there = self.shared.filled + self.lifetime.acked;
        let due = there * u64::from(workload.subscriptions);
        due.saturating_sub(self.lifetime.consumed)
    }

    /// When to collect next: on time for the begin and the end of the measurement.
    pub(super) fn next_tick(&self, now: u64, tick: u64) -> u64 {
        let phases = &self.shared.phases;
        let edges = [phases.measure, phases.end];
        let edge = edges.into_iter().find(|&edge| edge > now);
        (now + tick).min(edge.unwrap_or(u64::MAX))
    }

    /// Takes what was recorded so far.
    pub(super) fn tick(&mut self, now: u64, watches: &mut Watches) {
        let before = self.current.counts;
        self.shared
            .recorder
            .take(&mut self.current, &mut self.spare);
        let mut fresh = self.current.counts;
        fresh.subtract(&before);
        self.lifetime.add(&fresh);
        if matches!(self.window, Window::Open { .. }) {
            self.measured.add(&fresh);
        }
        let phases = self.shared.phases;
        match self.window {
            Window::Before if now >= phases.measure => {
                // Without a warm-up everything counts, from the first request on.
                let cold = phases.measure == phases.start;
                if cold {
                    self.measured.add(&fresh);
                } else {
                    self.close_second(now);
                    watches.restart();
                }
                let since = if cold { phases.start } else { now };
                self.window = Window::Open { since };
            }
            Window::Open { since } => {
                // All threads are looked at where it matters, and else now and then, for those that end.
                let all = now >= phases.end || now.saturating_sub(self.current_since) >= SECOND;
                watches.each(|watch| {
                    if all {
                        watch.look();
                    } else {
                        watch.glance();
                    }
                });
                if now >= phases.end {
                    self.close_second(now);
                    self.window = Window::Closed { since, until: now };
                }
            }
            Window::Before | Window::Closed { .. } => {}
        }
        if now.saturating_sub(self.current_since) >= SECOND {
            self.close_second(now);
        }
        self.progress.tick(now, &self.lifetime, self.backlog());
    }

    /// Ends a second: its figures go into the total, the log and, while measuring, the points.
    fn close_second(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.current_since) as f64 / SECOND as f64;
        if let Window::Open { since } = self.window
            && seconds > 0.0
        {
            let at = self.current_since.saturating_sub(since) as f64 / SECOND as f64;
            let backlog = self.backlog();
            self.points
                .push(Point::of(&self.current, at, seconds, backlog));
        }
        let start = self.current_since.saturating_sub(self.shared.phases.start);
        let length = now.saturating_sub(self.current_since);
        self.log.write(&self.current, start, length);
        self.progress.second(&self.current, seconds);
        self.total.merge(&self.current);
        self.current.clear();
        self.current_since = now;
    }

    /// The summary, once nobody records any more.
    pub(super) fn finish(mut self, mut summary: Summary, watches: &mut Watches) -> Outcome {
        let now = self.shared.clock.now();
        self.close_second(now);
        self.progress.end();
        if let Window::Open { .. } = self.window {
            watches.each(ProcessWatch::look);
        }
        summary.stolen_percent = watches.stolen_percent();
        summary.broker = watches.broker.as_ref().map(ProcessWatch::used);
        summary.generator = watches.generator.as_ref().map(ProcessWatch::used);
        let nanos = match self.window {
            Window::Before => 0,
            Window::Open { since } => now - since,
            Window::Closed { since, until } => until - since,
        };
        summary.fill(&self.total, self.measured, nanos as f64 / SECOND as f64);
        summary.errors = self.total.errors.clone();
        summary.unconsumed = self.backlog();
        summary.points = self.points;
        Outcome {
            summary,
            total: self.total,
            interval_log: self.log.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::load::Phases;
    use crate::recorder::Recorder;
    use crate::testing;
    use crate::workload::{Mode, Workload};

    /// What a run of so many acknowledged records sums up to, of which so many were consumed.
    fn summed_up(mode: Mode, acked: u64, consumed: u64) -> Summary {
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            phases: Phases {
                start: 0,
                measure: 0,
                end: 1,
                deadline: 2,
            },
            recorder: Recorder::new(1),
            workload: Workload {
                mode,
                ..Workload::default()
            },
            run_id: 1,
            filled: 0,
        });
        let mut collector = Collector::new(Arc::clone(&shared), ProgressKind::Silent);
        shared.record(0, |interval| {
            interval.counts.acked += acked;
            interval.counts.consumed += consumed;
        });
        let mut nobody = Watches {
            broker: None,
            generator: None,
            host: None,
        };
        collector.tick(shared.clock.now(), &mut nobody);
        let empty = testing::summary(0.0, 0.0);
        collector.finish(empty, &mut nobody).summary
    }

    /// The slowest records of a run are those that its consumers never got to: leaving them out unsaid
    /// makes a broker that stalls look fast.
    #[test]
    fn records_that_no_consumer_received_are_failures() {
        let late = summed_up(Mode::E2e, 100, 70);
        assert_eq!((late.unconsumed, late.failures()), (30, 30));
        assert_eq!(late.figure("unconsumed"), Some(30.0));
        for (mode, consumed) in [(Mode::E2e, 100), (Mode::Produce, 0)] {
            let summary = summed_up(mode, 100, consumed);
            assert_eq!((summary.unconsumed, summary.failures()), (0, 0));
        }
    }
}
