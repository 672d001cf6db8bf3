//! How far groups have read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tidewheel_protocol::TopicPartition;

use super::age::Ages;
use super::look::{self, Group, Member, Progress};
use crate::cli::kafka::{ClusterArguments, Tried};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, Format, print_json};
use crate::cli::table::{Table, escaped, known, summary};

/// Arguments of `group describe`.
#[derive(Args, Debug)]
pub(super) struct DescribeArguments {
    /// Names of groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Show also for how many seconds the oldest unread record of each partition has been waiting, which is read for that
    #[arg(long)]
    seconds: bool,
    /// Tables, or one JSON object per group and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The last one where seconds are asked for.
static HEADINGS: [&str; 10] = [
    "GROUP",
    "TOPIC",
    "PARTITION",
    "CURRENT-OFFSET",
    "LOG-END-OFFSET",
    "LAG",
    "CONSUMER-ID",
    "HOST",
    "CLIENT-ID",
    "LAG-SECONDS",
];

/// A group in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
struct Shown<'a> {
    group: &'a str,
    #[serde(rename = "type")]
    group_type: &'static str,
    protocol_type: &'a str,
    protocol: &'a str,
    state: &'a str,
    coordinator: i32,
    members: usize,
    total_lag: i64,
    partitions: Vec<Row<'a>>,
}

/// A partition of a group.
#[derive(Serialize)]
struct Row<'a> {
    topic: Option<&'a str>,
    partition: Option<i32>,
    committed_offset: Option<i64>,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    /// Left out where nobody asked, or it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<i64>,
    member_id: Option<&'a str>,
    client_id: Option<&'a str>,
    client_host: Option<&'a str>,
    instance_id: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn new(progress: Option<&'a Progress>, member: Option<&'a Member>) -> Self {
        let partition = progress.map(|progress| &progress.partition);
        Self {
            topic: partition.map(|one| &*one.topic),
            partition: partition.map(|one| one.partition),
            committed_offset: progress.and_then(|progress| progress.committed),
            log_end_offset: progress.and_then(|progress| progress.end),
            lag: progress.and_then(Progress::lag),
            lag_seconds: None,
            member_id: member.map(|member| member.member_id.as_str()),
            client_id: member.map(|member| member.client_id.as_str()),
            client_host: member.map(|member| member.client_host.as_str()),
            instance_id: member.and_then(|member| member.instance_id.as_deref()),
        }
    }
}

/// Shows groups.
pub(super) async fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut client = arguments.cluster.connect().await?;
    let mut tried = Tried::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut is_first = true;
    for name in &arguments.groups {
        let group = match look::group(&mut client, name).await {
            Ok(group) => group,
            Err(failure) if failure.0 == EXIT_NOT_FOUND => {
                tried.note(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let (coordinator, address) = client.coordinator(name).await?;
        let progress = look::progress(&mut client, &group, &mut tried).await?;
        let ages = match arguments.seconds {
            true => Some(Ages::look(&mut client, &progress).await?),
            false => None,
        };
        let mut rows = rows(&group, &progress);
        // The rows of partitions come first, in their order.
        for (row, progress) in rows.iter_mut().zip(&progress) {
            row.lag_seconds = ages.as_ref().and_then(|ages| ages.seconds(progress));
        }
        if arguments.format == Format::Json {
            print_json(&mut out, &shown(&group, coordinator, &progress, rows))?;
            continue;
        }
        if !is_first {
            writeln!(out)?;
        }
        is_first = false;
        let coordinator = format!("{coordinator} ({})", escaped(&address));
        let facts = (coordinator, total_lag(&progress));
        print(&mut out, &group, facts, &rows, arguments.seconds)?;
    }
    out.flush()?;
    tried.end()
}

/// Every partition with its reader, then the members that read nothing.
fn rows<'a>(group: &'a Group, progress: &'a [Progress]) -> Vec<Row<'a>> {
    let mut readers: BTreeMap<&TopicPartition, &Member> = BTreeMap::new();
    for member in &group.members {
        readers.extend(
            member
                .assignment
                .iter()
                .map(|partition| (partition, member)),
        );
    }
    let rows = progress.iter().map(|progress| {
        let reader = readers.get(&progress.partition).copied();
        Row::new(Some(progress), reader)
    });
    let idle = group.members.iter().filter(|one| one.assignment.is_empty());
    rows.chain(idle.map(|member| Row::new(None, Some(member))))
        .collect()
}

/// Unread records of all partitions where that is known.
pub(super) fn total_lag(progress: &[Progress]) -> i64 {
    let lags = progress.iter().filter_map(Progress::lag);
    lags.fold(0, i64::saturating_add)
}

fn shown<'a>(
    group: &'a Group,
    coordinator: i32,
    progress: &[Progress],
    partitions: Vec<Row<'a>>,
) -> Shown<'a> {
    Shown {
        group: &group.name,
        group_type: group.group_type,
        protocol_type: &group.protocol_type,
        protocol: &group.protocol,
        state: &group.state,
        coordinator,
        members: group.members.len(),
        total_lag: total_lag(progress),
        partitions,
    }
}

fn print(
    out: &mut impl Write,
    group: &Group,
    (coordinator, total_lag): (String, i64),
    rows: &[Row<'_>],
    seconds: bool,
) -> io::Result<()> {
    let text = |text: &str| match text.is_empty() {
        true => "-".to_owned(),
        false => escaped(text),
    };
    let facts = [
        ("GROUP", escaped(&group.name)),
        ("COORDINATOR", coordinator),
        ("TYPE", group.group_type.to_owned()),
        ("STATE", text(&group.state)),
        ("BALANCER", text(&group.protocol)),
        ("MEMBERS", group.members.len().to_string()),
        ("TOTAL-LAG", total_lag.to_string()),
    ];
    summary(out, &facts)?;
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let columns = HEADINGS.len() - usize::from(!seconds);
    let mut table = Table::new(&HEADINGS[..columns]);
    for row in rows {
        let mut cells = vec![
            escaped(&group.name),
            known(row.topic.map(escaped)),
            known(row.partition),
            known(row.committed_offset),
            known(row.log_end_offset),
            known(row.lag),
            known(row.member_id.map(escaped)),
            known(row.client_host.map(escaped)),
            known(row.client_id.map(escaped)),
            known(row.lag_seconds),
        ];
        cells.truncate(columns);
        table.row(cells);
    }
    table.write(out)
}
