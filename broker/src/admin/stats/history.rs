//! Samples of the last minutes, of the last hour and of the last day, each coarser than the one before.

use std::collections::VecDeque;
use std::time::Duration;

use tidewheel_config::limits;

use super::series::Values;

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When, ms since 1970.
    pub(super) at_ms: i64,
    /// The same by the clock that nobody sets.
    pub(super) steady_ms: i64,
    /// What was read off the broker.
    pub(super) values: Values,
}

/// The last samples with about the same time between them.
#[derive(Debug)]
struct Ring {
    step_ms: i64,
    most: usize,
    samples: VecDeque<Sample>,
}

/// All that is remembered.
#[derive(Debug)]
pub(super) struct History {
    rings: [Ring; limits::ADMIN_STATS.len()],
}

/// What was asked for: at most as many samples as a ring has.
#[derive(Debug)]
pub(super) struct Found {
    /// The time between two points.
    pub(super) step_ms: i64,
    from_steady_ms: i64,
    samples: Vec<Sample>,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Default for History {
    fn default() -> Self {
        let rings = limits::ADMIN_STATS.map(|(step, most)| Ring {
            step_ms: ms(step),
            most,
            samples: VecDeque::new(),
        });
        Self { rings }
    }
}

impl Ring {
    /// Takes a sample where a new step has begun.
    fn take(&mut self, sample: Sample) {
        let step = |sample: &Sample| sample.steady_ms.div_euclid(self.step_ms);
        let last = self.samples.back().map(step);
        if last == Some(step(&sample)) {
            return;
        }
        // One more than there are points: each tells what came since the one before.
        if self.samples.len() > self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn span_ms(&self) -> i64 {
        let most = i64::try_from(self.most).unwrap_or(i64::MAX);
        self.step_ms.saturating_mul(most)
    }
}

impl History {
    pub(super) fn take(&mut self, sample: Sample) {
        for ring in &mut self.rings {
            ring.take(sample);
        }
    }

    /// The last sample, and the first one of so many ms before it; `None` where there is none but the last.
    pub(super) fn lately(&self, span_ms: i64) -> Option<(Sample, Sample)> {
        let [finest, ..] = &self.rings;
        let last = finest.samples.back()?;
        let from_ms = last.steady_ms.saturating_sub(span_ms);
        let late = finest.samples.iter().rev();
        let first = late
            .take_while(|sample| sample.steady_ms >= from_ms)
            .last()?;
        (first.steady_ms < last.steady_ms).then_some((*first, *last))
    }

    /// The finest samples that reach so far back, or those that make points so far apart.
    ///
    /// # Errors
    /// Where nothing is remembered for so long, or not so fine: in words.
    pub(super) fn find(&self, range_ms: i64, step_ms: Option<i64>) -> Result<Found, String> {
        let fits = |ring: &&Ring| {
            let is_fine = step_ms.is_none_or(|step_ms| step_ms % ring.step_ms == 0);
            is_fine && range_ms <= ring.span_ms()
        };
        let Some(ring) = self.rings.iter().find(fits) else {
            let kept = self.rings.iter().map(|ring| {
                let (step_s, span_s) = (ring.step_ms / 1_000, ring.span_ms() / 1_000);
                format!("each {step_s}s for {span_s}s")
            });
            let kept: Vec<String> = kept.collect();
            return Err(format!("points are kept {}", kept.join(", ")));
        };
        let latest_ms = ring.samples.back().map_or(0, |last| last.steady_ms);
        let from_steady_ms = latest_ms.saturating_sub(range_ms);
        Ok(Found {
            step_ms: step_ms.unwrap_or(ring.step_ms),
            from_steady_ms,
            samples: ring.samples.iter().copied().collect(),
        })
    }
}

impl Found {
    /// Each sample of the range that is the last of its step, with the one of the step before.
    pub(super) fn points(&self) -> Vec<[Sample; 2]> {
        let step = |sample: &Sample| sample.steady_ms.div_euclid(self.step_ms);
        let mut lasts: Vec<Sample> = Vec::new();
        for sample in &self.samples {
            match lasts.last_mut() {
                Some(last) if step(last) == step(sample) => *last = *sample,
                _ => lasts.push(*sample),
            }
        }
        let pairs = lasts.array_windows::<2>().copied();
        pairs
            .filter(|[_, now]| now.steady_ms > self.from_steady_ms)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(steady_ms: i64) -> Sample {
        Sample {
            at_ms: steady_ms + 5,
            steady_ms,
            values: Values::all(Some(steady_ms.unsigned_abs())),
        }
    }

    /// Samples of so many seconds, each some ms late.
    fn history(seconds: i64) -> History {
        let mut history = History::default();
        for second in 0..seconds {
            history.take(sample(second * 1_000 + second % 7));
        }
        history
    }

    fn lens(history: &History) -> [usize; 3] {
        history.rings.each_ref().map(|ring| ring.samples.len())
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        assert_eq!(lens(&history(10)), [10, 2, 1]);
        let full = history(100_000);
        assert_eq!(lens(&full), [301, 721, 1_441]);
        let bytes = lens(&full).iter().sum::<usize>() * size_of::<Sample>();
        assert!(bytes < 1_536 << 10, "{bytes}");
        let oldest = full.rings[2].samples[0].steady_ms;
        assert!((100_000_000 - oldest).abs() < 86_400_000 + 120_000);
    }

    #[test]
    fn the_finest_samples_that_reach_back_are_taken_or_those_that_are_asked_for() {
        let full = history(100_000);
        for (range_s, step_s, found_s, points) in [
            (60, None, 1, 60),
            (300, None, 1, 300),
            (301, None, 5, 60),
            (3_600, None, 5, 720),
            (3_601, None, 60, 60),
            (86_400, None, 60, 1_440),
            (300, Some(60), 60, 5),
            (3_600, Some(60), 60, 60),
            (3_600, Some(15), 15, 240),
            (86_400, Some(3_600), 3_600, 24),
        ] {
            let step_ms = step_s.map(|step_s: i64| step_s * 1_000);
            let found = full.find(range_s * 1_000, step_ms).unwrap();
            assert_eq!(found.step_ms, found_s * 1_000, "{range_s} {step_s:?}");
            let told = found.points();
            assert!(
                told.len().abs_diff(points) <= 1,
                "{} for {range_s} {step_s:?}",
                told.len()
            );
            for [before, now] in told {
                let passed_ms = now.steady_ms - before.steady_ms;
                // The last step is not over.
                assert!((1..found.step_ms + 10).contains(&passed_ms), "{passed_ms}");
            }
        }
        for (range_ms, step_ms) in [
            (86_401_000, None),
            (301_000, Some(1_000)),
            (3_601_000, Some(5_000)),
            (60_000, Some(1_500)),
        ] {
            let found = full.find(range_ms, step_ms);
            assert!(found.is_err(), "{range_ms} {step_ms:?}");
        }
    }

    #[test]
    fn the_last_seconds_are_those_that_there_are() {
        let lately = |seconds| history(seconds).lately(10_000);
        assert_eq!(lately(1), None);
        for (seconds, span_ms) in [(2, 1_000), (8, 7_000), (1_000, 10_000)] {
            let (before, now) = lately(seconds).unwrap();
            let passed_ms = now.steady_ms - before.steady_ms;
            assert!(
                (span_ms - 1_000..=span_ms + 10).contains(&passed_ms),
                "{passed_ms}"
            );
            assert!(now.steady_ms >= (seconds - 1) * 1_000);
        }
    }

    #[test]
    fn a_young_history_tells_what_it_has() {
        assert!(
            History::default()
                .find(60_000, None)
                .unwrap()
                .points()
                .is_empty()
        );
        assert!(history(1).find(60_000, None).unwrap().points().is_empty());
        assert_eq!(history(3).find(60_000, None).unwrap().points().len(), 2);
    }
}
