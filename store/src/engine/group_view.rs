//! The tables as a group of commands finds them: one revision for all, so that what one has looked up the others need not look up again.
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::heads::Known;
use super::tables::{EngineView, Tables, found_version};
use super::{EngineError, table_key};
use crate::api::{Alarm, KeyValue, LeaseId, Revision};
use crate::auth::AuthState;
use crate::lease::LeaseTable;
use crate::mvcc::{Before, KeyRange, View, ViewError, Visitor};

/// For the apply loop only: it alone writes, so nothing changes below this while it lives.
pub(crate) struct GroupView<'e> {
    tables: &'e Tables,
    db: &'e DB,
    base: EngineView<'e>,
    /// Whether somebody wants the values that are replaced.
    looks_back: bool,
    lookups: RefCell<Lookups<'e>>,
}

/// Making an iterator costs more than a seek, and a key that is new is looked for by each of its comparisons and by its put.
#[derive(Default)]
struct Lookups<'e> {
    rows: Option<DBRawIterator<'e>>,
    absent: HashSet<Bytes, RandomState>,
    /// Used again for each row that is sought.
    row: Vec<u8>,
}

impl<'e> GroupView<'e> {
    /// `db` is the open tables': see [`Tables::db`]. `looks_back` is whether the values that are replaced are wanted, whatever a command says.
    pub(crate) fn new(tables: &'e Tables, db: &'e DB, leases: &'e LeaseTable, looks_back: bool) -> Self {
        Self { tables, db, base: EngineView::new(tables, leases), looks_back, lookups: RefCell::default() }
    }

    /// Looks in the tables for a key of which nothing is known.
    fn look_up(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        let found = self.lookups.borrow_mut().look_up(self.db, key, self.base.revision())?;
        if found.is_none() {
            self.tables.missed();
        }
        Ok(found)
    }
}

impl<'e> Lookups<'e> {
    fn look_up(&mut self, db: &'e DB, key: &Bytes, at: Revision) -> Result<Option<KeyValue>, EngineError> {
        if self.absent.contains(key) {
            return Ok(None);
        }
        table_key::version_into(key, at, &mut self.row);
        let rows = self.rows.get_or_insert_with(|| {
            let mut options = ReadOptions::default();
            options.set_prefix_same_as_start(true);
            db.raw_iterator_opt(options)
        });
        rows.seek(&self.row);
        let found = found_version(rows, key)?;
        if found.is_none() {
            self.absent.insert(key.clone());
        }
        Ok(found)
    }
}

impl View for GroupView<'_> {
    fn revision(&self) -> Revision {
        self.base.revision()
    }

    fn floor(&self) -> Revision {
        self.base.floor()
    }

    fn latest(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        match self.tables.known(key, self.base.revision()) {
            Known::Live(kv) => Ok(Some(kv)),
            Known::Gone => Ok(None),
            Known::Nothing => self.look_up(key),
        }
    }

    fn before(&self, key: &Bytes) -> Result<Option<Before>, ViewError> {
        match self.tables.known_before(key, self.looks_back) {
            Known::Live(before) => Ok(Some(before)),
            Known::Gone => Ok(None),
            Known::Nothing => Ok(self.look_up(key)?.map(Before::from)),
        }
    }

    fn scan_latest(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        self.base.scan_latest(range, visit)
    }

    fn scan_at(&self, range: KeyRange<'_>, at: Revision, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        self.base.scan_at(range, at, visit)
    }

    fn alarms(&self) -> &BTreeSet<Alarm> {
        self.base.alarms()
    }

    fn has_lease(&self, id: LeaseId) -> bool {
        self.base.has_lease(id)
    }

    fn lease_count(&self) -> usize {
        self.base.lease_count()
    }

    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.base.lease_keys(id)
    }

    fn auth(&self) -> Arc<AuthState> {
        self.base.auth()
    }
}
