//! "Did you mean": the known name that is nearest to a misspelt one.

/// The candidate with the fewest edits to `wrong`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    wrong: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters may be wrong, but an outsider's long garbage is not compared at all.
    const LEN_MAX: usize = 128;
    if wrong.len() > LEN_MAX {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase();
    candidates
        .filter_map(|candidate| {
            let most = 2.max(candidate.len() / 4);
            Some((edit_distance(&wrong, candidate, most)?, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements of bytes that turn `a` into `b`, unless they are more than `most`: a request may
/// bring tens of thousands of wrong names, so that what is far off is left early.
fn edit_distance(a: &str, b: &str, most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        let mut least = row[0];
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
            least = least.min(row[j + 1]);
        }
        if least > most {
            return None;
        }
    }
    Some(row[b.len()]).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["num.partitions", "log.segment.bytes", "node.id"];
        let find = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(find("num.partition"), Some("num.partitions"));
        assert_eq!(find("log.segment.byte"), Some("log.segment.bytes"));
        assert_eq!(find("NODE.ID"), Some("node.id"));
        assert_eq!(find("colour"), None);
        assert_eq!(find(&"x".repeat(100_000)), None);
    }

    #[test]
    fn distances_count_single_edits() {
        for (a, b, distance) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "adc", 1),
            ("ab", "b", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(a, b, distance), Some(distance));
            assert_eq!(edit_distance(a, b, distance + 9), Some(distance));
            if let Some(fewer) = distance.checked_sub(1) {
                assert_eq!(edit_distance(a, b, fewer), None);
            }
        }
    }
}
