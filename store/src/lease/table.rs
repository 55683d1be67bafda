//! The leases alive, their keys and their deadlines. Keys and times to live are replicated state, set by the apply thread; deadlines are
//! the leader's own, in its monotonic time, and never leave it. A member that begins to lead gives every lease a whole new time to live.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{Lease, LeaseId, LeaseTimeToLive};
use crate::engine::StoredLeases;
use crate::mvcc::{Effects, LeaseEffect};

#[derive(Debug)]
struct Held {
    ttl: Duration,
    end: End,
    keys: BTreeSet<Bytes>,
}

/// When a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not before the expiry loop has seen it; nobody does where no leader is.
    Unset,
    At(Instant),
    /// It is being revoked.
    UnderWay,
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<LeaseId, Held>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    /// Granted, but without deadline yet.
    fresh: Vec<LeaseId>,
    /// Whether this member leads: else no lease ends here.
    leads: bool,
}

/// The leases alive.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    inner: Mutex<Inner>,
    /// Tells the expiry loop that the first deadline may have changed.
    changed: Notify,
}

/// What the expiry loop has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) now: Vec<LeaseId>,
    pub(crate) next: Option<Instant>,
}

impl LeaseTable {
    /// The leases of a store that was closed or crashed: each begins a new time to live.
    pub(crate) fn load(stored: StoredLeases) -> Self {
        let table = Self::default();
        table.replace(stored);
        table
    }

    /// Takes the leases of a snapshot instead of those that were here.
    pub(crate) fn replace(&self, stored: StoredLeases) {
        let StoredLeases { leases, attachments } = stored;
        let mut inner = self.inner.lock();
        *inner = Inner { leads: inner.leads, ..Inner::default() };
        for (id, ttl) in leases {
            inner.grant(id, Duration::from_secs(ttl));
        }
        for (id, key) in attachments {
            if let Some(lease) = inner.leases.get_mut(&id) {
                lease.keys.insert(key);
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Tells whether this member leads. When it begins to, every lease begins a new time to live; when it does not, none ends here.
    pub(crate) fn lead(&self, leads: bool) {
        let mut inner = self.inner.lock();
        if inner.leads == leads {
            return;
        }
        inner.leads = leads;
        inner.deadlines.clear();
        let mut fresh = Vec::with_capacity(inner.leases.len());
        for (id, lease) in &mut inner.leases {
            lease.end = End::Unset;
            fresh.push(*id);
        }
        inner.fresh = fresh;
        drop(inner);
        self.changed.notify_one();
    }

    /// Takes what a command did.
    pub(crate) fn absorb(&self, effects: &Effects) {
        let touched = effects.lease.is_some()
            || effects.changes.iter().any(|change| {
                !change.kv.lease.is_none() || change.prev.as_ref().is_some_and(|prev| !prev.lease.is_none())
            });
        if !touched {
            return;
        }
        let mut inner = self.inner.lock();
        for change in &effects.changes {
            let key = &change.kv.key;
            let before = change.prev.as_ref().map(|prev| prev.lease).unwrap_or_default();
            if before == change.kv.lease {
                continue;
            }
            if let Some(lease) = inner.leases.get_mut(&before) {
                lease.keys.remove(key);
            }
            if let Some(lease) = inner.leases.get_mut(&change.kv.lease) {
                lease.keys.insert(key.clone());
            }
        }
        match effects.lease {
            Some(LeaseEffect::Grant { id, ttl_seconds }) => {
                inner.grant(id, Duration::from_secs(ttl_seconds));
                drop(inner);
                self.changed.notify_one();
            }
            Some(LeaseEffect::Revoke(id)) => {
                if let Some(Held { end: End::At(deadline), .. }) = inner.leases.remove(&id) {
                    inner.deadlines.remove(&(deadline, id));
                }
            }
            None => {}
        }
    }

    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.inner.lock().leases.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().leases.len()
    }

    pub(crate) fn keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.inner
            .lock()
            .leases
            .get(&id)
            .map(|lease| lease.keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn list(&self) -> Vec<Lease> {
        self.inner.lock().leases.iter().map(|(id, lease)| Lease { id: *id, ttl: lease.ttl }).collect()
    }

    /// Starts a lease's time anew; none if it does not exist or its end is under way.
    pub(crate) fn keep_alive(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let lease = inner.leases.get(&id)?;
        let ttl = lease.ttl;
        if lease.end == End::UnderWay {
            return None;
        }
        inner.set_deadline(id, now + ttl);
        drop(inner);
        self.changed.notify_one();
        Some(ttl)
    }

    pub(crate) fn time_to_live(&self, id: LeaseId, keys: bool, now: Instant) -> Option<LeaseTimeToLive> {
        let inner = self.inner.lock();
        let lease = inner.leases.get(&id)?;
        let remaining = match lease.end {
            End::At(deadline) => deadline.saturating_duration_since(now),
            End::Unset => lease.ttl,
            End::UnderWay => Duration::ZERO,
        };
        let keys = if keys { lease.keys.iter().cloned().collect() } else { Vec::new() };
        Some(LeaseTimeToLive { id, granted: lease.ttl, remaining, keys })
    }

    /// The leases whose time is over (each is named once), and when the next one's is. Gives new leases their deadlines.
    pub(crate) fn take_expired(&self, now: Instant) -> Expired {
        let mut inner = self.inner.lock();
        if !inner.leads {
            return Expired { now: Vec::new(), next: None };
        }
        for id in std::mem::take(&mut inner.fresh) {
            let unset = inner.leases.get(&id).filter(|lease| lease.end == End::Unset);
            if let Some(ttl) = unset.map(|lease| lease.ttl) {
                inner.set_deadline(id, now + ttl);
            }
        }
        let mut expired = Vec::new();
        while let Some((deadline, id)) = inner.deadlines.first().copied() {
            if deadline > now {
                return Expired { now: expired, next: Some(deadline) };
            }
            inner.deadlines.pop_first();
            if let Some(lease) = inner.leases.get_mut(&id) {
                lease.end = End::UnderWay;
                expired.push(id);
            }
        }
        Expired { now: expired, next: None }
    }

    /// A lease that should have ended could not be: it is due again at `deadline`.
    pub(crate) fn retry_at(&self, id: LeaseId, deadline: Instant) {
        let mut inner = self.inner.lock();
        // If this member began to lead anew meanwhile, the lease has a whole time to live again.
        if inner.leads && inner.leases.get(&id).is_some_and(|lease| lease.end == End::UnderWay) {
            inner.set_deadline(id, deadline);
        }
    }

    /// Resolves when deadlines may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Inner {
    fn grant(&mut self, id: LeaseId, ttl: Duration) {
        self.leases.insert(id, Held { ttl, end: End::Unset, keys: BTreeSet::new() });
        if self.leads {
            self.fresh.push(id);
        }
    }

    fn set_deadline(&mut self, id: LeaseId, deadline: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let End::At(old) = std::mem::replace(&mut lease.end, End::At(deadline)) {
            self.deadlines.remove(&(old, id));
        }
        self.deadlines.insert((deadline, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table(leases: &[(LeaseId, u64)]) -> LeaseTable {
        let table = LeaseTable::load(StoredLeases { leases: leases.to_vec(), attachments: Vec::new() });
        table.lead(true);
        table
    }

    #[test]
    fn no_lease_ends_where_nobody_leads_and_a_new_leader_begins_anew() {
        let table = table(&[(LeaseId(1), 5)]);
        let start = Instant::now();
        assert_eq!(table.take_expired(start).next, Some(start + 5 * SECOND));
        table.lead(false);
        assert_eq!(table.take_expired(start + 60 * SECOND), Expired { now: vec![], next: None });
        table.lead(true);
        let later = start + 60 * SECOND;
        assert_eq!(table.take_expired(later), Expired { now: vec![], next: Some(later + 5 * SECOND) });
        assert_eq!(table.take_expired(later + 5 * SECOND).now, vec![LeaseId(1)]);
    }

    #[test]
    fn a_lease_expires_once_and_not_before_its_time() {
        let table = table(&[(LeaseId(1), 5), (LeaseId(2), 9)]);
        let start = Instant::now();
        assert_eq!(table.take_expired(start), Expired { now: vec![], next: Some(start + 5 * SECOND) });
        assert_eq!(
            table.take_expired(start + 5 * SECOND),
            Expired { now: vec![LeaseId(1)], next: Some(start + 9 * SECOND) }
        );
        assert_eq!(table.take_expired(start + 6 * SECOND).now, vec![]);
        assert_eq!(table.keep_alive(LeaseId(1), start + 6 * SECOND), None, "its end is under way");
    }

    #[test]
    fn keep_alive_moves_the_deadline() {
        let table = table(&[(LeaseId(1), 5)]);
        let start = Instant::now();
        assert_eq!(table.keep_alive(LeaseId(1), start), Some(5 * SECOND));
        assert_eq!(table.keep_alive(LeaseId(1), start + 3 * SECOND), Some(5 * SECOND));
        assert_eq!(table.take_expired(start + 6 * SECOND).now, vec![]);
        let left = table.time_to_live(LeaseId(1), false, start + 6 * SECOND).unwrap();
        assert_eq!(left.remaining, 2 * SECOND);
        assert_eq!(table.take_expired(start + 8 * SECOND).now, vec![LeaseId(1)]);
    }
}
