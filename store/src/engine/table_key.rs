//! How rows are keyed. One keyspace, a letter per table, so that any prefix of RocksDB's write order is a consistent store:
//!
//! | letter | key | value |
//! |---|---|---|
//! | `k` | key, escaped and ended; revision, inverted (newest first) | a version of the key, or its end |
//! | `r` | revision, position in it | what happened, to which key: see [`revision_row`](super::revision_row) |
//! | `l` | lease | its time to live |
//! | `a` | lease, key | nothing: the key is attached |
//! | `m` | a name | the state of the whole store |
//! | `p` | role | its permissions |
//! | `u` | user | hash of the password, roles |
//! | `x` | kind of alarm, member | nothing: the alarm is raised |
use std::borrow::Cow;

use crate::api::{Alarm, AlarmKind, LeaseId, Revision};
use crate::mvcc::KeyRange;

const ESCAPED_ZERO: [u8; 2] = [0x00, 0xff];
const END: [u8; 2] = [0x00, 0x01];
const AFTER_END: [u8; 2] = [0x00, 0x02];
const REVISION_BYTES: usize = 8;

pub(super) const VERSIONS_END: &[u8] = b"l";
pub(super) const REVISIONS: &[u8] = b"r";
pub(super) const REVISIONS_END: &[u8] = b"s";
pub(super) const APPLIED: &[u8] = b"mapplied";
pub(super) const MEMBERSHIP: &[u8] = b"mmembership";
pub(super) const COMPACTED: &[u8] = b"mcompacted";
pub(super) const AUTH: &[u8] = b"mauth";
pub(super) const ROLES: &[u8] = b"p";
pub(super) const ROLES_END: &[u8] = b"q";
pub(super) const USERS: &[u8] = b"u";
pub(super) const USERS_END: &[u8] = b"v";

/// The tables that belong to the store rather than to one member, as ranges of rows: what a snapshot holds. Keys come before what refers to them.
pub(super) const SHARED_TABLES: [(&[u8], &[u8]); 8] = [
    (b"k", VERSIONS_END),
    (REVISIONS, REVISIONS_END),
    (b"l", b"m"),
    (b"a", b"b"),
    (AUTH, b"mauth\0"),
    (COMPACTED, b"mcompacted\0"),
    (ROLES, ROLES_END),
    (USERS, USERS_END),
];

/// Zeros are escaped, so that the end mark orders a key before all its extensions.
fn escape(key: &[u8], out: &mut Vec<u8>) {
    if key.contains(&0) {
        for byte in key {
            if *byte == 0 {
                out.extend_from_slice(&ESCAPED_ZERO);
            } else {
                out.push(*byte);
            }
        }
    } else {
        out.extend_from_slice(key);
    }
}

fn escaped(key: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + tail.len() + 12);
    out.push(b'k');
    escape(key, &mut out);
    out.extend_from_slice(tail);
    out
}

/// Where the versions of a key begin; a revision follows.
pub(super) fn versions_of(key: &[u8]) -> Vec<u8> {
    escaped(key, &END)
}

/// Where the versions of a key end.
pub(super) fn versions_end_of(key: &[u8]) -> Vec<u8> {
    escaped(key, &AFTER_END)
}

/// The row of a key's version.
pub(super) fn version(key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 12);
    version_into(key, revision, &mut out);
    out
}

/// Puts the row of a key's version in place of what `out` holds.
pub(super) fn version_into(key: &[u8], revision: Revision, out: &mut Vec<u8>) {
    out.clear();
    out.push(b'k');
    escape(key, out);
    out.extend_from_slice(&END);
    push_inverted(out, revision);
}

pub(super) fn push_inverted(out: &mut Vec<u8>, revision: Revision) {
    out.extend_from_slice(&(!(revision.0 as u64)).to_be_bytes());
}

/// The rows that a range of keys may have: first, and first that is no longer inside.
pub(super) fn version_bounds(range: KeyRange<'_>) -> (Vec<u8>, Vec<u8>) {
    match range.end {
        None => (versions_of(range.key), versions_end_of(range.key)),
        Some(_) if range.is_open_ended() => (escaped(range.key, &[]), VERSIONS_END.to_vec()),
        Some(end) => (escaped(range.key, &[]), escaped(end, &[])),
    }
}

/// Splits the row key of a version into what the key's versions share, and the revision.
pub(super) fn split_version(row: &[u8]) -> Option<(&[u8], Revision)> {
    let (shared, revision) = row.split_at_checked(row.len().checked_sub(REVISION_BYTES)?)?;
    let inverted = u64::from_be_bytes(*revision.first_chunk()?);
    Some((shared, Revision((!inverted) as i64)))
}

/// Whether a row key is a version's: then [`split_version`] gives what the filters in the tables know it by.
pub(super) fn is_version(row: &[u8]) -> bool {
    row.first() == Some(&b'k') && split_version(row).is_some_and(|(shared, _)| shared.ends_with(&END))
}

/// The key that a version's shared part stands for.
pub(super) fn unescape(shared: &[u8]) -> Option<Cow<'_, [u8]>> {
    let key = shared.strip_prefix(b"k")?.strip_suffix(&END)?;
    if !key.contains(&0) {
        return Some(Cow::Borrowed(key));
    }
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some(Cow::Owned(out))
}

pub(super) fn revision(main: Revision, sub: u32) -> [u8; 13] {
    let mut out = [b'r'; 13];
    for (to, from) in out.iter_mut().skip(1).zip(main.0.to_be_bytes().into_iter().chain(sub.to_be_bytes())) {
        *to = from;
    }
    out
}

pub(super) fn split_revision(row: &[u8]) -> Option<(Revision, u32)> {
    let (main, sub) = row.strip_prefix(b"r")?.split_first_chunk::<8>()?;
    Some((Revision(i64::from_be_bytes(*main)), u32::from_be_bytes(*sub.first_chunk()?)))
}

pub(super) fn lease(id: LeaseId) -> [u8; 9] {
    prefixed(b'l', id)
}

fn prefixed(letter: u8, id: LeaseId) -> [u8; 9] {
    let mut out = [letter; 9];
    for (to, from) in out.iter_mut().skip(1).zip(id.0.to_be_bytes()) {
        *to = from;
    }
    out
}

pub(super) fn split_lease(row: &[u8]) -> Option<LeaseId> {
    row.strip_prefix(b"l")?.first_chunk().map(|id| LeaseId(i64::from_be_bytes(*id)))
}

pub(super) fn attachment(id: LeaseId, key: &[u8]) -> Vec<u8> {
    let mut out = prefixed(b'a', id).to_vec();
    out.extend_from_slice(key);
    out
}

pub(super) fn role(name: &str) -> Vec<u8> {
    [ROLES, name.as_bytes()].concat()
}

pub(super) fn user(name: &str) -> Vec<u8> {
    [USERS, name.as_bytes()].concat()
}

/// The name of a user or role.
pub(super) fn split_name(row: &[u8]) -> Option<&str> {
    std::str::from_utf8(row.get(1..)?).ok()
}

pub(super) fn split_attachment(row: &[u8]) -> Option<(LeaseId, &[u8])> {
    let (id, key) = row.strip_prefix(b"a")?.split_first_chunk()?;
    Some((LeaseId(i64::from_be_bytes(*id)), key))
}

pub(super) fn alarm(alarm: Alarm) -> Vec<u8> {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    };
    let mut out = vec![b'x', kind];
    out.extend_from_slice(&alarm.member_id.to_be_bytes());
    out
}

pub(super) fn split_alarm(row: &[u8]) -> Option<Alarm> {
    let (kind, member) = row.strip_prefix(b"x")?.split_first()?;
    let kind = match kind {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return None,
    };
    Some(Alarm { member_id: u64::from_be_bytes(*member.first_chunk()?), kind })
}

/// Reads a row as whichever table its key belongs to, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_row(key: &[u8], value: &[u8]) {
    use super::version_record::VersionRecord;
    if is_version(key)
        && let Some((shared, revision)) = split_version(key)
        && let Some(user_key) = unescape(shared)
    {
        assert_eq!(version(&user_key, revision), key, "a row is found where its key says");
        if let Some(record) = VersionRecord::decode(value) {
            let _row = record.row(&user_key, revision);
        }
    }
    let _parts = (split_lease(key), split_attachment(key), split_alarm(key));
    let told = super::revision_row::changes(key, value).count();
    assert!(told <= 1 + value.len() / 5, "a change takes five bytes and more");
    let _mark = super::AppliedMark::decode(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()], 0..8)
    }

    proptest! {
        #[test]
        fn versions_order_by_key_then_newest_first(a in key(), b in key(), x in 1..100_i64, y in 1..100_i64) {
            let order = a.cmp(&b).then(y.cmp(&x));
            prop_assert_eq!(version(&a, Revision(x)).cmp(&version(&b, Revision(y))), order);
        }

        #[test]
        fn a_version_splits_into_its_parts(a in key(), x in 1..i64::MAX) {
            let row = version(&a, Revision(x));
            let (shared, revision) = split_version(&row).unwrap();
            prop_assert_eq!(revision, Revision(x));
            prop_assert_eq!(&unescape(shared).unwrap()[..], &a[..]);
        }

        #[test]
        fn bounds_hold_exactly_the_keys_of_the_range(a in key(), b in key(), k in key(), x in 1..100_i64, one in any::<bool>()) {
            let range = KeyRange { key: &a, end: (!one).then_some(&b[..]) };
            let (low, high) = version_bounds(range);
            let row = version(&k, Revision(x));
            prop_assert_eq!(row >= low && row < high, range.contains(&k));
        }
    }
}
