//! Which partition Kafka's clients send a key to.

/// The partition that Kafka's default partitioner gives a key, among so many; 0 where there is none.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    let positive = murmur2(key) & 0x7FFF_FFFF;
    (positive as usize)
        .checked_rem(partitions)
        .unwrap_or_default()
}

/// MurmurHash 2 with the seed of Kafka's clients.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5BD1_E995;
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_B28C ^ len;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev();
        hash ^= tail.fold(0, |sum, &byte| sum << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_clients() {
        // Values that Kafka's own tests of its hash expect.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        assert_eq!(partition_of_key(b"abc", 10), 7);
        assert_eq!(partition_of_key(b"abc", 0), 0);
    }
}
