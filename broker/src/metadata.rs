//! What the broker must remember about itself: topics, altered settings, its start count, the producer ids
//! it gave out.
//!
//! One log, `__tidewheel_metadata`, holds it as records with a JSON value, one change a record, in
//! the order in which they happened; `docs/on-disk-format.md` lists them. A change counts when its
//! record is on disk. At start the log is replayed from its beginning. When most of it is history,
//! the live state is appended once more and the log start moved up to it: the records are upserts,
//! so a crash between the two steps only makes the next replay longer. A replay that does not begin with the
//! first record ever has to meet the live state once: else the log start is wrong or records are missing, and
//! what would come out is a broker without topics, that deletes their partitions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_config::{
    BrokerConfig, BrokerConfigOverrides, ConfigError, GroupConfigOverrides, limits,
};
use tidewheel_protocol::{Batches, RecordBatch, RecordBatchBuilder, Uuid};
use tidewheel_storage::{StorageError, validate};

use crate::config_changes::Altered;
use crate::partition::{AppendError, AppendWaiter, PartitionLog};
use crate::topics::Topic;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Change {
    /// The broker started; its partitions are led under this epoch from here on.
    BrokerStarted { leader_epoch: i32 },
    /// A topic was created.
    TopicCreated(TopicRecord),
    /// A topic was deleted.
    TopicDeleted { name: String, id: String },
    /// A topic has this many partitions from here on.
    PartitionsCreated {
        name: String,
        id: String,
        partitions: i32,
    },
    /// What is set on a topic is from here on exactly this.
    TopicConfigsChanged {
        name: String,
        id: String,
        configs: BTreeMap<String, String>,
    },
    /// What is set on a broker (its node id) or on all (an empty name) is from here on exactly this.
    BrokerConfigsChanged {
        name: String,
        configs: BrokerConfigOverrides,
    },
    /// What is set on a consumer group is from here on exactly this.
    GroupConfigsChanged {
        name: String,
        configs: GroupConfigOverrides,
    },
    /// Producer ids below `next` may have been given out.
    ProducerIdsReserved { next: i64 },
}

/// What is remembered of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicRecord {
    /// The name.
    pub(crate) name: String,
    /// The id in Kafka's text form.
    pub(crate) id: String,
    /// Number of partitions.
    pub(crate) partitions: i32,
    /// Configs set on the topic itself.
    pub(crate) configs: BTreeMap<String, String>,
}

impl TopicRecord {
    /// The id as bytes.
    ///
    /// # Errors
    /// Where the record holds something else: it was damaged or written by another program.
    pub(crate) fn topic_id(&self) -> Result<Uuid, MetadataError> {
        self.id.parse().map_err(|error| self.unusable(&error))
    }

    /// What to say of a record that this version cannot act on.
    pub(crate) fn unusable(&self, reason: &dyn fmt::Display) -> MetadataError {
        MetadataError::Unusable {
            topic: self.name.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The metadata cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    /// The log failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log refused a change.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// What is remembered of a topic cannot be acted on.
    #[error("the metadata of topic {topic} cannot be used: {reason}")]
    Unusable {
        /// The topic.
        topic: String,
        /// What is wrong.
        reason: String,
    },
    /// What is remembered of the broker's settings cannot be acted on.
    #[error("the settings that were changed while the broker ran cannot be used: {0}")]
    UnusableSettings(#[from] ConfigError),
    /// A record of the log makes no sense to this version of the broker.
    #[error(
        "the metadata log holds a record at offset {offset} that this version cannot read: {reason}"
    )]
    Unreadable {
        /// Where it lies.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}

/// The state the log describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataState {
    /// Topics by name.
    pub(crate) topics: BTreeMap<String, TopicRecord>,
    /// What is set on brokers, by node id, and on all, under an empty name.
    pub(crate) broker_configs: BTreeMap<String, BrokerConfigOverrides>,
    /// What is set on consumer groups, by id.
    pub(crate) group_configs: BTreeMap<String, GroupConfigOverrides>,
    /// Epoch of the newest start; -1 before the first.
    pub(crate) leader_epoch: i32,
    /// The first producer id that was never reserved.
    pub(crate) next_producer_id: i64,
}

impl MetadataState {
    fn apply(&mut self, change: Change) {
        match change {
            Change::BrokerStarted { leader_epoch } => self.leader_epoch = leader_epoch,
            Change::TopicCreated(topic) => {
                self.topics.insert(topic.name.clone(), topic);
            }
            Change::TopicDeleted { name, id } => {
                if self.topic_mut(&name, &id).is_some() {
                    self.topics.remove(&name);
                }
            }
            Change::PartitionsCreated {
                name,
                id,
                partitions,
            } => {
                if let Some(topic) = self.topic_mut(&name, &id) {
                    topic.partitions = partitions;
                }
            }
            Change::TopicConfigsChanged { name, id, configs } => {
                if let Some(topic) = self.topic_mut(&name, &id) {
                    topic.configs = configs;
                }
            }
            Change::BrokerConfigsChanged { name, configs } => {
                put_or_remove(&mut self.broker_configs, name, configs);
            }
            Change::GroupConfigsChanged { name, configs } => {
                put_or_remove(&mut self.group_configs, name, configs);
            }
            Change::ProducerIdsReserved { next } => self.next_producer_id = next,
        }
    }

    /// The settings of a broker that was started with `config`.
    ///
    /// # Errors
    /// Where this version knows a setting no more, or takes other values.
    pub(crate) fn settings(&self, config: &BrokerConfig) -> Result<BrokerConfig, MetadataError> {
        if config.ignore_dynamic_config {
            return Ok(config.clone());
        }
        let none = BrokerConfigOverrides::new();
        let set_on = |name: &str| self.broker_configs.get(name).unwrap_or(&none);
        let own = set_on(&config.node_id.to_string());
        Ok(config.with_dynamic(own, set_on(""))?)
    }

    /// Changes that make this state out of any that it came from. By the first two a replay knows them.
    fn live_changes(&self) -> Vec<Change> {
        let MetadataState {
            topics,
            broker_configs,
            group_configs,
            leader_epoch,
            next_producer_id,
        } = self;
        let mut changes = vec![
            Change::BrokerStarted {
                leader_epoch: *leader_epoch,
            },
            Change::ProducerIdsReserved {
                next: *next_producer_id,
            },
        ];
        changes.extend(topics.values().cloned().map(Change::TopicCreated));
        changes.extend(broker_configs.iter().map(|(name, configs)| {
            let (name, configs) = (name.clone(), configs.clone());
            Change::BrokerConfigsChanged { name, configs }
        }));
        changes.extend(group_configs.iter().map(|(name, configs)| {
            let (name, configs) = (name.clone(), configs.clone());
            Change::GroupConfigsChanged { name, configs }
        }));
        changes
    }

    /// The topic of that name, if it has this id.
    fn topic_mut(&mut self, name: &str, id: &str) -> Option<&mut TopicRecord> {
        self.topics.get_mut(name).filter(|topic| topic.id == id)
    }
}

/// What is set on something is this; of what nothing is set on, nothing is kept.
fn put_or_remove(
    all: &mut BTreeMap<String, BTreeMap<String, String>>,
    name: String,
    configs: BTreeMap<String, String>,
) {
    match configs.is_empty() {
        true => all.remove(&name),
        false => all.insert(name, configs),
    };
}

/// The log and the state it describes; the single writer of both.
#[derive(Debug)]
pub(crate) struct MetadataStore {
    log: Arc<PartitionLog>,
    state: MetadataState,
}

impl MetadataStore {
    /// Replays the log.
    ///
    /// # Errors
    /// Where the log cannot be read, lacks its beginning, or holds a record of a newer version.
    pub(crate) fn open(log: Arc<PartitionLog>) -> Result<Self, MetadataError> {
        let mut state = MetadataState {
            leader_epoch: -1,
            ..MetadataState::default()
        };
        let begin = log.offsets().log_start;
        let (mut offset, mut is_whole) = (begin, begin == 0);
        while offset < log.offsets().high_watermark {
            let read = log.read(offset, limits::METADATA_READ_BYTES, true)?;
            let slice = read
                .slice
                .ok_or_else(|| unreadable(offset, &"the log ends here"))?;
            let from = offset;
            for batch in Batches::new(slice.bytes()?) {
                let batch = batch.map_err(|error| unreadable(offset, &error))?;
                is_whole |= replay_batch(&batch, &mut state)?;
                offset = batch.header.next_offset();
            }
            if offset <= from {
                return Err(unreadable(offset, &"no batch reaches it"));
            }
        }
        if !is_whole {
            return Err(unreadable(begin, &"nothing from here on says all"));
        }
        Ok(Self { log, state })
    }

    /// What the log says.
    pub(crate) fn state(&self) -> &MetadataState {
        &self.state
    }

    /// Records the start of the broker under an epoch one higher than the last.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`].
    pub(crate) fn broker_started(&mut self, now_ms: i64) -> Result<i32, MetadataError> {
        let leader_epoch = self.state.leader_epoch + 1;
        self.write(vec![Change::BrokerStarted { leader_epoch }], now_ms)?;
        Ok(leader_epoch)
    }

    /// Records new topics, all or none. When this returns they are on disk.
    ///
    /// # Errors
    /// Where the log cannot be written: then none counts.
    pub(crate) fn topics_created(
        &mut self,
        topics: Vec<TopicRecord>,
        now_ms: i64,
    ) -> Result<(), MetadataError> {
        self.write(
            topics.into_iter().map(Change::TopicCreated).collect(),
            now_ms,
        )
    }

    /// Records that topics (name, id) are gone.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`].
    pub(crate) fn topics_deleted(
        &mut self,
        topics: &[(Arc<str>, Uuid)],
        now_ms: i64,
    ) -> Result<(), MetadataError> {
        let deleted = |(name, id): &(Arc<str>, Uuid)| Change::TopicDeleted {
            name: name.as_ref().to_owned(),
            id: id.to_string(),
        };
        self.write(topics.iter().map(deleted).collect(), now_ms)
    }

    /// Records how many partitions topics have from now on.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`].
    pub(crate) fn partitions_created<'a>(
        &mut self,
        topics: impl Iterator<Item = (&'a Topic, i32)>,
        now_ms: i64,
    ) -> Result<(), MetadataError> {
        let created = topics.map(|(topic, partitions)| Change::PartitionsCreated {
            name: topic.name.as_ref().to_owned(),
            id: topic.id.to_string(),
            partitions,
        });
        self.write(created.collect(), now_ms)
    }

    /// Records all that is set on topics, brokers and groups from now on.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`].
    pub(crate) fn configs_changed(
        &mut self,
        altered: &[&Altered],
        now_ms: i64,
    ) -> Result<(), MetadataError> {
        let changed = altered.iter().map(|altered| match altered {
            Altered::Topic(altered) => Change::TopicConfigsChanged {
                name: altered.topic.name.as_ref().to_owned(),
                id: altered.topic.id.to_string(),
                configs: altered.configs.clone(),
            },
            Altered::Broker(altered) => Change::BrokerConfigsChanged {
                name: altered.name.clone(),
                configs: altered.configs.clone(),
            },
            Altered::Group(altered) => Change::GroupConfigsChanged {
                name: altered.name.clone(),
                configs: altered.configs.clone(),
            },
        });
        self.write(changed.collect(), now_ms)
    }

    /// Reserves `count` producer ids that were never given out and returns the first.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`].
    pub(crate) fn reserve_producer_ids(
        &mut self,
        count: i64,
        now_ms: i64,
    ) -> Result<i64, MetadataError> {
        let first = self.state.next_producer_id;
        let next = first.saturating_add(count);
        self.write(vec![Change::ProducerIdsReserved { next }], now_ms)?;
        Ok(first)
    }

    /// Drops history once it outweighs the state: see the module head.
    ///
    /// # Errors
    /// As [`MetadataStore::topics_created`]; the metadata is whole in any case.
    pub(crate) fn compact(&mut self, now_ms: i64) -> Result<(), MetadataError> {
        let live_bytes = self
            .state
            .live_changes()
            .iter()
            .map(|change| encode(change).len() as u64)
            .sum::<u64>();
        let bound = limits::METADATA_HISTORY_BYTES.max(live_bytes.saturating_mul(4));
        if self.log.size_bytes() < bound {
            return Ok(());
        }
        let snapshot_start = self.log.offsets().log_end;
        self.write(self.state.live_changes(), now_ms)?;
        self.log.advance_log_start(snapshot_start)?;
        self.log.apply_retention(now_ms)?;
        Ok(())
    }

    /// Appends changes as one batch, which is on disk whole or not at all, and then applies them.
    fn write(&mut self, changes: Vec<Change>, now_ms: i64) -> Result<(), MetadataError> {
        let mut builder = RecordBatchBuilder::new();
        for change in &changes {
            builder = builder.record(now_ms, None, Some(&encode(change)));
        }
        let batch = builder.build().map_err(AppendError::from)?;
        let batch = validate(batch, &self.log.config(), now_ms)?;
        let (waiter, mut outcome) = AppendWaiter::new();
        for (waiter, result) in self.log.append(batch, true, waiter, now_ms) {
            waiter.answer(result);
        }
        // There is one writer, so no other caller can have taken this batch along: the outcome is here.
        match outcome.try_recv() {
            Ok(appended) => appended?,
            Err(_) => return Err(StorageError::PartitionDeleted.into()),
        };
        self.log.flush(now_ms)?;
        changes
            .into_iter()
            .for_each(|change| self.state.apply(change));
        Ok(())
    }
}

fn encode(change: &Change) -> Bytes {
    // Strings, numbers and string maps always have a JSON form.
    Bytes::from(serde_json::to_vec(change).unwrap_or_default())
}

/// Returns whether the batch is one of live changes, which say all that came before.
fn replay_batch(batch: &RecordBatch, state: &mut MetadataState) -> Result<bool, MetadataError> {
    let base_offset = batch.header.base_offset;
    let records = batch
        .records(limits::METADATA_BATCH_BYTES_MAX)
        .map_err(|error| unreadable(base_offset, &error))?;
    let (mut starts, mut says_all) = (false, false);
    for record in records {
        let record = record.map_err(|error| unreadable(base_offset, &error))?;
        let value = record.value.unwrap_or_default();
        let change =
            serde_json::from_slice(&value).map_err(|error| unreadable(record.offset, &error))?;
        // A start is a batch of its own everywhere else.
        says_all |= starts && matches!(change, Change::ProducerIdsReserved { .. });
        starts |= matches!(change, Change::BrokerStarted { .. });
        state.apply(change);
    }
    Ok(says_all)
}

fn unreadable(offset: i64, reason: &dyn fmt::Display) -> MetadataError {
    MetadataError::Unreadable {
        offset,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_storage::fs::SimFs;
    use tidewheel_storage::{LogManager, LogManagerOptions};

    use super::*;

    #[test]
    fn a_log_that_lacks_its_beginning_is_refused_unless_the_live_state_follows() {
        let options = LogManagerOptions::new(
            vec!["/data".into()],
            1,
            "cluster".to_owned(),
            vec![Uuid([1; 16])],
        );
        let logs = LogManager::open(Arc::new(SimFs::new()), options).unwrap();
        let log = logs.open_metadata_log(None, 0).unwrap();
        let mut store = MetadataStore::open(Arc::clone(&log)).unwrap();
        store.broker_started(0).unwrap();
        let create = |store: &mut MetadataStore, len| {
            let topic = TopicRecord {
                name: "t".to_owned(),
                id: "A".to_owned(),
                partitions: 1,
                configs: BTreeMap::from([("x".to_owned(), "y".repeat(len))]),
            };
            store.topics_created(vec![topic], 0).unwrap();
        };
        (0..5).for_each(|_| create(&mut store, 1 << 20));
        create(&mut store, 1);
        let history_end = log.offsets().log_end;
        store.compact(0).unwrap();
        assert_eq!(log.offsets().log_start, history_end);
        let again = MetadataStore::open(Arc::clone(&log)).unwrap();
        assert_eq!(again.state(), store.state());

        create(&mut store, 2);
        log.advance_log_start(log.offsets().log_end - 1).unwrap();
        let refused = MetadataStore::open(log);
        assert!(matches!(refused, Err(MetadataError::Unreadable { .. })));
    }

    /// A crash while history is dropped leaves the live state behind the history it came from.
    #[test]
    fn the_live_state_says_all_and_may_be_replayed_over_any_history() {
        let (name, id) = ("t".to_owned(), "A".to_owned());
        let topic = |id: &str| TopicRecord {
            name: name.clone(),
            id: id.to_owned(),
            partitions: 1,
            configs: BTreeMap::new(),
        };
        let configs = BTreeMap::from([("segment.ms".to_owned(), "1".to_owned())]);
        let changed = |id: &str| Change::TopicConfigsChanged {
            name: name.clone(),
            id: id.to_owned(),
            configs: configs.clone(),
        };
        let grown = |id: &str, partitions| Change::PartitionsCreated {
            name: name.clone(),
            id: id.to_owned(),
            partitions,
        };
        let mut state = MetadataState::default();
        let history = [
            Change::TopicCreated(topic("A")),
            changed("A"),
            grown("A", 3),
            grown("B", 9),
            Change::BrokerConfigsChanged {
                name: "1".to_owned(),
                configs: configs.clone(),
            },
            Change::GroupConfigsChanged {
                name: "g".to_owned(),
                configs: configs.clone(),
            },
        ];
        history.into_iter().for_each(|change| state.apply(change));
        let expected = TopicRecord {
            partitions: 3,
            configs: configs.clone(),
            ..topic("A")
        };
        assert_eq!(state.topics["t"], expected);
        let mut replayed = state.clone();
        state
            .live_changes()
            .into_iter()
            .for_each(|change| replayed.apply(change));
        assert_eq!(replayed, state);
        let mut fresh = MetadataState::default();
        state
            .live_changes()
            .into_iter()
            .for_each(|change| fresh.apply(change));
        assert_eq!(fresh, state);

        // Another topic of the same name has nothing of the first.
        let deleted = Change::TopicDeleted {
            name: name.clone(),
            id,
        };
        [
            deleted,
            Change::TopicCreated(topic("B")),
            changed("A"),
            grown("A", 3),
        ]
        .into_iter()
        .for_each(|change| state.apply(change));
        assert_eq!(state.topics["t"], topic("B"));
    }
}
