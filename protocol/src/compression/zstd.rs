//! zstd, with contexts that are used again. To make one asks the processor what it can do (`cpuid`), for which a virtual
//! machine has to ask its host: that took longer than to open a batch of 16 KiB.

use std::io;
use std::sync::Mutex;

use ::zstd::bulk::Compressor;
use ::zstd::stream::read::Decoder;
use ::zstd::zstd_safe::{DCtx, ResetDirective, get_frame_content_size};

use super::{Failure, ZSTD_WINDOW_LOG_MAX, read_capped};

/// Contexts of either kind that are kept for the next batch.
const KEPT_MAX: usize = 4;
/// Bytes of the largest that is kept: those that had a large window, or a high level, go.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Contexts that nobody uses at the moment.
struct Kept<T>(Mutex<Vec<T>>);

impl<T> Kept<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().ok()?.pop()
    }

    fn keep(&self, context: T, bytes: usize) {
        if bytes <= KEPT_BYTES_MAX
            && let Ok(mut kept) = self.0.lock()
            && kept.len() < KEPT_MAX
        {
            kept.push(context);
        }
    }
}

static COMPRESSORS: Kept<Compressor<'static>> = Kept::new();
static DECOMPRESSORS: Kept<DCtx<'static>> = Kept::new();

/// One frame, at a level out of zstd's range or else its default.
pub(super) fn compress(records: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    let known = |level: &i32| zstd::compression_level_range().contains(level);
    let level = level.filter(known);
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let mut compressor = match COMPRESSORS.take() {
        Some(mut kept) => {
            kept.set_compression_level(level)?;
            kept
        }
        None => Compressor::new(level)?,
    };
    let compressed = compressor.compress(records)?;
    let bytes = compressor.context_mut().sizeof();
    COMPRESSORS.keep(compressor, bytes);
    Ok(compressed)
}

/// Frames, one after the other. What was at work on frames that cannot be opened is not used again.
pub(super) fn decompress(compressed: &[u8], max_len: usize) -> Result<Vec<u8>, Failure> {
    // What says that it is too long need not be opened, which takes its window as well.
    let said = get_frame_content_size(compressed);
    if said.is_ok_and(|len| len.is_some_and(|len| len > max_len as u64)) {
        return Err(Failure::TooLarge);
    }
    let no_memory = || Failure::Corrupt("there is no memory to open it".to_owned());
    let mut context = match DECOMPRESSORS.take() {
        Some(kept) => kept,
        None => DCtx::try_create().ok_or_else(no_memory)?,
    };
    let reset = context.reset(ResetDirective::SessionOnly);
    reset.map_err(|code| Failure::corrupt(zstd::zstd_safe::get_error_name(code)))?;
    let mut decoder = Decoder::with_context(compressed, &mut context);
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(Failure::corrupt)?;
    let records = read_capped(decoder, max_len)?;
    let bytes = context.sizeof();
    DECOMPRESSORS.keep(context, bytes);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_small_ones_are_kept() {
        let kept = Kept::new();
        assert_eq!(kept.take(), None);
        kept.keep(0, KEPT_BYTES_MAX + 1);
        assert_eq!(kept.take(), None);
        for context in 0..2 * KEPT_MAX {
            kept.keep(context, KEPT_BYTES_MAX);
        }
        assert_eq!(std::iter::from_fn(|| kept.take()).count(), KEPT_MAX);
    }

    /// Whatever a context was used for before, and by how many threads at once.
    #[test]
    fn a_context_forgets_what_it_was_used_for() {
        let texts: Vec<Vec<u8>> = (0..8_u8)
            .map(|at| {
                (0..10_000_u32 << at)
                    .map(|i| (i / 7).to_le_bytes()[0] ^ at)
                    .collect()
            })
            .collect();
        let once: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| zstd::bulk::compress(text, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap())
            .collect();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for (text, expected) in texts.iter().zip(&once) {
                        drop(compress(text, Some(19)).unwrap());
                        assert!(compress(text, None).unwrap() == *expected);
                        let cut = &expected[..expected.len() / 2];
                        assert!(decompress(cut, 1 << 24).is_err());
                        assert!(decompress(expected, 100).is_err());
                        let Ok(opened) = decompress(expected, 1 << 24) else {
                            panic!("it is whole");
                        };
                        assert!(opened == *text);
                    }
                });
            }
        });
    }
}
