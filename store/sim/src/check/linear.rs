//! Linearizability of what clients saw, without trusting any revision: the search over keys, values and versions.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    Compare, CompareTarget, EventKind, KeyValue, Op, OpResponse, RangeRequest, Revision, Txn, TxnResponse,
};

use super::{
    Answer, Archive, Call, Outcome, Request, Spec, State, Timed, Verdict, inside, interpret, search,
};

const STEPS_MAX: u64 = 300_000;

/// What the search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linearity {
    /// What cannot be explained.
    pub problems: Vec<String>,
    /// Groups of keys whose search was given up.
    pub unsettled: usize,
    /// The calls that were looked at.
    pub calls: usize,
}

/// Checks the calls whose keys `wanted` selects, split into groups of keys that no call joins. `archive` settles which calls of unknown outcome
/// took effect (values are unique); it is not believed in anything else.
pub fn check_linearizable(calls: &[Call], archive: &Archive, wanted: impl Fn(&[u8]) -> bool) -> Linearity {
    let keys: BTreeSet<Bytes> =
        calls.iter().flat_map(|call| keys_of(&call.request)).filter(|key| wanted(key)).collect();
    let happened: BTreeMap<&Bytes, Duration> = archive
        .events
        .iter()
        .flat_map(|(revision, events)| events.iter().map(move |event| (revision, event)))
        .filter(|(_, event)| event.kind == EventKind::Put)
        .map(|(revision, event)| {
            (&event.kv.value, archive.seen_at(Revision(*revision)).unwrap_or(Duration::MAX))
        })
        .collect();
    let spec = KeyValues { values: values_by_revision(archive) };
    let mut groups: HashMap<usize, Vec<Timed<Seen, Duration>>> = HashMap::new();
    let roots = join(calls, &keys);
    for call in calls {
        let Some(first) = touched(&call.request, &keys).into_iter().next() else { continue };
        let Some(timed) = timed(call, &happened) else { continue };
        let root = roots.get(&first).copied().unwrap_or(0);
        groups.entry(root).or_default().push(timed);
    }
    let mut found = Linearity::default();
    for history in groups.values_mut() {
        found.calls += history.len();
        history.sort_by_key(|timed| timed.called);
        match search(&spec, history, STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::TooLong { .. } => found.unsettled += 1,
            Verdict::Violation { ordered, stuck } => {
                let stuck: Vec<_> = stuck.iter().map(|at| &history[*at]).collect();
                found.problems.push(format!(
                    "not linearizable: after {} calls, none of these can come next: {stuck:?}",
                    ordered.len()
                ));
            }
        }
    }
    found
}

/// A request with what was answered, if it was.
#[derive(Clone, Debug)]
struct Seen {
    request: Request,
    answer: Option<Answer>,
}

fn timed(call: &Call, happened: &BTreeMap<&Bytes, Duration>) -> Option<Timed<Seen, Duration>> {
    let (returned, answer) = match &call.outcome {
        Outcome::Answered(at, answer) => (Some(*at), Some(answer.clone())),
        Outcome::Refused(_) => return None,
        Outcome::Unknown(_) if !call.may_write() => return None,
        Outcome::Unknown(_) => {
            // If its value is nowhere in history, it never happened; else it had happened when that revision was seen.
            let values = call.values();
            let seen = values.iter().find_map(|value| happened.get(value)).copied();
            if seen.is_none() && !values.is_empty() && !call.may_delete() {
                return None;
            }
            (seen, None)
        }
    };
    if matches!(&call.request, Request::Range { stale, range } if *stale || range.revision.is_some_and(|asked| asked.0 > 0))
    {
        return None;
    }
    Some(Timed { called: call.called, returned, op: Seen { request: call.request.clone(), answer } })
}

fn values_by_revision(archive: &Archive) -> HashMap<(Bytes, i64), Bytes> {
    archive
        .events
        .iter()
        .flat_map(|(revision, events)| events.iter().map(move |event| (*revision, event)))
        .filter(|(_, event)| event.kind == EventKind::Put)
        .map(|(revision, event)| ((event.kv.key.clone(), revision), event.kv.value.clone()))
        .collect()
}

fn keys_of(request: &Request) -> Vec<Bytes> {
    match request {
        Request::Put(put) => vec![put.key.clone()],
        Request::Delete(delete) if delete.range_end.is_none() => vec![delete.key.clone()],
        Request::Range { range, .. } if range.range_end.is_none() => vec![range.key.clone()],
        Request::Delete(_) | Request::Range { .. } => Vec::new(),
        Request::Txn(txn) => keys_of_txn(txn),
    }
}

fn keys_of_txn(txn: &Txn) -> Vec<Bytes> {
    let ops = txn.success.iter().chain(&txn.failure).flat_map(|op| match op {
        Op::Put(put) => vec![put.key.clone()],
        Op::Delete(delete) if delete.range_end.is_none() => vec![delete.key.clone()],
        Op::Range(RangeRequest { key, range_end: None, .. }) => vec![key.clone()],
        Op::Txn(nested) => keys_of_txn(nested),
        Op::Delete(_) | Op::Range(_) => Vec::new(),
    });
    txn.compare.iter().map(|compare| compare.key.clone()).chain(ops).collect()
}

/// The keys among `keys` that a request touches.
fn touched(request: &Request, keys: &BTreeSet<Bytes>) -> BTreeSet<Bytes> {
    let mut found: BTreeSet<Bytes> = keys_of(request).into_iter().filter(|key| keys.contains(key)).collect();
    let mut ranges: Vec<(&Bytes, &Bytes)> = Vec::new();
    match request {
        Request::Delete(delete) => ranges.extend(delete.range_end.as_ref().map(|end| (&delete.key, end))),
        Request::Range { range, .. } => ranges.extend(range.range_end.as_ref().map(|end| (&range.key, end))),
        Request::Txn(txn) => {
            for op in txn.success.iter().chain(&txn.failure) {
                match op {
                    Op::Delete(delete) => {
                        ranges.extend(delete.range_end.as_ref().map(|end| (&delete.key, end)));
                    }
                    Op::Range(range) => {
                        ranges.extend(range.range_end.as_ref().map(|end| (&range.key, end)));
                    }
                    Op::Put(_) | Op::Txn(_) => {}
                }
            }
        }
        Request::Put(_) => {}
    }
    for (start, end) in ranges {
        found.extend(keys.iter().filter(|key| inside(key, start, Some(end))).cloned());
    }
    found
}

/// For each key the number of its group: calls with several keys join them.
fn join(calls: &[Call], keys: &BTreeSet<Bytes>) -> HashMap<Bytes, usize> {
    let mut group: HashMap<Bytes, usize> =
        keys.iter().cloned().enumerate().map(|(at, key)| (key, at)).collect();
    for call in calls {
        let joined: BTreeSet<usize> =
            touched(&call.request, keys).iter().filter_map(|key| group.get(key).copied()).collect();
        if let Some(root) = joined.first().copied().filter(|_| joined.len() > 1) {
            group.values_mut().filter(|at| joined.contains(at)).for_each(|at| *at = root);
        }
    }
    group
}

/// Keys with values and versions. Revisions in answers are left out, comparisons of them are made comparisons of values.
struct KeyValues {
    values: HashMap<(Bytes, i64), Bytes>,
}

impl Spec for KeyValues {
    type State = BTreeMap<Bytes, (Bytes, i64)>;
    type Op = Seen;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &Seen) -> Option<Self::State> {
        let full: State = state
            .iter()
            .map(|(key, (value, version))| {
                let kv = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    version: *version,
                    create_revision: Revision(1),
                    mod_revision: Revision(1),
                    ..KeyValue::default()
                };
                (key.clone(), kv)
            })
            .collect();
        let (expected, next, events) = interpret(&full, Revision(1), &self.without_revisions(&op.request));
        match &op.answer {
            Some(answer) if bare(expected) != bare(answer.clone()) => return None,
            // What changes nothing explains nothing.
            None if events.is_empty() => return None,
            Some(_) | None => {}
        }
        Some(next.into_iter().map(|(key, kv)| (key, (kv.value, kv.version))).collect())
    }
}

impl KeyValues {
    fn without_revisions(&self, request: &Request) -> Request {
        match request {
            Request::Txn(txn) => Request::Txn(self.txn(txn)),
            other => other.clone(),
        }
    }

    fn txn(&self, txn: &Txn) -> Txn {
        let ops = |ops: &[Op]| {
            ops.iter()
                .map(|op| match op {
                    Op::Txn(nested) => Op::Txn(self.txn(nested)),
                    other => other.clone(),
                })
                .collect()
        };
        Txn {
            compare: txn.compare.iter().map(|compare| self.compare(compare)).collect(),
            success: ops(&txn.success),
            failure: ops(&txn.failure),
        }
    }

    fn compare(&self, compare: &Compare) -> Compare {
        let CompareTarget::Mod(revision) = compare.target else { return compare.clone() };
        if revision.0 == 0 {
            return Compare { target: CompareTarget::Version(0), ..compare.clone() };
        }
        // A value that no write ever had, if there was no such write.
        let value = self.values.get(&(compare.key.clone(), revision.0)).cloned();
        Compare {
            target: CompareTarget::Value(value.unwrap_or_else(|| Bytes::from_static(b"\0none"))),
            ..compare.clone()
        }
    }
}

fn bare(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Put(put) => {
            put.revision = Revision(0);
            put.prev.iter_mut().for_each(bare_kv);
        }
        Answer::Delete(delete) => {
            delete.revision = Revision(0);
            delete.prev.iter_mut().for_each(bare_kv);
        }
        Answer::Range(range) => {
            range.revision = Revision(0);
            range.kvs.iter_mut().for_each(bare_kv);
        }
        Answer::Txn(txn) => bare_txn(txn),
    }
    answer
}

fn bare_txn(txn: &mut TxnResponse) {
    txn.revision = Revision(0);
    for part in &mut txn.responses {
        match part {
            OpResponse::Put(put) => {
                put.revision = Revision(0);
                put.prev.iter_mut().for_each(bare_kv);
            }
            OpResponse::Delete(delete) => {
                delete.revision = Revision(0);
                delete.prev.iter_mut().for_each(bare_kv);
            }
            OpResponse::Range(range) => {
                range.revision = Revision(0);
                range.kvs.iter_mut().for_each(bare_kv);
            }
            OpResponse::Txn(nested) => bare_txn(nested),
        }
    }
}

fn bare_kv(kv: &mut KeyValue) {
    *kv =
        KeyValue { key: kv.key.clone(), value: kv.value.clone(), version: kv.version, ..KeyValue::default() };
}
