//! The state between two writes to the engine: commands of one group see each other's effects before these are in the tables.
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::view::Visitor;
use super::{Before, Change, Effects, KeyRange, LeaseEffect, Row, View, ViewError};
use crate::api::{Alarm, EventKind, KeyValue, LeaseId, Revision};
use crate::auth::AuthState;

/// A view with changes on top of it that are not in it yet.
pub(crate) struct Staged<'v, V> {
    view: &'v V,
    revision: Revision,
    floor: Revision,
    /// What the commands did, in order, so that reads of the past inside the group see it too.
    effects: Vec<Effects>,
    /// The last change to each key: which of what a command did, and which of its changes.
    newest: HashMap<Bytes, (usize, usize), RandomState>,
    sorted: RefCell<Sorted>,
    /// Leases granted (true) or revoked (false) here.
    leases: HashMap<LeaseId, bool>,
    lease_count: usize,
    alarms: Cow<'v, BTreeSet<Alarm>>,
    /// Keys attached (true) or detached (false) here, by lease.
    attached: HashMap<LeaseId, BTreeMap<Bytes, bool>>,
    /// Users, roles and permissions, if they changed here.
    auth: Option<Arc<AuthState>>,
}

/// What was made, in the order of keys, as far as a scan has needed it: most groups have none.
#[derive(Default)]
struct Sorted {
    /// What so many commands did is in it.
    upto: usize,
    heads: BTreeMap<Bytes, Option<KeyValue>>,
}

/// A key's new version; none is deleted.
fn head(change: &Change) -> Option<&KeyValue> {
    match change.kind {
        EventKind::Put => Some(&change.kv),
        EventKind::Delete => None,
    }
}

fn heads<'e>(effects: impl Iterator<Item = &'e Effects>) -> impl Iterator<Item = (Bytes, Option<KeyValue>)> {
    let changes = effects.flat_map(|effects| &effects.changes);
    changes.map(|change| (change.kv.key.clone(), head(change).cloned()))
}

impl<'v, V: View> Staged<'v, V> {
    /// A view with room for what so many commands do.
    pub(crate) fn new(view: &'v V, commands: usize) -> Self {
        Self {
            view,
            revision: view.revision(),
            floor: view.floor(),
            effects: Vec::with_capacity(commands),
            newest: HashMap::with_capacity_and_hasher(commands, RandomState::default()),
            sorted: RefCell::default(),
            leases: HashMap::new(),
            lease_count: view.lease_count(),
            alarms: Cow::Borrowed(view.alarms()),
            attached: HashMap::new(),
            auth: None,
        }
    }

    /// Takes what a command did.
    pub(crate) fn absorb(&mut self, effects: Effects) {
        self.revision = effects.revision;
        self.floor = effects.floor.unwrap_or(self.floor);
        for (at, change) in effects.changes.iter().enumerate() {
            let key = &change.kv.key;
            let before = change.prev.as_ref().map_or(LeaseId::NONE, |prev| prev.lease);
            if before != change.kv.lease {
                self.attach(before, key, false);
                self.attach(change.kv.lease, key, true);
            }
            self.newest.insert(key.clone(), (self.effects.len(), at));
        }
        if let Some(effect) = effects.alarm {
            effect.change(self.alarms.to_mut());
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
        self.effects.push(effects);
    }

    /// What the commands did, in order.
    pub(crate) fn into_effects(self) -> Vec<Effects> {
        self.effects
    }

    /// What was made of a key here; none if nothing was.
    fn made(&self, key: &Bytes) -> Option<&Change> {
        let (command, at) = self.newest.get(key)?;
        self.effects.get(*command)?.changes.get(*at)
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
        match self.made(key) {
            Some(made) => Ok(head(made).cloned()),
            None => self.view.latest(key),
        }
    }

    fn before(&self, key: &Bytes) -> Result<Option<Before>, ViewError> {
        match self.made(key) {
            Some(made) => Ok(head(made).cloned().map(Before::from)),
            None => self.view.before(key),
        }
    }

    fn scan_latest(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        let mut sorted = self.sorted.borrow_mut();
        let upto = sorted.upto;
        sorted.heads.extend(heads(self.effects.iter().skip(upto)));
        sorted.upto = self.effects.len();
        scan_merged(&sorted.heads, range, visit, |visit| self.view.scan_latest(range, visit))
    }

    fn scan_at(&self, range: KeyRange<'_>, at: Revision, visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        if at <= self.view.revision() {
            return self.view.scan_at(range, at, visit);
        }
        let past = self.effects.iter().take_while(|effects| effects.revision <= at);
        let heads = heads(past).collect();
        scan_merged(&heads, range, visit, |visit| self.view.scan_latest(range, visit))
    }

    fn alarms(&self) -> &BTreeSet<Alarm> {
        &self.alarms
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
