//! What a fetch asks for, looked up: the partitions of its request, or of its session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchableTopicResponse, PartitionData,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};
use tidewheel_storage::RecordSlice;

use crate::api::{Context, weight};
use crate::fetch_sessions::{SessionPartition, SessionTopic, Turn};
use crate::partition::Partition;
use crate::topics::{Topic, TopicsSnapshot};

const READ_COMMITTED: i8 = 1;

/// One partition of the fetch, looked up.
pub(super) struct Asked {
    pub(super) partition: Result<Arc<Partition>, ErrorCode>,
    pub(super) fetch: FetchPartition,
    /// Where it stands in its session; 0 without one.
    pub(super) place: u64,
}

impl Asked {
    /// There is no such partition. As in Kafka, these are answered last, and are no reason to answer.
    pub(super) fn is_missing(&self) -> bool {
        matches!(
            self.partition,
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
        )
    }
}

pub(super) struct AskedTopic {
    /// As the client named it.
    pub(super) name: StrBytes,
    pub(super) topic_id: Uuid,
    /// Its name where the client named a topic that exists by its id.
    found_name: Option<Arc<str>>,
    pub(super) partitions: Vec<Asked>,
}

impl AskedTopic {
    fn is(&self, name: &StrBytes, id: Uuid) -> bool {
        self.topic_id == id && self.name == *name
    }
}

/// What a fetch asks for as a whole.
pub(super) struct Plan {
    pub(super) topics: Vec<AskedTopic>,
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
    pub(super) read_committed: bool,
    /// The epoch under which this broker leads.
    pub(super) leader_epoch: i32,
    /// Of the request.
    pub(super) version: i16,
    /// Whether that version names topics by their ids.
    by_id: bool,
    /// The session that it goes on with. It goes on when all copies of its partitions are gone.
    pub(super) turn: Option<Turn>,
}

impl Plan {
    /// Of all partitions of the session where the request goes on with one, else of those of the request.
    pub(super) fn new(context: &Context, request: &FetchRequest, turn: Option<Turn>) -> Self {
        let all = context.broker.topics();
        let by_id = context.version >= 13;
        let topics = match &turn {
            Some(turn) => of_session(&all, turn, by_id),
            None => of_request(&all, request, by_id),
        };
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
        let bytes_max = bytes_max.min(context.broker.config().fetch_max_bytes as usize);
        Self {
            topics,
            // More than may be answered is never waited for.
            bytes_min: usize::try_from(request.min_bytes)
                .unwrap_or(0)
                .min(bytes_max),
            bytes_max,
            read_committed: request.isolation_level == READ_COMMITTED,
            leader_epoch: context.broker.leader_epoch(),
            version: context.version,
            by_id,
            turn,
        }
    }

    /// What it and its answer take, estimated: less than its request where that names partitions twice.
    pub(super) fn weight(&self) -> usize {
        let topics = self.topics.iter();
        topics
            .map(|topic| weight::fetched_topic(&topic.name, topic.partitions.len()))
            .sum()
    }

    /// Counts what its partitions answer, which stands in their order.
    pub(super) fn count(&self, answers: &[FetchableTopicResponse<RecordSlice>]) {
        let answers = answers.iter().flat_map(|topic| &topic.partitions);
        for (asked, answer) in self.asked().zip(answers) {
            let Ok(partition) = &asked.partition else {
                continue;
            };
            let bytes = answer.records.as_ref().map_or(0, RecordSlice::len);
            partition.traffic().fetched(bytes);
            if answer.error_code != 0 {
                partition.traffic().fetch_failed(answer.error_code);
            }
        }
    }

    /// The partitions, in the order in which they are answered.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Asked> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// What a new session remembers after this answer, of which `told` are the partitions. `None` where it
    /// names what cannot exist.
    pub(super) fn remembered<'a>(
        &self,
        told: impl Iterator<Item = &'a PartitionData<RecordSlice>>,
    ) -> Option<Vec<SessionPartition>> {
        let mut told = told;
        let mut all = Vec::new();
        for asked in &self.topics {
            let name = match self.by_id {
                true => asked.found_name.as_deref(),
                false => Some(asked.name.as_str()),
            };
            let topic = SessionTopic::new(name, asked.topic_id)?;
            for (asked, told) in asked.partitions.iter().zip(&mut told) {
                all.push(SessionPartition {
                    topic: Arc::clone(&topic),
                    fetch: asked.fetch.clone(),
                    high_watermark: told.high_watermark,
                    log_start_offset: told.log_start_offset,
                });
            }
        }
        Some(all)
    }
}

/// Puts partitions in Kafka's order of answers: first those there are, then those of unknown ids, then
/// the other missing ones; those of a topic that follow each other stand together.
#[derive(Default)]
struct Order {
    lists: [Vec<AskedTopic>; 3],
}

/// Where a partition stands: in which list, under which of its topics, as which of its partitions.
struct Standing(usize, usize, usize);

impl Order {
    fn push(&mut self, name: &StrBytes, topic: &Named<'_>, asked: Asked) -> Standing {
        let rank = match asked.partition {
            Err(ErrorCode::UnknownTopicId) => 1,
            _ if asked.is_missing() => 2,
            _ => 0,
        };
        let list = &mut self.lists[rank];
        match list.last_mut() {
            Some(last) if last.is(name, topic.id) => {
                last.partitions.push(asked);
            }
            _ => list.push(AskedTopic {
                name: name.clone(),
                topic_id: topic.id,
                found_name: topic.found_name(),
                partitions: vec![asked],
            }),
        }
        let topic = list.len() - 1;
        Standing(rank, topic, list[topic].partitions.len() - 1)
    }

    fn at(&mut self, &Standing(rank, topic, partition): &Standing) -> &mut Asked {
        &mut self.lists[rank][topic].partitions[partition]
    }

    fn all(self) -> Vec<AskedTopic> {
        let [mut all, unknown, missing] = self.lists;
        for mut topic in unknown.into_iter().chain(missing) {
            match all.last_mut() {
                Some(last) if last.is(&topic.name, topic.topic_id) => {
                    last.partitions.append(&mut topic.partitions);
                }
                _ => all.push(topic),
            }
        }
        all
    }
}

/// A topic as it is named, and what bears the name.
struct Named<'a> {
    id: Uuid,
    found: Found<'a>,
}

enum Found<'a> {
    Topic(&'a Arc<Topic>),
    /// It had another id when the session met it.
    Replaced(&'a Arc<Topic>),
    Nothing(ErrorCode),
}

impl<'a> Named<'a> {
    fn by_name(topics: &'a TopicsSnapshot, name: &str) -> Self {
        let found = topics.named(name);
        Self {
            id: Uuid::ZERO,
            found: found.map_or(
                Found::Nothing(ErrorCode::UnknownTopicOrPartition),
                Found::Topic,
            ),
        }
    }

    /// `met` is the name of the topic that a session has found under the id before.
    fn by_id(topics: &'a TopicsSnapshot, id: Uuid, met: Option<&StrBytes>) -> Self {
        let found = match (topics.with_id(id), met) {
            (Some(topic), _) => Found::Topic(topic),
            (None, None) => Found::Nothing(ErrorCode::UnknownTopicId),
            (None, Some(name)) => topics.named(name).map_or(
                Found::Nothing(ErrorCode::UnknownTopicOrPartition),
                Found::Replaced,
            ),
        };
        Self { id, found }
    }

    fn partition(&self, number: i32) -> Result<Arc<Partition>, ErrorCode> {
        let (topic, replaced) = match self.found {
            Found::Topic(topic) => (topic, false),
            Found::Replaced(topic) => (topic, true),
            Found::Nothing(code) => return Err(code),
        };
        match topic.partition(number) {
            None => Err(ErrorCode::UnknownTopicOrPartition),
            Some(_) if replaced => Err(ErrorCode::InconsistentTopicId),
            Some(partition) => Ok(Arc::clone(partition)),
        }
    }

    fn found_name(&self) -> Option<Arc<str>> {
        match &self.found {
            Found::Topic(topic) if self.id != Uuid::ZERO => Some(Arc::clone(&topic.name)),
            _ => None,
        }
    }
}

/// A partition that stands twice is answered once, where it stands first and as it is asked for last: in
/// Kafka, partitions are a map's keys.
fn of_request(topics: &TopicsSnapshot, request: &FetchRequest, by_id: bool) -> Vec<AskedTopic> {
    let mut order = Order::default();
    let mut numbers = HashMap::new();
    let mut seen = HashMap::new();
    for wanted in &request.topics {
        let next = numbers.len();
        let named_as = (&wanted.topic, wanted.topic_id);
        let number = *numbers.entry(named_as).or_insert(next);
        let named = match by_id {
            true => Named::by_id(topics, wanted.topic_id, None),
            false => Named::by_name(topics, &wanted.topic),
        };
        seen.reserve(wanted.partitions.len());
        for fetch in &wanted.partitions {
            match seen.entry((number, fetch.partition)) {
                Entry::Occupied(standing) => order.at(standing.get()).fetch = fetch.clone(),
                Entry::Vacant(first) => {
                    let asked = Asked {
                        partition: named.partition(fetch.partition),
                        fetch: fetch.clone(),
                        place: 0,
                    };
                    first.insert(order.push(&wanted.topic, &named, asked));
                }
            }
        }
    }
    order.all()
}

fn of_session(topics: &TopicsSnapshot, turn: &Turn, by_id: bool) -> Vec<AskedTopic> {
    let mut order = Order::default();
    turn.each(|place, partition| {
        let topic = &partition.topic;
        let met = topic.name.get();
        let named = match (by_id, met) {
            (true, met) => Named::by_id(topics, topic.id, met),
            (false, Some(name)) => Named::by_name(topics, name),
            (false, None) => return,
        };
        if let Some(name) = named.found_name() {
            topic.name.get_or_init(|| StrBytes::from(&*name));
        }
        let asked = Asked {
            partition: named.partition(partition.fetch.partition),
            fetch: partition.fetch.clone(),
            place,
        };
        let name = match by_id {
            true => StrBytes::default(),
            false => met.cloned().unwrap_or_default(),
        };
        order.push(&name, &named, asked);
    });
    order.all()
}
