//! Every metric family: the one place that names them.
//!
//! `docs/metrics.md`, the dashboard and the alert rules are compared with this table.

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows while the process lives.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As both formats name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric family.
#[derive(Debug)]
pub(crate) struct Family {
    /// As queries name it: of a counter with `_total`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Names of the labels that each of its samples has.
    pub(crate) labels: &'static [&'static str],
    /// One sentence, of plain characters.
    pub(crate) help: &'static str,
}

impl Family {
    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Counter, labels, help)
    }

    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Gauge, labels, help)
    }

    pub(super) const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Histogram, labels, help)
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
        }
    }

    /// The name as `OpenMetrics` has it in its comments.
    pub(super) fn stem(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The unit, which is the end of its name.
    pub(super) fn unit(&self) -> Option<&'static str> {
        let stem = self.stem();
        ["seconds", "bytes"].into_iter().find(|unit| {
            stem.strip_suffix(unit)
                .is_some_and(|rest| rest.ends_with('_'))
        })
    }
}

macro_rules! families {
    ($(#[$meta:meta])* $list:ident: $($id:ident = $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub(super) const $id: Family = Family::$kind($name, &[$($label),*], $help);)*

        $(#[$meta])*
        #[cfg(test)]
        pub(crate) const $list: &[&Family] = &[$(&$id),*];
    };
}

families! {
    /// What `/metrics` tells, in its order.
    FAMILIES:
    BUILD_INFO = gauge "tidewheel_build_info" ["version" "revision" "rustc"]
        "Always 1, with the version that runs.";
    START_TIME = gauge "tidewheel_start_time_seconds" []
        "When the broker started, in seconds since 1970.";
    BROKER_STATE = gauge "tidewheel_broker_state" []
        "Kafka's number of the state: 1 starting, 2 recovering, 3 running, 7 shutting down.";
    RECOVERY_PARTITIONS = gauge "tidewheel_recovery_partitions" []
        "Partitions that this start has to check, because the last stop was not clean.";
    RECOVERY_REMAINING = gauge "tidewheel_recovery_remaining_partitions" []
        "Partitions that it still has to check.";

    REQUESTS = counter "tidewheel_requests_total" ["api" "version" "error"]
        "Requests that were answered, with the first error of the answer.";
    REQUEST_SECONDS = histogram "tidewheel_request_duration_seconds" ["api" "phase"]
        "How long requests took: local until they were begun, queue until their turn to be answered, wait for the disk, for data or for the making of the answer, respond until the answer had left, total.";
    REQUEST_BYTES = histogram "tidewheel_request_size_bytes" ["api"]
        "Sizes of requests.";
    RESPONSE_BYTES = histogram "tidewheel_response_size_bytes" ["api"]
        "Sizes of answers.";
    IN_FLIGHT = gauge "tidewheel_requests_in_flight" ["api"]
        "Requests that were read and whose answers have not left yet.";

    CONNECTIONS = gauge "tidewheel_connections" ["listener" "security"]
        "Connections that are open.";
    ACCEPTED = counter "tidewheel_connections_accepted_total" []
        "Connections that were accepted.";
    CLOSED = counter "tidewheel_connections_closed_total" ["reason"]
        "Connections that ended, by what ended them.";
    AUTH_FAILURES = counter "tidewheel_auth_failures_total" ["mechanism"]
        "Requests in which what says who sends them is wrong, also of probes, which are answered: of the HTTP API, where it wants tokens.";
    THROTTLE = counter "tidewheel_throttle_seconds_total" ["kind"]
        "Time that clients were asked to wait before they send more: producers of delayed records, where nearly as much is pending as may be.";
    FETCH_SESSIONS = gauge "tidewheel_fetch_sessions" []
        "Fetch sessions of clients that are remembered.";
    FETCH_SESSION_PARTITIONS = gauge "tidewheel_fetch_session_partitions" []
        "Partitions in them.";
    FETCH_SESSION_EVICTIONS = counter "tidewheel_fetch_session_evictions_total" []
        "Fetch sessions that made way for others.";

    TOPIC_RECORDS_IN = counter "tidewheel_topic_records_in_total" ["topic"]
        "Records that producers appended.";
    TOPIC_BYTES_IN = counter "tidewheel_topic_bytes_in_total" ["topic"]
        "Bytes of record batches that producers appended.";
    TOPIC_BYTES_OUT = counter "tidewheel_topic_bytes_out_total" ["topic"]
        "Bytes of record batches in answers to fetches.";
    TOPIC_PRODUCE_ERRORS = counter "tidewheel_topic_produce_errors_total" ["topic" "error"]
        "Batches that were refused or whose outcome was an error.";
    TOPIC_FETCH_ERRORS = counter "tidewheel_topic_fetch_errors_total" ["topic" "error"]
        "Partitions of fetches that were answered with an error.";
    TOPIC_PARTITIONS = gauge "tidewheel_topic_partitions" ["topic"]
        "Partitions of the topic.";
    TOPIC_SIZE = gauge "tidewheel_topic_size_bytes" ["topic"]
        "Bytes of the topic's segments.";

    PARTITION_LOG_START = gauge "tidewheel_partition_log_start_offset" ["topic" "partition"]
        "Offset of the first record that may be read.";
    PARTITION_LOG_END = gauge "tidewheel_partition_log_end_offset" ["topic" "partition"]
        "Offset that the next record gets.";
    PARTITION_HIGH_WATERMARK = gauge "tidewheel_partition_high_watermark" ["topic" "partition"]
        "Offset after the last record that consumers see.";
    PARTITION_SIZE = gauge "tidewheel_partition_size_bytes" ["topic" "partition"]
        "Bytes of the partition's segments.";
    PARTITION_SEGMENTS = gauge "tidewheel_partition_segments" ["topic" "partition"]
        "Segments of the partition.";
    PARTITIONS = gauge "tidewheel_partitions" []
        "Partitions of all topics.";
    DAMAGED_PARTITIONS = gauge "tidewheel_partitions_damaged" []
        "Partitions that are served read-only, because durable data in them is damaged.";

    FLUSH_SECONDS = histogram "tidewheel_log_flush_duration_seconds" []
        "How long rounds of syncs took that producers may wait for.";
    APPEND_SECONDS = histogram "tidewheel_log_append_duration_seconds" []
        "How long it took to check a batch of a producer and to write it to the page cache.";
    UNFLUSHED_BYTES = gauge "tidewheel_log_unflushed_bytes" []
        "Bytes that were appended since the last round of syncs began.";
    SEGMENTS_DELETED = counter "tidewheel_log_segments_deleted_total" ["reason"]
        "Segments that retention took out of logs: by age, by size, before the log start, or early because the disk fills.";
    COMPACTIONS = counter "tidewheel_log_compactions_total" ["result"]
        "Passes of compaction over a partition.";
    COMPACTED_BYTES = counter "tidewheel_log_compaction_read_bytes_total" []
        "Bytes of segments that compaction went through.";
    KEPT_BYTES = counter "tidewheel_log_compaction_kept_bytes_total" []
        "Bytes of segments that compaction left of them.";
    CORRUPTIONS = counter "tidewheel_log_corruptions_total" []
        "Damage that was found in durable data: at the start, by scrubbing and by compaction.";
    DIR_OFFLINE = gauge "tidewheel_log_dir_offline" ["dir"]
        "Whether a failed write or sync has taken the log directory offline.";
    DISK_FREE = gauge "tidewheel_disk_free_bytes" ["dir"]
        "Free bytes of the log directory's file system.";
    DISK_TOTAL = gauge "tidewheel_disk_total_bytes" ["dir"]
        "Bytes of the log directory's file system.";
    OPEN_FILES = gauge "tidewheel_log_open_files" []
        "Segment files that logs hold open.";
    OPEN_MAPS = gauge "tidewheel_log_open_maps" []
        "Maps of segments and indexes that logs hold.";

    DELAYED_PENDING = gauge "tidewheel_delayed_pending" ["topic"]
        "Records that become visible later, of topics with delays or with such records. One that was cancelled counts until it would have been due.";
    DELAYED_PENDING_BYTES = gauge "tidewheel_delayed_pending_bytes" []
        "Bytes that they take in delay stores.";
    DELAYED_NEXT_DUE = gauge "tidewheel_delayed_next_due_timestamp_seconds" []
        "Nothing is due before, in seconds since 1970, apart from what is overdue.";
    DELAYED_OVERDUE = gauge "tidewheel_delayed_overdue" []
        "Records, or batches that are due as a whole, that are due and not delivered yet.";
    DELAYED_OLDEST_OVERDUE = gauge "tidewheel_delayed_oldest_overdue_seconds" []
        "How long ago the first of them was due, 0 for none.";
    DELAYED_LATENESS = histogram "tidewheel_delayed_delivery_lateness_seconds" []
        "How long after they were due batches of delayed records were appended, by the last record of each.";
    DELAYED_ACCEPTED = counter "tidewheel_delayed_accepted_total" []
        "Records that were taken to become visible later.";
    DELAYED_DELIVERED = counter "tidewheel_delayed_delivered_total" []
        "Delayed records that were appended to their partitions.";
    DELAYED_CANCELLED = counter "tidewheel_delayed_cancelled_total" []
        "Records, or batches that were due as a whole, that had been cancelled when they were due.";
    DELAYED_EXPIRED = counter "tidewheel_delayed_expired_total" []
        "Records, or batches that were due as a whole, that had expired when they were due.";
    DELAYED_DAMAGED = counter "tidewheel_delayed_damaged_total" []
        "Places of delay stores' files that were found damaged or missing at the start or since. The log names each.";
    DELAYED_LOST = counter "tidewheel_delayed_lost_total" []
        "Delayed records that damage took, since the start.";
    DELAYED_REJECTED = counter "tidewheel_delayed_rejected_total" ["reason"]
        "Batches for topics with delays that were refused: for a time, for headers, for limits of what may be pending, for topics that records should go to, for the records, or by the disk.";
    DELAYED_NEAR = gauge "tidewheel_delayed_near_entries" []
        "Delayed records that are in memory, because they are due soon; a batch that is due as a whole counts once.";
    DELAYED_SPILLED = counter "tidewheel_delayed_spilled_total" []
        "Delayed records that were copied to the file of their day or hour, because they are due late.";
    DELAYED_PROMOTED = counter "tidewheel_delayed_promoted_total" []
        "Delayed records that were loaded from such a file, because they are due soon.";
    DELAYED_SPILL_LAG = gauge "tidewheel_delayed_spill_lag_bytes" []
        "Bytes of delay logs of which nothing was copied yet.";
    DELAYED_CLOCK_HELD = gauge "tidewheel_delayed_clock_held" []
        "Whether nothing is delivered, because the clock jumped ahead.";
    DELAYED_DIR_OFFLINE = gauge "tidewheel_delayed_dir_offline" ["dir"]
        "Whether the delay store of the log directory neither takes nor delivers anything until the next start.";

    GROUPS = gauge "tidewheel_groups" []
        "Consumer groups.";
    GROUPS_MEMORY = gauge "tidewheel_groups_memory_bytes" []
        "Memory that consumer groups take with their members and offsets, estimated.";
    GROUPS_MEMORY_MAX = gauge "tidewheel_groups_memory_max_bytes" []
        "Memory that they may take; new ones are refused from five eighths of it on.";
    GROUP_MEMBERS = gauge "tidewheel_group_members" ["group"]
        "Members of the group.";
    GROUP_STATE = gauge "tidewheel_group_state" ["group" "state"]
        "Always 1, with the state that the group is in.";
    GROUP_LAG_MAX = gauge "tidewheel_group_lag_max" ["group"]
        "Records that the group is behind in the partition where it is behind most.";
    GROUP_LAG_SUM = gauge "tidewheel_group_lag_sum" ["group"]
        "Records that the group is behind in all partitions together.";
    GROUP_LAG_SECONDS = gauge "tidewheel_group_lag_seconds_max" ["group"]
        "Age of the oldest record that the group has not read.";
    GROUP_REBALANCES = counter "tidewheel_group_rebalances_total" ["group"]
        "Generations that the group has had since it was made.";
    GROUP_LAG = gauge "tidewheel_group_lag" ["group" "topic" "partition"]
        "Records that the group is behind in the partition.";

    MEMORY = gauge "tidewheel_memory_pool_free_bytes" ["pool"]
        "Bytes that may still be taken for requests and answers.";
    RUNTIME_WORKERS = gauge "tidewheel_runtime_workers" []
        "Threads that serve connections.";
    RUNTIME_QUEUE = gauge "tidewheel_runtime_global_queue_depth" []
        "Tasks that wait for a thread to serve them.";
    RUNTIME_BUSY = counter "tidewheel_runtime_busy_seconds_total" []
        "Time that all threads which serve connections were busy.";
    OMITTED = gauge "tidewheel_metrics_omitted" ["of"]
        "Topics, partitions and groups without series of their own, so that a scrape stays small.";

    PROCESS_CPU = counter "process_cpu_seconds_total" []
        "Processor time of the process.";
    PROCESS_RESIDENT = gauge "process_resident_memory_bytes" []
        "Resident memory of the process, mapped files included.";
    PROCESS_ANONYMOUS = gauge "tidewheel_process_anonymous_memory_bytes" []
        "Resident memory of the process without mapped files.";
    PROCESS_VIRTUAL = gauge "process_virtual_memory_bytes" []
        "Virtual memory of the process.";
    PROCESS_THREADS = gauge "process_threads" []
        "Threads of the process.";
    PROCESS_FDS = gauge "process_open_fds" []
        "Descriptors that are open.";
    PROCESS_FDS_MAX = gauge "process_max_fds" []
        "Descriptors that may be open.";
    PROCESS_START = gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
}

families! {
    /// What `/metrics/kafka-exporter` tells, under the names of kafka_exporter.
    KAFKA_EXPORTER_FAMILIES:
    KAFKA_BROKERS = gauge "kafka_brokers" [] "Brokers of the cluster.";
    KAFKA_BROKER_INFO = gauge "kafka_broker_info" ["id" "address"]
        "Always 1, with a broker and its address.";
    KAFKA_TOPIC_PARTITIONS = gauge "kafka_topic_partitions" ["topic"]
        "Partitions of the topic.";
    KAFKA_CURRENT_OFFSET = gauge "kafka_topic_partition_current_offset" ["topic" "partition"]
        "Offset after the last record that consumers see.";
    KAFKA_OLDEST_OFFSET = gauge "kafka_topic_partition_oldest_offset" ["topic" "partition"]
        "Offset of the first record that may be read.";
    KAFKA_LEADER = gauge "kafka_topic_partition_leader" ["topic" "partition"]
        "Node id of the partition's leader.";
    KAFKA_PREFERRED = gauge "kafka_topic_partition_leader_is_preferred" ["topic" "partition"]
        "Whether the leader is the preferred one.";
    KAFKA_REPLICAS = gauge "kafka_topic_partition_replicas" ["topic" "partition"]
        "Replicas of the partition.";
    KAFKA_IN_SYNC = gauge "kafka_topic_partition_in_sync_replica" ["topic" "partition"]
        "Replicas of the partition that are in sync.";
    KAFKA_UNDER_REPLICATED = gauge "kafka_topic_partition_under_replicated_partition" ["topic" "partition"]
        "Whether the partition has fewer replicas in sync than it should.";
    KAFKA_GROUP_MEMBERS = gauge "kafka_consumergroup_members" ["consumergroup"]
        "Members of the group.";
    KAFKA_GROUP_OFFSET = gauge "kafka_consumergroup_current_offset" ["consumergroup" "topic" "partition"]
        "Offset that the group has committed, -1 for none.";
    KAFKA_GROUP_OFFSET_SUM = gauge "kafka_consumergroup_current_offset_sum" ["consumergroup" "topic"]
        "Sum of the offsets that the group has committed in the topic.";
    KAFKA_GROUP_LAG = gauge "kafka_consumergroup_lag" ["consumergroup" "topic" "partition"]
        "Offsets from the committed one to the end of the partition, -1 where none is committed.";
    KAFKA_GROUP_LAG_SUM = gauge "kafka_consumergroup_lag_sum" ["consumergroup" "topic"]
        "Sum of the group's lag in the topic.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_both_formats() {
        let mut names = HashSet::new();
        for family in FAMILIES.iter().chain(KAFKA_EXPORTER_FAMILIES) {
            let Family { name, help, .. } = family;
            assert!(names.insert(*name), "{name} stands there twice");
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(legal), "{name}");
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            assert!(
                help.ends_with('.') && !help.contains(['\\', '\n']),
                "{name}"
            );
            for label in family.labels {
                assert!(label.bytes().all(legal) && *label != "le", "{name}");
            }
        }
        assert_eq!(DISK_FREE.unit(), Some("bytes"));
        assert_eq!(PROCESS_CPU.unit(), Some("seconds"));
        assert_eq!(
            COMPACTED_BYTES.stem(),
            "tidewheel_log_compaction_read_bytes"
        );
        assert_eq!(GROUP_LAG_SECONDS.unit(), None, "it does not end with it");
    }
}
