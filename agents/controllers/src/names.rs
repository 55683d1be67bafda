//! Names of generated objects, in upstream's alphabet: no vowels and no look-alikes, so that no words come about.

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The longest prefix of a generated name: 63 bytes less the suffix.
const PREFIX_BYTES_MAX: usize = 58;
const SUFFIX_LEN: usize = 5;

/// The `generateName` of objects that belong to `base`, cut to what a label value may hold with a suffix.
pub(crate) fn prefix(base: &str) -> String {
    let mut prefix = format!("{base}-");
    if prefix.len() > PREFIX_BYTES_MAX {
        prefix.truncate((0..=PREFIX_BYTES_MAX).rev().find(|&at| prefix.is_char_boundary(at)).unwrap_or(0));
    }
    prefix
}

/// The five letters that `nonce` and `index` give; different indexes of one nonce give different letters.
pub(crate) fn suffix(nonce: u64, index: usize) -> String {
    let space = 27_u64.pow(5);
    // A step that shares no factor with the size of the space visits every suffix once before it repeats.
    let start = nonce % space;
    let mut number = (start + (u64::try_from(index).unwrap_or(0) % space) * 5_000_011) % space;
    let mut letters = String::with_capacity(SUFFIX_LEN);
    for _ in 0..SUFFIX_LEN {
        letters.push(letter(number % 27));
        number /= 27;
    }
    letters
}

/// `number` in decimal, each digit written in the alphabet, as upstream writes template hashes.
pub(crate) fn safe_decimal(number: u32) -> String {
    number.to_string().bytes().map(|digit| letter(u64::from(digit))).collect()
}

fn letter(number: u64) -> char {
    let index = usize::try_from(number % 27).unwrap_or(0);
    ALPHABET.get(index).copied().map_or('b', char::from)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{prefix, suffix};

    #[test]
    fn suffixes_of_one_nonce_are_distinct() {
        let suffixes: HashSet<String> = (0..10_000).map(|index| suffix(u64::MAX, index)).collect();
        assert_eq!(suffixes.len(), 10_000);
        assert!(suffixes.iter().all(|suffix| suffix.len() == 5));
    }

    #[test]
    fn a_long_prefix_leaves_room_for_the_suffix() {
        assert_eq!(prefix("web"), "web-");
        assert_eq!(prefix(&"x".repeat(80)).len(), 58);
    }
}
