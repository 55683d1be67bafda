//! Leases: keys that end when their owner falls silent.
use std::time::Duration;

use bytes::Bytes;

use super::{LeaseId, Revision};

/// The answer to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease.
    pub id: LeaseId,
    /// The time to live that was granted; whole seconds, at least one.
    pub ttl: Duration,
    /// The store's revision (a grant makes none).
    pub revision: Revision,
}

/// A lease in the list of all leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The lease.
    pub id: LeaseId,
    /// The time to live that was granted.
    pub ttl: Duration,
}

/// What is left of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    /// The lease.
    pub id: LeaseId,
    /// The time to live that was granted.
    pub granted: Duration,
    /// The time until it expires unless it is kept alive.
    pub remaining: Duration,
    /// The keys attached to it, in order.
    pub keys: Vec<Bytes>,
}
