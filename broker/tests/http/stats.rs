//! Figures over time: those of the last minutes, and those that come.

use serde_json::{Value, json};

use crate::streams::Events;
use crate::support::http::{get, start};
use crate::support::{Client, batch, eventually};

fn topic(broker: &crate::support::Broker) -> Client {
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    client
}

fn produce(client: &mut Client) {
    assert_eq!(client.produce("t", 0, 1, batch(&["v"; 50])).error_code, 0);
}

/// The values of the series of a history, which are named like this.
fn values<'a>(told: &'a Value, name: &str) -> &'a [Value] {
    let mut series = told["series"].as_array().unwrap().iter();
    let found = series.find(|one| one["name"] == name);
    found.unwrap()["values"].as_array().unwrap()
}

#[test]
fn the_last_minutes_are_told_point_by_point() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = topic(&broker);
    let path = "/v1/stats?range=1m&step=1s";
    let mut told = Value::Null;
    eventually("what was produced is told", || {
        produce(&mut client);
        told = get(&broker, path).good();
        let rates = values(&told, "records_in_per_second").iter();
        rates.filter(|rate| rate.as_f64() > Some(0.0)).count() >= 2
    });
    assert_eq!(
        (&told["range_ms"], &told["step_ms"]),
        (&json!(60_000), &json!(1_000))
    );
    let times = told["times_ms"].as_array().unwrap().iter();
    let times: Vec<i64> = times.map(|time| time.as_i64().unwrap()).collect();
    assert!(times.is_sorted() && times.len() <= 60, "{times:?}");
    for one in told["series"].as_array().unwrap() {
        assert_eq!(
            one["values"].as_array().unwrap().len(),
            times.len(),
            "{one}"
        );
    }
    let last = |name: &str| values(&told, name).last().unwrap().as_f64();
    assert_eq!(last("connections"), Some(1.0));
    assert_eq!(last("delayed_pending"), Some(0.0));
    for name in ["size_bytes", "disk_free_bytes", "memory_resident_bytes"] {
        assert!(last(name) > Some(0.0), "{name}");
    }
    let bytes = values(&told, "bytes_in_per_second").iter();
    assert!(bytes.filter_map(Value::as_f64).sum::<f64>() > 0.0);
    for name in ["produce_p50_seconds", "produce_p999_seconds"] {
        let seconds: Vec<f64> = values(&told, name)
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert!(
            !seconds.is_empty() && seconds.iter().all(|one| *one > 0.0),
            "{name}: {seconds:?}"
        );
    }
    let produced = values(&told, "produce_requests_per_second").iter();
    assert!(produced.filter_map(Value::as_f64).sum::<f64>() > 0.0);
    assert!(
        values(&told, "fetch_p99_seconds")
            .iter()
            .all(Value::is_null)
    );
    client.delete_topic("t");
    let one = get(
        &broker,
        &format!("{path}&series=records_in_per_second,connections"),
    )
    .good();
    let names = one["series"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["records_in_per_second", "connections"]);
    let hours = get(&broker, "/v1/stats").good();
    assert_eq!(
        (&hours["range_ms"], &hours["step_ms"]),
        (&json!(3_600_000), &json!(5_000))
    );
    assert_eq!(get(&broker, "/v1/stats?range=1d").good()["step_ms"], 60_000);
}

#[test]
fn figures_are_told_as_they_come_until_the_broker_stops() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    let mut client = topic(&broker);
    let mut all = Events::of(&broker, "/v1/stats/stream");
    let mut one = Events::of(&broker, "/v1/stats/stream?series=records_in_per_second");
    let mut before = 0;
    loop {
        produce(&mut client);
        let (name, told) = one.named();
        assert_eq!(name, "stats");
        let time = told["time_ms"].as_i64().unwrap();
        assert!(time > before, "{told}");
        before = time;
        let values = told["values"].as_object().unwrap();
        assert_eq!(values.len(), 1);
        if values["records_in_per_second"].as_f64() > Some(0.0) {
            break;
        }
    }
    let told = all.next();
    assert_eq!(told["values"].as_object().unwrap().len(), 25);
    broker.terminate();
    for mut stream in [all, one] {
        assert_eq!(stream.end(), "the broker is stopping");
    }
}

#[test]
fn figures_that_there_are_not_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), &[]);
    for bad in [
        "?range=x",
        "?range=0s",
        "?range=2d",
        "?range=1h&step=1s",
        "?step=1ms",
        "?series=color",
        "?color=red",
    ] {
        let problem = get(&broker, &format!("/v1/stats{bad}")).problem(400);
        let is_named = problem["errors"][0]["pointer"].is_string();
        assert!(is_named || bad == "?color=red", "{problem}");
    }
    get(&broker, "/v1/stats/stream?series=color").problem(400);
    get(&broker, "/v1/stats/stream?range=1h").problem(400);
}
