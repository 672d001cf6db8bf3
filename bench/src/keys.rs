//! Which key a record has.

use tidewheel_protocol::partition_of_key;

use crate::random::Random;
use crate::values::Keys;

/// Bytes of every key: its number in decimal digits.
pub(crate) const KEY_BYTES: usize = 8;

/// The key of a number, from 0.
pub(crate) fn key(number: u32) -> [u8; KEY_BYTES] {
    let mut key = [b'0'; KEY_BYTES];
    let mut rest = number;
    for digit in key.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    key
}

/// Draws keys, and knows the partition of each.
#[derive(Debug)]
pub(crate) struct KeyChooser {
    partitions: Vec<usize>,
    /// Sums of probabilities, for a Zipf distribution; empty where keys take turns.
    cumulative: Vec<f64>,
    random: Random,
    next: u32,
}

impl KeyChooser {
    /// A chooser for so many partitions; `None` where records have no keys. Choosers of other seeds draw
    /// other sequences.
    pub(crate) fn new(keys: Keys, partitions: usize, seed: u64) -> Option<Self> {
        let (count, exponent) = match keys {
            Keys::None => return None,
            Keys::RoundRobin(count) => (count, None),
            Keys::Zipf(exponent, count) => (count, Some(exponent)),
        };
        let mut sum = 0.0;
        let cumulative = exponent.map_or_else(Vec::new, |exponent| {
            let weight = |n: u32| {
                sum += f64::from(n).powf(-exponent);
                sum
            };
            (1..=count).map(weight).collect()
        });
        Some(Self {
            partitions: (0..count)
                .map(|number| partition_of_key(&key(number), partitions))
                .collect(),
            cumulative,
            random: Random::new(seed),
            next: 0,
        })
    }

    /// The next key's number and partition.
    pub(crate) fn next(&mut self) -> (u32, usize) {
        let number = match self.cumulative.last() {
            None => {
                let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
                let number = self.next;
                self.next = (self.next + 1) % count.max(1);
                number
            }
            Some(sum) => {
                let drawn = self.random.fraction() * sum;
                let at = self.cumulative.partition_point(|&below| below <= drawn);
                u32::try_from(at.min(self.partitions.len() - 1)).unwrap_or_default()
            }
        };
        (number, self.partitions[number as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_turns_or_follow_their_distribution() {
        let mut turns = KeyChooser::new(Keys::RoundRobin(3), 2, 1).unwrap();
        let numbers: Vec<u32> = (0..5).map(|_| turns.next().0).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);

        let mut zipf = KeyChooser::new(Keys::Zipf(1.0, 4), 8, 1).unwrap();
        let mut counts = [0_u32; 4];
        for _ in 0..25_000 {
            counts[zipf.next().0 as usize] += 1;
        }
        // Weights 1, 1/2, 1/3, 1/4 of a sum of 25/12.
        for (count, expected) in counts.into_iter().zip([12_000, 6_000, 4_000, 3_000]) {
            assert!(count.abs_diff(expected) < 500, "{counts:?}");
        }
        assert!(KeyChooser::new(Keys::None, 2, 1).is_none());
        assert_eq!(&key(42), b"00000042");
    }
}
