//! One file of records that are due in the same span of time, and how wide such spans are.

use std::path::{Path, PathBuf};

use super::buckets::BUCKET_IDS;
use super::holding::Holding;
use super::key::DelayKey;
use super::maintain::URGENT_MS;
use super::queue::LOAD_AHEAD_MS;
use super::scan::FILE_HEAD_LEN;

const SUFFIX: &str = ".delaybucket";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How long a bucket's span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Width {
    Day,
    Hour,
    Minute,
    Second,
    /// All records are due at the same time, so their order in the file is that of their keys.
    Millisecond,
}

/// From the widest to the finest.
pub(super) const WIDTHS: [Width; 5] = [
    Width::Day,
    Width::Hour,
    Width::Minute,
    Width::Second,
    Width::Millisecond,
];

impl Width {
    pub(super) fn ms(self) -> u64 {
        match self {
            Self::Day => DAY_MS,
            Self::Hour => HOUR_MS,
            Self::Minute => MINUTE_MS,
            Self::Second => 1_000,
            Self::Millisecond => 1,
        }
    }

    /// The next smaller one.
    pub(super) fn finer(self) -> Option<Self> {
        WIDTHS.iter().copied().find(|width| *width > self)
    }

    /// What a record goes to that is due so much later: so few files are open, and a file is read not
    /// long before its records are due.
    pub(super) fn for_distance(distance_ms: u64) -> Self {
        match distance_ms {
            0..30_000 => Self::Second,
            30_000..900_000 => Self::Minute,
            900_000..172_800_000 => Self::Hour,
            _ => Self::Day,
        }
    }

    pub(super) fn code(self) -> u8 {
        let at = WIDTHS.iter().position(|width| *width == self);
        u8::try_from(at.unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        WIDTHS.get(usize::from(code)).copied()
    }

    pub(super) fn start_of(self, due_ms: u64) -> u64 {
        due_ms - due_ms % self.ms()
    }
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) width: Width,
    /// Its first ms.
    pub(super) start_ms: u64,
}

impl Span {
    pub(super) fn around(width: Width, due_ms: u64) -> Self {
        Self {
            width,
            start_ms: width.start_of(due_ms),
        }
    }

    /// Its last ms.
    pub(super) fn last_ms(self) -> u64 {
        self.start_ms.saturating_add(self.width.ms() - 1)
    }

    /// The span whose bucket a record goes to. One that is loaded already, or will be at once, takes nothing
    /// more: each record would begin a file.
    pub(super) fn for_record(due_ms: u64, now_ms: u64) -> Self {
        let mut width = Width::for_distance(due_ms.saturating_sub(now_ms));
        loop {
            let span = Self::around(width, due_ms);
            let ahead_ms = match width {
                Width::Day | Width::Hour => LOAD_AHEAD_MS,
                Width::Minute => URGENT_MS,
                Width::Second | Width::Millisecond => return span,
            };
            match width.finer() {
                Some(finer) if span.start_ms <= now_ms.saturating_add(ahead_ms) => width = finer,
                _ => return span,
            }
        }
    }
}

/// A bucket, as memory knows it. Its records are known by number only until they are loaded.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) id: u64,
    pub(super) span: Span,
    /// Bytes of the file that count. More may be there after a failed write.
    pub(super) len: u64,
    /// Records in them.
    pub(super) count: u64,
    /// No ticket in it is smaller.
    pub(super) first_ticket: u64,
    /// How far it was loaded, in bytes.
    pub(super) loaded: u64,
    /// The least ticket that is not loaded; only kept for a span of one ms.
    pub(super) next_ticket: u64,
    /// What was loaded and is still needed.
    pub(super) holding: Holding,
    /// Written since it was last synced.
    pub(super) dirty: bool,
    pub(super) damaged: bool,
}

impl Bucket {
    pub(super) fn new(id: u64, span: Span) -> Self {
        Self {
            id,
            span,
            len: FILE_HEAD_LEN,
            count: 0,
            first_ticket: u64::MAX,
            loaded: FILE_HEAD_LEN,
            next_ticket: 0,
            holding: Holding::default(),
            dirty: false,
            damaged: false,
        }
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.loaded >= self.len
    }

    /// Whether nothing of it was loaded, so that it may grow or be split.
    pub(super) fn is_untouched(&self) -> bool {
        self.loaded == FILE_HEAD_LEN
    }

    /// About how many of its records are not loaded: exact where none is, or all are.
    pub(super) fn not_loaded(&self) -> u64 {
        let bytes = u128::from(self.len.saturating_sub(FILE_HEAD_LEN)).max(1);
        let left = u128::from(self.len.saturating_sub(self.loaded));
        let count = u128::from(self.count) * left / bytes;
        u64::try_from(count).unwrap_or(self.count)
    }

    /// No record that is not loaded has a smaller key.
    pub(super) fn bound(&self) -> DelayKey {
        DelayKey {
            due_ms: self.span.start_ms,
            ticket: match self.span.width {
                Width::Millisecond => self.next_ticket,
                _ => 0,
            },
        }
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        let (id, width) = (self.id, self.span.width.code());
        dir.join(format!(
            "{id:010}-{width}-{:015}{SUFFIX}",
            self.span.start_ms
        ))
    }
}

/// The id and span that a file's name says, `None` for other files.
pub(super) fn of_name(name: &str) -> Option<(u64, Span)> {
    let mut fields = name.strip_suffix(SUFFIX)?.split('-');
    let mut number = |len: usize| -> Option<u64> {
        let field = fields.next()?;
        let plain = field.len() == len && field.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| field.parse().ok())?
    };
    let (id, width, start_ms) = (number(10)?, number(1)?, number(15)?);
    let width = Width::of_code(u8::try_from(width).ok()?)?;
    let sound = id < BUCKET_IDS && fields.next().is_none() && width.start_of(start_ms) == start_ms;
    sound.then_some((id, Span { width, start_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_id_and_span() {
        for width in WIDTHS {
            let bucket = Bucket::new(12, Span::around(width, 1_700_000_000_123));
            let path = bucket.path(Path::new("/d"));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(of_name(name), Some((12, bucket.span)));
        }
        for name in [
            "0000000012-4-000000000000001",
            "0000000012-5-000000000000001.delaybucket",
            "0000000012-3-000000000000001.delaybucket",
            "000000012-4-000000000000001.delaybucket",
            "0000000012-4-000000000000001-0.delaybucket",
            "0000000012-4-+00000000000001.delaybucket",
            ".delaybucket",
        ] {
            assert_eq!(of_name(name), None, "{name}");
        }
    }

    #[test]
    fn widths_get_finer_and_spans_begin_at_their_multiples() {
        for width in WIDTHS {
            let Some(finer) = width.finer() else {
                assert_eq!(width, Width::Millisecond);
                continue;
            };
            assert!(finer.ms() < width.ms() && width.ms() % finer.ms() == 0);
        }
        assert_eq!(Width::Hour.start_of(2 * HOUR_MS + 5), 2 * HOUR_MS);
        let now_ms = 5 * DAY_MS + 1;
        for (ahead_ms, width) in [
            (0, Width::Second),
            (61_000, Width::Minute),
            (20 * MINUTE_MS, Width::Minute),
            (2 * HOUR_MS, Width::Hour),
            (49 * HOUR_MS, Width::Day),
        ] {
            let span = Span::for_record(now_ms + ahead_ms, now_ms);
            assert_eq!(span.width, width, "{ahead_ms} ms ahead");
        }
        let spread = [0, 30_000, 900_000, 172_800_000].map(Width::for_distance);
        assert_eq!(
            spread,
            [Width::Second, Width::Minute, Width::Hour, Width::Day]
        );
    }
}
