//! The file of a cluster's snapshot, version 1: what a server needs besides the store, and the store's own snapshot.
//!
//! ```text
//! "mainstay cluster snapshot\n"  version: u32  length of the manifest: u32  SHA-256 of the manifest
//! the manifest, JSON
//! the store's snapshot, with checksums of its own
//! ```
//! Numbers are little endian. The reader takes files from strangers: any bytes give a manifest or an error, in bounded memory.

use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::refusal::refuse;

const MAGIC: &[u8; 26] = b"mainstay cluster snapshot\n";
const VERSION: u32 = 1;
const MANIFEST_BYTES_MAX: u32 = 1 << 20;

/// What the file tells before the store's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version that wrote it.
    pub(crate) mainstay_version: String,
    /// When it was taken, Unix seconds.
    pub(crate) taken_at: i64,
    /// The server that it was taken of.
    pub(crate) server: String,
    /// That server's address for other members; none for `mainstay up`.
    pub(crate) peer_url: Option<String>,
    /// Addresses of pods.
    pub(crate) cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub(crate) service_cidr: Ipv4Net,
    /// Addresses of that server's own pods, where the cluster gave it some.
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// The SHA-256 of the authority's public key, hexadecimal.
    pub(crate) authority: String,
    /// The SHA-256 of the configuration of encryption at rest, hexadecimal; none if a flag named one.
    pub(crate) encryption: Option<String>,
    /// The cluster's keys, sealed under a passphrase.
    pub(crate) keys: Option<String>,
}

/// Writes what comes before the store's snapshot.
pub(super) fn write_head(to: &mut impl Write, manifest: &Manifest) -> anyhow::Result<()> {
    let text = serde_json::to_vec(manifest).context("writing the manifest")?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MANIFEST_BYTES_MAX);
    let length = length.context("the manifest is too long")?;
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&Sha256::digest(&text))?;
    to.write_all(&text)?;
    Ok(())
}

/// Whether a file is a cluster's snapshot; it is read from its beginning afterwards.
pub(crate) fn is_bundle(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    let found = match file.read_exact(&mut magic) {
        Ok(()) => magic == *MAGIC,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(found)
}

/// Reads the manifest; the store's snapshot is next.
///
/// # Errors
/// A refusal that says what is wrong with the file.
pub(super) fn read_head(file: &mut impl Read) -> anyhow::Result<Manifest> {
    let mut magic = [0; MAGIC.len()];
    read(file, &mut magic)?;
    if magic != *MAGIC {
        return Err(refuse("it is no snapshot of a cluster"));
    }
    let (mut version, mut length, mut sum) = ([0; 4], [0; 4], [0; 32]);
    read(file, &mut version)?;
    let version = u32::from_le_bytes(version);
    if version != VERSION {
        return Err(refuse(format!(
            "it has version {version}, and this mainstay reads version {VERSION}: use the mainstay that wrote it"
        )));
    }
    read(file, &mut length)?;
    read(file, &mut sum)?;
    let length = u32::from_le_bytes(length);
    if length > MANIFEST_BYTES_MAX {
        return Err(refuse(format!("it is damaged: its manifest claims {length} bytes")));
    }
    let mut text = vec![0; length as usize];
    read(file, &mut text)?;
    if <[u8; 32]>::from(Sha256::digest(&text)) != sum {
        return Err(refuse("it is damaged: the checksum of its manifest does not match"));
    }
    serde_json::from_slice(&text).map_err(|error| refuse(format!("its manifest cannot be read: {error}")))
}

fn read(file: &mut impl Read, into: &mut [u8]) -> anyhow::Result<()> {
    match file.read_exact(into) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(refuse("it is no snapshot of a cluster, or was cut: it ends early"))
        }
        Err(error) => Err(error).context("reading it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            mainstay_version: "0.1.0".to_owned(),
            taken_at: 1_764_195_300,
            server: "m1".to_owned(),
            peer_url: Some("https://192.0.2.1:2380".to_owned()),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            pod_cidr: None,
            authority: "ab".repeat(32),
            encryption: None,
            keys: None,
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_and_what_follows_is_next() {
        let mut bytes = Vec::new();
        write_head(&mut bytes, &sample()).unwrap();
        bytes.extend(b"rows");
        let mut rest = &bytes[..];
        assert_eq!(read_head(&mut rest).unwrap(), sample());
        assert_eq!(rest, b"rows");
        assert!(is_bundle(&mut std::io::Cursor::new(&bytes)).unwrap());
        assert!(!is_bundle(&mut std::io::Cursor::new(b"mainstay snapshot\n")).unwrap());
    }

    #[test]
    fn what_is_cut_changed_or_newer_is_refused() {
        let mut bytes = Vec::new();
        write_head(&mut bytes, &sample()).unwrap();
        for end in 0..bytes.len() {
            assert!(read_head(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read_head(&mut &changed[..]).is_err(), "changed at {at}");
        }
        bytes[MAGIC.len()] = 2;
        let newer = read_head(&mut &bytes[..]).unwrap_err().to_string();
        assert!(newer.contains("version 2, and this mainstay reads version 1"), "{newer}");
    }
}
