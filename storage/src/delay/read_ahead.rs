//! Records that come due together often lie one behind the other in a file: what a turn hands out is read in a few
//! pieces then, and not record by record.

use bytes::Bytes;

use super::wheel::WheelEntry;

/// At most so much is read in one piece, in bytes: for large records one read each is no cost.
const PIECE_BYTES: u64 = 64 * 1024;
/// Between two records of a piece may lie so much that nobody asked for, in bytes: the heads of groups, and little
/// of what others sent.
const GAP_BYTES: u64 = 256;

/// The piece of the delay log that was read last, by positions there.
#[derive(Default)]
pub(super) struct ReadAhead {
    from: u64,
    bytes: Bytes,
}

impl ReadAhead {
    /// The bytes from a position on.
    pub(super) fn new(from: u64, bytes: Bytes) -> Self {
        Self { from, bytes }
    }

    /// The bytes of a record, if the piece has them.
    pub(super) fn bytes_of(&self, entry: &WheelEntry) -> Option<Bytes> {
        let from = usize::try_from(entry.place.checked_sub(self.from)?).ok()?;
        let to = from.checked_add(entry.len as usize)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Where the piece ends that begins with the first of these records and is not to go beyond `end`; `None` where that
/// record is all there would be of it.
pub(super) fn end_of_piece<'a>(
    mut entries: impl Iterator<Item = &'a WheelEntry>,
    end: u64,
) -> Option<u64> {
    let first = entries.next()?;
    let behind = |entry: &WheelEntry| entry.place.saturating_add(entry.len.into());
    let (mut to, mut count) = (behind(first), 1);
    for entry in entries {
        let follows = (to..=to + GAP_BYTES).contains(&entry.place);
        let fits = behind(entry) <= end.min(first.place + PIECE_BYTES);
        if !follows || !fits {
            break;
        }
        (to, count) = (behind(entry), count + 1);
    }
    (count > 1).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(places: &[(u64, u32)]) -> Vec<WheelEntry> {
        let entry = |(place, len): &(u64, u32)| WheelEntry {
            due_ms: 1,
            ticket: 1,
            place: *place,
            len: *len,
            partition: 0,
        };
        places.iter().map(entry).collect()
    }

    fn piece(places: &[(u64, u32)], end: u64) -> Option<u64> {
        end_of_piece(entries(places).iter(), end)
    }

    #[test]
    fn a_piece_ends_before_a_gap_a_step_back_the_end_of_a_file_and_what_is_too_much() {
        let near = [(32, 100), (188, 100), (544, 100)];
        assert_eq!(piece(&near, 1_000), Some(644));
        assert_eq!(piece(&near, 643), Some(288));
        assert_eq!(piece(&near, 200), None);
        assert_eq!(piece(&[(32, 100), (132, 8), (397, 8)], 1_000), Some(140));
        assert_eq!(piece(&[(32, 100), (132, 8), (32, 100)], 1_000), Some(140));
        assert_eq!(piece(&[(200, 100), (32, 100)], 1_000), None);
        assert_eq!(piece(&[(32, 100)], 1_000), None);
        assert_eq!(piece(&[], 1_000), None);
        let large = [(0, 40_000), (40_000, 20_000), (60_000, 10_000)];
        assert_eq!(piece(&large, u64::MAX), Some(60_000));
    }

    #[test]
    fn a_piece_has_the_bytes_of_what_lies_in_it_and_of_nothing_else() {
        let ahead = ReadAhead::new(32, Bytes::from_static(b"0123456789"));
        let bytes = |place, len| ahead.bytes_of(&entries(&[(place, len)])[0]);
        assert_eq!(bytes(32, 4).as_deref(), Some(&b"0123"[..]));
        assert_eq!(bytes(38, 4).as_deref(), Some(&b"6789"[..]));
        assert_eq!(bytes(39, 4), None);
        assert_eq!(bytes(31, 4), None);
        assert_eq!(bytes(u64::MAX, 4), None);
        assert_eq!(ReadAhead::default().bytes_of(&entries(&[(0, 1)])[0]), None);
    }
}
