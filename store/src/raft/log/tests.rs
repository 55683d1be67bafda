//! The log as a whole: what it keeps, what it cuts, what it refuses.
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::{EntryPayload, RaftLogReader as _};
use tokio::sync::Notify;

use super::record::{self, Record};
use super::{LogConfig, LogFiles, LogStore};
use crate::OpenError;
use crate::mvcc::Command;
use crate::platform::Platform;
use crate::raft::types::{Entry, Proposal, TypeConfig, Vote, log_id};
use crate::stop::StopState;

const FILE_BYTES: u64 = 16 << 10;

fn open(path: &Path) -> Result<LogFiles, OpenError> {
    let config = LogConfig {
        path: path.to_path_buf(),
        cluster_id: 7,
        file_bytes: FILE_BYTES,
        sync: true,
        sync_where_proposed: false,
        checkpoint_bytes: u64::MAX,
        grown: Arc::new(Notify::new()),
        stalled: Arc::default(),
        meters: Arc::default(),
        platform: Platform::default(),
    };
    LogFiles::open(config, Arc::new(StopState::default()))
}

fn entry(index: u64) -> Entry {
    let put = crate::PutRequest::new(format!("key-{index}"), vec![b'v'; (index % 200) as usize]);
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal::new(Command::Put(put))) }
}

async fn append(store: &mut LogStore, indexes: std::ops::Range<u64>) {
    let (done, flushed) = <TypeConfig as openraft::type_config::TypeConfigExt>::oneshot();
    store.append(indexes.map(entry), IOFlushed::signal(done)).await.unwrap();
    flushed.await.unwrap().unwrap();
}

async fn indexes(store: &mut LogStore) -> Vec<u64> {
    let entries = store.try_get_log_entries(..).await.unwrap();
    assert!(
        entries.iter().all(|found| *found == entry(found.log_id.index)),
        "every entry is as it was written"
    );
    entries.iter().map(|entry| entry.log_id.index).collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|file| !file.file_name().unwrap().to_string_lossy().starts_with("spare"));
    files.sort();
    files
}

/// The records of a file with their offsets, as far as they can be read.
fn records(path: &Path) -> Vec<(u64, Record)> {
    let content = fs::read(path).unwrap();
    let number = record::FileHeader::decode(&content).unwrap().file;
    let mut found = Vec::new();
    let mut at = record::FILE_HEADER_BYTES;
    while let Some(record) = record::find(&content, number, at) {
        found.push((at, record::decode(&record).unwrap()));
        at = record.next;
    }
    found
}

fn damage(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

#[tokio::test]
async fn entries_and_votes_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    assert!(log.is_pristine());
    let mut store = log.store();
    store.save_vote(&Vote::new(1, 5)).await.unwrap();
    append(&mut store, 0..300).await;
    store.save_vote(&Vote::new_committed(2, 5)).await.unwrap();
    log.close().await.unwrap();
    assert!(files(dir.path()).len() > 1, "more than one file is in use");
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new_committed(2, 5)));
    assert_eq!(indexes(&mut store).await, (0..300).collect::<Vec<_>>());
    append(&mut store, 300..310).await;
    log.close().await.unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(indexes(&mut log.store()).await.len(), 310);
    log.close().await.unwrap();
}

#[tokio::test]
async fn truncated_entries_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    append(&mut store, 0..100).await;
    store.truncate_after(Some(log_id(1, 49))).await.unwrap();
    append(&mut store, 50..60).await;
    log.close().await.unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(indexes(&mut log.store()).await, (0..60).collect::<Vec<_>>());
    log.close().await.unwrap();
}

#[tokio::test]
async fn purged_files_are_used_again_and_their_old_records_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    store.save_vote(&Vote::new_committed(1, 5)).await.unwrap();
    for round in 0..20 {
        append(&mut store, round * 100..(round + 1) * 100).await;
        store.purge(log_id(1, round * 100 + 90)).await.unwrap();
    }
    let count = fs::read_dir(dir.path()).unwrap().count();
    assert!(count <= 5, "{count} files for 10 entries");
    log.close().await.unwrap();
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    assert_eq!(
        store.read_vote().await.unwrap(),
        Some(Vote::new_committed(1, 5)),
        "the vote is older than any file"
    );
    assert_eq!(store.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 1990)));
    assert_eq!(indexes(&mut store).await, (1991..2000).collect::<Vec<_>>());
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_any_byte() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&mut log.store(), 0..20).await;
    let file = files(dir.path()).pop().unwrap();
    let image = fs::read(&file).unwrap();
    log.close().await.unwrap();
    // The log as it was before the close, with its last write torn: the last record's rest is zero or noise.
    let found = records(&file);
    let (start, _) = found[found.len() - 2];
    let (end, closed) = &found[found.len() - 1];
    assert_eq!(*closed, Record::Closed);
    for at in start..*end {
        for noise in [0, 0x5a] {
            let mut torn = image.clone();
            torn[at as usize..*end as usize].iter_mut().for_each(|byte| *byte = noise);
            if torn == image {
                continue; // only padding was hit
            }
            fs::write(&file, &torn).unwrap();
            let log = open(dir.path()).unwrap();
            let kept = indexes(&mut log.store()).await.len();
            assert!(kept == 19 || (kept == 20 && at > start + 16), "cut at {at}: {kept} entries");
            append(&mut log.store(), kept as u64..25).await;
            log.close().await.unwrap();
            let log = open(dir.path()).unwrap();
            assert_eq!(indexes(&mut log.store()).await, (0..25).collect::<Vec<_>>());
            log.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_what_was_synced_is_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    for index in 0..200 {
        append(&mut store, index..index + 1).await;
    }
    log.close().await.unwrap();
    let all = files(dir.path());
    assert!(all.len() >= 2);
    for file in &all {
        let image = fs::read(file).unwrap();
        let found = records(file);
        // The very last record is the proof of the others; nothing proves it.
        let proven = if file == all.last().unwrap() { found.len() - 1 } else { found.len() };
        for (offset, record) in &found[..proven] {
            damage(file, *offset + 5);
            match open(dir.path()).unwrap_err() {
                OpenError::Damaged { file: named, offset: at, .. } => {
                    assert_eq!(&named, file, "{record:?}");
                    assert!(
                        at == *offset || matches!(record, Record::NextFile),
                        "{record:?} at {offset}, reported {at}"
                    );
                }
                other => panic!("{record:?}: {other}"),
            }
            fs::write(file, &image).unwrap();
        }
        damage(file, 9);
        assert!(matches!(open(dir.path()).unwrap_err(), OpenError::Damaged { offset: 0, .. }), "the header");
        fs::write(file, &image).unwrap();
    }
    let log = open(dir.path()).unwrap();
    assert_eq!(indexes(&mut log.store()).await.len(), 200);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&mut log.store(), 0..400).await;
    log.close().await.unwrap();
    let all = files(dir.path());
    assert!(all.len() >= 3);
    for file in &all[1..] {
        let away = dir.path().join("away");
        fs::rename(file, &away).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        fs::rename(&away, file).unwrap();
    }
}

#[tokio::test]
async fn a_file_begun_but_not_used_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    append(&mut log.store(), 0..10).await;
    log.close().await.unwrap();
    // A crash between beginning the next file and ending this one.
    let next = super::file::Directory {
        path: dir.path().to_path_buf(),
        cluster_id: 7,
        file_bytes: FILE_BYTES,
        disk: Arc::clone(Platform::default().disk()),
    };
    drop(next.begin(2, &Record::State { vote: None, purged: None }).unwrap());
    let log = open(dir.path()).unwrap();
    let mut store = log.store();
    assert_eq!(indexes(&mut store).await.len(), 10);
    append(&mut store, 10..300).await;
    log.close().await.unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(indexes(&mut log.store()).await.len(), 300);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_log_of_another_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().close().await.unwrap();
    let config = LogConfig {
        path: dir.path().to_path_buf(),
        cluster_id: 8,
        file_bytes: FILE_BYTES,
        sync: true,
        sync_where_proposed: false,
        checkpoint_bytes: u64::MAX,
        grown: Arc::new(Notify::new()),
        stalled: Arc::default(),
        meters: Arc::default(),
        platform: Platform::default(),
    };
    let error = LogFiles::open(config, Arc::new(StopState::default())).unwrap_err();
    assert!(error.to_string().contains("cluster"), "{error}");
}

#[tokio::test]
async fn a_failed_write_stops_the_store_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(StopState::default());
    let config = LogConfig {
        path: dir.path().to_path_buf(),
        cluster_id: 7,
        file_bytes: FILE_BYTES,
        sync: true,
        sync_where_proposed: false,
        checkpoint_bytes: u64::MAX,
        grown: Arc::new(Notify::new()),
        stalled: Arc::default(),
        meters: Arc::default(),
        platform: Platform::default(),
    };
    let log = LogFiles::open(config, Arc::clone(&stop)).unwrap();
    let mut store = log.store();
    append(&mut store, 0..10).await;
    // The next file cannot be begun: its directory is gone.
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    let (done, flushed) = <TypeConfig as openraft::type_config::TypeConfigExt>::oneshot();
    store.append((10..400).map(entry), IOFlushed::signal(done)).await.unwrap();
    assert!(flushed.await.unwrap().is_err());
    assert!(stop.is_stopped());
    assert!(store.save_vote(&Vote::new(9, 9)).await.is_err(), "nothing is tried again");
    assert!(log.close().await.is_err());
    fs::rename(&away, dir.path()).unwrap();
    let log = open(dir.path()).unwrap();
    assert!(indexes(&mut log.store()).await.len() >= 10);
    log.close().await.unwrap();
}
