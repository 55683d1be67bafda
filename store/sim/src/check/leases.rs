//! Leases: not ended before their time, not much later, and with all their keys at once.
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{EventKind, LeaseId, Revision};

use super::Archive;

/// What one owner did with its lease. Times are those of the simulation.
#[derive(Clone, Debug)]
pub struct LeaseRecord {
    /// The lease.
    pub id: LeaseId,
    /// Its time to live.
    pub ttl: Duration,
    /// When the grant that was acknowledged had been called.
    pub granted: Duration,
    /// When each acknowledged keep-alive had been called.
    pub kept: Vec<Duration>,
    /// When each keep-alive was called and ended whose answer was that there is no such lease.
    pub denied: Vec<(Duration, Duration)>,
    /// When the last attempt to grant or keep it alive had ended for certain: it cannot be renewed after this.
    pub last_attempt: Duration,
    /// When the owner began to revoke it, if it did.
    pub revoked: Option<Duration>,
}

impl LeaseRecord {
    /// A lease whose grant was called and acknowledged.
    pub fn granted(id: LeaseId, ttl: Duration, called: Duration, acknowledged: Duration) -> Self {
        Self {
            id,
            ttl,
            granted: called,
            kept: Vec::new(),
            denied: Vec::new(),
            last_attempt: acknowledged,
            revoked: None,
        }
    }
}

/// What the machines did to time.
#[derive(Clone, Debug)]
pub struct LeaseTimes {
    /// A clock may be fast or slow by this factor of its speed (0.02 is 2 %).
    pub drift: f64,
    /// When a leader began (or a lone member restarted): each may renew every lease once.
    pub leaders: Vec<Duration>,
    /// How long nobody may have been able to end a lease: outages, waiting for elections, the network.
    pub slack: Duration,
    /// The end of the run.
    pub end: Duration,
}

/// Checks all leases against the history.
pub fn check_leases(records: &[LeaseRecord], archive: &Archive, times: &LeaseTimes) -> Vec<String> {
    let mut problems = halves(archive);
    for record in records {
        let ended = end_of(archive, record.id);
        let last_kept = record.kept.iter().copied().fold(record.granted, Duration::max);
        let earliest = last_kept + record.ttl.mul_f64(1.0 - times.drift);
        let by_owner = |at: Duration| record.revoked.is_some_and(|revoked| revoked <= at);
        if let Some((revision, at)) = ended
            && at < earliest
            && !by_owner(at)
        {
            problems.push(format!(
                "lease {} ended at {at:?} (revision {revision}), but was alive until {earliest:?} at least: {record:?}",
                record.id
            ));
        }
        for (called, ended) in &record.denied {
            let kept = record.kept.iter().filter(|kept| *kept <= called).copied();
            let alive = kept.fold(record.granted, Duration::max) + record.ttl.mul_f64(1.0 - times.drift);
            if *ended < alive && !by_owner(*ended) {
                problems.push(format!(
                    "lease {} was said not to exist at {ended:?}, but was alive until {alive:?} at least: {record:?}",
                    record.id
                ));
            }
        }
        let begun = times.leaders.iter().filter(|at| **at > record.granted).count() as u32;
        let latest = record.last_attempt + record.ttl.mul_f64(1.0 + times.drift) * (1 + begun) + times.slack;
        if latest < times.end && has_keys_after(archive, record.id, latest) {
            problems.push(format!(
                "lease {} was still there after {latest:?}, with {begun} changes of leader: {record:?}",
                record.id
            ));
        }
    }
    problems
}

/// The first revision that deleted keys of a lease while its owner had not detached them.
fn end_of(archive: &Archive, id: LeaseId) -> Option<(Revision, Duration)> {
    let (revision, _) = archive.events.iter().find(|(_, events)| {
        events.iter().any(|event| {
            event.kind == EventKind::Delete && event.prev.as_ref().is_some_and(|prev| prev.lease == id)
        })
    })?;
    let revision = Revision(*revision);
    Some((revision, archive.seen_at(revision)?))
}

/// Whether keys of a lease were live after a time.
fn has_keys_after(archive: &Archive, id: LeaseId, time: Duration) -> bool {
    let mut live: BTreeSet<Bytes> = BTreeSet::new();
    for (revision, events) in &archive.events {
        if archive.seen_at(Revision(*revision)).is_none_or(|at| at > time) {
            break;
        }
        for event in events {
            if event.kind == EventKind::Put && event.kv.lease == id {
                live.insert(event.kv.key.clone());
            } else {
                live.remove(&event.kv.key);
            }
        }
    }
    !live.is_empty()
}

/// The end of a lease takes all of its keys in one revision: when one key of a lease is deleted and others stay, its owner must have deleted it;
/// owners in a simulation never do that.
fn halves(archive: &Archive) -> Vec<String> {
    let mut problems = Vec::new();
    archive.each_state(|revision, state, events| {
        let ended: BTreeSet<LeaseId> = events
            .iter()
            .filter(|event| event.kind == EventKind::Delete)
            .filter_map(|event| event.prev.as_ref().map(|prev| prev.lease).filter(|lease| !lease.is_none()))
            .collect();
        for lease in ended {
            let left: Vec<&Bytes> = state.values().filter(|kv| kv.lease == lease).map(|kv| &kv.key).collect();
            if !left.is_empty() {
                problems.push(format!("revision {revision} ended lease {lease}, but left {left:?}"));
            }
        }
    });
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mainstay_store::{Event, KeyValue, WatchBatch};

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const LEASE: LeaseId = LeaseId(7);

    fn leased(key: &'static str, revision: i64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: Bytes::from(format!("{key}{revision}")),
            create_revision: Revision(revision),
            mod_revision: Revision(revision),
            version: 1,
            lease: LEASE,
        }
    }

    fn gone(key: &'static str, revision: i64, since: i64) -> Event {
        let kv = KeyValue { key: key.into(), mod_revision: Revision(revision), ..KeyValue::default() };
        Event { kind: EventKind::Delete, kv, prev: Some(leased(key, since)) }
    }

    /// Two keys are put at 1 s; the lease's end is seen at `end` seconds.
    fn archive(end: Option<u32>, both: bool) -> Archive {
        let put = |key, revision| Event { kind: EventKind::Put, kv: leased(key, revision), prev: None };
        let mut batches = vec![
            WatchBatch { revision: Revision(2), events: vec![put("l/a", 2)] },
            WatchBatch { revision: Revision(3), events: vec![put("l/b", 3)] },
        ];
        let mut seen = BTreeMap::from([(2, S), (3, S)]);
        if let Some(end) = end {
            let mut events = vec![gone("l/a", 4, 2)];
            events.extend(both.then(|| gone("l/b", 4, 3)));
            batches.push(WatchBatch { revision: Revision(4), events });
            seen.insert(4, S * end);
        }
        Archive::new(&batches, seen).unwrap()
    }

    fn record() -> LeaseRecord {
        LeaseRecord { kept: vec![4 * S], ..LeaseRecord::granted(LEASE, 5 * S, S, 5 * S) }
    }

    fn problems(archive: &Archive, record: LeaseRecord, leaders: Vec<Duration>) -> String {
        check_leases(&[record], archive, &LeaseTimes { drift: 0.0, leaders, slack: S, end: 100 * S })
            .join("; ")
    }

    #[test]
    fn an_end_in_time_is_right() {
        assert_eq!(problems(&archive(Some(9), true), record(), vec![]), "");
    }

    #[test]
    fn an_end_before_its_time_is_found_unless_the_owner_revoked_it() {
        assert!(problems(&archive(Some(8), true), record(), vec![]).contains("was alive until"));
        let revoked = LeaseRecord { revoked: Some(7 * S), ..record() };
        assert_eq!(problems(&archive(Some(8), true), revoked, vec![]), "");
    }

    #[test]
    fn a_lease_that_does_not_end_is_found() {
        assert!(problems(&archive(None, true), record(), vec![]).contains("still there"));
    }

    #[test]
    fn a_change_of_leader_gives_one_more_time_to_live_and_no_more() {
        let late = archive(Some(15), true);
        assert!(problems(&late, record(), vec![]).contains("still there"));
        assert_eq!(problems(&late, record(), vec![6 * S]), "");
        assert!(problems(&archive(Some(18), true), record(), vec![6 * S]).contains("still there"));
    }

    #[test]
    fn a_lease_that_is_denied_while_it_lives_is_found() {
        let ended = archive(Some(9), true);
        let denied = |from, to| LeaseRecord { denied: vec![(from, to)], ..record() };
        assert!(problems(&ended, denied(5 * S, 6 * S), vec![]).contains("said not to exist"));
        assert_eq!(problems(&ended, denied(8 * S, 9 * S), vec![]), "");
        let revoked = LeaseRecord { revoked: Some(5 * S), ..denied(5 * S, 6 * S) };
        assert_eq!(problems(&ended, revoked, vec![]), "");
    }

    #[test]
    fn half_a_lease_is_found() {
        assert!(problems(&archive(Some(9), false), record(), vec![]).contains("left"));
    }
}
