//! How etcd writes its rows: names of buckets, revisions as keys, small messages.

pub(super) const AUTH: &[u8] = b"auth";
pub(super) const AUTH_ENABLED: &[u8] = b"authEnabled";
pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
pub(super) const KEY: &[u8] = b"key";
pub(super) const LEASE: &[u8] = b"lease";
pub(super) const META: &[u8] = b"meta";
pub(super) const ROLES: &[u8] = b"authRoles";
pub(super) const USERS: &[u8] = b"authUsers";
pub(super) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
pub(super) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";

/// A row of the bucket `lease`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Lease {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining_ttl: i64,
}

/// A revision as a key: 8 bytes, an underscore, 8 bytes; a `t` follows for an end.
pub(super) fn revision(main: i64, sub: i64, end: bool) -> Vec<u8> {
    let mut out = main.to_be_bytes().to_vec();
    out.push(b'_');
    out.extend_from_slice(&sub.to_be_bytes());
    if end {
        out.push(b't');
    }
    out
}

/// Main, sub, and whether it is an end.
pub(super) fn split_revision(key: &[u8]) -> Option<(i64, i64, bool)> {
    let (main, rest) = key.split_first_chunk()?;
    let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
    let end = match mark {
        [] => false,
        [b't'] => true,
        _ => return None,
    };
    Some((i64::from_be_bytes(*main), i64::from_be_bytes(*sub), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_split_as_they_were_joined() {
        for parts in [(1, 0, false), (i64::MAX, 127, true)] {
            assert_eq!(split_revision(&revision(parts.0, parts.1, parts.2)), Some(parts));
        }
        assert_eq!(revision(258, 3, false), b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03");
        assert_eq!(split_revision(b"short"), None);
    }
}
