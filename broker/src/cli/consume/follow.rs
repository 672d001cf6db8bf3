//! Partitions are read from their leaders, whoever these are: a request to each leader at a time, which is made again
//! elsewhere or later where that may help.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::StdoutLock;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use tidewheel_protocol::messages::metadata::MetadataResponseTopic;
use tidewheel_protocol::{ErrorCode, StrBytes, TopicPartition};
use tokio::time::{Instant, sleep_until};

use super::ConsumeArguments;
use super::output::Printer;
use super::position::{Position, positions, read};
use super::progress::Reading;
use crate::cli::kafka::client::{Client, ClientError, Connection, may_be_repeated};
use crate::cli::kafka::offsets::{END, Leaders, START, leaders, offsets, only, topics};
use crate::cli::kafka::refused;
use crate::cli::outcome::Failure;
use crate::cli::say;
use crate::cli::table::escaped;
use crate::clock;

/// The newest version of Fetch that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// How long a broker waits for data.
const WAIT: Duration = Duration::from_millis(500);
/// Pauses between attempts.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// A leader that is asked for some partitions.
#[derive(Debug)]
struct Leader {
    node: i32,
    connection: Connection,
    version: i16,
    positions: Vec<Position>,
    /// When the answer must be here, if one is due.
    due: Option<Instant>,
}

/// What happens next.
enum Event {
    /// A leader has answered, or cannot.
    Answer(usize, Result<FetchResponse<Bytes>, ClientError>),
    /// It is time to look for leaders again.
    Retry,
    /// Somebody wants it to pause.
    Alarm,
}

/// Reads partitions and prints their records.
pub(super) struct Consumer<'a> {
    client: Client,
    printer: Printer<StdoutLock<'a>>,
    leaders: Vec<Leader>,
    /// Partitions that have no leader now.
    homeless: Vec<Position>,
    /// Partitions of which nothing more is wanted.
    finished: Vec<Position>,
    /// When to look for leaders again.
    retry_at: Instant,
    pause: Duration,
    /// Since when there is trouble, and that it was told.
    trouble: Option<Instant>,
    /// Records that are still wanted.
    wanted: Option<u64>,
    /// Whether it is to end some time.
    is_bounded: bool,
    /// Whether it is to end where partitions end.
    at_end: bool,
    /// A partition that is not there any more, and when it is not waited for any longer.
    gone: Option<(TopicPartition, Instant)>,
    /// Shows how far it is.
    reading: Option<Reading>,
}

impl<'a> Consumer<'a> {
    /// Connects, and looks up where to begin.
    pub(super) async fn open(
        arguments: &ConsumeArguments,
        printer: Printer<StdoutLock<'a>>,
    ) -> Result<Self, Failure> {
        let client = arguments.cluster.connect().await?;
        let mut consumer = Self::new(client, printer, arguments);
        let client = &mut consumer.client;
        let mut names = arguments.topics.clone();
        names.sort();
        names.dedup();
        let is_needed = |partition| arguments.only.has(partition);
        let topics = topics(client, &names, false, is_needed).await?;
        let leaders = only(leaders(&topics), &arguments.only.partitions)?;
        let (span, at_end) = (arguments.offset, arguments.exit_at_end);
        let positions = positions(client, &leaders, span, at_end).await?;
        consumer.reading = Reading::begin(arguments, &positions);
        consumer.assign(positions);
        Ok(consumer)
    }

    /// One that reads nothing yet.
    pub(super) fn new(
        client: Client,
        printer: Printer<StdoutLock<'a>>,
        arguments: &ConsumeArguments,
    ) -> Self {
        let (span, at_end) = (arguments.offset, arguments.exit_at_end);
        Self {
            client,
            printer,
            leaders: Vec::new(),
            homeless: Vec::new(),
            finished: Vec::new(),
            retry_at: clock::deadline(Duration::ZERO),
            pause: PAUSES[0],
            trouble: None,
            wanted: arguments.num,
            is_bounded: at_end || span.to.is_some() || arguments.num.is_some(),
            at_end,
            gone: None,
            reading: None,
        }
    }

    /// The way to everything else that is to be asked.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Reads these partitions, and no others any more.
    pub(super) fn assign(&mut self, positions: Vec<Position>) {
        self.leaders.clear();
        self.finished.clear();
        self.homeless = positions;
        self.retry_at = clock::deadline(Duration::ZERO);
        (self.trouble, self.pause, self.gone) = (None, PAUSES[0], None);
    }

    /// What is to be read next of each partition.
    pub(super) fn offsets(&self) -> BTreeMap<TopicPartition, i64> {
        self.positions()
            .map(|position| (position.partition.clone(), position.next))
            .collect()
    }

    fn positions(&self) -> impl Iterator<Item = &Position> {
        let led = self.leaders.iter().flat_map(|leader| &leader.positions);
        led.chain(&self.homeless).chain(&self.finished)
    }

    /// Whether it has no partitions, but may be given some.
    pub(super) fn has_to_wait(&self) -> bool {
        let has_none = self.offsets().is_empty();
        has_none && !self.at_end
    }

    /// Reads until everything that is wanted was printed.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        let mut never = std::future::pending();
        self.run_until(&mut never).await.map(drop)
    }

    /// The same, or until this comes; whether everything was printed.
    pub(super) async fn run_until(
        &mut self,
        alarm: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<bool, Failure> {
        loop {
            let positions = self.leaders.iter_mut().map(|leader| &mut leader.positions);
            for positions in positions.chain([&mut self.homeless]) {
                let done = positions.extract_if(.., |position| position.is_done());
                self.finished.extend(done);
            }
            self.leaders.retain(|leader| !leader.positions.is_empty());
            let is_all = self.leaders.is_empty() && self.homeless.is_empty();
            if is_all || self.wanted == Some(0) {
                self.printer.flush()?;
                return Ok(true);
            }
            if !self.homeless.is_empty() && clock::has_come(self.retry_at) {
                self.find_leaders().await?;
            }
            self.ask()?;
            match self.event(alarm).await {
                Event::Retry => {}
                Event::Alarm => return Ok(false),
                Event::Answer(index, Ok(answer)) => self.take(index, answer)?,
                Event::Answer(index, Err(error)) => {
                    let leader = self.leaders.swap_remove(index);
                    self.homeless.extend(leader.positions);
                    self.troubled(error)?;
                }
            }
        }
    }

    /// Brings partitions to those who lead them now.
    async fn find_leaders(&mut self) -> Result<(), Failure> {
        let found = self.try_find_leaders().await;
        if let Some((partition, until)) = &self.gone
            && clock::has_come(*until)
        {
            let code = ErrorCode::UnknownTopicOrPartition.code();
            return Err(refused(&escaped(&partition.to_string()), code, None));
        }
        found.or_else(|error| self.troubled(error))
    }

    /// Notes a partition that nobody knows any more, though the broker tells of its topic: it was deleted.
    fn note_gone(&mut self, topics: &[MetadataResponseTopic], known: &Leaders) {
        let is_told = |topic: &str| {
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            let mut topics = topics.iter();
            topics.any(|told| {
                told.name.as_deref() == Some(topic) && [0, unknown].contains(&told.error_code)
            })
        };
        let mut sought = self.homeless.iter().map(|position| &position.partition);
        let gone = sought.find(|one| !known.contains_key(*one) && is_told(&one.topic));
        self.gone = match (gone, self.gone.take()) {
            (Some(gone), Some((noted, until))) if *gone == noted => Some((noted, until)),
            (Some(gone), _) => Some((gone.clone(), clock::deadline(self.client.wait()))),
            (None, _) => None,
        };
    }

    async fn try_find_leaders(&mut self) -> Result<(), ClientError> {
        let mut names: Vec<String> = self
            .homeless
            .iter()
            .map(|one| one.partition.topic.to_string())
            .collect();
        names.sort();
        names.dedup();
        let answer = self.client.metadata(Some(&names), false).await?;
        let known = leaders(&answer.topics);
        self.note_gone(&answer.topics, &known);
        self.find_the_lost(&known).await?;
        let mut trouble = None;
        let mut by_node: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
        for position in std::mem::take(&mut self.homeless) {
            let node = known.get(&position.partition).copied();
            match node.filter(|node| *node >= 0 && !position.is_lost) {
                Some(node) => by_node.entry(node).or_default().push(position),
                None => {
                    let code = match known.contains_key(&position.partition) {
                        true => ErrorCode::LeaderNotAvailable,
                        false => ErrorCode::UnknownTopicOrPartition,
                    };
                    trouble = Some(ClientError::Refused {
                        what: position.partition.to_string(),
                        code: code.code(),
                        detail: None,
                    });
                    self.homeless.push(position);
                }
            }
        }
        for (node, positions) in by_node {
            if let Some(leader) = self.leaders.iter_mut().find(|leader| leader.node == node) {
                leader.positions.extend(positions);
                continue;
            }
            match self.connect(node).await {
                Ok((connection, version)) => self.leaders.push(Leader {
                    node,
                    connection,
                    version,
                    positions,
                    due: None,
                }),
                Err(error) => {
                    self.homeless.extend(positions);
                    trouble = Some(error);
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn connect(&self, node: i32) -> Result<(Connection, i16), ClientError> {
        let connection = self.client.open(node).await?;
        let version = connection.version::<FetchRequest>(NEWEST_BY_NAME)?;
        Ok((connection, version))
    }

    /// Partitions whose next offset is gone go on where they begin now, or at their end.
    async fn find_the_lost(&mut self, known: &Leaders) -> Result<(), ClientError> {
        let mut lost = known.clone();
        lost.retain(|partition, _| {
            let is_it = |one: &&Position| one.is_lost && one.partition == *partition;
            self.homeless.iter().any(|one| is_it(&one))
        });
        if lost.is_empty() {
            return Ok(());
        }
        let starts = offsets(&mut self.client, &lost, START).await?;
        let ends = offsets(&mut self.client, &lost, END).await?;
        for position in self.homeless.iter_mut().filter(|one| one.is_lost) {
            let start = starts.get(&position.partition);
            let end = ends.get(&position.partition);
            let (Some(Ok(start)), Some(Ok(end))) = (start, end) else {
                continue;
            };
            let next = position.next.clamp(*start, (*end).max(*start));
            let partition = escaped(&position.partition.to_string());
            say(&format!(
                "tidewheel: {partition}: offset {} is not there any more: going on at {next}",
                position.next
            ));
            position.next = next;
            position.is_lost = false;
            if self.at_end {
                position.end_by(*end);
            }
        }
        Ok(())
    }

    /// Another attempt may help: tells so once, and ends where there were too many and this has an end.
    fn troubled(&mut self, error: ClientError) -> Result<(), Failure> {
        if !may_be_repeated(&error) {
            return Err(error.into());
        }
        match self.trouble {
            None => {
                let sentence = escaped(&error.to_string());
                say(&format!("tidewheel: {sentence}: trying again"));
                self.trouble = Some(clock::deadline(self.client.wait()));
            }
            Some(patience) if self.is_bounded && clock::has_come(patience) => {
                return Err(error.into());
            }
            Some(_) => {}
        }
        self.retry_at = clock::deadline(self.pause);
        self.pause = (self.pause * 2).min(PAUSES[1]);
        Ok(())
    }

    /// Sends the next request to every leader that has answered the last one.
    fn ask(&mut self) -> Result<(), Failure> {
        let wait = self.client.wait() + WAIT;
        for leader in self
            .leaders
            .iter_mut()
            .filter(|leader| leader.due.is_none())
        {
            let request = request(&leader.positions);
            // Each has its turn to be first: an answer may be full before its last partition.
            leader.positions.rotate_left(1);
            leader.due = Some(clock::deadline(wait));
            match leader.connection.send(leader.version, &request) {
                // A socket that failed shows when the answer is waited for.
                Ok(_) | Err(ClientError::Io { .. } | ClientError::Closed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn event(&mut self, alarm: &mut (impl Future<Output = ()> + Unpin)) -> Event {
        let leaders = &mut self.leaders;
        let late = leaders.iter().enumerate();
        let late = late
            .filter_map(|(index, leader)| Some((leader.due?, index)))
            .min();
        let retry_at = (!self.homeless.is_empty()).then_some(self.retry_at);
        let due = late.map(|(due, _)| due).into_iter().chain(retry_at).min();
        let answer = poll_fn(|context| {
            for (index, leader) in leaders.iter_mut().enumerate() {
                if let Poll::Ready(frame) = leader.connection.poll_next(context) {
                    return Poll::Ready((index, frame));
                }
            }
            Poll::Pending
        });
        // A connection keeps what it has read when the wait is dropped.
        let (index, frame) = tokio::select! {
            // Who wants a pause need not wait for a busy leader to have one. What is there is not late, however long the
            // last answer took to be printed.
            biased;
            () = alarm => return Event::Alarm,
            answered = answer => answered,
            () = sleep_until(due.unwrap_or(self.retry_at)), if due.is_some() => {
                return match late {
                    Some((due, index)) if clock::has_come(due) => {
                        let late = self.leaders.get(index).map(|leader| leader.connection.address());
                        Event::Answer(index, Err(ClientError::TimedOut {
                            address: late.unwrap_or_default().to_owned(),
                            after: self.client.wait(),
                        }))
                    }
                    _ => Event::Retry,
                };
            }
        };
        let answer = match (frame, self.leaders.get_mut(index)) {
            (Ok(frame), Some(leader)) => {
                leader.due = None;
                leader.connection.decode(frame, leader.version)
            }
            (Err(error), _) => Err(error),
            (Ok(_), None) => return Event::Retry,
        };
        Event::Answer(index, answer)
    }

    /// Prints what a leader has sent.
    fn take(&mut self, index: usize, answer: FetchResponse<Bytes>) -> Result<(), Failure> {
        if answer.error_code != 0 {
            let leader = self.leaders.swap_remove(index);
            let what = format!("fetching from {}", leader.connection.address());
            self.homeless.extend(leader.positions);
            return self.refused(what, answer.error_code);
        }
        let partitions = || answer.responses.iter().flat_map(|topic| &topic.partitions);
        let has_records =
            |data: &PartitionData<Bytes>| data.records.as_ref().is_some_and(|one| !one.is_empty());
        let is_empty = !partitions().any(has_records);
        if self.homeless.is_empty() {
            (self.trouble, self.pause) = (None, PAUSES[0]);
        }
        let mut has_moved = is_empty;
        for topic in &answer.responses {
            for data in &topic.partitions {
                has_moved |= self.take_partition(index, &topic.topic, data, is_empty)?;
            }
        }
        self.printer.flush()?;
        if let Some(reading) = &self.reading {
            reading.reach(self.positions(), self.wanted);
        }
        match (has_moved, self.leaders.get(index)) {
            (false, Some(leader)) => Err(in_vain(leader.connection.address()).into()),
            _ => Ok(()),
        }
    }

    /// The same of one partition; whether that changes what is asked for next.
    fn take_partition(
        &mut self,
        index: usize,
        topic: &str,
        data: &PartitionData<Bytes>,
        is_empty: bool,
    ) -> Result<bool, Failure> {
        let Some(leader) = self.leaders.get_mut(index) else {
            return Ok(false);
        };
        let found = leader.positions.iter().position(|one| {
            *one.partition.topic == *topic && one.partition.partition == data.partition_index
        });
        let Some(found) = found else {
            return Ok(false);
        };
        if data.error_code == 0 {
            let position = &mut leader.positions[found];
            let (before, waits) = (position.next, (is_empty, self.client.wait()));
            read(position, data, waits, &mut self.printer, &mut self.wanted)?;
            return Ok(position.next > before || self.wanted == Some(0));
        }
        let mut position = leader.positions.swap_remove(found);
        let what = position.partition.to_string();
        position.is_lost = data.error_code == ErrorCode::OffsetOutOfRange.code();
        let is_lost = position.is_lost;
        self.homeless.push(position);
        match is_lost {
            true => self.retry_at = clock::deadline(Duration::ZERO),
            false => self.refused(what, data.error_code)?,
        }
        Ok(true)
    }

    /// An error of a broker, after which another attempt may help or not.
    fn refused(&mut self, what: String, code: i16) -> Result<(), Failure> {
        match ErrorCode::from_code(code) {
            Some(known) if known.is_retriable() => self.troubled(ClientError::Refused {
                what,
                code,
                detail: None,
            }),
            _ => Err(refused(&escaped(&what), code, None)),
        }
    }
}

/// What comes lies before what was asked for, or is cut: it would come again and again.
fn in_vain(address: &str) -> ClientError {
    ClientError::Malformed {
        address: address.to_owned(),
        what: "none of the records that were asked for".to_owned(),
    }
}

fn request(positions: &[Position]) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for position in positions {
        let asked = FetchPartition {
            partition: position.partition.partition,
            fetch_offset: position.next,
            partition_max_bytes: limits::COMMAND_FETCH_PARTITION_BYTES,
            ..FetchPartition::default()
        };
        // Neighbours of one topic go together, and the order stays.
        match topics.last_mut() {
            Some(last) if *last.topic == *position.partition.topic => last.partitions.push(asked),
            _ => topics.push(FetchTopic {
                topic: StrBytes::from(&*position.partition.topic),
                partitions: vec![asked],
                ..FetchTopic::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(WAIT.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: limits::COMMAND_FETCH_BYTES,
        topics,
        ..FetchRequest::default()
    }
}
