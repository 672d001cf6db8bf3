//! What is shown while a run lasts, on stderr: a line that changes on a terminal, else lines in the shape
//! of kafka-producer-perf-test.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::load::{Phases, Shared};
use crate::output::say;
use crate::recorder::{Counts, Interval, Series};
use crate::values::describe_count;
use crate::workload::Workload;

/// Seconds between two plain lines.
const LINE_SECONDS: f64 = 5.0;
/// Redraws of the live line per second, at most.
const REDRAWS: u8 = 5;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressKind {
    /// One line that changes.
    Live,
    /// A line every five seconds.
    Lines,
    /// Nothing: what runs is not the run that was asked for.
    Silent,
}

pub(super) struct Progress {
    kind: ProgressKind,
    shared: Arc<Shared>,
    bar: ProgressBar,
    /// Since the last plain line.
    since_line: Interval,
    seconds: f64,
    latency: String,
    last: (u64, Counts),
    rates: String,
}

impl Progress {
    pub(super) fn new(kind: ProgressKind, shared: &Arc<Shared>) -> Self {
        let span = shared.phases.end - shared.phases.start;
        let bar = match kind {
            ProgressKind::Live => ProgressBar::with_draw_target(
                Some(span / 1_000_000),
                ProgressDrawTarget::stderr_with_hz(REDRAWS),
            ),
            ProgressKind::Lines | ProgressKind::Silent => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix}  {bar:20} {msg}") {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(shared.workload.headline());
        Self {
            kind,
            shared: Arc::clone(shared),
            bar,
            since_line: Interval::default(),
            seconds: 0.0,
            latency: String::new(),
            last: (shared.phases.start, Counts::default()),
            rates: String::new(),
        }
    }

    /// Shows where the run is.
    pub(super) fn tick(&mut self, now: u64, lifetime: &Counts, backlog: u64) {
        if self.kind != ProgressKind::Live {
            return;
        }
        let phases = &self.shared.phases;
        let passed = now.saturating_sub(phases.start);
        let (then, before) = self.last;
        let seconds = now.saturating_sub(then) as f64 / 1e9;
        if seconds >= 1.0 {
            let mut fresh = *lifetime;
            fresh.subtract(&before);
            self.rates = rates(&fresh, seconds);
            self.last = (now, *lifetime);
        }
        self.bar.set_position(passed / 1_000_000);
        self.bar
            .set_prefix(place(&self.shared.workload, phases, now));
        let text = figures(&self.shared.workload, lifetime, backlog);
        self.bar.set_message(format!(
            "{}{}{}{} err {}",
            text[0], self.rates, text[1], self.latency, lifetime.failed
        ));
    }

    /// Takes the figures of a second.
    pub(super) fn second(&mut self, interval: &Interval, seconds: f64) {
        let seen = main_series(interval);
        let histogram = interval.series(seen);
        if !histogram.is_empty() {
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
            self.latency = format!(
                " p50 {:.2} p99 {:.2} p99.9 {:.2} ms",
                at(0.5),
                at(0.99),
                at(0.999)
            );
        }
        if self.kind != ProgressKind::Lines {
            return;
        }
        self.since_line.merge(interval);
        self.seconds += seconds;
        if self.seconds >= LINE_SECONDS {
            self.line();
        }
    }

    fn line(&mut self) {
        let counts = &self.since_line.counts;
        let (records, bytes, verb) = match self.shared.workload.mode.produces() {
            true => (counts.acked, counts.acked_bytes, "sent"),
            false => (counts.consumed, counts.consumed_bytes, "read"),
        };
        let histogram = self.since_line.series(main_series(&self.since_line));
        say(&format!(
            "{records} records {verb}, {:.1} records/sec ({:.2} MB/sec), {:.2} ms avg latency, \
             {:.2} ms max latency.",
            records as f64 / self.seconds,
            bytes as f64 / 1e6 / self.seconds,
            histogram.mean() / 1e6,
            histogram.max() as f64 / 1e6,
        ));
        self.since_line.clear();
        self.seconds = 0.0;
    }

    pub(super) fn end(&mut self) {
        self.bar.finish_and_clear();
        if self.kind == ProgressKind::Lines && self.seconds > 0.5 {
            self.line();
        }
    }
}

/// What runs, and where it is: `e2e orders 3p→3c 1KiB @50k/s acks=all   00:42/01:00`.
fn place(workload: &Workload, phases: &Phases, now: u64) -> String {
    let phase = match now {
        _ if now < phases.measure => " warming up",
        _ if now < phases.end => "",
        _ => " draining",
    };
    let time = |nanos: u64| {
        let seconds = Duration::from_nanos(nanos).as_secs();
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    };
    format!(
        "{}   {}/{}{phase}",
        workload.headline(),
        time(now.saturating_sub(phases.start)),
        time(phases.end - phases.start)
    )
}

/// What is left of and right of the rates: how much was sent or read, and how much waits.
fn figures(workload: &Workload, lifetime: &Counts, backlog: u64) -> [String; 2] {
    let (verb, count) = match workload.mode.produces() {
        true => ("sent", lifetime.sent),
        false => ("read", lifetime.consumed),
    };
    let backlog = match workload.mode.is_stamped() {
        true => format!(" backlog {backlog}"),
        false => String::new(),
    };
    [format!("{verb} {}", describe_count(count as f64)), backlog]
}

fn rates(fresh: &Counts, seconds: f64) -> String {
    let per_second = |count: u64| count as f64 / seconds;
    let mut text = String::new();
    if fresh.acked > 0 {
        text = format!(
            " {:.1}k/s {:.1}MB/s",
            per_second(fresh.acked) / 1e3,
            per_second(fresh.acked_bytes) / 1e6
        );
    }
    if fresh.consumed > 0 {
        let rate = per_second(fresh.consumed) / 1e3;
        text.push_str(&format!(" recv {rate:.1}k/s"));
    }
    text
}

/// The latency that matters most of those measured.
fn main_series(interval: &Interval) -> Series {
    match interval.series(Series::EndToEnd).is_empty() {
        true => Series::Response,
        false => Series::EndToEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Rate;
    use crate::workload::Mode;

    #[test]
    fn the_live_line_says_what_runs_where_it_is_and_what_waits() {
        let workload = Workload {
            mode: Mode::E2e,
            topic: "orders".to_owned(),
            producers: 3,
            consumers: 3,
            rate: Rate::Records(50_000.0),
            ..Workload::default()
        };
        const SECOND: u64 = 1_000_000_000;
        let phases = Phases {
            start: SECOND,
            measure: 3 * SECOND,
            end: 61 * SECOND,
            deadline: 71 * SECOND,
        };
        let line = "e2e orders 3p→3c 1KiB @50k/s acks=all   00:42/01:00";
        assert_eq!(place(&workload, &phases, 43 * SECOND), line);
        assert!(place(&workload, &phases, 2 * SECOND).ends_with("warming up"));
        assert!(place(&workload, &phases, 62 * SECOND).ends_with("draining"));
        let counts = Counts {
            sent: 2_100_000,
            consumed: 7,
            ..Counts::default()
        };
        assert_eq!(
            figures(&workload, &counts, 212),
            ["sent 2.1M", " backlog 212"]
        );
        let consume = Workload {
            mode: Mode::Consume,
            ..workload
        };
        assert_eq!(figures(&consume, &counts, 0), ["read 7", ""]);
    }
}
