//! What happens in a run: a seeded series of steps.

use crate::support::Random;

/// A partition of the world: there are three of two topics.
pub(crate) const PARTITIONS: usize = 3;
/// The furthest that a clock jumps: 90 years.
pub(crate) const JUMP_MAX_MS: i64 = 90 * 365 * 86_400_000;

/// A record batch to be delivered later.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Relative to the clock, ms; may be past.
    pub(crate) delay_ms: i64,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) id: Option<u8>,
    pub(crate) replace: bool,
    pub(crate) split: bool,
    pub(crate) value_len: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A group: plans, and whether a part of it is appended at once; a producer's number.
    Produce(usize, Vec<Plan>, bool, Option<i64>),
    /// A plain record, of an idempotent producer or of nobody.
    Plain(usize, Option<i64>),
    Cancel(usize, u8),
    /// Some pending record of the partition is due so many ms from now instead; may be past.
    Move(usize, u64, i64),
    Sync,
    /// The clock goes on by so many ms, and what is due is delivered.
    Tick(i64),
    /// To one ms before something may be due, if that is ahead; nothing may come.
    AlmostDue,
    /// Only the clock changes: it was set, by no more than a clock may drift.
    SetClock(i64),
    /// It was set far ahead, or back from there.
    Jump(i64),
    /// The machine sleeps: time passes, and nobody is awake.
    Suspend(i64),
    Maintain,
    Flush,
    /// Of the queue; with one of the partitions' logs.
    Checkpoint(bool),
    Pause(u8, bool),
    /// All records of the partition are deleted.
    Delete(usize),
    /// What the partition's settings no longer keep is deleted.
    Retain(usize),
    /// The partition's log refuses the next append.
    Refuse(usize),
    /// So many starts in one moment.
    Restart(u64),
}

fn delay(random: &mut Random) -> i64 {
    match random.below(10) {
        0 => -random.signed(50),
        1..=3 => random.signed(30),
        4..=5 => random.signed(3_000),
        6..=7 => random.signed(1_800_000),
        8 => random.signed(20) * 3_600_000,
        _ => random.signed(30) * 86_400_000 + random.signed(1_000),
    }
}

fn plan(random: &mut Random) -> Plan {
    let delay_ms = delay(random);
    Plan {
        delay_ms,
        expires_ms: random
            .chance(10)
            .then(|| delay_ms + random.signed(100) - 20),
        id: random
            .chance(30)
            .then(|| random.next().to_le_bytes()[0] % 4),
        replace: random.chance(30),
        split: random.chance(50),
        value_len: random.index(60),
    }
}

fn tick(random: &mut Random) -> i64 {
    match random.below(8) {
        0..=3 => random.signed(20),
        4..=5 => random.signed(2_000),
        6 => random.signed(900_000),
        _ => random.signed(3) * 43_200_000,
    }
}

/// How far a clock is set ahead that is set wrong: some come past the ends of what 31 and 32 bits count in
/// seconds, in 2038 and 2106.
fn jump(random: &mut Random) -> i64 {
    const YEAR_MS: i64 = 365 * 86_400_000;
    [3_600_000, 10 * YEAR_MS, 20 * YEAR_MS, JUMP_MAX_MS][random.index(4)]
}

/// The steps of a seed.
pub(crate) fn scenario(seed: u64, len: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = Vec::new();
    for _ in 0..len {
        let at = random.index(PARTITIONS as u64);
        steps.push(match random.below(100) {
            0..=33 => {
                let plans = (0..=random.below(4)).map(|_| plan(&mut random)).collect();
                let producer = random.chance(40).then(|| random.signed(2));
                Step::Produce(at, plans, random.chance(20), producer)
            }
            34..=37 => Step::Plain(at, random.chance(60).then(|| random.signed(2))),
            38..=39 => Step::Cancel(at, random.next().to_le_bytes()[0] % 4),
            40..=41 => Step::Move(at, random.next(), delay(&mut random)),
            42..=52 => Step::Sync,
            53..=66 => Step::Tick(tick(&mut random)),
            67..=70 => Step::AlmostDue,
            71 => Step::SetClock(random.signed(5_000) - 4_000),
            72 => Step::SetClock(-random.signed(3) * 3_600_000 - 1),
            73 => Step::Jump(jump(&mut random)),
            74 => Step::Suspend(tick(&mut random)),
            75..=82 => Step::Maintain,
            83..=87 => Step::Flush,
            88..=93 => Step::Checkpoint(random.chance(50)),
            94 => Step::Pause(1, true),
            95 => Step::Pause(1, false),
            96 => Step::Delete(at),
            97 if random.chance(50) => Step::Refuse(at),
            97 => Step::Retain(2),
            _ => Step::Restart(1 + random.below(2)),
        });
    }
    steps
}
