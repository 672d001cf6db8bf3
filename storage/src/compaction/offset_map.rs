//! The newest offset of every key in the part of a log that was not compacted yet.
//!
//! Keys are held as keyed 128-bit hashes, 24 bytes a slot, in a table that never grows: what finds no
//! place waits for the next pass. The hash takes a secret from outside, so that nobody can choose two
//! keys that are taken for one; by chance that happens to one pair in 2^128. A sixteenth of the memory is for
//! [`Marks`].

use siphasher::sip128::SipHasher13;
use tidewheel_protocol::BatchHeader;

use super::marks::Marks;

/// Bytes of a slot.
const SLOT_BYTES: u64 = 24;
/// What part of the memory is for marks.
const MARKS_SHARE: u64 = 16;
/// Fewest slots of a table.
const SLOTS_MIN: u64 = 64;

/// Bounds of an [`OffsetMap`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapSize {
    /// The most memory it may take, in bytes.
    pub(crate) bytes_max: u64,
    /// The share of its slots that may be taken, below 1.
    pub(crate) load_factor: f64,
}

impl MapSize {
    /// Slots for at most `keys` keys.
    fn slots(&self, keys: u64) -> u64 {
        let most = ((self.bytes_max - self.marks_bytes()) / SLOT_BYTES).max(SLOTS_MIN);
        // Room for twice as many where memory allows: look-ups are short then.
        keys.saturating_mul(2).clamp(SLOTS_MIN, most)
    }

    fn marks_bytes(&self) -> u64 {
        self.bytes_max / MARKS_SHARE
    }
}

/// The hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash([u64; 2]);

/// Two words of a key's hash, and the offset plus one: 0 is an empty slot.
type Slot = [u64; 3];

/// Key hashes and their newest offsets.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    len: usize,
    len_max: usize,
    secret: (u64, u64),
    latest: i64,
    marks: Marks,
}

impl OffsetMap {
    /// An empty map for at most `keys` keys, as far as they fit. It covers the log up to and with offset
    /// `latest`.
    pub(crate) fn new(size: MapSize, keys: u64, secret: (u64, u64), latest: i64) -> Self {
        let slots = usize::try_from(size.slots(keys)).unwrap_or(usize::MAX);
        Self {
            slots: vec![[0; 3]; slots],
            len: 0,
            len_max: share(slots, size.load_factor),
            secret,
            latest,
            marks: Marks::new(latest + 1, keys, size.marks_bytes()),
        }
    }

    /// The last offset that is covered: whatever lies behind it was not looked at.
    pub(crate) fn latest(&self) -> i64 {
        self.latest
    }

    /// Everything up to and with `offset` is covered.
    pub(crate) fn cover(&mut self, offset: i64) {
        self.latest = offset;
    }

    /// The hash under which a key stands in this map.
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = SipHasher13::new_with_keys(self.secret.0, self.secret.1).hash(key);
        KeyHash([hash.h1, hash.h2])
    }

    /// Brings the slots of keys into the caches. A table of many megabytes is in none of them, and these
    /// loads do not wait for each other, as those of look-ups do.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = KeyHash>) {
        let first = |hash: KeyHash| self.slots[scaled(hash.0[0], self.slots.len())][2];
        std::hint::black_box(hashes.map(first).fold(0, |all, one| all ^ one));
    }

    /// Notes that a key stands at `offset`, which is larger than all before. Returns false where there is
    /// no room for another key.
    pub(crate) fn put(&mut self, key: KeyHash, offset: i64) -> bool {
        let slot = self.find(key);
        let KeyHash(hash) = key;
        if self.slots[slot][2] == 0 {
            if self.len >= self.len_max {
                return false;
            }
            self.len += 1;
        }
        let before = self.slots[slot][2].checked_sub(1);
        self.marks.put(offset, before.map(u64::cast_signed));
        self.slots[slot] = [hash[0], hash[1], offset.cast_unsigned().wrapping_add(1)];
        true
    }

    /// Which records of the batch that begins at `base_offset` stay is not to be told without opening it.
    pub(crate) fn mark_unclear(&mut self, base_offset: i64) {
        self.marks.put_unclear(base_offset);
    }

    /// Whether the record at `offset` is the newest of its key; `None` where only its key tells. Records without a key
    /// are none.
    pub(crate) fn is_newest(&self, offset: i64) -> Option<bool> {
        self.marks
            .is_newest(offset)
            .filter(|_| offset <= self.latest)
    }

    /// How many records of a batch are the newest of their keys, none of them a tombstone; `None` where the batch has
    /// to be opened.
    pub(crate) fn newest_in(&self, header: &BatchHeader) -> Option<u32> {
        let count = self.marks.newest_in(header);
        count.filter(|_| header.last_offset() <= self.latest)
    }

    /// The newest offset of a key; `None` for a key that does not stand in the covered part.
    pub(crate) fn get(&self, key: KeyHash) -> Option<i64> {
        Some(self.slots[self.find(key)][2].checked_sub(1)?.cast_signed())
    }

    /// The slot that has a key or is free for it.
    fn find(&self, KeyHash(hash): KeyHash) -> usize {
        let mut at = scaled(hash[0], self.slots.len());
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            // Never all of them are taken.
            at = if at + 1 == self.slots.len() {
                0
            } else {
                at + 1
            };
        }
    }
}

/// A number below `len` that spreads like `hash`.
fn scaled(hash: u64, len: usize) -> usize {
    let product = u128::from(hash) * (len as u128);
    usize::try_from(product >> 64).unwrap_or_default()
}

/// `share` of `of`, at least 1 and less than all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a number of slots, which is far below 2^53, is rounded down"
)]
fn share(of: usize, share: f64) -> usize {
    ((of as f64 * share) as usize).clamp(1, of - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SIZE: MapSize = MapSize {
        // 2,408 without the marks.
        bytes_max: 2_568,
        load_factor: 0.9,
    };

    #[test]
    fn it_holds_what_a_map_holds_until_it_is_full() {
        let mut map = OffsetMap::new(SIZE, 1_000, (1, 2), -1);
        let mut model = HashMap::new();
        for offset in 0..500_i64 {
            let key = (offset * 7919 % 90).to_be_bytes();
            assert!(map.put(map.hash(&key), offset));
            model.insert(key, offset);
        }
        assert_eq!(model.len(), 90);
        for (key, offset) in &model {
            assert_eq!(map.get(map.hash(key)), Some(*offset));
        }
        assert_eq!(map.get(map.hash(b"other")), None);
        assert!(
            !map.put(map.hash(b"other"), 500),
            "90 of 100 slots are taken"
        );
        let known = 0_i64.to_be_bytes();
        assert!(map.put(map.hash(&known), 501), "a known key takes no room");
        assert_eq!(map.get(map.hash(&known)), Some(501));
    }

    #[test]
    fn memory_follows_the_keys_there_may_be() {
        let slots = |keys| OffsetMap::new(SIZE, keys, (0, 0), -1).slots.len();
        assert_eq!((slots(0), slots(40), slots(1 << 40)), (64, 80, 100));
    }

    #[test]
    fn offset_zero_and_the_empty_key_are_told_from_nothing() {
        let mut map = OffsetMap::new(SIZE, 9, (0, 0), -1);
        assert_eq!(map.get(map.hash(b"")), None);
        map.put(map.hash(b""), 0);
        assert_eq!(map.get(map.hash(b"")), Some(0));
    }
}
