//! A disk in memory that forgets what was not synced when the machine crashes, and that fails when it is told to.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_store::{Disk, DiskFile};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What a disk keeps whole even when a write is torn.
const SECTOR_BYTES: usize = 512;
const FREE_BYTES: u64 = 1 << 30;

#[derive(Debug, Default)]
struct Content {
    /// As processes see it.
    now: Vec<u8>,
    /// As it is after a crash, apart from `unsynced`.
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// A change of names that no sync of the directory has made durable.
#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, u64),
    Unset(PathBuf),
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    next_file: u64,
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    name_changes: Vec<NameChange>,
    is_full: bool,
    fails_next_sync: bool,
    sync_delay_max: Duration,
    syncs: u64,
}

/// A simulated disk. Clones are one disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: u64,
}

impl SimDisk {
    /// An empty disk whose mishaps follow from a seed.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            next_file: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            is_full: false,
            fails_next_sync: false,
            sync_delay_max: Duration::ZERO,
            syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The power goes: each write since the last sync is kept, lost, or kept in some of its sectors; names go back to some point after the last
    /// sync of the directory.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        let State { rng, files, names, durable_names, name_changes, .. } = &mut *state;
        for content in files.values_mut() {
            for (offset, bytes) in std::mem::take(&mut content.unsynced) {
                match rng.random_range(0..3) {
                    0 => {}
                    1 => put(&mut content.durable, offset, &bytes),
                    _ => tear(rng, &mut content.durable, offset, &bytes),
                }
            }
            content.now.clone_from(&content.durable);
        }
        let kept = rng.random_range(0..=name_changes.len());
        for change in std::mem::take(name_changes).into_iter().take(kept) {
            change.apply(durable_names);
        }
        names.clone_from(durable_names);
        state.is_full = false;
        state.fails_next_sync = false;
        state.sync_delay_max = Duration::ZERO;
    }

    /// Makes the disk full, or gives room again.
    pub fn set_full(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    /// Makes the next sync fail. As on Linux, what it should have written counts as written from then on, and may be lost all the same.
    pub fn fail_next_sync(&self) {
        self.state.lock().fails_next_sync = true;
    }

    /// Makes syncs take up to this long.
    pub fn set_sync_delay_max(&self, delay: Duration) {
        self.state.lock().sync_delay_max = delay;
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set(path, file) => drop(names.insert(path, file)),
            Self::Unset(path) => drop(names.remove(&path)),
        }
    }
}

impl State {
    fn change_name(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn content(&mut self, file: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Keeps each sector of a write or not.
fn tear(rng: &mut StdRng, content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let to_boundary = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
        let end = (at + to_boundary).min(bytes.len());
        if rng.random_bool(0.5) {
            put(content, offset + at, &bytes[at..end]);
        }
        at = end;
    }
}

impl Disk for SimDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state.lock().names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        let file = state.file(path)?;
        Ok(state.content(file)?.now.clone())
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state.lock();
        let file = state.file(path)?;
        Ok(state.content(file)?.now.len() as u64)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state.lock().file(path)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.is_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.next_file += 1;
        let file = state.next_file;
        state.files.insert(file, Content::default());
        state.change_name(NameChange::Set(path.to_path_buf(), file));
        drop(state);
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.file(from)?;
        // One step, as file systems with a journal do it: after a crash it has the old name or the new one.
        let mut changes = std::mem::take(&mut state.name_changes);
        state.change_name(NameChange::Set(to.to_path_buf(), file));
        state.names.remove(from);
        changes.append(&mut state.name_changes);
        changes.push(NameChange::Unset(from.to_path_buf()));
        state.name_changes = changes;
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.file(path)?;
        state.change_name(NameChange::Unset(path.to_path_buf()));
        Ok(())
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(if self.state.lock().is_full { 0 } else { FREE_BYTES })
    }

    fn sync_delay(&self) -> Duration {
        let mut state = self.state.lock();
        let max = state.sync_delay_max;
        if max.is_zero() { Duration::ZERO } else { state.rng.random_range(Duration::ZERO..max) }
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let is_full = state.is_full;
        let content = state.content(self.file)?;
        let offset = offset as usize;
        if is_full && offset + bytes.len() > content.now.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        put(&mut content.now, offset, bytes);
        content.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let content = state.content(self.file)?;
        let found = content.now.get(offset as usize..offset as usize + bytes.len());
        bytes.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.syncs += 1;
        let fails = std::mem::take(&mut state.fails_next_sync);
        let State { rng, files, .. } = &mut *state;
        let content = files.get_mut(&self.file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        for (offset, bytes) in std::mem::take(&mut content.unsynced) {
            if !fails || rng.random_bool(0.3) {
                put(&mut content.durable, offset, &bytes);
            }
        }
        if fails { Err(io::Error::other("input/output error (simulated)")) } else { Ok(()) }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "/d/a";

    fn written(disk: &SimDisk, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.create(Path::new(NAME)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_a_crash() {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            written(&disk, b"hello").sync_data().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.crash();
            assert_eq!(disk.read(Path::new(NAME)).unwrap(), b"hello");
        }
    }

    #[test]
    fn what_was_not_synced_is_lost_torn_or_kept() {
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let disk = SimDisk::new(seed);
            let file = written(&disk, &[0; 1024]);
            file.sync_data().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            file.write_all_at(&[1; 1024], 0).unwrap();
            disk.crash();
            let content = disk.read(Path::new(NAME)).unwrap();
            found.insert((content[0], content[1023]));
        }
        assert_eq!(found.len(), 4, "all four ways: {found:?}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost_and_a_rename_is_whole() {
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            written(&disk, b"x").sync_all().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.rename(Path::new(NAME), Path::new("/d/b")).unwrap();
            disk.crash();
            let names = disk.list(Path::new("/d")).unwrap();
            assert!(!names.is_empty());
            found.insert(names.iter().any(|name| name.ends_with("b")));
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_failed_sync_may_lose_what_a_later_one_claims_to_have_written() {
        let lost = (0..40).any(|seed| {
            let disk = SimDisk::new(seed);
            let file = written(&disk, b"x");
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.fail_next_sync();
            assert!(file.sync_data().is_err());
            file.sync_data().unwrap();
            disk.crash();
            disk.read(Path::new(NAME)).unwrap() != b"x"
        });
        assert!(lost);
    }
}
