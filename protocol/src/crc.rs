//! The checksum of record batches.

/// CRC-32C (Castagnoli), as record batches and producer snapshots carry it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn matches_the_check_values_of_rfc_3720() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn agrees_with_the_bitwise_definition_at_every_length() {
        let bytes: Vec<u8> = (0..700_u32)
            .map(|at| (at.wrapping_mul(167) >> 3).to_le_bytes()[0])
            .collect();
        for len in 0..bytes.len() {
            let part = bytes.get(..len).unwrap();
            let mut slow = !0_u32;
            for byte in part {
                slow ^= u32::from(*byte);
                for _ in 0..8 {
                    slow = if slow & 1 == 1 {
                        slow >> 1 ^ 0x82F6_3B78
                    } else {
                        slow >> 1
                    };
                }
            }
            assert_eq!(crc32c(part), !slow, "length {len}");
        }
    }
}
