//! What is kept on disk of sandboxes and containers, enough for a new daemon to go on.

use crate::durable::{self, Sync};
use crate::failure::{Attempt, Failure, Result};
use crate::images::Layer;
use crate::network::HostPort;
use crate::shim::Exit;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::Path;

const RECORD_BYTES_MAX: u64 = 1 << 20;
const CONFIG_BYTES_MAX: u64 = 16 << 20;
pub(super) const VERSION: u32 = 1;

/// A sandbox. Its CRI configuration lies beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) created_at: i64,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) host_ports: Vec<HostPort>,
    /// Namespaces that are pinned in the run directory.
    pub(super) net: bool,
    pub(super) ipc: bool,
    pub(super) uts: bool,
    pub(super) shared_pid: bool,
    /// Its network was given back.
    pub(super) stopped: bool,
}

/// A container. Its CRI configuration lies beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) sandbox: String,
    pub(super) created_at: i64,
    pub(super) image_id: String,
    /// A name of the image by digest, else its id.
    pub(super) image_ref: String,
    pub(super) layers: Vec<Layer>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Number of the signal that asks it to stop.
    pub(super) stop_signal: i32,
    pub(super) cgroup: String,
    pub(super) log_path: Option<String>,
    /// It sees processes of others: when it ends, its own must be found through the cgroup.
    pub(super) foreign_processes: bool,
}

/// When a container's process was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) started_at: i64,
}

/// File names in a sandbox's or container's directory.
pub(super) const RECORD: &str = "record.json";
pub(super) const CONFIG: &str = "config.pb";
pub(super) const STARTED: &str = "started.json";
pub(super) const EXIT: &str = "exit.json";

/// Writes a JSON file whole.
pub(super) fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).attempt_with(|| format!("writing {name}"))?;
    durable::replace(&dir.join(name), &bytes, Sync::No)
        .attempt_with(|| format!("writing {}", dir.join(name).display()))
}

/// Reads a JSON file; nothing when there is none.
pub(super) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>> {
    let path = dir.join(name);
    let bytes =
        durable::read(&path, RECORD_BYTES_MAX).attempt_with(|| format!("reading {}", path.display()))?;
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes).attempt_with(|| format!("parsing {}", path.display()))
    };
    bytes.map(parse).transpose()
}

/// Writes a CRI configuration.
pub(super) fn write_config(dir: &Path, config: &impl Message) -> Result<()> {
    let path = dir.join(CONFIG);
    durable::replace(&path, &config.encode_to_vec(), Sync::No)
        .attempt_with(|| format!("writing {}", path.display()))
}

/// Reads a CRI configuration.
pub(super) fn read_config<T: Message + Default>(dir: &Path) -> Result<T> {
    let path = dir.join(CONFIG);
    let bytes =
        durable::read(&path, CONFIG_BYTES_MAX).attempt_with(|| format!("reading {}", path.display()))?;
    let bytes = bytes.ok_or_else(|| Failure::internal(format!("{} is missing", path.display())))?;
    T::decode(bytes.as_slice()).attempt_with(|| format!("parsing {}", path.display()))
}

/// The exit of a container whose end nobody saw, in containerd's words.
pub(super) fn unknown_exit(finished_at: i64, message: &str) -> Exit {
    Exit {
        code: 255,
        finished_at,
        oom_killed: false,
        reason: Some("Unknown".to_owned()),
        message: Some(message.to_owned()),
    }
}
