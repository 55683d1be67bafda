//! The stages of the exchange, and what one machine has done of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lines::LineStanding;

/// How far the cluster is. Each stage is one that all machines have come to before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// The new authority is trusted beside the old one.
    Trusted,
    /// The cluster's own certificates are of the new one; API servers still show those of the old one to their clients.
    Issued,
    /// API servers show certificates of the new one: who trusts the old one alone is lost from here on.
    Served,
    /// The old one is trusted no more.
    Dropped,
}

/// What a machine trusts and shows. Authorities go by the SHA-256 of their public key, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    /// Its version.
    pub(crate) version: String,
    /// The authorities that it trusts.
    pub(crate) trusts: Vec<String>,
    /// Those that its certificates are of, an API server's own left out.
    pub(crate) shows: Vec<String>,
    /// The one that its API server's certificate is of; none on a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serves: Option<String>,
    /// The same of the authorities that servers alone have, by their names; empty on a worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lines: BTreeMap<String, LineStanding>,
}

impl Standing {
    /// Of this version of the program. Certificates whose authority is unknown count as of an authority without a name.
    pub(crate) fn new(
        trusts: Vec<String>,
        shows: impl IntoIterator<Item = Option<String>>,
        serves: Option<String>,
    ) -> Self {
        let mut shows: Vec<String> = shows.into_iter().map(Option::unwrap_or_default).collect();
        shows.sort_unstable();
        shows.dedup();
        Self { version: mainstay_base::version().to_owned(), trusts, shows, serves, lines: BTreeMap::new() }
    }
}
