//! Records are sent, and sent again where that may help: as an idempotent producer does it where all replicas must
//! have them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use tidewheel_protocol::{
    Compression, ErrorCode, Record, RecordBatchBuilder, StrBytes, TopicPartition, partition_of_key,
};

use super::{Acks, ProduceArguments};
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::kafka::client::{Client, ClientError, Patience, To, may_be_repeated};
use crate::cli::kafka::offsets::{leaders, only, topics};
use crate::cli::kafka::{refused, untold};
use crate::cli::outcome::{Failure, failed};
use crate::cli::table::escaped;

/// The newest version of Produce that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// How often the time of one answer records are tried to be delivered for: a broker that falls silent takes one, and
/// another one may lead by then. As with Java's client: 120 s beside 30 s.
const ANSWERS: u32 = 4;

/// Records of a partition that were produced together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) partition: i32,
    /// Of the first of them; nothing where they are delivered later, or nobody tells.
    pub(super) base_offset: Option<i64>,
    /// Their timestamps.
    pub(super) records: Vec<i64>,
}

/// An idempotent producer.
#[derive(Clone, Copy, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
}

/// Sends records to the partitions of a topic.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    topic: String,
    acks: Acks,
    codec: Compression,
    wait: Duration,
    wait_ms: i32,
    producer: Option<Producer>,
    /// The sequence number of the next record, by partition.
    sequences: BTreeMap<i32, i32>,
    /// Node ids, by partition.
    leaders: BTreeMap<i32, i32>,
    /// Where all records go.
    partition: Option<i32>,
    /// Whose turn it is among records without a key.
    turn: usize,
}

/// Batches that are not produced yet, by partition, each partition's in their order.
type Left = BTreeMap<i32, VecDeque<Vec<Record>>>;

/// What became of an attempt.
enum Attempt {
    /// Something was produced, or divided.
    Progress,
    /// Another attempt may help, else this is why it failed.
    Trouble(ClientError),
}

impl Sender {
    /// Connects and finds the topic.
    pub(super) async fn open(arguments: &ProduceArguments) -> Result<Self, Failure> {
        let mut client = arguments.cluster.connect().await?;
        let names = [arguments.topic.clone()];
        let is_needed = |partition| arguments.partition.is_none_or(|one| one == partition);
        let create = arguments.create_topic;
        let topics = topics(&mut client, &names, create, is_needed).await?;
        let leaders = leaders(&topics);
        if let Some(partition) = arguments.partition {
            only(leaders.clone(), &[partition])?;
        }
        let mut seed = [0; 4];
        // Any partition is a good one to begin with.
        let turn = match getrandom::fill(&mut seed) {
            Ok(()) => u32::from_ne_bytes(seed) as usize,
            Err(_) => 0,
        };
        let mut sender = Self {
            client,
            topic: arguments.topic.clone(),
            acks: arguments.acks,
            codec: arguments.compression.into(),
            wait: arguments.cluster.wait(),
            wait_ms: arguments.cluster.wait_ms(),
            producer: None,
            sequences: BTreeMap::new(),
            leaders: by_number(leaders),
            partition: arguments.partition,
            turn,
        };
        if sender.acks == Acks::All {
            sender.producer = sender.init_producer().await?;
        }
        Ok(sender)
    }

    /// The way to everything else that is to be asked.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Nothing where the broker knows no idempotent producers.
    async fn init_producer(&mut self) -> Result<Option<Producer>, Failure> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            // Without a transactional id it means nothing, but some look at it.
            transaction_timeout_ms: self.wait_ms,
            ..InitProducerIdRequest::default()
        };
        let answer = self.client.call(To::Any, i16::MAX, &request).await;
        let answer: InitProducerIdResponse = match answer {
            Err(ClientError::UnsupportedVersion { .. }) => return Ok(None),
            answer => answer?,
        };
        if answer.error_code != 0 {
            return Err(refused("a producer id", answer.error_code, None));
        }
        Ok(Some(Producer {
            id: answer.producer_id,
            epoch: answer.producer_epoch,
        }))
    }

    /// Sends records, and waits until they are as safe as was asked for. `sent` gets what was produced, also where
    /// others were not.
    pub(super) async fn send(
        &mut self,
        records: Vec<Record>,
        sent: &mut Vec<Sent>,
    ) -> Result<(), Failure> {
        let mut left = self.divided(records);
        let wait = self.wait * ANSWERS;
        let mut patience = Patience::new(wait);
        while !left.is_empty() {
            match self.attempt(&mut left, sent).await? {
                Attempt::Progress => patience = Patience::new(wait),
                Attempt::Trouble(error) => {
                    if !patience.pause().await {
                        return Err(error.into());
                    }
                    self.look_again().await;
                }
            }
        }
        Ok(())
    }

    /// Records by partition.
    fn divided(&mut self, records: Vec<Record>) -> Left {
        if records.is_empty() {
            return Left::new();
        }
        let count = self.leaders.len();
        let turn = self.turn.checked_rem(count).unwrap_or_default();
        self.turn = turn + 1;
        let mut divided: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for record in records {
            let chosen = match &record.key {
                Some(key) => partition_of_key(key, count),
                None => turn,
            };
            let chosen = i32::try_from(chosen).unwrap_or_default();
            let partition = self.partition.unwrap_or(chosen);
            divided.entry(partition).or_default().push(record);
        }
        let divided = divided.into_iter();
        divided
            .map(|(partition, records)| (partition, VecDeque::from([records])))
            .collect()
    }

    /// Sends the next batch of each partition to its leader.
    async fn attempt(&mut self, left: &mut Left, sent: &mut Vec<Sent>) -> Result<Attempt, Failure> {
        let mut by_node: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for &partition in left.keys() {
            let leader = self.leaders.get(&partition).copied().unwrap_or(-1);
            by_node.entry(leader).or_default().push(partition);
        }
        let mut trouble = None;
        let mut is_moving = false;
        for (node, partitions) in by_node {
            match self.attempt_at(node, &partitions, left, sent).await? {
                Attempt::Progress => is_moving = true,
                Attempt::Trouble(error) => trouble = Some(error),
            }
        }
        Ok(match trouble {
            // What had trouble is asked for again at once, and then alone.
            Some(error) if !is_moving => Attempt::Trouble(error),
            _ => Attempt::Progress,
        })
    }

    /// Sends the next batches of some partitions to their leader.
    async fn attempt_at(
        &mut self,
        node: i32,
        partitions: &[i32],
        left: &mut Left,
        sent: &mut Vec<Sent>,
    ) -> Result<Attempt, Failure> {
        let (to, request) = (To::Node(node), self.request(left, partitions)?);
        if self.acks == Acks::Nobody {
            let given = self.client.send_only(to, NEWEST_BY_NAME, &request).await;
            return Ok(match given {
                Ok(()) => {
                    let partitions = partitions.iter();
                    partitions.for_each(|&one| self.done(left, one, None, sent));
                    Attempt::Progress
                }
                Err(error) => Attempt::Trouble(passing(error)?),
            });
        }
        let answer = self.client.call_once(to, NEWEST_BY_NAME, &request).await;
        let answer: ProduceResponse = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(Attempt::Trouble(passing(error)?)),
        };
        let told = self.told(answer, partitions);
        if told.is_empty() {
            // Nobody knows what became of them, and whoever asks again would not hear of it either.
            let of = format!("records of topic {}", escaped(&self.topic));
            return Err(untold(&self.client, &of));
        }
        let (mut trouble, mut is_moving, mut refused) = (None, false, None);
        for result in told.into_values() {
            match self.take(left, result, sent) {
                Ok(None) => is_moving = true,
                Ok(Some(error)) => trouble = Some(error),
                // The others may be produced, which is to be told.
                Err(failure) => refused = refused.or(Some(failure)),
            }
        }
        if let Some(failure) = refused {
            return Err(failure);
        }
        Ok(match trouble {
            Some(error) if !is_moving => Attempt::Trouble(error),
            _ => Attempt::Progress,
        })
    }

    /// What an answer tells of the partitions that were asked for, of each once.
    fn told(
        &self,
        answer: ProduceResponse,
        partitions: &[i32],
    ) -> BTreeMap<i32, PartitionProduceResponse> {
        let topics = answer.responses.into_iter();
        let ours = topics.filter(|topic| *topic.name == *self.topic);
        let results = ours.flat_map(|topic| topic.partition_responses);
        let results = results.filter(|result| partitions.contains(&result.index));
        results.map(|result| (result.index, result)).collect()
    }

    fn request(&self, left: &Left, partitions: &[i32]) -> Result<ProduceRequest, Failure> {
        let mut partition_data = Vec::with_capacity(partitions.len());
        for &index in partitions {
            let records = left.get(&index).and_then(VecDeque::front);
            let mut batch = RecordBatchBuilder::new().compression(self.codec);
            if let Some(Producer { id, epoch }) = self.producer {
                let sequence = self.sequences.get(&index).copied().unwrap_or_default();
                batch = batch.producer(id, epoch, sequence);
            }
            for record in records.into_iter().flatten() {
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                let headers = record.headers.clone();
                batch = batch.record_with_headers(record.timestamp, key, value, headers);
            }
            let batch = batch.build().map_err(|error| {
                failed(&format!("cannot make a batch: {error}"), EXIT_ENVIRONMENT)
            })?;
            partition_data.push(PartitionProduceData {
                index,
                records: Some(batch.bytes),
            });
        }
        Ok(ProduceRequest {
            acks: self.acks.number(),
            timeout_ms: self.wait_ms,
            topic_data: vec![TopicProduceData {
                name: StrBytes::from(self.topic.as_str()),
                partition_data,
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        })
    }

    /// What became of a partition's batch; an error where another attempt may help.
    fn take(
        &mut self,
        left: &mut Left,
        result: PartitionProduceResponse,
        sent: &mut Vec<Sent>,
    ) -> Result<Option<ClientError>, Failure> {
        let partition = result.index;
        let code = ErrorCode::from_code(result.error_code);
        match code {
            Some(ErrorCode::None | ErrorCode::DuplicateSequenceNumber) => {
                self.done(left, partition, Some(&result), sent);
                return Ok(None);
            }
            Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge)
                if left.get_mut(&partition).is_some_and(halve) =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let of = TopicPartition {
            topic: self.topic.as_str().into(),
            partition,
        };
        // Of several records that are wrong, one tells enough.
        let detail = result.record_errors.into_iter().next();
        let detail = detail.and_then(|one| one.batch_index_error_message);
        let detail = detail.or(result.error_message);
        match code {
            Some(code) if code.is_retriable() => Ok(Some(ClientError::Refused {
                what: of.to_string(),
                code: code.code(),
                detail: detail.map(|text| text.to_string()),
            })),
            _ => Err(refused(
                &escaped(&of.to_string()),
                result.error_code,
                detail.as_ref(),
            )),
        }
    }

    /// The first batch of a partition is produced.
    fn done(
        &mut self,
        left: &mut Left,
        partition: i32,
        result: Option<&PartitionProduceResponse>,
        sent: &mut Vec<Sent>,
    ) {
        let Some(batches) = left.get_mut(&partition) else {
            return;
        };
        let records = batches.pop_front().unwrap_or_default();
        if batches.is_empty() {
            left.remove(&partition);
        }
        let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        let sequence = self.sequences.entry(partition).or_default();
        // After 2^31 - 1 comes 0.
        *sequence = sequence.wrapping_add(count) & i32::MAX;
        let base_offset = result.map(|result| result.base_offset);
        let appended = result.map(|result| result.log_append_time_ms);
        let appended = appended.filter(|time| *time >= 0);
        let times = records.iter().map(|record| record.timestamp);
        sent.push(Sent {
            partition,
            base_offset: base_offset.filter(|offset| *offset >= 0),
            records: times.map(|time| appended.unwrap_or(time)).collect(),
        });
    }

    /// Leaders may have moved. Who does not answer now is asked again in the next attempt.
    async fn look_again(&mut self) {
        let names = [self.topic.clone()];
        let Ok(answer) = self.client.metadata(Some(&names), false).await else {
            return;
        };
        let found = by_number(leaders(&answer.topics));
        for (partition, leader) in found {
            // Keys stay with their partitions while this runs, so new partitions are left out.
            if let Some(known) = self.leaders.get_mut(&partition) {
                *known = leader;
            }
        }
    }
}

/// An error after which another attempt makes sense.
fn passing(error: ClientError) -> Result<ClientError, Failure> {
    match may_be_repeated(&error) {
        true => Ok(error),
        false => Err(error.into()),
    }
}

/// Divides the first batch; false where it has one record.
fn halve(batches: &mut VecDeque<Vec<Record>>) -> bool {
    let Some(first) = batches.front_mut().filter(|first| first.len() > 1) else {
        return false;
    };
    let second = first.split_off(first.len() / 2);
    batches.insert(1, second);
    true
}

fn by_number(leaders: BTreeMap<TopicPartition, i32>) -> BTreeMap<i32, i32> {
    let leaders = leaders.into_iter();
    leaders
        .map(|(partition, leader)| (partition.partition, leader))
        .collect()
}
