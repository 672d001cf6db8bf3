//! A full disk: produce is refused, fetch goes on, and nothing has to be restarted when space returns.
//!
//! Runs on a small ext4 image that is mounted over a loop device, which needs root; without it the test
//! says so and is ignored, except in CI, where it must run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod support;

#[path = "support/machine.rs"]
mod machine;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use machine::{LoopDisk, succeeds, tool};
use support::{Broker, batch};
use tidewheel_protocol::ErrorCode;

const IMAGE_BYTES: u64 = 48 << 20;
const MKFS: [&str; 6] = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"];

fn main() -> ExitCode {
    let name = "fact_25_a_full_disk_refuses_produce_and_recovers".to_owned();
    let test = Box::new(fact_25_a_full_disk_refuses_produce_and_recovers);
    machine::run(machine::missing_for_mounts(&MKFS[..1]), vec![(name, test)])
}

/// Takes all space but about `left` bytes.
fn fill(disk: &LoopDisk, left: u64) -> PathBuf {
    let filler = disk.root().join("filler");
    let free = rustix::fs::statvfs(disk.root()).unwrap();
    let bytes = (free.f_bavail * free.f_frsize).saturating_sub(left);
    let length = bytes.to_string();
    succeeds(tool("fallocate").args(["-l", &length]).arg(&filler));
    filler
}

fn fact_25_a_full_disk_refuses_produce_and_recovers() {
    let disk = LoopDisk::new(IMAGE_BYTES, &MKFS);
    let broker = Broker::start_with(&disk.data(), &["log.segment.bytes=4194304"]);
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
