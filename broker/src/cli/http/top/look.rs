//! One look at a broker: its figures, topics and groups at a moment.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;

use super::super::client::Api;
use super::super::{Failure, health};
use crate::clock;

/// Groups that are asked for: those that are furthest behind.
const GROUPS: usize = 100;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// When, in ms since 1970 and on a clock that nobody sets.
    pub(super) at_ms: i64,
    pub(super) steady_ms: i64,
    /// `ok`, `degraded` or `unavailable`.
    pub(super) status: String,
    pub(super) broker_state: String,
    /// Series of the HTTP API by name, of the last second.
    pub(super) values: BTreeMap<String, Option<f64>>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) groups: Vec<Group>,
}

/// What `/metrics` counts of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: f64,
    pub(super) size_bytes: f64,
    pub(super) records_in: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) delayed: f64,
}

/// What happens to a topic in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) records_in: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

/// A group, as the list of them tells it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) status: String,
    pub(super) members: u64,
    pub(super) total_lag: Option<u64>,
}

/// The families that tell of topics, and where each goes.
type Place = fn(&mut Topic) -> &mut f64;
const FAMILIES: [(&str, Place); 6] = [
    ("tidewheel_topic_partitions", |topic| &mut topic.partitions),
    ("tidewheel_topic_size_bytes", |topic| &mut topic.size_bytes),
    ("tidewheel_topic_records_in_total", |topic| {
        &mut topic.records_in
    }),
    ("tidewheel_topic_bytes_in_total", |topic| {
        &mut topic.bytes_in
    }),
    ("tidewheel_topic_bytes_out_total", |topic| {
        &mut topic.bytes_out
    }),
    ("tidewheel_delayed_pending", |topic| &mut topic.delayed),
];

impl Look {
    /// # Errors
    /// Where the broker does not answer, or will not.
    pub(super) async fn take(api: &Api) -> Result<Self, Failure> {
        let readiness = health::look(api).await?;
        let stats = api.get("/v1/stats?range=10s&step=1s").await?;
        let page = api.ask(Method::GET, "/metrics", None).await?;
        if !page.status.is_success() {
            return Err(page.failure());
        }
        let (at_ms, steady_ms) = (clock::now_ms(), clock::steady_ms());
        let path = format!("/v1/groups?sort=-total_lag&limit={GROUPS}");
        let groups = api.get(&path).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            at_ms,
            steady_ms,
            status: text(&readiness["status"]),
            broker_state: text(&readiness["broker_state"]),
            values: last_values(&stats),
            topics: topics(&page.text()),
            groups: groups["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Group::new)
                .collect(),
        })
    }

    /// What happened to a topic since another look; `None` where it was not there then.
    pub(super) fn rates(&self, before: Option<&Self>, name: &str) -> Option<Rates> {
        let (earlier, topic) = (before?.topics.get(name)?, self.topics.get(name)?);
        let passed_ms = self.steady_ms.saturating_sub(before?.steady_ms);
        let passed = f64::from(u32::try_from(passed_ms).ok().filter(|ms| *ms > 0)?) / 1_000.0;
        // What fell was counted anew, by a broker that was started meanwhile or for a topic that was made anew.
        let rate = |last: f64, first: f64| (last - first).max(0.0) / passed;
        Some(Rates {
            records_in: rate(topic.records_in, earlier.records_in),
            bytes_in: rate(topic.bytes_in, earlier.bytes_in),
            bytes_out: rate(topic.bytes_out, earlier.bytes_out),
        })
    }

    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied().flatten()
    }
}

impl Group {
    fn new(item: &Value) -> Self {
        let text = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
        Self {
            name: text("group"),
            state: text("state"),
            status: text("status"),
            members: item["members"].as_u64().unwrap_or(0),
            total_lag: item["total_lag"].as_u64(),
        }
    }
}

/// The newest value of each series.
fn last_values(stats: &Value) -> BTreeMap<String, Option<f64>> {
    let series = stats["series"].as_array().into_iter().flatten();
    let last = series.filter_map(|one| {
        let values = one["values"].as_array()?;
        Some((one["name"].as_str()?.to_owned(), values.last()?.as_f64()))
    });
    last.collect()
}

/// What a page of metrics tells of topics.
fn topics(page: &str) -> BTreeMap<String, Topic> {
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    for line in page.lines() {
        let Some((family, rest)) = line.split_once("{topic=\"") else {
            continue;
        };
        let place = FAMILIES.iter().find(|(name, _)| *name == family);
        let sample = rest.split_once("\"} ");
        if let (Some((_, place)), Some((topic, value))) = (place, sample)
            && let Ok(value) = value.parse()
        {
            *place(topics.entry(topic.to_owned()).or_default()) = value;
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAGE: &str = "# TYPE tidewheel_topic_bytes_in_total counter\n\
        tidewheel_topic_partitions{topic=\"t\"} 3\n\
        tidewheel_topic_records_in_total{topic=\"t\"} 1000\n\
        tidewheel_topic_bytes_in_total{topic=\"t\"} 1e3\n\
        tidewheel_topic_produce_errors_total{topic=\"t\",error=\"X\"} 4\n\
        tidewheel_topic_bytes_in_total{topic=\"<others>\"} 5\n\
        tidewheel_topic_bytes_out_total{topic=\"t\"} nonsense\n\
        tidewheel_partitions 7\n";

    #[test]
    fn rates_are_those_between_two_looks() {
        let at = |steady_ms, records_in| Look {
            steady_ms,
            topics: BTreeMap::from([(
                "t".to_owned(),
                Topic {
                    records_in,
                    ..Topic::default()
                },
            )]),
            ..Look::default()
        };
        let (first, second) = (at(1_000, 50.0), at(3_000, 150.0));
        assert_eq!(second.rates(Some(&first), "t").unwrap().records_in, 50.0);
        assert_eq!(first.rates(None, "t"), None);
        assert_eq!(second.rates(Some(&first), "new"), None);
        assert_eq!(second.rates(Some(&second), "t"), None);
        let again = at(5_000, 1.0);
        assert_eq!(again.rates(Some(&second), "t").unwrap().records_in, 0.0);
    }

    #[test]
    fn what_the_broker_tells_is_read() {
        let topics = topics(PAGE);
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        assert_eq!(names, ["<others>", "t"]);
        let topic = topics["t"];
        let figures = (
            topic.partitions,
            topic.records_in,
            topic.bytes_in,
            topic.bytes_out,
        );
        assert_eq!(figures, (3.0, 1_000.0, 1_000.0, 0.0));
        let stats = json!({"series": [
            {"name": "connections", "values": [1.0, 2.0]},
            {"name": "delayed_pending", "values": [1.0, null]},
            {"name": "new", "values": []},
        ]});
        let expected = [("connections", Some(2.0)), ("delayed_pending", None)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(last_values(&stats), BTreeMap::from(expected));
        assert_eq!(last_values(&json!({"series": 7})), BTreeMap::new());
    }
}
