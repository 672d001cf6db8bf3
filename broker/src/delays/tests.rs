//! The disk fails under delayed records, or the clock jumps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_config::{LogConfig, limits};
use tidewheel_protocol::{RecordBatchBuilder, RecordHeader};
use tidewheel_storage::delay::{ClockReading, WallClock};
use tidewheel_storage::fs::{Fault, SimFs};
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use super::damage::Recount;
use super::deliver::Deliverer;
use super::pending::list_until;
use super::{
    DelayedError, DelayedQuery, accept_clock, cancel, checkpoints, deliver_now, list, produce,
    set_paused,
};
use crate::broker::{Broker, NewTopic, create_topics};
use crate::clock;
use crate::partition::{Acks, AppendError, AppendOutcome};
use crate::testing;

fn open(disk: &SimFs) -> Arc<Broker> {
    testing::broker_on(Arc::new(disk.clone()), Path::new("/data"), &[])
}

async fn create(broker: &Arc<Broker>) {
    let mut topic = NewTopic::with_defaults("t", broker.config());
    let mode = Some("timestamp".to_owned());
    topic.configs.push(("delay.mode".to_owned(), mode));
    let made = create_topics(broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// A batch of an idempotent producer with a record for each delay.
fn batch(sequence: i32, delays_ms: &[i64]) -> Bytes {
    let now_ms = clock::now_ms();
    let builder = RecordBatchBuilder::new().producer(7, 0, sequence);
    let builder = delays_ms.iter().fold(builder, |builder, delay_ms| {
        builder.record(now_ms + delay_ms, Some(b"k"), Some(b"v"))
    });
    builder.build().unwrap().bytes
}

fn send(broker: &Broker, batch: &Bytes) -> Result<Receiver<AppendOutcome>, AppendError> {
    let topics = broker.topics();
    let place = (&**topics.named("t").unwrap(), 0);
    let sent = produce(
        broker,
        place,
        batch.clone(),
        Acks::All,
        true,
        clock::now_ms(),
    );
    sent.map(|sent| sent.outcome)
}

/// Whether the cause is the disk.
fn of_storage(error: &AppendError) -> bool {
    matches!(error, AppendError::Storage(_))
}

/// The offset that the producer is told, once everything is on disk; else whether the disk is the cause.
fn told(broker: &Broker, mut outcome: Receiver<AppendOutcome>) -> Result<i64, bool> {
    broker.delays().dir(0).unwrap().sync();
    broker.logs().flush_round(0);
    broker.topics().partitions().for_each(|one| one.settle());
    let info = outcome.try_recv().unwrap();
    info.map(|info| info.base_offset)
        .map_err(|error| of_storage(&error))
}

fn pending(broker: &Broker) -> u64 {
    let dir = broker.delays().dir(0).unwrap();
    dir.with(|queue| queue.totals().pending.records).unwrap()
}

#[tokio::test]
async fn a_failed_sync_is_told_to_whoever_waits_and_ends_delays_until_the_next_start() {
    let disk = SimFs::new();
    let broker = open(&disk);
    create(&broker).await;
    let first = send(&broker, &batch(0, &[60_000])).unwrap();
    assert_eq!(told(&broker, first), Ok(-1));
    let mut second = send(&broker, &batch(1, &[60_000])).unwrap();
    assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
    disk.fail_at(disk.op_count(), Fault::Eio);
    assert_eq!(told(&broker, second), Err(true));
    let refused = send(&broker, &batch(2, &[60_000])).unwrap_err();
    assert!(of_storage(&refused), "{refused}");
    // It was noted when it was accepted, and what is not delayed needs no delay store.
    let plain = send(&broker, &batch(2, &[0])).unwrap();
    assert_eq!(told(&broker, plain), Ok(0));
    let again = open(&disk.kill());
    assert_eq!(pending(&again), 2, "a kill loses nothing");
    let next = send(&again, &batch(3, &[60_000])).unwrap();
    assert_eq!(told(&again, next), Ok(-1));
}

#[tokio::test]
async fn a_checkpoint_answers_those_whose_records_it_made_durable() {
    let broker = open(&SimFs::new());
    create(&broker).await;
    let mut sent = send(&broker, &batch(0, &[60_000])).unwrap();
    assert_eq!(sent.try_recv().unwrap_err(), TryRecvError::Empty);
    checkpoints::checkpoint(&broker, broker.delays().dir(0).unwrap()).unwrap();
    assert_eq!(sent.try_recv().unwrap().unwrap().base_offset, -1);
}

/// A checkpoint waits for the disk, several times.
#[tokio::test]
async fn what_is_due_comes_while_a_checkpoint_is_written() {
    let settings = ["log.flush.offset.checkpoint.interval.ms=1"];
    let disk = Arc::new(SimFs::new());
    let broker = testing::broker_on(disk, Path::new("/data"), &settings);
    create(&broker).await;
    let sent = send(&broker, &batch(0, &[30])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    let writing = broker.delays().dir(0).unwrap().checkpointing();
    let ((done, delivered), same) = (sync_channel(1), Arc::clone(&broker));
    let delivering = tokio::task::spawn_blocking(move || {
        let dir = same.delays().dir(0).unwrap();
        let mut deliverer = Deliverer::new(&same, dir);
        while pending(&same) > 0 {
            dir.deliver_signal.wait(deliverer.round());
        }
        done.send(()).unwrap();
    });
    let delivered = delivered.recv_timeout(Duration::from_secs(10));
    drop(writing);
    assert_eq!(delivered, Ok(()));
    delivering.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_next_try_may_succeed() {
    let disk = SimFs::new();
    let broker = open(&disk);
    create(&broker).await;
    for sequence in 0..2 {
        disk.set_free_bytes(10);
        let refused = send(&broker, &batch(sequence, &[60_000])).unwrap_err();
        assert!(of_storage(&refused), "{refused}");
        disk.set_free_bytes(1 << 30);
        let taken = send(&broker, &batch(sequence, &[60_000])).unwrap();
        assert_eq!(told(&broker, taken), Ok(-1));
    }
    assert_eq!(pending(&broker), 2);
}

/// The delay log has it, the partition's log is full: the batch that is sent again brings only what is missing.
#[tokio::test]
async fn the_part_that_is_due_is_made_up_for_by_the_producer_or_by_the_next_start() {
    for restart in [false, true] {
        let disk = SimFs::new();
        let mut broker = open(&disk);
        create(&broker).await;
        for (sequence, delay_ms) in [(0, 0), (1, 60_000)] {
            let sent = send(&broker, &batch(sequence, &[delay_ms])).unwrap();
            told(&broker, sent).unwrap();
        }
        let mixed = batch(2, &[60_000, 0, 70_000]);
        // The group in the delay log, then the append.
        disk.fail_at(disk.op_count() + 1, Fault::Enospc);
        let failed = send(&broker, &mixed).unwrap_err();
        assert!(of_storage(&failed), "{failed}");
        let end = |broker: &Broker| {
            let topics = broker.topics();
            let partition = topics.named("t").unwrap().partition(0).unwrap();
            partition.log().offsets().log_end
        };
        assert_eq!(end(&broker), 1);
        if restart {
            broker = open(&disk.kill());
            assert_eq!(end(&broker), 2, "the start appended it");
        }
        for _ in 0..2 {
            let again = send(&broker, &mixed).unwrap();
            assert_eq!(told(&broker, again), Ok(-1));
        }
        assert_eq!((end(&broker), pending(&broker)), (2, 3));
        let next = send(&broker, &batch(5, &[0])).unwrap();
        assert_eq!(told(&broker, next), Ok(2));
    }
}

/// What is due first in the topic.
fn the_first() -> DelayedQuery {
    DelayedQuery {
        topic: "t".to_owned(),
        count: 1,
        ..DelayedQuery::default()
    }
}

#[tokio::test]
async fn nothing_is_delivered_now_by_a_clock_that_is_held() {
    let broker = open(&SimFs::new());
    create(&broker).await;
    let sent = send(&broker, &batch(0, &[60_000])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    let query = the_first();
    let id = list(&broker, &query).unwrap().records.remove(0).id;
    let dir = broker.delays().dir(0).unwrap();
    // The delivering thread has not looked since.
    let reading = clock::reading();
    let before = ClockReading {
        wall_ms: reading.wall_ms - 3_600_000,
        ..reading
    };
    *dir.clock() = Some(WallClock::new(before));
    for dry_run in [true, false] {
        let refused = deliver_now(&broker, &id, dry_run).unwrap_err();
        assert!(matches!(refused, DelayedError::ClockHeld), "{refused}");
        assert!(refused.to_string().contains("clock:accept"), "{refused}");
    }
    assert!(dir.clock_held.load(Ordering::Relaxed), "as it is told");
    accept_clock(&broker);
    assert_eq!(deliver_now(&broker, &id, true).unwrap(), None);
    let moved = deliver_now(&broker, &id, false).unwrap().unwrap();
    assert!(moved.due_ms <= clock::now_ms());
}

#[tokio::test]
async fn a_list_that_takes_too_long_says_so() {
    let broker = open(&SimFs::new());
    create(&broker).await;
    let sent = send(&broker, &batch(0, &[60_000])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    let query = the_first();
    let late = list_until(&broker, &query, &|| true).unwrap_err();
    assert!(matches!(late, DelayedError::TooLong), "{late}");
    let page = list_until(&broker, &query, &|| false).unwrap();
    assert_eq!((page.records.len(), page.more), (1, false));
}

/// A file of far records that cannot be read, while what damage took is counted.
#[tokio::test]
async fn a_count_after_damage_that_fails_is_not_tried_again_at_once() {
    let data = tempfile::tempdir().unwrap();
    let broker = testing::broker(data.path(), &[]);
    create(&broker).await;
    let sent = send(&broker, &batch(0, &[7_200_000])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    let dir = broker.delays().dir(0).unwrap();
    let now_ms = clock::now_ms();
    // It copies to files once a second.
    for at in 0..3 {
        let copied = dir.with(|queue| queue.maintain(now_ms + at * 1_000));
        copied.unwrap().unwrap();
    }
    let sent = send(&broker, &batch(1, &[60_000])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    checkpoints::checkpoint(&broker, dir).unwrap();
    drop(broker);
    let far = file(data.path(), ".delaybucket");
    let (kept, log) = (data.path().join("kept"), file(data.path(), ".delaylog"));
    let mut bytes = std::fs::read(&log).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    std::fs::rename(&far, &kept).unwrap();
    std::fs::create_dir(&far).unwrap();

    let broker = testing::broker(data.path(), &[]);
    let dir = broker.delays().dir(0).unwrap();
    let wants = || dir.with(|queue| queue.wants_recount()).unwrap();
    let mut recount = Recount::default();
    assert!(wants() && !recount.step(dir));
    std::fs::remove_dir(&far).unwrap();
    std::fs::rename(&kept, &far).unwrap();
    for _ in 0..3 {
        assert!(!recount.step(dir) && wants(), "it rests");
    }
    tokio::time::sleep(limits::DELAY_RECOUNT_PAUSE).await;
    while recount.step(dir) {}
    assert_eq!((wants(), pending(&broker)), (false, 1));
}

/// The one file of the delay store that holds something and whose name ends so.
fn file(data: &Path, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(data.join("delays")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let holds = |path: &PathBuf| std::fs::metadata(path).unwrap().len() > 32;
    let named = |path: &PathBuf| path.to_string_lossy().ends_with(end);
    let mut paths = paths.filter(|path| named(path) && holds(path));
    let path = paths.next().unwrap();
    assert_eq!(paths.next(), None);
    path
}

/// The first directory failed, and what was to be told to the second was not: nothing in it was ever delivered.
#[tokio::test]
async fn a_directory_that_fails_keeps_no_other_from_being_resumed() {
    let disk = SimFs::new();
    let dirs = ["log.dirs=/one,/two", "num.partitions=2"];
    let open = |disk: &SimFs| testing::broker_on(Arc::new(disk.clone()), Path::new("/"), &dirs);
    let broker = open(&disk);
    create(&broker).await;
    let held = |broker: &Broker| {
        let id = broker.topics().named("t").unwrap().id;
        let dirs = broker.delays().dirs().iter();
        let held = dirs.map(|dir| dir.with(|queue| queue.is_paused(id)));
        held.collect::<Vec<_>>()
    };
    set_paused(&broker, "t", true).unwrap();
    assert_eq!(held(&broker), [Some(true); 2]);
    disk.fail_at(disk.op_count(), Fault::Eio);
    let failed = set_paused(&broker, "t", false).unwrap_err();
    assert!(matches!(failed, DelayedError::Storage(_)), "{failed}");
    assert_eq!(held(&broker)[1], Some(false));
    let again = open(&disk.kill());
    assert_eq!(held(&again), [Some(true), Some(false)]);
    set_paused(&again, "t", false).unwrap();
    assert_eq!(held(&again), [Some(false); 2]);
}

/// A topic whose expired records are kept, and a record that has expired.
async fn expired(broker: &Arc<Broker>) {
    let mut topic = NewTopic::with_defaults("t", broker.config());
    for (name, value) in [("delay.mode", "header"), ("delay.expired", "dead-letter")] {
        topic
            .configs
            .push((name.to_owned(), Some(value.to_owned())));
    }
    let made = create_topics(broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    testing::create_topic(broker, "t.dlq", 1).await;
    send_with(broker, &EXPIRES);
    tokio::time::sleep(Duration::from_millis(30)).await;
}

const EXPIRES: [(&str, &str); 2] = [("delay-ms", "20"), ("expire-ms", "10")];

fn send_with(broker: &Broker, headers: &[(&'static str, &'static str)]) {
    let header = |(key, value): &(&'static str, &'static str)| RecordHeader {
        key: Bytes::from_static(key.as_bytes()),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let headers = headers.iter().map(header).collect();
    let builder = RecordBatchBuilder::new();
    let builder = builder.record_with_headers(clock::now_ms(), None, Some(b"v"), headers);
    let sent = send(broker, &builder.build().unwrap().bytes).unwrap();
    assert_eq!(told(broker, sent), Ok(-1));
}

/// How many dead letters there are, and what is pending.
fn dead_and_pending(broker: &Broker) -> (i64, u64) {
    let topics = broker.topics();
    let dead = topics.named("t.dlq").unwrap().partition(0).unwrap();
    (dead.log().offsets().log_end, pending(broker))
}

/// What the delivering thread does, with syncs in between.
fn deliver_all(broker: &Broker) {
    let dir = broker.delays().dir(0).unwrap();
    let mut deliverer = Deliverer::new(broker, dir);
    for _ in 0..5 {
        deliverer.round();
        dir.sync();
    }
}

#[tokio::test]
async fn what_has_expired_waits_for_the_disk_and_is_a_dead_letter_once() {
    for power_cut in [false, true] {
        let mut disk = SimFs::new();
        let mut broker = open(&disk);
        expired(&broker).await;
        disk.set_free_bytes(10);
        deliver_all(&broker);
        assert_eq!(dead_and_pending(&broker), (0, 1), "there is no room");
        disk.set_free_bytes(1 << 30);
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut deliverer = Deliverer::new(&broker, broker.delays().dir(0).unwrap());
        for _ in 0..2 {
            deliverer.round();
            let found = dead_and_pending(&broker);
            assert_eq!(found, (0, 2), "both wait until that is on the disk");
        }
        drop(deliverer);
        if power_cut {
            disk = disk.crash_lose_all_unsynced();
            broker = open(&disk);
            assert_eq!(dead_and_pending(&broker), (0, 1));
        }
        deliver_all(&broker);
        assert_eq!(dead_and_pending(&broker), (1, 0), "power cut: {power_cut}");
        let again = open(&disk.kill());
        deliver_all(&again);
        assert_eq!(dead_and_pending(&again), (1, 0), "and not again");
    }
}

/// Whoever was told that a record is cancelled or replaced does not find it among the dead letters.
#[tokio::test]
async fn what_is_cancelled_or_replaced_while_others_are_delivered_is_no_dead_letter() {
    let broker = open(&SimFs::new());
    expired(&broker).await;
    let [delay, expire] = EXPIRES;
    send_with(&broker, &[delay, expire, ("delay-id", "a")]);
    send_with(&broker, &EXPIRES);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let dir = broker.delays().dir(0).unwrap();
    let now_ms = clock::now_ms();
    let fired = dir.with(|queue| queue.fire_keeping(now_ms, &|_| true));
    let kept = fired.unwrap().unwrap().kept;
    assert_eq!(kept.len(), 3);
    let query = the_first();
    let first = list(&broker, &query).unwrap().records.remove(0).id;
    cancel(&broker, &first).unwrap();
    let replace = [
        ("delay-ms", "60000"),
        ("delay-id", "a"),
        ("delay-op", "replace"),
    ];
    send_with(&broker, &replace);
    Deliverer::new(&broker, dir).bury_all(&kept, now_ms);
    dir.sync();
    deliver_all(&broker);
    assert_eq!(
        dead_and_pending(&broker),
        (1, 1),
        "the third, and the replacement"
    );
    // None of them is left.
    Deliverer::new(&broker, dir).bury_all(&kept, now_ms);
    deliver_all(&broker);
    assert_eq!(dead_and_pending(&broker), (1, 1));
}

#[tokio::test]
async fn a_sync_for_an_administrator_wakes_what_waits_for_the_disk() {
    let broker = open(&SimFs::new());
    create(&broker).await;
    let sent = send(&broker, &batch(0, &[60_000])).unwrap();
    assert_eq!(told(&broker, sent), Ok(-1));
    let dir = broker.delays().dir(0).unwrap();
    dir.deliver_signal.wait(Duration::ZERO);
    dir.make_durable(0).unwrap();
    let since_ms = clock::steady_ms();
    dir.deliver_signal.wait(Duration::from_secs(30));
    assert!(clock::steady_ms() - since_ms < 15_000);
}

#[tokio::test]
async fn dead_letters_wait_while_their_topic_is_compacted() {
    let broker = open(&SimFs::new());
    expired(&broker).await;
    let compact = |compact: bool| {
        let topics = broker.topics();
        let log = topics.named("t.dlq").unwrap().partition(0).unwrap().log();
        let mut config = LogConfig::clone(&log.config());
        config.cleanup_policy.compact = compact;
        log.set_config(config);
    };
    compact(true);
    deliver_all(&broker);
    assert_eq!(dead_and_pending(&broker), (0, 1), "it waits");
    compact(false);
    tokio::time::sleep(Duration::from_millis(600)).await;
    deliver_all(&broker);
    assert_eq!(dead_and_pending(&broker), (1, 0));
}
