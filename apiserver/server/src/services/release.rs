//! Gives up the claims of Services that are gone, however they went.
//!
//! A request gives up its own claims when it ends. This loop catches what no request does: objects removed by a
//! namespace's deletion or by another server. It only gives up claims older than the event it saw, so that a value
//! that somebody has claimed since is safe.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::allocator::ServiceAllocator;
use super::claims::Claim;
use super::spec;
use crate::cache::{Cached, ChangeKind, CursorEnd, Event};

/// Follows the events of Services.
pub struct ClaimRelease {
    allocator: Arc<ServiceAllocator>,
}

impl ClaimRelease {
    /// A loop for the allocator's claims.
    pub fn new(allocator: Arc<ServiceAllocator>) -> Self {
        Self { allocator }
    }

    /// Runs until `stop` or until the cache closes.
    pub async fn run(self, stop: CancellationToken) {
        let Ok(cache) = self.allocator.registry.cache(self.allocator.services) else { return };
        let (_, mut cursor) = cache.snapshot_and_cursor();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                events = cursor.next() => match events {
                    Ok(events) => self.release(&events).await,
                    Err(CursorEnd::Closed) => return,
                    Err(CursorEnd::Lagged) => {
                        warn!("the release of service claims fell behind; claims may stay until the next start");
                        cursor = cache.snapshot_and_cursor().1;
                    }
                },
            }
        }
    }

    async fn release(&self, events: &[Arc<Event>]) {
        for event in events {
            let (before, after) = match event.change {
                ChangeKind::Added => continue,
                ChangeKind::Modified => (event.previous.as_deref(), Some(&*event.object)),
                ChangeKind::Deleted => (Some(&*event.object), None),
            };
            let held = after.map(claims_of).unwrap_or_default();
            for claim in before.map(claims_of).unwrap_or_default() {
                if held.contains(&claim) {
                    continue;
                }
                match self.allocator.claims.give_up_older(claim, event.revision).await {
                    Ok(true) => self.allocator.mark(claim, false),
                    Ok(false) => {}
                    Err(error) => error!(%error, ?claim, "a claim of a deleted service stays"),
                }
            }
        }
    }
}

fn claims_of(service: &Cached) -> Vec<Claim> {
    match service.decode() {
        Ok(service) => spec::claims(&service),
        Err(error) => {
            error!(%error, "the claims of a service cannot be read");
            Vec::new()
        }
    }
}
