//! The forms of a result: a table for people, files for tools.

use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::recorder::Series;
use crate::run::Outcome;

pub(crate) mod chart;
pub(crate) mod hgrm;
pub(crate) mod hlog;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod table;

/// Writes every file of a run into a folder, which is made if need be.
pub(crate) fn write_files(dir: &Path, outcome: &Outcome) -> Result<(), BenchError> {
    let cannot = |source| BenchError::File {
        path: dir.into(),
        source,
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    let write = |name: &str, content: &[u8]| fs::write(dir.join(name), content).map_err(cannot);
    let summary = &outcome.summary;
    write("result.json", json::render(summary).as_bytes())?;
    write("intervals.hlog", &outcome.interval_log)?;
    for series in Series::ALL {
        let histogram = outcome.total.series(series);
        if !histogram.is_empty() {
            let name = format!("{}.hgrm", series.name());
            write(&name, hgrm::render(histogram).as_bytes())?;
        }
    }
    for (name, svg) in chart::of_run(summary)? {
        write(&format!("{name}.svg"), svg.as_bytes())?;
    }
    write("report.html", html::run_page(summary)?.as_bytes())
}
