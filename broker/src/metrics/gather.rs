//! A scrape: what was counted, and what is read off the broker's state now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewheel_config::{MetricsPerPartition, limits};
use tokio::runtime::RuntimeMetrics;

use super::exposition::Exposition;
use super::families::{self as family, Family};
use super::process::{self, seconds};
use super::{Metrics, Stage};
use crate::broker::Broker;
use crate::groups::{WatchedGroup, WatchedOffset};
use crate::partition::Partition;
use crate::topics::TopicsSnapshot;

/// Series of a partition.
const SERIES_PER_PARTITION: usize = 5;

/// Tells everything; `detailed` with every partition.
pub(super) fn expose(
    broker: &Broker,
    runtime: &RuntimeMetrics,
    stage: Stage,
    detailed: bool,
    out: &mut Exposition,
) {
    let metrics = broker.metrics();
    expose_stage(stage, out);
    metrics.requests.expose(out);
    metrics.connections.expose(out);
    expose_wrong_tokens(stage, out);
    let throttled_ms = metrics.throttled_ms.load(Ordering::Relaxed);
    let throttled = seconds(throttled_ms.try_into().unwrap_or(i64::MAX));
    out.family(&family::THROTTLE)
        .add(&["delayed_pending"], throttled);
    let sessions = broker.fetch_sessions().counts();
    out.single(&family::FETCH_SESSIONS, sessions.sessions);
    out.single(&family::FETCH_SESSION_PARTITIONS, sessions.partitions);
    out.single(&family::FETCH_SESSION_EVICTIONS, sessions.evicted);
    let wanted = match (detailed, broker.config().metrics_per_partition) {
        (true, _) => MetricsPerPartition::Always,
        (false, configured) => configured,
    };
    let mut omitted = Omitted::default();
    let topics = broker.topics();
    expose_topics(metrics, &topics, &mut omitted, out);
    expose_partitions(&topics, wanted, &mut omitted, out);
    metrics.storage.expose_flushes(out);
    metrics.requests.expose_appends(out);
    expose_disks(broker, out);
    metrics.storage.expose(out);
    let delayed = &metrics.delayed;
    delayed.expose(broker, &topics, &metrics.traffic, out);
    let mut groups = broker.groups().watch(&topics);
    out.single(&family::GROUPS, groups.len());
    let (held, max) = broker.groups().memory();
    out.single(&family::GROUPS_MEMORY, held);
    out.single(&family::GROUPS_MEMORY_MAX, max);
    let ages = metrics.lag_times.ages(broker, &groups);
    let mut groups: Vec<_> = groups.drain(..).zip(ages).collect();
    let all = groups.len();
    if !detailed {
        retain_fitting(&mut groups, limits::METRICS_GROUPS_BYTES);
    }
    omitted.groups = all - groups.len();
    expose_groups(&groups, out);
    expose_lags(&groups, wanted, &mut omitted, out);
    omitted.samples = out.left_out();
    omitted.expose(out);
    expose_process(broker, runtime, out);
    process::expose(out, stage.began_ms);
}

/// Tells what runs and where it stands.
pub(super) fn expose_stage(stage: Stage, out: &mut Exposition) {
    let labels = [
        env!("CARGO_PKG_VERSION"),
        env!("BUILT_FROM_REVISION"),
        env!("BUILT_WITH_RUSTC"),
    ];
    out.family(&family::BUILD_INFO).add(&labels, 1_u64);
    out.single(&family::START_TIME, seconds(stage.began_ms));
    out.single(&family::BROKER_STATE, u64::from(stage.state));
    out.single(&family::RECOVERY_PARTITIONS, stage.recovery_partitions);
    out.single(&family::RECOVERY_REMAINING, stage.recovery_remaining);
}

/// Tells who sent a wrong token, where one is wanted.
pub(super) fn expose_wrong_tokens(stage: Stage, out: &mut Exposition) {
    let mut samples = out.family(&family::AUTH_FAILURES);
    if let Some(count) = stage.wrong_tokens {
        samples.add(&["bearer"], count);
    }
}

/// What has no series of its own.
#[derive(Debug, Default)]
struct Omitted {
    topics: usize,
    partitions: usize,
    groups: usize,
    group_partitions: usize,
    /// Of any of them, because a page is full.
    samples: usize,
}

impl Omitted {
    fn expose(&self, out: &mut Exposition) {
        let mut samples = out.family(&family::OMITTED);
        samples.add(&["topics"], self.topics);
        samples.add(&["partitions"], self.partitions);
        samples.add(&["groups"], self.groups);
        samples.add(&["group_partitions"], self.group_partitions);
        samples.add(&["samples"], self.samples);
    }
}

/// About so many bytes that one series takes whose labels have these lengths together.
fn series_bytes(labels: usize) -> usize {
    labels + limits::METRICS_SERIES_BYTES
}

fn expose_topics(
    metrics: &Metrics,
    topics: &TopicsSnapshot,
    omitted: &mut Omitted,
    out: &mut Exposition,
) {
    let mut traffics = Vec::new();
    let mut own = Vec::new();
    for topic in topics.iter() {
        let Some(first) = topic.partitions.first() else {
            continue;
        };
        match metrics.traffic.is_others(first.traffic()) {
            true => omitted.topics += 1,
            false => own.push(topic),
        }
        traffics.push((&*topic.name, first.traffic()));
    }
    metrics.traffic.expose(&traffics, out);
    let mut samples = out.family(&family::TOPIC_PARTITIONS);
    for topic in &own {
        samples.add(&[&topic.name], topic.partitions.len());
    }
    let mut samples = out.family(&family::TOPIC_SIZE);
    for topic in &own {
        let sizes = topic.partitions.iter();
        let size: u64 = sizes.map(|partition| partition.log().size_bytes()).sum();
        samples.add(&[&topic.name], size);
    }
}

fn expose_partitions(
    topics: &TopicsSnapshot,
    wanted: MetricsPerPartition,
    omitted: &mut Omitted,
    out: &mut Exposition,
) {
    let bytes = topics.iter().map(|topic| {
        topic.partitions.len() * SERIES_PER_PARTITION * series_bytes(topic.name.len())
    });
    if !is_shown(wanted, bytes.sum()) {
        omitted.partitions = topics.partition_count();
    } else {
        type Of = fn(&Partition) -> i64;
        let families: [(&'static Family, Of); SERIES_PER_PARTITION] = [
            (&family::PARTITION_LOG_START, |partition| {
                partition.log().offsets().log_start
            }),
            (&family::PARTITION_LOG_END, |partition| {
                partition.log().offsets().log_end
            }),
            (&family::PARTITION_HIGH_WATERMARK, |partition| {
                partition.log().offsets().high_watermark
            }),
            (&family::PARTITION_SIZE, |partition| {
                i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX)
            }),
            (&family::PARTITION_SEGMENTS, |partition| {
                i64::try_from(partition.log().segment_count()).unwrap_or(i64::MAX)
            }),
        ];
        for (family, of) in families {
            let mut samples = out.many(family);
            for topic in topics.iter() {
                for (index, partition) in topic.partitions.iter().enumerate() {
                    samples.add(&[&topic.name, &index.to_string()], of(partition));
                }
            }
        }
    }
    out.single(&family::PARTITIONS, topics.partition_count());
    let damaged = topics.partitions();
    let damaged = damaged.filter(|partition| partition.log().is_damaged());
    out.single(&family::DAMAGED_PARTITIONS, damaged.count());
}

/// Whether there is to be a series for everything, which takes so many bytes.
fn is_shown(wanted: MetricsPerPartition, bytes: usize) -> bool {
    match wanted {
        MetricsPerPartition::Always => true,
        MetricsPerPartition::Never => false,
        MetricsPerPartition::Auto => bytes <= limits::METRICS_PARTITIONS_BYTES,
    }
}

fn expose_disks(broker: &Broker, out: &mut Exposition) {
    let logs = broker.logs();
    let dirs = || {
        let paths = broker.config().log_dirs.iter();
        paths.map(|path| path.display().to_string()).enumerate()
    };
    let unflushed = (0..logs.dir_count()).map(|dir| logs.dirty(dir).unsynced_bytes);
    out.single(&family::UNFLUSHED_BYTES, unflushed.sum::<u64>());
    let mut samples = out.family(&family::DIR_OFFLINE);
    for (dir, path) in dirs() {
        samples.add(&[&path], logs.offline_cause(dir).is_some());
    }
    // As it was seen last: a disk that hangs must not hold up a scrape that would tell of it.
    let mut samples = out.family(&family::DISK_FREE);
    for (dir, path) in dirs() {
        if let Some(space) = logs.seen_space(dir) {
            samples.add(&[&path], space.free_bytes);
        }
    }
    let mut samples = out.family(&family::DISK_TOTAL);
    for (dir, path) in dirs() {
        if let Some(space) = logs.seen_space(dir) {
            samples.add(&[&path], space.total_bytes);
        }
    }
    let open = logs.open_counts();
    out.single(&family::OPEN_FILES, open.files);
    out.single(&family::OPEN_MAPS, open.maps);
}

/// A group, and the age of the oldest record that it has not read, where that is known.
type Group = (WatchedGroup, Option<Duration>);

/// Keeps the groups that have room for their series: those with members first, then those that are behind. None
/// with a very long name is among them, which would take the room of many.
fn retain_fitting(groups: &mut Vec<Group>, mut room: usize) {
    groups.sort_by_cached_key(|(group, age)| {
        let is_done = *age == Some(Duration::ZERO);
        (group.members == 0, is_done, Arc::clone(&group.id))
    });
    groups.retain(|(group, _)| {
        let bytes = series_bytes(escaped_len(&group.id));
        let fits = bytes <= room.min(limits::METRICS_GROUP_BYTES_MAX);
        if fits {
            room -= bytes;
        }
        fits
    });
    groups.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
}

/// Bytes of a label's value as it is written.
fn escaped_len(value: &str) -> usize {
    value.len() + value.matches(['\\', '"', '\n']).count()
}

fn expose_groups(groups: &[Group], out: &mut Exposition) {
    let mut samples = out.many(&family::GROUP_MEMBERS);
    for (group, _) in groups {
        samples.add(&[&group.id], group.members);
    }
    let mut samples = out.many(&family::GROUP_STATE);
    for (group, _) in groups {
        samples.add(&[&group.id, group.state], 1_u64);
    }
    let mut samples = out.many(&family::GROUP_REBALANCES);
    for (group, _) in groups {
        samples.add(&[&group.id], u64::try_from(group.generation).unwrap_or(0));
    }
    let mut samples = out.many(&family::GROUP_LAG_SECONDS);
    for (group, age) in groups {
        if let Some(age) = age {
            samples.add(&[&group.id], age.as_secs_f64());
        }
    }
}

/// What a group has not read, by partition.
fn unread(group: &WatchedGroup) -> impl Iterator<Item = (&WatchedOffset, u64)> {
    let offsets = group.offsets.iter();
    offsets.filter_map(|offset| Some((offset, offset.unread()?.records)))
}

fn expose_lags(
    groups: &[Group],
    wanted: MetricsPerPartition,
    omitted: &mut Omitted,
    out: &mut Exposition,
) {
    let mut samples = out.many(&family::GROUP_LAG_MAX);
    for (group, _) in groups {
        let most = unread(group).map(|(_, records)| records).max();
        samples.add(&[&group.id], most.unwrap_or(0));
    }
    let mut samples = out.many(&family::GROUP_LAG_SUM);
    for (group, _) in groups {
        let records = unread(group).map(|(_, records)| records);
        samples.add(&[&group.id], records.fold(0, u64::saturating_add));
    }
    let (mut bytes, mut count) = (0, 0);
    for (group, _) in groups {
        let id = escaped_len(&group.id);
        let lengths = unread(group).map(|(offset, _)| series_bytes(id + offset.topic.len()));
        bytes += lengths.sum::<usize>();
        count += unread(group).count();
    }
    if !is_shown(wanted, bytes) {
        omitted.group_partitions = count;
        return;
    }
    let mut samples = out.many(&family::GROUP_LAG);
    for (group, _) in groups {
        for (offset, records) in unread(group) {
            let partition = offset.partition.to_string();
            samples.add(&[&group.id, &offset.topic, &partition], records);
        }
    }
}

fn expose_process(broker: &Broker, runtime: &RuntimeMetrics, out: &mut Exposition) {
    let mut samples = out.family(&family::MEMORY);
    for (pool, memory) in [
        ("requests", broker.memory()),
        ("answers", broker.answer_memory()),
        ("early_answers", broker.early_answer_memory()),
        ("made_answers", broker.made_answer_memory()),
        ("fetch_answers", broker.fetch_answer_memory()),
    ] {
        samples.add(&[pool], memory.free_bytes());
    }
    let workers = runtime.num_workers();
    out.single(&family::RUNTIME_WORKERS, workers);
    out.single(&family::RUNTIME_QUEUE, runtime.global_queue_depth());
    let busy = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64());
    out.single(&family::RUNTIME_BUSY, busy.sum::<f64>());
}
