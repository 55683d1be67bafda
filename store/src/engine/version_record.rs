//! The value of a version's row.
use crate::api::{EventKind, KeyValue, LeaseId, Revision};
use crate::mvcc::Row;

const HEADER_BYTES: usize = 25;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// What a key's version row holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum VersionRecord<'a> {
    Put { create_revision: Revision, version: i64, lease: LeaseId, value: &'a [u8] },
    Delete,
}

impl<'a> VersionRecord<'a> {
    /// Puts a record in place of what `out` holds.
    pub(super) fn encode_into(kind: EventKind, kv: &KeyValue, out: &mut Vec<u8>) {
        out.clear();
        match kind {
            EventKind::Delete => out.push(DELETE),
            EventKind::Put => {
                out.reserve(HEADER_BYTES + kv.value.len());
                out.push(PUT);
                out.extend_from_slice(&kv.create_revision.0.to_le_bytes());
                out.extend_from_slice(&kv.version.to_le_bytes());
                out.extend_from_slice(&kv.lease.0.to_le_bytes());
                out.extend_from_slice(&kv.value);
            }
        }
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            DELETE => Some(Self::Delete),
            PUT => {
                let (create, rest) = rest.split_first_chunk()?;
                let (version, rest) = rest.split_first_chunk()?;
                let (lease, value) = rest.split_first_chunk()?;
                Some(Self::Put {
                    create_revision: Revision(i64::from_le_bytes(*create)),
                    version: i64::from_le_bytes(*version),
                    lease: LeaseId(i64::from_le_bytes(*lease)),
                    value,
                })
            }
            _ => None,
        }
    }

    /// The row for a visitor; none if the version is an end.
    pub(super) fn row(self, key: &'a [u8], mod_revision: Revision) -> Option<Row<'a>> {
        match self {
            Self::Delete => None,
            Self::Put { create_revision, version, lease, value } => {
                Some(Row { key, value, create_revision, mod_revision, version, lease })
            }
        }
    }
}
