//! Compacts the store: revisions older than the history that is kept can no longer be listed or watched.

use std::time::Duration;

use mainstay_store::{CompactError, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Every `history`, drops what was old at the previous round, as upstream does. Idle stores are left alone.
pub(crate) async fn run(store: Store, history: Duration, stop: CancellationToken) {
    let mut previous = store.revision();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(history) => {}
        }
        let current = store.revision();
        if current == previous {
            continue;
        }
        match store.compact(previous).await {
            Ok(()) => debug!(revision = %previous, "compacted"),
            Err(CompactError::Compacted { .. }) => {}
            Err(error) => warn!(%error, revision = %previous, "compaction failed; it is tried again"),
        }
        previous = current;
    }
}
