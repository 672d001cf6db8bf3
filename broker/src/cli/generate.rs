//! `tidewheel generate grafana|prometheus|systemd|app`: files for the tools that run and watch a broker, and programs that
//! use one.

mod app;
mod dashboard;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::app::AppArguments;
use self::dashboard::dashboard;
use super::outcome::exit_code;
use super::print;

/// Alert rules for Prometheus.
const ALERTS: &str = include_str!("generate/alerts.yaml");

/// The unit of the Debian package, too.
const UNIT: &str = include_str!("generate/tidewheel.service");

/// Arguments of `tidewheel generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A dashboard for Grafana, as JSON to import
    Grafana,
    /// Alert rules for Prometheus, as a rules file
    Prometheus,
    /// A hardened unit for systemd, for a user `tidewheel` and data in /var/lib/tidewheel
    Systemd,
    /// A program in a folder of its own that produces and consumes
    App(AppArguments),
}

/// Runs the command on standard output.
pub(crate) fn run(arguments: &GenerateArguments) -> ExitCode {
    let text = match &arguments.what {
        What::Grafana => format!("{:#}\n", dashboard()),
        What::Prometheus => ALERTS.to_owned(),
        What::Systemd => UNIT.to_owned(),
        What::App(arguments) => return exit_code(app::write(arguments)),
    };
    print(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::dashboard::{ROWS, dashboard};
    use super::*;
    use crate::metrics::families::{FAMILIES, Kind};

    /// The names of metrics in a query, or anything else that has them.
    fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("tidewheel_") || word.starts_with("process_"))
    }

    fn is_known(name: &str) -> bool {
        FAMILIES.iter().any(|family| match family.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
            Kind::Counter | Kind::Gauge => name == family.name,
        })
    }

    #[test]
    fn every_query_is_about_metrics_that_there_are() {
        let queries = ROWS
            .iter()
            .flat_map(|row| row.panels)
            .flat_map(|panel| panel.queries);
        let mut count = 0;
        for (query, _) in queries {
            let names: Vec<&str> = metrics_in(query).collect();
            assert!(!names.is_empty(), "{query} is about nothing");
            for name in names {
                assert!(is_known(name), "{query}: there is no {name}");
                count += 1;
            }
        }
        assert!(count > 40, "{count} is not much");
        let names: Vec<&str> = metrics_in(ALERTS).collect();
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            assert!(
                is_known(name),
                "an alert is about {name}, which there is not"
            );
        }
    }

    #[test]
    fn panels_lie_side_by_side_and_have_numbers_of_their_own() {
        let dashboard = dashboard();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut taken = std::collections::HashSet::new();
        for (at, panel) in panels.iter().enumerate() {
            assert_eq!(panel["id"], at + 1);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24);
            for y in place("y")..place("y") + place("h") {
                for x in place("x")..place("x") + place("w") {
                    assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
                }
            }
        }
    }
}
