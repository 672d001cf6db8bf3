//! Topics, who leads their partitions, and offsets in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tidewheel_protocol::messages::metadata::MetadataResponseTopic;
use tidewheel_protocol::{ErrorCode, StrBytes, TopicPartition};

use super::client::{Client, ClientError, Patience, To, will_pass};
use super::place::Bounds;
use super::refused;
use super::table::escaped;
use crate::cli::outcome::Failure;

/// ListOffsets: the first offset.
pub(crate) const START: i64 = -2;
/// ListOffsets: after the last one that consumers see.
pub(crate) const END: i64 = -1;

/// Partitions and who leads each of them, -1 for nobody.
pub(crate) type Leaders = BTreeMap<TopicPartition, i32>;

/// An offset of each partition, or Kafka's code of what is the matter.
pub(crate) type Offsets = BTreeMap<TopicPartition, Result<i64, i16>>;

/// What a broker knows about topics; each of them is there. Where a leader of a partition that is needed is just being
/// chosen, it is waited for.
///
/// # Errors
/// Where a topic is not there, or nobody answers.
pub(crate) async fn topics(
    client: &mut Client,
    names: &[String],
    create: bool,
    is_needed: impl Fn(i32) -> bool,
) -> Result<Vec<MetadataResponseTopic>, Failure> {
    let mut patience = Patience::new(client.wait());
    loop {
        let answer = client.metadata(Some(names), create).await?;
        let codes = answer.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            let needed = partitions.filter(|one| is_needed(one.partition_index));
            std::iter::once(topic.error_code).chain(needed.map(|one| one.error_code))
        });
        let mut codes = codes.filter_map(ErrorCode::from_code);
        // A topic that is being made may be known to nobody for a moment.
        let is_made = |code| create && code == ErrorCode::UnknownTopicOrPartition;
        let waits = codes.any(|code| will_pass(code) || is_made(code));
        if waits && patience.pause().await {
            continue;
        }
        for topic in &answer.topics {
            if topic.error_code != 0 {
                return Err(refused(
                    &format!("topic {}", name_of(topic)),
                    topic.error_code,
                    None,
                ));
            }
        }
        let is_told = |name: &&String| {
            let mut told = answer.topics.iter();
            told.any(|topic| topic.name.as_deref() == Some(name.as_str()))
        };
        if let Some(name) = names.iter().find(|name| !is_told(name)) {
            let code = ErrorCode::UnknownTopicOrPartition.code();
            return Err(refused(&format!("topic {}", escaped(name)), code, None));
        }
        return Ok(answer.topics);
    }
}

/// A topic's name as it may be printed.
pub(crate) fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_deref().map(escaped).unwrap_or_default()
}

/// Who leads the partitions of topics.
pub(crate) fn leaders(topics: &[MetadataResponseTopic]) -> Leaders {
    let mut leaders = Leaders::new();
    for topic in topics {
        let name: Arc<str> = Arc::from(topic.name.as_deref().unwrap_or_default());
        leaders.extend(topic.partitions.iter().map(|partition| {
            let partition_of = TopicPartition {
                topic: Arc::clone(&name),
                partition: partition.partition_index,
            };
            (partition_of, partition.leader_id)
        }));
    }
    leaders
}

/// Those partitions of one topic that have these numbers; all of them where none is given.
///
/// # Errors
/// Where there is no such partition.
pub(crate) fn only(leaders: Leaders, numbers: &[i32]) -> Result<Leaders, Failure> {
    if numbers.is_empty() {
        return Ok(leaders);
    }
    let topics: Vec<Arc<str>> = leaders.keys().map(|one| Arc::clone(&one.topic)).collect();
    for &partition in numbers {
        for topic in &topics {
            must_be_there(&leaders, topic, partition)?;
        }
    }
    let mut leaders = leaders;
    leaders.retain(|one, _| numbers.contains(&one.partition));
    Ok(leaders)
}

/// Whether a partition is one of these.
///
/// # Errors
/// Where it is not.
pub(crate) fn must_be_there(
    leaders: &Leaders,
    topic: &Arc<str>,
    partition: i32,
) -> Result<(), Failure> {
    let wanted = TopicPartition {
        topic: Arc::clone(topic),
        partition,
    };
    if leaders.contains_key(&wanted) {
        return Ok(());
    }
    let code = ErrorCode::UnknownTopicOrPartition.code();
    Err(refused(&escaped(&wanted.to_string()), code, None))
}

/// One offset of each partition: the first one, the end, or the first record that is not older than a time, where -1
/// says that there is none.
///
/// # Errors
/// Where a leader does not answer.
pub(crate) async fn offsets(
    client: &mut Client,
    leaders: &Leaders,
    timestamp: i64,
) -> Result<Offsets, ClientError> {
    let mut by_node: BTreeMap<i32, Vec<&TopicPartition>> = BTreeMap::new();
    let mut found = Offsets::new();
    for (partition, &leader) in leaders {
        match client.brokers().contains_key(&leader) {
            true => by_node.entry(leader).or_default().push(partition),
            false => {
                let code = ErrorCode::LeaderNotAvailable.code();
                found.insert(partition.clone(), Err(code));
            }
        }
    }
    for (node, partitions) in by_node {
        let request = request(&partitions, timestamp);
        let answer: ListOffsetsResponse = client.call(To::Node(node), i16::MAX, &request).await?;
        for topic in answer.topics {
            let name: Arc<str> = Arc::from(&*topic.name);
            found.extend(topic.partitions.into_iter().map(|one| {
                let partition = TopicPartition {
                    topic: Arc::clone(&name),
                    partition: one.partition_index,
                };
                let offset = match one.error_code {
                    0 => Ok(one.offset),
                    code => Err(code),
                };
                (partition, offset)
            }));
        }
    }
    Ok(found)
}

/// The same where each partition must have one. Leaders that have moved since are looked for again.
///
/// # Errors
/// Also where one partition has none.
async fn all_offsets(
    client: &mut Client,
    leaders: &Leaders,
    timestamp: i64,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let mut patience = Patience::new(client.wait());
    let (mut all, mut left) = (BTreeMap::new(), leaders.clone());
    loop {
        let found = offsets(client, &left, timestamp).await?;
        let mut trouble = None;
        left.retain(|partition, _| {
            let unknown = Err(ErrorCode::UnknownServerError.code());
            match found.get(partition).copied().unwrap_or(unknown) {
                Ok(offset) => {
                    all.insert(partition.clone(), offset);
                    false
                }
                Err(code) => {
                    if trouble.is_none() || !has_moved(code) {
                        trouble = Some((partition.clone(), code));
                    }
                    true
                }
            }
        });
        let Some((partition, code)) = trouble else {
            return Ok(all);
        };
        if !has_moved(code) || !patience.pause().await {
            return Err(refused(&escaped(&partition.to_string()), code, None));
        }
        look_again(client, &mut left).await?;
    }
}

/// Where each partition begins and ends, and for each of the times where its first record stands that is not older.
///
/// # Errors
/// As of [`all_offsets`].
pub(crate) async fn all_bounds<const N: usize>(
    client: &mut Client,
    leaders: &Leaders,
    times: [Option<i64>; N],
) -> Result<BTreeMap<TopicPartition, [Bounds; N]>, Failure> {
    let starts = all_offsets(client, leaders, START).await?;
    let ends = all_offsets(client, leaders, END).await?;
    let mut by_time = [const { BTreeMap::new() }; N];
    for (found, time) in by_time.iter_mut().zip(times) {
        if let Some(time) = time {
            *found = all_offsets(client, leaders, time).await?;
        }
    }
    let bounds = starts.into_iter().map(|(partition, start)| {
        let end = ends.get(&partition).copied().unwrap_or(start).max(start);
        let of_each = by_time.each_ref().map(|found| Bounds {
            start,
            end,
            found: found.get(&partition).copied().unwrap_or(-1),
        });
        (partition, of_each)
    });
    Ok(bounds.collect())
}

/// Whether another broker can tell, or the same one soon.
fn has_moved(code: i16) -> bool {
    let code = ErrorCode::from_code(code);
    matches!(
        code,
        Some(ErrorCode::NotLeaderOrFollower | ErrorCode::OffsetNotAvailable)
    )
}

/// Finds out who leads partitions now.
async fn look_again(client: &mut Client, left: &mut Leaders) -> Result<(), ClientError> {
    let mut names: Vec<String> = left.keys().map(|one| one.topic.to_string()).collect();
    names.dedup();
    let answer = client.metadata(Some(&names), false).await?;
    for (partition, leader) in leaders(&answer.topics) {
        if let Some(known) = left.get_mut(&partition) {
            *known = leader;
        }
    }
    Ok(())
}

fn request(partitions: &[&TopicPartition], timestamp: i64) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for partition in partitions {
        let asked = ListOffsetsPartition {
            partition_index: partition.partition,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        topics.entry(&partition.topic).or_default().push(asked);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ListOffsetsTopic {
            name: StrBytes::from(name),
            partitions,
        });
    ListOffsetsRequest {
        replica_id: -1,
        topics: topics.collect(),
        ..ListOffsetsRequest::default()
    }
}
