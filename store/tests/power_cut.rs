//! The power goes while a store writes: nothing that was acknowledged is lost. An ext4 on a loop device is shut down without flushing its
//! journal, as if the machine had lost power: what was not synced is gone. Needs root, mkfs.ext4 and perl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_store::{Config, PutRequest, Store, Txn};

const WRITERS: u64 = 8;
/// How often the power goes; MAINSTAY_POWER_CUTS sets another number.
const CUTS: u32 = 5;
/// A file system that was unmounted is gone after this, and looked for so often.
const GONE_MAX: Duration = Duration::from_secs(60);
const GONE_LOOK: Duration = Duration::from_millis(20);
/// Tells the child where to write.
const DIR_VARIABLE: &str = "MAINSTAY_STORE_POWER_DIR";

/// A file system of its own on a loop device.
struct Disk {
    dir: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(done.success(), "{program} {arguments:?} failed; this test needs root, mkfs.ext4 and perl");
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { dir };
        let image = disk.image();
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        std::fs::create_dir(disk.mount_point()).unwrap();
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn mount(&self) {
        let (image, mount) = (self.image(), self.mount_point());
        run("mount", &["-o", "loop", &image.display().to_string(), &mount.display().to_string()]);
    }

    /// From here on nothing reaches the disk, not even the journal.
    fn cut_power(&self) {
        let shut_down = r#"my $flags = pack("L", 2); open(my $root, "<", $ARGV[0]) or die $!; ioctl($root, 0x8004587d, $flags) or die $!"#;
        run("perl", &["-e", shut_down, &self.mount_point().display().to_string()]);
    }

    /// Until the file system is gone: one that a mount namespace of somebody else still has a copy of would be mounted again as it is, shut down.
    #[allow(clippy::disallowed_methods, reason = "nothing tells when a loop device is free")]
    fn unmount(&self) {
        run("umount", &[&self.mount_point().display().to_string()]);
        for _ in 0..GONE_MAX.as_millis() / GONE_LOOK.as_millis() {
            let used = Command::new("losetup").arg("--associated").arg(self.image()).output().unwrap();
            assert!(used.status.success(), "{used:?}");
            if used.stdout.is_empty() {
                return;
            }
            std::thread::sleep(GONE_LOOK);
        }
        panic!("something has {} mounted for {GONE_MAX:?} already", self.image().display());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(self.mount_point()).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config { dir: dir.to_path_buf(), disk_reserve_bytes: 0, ..Config::default() };
    config.limits.request_bytes_max = 64 << 10;
    config.log_segment_bytes = 1 << 20;
    config.write_buffer_bytes = 2 << 20;
    config
}

#[test]
fn a_power_cut_loses_no_acknowledged_write() {
    if let Some(dir) = std::env::var_os(DIR_VARIABLE) {
        child(Path::new(&dir));
        return;
    }
    let cuts =
        std::env::var_os("MAINSTAY_POWER_CUTS").map_or(CUTS, |cuts| cuts.to_str().unwrap().parse().unwrap());
    let disk = Disk::new();
    let store_dir = disk.mount_point().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for cut in 0..cuts {
        write_and_cut(&disk, &store_dir, 300 + u64::from(cut) * 150, &mut acknowledged);
        disk.unmount();
        disk.mount();
        runtime.block_on(check(&store_dir, &acknowledged));
    }
    let total: u64 = acknowledged.values().sum();
    assert!(total > u64::from(cuts) * 300, "there was load: {acknowledged:?}");
}

fn write_and_cut(disk: &Disk, store: &Path, lines: u64, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut child = start(store);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the child ended by itself");
        note(&line, acknowledged);
    }
    disk.cut_power();
    // What it says now is not counted: a write that it takes for acknowledged after the cut was not.
    child.kill().unwrap();
    child.wait().unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_power_cut_loses_no_acknowledged_write", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn note(line: &str, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut words = line.split_whitespace();
    if words.next() == Some("ack") {
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (writer, step) = (number(), number());
        acknowledged.insert(writer, step);
    }
}

async fn check(dir: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let store = Store::open(config(dir)).await.unwrap();
    for (writer, told) in acknowledged {
        let kv = store.get(format!("step/{writer}")).await.unwrap().expect("the writer's step is there");
        let step: u64 = std::str::from_utf8(&kv.value).unwrap().trim().parse().unwrap();
        assert!(step >= *told, "writer {writer} has {step} and had told {told}");
        let twin = store.get(format!("twin/{writer}")).await.unwrap().expect("its twin is there");
        assert_eq!((twin.value, twin.mod_revision), (kv.value, kv.mod_revision), "a transaction was torn");
    }
    store.close().await.unwrap();
}

fn child(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(config(dir)).await.unwrap();
        futures::future::join_all((0..WRITERS).map(|writer| write(store.clone(), writer))).await;
    });
}

/// Writes until the disk is gone.
async fn write(store: Store, writer: u64) {
    let key = format!("step/{writer}");
    let mut step = match store.get(key.clone()).await.unwrap() {
        None => 0,
        Some(kv) => std::str::from_utf8(&kv.value).unwrap().trim().parse().unwrap(),
    };
    let padding = " ".repeat(2000);
    loop {
        step += 1;
        let value = format!("{step}{padding}");
        let both = [key.clone(), format!("twin/{writer}")].map(|key| PutRequest::new(key, value.clone()));
        if store.txn(Txn::default().then(both)).await.is_err() {
            return;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {writer} {step}").unwrap();
    }
}
