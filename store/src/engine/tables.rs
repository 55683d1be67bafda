//! The handle on the tables, and the view of them that decisions get.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use rocksdb::{DB, DBRawIterator, FlushOptions, ReadOptions, ReadTier};

use super::commit::AppliedMark;
use super::heads::{Heads, Known};
use super::known_keys::KnownKeys;
use super::version_record::VersionRecord;
use super::{EngineError, open, table_key};
use crate::api::{Alarm, Config, KeyValue, LeaseId, Revision};
use crate::auth::{AuthState, AuthTable, decode_mark, decode_role, decode_user};
use crate::lease::LeaseTable;
use crate::mvcc::{Before, Effects, KeyRange, View, ViewError, Visitor};

/// The leases as the tables hold them.
#[derive(Debug, Default)]
pub(crate) struct StoredLeases {
    /// With their times to live in seconds.
    pub(crate) leases: Vec<(LeaseId, u64)>,
    pub(crate) attachments: Vec<(LeaseId, Bytes)>,
}

/// The open tables. Reads name a revision; only the apply thread and compaction write.
pub(crate) struct Tables {
    /// None once they are closed; whoever reads holds the lock, so that closing waits.
    db: RwLock<Option<DB>>,
    /// The newest revision that readers may see.
    revision: AtomicI64,
    floor: AtomicI64,
    auth: AuthTable,
    heads: Heads,
    pub(super) known_keys: KnownKeys,
    /// About how many bytes compaction has deleted that RocksDB still holds.
    pub(super) garbage: AtomicU64,
    pub(super) alarms: RwLock<Arc<BTreeSet<Alarm>>>,
    path: PathBuf,
    write_buffer_bytes: u64,
    /// For tables that take the place of these.
    config: Config,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables")
            .field("revision", &self.revision)
            .field("floor", &self.floor)
            .finish_non_exhaustive()
    }
}

impl Tables {
    /// Opens the tables and tells what has been applied to them.
    pub(crate) fn open(path: &Path, config: &Config) -> Result<(Self, AppliedMark), EngineError> {
        let db = open::open(path, config)?;
        let tables = Self {
            db: RwLock::new(Some(db)),
            revision: AtomicI64::new(Revision::INITIAL.0),
            floor: AtomicI64::new(0),
            auth: AuthTable::new(AuthState::default(), config.auth),
            heads: Heads::new(config.head_cache_bytes),
            known_keys: KnownKeys::default(),
            garbage: AtomicU64::new(0),
            alarms: RwLock::default(),
            path: path.to_path_buf(),
            write_buffer_bytes: config.write_buffer_bytes as u64,
            config: Config { cluster: None, ..config.clone() },
        };
        let mark = tables.read_mark(ReadTier::All)?;
        tables.heads.clear(mark.revision);
        tables.publish(mark.revision, mark.floor);
        tables.load_auth()?;
        tables.load_alarms()?;
        Ok((tables, mark))
    }

    /// The open tables. Closing and replacing them wait for all who hold this; who holds it may ask for it again.
    pub(crate) fn db(&self) -> Result<MappedRwLockReadGuard<'_, DB>, EngineError> {
        RwLockReadGuard::try_map(self.db.read_recursive(), Option::as_ref)
            .map_err(|_closed| EngineError::damaged("reading", "the tables are closed"))
    }

    fn read_mark(&self, tier: ReadTier) -> Result<AppliedMark, EngineError> {
        let attempt = "reading what was applied";
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        let db = self.db()?;
        let bytes = db.get_pinned_opt(table_key::APPLIED, &options).map_err(EngineError::rocksdb(attempt))?;
        match bytes {
            None => Ok(AppliedMark::default()),
            Some(bytes) => AppliedMark::decode(&bytes)
                .ok_or_else(|| EngineError::damaged(attempt, "the record is damaged")),
        }
    }

    /// What would still be applied after a crash now.
    pub(crate) fn durable_mark(&self) -> Result<AppliedMark, EngineError> {
        self.read_mark(ReadTier::Persisted)
    }

    /// Writes all that was applied to synced files.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db()?.flush_opt(&options).map_err(EngineError::rocksdb("flushing the tables"))
    }

    /// Whether there is room for all that waits in memory: after a full disk, RocksDB should write again now.
    pub(crate) fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.path)
            .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) > 4 * self.write_buffer_bytes)
    }

    pub(crate) fn membership(&self) -> Result<Option<Vec<u8>>, EngineError> {
        self.db()?.get(table_key::MEMBERSHIP).map_err(EngineError::rocksdb("reading the membership"))
    }

    /// The newest revision that readers may see.
    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    pub(crate) fn floor(&self) -> Revision {
        Revision(self.floor.load(Ordering::Acquire))
    }

    /// Takes what a command did, once it is written and before [`Tables::publish`].
    pub(crate) fn absorb(&self, effects: &Effects) {
        self.heads.absorb(effects);
        self.known_keys.absorb(effects);
        self.absorb_alarm(effects);
    }

    /// Lets readers see what was written.
    pub(crate) fn publish(&self, revision: Revision, floor: Revision) {
        self.floor.store(floor.0, Ordering::Release);
        self.revision.store(revision.0, Ordering::Release);
    }

    /// The size of all table files and of what is not in a file yet.
    pub(crate) fn size_bytes(&self) -> u64 {
        let Ok(db) = self.db() else { return 0 };
        sum_of(&db, ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"])
    }

    /// RocksDB's estimate of what is left of that once everything is compacted.
    pub(crate) fn live_bytes(&self) -> u64 {
        let Ok(db) = self.db() else { return 0 };
        sum_of(&db, ["rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables"])
    }

    /// What is known of a key without looking for it.
    pub(super) fn known(&self, key: &[u8], at: Revision) -> Known {
        match self.heads.at(key, at) {
            Known::Nothing if self.known_keys.is_absent(key) => Known::Gone,
            known => known,
        }
    }

    /// What a change of a key replaces now, as far as that is known without looking for it.
    pub(super) fn known_before(&self, key: &[u8], with_value: bool) -> Known<Before> {
        match self.heads.before(key, with_value) {
            Known::Nothing if self.known_keys.is_absent(key) => Known::Gone,
            known => known,
        }
    }

    /// A key was looked for, and was not there.
    pub(super) fn missed(&self) {
        self.known_keys.missed();
    }

    /// The version of a key that was live at a revision. `memory_only` gives up (with `Err(None)`) rather than read from disk.
    pub(crate) fn get_at(
        &self,
        key: &[u8],
        at: Revision,
        memory_only: bool,
    ) -> Result<Option<KeyValue>, Option<EngineError>> {
        match self.known(key, at) {
            Known::Live(kv) => return Ok(Some(kv)),
            Known::Gone => return Ok(None),
            Known::Nothing => {}
        }
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        if memory_only {
            options.set_read_tier(ReadTier::BlockCache);
        }
        let db = self.db().map_err(Some)?;
        let mut rows = db.raw_iterator_opt(options);
        rows.seek(table_key::version(key, at));
        let found = match found_version(&rows, key) {
            Ok(found) => found,
            Err(error) if memory_only && error.incomplete => return Err(None),
            Err(error) => return Err(Some(error)),
        };
        match &found {
            Some(kv) => self.heads.offer(kv, at),
            None => self.missed(),
        }
        Ok(found)
    }

    /// All leases with their times to live in seconds, and all keys attached to them.
    pub(crate) fn load_leases(&self) -> Result<StoredLeases, EngineError> {
        let attempt = "loading leases";
        let mut leases = Vec::new();
        let mut attachments = Vec::new();
        let damaged = || EngineError::damaged(attempt, "a lease row is damaged");
        self.each_row(b"l", b"m", attempt, |row, value| {
            let ttl = value.first_chunk().map(|ttl| u64::from_le_bytes(*ttl));
            leases.push(table_key::split_lease(row).zip(ttl).ok_or_else(damaged)?);
            Ok(())
        })?;
        self.each_row(b"a", b"b", attempt, |row, _| {
            let (id, key) = table_key::split_attachment(row).ok_or_else(damaged)?;
            attachments.push((id, Bytes::copy_from_slice(key)));
            Ok(())
        })?;
        Ok(StoredLeases { leases, attachments })
    }

    /// Users, roles and permissions in force.
    pub(crate) fn auth(&self) -> &AuthTable {
        &self.auth
    }

    /// Puts in force what the rows say: when the tables were opened or replaced.
    pub(crate) fn load_auth(&self) -> Result<(), EngineError> {
        let attempt = "loading users and roles";
        let mut rows = Vec::new();
        for (from, to) in [(table_key::ROLES, table_key::ROLES_END), (table_key::USERS, table_key::USERS_END)]
        {
            self.each_row(from, to, attempt, |row, value| {
                rows.push((row.to_vec(), value.to_vec()));
                Ok(())
            })?;
        }
        let mark = self.db()?.get(table_key::AUTH).map_err(EngineError::rocksdb(attempt))?;
        self.auth.replace(auth_of(mark.as_deref(), &rows)?);
        Ok(())
    }

    /// Where the tables are.
    #[cfg(feature = "etcd")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn each_row(
        &self,
        from: &[u8],
        to: &[u8],
        attempt: &'static str,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(to);
        let db = self.db()?;
        let mut rows = db.raw_iterator_opt(options);
        rows.seek(from);
        while let Some((row, value)) = rows.item() {
            visit(row, value)?;
            rows.next();
        }
        rows.status().map_err(EngineError::rocksdb(attempt))
    }

    /// Puts the tables in the directory `name` into the place of these, after the reads under way. A crash leaves the one or the other.
    pub(crate) fn replace(&self, dir: &Path, name: &str) -> Result<AppliedMark, EngineError> {
        let attempt = "putting a snapshot into place";
        let failed = |error: std::io::Error| EngineError::damaged(attempt, error.to_string());
        let (new, mark) = Self::open(&dir.join(name), &self.config)?;
        let mut db = self.db.write();
        let before = crate::data_dir::switch_tables(dir, name).map_err(failed)?;
        let new =
            new.db.into_inner().ok_or_else(|| EngineError::damaged(attempt, "the tables are closed"))?;
        let old = db.replace(new);
        self.heads.clear(mark.revision);
        self.known_keys.forget();
        self.publish(mark.revision, mark.floor);
        drop(db);
        self.load_auth()?;
        self.load_alarms()?;
        if let Some(old) = old {
            old.cancel_all_background_work(true);
        }
        super::image::clear(&dir.join(before))?;
        Ok(mark)
    }

    /// Closes the tables, after the reads under way.
    pub(crate) fn close(&self) {
        let db = self.db.write().take();
        if let Some(db) = db {
            db.cancel_all_background_work(true);
        }
    }
}

/// The version that a seek has found: none if there is none or it is the key's end.
pub(super) fn found_version(rows: &DBRawIterator<'_>, key: &[u8]) -> Result<Option<KeyValue>, EngineError> {
    let attempt = "reading a key";
    let Some((row, record)) = rows.item() else {
        return rows.status().map(|()| None).map_err(EngineError::rocksdb(attempt));
    };
    let (_, revision) = table_key::split_version(row)
        .ok_or_else(|| EngineError::damaged(attempt, "a version row is damaged"))?;
    let record = VersionRecord::decode(record)
        .ok_or_else(|| EngineError::damaged(attempt, "a version row is damaged"))?;
    Ok(record.row(key, revision).map(|row| row.to_key_value(false)))
}

/// The state that rows of roles and users tell of.
pub(super) fn auth_of(mark: Option<&[u8]>, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<AuthState, EngineError> {
    let damaged = |what: &str| EngineError::damaged("reading users and roles", what);
    let mut state = AuthState::default();
    if let Some(mark) = mark {
        (state.enabled, state.revision) = decode_mark(mark).map_err(|error| damaged(&error.to_string()))?;
    }
    for (row, value) in rows {
        let name = table_key::split_name(row).ok_or_else(|| damaged("a name is damaged"))?;
        if row.starts_with(table_key::ROLES) {
            let role = decode_role(value).map_err(|error| damaged(&error.to_string()))?;
            state.set_role(name, Some(role));
        } else {
            let user = decode_user(value).map_err(|error| damaged(&error.to_string()))?;
            state.set_user(name, Some(user));
        }
    }
    Ok(state)
}

fn sum_of(db: &DB, properties: [&str; 2]) -> u64 {
    properties.into_iter().filter_map(|property| db.property_int_value(property).ok().flatten()).sum()
}

/// The tables and leases at one revision: for the apply thread, all that has been applied.
#[derive(Clone)]
pub(crate) struct EngineView<'e> {
    tables: &'e Tables,
    leases: &'e LeaseTable,
    revision: Revision,
    floor: Revision,
    alarms: Arc<BTreeSet<Alarm>>,
}

impl<'e> EngineView<'e> {
    pub(crate) fn new(tables: &'e Tables, leases: &'e LeaseTable) -> Self {
        Self { tables, leases, revision: tables.revision(), floor: tables.floor(), alarms: tables.alarms() }
    }
}

impl View for EngineView<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn floor(&self) -> Revision {
        self.floor
    }

    fn latest(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        self.tables.get_at(key, self.revision, false).map_err(|error| {
            error.map_or_else(|| ViewError("reading a key: not in memory".into()), ViewError::from)
        })
    }

    fn scan_latest(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        self.scan_at(range, self.revision, visit)
    }

    fn scan_at(&self, range: KeyRange<'_>, at: Revision, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        Ok(self.tables.scan(range, at, visit)?)
    }

    fn alarms(&self) -> &BTreeSet<Alarm> {
        &self.alarms
    }

    fn has_lease(&self, id: LeaseId) -> bool {
        self.leases.contains(id)
    }

    fn lease_count(&self) -> usize {
        self.leases.len()
    }

    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.leases.keys(id)
    }

    fn auth(&self) -> Arc<AuthState> {
        self.tables.auth.state()
    }
}
