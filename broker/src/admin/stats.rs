//! How things went lately: figures that are sampled each second, remembered for a while, and told as they come.
//!
//! A sample reads counters that are there anyway, and waits for nobody: whoever produces pays nothing for it.

mod history;
mod series;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use tidewheel_config::limits;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};
use utoipa::ToSchema;

use self::history::{History, Sample};
use self::series::{SERIES, Seen, value};
use super::auth::Role;
use super::idle::Activity;
use super::overview::Rates;
use super::problem::Problem;
use super::queries::{SeriesQuery, StatsQuery};
use super::state::{Admin, StreamKind};
use super::streams::{self, Pass};
use crate::clock;

/// How far back is told unless said otherwise, in ms.
const RANGE_MS: i64 = 3_600_000;
/// How often partitions remember how much they got, in ms.
const MARK_MS: i64 = 5_000;
/// What a rate of the moment is the mean of, in ms.
const RATES_MS: i64 = 10_000;
/// How often a stream looks whether it has to end.
const STOP_PAUSE: Duration = Duration::from_millis(500);

/// What was sampled.
#[derive(Debug)]
pub(crate) struct Stats {
    history: Mutex<History>,
    latest: watch::Sender<Option<Sample>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            history: Mutex::default(),
            latest: watch::Sender::new(None),
        }
    }
}

impl Stats {
    fn take(&self, sample: Sample) {
        self.with(|history| history.take(sample));
        self.latest.send_replace(Some(sample));
    }

    /// What goes in and out, the mean of the last seconds.
    pub(crate) fn rates(&self) -> Option<Rates> {
        let (before, now) = self.with(|history| history.lately(RATES_MS))?;
        let rate = |name| {
            let number = SERIES.iter().position(|series| series.name == name)?;
            value(number, &before, &now)
        };
        Some(Rates {
            records_in_per_second: rate("records_in_per_second")?,
            bytes_in_per_second: rate("bytes_in_per_second")?,
            bytes_out_per_second: rate("bytes_out_per_second")?,
            requests_per_second: rate("requests_per_second")?,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        // Nothing panics while it is held.
        work(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks at the counters each second, until `stopped` turns true.
pub(crate) async fn sample(admin: Arc<Admin>, mut stopped: watch::Receiver<bool>) {
    let [(step, _), ..] = limits::ADMIN_STATS;
    let mut ticks = tokio::time::interval(step);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut marked_ms = i64::MIN;
    loop {
        // Each may be dropped before it has happened.
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let Some(broker) = admin.lifecycle.broker() else {
            continue;
        };
        let seen = Arc::clone(broker);
        let now_ms = clock::steady_ms();
        let marks = now_ms >= marked_ms.saturating_add(MARK_MS);
        if marks {
            marked_ms = now_ms;
        }
        // Files of /proc are read, and with very many partitions it takes a ms.
        let sampled = broker.read_blocking(move || {
            if marks {
                let topics = seen.topics();
                let partitions = topics.partitions();
                partitions.for_each(|partition| partition.recent().mark(now_ms));
            }
            Sample {
                at_ms: clock::now_ms(),
                steady_ms: clock::steady_ms(),
                values: Seen::of(&seen).values(),
            }
        });
        // A disk that hangs may hold what is read: a stop does not wait for it.
        let sampled = tokio::select! {
            sampled = sampled => sampled,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if let Some(sample) = sampled {
            admin.stats.take(sample);
        }
    }
}

/// Figures of the last minutes or hours.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsHistory {
    /// How far back it was looked.
    range_ms: i64,
    /// The time between two points, about.
    step_ms: i64,
    /// When each point was taken, the oldest first. Where the broker was started later, they begin later.
    times_ms: Vec<i64>,
    /// The figures.
    series: Vec<StatsSeries>,
}

/// A figure over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsSeries {
    /// Its name.
    name: &'static str,
    /// A value for each time; what ends in `_per_second` is the mean since the point before. Null where it is not
    /// known.
    values: Vec<Option<f64>>,
}

/// Figures of the last second.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsEvent {
    /// When they were taken.
    time_ms: i64,
    /// By name.
    values: BTreeMap<&'static str, Option<f64>>,
}

/// The series that are asked for, by their numbers.
fn chosen(wanted: Option<&str>) -> Result<Vec<usize>, Problem> {
    let Some(wanted) = wanted else {
        return Ok((0..SERIES.len()).collect());
    };
    let number = |name: &str| SERIES.iter().position(|series| series.name == name);
    let numbers = wanted.split(',').filter(|name| !name.is_empty());
    let numbers = numbers.map(|name| {
        let names: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
        let unknown = || format!("there is no series {name}, but {}", names.join(", "));
        number(name).ok_or_else(|| Problem::invalid("?series", unknown()))
    });
    let mut numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// `90s`, `5m`, `1h` or `1d`, in ms.
fn duration_ms(name: &'static str, text: &str) -> Result<i64, Problem> {
    let unit_ms = match text.as_bytes().last() {
        Some(b's') => 1_000,
        Some(b'm') => 60_000,
        Some(b'h') => 3_600_000,
        Some(b'd') => 86_400_000,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1));
    let digits = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let number: Option<i64> = digits.and_then(|number| number.parse().ok());
    let ms = number.and_then(|number| number.checked_mul(unit_ms));
    let wrong = || Problem::invalid(name, "it must be a time such as 90s, 5m, 1h or 1d");
    ms.filter(|ms| *ms > 0).ok_or_else(wrong)
}

/// Figures of the last minutes or hours, sampled each second, each 5 seconds and each minute: for charts that are not
/// empty at first. What is finer is kept for 5 minutes, an hour and a day.
#[utoipa::path(get, path = "/v1/stats", tag = "broker", params(StatsQuery),
    responses((status = 200, body = StatsHistory)))]
pub(crate) async fn history(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<StatsHistory>, Problem> {
    admin.broker()?;
    let wanted = chosen(query.series.as_deref())?;
    let range = query.range.as_deref();
    let range_ms = range.map_or(Ok(RANGE_MS), |range| duration_ms("?range", range))?;
    let step = query.step.as_deref();
    let step = step.map(|step| duration_ms("?step", step)).transpose()?;
    let found = admin.stats.with(|history| history.find(range_ms, step));
    let found = found.map_err(|reason| Problem::invalid("?range", reason))?;
    let points = found.points();
    let series = wanted.into_iter().map(|number| StatsSeries {
        name: SERIES[number].name,
        values: points
            .iter()
            .map(|[before, now]| value(number, before, now))
            .collect(),
    });
    Ok(Json(StatsHistory {
        range_ms,
        step_ms: found.step_ms,
        times_ms: points.iter().map(|[_, now]| now.at_ms).collect(),
        series: series.collect(),
    }))
}

/// Samples as they come.
struct Tail {
    pass: Pass,
    news: watch::Receiver<Option<Sample>>,
    before: Option<Sample>,
    wanted: Vec<usize>,
    is_over: bool,
}

impl Tail {
    /// The next event; `None` after the last one.
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(reason) = self.pass.ends().await {
                self.is_over = true;
                return Some((streams::end(reason), self));
            }
            match timeout(STOP_PAUSE, self.news.changed()).await {
                // Whoever reads slowly is told the mean of a longer time.
                Ok(Ok(())) => {
                    let now = *self.news.borrow_and_update();
                    let before = std::mem::replace(&mut self.before, now);
                    if let (Some(before), Some(now)) = (before, now) {
                        return Some((self.event(&before, &now), self));
                    }
                }
                Ok(Err(_)) => return None,
                Err(_) => {}
            }
        }
    }

    fn event(&self, before: &Sample, now: &Sample) -> Event {
        let values = self.wanted.iter();
        let values = values.map(|number| (SERIES[*number].name, value(*number, before, now)));
        let event = Event::default().event("stats");
        let told = StatsEvent {
            time_ms: now.at_ms,
            values: values.collect(),
        };
        event.json_data(told).unwrap_or_default()
    }
}

/// Figures as they come, each second: server-sent events named `stats`. `end`, the last event, says why the broker ends
/// the stream.
#[utoipa::path(get, path = "/v1/stats/stream", tag = "broker", params(SeriesQuery),
    responses((status = 200, body = StatsEvent, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<SeriesQuery>,
    headers: HeaderMap,
    Extension(activity): Extension<Arc<Activity>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    admin.broker()?;
    let wanted = chosen(query.series.as_deref())?;
    let mut news = admin.stats.latest.subscribe();
    let before = *news.borrow_and_update();
    let tail = Tail {
        pass: Pass::new(
            &admin,
            &headers,
            &activity,
            (StreamKind::Stats, Role::Viewer),
        )?,
        news,
        before,
        wanted,
        is_over: false,
    };
    let events = unfold(tail, Tail::next).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("1s", 1_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration_ms("?range", text).unwrap(), ms, "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "5",
            "-5m",
            "+5m",
            "1.5h",
            "1w",
            "é",
            "9999999999999999d",
        ] {
            assert!(duration_ms("?range", text).is_err(), "{text}");
        }
    }

    #[test]
    fn series_are_chosen_by_their_names() {
        assert_eq!(chosen(None).unwrap().len(), SERIES.len());
        let both = chosen(Some("bytes_in_per_second,,records_in_per_second")).unwrap();
        let names = both.iter().map(|number| SERIES[*number].name);
        assert!(names.eq(["records_in_per_second", "bytes_in_per_second"]));
        assert!(chosen(Some("records")).is_err());
    }
}
