//! The loop that ends leases whose owners fell silent.
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::LeaseTable;
use crate::api::{LeaseId, WriteError};

/// So many leases are ended at the same time.
const CONCURRENT_REVOKES: usize = 64;

/// A lease that could not be ended is tried again after this.
const RETRY: Duration = Duration::from_millis(500);

/// Ends leases through `revoke` until it is stopped. `Instant` is monotonic: a jump of the wall clock ends no lease.
pub(crate) async fn run<F, R>(table: Arc<LeaseTable>, stop: CancellationToken, revoke: F)
where
    F: Fn(LeaseId) -> R,
    R: Future<Output = Result<(), WriteError>>,
{
    loop {
        let expired = table.take_expired(Instant::now());
        if !expired.now.is_empty() {
            let ends = stream::iter(expired.now)
                .for_each_concurrent(CONCURRENT_REVOKES, |id| end(&table, id, &revoke));
            tokio::select! {
                biased;
                () = stop.cancelled() => return, // a revoke on its way is applied or not; both are fine
                () = ends => continue,
            }
        }
        let due = async {
            match expired.next {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = table.changed() => {}
            () = due => {}
        }
    }
}

async fn end<F, R>(table: &LeaseTable, id: LeaseId, revoke: &F)
where
    F: Fn(LeaseId) -> R,
    R: Future<Output = Result<(), WriteError>>,
{
    match revoke(id).await {
        Ok(()) | Err(WriteError::LeaseNotFound(_)) => debug!(lease = %id, "lease expired"),
        Err(error) => {
            warn!(lease = %id, %error, "could not end an expired lease, trying again");
            table.retry_at(id, Instant::now() + RETRY);
        }
    }
}
