//! `mainstay` in several versions: copies of the program under test that differ where its version stands, and nowhere else
//! (docs/decisions/0100).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::command::run;
use crate::machine::binary;

/// What stands before the version, and how long both are (`base/src/version.rs`).
const MARK: &str = "mainstay-version=";
const BYTES: usize = 48;

/// Those of one test; gone with it.
pub(crate) struct Programs {
    dir: tempfile::TempDir,
    made: Mutex<BTreeMap<String, PathBuf>>,
}

impl Default for Programs {
    fn default() -> Self {
        // Where machines have their directories: they get links.
        let dir = tempfile::Builder::new().prefix("mainstay-ha-").tempdir_in("/var/tmp").unwrap();
        Self { dir, made: Mutex::default() }
    }
}

impl Programs {
    /// The program of this version, made at its first use.
    pub(crate) fn of(&self, version: &str) -> PathBuf {
        let mut made = self.made.lock().unwrap();
        let made = made.entry(version.to_owned());
        made.or_insert_with(|| make(version, &self.dir.path().join(version))).clone()
    }
}

fn make(version: &str, file: &Path) -> PathBuf {
    fs::copy(binary(), file).unwrap();
    let mut find = Command::new("grep");
    find.args(["--text", "--byte-offset", "--only-matching", "--fixed-strings", MARK]).arg(file);
    let found = run(find.env("LC_ALL", "C"), "").ok();
    let offsets: Vec<u64> =
        found.lines().map(|line| line.split(':').next().unwrap().parse().unwrap()).collect();
    let [offset] = offsets[..] else { panic!("the mark stands once in the program: {found}") };
    let mut field = vec![0; BYTES];
    field[..MARK.len()].copy_from_slice(MARK.as_bytes());
    field[MARK.len()..MARK.len() + version.len()].copy_from_slice(version.as_bytes());
    assert_eq!(field.last(), Some(&0), "{version} has room");
    File::options().write(true).open(file).unwrap().write_all_at(&field, offset).unwrap();
    file.to_owned()
}
