//! How far a partition is read, and what of it is printed.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::PartitionData;
use tidewheel_protocol::{Batches, TopicPartition};
use tokio::time::Instant;

use super::output::Printer;
use super::span::Span;
use crate::cli::kafka::client::Client;
use crate::cli::kafka::offsets::{END, Leaders, START, all_offsets};
use crate::cli::kafka::place::{Bounds, Place};
use crate::cli::outcome::{Failure, failed};
use crate::cli::table::escaped;
use crate::cli::{EXIT_ENVIRONMENT, say};
use crate::clock;

/// How far a partition is read.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) partition: TopicPartition,
    pub(super) next: i64,
    /// The first offset that is printed: more than `next` where the partition has not come so far.
    first: i64,
    /// Where to end before.
    until: Option<i64>,
    /// When it is taken for empty up to there: nothing comes, though something should, as behind what compaction took.
    empty_at: Option<Instant>,
    /// Whether its offset is not there any more.
    pub(super) is_lost: bool,
}

impl Position {
    /// Whether nothing more is wanted of it.
    pub(super) fn is_done(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }
}

/// Where to begin and to end in each partition.
pub(super) async fn positions(
    client: &mut Client,
    leaders: &Leaders,
    span: Span,
    at_end: bool,
) -> Result<Vec<Position>, Failure> {
    let starts = all_offsets(client, leaders, START).await?;
    let ends = all_offsets(client, leaders, END).await?;
    let mut by_time = [BTreeMap::new(), BTreeMap::new()];
    let times = [span.from.time(), span.to.and_then(Place::time)];
    for (found, time) in by_time.iter_mut().zip(times) {
        if let Some(time) = time {
            *found = all_offsets(client, leaders, time).await?;
        }
    }
    let [from_times, to_times] = by_time;
    let mut positions = Vec::with_capacity(starts.len());
    for (partition, start) in starts {
        let end = ends.get(&partition).copied().unwrap_or(start).max(start);
        let within = |found: &BTreeMap<TopicPartition, i64>| Bounds {
            start,
            end,
            found: found.get(&partition).copied().unwrap_or(-1),
        };
        let from = span.from.offset(within(&from_times));
        let next = from.clamp(start, end);
        if next != from {
            let partition = escaped(&partition.to_string());
            let begins = match next < from {
                true => "not there yet".to_owned(),
                false => format!("not there any more: beginning at {next}"),
            };
            say(&format!(
                "tidewheel: {partition}: offset {from} is {begins}"
            ));
        }
        let to = span.to.map(|to| to.offset(within(&to_times)));
        let until = to.into_iter().chain(at_end.then_some(end)).min();
        positions.push(Position {
            partition,
            next,
            first: from,
            until,
            empty_at: None,
            is_lost: false,
        });
    }
    Ok(positions)
}

/// Prints the records of a partition, as far as they are wanted.
pub(super) fn read(
    position: &mut Position,
    data: &PartitionData<Bytes>,
    (is_empty, wait): (bool, Duration),
    printer: &mut Printer<impl io::Write>,
    wanted: &mut Option<u64>,
) -> Result<(), Failure> {
    let until = position.until.filter(|until| data.high_watermark >= *until);
    if let (true, Some(until)) = (is_empty, until) {
        let empty_at = *position
            .empty_at
            .get_or_insert_with(|| clock::deadline(wait));
        if clock::has_come(empty_at) {
            let (partition, next) = (escaped(&position.partition.to_string()), position.next);
            say(&format!(
                "tidewheel: {partition}: nothing from offset {next} to {until}"
            ));
            position.next = until;
        }
    } else {
        position.empty_at = None;
    }
    for batch in Batches::new(data.records.clone().unwrap_or_default()) {
        let at = position.next;
        let broken = |error| {
            let partition = escaped(&position.partition.to_string());
            failed(
                &format!("{partition}: what begins at offset {at}: {error}"),
                EXIT_ENVIRONMENT,
            )
        };
        let batch = batch.map_err(broken)?;
        let end = batch.header.next_offset();
        if batch.header.is_control() || end <= at {
            position.next = end.max(at);
            continue;
        }
        let records = batch
            .records(limits::DECOMPRESSED_BATCH_BYTES_MAX)
            .map_err(broken)?;
        for record in records.limit_headers(limits::COMMAND_BATCH_HEADERS_MAX) {
            let record = record.map_err(broken)?;
            if record.offset < at.max(position.first) {
                continue;
            }
            if let Some(until) = position.until.filter(|until| record.offset >= *until) {
                position.next = until;
                return Ok(());
            }
            if *wanted == Some(0) {
                return Ok(());
            }
            printer.print(&position.partition, &record)?;
            position.next = record.offset.saturating_add(1);
            *wanted = wanted.map(|wanted| wanted - 1);
        }
        position.next = end;
    }
    Ok(())
}
