//! What `tidewheel generate` prints, judged by Prometheus' own tool.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::commands::{Ran, skipped};
use crate::support::{run, tidewheel};

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
        Err(error) => return skipped("promtool of the package prometheus", &error),
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

/// The queries of the dashboard, of all instances, with rates over this long.
pub(crate) fn dashboard_queries(interval: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&generated("grafana")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|target| {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", interval);
        let query = query.replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        query
    });
    queries.collect()
}

/// A rule that records a query is as good as the query.
#[test]
fn every_query_of_the_dashboard_can_be_asked() {
    let rules: Vec<Value> = dashboard_queries("5m")
        .iter()
        .enumerate()
        .map(|(at, query)| serde_json::json!({ "record": format!("query:{at}"), "expr": query }))
        .collect();
    assert!(rules.len() > 40, "{} are not many", rules.len());
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let dir = tempfile::tempdir().unwrap();
    // JSON is YAML.
    fs::write(dir.path().join("queries.yaml"), rules.to_string()).unwrap();
    promtool(dir.path(), &["check", "rules", "queries.yaml"]);
}

/// That they run is shown by the client suites.
#[test]
fn programs_are_written_where_nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    for (language, main) in [
        ("go", "main.go"),
        ("java", "src/main/java/App.java"),
        ("node", "app.js"),
        ("python", "app.py"),
    ] {
        let generate = || {
            let mut command = tidewheel(&["generate", "app", language]);
            Ran::new(command.current_dir(dir.path()).output().unwrap())
        };
        let made = generate();
        assert_eq!(made.exit, Some(0), "{made:?}");
        assert!(
            made.said.contains(&format!("cd app-{language} && ")),
            "{made:?}"
        );
        let files: Vec<_> = made.out.lines().map(|name| dir.path().join(name)).collect();
        let (first, others) = files.split_first().unwrap();
        assert!(
            first.ends_with(format!("app-{language}/{main}")),
            "{made:?}"
        );
        assert!(!others.is_empty() && files.iter().all(|file| file.is_file()));
        // The last of them is in the way; the first is not made anew.
        fs::remove_file(first).unwrap();
        let sentence = generate().failed(1);
        assert!(sentence.contains("is there already"), "{sentence}");
        assert!(!first.exists());
    }
    let file = dir.path().join("app-go/go.mod");
    let below = ["generate", "app", "go", "--dir", file.to_str().unwrap()];
    let sentence = Ran::new(run(&below)).failed(1);
    assert!(sentence.contains("cannot write"), "{sentence}");
    assert_eq!(run(&["generate", "app", "cobol"]).status.code(), Some(2));
}
