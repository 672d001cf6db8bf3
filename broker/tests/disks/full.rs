//! A full disk: produce is refused, fetch, groups and changes of topics go on, also over a restart, and
//! nothing has to be restarted when space returns.
//!
//! Runs on a small ext4 image that is mounted over a loop device, which needs root; without it the test
//! says so and is ignored, except in CI, where it must run.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::machine::{self, LoopDisk, succeeds, tool};
use crate::support::groups::{codes, commit_request, committed, find, loaded};
use crate::support::{self, Broker, Client, batch, eventually};
use tidewheel_protocol::messages::offset_commit::OffsetCommitResponse;
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder};

const IMAGE_BYTES: u64 = 48 << 20;
const MKFS: [&str; 6] = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"];

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 5] = [
        (
            "fact_25_a_full_disk_refuses_produce_and_recovers",
            fact_25_a_full_disk_refuses_produce_and_recovers,
        ),
        (
            "the_reserve_lets_groups_commit_and_topics_go_while_clients_are_refused",
            the_reserve_lets_groups_commit_and_topics_go_while_clients_are_refused,
        ),
        (
            "where_others_fill_the_disk_groups_commit_and_a_start_succeeds",
            where_others_fill_the_disk_groups_commit_and_a_start_succeeds,
        ),
        (
            "a_topic_that_lets_old_records_go_takes_more_than_the_disk_holds",
            a_topic_that_lets_old_records_go_takes_more_than_the_disk_holds,
        ),
        (
            "a_full_disk_refuses_delayed_records_and_keeps_those_it_has",
            a_full_disk_refuses_delayed_records_and_keeps_those_it_has,
        ),
    ];
    let tests = tests.into_iter();
    let boxed = tests.map(|(name, test)| (name.to_owned(), Box::new(test) as Box<dyn Fn() + Send>));
    machine::trials(machine::missing_for_mounts(&MKFS[..1]), boxed.collect())
}

fn free(disk: &LoopDisk) -> u64 {
    let space = rustix::fs::statvfs(disk.root()).unwrap();
    space.f_bavail * space.f_frsize
}

/// Takes all space but about `left` bytes.
fn fill(disk: &LoopDisk, left: u64) -> PathBuf {
    let filler = disk.root().join("filler");
    let length = free(disk).saturating_sub(left).to_string();
    succeeds(tool("fallocate").args(["-l", &length]).arg(&filler));
    filler
}

fn fact_25_a_full_disk_refuses_produce_and_recovers() {
    let disk = LoopDisk::new(IMAGE_BYTES, &MKFS);
    // To the last byte.
    let settings = [
        "log.segment.bytes=4194304",
        "tidewheel.log.dir.reserved.bytes=0",
    ];
    let broker = Broker::start_with(&disk.data(), &settings);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let value = "x".repeat(100_000);
    let first = client.produce("t", 0, -1, batch(&["first"]));
    assert_eq!(first.error_code, 0);
    let filler = fill(&disk, 1 << 20);
    let mut acked = 1;
    let refused = loop {
        let answer = client.produce("t", 0, -1, batch(&[&value]));
        if answer.error_code != 0 {
            break answer;
        }
        assert_eq!(answer.base_offset, acked, "offsets stay dense");
        acked += 1;
        assert!(acked < 200, "the disk must fill up");
    };
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    // Fetch is served, from this connection and from a new one, and sees what was acknowledged.
    assert_eq!(
        i64::try_from(client.consume("t", 0, 0).len()).unwrap(),
        acked
    );
    assert_eq!(
        i64::try_from(broker.connect().consume("t", 0, 0).len()).unwrap(),
        acked
    );
    // It stays refused, and does not turn into something worse.
    for _ in 0..10 {
        let code = client.produce("t", 0, 1, batch(&[&value])).error_code;
        assert_eq!(code, ErrorCode::KafkaStorageError.code());
    }
    // Space returns: no restart, no new connection.
    std::fs::remove_file(filler).unwrap();
    let answer = client.produce("t", 0, -1, batch(&["after"]));
    assert_eq!((answer.error_code, answer.base_offset), (0, acked));
    assert_is_whole(broker, &disk.data(), acked + 1);
}

/// The disk is full when they are accepted, and when others are due.
fn a_full_disk_refuses_delayed_records_and_keeps_those_it_has() {
    let disk = LoopDisk::new(IMAGE_BYTES, &MKFS);
    let settings = [
        "log.segment.bytes=4194304",
        "tidewheel.log.dir.reserved.bytes=0",
    ];
    let broker = Broker::start_with(&disk.data(), &settings);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("delay.mode", "timestamp")]);
    let value = "x".repeat(100_000);
    assert_eq!(client.produce("t", 0, -1, batch(&["first"])).error_code, 0);
    let due = support::now_ms() + 8_000;
    let mut produce = |value: &str| {
        let builder = RecordBatchBuilder::new().record(due, None, Some(value.as_bytes()));
        let answer = client.produce("t", 0, -1, builder.build().unwrap().bytes);
        answer.error_code
    };
    assert_eq!(produce("kept"), 0);
    let filler = fill(&disk, 1 << 20);
    let mut acked = 1;
    while produce(&value) == 0 {
        acked += 1;
        assert!(acked < 200, "the disk must fill up");
    }
    assert_eq!(produce(&value), ErrorCode::KafkaStorageError.code());
    // The last bytes too, so that nothing that is due finds room.
    let last = disk.root().join("last");
    assert!(std::fs::write(&last, vec![1; 8 << 20]).is_err(), "no room");
    eventually("they are due", || support::now_ms() > due + 1_000);
    let mut client = broker.connect();
    assert!(client.consume("t", 0, 0).len() <= acked);
    std::fs::remove_file(filler).unwrap();
    std::fs::remove_file(last).unwrap();
    let mut seen = Vec::new();
    eventually("all are delivered", || {
        seen = client.consume("t", 0, 0);
        seen.len() > acked
    });
    assert_eq!(&seen[1].value[..], b"kept");
    assert_eq!(client.produce("t", 0, -1, batch(&["after"])).error_code, 0);
    assert_is_whole(broker, &disk.data(), i64::try_from(acked).unwrap() + 2);
}

/// Stops and starts the broker and reads everything once more.
fn assert_is_whole(broker: Broker, data: &Path, records: i64) {
    assert!(broker.stop(), "a clean stop");
    let verified = support::run(&["log", "verify", data.to_str().unwrap()]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let broker = Broker::start(data);
    let read = broker.connect().consume("t", 0, 0);
    assert_eq!(i64::try_from(read.len()).unwrap(), records);
    assert_eq!(&read.last().unwrap().value[..], b"after");
    assert!(broker.stop());
}

/// Takes all space, to the last byte.
fn fill_whole(disk: &LoopDisk) -> [PathBuf; 2] {
    let filler = fill(disk, 1 << 20);
    let rest = disk.root().join("rest");
    let mut command = tool("dd");
    let output = command
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", rest.display()));
    assert!(
        !output.output().unwrap().status.success(),
        "it ends at the end"
    );
    assert!(free(disk) < 32 << 10, "{}", free(disk));
    [filler, rest]
}

/// Produces until the broker takes no more; returns how many batches it took.
fn fill_up(client: &mut Client, topic: &str) -> i64 {
    let value = "x".repeat(100_000);
    for taken in 0..1_000 {
        let answer = client.produce(topic, 0, 1, batch(&[&value]));
        if answer.error_code != 0 {
            assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code());
            let message = answer.error_message.unwrap();
            assert!(message.contains("is kept for group commits"), "{message}");
            return taken;
        }
    }
    panic!("the disk must fill up");
}

/// Commits an offset of group `g`, which must work and is read back.
fn commit(client: &mut Client, offset: i64) {
    let request = commit_request("g", "t", &[(0, offset, "")]);
    let answer: OffsetCommitResponse = client.call(8, &request);
    assert_eq!(codes(&answer), [0]);
    let expected = [("t".to_owned(), 0, offset, String::new())];
    assert_eq!(committed(client, "g"), expected);
}

/// On a small file system the reserve is a twentieth of it.
fn the_reserve_lets_groups_commit_and_topics_go_while_clients_are_refused() {
    const SETTINGS: [&str; 1] = ["log.segment.bytes=1048576"];
    let disk = LoopDisk::new(IMAGE_BYTES, &MKFS);
    let reserved = IMAGE_BYTES / 20;
    let broker = Broker::start_with(&disk.data(), &SETTINGS);
    let mut client = loaded(&broker);
    assert_eq!(find(&mut client, &["g"]).coordinators[0].error_code, 0);
    let mut client = loaded(&broker);
    client.create_topic("t", 1, &[]);
    client.create_topic("gone", 1, &[]);
    let value = "y".repeat(500_000);
    for _ in 0..20 {
        let answer = client.produce("gone", 0, -1, batch(&[&value]));
        assert_eq!(answer.error_code, 0);
    }
    commit(&mut client, 0);
    fill(&disk, reserved + (4 << 20));
    let mut taken = fill_up(&mut client, "t");
    assert!(taken > 10, "{taken}");
    assert!(free(&disk) > reserved / 2, "the reserve is still there");
    for offset in 1..100 {
        commit(&mut client, offset);
    }
    client.create_topic("new", 3, &[]);
    // Also over restarts, clean and not; a stop gives back blocks that were reserved ahead.
    assert!(broker.stop(), "a clean stop");
    let broker = Broker::start_with(&disk.data(), &SETTINGS);
    let mut client = loaded(&broker);
    taken += fill_up(&mut client, "t");
    commit(&mut client, 100);
    broker.kill();
    let broker = Broker::start_with(&disk.data(), &SETTINGS);
    let mut client = loaded(&broker);
    taken += fill_up(&mut client, "t");
    commit(&mut client, 101);
    assert_eq!(
        i64::try_from(client.consume("t", 0, 0).len()).unwrap(),
        taken
    );
    // A deleted topic gives its space back long before `file.delete.delay.ms`.
    client.delete_topic("gone");
    eventually("records are taken again", || {
        client.produce("t", 0, -1, batch(&["after"])).error_code == 0
    });
    assert_is_whole(broker, &disk.data(), taken + 1);
}

fn a_topic_that_lets_old_records_go_takes_more_than_the_disk_holds() {
    const BYTES: u64 = 512 << 20;
    let disk = LoopDisk::new(BYTES, &MKFS);
    let broker = Broker::start_with(&disk.data(), &["log.segment.bytes=1048576"]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[("tidewheel.retention.low.disk.ms", "0")]);
    client.create_topic("kept", 1, &[]);
    let value = "x".repeat(900_000);
    let kept = batch(&[&value]);
    for _ in 0..4 {
        assert_eq!(client.produce("kept", 0, -1, kept.clone()).error_code, 0);
    }
    fill(&disk, BYTES / 10 + (8 << 20));
    let last = 100_i64;
    for offset in 0..last {
        let mut base_offset = -1;
        eventually("room is made", || {
            let answer = client.produce("t", 0, 1, batch(&[&value]));
            base_offset = answer.base_offset;
            answer.error_code == 0
        });
        assert_eq!(base_offset, offset, "offsets stay dense");
    }
    assert_eq!(client.consume("kept", 0, 0).len(), 4);
    let read = client.consume("t", 0, last - 1);
    assert_eq!(read.len(), 1, "the newest is there");
    assert!(broker.stop());
}

/// No reserve that is only left free would be there; a file has it.
fn where_others_fill_the_disk_groups_commit_and_a_start_succeeds() {
    const BYTES: u64 = 256 << 20;
    const SETTINGS: [&str; 1] = ["log.segment.bytes=1048576"];
    let disk = LoopDisk::new(BYTES, &MKFS);
    let ballast = disk.data().join("tidewheel.ballast");
    let held = || std::fs::metadata(&ballast).map_or(0, |file| file.len());
    let is_full = |client: &mut Client| {
        let code = client.produce("t", 0, 1, batch(&["x"])).error_code;
        code == ErrorCode::KafkaStorageError.code()
    };
    let start = || Broker::start_with(&disk.data(), &SETTINGS);
    let mut running = Some(start());
    let mut client = loaded(running.as_ref().unwrap());
    assert_eq!(find(&mut client, &["g"]).coordinators[0].error_code, 0);
    client.create_topic("t", 1, &[]);
    client.create_topic("gone", 1, &[]);
    let value = "y".repeat(500_000);
    assert_eq!(
        client.produce("gone", 0, -1, batch(&[&value])).error_code,
        0
    );
    let mut committed_last = 0;
    // While it runs, over a clean stop, and over a kill.
    for case in 0..3 {
        client = loaded(running.as_ref().unwrap());
        assert_eq!(client.produce("t", 0, -1, batch(&["v"])).error_code, 0);
        commit(&mut client, committed_last);
        eventually("space is set aside", || held() > 0);
        match case {
            0 => {}
            1 => assert!(running.take().unwrap().stop(), "a clean stop"),
            _ => running.take().unwrap().kill(),
        }
        let filler = fill_whole(&disk);
        client = loaded(running.get_or_insert_with(start));
        let expected = [("t".to_owned(), 0, committed_last, String::new())];
        assert_eq!(committed(&mut client, "g"), expected);
        for _ in 0..40 {
            committed_last += 1;
            commit(&mut client, committed_last);
        }
        assert!(is_full(&mut client), "clients get none of it");
        assert_eq!(held(), 0, "that is where the room came from");
        if case == 0 {
            client.delete_topic("gone");
        }
        filler
            .iter()
            .for_each(|file| std::fs::remove_file(file).unwrap());
        eventually("records are taken again", || !is_full(&mut client));
    }
    let records = i64::try_from(client.consume("t", 0, 0).len()).unwrap();
    assert!(records >= 3);
    assert_eq!(client.produce("t", 0, -1, batch(&["after"])).error_code, 0);
    assert_is_whole(running.unwrap(), &disk.data(), records + 1);
}
