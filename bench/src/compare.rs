//! Whether two sides differ, or whether it is noise.
//!
//! A verdict needs three runs a side, and says that sides differ only where no run of one lies within the
//! range of the other. Everything else is noise, however large the difference of the medians.

use std::fmt::Write;

use serde::Serialize;

use crate::error::BenchError;
use crate::summary::Summary;

/// Runs a side needs for a verdict.
pub(crate) const RUNS_MIN: usize = 3;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

/// What is compared, where both sides have it.
const FIGURES: [(&str, &str, Better); 23] = [
    ("rate", "produced, records/s", Better::Higher),
    ("mb", "produced, MB/s", Better::Higher),
    ("consume_rate", "consumed, records/s", Better::Higher),
    ("consume_mb", "consumed, MB/s", Better::Higher),
    ("catch_up_mb", "caught up, MB/s", Better::Higher),
    ("response.p50", "response p50, ms", Better::Lower),
    ("response.p99", "response p99, ms", Better::Lower),
    ("response.p99.9", "response p99.9, ms", Better::Lower),
    ("response.max", "response max, ms", Better::Lower),
    ("service.p50", "service p50, ms", Better::Lower),
    ("service.p99", "service p99, ms", Better::Lower),
    ("service.p99.9", "service p99.9, ms", Better::Lower),
    ("send_delay.p50", "send delay p50, ms", Better::Lower),
    ("send_delay.p99", "send delay p99, ms", Better::Lower),
    ("e2e.p50", "e2e p50, ms", Better::Lower),
    ("e2e.p99", "e2e p99, ms", Better::Lower),
    ("e2e.p99.9", "e2e p99.9, ms", Better::Lower),
    ("e2e.max", "e2e max, ms", Better::Lower),
    ("cpu_per_gb", "broker CPU-s/GB", Better::Lower),
    ("us_per_request", "broker CPU-us/request", Better::Lower),
    ("memory", "broker RssAnon, bytes", Better::Lower),
    ("stolen", "taken by the host, %", Better::Lower),
    ("errors", "errors, unsent, unconsumed", Better::Lower),
];

/// The least, the middle and the largest of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { min, median, max })
    }
}

/// What can be said about a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The second side is better in every run.
    Better,
    /// The second side is worse in every run.
    Worse,
    /// The ranges overlap.
    Noise,
    /// There are too few runs.
    TooFew,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Noise => "noise",
            Self::TooFew => "too few runs",
        }
    }
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// As assertions name it.
    pub(crate) figure: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    pub(crate) first: Spread,
    pub(crate) second: Spread,
    /// Second to first, by medians; none where the first is 0.
    pub(crate) ratio: Option<f64>,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// By which share the second side is worse; 0 where it is not.
    pub(crate) fn worse_by(&self) -> f64 {
        match (self.verdict, self.ratio) {
            // However the figure is read, worse is further from 1 than the same figure.
            (Verdict::Worse, Some(ratio)) if ratio > 0.0 => ratio.max(1.0 / ratio) - 1.0,
            (Verdict::Worse, _) => f64::INFINITY,
            _ => 0.0,
        }
    }
}

/// Compares the runs of two sides.
///
/// # Errors
/// Where a difference of workload, durability or congestion control makes the figures incomparable.
pub(crate) fn compare(first: &[Summary], second: &[Summary]) -> Result<Vec<Row>, BenchError> {
    check_alike(first.iter().chain(second))?;
    let enough = first.len().min(second.len()) >= RUNS_MIN;
    let rows = FIGURES.iter().filter_map(|(figure, name, better)| {
        let spread = |side: &[Summary]| {
            let values = side.iter().map(|run| run.figure(figure));
            Spread::of(values.collect::<Option<Vec<f64>>>()?)
        };
        let (first, second) = (spread(first)?, spread(second)?);
        // That nothing went wrong is worth a line; that nothing was measured is not.
        let measured = first.max > 0.0 || second.max > 0.0 || *figure == "errors";
        let ratio = (first.median > 0.0).then(|| second.median / first.median);
        measured.then(|| Row {
            figure,
            name,
            first,
            second,
            ratio,
            verdict: match enough {
                true => verdict(&first, &second, *better),
                false => Verdict::TooFew,
            },
        })
    });
    Ok(rows.collect())
}

fn verdict(first: &Spread, second: &Spread, better: Better) -> Verdict {
    let above = second.min > first.max;
    let below = second.max < first.min;
    match (above, below, better) {
        (true, _, Better::Higher) | (_, true, Better::Lower) => Verdict::Better,
        (true, _, Better::Lower) | (_, true, Better::Higher) => Verdict::Worse,
        (false, false, _) => Verdict::Noise,
    }
}

/// Figures of different workloads, durability classes or congestion controls say nothing about brokers.
fn check_alike<'a>(mut runs: impl Iterator<Item = &'a Summary>) -> Result<(), BenchError> {
    let Some(first) = runs.next() else {
        return Err(BenchError::usage("there are no runs to compare"));
    };
    let essence = |run: &Summary| {
        let mut workload = run.workload.clone();
        // How topics are called and made does not matter.
        workload.topic.clear();
        workload.name.clear();
        workload.goals.clear();
        workload.create = true;
        workload
    };
    for run in runs {
        let what = if essence(run) != essence(first) {
            "their workloads"
        } else if run.durability != first.durability {
            "what an acknowledgement means (durability)"
        } else if run.environment.congestion_control != first.environment.congestion_control
            || run.environment.client_congestion_control
                != first.environment.client_congestion_control
        {
            "the congestion control"
        } else {
            continue;
        };
        return Err(BenchError::usage(format!(
            "the runs cannot be compared: they differ in {what}"
        )));
    }
    Ok(())
}

/// The table of a comparison.
pub(crate) fn render(names: [&str; 2], rows: &[Row]) -> String {
    let mut text = String::new();
    let [first, second] = names;
    let title = |name: &str| format!("{name} (min..max)");
    let write = |text: &mut String, line: std::fmt::Arguments<'_>| {
        text.write_fmt(line)
            .expect("a string takes what is written");
    };
    write(
        &mut text,
        format_args!(
            "{:<24}{:>38}{:>38}{:>8}  verdict\n",
            "median of runs",
            title(first),
            title(second),
            "ratio"
        ),
    );
    for row in rows {
        let ratio = row
            .ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        write(
            &mut text,
            format_args!(
                "{:<24}{:>38}{:>38}{ratio:>8}  {}\n",
                row.name,
                show(&row.first),
                show(&row.second),
                row.verdict.name()
            ),
        );
    }
    text
}

/// A figure in as many digits as it is worth.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}

/// The median, and the range of the runs.
pub(crate) fn show(spread: &Spread) -> String {
    format!(
        "{} ({}..{})",
        number(spread.median),
        number(spread.min),
        number(spread.max)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Durability;
    use crate::testing::summary;

    fn side(runs: &[(f64, f64)]) -> Vec<Summary> {
        runs.iter()
            .map(|(rate, latency)| summary(*rate, *latency))
            .collect()
    }

    fn row(rows: &[Row], name: &str) -> Row {
        rows.iter().find(|row| row.name == name).unwrap().clone()
    }

    #[test]
    fn a_difference_within_the_spread_is_noise() {
        let first = side(&[(1000.0, 5.0), (1300.0, 6.0), (900.0, 4.0)]);
        let second = side(&[(1250.0, 5.5), (1400.0, 4.5), (1500.0, 5.0)]);
        let rows = compare(&first, &second).unwrap();
        assert_eq!(row(&rows, "produced, records/s").verdict, Verdict::Noise);
        assert_eq!(row(&rows, "response p99, ms").verdict, Verdict::Noise);
        assert!(rows.iter().all(|row| row.worse_by() < 0.001));
    }

    #[test]
    fn a_difference_beyond_the_spread_counts_in_its_direction() {
        let first = side(&[(1000.0, 5.0), (1010.0, 5.1), (990.0, 4.9)]);
        let second = side(&[(2000.0, 8.0), (2010.0, 8.1), (1990.0, 7.9)]);
        let rows = compare(&first, &second).unwrap();
        let rate = row(&rows, "produced, records/s");
        assert_eq!(rate.verdict, Verdict::Better);
        assert!((rate.ratio.unwrap() - 2.0).abs() < 0.001);
        let latency = row(&rows, "response p99, ms");
        assert_eq!(latency.verdict, Verdict::Worse);
        assert!((latency.worse_by() - 0.6).abs() < 0.01);
        let back = compare(&second, &first).unwrap();
        let rate = row(&back, "produced, records/s");
        assert_eq!(rate.verdict, Verdict::Worse);
        assert!(
            (rate.worse_by() - 1.0).abs() < 0.001,
            "half as many is worse by as much again"
        );
    }

    #[test]
    fn two_runs_get_no_verdict() {
        let first = side(&[(1000.0, 5.0), (1001.0, 5.0)]);
        let second = side(&[(9000.0, 1.0), (9001.0, 1.0), (9002.0, 1.0)]);
        let rows = compare(&first, &second).unwrap();
        assert!(rows.iter().all(|row| row.verdict == Verdict::TooFew));
        let text = render(["old", "new"], &rows);
        assert!(
            text.contains("too few runs") && text.contains("9.0"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let first = side(&[(1000.0, 5.0)]);
        let changed = |change: fn(&mut Summary)| {
            let mut second = side(&[(1000.0, 5.0)]);
            change(&mut second[0]);
            compare(&first, &second)
        };
        assert!(changed(|run| run.durability = Durability::Disk).is_err());
        assert!(changed(|run| run.workload.producers = 9).is_err());
        assert!(changed(|run| run.environment.congestion_control = "bbr".to_owned()).is_err());
        assert!(changed(|run| run.workload.topic = "another".to_owned()).is_ok());
        assert!(compare(&[], &[]).is_err());
    }
}
