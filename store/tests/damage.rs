//! Flipped bits and cut files, anywhere in the data directory: what is read is right, or it is refused with the file's name. Never wrong, never
//! silently less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "files here are small")]
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mainstay_store::{Config, HashKv, KeyValue, RangeRequest, Revision, Store, WatchError, WatchRequest};

/// How many places are tried; MAINSTAY_DAMAGE sets another number.
const PLACES: u64 = 200;
const CUTS: u64 = 40;

fn places(default: u64) -> u64 {
    std::env::var_os("MAINSTAY_DAMAGE").map_or(default, |places| places.to_str().unwrap().parse().unwrap())
}

fn config(dir: &Path) -> Config {
    let mut config = Config { dir: dir.to_path_buf(), disk_reserve_bytes: 0, ..Config::default() };
    config.limits.request_bytes_max = 64 << 10;
    config.log_segment_bytes = 256 << 10;
    config.write_buffer_bytes = 256 << 10;
    // What is read comes from the files.
    config.head_cache_bytes = 0;
    config
}

/// A sequence that is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A store's directory, closed, and what is in it.
struct Original {
    dir: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    keys: Vec<KeyValue>,
    history: BTreeMap<i64, usize>,
    hash: HashKv,
    revision: Revision,
}

async fn original() -> Original {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    let mut random = Random(1);
    for round in 0..12 {
        let puts: Vec<_> = (0..120)
            .map(|i| {
                let value: Vec<u8> = (0..300).map(|_| random.below(256) as u8).collect();
                store.put(format!("key/{:04}", (round * 61 + i * 7) % 400), value)
            })
            .collect();
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    store.compact(Revision(200)).await.unwrap();
    let read = read(&store).await.unwrap();
    store.close().await.unwrap();
    let mut files = Vec::new();
    gather(dir.path(), &mut files);
    let (keys, history, hash, revision) = read;
    Original { dir, files, keys, history, hash, revision }
}

/// The files that hold data: not the locks and RocksDB's diary, options and name.
fn gather(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_lowercase();
        let aside = ["lock", "log", "options-", "identity", "spare-"];
        let content = fs::read(&path).unwrap();
        if !content.is_empty() && !aside.iter().any(|aside| name.starts_with(aside)) {
            files.push((path, content));
        }
    }
    files.sort();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

type Read = (Vec<KeyValue>, BTreeMap<i64, usize>, HashKv, Revision);

/// Everything that can be read, or why not.
async fn read(store: &Store) -> Result<Read, String> {
    let all = store.range(RangeRequest::all()).await.map_err(|error| error.to_string())?;
    for kv in &all.kvs {
        let one = store.get(kv.key.clone()).await.map_err(|error| error.to_string())?;
        assert_eq!(one.as_ref(), Some(kv));
    }
    let mut history = BTreeMap::new();
    let first = store.status().await.map_err(|error| error.to_string())?.compacted.max(Revision(2));
    let mut watch = store.watch(WatchRequest::prefix("").starting_at(first)).await;
    for revision in first.0..=store.revision().0 {
        let batch = watch.next().await.map_err(|error: WatchError| error.to_string())?;
        assert_eq!(batch.revision, Revision(revision), "history has every revision");
        history.insert(revision, batch.events.iter().map(|event| event.kv.value.len()).sum());
    }
    let hash = store.hash_kv(None).await.map_err(|error| error.to_string())?;
    Ok((all.kvs, history, hash, store.revision()))
}

#[derive(Debug, Default)]
struct Outcome {
    refused: u64,
    harmless: u64,
}

/// Opens a damaged copy and reads all of it.
async fn judge(original: &Original, dir: &Path, damaged: &Path, what: &str, outcome: &mut Outcome) {
    let name = damaged.file_name().unwrap().to_str().unwrap();
    let store = match Store::open(config(dir)).await {
        Ok(store) => store,
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(
                told.contains(name) || told.contains("tables") || told.contains("has format"),
                "{what}: {told} does not name {name}"
            );
            outcome.refused += 1;
            return;
        }
    };
    match read(&store).await {
        Ok((keys, history, hash, revision)) => {
            assert_eq!(revision, original.revision, "{what}: the revision");
            assert_eq!(keys, original.keys, "{what}: the keys");
            assert_eq!(history, original.history, "{what}: the history");
            assert_eq!(hash.hash, original.hash.hash, "{what}: the hash");
            outcome.harmless += 1;
        }
        Err(told) => {
            assert!(told.contains(name), "{what}: {told} does not name {name}");
            outcome.refused += 1;
        }
    }
    // A store with damage need not close well.
    drop(store.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_never_served() {
    let original = original().await;
    let total: u64 = original.files.iter().map(|(_, content)| content.len() as u64).sum();
    let mut random = Random(7);
    let mut outcome = Outcome::default();
    for _ in 0..places(PLACES) {
        // By file first: the small ones matter as much as the large.
        let (path, content) = &original.files[random.below(original.files.len() as u64) as usize];
        let (offset, bit) = (random.below(content.len().max(1) as u64), random.below(8));
        let copied = tempfile::tempdir().unwrap();
        copy(original.dir.path(), copied.path());
        let damaged = copied.path().join(path.strip_prefix(original.dir.path()).unwrap());
        let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
        file.write_all_at(&[content[offset as usize] ^ (1 << bit)], offset).unwrap();
        let what = format!("bit {bit} of byte {offset} of {}", path.display());
        judge(&original, copied.path(), &damaged, &what, &mut outcome).await;
    }
    println!("{outcome:?} of {total} bytes in {} files", original.files.len());
    assert!(outcome.refused > outcome.harmless / 4, "most damage is noticed: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_loses_nothing_silently() {
    let original = original().await;
    let mut random = Random(11);
    let mut outcome = Outcome::default();
    for _ in 0..places(CUTS) {
        let (path, content) = &original.files[random.below(original.files.len() as u64) as usize];
        let left = random.below(content.len().max(1) as u64);
        let copied = tempfile::tempdir().unwrap();
        copy(original.dir.path(), copied.path());
        let damaged = copied.path().join(path.strip_prefix(original.dir.path()).unwrap());
        fs::OpenOptions::new().write(true).open(&damaged).unwrap().set_len(left).unwrap();
        let what = format!("{} cut to {left} bytes", path.display());
        judge(&original, copied.path(), &damaged, &what, &mut outcome).await;
    }
    println!("{outcome:?}");
    assert!(outcome.refused > 0, "{outcome:?}");
}
