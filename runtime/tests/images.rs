//! Import and pull of honest and hostile images. Needs root (ownership of files); the registry is a few lines here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly; its support is shared by files"
)]

mod node;

use mainstay_runtime::images::Images;
use mainstay_runtime::{Config, ImageLimits};
use node::image::{archive, busybox_layer, digest, gzip, tar, write};
use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;

struct Store {
    dir: tempfile::TempDir,
    images: Images,
}

fn store(limits: ImageLimits) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let mut config =
        Config::new(dir.path().join("data"), dir.path().join("run"), "i", "10.0.0.0/24".parse().unwrap());
    config.image_limits = limits;
    Store { images: Images::open(&config).unwrap(), dir }
}

impl Store {
    fn import(&self, bytes: &[u8], name: Option<&str>) -> Result<String, String> {
        let path = write(self.dir.path(), "a.tar", bytes);
        self.images.import(&path, name).map(|found| found[0].id.clone()).map_err(|error| error.chain())
    }

    /// Nothing is left of a refused image.
    fn assert_empty(&self) {
        assert!(self.images.list().unwrap().is_empty());
        for dir in ["tmp", "layers", "blobs/sha256"] {
            let left = std::fs::read_dir(self.dir.path().join("data/images").join(dir)).unwrap().count();
            assert_eq!(left, 0, "{dir}");
        }
    }
}

#[test]
fn oci_and_docker_archives_are_imported_listed_and_removed() {
    let store = store(ImageLimits::default());
    let layers = [busybox_layer(), tar(&[("etc/new", 0o644, b"x")], &[])];
    let id = store.import(&gzip(&archive("localhost/a:v1", &layers, json!({"User": "web"}))), None).unwrap();
    let found = store.images.find("localhost/a:v1").unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.user.as_str(), found.layers.len()), (id.as_str(), "web", 2));
    assert!(store.images.find(&id).unwrap().is_some());
    assert!(store.images.find(id.strip_prefix("sha256:").unwrap()).unwrap().is_some());
    let digests: Vec<_> = found.digests.iter().cloned().collect();
    assert!(store.images.find(&digests[0]).unwrap().is_some());
    let config =
        serde_json::to_vec(&json!({"os": "linux", "rootfs": {"diff_ids": [digest(&layers[1])]}})).unwrap();
    let manifest =
        serde_json::to_vec(&json!([{"Config": "c.json", "RepoTags": ["b:2"], "Layers": ["x/layer.tar"]}]))
            .unwrap();
    let files: [(&str, u32, &[u8]); 3] = [
        ("c.json", 0o644, &config),
        ("real/layer.tar", 0o644, &layers[1]),
        ("manifest.json", 0o644, &manifest),
    ];
    store.import(&tar(&files, &[("x/layer.tar".into(), "../real/layer.tar")]), None).unwrap();
    assert_eq!(store.images.list().unwrap().len(), 2);
    assert!(store.images.remove("docker.io/library/b:2").unwrap());
    assert!(!store.images.remove("b:2").unwrap());
    assert!(store.images.remove(&id).unwrap());
    store.assert_empty();
}

#[test]
fn archive_without_a_usable_name_asks_for_one() {
    let store = store(ImageLimits::default());
    let bytes = archive("latest", &[tar(&[("f", 0o644, b"x")], &[])], json!({}));
    assert!(store.import(&bytes, None).unwrap_err().contains("give a name"));
    store.import(&bytes, Some("mine:1")).unwrap();
    assert!(store.images.find("docker.io/library/mine:1").unwrap().is_some());
}

#[test]
fn wrong_digests_and_broken_archives_leave_nothing() {
    let store = store(ImageLimits::default());
    let layer = tar(&[("f", 0o644, b"content")], &[]);
    let good = archive("a:1", &[layer], json!({}));
    // One byte of the compressed layer, found by its gzip magic behind the first header.
    let mut bad = good.clone();
    let at = bad.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap() + 15;
    bad[at] ^= 1;
    assert!(store.import(&bad, None).is_err());
    assert!(store.import(&good[..good.len() / 2], None).is_err());
    assert!(store.import(b"this is no archive", None).is_err());
    assert!(store.import(b"", None).is_err());
    store.images.remove("nothing:1").unwrap();
    store.import(&good, None).unwrap();
    store.images.remove("a:1").unwrap();
    store.assert_empty();
}

#[test]
fn bomb_stops_at_the_limit() {
    let limits = ImageLimits { layer_bytes_max: 1 << 20, layer_entries_max: 100, ..ImageLimits::default() };
    let store = store(limits);
    let bomb = tar(&[("zeros", 0o644, &vec![0_u8; 8 << 20])], &[]);
    assert!(store.import(&archive("a:1", &[bomb], json!({})), None).unwrap_err().contains("limit"));
    let names: Vec<String> = (0..200).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, u32, &[u8])> =
        names.iter().map(|name| (name.as_str(), 0o644, b"".as_slice())).collect();
    let many = tar(&files, &[]);
    assert!(
        store
            .import(&archive("a:1", &[many], json!({})), None)
            .unwrap_err()
            .contains("more than 100 entries")
    );
    store.images.remove("nothing:1").unwrap();
    assert!(store.images.list().unwrap().is_empty());
}

/// Serves fixed answers by path; `/v2/` paths only.
fn registry(answers: HashMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answers) = (stream.unwrap(), Arc::clone(&answers));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    lines.push(line);
                }
                let path =
                    lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
                let (status, body) = match answers.get(&path) {
                    Some(body) => ("200 OK", body.clone()),
                    None => (
                        "404 Not Found",
                        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#.to_vec(),
                    ),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                drop(stream.write_all(&[head.into_bytes(), body].concat()));
            });
        }
    });
    address
}

fn pull(store: &Store, name: &str) -> Result<String, (mainstay_proto_wire::cri::Code, String)> {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let pulled = tokio.block_on(store.images.pull(name));
    pulled.map(|image| image.id).map_err(|error| (error.code(), error.chain()))
}

/// The answers of a registry with one image, and the digest of its layer.
fn answers() -> (HashMap<String, Vec<u8>>, String) {
    let layer = tar(&[("f", 0o644, b"pulled")], &[]);
    let blob = gzip(&layer);
    let config =
        serde_json::to_vec(&json!({"os": "linux", "rootfs": {"diff_ids": [digest(&layer)]}})).unwrap();
    let manifest = serde_json::to_vec(&json!({"schemaVersion": 2,
        "config": {"digest": digest(&config), "size": config.len()},
        "layers": [{"digest": digest(&blob), "size": blob.len()}]}))
    .unwrap();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [
        {"digest": digest(b"other"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest(&manifest), "size": manifest.len(), "platform": {"os": "linux", "architecture": arch}}]}))
    .unwrap();
    let layer = digest(&blob);
    let answers = [
        ("manifests/v1".to_owned(), index),
        (format!("manifests/{}", digest(&manifest)), manifest),
        (format!("blobs/{}", digest(&config)), config),
        (format!("blobs/{layer}"), blob),
    ];
    let path = |part: &str| format!("/v2/team/app/{part}");
    (answers.into_iter().map(|(part, body)| (path(&part), body)).collect(), layer)
}

#[test]
fn image_is_pulled_through_its_index() {
    let store = store(ImageLimits::default());
    let (answers, _) = answers();
    let address = registry(answers);
    let id = pull(&store, &format!("{address}/team/app:v1")).unwrap();
    let layer = &store.images.find(&id).unwrap().unwrap().layers[0].0;
    let file =
        store.dir.path().join("data/images/layers").join(layer.strip_prefix("sha256:").unwrap()).join("f");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "pulled");
    assert_eq!(pull(&store, &format!("{address}/team/app:v1")).unwrap(), id);
}

#[test]
fn missing_image_wrong_blob_and_bad_reference_are_told_apart() {
    use mainstay_proto_wire::cri::Code;
    let store = store(ImageLimits::default());
    let (mut answers, layer) = answers();
    let blob = answers.get_mut(&format!("/v2/team/app/blobs/{layer}")).unwrap();
    let last = blob.len() - 9;
    blob[last] ^= 1;
    let address = registry(answers);
    let (code, text) = pull(&store, &format!("{address}/team/app:v1")).unwrap_err();
    assert_eq!(code, Code::DataLoss, "{text}");
    let (code, text) = pull(&store, &format!("{address}/team/app:none")).unwrap_err();
    assert_eq!(code, Code::NotFound, "{text}");
    assert_eq!(pull(&store, "UPPER/case").unwrap_err().0, Code::InvalidArgument);
    assert_eq!(pull(&store, "127.0.0.1:1/team/app:v1").unwrap_err().0, Code::Unavailable);
    store.assert_empty_images();
}

impl Store {
    fn assert_empty_images(&self) {
        assert!(self.images.list().unwrap().is_empty());
    }
}
