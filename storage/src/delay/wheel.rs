//! The timing wheel: which of the records that are due soon are due now.
//!
//! Five levels of 1024 slots; a slot of level `l` is `1024^l` ms wide, so together they span every due
//! time there is (48 bits). A record hangs in the level of the highest ten-bit digit in which its due
//! time differs from the time the wheel has reached:
//! ```text
//! reached 1_000_000 = digits [..0, 976, 576]
//! due     1_000_100 = digits [..0, 976, 676]   -> level 0, slot 676: due exactly then
//! due     1_030_000 = digits [..0, 1005, 880]  -> level 1, slot 1005: looked at again at 1_029_120
//! ```
//! One bit per slot says whether it holds anything, so that the next slot is found by looking at 16
//! words a level, and empty time costs nothing however long it was. When the time of a slot of a higher
//! level comes, its records move down; each does so four times at most.
//!
//! A wheel gives no order inside a slot: whoever delivers sorts by key. It never forgets a record and
//! never gives one out before its time; taking one out early is left to whoever knows that it was
//! cancelled when it is due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// Bits of one digit.
const DIGIT_BITS: u32 = 10;
/// Slots of one level.
const SLOTS: usize = 1 << DIGIT_BITS;
/// Five digits are 50 bits.
const LEVELS: usize = 5;
/// Records of one piece of the arena.
const CHUNK_LEN: usize = 4096;
/// The end of a list.
const NONE: u32 = u32::MAX;
/// A second, in ms.
const SECOND_MS: u64 = 1_000;

/// A pending record in memory: 32 bytes, and 4 more for the list it hangs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WheelEntry {
    /// When it is due, ms since 1970.
    pub due_ms: u64,
    /// Its ticket, and in the bits above those of [`super::TICKET_MAX`] whatever its owner puts there.
    pub ticket: u64,
    /// Where its bytes are.
    pub place: u64,
    /// How many bytes.
    pub len: u32,
    /// Which partition it goes to, as the delay queue numbers them.
    pub partition: u32,
}

/// A piece of the arena.
#[derive(Debug)]
struct Chunk {
    entries: Vec<WheelEntry>,
    next: Vec<u32>,
}

/// Lists of entries in memory that is reused and never moved.
#[derive(Debug)]
struct Arena {
    chunks: Vec<Chunk>,
    free: u32,
    len: usize,
}

impl Arena {
    fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// Puts an entry before the list that begins at `next`; the new beginning.
    fn push(&mut self, entry: WheelEntry, next: u32) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let at = self.free;
        let (chunk, place) = split(at);
        let chunk = &mut self.chunks[chunk];
        self.free = std::mem::replace(&mut chunk.next[place], next);
        chunk.entries[place] = entry;
        self.len += 1;
        at
    }

    /// Takes the first entry off the list that begins at `at`; what follows it.
    fn pop(&mut self, at: u32) -> (WheelEntry, u32) {
        let (chunk, place) = split(at);
        let chunk = &mut self.chunks[chunk];
        let next = std::mem::replace(&mut chunk.next[place], self.free);
        self.free = at;
        self.len -= 1;
        // What is free is nobody's: a search by places would find it.
        (std::mem::take(&mut chunk.entries[place]), next)
    }

    /// The entry at `at`, and what follows it.
    fn get(&self, at: u32) -> (&WheelEntry, u32) {
        let (chunk, place) = split(at);
        let chunk = &self.chunks[chunk];
        (&chunk.entries[place], chunk.next[place])
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK_LEN;
        let first = u32::try_from(first).expect("the bound on near records is far below 2^32");
        let len = u32::try_from(CHUNK_LEN).expect("a small constant");
        let mut next: Vec<u32> = (first + 1..=first + len).collect();
        next[CHUNK_LEN - 1] = NONE;
        self.chunks.push(Chunk {
            entries: vec![WheelEntry::default(); CHUNK_LEN],
            next,
        });
        self.free = first;
    }
}

/// The chunk of a list element, and the place in it.
fn split(at: u32) -> (usize, usize) {
    (at as usize / CHUNK_LEN, at as usize % CHUNK_LEN)
}

/// Slots of one width.
#[derive(Debug)]
struct Level {
    occupied: [u64; SLOTS / 64],
    heads: Box<[u32]>,
}

impl Level {
    fn new() -> Self {
        Self {
            occupied: [0; SLOTS / 64],
            heads: vec![NONE; SLOTS].into_boxed_slice(),
        }
    }

    /// The first slot behind `slot` that holds something.
    fn next_occupied(&self, slot: usize) -> Option<usize> {
        let from = slot + 1;
        let mut word = from / 64;
        let mut bits = self.occupied.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

/// What a search for one record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found(WheelEntry),
    /// It does not hang here.
    Missing,
    /// There is more to look at.
    Unfinished,
}

/// See the module's head.
#[derive(Debug)]
pub struct TimingWheel {
    levels: [Level; LEVELS],
    arena: Arena,
    /// How many records are due in each second since 1970; none of them is 0.
    seconds: BTreeMap<u64, usize>,
    /// Everything due at or before it was given out.
    reached_ms: u64,
}

/// A slot that holds something.
#[derive(Clone, Copy, Debug)]
struct NextSlot {
    level: usize,
    slot: usize,
    /// The first ms of the slot; in level 0 the only one.
    start_ms: u64,
}

impl TimingWheel {
    /// Bytes of memory that one record takes.
    pub const BYTES_PER_ENTRY: usize = size_of::<WheelEntry>() + size_of::<u32>();

    /// An empty wheel that has reached `now_ms`, ms since 1970.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            levels: std::array::from_fn(|_| Level::new()),
            arena: Arena::new(),
            seconds: BTreeMap::new(),
            reached_ms: now_ms,
        }
    }

    /// How many records hang in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.len
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arena.len == 0
    }

    /// The latest time it was advanced to, ms since 1970.
    #[must_use]
    pub fn reached_ms(&self) -> u64 {
        self.reached_ms
    }

    /// Hangs a record in.
    ///
    /// # Errors
    /// Gives the record back where its time is not after [`TimingWheel::reached_ms`].
    pub fn insert(&mut self, entry: WheelEntry) -> Result<(), WheelEntry> {
        if entry.due_ms <= self.reached_ms {
            return Err(entry);
        }
        *self.seconds.entry(entry.due_ms / SECOND_MS).or_default() += 1;
        self.hang(entry);
        Ok(())
    }

    /// Hangs a record into its slot, whose time has not come.
    fn hang(&mut self, entry: WheelEntry) {
        let level = digit_of(entry.due_ms ^ self.reached_ms);
        let slot = slot_of(entry.due_ms, level);
        let level = &mut self.levels[level];
        level.heads[slot] = self.arena.push(entry, level.heads[slot]);
        level.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// The seconds since 1970 in which something is due, and how many records are. Rising.
    pub fn seconds(&self) -> impl Iterator<Item = (u64, usize)> {
        self.seconds.iter().map(|(second, count)| (*second, *count))
    }

    /// Nothing in it is due later, ms since 1970; `None` where it is empty.
    pub(super) fn latest_ms(&self) -> Option<u64> {
        let (last, _) = self.seconds.last_key_value()?;
        Some(last.saturating_mul(SECOND_MS).saturating_add(SECOND_MS - 1))
    }

    /// All records that hang in it, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &WheelEntry> {
        let chunks = self.arena.chunks.iter();
        let entries = chunks.flat_map(|chunk| chunk.entries.iter());
        // A free place has the entry of nobody, which stands for no records.
        entries.filter(|entry| entry.ticket != 0)
    }

    /// A record that is due then and is wanted, unless the slot in which it hangs has more than so many before it.
    pub(super) fn find(
        &self,
        due_ms: u64,
        most: usize,
        wanted: impl Fn(&WheelEntry) -> bool,
    ) -> Search {
        if due_ms <= self.reached_ms {
            return Search::Missing;
        }
        let level = digit_of(due_ms ^ self.reached_ms);
        let heads = self.levels.get(level).map(|level| &level.heads);
        let head = heads.and_then(|heads| heads.get(slot_of(due_ms, level)));
        let mut at = head.copied().unwrap_or(NONE);
        for _ in 0..most {
            if at == NONE {
                break;
            }
            let (entry, next) = self.arena.get(at);
            if entry.due_ms == due_ms && wanted(entry) {
                return Search::Found(*entry);
            }
            at = next;
        }
        match at {
            NONE => Search::Missing,
            _ => Search::Unfinished,
        }
    }

    /// A wanted record among those in these places, which are numbered from 0. It keeps its place for as long as it
    /// hangs in the wheel: so all places may be looked through piece by piece.
    pub(super) fn find_in(
        &self,
        places: Range<usize>,
        wanted: impl Fn(&WheelEntry) -> bool,
    ) -> Search {
        let all = self.arena.chunks.len() * CHUNK_LEN;
        let mut at = places.start..places.end.min(all);
        let entry = |place: usize| &self.arena.chunks[place / CHUNK_LEN].entries[place % CHUNK_LEN];
        match at.find(|place| wanted(entry(*place))) {
            Some(place) => Search::Found(*entry(place)),
            None if places.end < all => Search::Unfinished,
            None => Search::Missing,
        }
    }

    /// Adds to `due` every record that is due at or before `to_ms`, in no order. Going back does
    /// nothing.
    pub fn advance(&mut self, to_ms: u64, due: &mut Vec<WheelEntry>) {
        while let Some(next) = self.next_slot() {
            if next.start_ms > to_ms {
                break;
            }
            self.reached_ms = next.start_ms;
            let level = &mut self.levels[next.level];
            level.occupied[next.slot / 64] &= !(1 << (next.slot % 64));
            let mut at = std::mem::replace(&mut level.heads[next.slot], NONE);
            let before = due.len();
            while at != NONE {
                let (entry, rest) = self.arena.pop(at);
                at = rest;
                match entry.due_ms > self.reached_ms {
                    true => self.hang(entry),
                    false => due.push(entry),
                }
            }
            // None in a slot is due before its first ms.
            self.leave(next.start_ms / SECOND_MS, due.len() - before);
        }
        self.reached_ms = self.reached_ms.max(to_ms);
    }

    /// So many records of a second hang here no more.
    fn leave(&mut self, second: u64, count: usize) {
        if count > 0
            && let Entry::Occupied(mut left) = self.seconds.entry(second)
        {
            *left.get_mut() -= count;
            if *left.get() == 0 {
                left.remove();
            }
        }
    }

    /// When to look again, ms since 1970: no record is due earlier, and mostly one is due then.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.next_slot().map(|next| next.start_ms)
    }

    /// The slot whose time comes first: those of a lower level come before all of a higher one.
    fn next_slot(&self) -> Option<NextSlot> {
        for (number, level) in self.levels.iter().enumerate() {
            if let Some(slot) = level.next_occupied(slot_of(self.reached_ms, number)) {
                let shift = DIGIT_BITS * shift_of(number);
                let above = self.reached_ms >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
                return Some(NextSlot {
                    level: number,
                    slot,
                    start_ms: above | (slot as u64) << shift,
                });
            }
        }
        None
    }
}

/// The highest ten-bit digit that is not 0.
fn digit_of(difference: u64) -> usize {
    let bit = u64::BITS - 1 - (difference | 1).leading_zeros();
    // Due times have 48 bits, so this is a level.
    (bit / DIGIT_BITS) as usize
}

/// A level's number, to shift by.
fn shift_of(level: usize) -> u32 {
    u32::try_from(level).unwrap_or_default()
}

/// Which slot of a level a time falls into.
fn slot_of(time_ms: u64, level: usize) -> usize {
    // The remainder is below 1024.
    usize::try_from((time_ms >> (DIGIT_BITS * shift_of(level))) % SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
