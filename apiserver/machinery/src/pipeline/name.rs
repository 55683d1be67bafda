//! Names made from `metadata.generateName`.

use smol_str::SmolStr;

/// Characters that a generated name adds.
pub const NAME_SUFFIX_LENGTH: usize = 5;
/// Characters of the base that a generated name keeps, so that all of it fits a label.
const BASE_LENGTH_MAX: usize = 63 - NAME_SUFFIX_LENGTH;
/// No vowels and no 0, 1 and 3: random names spell no words and are easy to read.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The suffix that random bytes stand for. Bytes from 27 * 9 on are slightly likelier to be low letters; names
/// need to differ, not to be unguessable.
pub fn name_suffix(random: [u8; NAME_SUFFIX_LENGTH]) -> SmolStr {
    random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()))
        .map(|b| char::from(*b))
        .collect()
}

/// The name that a base and a suffix give.
pub(super) fn generate(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(BASE_LENGTH_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", base.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_has_five_characters_of_the_alphabet() {
        assert_eq!(name_suffix([0, 26, 27, 255, 1]), "b9bqc");
    }

    #[test]
    fn a_generated_name_fits_a_label() {
        assert_eq!(generate("web-", "abcde"), "web-abcde");
        assert_eq!(generate(&"a".repeat(300), "bcdfg").len(), 63);
        assert!(generate(&"é".repeat(40), "bcdfg").len() <= 63);
    }
}
