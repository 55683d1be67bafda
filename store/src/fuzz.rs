//! What fuzzers feed with arbitrary bytes: every decoder of what comes from disk, from other members and from clients. Built for `cargo fuzz` and for tests only.
//!
//! The targets in `fuzz/` call these; so do the property tests below, which run everywhere.

use crate::engine::check_row;
use crate::mvcc::{decode_command, encode_command};
use crate::raft::log::check_file;
use crate::raft::{Hello, Welcome, WireReply, WireRequest};

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

/// A frame of another member, as a greeting, its answer, a request and a reply.
pub fn frame(bytes: &[u8]) {
    drop(Hello::decode(bytes));
    drop(Welcome::decode(bytes));
    drop(WireRequest::decode(&bytes::Bytes::copy_from_slice(bytes)));
    drop(WireReply::decode(bytes));
}

/// A snapshot, of this store or of etcd's: it is read to its end or to what is wrong. Nothing is restored.
///
/// # Panics
/// If memory for it cannot be had.
pub fn snapshot(bytes: &[u8]) {
    if let Err(error) = read_snapshot(bytes) {
        assert!(error.kind() != std::io::ErrorKind::Unsupported, "no file in memory: {error}");
    }
}

fn read_snapshot(bytes: &[u8]) -> std::io::Result<()> {
    use std::io::{Seek as _, Write as _};
    let mut file = std::fs::File::from(rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    drop(crate::snapshot::snapshot_status(&mut file));
    Ok(())
}

/// A client's connection, as it comes in.
#[cfg(feature = "etcd")]
pub fn authority(bytes: &[u8]) {
    crate::etcd::fuzz::authority(bytes);
}

/// A request of a client.
#[cfg(feature = "etcd")]
pub fn request(bytes: &[u8]) {
    crate::etcd::fuzz::request(bytes);
}

/// JSON of a client.
#[cfg(feature = "etcd")]
pub fn json(bytes: &[u8]) {
    crate::etcd::fuzz::json(bytes);
}

/// A token that a client shows.
#[cfg(feature = "etcd")]
pub fn token(bytes: &[u8]) {
    crate::etcd::fuzz::token(bytes);
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

    /// Protobuf of a transaction, nearly right.
    #[cfg(feature = "etcd")]
    fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
        let field = (0_u8..8, 0_u8..6, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(
            |(number, wire, mut content)| {
                let mut bytes = vec![number << 3 | wire];
                if wire == 2 {
                    bytes.push(content.len() as u8);
                }
                bytes.append(&mut content);
                bytes
            },
        );
        (any::<u8>(), proptest::collection::vec(field, 0..8)).prop_map(|(kind, fields)| {
            let mut bytes = vec![kind];
            bytes.extend(fields.concat());
            bytes
        })
    }

    /// Our format's first bytes, then noise with small lengths in it.
    fn nearly_a_snapshot() -> impl Strategy<Value = Vec<u8>> {
        (any::<bool>(), proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..300)).prop_map(
            |(ours, noise)| {
                let mut bytes = if ours { b"mainstay snapshot\n".to_vec() } else { Vec::new() };
                bytes.extend(noise);
                bytes
            },
        )
    }

    /// HTTP/2's preface, and frames that may be headers.
    #[cfg(feature = "etcd")]
    fn nearly_a_connection() -> impl Strategy<Value = Vec<u8>> {
        let content =
            proptest::collection::vec(prop_oneof![0_u8..16, Just(0x41), Just(0x90), any::<u8>()], 0..40);
        let frame =
            (0_u8..3, prop_oneof![Just(4), any::<u8>()], content).prop_map(|(kind, flags, content)| {
                [&[0, 0, content.len() as u8, kind, flags, 0, 0, 0, 1], &content[..]].concat()
            });
        (any::<u8>(), proptest::collection::vec(frame, 0..4)).prop_map(|(pieces, frames)| {
            [&[pieces], &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()[..]].concat()
        })
    }

    proptest! {
        #[cfg(feature = "etcd")]
        #[test]
        fn connections_survive_noise(bytes in nearly_a_connection()) {
            authority(&bytes);
        }

        #[test]
        fn frames_survive_noise(bytes in proptest::collection::vec(prop_oneof![0_u8..17, any::<u8>()], 0..120)) {
            frame(&bytes);
        }

        #[test]
        fn snapshots_survive_noise(bytes in nearly_a_snapshot()) {
            snapshot(&bytes);
        }

        #[cfg(feature = "etcd")]
        #[test]
        fn requests_survive_noise(bytes in nearly_a_request()) {
            request(&bytes);
        }

        #[cfg(feature = "etcd")]
        #[test]
        fn json_survives_noise(method in any::<u8>(), text in r#"[{}\[\]":,a-z0-9=+/-]{0,80}"#) {
            json(&[&[method], text.as_bytes()].concat());
        }

        #[cfg(feature = "etcd")]
        #[test]
        fn tokens_survive_noise(text in r"(jwt,|simple)?[a-zA-Z0-9_.=-]{0,120}") {
            token(text.as_bytes());
        }

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
