//! Disks that fail under the log: what the whole store does then.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;

use crate::api::{Config, PutRequest, RangeError, WriteError};
use crate::core::Core;
use crate::mvcc::{Command, Reply};
use crate::platform::Platform;
use crate::raft::log::{Disk, DiskFile, OsDisk};

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Faults {
    fail_syncs: AtomicBool,
    failed: AtomicU64,
    writes_after_failure: AtomicU64,
    full: AtomicBool,
    synced_by: Mutex<Option<ThreadId>>,
}

impl Faults {
    /// Whether the last sync was done on the thread that asks.
    fn synced_here(&self) -> bool {
        *self.synced_by.lock() == Some(std::thread::current().id())
    }
}

/// The real disk, with faults on demand.
#[derive(Debug)]
struct FaultyDisk {
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl FaultyDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { file, faults: Arc::clone(&self.faults) })
    }
}

impl Disk for FaultyDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        OsDisk.list(directory)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(OsDisk.open(path)?))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.file(OsDisk.create(path)?))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        OsDisk.size(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_directory(path)
    }
}

impl FaultyFile {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        *self.faults.synced_by.lock() = Some(std::thread::current().id());
        if self.faults.fail_syncs.load(Ordering::SeqCst) {
            self.faults.failed.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::other("the medium failed"));
        }
        sync()
    }
}

impl DiskFile for FaultyFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.faults.failed.load(Ordering::SeqCst) > 0 {
            self.faults.writes_after_failure.fetch_add(1, Ordering::SeqCst);
        }
        self.file.write_all_at(bytes, offset)
    }
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_all())
    }
}

fn config(dir: &tempfile::TempDir) -> Config {
    let mut config = Config { dir: dir.path().to_path_buf(), disk_reserve_bytes: 0, ..Config::default() };
    config.limits.request_bytes_max = 64 << 10;
    config.log_segment_bytes = 256 << 10;
    config
}

fn on(disk: FaultyDisk, dir: &tempfile::TempDir) -> Config {
    Config { platform: Platform::on(Arc::new(disk)), ..config(dir) }
}

async fn put(core: &Core, key: &str) -> Result<(), WriteError> {
    let put = PutRequest::new(key.to_owned(), vec![b'v'; 40_000]);
    core.propose(Command::Put(put), None).await.map(|reply| assert!(matches!(reply, Reply::Put(_))))
}

/// Writes one after the other until one is synced where it was proposed: a slow disk is left to the log's loop for a while.
async fn write_until_synced_here(core: &Core, faults: &Faults) -> usize {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut written = 0;
    while !faults.synced_here() {
        assert!(tokio::time::Instant::now() < deadline, "{written} writes of one caller, none synced here");
        put_small(core, written).await;
        written += 1;
    }
    written
}

async fn put_small(core: &Core, number: usize) {
    let put = PutRequest::new(format!("small-{number}"), format!("{number}"));
    core.propose(Command::Put(put), None).await.unwrap();
}

#[tokio::test]
async fn a_lone_caller_is_synced_on_its_own_thread_until_another_calls() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let disk = FaultyDisk { faults: Arc::clone(&faults) };
    let core = Core::open(Config { sync_where_proposed: true, ..on(disk, &dir) }).await.unwrap();
    let mut written = 0;
    for _ in 0..3 {
        written = written.max(write_until_synced_here(&core, &faults).await);
        tokio::join!(put_small(&core, 0), put_small(&core, 1));
        assert!(!faults.synced_here(), "there were two");
    }
    core.get("small-0".into()).await.unwrap().unwrap();
    put_small(&core, 0).await;
    assert!(!faults.synced_here(), "somebody has read since");
    core.close().await.unwrap();
    drop(core);
    let core = Core::open(config(&dir)).await.unwrap();
    for number in 0..written {
        assert!(core.get(format!("small-{number}").into()).await.unwrap().is_some(), "{number}");
    }
    core.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_stops_the_store_at_once_and_is_not_tried_again() {
    for sync_where_proposed in [false, true] {
        fail_a_sync(sync_where_proposed).await;
    }
}

async fn fail_a_sync(sync_where_proposed: bool) {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let disk = FaultyDisk { faults: Arc::clone(&faults) };
    let core = Core::open(Config { sync_where_proposed, ..on(disk, &dir) }).await.unwrap();
    put(&core, "before").await.unwrap();
    if sync_where_proposed {
        write_until_synced_here(&core, &faults).await;
    }
    faults.fail_syncs.store(true, Ordering::SeqCst);
    let failed = tokio::time::timeout(DEADLINE, put(&core, "failed")).await.unwrap().unwrap_err();
    assert!(matches!(failed, WriteError::Unknown(_) | WriteError::Halted(_)), "{failed}");
    tokio::time::timeout(DEADLINE, core.stop.token().cancelled()).await.expect("the store stops by itself");
    faults.fail_syncs.store(false, Ordering::SeqCst); // the next sync would succeed, and prove nothing
    assert!(matches!(put(&core, "after").await, Err(WriteError::Halted(_))));
    assert!(matches!(core.get("before".into()).await, Err(RangeError::Halted(_))));
    tokio::time::timeout(DEADLINE, core.close()).await.unwrap().unwrap_err();
    assert_eq!(faults.failed.load(Ordering::SeqCst), 1, "a sync that failed is not tried again");
    assert_eq!(faults.writes_after_failure.load(Ordering::SeqCst), 0, "nothing is written after it");
    drop(core);
    let core = Core::open(config(&dir)).await.unwrap();
    assert!(core.get("before".into()).await.unwrap().is_some(), "what was acknowledged is there");
    core.close().await.unwrap();
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the test waits for what it spawns")]
async fn while_the_log_waits_for_space_writes_are_refused_at_once_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let disk = FaultyDisk { faults: Arc::clone(&faults) };
    let core = Core::open(on(disk, &dir)).await.unwrap();
    put(&core, "before").await.unwrap();
    faults.full.store(true, Ordering::SeqCst);
    // Writes until one needs a file that cannot be made.
    let mut waiting = Vec::new();
    let refused = loop {
        assert!(waiting.len() < 1000, "the log never needed a file");
        let (writer, key) = (Arc::clone(&core), format!("k{}", waiting.len()));
        let mut write = tokio::spawn(async move { put(&writer, &key).await });
        match tokio::time::timeout(Duration::from_millis(300), &mut write).await {
            Ok(done) => match done.unwrap() {
                Ok(()) => {}
                Err(error) => break error,
            },
            Err(_waits) => waiting.push(write),
        }
    };
    assert!(matches!(refused, WriteError::NoSpace { .. }), "{refused}");
    assert_eq!(waiting.len(), 1, "only the write that met the full disk waits");
    let asked = tokio::time::Instant::now();
    assert!(matches!(put(&core, "more").await, Err(WriteError::NoSpace { .. })));
    assert!(asked.elapsed() < Duration::from_millis(100));
    assert!(core.get("before".into()).await.unwrap().is_some(), "reads go on");
    faults.full.store(false, Ordering::SeqCst);
    for write in waiting {
        tokio::time::timeout(Duration::from_secs(2), write).await.expect("writes return").unwrap().unwrap();
    }
    put(&core, "back").await.unwrap();
    core.close().await.unwrap();
}

#[tokio::test]
async fn what_a_write_waits_in_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let core = Core::open(config(&dir)).await.unwrap();
    let write = core.propose(Command::Put(PutRequest::new("key", "value")), None);
    // It is moved several times before it is polled: once for each box or task around it.
    let bytes = size_of_val(&write);
    assert!(bytes <= 2560, "{bytes} bytes");
    drop(write);
    core.close().await.unwrap();
}
