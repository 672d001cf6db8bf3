//! The bytes of one simulated file: what readers see, what the disk holds, and what lies between.

use std::collections::BTreeSet;

use super::chance::Chance;

/// Bytes that are written back together, as in a page cache.
const PAGE: usize = 4096;
/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// See the head of [`super`] for the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Pages of `live` that were written since the last sync.
    dirty: BTreeSet<usize>,
    /// Pages whose sync failed: no later sync writes them, chance may have.
    lost: BTreeSet<usize>,
    /// Where the writes ended that no sync has covered.
    write_ends: Vec<usize>,
    /// The smallest length the file was cut to since the last sync.
    cut: Option<usize>,
    /// What a late sync will make durable.
    late: Vec<u8>,
}

impl Content {
    fn settled(bytes: Vec<u8>) -> Self {
        Self {
            live: bytes.clone(),
            durable: bytes,
            ..Self::default()
        }
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn len(&self) -> u64 {
        self.live.len() as u64
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[position..end].copy_from_slice(bytes);
        let pages = position / PAGE..=(end - 1) / PAGE;
        for page in pages {
            self.dirty.insert(page);
            self.lost.remove(&page);
        }
        self.write_ends.push(end);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.live.len() {
            let pages = len.div_ceil(PAGE);
            self.dirty.retain(|page| *page < pages);
            self.lost.retain(|page| *page < pages);
            self.write_ends.retain(|end| *end <= len);
            self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
        }
        self.live.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.truncate(cut);
        }
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let range = page_range(page, self.live.len());
            self.durable[range.clone()].copy_from_slice(&self.live[range]);
        }
        self.write_ends.clear();
    }

    /// Makes durable what was there at the last call; the rest stays as un-synced as it was.
    pub(super) fn sync_late(&mut self) {
        self.durable = std::mem::replace(&mut self.late, self.live.clone());
    }

    /// As Linux does after a failed sync: the pages count as clean, readers still see them.
    pub(super) fn sync_failed(&mut self) {
        self.lost.append(&mut self.dirty);
    }

    /// From here on readers see what the disk has of the pages whose sync failed.
    pub(super) fn drop_cache(&mut self, position: usize) {
        for page in self.lost.split_off(&(position / PAGE)) {
            for at in page_range(page, self.live.len()) {
                self.live[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
    }

    /// Bit rot: changes bytes in the cache and on the disk.
    pub(super) fn rot(&mut self, position: usize, bytes: &[u8]) {
        for content in [&mut self.live, &mut self.durable] {
            for (at, byte) in (position..).zip(bytes) {
                if let Some(place) = content.get_mut(at) {
                    *place = *byte;
                }
            }
        }
    }

    /// The file after the power came back.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Self {
        // Blocks written after a cut are allocated after it: they do not survive without it.
        if chance.loses_all() || (self.cut.is_some() && chance.coin()) {
            return Self::settled(self.durable.clone());
        }
        let mut disk = self.durable.clone();
        disk.truncate(self.cut.unwrap_or(disk.len()));
        let len = self.surviving_len(disk.len(), chance);
        disk.resize(self.live.len().max(disk.len()), 0);
        for page in self.dirty.union(&self.lost) {
            self.write_back(*page, &mut disk, chance);
        }
        disk.truncate(len);
        Self::settled(disk)
    }

    /// The length may have reached the disk before the bytes did, or not at all.
    fn surviving_len(&self, durable_len: usize, chance: &mut Chance) -> usize {
        let live_len = self.live.len().max(durable_len);
        let chosen = match chance.below(4) {
            0 => durable_len,
            1 => live_len,
            2 => self.some_write_end(chance).unwrap_or(durable_len),
            _ => durable_len + chance.below(live_len - durable_len + 1),
        };
        chosen.clamp(durable_len, live_len)
    }

    fn some_write_end(&self, chance: &mut Chance) -> Option<usize> {
        self.write_ends
            .get(chance.below(self.write_ends.len()))
            .copied()
    }

    /// A page reaches the disk not at all, as it is, as it was after an earlier write, or torn.
    fn write_back(&self, page: usize, disk: &mut [u8], chance: &mut Chance) {
        let kind = chance.below(4);
        if kind == 0 {
            return;
        }
        let whole = page_range(page, self.live.len());
        let version_end = match kind {
            1 => whole.end,
            _ => self.some_write_end(chance).unwrap_or(whole.end),
        };
        for start in whole.clone().step_by(SECTOR) {
            let end = (start + SECTOR).min(whole.end).min(version_end);
            if start < end && (kind != 3 || chance.coin()) {
                disk[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
    }
}

fn page_range(page: usize, len: usize) -> std::ops::Range<usize> {
    (page * PAGE).min(len)..((page + 1) * PAGE).min(len)
}
