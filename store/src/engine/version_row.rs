//! Picks the versions of one key out of rows that are not in tables, such as a snapshot's.
use super::table_key;
use super::version_record::VersionRecord;
use crate::api::Revision;

/// The rows of one key's versions.
pub(crate) struct KeyVersions {
    rows: Vec<u8>,
}

impl KeyVersions {
    pub(crate) fn of(key: &[u8]) -> Self {
        Self { rows: table_key::versions_of(key) }
    }

    /// The value that a row gives the key, and since which revision; none if the row is of another key, or is the key's end.
    pub(crate) fn value_in<'a>(&self, row: &[u8], value: &'a [u8]) -> Option<(Revision, &'a [u8])> {
        let (shared, revision) = table_key::split_version(row)?;
        if shared != self.rows {
            return None;
        }
        match VersionRecord::decode(value)? {
            VersionRecord::Put { value, .. } => Some((revision, value)),
            VersionRecord::Delete => None,
        }
    }
}
