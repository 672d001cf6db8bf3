//! Hard bounds that no setting moves: every queue, list and string that outsiders can grow has one.

mod delays;

use std::time::Duration;

pub use delays::*;

/// Requests of one connection that may be under way at once; then its socket is not read.
pub const REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX: usize = 64;

/// A produce request of more bytes is appended on the blocking pool: checking and writing it takes too
/// long for a thread that serves other connections.
pub const INLINE_PRODUCE_BYTES_MAX: usize = 1024 * 1024;

/// A produce request for more partitions is appended on the blocking pool: each takes a write.
pub const INLINE_PRODUCE_PARTITIONS_MAX: usize = 128;

/// Long produce requests that are appended at once; the next ones wait.
pub const LONG_PRODUCE_AT_ONCE: usize = 4;

/// Produce requests with a batch whose records must be decompressed that are appended at once: each may take
/// [`WALKED_BATCH_FACTOR`] times `max.message.bytes` at a time, [`DECOMPRESSED_BATCH_BYTES_MAX`] for its keys.
pub const WALKED_PRODUCE_AT_ONCE: usize = 1;

/// Records of one batch that a refusal names; the batch is refused as a whole.
pub const RECORD_ERRORS_MAX: usize = 1_000;

/// Request bytes that every connection may hold without asking the shared
/// `queued.max.request.bytes` pool: small requests get through while large ones wait.
pub const FREE_BYTES_PER_CONNECTION: usize = 16 * 1024;

/// Memory that answers may take, over all connections, while they are made and until they have left; of
/// fetches also what is looked up for them, for as long as they wait. Answers of up to
/// [`FREE_BYTES_PER_CONNECTION`] and fetched records, which are views of mapped files, are not counted. What
/// needs more than half of it is counted as half, and made one at a time, but a fetch of more than
/// [`FETCH_BYTES_MAX`] closes its connection.
pub const ANSWER_BYTES_MAX: usize = 48 * 1024 * 1024;

/// The same for what is begun before its turn to answer, and whose memory is taken then: produce requests,
/// some 32,000 partitions at once, and long requests to groups. A produce request that needs more than all of
/// it closes its connection.
pub const EARLY_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Threads that sync beside the flush thread of a log directory while several logs wait for the disk. More
/// of them win little: their syncs share commits of the file system's journal.
pub const FLUSH_HELPERS: usize = 15;

/// Bytes that a file takes of each data directory's reserve ahead of need, so that other programs do not get
/// them: group commits, deletions and a start go on where these filled the disk.
pub const BALLAST_BYTES_MAX: u64 = 32 << 20;

/// Threads that bring partitions back at a start that no clean stop preceded, and write the last checkpoints of a
/// clean stop. Most of their time they wait for the disk.
pub const RECOVERY_THREADS: usize = 16;

/// Answers that are made already, of what members of a group told each other, while they wait for
/// [`ANSWER_BYTES_MAX`]. One that takes more than all of it is counted as all of it; one that finds none
/// closes its connection, and its member joins anew.
pub const MADE_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What one fetch may take of [`ANSWER_BYTES_MAX`]: some 32,000 partitions. An allocator keeps for a while
/// what was taken on each thread, so that a fetch as large as all of it would cost a multiple.
pub const FETCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Array memory that a fetch may decode to: beyond it are only such as weigh more than [`FETCH_BYTES_MAX`],
/// or name a million partitions to be forgotten. It is refused before any of it is taken.
pub const FETCH_ARRAY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Partitions of one fetch session. A request of a few bytes makes the broker look at all of them, and
/// have a copy of them while it waits. Whoever fetches more is given no session.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 10_000;

/// Partitions of all fetch sessions together. Each takes some 200 bytes, 600 where it is its topic's only
/// one and that has the longest name, and 300 more while a request of its session waits.
pub const FETCH_SESSIONS_PARTITIONS_MAX: usize = 200_000;

/// Sessions that were not used for longer may be evicted by new ones, and those that are older by larger
/// ones, as in Kafka.
pub const FETCH_SESSION_EVICTION: Duration = Duration::from_secs(120);

/// Memory that answers to fetches may take, over all connections, until they have left, for which nobody
/// waits, so that their readers have [`WRITE_STALL`]; records, and answers of up to
/// [`FREE_BYTES_PER_CONNECTION`], are not counted. A session whose answer finds none is closed: its client
/// asks for everything again. Any other answer, also the first of a session, leaves half of it free, or keeps its share of
/// [`ANSWER_BYTES_MAX`], and has [`COUNTED_WRITE_STALL`].
pub const FETCH_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a request waits for the memory of its answer before its connection is closed.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The same as [`WRITE_STALL`] for peers that do not receive an answer which others wait for the memory of.
pub const COUNTED_WRITE_STALL: Duration = Duration::from_secs(10);

/// Partitions that one request may create, over all its topics.
pub const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;

/// Partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;

/// Characters of a topic name, as in Kafka: a partition directory must fit a file name.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// Bytes that one record batch may decompress to: the legal "bombs" of gzip and zstd reach 1 GB.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes that a batch of a compacted topic may decompress to: its log is compacted with it in memory twice. Producers
/// are refused beyond. A batch from before the topic was compacted may be larger, and is never thinned; were this
/// raised, the tombstones in it would be met as such for the first time, and what they delete must be looked for anew.
pub const COMPACTED_BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Records of a batch of a compacted topic, which are looked at together, at some 150 bytes each; else as
/// [`COMPACTED_BATCH_BYTES_MAX`].
pub const COMPACTED_BATCH_RECORDS_MAX: i32 = 500_000;

/// Look-ups by time that run at once; the next ones wait. One may open a batch that takes
/// [`DECOMPRESSED_BATCH_BYTES_MAX`] and keeps a thread of the blocking pool busy with it.
pub const LOOK_UPS_AT_ONCE: usize = 1;

/// Times `max.message.bytes` that a produced batch may decompress to where its header contradicts itself,
/// so that its records must be walked (old sarama), or where it is to be kept in another codec. Clients count bytes
/// before they compress.
pub const WALKED_BATCH_FACTOR: usize = 16;

/// Places in which connections count their requests, so that threads do not wait for each other; each takes
/// some 40 KiB.
pub const METRICS_STRIPES_MAX: usize = 16;

/// Bytes of a line of a scrape beside the names in its labels, about: what the budgets below count.
pub const METRICS_SERIES_BYTES: usize = 56;

/// The room for topics in a scrape, for each of the five or so series of a topic; beyond it topics share one. At names
/// of 20 characters some 590 have series of their own.
pub const METRICS_TOPICS_BYTES: usize = 44 * 1024;

/// The same for groups, which have six series each: some 1,000 at names of 14 characters.
pub const METRICS_GROUPS_BYTES: usize = 70 * 1024;

/// Bytes of a scrape that partitions take where nobody asked for them (`tidewheel.metrics.per.partition=auto`);
/// with more of them, none has series of its own. The same for those of groups.
pub const METRICS_PARTITIONS_BYTES: usize = 48 * 1024;

/// What one group may take of [`METRICS_GROUPS_BYTES`]; one with a longer name has no series in `/metrics`.
pub const METRICS_GROUP_BYTES_MAX: usize = 512;

/// Bytes of a page of metrics beyond which it tells no more of partitions and groups, of which clients decide how
/// many there are.
pub const METRICS_PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Pairs of topic and error with series of their own; beyond them topics share one for each error.
pub const METRICS_ERROR_SERIES_MAX: usize = 250;

/// How long a scrape looks for the times of records that groups have not read; what it does not get to is told
/// as it was found last.
pub const METRICS_LAG_LOOK: Duration = Duration::from_millis(15);

/// Partitions of groups whose first unread record's time is remembered between scrapes, at some 100 bytes each.
pub const METRICS_LAGS_MAX: usize = 50_000;

/// How long a scrape waits for another one to end.
pub const METRICS_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one setting's value.
pub const CONFIG_VALUE_LEN_MAX: usize = 64 * 1024;

/// Entries of a list setting, for example of `listeners` or `log.dirs`.
pub const CONFIG_LIST_LEN_MAX: usize = 64;

/// How long a frame that was begun may stand still, because the peer stalls or the request memory is
/// used up, before its connection is closed.
pub const FRAME_STALL: Duration = Duration::from_secs(30);

/// How long a peer may take to receive [`WRITE_PROGRESS_BYTES`] of its replies, before its connection is
/// closed. Kafka allows `connections.max.idle.ms`, which may be never. A consumer that reads nothing
/// while its application works is given what `max.poll.interval.ms` is by default; what it holds
/// meanwhile are mostly views of mapped files.
pub const WRITE_STALL: Duration = Duration::from_secs(300);

/// Bytes of replies that a peer must have received in the time it is given, or all there are.
pub const WRITE_PROGRESS_BYTES: usize = 64 * 1024;

/// From how many bytes on a slice of the log leaves by `sendfile`. Below it the copy of a `writev`, which
/// takes many slices at once, costs less than a call for each.
pub const SENDFILE_BYTES_MIN: usize = 32 * 1024;

/// Files that answers on their way to slow readers may keep open, over all connections. Further answers
/// leave from maps, which are bounded by themselves.
pub const FILES_BEING_SENT_MAX: usize = 256;

/// Files of one answer that leave by `sendfile`, and so of one connection: its answers leave one after the
/// other. One reader that stops must not take the places of all.
pub const FILES_OF_ONE_ANSWER_MAX: usize = 32;

/// For how long what was seen in memory is taken to be there still, while a reader takes its time for it.
pub const RESIDENT_UNASKED: Duration = Duration::from_secs(1);

/// Bytes of a file that are looked for at once when that time is over, and brought back where they left
/// memory: a reader that takes drops of a long answer must not have all of it read for each.
pub const RESIDENT_BYTES_AHEAD: usize = 4 * 1024 * 1024;

/// Bytes that one read from a socket asks for, at least.
pub const READ_CHUNK_BYTES: usize = 16 * 1024;

/// Buffers that one write to a socket hands over at once; the kernel takes at most 1,024.
pub const WRITE_PARTS_MAX: usize = 64;

/// How long replies may take to leave after the client has closed its sending half. A waiting fetch ends
/// at once then, which is the only bound of its `max_wait_ms` beside `connections.max.idle.ms`.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How long a stopping broker waits for requests that were begun. What follows takes as long as the disk
/// takes to make everything durable. Longer than [`CLOSE_GRACE`], by which connections end by themselves.
pub const STOP_GRACE: Duration = Duration::from_secs(8);

/// Pause after `accept` failed, mostly for want of descriptors.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Threads for work that may wait for a disk: cold reads, timestamp look-ups, and on one of them
/// changes of topics.
pub const BLOCKING_THREADS_MAX: usize = 16;

/// Changes of topics, and other changes of the metadata, that may wait for their turn.
pub const METADATA_CHANGES_WAITING_MAX: usize = 1_000;

/// How long a change of the metadata may take where the request does not say it: a topic that is made
/// on first use, a block of producer ids.
pub const METADATA_CHANGE_WAIT: Duration = Duration::from_secs(30);

/// The least time a produce request waits for its acknowledgement, whatever its own timeout says: some
/// clients send 0, and a flush always takes a moment.
pub const PRODUCE_WAIT_MIN: Duration = Duration::from_secs(1);

/// Bytes that replaying the metadata log reads at a time.
pub const METADATA_READ_BYTES: usize = 1024 * 1024;

/// Bytes of one batch of the metadata log, decompressed.
pub const METADATA_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The metadata log is rewritten at start when it is longer than this and four times its live state.
pub const METADATA_HISTORY_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of one answer that a client of ours takes; a fetch asks for at most half of it.
pub const ANSWER_FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of batches that one producer of the bench keeps to send them again.
pub const BENCH_BATCH_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of one value that the bench sends.
pub const BENCH_VALUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of one batch that the bench sends.
pub const BENCH_BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a file that the bench reads: workloads and results.
pub const BENCH_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of batches that the bench holds to produce them once more.
pub const BENCH_REPLAY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Producers or consumers of one bench run.
pub const BENCH_WORKERS_MAX: u32 = 10_000;

/// Consumer groups that have settings of their own: they are kept in the metadata, whether the group is there or
/// not.
pub const GROUPS_WITH_CONFIGS_MAX: usize = 10_000;

/// Consumer groups, with or without members. A bound of one coordinator, like all that follow: a runner
/// with several divides them. What all groups may hold in bytes is a setting, `tidewheel.group.state.max.bytes`, which
/// has the first word mostly.
pub const GROUPS_MAX: usize = 1_000_000;

/// Members that were given a member id and have not joined with it; beyond, the oldest of them is forgotten.
pub const GROUP_PENDING_MEMBERS_MAX: usize = 25_000;

/// Groups that are new: nothing of them was ever finished, no assignment of a classic group and no second heartbeat
/// of a member of the newer protocol, and they have no offsets. Beyond, the oldest of them is dismissed.
pub const GROUPS_NEW_MAX: usize = GROUPS_MAX / 4;

/// How long a member id that was given out waits for its member at most, and how long a new member, which
/// cannot send heartbeats yet, may wait for a rebalance to end.
pub const GROUP_NEW_MEMBER_WAIT: Duration = Duration::from_secs(300);

/// Members of one group, whatever `group.max.size` says.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// Characters of a group id: it is part of the key of every offset.
pub const GROUP_ID_LEN_MAX: usize = 1_024;

/// Bytes that a member says about itself when it joins: ids and protocols with their metadata.
pub const GROUP_MEMBER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the record of one generation: subscriptions and assignments of all members.
pub const GROUP_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Committed offsets of one group.
pub const GROUP_OFFSETS_MAX: usize = 200_000;

/// Groups whose lag is computed at the same time; the next ones wait. Each takes some 150 bytes for an offset.
pub const GROUP_LAGS_AT_ONCE: usize = 2;

/// Committed offsets whose last commits are remembered to tell how their groups get on, over all groups: each takes
/// some 350 bytes.
pub const GROUP_WATCHED_OFFSETS_MAX: usize = 50_000;

/// Estimated bytes of all groups, members and offsets where the settings do not say it: one part in so many of the
/// machine's memory, between the least and the most.
pub const GROUP_STATE_MEMORY_SHARE: u64 = 16;

/// The least of that: 10,000 groups of one member with ten offsets are some 36 MiB.
pub const GROUP_STATE_BYTES_LEAST: usize = 64 * 1024 * 1024;

/// The most of that.
pub const GROUP_STATE_BYTES_MOST: usize = 512 * 1024 * 1024;

/// The least that the settings may make of it: one member may bring [`GROUP_MEMBER_BYTES_MAX`].
pub const GROUP_STATE_BYTES_MIN: usize = 16 * 1024 * 1024;

/// Estimated bytes of one group with its offsets, half of those of all groups at most: the largest leaves room for
/// others. [`GROUP_OFFSETS_MAX`] without notes take 25 MB.
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Groups and offsets that one look for expired offsets goes over before others have their turn, but for
/// the last of the groups; and offsets that it deletes, or OffsetDelete at once.
pub const GROUP_RETENTION_STEP: usize = 2_000;

/// A longer request to a group's coordinator is read and decided about on the blocking pool, when there is
/// memory for that.
pub const INLINE_GROUP_BYTES_MAX: usize = 16 * 1024;

/// Array memory that a request about groups may decode to: of a SyncGroup some 30,000
/// assignments, of an OffsetCommit some 25,000 partitions. A longer one closes its connection.
pub const GROUP_ARRAY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The same of an OffsetFetch: some 260,000 partitions, more than a group has offsets.
pub const OFFSET_FETCH_ARRAY_BYTES_MAX: usize = 1024 * 1024;

/// Offsets, also those that are deleted together, are written in batches of about this many bytes.
pub const OFFSETS_BATCH_BYTES: usize = 1024 * 1024;

/// What is decided about the members of a group is written in one batch of up to about this many bytes, which a
/// crash leaves whole or not at all.
pub const GROUP_DECISION_BYTES: usize = 24 * 1024 * 1024;

/// Bytes of the largest batch in the topic of the offsets: of [`GROUP_DECISION_BYTES`], or one record of
/// [`GROUP_RECORD_BYTES_MAX`].
pub const OFFSETS_BATCH_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// Bytes of that topic that are read at once at start.
pub const OFFSETS_READ_BYTES: usize = 1024 * 1024;

/// Topics that are read out of the subscriptions of one group, to know whose offsets may go.
pub const GROUP_SUBSCRIBED_TOPICS_MAX: usize = 100_000;

/// Looks at a member or a partition that one assignment of a group's partitions may take for each of its steps:
/// some 50 ms at most. Of larger groups not everybody is a candidate for every topic.
pub const GROUP_ASSIGNMENT_STEPS: usize = 4_000_000;

/// Bytes of a regular expression that a consumer subscribes with.
pub const GROUP_REGEX_LEN_MAX: usize = 4_096;

/// Bytes of the automaton that a regular expression becomes; while it is made, a fraction of it more.
pub const GROUP_REGEX_AUTOMATON_BYTES_MAX: usize = 1024 * 1024;

/// Connections of the HTTP API; a further one takes the place of the one that has been idle for longest, or is
/// closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 128;

/// How long a request of the HTTP API may take to bring its headers, and a connection to bring its next request.
pub const ADMIN_HEADER_WAIT: Duration = Duration::from_secs(10);

/// How long a request of the HTTP API may take, from its headers to its answer, the arrival of its body included.
/// Longer than [`METADATA_CHANGE_WAIT`].
pub const ADMIN_REQUEST_WAIT: Duration = Duration::from_secs(40);

/// How long the kernel tries to send an answer of the HTTP API of which its reader takes nothing.
pub const ADMIN_WRITE_STALL: Duration = Duration::from_secs(30);

/// How long the reader of an answer of the HTTP API may take for it; streams have no end.
pub const ADMIN_SEND_WAIT: Duration = Duration::from_secs(30);

/// Bytes of an answer that leave at a time. One that is no longer is not counted among those below.
pub const ADMIN_SENT_BYTES: usize = 64 * 1024;

/// Bytes of all answers of the HTTP API that wait for their readers; the last one of them may be longer than what is
/// left of these.
pub const ADMIN_UNSENT_BYTES: usize = 64 * 1024 * 1024;

/// The same of pages of metrics: with the last one, two of the longest.
pub const ADMIN_UNSENT_METRICS_BYTES: usize = METRICS_PAGE_BYTES_MAX;

/// Pages of metrics that are asked for at once: others cannot keep requests from being answered, nor these them.
pub const ADMIN_SCRAPES_MAX: usize = 4;

/// How long a stopping broker waits for answers of the HTTP API that were begun, and then for changes.
pub const ADMIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// Bytes of a request's line and headers; a longer one is refused.
pub const ADMIN_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Headers of a request of the HTTP API.
pub const ADMIN_HEADERS_MAX: usize = 64;

/// Bytes of the body of a request of the HTTP API.
pub const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Answers of the HTTP API that are computed at once, each on a thread of the blocking pool; the next ones wait.
pub const ADMIN_WORK_AT_ONCE: usize = 2;

/// How long a request waits for one of these places, or another one that a hanging disk may hold. Longer than
/// [`ADMIN_READ_WAIT`].
pub const ADMIN_PLACE_WAIT: Duration = Duration::from_secs(10);

/// Lists of groups with their lags that are made at once; each may go through the offsets of all groups.
pub const ADMIN_GROUP_LISTS_AT_ONCE: usize = 2;

/// Groups that one of them asks about at once; each may have [`GROUP_OFFSETS_MAX`] offsets.
pub const ADMIN_GROUPS_AT_ONCE: usize = 4;

/// How long a list of groups may take.
pub const ADMIN_GROUPS_WAIT: Duration = Duration::from_secs(20);

/// Entries of one page of a list.
pub const ADMIN_PAGE_MAX: usize = 1_000;

/// Entries of a page where the request does not say it.
pub const ADMIN_PAGE_DEFAULT: usize = 100;

/// Entries that are computed to be sorted by something else than their name; a longer list is refused.
pub const ADMIN_SORTED_MAX: usize = 20_000;

/// Bytes of the file of tokens.
pub const ADMIN_TOKENS_FILE_BYTES_MAX: u64 = 256 * 1024;

/// How often the file of tokens is looked at, at most.
pub const ADMIN_TOKENS_LOOK: Duration = Duration::from_secs(1);

/// Partitions in which one request sends a group elsewhere.
pub const ADMIN_SEEK_MAX: usize = 10_000;

/// The same where each has to be looked up by its time.
pub const ADMIN_SEEK_TIMES_MAX: usize = 1_000;

/// Bytes of a key or value that are shown at most, whatever the request says.
pub const ADMIN_VALUE_MAX: usize = 256 * 1024;

/// Bytes of batches that one request for records reads.
pub const ADMIN_SCAN_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of records that it looks at, decompressed; the batch that it is at is opened as a whole.
pub const ADMIN_LOOKED_AT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of keys, values and headers that one answer shows, as they stand in it, and one record more.
pub const ADMIN_SHOWN_BYTES: usize = 4 * 1024 * 1024;

/// Headers of a record that are shown.
pub const ADMIN_HEADERS_SHOWN: usize = 100;

/// Bytes that are shown of the name and of the value of a header.
pub const ADMIN_HEADER_SHOWN_BYTES: usize = 4 * 1024;

/// How long one request for records reads.
pub const ADMIN_READ_WAIT: Duration = Duration::from_secs(5);

/// Bytes that it reads at a time; a longer batch is read whole.
pub const ADMIN_READ_BYTES: usize = 1024 * 1024;

/// Bytes of a partition that one request has checked, and a batch more.
pub const VERIFY_BYTES: u64 = 128 * 1024 * 1024;

/// How long it may take, and the read of a batch more.
pub const VERIFY_WAIT: Duration = Duration::from_secs(5);

/// Requests with an `Idempotency-Key` whose outcome is remembered.
pub const ADMIN_REPEATS_MAX: usize = 1_000;

/// For how long.
pub const ADMIN_REPEATS_KEPT: Duration = Duration::from_mins(10);

/// Characters of such a key.
pub const ADMIN_REPEAT_KEY_LEN_MAX: usize = 255;

/// Streams of the HTTP API at once, and never more than a quarter of its connections.
pub const ADMIN_STREAMS_MAX: usize = 16;

/// How often the HTTP API looks at the counters, and how long it remembers what it saw: the time between two looks
/// and how many of them, the finest first. 1.3 MiB in all.
pub const ADMIN_STATS: [(Duration, usize); 3] = [
    (Duration::from_secs(1), 300),
    (Duration::from_secs(5), 720),
    (Duration::from_secs(60), 1_440),
];

/// The fewest connections of the HTTP API: one for each of streams, requests, metrics and probes.
pub const ADMIN_CONNECTIONS_MIN: usize = 4;

/// How long what a probe has seen is told again.
pub const ADMIN_LOOK_FRESH: Duration = Duration::from_secs(1);

/// How long a probe waits for what may hang, such as a file system.
pub const ADMIN_LOOK_WAIT: Duration = Duration::from_secs(1);

/// How long the groups that are furthest behind are looked for; the others are counted.
pub const ADMIN_WORST_LAG_WAIT: Duration = Duration::from_secs(5);

/// How long it is looked up then how old the first unread records of the worst are.
pub const ADMIN_WORST_LAG_AGES_WAIT: Duration = Duration::from_secs(2);

/// How long the groups that were found so are told again.
pub const ADMIN_WORST_LAG_FRESH: Duration = Duration::from_secs(5);

/// Lines of the log that are kept for whoever looks.
pub const LOG_LINES_MAX: usize = 1_000;

/// Bytes that are kept of a message or a field of such a line.
pub const LOG_FIELD_BYTES_MAX: usize = 2 * 1024;

/// Lines of one kind, such as others can cause without end, that are written at once.
pub const LOG_LINES_AT_ONCE: i64 = 10;

/// After that one is written each time that so many ms have passed.
pub const LOG_LINE_EVERY_MS: i64 = 1_000;

/// Parts of the broker whose log has a level of its own at the same time.
pub const LOGGERS_MAX: usize = 100;

/// Characters of the name of such a part.
pub const LOGGER_NAME_LEN_MAX: usize = 128;

/// Bytes of one record that `tidewheel produce` reads.
pub const COMMAND_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of records that it sends at once: less than a batch may have where nobody chose `max.message.bytes`.
pub const COMMAND_BATCH_BYTES: usize = 512 * 1024;

/// How many records these are at most.
pub const COMMAND_BATCH_RECORDS: usize = 10_000;

/// Bytes of batches that `tidewheel consume` asks of a broker at once; a single batch may be larger.
pub const COMMAND_FETCH_BYTES: i32 = 8 * 1024 * 1024;

/// The same of one partition.
pub const COMMAND_FETCH_PARTITION_BYTES: i32 = 1024 * 1024;

/// Headers that the records of one such batch may have, of which each takes 64 bytes of memory.
pub const COMMAND_BATCH_HEADERS_MAX: usize = 2_000_000;
