//! Charts as SVG.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::BenchError;
use crate::recorder::Series;
use crate::summary::{Latency, Summary};

const SIZE: (u32, u32) = (860, 360);
/// The colours of the lines, told apart also without seeing red and green alike.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(0, 0, 0),
    RGBColor(93, 58, 155),
    RGBColor(230, 97, 0),
    RGBColor(64, 176, 166),
];

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What the axes of a chart mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axes {
    /// Quantiles on a scale on which every nine takes the same room, and milliseconds on another such.
    Percentiles,
    /// Seconds and a quantity.
    Time,
}

/// The charts of a run, by name.
pub(crate) fn of_run(summary: &Summary) -> Result<Vec<(&'static str, String)>, BenchError> {
    let mut charts = Vec::new();
    let curves: Vec<Line> = Series::ALL
        .into_iter()
        .filter_map(|series| {
            let latency = summary.latencies.get(series.name())?;
            Some(percentile_line(series.name(), latency))
        })
        .collect();
    if !curves.is_empty() {
        charts.push(("percentiles", percentiles(&curves)?));
    }
    let rates = [
        ("produced, records/s", Side::Produced),
        ("consumed, records/s", Side::Consumed),
    ];
    let rates = rates.into_iter().filter_map(|(name, side)| {
        let points: Vec<(f64, f64)> = summary
            .points
            .iter()
            .map(|point| (point.at, side.of(&point.throughput)))
            .collect();
        let any = points.iter().any(|(_, rate)| *rate > 0.0);
        let name = name.to_owned();
        any.then_some(Line { name, points })
    });
    let rates: Vec<Line> = rates.collect();
    if !rates.is_empty() {
        charts.push((
            "throughput",
            draw("Records per second", &rates, Axes::Time)?,
        ));
    }
    let main = [Series::EndToEnd, Series::Response];
    let main = main
        .into_iter()
        .find(|series| summary.latencies.contains_key(series.name()));
    if let Some(series) = main {
        let lines =
            ["p50", "p99", "p99.9", "max"].map(|figure| latency_line(summary, series, figure));
        let title = format!("{} by second, ms", series.name());
        charts.push(("latency", draw(&title, &lines, Axes::Time)?));
    }
    Ok(charts)
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Produced,
    Consumed,
}

impl Side {
    fn of(self, throughput: &crate::summary::Throughput) -> f64 {
        match self {
            Self::Produced => throughput.produced_per_second,
            Self::Consumed => throughput.consumed_per_second,
        }
    }
}

fn latency_line(summary: &Summary, series: Series, figure: &str) -> Line {
    let points = summary.points.iter().filter_map(|point| {
        let latency = point.latencies.get(series.name())?;
        Some((point.at, latency.figure(figure)?))
    });
    Line {
        name: figure.to_owned(),
        points: points.collect(),
    }
}

/// The distribution of latencies as a line for [`percentiles`].
pub(crate) fn percentile_line(name: &str, latency: &Latency) -> Line {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let points = latency.curve.iter().filter(|(quantile, _)| *quantile < 1.0);
    // Microseconds and less are drawn as one.
    let points = points.map(|(quantile, value)| (nines(*quantile), value.max(0.001).log10()));
    Line {
        name: name.to_owned(),
        points: points.collect(),
    }
}

/// A chart of distributions.
pub(crate) fn percentiles(lines: &[Line]) -> Result<String, BenchError> {
    draw("Latency by percentile, ms", lines, Axes::Percentiles)
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

fn draw(title: &str, lines: &[Line], axes: Axes) -> Result<String, BenchError> {
    let mut svg = String::new();
    let drawn = draw_into(&mut svg, title, lines, axes);
    drawn.map_err(|error| BenchError::usage(format!("cannot draw a chart: {error}")))?;
    Ok(svg)
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn draw_into(
    svg: &mut String,
    title: &str,
    lines: &[Line],
    axes: Axes,
) -> Result<(), Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (left, right) = bounds(all().map(|(x, _)| *x));
    let (low, high) = bounds(all().map(|(_, y)| *y));
    if !(left.is_finite() && low.is_finite()) {
        // There is nothing to draw.
        return Ok(());
    }
    let (low, high) = match axes {
        Axes::Percentiles => (low.floor(), high.ceil().max(low.floor() + 1.0)),
        Axes::Time => (0.0, (high * 1.05).max(1e-9)),
    };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right.max(left + 1e-9), low..high)?;
    label(&mut chart, axes)?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    drop(chart);
    Ok(())
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn label(chart: &mut Chart<'_, '_>, axes: Axes) -> Result<(), DrawError> {
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).label_style(("sans-serif", 12));
    match axes {
        Axes::Time => mesh.x_desc("seconds").draw(),
        Axes::Percentiles => mesh
            .x_desc("percentile")
            .x_label_formatter(&|nines| {
                let percent = (1.0 - 10_f64.powf(-nines)) * 100.0;
                format!("{percent:.4}")
                    .trim_end_matches('0')
                    .trim_end_matches('.')
                    .to_owned()
            })
            .y_label_formatter(&|power| {
                let value = 10_f64.powf(*power);
                match value {
                    _ if value >= 10.0 => format!("{value:.0}"),
                    _ if value >= 1.0 => format!("{value:.1}"),
                    _ => format!("{value:.3}"),
                }
            })
            .draw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    #[test]
    fn a_run_gets_its_three_charts() {
        let charts = of_run(&summary(1000.0, 5.0)).unwrap();
        let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["percentiles", "throughput", "latency"]);
        for (name, svg) in charts {
            assert!(
                svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
                "{name}"
            );
            assert!(!svg.contains("http://www.w3.org/1999/xlink"), "{name}");
        }
    }

    #[test]
    fn a_run_that_measured_nothing_gets_none() {
        let mut empty = summary(0.0, 5.0);
        empty.latencies.clear();
        empty.points.clear();
        assert!(of_run(&empty).unwrap().is_empty());
    }
}
