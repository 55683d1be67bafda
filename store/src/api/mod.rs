//! The public vocabulary of the store: requests, responses, errors. Plain data, no behaviour that needs the engine.
mod auth;
mod cluster;
mod config;
mod error;
mod key_value;
mod lease;
mod range;
mod revision;
mod status;
mod transport;
mod txn;
mod watch;
mod write;

pub use auth::{Access, AuthCallError, AuthError, AuthOptions, AuthStatus, Caller, Permission};
pub use cluster::{ClusterConfig, ClusterError, InitialMember, InitialState, Leadership, Member};
pub use config::{Config, Limits};
pub use error::{CloseError, CompactError, Halt, LeaseError, OpenError, RangeError, WatchError, WriteError};
pub use key_value::{Event, EventKind, KeyValue};
pub use lease::{Lease, LeaseGrant, LeaseTimeToLive};
pub use range::{RangeOrder, RangeRequest, RangeResponse, RevisionBounds, SortTarget, prefix_end};
pub use revision::{LeaseId, Revision};
pub use status::Status;
pub use transport::{FRAME_BYTES_MAX, Link, LinkReceiver, LinkSender, Transport};
pub use txn::{Compare, CompareOp, CompareTarget, Op, OpResponse, Txn, TxnResponse};
pub use watch::{WatchBatch, WatchRequest};
pub use write::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
