//! What the data directory of a worker holds besides `cluster.json`: the servers it knows and its certificates.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use mainstay_base::pki::Leaf;
use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDir, write_atomically, write_pair};

/// The cluster's authority.
pub(crate) const CA: &str = "pki/ca.crt";
/// The node as a client: this and `.crt` or `.key`.
pub(crate) const NODE: &str = "pki/node";
/// The node's own server.
pub(crate) const KUBELET: &str = "pki/kubelet";
const FILE: &str = "agent.json";

/// `agent.json`: marks the directory as a worker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentFile {
    /// The API servers, the one to try first at the beginning.
    pub(crate) servers: Vec<SocketAddr>,
    /// The node's address.
    pub(crate) node_ip: IpAddr,
}

impl AgentFile {
    /// Whether a directory is a worker's.
    pub(crate) fn exists(path: &Path) -> bool {
        path.join(FILE).exists()
    }

    /// Reads it from the data directory at `path`.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub(crate) fn read_at(path: &Path) -> anyhow::Result<Self> {
        let file = path.join(FILE);
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(&self, dir: &DataDir) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("writing the list of servers")?;
        write_atomically(&dir.join(FILE), &text, 0o644)
    }
}

/// A certificate and its key.
pub(crate) fn read_leaf(dir: &DataDir, name: &str) -> anyhow::Result<Leaf> {
    let read = |end: &str| {
        let file = dir.join(&format!("{name}.{end}"));
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    };
    Ok(Leaf { certificate_pem: read("crt")?, key_pem: read("key")? })
}

/// Replaces a certificate and its key. Without a certificate the node could not ask for one: the old one stays until the last moment.
pub(crate) fn write_leaf(dir: &DataDir, name: &str, leaf: &Leaf) -> anyhow::Result<()> {
    write_pair(&dir.join(name), leaf, true)
}
