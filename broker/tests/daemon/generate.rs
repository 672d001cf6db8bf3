//! What `tidewheel generate` prints, judged by Prometheus' own tool.
#![allow(clippy::print_stdout, reason = "what was skipped is said")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::run;

fn generated(what: &str) -> String {
    let output = run(&["generate", what]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs promtool in `dir`, which has to agree; where there is none that is said.
fn promtool(dir: &Path, arguments: &[&str]) {
    let output = match Command::new("promtool")
        .current_dir(dir)
        .args(arguments)
        .output()
    {
        Ok(output) => output,
        Err(error) => return println!("skipped: promtool of the package prometheus: {error}"),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn the_alert_rules_are_good_and_fire_when_they_should() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("alerts.yaml"), generated("prometheus")).unwrap();
    promtool(dir.path(), &["check", "rules", "alerts.yaml"]);
    fs::write(
        dir.path().join("tests.yaml"),
        include_str!("generate/alerts_tests.yaml"),
    )
    .unwrap();
    promtool(dir.path(), &["test", "rules", "tests.yaml"]);
}

/// A rule that records a query is as good as the query.
#[test]
fn every_query_of_the_dashboard_can_be_asked() {
    let dashboard: Value = serde_json::from_str(&generated("grafana")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap());
    let rules: Vec<Value> = queries
        .enumerate()
        .map(|(at, query)| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$instance", ".*");
            assert!(!query.contains('$'), "{query}");
            serde_json::json!({ "record": format!("query:{at}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 40, "{} are not many", rules.len());
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let dir = tempfile::tempdir().unwrap();
    // JSON is YAML.
    fs::write(dir.path().join("queries.yaml"), rules.to_string()).unwrap();
    promtool(dir.path(), &["check", "rules", "queries.yaml"]);
}
