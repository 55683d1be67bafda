//! A disk that is really full: a small tmpfs with a ballast file in it. Needs root, to mount.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mainstay_store::{Config, RangeRequest, Store, WriteError};

const DEADLINE: Duration = Duration::from_secs(30);

/// A file system of its own, unmounted at the end.
struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mebibytes: u32) -> Self {
        let mount = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(mount.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test needs root, to mount a tmpfs");
        Self { mount }
    }

    fn ballast(&self) -> PathBuf {
        self.mount.path().join("ballast")
    }

    fn fill(&self, mebibytes: usize) {
        std::fs::write(self.ballast(), vec![1; mebibytes << 20]).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(self.mount.path()).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

async fn open(disk: &Path, reserve: u64) -> Store {
    let mut config = Config { dir: disk.join("store"), disk_reserve_bytes: reserve, ..Config::default() };
    config.limits.request_bytes_max = 256 << 10;
    config.log_segment_bytes = 2 << 20;
    config.write_buffer_bytes = 2 << 20;
    Store::open(config).await.unwrap()
}

/// Bytes that do not compress.
fn noise(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0xff) as u8
    };
    (0..100_000).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_writes_are_refused_and_return_by_themselves() {
    let disk = SmallDisk::new(96);
    disk.fill(32);
    let store = open(disk.mount.path(), 24 << 20).await;
    let mut written = 0;
    let refused = loop {
        match tokio::time::timeout(DEADLINE, store.put(format!("{written:05}"), noise(written)))
            .await
            .unwrap()
        {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WriteError::NoSpace { .. }), "{refused}");
    assert!(written > 10);
    assert_eq!(store.get("00000").await.unwrap().unwrap().value, noise(0));
    assert!(store.status().await.unwrap().no_space);
    disk.free();
    let back = async {
        while store.put("back", "x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), back).await.expect("writes return within two seconds");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_byte_left_reads_go_on_and_nothing_acknowledged_is_lost() {
    let disk = SmallDisk::new(64);
    disk.fill(24);
    let store = open(disk.mount.path(), 0).await;
    let mut written = 0;
    // Without a reserve the disk fills to the last byte, somewhere between log and tables: a write then waits.
    let waiting = loop {
        let (writer, value) = (store.clone(), noise(written));
        let key = format!("{written:05}");
        let mut put = Box::pin(async move { writer.put(key, value).await });
        match tokio::time::timeout(Duration::from_secs(3), &mut put).await {
            Ok(done) => drop(done.unwrap()),
            Err(_elapsed) => break put,
        }
        written += 1;
        assert!(written < 2000, "the disk never filled");
    };
    let read = tokio::time::timeout(Duration::from_secs(2), store.get("00000")).await.expect("reads go on");
    assert_eq!(read.unwrap().unwrap().value, noise(0));
    disk.free();
    // With room again the write goes on, or, if RocksDB does not recover, the store stops with a reason.
    let went_on = match tokio::time::timeout(DEADLINE, waiting).await.expect("the waiting write ends") {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error, WriteError::Unknown(_) | WriteError::Halted(_)), "{error}");
            tokio::time::timeout(DEADLINE, store.stopped()).await.expect("the store stops");
            false
        }
    };
    tokio::time::timeout(DEADLINE, store.close()).await.expect("it closes").unwrap();
    let store = open(disk.mount.path(), 0).await;
    let count = store.range(RangeRequest::prefix("0")).await.unwrap().count;
    assert!(count == written as u64 + 1 || (!went_on && count == written as u64), "{count} of {written}");
    store.put("back", "x").await.unwrap();
    store.close().await.unwrap();
}
