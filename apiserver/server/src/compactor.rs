//! Compacts the store: revisions older than the history that is kept can no longer be listed or watched.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backing::Backing;

/// Every `history`, drops what was old at the previous round, as upstream does. Idle stores are left alone.
pub(crate) async fn run(store: Backing, history: Duration, stop: CancellationToken) {
    let mut previous = None;
    loop {
        let current = match store.revision().await {
            Ok(current) => Some(current),
            Err(error) => {
                warn!(%error, "the store does not tell its revision; nothing is compacted");
                None
            }
        };
        if let Some(previous) =
            previous.filter(|previous| current.is_some_and(|current| current != *previous))
        {
            match store.compact(previous).await {
                Ok(()) => debug!(revision = %previous, "compacted"),
                // Another server was faster.
                Err(error) if error.is_compacted() => {}
                Err(error) => warn!(%error, revision = %previous, "compaction failed; it is tried again"),
            }
        }
        previous = current.or(previous);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(history) => {}
        }
    }
}
