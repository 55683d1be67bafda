//! For tests: commands at random, and the plainest implementation of what they mean, to compare with.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::alarms::refused_by_alarm;
use super::{Applied, Command, KeyRange, Reply};
use crate::api::{
    Alarm, AlarmKind, Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event,
    EventKind, KeyValue, LeaseId, Op, OpResponse, PutRequest, PutResponse, RangeOrder, RangeRequest,
    RangeResponse, Revision, RevisionBounds, SortTarget, Txn, TxnResponse, WriteError,
};

fn key_strategy() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("a\0"), Just("a\0b"), Just("ab"), Just("b"), Just("c")].prop_map(Bytes::from)
}

fn end_strategy() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![3 => Just(None), 2 => key_strategy().prop_map(Some), 1 => Just(Some(Bytes::from_static(b"\0")))]
}

fn lease_strategy() -> impl Strategy<Value = LeaseId> {
    prop_oneof![3 => Just(LeaseId::NONE), 1 => (1..4_i64).prop_map(LeaseId)]
}

fn put_strategy() -> impl Strategy<Value = PutRequest> {
    let value = prop_oneof![Just(""), Just("x"), Just("yy")].prop_map(Bytes::from);
    let kept = prop_oneof![4 => Just([false; 2]), 1 => any::<[bool; 2]>()];
    (key_strategy(), value, lease_strategy(), any::<bool>(), kept).prop_map(
        |(key, value, lease, prev_kv, [ignore_value, ignore_lease])| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { LeaseId::NONE } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn order_strategy() -> impl Strategy<Value = Option<RangeOrder>> {
    let target = prop_oneof![
        Just(SortTarget::Key),
        Just(SortTarget::Version),
        Just(SortTarget::Create),
        Just(SortTarget::Mod),
        Just(SortTarget::Value)
    ];
    let order = (target, any::<bool>()).prop_map(|(target, descending)| RangeOrder { target, descending });
    prop_oneof![2 => Just(None), 1 => order.prop_map(Some)]
}

fn bounds_strategy() -> impl Strategy<Value = RevisionBounds> {
    let bounded = (0..9_i64, 0..9_i64, 0..9_i64, 0..9_i64).prop_map(|(a, b, c, d)| RevisionBounds {
        mod_min: Revision(a),
        mod_max: Revision(b),
        create_min: Revision(c),
        create_max: Revision(d),
    });
    prop_oneof![3 => Just(RevisionBounds::default()), 1 => bounded]
}

fn delete_strategy() -> impl Strategy<Value = DeleteRangeRequest> {
    (key_strategy(), end_strategy(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range_strategy() -> impl Strategy<Value = RangeRequest> {
    let revision =
        prop_oneof![3 => Just(None), 1 => (1..40_i64).prop_map(|revision| Some(Revision(revision)))];
    let how = (order_strategy(), bounds_strategy());
    (key_strategy(), end_strategy(), 0..3_usize, revision, any::<[bool; 4]>(), how).prop_map(
        |(key, range_end, limit, revision, flags, (order, bounds))| {
            let [keys_only, count_only, uncounted, serializable] = flags;
            RangeRequest {
                key,
                range_end,
                limit,
                revision,
                keys_only,
                count_only,
                order,
                bounds,
                uncounted,
                serializable,
            }
        },
    )
}

fn compare_strategy() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        prop_oneof![Just(""), Just("x"), Just("yy")].prop_map(|value| CompareTarget::Value(value.into())),
        (0..3_i64).prop_map(CompareTarget::Version),
        (0..9_i64).prop_map(|revision| CompareTarget::Create(Revision(revision))),
        (0..9_i64).prop_map(|revision| CompareTarget::Mod(Revision(revision))),
        lease_strategy().prop_map(CompareTarget::Lease),
    ];
    let op = prop_oneof![
        Just(CompareOp::Equal),
        Just(CompareOp::NotEqual),
        Just(CompareOp::Greater),
        Just(CompareOp::Less)
    ];
    (key_strategy(), target, op, end_strategy()).prop_map(|(key, target, op, range_end)| Compare {
        key,
        target,
        op,
        range_end,
    })
}

fn txn_strategy() -> impl Strategy<Value = Txn> {
    let op = prop_oneof![
        put_strategy().prop_map(Op::Put),
        delete_strategy().prop_map(Op::Delete),
        range_strategy().prop_map(Op::Range),
    ];
    let txn = |op: BoxedStrategy<Op>| {
        let ops = proptest::collection::vec(op, 0..4);
        (proptest::collection::vec(compare_strategy(), 0..2), ops.clone(), ops)
            .prop_map(|(compare, success, failure)| Txn { compare, success, failure })
    };
    op.boxed().prop_recursive(2, 12, 4, move |op| txn(op).prop_map(Op::Txn)).prop_map(|op| match op {
        Op::Txn(txn) => txn,
        op => Txn { success: vec![op], ..Txn::default() },
    })
}

/// Any command; transactions may write a key twice, which callers have to check.
pub(crate) fn command_strategy() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => put_strategy().prop_map(Command::Put),
        2 => delete_strategy().prop_map(Command::DeleteRange),
        5 => txn_strategy().prop_map(Command::Txn),
        1 => (1..40_i64).prop_map(|revision| Command::Compact(Revision(revision))),
        2 => (1..4_i64, 1..9_u64).prop_map(|(id, ttl_seconds)| Command::LeaseGrant { id: LeaseId(id), ttl_seconds, leases_max: 2 }),
        1 => (1..4_i64).prop_map(|id| Command::LeaseRevoke(LeaseId(id))),
        1 => alarm_strategy(),
    ]
}

fn alarm_strategy() -> impl Strategy<Value = Command> {
    let kind = prop_oneof![4 => Just(AlarmKind::NoSpace), 1 => Just(AlarmKind::Corrupt)];
    (1..3_u64, kind, prop_oneof![1 => Just(true), 2 => Just(false)])
        .prop_map(|(member_id, kind, raise)| Command::Alarm { alarm: Alarm { member_id, kind }, raise })
}

type State = BTreeMap<Bytes, KeyValue>;

/// The whole store at every revision, copied each time.
#[derive(Debug)]
pub(crate) struct Model {
    /// By revision; those before the first write are empty.
    states: Vec<State>,
    pub(crate) events: BTreeMap<i64, Vec<Event>>,
    pub(crate) floor: Revision,
    pub(crate) leases: BTreeSet<LeaseId>,
    pub(crate) alarms: BTreeSet<Alarm>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            states: vec![State::new(), State::new()],
            events: BTreeMap::new(),
            floor: Revision(0),
            leases: BTreeSet::new(),
            alarms: BTreeSet::new(),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.states.len() as i64 - 1)
    }

    pub(crate) fn at(&self, revision: Revision) -> &State {
        &self.states[revision.0 as usize]
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Applied {
        let mut run = Run {
            before: self.at(self.revision()).clone(),
            now: self.at(self.revision()).clone(),
            events: vec![],
            model: self,
        };
        let applied = run.command(command);
        let Run { now, events, .. } = run;
        if !events.is_empty() {
            self.states.push(now);
            self.events.insert(self.revision().0, events);
        }
        match (command, &applied) {
            (Command::Compact(floor), Ok(Reply::Compact)) => self.floor = *floor,
            (Command::LeaseGrant { id, .. }, Ok(Reply::LeaseGranted { .. })) => drop(self.leases.insert(*id)),
            (Command::LeaseRevoke(id), Ok(_)) => drop(self.leases.remove(id)),
            (Command::Alarm { alarm, raise: true }, Ok(_)) => drop(self.alarms.insert(*alarm)),
            (Command::Alarm { alarm, raise: false }, Ok(_)) => drop(self.alarms.remove(alarm)),
            _ => {}
        }
        applied
    }
}

/// A command on its way.
struct Run<'m> {
    model: &'m Model,
    before: State,
    now: State,
    events: Vec<Event>,
}

impl Run<'_> {
    fn next(&self) -> Revision {
        self.model.revision().next()
    }

    fn revision(&self) -> Revision {
        if self.events.is_empty() { self.model.revision() } else { self.next() }
    }

    fn command(&mut self, command: &Command) -> Applied {
        if let Some(refusal) = refused_by_alarm(&self.model.alarms, command) {
            return Err(refusal);
        }
        match command {
            Command::Put(put) => {
                self.refuse(&Op::Put(put.clone()))?;
                let response = self.put(put);
                Ok(Reply::Put(PutResponse { revision: self.revision(), ..response }))
            }
            Command::DeleteRange(delete) => {
                let response = self.delete(delete);
                Ok(Reply::Delete(DeleteRangeResponse { revision: self.revision(), ..response }))
            }
            Command::Txn(txn) => {
                self.refuse(&Op::Txn(txn.clone()))?;
                let mut response = self.txn(txn);
                settle(&mut response, self.revision());
                Ok(Reply::Txn(response))
            }
            // Users have tests of their own; the strategy makes none.
            Command::Auth(_) => Ok(Reply::Auth),
            Command::As { command, .. } => self.command(command),
            Command::Compact(wanted) => {
                let (floor, current) = (self.model.floor, self.model.revision());
                Ok(if *wanted > floor && *wanted <= current {
                    Reply::Compact
                } else {
                    Reply::CompactRefused { floor, current }
                })
            }
            Command::LeaseGrant { id, leases_max, .. } => Ok(if self.model.leases.contains(id) {
                Reply::LeaseExists
            } else if self.model.leases.len() >= *leases_max {
                Reply::LeasesFull
            } else {
                Reply::LeaseGranted { revision: self.model.revision() }
            }),
            Command::LeaseRevoke(id) => {
                if !self.model.leases.contains(id) {
                    return Err(WriteError::LeaseNotFound(*id));
                }
                let keys: Vec<Bytes> =
                    self.before.values().filter(|kv| kv.lease == *id).map(|kv| kv.key.clone()).collect();
                for key in keys {
                    self.delete(&DeleteRangeRequest::key(key));
                }
                Ok(Reply::LeaseRevoked { revision: self.revision() })
            }
            Command::Alarm { alarm, raise } => {
                Ok(Reply::Alarm { changed: self.model.alarms.contains(alarm) != *raise })
            }
        }
    }

    /// The first operation that would run and cannot.
    fn refuse(&self, op: &Op) -> Result<(), WriteError> {
        let (current, floor) = (self.model.revision(), self.model.floor);
        match op {
            Op::Put(put) if (put.ignore_value || put.ignore_lease) && !self.before.contains_key(&put.key) => {
                Err(WriteError::KeyNotFound { key: put.key.clone() })
            }
            Op::Put(put) if !put.lease.is_none() && !self.model.leases.contains(&put.lease) => {
                Err(WriteError::LeaseNotFound(put.lease))
            }
            Op::Range(RangeRequest { revision: Some(wanted), .. }) if *wanted > current => {
                Err(WriteError::FutureRevision { wanted: *wanted, current })
            }
            Op::Range(RangeRequest { revision: Some(wanted), .. }) if *wanted < floor => {
                Err(WriteError::Compacted { wanted: *wanted, floor })
            }
            Op::Txn(txn) => self.branch(txn).1.iter().try_for_each(|op| self.refuse(op)),
            _ => Ok(()),
        }
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(&compare.key, compare.range_end.as_ref());
        let inside: Vec<&KeyValue> = self.before.values().filter(|kv| range.contains(&kv.key)).collect();
        let absent = KeyValue::default();
        let compared = if inside.is_empty() {
            if matches!(compare.target, CompareTarget::Value(_)) {
                return false;
            }
            vec![&absent]
        } else {
            inside
        };
        compared.into_iter().all(|kv| {
            let ordering = match &compare.target {
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
        })
    }

    fn txn(&mut self, txn: &Txn) -> TxnResponse {
        let (succeeded, ops) = self.branch(txn);
        let responses = ops
            .iter()
            .map(|op| match op {
                Op::Put(put) => OpResponse::Put(self.put(put)),
                Op::Delete(delete) => OpResponse::Delete(self.delete(delete)),
                Op::Range(range) => OpResponse::Range(match range.revision {
                    Some(at) => range_of(self.model.at(at), range),
                    None => range_of(&self.now, range),
                }),
                Op::Txn(nested) => OpResponse::Txn(self.txn(nested)),
            })
            .collect();
        TxnResponse { revision: Revision(0), succeeded, responses }
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let prev = self.now.get(&put.key).cloned();
        let (mut value, mut lease) = (put.value.clone(), put.lease);
        if let Some(prev) = &prev {
            value = if put.ignore_value { prev.value.clone() } else { value };
            lease = if put.ignore_lease { prev.lease } else { lease };
        }
        let kv = KeyValue {
            key: put.key.clone(),
            value,
            create_revision: prev.as_ref().map_or_else(|| self.next(), |prev| prev.create_revision),
            mod_revision: self.next(),
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            lease,
        };
        self.now.insert(put.key.clone(), kv.clone());
        self.events.push(Event { kind: EventKind::Put, kv, prev: prev.clone() });
        PutResponse { revision: Revision(0), prev: prev.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&delete.key, delete.range_end.as_ref());
        let gone: Vec<KeyValue> = self.now.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        for prev in &gone {
            self.now.remove(&prev.key);
            let kv = KeyValue { key: prev.key.clone(), mod_revision: self.next(), ..KeyValue::default() };
            self.events.push(Event { kind: EventKind::Delete, kv, prev: Some(prev.clone()) });
        }
        DeleteRangeResponse {
            revision: Revision(0),
            deleted: gone.len() as u64,
            prev: if delete.prev_kv { gone } else { vec![] },
        }
    }
}

fn settle(response: &mut TxnResponse, revision: Revision) {
    response.revision = revision;
    for part in &mut response.responses {
        match part {
            OpResponse::Put(part) => part.revision = revision,
            OpResponse::Delete(part) => part.revision = revision,
            OpResponse::Range(part) => part.revision = revision,
            OpResponse::Txn(part) => settle(part, revision),
        }
    }
}

/// What a range request asks of a state; the revision is left out.
pub(crate) fn range_of(state: &State, request: &RangeRequest) -> RangeResponse {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    let mut kvs: Vec<KeyValue> = state.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
    let count = kvs.len() as u64;
    if request.count_only {
        return RangeResponse { count, ..RangeResponse::default() };
    }
    kvs.retain(|kv| request.bounds.contain(kv.create_revision, kv.mod_revision));
    if let Some(RangeOrder { target, descending }) = request.order {
        kvs.sort_by(|a, b| {
            let order = match target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if descending { order.reverse() } else { order }
        });
    }
    let more = request.limit > 0 && kvs.len() > request.limit;
    if more {
        kvs.truncate(request.limit);
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    let count = if request.uncounted { kvs.len() as u64 } else { count };
    RangeResponse { revision: Revision(0), kvs, more, count }
}
