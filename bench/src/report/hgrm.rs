//! The percentile distribution that HdrHistogram's tools print and plot, in milliseconds.
//!
//! The form is that of `AbstractHistogram.outputPercentileDistribution` in the Java library.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;
/// Nanoseconds of a millisecond.
const MS: f64 = 1e6;

/// The text of a `.hgrm` file.
pub(crate) fn render(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    write_all(histogram, &mut text).expect("a string takes what is written");
    text
}

fn write_all(histogram: &Histogram<u64>, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut passed = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        passed += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / MS;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:12.3} {quantile:1.12} {passed:>10}")?;
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        out.push('\n');
    }
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / MS,
        histogram.stdev() / MS
    )?;
    writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:>12}]",
        histogram.max() as f64 / MS,
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.buckets(),
        histogram.distinct_values() / usize::from(histogram.buckets()).max(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::new_histogram;

    #[test]
    fn the_distribution_ends_with_everything_and_agrees_with_the_histogram() {
        let mut histogram = new_histogram();
        for value in 1..=10_000_u64 {
            histogram.record(value * 1_000).unwrap();
        }
        let text = render(&histogram);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let numbers = line.split_whitespace();
                numbers.map(|number| number.parse().unwrap()).collect()
            })
            .collect();
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2]), (1.0, 10_000.0));
        for row in &rows {
            let expected = histogram.value_at_quantile(row[1]) as f64 / MS;
            assert!(
                (row[0] - expected).abs() <= 0.002 * expected + 0.001,
                "{row:?}"
            );
        }
        assert!(rows.windows(2).all(|pair| pair[0][2] <= pair[1][2]));
        assert!(text.contains("#[Max     =       10.0"));
    }
}
