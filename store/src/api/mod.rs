//! The public vocabulary of the store: requests, responses, errors. Plain data, no behaviour that needs the engine.
mod auth;
mod config;
mod error;
mod key_value;
mod lease;
mod range;
mod revision;
mod status;
mod txn;
mod watch;
mod write;

pub use auth::{Access, AuthCallError, AuthError, AuthOptions, AuthStatus, Caller, Permission};
pub use config::{Config, Limits};
pub use error::{CloseError, CompactError, Halt, LeaseError, OpenError, RangeError, WatchError, WriteError};
pub use key_value::{Event, EventKind, KeyValue};
pub use lease::{Lease, LeaseGrant, LeaseTimeToLive};
pub use range::{RangeRequest, RangeResponse, prefix_end};
pub use revision::{LeaseId, Revision};
pub use status::Status;
pub use txn::{Compare, CompareOp, CompareTarget, Op, OpResponse, Txn, TxnResponse};
pub use watch::{WatchBatch, WatchRequest};
pub use write::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
