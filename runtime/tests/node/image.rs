//! A small OCI archive, built here.

use mainstay_runtime::Config;
use mainstay_runtime::images::Images;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 40] = [
    "sh", "cat", "echo", "sleep", "ls", "id", "mkdir", "touch", "grep", "hostname", "nc", "ip", "mount",
    "unshare", "yes", "head", "tail", "dd", "kill", "ps", "stty", "tty", "true", "false", "test", "env",
    "pwd", "wc", "chmod", "chown", "rm", "printf", "seq", "trap", "date", "ping", "awk", "tr", "stat",
    "readlink",
];

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A tar with the given files (path, mode, content) and links.
pub fn tar(files: &[(&str, u32, &[u8])], links: &[(String, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder.append_data(&mut header, path, *content).unwrap();
    }
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn busybox_layer() -> Vec<u8> {
    let busybox = std::fs::read(BUSYBOX).expect("needs the package busybox-static");
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n";
    let group = b"root:x:0:\nweb:x:102:\nextra:x:107:web\n";
    let files: [(&str, u32, &[u8]); 7] = [
        ("bin/", 0o755, b""),
        ("bin/busybox", 0o755, &busybox),
        ("etc/", 0o755, b""),
        ("etc/passwd", 0o644, passwd),
        ("etc/group", 0o644, group),
        ("tmp/", 0o1777, b""),
        ("root/", 0o700, b""),
    ];
    let links: Vec<_> = APPLETS.iter().map(|name| (format!("bin/{name}"), "busybox")).collect();
    tar(&files, &links)
}

/// An OCI archive of these layers (uncompressed tars) named `name`.
pub fn archive(name: &str, layers: &[Vec<u8>], config: serde_json::Value) -> Vec<u8> {
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let blob = gzip(layer);
        descriptors.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest(&blob), "size": blob.len()}));
        blobs.push((digest(&blob), blob));
    }
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::to_vec(&json!({"architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}}))
    .unwrap();
    let manifest = serde_json::to_vec(&json!({"schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config),
            "size": config.len()}, "layers": descriptors}))
    .unwrap();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest),
        "size": manifest.len(), "annotations": {"org.opencontainers.image.ref.name": name}}]}))
    .unwrap();
    blobs.push((digest(&config), config));
    blobs.push((digest(&manifest), manifest));
    let named: Vec<(String, Vec<u8>)> = blobs
        .into_iter()
        .map(|(digest, blob)| (format!("blobs/{}", digest.replace(':', "/")), blob))
        .collect();
    let mut files: Vec<(&str, u32, &[u8])> =
        vec![("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", 0o644, &index)];
    files.extend(named.iter().map(|(name, blob)| (name.as_str(), 0o644, blob.as_slice())));
    tar(&files, &[])
}

pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Imports the busybox image as `test/busybox:1`.
pub fn import(config: &Config, dir: &Path) {
    let bytes =
        archive(super::IMAGE, &[busybox_layer()], json!({"Env": ["FROM_IMAGE=yes"], "Cmd": ["/bin/sh"]}));
    let path = write(dir, "busybox.tar", &bytes);
    let images = Images::open(config).unwrap();
    images.import(&path, None).unwrap_or_else(|error| panic!("{}", error.chain()));
}
