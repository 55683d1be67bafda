//! What fuzzers feed with arbitrary bytes: every decoder of what comes from disk. Built for `cargo fuzz` and for tests only.
//!
//! The targets in `fuzz/` call these; so do the property tests below, which run everywhere.

use crate::engine::check_row;
use crate::mvcc::{decode_command, encode_command};
use crate::raft::log::check_file;

/// A command in the log: it decodes and encodes to the same bytes, or it fails.
///
/// # Panics
/// If the decoder is wrong: that is what a fuzzer looks for.
pub fn command(bytes: &[u8]) {
    if let Ok(command) = decode_command(bytes) {
        let mut again = Vec::new();
        encode_command(&command, &mut again);
        assert_eq!(decode_command(&again).as_ref(), Ok(&command), "a command is what it was decoded to");
    }
}

/// A file of the log: its records are read to the first that is not whole.
pub fn log_file(bytes: &[u8]) {
    check_file(bytes);
}

/// A row of the tables: the first byte says how long its key is.
pub fn row(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
    check_row(key, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::model::command_strategy;

    /// Bytes that are nearly right get further than noise.
    fn nearly_a_command() -> impl Strategy<Value = Vec<u8>> {
        (command_strategy(), any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
            |(command, at, byte, cut)| {
                let mut bytes = Vec::new();
                encode_command(&command, &mut bytes);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.truncate(at);
                }
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn commands_survive_noise(bytes in prop_oneof![nearly_a_command(), proptest::collection::vec(any::<u8>(), 0..200)]) {
            command(&bytes);
        }

        #[test]
        fn log_files_survive_noise(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            log_file(&bytes);
        }

        #[test]
        fn rows_survive_noise(letter in prop_oneof![Just(b'k'), Just(b'r'), Just(b'a'), Just(b'l'), Just(b'x'), any::<u8>()],
            bytes in proptest::collection::vec(any::<u8>(), 1..80)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.get_mut(1) {
                *first = letter;
            }
            row(&bytes);
        }
    }
}
