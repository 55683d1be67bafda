//! What clients did and were told.
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    DeleteRangeRequest, DeleteRangeResponse, Op, PutRequest, PutResponse, RangeRequest, RangeResponse,
    Revision, Txn, TxnResponse,
};

/// A request for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Set a key.
    Put(PutRequest),
    /// Delete keys.
    Delete(DeleteRangeRequest),
    /// Read keys; `stale` allows an answer from the past. A member that is asked for what it has, and for nothing stale, first finds out by
    /// heartbeat how new that must be.
    Range {
        /// What to read.
        range: RangeRequest,
        /// Whether any member may answer from what it has.
        stale: bool,
    },
    /// A transaction.
    Txn(Txn),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    Delete(DeleteRangeResponse),
    /// To a range.
    Range(RangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
}

/// How a call ended, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this answer, at this time.
    Answered(Duration, Answer),
    /// It was refused: nothing of it happened.
    Refused(String),
    /// Nobody can tell: it may happen at any time after the call, or never.
    Unknown(String),
}

/// One call. Times are those of the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was made.
    pub called: Duration,
    /// What was asked.
    pub request: Request,
    /// What became of it.
    pub outcome: Outcome,
}

impl Answer {
    /// The revision that the answer carries.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(put) => put.revision,
            Self::Delete(delete) => delete.revision,
            Self::Range(range) => range.revision,
            Self::Txn(txn) => txn.revision,
        }
    }
}

impl Call {
    /// The answer with its time.
    pub fn answer(&self) -> Option<(Duration, &Answer)> {
        match &self.outcome {
            Outcome::Answered(at, answer) => Some((*at, answer)),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether it may have written something.
    pub fn may_write(&self) -> bool {
        match &self.request {
            Request::Put(_) | Request::Delete(_) => true,
            Request::Range { .. } => false,
            Request::Txn(txn) => has_writes(txn),
        }
    }

    /// Every value that it would put.
    pub fn values(&self) -> Vec<Bytes> {
        match &self.request {
            Request::Put(put) => vec![put.value.clone()],
            Request::Delete(_) | Request::Range { .. } => Vec::new(),
            Request::Txn(txn) => values_of(txn),
        }
    }

    /// Whether it may delete.
    pub fn may_delete(&self) -> bool {
        match &self.request {
            Request::Delete(_) => true,
            Request::Put(_) | Request::Range { .. } => false,
            Request::Txn(txn) => {
                txn.success.iter().chain(&txn.failure).any(|op| matches!(op, Op::Delete(_) | Op::Txn(_)))
            }
        }
    }
}

fn has_writes(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) | Op::Delete(_) => true,
        Op::Range(_) => false,
        Op::Txn(nested) => has_writes(nested),
    })
}

fn values_of(txn: &Txn) -> Vec<Bytes> {
    txn.success
        .iter()
        .chain(&txn.failure)
        .flat_map(|op| match op {
            Op::Put(put) => vec![put.value.clone()],
            Op::Txn(nested) => values_of(nested),
            Op::Delete(_) | Op::Range(_) => Vec::new(),
        })
        .collect()
}
