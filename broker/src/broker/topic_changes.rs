//! What changes the metadata: topics are made, grow and are deleted, producer ids are reserved. One change runs at a
//! time ([`crate::change_queue`]), and once it runs it is carried out, whoever asked for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidewheel_config::limits;
use tidewheel_protocol::{TopicPartition, Uuid};
use tidewheel_storage::LivePartition;
use tracing::{info, warn};

use super::load::{by_partition, partitions};
use super::{Broker, BrokerError};
use crate::metadata::{MetadataError, MetadataStore};
use crate::new_partitions::{GrownTopic, NewPartitions};
use crate::new_topic::{
    CreatedTopic, NewTopic, ValidTopic, refuse_beyond, refuse_collisions, refuse_surplus,
};
use crate::partition::PartitionLog;
use crate::topics::{Topic, TopicsSnapshot, is_internal};

/// Producer ids reserved at a time: one write to the metadata log for so many producers.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// A topic as a request names it.
#[derive(Clone, Debug)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

/// Creates what is valid among `topics`, within `wait`.
pub(crate) async fn create_topics(
    broker: &Arc<Broker>,
    topics: Vec<NewTopic>,
    validate_only: bool,
    wait: Duration,
) -> Vec<Result<CreatedTopic, BrokerError>> {
    let (count, changed) = (topics.len(), Arc::clone(broker));
    let work = move |metadata: &mut _| changed.create(topics, validate_only, metadata);
    let done = broker.changes.run(wait, work).await;
    done.unwrap_or_else(|error| for_all(count, error))
}

/// Creates those of `topics` that are not there.
///
/// # Errors
/// Where one of them cannot be made.
pub(crate) async fn create_missing(
    broker: &Arc<Broker>,
    topics: Vec<NewTopic>,
) -> Result<(), BrokerError> {
    for made in create_topics(broker, topics, false, limits::METADATA_CHANGE_WAIT).await {
        match made {
            // Somebody else may have been first.
            Ok(_) | Err(BrokerError::TopicExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives more partitions to those of `topics` for which that is valid, within `wait`.
pub(crate) async fn create_partitions(
    broker: &Arc<Broker>,
    topics: Vec<NewPartitions>,
    validate_only: bool,
    wait: Duration,
) -> Vec<Result<(), BrokerError>> {
    let (count, changed) = (topics.len(), Arc::clone(broker));
    let work = move |metadata: &mut _| changed.grow(topics, validate_only, metadata);
    let done = broker.changes.run(wait, work).await;
    done.unwrap_or_else(|error| for_all(count, error))
}

/// Deletes what is there of `topics`, within `wait`.
pub(crate) async fn delete_topics(
    broker: &Arc<Broker>,
    topics: Vec<TopicRef>,
    validate_only: bool,
    wait: Duration,
) -> Vec<Result<(Arc<str>, Uuid), BrokerError>> {
    let (count, changed) = (topics.len(), Arc::clone(broker));
    let work = move |metadata: &mut _| changed.delete(topics, validate_only, metadata);
    let done = broker.changes.run(wait, work).await;
    done.unwrap_or_else(|error| for_all(count, error))
}

/// A producer id that was never given out before, over all restarts.
pub(crate) async fn next_producer_id(broker: &Arc<Broker>) -> Result<i64, BrokerError> {
    if let Some(id) = broker.reserved_producer_id() {
        return Ok(id);
    }
    let changed = Arc::clone(broker);
    let work = move |metadata: &mut _| changed.take_producer_id(metadata);
    broker
        .changes
        .run(limits::METADATA_CHANGE_WAIT, work)
        .await?
}

/// The same failure for each of `count` that were to be changed together.
pub(super) fn for_all<T>(count: usize, error: BrokerError) -> Vec<Result<T, BrokerError>> {
    let error = Arc::new(error);
    (0..count)
        .map(|_| Err(BrokerError::Together(Arc::clone(&error))))
        .collect()
}

/// What is told of each: all that were valid were written together, so all failed together.
pub(super) fn all_or_none<T>(
    checked: Vec<Result<T, BrokerError>>,
    made: Result<(), BrokerError>,
) -> Vec<Result<T, BrokerError>> {
    let Err(error) = made else { return checked };
    let error = Arc::new(error);
    let failed = |_| Err(BrokerError::Together(Arc::clone(&error)));
    checked
        .into_iter()
        .map(|one| one.and_then(failed))
        .collect()
}

impl Broker {
    /// Creates what is valid among `wanted`; blocks on the disk.
    fn create(
        &self,
        wanted: Vec<NewTopic>,
        validate_only: bool,
        metadata: &mut MetadataStore,
    ) -> Vec<Result<CreatedTopic, BrokerError>> {
        let (config, existing) = (self.topic_defaults(), self.topics());
        let mut checked: Vec<Result<ValidTopic, BrokerError>> = wanted
            .into_iter()
            .map(|topic| topic.validate(&config, &existing))
            .collect();
        refuse_collisions(&mut checked);
        refuse_surplus(&mut checked, |topic| topic.partitions);
        // Without its own topics the broker could not serve the partitions that are there.
        let counted = |topic: &ValidTopic| match is_internal(&topic.name) {
            true => 0,
            false => topic.partitions,
        };
        let present = existing.partition_count();
        refuse_beyond(&mut checked, present, self.partition_budget, counted);
        let valid: Vec<&ValidTopic> = checked
            .iter()
            .filter_map(|topic| topic.as_ref().ok())
            .collect();
        let made = match validate_only || valid.is_empty() {
            true => Ok(()),
            false => self.create_valid(metadata, &valid),
        };
        let results = all_or_none(checked, made).into_iter();
        results
            .map(|topic| Ok(topic?.created(validate_only)))
            .collect()
    }

    /// The metadata record is what makes the topics exist; their directories come with their first data.
    fn create_valid(
        &self,
        metadata: &mut MetadataStore,
        topics: &[&ValidTopic],
    ) -> Result<(), BrokerError> {
        let now_ms = self.clock.now_ms();
        let live = topics
            .iter()
            .flat_map(|topic| topic.live_partitions())
            .collect();
        let records = topics.iter().map(|topic| topic.record()).collect();
        let record = || metadata.topics_created(records, now_ms);
        let mut logs = self.make_logs(live, now_ms, record)?;
        let created = topics.iter().map(|topic| {
            let traffic = self.metrics.traffic().of(&topic.name);
            let partitions = partitions(&topic.name, 0..topic.partitions, &mut logs, &traffic)?;
            Ok(Arc::new(Topic {
                name: Arc::clone(&topic.name),
                id: topic.id,
                configs: topic.configs.clone(),
                partitions,
            }))
        });
        self.put_topics(created.collect::<Result<_, BrokerError>>()?);
        for topic in topics {
            info!(topic = %topic.name, partitions = topic.partitions, "created");
        }
        Ok(())
    }

    /// Gives more partitions to what is valid among `wanted`; blocks on the disk.
    fn grow(
        &self,
        wanted: Vec<NewPartitions>,
        validate_only: bool,
        metadata: &mut MetadataStore,
    ) -> Vec<Result<(), BrokerError>> {
        let (config, topics) = (self.topic_defaults(), self.topics());
        let mut checked: Vec<Result<GrownTopic, BrokerError>> = wanted
            .into_iter()
            .map(|wanted| wanted.validate(&config, &topics))
            .collect();
        let added = |grown: &GrownTopic| grown.count - grown.added().start;
        refuse_surplus(&mut checked, added);
        let present = topics.partition_count();
        refuse_beyond(&mut checked, present, self.partition_budget, added);
        let valid: Vec<&GrownTopic> = checked.iter().flatten().collect();
        let made = match validate_only || valid.is_empty() {
            true => Ok(()),
            false => self.grow_valid(metadata, &valid),
        };
        let results = all_or_none(checked, made).into_iter();
        results.map(|result| result.map(|_| ())).collect()
    }

    fn grow_valid(
        &self,
        metadata: &mut MetadataStore,
        grown: &[&GrownTopic],
    ) -> Result<(), BrokerError> {
        let now_ms = self.clock.now_ms();
        let live = grown.iter().flat_map(|grown| grown.live_partitions());
        let records = grown.iter().map(|grown| (&*grown.topic, grown.count));
        let record = || metadata.partitions_created(records, now_ms);
        let mut logs = self.make_logs(live.collect(), now_ms, record)?;
        let topics = grown.iter().map(|grown| {
            let mut topic = Topic::clone(&grown.topic);
            // All partitions of a topic are counted in one place, also where that is for others too.
            let traffic = match topic.partitions.first() {
                Some(first) => Arc::clone(first.traffic()),
                None => self.metrics.traffic().of(&topic.name),
            };
            let added = partitions(&topic.name, grown.added(), &mut logs, &traffic)?;
            topic.partitions.extend(added);
            Ok(Arc::new(topic))
        });
        self.put_topics(topics.collect::<Result<_, BrokerError>>()?);
        for grown in grown {
            info!(topic = %grown.topic.name, partitions = grown.count, "partitions added");
        }
        Ok(())
    }

    /// Whether so many partitions more can be served, of new topics and of others together.
    ///
    /// # Errors
    /// Where they cannot.
    pub(crate) fn check_room(&self, added: i32) -> Result<(), BrokerError> {
        let mut all: [Result<i32, BrokerError>; 1] = [Ok(added)];
        let present = self.topics().partition_count();
        refuse_beyond(&mut all, present, self.partition_budget, |added| *added);
        let [all] = all;
        all.map(|_| ())
    }

    /// Adds topics, or puts them in the place of what they were, for all to see.
    pub(super) fn put_topics(&self, topics: Vec<Arc<Topic>>) {
        self.topics.insert_all(topics);
        self.groups.topics_changed(&self.topics());
    }

    /// Opens new logs; they stay where the metadata record that makes them exist is on disk.
    fn make_logs(
        &self,
        live: Vec<LivePartition>,
        now_ms: i64,
        record: impl FnOnce() -> Result<(), MetadataError>,
    ) -> Result<HashMap<TopicPartition, Arc<PartitionLog>>, BrokerError> {
        let logs = self.logs.create_many(live, self.leader_epoch)?;
        if let Err(error) = record() {
            for log in logs {
                if let Err(error) = self.logs.delete(&log, now_ms) {
                    warn!(partition = %log.topic_partition(), %error, "left behind until the next start");
                }
            }
            return Err(error.into());
        }
        Ok(by_partition(logs))
    }

    /// Deletes topics; blocks on the disk.
    fn delete(
        &self,
        wanted: Vec<TopicRef>,
        validate_only: bool,
        metadata: &mut MetadataStore,
    ) -> Vec<Result<(Arc<str>, Uuid), BrokerError>> {
        if !self.config.delete_topic_enable {
            return wanted
                .iter()
                .map(|_| Err(BrokerError::DeletionDisabled))
                .collect();
        }
        let topics = self.topics();
        let mut found: Vec<Result<Arc<Topic>, BrokerError>> = wanted
            .into_iter()
            .map(|wanted| deletable(resolve(&topics, wanted)?))
            .collect();
        let mut seen = HashSet::new();
        for entry in &mut found {
            if entry.as_ref().is_ok_and(|topic| !seen.insert(topic.id)) {
                let reason = "the request names this topic more than once";
                *entry = Err(BrokerError::InvalidRequest { reason });
            }
        }
        let gone: Vec<Arc<Topic>> = found.iter().flatten().cloned().collect();
        let made = match validate_only {
            true => Ok(()),
            false => self.delete_found(metadata, &gone),
        };
        let results = all_or_none(found, made).into_iter();
        results
            .map(|topic| topic.map(|topic| (Arc::clone(&topic.name), topic.id)))
            .collect()
    }

    /// The metadata record first: from then on the topic is gone, also after a crash.
    fn delete_found(
        &self,
        metadata: &mut MetadataStore,
        topics: &[Arc<Topic>],
    ) -> Result<(), BrokerError> {
        if topics.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let gone: Vec<_> = topics
            .iter()
            .map(|topic| (Arc::clone(&topic.name), topic.id))
            .collect();
        metadata.topics_deleted(&gone, now_ms)?;
        self.topics.remove_all(gone.iter().map(|(name, _)| &**name));
        self.groups.topics_changed(&self.topics());
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            if let Err(error) = self.logs.delete(partition.log(), now_ms) {
                warn!(partition = %partition.log().topic_partition(), %error, "left behind until the next start");
            }
            // Whoever waits on it hears that it is gone.
            partition.settle();
        }
        for (name, id) in &gone {
            self.delays.forget_topic(*id);
            info!(topic = %name, "deleted");
        }
        self.groups.topics_deleted(gone.into_iter().collect());
        Ok(())
    }

    /// The next of the producer ids that are reserved already.
    fn reserved_producer_id(&self) -> Option<i64> {
        let mut ids = self
            .producer_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ids.next()
    }

    /// The next producer id; blocks on the disk once per [`PRODUCER_ID_BLOCK`].
    fn take_producer_id(&self, metadata: &mut MetadataStore) -> Result<i64, BrokerError> {
        // Who was here before may have reserved enough for all.
        if let Some(id) = self.reserved_producer_id() {
            return Ok(id);
        }
        let first = metadata.reserve_producer_ids(PRODUCER_ID_BLOCK, self.clock.now_ms())?;
        let rest = first.saturating_add(1)..first.saturating_add(PRODUCER_ID_BLOCK);
        *self
            .producer_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rest;
        Ok(first)
    }
}

fn deletable(topic: Arc<Topic>) -> Result<Arc<Topic>, BrokerError> {
    match topic.is_internal() {
        true => Err(BrokerError::internal_topic(&topic.name)),
        false => Ok(topic),
    }
}

fn resolve(topics: &TopicsSnapshot, wanted: TopicRef) -> Result<Arc<Topic>, BrokerError> {
    match wanted {
        TopicRef::Name(name) => match topics.named(&name) {
            Some(topic) => Ok(Arc::clone(topic)),
            None => Err(BrokerError::UnknownTopic { name }),
        },
        TopicRef::Id(id) => topics
            .with_id(id)
            .map(Arc::clone)
            .ok_or(BrokerError::UnknownTopicId { id }),
    }
}
