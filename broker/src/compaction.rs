//! The compacting thread: when it runs, how fast, and what is told of it.

use std::time::Duration;

use tidewheel_storage::{CleanerOptions, CleaningReport, LogCleaner};
use tracing::{error, info, warn};

use crate::broker::Broker;
use crate::clock;
use crate::ids::random_u64;
use crate::storage_threads::FlushSignal;

/// Bytes between two looks at the clock, where the rate is limited.
const PACE_BYTES: u64 = 64 * 1024;
/// Bytes between two looks at whether the broker stops.
const STOP_CHECK_BYTES: u64 = 1024 * 1024;

/// Compacts what is due, again and again, until told to stop.
pub(crate) fn run(broker: &Broker, signal: &FlushSignal) {
    let config = broker.config().cleaner;
    let mut cleaner = LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes: config.dedupe_buffer_bytes,
        load_factor: config.load_factor,
        secret: (random_u64(), random_u64()),
    });
    // Never without a pause: looking at all logs takes time.
    let backoff_ms = u64::try_from(config.backoff_ms).unwrap_or(0).max(1);
    while !signal.wait(Duration::from_millis(backoff_ms)) {
        let mut pacer = Pacer::new(config.io_max_bytes_per_second, signal);
        let mut pace = |bytes| pacer.pass(bytes);
        let logs = broker.logs();
        let counted = broker.metrics().storage();
        let mut tell = |report: CleaningReport| {
            counted.compacted(report.outcome.as_ref().ok());
            if report.given_up {
                counted.found_damage();
            }
            tell(report);
        };
        let now_ms = || broker.clock().now_ms();
        cleaner.clean_due(logs, &now_ms, &mut pace, &mut tell);
        if pacer.stopped {
            return;
        }
    }
}

fn tell(report: CleaningReport) {
    let CleaningReport {
        tp,
        outcome,
        given_up,
    } = report;
    match outcome {
        Ok(stats) => {
            if let Some(offset) = stats.too_large {
                warn!(partition = %tp, offset, "a batch is too large to be compacted: it stays as it is");
            }
            info!(
                partition = %tp,
                bytes_before = stats.bytes_before,
                bytes_after = stats.bytes_after,
                cleaned_to = stats.cleaned_to,
                "compacted"
            );
        }
        Err(error) if given_up => {
            error!(partition = %tp, %error, "not compacted any more until the next start");
        }
        Err(error) => warn!(partition = %tp, %error, "compaction is put off"),
    }
}

/// Keeps the work below a rate, and ends it when the broker stops.
pub(crate) struct Pacer<'a> {
    signal: &'a FlushSignal,
    bytes_per_second: f64,
    begun: tokio::time::Instant,
    /// Since `begun`.
    bytes: u64,
    /// Since the clock or the signal was looked at.
    unchecked: u64,
    step: u64,
    stopped: bool,
}

impl<'a> Pacer<'a> {
    /// A pace of so many bytes in a second, on average.
    pub(crate) fn new(bytes_per_second: f64, signal: &'a FlushSignal) -> Self {
        // Above this no disk is limited by it, and the arithmetic stays small.
        let limited = bytes_per_second < 1e12;
        Self {
            signal,
            bytes_per_second,
            begun: clock::deadline(Duration::ZERO),
            bytes: 0,
            unchecked: 0,
            step: if limited {
                PACE_BYTES
            } else {
                STOP_CHECK_BYTES
            },
            stopped: false,
        }
    }

    /// Waits as long as the rate asks for after `bytes` more; false where the broker stops.
    pub(crate) fn pass(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        self.unchecked += bytes;
        if self.unchecked >= self.step || bytes == 0 {
            self.unchecked = 0;
            self.stopped |= self.signal.wait(self.ahead());
        }
        !self.stopped
    }

    /// How far the work is ahead of the rate.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate needs no more digits than a double has"
    )]
    fn ahead(&self) -> Duration {
        let seconds = (self.bytes as f64 / self.bytes_per_second).min(1e6);
        let due = self.begun + Duration::from_secs_f64(seconds);
        due.saturating_duration_since(clock::deadline(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_says_how_long_to_wait() {
        let signal = FlushSignal::default();
        let mut pacer = Pacer::new(1_000.0, &signal);
        pacer.bytes = 60_000;
        let ahead = pacer.ahead();
        assert!(Duration::from_secs(30) < ahead && ahead <= Duration::from_secs(60));
        let mut free = Pacer::new(f64::MAX, &signal);
        free.bytes = u64::MAX;
        assert_eq!(free.ahead(), Duration::ZERO);
        assert!(free.pass(0));
    }

    #[test]
    fn a_stop_ends_the_work_also_where_the_rate_makes_it_wait() {
        let signal = FlushSignal::default();
        let mut pacer = Pacer::new(1.0, &signal);
        signal.stop();
        assert!(!pacer.pass(PACE_BYTES));
        assert!(pacer.stopped);
    }
}
