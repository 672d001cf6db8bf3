//! How far a partition is read, and what of it is printed.

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
use crate::cli::kafka::offsets::{Leaders, all_bounds};
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
    /// Whether that is where the partition ended when it was looked at.
    at_end: bool,
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

    /// Offsets up to where it ends, if it ends.
    pub(super) fn left(&self) -> Option<u64> {
        let left = self.until?.saturating_sub(self.next);
        Some(u64::try_from(left).unwrap_or(0))
    }

    /// Begins at this offset, wherever that is.
    pub(super) fn go_on_at(&mut self, offset: i64) {
        (self.next, self.first) = (offset, offset);
    }

    /// Ends before this offset, if not earlier.
    pub(super) fn end_by(&mut self, end: i64) {
        self.until = Some(self.until.map_or(end, |until| until.min(end)));
    }
}

/// Where to begin and to end in each partition.
pub(super) async fn positions(
    client: &mut Client,
    leaders: &Leaders,
    span: Span,
    at_end: bool,
) -> Result<Vec<Position>, Failure> {
    let times = [span.from.time(), span.to.and_then(Place::time)];
    let bounds = all_bounds(client, leaders, times).await?;
    let mut positions = Vec::with_capacity(bounds.len());
    for (partition, [from_bounds, to_bounds]) in bounds {
        let Bounds { start, end, .. } = from_bounds;
        let from = span.from.offset(from_bounds);
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
        let to = span.to.map(|to| to.offset(to_bounds));
        let until = to.into_iter().chain(at_end.then_some(end)).min();
        positions.push(Position {
            partition,
            next,
            first: from,
            until,
            at_end,
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
    // Where it ended it should have come to by now, or it was made anew; to other offsets it is still to come.
    let is_there = |until: &i64| position.at_end || data.high_watermark >= *until;
    let until = position.until.filter(is_there);
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

#[cfg(test)]
mod tests {
    use tidewheel_protocol::RecordBatchBuilder;

    use super::*;
    use crate::cli::consume::output::Form;

    /// A marker that a broker writes at the end of a transaction.
    const CONTROL: i16 = 1 << 5;
    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3_600);

    /// Batches that begin at an offset each, of so many records, with these flags.
    fn batches(all: &[(i64, usize, i16)]) -> Bytes {
        let batch = |&(base_offset, count, flags): &(i64, usize, i16)| {
            let empty = RecordBatchBuilder::new().base_offset(base_offset);
            let add = |batch: RecordBatchBuilder, _| batch.record(0, None, Some(b"v"));
            let batch = (0..count).fold(empty.flags(flags), add);
            batch.build().unwrap().bytes.to_vec()
        };
        Bytes::from(all.iter().flat_map(batch).collect::<Vec<u8>>())
    }

    /// From its next offset to before another one.
    fn position(next: i64, until: Option<i64>) -> Position {
        Position {
            partition: TopicPartition {
                topic: "t".into(),
                partition: 0,
            },
            next,
            first: next,
            until,
            at_end: false,
            empty_at: None,
            is_lost: false,
        }
    }

    /// Reads an answer, of a partition that ends at 10; what is printed.
    fn printed(
        position: &mut Position,
        records: Bytes,
        wait: Duration,
        wanted: &mut Option<u64>,
    ) -> String {
        let waits = (records.is_empty(), wait);
        let data = PartitionData {
            high_watermark: 10,
            records: Some(records),
            ..PartitionData::default()
        };
        let mut out = Vec::new();
        let form = Form::Template("%o ".parse().unwrap());
        let mut printer = Printer::new(form, &mut out);
        read(position, &data, waits, &mut printer, wanted).unwrap();
        printer.flush().unwrap();
        drop(printer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_lies_before_and_behind_what_is_wanted_is_left_out() {
        let (whole, cut) = (batches(&[(3, 3, 0)]), batches(&[(5, 2, 0)]));
        let cut = cut.slice(..cut.len() - 1);
        for (next, until, records, shown, then) in [
            (3, None, whole.clone(), "3 4 5 ", 6),
            (4, None, whole.clone(), "4 5 ", 6),
            (3, Some(5), whole.clone(), "3 4 ", 5),
            // It ends before, and nothing follows.
            (7, None, whole, "", 7),
            // Compaction has taken what lies between.
            (0, None, batches(&[(0, 1, 0), (8, 2, 0)]), "0 8 9 ", 10),
            (0, Some(5), batches(&[(0, 1, 0), (8, 2, 0)]), "0 ", 5),
            (0, None, batches(&[(0, 1, CONTROL), (1, 1, 0)]), "1 ", 2),
            (0, None, batches(&[(0, 2, 0), (2, 1, CONTROL)]), "0 1 ", 3),
            (5, None, cut, "", 5),
            (5, None, Bytes::new(), "", 5),
        ] {
            let mut position = position(next, until);
            let told = printed(&mut position, records, LONG, &mut None);
            assert_eq!(
                (told.as_str(), position.next),
                (shown, then),
                "{position:?}"
            );
            assert_eq!(position.is_done(), until == Some(then), "{position:?}");
        }
        let mut wanted = Some(2);
        let mut position = position(3, None);
        let told = printed(&mut position, batches(&[(3, 3, 0)]), LONG, &mut wanted);
        assert_eq!((told.as_str(), position.next, wanted), ("3 4 ", 5, Some(0)));
    }

    /// What was looked for at an offset that is yet to come is waited for; where the partition ended, it should be.
    #[test]
    fn nothing_is_waited_for_in_vain_where_something_should_be() {
        for (until, at_end, is_over) in [
            (None, false, false),
            (Some(10), false, true),
            (Some(10), true, true),
            (Some(12), false, false),
            (Some(12), true, true),
        ] {
            let mut position = position(5, until);
            position.at_end = at_end;
            printed(&mut position, Bytes::new(), Duration::ZERO, &mut None);
            assert_eq!(position.is_done(), is_over, "{position:?}");
        }
        let mut position = position(5, Some(10));
        printed(&mut position, Bytes::new(), LONG, &mut None);
        assert!(!position.is_done() && position.empty_at.is_some());
        printed(
            &mut position,
            batches(&[(5, 1, 0)]),
            Duration::ZERO,
            &mut None,
        );
        assert_eq!((position.next, position.empty_at), (6, None));
        position.end_by(6);
        assert!(position.is_done());
        position.end_by(8);
        assert!(position.is_done());
    }
}
