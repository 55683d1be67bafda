//! The state between two writes to the engine: commands of one group see each other's effects before these are in the tables.
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use super::view::Visitor;
use super::{Effects, KeyRange, LeaseEffect, Row, View, ViewError};
use crate::api::{KeyValue, LeaseId, Revision};
use crate::auth::AuthState;

/// A view with changes on top of it that are not in it yet.
pub(crate) struct Staged<'v, V> {
    view: &'v V,
    revision: Revision,
    floor: Revision,
    heads: BTreeMap<Bytes, Option<KeyValue>>,
    /// Leases granted (true) or revoked (false) here.
    leases: HashMap<LeaseId, bool>,
    lease_count: usize,
    /// Keys attached (true) or detached (false) here, by lease.
    attached: HashMap<LeaseId, BTreeMap<Bytes, bool>>,
    /// Revisions made here, so that reads of the past inside the group see them.
    history: Vec<(Revision, Heads)>,
    /// Users, roles and permissions, if they changed here.
    auth: Option<Arc<AuthState>>,
}

/// Keys and what they are now; none is deleted.
type Heads = Vec<(Bytes, Option<KeyValue>)>;

impl<'v, V: View> Staged<'v, V> {
    pub(crate) fn new(view: &'v V) -> Self {
        Self {
            view,
            revision: view.revision(),
            floor: view.floor(),
            heads: BTreeMap::new(),
            leases: HashMap::new(),
            lease_count: view.lease_count(),
            attached: HashMap::new(),
            history: Vec::new(),
            auth: None,
        }
    }

    /// Takes what a command did.
    pub(crate) fn absorb(&mut self, effects: &Effects) {
        self.revision = effects.revision;
        self.floor = effects.floor.unwrap_or(self.floor);
        let mut made = Vec::with_capacity(effects.changes.len());
        for change in &effects.changes {
            let key = &change.kv.key;
            let before = change.prev.as_ref().map_or(LeaseId::NONE, |prev| prev.lease);
            if before != change.kv.lease {
                self.attach(before, key, false);
                self.attach(change.kv.lease, key, true);
            }
            let head = match change.kind {
                crate::api::EventKind::Put => Some(change.kv.clone()),
                crate::api::EventKind::Delete => None,
            };
            made.push((key.clone(), head.clone()));
            self.heads.insert(key.clone(), head);
        }
        if !made.is_empty() {
            self.history.push((effects.revision, made));
        }
        if let Some(auth) = &effects.auth {
            self.auth = Some(Arc::clone(&auth.state));
        }
        match effects.lease {
            Some(LeaseEffect::Grant { id, .. }) => {
                self.leases.insert(id, true);
                self.lease_count += 1;
            }
            Some(LeaseEffect::Revoke(id)) => {
                self.leases.insert(id, false);
                self.lease_count = self.lease_count.saturating_sub(1);
            }
            None => {}
        }
    }

    fn attach(&mut self, lease: LeaseId, key: &Bytes, on: bool) {
        if !lease.is_none() {
            self.attached.entry(lease).or_default().insert(key.clone(), on);
        }
    }
}

impl<V: View> View for Staged<'_, V> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn floor(&self) -> Revision {
        self.floor
    }

    fn latest(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError> {
        match self.heads.get(key) {
            Some(head) => Ok(head.clone()),
            None => self.view.latest(key),
        }
    }

    fn scan_latest(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        scan_merged(&self.heads, range, visit, |visit| self.view.scan_latest(range, visit))
    }

    fn scan_at(&self, range: KeyRange<'_>, at: Revision, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        if at <= self.view.revision() {
            return self.view.scan_at(range, at, visit);
        }
        let mut heads = BTreeMap::new();
        for (_, made) in self.history.iter().take_while(|(revision, _)| *revision <= at) {
            heads.extend(made.iter().cloned());
        }
        scan_merged(&heads, range, visit, |visit| self.view.scan_latest(range, visit))
    }

    fn has_lease(&self, id: LeaseId) -> bool {
        self.leases.get(&id).copied().unwrap_or_else(|| self.view.has_lease(id))
    }

    fn lease_count(&self) -> usize {
        self.lease_count
    }

    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        let base = if self.leases.get(&id) == Some(&true) { Vec::new() } else { self.view.lease_keys(id) };
        let Some(changed) = self.attached.get(&id) else { return base };
        let mut keys: BTreeMap<Bytes, bool> = base.into_iter().map(|key| (key, true)).collect();
        keys.extend(changed.iter().map(|(key, on)| (key.clone(), *on)));
        keys.into_iter().filter_map(|(key, on)| on.then_some(key)).collect()
    }

    fn auth(&self) -> Arc<AuthState> {
        self.auth.clone().unwrap_or_else(|| self.view.auth())
    }
}

/// Visits a range of what lies below, with the changed keys of `heads` in their places.
pub(super) fn scan_merged(
    heads: &BTreeMap<Bytes, Option<KeyValue>>,
    range: KeyRange<'_>,
    visit: &mut Visitor<'_>,
    below: impl FnOnce(&mut Visitor<'_>) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    if range.is_empty() {
        return Ok(());
    }
    let end = match range.end {
        None => Bound::Included(range.key),
        Some(b"\0") => Bound::Unbounded,
        Some(end) => Bound::Excluded(end),
    };
    let mut upper = heads.range::<[u8], _>((Bound::Included(range.key), end)).peekable();
    let mut stopped = false;
    below(&mut |row| {
        while let Some((key, head)) = upper.next_if(|(key, _)| &key[..] <= row.key) {
            if let Some(kv) = head
                && visit(Row::of(kv)).is_break()
            {
                stopped = true;
                return ControlFlow::Break(());
            }
            if &key[..] == row.key {
                return ControlFlow::Continue(());
            }
        }
        let flow = visit(row);
        stopped = flow.is_break();
        flow
    })?;
    if !stopped {
        for kv in upper.filter_map(|(_, head)| head.as_ref()) {
            if visit(Row::of(kv)).is_break() {
                break;
            }
        }
    }
    Ok(())
}
