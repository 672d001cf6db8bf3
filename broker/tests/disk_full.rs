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

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use support::{Broker, batch};
use tidewheel_protocol::ErrorCode;

const IMAGE_BYTES: u64 = 48 << 20;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = what_is_missing();
    let required = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let name = match &missing {
        Some(why) if !required => {
            format!("fact_25_a_full_disk_refuses_produce_and_recovers (ignored: {why})")
        }
        _ => "fact_25_a_full_disk_refuses_produce_and_recovers".to_owned(),
    };
    let trial = Trial::test(name, move || match missing {
        Some(why) => Err(Failed::from(why)),
        None => {
            fact_25_a_full_disk_refuses_produce_and_recovers();
            Ok(())
        }
    });
    let ignored = !required && what_is_missing().is_some();
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(ignored)]).exit_code()
}

fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting a loop device needs root".to_owned());
    }
    let made = tool("mkfs.ext4").arg("-V").output();
    made.err().map(|error| format!("mkfs.ext4: {error}"))
}

/// A system tool, also where /sbin is not on the path.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// A small file system, unmounted when dropped.
struct SmallDisk {
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        #[expect(
            clippy::disallowed_methods,
            reason = "the image of the file system, never mapped"
        )]
        std::fs::File::create(&image)
            .unwrap()
            .set_len(IMAGE_BYTES)
            .unwrap();
        let mount = dir.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        succeeds(
            tool("mkfs.ext4")
                .args(["-q", "-m", "0", "-O", "^has_journal"])
                .arg(&image),
        );
        succeeds(tool("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
        Self { mount, _dir: dir }
    }

    fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// Takes all space but about `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let filler = self.mount.join("filler");
        let free = rustix::fs::statvfs(&self.mount).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(left);
        let length = bytes.to_string();
        succeeds(tool("fallocate").args(["-l", &length]).arg(&filler));
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        succeeds(tool("umount").arg(&self.mount));
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn fact_25_a_full_disk_refuses_produce_and_recovers() {
    let disk = SmallDisk::new();
    let broker = Broker::start_with(&disk.data(), &["log.segment.bytes=4194304"]);
    let mut client = broker.connect();
    client.create_topic("t", 1, &[]);
    let value = "x".repeat(100_000);
    let first = client.produce("t", 0, -1, batch(&["first"]));
    assert_eq!(first.error_code, 0);
    let filler = disk.fill(1 << 20);
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
