//! The power is cut under a broker that is at work, on real file systems: ext4 and XFS over loop devices,
//! shut down by their own ioctl, which keeps what was synced and loses the rest, directory entries too.
//! After every cut the next start is held to the ledger of what was acknowledged.
//!
//! Needs root; without it the tests say so and are ignored, except in CI, where they must run.

use libtest_mimic::Trial;

use crate::machine;
use crate::support;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use crate::ledger::{Ledger, Power, Random, SETTINGS};
use crate::machine::LoopDisk;
use crate::support::Broker;

/// How often the power is cut on each file system.
const CUTS: u64 = 25;

pub(crate) fn trials() -> Vec<Trial> {
    let tools = ["mkfs.ext4", "mkfs.xfs", "xfs_io"];
    let ext4 = || cuts(LoopDisk::new(256 << 20, &["mkfs.ext4", "-q"]), 1);
    let xfs = || cuts(LoopDisk::new(512 << 20, &["mkfs.xfs", "-q"]), 2);
    let name = |kind| format!("a_power_cut_on_{kind}_loses_nothing_that_was_acknowledged");
    machine::trials(
        machine::missing_for_mounts(&tools),
        vec![(name("ext4"), Box::new(ext4)), (name("xfs"), Box::new(xfs))],
    )
}

/// Cuts the power again and again; `seed` decides when.
fn cuts(mut disk: LoopDisk, seed: u64) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut ledger = Ledger::default();
    for cut in 0..CUTS {
        let broker = Broker::start_with(&disk.data(), &SETTINGS);
        ledger.check(&broker);
        // Some come right after the start, in the first writes.
        let acks = random.below(400).saturating_sub(40);
        println!("cut {cut} after {acks} acknowledgements");
        cut_under_load(&disk, &broker, &mut ledger, (cut, acks));
        // Its only directory is offline.
        assert_eq!(broker.wait(), Some(1));
        disk.power_on();
        let unsynced = std::fs::read(unsynced_file(&disk, cut)).unwrap_or_default();
        assert!(unsynced.is_empty(), "the cut took what nobody synced");
    }
    let broker = Broker::start_with(&disk.data(), &SETTINGS);
    ledger.check(&broker);
    assert!(broker.stop(), "a clean stop");
    let verified = support::run(&["log", "verify", disk.data().to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
    let broker = Broker::start_with(&disk.data(), &SETTINGS);
    ledger.check(&broker);
    assert!(broker.stop(), "a clean stop");
}

/// A name that was not there before: ext4 syncs a file that is written over.
fn unsynced_file(disk: &LoopDisk, cut: u64) -> PathBuf {
    disk.root().join(format!("unsynced-{cut}"))
}

/// Everybody works until the power goes, after so many acknowledgements.
fn cut_under_load(disk: &LoopDisk, broker: &Broker, ledger: &mut Ledger, (cut, acks): (u64, u64)) {
    let (acked, all_acked) = sync_channel(1);
    let power = Power::default();
    std::thread::scope(|scope| {
        ledger.work(scope, broker, &power, &acked);
        drop(acked);
        for _ in 0..acks {
            all_acked.recv().expect("work goes on until the cut");
        }
        std::fs::write(unsynced_file(disk, cut), b"never synced").unwrap();
        power.goes();
        LoopDisk::cut_power(&disk.root());
        // The rest learns of it by itself.
        all_acked.into_iter().for_each(drop);
    });
}
