//! Whether a caller may do what a command says: etcd's rules, operation by operation.
use bytes::Bytes;

use super::AuthCommand;
use super::state::{AuthState, Need};
use crate::api::{AuthError, Caller, DeleteRangeRequest, LeaseId, Op, PutRequest, RangeRequest, Txn};
use crate::mvcc::{Command, KeyRange};

/// Tells the keys attached to a lease; none if it does not exist.
pub(crate) type LeaseKeys<'k> = dyn Fn(LeaseId) -> Vec<Bytes> + 'k;

/// Checks a command where it is applied, so that it is checked against the state that it changes.
pub(crate) fn check(
    state: &AuthState,
    caller: &Caller,
    command: &Command,
    lease_keys: &LeaseKeys<'_>,
) -> Result<(), AuthError> {
    if !state.enabled {
        return Ok(());
    }
    let checker = Checker { state, caller, lease_keys };
    match command {
        Command::Put(put) => checker.put(put),
        Command::DeleteRange(delete) => checker.delete(delete),
        Command::Txn(txn) => checker.txn(txn),
        Command::Compact(_) | Command::LeaseGrant { .. } => state.known(caller),
        Command::LeaseRevoke(lease) => checker.lease_keys(*lease, Need::Write),
        Command::Auth(AuthCommand::Authenticate { .. }) => Ok(()),
        Command::Auth(_) | Command::Alarm { .. } => state.admin(caller),
        // One caller, whom nobody inside can change.
        Command::As { .. } => Err(AuthError::PermissionDenied),
    }
}

impl AuthState {
    /// Whether a caller may read a range.
    pub(crate) fn check_read(&self, caller: &Caller, range: KeyRange<'_>) -> Result<(), AuthError> {
        if self.enabled { self.may(caller, Need::Read, range) } else { Ok(()) }
    }

    /// Whether a caller may run a transaction; here for one that only reads.
    pub(crate) fn check_txn(
        &self,
        caller: &Caller,
        txn: &Txn,
        lease_keys: &LeaseKeys<'_>,
    ) -> Result<(), AuthError> {
        if self.enabled { (Checker { state: self, caller, lease_keys }).txn(txn) } else { Ok(()) }
    }

    /// Whether a caller may keep a lease alive: it needs to be able to write all its keys.
    pub(crate) fn check_lease_write(&self, caller: &Caller, keys: &[Bytes]) -> Result<(), AuthError> {
        self.check_keys(caller, keys, Need::Write)
    }

    /// Whether a caller may see the keys of a lease.
    pub(crate) fn check_lease_read(&self, caller: &Caller, keys: &[Bytes]) -> Result<(), AuthError> {
        self.check_keys(caller, keys, Need::Read)
    }

    fn check_keys(&self, caller: &Caller, keys: &[Bytes], need: Need) -> Result<(), AuthError> {
        self.known(caller)?;
        if self.admin(caller).is_ok() {
            return Ok(());
        }
        keys.iter().try_for_each(|key| self.may(caller, need, KeyRange { key, end: None }))
    }
}

struct Checker<'c> {
    state: &'c AuthState,
    caller: &'c Caller,
    lease_keys: &'c LeaseKeys<'c>,
}

impl Checker<'_> {
    fn may(&self, need: Need, key: &Bytes, end: Option<&Bytes>) -> Result<(), AuthError> {
        self.state.may(self.caller, need, KeyRange::new(key, end))
    }

    /// A key that is attached to a lease dies with it: whoever attaches one must be able to end all that are attached already.
    fn put(&self, put: &PutRequest) -> Result<(), AuthError> {
        self.may(Need::Write, &put.key, None)?;
        if !put.lease.is_none() {
            self.lease_keys(put.lease, Need::Write)?;
        }
        if put.prev_kv { self.may(Need::Read, &put.key, None) } else { Ok(()) }
    }

    fn delete(&self, delete: &DeleteRangeRequest) -> Result<(), AuthError> {
        let end = delete.range_end.as_ref();
        self.may(Need::Write, &delete.key, end)?;
        if delete.prev_kv { self.may(Need::Read, &delete.key, end) } else { Ok(()) }
    }

    fn range(&self, range: &RangeRequest) -> Result<(), AuthError> {
        self.may(Need::Read, &range.key, range.range_end.as_ref())
    }

    /// Both branches, whichever would be taken: the answer must not tell what may not be read.
    fn txn(&self, txn: &Txn) -> Result<(), AuthError> {
        for compare in &txn.compare {
            self.may(Need::Read, &compare.key, compare.range_end.as_ref())?;
        }
        txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
            Op::Range(range) => self.range(range),
            Op::Put(put) => self.put(put),
            Op::Delete(delete) => self.delete(delete),
            Op::Txn(nested) => self.txn(nested),
        })
    }

    fn lease_keys(&self, lease: LeaseId, need: Need) -> Result<(), AuthError> {
        self.state.check_keys(self.caller, &(self.lease_keys)(lease), need)
    }
}
