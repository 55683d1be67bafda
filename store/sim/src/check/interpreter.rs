//! The plainest meaning of each request: what it does to a map, and what it answers.
use std::collections::BTreeMap;

use bytes::Bytes;
use mainstay_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind, KeyValue,
    Op, OpResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, Revision, Txn, TxnResponse,
};

use super::{Answer, Request};

/// All keys at one revision.
pub type State = BTreeMap<Bytes, KeyValue>;

/// Whether a range has a key.
pub fn inside(key: &[u8], start: &[u8], end: Option<&[u8]>) -> bool {
    match end {
        None => key == start,
        Some(b"\0") => key >= start,
        Some(end) => key >= start && key < end,
    }
}

/// What a request does to the state at `revision`, and its answer. What it writes gets the next revision; a request that writes nothing is
/// answered with `revision`. Ranges at past revisions are none of its business.
pub fn interpret(state: &State, revision: Revision, request: &Request) -> (Answer, State, Vec<Event>) {
    let mut run = Run { now: state.clone(), events: Vec::new(), revision };
    let mut answer = match request {
        Request::Put(put) => Answer::Put(run.put(put)),
        Request::Delete(delete) => Answer::Delete(run.delete(delete)),
        Request::Range { range, .. } => Answer::Range(run.range(range)),
        Request::Txn(txn) => Answer::Txn(run.txn(state, txn)),
    };
    let revision = if run.events.is_empty() { revision } else { revision.next() };
    match &mut answer {
        Answer::Put(put) => put.revision = revision,
        Answer::Delete(delete) => delete.revision = revision,
        Answer::Range(range) => range.revision = revision,
        Answer::Txn(txn) => settle(txn, revision),
    }
    (answer, run.now, run.events)
}

fn settle(txn: &mut TxnResponse, revision: Revision) {
    txn.revision = revision;
    for part in &mut txn.responses {
        match part {
            OpResponse::Put(put) => put.revision = revision,
            OpResponse::Delete(delete) => delete.revision = revision,
            OpResponse::Range(range) => range.revision = revision,
            OpResponse::Txn(nested) => settle(nested, revision),
        }
    }
}

struct Run {
    now: State,
    events: Vec<Event>,
    revision: Revision,
}

impl Run {
    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let revision = self.revision.next();
        let prev = self.now.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            lease: put.lease,
        };
        self.now.insert(put.key.clone(), kv.clone());
        self.events.push(Event { kind: EventKind::Put, kv, prev: prev.clone() });
        PutResponse { revision, prev: prev.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let gone: Vec<KeyValue> = self
            .now
            .values()
            .filter(|kv| inside(&kv.key, &delete.key, delete.range_end.as_deref()))
            .cloned()
            .collect();
        for prev in &gone {
            self.now.remove(&prev.key);
            let kv =
                KeyValue { key: prev.key.clone(), mod_revision: self.revision.next(), ..KeyValue::default() };
            self.events.push(Event { kind: EventKind::Delete, kv, prev: Some(prev.clone()) });
        }
        DeleteRangeResponse {
            revision: self.revision,
            deleted: gone.len() as u64,
            prev: if delete.prev_kv { gone } else { Vec::new() },
        }
    }

    fn range(&self, range: &RangeRequest) -> RangeResponse {
        let mut kvs: Vec<KeyValue> = self
            .now
            .values()
            .filter(|kv| inside(&kv.key, &range.key, range.range_end.as_deref()))
            .cloned()
            .collect();
        let count = kvs.len() as u64;
        if range.count_only {
            return RangeResponse { revision: self.revision, count, ..RangeResponse::default() };
        }
        let more = range.limit > 0 && kvs.len() > range.limit;
        if more {
            kvs.truncate(range.limit);
        }
        if range.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
            }
        }
        let count = if range.uncounted { kvs.len() as u64 } else { count };
        RangeResponse { revision: self.revision, kvs, more, count }
    }

    fn txn(&mut self, before: &State, txn: &Txn) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| holds(before, compare));
        let mut responses = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            responses.push(match op {
                Op::Put(put) => OpResponse::Put(self.put(put)),
                Op::Delete(delete) => OpResponse::Delete(self.delete(delete)),
                Op::Range(range) => OpResponse::Range(self.range(range)),
                Op::Txn(nested) => OpResponse::Txn(self.txn(before, nested)),
            });
        }
        TxnResponse { revision: self.revision, succeeded, responses }
    }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let absent = KeyValue::default();
    let relates = |kv: Option<&KeyValue>| {
        let is_there = kv.is_some();
        let kv = kv.unwrap_or(&absent);
        let ordering = match &compare.target {
            CompareTarget::Value(_) if !is_there => return false,
            CompareTarget::Value(value) => kv.value.cmp(value),
            CompareTarget::Version(version) => kv.version.cmp(version),
            CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
            CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
            CompareTarget::Lease(lease) => kv.lease.cmp(lease),
        };
        match compare.op {
            CompareOp::Equal => ordering.is_eq(),
            CompareOp::NotEqual => ordering.is_ne(),
            CompareOp::Greater => ordering.is_gt(),
            CompareOp::Less => ordering.is_lt(),
        }
    };
    if compare.range_end.is_none() {
        return relates(state.get(&compare.key));
    }
    let mut all =
        state.values().filter(|kv| inside(&kv.key, &compare.key, compare.range_end.as_deref())).peekable();
    if all.peek().is_none() {
        return relates(None);
    }
    all.all(|kv| relates(Some(kv)))
}
