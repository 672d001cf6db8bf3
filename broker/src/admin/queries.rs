//! What several paths read of their queries.

use serde::Deserialize;
use tidewheel_config::limits;
use utoipa::IntoParams;

use super::delayed::DelayedState;
use super::listing::Page;
use super::messages::ValueFormat;
use super::problem::Problem;
use super::setting_changes::SettingsOf;

/// Which part of a list.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NumberQuery {
    /// Entries of a page, 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<i64>,
}

impl NumberQuery {
    /// A page of what is named by rising numbers.
    pub(crate) fn page<T, U>(
        self,
        all: Vec<T>,
        number: impl Fn(&T) -> i64,
        made: impl FnMut(T) -> U,
    ) -> Result<Page<U>, Problem> {
        let (limit, most) = (self.limit.unwrap_or(100), limits::ADMIN_PAGE_MAX);
        if !(1..=most).contains(&limit) {
            let detail = format!("it must be from 1 to {most}");
            return Err(Problem::invalid("?limit", detail));
        }
        let total = all.len();
        let from = self.cursor.unwrap_or(i64::MIN);
        let mut rest = all.into_iter().skip_while(|one| number(one) < from);
        let items = rest.by_ref().take(limit).map(made).collect();
        let next_cursor = rest.next().map(|next| number(&next).to_string());
        Ok(Page {
            items,
            total,
            next_cursor,
        })
    }
}

/// Whether to only say what would be done.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DryRun {
    /// Whether to check everything and change nothing.
    dry_run: Option<bool>,
}

impl DryRun {
    pub(crate) fn is_dry(self) -> bool {
        self.dry_run.unwrap_or(false)
    }
}

/// Which records.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// The partition; may be left out where there is only one.
    pub(crate) partition: Option<i32>,
    /// Where to begin: `earliest`, `latest`, an offset, `-N` for the last N records, `@MS` for a time. The last
    /// `limit` records unless said otherwise; a stream begins with what comes next.
    pub(crate) offset: Option<String>,
    /// Records at most, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
    /// Only records whose key or value contains this text.
    pub(crate) q: Option<String>,
    /// Only records with this key.
    pub(crate) key: Option<String>,
    /// Only records with such a header: its name, or `NAME=VALUE`.
    pub(crate) header: Option<String>,
    /// How keys, values and headers are shown, where they can be: what is no JSON or no text is shown as base64.
    #[param(inline)]
    pub(crate) value_format: Option<ValueFormat>,
    /// Bytes of a value that are shown, 50,000 unless said otherwise.
    pub(crate) max_value_bytes: Option<usize>,
}

/// Which delayed records.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DelayedQuery {
    /// The topic.
    pub(crate) topic: String,
    /// The partition; all of them where this is left out.
    pub(crate) partition: Option<i32>,
    /// Only what is due then or later, ms since 1970.
    pub(crate) due_after: Option<i64>,
    /// Only what is due before, ms since 1970.
    pub(crate) due_before: Option<i64>,
    /// Only what is due later (`pending`), or what is due already (`overdue`).
    pub(crate) state: Option<DelayedState>,
    /// Only what has a record with this key.
    pub(crate) key: Option<String>,
    /// Entries of a page, 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    pub(crate) cursor: Option<String>,
}

/// Which figures of the last hours.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// Only these series, with commas.
    pub(crate) series: Option<String>,
    /// How far back, as `90s`, `5m`, `1h` or `1d`: an hour unless said otherwise, a day at most.
    pub(crate) range: Option<String>,
    /// The time between two points; the finest that there is unless said otherwise.
    pub(crate) step: Option<String>,
}

/// Which figures.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SeriesQuery {
    /// Only these series, with commas.
    pub(crate) series: Option<String>,
}

/// A level, and for how long.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LevelQuery {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) level: String,
    /// Seconds, 300 unless said otherwise.
    #[param(minimum = 1, maximum = 86400)]
    pub(crate) expires: Option<i64>,
    /// Whether to check everything and change nothing.
    pub(crate) dry_run: Option<bool>,
}

/// Which producers.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProducersQuery {
    /// The topic.
    pub(crate) topic: String,
    /// The partition; all of them where this is left out.
    pub(crate) partition: Option<i32>,
    /// Entries of a page, 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    pub(crate) cursor: Option<String>,
}

/// Which settings of brokers, and whether to only say what would be done.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BrokerSettingsQuery {
    /// Whether to check everything and change nothing.
    pub(crate) dry_run: Option<bool>,
    /// Of this `broker`, unless said otherwise, or of `all`, which count where nothing is set on this one.
    #[param(inline)]
    pub(crate) of: Option<SettingsOf>,
}

/// How a partition is to be checked.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VerifyQuery {
    /// Where to begin: `next_offset` of the answer before; the first record where it is left out.
    pub(crate) from_offset: Option<i64>,
    /// Whether to only look, and take data also where damage is found.
    pub(crate) dry_run: Option<bool>,
}

/// How a connection is to be ended.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndQuery {
    /// Whether to check everything and change nothing.
    pub(crate) dry_run: Option<bool>,
    /// Why, for the log: 256 characters at most. The client is not told.
    #[param(max_length = 256)]
    pub(crate) reason: Option<String>,
}

/// Which metrics.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FamiliesQuery {
    /// Only families whose names begin with one of these, with commas: `tidewheel_partition_,tidewheel_group_lag`.
    pub(crate) family: Option<String>,
}

/// Which offsets of a group are to be deleted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OffsetsQuery {
    /// Those in this topic.
    pub(crate) topic: String,
    /// That in this partition of it only.
    pub(crate) partition: Option<i32>,
    /// Whether to check everything and change nothing.
    pub(crate) dry_run: Option<bool>,
}

/// Which delayed records are to be cancelled.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DelayedCancelQuery {
    /// The topic.
    pub(crate) topic: String,
    /// The partition; all of them where this is left out.
    pub(crate) partition: Option<i32>,
    /// Only what is due then or later, ms since 1970.
    pub(crate) due_after: Option<i64>,
    /// Only what is due before, ms since 1970.
    pub(crate) due_before: Option<i64>,
    /// Only what is due later (`pending`), or what is due already (`overdue`).
    pub(crate) state: Option<DelayedState>,
    /// Only what has a record with this key.
    pub(crate) key: Option<String>,
    /// Records at most, 100 unless said otherwise: the first of them by due time.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
    /// Where to begin: `next_cursor` of the answer before.
    pub(crate) cursor: Option<String>,
    /// How many are to be cancelled, as a dry run told. Where others are found nothing is done.
    pub(crate) confirm_count: Option<usize>,
    /// Whether to only say how many would be cancelled.
    pub(crate) dry_run: Option<bool>,
}
