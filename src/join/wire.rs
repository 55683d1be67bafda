//! What a joining machine and a server say to each other, as JSON over TLS; and how the cluster's keys are sealed on the way.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What everybody with a token may know of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    /// The server's version.
    pub(crate) version: String,
    /// The server's time, Unix milliseconds.
    pub(crate) unix_millis: i64,
    /// Addresses of pods.
    pub(crate) cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub(crate) service_cidr: Ipv4Net,
    /// The API servers, `IP:PORT`.
    pub(crate) servers: Vec<String>,
    /// Whether a node of the name asked about is alive.
    pub(crate) node_is_alive: bool,
    /// Whether another machine can become a server here; the reason why not.
    pub(crate) closed_to_servers: Option<String>,
    /// All authorities that are to be trusted, PEM; older servers do not say.
    #[serde(default)]
    pub(crate) authorities: String,
}

/// A machine that wants to be a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServerRequest {
    /// Its name, as a member and as a node.
    pub(crate) name: String,
    /// Where the other members reach it.
    pub(crate) peer_url: String,
    /// Its version.
    pub(crate) version: String,
    /// The port of its API server.
    pub(crate) api_port: u16,
}

/// It may.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerAnswer {
    /// The members of the store that it joins, itself left out.
    pub(crate) members: Vec<Peer>,
    /// The cluster's keys by file name, sealed by [`seal`].
    pub(crate) sealed: String,
}

/// A member of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: String,
    /// Where others reach it.
    pub(crate) peer_urls: Vec<String>,
}

/// The members as the administrator sees them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberList {
    /// All of them.
    pub(crate) members: Vec<MemberState>,
    /// The server that answers: its own position in the log.
    pub(crate) raft_index: u64,
    /// The last entry that the server that answers has applied.
    pub(crate) applied_index: u64,
}

/// One member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberState {
    /// Its identifier, hexadecimal.
    pub(crate) id: String,
    /// Its name; empty until it has started.
    pub(crate) name: String,
    /// Where others reach it.
    pub(crate) peer_urls: Vec<String>,
    /// Where clients reach it.
    pub(crate) client_urls: Vec<String>,
    /// Whether it has no vote.
    pub(crate) is_learner: bool,
    /// Whether it leads, as far as the server that answers knows.
    pub(crate) is_leader: bool,
}

const NONCE_BYTES: usize = 12;
const CONTEXT: &[u8] = b"mainstay join material v1";

/// Seals files for whoever holds the secret of a token: AES-256-GCM under HMAC-SHA-256 of the secret and a random nonce.
pub(crate) fn seal(files: &BTreeMap<String, String>, secret: &str) -> anyhow::Result<String> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let plain = serde_json::to_vec(files).context("sealing the cluster's keys")?;
    let payload = Payload { msg: &plain, aad: CONTEXT };
    let sealed = cipher(secret, &nonce)?
        .encrypt(&nonce.into(), payload)
        .map_err(|_opaque| anyhow::anyhow!("sealing the cluster's keys"))?;
    Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
}

/// Opens what [`seal`] made.
///
/// # Errors
/// Another secret, or changed bytes.
pub(crate) fn open(sealed: &str, secret: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let failed = || anyhow::anyhow!("the cluster's keys cannot be opened with this token");
    let bytes = STANDARD.decode(sealed).map_err(|_not_base64| failed())?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(failed)?;
    let payload = Payload { msg: sealed, aad: CONTEXT };
    let plain = cipher(secret, nonce)?.decrypt(nonce.into(), payload).map_err(|_opaque| failed())?;
    serde_json::from_slice(&plain).map_err(|_not_json| failed())
}

fn cipher(secret: &str, nonce: &[u8]) -> anyhow::Result<Aes256Gcm> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).context("deriving the key")?;
    mac.update(CONTEXT);
    mac.update(nonce);
    <Aes256Gcm as KeyInit>::new_from_slice(&mac.finalize().into_bytes()).context("deriving the key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_opened_by_their_token_only() {
        let files = BTreeMap::from([("ca.key".to_owned(), "precious".to_owned())]);
        let sealed = seal(&files, "0123456789abcdef").unwrap();
        assert_eq!(open(&sealed, "0123456789abcdef").unwrap(), files);
        assert!(open(&sealed, "0123456789abcdeg").is_err());
        assert_ne!(seal(&files, "0123456789abcdef").unwrap(), sealed, "each has a nonce of its own");
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(open(&STANDARD.encode(bytes), "0123456789abcdef").is_err());
        assert!(open("", "x").is_err() && open("not base64!", "x").is_err());
    }
}
