//! The state as one command sees it while it runs: the view before it, and what it has changed so far.
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::apply::Change;
use super::staged::scan_merged;
use super::view::Visitor;
use super::{Before, KeyRange, View, ViewError};
use crate::api::{EventKind, KeyValue, PutRequest, Revision};

pub(crate) struct Scratch<'v, V> {
    view: &'v V,
    changes: Vec<Change>,
    heads: RefCell<Heads>,
}

/// What the changed keys are now, as far as somebody has asked: most commands change one key and never look back.
#[derive(Default)]
struct Heads {
    /// So many changes are in it.
    upto: usize,
    /// None is deleted.
    of: BTreeMap<Bytes, Option<KeyValue>>,
}

impl<'v, V: View> Scratch<'v, V> {
    pub(crate) fn new(view: &'v V) -> Self {
        Self { view, changes: Vec::new(), heads: RefCell::default() }
    }

    /// The state before the command.
    pub(crate) fn base(&self) -> &'v V {
        self.view
    }

    /// The store's revision if the command ended here.
    pub(crate) fn revision(&self) -> Revision {
        if self.changes.is_empty() { self.view.revision() } else { self.view.revision().next() }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn push(&mut self, change: Change) {
        // Most commands change one key, and what they changed is kept for watchers.
        if self.changes.is_empty() {
            self.changes.reserve_exact(1);
        }
        self.changes.push(change);
    }

    /// The keys as all changes so far have left them.
    fn heads(&self) -> Ref<'_, BTreeMap<Bytes, Option<KeyValue>>> {
        {
            let mut heads = self.heads.borrow_mut();
            let Heads { upto, of } = &mut *heads;
            for change in self.changes.iter().skip(*upto) {
                let head = match change.kind {
                    EventKind::Put => Some(change.kv.clone()),
                    EventKind::Delete => None,
                };
                of.insert(change.kv.key.clone(), head);
            }
            *upto = self.changes.len();
        }
        Ref::map(self.heads.borrow(), |heads| &heads.of)
    }

    fn latest(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        if self.changes.is_empty() {
            return self.view.latest(key);
        }
        match self.heads().get(key) {
            Some(head) => Ok(head.clone()),
            None => self.view.latest(key),
        }
    }

    fn before(&self, key: &Bytes) -> Result<Option<Before>, ViewError> {
        if self.changes.is_empty() {
            return self.view.before(key);
        }
        match self.heads().get(key) {
            Some(head) => Ok(head.clone().map(Before::from)),
            None => self.view.before(key),
        }
    }

    /// Sets a key and returns the version before, if that is asked for.
    pub(crate) fn put(&mut self, request: &PutRequest) -> Result<Option<KeyValue>, ViewError> {
        let prev = if request.prev_kv || request.ignore_value {
            self.latest(&request.key)?.map(Before::from)
        } else {
            self.before(&request.key)?
        };
        let answer = prev.as_ref().filter(|_| request.prev_kv).and_then(|prev| prev.key_value(&request.key));
        let revision = self.view.revision().next();
        let kept = |ignored: bool| prev.as_ref().filter(|_| ignored);
        let kv = KeyValue {
            key: request.key.clone(),
            value: kept(request.ignore_value)
                .and_then(|prev| prev.value.clone())
                .unwrap_or_else(|| request.value.clone()),
            create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(0, |prev| prev.version).saturating_add(1),
            lease: kept(request.ignore_lease).map_or(request.lease, |prev| prev.lease),
        };
        self.push(Change { kind: EventKind::Put, kv, prev });
        Ok(answer)
    }

    /// Deletes a key and returns the version before; nothing happens if there is none.
    pub(crate) fn delete(&mut self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        let Some(prev) = self.latest(key)? else { return Ok(None) };
        let kv = KeyValue {
            key: prev.key.clone(),
            mod_revision: self.view.revision().next(),
            ..KeyValue::default()
        };
        self.push(Change { kind: EventKind::Delete, kv, prev: Some(prev.clone().into()) });
        Ok(Some(prev))
    }

    /// Deletes a range and returns what was there.
    pub(crate) fn delete_range(&mut self, range: KeyRange<'_>) -> Result<Vec<KeyValue>, ViewError> {
        if range.is_one_key() {
            return Ok(self.delete(&Bytes::copy_from_slice(range.key))?.into_iter().collect());
        }
        let mut found = Vec::new();
        self.scan(range, &mut |row| {
            found.push(row.to_key_value(false));
            ControlFlow::Continue(())
        })?;
        let revision = self.view.revision().next();
        for prev in &found {
            let kv = KeyValue { key: prev.key.clone(), mod_revision: revision, ..KeyValue::default() };
            self.push(Change { kind: EventKind::Delete, kv, prev: Some(prev.clone().into()) });
        }
        Ok(found)
    }

    /// Visits a range as the command sees it now.
    pub(crate) fn scan(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        if self.changes.is_empty() {
            return self.view.scan_latest(range, visit);
        }
        scan_merged(&self.heads(), range, visit, |visit| self.view.scan_latest(range, visit))
    }
}
