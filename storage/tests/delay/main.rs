//! A delay queue with its partitions on a simulated disk, under a virtual clock: the power is cut, the
//! process killed or the disk fails at **every** operation of seeded scenarios, and afterwards everything
//! that was promised is checked. A meta test shows that the checks see what they are for.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets an error has failed, and prints its seed"
)]

mod changing;
mod check;
mod damage;
mod delivering;
mod ledger;
mod moments;
mod resources;
mod scenario;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use check::{Crash, check};
use scenario::{Step, scenario};
use support::Random;
use tidewheel_storage::fs::{Fault, SimFs};
use world::{Flaw, World};

/// Steps of a scenario.
const STEPS: u64 = 90;

/// The seeds of a test: its own ones, or `TIDEWHEEL_DELAY_SEEDS=from..to` for a longer run. What one has shown
/// is seen again with `TIDEWHEEL_DELAY_SEEDS=7..8 TIDEWHEEL_DELAY_OP=410`.
fn seeds(own: &[u64]) -> Vec<u64> {
    let Ok(range) = std::env::var("TIDEWHEEL_DELAY_SEEDS") else {
        return own.to_vec();
    };
    let (from, to) = range.split_once("..").expect("from..to");
    (from.parse().unwrap()..to.parse().unwrap()).collect()
}

/// Runs a scenario until its end or until the disk says no.
fn run(fs: SimFs, steps: &[Step], flaw: Flaw) -> World {
    let mut world = World::new(fs, flaw);
    let mut outcome = world.start().map(drop);
    for step in steps {
        if outcome.is_err() {
            break;
        }
        outcome = world.step(step);
    }
    drop(outcome);
    world
}

fn count_ops(steps: &[Step]) -> u64 {
    let world = run(SimFs::new(), steps, Flaw::None);
    assert!(world.is_running(), "the scenario itself is sound");
    world.fs.op_count()
}

/// Runs `test` for every `stride`th operation of every seed, and says which one failed.
fn at_every_op(own_seeds: &[u64], test: impl Fn(&[Step], u64, u64)) {
    for seed in seeds(own_seeds) {
        let steps = scenario(seed, STEPS);
        let ops = count_ops(&steps);
        println!("seed {seed}: {ops} operations");
        let only = std::env::var("TIDEWHEEL_DELAY_OP");
        let only: Option<u64> = only.ok().map(|op| op.parse().unwrap());
        for op in (0..ops).filter(|op| only.is_none_or(|only| only == *op)) {
            let outcome = catch_unwind(AssertUnwindSafe(|| test(&steps, seed, op)));
            if let Err(panic) = outcome {
                println!("failed with seed {seed} at operation {op}");
                resume_unwind(panic);
            }
        }
    }
}

/// Cases T3, T4, R6, R8: all of them are among the steps.
#[test]
fn a_crash_at_any_operation_loses_nothing_and_repeats_nothing() {
    at_every_op(&[1], |steps, seed, op| {
        let fs = SimFs::new();
        fs.fail_at(op, Fault::Crash);
        let world = run(fs, steps, Flaw::None);
        let (fs, ledger) = world.end();
        check(fs.kill(), &ledger, Crash::Kill);
        check(fs.crash_lose_all_unsynced(), &ledger, Crash::Power);
        check(fs.crash(seed * 1_000_003 + op), &ledger, Crash::Power);
    });
}

#[test]
fn a_crash_in_the_middle_of_a_start_is_a_crash_like_any_other() {
    at_every_op(&[5], |steps, seed, op| {
        let fs = SimFs::new();
        fs.fail_at(op, Fault::Crash);
        let (fs, ledger) = run(fs, steps, Flaw::None).end();
        let mut random = Random(seed ^ op << 8);
        let image = fs.crash(random.next());
        let probe = image.crash(random.next());
        let mut started = World::resume(probe.clone(), ledger.clone());
        started.start().unwrap();
        let ops = probe.op_count();
        drop(started);
        let again = image.crash(random.next());
        again.fail_at(random.below(ops), Fault::Crash);
        let mut restarted = World::resume(again.clone(), ledger.clone());
        assert!(restarted.start().is_err(), "the start was cut");
        drop(restarted);
        check(again.crash(random.next()), &ledger, Crash::Power);
        check(again.kill(), &ledger, Crash::Power);
    });
}

/// Case S4.
#[test]
fn a_failing_or_full_disk_loses_nothing_and_repeats_nothing() {
    at_every_op(&[7], |steps, seed, op| {
        // Another one for the same operation with the next seed.
        let faults = [Fault::Eio, Fault::ShortWrite, Fault::Enospc];
        let fault = faults[usize::try_from((op + seed + 2) % 3).unwrap()];
        let fs = SimFs::new();
        fs.fail_at(op, fault);
        let mut world = World::new(fs, Flaw::None);
        if world.start().is_ok() {
            for step in steps {
                if world.step(step).is_err() && !world.is_running() {
                    break;
                }
            }
        }
        let (fs, ledger) = world.end();
        // After a failed sync, what was only in the page cache may be gone without a power cut.
        check(fs.kill(), &ledger, Crash::Power);
        check(fs.crash(seed + op), &ledger, Crash::Power);
    });
}

#[test]
fn without_a_crash_everything_is_delivered_in_many_scenarios() {
    for seed in seeds(&(100..130).collect::<Vec<_>>()) {
        let steps = scenario(seed, 3 * STEPS);
        println!("seed {seed}");
        let mut world = World::new(SimFs::new(), Flaw::None);
        world.start().unwrap();
        for step in &steps {
            world.step(step).unwrap();
            world.check_counts();
        }
        let (fs, ledger) = world.end();
        check(fs.kill(), &ledger, Crash::Kill);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let world = run(SimFs::new(), &scenario(seed, 2 * STEPS), Flaw::None);
        (world.fs.op_count(), world.trace.clone())
    };
    let (ops, first) = trace(11);
    assert_eq!((ops, &first), (trace(11).0, &trace(11).1));
    assert!(first.len() > 50);
    assert_ne!(first, trace(12).1);
}

/// Whether some crash of some seed, of so many, shows that something is wrong.
fn is_caught(flaw: Flaw, seeds: u64) -> bool {
    std::panic::set_hook(Box::new(|_| ()));
    let caught = (1..=seeds).any(|seed| {
        let steps = scenario(seed, STEPS);
        let ops = count_ops(&steps);
        (0..ops).step_by(17).any(|op| {
            let fs = SimFs::new();
            fs.fail_at(op, Fault::Crash);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let world = run(fs, &steps, flaw);
                world.lose_bucket();
                let (fs, ledger) = world.end();
                check(fs.kill(), &ledger, Crash::Kill);
                check(fs.crash_lose_all_unsynced(), &ledger, Crash::Power);
            }));
            outcome.is_err()
        })
    });
    drop(std::panic::take_hook());
    caught
}

#[test]
fn broken_variants_are_caught() {
    for flaw in [
        Flaw::EarlyTick,
        Flaw::BelievedJump,
        Flaw::CursorAheadOfData,
        Flaw::MissingSync,
        Flaw::MissingBucketSync,
        Flaw::LostBucket,
        Flaw::ForgottenCursor,
        Flaw::ForgottenProducer,
        Flaw::ForgottenCancel,
        Flaw::TornReplacement,
        Flaw::DeletedCursor,
    ] {
        assert!(is_caught(flaw, 30), "{flaw:?} goes unnoticed");
    }
    assert!(!is_caught(Flaw::None, 3), "the checks are wrong themselves");
}
