//! How much groups have not read yet.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::age::Ages;
use super::list;
use super::look::{self, Progress};
use super::show::total_lag;
use crate::cli::kafka::client::Client;
use crate::cli::kafka::{ClusterArguments, Tried};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, Format, print_json};
use crate::cli::table::{Table, escaped, known};

/// Arguments of `group lag`.
#[derive(Args, Debug)]
pub(super) struct LagArguments {
    /// Names of groups; without one, all
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Look again every so many seconds, until Ctrl-C; names of groups stand before it
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Show also for how many seconds the oldest unread record has been waiting, which is read for that
    #[arg(long)]
    seconds: bool,
    /// A table, or one JSON object per group and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The last one where seconds are asked for.
static HEADINGS: [&str; 8] = [
    "GROUP",
    "STATE",
    "MEMBERS",
    "TOPICS",
    "OFFSETS",
    "TOTAL-LAG",
    "MAX-LAG",
    "MAX-LAG-SECONDS",
];

/// How far a group is behind, under the names that the HTTP API has.
#[derive(Serialize)]
struct Lag {
    group: String,
    state: String,
    members: usize,
    topics: usize,
    offsets: usize,
    total_lag: i64,
    /// Of the partition that is furthest behind; null where nothing was committed.
    max_lag: Option<i64>,
    /// How long the oldest unread record has been waiting; left out where nobody asked, or it cannot be told for a
    /// partition that is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lag_seconds: Option<i64>,
}

/// Shows how far groups are behind.
pub(super) async fn lag(arguments: &LagArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    loop {
        let mut tried = Tried::default();
        let looked = look(&mut client, arguments, &mut tried).await;
        let Some(seconds) = arguments.watch else {
            print(&looked?, arguments)?;
            return tried.end();
        };
        // Whoever watches wants to see a broker come back, too: what failed was said.
        if let Ok(lags) = looked {
            print(&lags, arguments)?;
            if arguments.format == Format::Text {
                writeln!(io::stdout())?;
            }
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

async fn look(
    client: &mut Client,
    arguments: &LagArguments,
    tried: &mut Tried,
) -> Result<Vec<Lag>, Failure> {
    let groups = &arguments.groups;
    let names: Vec<String> = match groups.is_empty() {
        true => list::all(client, &[]).await?.into_keys().collect(),
        false => groups.clone(),
    };
    let mut lags = Vec::with_capacity(names.len());
    for name in names {
        let group = match look::group(client, &name).await {
            Ok(group) => group,
            // One that was listed a moment ago may be gone by now, or be of a kind that has no committed offsets.
            Err(failure) if failure.0 == EXIT_NOT_FOUND => {
                if !groups.is_empty() {
                    tried.note(failure);
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let progress = look::progress(client, &group, tried).await?;
        let ages = match arguments.seconds {
            true => Some(Ages::look(client, &progress).await?),
            false => None,
        };
        let topics: BTreeSet<&str> = progress.iter().map(|one| &*one.partition.topic).collect();
        lags.push(Lag {
            state: group.state,
            members: group.members.len(),
            topics: topics.len(),
            offsets: progress
                .iter()
                .filter(|one| one.committed.is_some())
                .count(),
            total_lag: total_lag(&progress),
            max_lag: progress.iter().filter_map(Progress::lag).max(),
            max_lag_seconds: ages.and_then(|ages| ages.max(&progress)),
            group: name,
        });
    }
    Ok(lags)
}

fn print(lags: &[Lag], arguments: &LagArguments) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.format == Format::Json {
        for lag in lags {
            print_json(&mut out, lag)?;
        }
        return out.flush();
    }
    let columns = HEADINGS.len() - usize::from(!arguments.seconds);
    let mut table = Table::new(&HEADINGS[..columns]);
    for lag in lags {
        let mut row = vec![
            escaped(&lag.group),
            escaped(&lag.state),
            lag.members.to_string(),
            lag.topics.to_string(),
            lag.offsets.to_string(),
            lag.total_lag.to_string(),
            known(lag.max_lag),
            known(lag.max_lag_seconds),
        ];
        row.truncate(columns);
        table.row(row);
    }
    table.write(&mut out)?;
    out.flush()
}
