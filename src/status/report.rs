//! What a server tells of itself: its member of the store, its snapshots, its certificates. JSON of `GET /mainstay/v1/status`.

use serde::{Deserialize, Serialize};

use crate::snapshots::ScheduleState;

/// One server, as it sees itself. It asks nobody else, so that it answers also when the others are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerReport {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its time, Unix milliseconds.
    pub(crate) unix_millis: i64,
    /// Its member of the store.
    pub(crate) store: MemberReport,
    /// Its schedule of snapshots; none if it takes none by the clock.
    pub(crate) snapshots: Option<ScheduleState>,
    /// Its certificates.
    pub(crate) certificates: Result<Vec<CertificateReport>, String>,
}

/// A member of the store, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberReport {
    /// Its identifier, hexadecimal.
    pub(crate) id: String,
    /// The identifier of the leader that it knows, hexadecimal.
    pub(crate) leader: Option<String>,
    /// The term of the log.
    pub(crate) term: u64,
    /// The last entry of its log.
    pub(crate) raft_index: u64,
    /// The last entry that it has applied.
    pub(crate) applied_index: u64,
    /// The revision that it has reached.
    pub(crate) revision: i64,
    /// The size of its tables.
    pub(crate) size_bytes: u64,
    /// The bound of that size; none if there is none.
    pub(crate) quota_bytes: Option<u64>,
    /// Whether its disk is full.
    pub(crate) no_space: bool,
    /// The alarms about it, in etcd's words.
    pub(crate) alarms: Vec<String>,
}

/// A certificate of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateReport {
    /// Its file.
    pub(crate) name: String,
    /// Whether it is an authority's, which nothing renews.
    pub(crate) is_authority: bool,
    /// When it is to be renewed, Unix seconds.
    pub(crate) renewed_at: i64,
    /// When it ends, Unix seconds.
    pub(crate) not_after: i64,
}
