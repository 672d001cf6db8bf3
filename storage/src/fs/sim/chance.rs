//! Decisions that a seed fixes.

/// What a crash decides: by a seed, or always for the worst.
#[derive(Debug)]
pub(super) enum Chance {
    /// The state of a SplitMix64 generator.
    Seeded(u64),
    /// Nothing that was not synced survives.
    LoseAll,
}

impl Chance {
    pub(super) fn seeded(seed: u64) -> Self {
        Self::Seeded(seed)
    }

    pub(super) fn loses_all(&self) -> bool {
        matches!(self, Self::LoseAll)
    }

    /// A number below `bound`, 0 where nothing survives or `bound` is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let Self::Seeded(state) = self else { return 0 };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // `bound` is a count of things in memory: the remainder fits it.
        usize::try_from(mixed % (bound.max(1) as u64)).unwrap_or_default()
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }
}
