//! One consumer of one leader's partitions: asks for the next batches before it looks at the last ones.

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{BatchError, BatchHeader, ErrorCode, RecordBatch, StrBytes};

use super::{Stop, Worker};
use crate::client::{ClientError, Connection, Frame, code_name, list_offsets};
use crate::clock::wall_ms;
use crate::error::BenchError;
use crate::payload::STAMP_BYTES;
use crate::recorder::Series;
use crate::workload::{Mode, Workload};

/// The newest version of Fetch that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// How long a broker waits for data, in ms.
const WAIT_MS: i32 = 500;
/// Bytes of one answer, over all its partitions.
const ANSWER_BYTES: i32 = 64 * 1024 * 1024;
/// Bytes that one fetched batch may decompress to.
const DECOMPRESSED_MAX: usize = tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;

const AT_END: i64 = -1;
const AT_START: i64 = -2;

/// What a consumer is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Follow the producers from where the partitions end now.
    Follow,
    /// Read once from the start to where the partitions end now.
    ReadAll,
    /// Read from the start to the end, and again, as the load that is measured.
    Repeat,
    /// The same beside the load that is measured.
    CatchUp,
}

impl Purpose {
    fn starts_over(self) -> bool {
        matches!(self, Self::Repeat | Self::CatchUp)
    }
}

/// Which partitions of which topic at which broker.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) topic: String,
    pub(crate) leader: String,
    pub(crate) partitions: Vec<i32>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    partition: i32,
    start: i64,
    next: i64,
    /// Where `ReadAll` ends, and whoever starts over does.
    end: i64,
}

/// A consumer that is connected and knows where it begins.
#[derive(Debug)]
pub(crate) struct Consumer {
    connection: Connection,
    version: i16,
    assignment: Assignment,
    positions: Vec<Position>,
    /// Which partition is asked for first: each has its turn.
    first: usize,
    purpose: Purpose,
    fetch_bytes: i32,
    timeout: std::time::Duration,
}

/// Batches of one partition, as fetched.
struct Fetched {
    index: usize,
    records: Bytes,
}

impl Consumer {
    /// Connects and looks up where to begin.
    pub(crate) async fn open(
        workload: &Workload,
        assignment: Assignment,
        purpose: Purpose,
    ) -> Result<Self, BenchError> {
        let timeout = workload.timeout.0;
        let mut connection = Connection::open(&assignment.leader, timeout).await?;
        if let Some(name) = &workload.congestion {
            let chosen = connection.set_congestion_control(name);
            chosen.map_err(|source| BenchError::System {
                what: "the congestion control cannot be chosen",
                source,
            })?;
        }
        let version = connection.version::<FetchRequest>(NEWEST_BY_NAME)?;
        let mut offsets = async |at| {
            let (topic, partitions) = (&assignment.topic, &assignment.partitions);
            list_offsets(&mut connection, topic, partitions, at, timeout).await
        };
        let (starts, ends) = (offsets(AT_START).await?, offsets(AT_END).await?);
        let mut positions = Vec::with_capacity(starts.len());
        for start in starts {
            let end = ends.iter().find(|end| end.partition == start.partition);
            let end = end.map_or(start.offset, |end| end.offset);
            positions.push(Position {
                partition: start.partition,
                start: start.offset,
                next: if purpose == Purpose::Follow {
                    end
                } else {
                    start.offset
                },
                end,
            });
        }
        Ok(Self {
            connection,
            version,
            assignment,
            positions,
            first: 0,
            purpose,
            fetch_bytes: i32::try_from(workload.fetch_bytes.0).unwrap_or(i32::MAX),
            timeout,
        })
    }

    /// Records it has before it, where it reads what is there.
    pub(crate) fn remaining(&self) -> u64 {
        let left = |position: &Position| u64::try_from(position.end - position.next).unwrap_or(0);
        self.positions.iter().map(left).sum()
    }

    /// Runs until it is stopped, has read everything, or the deadline.
    pub(crate) async fn run(mut self, worker: Worker, mut stop: Stop) -> Result<(), BenchError> {
        let phases = worker.shared.phases;
        let deadline = phases.deadline;
        if self.purpose != Purpose::Follow {
            let lead = phases.start.saturating_sub(worker.shared.clock.now());
            tokio::time::sleep(std::time::Duration::from_nanos(lead)).await;
        }
        self.request()?;
        while !stop.is_asked() && worker.shared.clock.now() < deadline {
            // The connection keeps what it has read when the wait is dropped.
            let frame = tokio::select! {
                frame = tokio::time::timeout(self.timeout, self.connection.next()) => frame,
                () = stop.asked() => break,
            };
            let frame = match frame {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => {
                    note_error(&worker, &error.label());
                    if !self.reconnect(&worker, &mut stop).await? {
                        break;
                    }
                    continue;
                }
                Err(_) => {
                    note_error(&worker, "timed out");
                    if !self.reconnect(&worker, &mut stop).await? {
                        break;
                    }
                    continue;
                }
            };
            let arrived = worker.shared.clock.now();
            let fetched = self.take_in(frame, &worker)?;
            let done = self.purpose == Purpose::ReadAll && self.remaining() == 0;
            if !done {
                self.request()?;
            }
            self.count(&fetched, arrived, &worker);
            if done {
                break;
            }
        }
        Ok(())
    }

    /// Connects again and asks again, until it is stopped or the deadline; returns whether it did.
    async fn reconnect(&mut self, worker: &Worker, stop: &mut Stop) -> Result<bool, BenchError> {
        let mut pause = std::time::Duration::from_millis(50);
        while worker.shared.clock.now() < worker.shared.phases.deadline {
            // Neither half loses anything: an attempt is made anew.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.asked() => return Ok(false),
            }
            let opening = Connection::open(&self.assignment.leader, pause.max(self.timeout / 10));
            if let Ok(connection) = opening.await {
                self.connection = connection;
                self.request()?;
                return Ok(true);
            }
            pause = (pause * 2).min(std::time::Duration::from_secs(1));
        }
        Ok(false)
    }

    fn request(&mut self) -> Result<(), ClientError> {
        let turn = self.positions.len().max(1);
        let partitions = (0..self.positions.len())
            .map(|step| self.positions[(self.first + step) % turn])
            .filter(|position| self.purpose != Purpose::ReadAll || position.next < position.end)
            .map(|position| FetchPartition {
                partition: position.partition,
                fetch_offset: position.next,
                partition_max_bytes: self.fetch_bytes,
                ..FetchPartition::default()
            });
        let request = FetchRequest {
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: ANSWER_BYTES,
            topics: vec![FetchTopic {
                topic: StrBytes::from(self.assignment.topic.as_str()),
                partitions: partitions.collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        self.first = (self.first + 1) % turn;
        match self.connection.send(self.version, &request) {
            // A socket that failed shows when the answer is waited for.
            Ok(_) | Err(ClientError::Io { .. } | ClientError::Closed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves the positions on, by the headers of batches alone.
    fn take_in(&mut self, frame: Frame, worker: &Worker) -> Result<Vec<Fetched>, ClientError> {
        let answer: FetchResponse<Bytes> = self.connection.decode(frame, self.version)?;
        if answer.error_code != 0 {
            note_error(worker, &code_name(answer.error_code));
        }
        let mut all = Vec::new();
        let partitions = answer.responses.into_iter().flat_map(|one| one.partitions);
        for data in partitions {
            let wanted = |position: &Position| position.partition == data.partition_index;
            let Some(index) = self.positions.iter().position(wanted) else {
                continue;
            };
            let position = &mut self.positions[index];
            if data.error_code != 0 {
                note_error(worker, &code_name(data.error_code));
                if data.error_code == ErrorCode::OffsetOutOfRange.code() {
                    // Retention was faster.
                    position.next = data.log_start_offset.max(position.start);
                }
                continue;
            }
            let records = data.records.unwrap_or_default();
            let (whole, next) = whole_batches(&records);
            position.next = next.unwrap_or(position.next);
            if self.purpose.starts_over() && position.next >= position.end {
                position.end = data.high_watermark;
                if position.next >= position.end {
                    position.next = position.start;
                }
            }
            if whole > 0 {
                let records = records.slice(..whole);
                all.push(Fetched { index, records });
            }
        }
        Ok(all)
    }

    fn count(&self, fetched: &[Fetched], arrived: u64, worker: &Worker) {
        let shared = &worker.shared;
        let stamped = self.purpose == Purpose::Follow && shared.workload.mode.is_stamped();
        let ahead = match shared.workload.mode {
            Mode::Delayed => shared.workload.delay.nanos(),
            _ => 0,
        };
        let arrived_ms = wall_ms();
        let (mut records, mut bytes) = (0, 0);
        let mut latencies = Vec::new();
        for one in fetched {
            let mut rest = one.records.clone();
            bytes += rest.len() as u64;
            while !rest.is_empty() {
                let batch = match RecordBatch::split_first(&mut rest) {
                    Ok(batch) => batch,
                    Err(error) => {
                        let partition = self.positions[one.index].partition;
                        note_error(worker, &format!("partition {partition}: {error}"));
                        break;
                    }
                };
                let count = u64::try_from(batch.header.record_count).unwrap_or(0);
                if !stamped {
                    records += count;
                    continue;
                }
                // A broker's own clock is that of this host, or this means nothing.
                if ahead > 0 && batch.header.max_timestamp > arrived_ms {
                    note_error(worker, "delivered before it was due");
                }
                match stamps(&batch, shared.run_id) {
                    Ok(due) => {
                        records += match shared.filled {
                            0 => due.len() as u64,
                            // What was filled in before has no stamps, and is to be consumed too.
                            _ => count,
                        };
                        latencies.extend(due);
                    }
                    Err(error) => note_error(worker, &error.to_string()),
                }
            }
        }
        shared.record(worker.number, |interval| {
            interval.counts.fetches += 1;
            if self.purpose == Purpose::CatchUp {
                interval.counts.caught_up += records;
                interval.counts.caught_up_bytes += bytes;
                return;
            }
            interval.counts.consumed += records;
            interval.counts.consumed_bytes += bytes;
            for due in latencies {
                if shared.is_measured(due.saturating_sub(ahead)) {
                    interval.record(Series::EndToEnd, arrived.saturating_sub(due), 1);
                }
            }
        });
    }
}

fn note_error(worker: &Worker, name: &str) {
    let note = format!("fetch: {name}");
    worker
        .shared
        .record(worker.number, |interval| interval.error(&note, 1));
}

/// Bytes of the batches that are there in full, and the offset after them.
fn whole_batches(records: &[u8]) -> (usize, Option<i64>) {
    let (mut at, mut next) = (0, None);
    while let Ok(header) = BatchHeader::parse(&records[at..]) {
        let size = header.size_in_bytes();
        if size > records.len() - at {
            break;
        }
        at += size;
        next = Some(header.next_offset());
    }
    (at, next)
}

/// When the records of a batch were due, of those that this run produced.
fn stamps(batch: &RecordBatch, run_id: u64) -> Result<Vec<u64>, BatchError> {
    let codec = batch.header.compression()?;
    let records = match codec.id() {
        0 => batch.records_bytes(),
        _ => Bytes::from(codec.decompress(&batch.records_bytes(), DECOMPRESSED_MAX)?),
    };
    let malformed = |source| BatchError::MalformedRecord { index: 0, source };
    let mut reader = Reader::new(records);
    let mut due = Vec::new();
    while reader.remaining() > 0 {
        let len = reader.read_varint().map_err(malformed)?;
        let record = reader.take(usize::try_from(len).unwrap_or(usize::MAX));
        let value = value_of(record.map_err(malformed)?).map_err(malformed)?;
        let Some(stamp) = value.first_chunk::<STAMP_BYTES>() else {
            continue;
        };
        let (run, time) = stamp.split_at(8);
        if run == run_id.to_be_bytes() {
            let time = time.first_chunk::<8>().copied().unwrap_or_default();
            due.push(u64::from_be_bytes(time));
        }
    }
    Ok(due)
}

/// The value of a record: after attributes, timestamp, offset and key.
fn value_of(record: Bytes) -> Result<Bytes, tidewheel_protocol::DecodeError> {
    let mut reader = Reader::new(record);
    reader.read_i8()?;
    reader.read_varlong()?;
    reader.read_varint()?;
    let key = reader.read_varint()?;
    reader.take(usize::try_from(key).unwrap_or(0))?;
    let value = reader.read_varint()?;
    reader.take(usize::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{BatchMaker, Mark, RecordShape};
    use crate::values::ValueSize;
    use tidewheel_protocol::Compression;

    #[test]
    fn stamps_of_this_run_are_read_and_others_are_not() {
        for compression in [Compression::None, Compression::Lz4] {
            let shape = RecordShape {
                size: ValueSize::Uniform(16, 400),
                random_ratio: 0.5,
                keyed: true,
                batch_bytes: 4096,
                compression,
                seed: 3,
            };
            let maker = BatchMaker::new(&shape).unwrap();
            let marks = (0..5).map(|at| Mark {
                due: at * 10,
                key: Some(7),
            });
            let marks: Vec<Mark> = marks.collect();
            let batch = maker.marked(marks.into_iter(), Some(42), 0).unwrap();
            let batch = RecordBatch::parse(batch).unwrap();
            assert_eq!(stamps(&batch, 42).unwrap(), [0, 10, 20, 30, 40]);
            assert_eq!(stamps(&batch, 43).unwrap(), [0_u64; 0]);
        }
    }

    #[test]
    fn a_batch_that_is_cut_is_left_for_the_next_fetch() {
        let shape = RecordShape {
            size: ValueSize::Fixed(10),
            random_ratio: 0.0,
            keyed: false,
            batch_bytes: 200,
            compression: Compression::None,
            seed: 3,
        };
        let batch = BatchMaker::new(&shape).unwrap().plain(3, 0).unwrap();
        let two = [batch.clone(), batch.clone()].concat();
        assert_eq!(whole_batches(&two), (two.len(), Some(3)));
        assert_eq!(whole_batches(&two[..two.len() - 1]), (batch.len(), Some(3)));
        assert_eq!(whole_batches(&two[..40]), (0, None));
    }
}
