//! Transactions: compare, then one of two lists of operations, all in one revision.
use bytes::Bytes;

use super::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseId, PutRequest, PutResponse, RangeRequest, RangeResponse,
    Revision,
};

/// Runs `success` if every comparison holds, else `failure`; what it writes is one revision.
///
/// A key may be written only once in a transaction. Operations see the effects of those before them.
///
/// ```
/// use mainstay_store::{Compare, PutRequest, Txn};
/// // Create, but only if the key does not exist.
/// let create = Txn::when([Compare::absent("jobs/1")]).then([PutRequest::new("jobs/1", "queued")]);
/// assert_eq!(create.compare.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold; an empty list holds.
    pub compare: Vec<Compare>,
    /// What to do if all hold.
    pub success: Vec<Op>,
    /// What to do otherwise.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Starts a transaction with its comparisons.
    pub fn when(compare: impl IntoIterator<Item = Compare>) -> Self {
        Self { compare: compare.into_iter().collect(), ..Self::default() }
    }

    /// Adds operations for the case that all comparisons hold.
    #[must_use]
    pub fn then<O: Into<Op>>(mut self, ops: impl IntoIterator<Item = O>) -> Self {
        self.success.extend(ops.into_iter().map(Into::into));
        self
    }

    /// Adds operations for the case that some comparison does not hold.
    #[must_use]
    pub fn otherwise<O: Into<Op>>(mut self, ops: impl IntoIterator<Item = O>) -> Self {
        self.failure.extend(ops.into_iter().map(Into::into));
        self
    }
}

impl Txn {
    /// The oldest revision that any range in it reads at.
    pub(crate) fn lowest_revision(&self) -> Option<Revision> {
        let of = |op: &Op| match op {
            Op::Range(range) => range.revision,
            Op::Txn(nested) => nested.lowest_revision(),
            Op::Put(_) | Op::Delete(_) => None,
        };
        self.success.iter().chain(&self.failure).filter_map(of).min()
    }
}

/// One comparison. A key that does not exist has version 0, create and mod revision 0, no lease, and no value (a comparison of its value
/// does not hold).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What is compared, and with what.
    pub target: CompareTarget,
    /// How: `stored op target`.
    pub op: CompareOp,
    /// With an end (see [`RangeRequest`]) the comparison must hold for every key in the range; an empty range
    /// compares like a key that does not exist.
    pub range_end: Option<Bytes>,
}

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::new(key, CompareTarget::Create(Revision(0)), CompareOp::Equal)
    }

    /// The key was last written at exactly this revision; revision 0 means that it does not exist.
    pub fn unchanged(key: impl Into<Bytes>, mod_revision: Revision) -> Self {
        Self::new(key, CompareTarget::Mod(mod_revision), CompareOp::Equal)
    }

    /// The key has this value.
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::new(key, CompareTarget::Value(value.into()), CompareOp::Equal)
    }

    /// Any comparison of one key.
    pub fn new(key: impl Into<Bytes>, target: CompareTarget, op: CompareOp) -> Self {
        Self { key: key.into(), target, op, range_end: None }
    }
}

/// The side of a comparison that the request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The value.
    Value(Bytes),
    /// The version.
    Version(i64),
    /// The create revision.
    Create(Revision),
    /// The mod revision.
    Mod(Revision),
    /// The lease.
    Lease(LeaseId),
}

/// How the stored side relates to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Stored is greater.
    Greater,
    /// Stored is less.
    Less,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Set a key.
    Put(PutRequest),
    /// Delete keys.
    Delete(DeleteRangeRequest),
    /// Read keys.
    Range(RangeRequest),
    /// A nested transaction; its comparisons see the store as it was before the outermost one.
    Txn(Txn),
}

impl From<PutRequest> for Op {
    fn from(request: PutRequest) -> Self {
        Self::Put(request)
    }
}

impl From<DeleteRangeRequest> for Op {
    fn from(request: DeleteRangeRequest) -> Self {
        Self::Delete(request)
    }
}

impl From<RangeRequest> for Op {
    fn from(request: RangeRequest) -> Self {
        Self::Range(request)
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Self::Txn(txn)
    }
}

/// The answer to a [`Txn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The store's revision after the transaction: its own if it wrote anything, else the current one.
    pub revision: Revision,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One answer for each operation that ran, in order.
    pub responses: Vec<OpResponse>,
}

/// The answer to one [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResponse {
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    Delete(DeleteRangeResponse),
    /// To a range.
    Range(RangeResponse),
    /// To a nested transaction.
    Txn(TxnResponse),
}
