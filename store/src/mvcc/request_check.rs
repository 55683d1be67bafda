//! Whether a request is within its bounds and well formed: checked before it goes to the log.
use std::collections::HashSet;

use bytes::Bytes;

use super::{Command, KeyRange};
use crate::api::{DeleteRangeRequest, Limits, Op, PutRequest, RangeError, RangeRequest, Txn, WriteError};

pub(crate) fn check_range(request: &RangeRequest) -> Result<(), RangeError> {
    if request.key.is_empty() && request.range_end.is_none() {
        return Err(RangeError::EmptyKey);
    }
    Ok(())
}

pub(crate) fn check_put(request: &PutRequest, limits: &Limits) -> Result<(), WriteError> {
    if request.key.is_empty() {
        return Err(WriteError::EmptyKey);
    }
    check_kept(request)?;
    check_size(put_bytes(request), limits)
}

/// What a put keeps, it does not bring.
fn check_kept(put: &PutRequest) -> Result<(), WriteError> {
    if put.ignore_value && !put.value.is_empty() {
        return Err(WriteError::ValueProvided);
    }
    if put.ignore_lease && !put.lease.is_none() {
        return Err(WriteError::LeaseProvided);
    }
    Ok(())
}

pub(crate) fn check_delete(request: &DeleteRangeRequest, limits: &Limits) -> Result<(), WriteError> {
    if request.key.is_empty() && request.range_end.is_none() {
        return Err(WriteError::EmptyKey);
    }
    check_size(range_bytes(&request.key, request.range_end.as_ref()), limits)
}

/// Bounds, empty keys, and keys that would be written twice.
pub(crate) fn check_txn(txn: &Txn, limits: &Limits) -> Result<(), WriteError> {
    check_shape(txn, limits, 1, limits.txn_ops_max)?;
    check_size(txn_bytes(txn), limits)?;
    // The two branches never run together; each is checked on its own.
    written(&txn.success)?;
    written(&txn.failure)?;
    Ok(())
}

/// Whether no branch of a transaction writes.
pub(crate) fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(_) => true,
        Op::Put(_) | Op::Delete(_) => false,
        Op::Txn(nested) => is_read_only(nested),
    })
}

/// Whether a transaction without writes may be answered from this member's own state: all its ranges may.
pub(crate) fn is_serializable(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(range) => range.serializable,
        Op::Put(_) | Op::Delete(_) => false,
        Op::Txn(nested) => is_serializable(nested),
    })
}

/// About how many bytes a command has in the log.
pub(crate) fn command_bytes(command: &Command) -> usize {
    match command {
        Command::Put(put) => put_bytes(put),
        Command::Txn(txn) => txn_bytes(txn),
        Command::As { command, .. } => command_bytes(command),
        // The others are small.
        _ => 0,
    }
}

fn check_size(bytes: usize, limits: &Limits) -> Result<(), WriteError> {
    let max = limits.request_bytes_max;
    if bytes > max { Err(WriteError::TooLarge { bytes, max }) } else { Ok(()) }
}

/// As in etcd, a nested transaction may have as many operations as the one around it leaves.
fn check_shape(txn: &Txn, limits: &Limits, depth: usize, ops_left: usize) -> Result<(), WriteError> {
    if depth > limits.txn_depth_max {
        return Err(WriteError::TooDeep { max: limits.txn_depth_max });
    }
    let count = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let Some(ops_left) = ops_left.checked_sub(count) else {
        return Err(WriteError::TooManyOps { count, max: ops_left });
    };
    for compare in &txn.compare {
        if compare.key.is_empty() && compare.range_end.is_none() {
            return Err(WriteError::EmptyKey);
        }
    }
    for op in txn.success.iter().chain(&txn.failure) {
        let empty = match op {
            Op::Put(put) => {
                check_kept(put)?;
                put.key.is_empty()
            }
            Op::Delete(delete) => delete.key.is_empty() && delete.range_end.is_none(),
            Op::Range(range) => range.key.is_empty() && range.range_end.is_none(),
            Op::Txn(nested) => {
                check_shape(nested, limits, depth + 1, ops_left)?;
                false
            }
        };
        if empty {
            return Err(WriteError::EmptyKey);
        }
    }
    Ok(())
}

/// What a list of operations may write: keys that are put, ranges that are deleted.
#[derive(Default)]
struct Written<'t> {
    puts: HashSet<&'t [u8]>,
    deletes: Vec<KeyRange<'t>>,
}

impl<'t> Written<'t> {
    fn check_free(&self, key: &'t [u8]) -> Result<(), WriteError> {
        if self.puts.contains(key) || self.deletes.iter().any(|range| range.contains(key)) {
            return Err(WriteError::DuplicateKey { key: Bytes::copy_from_slice(key) });
        }
        Ok(())
    }
}

/// etcd's rule: a key may be put once on every way through the transaction, and not in a range that is deleted there. Deletes may overlap.
/// (etcd overlooks a put in one nested transaction that a later one deletes; here that is refused as well: one revision changes a key once.)
fn written(ops: &[Op]) -> Result<Written<'_>, WriteError> {
    let mut all = Written::default();
    for op in ops {
        if let Op::Delete(delete) = op {
            all.deletes.push(KeyRange::new(&delete.key, delete.range_end.as_ref()));
        }
    }
    for op in ops {
        if let Op::Txn(nested) = op {
            let then = written(&nested.success)?;
            let otherwise = written(&nested.failure)?;
            // What the branches delete must not be what operations beside them put.
            let deletes = then.deletes.iter().chain(&otherwise.deletes);
            for key in &all.puts {
                if deletes.clone().any(|range| range.contains(key)) {
                    return Err(WriteError::DuplicateKey { key: Bytes::copy_from_slice(key) });
                }
            }
            // One key in both branches is one write.
            let puts: HashSet<&[u8]> = then.puts.union(&otherwise.puts).copied().collect();
            for key in puts {
                all.check_free(key)?;
                all.puts.insert(key);
            }
            all.deletes.extend(then.deletes.into_iter().chain(otherwise.deletes));
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            all.check_free(&put.key)?;
            all.puts.insert(&put.key);
        }
    }
    Ok(all)
}

fn put_bytes(put: &PutRequest) -> usize {
    put.key.len() + put.value.len()
}

fn range_bytes(key: &Bytes, end: Option<&Bytes>) -> usize {
    key.len() + end.map_or(0, Bytes::len)
}

fn txn_bytes(txn: &Txn) -> usize {
    let compares: usize = txn
        .compare
        .iter()
        .map(|compare| {
            let value = match &compare.target {
                crate::api::CompareTarget::Value(value) => value.len(),
                _ => 8,
            };
            range_bytes(&compare.key, compare.range_end.as_ref()) + value
        })
        .sum();
    let ops: usize = txn
        .success
        .iter()
        .chain(&txn.failure)
        .map(|op| match op {
            Op::Put(put) => put_bytes(put),
            Op::Delete(delete) => range_bytes(&delete.key, delete.range_end.as_ref()),
            Op::Range(range) => range_bytes(&range.key, range.range_end.as_ref()),
            Op::Txn(nested) => txn_bytes(nested),
        })
        .sum();
    compares + ops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Op {
        Op::Put(PutRequest::new(key, "v"))
    }

    fn delete(key: &'static str, end: &'static str) -> Op {
        Op::Delete(DeleteRangeRequest { key: key.into(), range_end: Some(end.into()), prev_kv: false })
    }

    fn check(success: Vec<Op>) -> Result<(), WriteError> {
        check_txn(&Txn { success, ..Txn::default() }, &Limits::default())
    }

    #[test]
    fn a_key_is_put_once() {
        assert_eq!(check(vec![put("a"), put("b")]), Ok(()));
        assert_eq!(check(vec![put("a"), put("a")]), Err(WriteError::DuplicateKey { key: "a".into() }));
    }

    #[test]
    fn a_key_is_not_put_in_a_deleted_range_in_either_order() {
        assert!(check(vec![put("b"), delete("a", "c")]).is_err());
        assert!(check(vec![delete("a", "c"), put("b")]).is_err());
        assert_eq!(check(vec![delete("a", "c"), put("c")]), Ok(()));
        assert_eq!(check(vec![delete("a", "c"), delete("b", "d")]), Ok(()));
    }

    #[test]
    fn the_branches_of_a_nested_transaction_may_put_the_same_key() {
        let nested = Op::Txn(Txn { success: vec![put("a")], failure: vec![put("a")], compare: vec![] });
        assert_eq!(check(vec![nested.clone()]), Ok(()));
        assert!(check(vec![nested.clone(), put("a")]).is_err());
        assert!(check(vec![nested.clone(), nested]).is_err());
    }

    #[test]
    fn nested_transactions_do_not_delete_what_others_put() {
        let nested = |op| Op::Txn(Txn { success: vec![op], ..Txn::default() });
        assert!(check(vec![nested(put("b")), nested(delete("a", "c"))]).is_err());
        assert!(check(vec![nested(delete("a", "c")), nested(put("b"))]).is_err());
        let either =
            Op::Txn(Txn { success: vec![put("b")], failure: vec![delete("a", "c")], compare: vec![] });
        assert_eq!(check(vec![either]), Ok(()));
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        let limits = Limits::default();
        let keys: Vec<Op> = (0..129).map(|i| Op::Put(PutRequest::new(format!("k{i}"), ""))).collect();
        assert_eq!(check(keys[..128].to_vec()), Ok(()));
        assert_eq!(check(keys), Err(WriteError::TooManyOps { count: 129, max: 128 }));
        let value = vec![0; limits.request_bytes_max - 1];
        assert_eq!(check_put(&PutRequest::new("k", value.clone()), &limits), Ok(()));
        assert!(matches!(
            check_put(&PutRequest::new("kk", value), &limits),
            Err(WriteError::TooLarge { .. })
        ));
        assert_eq!(check_put(&PutRequest::new("", "v"), &limits), Err(WriteError::EmptyKey));
        let mut txn = Txn::default();
        for _ in 0..8 {
            txn = Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
        }
        assert_eq!(check_txn(&txn, &limits), Err(WriteError::TooDeep { max: 8 }));
    }
}
