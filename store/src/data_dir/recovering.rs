//! What a recovery does with a data directory besides its tables and its log: the mark that it was begun, the log that goes, the new identity.
//!
//! From the mark on nothing but the recovery opens the directory: what it applies may never have been committed by the old cluster.
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{
    Founder, IDENTITY, Identity, LOG, NewIdentity, REPLACED_LOG, current_tables, io_error, lock,
    not_readable, read_identity, write_identity,
};
use crate::api::OpenError;
use crate::platform::random;

/// A locked directory that a recovery works on; the lock ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Recovering {
    path: PathBuf,
    tables: String,
    identity: Identity,
    _lock: File,
}

impl Recovering {
    /// Locks the directory of a store. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.join(IDENTITY).exists() {
            return Err(OpenError::NotAStore { dir: path.to_path_buf() });
        }
        let lock = lock(path)?;
        let bytes = fs::read(path.join(IDENTITY)).map_err(io_error(path, "reading the identity of"))?;
        let identity = read_identity(path, &bytes)?;
        Ok(Self { path: path.to_path_buf(), tables: current_tables(path)?, identity, _lock: lock })
    }

    /// The cluster that the directory was of.
    pub(crate) fn cluster_id(&self) -> Result<u64, OpenError> {
        self.number(&self.identity.cluster_id)
    }

    /// The member that it was of.
    pub(crate) fn member_id(&self) -> Result<u64, OpenError> {
        self.number(&self.identity.member_id)
    }

    /// The member that it becomes, once the recovery was begun.
    pub(crate) fn new_member_id(&self) -> Result<Option<u64>, OpenError> {
        self.identity.recovering.as_ref().map(|(_, member)| self.number(member)).transpose()
    }

    fn number(&self, text: &str) -> Result<u64, OpenError> {
        u64::from_str_radix(text, 16).map_err(|_not_hex| not_readable(&self.path))
    }

    /// The members that a restored cluster begins with.
    pub(crate) fn founders(&self) -> &[Founder] {
        &self.identity.founders
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join(&self.tables)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Whether a recovery was begun before.
    pub(crate) fn has_begun(&self) -> bool {
        self.identity.recovering.is_some()
    }

    /// Whether the tables have all: a recovery took the log away, or what was restored has not been started yet.
    pub(crate) fn has_no_log(&self) -> bool {
        (self.has_begun() || self.identity.restored) && !self.log().exists()
    }

    /// Marks the directory, and tells the member that it becomes.
    pub(crate) fn begin(&mut self) -> Result<u64, OpenError> {
        if self.identity.recovering.is_none() {
            let new = [random("cluster"), random("member")].map(|id| format!("{id:016x}"));
            let [cluster, member] = new;
            let marked = Identity { recovering: Some((cluster, member)), ..self.identity.clone() };
            self.identity = write_identity(&self.path, marked)?;
        }
        self.new_ids().map(|(_, member)| member)
    }

    fn new_ids(&self) -> Result<(u64, u64), OpenError> {
        let (cluster, member) = self.identity.recovering.as_ref().ok_or_else(|| not_readable(&self.path))?;
        Ok((self.number(cluster)?, self.number(member)?))
    }

    /// Takes the log away: the tables have all of it on disk.
    pub(crate) fn retire_log(&self) -> Result<(), OpenError> {
        let retire = || -> io::Result<()> {
            let replaced = self.path.join(REPLACED_LOG);
            if replaced.exists() {
                fs::remove_dir_all(&replaced)?;
            }
            fs::rename(self.log(), replaced)?;
            File::open(&self.path)?.sync_all()
        };
        retire().map_err(io_error(&self.path, "taking away the log of"))
    }

    /// Makes the directory that of the new cluster; its tables begin anew by now. Tells the cluster.
    pub(crate) fn finish(self, founder: Founder) -> Result<u64, OpenError> {
        let (cluster_id, member_id) = self.new_ids()?;
        let mut supersedes = self.identity.supersedes.clone();
        supersedes.push(self.identity.cluster_id.clone());
        let new = Identity::new(NewIdentity { cluster_id, member_id, joined: false });
        write_identity(&self.path, Identity { restored: true, founders: vec![founder], supersedes, ..new })?;
        // The next start removes what a crash leaves of it here.
        let replaced = self.path.join(REPLACED_LOG);
        if replaced.exists() {
            fs::remove_dir_all(replaced).map_err(io_error(&self.path, "removing the old log of"))?;
        }
        Ok(cluster_id)
    }
}
