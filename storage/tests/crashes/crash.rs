//! Cuts the power, kills the process or fails the disk at **every** operation of seeded scenarios, and
//! checks that nothing is lost that was acknowledged at its durability class.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::check::{Crash, check, probe};
use crate::support::{self, Random};
use crate::world::{Step, World, scenario};
use tidewheel_storage::fs::{Fault, SimFs};

/// Steps of a scenario.
const STEPS: u64 = 60;

/// The seeds of a test: its own ones, or `TIDEWHEEL_CRASH_SEEDS=from..to` for a longer run.
fn seeds(own: &[u64]) -> Vec<u64> {
    let Ok(range) = std::env::var("TIDEWHEEL_CRASH_SEEDS") else {
        return own.to_vec();
    };
    let (from, to) = range
        .split_once("..")
        .expect("TIDEWHEEL_CRASH_SEEDS=from..to");
    (from.parse().unwrap()..to.parse().unwrap()).collect()
}

/// Runs a scenario until its end, or until the disk says no where `stop_at_error`.
fn run(fs: SimFs, steps: &[Step], stop_at_error: bool) -> World {
    let mut world = World::new(fs);
    let mut outcome = world.start();
    if outcome.is_err() && !stop_at_error {
        outcome = world.start();
    }
    for step in steps {
        if outcome.is_err() && stop_at_error {
            break;
        }
        outcome = world.step(step);
        if world.manager.is_none() && !stop_at_error {
            outcome = world.start();
        }
    }
    drop(outcome);
    world
}

/// How many operations the scenario takes when nothing fails.
fn count_ops(steps: &[Step]) -> u64 {
    let world = run(SimFs::new(), steps, true);
    assert!(world.manager.is_some(), "the scenario itself is sound");
    world.fs.op_count()
}

/// Runs `test` for every operation of every seed, and says which one failed.
fn at_every_op(own_seeds: &[u64], test: impl Fn(&[Step], u64, u64)) {
    for seed in seeds(own_seeds) {
        let steps = scenario(seed, STEPS);
        let ops = count_ops(&steps);
        println!("seed {seed}: {ops} operations");
        for op in 0..ops {
            let outcome = catch_unwind(AssertUnwindSafe(|| test(&steps, seed, op)));
            if let Err(panic) = outcome {
                println!("failed with seed {seed} at operation {op}");
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    at_every_op(&[1, 2], |steps, seed, op| {
        let fs = SimFs::new();
        fs.fail_at(op, Fault::Crash);
        let world = run(fs, steps, true);
        let World {
            fs,
            ledger,
            manager,
        } = world;
        drop(manager);
        check(fs.kill(), &ledger, Crash::Kill);
        check(fs.crash_lose_all_unsynced(), &ledger, Crash::Power);
        for image in 0..3 {
            check(
                fs.crash(seed * 1_000_003 + op * 31 + image),
                &ledger,
                Crash::Power,
            );
        }
    });
}

#[test]
fn a_crash_in_the_middle_of_recovery_is_a_crash_like_any_other() {
    at_every_op(&[3], |steps, seed, op| {
        let fs = SimFs::new();
        fs.fail_at(op, Fault::Crash);
        let World {
            fs,
            ledger,
            manager,
        } = run(fs, steps, true);
        drop(manager);
        let mut random = Random(seed ^ op << 8);
        let image = fs.crash(random.next());
        let start = |fs: SimFs| {
            let mut world = World {
                fs,
                ledger: ledger.clone(),
                manager: None,
            };
            let before = world.fs.op_count();
            let started = world.start().is_ok();
            (world.fs.op_count() - before, started, world.ledger)
        };
        let (ops, started, _) = start(image.crash(random.next()));
        assert!(started && ops > 0);
        let again = image.crash(random.next());
        let cut_at = again.op_count() + random.below(ops);
        again.fail_at(cut_at, Fault::Crash);
        let (_, _, ledger) = start(again.clone());
        check(again.crash(random.next()), &ledger, Crash::Power);
        check(again.kill(), &ledger, Crash::Power);
    });
}

#[test]
fn a_failing_disk_loses_nothing_that_was_acknowledged() {
    at_every_op(&[4, 13], |steps, seed, op| {
        for fault in [Fault::Eio, Fault::ShortWrite] {
            let fs = SimFs::new();
            fs.fail_at(op, fault);
            let World {
                fs,
                ledger,
                manager,
            } = run(fs, steps, false);
            drop(manager);
            // What was only in the cache may be gone after a failed sync, also without a power cut.
            check(fs.kill(), &ledger, Crash::Power);
            check(fs.crash_lose_all_unsynced(), &ledger, Crash::Power);
            check(fs.crash(seed + op), &ledger, Crash::Power);
        }
    });
}

#[test]
fn a_full_disk_refuses_and_recovers_without_a_restart() {
    at_every_op(&[5], |steps, seed, op| {
        let fs = SimFs::new();
        fs.fail_at(op, Fault::Enospc);
        let mut world = run(fs, steps, false);
        let offline = world
            .manager
            .as_ref()
            .is_none_or(|manager| manager.offline_cause(0).is_some());
        if !offline {
            probe(&mut world);
            let manager = world.manager.as_ref().unwrap();
            manager
                .checkpoint(support::NOW)
                .expect("a checkpoint once there is space");
        }
        let World {
            fs,
            ledger,
            manager,
        } = world;
        drop(manager);
        let class = if offline { Crash::Power } else { Crash::Kill };
        check(fs.kill(), &ledger, class);
        check(fs.crash(seed + op), &ledger, Crash::Power);
    });
}
