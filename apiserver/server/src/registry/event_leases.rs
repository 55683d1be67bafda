//! Leases for Event objects: one store lease is shared by the events of a minute, as upstream does.

use std::time::Duration;

use mainstay_store::LeaseId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::backing::{Backing, BackingError};

/// How long one lease takes in new events.
const REUSE: Duration = Duration::from_secs(60);
/// How many events share one lease.
const SHARED_MAX: usize = 1000;

/// Grants and reuses leases.
pub(super) struct EventLeases {
    store: Backing,
    ttl: Duration,
    current: Mutex<Option<Granted>>,
}

#[derive(Clone, Copy)]
struct Granted {
    id: LeaseId,
    reuse_until: Instant,
    uses: usize,
}

impl EventLeases {
    pub(super) fn new(store: Backing, ttl: Duration) -> Self {
        Self { store, ttl, current: Mutex::new(None) }
    }

    /// A lease that ends no sooner than the lifetime of an event from `now` on.
    pub(super) async fn lease(&self, now: Instant) -> Result<LeaseId, BackingError> {
        let mut current = self.current.lock().await;
        if let Some(granted) = current.as_mut().filter(|g| now < g.reuse_until && g.uses < SHARED_MAX) {
            granted.uses += 1;
            return Ok(granted.id);
        }
        let id = self.store.lease_grant(self.ttl + REUSE).await?;
        *current = Some(Granted { id, reuse_until: now + REUSE, uses: 1 });
        Ok(id)
    }
}
