//! The decision: what a command changes, and what it answers.
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::alarms::refused_by_alarm;
use super::collector::Collector;
use super::scratch::Scratch;
use super::{Before, Command, KeyRange, View, ViewError};
use crate::api::{
    Alarm, AuthError, Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, EventKind,
    KeyValue, LeaseId, Op, OpResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, Revision, Txn,
    TxnResponse, WriteError,
};
use crate::auth::{AuthEffect, check, decide};

/// One key's change. The position in [`Effects::changes`] is its sub-revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: EventKind,
    pub(crate) kv: KeyValue,
    pub(crate) prev: Option<Before>,
}

impl Change {
    /// The version before, if there was one and its value is known.
    pub(crate) fn previous(&self) -> Option<KeyValue> {
        self.prev.as_ref()?.key_value(&self.kv.key)
    }
}

/// What happens to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEffect {
    Grant { id: LeaseId, ttl_seconds: u64 },
    Revoke(LeaseId),
}

/// An alarm that is raised or disarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlarmEffect {
    pub(crate) alarm: Alarm,
    pub(crate) raise: bool,
}

impl AlarmEffect {
    pub(crate) fn change(self, alarms: &mut BTreeSet<Alarm>) {
        if self.raise {
            alarms.insert(self.alarm);
        } else {
            alarms.remove(&self.alarm);
        }
    }
}

/// What a command does. Empty `changes` make no revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) revision: Revision,
    pub(crate) changes: Vec<Change>,
    pub(crate) lease: Option<LeaseEffect>,
    pub(crate) auth: Option<AuthEffect>,
    pub(crate) floor: Option<Revision>,
    pub(crate) alarm: Option<AlarmEffect>,
    pub(crate) applied: Applied,
}

impl Effects {
    /// Those of a command that changes nothing because it must not.
    fn refused(view: &impl View, refusal: WriteError) -> Self {
        Self {
            revision: view.revision(),
            changes: Vec::new(),
            lease: None,
            auth: None,
            floor: None,
            alarm: None,
            applied: Err(refusal),
        }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact,
    CompactRefused {
        floor: Revision,
        current: Revision,
    },
    LeaseGranted {
        revision: Revision,
    },
    LeaseExists,
    LeasesFull,
    LeaseRevoked {
        revision: Revision,
    },
    /// Users, roles or permissions were changed, or left as they were.
    Auth,
    /// Whether the alarm was not as it should be before.
    Alarm {
        changed: bool,
    },
    /// A log entry without command.
    Nothing,
}

pub(crate) type Applied = Result<Reply, WriteError>;

/// Decides what `command` does to the state that `view` shows.
pub(crate) fn apply(view: &impl View, command: &Command) -> Result<Effects, ViewError> {
    let Command::As { caller, command } = command else { return run_command(view, command) };
    match check(&view.auth(), caller, command, &|lease| view.lease_keys(lease)) {
        Ok(()) => run_command(view, command),
        Err(refused) => Ok(Effects::refused(view, refused.into())),
    }
}

fn run_command(view: &impl View, command: &Command) -> Result<Effects, ViewError> {
    let mut scratch = Scratch::new(view);
    let mut lease = None;
    let mut auth = None;
    let mut floor = None;
    let mut alarm = None;
    if let Some(refusal) = refused_by_alarm(view.alarms(), command) {
        return Ok(Effects::refused(view, refusal));
    }
    let applied = match command {
        Command::Put(put) => put_alone(&mut scratch, put)?,
        Command::DeleteRange(delete) => {
            let response = delete_range(&mut scratch, delete)?;
            Ok(Reply::Delete(response))
        }
        Command::Txn(request) => txn(&mut scratch, request)?.map(Reply::Txn),
        Command::Compact(wanted) => Ok(compact(view, *wanted, &mut floor)),
        Command::LeaseGrant { id, ttl_seconds, leases_max } => Ok(if view.has_lease(*id) {
            Reply::LeaseExists
        } else if view.lease_count() >= *leases_max {
            Reply::LeasesFull
        } else {
            lease = Some(LeaseEffect::Grant { id: *id, ttl_seconds: *ttl_seconds });
            Reply::LeaseGranted { revision: view.revision() }
        }),
        Command::LeaseRevoke(id) => {
            if view.has_lease(*id) {
                lease = Some(LeaseEffect::Revoke(*id));
                for key in view.lease_keys(*id) {
                    scratch.delete(&key)?;
                }
                Ok(Reply::LeaseRevoked { revision: scratch.revision() })
            } else {
                Err(WriteError::LeaseNotFound(*id))
            }
        }
        Command::Auth(command) => match decide(&view.auth(), command) {
            Ok(effect) => {
                auth = Some(effect);
                Ok(Reply::Auth)
            }
            Err(refused) => Err(refused.into()),
        },
        Command::Alarm { alarm: wanted, raise } => {
            let changed = view.alarms().contains(wanted) != *raise;
            alarm = changed.then_some(AlarmEffect { alarm: *wanted, raise: *raise });
            Ok(Reply::Alarm { changed })
        }
        // One caller, whom nobody inside can change; the codec does not nest either.
        Command::As { .. } => Err(AuthError::PermissionDenied.into()),
    };
    let (revision, changes) = (scratch.revision(), scratch.into_changes());
    Ok(Effects { revision, changes, lease, auth, floor, alarm, applied })
}

fn compact(view: &impl View, wanted: Revision, floor: &mut Option<Revision>) -> Reply {
    if wanted <= view.floor() || wanted > view.revision() {
        return Reply::CompactRefused { floor: view.floor(), current: view.revision() };
    }
    *floor = Some(wanted);
    Reply::Compact
}

fn put_alone<V: View>(scratch: &mut Scratch<'_, V>, request: &PutRequest) -> Result<Applied, ViewError> {
    if let Some(refusal) = put_refusal(scratch.base(), request)? {
        return Ok(Err(refusal));
    }
    Ok(Ok(Reply::Put(put(scratch, request)?)))
}

fn put<V: View>(scratch: &mut Scratch<'_, V>, request: &PutRequest) -> Result<PutResponse, ViewError> {
    let prev = scratch.put(request)?;
    Ok(PutResponse { revision: scratch.revision(), prev })
}

fn delete_range<V: View>(
    scratch: &mut Scratch<'_, V>,
    request: &DeleteRangeRequest,
) -> Result<DeleteRangeResponse, ViewError> {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    let deleted = scratch.delete_range(range)?;
    Ok(DeleteRangeResponse {
        revision: scratch.revision(),
        deleted: deleted.len() as u64,
        prev: if request.prev_kv { deleted } else { Vec::new() },
    })
}

/// All comparisons, nested ones too, look at the state before the transaction; then the chosen operations run in order.
fn txn<V: View>(
    scratch: &mut Scratch<'_, V>,
    request: &Txn,
) -> Result<Result<TxnResponse, WriteError>, ViewError> {
    let chosen = match choose(scratch.base(), request)? {
        Ok(chosen) => chosen,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut response = run(scratch, &chosen)?;
    // etcd answers every part of a transaction with the revision that the whole one made.
    settle(&mut response, scratch.revision());
    Ok(Ok(response))
}

/// A transaction that writes nothing, answered from a view without the log.
pub(crate) fn read_txn(
    view: &impl View,
    request: &Txn,
) -> Result<Result<TxnResponse, WriteError>, ViewError> {
    txn(&mut Scratch::new(view), request)
}

/// The branch that a transaction takes, decided before any of it runs.
struct Chosen<'t> {
    succeeded: bool,
    ops: Vec<ChosenOp<'t>>,
}

enum ChosenOp<'t> {
    Plain(&'t Op),
    Txn(Chosen<'t>),
}

fn choose<'t>(view: &impl View, request: &'t Txn) -> Result<Result<Chosen<'t>, WriteError>, ViewError> {
    let mut succeeded = true;
    for compare in &request.compare {
        succeeded = succeeded && holds(view, compare)?;
    }
    let mut ops = Vec::new();
    for op in if succeeded { &request.success } else { &request.failure } {
        let chosen = match op {
            Op::Txn(nested) => match choose(view, nested)? {
                Ok(nested) => ChosenOp::Txn(nested),
                Err(refusal) => return Ok(Err(refusal)),
            },
            plain => match refusal(view, plain)? {
                Some(refusal) => return Ok(Err(refusal)),
                None => ChosenOp::Plain(plain),
            },
        };
        ops.push(chosen);
    }
    Ok(Ok(Chosen { succeeded, ops }))
}

/// Why an operation cannot run. Found before any operation runs, so that a refused transaction changes nothing.
fn refusal(view: &impl View, op: &Op) -> Result<Option<WriteError>, ViewError> {
    Ok(match op {
        Op::Put(put) => put_refusal(view, put)?,
        Op::Range(RangeRequest { revision: Some(wanted), .. }) if *wanted > view.revision() => {
            Some(WriteError::FutureRevision { wanted: *wanted, current: view.revision() })
        }
        Op::Range(RangeRequest { revision: Some(wanted), .. }) if *wanted < view.floor() => {
            Some(WriteError::Compacted { wanted: *wanted, floor: view.floor() })
        }
        _ => None,
    })
}

fn put_refusal(view: &impl View, put: &PutRequest) -> Result<Option<WriteError>, ViewError> {
    if (put.ignore_value || put.ignore_lease) && view.before(&put.key)?.is_none() {
        return Ok(Some(WriteError::KeyNotFound { key: put.key.clone() }));
    }
    let gone = !put.lease.is_none() && !view.has_lease(put.lease);
    Ok(gone.then_some(WriteError::LeaseNotFound(put.lease)))
}

fn run<V: View>(scratch: &mut Scratch<'_, V>, chosen: &Chosen<'_>) -> Result<TxnResponse, ViewError> {
    let mut responses = Vec::with_capacity(chosen.ops.len());
    for op in &chosen.ops {
        responses.push(match op {
            ChosenOp::Txn(nested) => OpResponse::Txn(run(scratch, nested)?),
            ChosenOp::Plain(Op::Put(request)) => OpResponse::Put(put(scratch, request)?),
            ChosenOp::Plain(Op::Delete(request)) => OpResponse::Delete(delete_range(scratch, request)?),
            ChosenOp::Plain(Op::Range(request)) => OpResponse::Range(range_in_txn(scratch, request)?),
            ChosenOp::Plain(Op::Txn(_)) => continue, // `choose` resolved it
        });
    }
    Ok(TxnResponse { revision: scratch.revision(), succeeded: chosen.succeeded, responses })
}

fn settle(response: &mut TxnResponse, revision: Revision) {
    response.revision = revision;
    for part in &mut response.responses {
        match part {
            OpResponse::Put(put) => put.revision = revision,
            OpResponse::Delete(delete) => delete.revision = revision,
            OpResponse::Range(range) => range.revision = revision,
            OpResponse::Txn(nested) => settle(nested, revision),
        }
    }
}

fn range_in_txn<V: View>(
    scratch: &Scratch<'_, V>,
    request: &RangeRequest,
) -> Result<RangeResponse, ViewError> {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    let mut collector = Collector::new(request);
    match request.revision {
        Some(at) => scratch.base().scan_at(range, at, &mut |row| collector.visit(row))?,
        None => scratch.scan(range, &mut |row| collector.visit(row))?,
    }
    Ok(collector.finish(scratch.revision()))
}

/// Reads a range at a revision that the caller has checked to be between floor and now.
pub(crate) fn range_response(
    view: &impl View,
    request: &RangeRequest,
    at: Revision,
) -> Result<RangeResponse, ViewError> {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    let mut collector = Collector::new(request);
    view.scan_at(range, at, &mut |row| collector.visit(row))?;
    Ok(collector.finish(view.revision()))
}

/// Like [`range_response`], but ends early once the answer has `bytes_max` bytes; `more` says so.
pub(crate) fn range_page(
    view: &impl View,
    request: &RangeRequest,
    at: Revision,
    bytes_max: usize,
) -> Result<RangeResponse, ViewError> {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    let mut collector = Collector::with_bytes(request, bytes_max);
    view.scan_at(range, at, &mut |row| collector.visit(row))?;
    Ok(collector.finish(view.revision()))
}

fn holds(view: &impl View, compare: &Compare) -> Result<bool, ViewError> {
    if compare.range_end.is_none() {
        let found = match compare.target {
            CompareTarget::Value(_) => view.latest(&compare.key)?,
            _ => view.before(&compare.key)?.map(|before| before.without_value()),
        };
        return Ok(found.map_or_else(|| absent_relates(compare), |kv| relates(&kv, compare)));
    }
    let range = KeyRange::new(&compare.key, compare.range_end.as_ref());
    let mut all = true;
    let mut any = false;
    view.scan_latest(range, &mut |row| {
        any = true;
        all = relates(&row.to_key_value(!matches!(compare.target, CompareTarget::Value(_))), compare);
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(if any { all } else { absent_relates(compare) })
}

/// A key that does not exist compares as zeros; its value compares with nothing.
fn absent_relates(compare: &Compare) -> bool {
    !matches!(compare.target, CompareTarget::Value(_))
        && relates(&KeyValue { key: Bytes::new(), ..KeyValue::default() }, compare)
}

fn relates(kv: &KeyValue, compare: &Compare) -> bool {
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
}
