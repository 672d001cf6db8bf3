use super::*;

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn noise(len: u32) -> Vec<u8> {
    // Multiplication by an odd constant and a shift: nothing in it repeats for the codecs.
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect()
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![7],
        b"hello hello hello".to_vec(),
        vec![0; 300_000],
        noise(100_000),
    ]
}

fn is_corrupt<T>(result: &Result<T, BatchError>) -> bool {
    matches!(result, Err(BatchError::CorruptCompression { .. }))
}

#[test]
fn every_codec_returns_what_it_was_given() {
    for codec in Compression::ALL {
        for sample in samples() {
            let compressed = codec.compress(&sample).unwrap();
            let back = codec.decompress(&compressed, sample.len());
            assert_eq!(
                back.as_deref(),
                Ok(&sample[..]),
                "{codec:?} {}",
                sample.len()
            );
        }
    }
}

#[test]
fn codecs_really_compress() {
    for codec in CODECS {
        let compressed = codec.compress(&vec![0; 300_000]).unwrap();
        assert!(compressed.len() < 20_000, "{codec:?}: {}", compressed.len());
    }
}

#[test]
fn fact_28_output_beyond_the_cap_is_refused() {
    for codec in Compression::ALL {
        for sample in samples().into_iter().filter(|sample| !sample.is_empty()) {
            let compressed = codec.compress(&sample).unwrap();
            let max = sample.len() - 1;
            let result = codec.decompress(&compressed, max);
            assert_eq!(
                result,
                Err(BatchError::DecompressedTooLarge { max }),
                "{codec:?}"
            );
        }
    }
}

#[test]
fn cut_input_is_an_error_at_every_length() {
    let mut sample = vec![0; 70_000];
    sample.extend(noise(300));
    for codec in CODECS {
        let compressed = codec.compress(&sample).unwrap();
        for len in 1..compressed.len() {
            let result = codec.decompress(&compressed[..len], 1 << 20);
            // A cut between two blocks of xerial's framing leaves whole blocks: only the record count
            // of the batch can tell.
            let between_blocks =
                codec == Compression::Snappy && result.as_ref().is_ok_and(|out| out.len() < 70_300);
            assert!(
                is_corrupt(&result) || between_blocks,
                "{codec:?} cut to {len}"
            );
        }
    }
}

#[test]
fn snappy_is_read_with_and_without_framing() {
    // One raw block: length 5, then a literal of 5 bytes (tag (5 - 1) << 2).
    let raw = b"\x05\x10hello";
    assert_eq!(
        Compression::Snappy.decompress(raw, 5).as_deref(),
        Ok(&b"hello"[..])
    );
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for _ in 0..2 {
        framed.extend(7_i32.to_be_bytes());
        framed.extend(raw);
    }
    assert_eq!(
        Compression::Snappy.decompress(&framed, 10).as_deref(),
        Ok(&b"hellohello"[..])
    );
    assert_eq!(
        Compression::Snappy.decompress(&framed, 9),
        Err(BatchError::DecompressedTooLarge { max: 9 })
    );
    framed.extend((-1_i32).to_be_bytes());
    assert!(is_corrupt(
        &Compression::Snappy.decompress(&framed, 1 << 20)
    ));
}

#[test]
fn lz4_frames_with_every_option_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    let sample = [vec![0; 700_000], noise(400_000)].concat();
    let sizes = [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ];
    for size in sizes {
        for checksums in [false, true] {
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(size)
                .block_checksums(checksums)
                .content_checksum(checksums)
                .content_size(checksums.then_some(1_100_000));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&sample).unwrap();
            let frame = encoder.finish().unwrap();
            let result = Compression::Lz4.decompress(&frame, sample.len());
            assert!(result.as_ref() == Ok(&sample), "{size:?} {checksums}");
        }
    }
}

#[test]
fn lz4_forms_that_kafka_does_not_read_are_refused() {
    let frame = Compression::Lz4.compress(b"hello hello hello").unwrap();
    let with = |position: usize, change: fn(u8) -> u8| {
        let mut changed = frame.clone();
        changed[position] = change(changed[position]);
        Compression::Lz4.decompress(&changed, 1 << 20)
    };
    assert!(with(4, |flags| flags).is_ok());
    for (position, change) in [
        (0, (|byte| byte ^ 1) as fn(u8) -> u8),
        (4, |flags| flags & !0x20),
        (4, |flags| flags | 1),
        (4, |flags| flags ^ 0xC0),
        (5, |_| 0x30),
    ] {
        assert!(is_corrupt(&with(position, change)), "byte {position}");
    }
    let followed = [frame, vec![0]].concat();
    assert!(is_corrupt(&Compression::Lz4.decompress(&followed, 1 << 20)));
}

#[test]
fn unknown_codecs_are_named() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_attributes(codec.id() | !0b111), Ok(codec));
    }
    for id in 5..8 {
        assert_eq!(
            Compression::from_attributes(id),
            Err(BatchError::UnknownCompression(id))
        );
    }
}
